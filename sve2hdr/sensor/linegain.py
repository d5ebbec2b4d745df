"""Evens out rows and columns that differ in gain, because their amplifiers repeat every 4 or 8 lines.

Such lines are visible in flat, bright areas (EOS cameras have stripes of eight columns in raw video); a difference
between the two greens shows as a maze pattern. Each line is compared with those around it that have its colour and
exposure, so weighted that their mean position is the line's own: a gradient is then not mistaken for gain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..detection.patternfit import MIN_WINDOWS, Sample, fit_line, offset_sigma_of
from ..mosaic import ExposurePattern, Mosaic, cfa_period, common_period, over_common_period, repeated
from ..radiance import saturation_limit

PERIOD = 8  # lines after which the amplifiers repeat; includes periods of 4
CELL_COLUMNS, MAX_ROWS = 32, 160  # sites compared at once; rows of a phase: more change nothing
UNSATURATED = 0.9  # of the range: near saturation, noise is clipped on one side
LIKELY = 0.01  # by which gains typically differ
SIGNIFICANT, LEAST = 4.0, 5e-4  # standard errors; the least difference that is visible: less is left
ASTRAY = 0.3  # error of the mean of two comparisons, as a share of their disagreement
# If few of 16 parts of the frame show a gain, errors are poorly known: after Student, "The probable error of a mean"
# (Biometrika 6, 1908), 4 standard errors from 16 parts are as unlikely as 8 from 5, and 34 from 3.
FEW_PARTS = 60.0
GREATEST = 0.03  # a larger difference is no mismatch of amplifiers

Taps = Sequence[tuple[int, float]]  # offsets of rows from the one that is compared, and their weights
FOURTH: Taps = ((-4, 0.5), (4, 0.5))
SECOND: Taps = ((-2, 0.5), (2, 0.5))
GREENS_BELOW: Taps = ((1, 0.75), (-3, 0.25))  # in the row below of the same exposure, and one period above that
GREENS_ABOVE: Taps = ((-1, 0.75), (3, 0.25))


def even_lines(mosaic: Mosaic, pattern: ExposurePattern) -> tuple[Mosaic, float, float]:
    """Return the mosaic with even gains of rows and columns, and the greatest deviation of each; 0.01 is one percent.

    Lines are compared whose sites have the same colour and exposure: k and k + 4, k and k + 2, and the greens of
    neighbours. A difference that is not significant, or below 0.05 %, is left, as are saturated sites. Small frames and
    those with a 4 x 4 CFA are returned unchanged. Black levels must be right to a few counts.
    """
    row_gains = _gains(mosaic, pattern.exposure)[:, None]
    mosaic = _divided(mosaic, row_gains)
    turned = replace(
        mosaic,
        counts=mosaic.counts.T,
        cfa="".join(cfa_period(mosaic.cfa).T.ravel()),
        black_level=mosaic.black_level.T,
        saturation=None if mosaic.saturation is None else mosaic.saturation.T,
        masked=None,
    )
    column_gains = _gains(turned, pattern.exposure.T)[None]
    rows, columns = (float(np.abs(gains - 1).max()) for gains in (row_gains, column_gains))
    return _divided(mosaic, column_gains), rows, columns


def _gains(mosaic: Mosaic, exposure: np.ndarray) -> np.ndarray:
    """Return the gain of each row phase, (8,) float64, relative to the mean of those it is compared with; 1.0: even."""
    gains, letters = np.ones(PERIOD), cfa_period(mosaic.cfa)
    if letters.shape != (2, 2) or PERIOD % exposure.shape[0]:
        return gains
    shape = (PERIOD, common_period(exposure, letters)[1])
    if shape[1] > CELL_COLUMNS // 2:
        return gains
    sites = (repeated(letters, shape), repeated(exposure, shape))

    def samples(rows: Sequence[int], taps: Taps, beside: Sequence[int]) -> list[Sample]:
        """Return `rows` against those given by `taps` and `beside`, at the sites where colours and exposures agree."""
        return [
            _sample(mosaic, row, slice(column, None, shape[1]), taps, beside, gains)
            for row in rows
            for column in range(shape[1])
            if all(
                period[row, column] == period[(row + down) % PERIOD, (column + right) % shape[1]]
                for period in sites
                for down, _ in taps
                for right in beside
            )
        ]

    greens = (GREENS_BELOW, GREENS_ABOVE, (-1, 1))
    pairs: list[tuple[list[int], list[int], Taps, Taps, Sequence[int]]] = [
        *(([k], [k + 4], FOURTH, FOURTH, (0,)) for k in range(4)),
        *(([k, k + 4], [k + 2, k + 6], SECOND, SECOND, (0,)) for k in range(2)),
    ]
    if (exposure == exposure[0]).all():  # rows of one parity are even by now
        pairs.append(([0, 2, 4, 6], [1, 3, 5, 7], *greens))
    else:
        pairs += [([k, k + 4], [k + 1, (k + 5) % PERIOD], *greens) for k in range(4)]
    for these, those, taps, back, beside in pairs:
        compared = samples(these, taps, beside), samples(those, back, beside)
        half = _significant(mosaic, *compared, aside=0 not in beside) / 2
        gains[these] *= math.exp(half)
        gains[those] *= math.exp(-half)
    return gains


def _significant(mosaic: Mosaic, there: Sequence[Sample], back: Sequence[Sample], aside: bool) -> float:
    """Return by how much more the first rows are amplified than the others, as a logarithm; 0 if not significant.

    `there` compares the first rows with the others, `back` the others with the first: curvature of the scene affects
    both alike. `aside`: they compare sites beside each other, so that it affects them only nearly alike. Vertical
    structure is then the same in all rows, so its errors show only between parts along the rows.
    """
    ratio, error = _compared(mosaic, there, back)
    if aside and abs(ratio) > max(LEAST, SIGNIFICANT * error):
        there, back = ([_by_columns(sample) for sample in samples] for samples in (there, back))
        error = max(error, _compared(mosaic, there, back)[1])
    return ratio if abs(ratio) > max(LEAST, SIGNIFICANT * error) else 0.0


def _compared(mosaic: Mosaic, there: Sequence[Sample], back: Sequence[Sample]) -> tuple[float, float]:
    """Return the log ratio of gains and its error, from the scatter of consecutive cells; (0, inf): unknown."""
    offset_sigma, ratios, errors = offset_sigma_of(mosaic), [], []
    for samples in (there, back):
        enough = [sample for sample in samples if sample.window.size >= MIN_WINDOWS]
        fit = fit_line(enough, offset_sigma, slope_sigma=LIKELY, by_contrast=True)
        if not (math.isfinite(fit.slope_error) and abs(fit.slope - 1) <= GREATEST):
            return 0.0, math.inf
        ratios.append(math.log(fit.slope))
        errors.append(fit.slope_error * (1 + FEW_PARTS / max(fit.parts - 1, 1) ** 3))
    astray = (ratios[0] + ratios[1]) / 2
    return (ratios[0] - ratios[1]) / 2, math.hypot(max(errors), ASTRAY * astray)


def _by_columns(sample: Sample) -> Sample:
    """Return a sample with its cells, which are ordered row by row, ordered column by column."""
    order = np.argsort(sample.window)
    brighter, darker, contrast = (part[:, order] for part in (sample.brighter, sample.darker, sample.contrast))
    return replace(sample, brighter=brighter, darker=darker, window=sample.window[order], contrast=contrast)


def _sample(mosaic: Mosaic, phase: int, across: slice, taps: Taps, beside: Sequence[int], gains: np.ndarray) -> Sample:
    """Return the sites of a row phase, in the columns `across`, against those given by `taps` and `beside`.

    They are measured in cells of CELL_COLUMNS, each twice, by alternating sites; cells with a saturated site are left
    out. Rows are divided by their `gains`, (8,).
    """
    height, width = mosaic.shape
    reach, sites = PERIOD // 2, CELL_COLUMNS // across.step // 2 * 2
    rows = range(phase + (PERIOD if phase < reach else 0), height - reach, PERIOD)
    rows = rows[:: -(-len(rows) * across.step // (2 * MAX_ROWS)) or 1]
    columns = range(width)[across][1:-1]
    cells_across = len(columns) // sites
    columns = columns[: cells_across * sites]

    def signal(down: int, right: int) -> np.ndarray:
        there, black = (phase + down) % PERIOD, mosaic.black_level
        above = mosaic.counts[_moved(rows, down), _moved(columns, right)].astype(np.float32, order="C")
        above -= _at(black, there, across.start + right)
        above /= np.float32(gains[there])
        return above

    around = [(weight / len(beside), signal(down, right)) for down, weight in taps for right in beside]
    mean = sum((np.float32(weight) * values for weight, values in around), start=np.float32(0))
    highest = np.maximum.reduce([values for _, values in around])
    # axes: halves, sites, cells; cells are last, so that operations run along them
    here, mean, highest = (
        np.ascontiguousarray(np.reshape(values, (-1, sites // 2, 2)).T) for values in (signal(0, 0), mean, highest)
    )
    limit = UNSATURATED * float(mosaic.white_by_site.min() - mosaic.black_level.max())
    peaks = here.max(axis=(0, 1)), highest.max(axis=(0, 1))
    cell = np.flatnonzero(np.maximum(*peaks) < limit)
    x, y = (values.mean(axis=1, dtype=np.float64).take(cell, axis=1) for values in (mean, here))
    contrast = np.stack([peak[cell] - values.mean(axis=0) for peak, values in zip(peaks, (y, x), strict=True)])
    by_columns = cell % cells_across * len(rows) + cell // cells_across
    return Sample(x, y, by_columns, ([], []), contrast)


def _moved(places: range, by: int) -> slice:
    return slice(places.start + by, places.stop + by, places.step)


def _at(period: np.ndarray, row: int, column: int) -> np.float32:
    """Return the black level at a row of the period of 8 and a column, averaged over its repeats."""
    rows, columns = common_period(period, np.empty((PERIOD, 1)))
    return np.float32(repeated(period, (rows, columns))[row::PERIOD, column % columns].mean())


def _divided(mosaic: Mosaic, gains: np.ndarray) -> Mosaic:
    """Return the mosaic with its signal divided by the gains, one period, (P, Q), except at saturated sites."""
    if (gains == 1).all():
        return mosaic
    counts = mosaic.counts.copy()
    periods = over_common_period(gains.astype(np.float32), mosaic.black_level, mosaic.white_by_site)
    gains, black, white = (repeated(period, (len(period), mosaic.shape[1])) for period in periods)
    limit = np.ceil(saturation_limit(black, white)).astype(np.int32)
    for top in range(0, mosaic.shape[0], len(gains)):
        band = counts[top : top + len(gains)]
        dark = black[: len(band)]
        even = np.rint(dark + (band - dark) / gains[: len(band)])
        np.copyto(band, np.clip(even, 0, 65535).astype(np.uint16), where=band < limit[: len(band)])
    return replace(mosaic, counts=counts)
