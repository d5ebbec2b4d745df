"""Levels of a frame whose file names wrong ones: estimated, given, or locked to those of another frame."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sve2hdr.detection.matching import _common_shift, _Line, match_exposures
from sve2hdr.errors import PatternNotFound, Sve2HdrError
from sve2hdr.evaluation.evaluate import ISO_6400, Condition, usual_cfa
from sve2hdr.levels import Levels, estimate_levels
from sve2hdr.mosaic import ExposurePattern, MaskedSites, Mosaic, repeated
from sve2hdr.pattern import detect_pattern
from sve2hdr.patterntext import parse_pattern
from sve2hdr.radiance import clipped_share, full_scale
from sve2hdr.sensor.noise import measured_noise
from sve2hdr.simulation.simulate import Mode, Sensor, camera_scene, expose, mosaic_of, simulate
from sve2hdr.training.synthetic import synthetic_scene

RAW = Path("photo.dng")
STATED, NOMINAL, FULL_WELL_E, READ_NOISE = 1024.0, 16_383.0, 30_000.0, 2.0
PAIRS = parse_pattern("rows:1/8,1,1,1/8")
QUAD, BLOCKS = "RRGGRRGGGGBBGGBB", "1,1,1/2,1/2;1,1,1/2,1/2;1/4,1/4,1/8,1/8;1/4,1/4,1/8,1/8"


def scene(height: int = 512, width: int = 512) -> np.ndarray:
    """Return camera RGB with shadows, smooth and sharp parts, and lights that saturate everything."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    light = np.exp2(9 * x / width - 10 + 2 * np.sin(y / 37)) * (1 + 0.3 * np.sign(np.sin((x + 2 * y) / 17)))
    light[(y % 128 < 12) & (x % 96 < 12)] = 3
    tint = np.stack([0.6 + 0.3 * np.sin(y / 61), np.ones_like(x), 0.5 + 0.3 * np.cos(x / 47)], axis=2)
    return np.float32(light[..., None] * tint)


def shot(
    pattern: ExposurePattern, cfa: str, black: np.ndarray, white: tuple[float, float], light: np.ndarray, seed: int = 1
) -> Mosaic:
    """Return a frame by gain (Dual ISO) whose file states STATED and NOMINAL; `white`: least exposed first."""
    shape = light.shape[:2]
    exposure = pattern.over(shape)
    gain = (white[0] - STATED) / FULL_WELL_E * exposure / exposure.min()
    planes = (
        mosaic_of(light, cfa), gain, np.full(shape, FULL_WELL_E), READ_NOISE * np.sqrt(exposure / exposure.min()),
        repeated(black, shape), np.where(exposure == 1, white[1], white[0]),
    )  # fmt: skip
    tensors = [torch.from_numpy(np.asarray(plane, np.float32)) for plane in planes]
    counts = expose(*tensors, torch.Generator().manual_seed(seed)).numpy().astype(np.uint16)
    return Mosaic(counts, cfa, np.full((1, 1), STATED, np.float32), NOMINAL, np.eye(3))


BLACKS = STATED + np.array([[22.0], [-14.0], [-21.0], [13.0]])  # their mean is what the file states
WHITES = (12_800.0, 12_500.0)


@pytest.fixture(scope="module")
def frame() -> Mosaic:
    return shot(PAIRS, "GRBG", BLACKS, WHITES, scene())


# Laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cfa", "pattern"),
    [("RGGB", "rows:1/8,1/8,1,1"), ("BGGR", "rows:1,1/4,1/4,1"), ("GBRG", "columns:1,1,1/8,1/8")],
)
def test_wrong_tags_do_no_harm(cfa: str, pattern: str) -> None:
    true = parse_pattern(pattern)
    black = BLACKS if true.exposure.shape[1] == 1 else BLACKS.T
    found = estimate_levels(shot(true, cfa, black, WHITES, scene()), RAW)
    assert (np.sign(found.pattern.exposure - 0.9) == np.sign(true.exposure - 0.9)).all()
    assert found.pattern.ratio_ev == pytest.approx(true.ratio_ev, abs=0.01)
    assert found.ratio_ev_error < 0.01
    np.testing.assert_allclose(found.black, repeated(black, found.black.shape), atol=1.5)
    bright = true.over(found.white.shape) == 1
    np.testing.assert_allclose(found.white, np.where(bright, WHITES[1], WHITES[0]), rtol=0.001)
    assert found.sources["black"] == "file + fit"
    assert found.sources["white"] == "pile-up"


