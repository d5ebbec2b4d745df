"""Simulated sensors: light for exposure, the statistics of the noise model, saturation, seeds."""

from dataclasses import replace

import numpy as np
import pytest
from frames import PAIRS
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.color import COLOR_SPACES, linear_rgb
from sve2hdr.mosaic import BAYER_ORDERS, ExposurePattern
from sve2hdr.radiance import site_planes
from sve2hdr.simulation.simulate import NEUTRAL, Mode, Sensor, camera_scene, mosaic_of, seen_by_camera, simulate

ONE = ExposurePattern(np.ones((1, 1), np.float32))
NOISELESS = Sensor(full_well_e=1e10, read_noise_e=0)


def grey(level: float, height: int = 64, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.float32)


@pytest.mark.parametrize("exposure", [[[1 / 8], [1 / 8], [1], [1]], [[0.5, 1]], [[1 / 8, 1 / 4], [1 / 2, 1]]])
def test_a_part_of_the_light_for_a_multiple_of_the_exposure_gives_the_same_counts(exposure: list[list[float]]) -> None:
    light = np.random.default_rng(0).random((32, 40, 3)).astype(np.float32)
    pattern = ExposurePattern(np.array(exposure, np.float32))
    times = pattern.over((32, 40))[..., None] / pattern.exposure.min()  # powers of two: exact in float32
    frame = simulate(light / times, "RGGB", pattern, Sensor(), seed=3)
    assert_array_equal(frame.counts, simulate(light, "RGGB", ONE, Sensor(), seed=3).counts)


@pytest.mark.parametrize("mode", ["exposure", "gain"])
@pytest.mark.parametrize("level", [0.0, 0.0005, 0.01, 0.1])
def test_counts_have_the_mean_and_variance_of_the_noise_model(mode: Mode, level: float) -> None:
    sensor = Sensor(mode, full_well_e=20_000, read_noise_e=5, preamp_noise_e=2)
    frame, model = simulate(grey(level, 512, 512), "RGGB", PAIRS, sensor, seed=7), sensor.noise_model(PAIRS)
    for row in range(4):
        counts = frame.counts[row::4].astype(np.float64)
        signal = level * (16_000 - 1024) * PAIRS.exposure[row, 0] * 8
        variance = model.read_noise[row, 0] ** 2 + model.gain[row, 0] * signal
        n = counts.size
        assert abs(counts.mean() - 1024 - signal) < 5 * np.sqrt(variance / n)
        assert counts.var() == pytest.approx(variance + 1 / 12, rel=5 * np.sqrt(2 / n))


def test_gain_sites_have_the_same_photons_and_less_read_noise() -> None:
    sensor = Sensor("gain")
    model = sensor.noise_model(PAIRS)
    base = (16_000 - 1024) / 30_000
    assert_allclose(model.gain.ravel(), [base, base, 8 * base, 8 * base], rtol=1e-6)
    electrons = model.read_noise / model.gain
    assert_allclose(electrons[0], 4, rtol=1e-6)
    assert electrons[2] < 1.4
    assert not replace(sensor, read_noise_e=0).noise_model(PAIRS).read_noise.any()  # nor is there any in front
    assert_allclose(Sensor("exposure").noise_model(PAIRS).gain, base, rtol=1e-6)
    assert_allclose(Sensor("exposure").noise_model(PAIRS).read_noise, 4 * base, rtol=1e-6)


@pytest.mark.parametrize("mode", ["exposure", "gain"])
def test_sites_saturate_at_the_white_level_the_most_exposed_first(mode: Mode) -> None:
    sensor = replace(NOISELESS, mode=mode)
    for level, dark, bright in [(0.1, False, False), (0.13, False, True), (0.99, False, True), (1.01, True, True)]:
        frame = simulate(grey(level), "RGGB", PAIRS, sensor, seed=0)
        assert frame.counts.max() <= 16_000
        assert (frame.counts[:2] == 16_000).all() == dark
        assert (frame.counts[2:4] == 16_000).all() == bright
    assert (simulate(grey(1e6), "RGGB", PAIRS, sensor, seed=0).counts == 16_000).all()


def test_counts_end_at_zero_below() -> None:
    frame = simulate(
        grey(0, 256, 256), "RGGB", PAIRS, Sensor(black_level=2, read_noise_e=30, full_well_e=15_000), seed=0
    )
    assert frame.counts.min() == 0
    assert 0 < frame.counts.mean() < 40


@pytest.mark.parametrize("mode", ["exposure", "gain"])
def test_the_seed_alone_decides_the_noise(mode: Mode) -> None:
    scene = np.random.default_rng(0).random((40, 50, 3)).astype(np.float32)
    first = simulate(scene, "GBRG", PAIRS, Sensor(mode), seed=5)
    assert_array_equal(first.counts, simulate(scene, "GBRG", PAIRS, Sensor(mode), seed=5).counts)
    assert (first.counts != simulate(scene, "GBRG", PAIRS, Sensor(mode), seed=6).counts).mean() > 0.5


