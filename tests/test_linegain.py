"""even_lines: gains that repeat with rows or columns go, and nothing else is taken for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sve2hdr.mosaic import ExposurePattern, Mosaic, repeated
from sve2hdr.patterntext import parse_pattern
from sve2hdr.sensor.linegain import even_lines
from sve2hdr.simulation.simulate import Sensor, simulate

ROWS = parse_pattern("rows:1/8,1/8,1,1")
CHESSBOARD = "grid:1,1,1/4,1/4;1,1,1/4,1/4;1/4,1/4,1,1;1/4,1/4,1,1"
BLOCKS = "grid:1,1,1/2,1/2;1,1,1/2,1/2;1/4,1/4,1/8,1/8;1/4,1/4,1/8,1/8"
FOUR = np.array([1.004, 0.996, 0.995, 1.005])
EIGHT = np.array([1.004, 0.998, 0.995, 1.006, 1.001, 0.995, 1.002, 0.999])


def light(height: int = 640, width: int = 512) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bright = np.exp2(-6 + 5 * x / width + 0.8 * np.sin(y / 41)) * (1 + 0.3 * np.sign(np.sin((x + 2 * y) / 29)))
    bright[y % 160 < 20] *= 4
    return np.float32(bright[..., None] * [0.5, 1.0, 0.7])


def frame(pattern: ExposurePattern, cfa: str = "RGGB", seed: int = 1) -> Mosaic:
    return simulate(light(), cfa, pattern, Sensor("gain", full_well_e=60_000.0), seed)


def amplified(mosaic: Mosaic, gains: np.ndarray) -> Mosaic:
    """Return the frame with its rows' signal multiplied by gains of a period; saturated sites stay."""
    black, row = repeated(mosaic.black_level, mosaic.shape), np.resize(gains, mosaic.shape[0])[:, None]
    dither = np.random.default_rng(3).uniform(-0.5, 0.5, mosaic.shape)
    changed = np.clip(np.rint(black + (mosaic.counts - black) * row + dither), 0, mosaic.white_level)
    return replace(
        mosaic, counts=np.where(mosaic.counts < mosaic.white_level, changed, mosaic.counts).astype(np.uint16)
    )


def turned(mosaic: Mosaic) -> Mosaic:
    """Return the frame mirrored in its diagonal."""
    cfa = "".join(mosaic.cfa[k] for k in (0, 2, 1, 3))
    return replace(
        mosaic, counts=np.ascontiguousarray(mosaic.counts.T), cfa=cfa, black_level=mosaic.black_level.T.copy()
    )


def column_stripes(evened: Mosaic, clean: Mosaic, pattern: ExposurePattern) -> float:
    """Return by how much columns of one colour and exposure differ in gain at most."""
    inside = (clean.counts > clean.black_level.max() + 1000) & (clean.counts < 0.8 * clean.white_level)
    differ, step = 0.0, max(2, pattern.exposure.shape[1])
    for row in range(4):
        for first in range(step):
            gains = []
            for column in range(first, 8, step):
                here = inside[row::4, column::8]
                above, true = (m.counts[row::4, column::8][here] - m.black_level[0, 0] for m in (evened, clean))
                gains.append(above.sum() / true.sum())
            differ = max(differ, max(gains) - min(gains))
    return differ


def left(evened: Mosaic, clean: Mosaic) -> np.ndarray:
    """Return the gain that is left in each of 8 row phases, over the mean of its exposure, (8,)."""
    inside = (clean.counts > clean.black_level.max() + 1000) & (clean.counts < 0.8 * clean.white_level)
    gains = []
    for phase in range(8):
        here = inside[phase::8]
        above, true = (m.counts[phase::8][here].astype(float) - m.black_level[0, 0] for m in (evened, clean))
        gains.append(above.sum() / true.sum())
    values = np.array(gains)
    for rows in ([0, 1, 4, 5], [2, 3, 6, 7]):
        values[rows] /= values[rows].mean()
    return values


@pytest.mark.parametrize("gains", [FOUR, EIGHT])
@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_a_mismatch_of_rows_goes(gains: np.ndarray, cfa: str) -> None:
    clean = frame(ROWS, cfa)
    uneven = amplified(clean, gains)
    evened, rows, columns = even_lines(uneven, ROWS)
    before, after = (np.abs(left(m, clean) - 1).max() for m in (uneven, evened))
    assert after < 0.3 * before
    assert after < 0.002
    assert 0.003 < rows < 0.009
    assert columns == 0


