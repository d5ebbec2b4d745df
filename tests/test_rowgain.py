"""even_rows: gains that repeat with the rows go, and nothing else is taken for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sve2hdr.mosaic import ExposurePattern, Mosaic, repeated
from sve2hdr.pattern import parse_pattern
from sve2hdr.rowgain import even_rows
from sve2hdr.simulate import Sensor, simulate

ROWS = parse_pattern("rows:1/8,1/8,1,1")
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
def test_a_mismatch_goes(gains: np.ndarray, cfa: str) -> None:
    clean = frame(ROWS, cfa)
    uneven = amplified(clean, gains)
    evened, greatest = even_rows(uneven, ROWS)
    before, after = (np.abs(left(m, clean) - 1).max() for m in (uneven, evened))
    assert after < 0.3 * before
    assert after < 0.002
    assert 0.003 < greatest < 0.009


@pytest.mark.parametrize("text", ["rows:1/8,1/8,1,1", "columns:1,1/4,1/4,1", "grid:1", BLOCKS])
@pytest.mark.parametrize("seed", [1, 2])
def test_without_a_mismatch_the_frame_is_left_as_it_is(text: str, seed: int) -> None:
    pattern = parse_pattern(text)
    clean = frame(pattern, seed=seed)
    evened, greatest = even_rows(clean, pattern)
    assert evened is clean
    assert greatest == 0


def test_columns_are_what_differs_where_exposures_differ_along_rows() -> None:
    by_rows = amplified(frame(ROWS, "GRBG"), FOUR)
    turned = replace(by_rows, counts=np.ascontiguousarray(by_rows.counts.T), cfa="GBRG")
    evened = even_rows(turned, ExposurePattern(ROWS.exposure.T.copy()))
    np.testing.assert_array_equal(evened[0].counts.T, even_rows(by_rows, ROWS)[0].counts)
    assert evened[1] > 0.003


def test_saturated_sites_stay_and_small_frames_too() -> None:
    uneven = amplified(frame(ROWS), FOUR)
    evened, _ = even_rows(uneven, ROWS)
    top = uneven.counts >= uneven.white_level
    assert top.any()
    np.testing.assert_array_equal(evened.counts[top], uneven.counts[top])
    assert (evened.counts[~top] < uneven.white_level).all()
    small = replace(uneven, counts=uneven.counts[:24, :24].copy())
    assert even_rows(small, ROWS)[0] is small
