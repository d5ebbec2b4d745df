"""Windows -> how many times more light one group of phases has seen than another.

The fit is a regression with an instrument (Wald, Annals of Mathematical Statistics 11, 1940): the half of a window that
tells the level is not the half whose values are fitted, so neither noise nor texture in the level flattens the line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..mosaic import CELL, SIGMA_OF_MAD, Mosaic, cfa_period, repeated
from .patternwindows import Windows

MIN_WINDOWS = 24  # of one colour, for a line through them
CHUNKS = 16  # parts of the frame that the error of a ratio is taken from
LEVEL_BINS, CONTRAST_BINS = 8, 40
BLACK_ERROR = 0.0025  # of the range from black to white: how wrong the black level of a phase may well be
MIN_EVEN = 100  # windows that are worth more than a free choice of them
WINDOWS_OF_SITE = 8  # windows, each of two halves, overlap by half both ways


def offset_sigma_of(mosaic: Mosaic) -> float:
    """Return how wrong the black level of a phase may well be, counts."""
    return BLACK_ERROR * mosaic.span


def colour_classes(cfa: str) -> list[np.ndarray]:
    """Return the phases, (n,) int, of each set of sites that share a colour and a place in the CFA: R, both G and B.

    One green lies in the rows that have red, the other in those that have blue: of Bayer and of quad-Bayer, at every
    phase.

    >>> [phases.tolist() for phases in colour_classes("GRRGBGGBBGGBGRRG")]
    [[0, 3, 12, 15], [1, 2, 13, 14], [4, 7, 8, 11], [5, 6, 9, 10]]
    """
    letters = repeated(cfa_period(cfa), (CELL, CELL))
    beside_red = (letters == "R").any(axis=1, keepdims=True)
    greens = [(letters == "G") & beside_red, (letters == "G") & ~beside_red]
    classes = [np.flatnonzero(sites) for sites in (letters == "R", *greens, letters == "B")]
    return sorted((phases for phases in classes if phases.size >= 2), key=lambda phases: int(phases[0]))


@dataclass(frozen=True, eq=False)
class Sample:
    """Two groups of phases of one colour in the windows where neither clips."""

    brighter: np.ndarray  # (2, N) float64, counts above black
    darker: np.ndarray  # (2, N) float64
    window: np.ndarray  # (N,) int, index into the Windows
    phases: tuple[list[int], list[int]]  # of the brighter and of the darker group
    contrast: np.ndarray  # (2, N) float64, counts, of each group: by how much its greatest site is above its mean


def sample_groups(
    windows: Windows,
    brighter: Sequence[int],
    darker: Sequence[int],
    slope: float | None = None,
    most: int | None = None,
) -> Sample:
    """Return the means of two groups of phases in the windows where none of their sites is saturated.

    In texture, to ask that only of the brighter sites would favour windows where they happen to be low. With a first
    `slope`, darker over brighter, the darker sites must stay below what would saturate the brighter ones as well.
    `most`: about how many windows to keep of more.
    """
    bright, dark = list(brighter), list(darker)
    limit = windows.saturation[:, None]
    used = (windows.peak[bright] < limit[bright]).all(axis=0) & (windows.peak[dark] < limit[dark]).all(axis=0)
    if slope is not None:
        even = used & (windows.peak[dark].max(axis=0) < slope * limit[bright].min())
        used = even if even.sum() >= max(MIN_EVEN, used.sum() / 4) else used
    window = np.flatnonzero(used)
    if most is not None:
        window = window[:: -(-window.size // most) or 1]
    pick = windows.values.take(window, axis=2)
    x, y = (pick[:, phases].mean(axis=1, dtype=np.float64) for phases in (bright, dark))
    peaks = (windows.peak[phases][:, window].max(axis=0) for phases in (bright, dark))
    contrast = np.stack([peak - means.mean(axis=0) for peak, means in zip(peaks, (x, y), strict=True)])
    return Sample(x, y, window, (bright, dark), contrast)


def sample_greens(windows: Windows, cfa: str, group: Sequence[int]) -> Sample | None:
    """Return the two greens of a CFA in one group of phases; None: it has but one of them, or too few windows."""
    letters = repeated(cfa_period(cfa), (CELL, CELL)).ravel()
    greens = [phases.tolist() for phases in colour_classes(cfa) if letters[phases[0]] == "G"]
    seen = [[phase for phase in phases if phase in group] for phases in greens]
    if len(seen) != 2 or not all(seen):
        return None
    sample = sample_groups(windows, seen[0], seen[1])
    return sample if sample.window.size >= MIN_WINDOWS else None


def sample_colours(
    windows: Windows, cfa: str, brighter: Sequence[int], darker: Sequence[int], slope: float | None = None
) -> list[Sample]:
    """Return what `sample_groups` does for each colour that both groups have sites of, and enough windows."""
    samples = []
    for phases in colour_classes(cfa):
        bright, dark = [p for p in brighter if p in phases], [p for p in darker if p in phases]
        if bright and dark:
            sample = sample_groups(windows, bright, dark, slope)
            if sample.window.size >= MIN_WINDOWS:
                samples.append(sample)
    return samples


@dataclass(frozen=True, eq=False)
class Fit:
    """`darker = slope * brighter + offset`: one slope for all samples, one offset for each."""

    slope: float
    slope_error: float  # one standard deviation, from parts of the frame; inf where the windows cannot tell
    offsets: np.ndarray  # (samples,) counts
    offset_errors: np.ndarray  # (samples,) counts, one standard deviation; inf where the windows cannot tell
    parts: float  # of the frame, equally large, that would tell as much of the slope: few of CHUNKS, few errors


def error_ev(slope: float, slope_error: float) -> float:
    """Return the error of a slope in EV: that of its log2."""
    return slope_error / slope / math.log(2)


def spread(residual: np.ndarray, level: np.ndarray, floor: np.ndarray, bins: int = LEVEL_BINS) -> np.ndarray:
    """Return the standard deviation of `residual` as a function of `level`, by medians over equally populated bins."""
    order, bins = np.argsort(level, axis=None), min(bins, max(1, level.size // 40))
    size, longer = divmod(level.size, bins)  # the first bins hold one more
    cut = longer * (size + 1)

    def medians(values: np.ndarray) -> np.ndarray:  # not by np.median, which takes twice as long
        ordered = values.ravel()[order]
        parts = ordered[:cut].reshape(longer, size + 1), ordered[cut:].reshape(bins - longer, size)
        return np.concatenate(
            [(p[:, (n - 1) // 2] + p[:, n // 2]) / 2 for p in map(np.sort, parts) for n in p.shape[1:]]
        )

    return np.asarray(np.maximum(np.interp(level, medians(level), SIGMA_OF_MAD * medians(np.abs(residual))), floor))


def _spread_of_contrast(sample: Sample, residual: np.ndarray, slope: float) -> np.ndarray:
    """Return the standard deviation of `residual`, (2, N), as a function of contrast and level."""
    contrast = np.maximum(sample.contrast[0] * slope, sample.contrast[1])
    floor = np.full(contrast.shape, 0.1)
    return np.broadcast_to(spread(residual.mean(axis=0) * np.sqrt(2), contrast, floor, CONTRAST_BINS), residual.shape)


def _sums(sample: Sample, z: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the sums that a line needs, (6, CHUNKS): w, wz, wx, wy, wzx, wzy; z is x as the other half measured it.

    Chunks are equally populated, in reading order; there are as many windows as chunks, or more.
    """
    x, y, wz = sample.brighter, sample.darker, weight * z
    terms = (weight, wz, weight * x, weight * y, wz * x, wz * y)
    first = -(-np.arange(CHUNKS) * x.shape[1] // CHUNKS)
    return np.stack([np.add.reduceat(term, first, axis=1).sum(axis=0) for term in terms])


def _solve(sums: np.ndarray, stiffness: float, unity: float) -> tuple[np.ndarray, np.ndarray]:
    """Return slope, (...), nan where none is told, and offsets, (..., samples), from sums, (..., samples, 6).

    `stiffness` is the weight with which the offsets are held at 0, `unity` that with which the slope is held at 1.
    """
    w, wz, wx, wy, wzx, wzy = np.moveaxis(sums, -1, 0)
    held = w + stiffness
    determinant = (wzx - wz * wx / held).sum(axis=-1) + unity
    slope = ((wzy - wz * wy / held).sum(axis=-1) + unity) / np.where(determinant > 0, determinant, np.nan)
    return slope, (wy - slope[..., None] * wx) / held


def fit_line(
    samples: Sequence[Sample],
    offset_sigma: float,
    rounds: int = 6,
    slope_sigma: float = np.inf,
    by_contrast: bool = False,
) -> Fit:
    """Fit the line through samples of several colours; `offset_sigma`, counts: how wrong black levels may be.

    `slope_sigma`: how far the slope may be from 1, inf where nothing is known of it. `by_contrast`: windows count by
    their contrast, flat ones most, rather than by their level: the offsets are more exact.
    """
    if not samples:
        return Fit(np.nan, np.inf, np.zeros(0), np.zeros(0), 0.0)
    levels = [s.brighter[::-1] for s in samples]
    weights = [1 / (0.1 * np.abs(s.darker[::-1]) + 1) ** 2 for s in samples]
    slope, offsets = np.nan, np.zeros(len(samples))
    sums = np.zeros((len(samples), 6, CHUNKS))
    # Each of the weights is counted as often as its site lies in windows, and so must be what is known beforehand.
    stiffness, unity = 1 / offset_sigma**2, WINDOWS_OF_SITE / slope_sigma**2
    for done in range(rounds):
        if done:
            levels, weights = _weighted(samples, slope, offsets, levels, by_contrast)
        sums = np.stack([_sums(s, z, w) for s, z, w in zip(samples, levels, weights, strict=True)])
        solved, offsets = _solve(sums.sum(axis=2), stiffness, unity)
        slope = float(solved)
        if not np.isfinite(slope):
            break
    left_out = np.subtract(sums.sum(axis=2), np.moveaxis(sums, 2, 0), order="C")  # (CHUNKS, samples, 6)
    slope_error, offset_errors = map(jackknife, _solve(left_out, stiffness, unity))
    return Fit(slope, float(slope_error), offsets, offset_errors, _parts(sums))


def _parts(sums: np.ndarray) -> float:
    """Return how many chunks of those whose sums, (samples, 6, CHUNKS), are given tell the slope: all if all do alike.

    A chunk tells as much of it as the weighted variance of the levels in it: the number is (sum t)^2 / sum t^2.
    """
    w, wz, wx, _, wzx, _ = np.moveaxis(sums, 1, 0)
    z, x = (part.sum(axis=1, keepdims=True) / np.maximum(w.sum(axis=1, keepdims=True), 1e-30) for part in (wz, wx))
    told = np.maximum((wzx - z * wx - x * wz + z * x * w).sum(axis=0), 0)
    return float(told.sum() ** 2 / max((told**2).sum(), 1e-30))


def _weighted(
    samples: Sequence[Sample], slope: float, offsets: np.ndarray, levels: list[np.ndarray], by_contrast: bool
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return levels and weights, per sample (2, N), given a line and, where it does not rise, the levels before."""
    if slope > 0:
        levels = [(s.brighter[::-1] + (s.darker[::-1] - o) / slope) / 2 for s, o in zip(samples, offsets, strict=True)]
    residuals = [s.darker - slope * s.brighter - o for s, o in zip(samples, offsets, strict=True)]
    if by_contrast and slope > 0:
        sigma = [_spread_of_contrast(s, r, slope) for s, r in zip(samples, residuals, strict=True)]
    else:
        floors = [0.25 + 0.01 * np.abs(s.darker[::-1]) for s in samples]
        sigma = [spread(r, z, f) for r, z, f in zip(residuals, levels, floors, strict=True)]
    # Tukey's biweight, wide: noise of few electrons is skewed, and closer cuts would take more from one side.
    weights = [np.maximum(1 - (r / (8 * g)) ** 2, 0) ** 2 / g**2 for r, g in zip(residuals, sigma, strict=True)]
    return levels, weights


def jackknife(left_out: np.ndarray) -> np.ndarray:
    """Return the standard deviation, (...), of values from what they are without one chunk each, (CHUNKS, ...)."""
    error = np.sqrt((CHUNKS - 1) * np.mean((left_out - left_out.mean(axis=0)) ** 2, axis=0))
    return np.where(np.isfinite(left_out).all(axis=0), error, np.inf)
