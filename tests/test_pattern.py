"""Detection: what is simulated is found, in every layout, phase and CFA order; what is no SVE is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sve2hdr.detection.matching import match_exposures
from sve2hdr.detection.patternfit import error_ev
from sve2hdr.detection.patternpairs import fit_pairs
from sve2hdr.detection.patternproof import unrepeated_ev
from sve2hdr.errors import PatternNotFound
from sve2hdr.mosaic import BAYER_ORDERS, QUAD_BAYERS, ExposurePattern, Mosaic, cfa_period, repeated
from sve2hdr.pattern import Detection, detect_pattern
from sve2hdr.patterntext import parse_pattern, with_ratio

SHAPE = (256, 384)
BLACK, WHITE = 2048, 15_000
SINGLE = ExposurePattern(np.ones((1, 1), np.float32))


def scene(seed: int = 0) -> np.ndarray:
    """Return overlapping discs of all colours under uneven light, (H, W, 3) float32, 1.0 = saturation."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    image = np.full((*SHAPE, 3), 0.2, np.float32)
    for _ in range(250):
        inside = (y - rng.uniform(0, SHAPE[0])) ** 2 + (x - rng.uniform(0, SHAPE[1])) ** 2 < rng.uniform(4, 35) ** 2
        image[inside] = rng.uniform(0.1, 1) * rng.uniform(0.3, 1, 3)
    return np.float32(image * np.exp2(-5 * x / SHAPE[1] + np.sin(y / 40))[..., None])


SCENE = scene()


def taken(
    light: np.ndarray,
    pattern: ExposurePattern = SINGLE,
    cfa: str = "RGGB",
    *,
    gain: bool = False,
    full_well_e: float = 30_000,
    read_e: float = 4,
    black_error: np.ndarray | None = None,
    clip: float = 1.0,
) -> Mosaic:
    """Return the frame of a scene, (H, W, 3), by a sensor written anew here, so that it can contradict simulate.py."""
    rng = np.random.default_rng(1)
    colour = np.vectorize("RGB".index)(cfa_period(cfa))
    seen = np.take_along_axis(light, repeated(colour, light.shape[:2])[..., None], 2)[..., 0]
    relative = pattern.over(seen.shape) * pattern.ratio
    counts_per_e = (WHITE - BLACK) / full_well_e * (relative if gain else 1)
    electrons = rng.poisson(np.minimum(seen * (1 if gain else relative), 100) * full_well_e)
    read = rng.normal(0, read_e * (WHITE - BLACK) / full_well_e, seen.shape)
    black = BLACK + (0 if black_error is None else repeated(black_error, seen.shape))
    counts = np.clip(np.rint(electrons * counts_per_e + read + black), 0, BLACK + clip * (WHITE - BLACK))
    return Mosaic(counts.astype(np.uint16), cfa, np.full((2, 2), BLACK, np.float32), float(WHITE), np.eye(3))


def assert_found(found: Detection, pattern: ExposurePattern, within_ev: float = 0.05) -> None:
    assert found.sve, found.reason
    assert found.pattern is not None
    assert found.pattern.exposure.shape == pattern.exposure.shape
    off = np.log2(found.pattern.exposure / pattern.exposure)
    assert np.abs(off).max() < within_ev, off
    assert len(np.unique(found.pattern.exposure)) == len(np.unique(pattern.exposure))
    assert found.ratio_ev == pytest.approx(pattern.ratio_ev, abs=within_ev)
    assert (found.doubtful, found.undecided, found.suspected) == (False, False, None)


def assert_refused(found: Detection) -> None:
    assert not found.sve
    assert found.pattern is None
    assert found.confidence < 0.5
    assert found.reason


def turned(exposure: list[list[float]], down: int, right: int = 0) -> ExposurePattern:
    return ExposurePattern(np.roll(np.float32(exposure), (down, right), (0, 1)))


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("phase", range(4))
def test_row_pairs_in_every_phase_and_cfa(cfa: str, phase: int) -> None:
    pattern = turned([[1 / 8], [1 / 8], [1], [1]], phase)
    assert_found(detect_pattern(taken(SCENE / 4, pattern, cfa, gain=phase % 2 == 1)), pattern)


@pytest.mark.parametrize("phase", range(4))
def test_column_pairs_in_every_phase(phase: int) -> None:
    pattern = turned([[1 / 4, 1 / 4, 1, 1]], 0, phase)
    assert_found(detect_pattern(taken(SCENE / 4, pattern, "GRBG")), pattern)


