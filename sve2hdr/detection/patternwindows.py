"""Mosaic -> window means of the 16 phases of its 4 x 4 cell, free of the scene's gradients, and where they saturate.

Two ideas carry the module. A window weighs the sites of every phase by the same linear B-spline, whose half width is a
multiple of the period, so all phases are measured at the same centre: a gradient in the scene cannot pass for an
exposure. And each window is measured twice, from two disjoint sets of cells, so that a level and the values at that
level can have independent noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..mosaic import CELL, Mosaic
from ..saturation import cell_black, saturation_counts

WINDOW_CELLS = 4  # the B-spline is 16 sites wide
STEP_CELLS = 2  # from window to window; even, so that a tap's number tells the half that its cell belongs to
MAX_WINDOWS = 24_000


def _taps(places: Sequence[float]) -> np.ndarray:
    """Return the B-spline's weights by phase and cell, (4, 4); those of the even and of the odd cells each sum to 1."""
    cell, place = np.meshgrid(np.arange(WINDOW_CELLS), places)
    half_width = WINDOW_CELLS * CELL / 2
    return np.asarray(np.maximum(1 - np.abs(CELL * cell + place - half_width) / half_width, 0), np.float32)


@dataclass(frozen=True, eq=False)
class Windows:
    """What the windows of one frame hold; a phase is 4 * (row % 4) + column % 4."""

    values: np.ndarray  # (2, 16, N) float32, counts above black: two measurements from disjoint sites
    peak: np.ndarray  # (16, N) float32, counts above black: the greatest site of the phase in the window
    saturation: np.ndarray  # (16,) float32, counts above black from which a phase is saturated
    row: np.ndarray  # (N,) int, of the window's centre, in windows
    column: np.ndarray  # (N,) int


def measure_windows(mosaic: Mosaic, row_places: Sequence[float] = range(CELL)) -> Windows:
    """Measure the phases of `mosaic` in overlapping windows of 16 x 16 sites, at most some 24 thousand of them.

    Of a frame with more windows evenly spaced strips are read; of one below 16 x 16 sites nothing is measured.
    row_places: where the rows of a cell lie in it, in sites; not evenly in a frame of which some rows were left out.
    """
    rows, columns = mosaic.shape[0] // CELL, mosaic.shape[1] // CELL
    per_strip = max(0, (columns - WINDOW_CELLS) // STEP_CELLS + 1)
    strips = max(0, (rows - WINDOW_CELLS) // STEP_CELLS + 1)
    kept = min(strips, -(-MAX_WINDOWS // max(per_strip, 1)))
    black, across, down = cell_black(mosaic), _taps(range(CELL)), _taps(row_places)
    saturation = saturation_counts(mosaic) - black
    if per_strip == 0 or kept == 0:
        empty = np.zeros(0, np.int64)
        return Windows(
            np.zeros((2, 16, 0), np.float32), np.zeros((16, 0), np.float32), saturation.ravel(), empty, empty
        )
    chosen = np.linspace(0, strips - 1, kept).round().astype(np.int64)
    values = np.empty((2, CELL, CELL, kept, per_strip), np.float32)
    peak = np.empty((CELL, CELL, kept, per_strip), np.float32)
    for k, strip in enumerate(chosen):
        first = int(strip) * STEP_CELLS * CELL
        sites = mosaic.counts[first : first + WINDOW_CELLS * CELL, : columns * CELL].astype(np.float32)
        cells = sites.reshape(WINDOW_CELLS, CELL, columns, CELL).transpose(1, 3, 0, 2)  # phase y, phase x, cell y, x
        values[:, :, :, k], peak[:, :, k] = _measure_strip(cells - black[:, :, None, None], across, down, per_strip)
    row, column = np.meshgrid(chosen, np.arange(per_strip), indexing="ij")
    return Windows(values.reshape(2, 16, -1), peak.reshape(16, -1), saturation.ravel(), row.ravel(), column.ravel())


def _measure_strip(
    cells: np.ndarray, across: np.ndarray, down: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (2, 4, 4, count) values and (4, 4, count) peaks from one strip's cells, (4, 4, 4, columns).

    across, down: the `_taps` of columns and rows.
    """

    def tap(of: np.ndarray, t: int) -> np.ndarray:
        return of[..., t : t + STEP_CELLS * (count - 1) + 1 : STEP_CELLS]

    summed = [sum(tap(cells, t) * across[None, :, None, t, None] for t in (half, half + 2)) for half in (0, 1)]
    by_row = down[:, None, :, None]  # phase y, -, cell y, -
    values = np.stack(
        [
            sum((summed[(half + t) % 2][:, :, t] * by_row[:, :, t] for t in range(WINDOW_CELLS)), start=np.float32(0))
            / 2
            for half in (0, 1)
        ]
    )
    highest = cells.max(axis=2)
    return values, np.maximum.reduce([tap(highest, t) for t in range(WINDOW_CELLS)])