@pytest.mark.parametrize("phase", range(3))
def test_rows_in_fours_are_measured_as_two_frames_of_pairs(phase: int) -> None:
    true = ExposurePattern(np.roll(np.float32([[1 / 8]] * 4 + [[1]] * 4), phase, 0))
    black = STATED + np.array([[22.0], [-14.0], [-21.0], [13.0], [5.0], [-9.0], [17.0], [-13.0]])
    frame = shot(true, "GRBG", black, WHITES, scene())
    found = estimate_levels(frame, RAW)
    assert ((found.pattern.exposure == 1) == (true.exposure == 1)).all()
    assert found.pattern.ratio_ev == pytest.approx(3, abs=3 * found.ratio_ev_error)
    assert found.ratio_ev_error < 0.02
    assert (found.black.shape, found.white.shape) == ((8, 2), (8, 2))
    np.testing.assert_allclose(found.black, repeated(black, (8, 2)), atol=5)
    np.testing.assert_allclose(found.white, np.where(true.over((8, 2)) == 1, WHITES[1], WHITES[0]), rtol=0.001)
    given = estimate_levels(frame, RAW, Levels(pattern=true))
    assert (given.sources["ratio_ev"], given.sources["black"], given.note) == ("given", "file + fit", "")
    np.testing.assert_allclose(given.black, repeated(black, (8, 2)), atol=5)


@pytest.mark.parametrize("phase", range(4))
def test_rows_in_fours_are_measured_in_light_that_grows_from_row_to_row(phase: int) -> None:
    """As in a sky: of the two greens of an exposure one lies a row below the other."""
    true = ExposurePattern(np.roll(np.float32([[1 / 8]] * 4 + [[1]] * 4), phase, 0))
    light = np.linspace(0.01, 0.8, 400)[:, None, None] * np.full((1, 600, 3), [0.5, 1, 0.6])
    found = estimate_levels(shot(true, "RGGB", np.full((1, 1), STATED), WHITES, np.float32(light)), RAW)
    assert (found.sources["black"], found.note) == ("file + fit", "")
    np.testing.assert_allclose(found.black, STATED, atol=5)


def test_quad_bayer_is_not_taken_apart_as_rows_in_fours() -> None:
    """Rows 0 and 1 of every four have two of its colours, which are not those of its other rows."""
    fours = ExposurePattern(np.float32([[1 / 8]] * 4 + [[1]] * 4))
    quad = shot(fours, QUAD, np.full((1, 1), STATED), WHITES, scene())
    assert match_exposures(quad, fours) is None
    assert detect_pattern(quad).pattern is None


def test_the_cell_is_that_of_cfa_and_exposures(frame: Mosaic) -> None:
    found = estimate_levels(frame, RAW)
    for period in (found.black, found.white, found.noise.read_noise, found.noise.gain):
        assert period.shape == (4, 2)
    assert set(found.sources) == {"pattern", "ratio_ev", "black", "white", "read_noise", "gain"}
    json.dumps(found.as_json(), allow_nan=False)


def test_the_ratio_is_off_by_as_much_as_its_error_says() -> None:
    off = []
    for number in range(4):
        light = synthetic_scene(100 + number, 384)
        light /= np.percentile(light[..., 1], 97)
        for turns in range(2):  # another frame to all that looks along rows
            turned = np.rot90(light, turns).copy()
            found = estimate_levels(shot(PAIRS, "RGGB", BLACKS, WHITES, turned, 4 * number + turns), RAW)
            off.append((found.pattern.ratio_ev - 3) / found.ratio_ev_error)
    assert 0.5 < np.sqrt(np.mean(np.square(off))) < 1.5


def test_margins_are_believed_before_all_else(frame: Mosaic) -> None:
    wide = repeated(BLACKS, (8, 4))
    masked = MaskedSites(
        wide, np.full((8, 4), 0.05), np.where(np.isin(np.arange(8) % 4, [1, 2]), 6.0, 2.0)[:, None] * np.ones((8, 4))
    )
    found = estimate_levels(replace(frame, black_level=BLACKS.astype(np.float32), masked=masked), RAW)
    np.testing.assert_allclose(found.black, repeated(BLACKS, (4, 2)), atol=1e-3)
    np.testing.assert_allclose(found.noise.read_noise[:, 0], [2, 6, 6, 2])
    assert (found.sources["black"], found.sources["read_noise"]) == ("margins", "margins")
    # where hardly a bright site is unsaturated, too, windows know the ratio better than single sites
    dazzling = shot(PAIRS, "GRBG", BLACKS, WHITES, scene() * 24)
    found = estimate_levels(replace(dazzling, black_level=BLACKS.astype(np.float32), masked=masked), RAW)
    assert found.pattern.ratio_ev == pytest.approx(3, abs=0.003)


