"""Scores: of the scenes, by the stated setting, the same again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sve2hdr.color import COLOR_SPACES
from sve2hdr.errors import UnreadableImage
from sve2hdr.evaluate import Score, evaluate, mean_gain, scene_files
from sve2hdr.hdrfile import write_hdr
from sve2hdr.mosaic import Capture
from sve2hdr.network import NetworkConfig, SveNet
from sve2hdr.simulate import Sensor

torch.set_num_threads(1)


def write_scene(path: Path, scene: np.ndarray) -> Path:
    write_hdr(path, scene, color_space=COLOR_SPACES["rec709"], capture=Capture())
    return path


def smooth(height: int = 64, width: int = 72) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 24
    return np.stack([2 + np.sin(x), 2 + np.sin(x + y), 2 + np.cos(y)], axis=-1).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> SveNet:
    torch.manual_seed(0)
    network = SveNet(NetworkConfig(widths=(8, 8, 8)))
    torch.nn.init.zeros_(network.head.weight)
    return network


def test_every_scene_is_scored_in_both_modes(tmp_path: Path, network: SveNet) -> None:
    paths = [write_scene(tmp_path / f"{name}.exr", smooth()) for name in "ab"]
    told: list[Score] = []
    scores = evaluate(network, paths, done=told.append)
    assert told == scores
    assert [(s.scene, s.mode) for s in scores] == [(n, m) for n in "ab" for m in ("exposure", "gain")]
    assert all(30 < s.linear < 70 and 30 < s.network < 70 for s in scores)
    assert evaluate(network, paths) == scores
    linear, learned = mean_gain(scores, "gain")
    assert linear == pytest.approx((scores[1].linear + scores[3].linear) / 2)
    assert learned == pytest.approx((scores[1].network + scores[3].network) / 2)


def test_less_noise_scores_higher_and_the_ratio_is_heeded(tmp_path: Path, network: SveNet) -> None:
    path = write_scene(tmp_path / "a.exr", smooth())
    clean, noisy = (
        evaluate(network, [path], ratio_ev=2, modes=["exposure"], sensor=Sensor(full_well_e=e))[0] for e in (1e6, 500)
    )
    assert clean.linear > noisy.linear + 5
    assert clean.network > noisy.network + 5


def test_scene_files_are_images_by_name(tmp_path: Path) -> None:
    for name in ("b.exr", "a.hdr", ".hidden.exr", "c.TIF", "notes.txt", "d.dng"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in scene_files(tmp_path)] == ["a.hdr", "b.exr", "c.TIF"]


@pytest.mark.parametrize("dark", [True, False])
def test_a_scene_that_cannot_be_used_is_named(tmp_path: Path, network: SveNet, dark: bool) -> None:
    path = tmp_path / "wrong.exr"
    if dark:
        write_scene(path, np.zeros((32, 32, 3), np.float32))
    else:
        path.write_bytes(b"no image")
    with pytest.raises(UnreadableImage, match=r"wrong\.exr"):
        evaluate(network, [path])
