"""Validity-weighted linear interpolation: a reconstruction without learning, which every other must beat."""

from __future__ import annotations

import numpy as np

from .mosaic import ExposurePattern, Mosaic, cfa_period, repeated
from .radiance import full_scale, site_planes

REACH = (1, 2, 4, 8)  # px; each colour comes from the smallest square with usable sites of it
ENOUGH = 0.05  # total weight of sites below which the next larger square is used


def _tent_sum(plane: np.ndarray, reach: int) -> np.ndarray:
    """Return the convolution of a plane, (H, W), with a separable tent that is 0 at `reach` + 1 px; 0 outside."""
    taps = 1 - np.abs(np.arange(-reach, reach + 1, dtype=np.float32)) / (reach + 1)
    for axis in (0, 1):
        width = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
        padded, n = np.pad(plane, width), plane.shape[axis]
        shifted = (tap * np.take(padded, np.arange(i, i + n), axis) for i, tap in enumerate(taps))
        plane = sum(shifted, start=np.zeros((), np.float32))
    return plane


def interpolate(mosaic: Mosaic, pattern: ExposurePattern) -> np.ndarray:
    """Return camera RGB, (H, W, 3) float32, 1.0 = saturation of the most exposed sites.

    Every pixel and colour is the mean of the sites of that colour around it, weighted by a tent (bilinear where
    the CFA is regular) and by validity: saturated sites do not count, all others count the same (with weights by
    exposure only half of the rows would count, and scores would be lower). If no site in reach is valid, the least
    exposed ones decide.
    """
    shape = mosaic.shape
    exposure, least = pattern.over(shape), pattern.exposure.min()
    black, white = repeated(mosaic.black_level, shape), repeated(mosaic.white_by_site, shape)
    noiseless, full = np.float32(0), np.float32(full_scale(mosaic, pattern))
    radiance, usable, _ = site_planes(
        mosaic.counts.astype(np.float32), black, white, exposure, least, noiseless, noiseless, full
    )
    letters = repeated(cfa_period(mosaic.cfa), shape)
    last_resort = 1e-4 * (least / exposure) ** 2
    result = np.empty((*shape, 3), np.float32)
    for c, letter in enumerate("RGB"):
        of_colour = letters == letter
        value, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for reach in REACH:
            certainty = of_colour * (usable + (last_resort if reach == REACH[-1] else 0))
            total = _tent_sum(certainty, reach)
            missing = (weight < ENOUGH) & (total > 0)
            value[missing] = _tent_sum(certainty * radiance, reach)[missing] / total[missing]
            weight[missing] = total[missing]
        result[..., c] = value
    return result / np.float32(least)