def test_the_file_is_believed_where_it_states_every_phase(frame: Mosaic) -> None:
    found = estimate_levels(replace(frame, black_level=BLACKS.astype(np.float32)), RAW)
    np.testing.assert_allclose(found.black, repeated(BLACKS, (4, 2)), atol=1e-3)
    assert found.sources["black"] == "file, per phase"


def test_margins_that_contradict_the_file_leave_black_to_the_fit() -> None:
    frame = shot(PAIRS, "GRBG", np.full((4, 1), STATED), WHITES, scene())
    wrong = np.full((8, 4), STATED - 124.0)
    masked = MaskedSites(wrong, np.full((8, 4), 0.05), np.full((8, 4), 3.0), level_believed=False)
    found = estimate_levels(replace(frame, black_level=np.float32([[STATED - 124]]), masked=masked), RAW)
    np.testing.assert_allclose(found.black, STATED, atol=6)
    assert found.sources["black"] == "fit"
    assert "does not fit" in found.note


def test_a_black_of_zero_that_nothing_is_cut_off_at_gives_way() -> None:
    frame = shot(PAIRS, "GRBG", np.full((4, 1), STATED), WHITES, scene())
    found = estimate_levels(replace(frame, black_level=np.zeros((1, 1), np.float32)), RAW)
    np.testing.assert_allclose(found.black, STATED, atol=12)
    assert f"black level, 0, does not fit the exposures: {round(float(found.black.mean()))} was" in found.note


def test_a_black_of_zero_is_not_moved() -> None:
    mosaic = shot(PAIRS, "RGGB", np.zeros((4, 1)), WHITES, scene())
    found = estimate_levels(replace(mosaic, black_level=np.zeros((1, 1), np.float32)), RAW)
    assert not found.black.any()
    assert found.sources["black"] == "file"


def test_levels_applied_to_a_frame_keep_one_scale(frame: Mosaic) -> None:
    found = estimate_levels(frame, RAW)
    applied = found.applied(frame)
    assert applied.white_level == pytest.approx(WHITES[0], rel=0.001)
    assert applied.saturation is not None
    least = WHITES[0] - (STATED + 22)  # of the least exposed sites, those with the highest black
    assert full_scale(applied, found.pattern) == pytest.approx(least, rel=0.001)
    assert clipped_share(applied, found.pattern) > 0.005


# What is given --------------------------------------------------------------------------------------------------------


def test_what_is_given_is_taken(frame: Mosaic) -> None:
    black = np.float32([[1000], [1001], [1002], [1003]])
    found = estimate_levels(frame, RAW, Levels(PAIRS, 2.5, black, (12_000, 11_000)))
    assert found.pattern.ratio_ev == pytest.approx(2.5)
    np.testing.assert_array_equal(found.black, repeated(black, (4, 2)))
    assert found.white[:, 0].tolist() == [12_000, 11_000, 11_000, 12_000]
    assert {found.sources[name] for name in ("pattern", "ratio_ev", "black", "white")} == {"given"}
    assert found.ratio_ev_error == 0
    assert found.confidence is None


@pytest.mark.parametrize(
    "given",
    [Levels(parse_pattern("rows:1,1/8,1/8,1")), Levels(parse_pattern("columns:1/8,1/8,1,1")), Levels(ratio_ev=2.5)],
)
def test_what_the_pixels_say_otherwise_is_noted(frame: Mosaic, given: Levels) -> None:
    found = estimate_levels(frame, RAW, given)
    assert "the pixels show rows:0.12" in found.note
    assert str(found.pattern) in found.note