@pytest.mark.parametrize("phase", range(8))
def test_rows_in_fours_in_every_phase(phase: int) -> None:
    pattern = turned([[1 / 8]] * 4 + [[1]] * 4, phase)
    found = detect_pattern(taken(SCENE / 8, pattern, BAYER_ORDERS[phase % 4], gain=phase % 2 == 0))
    assert_found(found, pattern)
    np.testing.assert_array_equal(found.phase_ev > 0, pattern.over((8, 4)) == 1)


@pytest.mark.parametrize(
    "text",
    [
        "rows:1/8,1/8,1/8,1,1,1,1,1",
        "rows:1/8,1/8,1/8,1/8,1/2,1/2,1,1",
        "rows:1/8,1,1/8,1,1,1/8,1,1/8",
        "columns:1/8,1/8,1/8,1/8,1,1,1,1",
    ],
)
def test_other_periods_of_eight_are_not_taken_for_rows_in_fours(text: str) -> None:
    found = detect_pattern(taken(SCENE / 8, parse_pattern(text)))
    assert found.pattern is None or found.pattern.exposure.shape != (8, 1)


@pytest.mark.parametrize(
    "text",
    [
        "rows:1,1,1/2,1/2,1/4,1/4,1/8,1/8",
        "rows:1/8,1/2,1/2,1,1,1/4,1/4,1/8",
        "columns:1/8,1/8,1,1,1,1,1,1",
        "columns:1,1,1/4,1/4,1/2,1/2,1/8,1/8",
    ],
)
def test_longer_periods_are_not_taken_for_pairs_of_their_means(text: str) -> None:
    found = detect_pattern(taken(SCENE / 8, parse_pattern(text)))
    assert not found.sve
    assert found.doubtful
    assert found.suspected is None
    assert "repeat after more than 4: in no layout that is known" in found.reason
    small = detect_pattern(taken(SCENE[100:164, 200:264] / 8, parse_pattern(text)))
    assert not small.sve
    assert small.doubtful


@pytest.mark.parametrize("angle_deg", [0, 90])
def test_stripes_in_step_with_two_cells_are_no_longer_period(angle_deg: float) -> None:
    pattern = turned([[1 / 8], [1 / 8], [1], [1]], 0)
    part = (np.arange(SHAPE[1]) < SHAPE[1] * 0.6)[:, None]
    light = SCENE * np.where(part, stripes(8, angle_deg, True, 0), np.float32(1))
    assert_found(detect_pattern(taken(light / 4, pattern)), pattern)


def test_sites_lost_in_noise_do_not_seem_to_repeat_later() -> None:
    dark = taken(SCENE / 512, turned([[1 / 64], [1 / 64], [1], [1]], 0), full_well_e=3000, read_e=8)
    assert unrepeated_ev(dark) < 0.1


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 0), (0, 3), (2, 1)])
@pytest.mark.parametrize("quads", [[[0.125, 1], [1, 0.125]], [[1 / 64, 1 / 16], [1 / 4, 1]]])
def test_blocks_of_two_and_four_exposures(quads: list[list[float]], down: int, right: int) -> None:
    pattern = turned(np.kron(quads, np.ones((2, 2))).tolist(), down, right)
    assert_found(detect_pattern(taken(SCENE / 4, pattern, "BGGR")), pattern)


@pytest.mark.parametrize("order", [[1 / 8, 1 / 4, 1 / 2, 1], [1 / 2, 1 / 8, 1, 1 / 4]])
@pytest.mark.parametrize("columns", [False, True])
def test_four_exposures_line_by_line_are_no_pairs(order: list[float], columns: bool) -> None:
    """Sites of a colour see two of the four, as with pairs; only that greens lie in all lines tells them apart."""
    exposure = np.float32([order])
    found = detect_pattern(taken(SCENE / 4, ExposurePattern(exposure if columns else exposure.T), gain=True))
    assert_refused(found)
    assert "greens" in found.reason
    assert found.suspected is None  # that would be pairs


