"""demosaic: samples kept, smooth scenes exact, errors small and local at edges of high range."""

from __future__ import annotations

import numpy as np
import pytest

from sve2hdr.demosaic import demosaic
from sve2hdr.mosaic import BAYER_ORDERS, cfa_period


def sampled(rgb: np.ndarray, cfa: str) -> np.ndarray:
    mosaic = np.empty(rgb.shape[:2], np.float32)
    for (y, x), letter in np.ndenumerate(cfa_period(cfa)):
        mosaic[y::2, x::2] = rgb[y::2, x::2, "RGB".index(letter)]
    return mosaic


@pytest.mark.parametrize("linear_below", [None, 0.01])
@pytest.mark.parametrize("shape", [(4, 4), (9, 12), (33, 21)])
@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_samples_are_kept_and_grey_stays_grey(cfa: str, shape: tuple[int, int], linear_below: float | None) -> None:
    mosaic = np.random.default_rng(0).normal(1, 2, shape).astype(np.float32)
    rgb = demosaic(mosaic, cfa, linear_below)
    np.testing.assert_array_equal(sampled(rgb, cfa), mosaic)
    flat = demosaic(np.full(shape, 0.3, np.float32), cfa, linear_below)
    np.testing.assert_allclose(flat, 0.3, rtol=1e-5)


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_a_plane_of_light_is_exact_inside(cfa: str) -> None:
    y, x = np.mgrid[:24, :30].astype(np.float32)
    rgb = (5 + 0.2 * x - 0.1 * y)[..., None] + np.float32([1, 0, -2])  # equal gradients, as the filters assume
    np.testing.assert_allclose(demosaic(sampled(rgb, cfa), cfa)[2:-2, 2:-2], rgb[2:-2, 2:-2], rtol=1e-5)


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_one_hue_of_any_range_is_exact_in_the_logarithm(cfa: str) -> None:
    y, x = np.mgrid[:24, :30].astype(np.float32)
    rgb = np.exp2(0.3 * x - 0.2 * y)[..., None] * np.float32([0.5, 1, 0.6])  # a ramp over 13 stops
    found = demosaic(sampled(rgb, cfa), cfa, linear_below=1e-4)[2:-2, 2:-2]
    np.testing.assert_allclose(found, rgb[2:-2, 2:-2], rtol=2e-3)


def test_a_lamp_does_not_ring_into_the_dark() -> None:
    rgb = np.full((40, 40, 3), 0.01, np.float32)
    rgb[10:20, 10:20] = 50
    dark = np.ones((40, 40), bool)
    dark[9:21, 9:21] = False  # what lies beside the lamp may mix with it
    assert np.abs(demosaic(sampled(rgb, "RGGB"), "RGGB")[dark] - 0.01).max() > 1
    assert np.abs(demosaic(sampled(rgb, "RGGB"), "RGGB", linear_below=1e-3)[dark] - 0.01).max() < 0.05


def test_noise_around_nothing_stays_unbiased() -> None:
    mosaic = np.random.default_rng(0).normal(0, 0.01, (600, 600)).astype(np.float32)
    rgb = demosaic(mosaic, "GRBG", linear_below=0.03)
    np.testing.assert_allclose(rgb.mean(axis=(0, 1)), mosaic.mean(), atol=1e-4)


def test_bands_leave_no_seam() -> None:
    mosaic = np.random.default_rng(0).random((1100, 16), np.float32)
    np.testing.assert_array_equal(demosaic(mosaic, "BGGR")[400:700], demosaic(mosaic[300:800], "BGGR")[100:400])


def test_what_is_no_bayer_mosaic_is_refused() -> None:
    with pytest.raises(ValueError, match="no Bayer order"):
        demosaic(np.zeros((8, 8), np.float32), "RRGGRRGGGGBBGGBB")
    with pytest.raises(ValueError, match="4 px a side"):
        demosaic(np.zeros((3, 8), np.float32), "RGGB")
