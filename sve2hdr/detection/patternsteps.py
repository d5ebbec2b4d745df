"""Groups of phases, most exposed first -> the exposure ratio from each to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..mosaic import Mosaic
from .patternfit import Fit, Sample, error_ev, fit_line, offset_sigma_of, sample_colours
from .patternlayout import Layout
from .patternpairs import fit_pairs
from .patternwindows import Windows

SAME_EXPOSURE_EV = 0.1  # groups closer than this are one
FEW_WINDOWS = 200  # below that single sites are believed, whatever the windows say of their own error
BLACK_SHARE = 0.3  # of how wrong a black level may well be: how wrong the mean of those of a group is
CONTRADICTED = 2.0  # standard errors by which the windows are off from what single sites tell


@dataclass(frozen=True, eq=False)
class Step:
    """From one group of phases to the next darker one."""

    groups: tuple[list[int], list[int]]  # phases, brighter and darker
    ev: float
    error: float  # EV
    samples: list[Sample]
    fit: Fit
    from_pairs: bool  # whether `ev` and `error` are those of single sites, and not of `fit`


def measure_steps(mosaic: Mosaic, windows: Windows, layout: Layout) -> tuple[list[list[int]], list[Step]]:
    """Return the groups, most exposed first, those of equal exposure joined, and the steps between them."""
    groups = [list(group) for group in layout.groups]
    while True:
        steps = [measure_step(mosaic, windows, brighter, darker) for brighter, darker in pairwise(groups)]
        closest = min(range(len(steps)), key=lambda k: steps[k].ev)
        if len(groups) == 2 or not steps[closest].ev < SAME_EXPOSURE_EV:
            return groups, steps
        groups[closest : closest + 2] = [sorted(groups[closest] + groups[closest + 1])]


def measure_step(mosaic: Mosaic, windows: Windows, brighter: list[int], darker: list[int]) -> Step:
    """Return how much more light one group of phases sees than another."""
    offset_sigma = offset_sigma_of(mosaic)
    slope: float | None = None
    for rounds in (3, 3, 6):
        samples = sample_colours(windows, mosaic.cfa, brighter, darker, slope)
        fit = fit_line(samples, offset_sigma, rounds)
        slope = fit.slope if fit.slope > 0 else None
    ev, error = (np.inf, np.inf) if slope is None else (-math.log2(slope), error_ev(slope, fit.slope_error))
    step = Step((brighter, darker), ev, error, samples, fit, False)
    burnt = (windows.peak[brighter] >= windows.saturation[brighter, None]).any(axis=0)
    if burnt.sum() > burnt.size / 2:  # what is not may be special, such as dark gaps that lie on rows of one exposure
        pairs = step_of_pairs(mosaic, step, BLACK_SHARE * offset_sigma)
        contradicted = abs(pairs.ev - step.ev) > CONTRADICTED * math.hypot(pairs.error, step.error)
        few = sum(sample.window.size for sample in samples) < FEW_WINDOWS
        if math.isfinite(pairs.error) and (few or pairs.error < step.error or contradicted):
            return pairs
    return step


def step_of_pairs(mosaic: Mosaic, step: Step, black_error: float) -> Step:
    """Return the step as single sites have it, whose black levels may be wrong by `black_error` counts.

    Its EV and error are nan where they do not tell it.
    """
    slope, error = fit_pairs(mosaic, *step.groups, black_error)
    return replace(step, ev=-math.log2(slope), error=error_ev(slope, error), from_pairs=True)
