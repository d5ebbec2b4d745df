"""Synthetic scenes: finite, positive, high in range, the same for the same seed."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sve2hdr.training.synthetic import equally_bright, lay_paper, synthetic_scene


@pytest.fixture(scope="module")
def scenes() -> list[np.ndarray]:
    return [synthetic_scene(seed, size=48) for seed in range(8)]


def test_scenes_are_light(scenes: list[np.ndarray]) -> None:
    for scene in scenes:
        assert scene.shape == (48, 48, 3)
        assert scene.dtype == np.float32
        assert np.isfinite(scene).all()
        assert scene.min() > 0
        assert scene.flags.c_contiguous


def test_the_seed_decides(scenes: list[np.ndarray]) -> None:
    assert_array_equal(synthetic_scene(3, 48), scenes[3])
    assert all(np.abs(scenes[3] - scene).mean() > 1e-3 for n, scene in enumerate(scenes) if n != 3)


def test_scenes_have_high_range_edges_and_colours(scenes: list[np.ndarray]) -> None:
    ranges = [np.log2(np.percentile(scene, 99.9) / np.percentile(scene, 1)) for scene in scenes]
    assert np.median(ranges) > 5
    steps = [np.abs(np.diff(np.log2(scene[..., 1]), axis=1)) for scene in scenes]
    assert np.mean([(step > 0.5).any() for step in steps]) > 0.8
    assert np.median([np.ptp(np.log2(scene), axis=2).mean() for scene in scenes]) > 0.1


def test_paper_is_bright_and_of_almost_no_colour() -> None:
    canvas = np.full((64, 64, 3), (0.01, 0.002, 0.03), np.float32)
    lay_paper(canvas, np.random.default_rng(0))
    paper = canvas[..., 0] != np.float32(0.01)
    assert 0.05 < paper.mean() < 1
    assert canvas[paper].min() > 0.25
    assert np.ptp(np.log2(canvas[paper]), axis=1).max() < 0.5


def test_stripes_that_colour_alone_tells_apart_are_equally_bright() -> None:
    rng = np.random.default_rng(0)
    pairs = np.array([equally_bright(rng) for _ in range(200)])
    assert pairs.min() > 0
    assert pairs.dtype == np.float32
    brightness_ev = np.log2(pairs.mean(2))
    assert np.median(np.abs(np.diff(brightness_ev))) < 0.1
    green, magenta = pairs[..., 1], pairs[..., ::2].mean(2)
    colour_ev = np.abs(np.diff(np.log2(green / magenta)))
    assert np.median(colour_ev) > 0.5
