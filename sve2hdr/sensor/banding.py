"""Offsets of whole rows (banding, row noise), measured on the lit sites of a frame and subtracted."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..mosaic import SIGMA_OF_MAD, ExposurePattern, Mosaic, cfa_period, common_period, over_common_period, repeated
from ..radiance import SATURATED, NoiseModel, saturation_limit
from ..raw.maskedrows import LEAST_BANDING, RowOffsets, without_row_offsets

SEGMENTS, MIN_COLUMNS = 16, 24  # parts of a row that must agree, and their least width
MIN_SITES, MIN_SEGMENTS = 12, 6  # unsaturated sites that a part needs, and parts that a row needs
CLIP_SIGMAS, ROUNDS = 2.0, 4
OUTLIER = 4.0  # robust standard deviations: a row that differs by more is a horizontal edge
LEAST_SHARE, MOST_SHARE = 0.1, 4.0  # of the read noise: less is invisible, and no sensor has more; both are left
SIGNIFICANT = 3.0  # standard deviations of what a frame without banding shows
OF_LIGHT = 0.3  # at 0 rows differ by the same everywhere, at 1 in proportion to the light, as in a scene
BAND_SITES = 50_000  # worked on at once, so that temporaries stay in the processor's cache
SECOND_DIFFERENCE = ((0, 1.0), (-1, -0.5), (1, -0.5))  # of a row and those one period above and below it


def remove_banding(mosaic: Mosaic, pattern: ExposurePattern, noise: NoiseModel) -> tuple[Mosaic, float]:
    """Return the mosaic without the offsets of whole rows, and the standard deviation of these offsets in counts.

    If masked columns show each row's offset, it was subtracted when the file was read. Otherwise each row is compared
    with those one period above and below, which have its colours and exposure. Its parts must agree, so that detail of
    the scene is not mistaken for banding; nor is what neighbouring rows share, as at edges. The most likely offsets are
    subtracted, given how much banding the frame has overall. The frame is returned unchanged, with 0, if its banding is
    not significant or below a tenth of the read noise; also if its rows differ by more where there is more light, like
    horizontal rows of bricks or stripes, or by more than four times the read noise.
    """
    if mosaic.masked is not None and mosaic.masked.banding is not None:
        return mosaic, mosaic.masked.banding
    step = common_period(cfa_period(mosaic.cfa), pattern.exposure)[0]
    read_noise = np.sqrt(np.mean(noise.read_noise.astype(np.float64) ** 2, axis=1))
    read_noise = np.resize(read_noise, mosaic.shape[0])  # of each row
    seen, parts = _second_differences(mosaic, pattern, noise, step)
    seen = seen.over(read_noise)
    spread = _spread(seen, step)
    if spread > MOST_SHARE or (spread and _of_light(parts, 1 / (seen.error**2 + spread**2))):
        spread = 0.0
    if spread < max(LEAST_SHARE, LEAST_BANDING / float(read_noise.mean())):
        return mosaic, 0.0
    offsets = _most_likely(seen, step, spread) * read_noise
    limit = saturation_limit(*over_common_period(mosaic.black_level, mosaic.white_by_site))
    return without_row_offsets(mosaic, offsets, limit), float(offsets.std())


def _second_differences(
    mosaic: Mosaic, pattern: ExposurePattern, noise: NoiseModel, step: int
) -> tuple[RowOffsets, np.ndarray]:
    """Return by how many counts each row exceeds the mean of the rows `step` above and below, and its error.

    Also return the same of its parts, their light in counts and their weights, (3, H, 2, places): half of the parts
    have the first colours, or exposures, of the period of columns, the other half have the others.
    """
    height, width = mosaic.shape
    segments = min(SEGMENTS, width // MIN_COLUMNS) // 2 * 2
    parts = np.zeros((3, height, segments))
    if segments < MIN_SEGMENTS:
        return RowOffsets(np.zeros(height), np.full(height, np.inf)), parts
    top = np.float32(SATURATED * (mosaic.white_by_site.min() - mosaic.black_level.max()))
    ends = np.linspace(0, width, segments + 1).astype(int)
    starts, widths = ends[:-1], np.diff(ends)
    for rows, signal, read_variance, gain in _bands(mosaic, pattern, noise, step):
        above, here, below = signal[: -2 * step], signal[step:-step], signal[2 * step :]
        middle = (above + below) / 2
        variance = read_variance + gain * np.maximum((middle + here) / 2, 0)
        limit = CLIP_SIGMAS * np.sqrt(1.5 * variance)
        good = np.maximum(np.maximum(above, below), here) < top
        steep = np.maximum((below - above) ** 2 - 2 * variance, 0)
        weight = good / (variance + steep)
        sites = np.add.reduceat(good, starts, axis=1, dtype=np.float32)
        weights = np.where(sites >= MIN_SITES, np.add.reduceat(weight, starts, axis=1), 0)
        level = np.zeros(weights.shape, np.float32)
        difference, lowest, rest = here - middle, -limit, np.empty_like(limit)
        for _ in range(ROUNDS):  # means of values clipped about the mean, so that no edge or star outweighs noise
            np.subtract(difference, np.repeat(level, widths, axis=1), out=rest)
            np.minimum(np.maximum(rest, lowest, out=rest), limit, out=rest)
            rest *= weight
            level += np.where(weights > 0, np.add.reduceat(rest, starts, axis=1) / np.maximum(weights, 1e-30), 0)
        light = np.add.reduceat(np.multiply(weight, middle, out=rest), starts, axis=1) / np.maximum(weights, 1e-30)
        parts[:, rows] = level, light, weights
    return RowOffsets(*_agreed(parts[0], parts[2])), parts.reshape(3, height, 2, -1)


def _of_light(parts: np.ndarray, trust: np.ndarray) -> bool:
    """Return whether rows differ by more where there is more light, as in a scene: see `_second_differences`.

    An offset of a row is the same in all of its parts. Colours and places are tested separately, because a texture may
    be strong in a weak colour. trust: (H,), the weight of each row.
    """
    level, light, weights = parts
    for axis in (1, 2):
        weight = np.maximum(weights.sum(axis=axis), 1e-30)
        part, lit = ((weights * values).sum(axis=axis) / weight for values in (level, light))
        share = weight / weight.sum(axis=1, keepdims=True)
        mean, mean_lit = ((share * values).sum(axis=1, keepdims=True) for values in (part, lit))
        expected = mean * np.clip(lit / np.maximum(mean_lit, 1) - 1, -1, 1)  # if it is light alone
        weight *= trust[:, None]
        found, most = ((weight * expected * values).sum(axis=1) for values in (part - mean, expected))
        slope = found.sum() / max(most.sum(), 1e-30)
        slope_error = np.sqrt(((found - slope * most) ** 2).sum()) / max(most.sum(), 1e-30)
        if abs(slope) > max(OF_LIGHT, SIGNIFICANT * slope_error):
            return True
    return False


def _bands(
    mosaic: Mosaic, pattern: ExposurePattern, noise: NoiseModel, step: int
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows, their signal with that of `step` more rows at either end, and their read variance and gain.

    Columns are sorted by their place in the period of colours and exposures.
    """
    height, width = mosaic.shape
    columns_period = common_period(cfa_period(mosaic.cfa), pattern.exposure)[1]

    def by_column(sites: np.ndarray) -> np.ndarray:
        return np.concatenate([sites[:, first::columns_period] for first in range(columns_period)], axis=1)

    parts = (mosaic.black_level, noise.read_noise, noise.gain)
    rows_period = common_period(np.ones((step, 1)), *parts)[0]
    rows = -(-BAND_SITES // width // rows_period) * rows_period
    black, read, gain = (by_column(repeated(p.astype(np.float32), (rows + 2 * step, width))) for p in parts)
    read_variance = read**2
    for top in range(step, height - step, rows):
        bottom = min(top + rows, height - step)
        near, inner = slice(0, bottom - top + 2 * step), slice(step, bottom - top + step)
        signal = by_column(mosaic.counts[top - step : bottom + step]) - black[near]
        yield slice(top, bottom), signal, read_variance[inner], gain[inner]


def _agreed(level: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean of the segments of each row, (H, segments), and its error, from their scatter."""
    used = (weights > 0).sum(axis=1)
    share = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
    mean = (share * level).sum(axis=1)
    scatter = (share**2 * (level - mean[:, None]) ** 2).sum(axis=1) * used / np.maximum(used - 1, 1)
    return mean, np.where(used >= MIN_SEGMENTS, np.sqrt(scatter), np.inf)


def _spread(seen: RowOffsets, step: int) -> float:
    """Return the standard deviation of the rows' offsets, in units of read noise; 0 if it is not significant.

    Neighbouring rows are compared with different rows, so their own offsets are independent, whereas an edge in the
    scene shows in all of them: what they share is not counted.
    """
    known = np.isfinite(seen.error)
    if known.sum() < 8 * step:
        return 0.0
    limit = np.hypot(_edge_limit(seen), seen.error)
    clipped = np.clip(seen.counts, -limit, limit)
    trust = 1 / (1 + np.minimum(seen.error, 1e6) ** 2)
    own, shared = clipped**2 - np.minimum(seen.error, limit) ** 2, clipped[1:] * clipped[:-1]
    means: list[float] = []
    doubts: list[float] = []
    for values, weight in ((own[known], trust[known] ** 2), (shared, trust[1:] * trust[:-1])):
        weight = weight / weight.sum()
        means.append(float((weight * values).sum()))
        doubts.append(float(np.sqrt((weight**2 * (values - means[-1]) ** 2).sum())))
    variance, doubt = (means[0] - max(means[1], 0)) / 1.5, math.hypot(*doubts) / 1.5
    return float(np.sqrt(variance)) if variance > SIGNIFICANT * doubt else 0.0


def _edge_limit(seen: RowOffsets) -> float:
    """Return the difference above which a row is at an edge of the scene, from the rows with the least error."""
    known = np.flatnonzero(np.isfinite(seen.error))
    best = known[np.argsort(seen.error[known])[: max(1, len(known) // 2)]]
    return OUTLIER * SIGMA_OF_MAD * float(np.median(np.abs(seen.counts[best]))) if len(known) else 0.0


def _most_likely(seen: RowOffsets, step: int, spread: float) -> np.ndarray:
    """Return the most likely offsets, (H,), with `seen` as second differences and a prior of 0 +- spread."""
    limit = np.hypot(_edge_limit(seen), np.minimum(seen.error, 1e6))
    precision = np.where(np.abs(seen.counts) <= limit, 1 / (seen.error**2 + (0.1 * spread) ** 2), 0)
    result = np.zeros(len(seen.counts))
    for first in range(step):  # each a chain of its own
        rows = np.arange(first, len(result), step)
        middle, trust = np.arange(1, len(rows) - 1), precision[rows[1:-1]]
        bands, right = np.zeros((3, len(rows))), np.zeros(len(rows))  # of the symmetric matrix of normal equations
        bands[0] = 1 / spread**2
        for shift, weight in SECOND_DIFFERENCE:
            right[middle + shift] += weight * trust * seen.counts[rows[1:-1]]
            for other, factor in SECOND_DIFFERENCE:
                if other >= shift:
                    bands[other - shift, middle + shift] += weight * factor * trust
        result[rows] = _solution(bands, right)
    return result


def _solution(bands: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve A x = right for x, (N,), where A is symmetric, positive definite and pentadiagonal.

    bands: (3, N), row n of A at columns n, n + 1 and n + 2; 0 beyond its last column.
    """
    diagonal, beside, second = (np.append(band, [0, 0]).tolist() for band in bands)
    x = np.append(right, [0, 0]).tolist()
    for n in range(len(right)):
        first, other = beside[n] / diagonal[n], second[n] / diagonal[n]
        diagonal[n + 1] -= first * beside[n]
        beside[n + 1] -= first * second[n]
        diagonal[n + 2] -= other * second[n]
        x[n + 1] -= first * x[n]
        x[n + 2] -= other * x[n]
    for n in reversed(range(len(right))):
        x[n] = (x[n] - beside[n] * x[n + 1] - second[n] * x[n + 2]) / diagonal[n]
    return np.array(x[:-2])
