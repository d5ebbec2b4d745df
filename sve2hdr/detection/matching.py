"""The exposures of one frame against each other: their ratio, and the black level of every site.

A line through sites of both exposures tells `black of the darker - black of the brighter / ratio` for every colour, and
one through the two greens of an exposure how their blacks differ. That leaves one number open, since light that is the
same everywhere and a higher black look alike. It comes from the file, whose single black level is the mean over rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..mosaic import CELL, ExposurePattern, Mosaic
from ..pattern import Detection
from ..saturation import cell_black
from .interleaved import ROW_PLACES, half_patterns, halves, in_fours, joined
from .patternfit import error_ev, fit_line, offset_sigma_of, offsets_at, sample_greens
from .patternpairs import fit_pairs
from .patternsteps import Step, measure_step
from .patternwindows import Windows, measure_windows

# How black levels stray from the one in the file, standard deviations in counts of 14 bits: between exposures, between
# rows, between sites; and how far the mean over all is off.
EXPOSURE_SIGMA, ROW_SIGMA, SITE_SIGMA, MEAN_SIGMA = 20.0, 15.0, 0.7, 0.3
FIT_SIGMA = 0.3  # counts of 14 bits, that texture may add to what a fit says of its own error
RANGE_14_BIT = 15_000.0
FAR, SAME_EV = 2.0, 0.3  # of the sum of sigmas; EV between a ratio that is given and the measured one
ENOUGH_WINDOWS, MIN_PAIRS, BLACK_KNOWN = 8000, 3000, 1.0
ERROR_FACTOR = 2.0  # from how parts of a frame scatter to how far the whole is off (examples/bench_levels.py)
AGREED = 4.0  # counts of 14 bits, within which all colours agree on one black level, however far from the file's
GREEN_SIGMA = 0.003  # how differently the two greens see


@dataclass(frozen=True, eq=False)
class Match:
    """What the exposures say of each other."""

    pattern: ExposurePattern  # with the ratios measured, or as given
    steps_ev: tuple[float, ...]  # from each exposure to the next lower one, most exposed first, as these pixels have it
    step_errors: tuple[float, ...]  # of those, EV, one standard deviation; inf: unknown
    ratio_ev_error: float  # of their sum
    black: np.ndarray  # (4, 4) float64, counts, by site of the 4 x 4 cell; (8, 4) of rows in fours
    black_error: np.ndarray  # as black, counts, one standard deviation
    fitted: bool  # whether lines told the black levels; else they are the mosaic's
    moved: bool = False  # whether the file's black level was dropped, as the exposures agree on one far from it


def match_exposures(
    mosaic: Mosaic,
    pattern: ExposurePattern,
    detection: Detection | None = None,
    *,
    ratio_given: bool = False,
    black_known: bool = False,
) -> Match | None:
    """Fit the exposures of `pattern` to each other; None if it is not of rows in fours, nor divides 4 x 4 sites.

    `detection`: of this mosaic and pattern, whose measurements are used again. `ratio_given`: the ratios of the pattern
    are right, and only the black levels are asked for. `black_known`: the mosaic's black levels are those of every row
    and colour, and only the ratios are asked for.
    """
    if in_fours(pattern.exposure) and len(mosaic.cfa) == 4:
        return _match_in_fours(mosaic, pattern, detection, ratio_given, black_known)
    if CELL % pattern.exposure.shape[0] or CELL % pattern.exposure.shape[1]:
        return None
    windows = measure_windows(mosaic) if detection is None or detection.windows is None else detection.windows
    steps = () if detection is None else detection.steps
    return _match(mosaic, pattern, windows, steps, ratio_given, black_known)


def _match(
    mosaic: Mosaic,
    pattern: ExposurePattern,
    windows: Windows,
    measured: Sequence[Step],
    ratio_given: bool,
    black_known: bool,
) -> Match:
    """Do it for a period that divides 4 x 4 sites; `measured`: its steps, if they are known already."""
    exposure = pattern.over((CELL, CELL)).ravel()
    levels = np.unique(exposure)[::-1]
    groups = [np.flatnonzero(exposure == level).tolist() for level in levels]
    steps = list(measured) or [measure_step(mosaic, windows, *pair) for pair in pairwise(groups)]
    if black_known:
        steps = [_step_of_pairs(mosaic, step) for step in steps]
    found = pattern if ratio_given else _with_steps(pattern, [step.ev for step in steps])
    steps_ev, errors = tuple(step.ev for step in steps), tuple(ERROR_FACTOR * step.error for step in steps)
    ratio = steps_ev, errors, math.hypot(*errors)
    if black_known:
        return Match(found, *ratio, cell_black(mosaic).astype(np.float64), np.zeros((CELL, CELL)), False)
    slopes = [float(levels[k + 1] / levels[k]) if ratio_given else None for k in range(len(steps))]
    lines = _lines_of_steps(mosaic, steps, slopes)
    fitted = bool(lines)  # the greens alone tell nothing of the exposures
    black, black_error = _blacks(mosaic, exposure, [*lines, *_lines_of_greens(windows, mosaic, groups)])
    moved = False
    if np.abs(black - cell_black(mosaic)).max() > FAR * (EXPOSURE_SIGMA + ROW_SIGMA) * _count_of_14_bits(mosaic):
        # no black strays that far: the pattern that was given is not the frame's, or the file's level is wrong
        shift = None if ratio_given else _common_shift(mosaic, lines)
        fitted = moved = shift is not None
        if shift is not None:
            black, black_error = cell_black(mosaic) + shift[0], np.full((CELL, CELL), shift[1])
    return Match(found, *ratio, black, black_error, fitted, moved)


def _match_in_fours(
    mosaic: Mosaic, pattern: ExposurePattern, detection: Detection | None, ratio_given: bool, black_known: bool
) -> Match:
    """Return what the two halves of a frame whose rows are exposed in fours say: one ratio, and the blacks of each."""
    parts, found = [], detection.halves if detection is not None else ()
    for k, (half, pairs) in enumerate(zip(halves(mosaic), half_patterns(pattern), strict=True)):
        windows = found[k].windows if found else None
        windows, steps = windows or measure_windows(half, ROW_PLACES), found[k].steps if found else ()
        parts.append(_match(half, pairs, windows, steps, ratio_given, black_known))
    weight = np.array([1 / max(part.ratio_ev_error, 1e-6) ** 2 for part in parts])  # 0: unknown
    ev, error = math.nan, math.inf
    if weight.any():
        seen = [part.steps_ev[0] if w else 0.0 for part, w in zip(parts, weight, strict=True)]
        ev, error = float(weight @ seen / weight.sum()), float(weight.sum() ** -0.5)
    return Match(
        pattern if ratio_given else _with_steps(pattern, [ev]),
        (ev,),
        (error,),
        error,
        joined(parts[0].black, parts[1].black),
        joined(parts[0].black_error, parts[1].black_error),
        all(part.fitted for part in parts),
        any(part.moved for part in parts),
    )


def _count_of_14_bits(mosaic: Mosaic) -> float:
    return mosaic.span / RANGE_14_BIT


def _step_of_pairs(mosaic: Mosaic, step: Step) -> Step:
    """Return the step as single sites have it, where few windows are unsaturated and those are special.

    Where most of the bright sites are saturated, what is left is the gaps in some texture, and windows that happen to
    fit into them are not like the others. Single sites are, but they need black levels that are right.
    """
    if sum(sample.window.size for sample in step.samples) >= ENOUGH_WINDOWS:
        return step
    slope, error, pairs = fit_pairs(mosaic, *step.groups, black_error=BLACK_KNOWN * _count_of_14_bits(mosaic))
    if not math.isfinite(error) or pairs < MIN_PAIRS:
        return step
    return replace(step, ev=-math.log2(slope), error=error_ev(slope, error), from_pairs=True)


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


def _lines_of_steps(mosaic: Mosaic, steps: Sequence[Step], slopes: Sequence[float | None]) -> list[_Line]:
    """Return what each step tells of each colour; `slopes`: those that are given."""
    lines = []
    factor = ERROR_FACTOR if len(steps) > 1 else 1.0  # steps share an exposure, and what is wrong with it
    for step, given in zip(steps, slopes, strict=True):
        if step.from_pairs or not step.fit.slope > 0:
            continue
        fit = fit_line(step.samples, offset_sigma_of(mosaic), by_contrast=True)
        if not fit.slope > 0 or (given is not None and abs(math.log2(fit.slope / given)) > SAME_EV):
            continue
        slope = fit.slope if given is None else given
        offsets = fit.offsets if given is None else offsets_at(slope, step.samples, fit)
        for sample, offset, error in zip(step.samples, offsets, fit.offset_errors, strict=True):
            bright, dark = (_weights(phases) for phases in sample.phases)
            lines.append(_Line(dark - slope * bright, float(offset), factor * float(error)))
    return lines


def _lines_of_greens(windows: Windows, mosaic: Mosaic, groups: Sequence[Sequence[int]]) -> list[_Line]:
    """Return how the blacks of the two greens differ in each exposure, where a Bayer CFA has two."""
    lines = []
    for sample in (sample_greens(windows, mosaic.cfa, group) for group in groups):
        if sample is not None:
            fit = fit_line([sample], offset_sigma_of(mosaic), slope_sigma=GREEN_SIGMA, by_contrast=True)
            if np.isfinite(fit.slope):
                first, second = map(_weights, sample.phases)
                offset, error = float(fit.offsets[0]), float(fit.offset_errors[0])
                lines.append(_Line(second - fit.slope * first, offset, error))
    return lines


def _common_shift(mosaic: Mosaic, lines: Sequence[_Line]) -> tuple[float, float] | None:
    """Return by how many counts one black level for all sites differs from the believed one, and the error of that.

    None where the lines do not agree on one: by AGREED counts of 14 bits, or by their errors.
    """
    sums = np.array([line.coefficients.sum() for line in lines])
    shifts = np.array([line.offset for line in lines]) / sums
    errors = np.hypot([line.error for line in lines], FIT_SIGMA * _count_of_14_bits(mosaic)) / sums
    if not len(lines) or not (np.isfinite(errors) & (errors > 0)).all():
        return None
    weights = errors**-2.0
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