@pytest.mark.parametrize("cfa", QUAD_BAYERS)
@pytest.mark.parametrize(
    "sites", [[[1, 1 / 16], [1 / 16, 1]], [[1 / 16, 1 / 4], [1 / 4, 1]], [[1, 1 / 2], [1 / 4, 1 / 8]]]
)
def test_quad_bayer_in_every_phase(sites: list[list[float]], cfa: str) -> None:
    pattern = ExposurePattern(np.tile(np.float32(sites), (2, 2)))
    assert_found(detect_pattern(taken(SCENE / 4, pattern, cfa)), pattern)


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize("ev", [1.0, 1.5, 2.5, 4.0, 5.0])
@pytest.mark.parametrize(("full_well_e", "read_e"), [(1e6, 0.5), (1_000, 3)])
def test_ratios_modes_and_noise(ev: float, gain: bool, full_well_e: float, read_e: float) -> None:
    pattern = turned([[2**-ev], [2**-ev], [1], [1]], 1)
    assert_found(detect_pattern(taken(SCENE / 2, pattern, gain=gain, full_well_e=full_well_e, read_e=read_e)), pattern)


@pytest.mark.parametrize("key", [8, 1, 0.05])
def test_high_key_and_low_key(key: float) -> None:
    pattern = turned([[1 / 16], [1 / 16], [1], [1]], 2)
    assert_found(detect_pattern(taken(SCENE * key, pattern)), pattern)


def test_wrong_black_of_each_row_and_low_clipping_do_not_matter() -> None:
    pattern = turned([[1 / 8], [1 / 8], [1], [1]], 3)
    error = np.float32([[30], [-25], [10], [-30]])
    assert_found(detect_pattern(taken(SCENE, pattern, black_error=error, clip=0.75)), pattern, within_ev=0.03)


def test_rows_of_other_black_levels_are_no_other_exposures_in_the_dark() -> None:
    pattern = turned([[1 / 8], [1 / 8], [1], [1]], 0)
    black = np.array([[30.0], [-30.0], [-25.0], [25.0]])
    assert_found(detect_pattern(taken(SCENE / 100, pattern, gain=True, black_error=black)), pattern)


def test_detection_ignores_the_scale_of_counts() -> None:
    pattern = turned([[1 / 8], [1 / 8], [1], [1]], 0)
    frame = taken(SCENE / 4, pattern)
    quadrupled = Mosaic(
        frame.counts * 4, frame.cfa, frame.black_level * 4, frame.white_level * 4, frame.camera_from_xyz
    )
    assert detect_pattern(quadrupled).ratio_ev == pytest.approx(detect_pattern(frame).ratio_ev, abs=0.003)


def test_cropping_rows_turns_the_phase() -> None:
    frame = taken(SCENE / 4, turned([[1 / 8], [1 / 8], [1], [1]], 0), "RGGB")
    cropped = Mosaic(frame.counts[1:], "GBRG", frame.black_level, frame.white_level, frame.camera_from_xyz)
    assert_found(detect_pattern(cropped), turned([[1 / 8], [1 / 8], [1], [1]], -1))


def test_the_error_covers_the_error() -> None:
    for seed in range(4):
        pattern = turned([[1 / 8], [1 / 8], [1], [1]], seed)
        found = detect_pattern(taken(scene(seed) / 4, pattern))
        assert abs(found.ratio_ev - 3) < 5 * found.ratio_ev_error + 0.01
        assert found.ratio_ev_error < 0.05


def test_same_mosaic_same_answer() -> None:
    frame = taken(SCENE / 4, turned([[1 / 8], [1 / 8], [1], [1]], 0))
    assert detect_pattern(frame).as_json("a") == detect_pattern(frame).as_json("a")


def stripes(period: float, angle_deg: float, sharp: bool, phase: float = 0.6) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    angle = np.radians(angle_deg)
    turn = ((y * np.cos(angle) + x * np.sin(angle) + phase) / period) % 1
    wave = (turn < 0.5) if sharp else 0.5 + 0.5 * np.sin(2 * np.pi * turn)
    return np.float32(0.1 + 0.9 * wave)[..., None] * np.ones(3, np.float32)


def noise() -> np.ndarray:
    return np.random.default_rng(0).random((*SHAPE, 3), np.float32)


