"""Two raws of one scene against each other: exposure step, shift of the camera, change of the scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..mosaic import SIGMA_OF_MAD, Mosaic, cfa_period, repeated

NEARLY_SATURATED = 0.85  # of the span from black to white: below every camera's true clipping
BLOCK_CELLS = 8  # Bayer cells along each side of a block
MIN_BLOCKS = 16
TILE_CELLS, SEARCH_CELLS = 512, 48
MIN_CORRELATION = 0.15


@dataclass(frozen=True)
class PairMeasure:
    """What the pixels say of a brighter frame and a darker one."""

    step_ev: float  # by how much the first is brighter
    shift_px: tuple[float, float] | None  # sites (down, right) that the second's picture lies off; None: too flat
    turned: bool  # parts of the frame are shifted differently: a rotation, a zoom, or large things that moved
    changed_share: float  # of the blocks that both frames expose well: brightness differs though the step is taken off


def green_plane(frame: Mosaic) -> np.ndarray:
    """Return the mean green of every Bayer cell, (H // 2, W // 2) float32: 0 at black, 1 at white, 1 where one clips.

    >>> frame = Mosaic(np.full((4, 4), 60, np.uint16), "RGGB", np.float32([[10]]), 110.0, np.eye(3))
    >>> green_plane(frame).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
    total = np.zeros((height // 2, width // 2), np.float32)
    clipped = np.zeros(total.shape, bool)
    black = repeated(frame.black_level, (2, 2))
    for y, x in np.argwhere(cfa_period(frame.cfa) == "G"):
        signal = (frame.counts[y:height:2, x:width:2] - black[y, x]) / np.float32(frame.white_level - black[y, x])
        total += signal / 2
        clipped |= signal >= NEARLY_SATURATED
    total[clipped] = 1
    return total


def measure_pair(brighter: np.ndarray, darker: np.ndarray) -> PairMeasure | None:
    """Return exposure step, shift and change between two green planes; None where no part is well exposed in both."""
    means = [_block_means(plane) for plane in (brighter, darker)]
    clean = _block_means((brighter >= NEARLY_SATURATED).astype(np.float32)) == 0
    for floor in (0.1, 0.02, 0.004):  # the brighter the blocks, the smaller the error of the black level
        good = clean & (means[0] > floor)
        if good.sum() >= MIN_BLOCKS:
            break
    else:
        return None
    ratio = float(np.median(means[1][good] / means[0][good]))
    if ratio <= 0:
        return None
    judged = clean & (means[0] > 0.02) & (means[0] * ratio > 0.005)
    deviation = means[1][judged] / (means[0][judged] * ratio) - 1
    changed = float((np.abs(deviation) > 0.25).mean()) if judged.sum() >= 4 * MIN_BLOCKS else 0.0
    shifts = _tile_shifts(*_alike(brighter, darker, ratio))
    if not shifts.size:
        return PairMeasure(-np.log2(ratio), None, False, changed)
    middle = np.median(shifts, axis=0)
    stray = np.hypot(*(shifts - middle).T) > 0.75
    shift = (2 * float(middle[0]), 2 * float(middle[1]))  # a cell is two sites
    return PairMeasure(-np.log2(ratio), shift, bool(stray.sum() >= 2), changed)


def _block_means(plane: np.ndarray) -> np.ndarray:
    rows, columns = (side // BLOCK_CELLS for side in plane.shape)
    blocks = plane[: rows * BLOCK_CELLS, : columns * BLOCK_CELLS].reshape(rows, BLOCK_CELLS, columns, BLOCK_CELLS)
    means: np.ndarray = blocks.mean(axis=(1, 3))
    return means


def _alike(brighter: np.ndarray, darker: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Bring two exposures to one scale, one clipping level and logarithmic contrast."""
    common = [np.minimum(plane, NEARLY_SATURATED) for plane in (brighter, darker / np.float32(ratio))]
    steps = np.diff(common[1][::4], axis=1)
    noise = SIGMA_OF_MAD * float(np.median(np.abs(steps))) if steps.size else 0.0
    floor = np.float32(max(0.004, 2 * noise))
    first, second = (np.log(floor + np.maximum(plane, 0)) for plane in common)
    return first, second


def _tile_shifts(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the shifts, (n, 2) cells, of those of five tiles (centre, corners) that have texture to tell."""
    height, width = (min(TILE_CELLS, side) for side in first.shape)
    bottom, right = first.shape[0] - height, first.shape[1] - width
    corners = {(bottom // 2, right // 2), (0, 0), (0, right), (bottom, 0), (bottom, right)}
    tiles = [(slice(y, y + height), slice(x, x + width)) for y, x in sorted(corners)]
    found = [_shift(first[tile], second[tile]) for tile in tiles]
    return np.array([shift for shift in found if shift is not None])


def _shift(first: np.ndarray, second: np.ndarray) -> tuple[float, float] | None:
    """Return where the correlation of two pictures' gradients peaks, to a fraction of a pixel; None if unclear.

    Correlation in the Fourier domain, weighted with |f|^2 (gradients) and a Gaussian against noise; the peak is refined
    by a parabola along each axis.
    """
    window = np.hanning(first.shape[0])[:, None] * np.hanning(first.shape[1])[None, :]
    fy, fx = np.fft.fftfreq(first.shape[0])[:, None], np.fft.rfftfreq(first.shape[1])[None, :]
    frequency2 = fy**2 + fx**2
    weight = frequency2 * np.exp(-frequency2 / (2 * 0.15**2))
    spectra = [np.fft.rfft2((tile - tile.mean()) * window) for tile in (first, second)]
    energy = [np.fft.irfft2(weight * np.abs(spectrum) ** 2, s=first.shape)[0, 0] for spectrum in spectra]
    if min(energy) <= 0:
        return None
    surface = np.fft.irfft2(weight * np.conj(spectra[0]) * spectra[1], s=first.shape) / np.sqrt(energy[0] * energy[1])
    reach_y, reach_x = (min(SEARCH_CELLS, side // 4) for side in first.shape)
    near = np.roll(surface, (reach_y + 1, reach_x + 1), axis=(0, 1))[: 2 * reach_y + 3, : 2 * reach_x + 3]
    y, x = np.unravel_index(int(near[1:-1, 1:-1].argmax()), (2 * reach_y + 1, 2 * reach_x + 1))
    peak = near[y : y + 3, x : x + 3]
    if peak[1, 1] < max(MIN_CORRELATION, 5 * SIGMA_OF_MAD * float(np.median(np.abs(surface)))):
        return None
    return float(y - reach_y + _parabola(peak[:, 1])), float(x - reach_x + _parabola(peak[1]))


def _parabola(values: np.ndarray) -> float:
    before, here, after = (float(v) for v in values)
    curvature = before - 2 * here + after
    return 0.5 * (before - after) / curvature if curvature < 0 else 0.0