@pytest.mark.parametrize(
    ("text", "gains"),
    [
        ("rows:1/8,1/8,1,1", FOUR),
        ("rows:1,1/32,1/32,1", EIGHT),
        ("grid:1", EIGHT),
        (CHESSBOARD, EIGHT),
        (BLOCKS, EIGHT),
    ],
)
def test_stripes_of_columns_go(text: str, gains: np.ndarray) -> None:
    pattern = parse_pattern(text)
    clean = frame(pattern)
    uneven = turned(amplified(turned(clean), gains))
    evened, rows, columns = even_lines(uneven, pattern)
    before, after = (column_stripes(m, clean, pattern) for m in (uneven, evened))
    assert before > 0.006
    assert after < 0.5 * before  # of blocks, only columns that are 8 apart are compared
    assert rows == 0
    assert 0.002 < columns < 0.009


@pytest.mark.parametrize("text", ["rows:1/8,1/8,1,1", "columns:1,1/4,1/4,1", "grid:1", CHESSBOARD, BLOCKS])
@pytest.mark.parametrize("seed", [1, 2])
def test_without_a_mismatch_the_frame_is_left_as_it_is(text: str, seed: int) -> None:
    pattern = parse_pattern(text)
    clean = frame(pattern, seed=seed)
    evened, *greatest = even_lines(clean, pattern)
    assert evened is clean
    assert greatest == [0, 0]


def test_folds_of_a_curtain_are_no_gain_of_rows() -> None:
    x = np.mgrid[:384, :512][1].astype(np.float32)
    folds = 0.81 + 0.2 * np.sin(2 * np.pi * x / 44)
    texture = np.random.default_rng(0).normal(0.03, 0.01, x.shape).clip(0.005)
    curtain = np.float32(np.where(x > 330, folds, texture)[..., None] * [0.5, 1.0, 0.7])
    clean = simulate(curtain, "RGGB", ROWS, Sensor("gain", full_well_e=60_000.0), 1)
    assert even_lines(clean, ROWS)[1:] == (0, 0)
    assert even_lines(turned(clean), parse_pattern("columns:1/8,1/8,1,1"))[1:] == (0, 0)


@pytest.mark.parametrize("text", ["rows:1/4,1/2,1", "columns:1/4,1/2,1", "rows:1/8,1/8,1/4,1/4,1,1"])
def test_other_periods_are_no_matter(text: str) -> None:
    pattern = parse_pattern(text)
    clean = frame(pattern)
    assert even_lines(clean, pattern)[0] is clean
    assert even_lines(clean, ExposurePattern(np.resize(pattern.exposure, (1, 40))))[0] is clean


def test_a_frame_on_its_side_is_evened_the_same() -> None:
    by_rows = amplified(frame(ROWS, "GRBG"), FOUR)
    pattern = ExposurePattern(ROWS.exposure.T.copy())
    upright, rows, _ = even_lines(by_rows, ROWS)
    evened, _, columns = even_lines(turned(by_rows), pattern)
    np.testing.assert_array_equal(evened.counts.T, upright.counts)
    assert columns == rows > 0.003


def test_greens_of_a_frame_of_one_exposure_differ_no_more() -> None:
    """All of its rows are compared at once: what a maze is made of shows in half of them against the other half."""
    pattern = parse_pattern("grid:1")
    uneven = amplified(frame(pattern), np.array([1.003, 0.997]))
    evened, rows, columns = even_lines(uneven, pattern)
    assert rows == pytest.approx(0.003, rel=0.1)
    assert columns == 0
    assert even_lines(evened, pattern)[0] is evened


def test_what_differs_by_more_than_amplifiers_do_is_left() -> None:
    uneven = amplified(frame(ROWS), np.array([1.02, 0.98, 0.98, 1.02]))
    assert even_lines(uneven, ROWS)[0] is uneven


def test_quad_bayer_is_left() -> None:
    pattern = parse_pattern("grid:1,1/4;1/16,1/4")
    uneven = amplified(frame(pattern, "RRGGRRGGGGBBGGBB"), EIGHT)
    assert even_lines(uneven, pattern)[0] is uneven


def test_saturated_sites_stay_and_small_frames_too() -> None:
    uneven = amplified(frame(ROWS), FOUR)
    evened = even_lines(uneven, ROWS)[0]
    top = uneven.counts >= uneven.white_level
    assert top.any()
    np.testing.assert_array_equal(evened.counts[top], uneven.counts[top])
    assert (evened.counts[~top] < uneven.white_level).all()
    for height, width in ((1, 1), (1, 600), (600, 1), (24, 24), (8, 640), (13, 64)):
        small = replace(uneven, counts=uneven.counts[:height, :width].copy())
        assert even_lines(small, ROWS)[0] is small


def test_what_is_saturated_is_reckoned_from_black() -> None:
    clean = simulate(light(), "RGGB", ROWS, Sensor("gain", black_level=8000.0, full_well_e=60_000.0), seed=1)
    uneven = amplified(clean, FOUR)
    evened = even_lines(uneven, ROWS)[0]
    below = (uneven.counts >= 0.99 * uneven.white_level) & (uneven.counts < 8000 + 0.99 * 8000)
    assert below.any()
    assert (evened.counts[below] != uneven.counts[below]).all()
