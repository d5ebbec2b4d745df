"""Interpolation without learning: exact where the scene is flat, and valid sites decide."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sve2hdr.interpolate import interpolate
from sve2hdr.mosaic import BAYER_ORDERS, ExposurePattern
from sve2hdr.simulation.simulate import Sensor, simulate

PAIRS = np.array([[1 / 8], [1 / 8], [1], [1]], np.float32)
NOISELESS = Sensor(full_well_e=1e10, read_noise_e=0, bit_depth=16, black_level=1000, white_level=65_000)


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("phase", range(4))
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("level", [0.05, 0.6])  # of the least exposed sites' span; at 0.6 the others are saturated
def test_a_flat_scene_is_exact(cfa: str, phase: int, columns: bool, level: float) -> None:
    exposure = np.roll(PAIRS, phase, 0)
    pattern = ExposurePattern(exposure.T.copy() if columns else exposure)
    scene = np.broadcast_to(np.float32([0.5, 1, 0.7]) * np.float32(level), (21, 18, 3)).copy()
    image = interpolate(simulate(scene, cfa, pattern, NOISELESS, 0), pattern)
    assert image.dtype == np.float32
    assert_allclose(image, scene * 8, rtol=1e-3)


def test_where_all_sites_clip_the_least_exposed_decide() -> None:
    pattern = ExposurePattern(PAIRS)
    image = interpolate(simulate(np.full((40, 40, 3), 5, np.float32), "RGGB", pattern, NOISELESS, 0), pattern)
    assert_allclose(image, 8, rtol=0.03)


def test_any_blocks_of_exposures_are_taken() -> None:
    exposure = np.array([[1 / 8, 1 / 4], [1 / 2, 1]], np.float32).repeat(2, 0).repeat(2, 1)
    pattern, scene = ExposurePattern(exposure), np.full((24, 24, 3), 0.1, np.float32)
    assert_allclose(interpolate(simulate(scene, "GRBG", pattern, NOISELESS, 0), pattern), 0.8, rtol=1e-3)
