"""Rows exposed in fours, a period of 8, as two frames of row pairs that lie between each other.

Magic Lantern's Dual ISO makes such frames where it leaves a register of some cameras (EOS M, 100D, 650D, 700D) as it
is. Rows 0 and 1 of every four are one frame and rows 2 and 3 another, both of the same Bayer order; in each of them the
exposures alternate from one pair of rows to the next, so what is made for row pairs measures them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..mosaic import CELL, ExposurePattern, Mosaic, in_period

PERIOD = 2 * CELL
ROW_PLACES = 0.0, 0.5, 2.0, 2.5  # of the rows of a half's cell, in sites of the half: rows 0, 1, 4 and 5 of the frame
_IN_FOURS = np.arange(PERIOD) < CELL


def in_fours(exposure: np.ndarray) -> bool:
    """Return whether exposures, (P, Q), are two, each of four rows, at any phase.

    >>> in_fours(np.float32([[1], [1], [0.5], [0.5], [0.5], [0.5], [1], [1]]))
    True
    """
    most = exposure[:, 0] == exposure.max()
    phases = (np.roll(_IN_FOURS, phase) for phase in range(PERIOD))
    return exposure.shape == (PERIOD, 1) and np.unique(exposure).size == 2 and any((most == p).all() for p in phases)


def _rows_of(half: int, rows: int) -> np.ndarray:
    return np.flatnonzero(np.arange(rows) % CELL // 2 == half)


def halves(mosaic: Mosaic) -> tuple[Mosaic, Mosaic]:
    """Return the frames of rows 0 and 1, and of rows 2 and 3, of every four; what the margins show is left out."""

    def of_period(values: np.ndarray, half: int) -> np.ndarray:
        period = in_period(values, (PERIOD, values.shape[1]))
        return np.asarray(period[_rows_of(half, PERIOD)], np.float32)

    first, second = (
        replace(
            mosaic,
            counts=mosaic.counts[_rows_of(half, mosaic.shape[0])],
            black_level=of_period(mosaic.black_level, half),
            saturation=None if mosaic.saturation is None else of_period(mosaic.saturation, half),
            masked=None,
        )
        for half in (0, 1)
    )
    return first, second


def half_patterns(pattern: ExposurePattern) -> tuple[ExposurePattern, ExposurePattern]:
    """Return what exposures in fours are in each of the `halves`: row pairs."""
    first, second = (ExposurePattern(pattern.exposure[_rows_of(half, PERIOD)]) for half in (0, 1))
    return first, second


def joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the period of 8 rows whose `halves` have these periods of 4, (4, Q) each.

    >>> joined(np.float32([[1], [1], [2], [2]]), np.float32([[3], [3], [4], [4]])).ravel().tolist()
    [1.0, 1.0, 3.0, 3.0, 2.0, 2.0, 4.0, 4.0]
    """
    both = np.empty((PERIOD, first.shape[1]), first.dtype)
    both[_rows_of(0, PERIOD)], both[_rows_of(1, PERIOD)] = first, second
    return both
