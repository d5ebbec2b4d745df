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
DIM = 0.35  # of it: from here on, up to BRIGHT, it tells what is mixed into what is bright
FADES_EV = 0.2  # of tint, from dim to bright: colour that fades by more goes on to; less is chance, as in grass
FADING = 8.0  # each time that cells are twice as large, they count as much less
HARDLY = 1e-4  # share of bright pixels in a cell with which surroundings are half believed
MOST_TINT_EV, MOST_RATIO_EV = 2.0, 4.0  # that surroundings are believed
UNSEEN_EV = 0.5  # that a channel which clips may have been more
ALIKE_EV, ALIKE_SHARE = 0.25, 0.3  # colours that differ by so much, and that share of theirs, are hardly the same


class Surroundings:
    """What colour bright things have, near ones above all; far from all that is not clipped, it is unknown.

    Of the channel that clips first, by how many EV it is above the geometric mean of the other two; and how these two
    compare. Both are of sums over cells of CELL_PX. Beside what clips, colour that fades from dim to bright goes on to.
    """

    def __init__(self, camera_rgb: np.ndarray, gains: np.ndarray, clip_level: float) -> None:
        """Measure camera RGB, (H, W, 3) float32, which `gains`, (3,), balance and which clips at `clip_level`."""
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
        weight[clips & (tint < 0)] = 0  # beside what clips, that channel is missing already, as in a pink edge
        # A leaf's edge before the sky is a mixture of both, the less green the brighter it is: the sky has less still.
        tint = np.where(clips, np.maximum(tint - np.maximum(tint_of_dim - tint - FADES_EV, 0), 0), tint)
        middle, highest = (levels[0, channel] for channel in self._others)
        ratio = np.clip(highest - middle, -MOST_RATIO_EV, MOST_RATIO_EV)
        tint, ratio, weights = _spread(_blurred(np.stack([tint * weight, ratio * weight, weight])))
        self._tint, self._ratio = tint / (weights + np.float32(HARDLY)), ratio / np.maximum(weights, np.float32(1e-30))
        self._clip_levels = [float(gains[channel] * clip_level) for channel in self._others]

    def part(self, balanced: np.ndarray, top: int, left: int) -> np.ndarray:
        """Return the EV, (h, w) float32, for planes, (3, h, w) float32, of the image from row `top`, column `left` on.

        It is 0 where the other two channels say that the colour is not that of the surroundings: snow by a green coat.
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
        clips = np.where(off > 0, middle_clips, highest_clips)  # of it there was more, perhaps UNSEEN_EV
        off = np.maximum(np.abs(off) - np.float32(UNSEEN_EV) * clips, 0)
        width = np.float32(ALIKE_EV) + np.float32(ALIKE_SHARE) * np.abs(ratio)
        return np.asarray(tint * np.exp(-((off / width) ** 2)))


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

    `surroundings_ev` is of `Surroundings.part`, (...) float32.

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
    """Return how clipped each value is that clips at `level`, (...) from 0 to 1: smooth, as noise blurs it."""
    ramp = np.clip((values / level - np.float32(CLIP_STARTS)) / np.float32(CLIP_ENDS - CLIP_STARTS), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def _blurred(cells: np.ndarray) -> np.ndarray:
    """Return cells, (N, h, w), as tents of four cells on end have them: what moves by some pixels changes little."""
    for axis in (1, 2):
        for _ in range(2):
            lines = np.moveaxis(cells, axis, 0)
            before, after = np.concatenate([lines[:1], lines[:-1]]), np.concatenate([lines[1:], lines[-1:]])
            cells = np.moveaxis((before + 2 * lines + after) / 4, 0, axis)
    return cells


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
