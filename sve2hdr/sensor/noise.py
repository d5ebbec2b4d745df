"""The noise of each exposure, measured on the frame itself."""

from __future__ import annotations

import numpy as np

from ..mosaic import ExposurePattern, Mosaic, cfa_period, common_period, repeated
from ..radiance import ROUNDING, NoiseModel, saturation_limit

BLOCK = (2, 10)  # rows and columns of a block of sites of one phase: few rows, because those of a phase lie far apart
QUANTILE, QUANTILE_Z = 0.1, -1.2816  # of the block variances at one level: the blocks with least texture
# that quantile of chi-square(n) / n (Wilson and Hilferty, 1931) for the n independent differences of a block; the
# second differences taken here overlap, which leaves about half as many independent ones
_SPREAD = 2 / (9 * BLOCK[0] * (BLOCK[1] - 2) / 2)
QUANTILE_BIAS, MEDIAN_BIAS = (1 - _SPREAD + QUANTILE_Z * np.sqrt(_SPREAD)) ** 3, (1 - _SPREAD) ** 3

# So that texture is not mistaken for noise, each doubling away from a usual sensor has a cost, weighed against how well
# the model explains the signal levels.
USUAL_FULL_WELL_E, USUAL_READ_NOISE_E = 30_000.0, 4.0
PREAMP_SHARE = 0.3  # of the usual read noise arises before the amplifier and so grows with its gain
PRIOR = 0.01
MULTIPLES = np.geomspace(1 / 16, 16, 33)  # of a usual sensor's read noise
ONE_SENSOR = 0.1  # cost of each doubling by which an exposure that shows no noise differs from the common multiple
ENOUGH_LEVELS = 3.0  # signal levels, weighted by trust: with fewer, the usual sensor decides
TEXTURE_SPREAD = 0.2  # log ratio of median to flattest variance from which on nothing is taken for noise
# The variances of a regular texture, such as a checkerboard, lie close together, too. But its differences in a block
# are distributed unlike noise (squared mean of magnitudes over mean of squares; Geary, 1935), or correlated unlike it.
# A level further than OFF from NOISE_LIKE in either is trusted less, one twice as far not at all.
NOISE_LIKE, OFF = np.array([0.66, -0.58]), 0.05
ROUNDED = 6 * ROUNDING  # variance up to which rounding to whole counts dominates both measures
LEAST_SQUARE = 1e-9


def estimate_noise(mosaic: Mosaic, pattern: ExposurePattern) -> NoiseModel:
    """Return gain and read noise of each exposure, from the photon transfer of the frame's flattest blocks.

    Within one phase of the cell, second differences along rows cancel what is smooth. At each signal level a low
    quantile of the blocks' variances, corrected for its bias, is taken as noise alone (after Foi et al., "Practical
    Poissonian-Gaussian noise modeling and fitting", IEEE TIP 2008, with blocks in place of wavelets). All exposures
    share one sensor: their gains are equal (more light) or in the ratio of the exposures (Dual ISO), whichever fits
    better. Their read noise is a usual sensor's times a common factor, which stays near 1 unless they show otherwise;
    the less noise an exposure shows, the closer its own stays to that. A frame that shows too little (too small,
    saturated, without light) is given the usual sensor's noise.
    """
    return measured_noise(mosaic, pattern)[0]