def test_what_doubtful_pixels_say_otherwise_is_noted() -> None:
    light = np.float32(0.01 * np.exp2(np.arange(256)[:, None, None] / 256) * [[[0.5, 1, 0.6]]]) * np.ones((1, 384, 1))
    fog = simulate(np.float32(light), "RGGB", PAIRS, Sensor(), 1)  # no two gains, so it is not sure
    with pytest.raises(PatternNotFound, match=r"doubtful.*--pattern rows:0\.12"):
        estimate_levels(fog, RAW)
    assert "the pixels show rows:0.12" in estimate_levels(fog, RAW, Levels(parse_pattern("rows:1/8,1/8,1,1"))).note
    assert estimate_levels(fog, RAW, Levels(PAIRS)).note == ""
    plain = simulate(np.float32(light), "RGGB", parse_pattern("rows:1"), Sensor(), 1)
    assert estimate_levels(plain, RAW, Levels(PAIRS)).note == ""


def test_what_is_given_and_right_goes_without_a_word(frame: Mosaic) -> None:
    for given in (Levels(PAIRS), Levels(ratio_ev=3.1), Levels(PAIRS, 2.8)):
        assert estimate_levels(frame, RAW, given).note == ""


@pytest.mark.parametrize(
    ("white", "said"),
    [
        (16_000, "the pixels pile up at 12800 and 12500, not at --white 16000"),
        (2_000, "the pixels pile up at 12800 and 12500, not at --white 2000"),
        ((12_800, 13_500), "the pixels pile up at 12500, not at --white 12800,13500"),
        ((12_800, 12_500), ""),
        ((12_820, 12_480), ""),  # within the width of a pile-up
    ],
)
def test_a_white_level_at_which_nothing_piles_up_is_noted(frame: Mosaic, white: object, said: str) -> None:
    found = estimate_levels(frame, RAW, Levels(PAIRS, white=white))  # type: ignore[arg-type]
    assert found.note == said
    assert found.sources["white"] == "given"


def test_a_white_level_is_doubted_only_for_what_counts_show() -> None:
    dark = shot(PAIRS, "GRBG", BLACKS, WHITES, np.minimum(scene(), 0.1))  # nothing clips
    assert estimate_levels(dark, RAW, Levels(white=16_000)).note == ""
    note = estimate_levels(dark, RAW, Levels(PAIRS, white=4_000)).note
    assert re.fullmatch(r"\d+\.\d% of the sites of an exposure are above --white 4000", note)


@pytest.mark.parametrize("black", [0.0, STATED - 124, STATED + 20, [[900], [STATED], [STATED], [900]]])
@pytest.mark.parametrize("given", [Levels(), Levels(PAIRS)])
def test_a_black_level_at_which_exposures_do_not_agree_is_noted(black: object, given: Levels) -> None:
    frame = shot(PAIRS, "GRBG", np.full((4, 1), STATED), WHITES, scene())
    wrong = replace(given, ratio_ev=3.0, black=np.float32(black))  # type: ignore[arg-type]
    assert "the exposures do not agree at --black" in estimate_levels(frame, RAW, wrong).note


def test_a_black_level_that_the_margins_do_not_show_is_noted(frame: Mosaic) -> None:
    masked = MaskedSites(repeated(BLACKS, (8, 4)), np.full((8, 4), 0.05), np.full((8, 4), 3.0))
    with_margins = replace(frame, black_level=BLACKS.astype(np.float32), masked=masked)
    note = estimate_levels(with_margins, RAW, Levels(black=900.0)).note
    assert note == "the masked margins show a black level of 1003, 1010, 1037, 1046, not --black 900"
    assert estimate_levels(with_margins, RAW, Levels(black=BLACKS + 2)).note == ""


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return camera_scene(synthetic_scene(7, 256), 98)