@pytest.mark.parametrize("cfa", [*BAYER_ORDERS, "RRGGRRGGGGBBGGBB"])
def test_every_site_sees_its_own_colour(cfa: str) -> None:
    scene = np.random.default_rng(1).random((9, 11, 3)).astype(np.float32)
    plane, side = mosaic_of(scene, cfa), int(len(cfa) ** 0.5)
    for y, x in np.ndindex(9, 11):
        assert plane[y, x] == scene[y, x, "RGB".index(cfa[y % side * side + x % side])]


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("mode", ["exposure", "gain"])
def test_without_noise_the_radiance_is_the_scene(cfa: str, mode: Mode) -> None:
    scene = np.random.default_rng(2).random((20, 22, 3)).astype(np.float32) * 0.1
    sensor = replace(NOISELESS, mode=mode, bit_depth=16, white_level=65_000)
    frame = simulate(scene, cfa, PAIRS, sensor, seed=0)
    radiance, usable, _ = site_planes(
        frame.counts.astype(np.float32), 1024.0, 65_000.0, PAIRS.over((20, 22)), 1 / 8, 0.1, 0.0
    )
    assert_allclose(radiance, mosaic_of(scene, cfa), atol=3e-5)
    assert (usable == 1).all()


def test_negative_light_is_none() -> None:
    frame = simulate(grey(-0.5), "RGGB", PAIRS, replace(NOISELESS, read_noise_e=0), seed=0)
    assert (frame.counts == 1024).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "other"},
        {"bit_depth": 7},
        {"bit_depth": 17},
        {"white_level": 16_384.0},
        {"black_level": -1.0},
        {"black_level": 16_000.0},
        {"full_well_e": 0.0},
        {"full_well_e": 1e-300},
        {"full_well_e": float("nan")},
        {"read_noise_e": -1.0},
        {"preamp_noise_e": -1.0},
        {"white_level": float("nan")},
    ],
)
def test_a_sensor_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"mode|depth|levels|full well"):
        replace(Sensor(), **wrong)  # type: ignore[arg-type]


def test_a_scene_is_scaled_to_its_percentile_and_seen_by_the_camera() -> None:
    scene = np.random.default_rng(3).random((50, 50, 3)).astype(np.float32) * 700
    scene[0, 0] = -5
    camera = camera_scene(scene, 90)
    assert camera.dtype == np.float32
    assert np.percentile(camera[..., 1], 90) == pytest.approx(1)
    assert camera.min() == 0
    assert_allclose(camera[1:] / camera[1:, :, 1:2], scene[1:] / scene[1:, :, 1:2] * NEUTRAL, rtol=1e-5)


@pytest.mark.parametrize("scene", [np.zeros((8, 8, 3), np.float32), np.full((8, 8, 3), -1, np.float32)])
def test_a_scene_without_light_is_refused(scene: np.ndarray) -> None:
    with pytest.raises(ValueError, match="nothing to expose for"):
        camera_scene(scene, 98)


def test_the_camera_is_turned_back_into_the_scene_by_its_own_tags() -> None:
    scene = np.random.default_rng(4).random((16, 16, 3)).astype(np.float32) * 0.5
    camera = camera_scene(scene, 98)
    frame = simulate(camera, "RGGB", PAIRS, NOISELESS, seed=0)
    back = linear_rgb(camera, frame, COLOR_SPACES["rec709"], 1e6)
    assert_allclose(back, scene / np.percentile(scene[..., 1], 98), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("mode", ["exposure", "gain"])
@pytest.mark.parametrize("radiance", [2.0, 1e10, 1e16, 3e38])
def test_what_is_far_too_bright_saturates(mode: str, radiance: float) -> None:
    scene = np.full((8, 8, 3), radiance, np.float32)
    frame = simulate(seen_by_camera(scene, 1e-9), "RGGB", PAIRS, Sensor(mode), seed=0)  # type: ignore[arg-type]
    assert (frame.counts == 16_000).all()


def test_a_scene_of_almost_no_light_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to expose for"):
        camera_scene(np.full((8, 8, 3), 1e-42, np.float32), 98)


@pytest.mark.parametrize("wrong", [{"full_well_e": 1e20}, {"read_noise_e": 1e30}, {"preamp_noise_e": 1e30}])
def test_no_sensor_counts_so_many_electrons(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="electrons are simulated"):
        replace(Sensor(), **wrong)  # type: ignore[arg-type]


def test_a_scene_with_values_that_are_not_finite_is_refused() -> None:
    scene = np.full((8, 8, 3), 0.1, np.float32)
    scene[2, 3, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        simulate(scene, "RGGB", ExposurePattern(np.ones((1, 1), np.float32)), Sensor(), 1)
