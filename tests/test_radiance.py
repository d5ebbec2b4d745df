"""Counts to planes: one radiance whatever the exposure, usable below saturation, noise as sites have it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.mosaic import ExposurePattern, Mosaic
from sve2hdr.radiance import NoiseModel, clipped_share, saturation_limit, site_planes

BLACK, WHITE = 100.0, 1100.0
ROWS = ExposurePattern(np.array([[1 / 8], [1 / 8], [1], [1]], np.float32))


@given(st.floats(0, 0.2), st.floats(1 / 64, 1))
def test_radiance_does_not_depend_on_the_exposure_it_was_seen_with(light: float, exposure: float) -> None:
    least = 1 / 64
    counts = np.float64(BLACK + (WHITE - BLACK) * light * exposure / least)
    radiance, _, _ = site_planes(counts, BLACK, WHITE, exposure, least, 0.1, 3.0)
    assert radiance == pytest.approx(min(light, least / exposure), abs=1e-12)  # which is where it saturates


def test_torch_and_numpy_agree() -> None:
    rng = np.random.default_rng(0)
    counts = rng.uniform(50, 1200, (8, 8)).astype(np.float32)
    levels = [np.float32(v) for v in (BLACK, WHITE, 0.5, 0.25, 0.2, 3.0)]
    ours = site_planes(counts, *levels)
    theirs = site_planes(torch.from_numpy(counts), *(torch.tensor(level) for level in levels))
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == np.float32
        assert_allclose(a, b.numpy(), rtol=1e-5, atol=1e-7)


def test_usable_falls_from_one_to_zero_below_saturation() -> None:
    share = np.linspace(-0.1, 1.2, 200)
    _, usable, _ = site_planes(BLACK + share * (WHITE - BLACK), BLACK, WHITE, 1.0, 1.0, 0.1, 3.0)
    assert (np.diff(usable) <= 0).all()
    assert_array_equal(usable[share <= 0.95], 1)
    assert_array_equal(usable[share >= 0.99], 0)
    assert usable.min() == 0


def test_a_site_is_saturated_where_it_is_no_longer_usable() -> None:
    black, white = np.float32([[100, 8000]]), np.float32([[1100, 16_000]])
    counts = saturation_limit(black, white) + np.float32([[-1], [0], [1]])
    _, usable, _ = site_planes(counts, black, white, 1.0, 1.0, 0.1, 3.0)
    assert_array_equal(usable > 1e-4, [[True] * 2, [False] * 2, [False] * 2])


def test_radiance_goes_on_below_black_and_ends_at_white() -> None:
    radiance, _, noise = site_planes(np.array([0.0, 65535.0]), BLACK, WHITE, 1.0, 1.0, 0.1, 3.0)
    assert radiance[0] < 0
    assert radiance[1] == 1
    assert noise[0] == pytest.approx(3 / 1000)  # below black only read noise is left


@pytest.mark.parametrize("exposure", [0.125, 1.0])
def test_noise_is_the_standard_deviation_of_radiance(exposure: float) -> None:
    rng = np.random.default_rng(1)
    gain, read, electrons = 0.4, 2.5, 900.0
    counts = BLACK + gain * rng.poisson(electrons, 400_000) + rng.normal(0, read, 400_000)
    radiance, _, _ = site_planes(counts, BLACK, WHITE, exposure, 0.125, gain, read)
    _, _, noise = site_planes(np.array(BLACK + gain * electrons), BLACK, WHITE, exposure, 0.125, gain, read)
    assert radiance.std() == pytest.approx(float(noise), rel=0.01)


def frame(counts: np.ndarray) -> Mosaic:
    return Mosaic(counts, "RGGB", np.full((2, 2), BLACK, np.float32), WHITE, np.eye(3))


def test_clipped_share_counts_the_least_exposed_sites_only() -> None:
    counts = np.full((8, 8), 200, np.uint16)
    counts[2:4] = counts[6:] = 1100
    assert clipped_share(frame(counts), ROWS) == 0
    counts[0, :4] = 1100
    assert clipped_share(frame(counts), ROWS) == 4 / 32
    assert clipped_share(frame(np.full((7, 5), 1100, np.uint16)), ROWS) == 1


def test_clipped_share_of_a_frame_without_such_sites_is_none() -> None:
    assert clipped_share(frame(np.full((2, 4), 1100, np.uint16)), ExposurePattern(ROWS.exposure[::-1].copy())) == 0


@pytest.mark.parametrize("wrong", [np.ones(3), np.full((1, 1), -1.0), np.full((1, 1), np.nan)])
def test_a_noise_model_is_one_period_of_numbers(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="gain must be"):
        NoiseModel(wrong, np.ones((1, 1)))
    with pytest.raises(ValueError, match="read_noise must be"):
        NoiseModel(np.ones((1, 1)), wrong)


def test_a_noise_model_is_of_arrays() -> None:
    with pytest.raises(TypeError, match="gain must be a numpy array, not float"):
        NoiseModel(1.0, np.ones((1, 1)))  # type: ignore[arg-type]
