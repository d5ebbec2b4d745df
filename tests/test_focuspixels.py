"""Focus pixels: found by the grid that they form where there is colour, replaced all over the frame and a sequence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sve2hdr.levels import estimate_levels
from sve2hdr.mosaic import BAYER_ORDERS, ExposurePattern, Mosaic, cfa_period, repeated
from sve2hdr.parameters import LockedParameters, load_parameters, save_parameters
from sve2hdr.pattern import detect_pattern
from sve2hdr.patterntext import parse_pattern
from sve2hdr.sensor import replacement
from sve2hdr.sensor.corrections import corrected
from sve2hdr.sensor.defects import repair_defects
from sve2hdr.sensor.focuspixels import PERIOD, FocusPixels, focus_pixels
from sve2hdr.sensor.sites import Sites
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate

ROWS = parse_pattern("rows:1/8,1/8,1,1")
FOURS = parse_pattern("rows:1/8,1/8,1/8,1/8,1,1,1,1")  # as those cameras expose
SENSOR = Sensor("gain")
SHAPE = 384, 512


def coloured(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Return camera RGB with soft colours and fine texture, 1.0 = saturation of the least exposed sites."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = 0.1 * np.exp2(2 * x / shape[1] + np.sin(y / 40) + np.random.default_rng(5).normal(0, 0.1, shape))
    return np.float32(light[..., None] * NEUTRAL * np.exp2(np.stack([np.sin(x / 90), 0 * x, np.cos(y / 70)], axis=-1)))


def tiled(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return FocusPixels(grid, 0, shape[0]).sites(shape)


def places(cfa: str, number: int, period: tuple[int, int] = PERIOD, seed: int = 0) -> np.ndarray:
    """Return a grid of red and blue sites: (60, 24) bool, of a smaller period if asked for."""
    grid = np.zeros(period, bool)
    eligible = np.flatnonzero(repeated(cfa_period(cfa), period) != "G")
    grid.flat[np.random.default_rng(seed).choice(eligible, number, replace=False)] = True
    return np.tile(grid, (PERIOD[0] // period[0], PERIOD[1] // period[1]))


def with_focus_pixels(scene: np.ndarray, grid: np.ndarray, pattern: ExposurePattern, cfa: str) -> tuple[Mosaic, Mosaic]:
    """Return a frame without and with them: half covered, they see what green sees."""
    half = np.repeat(scene[..., 1:2] / 2, 3, axis=2)
    frame, there = (simulate(light, cfa, pattern, SENSOR, 1) for light in (scene, half))
    return frame, replace(frame, counts=np.where(tiled(grid, frame.shape), there.counts, frame.counts))


def sites_of(frame: Mosaic, pattern: ExposurePattern = ROWS) -> Sites:
    return Sites.of(frame, pattern, SENSOR.noise_model(pattern))


@pytest.mark.parametrize(
    ("pattern", "cfa", "period"),
    [
        *((str(ROWS), cfa, PERIOD) for cfa in BAYER_ORDERS),
        ("rows:1,1/8,1/8,1", "RGGB", (10, 8)),
        ("columns:1,1,1/8,1/8", "GBRG", (12, 8)),
        ("grid:1,1,1/2,1/2;1,1,1/2,1/2;1/8,1/8,1/4,1/4;1/8,1/8,1/4,1/4", "RGGB", (60, 8)),
        ("rows:1,1", "BGGR", PERIOD),
        (str(FOURS), "GRBG", PERIOD),
    ],
)
def test_the_grid_is_found_and_replaced(pattern: str, cfa: str, period: tuple[int, int]) -> None:
    exposures = parse_pattern(pattern)
    grid = places(cfa, int(0.03 * np.prod(period)), period)
    frame, spoiled = with_focus_pixels(coloured(), grid, exposures, cfa)
    result, found = repair_defects(spoiled, exposures, SENSOR.noise_model(exposures))
    assert found.focus_pixels is not None
    assert not (found.focus_pixels.grid & ~grid).any()
    assert found.focus_pixels.grid.sum() > 0.85 * grid.sum()
    where = found.focus_pixels.sites(frame.shape)
    np.testing.assert_array_equal(where, tiled(found.focus_pixels.grid, frame.shape))  # in all rows
    assert where.sum() <= found.count <= where.sum() + 3
    off = [np.abs(m.counts[where] - frame.counts[where].astype(float)).mean() for m in (spoiled, result)]
    assert off[1] < 0.4 * off[0]
    assert (result.counts != spoiled.counts)[~where].sum() <= 3


@pytest.mark.parametrize("pattern", [ROWS, parse_pattern("columns:1,1,1/8,1/8")])
@pytest.mark.parametrize(("light", "period"), [((4, 1, 0.5), (10, 8)), ((2, 1, 0.2), (12, 8))])
def test_in_coloured_light_the_pattern_is_found_beside_them(
    pattern: ExposurePattern, light: tuple[float, float, float], period: tuple[int, int]
) -> None:
    """They stand out most there, and repeat after more sites than exposures do."""
    _, spoiled = with_focus_pixels(coloured() * np.float32(light), places("RGGB", 2, period), pattern, "RGGB")
    found = detect_pattern(spoiled)
    assert found.sve, found.reason
    np.testing.assert_allclose(found.ratio_ev, 3, atol=0.1)


def test_hot_green_sites_beside_them_are_found_all_the_same() -> None:
    """What replaces focus pixels is curved as green is; it must not take its light from these."""
    grid, noise = places("RGGB", 40), SENSOR.noise_model(ROWS)
    smooth = np.mean([np.roll(coloured(), shift, (0, 1)) for shift in np.ndindex(3, 3)], axis=0, dtype=np.float32)
    frame, spoiled = with_focus_pixels(smooth, grid, ROWS, "RGGB")
    y, x = (part[::19] for part in np.nonzero(tiled(grid, SHAPE)[:, :-1]))
    shares = []
    for plain in (frame, spoiled):
        counts = plain.counts.copy()
        counts[y, x + 1] += 6000  # green
        found = repair_defects(replace(plain, counts=counts), ROWS, noise)[1]
        shares.append(np.isin(y * SHAPE[1] + x + 1, found.y * SHAPE[1] + found.x).mean())
    assert shares[1] > 0.8 * shares[0] > 0.4


def test_where_they_are_many_some_hide_others_at_first() -> None:
    grid = places("RGGB", 100)
    _, spoiled = with_focus_pixels(coloured(), grid, ROWS, "RGGB")
    first = focus_pixels(sites_of(spoiled))
    assert first is not None
    found = repair_defects(spoiled, ROWS, SENSOR.noise_model(ROWS))[1].focus_pixels
    assert found is not None
    assert first.grid.sum() + 5 < found.grid.sum()
    assert found.grid.sum() > 0.75 * grid.sum()
    assert not (found.grid & ~grid).any()


@pytest.mark.parametrize("pattern", [ROWS, FOURS])
def test_sensors_without_them_and_scenes_that_repeat_themselves_have_none(pattern: ExposurePattern) -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    hot = simulate(coloured(), "RGGB", pattern, SENSOR, 2)
    counts = hot.counts.copy()
    counts[np.random.default_rng(3).random(SHAPE) < 0.003] = 16_000
    scenes = {
        "plain": coloured(),
        "columns": coloured() * (x % 4 > 0)[..., None],
        "rows": coloured() * (y % 12 > 0)[..., None],
        "mesh": coloured() * ((y % 12 > 0) & (x % 8 > 0))[..., None],
        "diagonal": coloured() * ((x + 2 * y) % 12 > 0)[..., None],
        "saturated": coloured() * 40,
        "dark": coloured() / 2000,
    }
    frames = {name: simulate(np.float32(scene), "RGGB", pattern, SENSOR, 2) for name, scene in scenes.items()}
    frames["hot"] = replace(hot, counts=counts)
    assert {name: focus_pixels(sites_of(frame, pattern)) for name, frame in frames.items()} == dict.fromkeys(frames)


def test_dots_and_lines_of_screens_and_prints_are_none() -> None:
    """At pitches near those of grids, upright or not quite, such light comes and goes at places of the period."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    found = {}
    for colour, pitch, tilt, lines, pattern in (
        ([0.5, 1, 0.6], 10.02, 0.0, False, ROWS),
        ([0.5, 1, 0.6], 15.06, 0.0035, False, ROWS),
        ([1, 0.1, 0.05], 20, 0.007, False, ROWS),
        ([0.5, 1, 0.6], 4.01, 0.0035, False, parse_pattern("rows:1,1")),
        ([1, 0.1, 0.05], 10.02, 0.0035, False, parse_pattern("rows:1,1")),
        ([1, 0.1, 0.05], 8.05, 0.003, True, ROWS),
        ([1, 0.1, 0.05], 12.02, 0.003, True, parse_pattern("rows:1,1")),
        ([0.1, 1, 0.1], 15.005, 0.0, False, ROWS),
        ([0.1, 1, 0.1], 15.1, 0.0035, False, ROWS),
        ([1, 1, 1], 12, 0.007, True, FOURS),
    ):
        turned = [(x + tilt * y) / pitch, (y - tilt * x) / pitch]
        away = sum(pitch**2 * (at - np.round(at)) ** 2 for at in turned[: 1 if lines else 2])
        scene = 0.005 * NEUTRAL + 0.5 * np.exp(-away / 2)[..., None] * np.array(colour)
        frame = simulate(np.float32(scene), "RGGB", pattern, SENSOR, 2)
        found[pitch, str(colour)] = focus_pixels(sites_of(frame, pattern))
    assert found == dict.fromkeys(found)


