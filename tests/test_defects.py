"""repair_defects: hot, cold and stuck sites and lines go, stars, lines of the scene and edges stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sve2hdr.mosaic import BAYER_ORDERS, ExposurePattern, Mosaic
from sve2hdr.radiance import NoiseModel
from sve2hdr.sensor.defects import Defects, repair_defects
from sve2hdr.sensor.noise import estimate_noise
from sve2hdr.sensor.sites import _second_extremes
from sve2hdr.simulation.simulate import NEUTRAL, Mode, Sensor, simulate

ROWS = ExposurePattern(np.float32([[1 / 8], [1 / 8], [1], [1]]))
PATTERNS = {
    "row pairs": ROWS,
    "shifted": ExposurePattern(np.float32([[1], [1 / 4], [1 / 4], [1]])),
    "column pairs": ExposurePattern(np.float32([[1, 1, 1 / 8, 1 / 8]])),
    "blocks": ExposurePattern(np.float32([[1, 1, 1 / 2, 1 / 2]] * 2 + [[1 / 8, 1 / 8, 1 / 4, 1 / 4]] * 2)),
    "one exposure": ExposurePattern(np.ones((1, 1), np.float32)),
}
BLACK, WHITE = 2048.0, 15_488.0
QUAD = "RRGGRRGGGGBBGGBB"


def frame_of(light: np.ndarray, pattern: ExposurePattern = ROWS, cfa: str = "RGGB", mode: Mode = "gain") -> Mosaic:
    """Return a frame of a neutral scene, (H, W), 1.0 = saturation of the least exposed sites."""
    sensor = Sensor(mode, black_level=BLACK, white_level=WHITE)
    return simulate(np.float32(light[..., None] * NEUTRAL), cfa, pattern, sensor, seed=2)


def repaired(frame: Mosaic, pattern: ExposurePattern = ROWS) -> tuple[Mosaic, int]:
    result, defects = repair_defects(frame, pattern, estimate_noise(frame, pattern))
    return result, defects.count


def smooth(shape: tuple[int, int] = (256, 320)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 0.02 * np.exp2(2 * x / shape[1] + np.sin(y / 40))


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("name", PATTERNS)
def test_strong_defects_are_found_wherever_they_are(name: str, cfa: str) -> None:
    pattern = PATTERNS[name]
    frame = frame_of(smooth(), pattern, cfa)
    y, x = (axis.ravel() for axis in np.mgrid[0:256:17, 0:320:19])  # every phase, borders too
    kind = np.arange(len(y)) % 3
    counts = frame.counts.copy()
    signal = counts[y, x] - BLACK
    counts[y, x] = np.select([kind == 0, kind == 1], [WHITE, np.minimum(BLACK + 3 * signal + 3000, WHITE)], BLACK + 2)
    seen = (np.abs(counts[y, x] - frame.counts[y, x].astype(float)) > 200) & (frame.counts[y, x] < 0.9 * WHITE)
    result, count = repaired(replace(frame, counts=counts), pattern)
    back = np.abs(result.counts[y, x] - frame.counts[y, x].astype(float))
    assert np.mean((back < 0.35 * signal + 60)[seen]) > 0.96
    changed = result.counts != counts
    changed[y, x] = False
    assert changed.sum() <= 1
    assert count >= 0.95 * seen.sum()


def test_what_is_replaced_amid_saturated_sites_is_saturated_as_they_are() -> None:
    frame = frame_of(np.full((128, 128), 0.6))  # in the brighter rows all is
    listed = np.zeros(frame.shape, bool)
    listed[:, 61] = True
    counts = frame.counts.copy()
    counts[:, 61] = BLACK
    result, _ = repair_defects(replace(frame, counts=counts), ROWS, estimate_noise(frame, ROWS), listed=listed)
    assert (result.counts[2::4, 61] == WHITE).all()
    assert (result.counts[3::4, 61] == WHITE).all()


def test_saturated_rows_tell_nothing_of_hot_sites_in_darker_ones() -> None:
    frame = frame_of(np.full((128, 128), 0.5))
    counts = frame.counts.copy()
    counts[40:100:20, 61:100:10] = counts[41:100:20, 66:100:10] = WHITE
    result, count = repaired(replace(frame, counts=counts))
    assert count == 24
    for row, column in ((0, 61), (1, 66)):
        signal = np.median(frame.counts[row::4, column % 2 :: 2]) - BLACK
        np.testing.assert_allclose(result.counts[40 + row : 100 : 20, column:100:10] - BLACK, signal, rtol=0.05)


@pytest.mark.parametrize("pair", [(0, 2), (2, 0)])
@pytest.mark.parametrize("first", [(60, 60), (61, 61), (62, 60)])
def test_two_hot_sites_of_one_colour_do_not_pass_for_light(first: tuple[int, int], pair: tuple[int, int]) -> None:
    frame = frame_of(np.full((128, 128), 0.02))
    counts = frame.counts.copy()
    places = [first, (first[0] + pair[0], first[1] + pair[1])]
    for place in places:
        counts[place] += 4000
    result, count = repaired(replace(frame, counts=counts), PATTERNS["row pairs"])
    assert count == 2
    assert all(abs(int(result.counts[place]) - int(frame.counts[place])) < 300 for place in places)


@pytest.mark.parametrize("pair", [(0, 2), (0, 1), (1, 0), (1, 1), (4, 0)])
def test_two_defects_side_by_side_are_both_found(pair: tuple[int, int]) -> None:
    frame = frame_of(np.full((128, 128), 0.02))
    counts = frame.counts.copy()
    places = [(61, 60), (61 + pair[0], 60 + pair[1])]
    for place in places:
        counts[place] = WHITE
    result, count = repaired(replace(frame, counts=counts))
    if pair in ((0, 2), (4, 0)):  # of one kind: one does not hide the other
        assert count == 2
        assert all(abs(int(result.counts[place]) - int(frame.counts[place])) < 400 for place in places)
    else:  # light falls on neighbours of other colours just so
        assert count in (0, 2)


@pytest.mark.parametrize("mode", ["exposure", "gain"])
@pytest.mark.parametrize("fwhm", [1.2, 1.8, 2.5])
def test_stars_keep_their_light(fwhm: float, mode: Mode) -> None:
    rng, side = np.random.default_rng(7), 448
    light, sigma = np.full((side, side), 5e-4), fwhm / 2.3548
    offsets = np.mgrid[-6:7, -6:7]
    places = [(y, x) for y in range(14, side - 14, 28) for x in range(14, side - 14, 28)]
    for y, x in places:
        off_y, off_x = rng.uniform(-0.5, 0.5, 2)
        spread = ((offsets[0] - off_y) ** 2 + (offsets[1] - off_x) ** 2) / (2 * sigma**2)
        light[y - 6 : y + 7, x - 6 : x + 7] += np.exp(rng.uniform(np.log(0.002), np.log(1.2)) - spread)
    frame = frame_of(light, mode=mode)
    result, _ = repaired(frame)
    scale = ROWS.exposure.min() / ROWS.over(frame.shape)
    before, after = ((m.counts - BLACK) * scale for m in (frame, result))
    flux = [[part[y - 5 : y + 6, x - 5 : x + 6].sum() for y, x in places] for part in (before, after)]
    lost = np.abs(np.array(flux[1]) / flux[0] - 1)
    assert np.mean(lost > 0.03) <= 0.005
    assert lost.max() < 0.1


def test_lines_edges_and_noise_are_no_defects() -> None:
    y, x = np.mgrid[:256, :256]
    light = np.full((256, 256), 0.03)
    light[20] = light[:, 31] = 0.5
    light[(y == x) | (y == 200 - 2 * x)] = 0.4
    light[150:, 150:] = 0.001
    light[(y > 150) & (x < 100)] *= 1 + 0.7 * np.sign(np.sin(x[(y > 150) & (x < 100)] * 1.3))
    result, count = repaired(frame_of(light))
    assert count == 0
    np.testing.assert_array_equal(result.counts, frame_of(light).counts)


def off_by(result: Mosaic, frame: Mosaic, places: tuple[object, object]) -> float:
    """Return by how much the sites of a line differ from those of the frame without defects, of their signal."""
    signal = frame.counts[places] - BLACK
    return float(np.median(np.abs(result.counts[places] - frame.counts[places].astype(float)) / (signal + 100)))


@pytest.mark.parametrize("value", [BLACK, BLACK + 2500], ids=["dead", "stuck"])
@pytest.mark.parametrize("name", PATTERNS)
def test_dead_and_stuck_lines_are_replaced(name: str, value: float) -> None:
    pattern = PATTERNS[name]
    frame = frame_of(smooth(), pattern)
    for lines in (slice(None), 101), (150, slice(None)), (slice(None), 0), (255, slice(None)):
        counts = frame.counts.copy()
        counts[lines] = np.random.default_rng(3).normal(value, 2, counts[lines].shape).round()
        result, count = repaired(replace(frame, counts=counts), pattern)
        assert count == pytest.approx(counts[lines].size, abs=2)
        assert off_by(result, frame, lines) < 0.15
        changed = result.counts != counts
        changed[lines] = False
        assert changed.sum() <= 1


@pytest.mark.parametrize("width_px", [1.6, 2, 3, 4, 5, 6, 8, 10, 12, 14])
@pytest.mark.parametrize("columns", [False, True])
def test_black_bars_before_light_are_left(width_px: float, columns: bool) -> None:
    for phase in (0, 0.25, 0.5):
        sharp = np.abs((np.arange(320 * 16) + 0.5) / 16 - 160.5 - phase) > width_px / 2
        blur = np.exp(-(((np.arange(-32, 33)) / 8) ** 2) / 2)  # a standard deviation of half a pixel
        bar = np.convolve(np.pad(sharp, 32, "edge"), blur / blur.sum(), "valid").reshape(320, 16).mean(axis=1)
        light = 0.4 * (0.002 + 0.998 * (bar[None].repeat(256, 0) if columns else bar[32:288, None].repeat(320, 1)))
        frame = frame_of(light)
        assert repaired(frame)[1] == 0


def test_a_black_border_is_left() -> None:
    for border in (2, 4, 8):
        light = smooth()
        light[:border], light[:, :border] = 0, 0
        assert repaired(frame_of(light))[1] == 0


@pytest.mark.parametrize("apart", [2, 4])
def test_dead_lines_near_each_other_are_replaced(apart: int) -> None:
    frame = frame_of(smooth())
    counts = frame.counts.copy()
    counts[:, [100, 100 + apart]] = BLACK
    counts[[77, 77 + apart]] = BLACK
    result, _ = repaired(replace(frame, counts=counts))
    for x in (100, 100 + apart):
        assert off_by(result, frame, (slice(None), x)) < 0.15
    for y in (77, 77 + apart):
        assert off_by(result, frame, (y, slice(None))) < 0.15


def test_dark_lines_of_a_scene_are_left() -> None:
    light, x = smooth(), np.arange(320)
    light[:, 41] *= 0.15  # a wire before the sky
    light[:, 80:82] *= 0.02
    light[200:, 100] = 0  # black, but not from border to border
    light[120] *= 0.15
    light[:, 150:153] += 0.6  # as bright as the raw can tell
    light[:, 240:] *= x[240:] % 4 > 0  # a grating
    frame = frame_of(light)
    result, count = repaired(frame)
    assert count == 0
    np.testing.assert_array_equal(result.counts, frame.counts)


def test_dark_frames_have_no_dead_lines() -> None:
    light = np.zeros((256, 320))
    light[100:130, :] = 0.3  # a window, between the panes of which it is dark
    light[:, [45, 120, 210]] = 0
    assert repaired(frame_of(light))[1] == 0


def test_a_defect_among_stars_is_told_from_them() -> None:
    light = np.full((128, 128), 1e-3)
    rows, columns = np.mgrid[-3:4, -3:4]
    for y, x in [(30, 40), (33, 90), (100, 64)]:
        light[y - 3 : y + 4, x - 3 : x + 4] += 0.3 * np.exp(-(rows**2 + columns**2) / (2 * 0.6**2))
    counts = frame_of(light).counts.copy()
    counts[60, 41] += 5000
    result, count = repaired(replace(frame_of(light), counts=counts))
    assert count == 1
    assert result.counts[60, 41] < BLACK + 500


def test_saturated_surroundings_and_black_frames_are_left() -> None:
    noise = NoiseModel(np.full((1, 1), 0.5, np.float32), np.full((1, 1), 2, np.float32))
    for level in (0, BLACK, WHITE):
        frame = replace(frame_of(np.full((64, 64), 0.1)), counts=np.full((64, 64), level, np.uint16))
        assert repair_defects(frame, ROWS, noise)[1].count == 0


def test_frames_of_any_size_go_through() -> None:
    noise = NoiseModel(np.full((1, 1), 0.5, np.float32), np.full((1, 1), 2, np.float32))
    for shape in ((1, 1), (3, 9), (4, 2), (5, 7), (33, 64), (257, 6)):
        frame = replace(frame_of(np.full((64, 64), 0.1)), counts=np.full(shape, 3000, np.uint16))
        assert repair_defects(frame, ROWS, noise)[0].shape == shape


def test_levels_that_differ_between_rows_are_no_defects() -> None:
    frame = frame_of(smooth())
    black = np.float32(BLACK + np.array([[0, 30], [-20, 5], [25, -25], [0, 10]] * 2))
    shifted = frame.counts + np.resize(black - BLACK, (256, 2))[:, np.arange(320) % 2]
    _, count = repaired(replace(frame, counts=shifted.astype(np.uint16), black_level=black))
    assert count <= 1


def test_what_a_sequence_knows_is_replaced_and_fewer_faint_sites_come_and_go() -> None:
    rng = np.random.default_rng(5)
    y, x = (axis.ravel() for axis in np.mgrid[8:248:16, 8:312:17])
    excess = rng.uniform(60, 400, len(y))
    known, replaced_alone, replaced = None, [], []
    for seed in range(5):
        frame = simulate(np.float32(smooth()[..., None] / 30 * NEUTRAL), "RGGB", ROWS, Sensor("gain"), seed)
        counts = frame.counts.copy()
        counts[y, x] += excess.astype(np.uint16)
        frame, noise = replace(frame, counts=counts), estimate_noise(frame, ROWS)
        for found, given in ((replaced_alone, None), (replaced, known)):
            defects = repair_defects(frame, ROWS, noise, given)[1]
            found.append({*zip(defects.y.tolist(), defects.x.tolist(), strict=True)})
        if known is None:
            known = defects
    come_and_go = [set.union(*found) - set.intersection(*found) for found in (replaced_alone, replaced)]
    assert len(come_and_go[0]) > 20
    assert len(come_and_go[1]) < 0.4 * len(come_and_go[0])
    assert all(found >= replaced[0] for found in replaced)


def test_sites_that_are_known_are_replaced_where_nothing_shows_them() -> None:
    frame, known = frame_of(smooth()), Defects(np.array([0, 100, 255]), np.array([7, 100, 319]))
    counts = frame.counts.copy()
    counts[known.y, known.x] += 40  # less than noise
    result, defects = repair_defects(replace(frame, counts=counts), ROWS, estimate_noise(frame, ROWS), known)
    assert np.argwhere(result.counts != counts).tolist() == [[0, 7], [100, 100], [255, 319]]
    assert defects.count == 3


@pytest.mark.parametrize("side", [5, 6, 8])
def test_patterns_that_leave_sites_no_neighbours_of_their_kind_are_left(side: int) -> None:
    exposure = np.random.default_rng(1).permutation(np.exp2(-np.linspace(0, 6, side**2))).reshape(side, side)
    if side == 8:
        exposure = exposure[:, [0, 1, 0, 1, 4, 5, 4, 5]]  # one neighbour each
    frame = replace(frame_of(smooth()), counts=np.random.default_rng(2).integers(3000, 3050, (96, 96), np.uint16))
    noise = NoiseModel(np.full((1, 1), 0.5, np.float32), np.full((1, 1), 5, np.float32))
    result, defects = repair_defects(frame, ExposurePattern(np.float32(exposure / exposure.max())), noise)
    assert defects.count == 0
    assert result is frame


@pytest.mark.parametrize("channel", [0, 2])
def test_red_and_blue_lights_that_no_green_site_sees_stay(channel: int) -> None:
    light, offsets = np.full((128, 128, 3), 5e-4) * NEUTRAL, np.mgrid[-6:7, -6:7]
    for y, x in np.mgrid[16:112:19, 16:112:19].reshape(2, -1).T:
        light[y - 6 : y + 7, x - 6 : x + 7, channel] += 0.05 * np.exp(-(offsets**2).sum(axis=0) / 2.3)  # FWHM 2.5 px
    sensor = Sensor("gain", black_level=BLACK, white_level=WHITE)
    assert repaired(simulate(np.float32(light), "RGGB", ROWS, sensor, seed=2))[1] == 0


@pytest.mark.parametrize("name", ["row pairs", "blocks"])
def test_red_leds_that_saturate_a_few_sites_have_no_holes(name: str) -> None:
    light, pattern = np.full((128, 128, 3), 0.02), PATTERNS[name]
    leds = np.mgrid[16:112:20, 16:112:22].reshape(2, -1)
    for y, x in leds.T:
        light[y : y + 3, x : x + 3] += [0.5, 0.004, 0.004]  # on two by two red sites
    sensor = Sensor("gain", black_level=BLACK, white_level=WHITE)
    frame = simulate(np.float32(light * NEUTRAL), "RGGB", pattern, sensor, seed=2)
    assert repaired(frame, pattern)[1] == 0
    counts = frame.counts.copy()
    counts[tuple(leds + 10)] = WHITE  # between the LEDs
    assert repaired(replace(frame, counts=counts), pattern)[1] == leds.shape[1]


@pytest.mark.parametrize("grid", [[[1, 1 / 2], [1 / 4, 1 / 8]], [[1, 1 / 4], [1 / 4, 1 / 16]]])
def test_blown_lamps_of_quad_bayer_have_no_holes(grid: list[list[float]]) -> None:
    light, offsets, pattern = np.full((128, 128, 3), 0.02), np.mgrid[-6:7, -6:7], ExposurePattern(np.float32(grid))
    lamps = np.mgrid[16:112:19, 16:112:19].reshape(2, -1)
    colours = np.array([[5, 0.1, 0.1], [0.1, 5, 0.1], [0.1, 0.25, 5]])
    for n, (y, x) in enumerate(lamps.T):
        spot = np.exp(-(offsets**2).sum(axis=0) / 0.72)  # FWHM 1.4 px
        light[y - 6 : y + 7, x - 6 : x + 7] += colours[n % 3] * spot[..., None]
    sensor = Sensor("gain", black_level=BLACK, white_level=WHITE)
    frame = simulate(np.float32(light * NEUTRAL), QUAD, pattern, sensor, seed=2)
    assert repaired(frame, pattern)[1] == 0
    counts = frame.counts.copy()
    counts[tuple(lamps + 9)] = WHITE  # between the lamps
    assert repaired(replace(frame, counts=counts), pattern)[1] == lamps.shape[1]


@pytest.mark.parametrize("stars", [True, False])
def test_faint_sites_go_with_the_majority(stars: bool) -> None:
    light, offsets = np.full((256, 256), 0.005), np.mgrid[-3:4, -3:4]
    bright, faint = np.mgrid[14:242:25, 14:242:25].reshape(2, -1), np.mgrid[28:240:24, 28:240:25].reshape(2, -1)
    if stars:
        for y, x in bright.T:
            light[y - 3 : y + 4, x - 3 : x + 4] += 0.05 * np.exp(-(offsets**2).sum(axis=0) / 0.52)  # FWHM 1.2 px
    frame = frame_of(light)
    counts = frame.counts.copy()
    counts[tuple(faint)] += 100  # so little that the noise of the sites beside leaves open what it is
    if not stars:
        counts[tuple(bright)] += 3000
    result, _ = repaired(replace(frame, counts=counts))
    gone = (result.counts != counts)[tuple(faint)].mean()
    assert gone == 0 if stars else gone > 0.5


def test_a_bright_first_frame_bars_no_repair_of_darker_ones() -> None:
    rng = np.random.default_rng(5)
    y, x = (axis.ravel() for axis in np.mgrid[8:248:16, 8:312:17])
    excess, found = rng.uniform(100, 800, len(y)), {}
    known = Defects(np.array([100]), np.array([100]))
    frame = simulate(np.float32(smooth()[..., None] / 30 * NEUTRAL), "RGGB", ROWS, Sensor("gain"), 1)
    counts = frame.counts.copy()
    counts[y, x] += excess.astype(np.uint16)
    frame, noise = replace(frame, counts=counts), estimate_noise(frame, ROWS)
    for given in (None, known):
        defects = repair_defects(frame, ROWS, noise, given)[1]
        found[given] = {*zip(defects.y.tolist(), defects.x.tolist(), strict=True)}
    assert len(found[None]) > 50
    assert found[known] == found[None] | {(100, 100)}


@pytest.mark.parametrize("planes", [3, 4, 9, 10])
def test_the_second_extremes_are_those_of_sorted_values(planes: int) -> None:
    values = np.random.default_rng(planes).integers(0, 12, (planes, 20, 30)).astype(np.float32)  # with ties
    high, low = _second_extremes(list(values))
    ordered = np.sort(values, axis=0)
    np.testing.assert_array_equal(high, ordered[-2])
    np.testing.assert_array_equal(low, ordered[1])