def measured_noise(
    mosaic: Mosaic, pattern: ExposurePattern, read_noise: np.ndarray | None = None
) -> tuple[NoiseModel, bool]:
    """Return what `estimate_noise` does, and whether the frame showed enough noise to measure.

    `read_noise`, (P, Q) counts: if it is known, as from masked sites, only the gain is estimated. Here, read noise
    excludes rounding, because a usual sensor's noise does not depend on bit depth.
    """
    known = np.ones((1, 1)) if read_noise is None else np.sqrt(np.maximum(read_noise**2 - ROUNDING, 0))
    period = common_period(cfa_period(mosaic.cfa), pattern.exposure, mosaic.black_level, known)
    exposure = pattern.over(period)
    span = mosaic.white_level - float(mosaic.black_level.mean())
    levels = np.unique(exposure)
    curves = []
    for level in levels:
        sites = np.argwhere(exposure == level)
        blocks = [_block_statistics(mosaic, (int(y), int(x)), period) for y, x in sites]
        curves.append(_photon_transfer(*(np.concatenate(values, -1) for values in zip(*blocks, strict=True))))
    base_gain = span / USUAL_FULL_WELL_E * np.geomspace(1 / 16, 64, 41)
    reads = [None if read_noise is None else _root_mean_square(repeated(known, period)[exposure == e]) for e in levels]
    measured = list(zip(curves, levels, reads, strict=True))
    by_gain = [_fit(curve, base_gain, float(e / levels[0]), read) for curve, e, read in measured]
    by_exposure = [_fit(curve, base_gain, 1.0, read) for curve, _, read in measured]
    prior = PRIOR * np.log2(base_gain * USUAL_FULL_WELL_E / span) ** 2
    if read_noise is None:  # or texture in all exposures would drive the common multiple away
        prior = prior + PRIOR * np.log2(MULTIPLES[:, None]) ** 2
    costs = [prior + sum(cost for cost, _ in fits) / len(fits) for fits in (by_exposure, by_gain)]
    scaled = bool(costs[1].min() <= costs[0].min())
    multiple, best = np.unravel_index(np.argmin(costs[scaled]), costs[scaled].shape)
    gain, noise = np.zeros(period, np.float32), np.zeros(period, np.float32)
    for level, (_, read) in zip(levels, (by_exposure, by_gain)[scaled], strict=True):
        gain[exposure == level] = base_gain[best] * (level / levels[0] if scaled else 1)
        noise[exposure == level] = read[multiple, best]
    shown = sum(float(trust.sum()) for _, _, trust in curves)
    if read_noise is not None:
        noise = repeated(known, period).astype(np.float32)
    return NoiseModel(gain, np.sqrt(noise**2 + np.float32(ROUNDING))), shown >= ENOUGH_LEVELS


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _block_statistics(
    mosaic: Mosaic, phase: tuple[int, int], period: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean signal above black and noise variance, in counts, of one phase's unsaturated blocks, (N,).

    The third array, (2, N), holds the two measures that are `NOISE_LIKE` for noise.
    """
    plane = mosaic.counts[phase[0] :: period[0], phase[1] :: period[1]]
    step = max(1, plane.shape[0] // BLOCK[0] // 240)  # at most 240 to 480 rows of blocks: more changes nothing
    rows = [plane[y : y + BLOCK[0]] for y in range(0, plane.shape[0] - BLOCK[0] + 1, step * BLOCK[0])]
    columns = plane.shape[1] // BLOCK[1] * BLOCK[1]
    if not rows or not columns:
        return np.empty(0), np.empty(0), np.empty((2, 0))
    # blocks on the last axis, so that operations run along them
    blocks = np.stack(rows)[:, :, :columns].reshape(len(rows), BLOCK[0], -1, BLOCK[1]).transpose(1, 3, 0, 2)
    blocks = blocks.astype(np.float32, order="C")
    difference = blocks[:, 1:-1] - (blocks[:, :-2] + blocks[:, 2:]) / 2
    black = float(repeated(mosaic.black_level, (phase[0] + 1, phase[1] + 1))[phase])
    white = float(repeated(mosaic.white_by_site, (phase[0] + 1, phase[1] + 1))[phase])
    good = (blocks.max((0, 1)) < saturation_limit(black, white)) & (blocks.min((0, 1)) > 0)
    square, magnitude = (difference**2).mean((0, 1)), np.abs(difference).mean((0, 1))
    likeness = np.stack([magnitude**2, (difference[:, 1:] * difference[:, :-1]).mean((0, 1))])
    likeness /= np.maximum(square, LEAST_SQUARE)
    return (blocks.mean((0, 1)) - black)[good], (square / 1.5)[good], likeness[:, good]


def _photon_transfer(
    signal: np.ndarray, variance: np.ndarray, likeness: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return signal levels, the variance of the flattest blocks at each, and the trust, 0 to 1, that it is noise."""
    if len(signal) < 8:
        return np.empty(0), np.empty(0), np.empty(0)
    edges = np.quantile(signal, np.linspace(0, 1, min(24, len(signal) // 8) + 1))
    which = np.clip(np.searchsorted(edges, signal, side="right") - 1, 0, len(edges) - 2)
    bins = [which == b for b in range(len(edges) - 1) if (which == b).sum() >= 4]
    level = np.array([np.median(signal[b]) for b in bins])
    flattest, middle = (np.array([np.quantile(variance[b], q) for b in bins]) for q in (QUANTILE, 0.5))
    # the variances of noise alone lie close together, those of texture far apart
    spread = np.log(np.maximum(middle, ROUNDING) / MEDIAN_BIAS / np.maximum(flattest, ROUNDING) * QUANTILE_BIAS)
    trust = np.clip(1 - spread / TEXTURE_SPREAD, 0, 1)
    alike = np.array([likeness[:, b & (variance <= m)].mean(1) for b, m in zip(bins, middle, strict=True)])
    off = np.abs(alike - NOISE_LIKE).max(1) / OFF
    trust *= np.where(flattest > ROUNDED, np.clip(2 - off, 0, 1), 1)
    return np.maximum(level, 0), np.maximum(flattest / QUANTILE_BIAS, ROUNDING), trust


def _fit(
    curve: tuple[np.ndarray, np.ndarray, np.ndarray], base_gain: np.ndarray, amplified: float, known: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least cost of the read noise of an exposure, and that read noise in counts, both (MULTIPLES, gains).

    MULTIPLES are common to all exposures: the further this one deviates, the more it costs, unless its levels are
    trusted. `amplified`: the gain of these sites over the base gain; `known`: the read noise in counts, if known.
    """
    level, variance, trust = curve
    gain = base_gain * amplified
    usual = base_gain * USUAL_READ_NOISE_E * np.hypot(PREAMP_SHARE * amplified, np.sqrt(1 - PREAMP_SHARE**2))
    read = usual * MULTIPLES[:, None] if known is None else np.full((1, base_gain.size), known)
    hidden = 0.0 if known is None else ROUNDING  # rounding hides read noise below it at masked sites
    doublings = np.log2(read**2 + hidden) / 2
    cost = PRIOR / 2 * (doublings - np.log2(usual**2 + hidden) / 2) ** 2
    if len(level):
        model = read[..., None] ** 2 + gain[:, None] * level + ROUNDING
        # texture only adds variance: a level above the model says little, one below it contradicts it
        excess = np.log(variance / model)
        cost = cost + np.where(excess > 0, trust * excess, -4 * excess).mean(-1)
    hold = ONE_SENSOR * (1 - trust.sum() / max(1, len(level))) ** 2
    costs = cost + hold * (doublings - doublings[:, None]) ** 2  # (together, own, gains)
    return costs.min(1), np.take_along_axis(read, costs.argmin(1), 0)