@pytest.mark.parametrize("rows", [False, True])
def test_places_of_one_column_or_of_two_rows_are_edges_of_the_scene(rows: bool) -> None:
    grid = np.zeros(PERIOD, bool)
    if rows:
        grid[2, ::6] = grid[30, 2::6] = True
    else:
        grid[2::8, 0] = True
    _, spoiled = with_focus_pixels(coloured(), grid, ROWS, "RGGB")
    assert focus_pixels(sites_of(spoiled)) is None


def test_a_few_places_alone_are_chance() -> None:
    _, spoiled = with_focus_pixels(coloured(), places("RGGB", 4), ROWS, "RGGB")
    assert focus_pixels(sites_of(spoiled)) is None


def test_where_no_rows_show_them_by_themselves_all_have_them() -> None:
    grid = places("RGGB", 8)
    _, spoiled = with_focus_pixels(coloured((3000, 64)), grid, ROWS, "RGGB")
    found = focus_pixels(sites_of(spoiled))
    assert found is not None
    assert (found.top, found.bottom) == (0, 3000)


def test_a_frame_of_few_periods_tells_of_none() -> None:
    grid = places("RGGB", 40)
    _, spoiled = with_focus_pixels(coloured(), grid, ROWS, "RGGB")
    assert focus_pixels(sites_of(spoiled)) is not None
    assert focus_pixels(sites_of(replace(spoiled, counts=spoiled.counts[:64, :512]))) is None


