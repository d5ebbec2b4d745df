"""Bayer mosaic -> three values per pixel without a network: Malvar, He and Cutler's filters, adapted to high range."""

from __future__ import annotations

import numpy as np

from .mosaic import BAYER_ORDERS, cfa_period

BAND_ROWS = 512
OVERSHOOT = 0.35  # half an EV in the logarithm: how far an estimate may leave the range of the samples around it

# Malvar, He and Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color images", ICASSP
# 2004, figure 2. They differ by which neighbours have the wanted colour: a cross, a row, a column, the corners.
CROSS = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
ROW = np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]) / 8
COLUMN = ROW.T
CORNERS = np.array([[0, 0, -3, 0, 0], [0, 4, 0, 4, 0], [-3, 0, 12, 0, -3], [0, 4, 0, 4, 0], [0, 0, -3, 0, 0]]) / 16

KERNELS = {"cross": CROSS, "row": ROW, "column": COLUMN, "corners": CORNERS}
NEAREST = {  # places in the kernel of the nearest sites of the wanted colour
    "cross": ((1, 2), (2, 1), (2, 3), (3, 2)),
    "row": ((2, 1), (2, 3)),
    "column": ((1, 2), (3, 2)),
    "corners": ((1, 1), (1, 3), (3, 1), (3, 3)),
}


def demosaic(radiance: np.ndarray, cfa: str, linear_below: float | None = None) -> np.ndarray:
    """Return camera RGB, (H, W, 3) float32, of a Bayer mosaic of radiance, (H, W); the sampled values stay as they are.

    The filters of Malvar, He and Cutler (2004) assume that one colour has the gradients of another. In high dynamic
    range that holds for ratios, not differences: next to a light source they ring by more than the shadows' level. With
    `linear_below` they therefore run on asinh(radiance / linear_below), which is logarithmic above that level and
    linear below it, so that noise around zero stays unbiased; use about three times the noise of the darkest sites.
    Estimates are then limited to within half an EV of the nearest samples of their colour, because an overshoot in the
    logarithm is a factor, and a large one at a lamp's edge. None: plain filters.

    Raises ValueError for a CFA that is not one of the four Bayer orders, or a mosaic below 4 px a side.

    >>> demosaic(np.full((4, 4), 2.0), "GRBG")[1, 2].tolist()
    [2.0, 2.0, 2.0]
    """
    if cfa not in BAYER_ORDERS:
        raise ValueError(f"{cfa!r} is no Bayer order: one of {', '.join(BAYER_ORDERS)}")
    if radiance.ndim != 2 or min(radiance.shape) < 4:
        raise ValueError(f"radiance must be (H, W), 4 px a side or more, not {radiance.shape}")
    scale = linear_below or 1.0
    values = np.asarray(radiance, np.float32)
    curved = values if linear_below is None else np.arcsinh(values / np.float32(scale))
    padded = np.pad(curved, 2, mode="reflect")  # reflection about a site keeps the colours in step
    rgb = np.zeros((*values.shape, 3), np.float32)
    for top in range(0, values.shape[0], BAND_ROWS):  # even, so that every band starts with the same CFA row
        _fill_band(rgb[top : top + BAND_ROWS], padded[top : top + BAND_ROWS + 4], cfa, limited=linear_below is not None)
    if linear_below is not None:
        np.sinh(rgb, out=rgb)
        rgb *= np.float32(scale)
    letters = cfa_period(cfa)
    for y, x in np.ndindex(2, 2):
        rgb[y::2, x::2, "RGB".index(str(letters[y, x]))] = values[y::2, x::2]
    return rgb


def _fill_band(rgb: np.ndarray, padded: np.ndarray, cfa: str, limited: bool) -> None:
    letters = cfa_period(cfa)
    for y, x in np.ndindex(2, 2):
        shape = rgb[y::2, x::2].shape[:2]
        if 0 in shape:
            continue
        here = letters[y, x]
        for channel, wanted in enumerate("RGB"):
            if wanted == here:
                continue
            if wanted == "G":
                around = "cross"
            elif here == "G":
                around = "row" if letters[y, 1 - x] == wanted else "column"
            else:
                around = "corners"
            estimate = _filtered(padded, KERNELS[around], y, x, shape)
            if limited:
                nearest = [padded[y + dy :: 2, x + dx :: 2][: shape[0], : shape[1]] for dy, dx in NEAREST[around]]
                low, high = np.minimum.reduce(nearest) - OVERSHOOT, np.maximum.reduce(nearest) + OVERSHOOT
                np.clip(estimate, low, high, out=estimate)
            rgb[y::2, x::2, channel] = estimate


def _filtered(padded: np.ndarray, kernel: np.ndarray, y: int, x: int, shape: tuple[int, ...]) -> np.ndarray:
    """Apply a 5 x 5 kernel at every second site from (y, x) on; `padded` has two sites more on each side."""
    total = np.zeros(shape, np.float32)
    for dy, dx in np.argwhere(kernel):
        sites = padded[y + dy :: 2, x + dx :: 2][: shape[0], : shape[1]]
        total += np.float32(kernel[dy, dx]) * sites
    return total
