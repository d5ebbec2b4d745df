"""Highlights of which the sensor lost a channel, mostly green: raised so that they have the colour of what is around.

White-balanced channels clip at different levels. A light that is lost in one of them mostly has a rim, a halo or a
neighbour that is a little darker and lost in none, and of the same colour.
"""

from __future__ import annotations

import numpy as np

CLIP_STARTS = 0.88  # of the clip level: from here on a channel counts as clipped little by little
CLIP_ENDS = 0.98  # below 1, because noise and the network leave a clipped patch a little below its level

CELL_PX = 8  # side of the cells that surroundings are measured in
BRIGHT = 0.7  # of the clip level of the channel that clips first: from here on it tells of highlights beside it
FADING = 8.0  # each time that cells are twice as large, they count as much less
HARDLY = 1e-4  # share of bright pixels in a cell with which surroundings are half believed
MOST_TINT_EV = 2.0  # that surroundings are believed


class Surroundings:
    """By how many EV bright surroundings have more of the channel that clips first than the mean of the other two.

    The mean is the geometric one, and its neighbours' colour is that of their sums over cells of CELL_PX: near ones
    count most, and where there are none, far from all that is not clipped, it is 0.
    """

    def __init__(self, camera_rgb: np.ndarray, gains: np.ndarray, clip_level: float) -> None:
        """Measure camera RGB, (H, W, 3) float32, which `gains`, (3,), balance and which clips at `clip_level`."""
        first = int(np.argsort(gains, kind="stable")[0])
        height, width = camera_rgb.shape[:2]
        sums = np.zeros((4, -(-height // CELL_PX), -(-width // CELL_PX)), np.float32)
        for row, top in enumerate(range(0, height, CELL_PX)):
            strip = camera_rgb[top : top + CELL_PX]
            bright = strip[..., first] > BRIGHT * clip_level
            if not bright.any():
                continue
            for channel in range(3):
                bright &= strip[..., channel] < CLIP_STARTS * clip_level
            for total, values in zip(sums, (*np.moveaxis(strip, 2, 0), 1), strict=True):
                total[row] = np.add.reduceat((values * bright).sum(axis=0), np.arange(0, width, CELL_PX))
        weight = sums[3] / CELL_PX**2
        level = np.log2(np.maximum(sums[:3] * gains[:, None, None], 1e-6 * clip_level))
        tint = np.clip(1.5 * (level[first] - level.mean(axis=0)), -MOST_TINT_EV, MOST_TINT_EV)
        around, weights = _spread(np.stack([tint * weight, weight]))
        self._ev = around / (weights + np.float32(HARDLY))

    def rows(self, top: int, bottom: int, width: int) -> np.ndarray:
        """Return the EV of rows `top` to `bottom` of an image that is `width` px wide, (rows, width) float32."""
        by_row = _between(self._ev, (np.arange(top, bottom) + 0.5) / CELL_PX)
        return _between(by_row.T, (np.arange(width) + 0.5) / CELL_PX).T


def recover_clipped(
    balanced: np.ndarray, gains: np.ndarray, clip_level: float, surroundings_ev: np.ndarray | float = 0.0
) -> np.ndarray:
    """Return white-balanced planes, (3, ...) float32, with clipped highlights free of false colour.

    A clipped channel is a lower bound of what was there, so it is only ever raised. Channels clip at
    `gains * clip_level`; the one with the lowest level (mostly green) clips first and would leave magenta.
    Each is weighted by how clipped it is, w from 0 to 1 between 0.88 and 0.98 of its level, and:

    1. the channel of the middle level is raised towards the mean of the others, or, as the lowest one clips too,
       towards the highest alone;
    2. the channel of the lowest level is raised towards the geometric mean of the other two, times what surroundings
       have it more than that, at most to the highest level of all; without any it lies between the two, which tints
       neither a blue sky nor a warm lamp, and what was neutral stays so;
    3. as all three clip, all are raised to the greatest of them: exactly neutral at the smallest w = 1.

    `surroundings_ev` is of `Surroundings.rows`, (...) float32.

    The result is continuous, never below the input, and grows with each input channel.
    """
    lowest, middle, highest = np.argsort(gains, kind="stable")
    weights = _clipped_weights(balanced, gains, clip_level)
    out = balanced.copy()
    top, low = out[highest], balanced[lowest]
    target = top - 0.5 * (1 - weights[lowest]) * np.maximum(top - low, 0)
    out[middle] += weights[middle] * np.maximum(target - out[middle], 0)
    target = np.sqrt(np.maximum(top, 0) * np.maximum(out[middle], 0)) * np.exp2(surroundings_ev)
    out[lowest] += weights[lowest] * np.maximum(np.minimum(target, gains[highest] * clip_level) - low, 0)
    all_clipped = weights.min(axis=0)
    neutral = out.max(axis=0) * all_clipped
    out *= 1 - all_clipped
    out += neutral  # a sum of products, not a difference: exactly equal channels where all_clipped is 1
    return out


def _clipped_weights(balanced: np.ndarray, gains: np.ndarray, clip_level: float) -> np.ndarray:
    levels = (gains * np.float32(clip_level)).reshape(3, *[1] * (balanced.ndim - 1))
    ramp = np.clip((balanced / levels - np.float32(CLIP_STARTS)) / np.float32(CLIP_ENDS - CLIP_STARTS), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))  # smoothstep


def _spread(cells: np.ndarray) -> np.ndarray:
    """Return cells, (N, h, w), with what lies around added: the less the further away, at twice the distance 1/8."""
    if max(cells.shape[1:]) < 2:
        return cells
    padded = np.pad(cells, [(0, 0), *((0, length % 2) for length in cells.shape[1:])])
    coarse = _spread((padded[:, ::2, ::2] + padded[:, 1::2, ::2] + padded[:, ::2, 1::2] + padded[:, 1::2, 1::2]) / 4)
    for axis in (1, 2):
        lines = np.moveaxis(coarse, axis, 0)
        coarse = np.moveaxis(_between(lines, (np.arange(cells.shape[axis]) + 0.5) / 2), 0, axis)
    return np.asarray(cells + coarse / np.float32(FADING))


def _between(lines: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return lines, (n, ...), interpolated at places, where line i has its centre at i + 0.5: (len(places), ...)."""
    place = np.clip(places - 0.5, 0, len(lines) - 1)
    before = np.minimum(place.astype(np.intp), max(0, len(lines) - 2))
    after = np.minimum(before + 1, len(lines) - 1)
    share = np.float32(place - before).reshape(-1, *[1] * (lines.ndim - 1))
    return np.asarray(lines[before] * (1 - share) + lines[after] * share)
