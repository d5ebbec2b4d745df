"""What the frames of a sequence share: kept as it is, but where the first frame could not know better."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_levels import BLACKS, NOMINAL, PAIRS, RAW, STATED, WHITES, scene, shot

from sve2hdr.errors import Sve2HdrError, UnwritableOutput
from sve2hdr.levels import Estimate, Levels, estimate_levels
from sve2hdr.mosaic import Capture, MaskedSites, Mosaic
from sve2hdr.parameters import LockedParameters, load_parameters, save_parameters
from sve2hdr.patterntext import parse_pattern
from sve2hdr.preview import Look
from sve2hdr.sensor.defects import Defects
from sve2hdr.whitebalance import Neutral, WhiteBalance

TRUE, QUAD = np.full((4, 1), STATED), "RRGGRRGGGGBBGGBB"


@pytest.fixture(scope="module")
def frame() -> Mosaic:
    return shot(PAIRS, "GRBG", BLACKS, WHITES, scene())


@pytest.fixture(scope="module")
def first(frame: Mosaic) -> Estimate:
    return estimate_levels(frame, RAW)


def parameters(frame: Mosaic, estimate: Estimate) -> LockedParameters:
    return LockedParameters(estimate, frame.shape, frame.cfa, iso=frame.capture.iso)


def at_iso(frame: Mosaic, iso: float) -> Mosaic:
    return replace(frame, capture=Capture(iso=iso))


def test_levels_that_are_known_stay_as_they_are(tmp_path: Path, frame: Mosaic) -> None:
    first = estimate_levels(frame, RAW, Levels(black=np.float32(BLACKS)))
    lock = tmp_path / "levels.json"
    save_parameters(lock, parameters(frame, first))
    other = shot(PAIRS, "GRBG", BLACKS + 2, (12_900, 12_600), scene() * 0.8, seed=9)
    dark = replace(frame, counts=np.full(frame.shape, 1030, np.uint16))  # it cannot tell, and so is no other frame
    for mosaic in (frame, other, dark):
        found = load_parameters(lock).estimate_for(mosaic, RAW)
        assert found.as_json() == first.as_json()
        assert found.confidence == first.confidence
        assert found.scale(mosaic) == 1
    with pytest.raises(UnwritableOutput):
        save_parameters(lock, parameters(frame, first))


def test_black_that_the_first_frame_is_not_sure_of_follows_frames_that_are() -> None:
    bright = shot(PAIRS, "GRBG", TRUE, WHITES, scene() * 4)
    dark = shot(PAIRS, "GRBG", TRUE, WHITES, scene() / 64, seed=3)
    first = estimate_levels(bright, RAW)
    assert first.black_error is not None
    wrong = replace(first, black=first.black + np.float32([[1], [-8], [12], [-1]]), black_error=first.black_error + 8)
    found = parameters(bright, wrong).estimate_for(dark, RAW)
    np.testing.assert_allclose(found.black, STATED, atol=1)
    assert found.pattern.ratio_ev == first.pattern.ratio_ev
    assert found.scale(dark) == pytest.approx(1, abs=0.002)
    sure = parameters(bright, replace(wrong, black_error=first.black_error * 0 + 0.1)).estimate_for(dark, RAW)
    np.testing.assert_array_equal(sure.black, wrong.black)


def test_black_levels_of_two_frames_are_weighed_by_their_errors(frame: Mosaic, first: Estimate) -> None:
    assert first.black_error is not None
    unsure = replace(first, black=first.black + 10, black_error=2 * first.black_error)  # which counts for a fourth
    found = parameters(frame, unsure).estimate_for(frame, RAW)
    np.testing.assert_allclose(found.black, first.black + 2, atol=0.1)


@pytest.mark.parametrize(
    "levels",
    [
        Levels(),
        Levels(pattern=parse_pattern("rows:1/8,1,1,1/8")),
        Levels(ratio_ev=3.0),
        Levels(white=15_800),
        Levels(white=(15_800, 15_500)),
    ],
)
def test_the_first_frame_made_again_has_the_levels_it_had(tmp_path: Path, levels: Levels) -> None:
    frame = shot(PAIRS, "GRBG", BLACKS, WHITES, scene()[:64] * 2)  # too small and bright to be sure of black
    first = estimate_levels(frame, RAW, levels)
    assert first.black_error is not None
    assert first.black_error.max() > 1.4
    save_parameters(tmp_path / "levels.json", parameters(frame, first))
    again = load_parameters(tmp_path / "levels.json").estimate_for(frame, RAW)
    assert again.sources == first.sources
    np.testing.assert_array_equal(again.black, first.black)
    assert again.scale(frame) == 1


def test_where_the_first_frame_had_no_fit_others_have(frame: Mosaic, first: Estimate) -> None:
    unfitted = replace(
        first, black=np.full_like(first.black, STATED), black_error=None, sources=first.sources | {"black": "file"}
    )
    found = parameters(frame, unfitted).estimate_for(frame, RAW)
    np.testing.assert_allclose(found.black, first.black, atol=1)


def test_a_white_level_that_only_the_file_names_gives_way_to_a_pile_up() -> None:
    dim = shot(PAIRS, "GRBG", TRUE, WHITES, np.minimum(scene() / 16, 0.1))
    first = estimate_levels(dim, RAW)
    assert (first.white == NOMINAL).all()
    bright = shot(PAIRS, "GRBG", TRUE, WHITES, scene())
    found = parameters(dim, first).estimate_for(bright, RAW)
    np.testing.assert_allclose(found.white[:, 0], [WHITES[0], WHITES[1], WHITES[1], WHITES[0]], rtol=0.001)
    # what one count means stays the same: images are scaled by how much nearer saturation is
    assert found.scale(bright) == pytest.approx((WHITES[0] - STATED) / (NOMINAL - STATED), rel=0.002)


def test_less_exposed_rows_that_saturate_in_a_later_frame_keep_their_higher_white() -> None:
    """In the first frame nothing saturated them, and they took the level of the other rows, the only one there was."""
    first_light = np.minimum(scene(), 0.4)
    leader = shot(PAIRS, "GRBG", TRUE, WHITES, first_light)
    shared = parameters(leader, estimate_levels(leader, RAW))
    assert shared.estimate.sources["white"] == "pile-up, file"
    np.testing.assert_allclose(shared.estimate.white, min(WHITES), rtol=0.001)
    lamp = shot(PAIRS, "GRBG", TRUE, WHITES, scene())
    found = shared.estimate_for(lamp, RAW)
    np.testing.assert_allclose(found.white[:, 0], [WHITES[0], WHITES[1], WHITES[1], WHITES[0]], rtol=0.001)
    assert found.scale(lamp) == pytest.approx((WHITES[0] - STATED) / (WHITES[1] - STATED), rel=0.002)
    again = shared.estimate_for(shot(PAIRS, "GRBG", TRUE, WHITES, first_light, seed=5), RAW)
    np.testing.assert_array_equal(again.white, shared.estimate.white)


def test_a_pile_up_gives_way_to_a_lower_one_of_another_iso_and_to_the_lower_white_of_a_file() -> None:
    leader, lower = (shot(PAIRS, "GRBG", TRUE, whites, scene()) for whites in (WHITES, (11_000.0, 10_500.0)))
    shared = parameters(at_iso(leader, 200), estimate_levels(leader, RAW))
    own = np.float32([[11_000], [10_500], [10_500], [11_000]])
    found = shared.estimate_for(at_iso(lower, 160), RAW)
    np.testing.assert_allclose(found.white, np.tile(own, 2), rtol=0.001)
    assert found.scale(lower) == pytest.approx((11_000 - STATED) / (WHITES[0] - STATED), rel=0.002)  # counts are counts
    stating = replace(lower, white_level=11_000.0)
    np.testing.assert_array_equal(shared.estimate_for(at_iso(stating, 200), RAW).white, found.white)
    for same in (at_iso(lower, 200), lower):  # nothing says that it clips elsewhere: this is something flat
        np.testing.assert_array_equal(shared.estimate_for(same, RAW).white, shared.estimate.white)
    given = estimate_levels(leader, RAW, Levels(white=WHITES))
    stays = parameters(at_iso(leader, 200), given).estimate_for(at_iso(stating, 160), RAW)
    np.testing.assert_array_equal(stays.white, given.white)


@pytest.mark.parametrize("white", [None, WHITES, 4000.0])
def test_another_bit_depth_is_refused_whatever_white_is_given(
    tmp_path: Path, frame: Mosaic, white: float | tuple[float, ...] | None
) -> None:
    lock = tmp_path / "levels.json"
    save_parameters(lock, parameters(frame, estimate_levels(frame, RAW, Levels(white=white))))
    shared = load_parameters(lock)
    twelve = replace(frame, counts=frame.counts // 4, black_level=frame.black_level / 4, white_level=4095.0)
    for mosaic in (twelve, replace(twelve, white_level=900.0)):
        with pytest.raises(Sve2HdrError, match=r"photo.dng: white level .* far from the 16383 .* name another --lock"):
            shared.estimate_for(mosaic, RAW)
    shared.estimate_for(frame, RAW)


def test_the_noise_of_another_iso_is_the_frames_own(
    tmp_path: Path, frame: Mosaic, first: Estimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("test_levels.FULL_WELL_E", 2000.0)
    noisy = shot(PAIRS, "GRBG", BLACKS, WHITES, scene())
    lock = tmp_path / "levels.json"
    save_parameters(lock, parameters(at_iso(frame, 100), first))
    shared, own = load_parameters(lock), estimate_levels(noisy, RAW)
    assert shared.estimate_for(at_iso(frame, 100), RAW).as_json() == first.as_json()
    assert shared.estimate_for(at_iso(noisy, 100), RAW).noise is shared.estimate.noise
    assert shared.estimate_for(noisy, RAW).noise is shared.estimate.noise
    found = shared.estimate_for(at_iso(noisy, 1600), RAW)
    assert found.noise.gain.min() > 5 * first.noise.gain.min()
    np.testing.assert_allclose(found.noise.gain, own.noise.gain, rtol=0.2)
    assert found.sources["gain"] == own.sources["gain"]


def test_black_follows_what_the_files_state(tmp_path: Path, frame: Mosaic, first: Estimate) -> None:
    lock = tmp_path / "levels.json"
    save_parameters(lock, parameters(frame, first))
    shared = load_parameters(lock)
    warm = replace(frame, counts=frame.counts + np.uint16(16), black_level=frame.black_level + 16)
    found = shared.estimate_for(warm, RAW)
    np.testing.assert_array_equal(found.black, first.black + 16)
    assert found.full_scale == shared.estimate_for(frame, RAW).full_scale
    shown = MaskedSites(BLACKS, np.full((4, 1), 0.1), np.full((4, 1), 2.0))
    masked = replace(frame, black_level=np.float32(BLACKS), masked=shown)
    lead = parameters(masked, estimate_levels(masked, RAW))
    other = replace(masked, black_level=np.float32(BLACKS + np.arange(1, 5)[:, None]))
    np.testing.assert_allclose(lead.estimate_for(other, RAW).black, np.tile(other.black_level, 2), atol=1e-3)
    given = parameters(frame, estimate_levels(frame, RAW, Levels(black=np.float32(BLACKS))))
    np.testing.assert_array_equal(given.estimate_for(warm, RAW).black, given.estimate.black)


def test_parameters_of_an_earlier_version_are_taken(tmp_path: Path, frame: Mosaic, first: Estimate) -> None:
    lock = tmp_path / "levels.json"
    save_parameters(lock, parameters(at_iso(frame, 100), first))
    record = json.loads(lock.read_text())
    del record["stated_black"], record["stated_white"], record["iso"]
    lock.write_text(json.dumps(record))
    moved = replace(at_iso(frame, 1600), black_level=frame.black_level + 1)
    assert load_parameters(lock).estimate_for(moved, RAW).as_json() == first.as_json()
    with pytest.raises(Sve2HdrError, match="another bit depth"):
        load_parameters(lock).estimate_for(replace(moved, white_level=4095.0), RAW)


def test_all_that_is_shared_comes_back_from_the_file(tmp_path: Path, frame: Mosaic, first: Estimate) -> None:
    lock, look = tmp_path / "levels.json", Look(-12.5, -4.25, 0.75, 5.0)
    neutral = Neutral(np.array([0.5, 1.0, 0.625]), WhiteBalance("kelvin", (4200.0,)), "a note")
    defects = Defects(np.array([3, 3, 400]), np.array([5, 507, 0]), others=512)
    save_parameters(lock, LockedParameters(first, frame.shape, frame.cfa, neutral, look, 1.25, defects, 400.0))
    found = load_parameters(lock)
    assert (found.look, found.baseline_exposure_ev, found.iso) == (look, 1.25, 400)
    assert found.neutral is not None
    assert found.defects is not None
    assert (found.defects.y.tolist(), found.defects.x.tolist()) == ([3, 3, 400], [5, 507, 0])
    assert found.neutral.camera_rgb.tolist() == [0.5, 1, 0.625]
    assert found.neutral.taken == neutral.taken
    assert found.neutral_for(WhiteBalance()) is found.neutral_for(WhiteBalance("auto")) is found.neutral
    assert found.neutral_for(WhiteBalance("kelvin", (5000.0,))) is None
    np.testing.assert_array_equal(found.estimate.black_error, first.black_error)


def test_a_black_of_zero_comes_back_and_stays(tmp_path: Path) -> None:
    lock, mosaic = tmp_path / "levels.json", shot(PAIRS, "RGGB", np.zeros((4, 1)), WHITES, scene())
    mosaic = replace(mosaic, black_level=np.zeros((1, 1), np.float32))
    save_parameters(lock, parameters(mosaic, estimate_levels(mosaic, RAW)))
    assert not load_parameters(lock).estimate_for(mosaic, RAW).black.any()


def test_a_black_below_zero_comes_back(tmp_path: Path, frame: Mosaic, first: Estimate) -> None:
    lock, low = tmp_path / "levels.json", replace(first, black=first.black - first.black.max() - 0.5)
    save_parameters(lock, parameters(frame, low))
    np.testing.assert_array_equal(load_parameters(lock).estimate.black, low.black)


def test_mostly_saturated_frames_move_no_black(frame: Mosaic, first: Estimate) -> None:
    assert first.black_error is not None
    unsure = replace(first, black_error=first.black_error + 8)
    blown = shot(PAIRS, "GRBG", BLACKS, WHITES, scene() * 64)
    np.testing.assert_array_equal(parameters(frame, unsure).estimate_for(blown, RAW).black, first.black)


def test_parameters_of_another_kind_of_file_are_refused(frame: Mosaic, first: Estimate) -> None:
    plain = shot(parse_pattern("rows:1,1,1,0.999"), "GRBG", BLACKS * 0 + STATED, WHITES, scene())
    swapped = shot(parse_pattern("rows:1,1/8,1/8,1"), "GRBG", BLACKS, WHITES, scene())
    others = {
        "512 x 508 sites": replace(frame, counts=frame.counts[4:]),
        "colours RGGB": replace(frame, cfa="RGGB"),
        "it has one exposure, or its exposures lie in another pattern than those of": plain,
        "its bright and dark sites lie the other way round": swapped,
    }
    for finding, mosaic in others.items():
        with pytest.raises(Sve2HdrError, match=finding) as refusal:
            parameters(frame, first).estimate_for(mosaic, RAW)
        assert str(refusal.value).startswith("photo.dng: ")
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("other", "finding"),
    [
        ("1,1/2;1/4,1/8", ""),
        ("1,1/4;1/2,1/8", "lie in another pattern than those of"),  # from first to last they are the same
        ("1/8,1;1,1/8", "lie in another pattern than those of"),
        ("1/8,1/4;1/2,1", "lie the other way round than those of"),
        ("1,1/4;1/5,1/8", "differ by 2.00 EV where None has 1.00 EV"),
        ("1,0.4348;0.1852,0.0820", "differ by 3.6. EV where None has 3.0. EV"),  # each step is nearly right
    ],
)
def test_every_exposure_counts(other: str, finding: str) -> None:
    light = scene() / 4
    lead, frame = (shot(parse_pattern(f"grid:{p}"), QUAD, TRUE, WHITES, light) for p in ("1,1/2;1/4,1/8", other))
    shared = parameters(lead, estimate_levels(lead, RAW))
    if finding:
        with pytest.raises(Sve2HdrError, match=f"photo.dng: its .*{finding}"):
            shared.estimate_for(frame, RAW)
    else:
        assert shared.estimate_for(frame, RAW).pattern is shared.estimate.pattern


@pytest.mark.parametrize(
    "text",
    [
        "",
        pytest.param("[" * 100_000, id="deep"),
        "[]",
        "{}",
        '{"format": 2}',
        '{"format": 1, "shape": [4, 4], "cfa": "RGGB"}',
    ],
)
def test_files_that_hold_no_parameters_are_refused(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "levels.json"
    lock.write_text(text)
    with pytest.raises(Sve2HdrError, match="no parameters"):
        load_parameters(lock)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shape", "[512]"),
        ("neutral", "[0, 1, 1]"),
        ("ratio_ev_error", "NaN"),
        ("black", "[[-Infinity, 1000], [1000, 1000], [1000, 1000], [1000, 1000]]"),
        ("black_error", "[[1]]"),
        ("stated_black", "[[1024]]"),
        ("stated_white", "NaN"),
        ("iso", "NaN"),
        ("look", "[1, 2]"),
        ("look", "[1e9, 0, 1, 5]"),
        ("look", "[-9, -3, 1, 0.5]"),
        ("baseline_exposure_ev", "NaN"),
        ("sources", "{}"),
        ("defects", "[[1, 2]]"),
        ("defects", '{"1": "5 x"}'),
        ("defects", '{"512": "5"}'),
        ("defects", '{"5": "-1"}'),
    ],
)
def test_damaged_parameters_are_refused(tmp_path: Path, frame: Mosaic, first: Estimate, name: str, value: str) -> None:
    lock = tmp_path / "levels.json"
    save_parameters(lock, parameters(frame, first))
    record = json.loads(lock.read_text())
    lock.write_text(json.dumps(record | {name: json.loads(value)}))
    with pytest.raises(Sve2HdrError, match="no parameters"):
        load_parameters(lock)
