"""Rows of one exposure and colour that differ in gain, as amplifiers of a period of 4 or 8 rows have it: evened out.

Such rows show as fine lines in what is flat and bright, and what differs between the two greens as a maze. Each row is
compared with those around it that have its colour and exposure, at one place on the average: a gradient is no gain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .mosaic import ExposurePattern, Mosaic, cfa_period, common_period, repeated
from .pattern import offset_sigma_of
from .patternfit import Sample, fit_line
from .patternlayout import MIN_WINDOWS
from .radiance import SATURATED

PERIOD = 8  # rows of the amplifiers that are looked for, and of those with a period of 4
CELL_COLUMNS, MAX_ROWS = 32, 160  # sites that are compared at once; rows of each phase: more change nothing
UNSATURATED = 0.9  # of the range: near saturation noise is cut off on one side
LIKELY = 0.01  # how far gains may well differ
SIGNIFICANT, LEAST = 4.0, 5e-4  # standard errors; a difference that nobody sees is left
ASTRAY = 0.3  # of how far two comparisons contradict each other: how wrong their mean may be
GREATEST = 0.03  # what differs by more is no mismatch of amplifiers

Taps = Sequence[tuple[int, float]]  # rows from the one that is compared on, and their weights
SAME_COLOURS: Taps = ((-4, 0.5), (4, 0.5))
GREENS_BELOW: Taps = ((1, 0.75), (-3, 0.25))  # in the row below of the same exposure, and one period above that
GREENS_ABOVE: Taps = ((-1, 0.75), (3, 0.25))


def even_rows(mosaic: Mosaic, pattern: ExposurePattern) -> tuple[Mosaic, float]:
    """Return the mosaic with the gains of its rows made even, and how far they were off at most (0.01: one percent).

    Compared are rows k and k + 4, then the greens of the two rows of an exposure, each within its exposure. A
    difference that is not significant, or below 0.05 %, is left, as are saturated sites. Where exposures differ along
    rows, it is columns that are compared. Other patterns, small frames and a CFA of 4 x 4 are returned as they are.
    Black levels must be right to some counts.
    """
    rows, columns = pattern.exposure.shape
    if columns == 1 and rows in (1, 4):
        gains = _gains(mosaic, pattern)
    elif rows == 1 and columns == 4:
        turned = replace(
            mosaic,
            counts=mosaic.counts.T,
            cfa="".join(cfa_period(mosaic.cfa).T.ravel()),
            black_level=mosaic.black_level.T,
            saturation=None if mosaic.saturation is None else mosaic.saturation.T,
            masked=None,
        )
        evened, greatest = even_rows(turned, ExposurePattern(pattern.exposure.T.copy()))
        return (replace(mosaic, counts=np.ascontiguousarray(evened.counts.T)) if greatest else mosaic), greatest
    else:
        return mosaic, 0.0
    greatest = float(np.abs(gains - 1).max())
    return (replace(mosaic, counts=_divided(mosaic, gains)), greatest) if greatest else (mosaic, 0.0)


def _gains(mosaic: Mosaic, pattern: ExposurePattern) -> np.ndarray:
    """Return the gain of each row phase, (8,) float64, over the mean of its exposure; 1.0: none that is significant."""
    gains, letters = np.ones(PERIOD), cfa_period(mosaic.cfa)
    if letters.shape != (2, 2) or mosaic.shape[0] < 4 * PERIOD:
        return gains
    exposure = np.resize(pattern.exposure[:, 0], PERIOD)
    for k in range(PERIOD // 2):
        there, back = ([_sample(mosaic, row, x, x, SAME_COLOURS, gains) for x in (0, 1)] for row in (k, k + 4))
        half = _significant(mosaic, there, back) / 2
        gains[[k, k + 4]] *= np.exp([half, -half])
    greens = [int(np.flatnonzero(letters[row % 2] == "G")[0]) for row in range(2)]
    for k in range(PERIOD // 2):
        below = (k + 1) % (PERIOD // 2)
        if exposure[k] != exposure[below] or (k % 2 and (exposure == exposure[0]).all()):
            continue
        x, other = greens[k % 2], greens[below % 2]
        there = [_sample(mosaic, k + o, x, other, GREENS_BELOW, gains) for o in (0, 4)]
        back = [_sample(mosaic, below + o, other, x, GREENS_ABOVE, gains) for o in (0, 4)]
        half = _significant(mosaic, there, back) / 2
        gains[[k, k + 4]] *= math.exp(half)
        gains[[below, below + 4]] *= math.exp(-half)
    return gains


def _significant(mosaic: Mosaic, there: Sequence[Sample], back: Sequence[Sample]) -> float:
    """Return by how much the first rows are amplified more than the others, as a logarithm; 0: not significantly.

    `there` has the first rows against the others, `back` the others against them: what the curvature of the scene does
    to one comparison it does to the other.
    """
    offset_sigma, ratios, errors = offset_sigma_of(mosaic), [], []
    for samples in (there, back):
        enough = [sample for sample in samples if sample.window.size >= MIN_WINDOWS]
        fit = fit_line(enough, offset_sigma, slope_sigma=LIKELY, by_contrast=True)
        if not (math.isfinite(fit.slope_error) and abs(fit.slope - 1) <= GREATEST):
            return 0.0
        ratios.append(math.log(fit.slope))
        errors.append(fit.slope_error)
    ratio, astray = (ratios[0] - ratios[1]) / 2, (ratios[0] + ratios[1]) / 2
    error = math.hypot(max(errors), ASTRAY * astray)
    return ratio if abs(ratio) > max(LEAST, SIGNIFICANT * error) else 0.0


def _sample(mosaic: Mosaic, phase: int, column: int, other: int, taps: Taps, gains: np.ndarray) -> Sample:
    """Return the sites of a row phase from `column` on, against those of its neighbours from column `other` on.

    Cells of CELL_COLUMNS sites across, each measured twice by alternating sites; a cell with a saturated one is left
    out. `gains`, (8,), of the rows are divided by.
    """
    height, width = mosaic.shape
    reach = PERIOD // 2
    rows = np.arange(phase + (PERIOD if phase < reach else 0), height - reach, PERIOD)
    rows = rows[:: -(-rows.size // MAX_ROWS) or 1]
    columns = np.arange(2 + column, width - 2, 2)
    columns = columns[: columns.size // (CELL_COLUMNS // 2) * (CELL_COLUMNS // 2)]
    beside = (0,) if column == other else (-1, 1)

    def signal(down: int, right: int) -> np.ndarray:
        there, black = (phase + down) % PERIOD, mosaic.black_level
        above = mosaic.counts[np.ix_(rows + down, columns + right)].astype(np.float32)
        return np.asarray((above - _at(black, there, column + right)) / np.float32(gains[there]))

    here = signal(0, 0)
    around = [(weight / len(beside), signal(down, right)) for down, weight in taps for right in beside]
    mean = sum((np.float32(weight) * values for weight, values in around), start=np.float32(0))
    highest = np.maximum.reduce([values for _, values in around])
    cells = (rows.size * (columns.size // (CELL_COLUMNS // 2)), CELL_COLUMNS // 4, 2)
    here, mean, highest = (np.asarray(values).reshape(cells) for values in (here, mean, highest))
    limit = UNSATURATED * float(mosaic.white_by_site.min() - mosaic.black_level.max())
    peaks = here.max(axis=(1, 2)), highest.max(axis=(1, 2))
    cell = np.flatnonzero(np.maximum(*peaks) < limit)
    x, y = (values[cell].mean(axis=1, dtype=np.float64).T for values in (mean, here))
    contrast = np.stack([peak[cell] - values.mean(axis=0) for peak, values in zip(peaks, (y, x), strict=True)])
    return Sample(x, y, cell, ([], []), contrast)


def _at(period: np.ndarray, row: int, column: int) -> np.float32:
    """Return a black level where the period of 8 rows that is looked at begins with the frame."""
    rows, columns = common_period(period, np.empty((PERIOD, 1)))
    return np.float32(repeated(period, (rows, columns))[row::PERIOD, column % columns].mean())


def _divided(mosaic: Mosaic, gains: np.ndarray) -> np.ndarray:
    """Return the counts, (H, W) uint16, their signal divided by the gains of their rows, saturated sites left."""
    counts, shape = mosaic.counts.copy(), (mosaic.black_level.shape[0], mosaic.shape[1])
    white = repeated(mosaic.white_by_site, (mosaic.white_by_site.shape[0], mosaic.shape[1]))
    black = repeated(mosaic.black_level, shape)
    for phase in np.flatnonzero(gains != 1):
        for row in range(int(phase), mosaic.shape[0], PERIOD):
            dark, top = black[row % len(black)], white[row % len(white)]
            even = np.clip(np.rint(dark + (counts[row] - dark) / np.float32(gains[phase])), 0, 65535)
            counts[row] = np.where(counts[row] < SATURATED * top, even, counts[row])
    return counts
