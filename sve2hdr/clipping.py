"""Highlights in which a channel, mostly green, is clipped: it is raised to give them the colour of their surroundings.

White-balanced channels clip at different levels. A light that clips one of them mostly has a rim, a halo or a neighbour
of the same colour that is slightly darker and clips none.
"""

from __future__ import annotations

import numpy as np

CLIP_STARTS = 0.88  # of the clip level: above this a channel gradually counts as clipped
CLIP_ENDS = 0.98  # below 1, because noise and the network leave a clipped patch a little below its level

CELL_PX = 8  # side of the cells in which surroundings are measured
BRIGHT = 0.7  # of the clip level of the channel that clips first: brighter pixels show the colour of nearby highlights
DIM = 0.35  # of the same: pixels from here to BRIGHT show what is mixed into bright ones
FADES_EV = 0.2  # of tint from dim to bright: fading by more goes on in highlights; less is chance, as in grass
FADING = 8.0  # cells that are twice as large count less by this factor
HARDLY = 1e-4  # share of bright pixels in a cell at which surroundings count half
MOST_TINT_EV, MOST_RATIO_EV = 2.0, 4.0  # the values of surroundings are limited to these
UNSEEN_EV = 0.5  # by which a clipped channel may have been brighter
ALIKE_EV, ALIKE_SHARE = 0.25, 0.3  # colours that differ by the sum of this and this share of their ratio hardly match