def test_frames_of_a_sequence_share_them_through_the_file(tmp_path: Path) -> None:
    grid, noise = places("RGGB", 40), SENSOR.noise_model(ROWS)
    _, spoiled = with_focus_pixels(coloured(), grid, ROWS, "RGGB")
    first = repair_defects(spoiled, ROWS, noise)[1]
    estimate = estimate_levels(spoiled, "first.dng")
    save_parameters(tmp_path / "levels.json", LockedParameters(estimate, SHAPE, "RGGB", defects=first))
    known = load_parameters(tmp_path / "levels.json").defects
    assert known is not None
    assert known.focus_pixels is not None
    np.testing.assert_array_equal(known.focus_pixels.grid, grid)
    _, grey = with_focus_pixels(np.full((*SHAPE, 3), [0.05, 0.1, 0.05], np.float32), grid, ROWS, "RGGB")
    assert repair_defects(grey, ROWS, noise)[1].focus_pixels is None  # half of green is what red is
    shared = repair_defects(grey, ROWS, noise, known)[1]
    assert shared.count >= tiled(grid, SHAPE).sum()
    assert shared.focus_pixels is known.focus_pixels
    told = corrected(grey, ROWS, noise, True, known, None)[2]["sve2hdr:bad_pixels"]
    assert told == f"{shared.count} repaired, focus pixels among them"
    unlooked = repair_defects(grey, ROWS, noise, known, search=False)
    assert (unlooked[1].count, unlooked[0].counts is grey.counts) == (0, True)


