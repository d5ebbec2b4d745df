"""Reconstruction without learning: exact where it can be, the same for all layouts and tiles, above interpolation."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.classical import HALO_PX, _solved, classical
from sve2hdr.evaluation.charts import zone_plate
from sve2hdr.evaluation.metrics import psnr_mu
from sve2hdr.interpolate import interpolate
from sve2hdr.mosaic import BAYER_ORDERS, ExposurePattern
from sve2hdr.radiance import NoiseModel
from sve2hdr.simulation.simulate import Mode, Sensor, simulate

torch.set_num_threads(1)
PAIRS = np.array([[1 / 8], [1 / 8], [1], [1]], np.float32)
NOISELESS = Sensor(
    full_well_e=1e10, read_noise_e=0, preamp_noise_e=0, bit_depth=16, black_level=1000, white_level=65_000
)
TINT = np.float32([0.5, 1, 0.7])


def ramps(height: int, width: int) -> np.ndarray:
    """Light that changes by a constant factor per pixel, of one colour."""
    y, x = np.mgrid[:height, :width]
    return np.float32(np.exp2(x / 16 - y / 24 - 6))[..., None] * TINT


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("level", [0.05, 0.6])  # of the least exposed sites' span; at 0.6 the others are saturated
def test_a_flat_scene_is_exact(cfa: str, phase: int, columns: bool, level: float) -> None:
    exposure = np.roll(PAIRS, phase, 0)
    pattern = ExposurePattern(exposure.T.copy() if columns else exposure)
    scene = np.broadcast_to(TINT * np.float32(level), (21, 18, 3)).copy()
    image = classical(simulate(scene, cfa, pattern, NOISELESS, 0), pattern, NOISELESS.noise_model(pattern))
    assert image.dtype == np.float32
    assert_allclose(image, scene * 8, rtol=2e-3)


@pytest.mark.parametrize(
    ("cfa", "exposure"),
    [
        ("GRBG", np.array([[1 / 8, 1 / 4], [1 / 2, 1]], np.float32).repeat(2, 0).repeat(2, 1)),
        ("RRGGRRGGGGBBGGBB", np.tile(np.float32([[1, 1 / 8], [1 / 8, 1]]), (2, 2))),  # quad-Bayer
    ],
)
def test_an_exponential_ramp_of_one_colour_is_followed_for_any_pattern(cfa: str, exposure: np.ndarray) -> None:
    pattern, scene = ExposurePattern(exposure), ramps(64, 64)
    image = classical(simulate(scene, cfa, pattern, NOISELESS, 0), pattern, NOISELESS.noise_model(pattern)) / 8
    assert_allclose(image[16:-16, 16:-16], scene[16:-16, 16:-16], rtol=0.03)


@pytest.mark.parametrize(("dark", "light"), [(0.05, 0.9), (0.15, 0.6), (0.01, 0.3)])
def test_level_edges_have_no_bright_line_where_the_brighter_rows_clip(dark: float, light: float) -> None:
    y, x = np.mgrid[:96, :96]
    share = np.clip(y - 48 - 0.09 * (x - 48) + 0.5, 0, 1)[..., None]
    scene = np.float32(dark + (light - dark) * share) * TINT
    pattern, noise = ExposurePattern(PAIRS), NOISELESS.noise_model(ExposurePattern(PAIRS))
    image = classical(simulate(scene, "RGGB", pattern, NOISELESS, 0), pattern, noise) / 8 / TINT
    assert image[16:-16, 16:-16].max() < 1.15 * light


def test_stars_keep_their_colour() -> None:
    y, x = np.mgrid[:96, :96]
    light = np.full((96, 96), 0.004)
    for row in range(16, 80, 16):
        for column in range(16, 80, 16):
            light += 0.08 * np.exp(-((y - row - column / 41) ** 2 + (x - column - row / 37) ** 2) / 2)
    scene = np.float32(light[..., None]) * TINT
    pattern, noise = ExposurePattern(PAIRS), NOISELESS.noise_model(ExposurePattern(PAIRS))
    image = classical(simulate(scene, "RGGB", pattern, NOISELESS, 0), pattern, noise) / 8 / TINT
    sums = (image - 0.004).reshape(6, 16, 6, 16, 3).sum(axis=(1, 3))[1:5, 1:5]
    truth = (light - 0.004).reshape(6, 16, 6, 16).sum(axis=(1, 3))[1:5, 1:5, None]
    assert_allclose(sums / truth, 1, atol=0.06)


def test_the_result_does_not_depend_on_tiles() -> None:
    pattern, sensor = ExposurePattern(PAIRS), Sensor()
    scene = np.random.default_rng(0).uniform(0, 1, (72, 60, 1)).astype(np.float32) * TINT
    mosaic, noise = simulate(scene, "RGGB", pattern, sensor, 0), sensor.noise_model(pattern)
    told: list[float] = []
    whole = classical(mosaic, pattern, noise, tile_px=80, progress=told.append)
    assert_allclose(classical(mosaic, pattern, noise, tile_px=33), whole, rtol=1e-4, atol=1e-6)
    assert told == [1.0]


def test_a_site_is_seen_as_far_as_the_halo_says_and_no_farther() -> None:
    pattern, sensor, side = ExposurePattern(PAIRS), Sensor(), 2 * HALO_PX + 24
    noise = sensor.noise_model(pattern)
    mosaic = simulate(np.full((side, side, 3), 0.05, np.float32), "RGGB", pattern, sensor, 0)
    middle = side // 2
    before = classical(mosaic, pattern, noise, tile_px=side)
    mosaic.counts[middle, middle] = 16_000
    changed = np.argwhere((classical(mosaic, pattern, noise, tile_px=side) != before).any(2)) - middle
    assert 10 < np.abs(changed).max() <= HALO_PX


def test_where_all_sites_clip_the_least_exposed_decide() -> None:
    pattern = ExposurePattern(PAIRS)
    bright = simulate(np.full((40, 40, 3), 5, np.float32), "RGGB", pattern, NOISELESS, 0)
    assert_allclose(classical(bright, pattern, NOISELESS.noise_model(pattern)), 8, rtol=0.03)


def test_darkness_stays_dark_and_finite() -> None:
    pattern, sensor = ExposurePattern(PAIRS), Sensor()
    dark = simulate(np.zeros((40, 40, 3), np.float32), "RGGB", pattern, sensor, 0)
    image = classical(dark, pattern, sensor.noise_model(pattern))
    assert np.isfinite(image).all()
    read_noise = float(sensor.noise_model(pattern).read_noise.max()) / 14_976  # of the most exposed sites' span
    assert abs(image.mean()) < read_noise / 4
    assert image.std() < read_noise  # smoothed


def test_dim_flats_are_smoother_than_interpolated_ones() -> None:
    """The last, smallest window followed its few sites: grain like pepper, no less noise than linear interpolation."""
    pattern, sensor = ExposurePattern(PAIRS), Sensor(mode="gain")
    flat = simulate(np.full((192, 192, 3), 40 / sensor.full_well_e, np.float32), "RGGB", pattern, sensor, 0)
    smooth, linear = classical(flat, pattern, sensor.noise_model(pattern)), interpolate(flat, pattern)
    assert (smooth.std((0, 1)) < 0.8 * linear.std((0, 1))).all()


@pytest.mark.parametrize(("mode", "electrons"), [("gain", 8), ("gain", 16), ("exposure", 128)])
def test_noise_does_not_darken_shadows(mode: Mode, electrons: float) -> None:
    """The mean of the logarithm is below the logarithm of the mean: these were 2 to 6 % too dark."""
    pattern, sensor = ExposurePattern(PAIRS), Sensor(mode=mode)
    light = electrons / sensor.full_well_e / (8 if mode == "exposure" else 1)  # electrons of the most exposed sites
    flat = simulate(np.full((192, 192, 3), light, np.float32), "RGGB", pattern, sensor, 0)
    image = classical(flat, pattern, sensor.noise_model(pattern)) / 8
    assert_allclose(image.mean((0, 1)), light, rtol=0.015)


def test_a_sensor_without_noise_at_all_is_no_error() -> None:
    pattern = ExposurePattern(PAIRS)
    noise = NoiseModel(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    mosaic = simulate(np.full((24, 24, 3), 0.05, np.float32), "RGGB", pattern, NOISELESS, 0)
    assert_allclose(classical(mosaic, pattern, noise), 0.4, rtol=2e-3)


@pytest.mark.parametrize("mode", ["exposure", "gain"])
def test_it_beats_interpolation_on_detail(mode: str) -> None:
    pattern, sensor = ExposurePattern(PAIRS), Sensor(mode=mode)  # type: ignore[arg-type]
    truth = zone_plate(128)[..., None] * TINT
    mosaic = simulate(truth, "RGGB", pattern, sensor, 0)
    simple, fitted = interpolate(mosaic, pattern), classical(mosaic, pattern, sensor.noise_model(pattern))
    assert psnr_mu(fitted / 8, truth, 8) > psnr_mu(simple / 8, truth, 8) + 2


def test_systems_are_solved_as_numpy_does_it() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(5, 6, 6))
    matrices, right = half @ half.swapaxes(1, 2) + np.eye(6), rng.normal(size=(5, 6))
    planes = [[torch.from_numpy(matrices[:, i, j].copy()) for j in range(6)] for i in range(6)]
    kept = [row[:] for row in planes]
    solution = torch.stack(_solved(planes, [torch.from_numpy(right[:, i].copy()) for i in range(6)]), 1)
    assert_allclose(solution, np.linalg.solve(matrices, right[..., None])[..., 0], rtol=1e-9)
    for row, before in zip(planes, kept, strict=True):
        for plane, was in zip(row, before, strict=True):
            assert_array_equal(plane, was)  # the caller's matrix is left alone