FLAT = np.full((*SHAPE, 3), 0.4, np.float32)
HALF = np.where(np.arange(SHAPE[1]) < SHAPE[1] * 0.6, 1, 0)[None, :, None]
ORDINARY = {
    "photo": SCENE, "bright photo": SCENE * 8, "dim photo": SCENE * 0.02, "black": FLAT * 0, "burnt": FLAT * 9,
    "flat": FLAT, "half burnt": np.float32(FLAT * 9 * HALF), "noise": noise(), "blinds": stripes(16, 0, True) * SCENE,
    "aligned stripes on a flat wall": stripes(4, 0, True, 0),
    "fine check": FLAT * np.float32(np.indices(SHAPE).sum(0) // 2 % 2)[..., None],
    "aligned stripes on part of a photo": np.float32(np.where(HALF, SCENE * stripes(4, 0, True, 0), SCENE)),
    "see-through stripes": SCENE / 2 + stripes(4, 0, True, 0) / 5,
}  # fmt: skip


@pytest.mark.parametrize("full_well_e", [30_000, 1_000])
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_frames_are_refused(name: str, full_well_e: float) -> None:
    found = detect_pattern(taken(ORDINARY[name], full_well_e=full_well_e))
    assert_refused(found)
    assert found.doubtful == (name == "aligned stripes on a flat wall")
    assert ("suspected" in found.as_json("a.dng")) == found.doubtful
    if "aligned" not in name and name != "fine check":
        assert found.undecided == (name in ("black", "burnt"))


@pytest.mark.parametrize("sharp", [False, True])
@pytest.mark.parametrize("angle_deg", [0, 1, 45, 90])
@pytest.mark.parametrize("period", [2, 3, 4, 5, 8])
def test_stripes_are_refused(period: float, angle_deg: float, sharp: bool) -> None:
    assert_refused(detect_pattern(taken(stripes(period, angle_deg, sharp) * 0.6)))
    part = SCENE * np.where(HALF, stripes(period, angle_deg, sharp), 1).astype(np.float32)
    assert_refused(detect_pattern(taken(part)))


Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32) / SHAPE[0] - 0.5
PLAIN = {
    "wall with vignette": 0.09 * (1 - 0.4 * (X**2 + Y**2)), "fog": 0.05 * np.exp2(Y),
    "sea and sky": np.where(Y > 0, 0.05, 0.09),
}  # fmt: skip


def grey(light: np.ndarray) -> np.ndarray:
    return np.float32(light[..., None] * [0.5, 1, 0.7])


@pytest.mark.parametrize("full_well_e", [30_000, 1_000])
@pytest.mark.parametrize("name", PLAIN)
def test_plain_subjects_show_their_gains_by_noise(name: str, full_well_e: float) -> None:
    for phase, ev in enumerate((1.5, 3, 4)):
        pattern = turned([[2**-ev], [2**-ev], [1], [1]], phase)
        light = grey(PLAIN[name]) * np.float32(8 * 2**-ev)
        assert_found(detect_pattern(taken(light, pattern, gain=True, full_well_e=full_well_e)), pattern)
        without = detect_pattern(taken(light, pattern, full_well_e=full_well_e))  # as a mask before one exposure would
        assert without.doubtful
        assert str(without.suspected) in str(without.not_found("a.dng"))


@pytest.mark.parametrize("full_well_e", [30_000, 1_000])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("ev", [1.5, 3, 5])
def test_soft_blinds_before_something_plain_are_refused(ev: float, columns: bool, full_well_e: float) -> None:
    along = np.arange(SHAPE[columns])
    for period, phase, blur in ((4, 0.25, 0), (4, 0.5, 0.4), (4.002, 0, 0), (4, 0.1, 0.6), (3.99, 0.3, 0.3)):
        parts = phase + (1 + 2 * blur) * (np.arange(32) - 15.5) / 32  # a site sees the mean over its height, or more
        bars = np.mean([(along + part) % period < period / 2 for part in parts], axis=0)
        passed = 2**-ev + (1 - 2**-ev) * bars
        light = grey(PLAIN["wall with vignette"] * 8 * (passed[None] if columns else passed[:, None]))
        assert not detect_pattern(taken(light, full_well_e=full_well_e)).sve


def test_a_refusal_names_the_phase_and_ratio_that_were_measured() -> None:
    for phase in range(4):
        pattern = turned([[1 / 8], [1 / 8], [1], [1]], phase)
        found = detect_pattern(taken(grey(PLAIN["fog"]), pattern))
        assert found.pattern is None
        advice = str(found.not_found("a.dng")).partition("--pattern ")[2].removesuffix(", as measured")
        np.testing.assert_allclose(parse_pattern(advice).exposure, pattern.exposure, rtol=0.02)