def test_rows_without_them_keep_their_sites() -> None:
    """The older of those cameras have them in some rows only."""
    grid = places("RGGB", 60)
    frame, spoiled = with_focus_pixels(coloured((960, 640)), grid, ROWS, "RGGB")
    counts = frame.counts.copy()
    counts[420:600] = spoiled.counts[420:600]
    found = repair_defects(replace(spoiled, counts=counts), ROWS, SENSOR.noise_model(ROWS))[1].focus_pixels
    assert found is not None
    assert not (found.grid & ~grid).any()
    assert found.grid.sum() > 0.75 * grid.sum()
    assert (found.top, found.bottom) == (360, 660)
    assert not found.sites(SHAPE)[:360].any()


def test_one_or_two_more_tell_nothing_of_rows() -> None:
    """They may be chance."""
    for number, rows in ((2, (120, 300)), (20, (0, SHAPE[0]))):
        more, known = places("RGGB", number), FocusPixels(places("RGGB", 20, seed=1), 120, 300)
        _, spoiled = with_focus_pixels(coloured(), more, ROWS, "RGGB")
        found = focus_pixels(sites_of(spoiled), known)
        assert found is not None
        assert (found.top, found.bottom) == rows
        np.testing.assert_array_equal(found.grid, known.grid | more)


def test_more_of_them_are_added_to_those_known() -> None:
    one, other = FocusPixels(places("RGGB", 5), 120, 300), FocusPixels(places("RGGB", 5, seed=1), 60, 240)
    for both in (one.with_others(other), other.with_others(one)):
        assert (both.top, both.bottom) == (60, 300)
        np.testing.assert_array_equal(both.grid, one.grid | other.grid)


@pytest.mark.parametrize("place", [[60, 0], [0, 24], [-1, 0]])
def test_a_grid_outside_of_its_period_is_refused(place: list[int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        FocusPixels.of_json({"rows": [0, 60], "places": [place]})


@pytest.mark.parametrize("rows", [[-60, 60], [60, 0]])
def test_rows_in_disorder_are_refused(rows: list[int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        FocusPixels.of_json({"rows": rows, "places": [[1, 1]]})


@pytest.mark.parametrize("pattern", [str(ROWS), "columns:1/8,1/8,1,1"])
def test_red_and_blue_curve_between_their_neighbours_as_green_does(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exposures, (y, x) = parse_pattern(pattern), np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = 0.05 * (1 + 0.6 * np.sin(x / 1.9 + y / 3.7) * np.sin(y / 2.3))
    frame = simulate(np.float32(light[..., None] * NEUTRAL), "RGGB", exposures, SENSOR, 1)
    listed, off = tiled(places("RGGB", 40), SHAPE), []
    for steepest in (replacement.STEEPEST, 0.0):
        monkeypatch.setattr(replacement, "STEEPEST", steepest)
        result, _ = repair_defects(frame, exposures, SENSOR.noise_model(exposures), listed=listed, search=False)
        off.append(np.abs(result.counts[listed] - frame.counts[listed].astype(float)).mean())
    assert off[0] < 0.75 * off[1]


@pytest.mark.parametrize("opposite", [False, True])
def test_they_do_not_curve_where_they_do_not_follow_green(opposite: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    wave = 0.6 * np.sin(x / 1.9 + y / 3.7) * np.sin(y / 2.3)
    others = 1 - wave if opposite else 1 + 0 * wave
    light = 0.05 * NEUTRAL * np.stack([others, 1 + wave, others], axis=-1)
    frame = simulate(np.float32(light), "RGGB", ROWS, SENSOR, 1)
    listed, off = tiled(places("RGGB", 40), SHAPE), []
    for steepest in (replacement.STEEPEST, 0.0):
        monkeypatch.setattr(replacement, "STEEPEST", steepest)
        result, _ = repair_defects(frame, ROWS, SENSOR.noise_model(ROWS), listed=listed, search=False)
        off.append(np.abs(result.counts[listed] - frame.counts[listed].astype(float)).mean())
    assert off[0] < (0.9 if opposite else 1.05) * off[1]
