"""What defective sites should have had: from the sound ones of their colour around, along fine detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..radiance import SATURATED
from .sites import Offset, Sites

PAIRS = ((0, 2), (2, 0), (1, 1), (1, -1), (2, 2), (2, -2), (0, 4), (4, 0))  # with what lies opposite
CURVE_NOISE, STEEPEST = 4.0, 2.0  # of green: what its noise may pass for; times green, red or blue curves at most
LEAST = 1e-30  # to divide by


def with_replaced(sites: Sites, bad: np.ndarray, curved: bool = True) -> Sites:
    """Return sites with what the `bad` ones, (H, W) bool, should have had; large groups are filled from their rim on.

    curved: as `_replacement` has it.
    """
    y, x = np.divmod(np.flatnonzero(bad), bad.shape[1])
    if not len(y):
        return sites
    counts, bad = sites.counts.copy(), bad.copy()
    sites = replace(sites, counts=counts)
    while len(y):
        values, known = _replacement(sites, bad, y, x, curved)
        if not known.any():  # there is no sound site
            break
        counts[y[known], x[known]] = values[known]
        bad[y[known], x[known]] = False
        y, x = y[~known], x[~known]
    return sites


def _replacement(
    sites: Sites, bad: np.ndarray, y: np.ndarray, x: np.ndarray, curved: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the counts that defects should have had, (N,) uint16, and of which there are sound sites to tell.

    That is the mean of pairs of opposite sites of their colour, more of those that agree; in Bayer CFAs red and blue
    are, if asked for, curved between them as green is beside them, as in Hamilton and Adams, US 5,629,734, and as much
    as they follow green around: where they do not, not at all.
    """
    result, known = np.zeros(len(y), np.float32), np.zeros(len(y), bool)
    for phase, which in sites.by_phase(y, x):
        around = np.stack([sites.is_bad(bad, y[which], x[which], offset) for offset in sites.neighbours[phase]])
        which, around = which[~around.all(axis=0)], around[:, ~around.all(axis=0)]
        known[which] = True
        here = _Around(sites, bad, phase, y[which], x[which])
        own_kind = np.stack([sites.signal_near(phase, here.y, here.x, offset) for offset in sites.neighbours[phase]])
        own_kind[around] = np.nan
        usual = np.nanmedian(own_kind, axis=0) * sites.scale[phase]
        total, weights = np.zeros(len(which)), np.zeros(len(which))
        pairs = [((dy, dx), (-dy, -dx)) for dy, dx in PAIRS]
        pairs = [ends for ends in pairs if all(sites.same_colour(phase, end) for end in ends)]
        slope = here.slope([end for ends in pairs for end in ends]) if curved else None
        for ends in pairs:
            values, variances = zip(*map(here.at, ends), strict=True)
            mean = np.asarray(sum(values) / 2)
            curve = 0.0 if slope is None else slope * here.green_curve(ends)
            weight = 1 / (sum(variances) + (values[0] - values[1]) ** 2 + curve**2)
            total += weight * np.maximum(mean + curve, 0)
            weights += weight
        best = np.where(weights > 0, total / np.where(weights > 0, weights, 1), usual)
        # no further than to where other sites saturate: networks have seen nothing beyond
        result[which] = np.minimum(best / sites.scale[phase], sites.saturation[phase] / SATURATED) + sites.black[phase]
    return np.clip(np.rint(result), 0, 65535).astype(np.uint16), known


@dataclass(frozen=True, eq=False)
class _Around:
    """What lies around sites of one phase, at offsets from them: values, (N,), of each."""

    sites: Sites
    bad: np.ndarray  # (H, W) bool, which tell nothing
    phase: Offset
    y: np.ndarray
    x: np.ndarray

    def at(self, offset: Offset) -> tuple[np.ndarray, np.ndarray]:
        """Return the radiance there, and its variance: infinite where it is bad or saturated."""
        sites, there = self.sites, self.sites.phase_at(self.phase, offset)
        signal, scale = sites.signal_near(self.phase, self.y, self.x, offset), sites.scale[there]
        unsound = sites.is_bad(self.bad, self.y, self.x, offset) | (signal >= sites.saturation[there])
        return signal * scale, np.where(unsound, np.inf, (sites.sigma(there, signal) * scale) ** 2)

    def green_beside(self, offset: Offset) -> tuple[np.ndarray, np.ndarray]:
        """Return what `at` does of the green between the two sites beside a red or blue one; elsewhere it is unknown.

        Those of its row or, where exposures are those of columns, of its column: where weights are alike at both ends,
        gradients cancel.
        """
        sites, here = self.sites, self.sites.phase_at(self.phase, offset)
        row, column = (sites.exposure[sites.phase_at(here, step)] == sites.exposure[here] for step in ((0, 1), (1, 0)))
        step_y, step_x = (1, 0) if column and not row else (0, 1)
        both = [(offset[0] + sign * step_y, offset[1] + sign * step_x) for sign in (-1, 1)]
        if sites.letters[here] == "G" or any(sites.letters[sites.phase_at(self.phase, at)] != "G" for at in both):
            return np.zeros(len(self.y)), np.full(len(self.y), np.inf)
        (one, its_variance), (other, other_variance) = map(self.at, both)
        return (one + other) / 2, (its_variance + other_variance) / 4

    def green_curve(self, ends: Sequence[Offset]) -> np.ndarray:
        """Return by how much green lies above its mean at two ends between them, less where that may be noise."""
        (here, variance), *there = map(self.green_beside, ((0, 0), *ends))
        curve = here - sum(green for green, _ in there) / 2
        variance = variance + sum(doubt for _, doubt in there) / 4
        return np.asarray(curve / (1 + CURVE_NOISE * variance / np.maximum(curve**2, LEAST)))

    def slope(self, offsets: Sequence[Offset]) -> np.ndarray:
        """Return by how much red or blue changes where green changes by one, as sites at some offsets have it."""
        own, variances = np.array([*map(self.at, offsets)]).swapaxes(0, 1)
        green, doubts = np.array([*map(self.green_beside, offsets)]).swapaxes(0, 1)
        weights = 1 / (variances + doubts)
        weights /= np.maximum(weights.sum(axis=0), LEAST)
        own, green = (part - (weights * part).sum(axis=0) for part in (own, green))
        noise = (weights * np.where(weights > 0, doubts, 0)).sum(axis=0)
        slope = (weights * own * green).sum(axis=0) / np.maximum((weights * green**2).sum(axis=0) + noise, LEAST)
        return np.asarray(slope.clip(-STEEPEST, STEEPEST))
