"""What several test files share: a simulated Dual ISO raw, its scene, and the folder of the repository."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from lights import light

if TYPE_CHECKING:
    from workers import Here

    from sve2hdr.training.shards import Scenes

REPOSITORY = Path(__file__).resolve().parent.parent

# the same examples in every run, however busy the machine is
settings.register_profile(
    "sve2hdr", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("sve2hdr")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the folder with pyproject.toml."""
    return REPOSITORY


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Let Ctrl-C be heeded, and the end of the terminal: background jobs of a shell, and of nohup, start without."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip what is left of a test that makes a link where few users may."""
    if os.name == "nt":
        request.getfixturevalue("tmp_path")  # before, as pytest tries to make a link to it
        monkeypatch.setattr(Path, "symlink_to", lambda *_, **__: pytest.skip("few users of Windows may make links"))


@pytest.fixture
def muted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop what libraries print, as our own programs do."""
    from sve2hdr.system import quiet

    monkeypatch.setattr(quiet, "_ours", False)  # which it is again at the end
    quiet.mute_libraries()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> type[Here]:
    """Let batches use workers in this process, which convert as the true ones do."""
    from workers import hired_here

    return hired_here(monkeypatch)


@pytest.fixture(scope="session")
def example_raw(repository: Path) -> Path:
    """Return the Dual ISO raw in examples/."""
    return repository / "examples" / "example.dng"


@pytest.fixture(scope="session")
def scene_exr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an HDR image, 160 x 128, with smooth, sharp, dark, bright and coloured parts."""
    from sve2hdr.color import COLOR_SPACES
    from sve2hdr.formats.exrwrite import WriteOptions
    from sve2hdr.hdrfile import write_hdr
    from sve2hdr.mosaic import Capture

    y, x = np.mgrid[:128, :160].astype(np.float32)
    light = np.exp2(6 * x / 160 - 6 + np.sin(y / 9)) * (1 + 0.4 * np.sign(np.sin((x + 2 * y) / 7)))
    tint = np.stack([1 + 0.4 * np.sin(y / 23), np.ones_like(x), 1 + 0.4 * np.cos(x / 31)], axis=2)
    path = tmp_path_factory.mktemp("scene") / "scene.exr"
    write_hdr(
        path,
        np.float32(light[..., None] * tint),
        color_space=COLOR_SPACES["rec709"],
        capture=Capture(),
        options=WriteOptions(half=False),
    )
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the weights file of a tiny network, untrained."""
    import torch

    from sve2hdr.network import NetworkConfig, SveNet
    from sve2hdr.weights import save_weights

    torch.manual_seed(0)
    config = NetworkConfig(widths=(8, 8, 8))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, config, SveNet(config).state_dict(), {})
    return path


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a shard of three scenes: one wide, one tall, one smaller than patches."""
    from sve2hdr.training.shards import pack_scenes

    folder = tmp_path_factory.mktemp("shards")
    scenes = [("wide", light(0)), ("tall", light(1, 90, 72)), ("small", light(2, 24, 18))]
    pack_scenes(scenes, folder, 60, lambda note: None)
    return folder


@pytest.fixture(scope="session")
def scenes(shards: Path) -> Scenes:
    """Return the scenes of `shards`."""
    import torch

    from sve2hdr.training.shards import Scenes

    return Scenes(shards, torch.device("cpu"))
