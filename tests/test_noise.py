"""Noise measured on the frame: near the truth where the frame shows it, and a usable answer for any frame."""

from collections.abc import Callable

import numpy as np
import pytest
from frames import PAIRS

from sve2hdr.mosaic import ExposurePattern, Mosaic
from sve2hdr.sensor.noise import estimate_noise, measured_noise
from sve2hdr.simulation.simulate import Mode, Sensor, simulate


def gradients(height: int = 384, width: int = 512) -> np.ndarray:
    """A smooth scene over ten stops, camera RGB, 1.0 = saturation of the least exposed sites."""
    y, x = np.mgrid[:height, :width]
    light = np.exp2(-10 * x / width) * (0.9 + 0.1 * np.sin(y / 60))
    return (light[..., None] * np.array([0.5, 0.9, 0.6])).astype(np.float32)


@pytest.mark.parametrize("mode", ["exposure", "gain"])
@pytest.mark.parametrize(("full_well_e", "read_noise_e"), [(30_000, 4), (60_000, 3), (2_000, 6)])
def test_a_smooth_scene_gives_the_noise_of_its_sensor(mode: Mode, full_well_e: float, read_noise_e: float) -> None:
    sensor = Sensor(mode, full_well_e=full_well_e, read_noise_e=read_noise_e)
    true = sensor.noise_model(PAIRS)
    found = estimate_noise(simulate(gradients(), "RGGB", PAIRS, sensor, seed=1), PAIRS)
    for level in (0.001, 0.02, 0.2, 0.8):  # of the span: the standard deviation is what the network is told
        counts = level * (sensor.white_level - sensor.black_level)
        for row in (0, 2):
            wanted = np.sqrt(true.read_noise[row, 0] ** 2 + true.gain[row, 0] * counts)
            told = np.sqrt(found.read_noise[row, 0] ** 2 + found.gain[row, 0] * counts)
            assert 1 / 1.6 < told / wanted < 1.6, (level, row)


def test_texture_all_over_does_not_make_the_noise_of_one_exposure_jump_from_shot_to_shot() -> None:
    scene, rough = gradients(320, 448), np.random.default_rng(0).standard_normal((320, 448))
    for axis in (0, 1):
        rough = (np.roll(rough, 1, axis) + 2 * rough + np.roll(rough, -1, axis)) / 4
    rough[:32] = 0  # a tenth is flat
    scene *= np.exp(1.6 * rough)[..., None].astype(np.float32)
    sensor = Sensor(full_well_e=3000, read_noise_e=6)
    shots = [estimate_noise(simulate(scene, "RGGB", PAIRS, sensor, seed), PAIRS).read_noise for seed in range(4)]
    off = np.log2(np.array(shots) / sensor.noise_model(PAIRS).read_noise)
    assert np.abs(off).max() < 0.5
    assert np.ptp(off, axis=0).max() < 0.75


def board(y: np.ndarray, x: np.ndarray, side: float) -> np.ndarray:
    return (np.floor((x + 0.09 * y) / side) + np.floor((y - 0.09 * x) / side)) % 2


def slats(y: np.ndarray, x: np.ndarray, side: float) -> np.ndarray:
    return np.floor((0.825 * x + 0.565 * y) / side) % 2


def waves(y: np.ndarray, x: np.ndarray, side: float) -> np.ndarray:
    return 0.5 + 0.25 * np.sin(np.pi * (x + 0.2 * y) / side)


@pytest.mark.parametrize("cfa", ["RGGB", "RRGGRRGGGGBBGGBB"])
@pytest.mark.parametrize(
    ("draw", "side"), [(board, 12), (board, 20), (slats, 5.3), (slats, 11), (waves, 4), (waves, 8)]
)
def test_edges_and_waves_that_fill_the_frame_are_not_taken_for_noise(
    draw: Callable[[np.ndarray, np.ndarray, float], np.ndarray], side: float, cfa: str
) -> None:
    fine = draw(*np.mgrid[: 3 * 256, : 3 * 384] / 3, side)
    light = 0.02 + 0.43 * fine.reshape(256, 3, 384, 3).mean((1, 3))
    pattern = PAIRS if len(cfa) == 4 else ExposurePattern(np.float32([[1 / 8, 1], [1, 1 / 8]]))
    scene = (light[..., None] * np.array([0.5, 0.9, 0.6])).astype(np.float32)
    true, found = Sensor().noise_model(pattern), estimate_noise(simulate(scene, cfa, pattern, Sensor(), 1), pattern)
    told, wanted = (np.sqrt(noise.read_noise.max() ** 2 + noise.gain.min() * 3000) for noise in (found, true))
    assert 1 / 2 < told / wanted < 2


