"""The exposures of one frame against each other: their ratio, and the black level of every site.

A line through sites of both exposures tells `black of the darker - black of the brighter / ratio` for every colour, and
one through the two greens of an exposure how their blacks differ. That leaves one number open, since light that is the
same everywhere and a higher black look alike. It comes from the file, whose single black level is the mean over rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..mosaic import CELL, ExposurePattern, Mosaic
from ..pattern import Detection
from ..saturation import cell_black
from .interleaved import ROW_PLACES, half_patterns, halves, in_fours, joined
from .patternfit import fit_line, offset_sigma_of, sample_greens
from .patternsteps import Step, measure_step, step_of_pairs
from .patternwindows import Windows, measure_windows

# How black levels stray from the one in the file, standard deviations in counts of 14 bits: between exposures, between
# rows, between sites; and how far the mean over all is off.
EXPOSURE_SIGMA, ROW_SIGMA, SITE_SIGMA, MEAN_SIGMA = 20.0, 15.0, 0.7, 0.3
FIT_SIGMA = 0.3  # counts of 14 bits, that texture may add to what a fit says of its own error
RANGE_14_BIT = 15_000.0
FAR = 70.0  # counts of 14 bits: no black level of a site strays that far from the file's
BLACK_KNOWN = 1.0  # counts of 14 bits, that a black level which is known may be wrong by
ERROR_FACTOR = 2.0  # from how parts of a frame scatter to how far the whole is off (examples/bench_levels.py)
AGREED = 4.0  # counts of 14 bits, within which all colours agree on one black level, however far from the file's
GREEN_SIGMA = 0.003  # how differently the two greens see


@dataclass(frozen=True, eq=False)
class Match:
    """What the exposures of a frame say of each other: how far they lie apart, and at which black levels they agree."""

    pattern: ExposurePattern  # with the ratios measured
    steps_ev: tuple[float, ...]  # from each exposure to the next lower one, most exposed first, as these pixels have it
    step_errors: tuple[float, ...]  # of those, EV, one standard deviation; inf: unknown
    black: np.ndarray  # (4, 4) float64, counts, by site of the 4 x 4 cell; (8, 4) of rows in fours
    black_error: np.ndarray  # as black, counts, one standard deviation
    fitted: bool  # whether lines told the black levels; else they are the mosaic's
    moved: bool = False  # whether the file's black level was dropped, as the exposures agree on one far from it

    @property
    def ratio_ev_error(self) -> float:
        """EV, one standard deviation, of most over least exposed."""
        return math.hypot(*self.step_errors)


def match_exposures(
    mosaic: Mosaic,
    pattern: ExposurePattern,
    detection: Detection | None = None,
    *,
    black_known: bool = False,
) -> Match | None:
    """Fit the exposures of `pattern` to each other; None if it is not of rows in fours, nor divides 4 x 4 sites.

    `detection`: of this mosaic and pattern, whose measurements are used again. `black_known`: the mosaic's black levels
    are those of every row and colour, and only the ratios are asked for.
    """
    if in_fours(pattern.exposure) and len(mosaic.cfa) == 4:
        return _match_in_fours(mosaic, pattern, detection, black_known)
    if CELL % pattern.exposure.shape[0] or CELL % pattern.exposure.shape[1]:
        return None
    return _match(mosaic, pattern, detection, black_known)


def _match(
    mosaic: Mosaic,
    pattern: ExposurePattern,
    detection: Detection | None,
    black_known: bool,
    row_places: Sequence[float] = range(CELL),
) -> Match:
    """Match exposures whose period divides 4 x 4 sites; `row_places`: those of `measure_windows`."""
    windows = (detection and detection.windows) or measure_windows(mosaic, row_places)
    exposure = pattern.over((CELL, CELL)).ravel()
    levels = np.unique(exposure)[::-1]
    groups = [np.flatnonzero(exposure == level).tolist() for level in levels]
    found = detection.steps if detection is not None else ()
    steps = list(found) or [measure_step(mosaic, windows, *pair) for pair in pairwise(groups)]
    if black_known:
        error = BLACK_KNOWN * _count_of_14_bits(mosaic)
        pairs = [step_of_pairs(mosaic, step, error) for step in steps]  # whose errors need no factor
        steps = [p if p.error < ERROR_FACTOR * step.error else step for step, p in zip(steps, pairs, strict=True)]
    steps_ev, errors = tuple(step.ev for step in steps), tuple(ERROR_FACTOR * step.error for step in steps)
    ratio = _with_steps(pattern, steps_ev), steps_ev, errors
    if black_known:
        return Match(*ratio, cell_black(mosaic).astype(np.float64), np.zeros((CELL, CELL)), False)
    lines = _lines_of_steps(mosaic, steps)
    fitted = bool(lines)  # the greens alone tell nothing of the exposures
    black, black_error = _blacks(mosaic, exposure, [*lines, *_lines_of_greens(windows, mosaic, groups)])
    moved = False
    if np.abs(black - cell_black(mosaic)).max() > FAR * _count_of_14_bits(mosaic):
        # the pattern is not the frame's, or the file's level is wrong
        shift = _common_shift(mosaic, lines)
        fitted = moved = shift is not None
        if shift is not None:
            black, black_error = cell_black(mosaic) + shift[0], np.full((CELL, CELL), shift[1])
    return Match(*ratio, black, black_error, fitted, moved)


def _match_in_fours(mosaic: Mosaic, pattern: ExposurePattern, detection: Detection | None, black_known: bool) -> Match:
    """Return what the two halves of a frame whose rows are exposed in fours say: one ratio, and the blacks of each."""
    found = detection.halves if detection is not None and detection.halves else (None, None)
    first, second = (
        _match(half, pairs, detected, black_known, ROW_PLACES)
        for half, pairs, detected in zip(halves(mosaic), half_patterns(pattern), found, strict=True)
    )
    ev, error = (first.steps_ev[0] + second.steps_ev[0]) / 2, math.hypot(*first.step_errors, *second.step_errors) / 2
    return Match(
        _with_steps(pattern, [ev]),
        (ev,),
        (error,),
        joined(first.black, second.black),
        joined(first.black_error, second.black_error),
        first.fitted and second.fitted,
        first.moved or second.moved,
    )


def _count_of_14_bits(mosaic: Mosaic) -> float:
    return mosaic.span / RANGE_14_BIT


def _with_steps(pattern: ExposurePattern, steps_ev: Sequence[float]) -> ExposurePattern:
    """Return the pattern with these steps from each exposure to the next lower one; as it is if one is not above 0."""
    if not all(math.isfinite(ev) and ev > 0 for ev in steps_ev):
        return pattern
    levels = np.unique(pattern.exposure)[::-1]
    lower = np.concatenate([[0], np.cumsum(steps_ev)])
    found = np.exp2(-lower)[np.searchsorted(-levels, -pattern.exposure)]
    return ExposurePattern(found.astype(np.float32))


@dataclass(frozen=True, eq=False)
class _Line:
    """`sum(coefficients * (true - believed black)) = offset`."""

    coefficients: np.ndarray  # (16,)
    offset: float  # counts
    error: float  # counts


def _weights(phases: Sequence[int]) -> np.ndarray:
    weights = np.zeros(CELL * CELL)
    weights[list(phases)] = 1 / len(phases)
    return weights


def _lines_of_steps(mosaic: Mosaic, steps: Sequence[Step]) -> list[_Line]:
    """Return what each step tells of each colour, where windows tell it."""
    lines = []
    factor = ERROR_FACTOR if len(steps) > 1 else 1.0  # steps share an exposure, and what is wrong with it
    for step in (step for step in steps if not step.from_pairs):
        fit = fit_line(step.samples, offset_sigma_of(mosaic), by_contrast=True)
        if fit.slope > 0:
            for sample, offset, error in zip(step.samples, fit.offsets, fit.offset_errors, strict=True):
                bright, dark = (_weights(phases) for phases in sample.phases)
                lines.append(_Line(dark - fit.slope * bright, float(offset), factor * float(error)))
    return lines


def _lines_of_greens(windows: Windows, mosaic: Mosaic, groups: Sequence[Sequence[int]]) -> list[_Line]:
    """Return how the blacks of the two greens differ in each exposure, where a Bayer CFA has two."""
    lines = []
    for sample in (sample_greens(windows, mosaic.cfa, group) for group in groups):
        if sample is not None:
            fit = fit_line([sample], offset_sigma_of(mosaic), slope_sigma=GREEN_SIGMA, by_contrast=True)
            first, second = map(_weights, sample.phases)
            lines.append(_Line(second - fit.slope * first, float(fit.offsets[0]), float(fit.offset_errors[0])))
    return lines


def _common_shift(mosaic: Mosaic, lines: Sequence[_Line]) -> tuple[float, float] | None:
    """Return by how many counts one black level for all sites differs from the believed one, and the error of that.

    None where the lines do not agree on one: by AGREED counts of 14 bits, or by their errors.
    """
    sums = np.array([line.coefficients.sum() for line in lines])
    shifts = np.array([line.offset for line in lines]) / sums
    errors = np.hypot([line.error for line in lines], FIT_SIGMA * _count_of_14_bits(mosaic)) / np.abs(sums)
    weights = errors**-2.0
    if not weights.any():
        return None
    shift, error = float((weights * shifts).sum() / weights.sum()), float(weights.sum() ** -0.5)
    agreed = AGREED * _count_of_14_bits(mosaic)
    far = np.abs(shifts - shift) > np.maximum(agreed, 3 * errors)
    if far.any() or error > agreed or not 0 <= cell_black(mosaic).min() + shift < mosaic.white_level / 2:
        return None
    return shift, error


def _blacks(mosaic: Mosaic, exposure: np.ndarray, lines: Sequence[_Line]) -> tuple[np.ndarray, np.ndarray]:
    """Return the most likely black levels and their errors, (4, 4) float64 counts, given how they stray and the lines.

    All is normally distributed, so they are the conditional mean and covariance.
    """
    count = _count_of_14_bits(mosaic)
    row, column = np.divmod(np.arange(CELL * CELL), CELL)
    by_columns = (exposure == exposure[column]).all()  # what is read out with one amplification each is a column then
    same_exposure, same_row = (np.equal.outer(label, label) for label in (exposure, column if by_columns else row))
    strays = EXPOSURE_SIGMA**2 * same_exposure + ROW_SIGMA**2 * same_row + SITE_SIGMA**2 * np.eye(CELL * CELL)
    lines = [line for line in lines if np.isfinite(line.error)]
    seen = np.stack([np.full(CELL * CELL, 1 / CELL**2), *(line.coefficients for line in lines)])
    offsets = np.array([0.0, *(line.offset for line in lines)])
    errors = np.array([MEAN_SIGMA * count, *(math.hypot(line.error, FIT_SIGMA * count) for line in lines)])
    covariance = strays * count**2
    gain = covariance @ seen.T @ np.linalg.inv(seen @ covariance @ seen.T + np.diag(errors**2))
    left = np.diag(covariance - gain @ seen @ covariance)
    strayed = (gain @ offsets).reshape(CELL, CELL)
    return cell_black(mosaic) + strayed, np.sqrt(np.maximum(left, 0)).reshape(CELL, CELL)