class Surroundings:
    """The colour of bright things, above all of near ones; far from anything unclipped it is unknown.

    It is held as the tint, the EV by which the channel that clips first exceeds the geometric mean of the other two,
    and the ratio of these two in EV. Both are measured on sums over cells of CELL_PX. Beside clipped pixels, a tint
    that fades from dim to bright is extrapolated.
    """

    def __init__(self, camera_rgb: np.ndarray, gains: np.ndarray, clip_level: float) -> None:
        """Measure camera RGB, (H, W, 3) float32, that clips at `clip_level` and is balanced by `gains`, (3,)."""
        first, *self._others = np.argsort(gains, kind="stable").tolist()
        height, width = camera_rgb.shape[:2]
        starts = np.arange(0, width, CELL_PX)
        sums = np.zeros((2, 4, -(-height // CELL_PX), len(starts)), np.float32)  # of what is bright, and what is dim
        clips = np.zeros(sums.shape[2:], bool)
        for row, top in enumerate(range(0, height, CELL_PX)):
            strip = camera_rgb[top : top + CELL_PX]
            bright = strip[..., first] > BRIGHT * clip_level
            if not bright.any():
                continue
            dim = (strip[..., first] > DIM * clip_level) & ~bright
            for channel in range(3):
                below = strip[..., channel] < CLIP_STARTS * clip_level
                bright &= below
                dim &= below
                if channel == first:
                    clips[row] = np.logical_or.reduceat(~below.all(axis=0), starts)
            for totals, chosen in zip(sums, (bright, dim), strict=True):
                for total, values in zip(totals, (*np.moveaxis(strip, 2, 0), 1), strict=True):
                    total[row] = np.add.reduceat((values * chosen).sum(axis=0), starts)
        weight = sums[0, 3] / CELL_PX**2
        levels = np.log2(np.maximum(sums[:, :3] * gains[:, None, None], 1e-6 * clip_level))
        tint, tint_of_dim = np.clip(1.5 * (levels[:, first] - levels.mean(axis=1)), -MOST_TINT_EV, MOST_TINT_EV)
        weight[clips & (tint < 0)] = 0  # beside clipped pixels that channel is too low already, as in a pink edge
        # A leaf's edge against the sky mixes both: the brighter it is, the less green, and the sky is less green still.
        tint = np.where(clips, np.maximum(tint - np.maximum(tint_of_dim - tint - FADES_EV, 0), 0), tint)
        middle, highest = (levels[0, channel] for channel in self._others)
        ratio = np.clip(highest - middle, -MOST_RATIO_EV, MOST_RATIO_EV)
        tint, ratio, weights = _spread(_blurred(np.stack([tint * weight, ratio * weight, weight])))
        self._tint, self._ratio = tint / (weights + np.float32(HARDLY)), ratio / np.maximum(weights, np.float32(1e-30))
        self._clip_levels = [float(gains[channel] * clip_level) for channel in self._others]

    def part(self, balanced: np.ndarray, top: int, left: int) -> np.ndarray:
        """Return the tint in EV, (h, w) float32, for planes, (3, h, w) float32, that start at row `top`, column `left`.

        It nears 0 where the other two channels show another colour than the surroundings: snow beside a green coat.
        """
        down, across = (
            (np.arange(count) + first + 0.5) / CELL_PX
            for count, first in zip(balanced.shape[1:], (top, left), strict=True)
        )
        tint, ratio = (_between(_between(values, down).T, across).T for values in (self._tint, self._ratio))
        (middle, middle_clips), (highest, highest_clips) = (
            (np.log2(np.maximum(balanced[channel], np.float32(1e-6))), clipped_weight(balanced[channel], level))
            for channel, level in zip(self._others, self._clip_levels, strict=True)
        )
        off = highest - middle - ratio
        clips = np.where(off > 0, middle_clips, highest_clips)  # it may have been brighter, by UNSEEN_EV
        off = np.maximum(np.abs(off) - np.float32(UNSEEN_EV) * clips, 0)
        width = np.float32(ALIKE_EV) + np.float32(ALIKE_SHARE) * np.abs(ratio)
        return np.asarray(tint * np.exp(-((off / width) ** 2)))


def recover_clipped(
    balanced: np.ndarray, gains: np.ndarray, clip_level: float, surroundings_ev: np.ndarray | float = 0.0
) -> np.ndarray:
    """Return white-balanced planes, (3, ...) float32, with clipped highlights free of false colour.

    A clipped channel is a lower bound of the true value, so it is only ever raised. Channels clip at
    `gains * clip_level`; the one with the lowest level (mostly green) clips first and would leave magenta.
    Each step is weighted by w, which tells how clipped a channel is, from 0 at 0.88 to 1 at 0.98 of its level:

    1. The channel with the middle level is raised towards the mean of the others or, as the lowest one clips too,
       towards the highest alone.
    2. The channel with the lowest level is raised towards the geometric mean of the other two times the tint of the
       surroundings, at most to the highest level of all. Without a tint it lies between the two, which tints neither a
       blue sky nor a warm lamp and keeps neutrals neutral.
    3. As all three clip, all are raised to the greatest of them: exactly neutral where the smallest w is 1.

    `surroundings_ev` is the result of `Surroundings.part`, (...) float32.

    The result is continuous, never below the input, and grows with each input channel.
    """
    lowest, middle, highest = np.argsort(gains, kind="stable")
    weights = clipped_weight(balanced, (gains * np.float32(clip_level)).reshape(3, *[1] * (balanced.ndim - 1)))
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


def clipped_weight(values: np.ndarray, level: np.ndarray | float) -> np.ndarray:
    """Return how clipped each value is, (...) from 0 to 1, if it clips at `level`: smooth, because noise blurs it."""
    ramp = np.clip((values / level - np.float32(CLIP_STARTS)) / np.float32(CLIP_ENDS - CLIP_STARTS), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def _blurred(cells: np.ndarray) -> np.ndarray:
    """Return cells, (N, h, w), blurred by a tent of four cells, so that shifts by a few pixels change little."""
    for axis in (1, 2):
        for _ in range(2):
            lines = np.moveaxis(cells, axis, 0)
            before, after = np.concatenate([lines[:1], lines[:-1]]), np.concatenate([lines[1:], lines[-1:]])
            cells = np.moveaxis((before + 2 * lines + after) / 4, 0, axis)
    return cells


def _spread(cells: np.ndarray) -> np.ndarray:
    """Return cells, (N, h, w), plus what lies around them: the further away the less, 1/8 at twice the distance."""
    if max(cells.shape[1:]) < 2:
        return cells
    padded = np.pad(cells, [(0, 0), *((0, length % 2) for length in cells.shape[1:])])
    coarse = _spread((padded[:, ::2, ::2] + padded[:, 1::2, ::2] + padded[:, ::2, 1::2] + padded[:, 1::2, 1::2]) / 4)
    for axis in (1, 2):
        lines = np.moveaxis(coarse, axis, 0)
        coarse = np.moveaxis(_between(lines, (np.arange(cells.shape[axis]) + 0.5) / 2), 0, axis)
    return np.asarray(cells + coarse / np.float32(FADING))


def _between(lines: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return lines, (n, ...), interpolated at places: (len(places), ...). Line i has its centre at i + 0.5."""
    place = np.clip(places - 0.5, 0, len(lines) - 1)
    before = np.minimum(place.astype(np.intp), max(0, len(lines) - 2))
    after = np.minimum(before + 1, len(lines) - 1)
    share = np.float32(place - before).reshape(-1, *[1] * (lines.ndim - 1))
    return np.asarray(lines[before] * (1 - share) + lines[after] * share)