def test_what_rounding_adds_is_noise_too_and_counts_once() -> None:
    sensor = Sensor(bit_depth=8, black_level=16, white_level=252, read_noise_e=4)  # of 0.03 counts
    frame = simulate(gradients(), "RGGB", PAIRS, sensor, seed=1)
    found, rounding = estimate_noise(frame, PAIRS).read_noise, 12**-0.5
    assert (rounding <= found).all()
    assert (found < 1.3 * rounding).all()
    for of_margins in (0.0, rounding, 0.4, 5.0):  # what masked sites show is of whole counts, and has it already
        told = measured_noise(frame, PAIRS, np.full((1, 1), of_margins))[0].read_noise
        assert told == pytest.approx(max(of_margins, rounding), rel=1e-5)


def test_noise_that_whole_counts_coarsen_is_noise_still() -> None:
    sensor = Sensor("exposure", 8, black_level=16, white_level=250, full_well_e=1000, read_noise_e=1, preamp_noise_e=1)
    frame = simulate(0.05 * gradients(), "RGGB", PAIRS, sensor, seed=1)  # noise of some counts at most
    assert estimate_noise(frame, PAIRS).gain.min() == pytest.approx(234 / 1000, rel=0.25)


def test_read_noise_of_a_third_of_a_count_is_told_from_none_by_what_sensors_have() -> None:
    sensor = Sensor("gain", bit_depth=10, black_level=64, white_level=1008, read_noise_e=2)
    found = estimate_noise(simulate(gradients(), "RGGB", PAIRS, sensor, seed=1), PAIRS).read_noise
    true = np.sqrt(sensor.noise_model(PAIRS).read_noise ** 2 + 1 / 12)
    assert (np.abs(np.log2(found / true)) < 0.3).all()


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_masked_sites_that_rounding_makes_alike_say_nothing_of_the_gain(bits: int) -> None:
    sensor = Sensor(bit_depth=bits, black_level=2**bits / 16, white_level=2**bits * 63 / 64)
    usual = sensor.noise_model(PAIRS).gain
    blown = simulate(np.full((200, 300, 3), 20, np.float32), "RGGB", PAIRS, sensor, seed=1)
    for of_margins in (0.0, 0.1, 12**-0.5):
        told = measured_noise(blown, PAIRS, np.full((1, 1), of_margins))[0].gain
        assert (np.abs(np.log2(told / usual)) < 0.5).all()


def test_the_estimate_repeats_with_the_pattern() -> None:
    exposure = np.roll(PAIRS.exposure, 1, 0).T.copy()
    pattern = ExposurePattern(exposure)
    noise = estimate_noise(simulate(gradients(), "GBRG", pattern, Sensor("gain"), 0), pattern)
    assert noise.gain.shape == noise.read_noise.shape
    for level in np.unique(exposure):
        at = np.broadcast_to(exposure == level, noise.gain.shape)
        assert np.ptp(noise.gain[at]) == np.ptp(noise.read_noise[at]) == 0


rng = np.random.default_rng(0)
FRAMES = {
    "black": np.full((64, 64), 512, np.uint16),
    "zero": np.zeros((64, 64), np.uint16),
    "flat": np.full((64, 64), 5000, np.uint16),
    "saturated": np.full((64, 64), 65535, np.uint16),
    "half saturated": np.where(rng.random((64, 64)) < 0.5, 15_000, 600).astype(np.uint16),
    "below black": rng.integers(0, 512, (64, 64)).astype(np.uint16),
    "white noise": rng.integers(0, 65535, (96, 64)).astype(np.uint16),
    "one site": np.full((1, 1), 900, np.uint16),
    "one row": np.full((1, 500), 900, np.uint16),
    "tiny": rng.integers(500, 900, (5, 7)).astype(np.uint16),
    "odd": rng.integers(500, 900, (65, 131)).astype(np.uint16),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("black", [np.full((1, 1), 512, np.float32), np.arange(16, dtype=np.float32).reshape(4, 4)])
def test_any_frame_gives_a_noise_model(name: str, black: np.ndarray) -> None:
    mosaic = Mosaic(FRAMES[name], "RGGB", black, 15_000.0, np.eye(3))
    for pattern in (PAIRS, ExposurePattern(np.ones((1, 1), np.float32))):
        noise = estimate_noise(mosaic, pattern)
        for period in (noise.gain, noise.read_noise):
            assert period.dtype == np.float32
            assert np.isfinite(period).all()
            assert (period > 0).all()
            assert (period < 15_000).all()


def test_whether_the_frame_shows_its_noise_is_told() -> None:
    rng = np.random.default_rng(1)
    contrast = np.kron(10 ** -rng.uniform(0.3, 1.5, (48, 64)), np.ones((8, 8)))
    light = 0.1 * (1 + contrast * rng.uniform(-1, 1, (384, 512)))
    texture = np.float32(light[..., None] * np.ones(3))
    for scene, shown in ((gradients(), True), (texture, False), (gradients(16, 16), False)):
        assert measured_noise(simulate(scene, "RGGB", PAIRS, Sensor("gain"), seed=1), PAIRS)[1] == shown