def test_saturated_and_plain_is_doubtful_and_saturated_alike_is_not() -> None:
    pattern = turned([[1 / 16], [1 / 16], [1], [1]], 1)
    found = detect_pattern(taken(np.full_like(FLAT, 0.3), pattern, gain=True))
    assert found.doubtful
    assert "at least" in found.reason
    assert found.suspected is not None
    assert found.suspected.ratio_ev == pytest.approx(found.ratio_ev, abs=1e-3)
    np.testing.assert_array_equal(found.suspected.exposure == 1, pattern.exposure == 1)
    assert not detect_pattern(taken(FLAT * 9)).doubtful


def test_few_stars_in_a_plain_sky_do_not_tell_the_ratio() -> None:
    rng, sky = np.random.default_rng(0), np.full(SHAPE, 0.003)
    down, right = np.mgrid[-4:5, -4:5]
    for y, x in rng.uniform(8, np.array(SHAPE) - 8, (150, 2)):
        star = np.exp(-((down - y % 1) ** 2 + (right - x % 1) ** 2) / 1.6)
        sky[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] += 10 ** rng.uniform(-1.5, 1.5) * star / star.sum()
    found = detect_pattern(taken(grey(sky), turned([[1 / 8], [1 / 8], [1], [1]], 0), gain=True))
    assert not found.sve
    assert "too much of the frame is plain" in found.reason


def test_frames_ever_darker_are_found_or_undecided_but_not_said_to_be_ordinary() -> None:
    for half_ev in range(8, 20):
        light, pattern = FLAT * np.float32(2 ** (-half_ev / 2)), turned([[1 / 8], [1 / 8], [1], [1]], half_ev % 4)
        found = detect_pattern(taken(light, pattern))
        assert found.sve != found.undecided, half_ev


def test_a_longer_period_is_not_said_to_be_one_exposure() -> None:
    found = detect_pattern(taken(SCENE / 4, parse_pattern("rows:1/4,1/4,1/2,1/2,1,1")))
    assert not found.sve
    assert "in periods of up to 4 sites, or 8 rows" in found.reason


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (15, 40), (16, 16), (33, 50)])
def test_tiny_frames_are_refused_not_crashed_on(shape: tuple[int, int]) -> None:
    assert not detect_pattern(taken(SCENE[: shape[0], : shape[1]])).sve


def test_json_record() -> None:
    pattern = turned([[1 / 8], [1 / 8], [1], [1]], 0)
    record = json.loads(json.dumps(detect_pattern(taken(SCENE / 4, pattern)).as_json("a.dng")))
    assert list(record) == ["file", "sve", "exposure", "ratio_ev", "confidence", "cfa", "reason"]
    assert record["file"] == "a.dng"
    assert record["exposure"][2:] == [[1], [1]]
    assert "3.0" in record["reason"]
    refused = json.loads(json.dumps(detect_pattern(taken(SCENE)).as_json(Path("b.dng"))))
    assert refused["sve"] is False
    assert refused["exposure"] is None
    assert refused["confidence"] < 0.1
    told = detect_pattern(taken(SCENE)).of_one_exposure((3000, 4000))
    assert (told["sve"], told["megapixels"]) == (False, 12)


def test_not_found_is_one_line_with_the_next_step() -> None:
    error = detect_pattern(taken(SCENE)).not_found("b.dng")
    assert isinstance(error, PatternNotFound)
    assert str(error).startswith("b.dng: ")
    assert "--pattern rows:1/8,1/8,1,1" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("share", [0.005, 0.02])
def test_a_moon_in_a_black_sky_is_found_on_a_warm_sensor(share: float) -> None:
    sky, rng, pattern = (512, 768), np.random.default_rng(3), parse_pattern("rows:1/8,1/8,1,1")
    y, x = np.indices(sky)
    moon = ((y - 250) ** 2 + (x - 400) ** 2 < 120**2)[..., None] * np.tile(SCENE, (2, 2, 1))
    mosaic = taken(np.float32(moon), pattern, gain=True)
    hot = (rng.random(sky) < share) * np.minimum(20 * (rng.pareto(1, sky) + 1), 60_000)
    counts = mosaic.counts + rng.poisson(hot) * (WHITE - BLACK) / 30_000 * pattern.over(sky) * pattern.ratio
    found = detect_pattern(replace(mosaic, counts=np.minimum(counts, WHITE).astype(np.uint16)))
    assert found.sve
    assert abs(found.ratio_ev - 3) < 0.01


