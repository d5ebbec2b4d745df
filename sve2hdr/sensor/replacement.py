"""Values for defective sites, interpolated from the sound sites of their colour around, along fine detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..radiance import SATURATED
from .sites import Offset, Sites

PAIRS = ((0, 2), (2, 0), (1, 1), (1, -1), (2, 2), (2, -2), (0, 4), (4, 0))  # each with the opposite offset
CURVE_NOISE, STEEPEST = 4.0, 2.0  # weight of noise against curvature in green; red or blue over green curvature at most
LEAST = 1e-30  # to divide by


def with_replaced(sites: Sites, bad: np.ndarray, curved: bool = True) -> Sites:
    """Return sites with the `bad` ones, (H, W) bool, replaced; large groups are filled from their rim inwards.

    curved: see `_replacement`.
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
    """Return counts for defects, (N,) uint16, and which of them have sound sites around to tell these.

    They are the mean of pairs of opposite sites of their colour, in which pairs that agree weigh more. With `curved`,
    red and blue in Bayer CFAs take over the curvature of the green beside them, as in Hamilton and Adams, US 5,629,734,
    as far as they follow green in the surroundings.
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
        # at most to where other sites saturate: networks have seen nothing above
        result[which] = np.minimum(best / sites.scale[phase], sites.saturation[phase] / SATURATED) + sites.black[phase]
    return np.clip(np.rint(result), 0, 65535).astype(np.uint16), known


@dataclass(frozen=True, eq=False)
class _Around:
    """What lies around sites of one phase, at offsets from them: (N,) values for each offset."""

    sites: Sites
    bad: np.ndarray  # (H, W) bool, sites that are not used
    phase: Offset
    y: np.ndarray
    x: np.ndarray

    def at(self, offset: Offset) -> tuple[np.ndarray, np.ndarray]:
        """Return the radiance there, and its variance, which is infinite where a site is bad or saturated."""
        sites, there = self.sites, self.sites.phase_at(self.phase, offset)
        signal, scale = sites.signal_near(self.phase, self.y, self.x, offset), sites.scale[there]
        unsound = sites.is_bad(self.bad, self.y, self.x, offset) | (signal >= sites.saturation[there])
        return signal * scale, np.where(unsound, np.inf, (sites.sigma(there, signal) * scale) ** 2)

    def green_beside(self, offset: Offset) -> tuple[np.ndarray, np.ndarray]:
        """Return what `at` does, for the mean of the two green sites beside a red or blue one; elsewhere it is unknown.

        They lie in its row or, if exposures vary by column, in its column: of one exposure, so that both weigh the same
        and gradients cancel.
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
        """Return by how much green exceeds the mean of green at two ends, reduced where that may be noise."""
        (here, variance), *there = map(self.green_beside, ((0, 0), *ends))
        curve = here - sum(green for green, _ in there) / 2
        variance = variance + sum(doubt for _, doubt in there) / 4
        return np.asarray(curve / (1 + CURVE_NOISE * variance / np.maximum(curve**2, LEAST)))

    def slope(self, offsets: Sequence[Offset]) -> np.ndarray:
        """Return by how much red or blue changes where green changes by one, measured at sites at these offsets."""
        own, variances = np.array([*map(self.at, offsets)]).swapaxes(0, 1)
        green, doubts = np.array([*map(self.green_beside, offsets)]).swapaxes(0, 1)
        weights = 1 / (variances + doubts)
        weights /= np.maximum(weights.sum(axis=0), LEAST)
        own, green = (part - (weights * part).sum(axis=0) for part in (own, green))
        noise = (weights * np.where(weights > 0, doubts, 0)).sum(axis=0)
        slope = (weights * own * green).sum(axis=0) / np.maximum((weights * green**2).sum(axis=0) + noise, LEAST)
        return np.asarray(slope.clip(-STEEPEST, STEEPEST))
