"""Counts -> what the network reads: relative radiance, exposure, usable and noise of every site.

The functions take NumPy arrays or torch tensors, whichever the caller has, and return the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .mosaic import ExposurePattern, Mosaic, over_common_period

Array = TypeVar("Array")  # np.ndarray or torch.Tensor: only operators and methods that both have are used

Counts = TypeVar("Counts", float, np.ndarray)

ROUNDING = 1 / 12  # counts squared: the variance of rounding, which no frame goes below
SATURATED, USABLE = 0.99, 0.95  # of the span from black to white: where `usable` reaches 0, and up to where it is 1


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Variance of a site in counts: read_noise ** 2 + gain * signal (Poisson-Gaussian; Foi et al., IEEE TIP 2008).

    Both are one period of any size, starting at site (0, 0), like ExposurePattern.exposure.
    """

    gain: np.ndarray  # (P, Q) float32, counts per electron
    read_noise: np.ndarray  # (P, Q) float32, counts, including the rounding to whole counts

    def __post_init__(self) -> None:
        for name, period in (("gain", self.gain), ("read_noise", self.read_noise)):
            if not isinstance(period, np.ndarray):
                raise TypeError(f"{name} must be a numpy array, not {type(period).__name__}")
            if period.ndim != 2 or not np.isfinite(period).all() or period.min() < 0:
                raise ValueError(f"{name} must be one period, (P, Q), of numbers not below 0")


def saturation_limit(black: Counts, white: Counts) -> Counts:
    """Return the counts at and above which a site is saturated: where `usable` reaches 0."""
    limit: Counts = black + SATURATED * (white - black)
    return limit


def full_scale(mosaic: Mosaic, pattern: ExposurePattern) -> float:
    """Return the counts from black to saturation at the least exposed sites: the fewest that any of them has."""
    exposure, black, white = over_common_period(pattern.exposure, mosaic.black_level, mosaic.white_by_site)
    return float((white - black)[exposure == exposure.min()].min())


def site_planes(
    counts: Array,
    black: Array,
    white: Array,
    exposure: Array,
    least: Array | float,
    gain: Array,
    read_noise: Array,
    full: Array | float | None = None,
) -> tuple[Array, Array, Array]:
    """Return radiance, usable and noise of each site; all arguments broadcast against `counts`.

    counts, black, white, read_noise: counts; gain: counts per electron; exposure: relative, 1.0 = most exposed;
    least: the least exposure; full: `full_scale`, None if all sites have the same span. In radiance and noise (a
    standard deviation), 1.0 is saturation of the least exposed sites; read noise may take radiance below 0. Counts are
    limited to white: more says nothing further, and networks have seen nothing above it. Usable falls from 1 at 95 % to
    0 at 99 % of the span. A hard limit at the white level would come too late: once Poisson noise starts to clip, the
    mean over sites is already too low.

    >>> counts, levels = np.float32([600, 1100]), (100.0, 1100.0, 0.25, 0.25, 0.1, 3.0)
    >>> radiance, usable, noise = site_planes(counts, *levels)
    >>> radiance.tolist(), usable.tolist()
    ([0.5, 1.0], [1.0, 0.0])
    """
    signal, span = counts.clip(max=white) - black, white - black  # type: ignore[attr-defined,operator]
    scale = least / exposure / (span if full is None else full)  # type: ignore[operator]
    usable = ((SATURATED - signal / span) / (SATURATED - USABLE)).clip(0, 1)
    noise = (read_noise**2 + gain * signal.clip(0)) ** 0.5 * scale  # type: ignore[operator]
    return signal * scale, usable, noise


def clipped_share(mosaic: Mosaic, pattern: ExposurePattern, of: float | None = None) -> float:
    """Return the share of the least exposed sites that are saturated, whose light no site of the frame has recorded.

    `of`: another exposure of the pattern, whose sites are counted instead.
    """
    exposure, black, white = over_common_period(pattern.exposure, mosaic.black_level, mosaic.white_by_site)
    period, limit = exposure.shape, saturation_limit(black, white)
    saturated = sites = 0
    for y, x in np.argwhere(exposure == (exposure.min() if of is None else of)):
        plane = mosaic.counts[y :: period[0], x :: period[1]]
        saturated += int((plane >= limit[y, x]).sum())
        sites += plane.size
    return saturated / max(1, sites)
