"""Neighbouring sites -> how many times more light one group of phases has seen than another.

For frames of which the brighter group is saturated nearly everywhere. Few windows are left then, and those that are,
such as dark gaps in some texture, are not like the others. Single sites are, but they need black levels that are right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..mosaic import CELL, Mosaic
from ..saturation import cell_black, saturation_counts
from .patternfit import CHUNKS, colour_classes, jackknife

MAX_PAIRS = 1_000_000  # about; more change nothing
MIN_PAIRS = 50  # of neighbours, for a slope
CUTS = (1.0, 0.5, 0.25)  # of saturation: the levels at which light is cut to compare neighbours
LONE_ERROR = 0.05  # of the slope, where one level alone has enough of them


def fit_pairs(
    mosaic: Mosaic, brighter: Sequence[int], darker: Sequence[int], black_error: float
) -> tuple[float, float]:
    """Return the slope, darker over brighter, and its error, as pairs of neighbours tell them; nan, inf: they do not.

    Each site of the brighter group is compared with the nearest sites of its colour in the darker group, on all sides
    alike, so that both see the same light in the mean. They still do where all light above some level is cut down to
    it, at most what saturates the brighter sites: `min(darker / slope, level)` has the mean of `min(brighter, level)`.
    As the former falls with the slope, one slope alone solves that, whatever the light; it is taken at the level whose
    error is least: a low one, where all that is unsaturated is dark. The error is how the parts of the frame scatter,
    what black levels that are `black_error` counts off change, and how far off the second best level is.
    """
    bright, dark, chunk, saturation = _pairs(mosaic, brighter, darker)
    fits = (_cut_alike(bright, dark, chunk, share * saturation, black_error) for share in CUTS)
    best, second = sorted(fits, key=lambda fit: fit.error)[:2]
    apart = best.slope - second.slope if math.isfinite(second.error) else LONE_ERROR * best.slope
    return best.slope, math.hypot(best.error, apart) if math.isfinite(best.error) else np.inf


class _Cut(NamedTuple):
    slope: float
    error: float


def _cut_alike(bright: np.ndarray, dark: np.ndarray, chunk: np.ndarray, limit: float, black_error: float) -> _Cut:
    """Return the slope at which `min(dark / slope, limit)` has the mean of `min(bright, limit)`.

    That is Newton's method from above; as the mean is concave in 1 / slope, no step goes too far.
    """
    below, kept, slope = bright < limit, np.isfinite(dark), np.inf
    cut = np.minimum(bright, limit)
    for _ in range(60):
        light = np.where(kept, cut, cut - limit)
        total = float(light.sum())
        previous, slope = slope, float(dark[kept].sum()) / total if total > 0 else np.nan
        if not slope > 0 or (kept & below).sum() < MIN_PAIRS:
            return _Cut(np.nan, np.inf)
        if abs(slope / previous - 1) < 1e-5:
            break
        kept = dark < slope * limit
    by_chunk = np.stack([np.bincount(chunk, v, CHUNKS) for v in (np.where(kept, dark, 0), light)])
    left_out = by_chunk.sum(axis=1, keepdims=True) - by_chunk
    error = float(jackknife(left_out[0] / np.maximum(left_out[1], 1e-9)))
    return _Cut(slope, math.hypot(error, black_error * float(kept.sum()) / total))


def _pairs(
    mosaic: Mosaic, brighter: Sequence[int], darker: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return counts above black of bright sites and their dark neighbours, inf: saturated, and each pair's chunk, (N,).

    Last comes what saturates the brighter sites.
    """
    black = cell_black(mosaic)
    saturation = saturation_counts(mosaic) - black
    rows, columns = mosaic.shape[0] // CELL, mosaic.shape[1] // CELL
    step = max(1, rows * columns * CELL**2 // MAX_PAIRS)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for phases in colour_classes(mosaic.cfa):
        for here in sorted(set(phases.tolist()) & set(brighter)):
            for down, right in _nearest(here, sorted(set(phases.tolist()) & set(darker))):
                y, x = here // CELL, here % CELL
                first = mosaic.counts[
                    CELL + y : CELL * (rows - 1) : CELL * step, CELL + x : CELL * (columns - 1) : CELL
                ]
                other = mosaic.counts[CELL + y + down :: CELL * step, CELL + x + right :: CELL]
                there = (y + down) % CELL, (x + right) % CELL
                bright = first.astype(np.float64) - black[y, x]
                dark = other[: first.shape[0], : first.shape[1]].astype(np.float64) - black[there]
                bright[bright >= saturation[y, x]], dark[dark >= saturation[there]] = np.inf, np.inf
                chunk = np.arange(bright.shape[0])[:, None] * CHUNKS // max(bright.shape[0], 1)
                found.append((bright.ravel(), dark.ravel(), np.broadcast_to(chunk, bright.shape).ravel()))
    limit = float(saturation.ravel()[list(brighter)].min())
    if not found:
        return np.zeros(0), np.zeros(0), np.zeros(0, np.int64), limit
    bright_all, dark_all, chunk_all = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return bright_all, dark_all, chunk_all, limit


def _nearest(here: int, others: Sequence[int]) -> list[tuple[int, int]]:
    """Return the shortest steps, (down, right), from one phase to any of `others`, in all directions."""
    steps = [
        (down, right)
        for down in range(-2, 3)
        for right in range(-2, 3)
        if CELL * ((here // CELL + down) % CELL) + (here + right) % CELL in others
    ]
    shortest = min((down**2 + right**2 for down, right in steps), default=0)
    return [step for step in steps if step[0] ** 2 + step[1] ** 2 == shortest]