@pytest.mark.parametrize("mode", ["exposure", "gain"])
@pytest.mark.parametrize("ev", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("layout", ["rows", "columns", "blocks", "quad"])
def test_true_levels_go_without_a_word(truth: np.ndarray, layout: str, ev: float, mode: Mode) -> None:
    condition = Condition(ev, mode, layout=layout, cfa=usual_cfa(layout))
    for sensor in (Sensor(mode=mode), replace(ISO_6400, mode=mode)):
        mosaic = simulate(truth, condition.cfa, condition.pattern, sensor, 3)
        true = Levels(condition.pattern, black=sensor.black_level, white=sensor.white_level)
        assert estimate_levels(mosaic, RAW, true).note == ""
        assert estimate_levels(replace(mosaic, white_level=NOMINAL), RAW, true).note == ""


@pytest.mark.parametrize(("cfa", "grid"), [(QUAD, "1,1/4;1/4,1/16"), (QUAD, "1,1/2;1/4,1/8"), ("RGGB", BLOCKS)])
def test_black_levels_of_many_exposures_are_off_by_as_much_as_their_errors_say(cfa: str, grid: str) -> None:
    for seed in (0, 1, 7):
        truth = camera_scene(synthetic_scene(seed, 384), 98)
        found = estimate_levels(simulate(truth, cfa, parse_pattern(f"grid:{grid}"), Sensor(), seed), RAW)
        assert found.black_error is not None
        assert (np.abs(found.black - STATED) < 2.5 * found.black_error).all()


@pytest.mark.parametrize("off", [-400, 120, 500])
def test_a_black_level_far_off_gives_way_to_the_one_by_which_exposures_agree(off: float) -> None:
    frame = shot(PAIRS, "GRBG", np.full((4, 1), STATED), WHITES, scene())
    found = estimate_levels(replace(frame, black_level=frame.black_level + np.float32(off)), RAW)
    np.testing.assert_allclose(found.black, STATED, atol=6)
    assert found.pattern.ratio_ev == pytest.approx(3, abs=0.02)
    assert found.sources["black"] == "fit"
    assert f"black level, {STATED + off:g}," in found.note


def test_a_given_ratio_leaves_black_to_the_fit(frame: Mosaic) -> None:
    found = estimate_levels(frame, RAW, Levels(ratio_ev=3.0, white=12_500))
    np.testing.assert_allclose(found.black, repeated(BLACKS, (4, 2)), atol=1.5)
    assert (found.white == 12_500).all()


@pytest.mark.parametrize("off", [0.0, 120.0])  # what the file states is nearly right, or far from where they agree
def test_black_levels_and_their_errors_scale_with_counts(off: float) -> None:
    frame = shot(PAIRS, "GRBG", np.full((4, 1), STATED) if off else BLACKS, WHITES, scene())
    matches = []
    for scale in (1, 4):
        black, white = (frame.black_level + np.float32(off)) * scale, NOMINAL * scale
        match = match_exposures(
            replace(frame, counts=frame.counts * np.uint16(scale), black_level=black, white_level=white), PAIRS
        )
        assert match is not None
        matches.append((match.black / scale, match.black_error / scale))
    np.testing.assert_allclose(matches[0], matches[1], rtol=1e-3, atol=0.02)


def test_a_given_ratio_that_is_not_the_frame_s_moves_no_black(frame: Mosaic) -> None:
    blacks = [estimate_levels(frame, RAW, Levels(ratio_ev=ev)).black for ev in (3.0, 2.0)]
    np.testing.assert_array_equal(*blacks)


def test_a_pattern_that_is_not_the_frame_s_moves_no_black(frame: Mosaic) -> None:
    found = estimate_levels(frame, RAW, Levels(parse_pattern("rows:1/8,1/8,1,1")))
    np.testing.assert_array_equal(found.black, STATED)
    assert found.sources["black"] == "file"


def test_levels_that_do_not_fit_are_refused(frame: Mosaic) -> None:
    with pytest.raises(
        ValueError, match="pattern must be an ExposurePattern, as parse_pattern returns, not 'rows:1/8,1'"
    ):
        Levels(pattern="rows:1/8,1")  # type: ignore[arg-type]
    with pytest.raises(Sve2HdrError, match="--white or --black"):
        estimate_levels(frame, RAW, Levels(black=20_000))
    with pytest.raises(Sve2HdrError, match=r"white level 900 .*--white or --black"):
        estimate_levels(frame, RAW, Levels(white=(900, 12_000)))
    with pytest.raises(Sve2HdrError, match="period of 3 x 1 sites, which does not fit the 4 x 2"):
        estimate_levels(frame, RAW, Levels(black=np.float32([[1000], [1001], [1002]])))
    with pytest.raises(Sve2HdrError, match="3 white levels for 2 exposures"):
        estimate_levels(frame, RAW, Levels(white=(12_000, 12_000, 12_000)))
    flat = replace(frame, counts=np.full((128, 128), 1024, np.uint16))
    with pytest.raises(PatternNotFound):
        estimate_levels(flat, RAW)


def test_periods_that_do_not_divide_four_sites_have_the_file_s_black(frame: Mosaic) -> None:
    six = ExposurePattern(np.repeat(np.float32([1 / 8, 1]), 3)[:, None])
    assert match_exposures(frame, six) is None
    assert (estimate_levels(frame, RAW, Levels(six)).black == STATED).all()


def test_read_noise_that_is_known_leaves_the_gain_to_be_found(frame: Mosaic) -> None:
    known = np.where(PAIRS.exposure == 1, READ_NOISE * 8**0.5, READ_NOISE)
    found, _ = measured_noise(estimate_levels(frame, RAW).applied(frame), PAIRS, known)
    np.testing.assert_allclose(found.read_noise[:, 0], known[:, 0], rtol=1e-6)
    assert found.gain.min() == pytest.approx((WHITES[0] - STATED) / FULL_WELL_E, rel=0.5)


@pytest.mark.parametrize(("error_ev", "said"), [(0.05, False), (0.19, True)])
def test_a_ratio_that_is_hardly_known_is_told(
    frame: Mosaic, monkeypatch: pytest.MonkeyPatch, error_ev: float, said: bool
) -> None:
    def unsure(*args: object, **options: object) -> object:
        match = match_exposures(*args, **options)  # type: ignore[arg-type]
        assert match is not None
        return replace(match, step_errors=(error_ev,))

    monkeypatch.setattr("sve2hdr.levels.match_exposures", unsure)
    note = estimate_levels(frame, RAW).note
    assert ("only known to within 0.19 EV; --ev sets it" in note) == said
    assert "known" not in estimate_levels(frame, RAW, Levels(ratio_ev=3.0)).note


@pytest.mark.parametrize(("error_ev", "said"), [(0.05, True), (0.15, False)])
def test_a_given_ratio_is_contradicted_by_no_more_than_pixels_know(
    frame: Mosaic, monkeypatch: pytest.MonkeyPatch, error_ev: float, said: bool
) -> None:
    detection = replace(detect_pattern(frame), ratio_ev_error=error_ev)
    monkeypatch.setattr("sve2hdr.levels.detect_pattern", lambda _: detection)
    assert ("the pixels show" in estimate_levels(frame, RAW, Levels(ratio_ev=2.5)).note) == said


@pytest.mark.parametrize(
    ("shift", "error", "agreed"),
    [(100.0, 1.0, True), (100.0, 10.0, False), (-1100.0, 1.0, False), (7500.0, 1.0, False)],
)
def test_exposures_agree_on_one_black_level_where_they_are_sure_and_it_is_likely(
    frame: Mosaic, shift: float, error: float, agreed: bool
) -> None:
    half = _Line(np.full(16, 1 / 32), shift / 2, error / 2)
    assert _common_shift(frame, [half, half]) == (pytest.approx((shift, 0.83), abs=0.01) if agreed else None)


@pytest.mark.parametrize(
    ("shifts", "errors", "agreed"),
    [
        ((100, 103), (1, 1), True),
        ((100, 120), (1, 1), False),  # too far apart for one black level
        ((100, 80), (0.5, 2), False),
        ((100, 80), (0.5, 10), True),  # as the second is known no better than that
        ((100, 0), (1, np.inf), True),
        ((100, 100), (np.inf, np.inf), False),
    ],
)
def test_exposures_agree_on_one_black_level_by_lines_of_colours_that_do(
    frame: Mosaic, shifts: tuple[float, float], errors: tuple[float, float], agreed: bool
) -> None:
    for sign in (1, -1):  # how much brighter one group of sites is than the other has no bearing on it
        lines = [_Line(np.full(16, sign / 32), sign * s / 2, e / 2) for s, e in zip(shifts, errors, strict=True)]
        found = _common_shift(frame, lines)
        assert (found is not None) == agreed
        assert found is None or min(shifts) <= found[0] <= max(shifts)
    assert _common_shift(frame, []) is None


def test_a_black_level_that_moved_is_known_no_better_than_texture_allows() -> None:
    frame = shot(PAIRS, "GRBG", np.full((4, 1), STATED), WHITES, scene())
    match = match_exposures(replace(frame, black_level=frame.black_level + np.float32(120)), PAIRS)
    assert match is not None
    assert match.moved
    # each of four colours may be off by 0.3 counts of 14 bits, whatever the errors of its own line
    np.testing.assert_allclose(match.black_error, 0.3 / (1 - 1 / 8) / 4**0.5, atol=0.03)
    np.testing.assert_allclose(match.black, STATED, atol=0.5)