@pytest.mark.parametrize("name", ["PowerShotG2_CRW_0304.CRW", "PowerShotS40_CRW_0119.CRW", "Blackmagic.dng"])
def test_real_photos_are_refused(repository: Path, name: str) -> None:
    from sve2hdr.rawfile import read_raw

    path = repository.parent / "shared" / "data" / "raw" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    found = detect_pattern(read_raw(path))
    assert not found.sve
    assert found.confidence < 0.1


def test_a_pattern_in_doubt_is_in_the_record() -> None:
    found = detect_pattern(taken(grey(PLAIN["fog"]), turned([[1 / 8], [1 / 8], [1], [1]], 0)))
    assert found.doubtful
    assert str(found.as_json("a.dng")["suspected"]).startswith("rows:")
    assert "suspected" not in detect_pattern(taken(SCENE)).as_json("a.dng")


def test_what_is_too_small_to_be_clear_is_in_doubt() -> None:
    pattern = turned([[1 / 8], [1 / 8], [1], [1]], 1)
    small = taken(SCENE[:64, :96] / 64, pattern, gain=True, full_well_e=300)
    found = detect_pattern(small)
    assert not found.sve
    assert found.scores["clearness"] < 0.1
    assert found.doubtful
    assert "too much of the frame" in found.reason
    assert found.suspected is None  # a layout that is not clear is not named, as it would be taken for measured
    assert "suspected" not in found.as_json("a.dng")
    assert found.finding.endswith("name it, as in rows:1/8,1/8,1,1")


def black_before_sky(sky: float, red: float, blue: float) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    light = sky * np.exp2(-0.8 * y / SHAPE[0] - 0.3 * np.cos(x / 90))[..., None] * np.float32([red, 1, blue])
    light[y > 200 + 12 * np.sin(x / 25)] = 1e-4
    return np.float32(light)


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize("ev", [3, 4])
@pytest.mark.parametrize("sky", [0.3, 0.8])
@pytest.mark.parametrize("columns", [False, True])
def test_black_before_a_bright_sky_is_in_doubt(sky: float, ev: float, gain: bool, columns: bool) -> None:
    """All of the sky is burnt out in the brighter rows, all of the ground lost in noise: little is left to compare."""
    light = black_before_sky(sky, 0.8, 0.9)
    pattern = with_ratio(turned([[1 / 8], [1 / 8], [1], [1]], 1), ev)
    if columns:
        pattern = ExposurePattern(pattern.exposure.T.copy())
    found = detect_pattern(taken(light, pattern, gain=gain))
    assert found.doubtful
    assert found.suspected is not None
    np.testing.assert_array_equal(found.suspected.exposure == 1, pattern.exposure == 1)
    assert "and its true ratio with --ev" in found.finding
    ordinary = detect_pattern(taken(light, gain=gain))
    assert not ordinary.sve
    assert not ordinary.doubtful


def test_green_that_alone_is_lit_and_burnt_out_does_not_tell_the_layout() -> None:
    light = black_before_sky(0.8, 1e-4, 1e-4)
    found = detect_pattern(taken(light, turned([[1 / 8], [1 / 8], [1], [1]], 1), gain=True))
    assert found.doubtful
    assert found.suspected is None


def test_brighter_rows_that_are_nearly_all_burnt_out_show_the_layout_by_that() -> None:
    """Few windows are left to tell one layout from another, but no scene is saturated in two rows out of four."""
    pattern = with_ratio(turned([[1 / 8], [1 / 8], [1], [1]], 1), 5)
    light = np.tile(np.maximum(SCENE, 0.004) * 8, (2, 2, 1))
    mosaic = taken(light, pattern, gain=True)
    assert np.mean(mosaic.counts[pattern.over(mosaic.shape) == 1] == WHITE) > 0.99
    assert_found(detect_pattern(mosaic), pattern)
    assert not detect_pattern(taken(light * 32, gain=True)).laid_out


@pytest.mark.parametrize("share", [0.5, 0.85])
def test_what_is_left_of_a_frame_that_is_burnt_out_tells_of_exposures(share: float) -> None:
    light = np.maximum(SCENE, 0.02) * 2
    light[:, : round(share * SHAPE[1])] = 99
    pattern = with_ratio(turned([[1 / 8], [1 / 8], [1], [1]], 3), 5)
    found = detect_pattern(taken(light, pattern, gain=True))
    assert found.doubtful
    assert found.suspected is not None
    np.testing.assert_array_equal(found.suspected.exposure == 1, pattern.exposure == 1)
    assert not detect_pattern(taken(light, gain=True)).doubtful


