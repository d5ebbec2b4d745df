"""Our DNGs in the raw developers that people use, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.lineardng import LinearDngOptions, write_linear_dng
from sve2hdr.mosaic import Mosaic
from sve2hdr.patterntext import parse_pattern
from sve2hdr.simulation.simulate import CAMERA_FROM_XYZ, Sensor, simulate

COLOURS = np.float32([[0.6, 0.15, 0.1], [0.12, 0.5, 0.1], [0.1, 0.15, 0.6], [0.3, 0.3, 0.3]])  # linear Rec. 709
REC709_TO_XYZ = np.float32([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def card() -> np.ndarray:
    """Return camera RGB, (384, 512, 3) float32, of four broad stripes: red, green, blue, grey."""
    camera = COLOURS @ (CAMERA_FROM_XYZ @ REC709_TO_XYZ).T
    return np.float32(np.repeat(np.repeat(camera[None], 384, 0), 128, 1))


def cfa(path: Path, compressed: bool) -> Mosaic:
    mosaic = simulate(card(), "RGGB", parse_pattern("grid:1"), Sensor(full_well_e=1e6), seed=1)
    write_cfa_dng(path, mosaic, compressed=compressed)
    return mosaic


def linear(path: Path, floating: bool) -> None:
    mosaic = cfa(path.with_name("mosaic.dng"), compressed=False)
    options = LinearDngOptions(floating=floating, baseline_exposure_ev=0.0)
    write_linear_dng(path, card(), mosaic, 1.0, options=options)


FORMS = {
    "cfa": lambda path: cfa(path, compressed=False), "cfa, compressed": lambda path: cfa(path, compressed=True),
    "linear": lambda path: linear(path, floating=False), "linear, float": lambda path: linear(path, floating=True),
}  # fmt: skip


def by_darktable(path: Path, picture: Path) -> list[object]:
    config = ["--core", "--configdir", path.parent / "config", "--library", ":memory:"]
    return ["darktable-cli", path, picture, *config]


def by_rawtherapee(path: Path, picture: Path) -> list[object]:
    return ["rawtherapee-cli", "-o", picture, "-n", "-Y", "-c", path]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("developer", [by_darktable, by_rawtherapee])
def test_colours_are_what_they_were(tmp_path: Path, form: str, developer: object) -> None:
    assert callable(developer)
    command = developer(tmp_path / "a.dng", tmp_path / "a.png")
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: untested with it")
    if (form, command[0]) == ("linear, float", "rawtherapee-cli"):
        pytest.skip("RawTherapee 5.9 knows no linear DNG of floats")
    FORMS[form](tmp_path / "a.dng")
    subprocess.run(list(map(str, command)), capture_output=True, check=True, timeout=600)
    with Image.open(tmp_path / "a.png") as opened:
        shown = np.asarray(opened.convert("RGB")).astype(int)
    assert np.ptp([shown.shape, (384, 512, 3)], axis=0).max() <= 8  # some cut off what they have no neighbours for
    red, green, blue, grey = (shown[150:230, 128 * k + 50 : 128 * k + 70].mean(axis=(0, 1)) for k in range(4))
    assert red.argmax() == 0
    assert green.argmax() == 1
    assert blue.argmax() == 2
    assert min(np.ptp(colour) for colour in (red, green, blue)) > 50
    assert np.ptp(grey) < 6
    assert 60 < grey.mean() < 200


def test_compressed_counts_are_predicted_as_all_developers_know(tmp_path: Path) -> None:
    """Of predictors darktable knows the first; each colour is predicted from its own, which makes files smaller."""
    cfa(tmp_path / "a.dng", compressed=True)
    with tifffile.TiffFile(tmp_path / "a.dng") as dng:
        page = dng.pages.first
        stored = (tmp_path / "a.dng").read_bytes()[page.dataoffsets[0] :][: page.databytecounts[0]]
    frame, scan = stored.index(b"\xff\xc3"), stored.index(b"\xff\xda")
    assert (stored[frame + 4], stored[frame + 9]) == (16, 2)  # bits, components
    assert stored[scan + 5 + 2 * 2] == 1  # the predictor, behind the components
    assert imagecodecs.jpeg8_decode(stored).shape == (384, 256, 2)


def test_no_strip_has_more_rows_than_the_image(tmp_path: Path) -> None:
    """darktable refuses it."""
    mosaic = simulate(card()[:64, :64], "RGGB", parse_pattern("grid:1"), Sensor(), seed=1)
    write_cfa_dng(tmp_path / "a.dng", mosaic)
    write_linear_dng(tmp_path / "b.dng", card()[:64, :64], mosaic, 1.0, options=LinearDngOptions(floating=True))
    with tifffile.TiffFile(tmp_path / "a.dng") as dng:
        assert dng.pages.first.tags.valueof(278) == 64
    with tifffile.TiffFile(tmp_path / "b.dng") as dng:
        assert dng.pages.first.pages[0].tags.valueof(278) == 64
