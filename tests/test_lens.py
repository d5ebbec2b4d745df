"""A lens: what is displaced, by how much, and which way."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.simulation.lens import aberrated, displaced


def waves(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.stack([1 + 0.5 * np.sin(x / 5 + k) * np.cos(y / 7) for k in range(3)]).astype(np.float32)


def test_channels_are_moved_by_fractions_of_a_pixel() -> None:
    y, x = np.mgrid[:48, :64]
    px = np.array([[0.5, -0.25], [0, 0], [-1.2, 0.8]])
    moved = displaced(torch.from_numpy(waves(y, x)), px).numpy()
    for k, (down, right) in enumerate(px):
        assert_allclose(moved[k, 4:-4, 4:-4], waves(y - down, x - right)[k, 4:-4, 4:-4], atol=0.01)


@pytest.mark.parametrize("move", [(0, 3), (2, 0), (-1, -4)])
def test_whole_pixels_are_moved_as_they_are_and_edges_extended(move: tuple[int, int]) -> None:
    light = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0)) * 100  # far above saturation, too
    moved = displaced(light, np.tile(np.float64(move), (3, 1))).numpy()
    rows, columns = ((np.arange(n) - k).clip(0, n - 1) for n, k in zip((20, 30), move, strict=True))
    assert_allclose(moved, light.numpy()[:, rows][:, :, columns], rtol=1e-3, atol=1e-4)


def test_green_stays_and_red_and_blue_part() -> None:
    y, x = np.mgrid[:64, :64]
    spot = np.exp(-((y - 32) ** 2 + (x - 32) ** 2) / 20).astype(np.float32)
    seen = aberrated(np.stack([spot] * 3, axis=2), 1.0)
    assert (seen >= 0).all()
    assert_array_equal(seen[..., 1], spot)
    centres = [np.array([(y * c).sum(), (x * c).sum()]) / c.sum() for c in np.moveaxis(seen.astype(np.float64), 2, 0)]
    assert np.linalg.norm(centres[0] - centres[2]) == pytest.approx(1, abs=0.1)
    assert_allclose(centres[0] + centres[2], 2 * centres[1], atol=0.01)
