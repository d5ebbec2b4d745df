"""ColorVideoVDP: what the package is given and how it is found; its own scores where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sve2hdr.errors import Sve2HdrError
from sve2hdr.evaluation.colorvideovdp import DISPLAY, ColorVideoVdp

PACKAGE = """
from torchvision.transforms import blur
import numpy as np

class cvvdp:
    def __init__(self, display_name, device, quiet):
        self.display_name = display_name

    def get_info_string(self):
        return f'"a metric on {self.display_name}"'

    def predict(self, test, reference, dim_order):
        assert test.dtype == reference.dtype == np.float32 and dim_order == "HWC"
        assert test.shape == reference.shape == (4, 6, 3)
        return blur * (test.max() + reference.min()), {}
"""


def module(folder: Path, name: str, **files: str) -> None:
    (folder / name).mkdir()
    for file, text in files.items():
        (folder / name / f"{file}.py").write_text(text)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder of packages that come first; those of their names that were imported come back."""
    before = imported()
    for name in before:
        del sys.modules[name]
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in imported():
        del sys.modules[name]
    sys.modules.update(before)


def imported() -> dict[str, ModuleType]:
    names = ("pycvvdp", "torchvision")
    return {name: found for name, found in sys.modules.items() if name.split(".")[0] in names}


@pytest.mark.parametrize("torchvision", ["", "raise RuntimeError('operator torchvision::nms does not exist')"])
def test_images_are_shown_at_the_peak_of_the_display(packages: Path, torchvision: str) -> None:
    module(packages, "torchvision", __init__=torchvision, transforms="blur = 2")
    module(packages, "pycvvdp", __init__=PACKAGE)
    metric = ColorVideoVdp()
    assert metric.described == f"a metric on {DISPLAY}"
    image, truth = np.full((8, 10, 3), 1.5, np.float32), np.full((8, 10, 3), 0.25, np.float32)
    image[:2] = truth[:2] = 0
    assert metric(image, truth, 2) == 2 * (1500 + 375)
    assert not torchvision or "torchvision" not in sys.modules  # what was made up is not left to others


def test_a_package_that_is_missing_or_does_not_load_is_named(packages: Path) -> None:
    module(packages, "pycvvdp", __init__="raise OSError('libGL.so.1: no such file')")
    with pytest.raises(
        Sve2HdrError, match=r"cannot be loaded \(libGL\.so\.1: no such file\); pip install 'sve2hdr\[cvvdp\]'"
    ):
        ColorVideoVdp()
    sys.modules["pycvvdp"] = None  # type: ignore[assignment]  # as if it were not installed
    with pytest.raises(Sve2HdrError, match=r"--cvvdp: ColorVideoVDP is not installed; pip"):
        ColorVideoVdp()


@pytest.mark.skipif(find_spec("pycvvdp") is None, reason="needs pip install 'sve2hdr[cvvdp]'")
def test_the_package_itself_is_perfect_for_the_truth_and_sees_noise_and_casts() -> None:
    rng = np.random.default_rng(1)
    truth = np.float32(0.05 + 0.1 * rng.random((32, 32, 1)).repeat(4, 0).repeat(4, 1) * np.ones(3))
    metric = ColorVideoVdp()
    noisy = truth + np.float32(0.02) * rng.standard_normal(truth.shape, np.float32)
    scores = [metric(image, truth, 8) for image in (truth, noisy, truth * np.float32([1.3, 1, 0.7]))]
    assert scores[0] == 10
    assert all(5 < score < 9.99 for score in scores[1:])