def test_rows_in_fours_of_a_large_frame_are_found_where_a_third_of_the_brighter_ones_is_burnt_out() -> None:
    """They are no row pairs, as only every other four of the rows would show them."""
    pattern = turned([[1 / 8]] * 4 + [[1]] * 4, 2)
    assert_found(detect_pattern(taken(np.tile(SCENE, (4, 4, 1)), pattern, gain=True)), pattern)


def test_lines_of_the_scene_that_are_burnt_out_are_no_rows_of_the_sensor() -> None:
    """Lines whose pitch is no multiple of four meet all rows alike, if only as many rows are looked at."""
    lines = np.tile(np.float32([[0.3], [0.3], [0.3], [3], [3], [3]]), (200, 1800))
    found = detect_pattern(taken(lines[..., None] * np.float32([0.6, 1, 0.8])))
    assert not found.sve, found.reason
    assert not found.doubtful, found.reason


@pytest.mark.parametrize("phase", [0, 3, 6])
def test_rows_in_fours_are_in_doubt_where_row_pairs_are(phase: int) -> None:
    pattern = turned([[1 / 8]] * 4 + [[1]] * 4, phase)
    fog, sky = grey(PLAIN["fog"]), 0.5 * np.float32([0.8, 1, 0.9]) * (1 + SCENE / 20)
    sky[200:] = 1e-4
    assert_found(detect_pattern(taken(fog, pattern, gain=True)), pattern)
    for light, known in ((fog, True), (np.full_like(FLAT, 0.3), False), (sky, False)):
        found = detect_pattern(taken(light, pattern))
        assert found.doubtful
        assert found.suspected is not None
        np.testing.assert_array_equal(found.suspected.exposure == 1, pattern.exposure == 1)
        assert not known or found.suspected.ratio_ev == pytest.approx(3, abs=0.05)
        assert not known or found.suspected.ratio_ev == pytest.approx(found.ratio_ev, abs=1e-3)
        assert known == ("as measured" in found.finding)
    small = SCENE[:96, :128] / 64
    assert detect_pattern(taken(small, pattern, gain=True, full_well_e=300)).doubtful
    assert not detect_pattern(taken(small, gain=True, full_well_e=300)).doubtful


@pytest.mark.parametrize("text", ["rows:1/8,1/8,1/4,1/4,1,1,1,1", "rows:1/4,1/4,1/8,1/8,1,1,1,1"])
def test_rows_in_fours_whose_halves_differ_in_ratio_are_in_doubt(text: str) -> None:
    found = detect_pattern(taken(SCENE / 8, parse_pattern(text), gain=True))
    assert_refused(found)
    assert found.doubtful
    assert found.suspected is None
    assert "in one half of the rows and by" in found.reason


def leaves(sky: float, seed: int) -> np.ndarray:
    """Return dark leaves, 3 to 9 px long, before a smooth sky of this level, (H, W, 3) float32."""
    rng, y = np.random.default_rng(seed), np.linspace(0, 1, SHAPE[0])[:, None, None]
    light = np.float32(sky * np.exp2(-0.7 * y) * np.float32([0.8, 1, 1.1]) * np.ones((*SHAPE, 3)))
    down, right = np.mgrid[-5:6, -5:6]
    for _ in range(3000):
        y, x = rng.uniform(6, np.array(SHAPE) - 6)
        turn, length, width = rng.uniform(0, np.pi), rng.uniform(1.5, 4.5), rng.uniform(0.8, 2)
        if rng.random() < 0.3 + 0.7 * y / SHAPE[0]:
            along, across = (np.cos(turn) * down + np.sin(turn) * right, np.cos(turn) * right - np.sin(turn) * down)
            inside = (along / length) ** 2 + (across / width) ** 2 < 1
            light[int(y) - 5 : int(y) + 6, int(x) - 5 : int(x) + 6][inside] = rng.uniform(0.002, 0.05) * rng.uniform(
                [0.2, 0.7, 0.1], [1, 1, 0.6]
            )
    return light


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize(("ev", "sky"), [(2, 0.8), (3, 0.45), (3, 0.8), (4, 0.8)])
def test_leaves_before_a_sky_that_burns_out_the_brighter_rows_alone(ev: float, sky: float, gain: bool) -> None:
    """Sky that the brighter rows lose must not be counted for the darker ones, though their sum may well say so."""
    pattern = with_ratio(turned([[1 / 8], [1 / 8], [1], [1]], 1), ev)
    mosaic = taken(leaves(sky, 3), pattern, gain=gain)
    level = pattern.over((4, 4)).ravel()
    groups = (np.flatnonzero(found).tolist() for found in (level == 1, level < 1))
    slope, error = fit_pairs(mosaic, *groups, black_error=10.0)
    off_ev = abs(np.log2(slope) + ev)
    assert off_ev < 0.1
    assert off_ev < 3 * error_ev(slope, error)
    found = detect_pattern(mosaic)
    assert found.ratio_ev == pytest.approx(ev, abs=0.1)


