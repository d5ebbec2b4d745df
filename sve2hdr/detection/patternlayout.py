"""Windows -> how exposed each of the 16 phases is, and the layout of groups that explains it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..mosaic import CELL
from .patternfit import MIN_WINDOWS, colour_classes, error_ev, fit_line, sample_groups
from .patternwindows import Windows

PHASE_WINDOWS = 5000  # are enough to tell the phases apart
TEXTURE_EV = 0.05  # what texture may add to a phase, however many windows there are
CLIPPED_EV = 0.25  # how far a mean over clipped windows is trusted
GROUP_COST = 12.0  # of chi squared, that one more group must save


@dataclass(frozen=True, eq=False)
class PhaseLevels:
    """Exposure of each phase within its colour."""

    ev: np.ndarray  # (16,) float64, EV above the mean of the colour
    error: np.ndarray  # (16,) float64, EV, one standard deviation
    fitted: np.ndarray  # (16,) bool: from a line; else from means that clipping holds down


@dataclass(frozen=True, eq=False)
class Layout:
    """Which phases share one exposure, as the levels have it."""

    name: str
    groups: list[list[int]]  # phases, the most exposed group first
    margin: float  # chi squared by which the best layout that differs is worse
    misfit_ev: float  # root mean square of what the groups leave unexplained


def layouts(cfa: str) -> dict[str, np.ndarray]:
    """Return the layouts that are looked for: the group, from 0, of each phase, (16,) int, by name.

    >>> layouts("RGGB")["row pairs 1"].reshape(4, 4)[:, 0].tolist()
    [0, 1, 1, 0]
    """
    row, column = np.indices((CELL, CELL))
    found = {"one exposure": np.zeros((CELL, CELL), np.int64)}
    for k in range(2):
        found |= {f"row pairs {k}": (row + k) // 2 % 2, f"column pairs {k}": (column + k) // 2 % 2}
    for down, right in np.ndindex(2, 2):
        pair_row, pair_column = (row + down) // 2 % 2, (column + right) // 2 % 2
        found[f"2 x 2 blocks like a chessboard {down}{right}"] = (pair_row + pair_column) % 2
        found[f"2 x 2 blocks {down}{right}"] = 2 * pair_row + pair_column
    if len(cfa) == 16:
        found |= {"diagonals": (row + column) % 2, "single rows": row % 2, "single columns": column % 2}
        found["sites of 2 x 2 blocks"] = 2 * (row % 2) + column % 2
    return {name: groups.ravel() for name, groups in found.items()}


def measure_phases(windows: Windows, cfa: str, offset_sigma: float) -> PhaseLevels:
    """Measure every phase against the mean of the phases of its colour."""
    ev, error, fitted = np.zeros(16), np.full(16, CLIPPED_EV), np.zeros(16, bool)
    for phases in colour_classes(cfa):
        mean = (
            windows.values[:, phases].mean(axis=(0, 2), dtype=np.float64) if windows.row.size else np.ones(phases.size)
        )
        ev[phases] = np.log2(np.maximum(mean, 1) / max(float(mean.mean()), 1))
        for phase in phases:
            sample = sample_groups(windows, phases.tolist(), [int(phase)], most=PHASE_WINDOWS)
            if sample.window.size < MIN_WINDOWS:
                continue
            fit = fit_line([sample], offset_sigma, rounds=4)
            if np.isfinite(fit.slope) and np.isfinite(fit.slope_error):
                slope = max(fit.slope, fit.slope_error, 2.0**-10)
                ev[phase], error[phase] = np.log2(slope), error_ev(slope, fit.slope_error)
                fitted[phase] = True
    return PhaseLevels(ev, error, fitted)


def choose_layout(levels: PhaseLevels, cfa: str) -> Layout:
    """Return the layout with the least chi squared, every group beyond the first paid for."""
    weight = 1 / (levels.error**2 + TEXTURE_EV**2)
    costs: dict[str, float] = {}
    models: dict[str, np.ndarray] = {}
    names = layouts(cfa)
    for name, group in names.items():
        level = np.bincount(group, weight * levels.ev) / np.bincount(group, weight)
        models[name] = level[group]
        costs[name] = float((weight * (levels.ev - level[group]) ** 2).sum()) + GROUP_COST * level.size
    best = min(costs, key=lambda name: costs[name])
    # What gives every phase the same exposure under another name is no rival.
    rivals = [costs[name] for name in names if np.abs(models[name] - models[best]).max() > 2 * TEXTURE_EV]
    # Clipped means are too low, and chance is no fault of the layout: neither counts as a misfit.
    group, trusted = names[best], weight * levels.fitted
    level = np.bincount(group, trusted * levels.ev) / np.maximum(np.bincount(group, trusted), 1e-9)
    left = np.maximum((levels.ev - level[group]) ** 2 - (2 * levels.error) ** 2, 0)
    order = sorted(range(int(names[best].max()) + 1), key=lambda k: -models[best][names[best] == k][0])
    return Layout(
        best,
        [np.flatnonzero(names[best] == k).tolist() for k in order],
        min(rivals, default=np.inf) - costs[best],
        float(np.sqrt((trusted * left).sum() / max(trusted.sum(), 1e-9))),
    )