@pytest.mark.parametrize(("ev", "sky", "gain"), [(3, 0.45, True), (4, 0.3, True), (4, 0.8, False)])
def test_single_sites_tell_a_ratio_better_where_black_levels_are_known(ev: float, sky: float, gain: bool) -> None:
    pattern = with_ratio(turned([[1 / 8], [1 / 8], [1], [1]], 1), ev)
    mosaic = taken(leaves(sky, 3), pattern, gain=gain)
    match = match_exposures(mosaic, with_ratio(pattern, ev + 1), black_known=True)
    assert match is not None
    off_ev = abs(match.pattern.ratio_ev - ev)
    assert off_ev < 0.8 * abs(detect_pattern(mosaic).ratio_ev - ev)
    assert off_ev < 2 * match.ratio_ev_error


@pytest.mark.parametrize(("pitch", "slant"), [(13.7, 0.03), (9.3, 0.03), (17.2, 0.01), (17.2, 0.03)])
def test_dark_gaps_between_level_stripes_that_burn_out_do_not_mislead(pitch: float, slant: float) -> None:
    """Of shutters, gaps that fall on rows of one exposure are darker than those that fall on rows of the other."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stripes = 1 + 0.74 * np.sign(np.sin(2 * np.pi * (y / pitch + slant * x)))
    pattern = with_ratio(turned([[1 / 8], [1 / 8], [1], [1]], 0), 2.7)
    found = detect_pattern(taken(grey(0.35 * stripes * np.exp2(-1.5 * x / SHAPE[1])), pattern, gain=True))
    assert found.ratio_ev == pytest.approx(2.7, abs=0.02)


def test_neighbours_that_are_nearly_all_saturated_still_tell_a_ratio() -> None:
    """No light is below half of what saturates the brighter rows: there is one level to cut it at."""
    x = np.arange(SHAPE[1]) / SHAPE[1]
    pattern = turned([[1 / 8], [1 / 8], [1], [1]], 0)
    mosaic = taken(np.float32(np.ones((*SHAPE, 3)) * np.exp2(2.6 * x - 3.7)[:, None]), pattern)
    level = pattern.over((4, 4)).ravel()
    groups = [np.flatnonzero(found).tolist() for found in (level == 1, level < 1)]
    slope, error = fit_pairs(mosaic, *groups, black_error=10.0)
    assert 0 < error < 0.1 * slope
    assert slope == pytest.approx(1 / 8, rel=0.02)


def test_a_ratio_that_is_uncertain_is_not_named_as_measured() -> None:
    found = detect_pattern(taken(grey(PLAIN["fog"]), turned([[1 / 8], [1 / 8], [1], [1]], 0)))
    assert found.finding.endswith(", as measured")
    assert replace(found, ratio_ev_error=0.3).finding.endswith(" and its true ratio with --ev")


@pytest.mark.parametrize("share", [0.3, 0.5])
@pytest.mark.parametrize("gain", [0.97, 0.9])
def test_burnt_out_photos_with_uneven_columns_are_ordinary(share: float, gain: float) -> None:
    """Some columns' amplifiers saturate lower, by as much as `linegain` evens out, and more: these are no exposures."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    light = np.exp2(-5 * y / SHAPE[0] + 0.5 * np.sin(x / 43 + y / 51))[..., None] * np.float32([0.7, 1, 0.8])
    frame = taken(np.float32(light / np.quantile(light[..., 1], 1 - share)))
    gains = np.resize(np.linspace(1, gain, 8)[[0, 3, 2, 0, 5, 0, 7, 0]], SHAPE[1])
    counts = np.rint(BLACK + (frame.counts - np.float32(BLACK)) * gains).astype(np.uint16)
    found = detect_pattern(replace(frame, counts=counts))
    assert not found.sve
    assert not found.doubtful
