"""Highlights that clip even at the least exposed sites: held at the level where these clip, so they can become neutral.

All methods, above all networks, guess there, and where green is guessed slightly too low the result is pink.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from .mosaic import ExposurePattern, Mosaic, cfa_period, common_period, over_common_period, repeated
from .radiance import saturation_limit

STRIP_ROWS = 64  # worked on at a time: the temporaries stay in the processor's cache
SURROUNDED = 0.6  # share of clipped sites around a pixel, weighted by distance, from which it is drawn to clipping
COLOURED = 0.7  # of the clip level: magenta below this is a colour of the scene, not made by clipping
BESIDE = 1 / 3  # share of clipped sites of a colour around a pixel, weighted likewise, at which it lacks that colour


class _ClippedSites:
    """Which of the least exposed sites of a mosaic clip, and what share of them around each pixel."""

    def __init__(self, mosaic: Mosaic, pattern: ExposurePattern) -> None:
        letters = cfa_period(mosaic.cfa)
        white, black = mosaic.white_by_site, mosaic.black_level
        self._period = common_period(letters, pattern.exposure, white, black)
        self._reach = common_period(letters, pattern.exposure)  # a site of every kind lies within it, either way
        letters, white, black, exposure = (repeated(p, self._period) for p in (letters, white, black, pattern.exposure))
        least = exposure == exposure.min()
        over_strip = (self._period[0] + STRIP_ROWS + 2 * self._reach[0], mosaic.shape[1])
        self._limit = repeated(np.where(least, saturation_limit(black, white), np.inf), over_strip)
        self._sites = {letter: repeated(least & (letters == letter), over_strip) for letter in "RGB"}
        self._counted: dict[tuple[int, int, str], np.ndarray] = {}  # the same for most strips
        self._counts = mosaic.counts

    def shares(self, top: int, letters: str) -> Iterator[np.ndarray]:
        """Yield for each colour the share of clipped sites around each pixel of the strip from row `top` on, (h, W).

        Nearer sites weigh more. Nothing is yielded if none clips.
        """
        height = len(self._counts)
        bottom = min(height, top + STRIP_ROWS)
        first, last = max(0, top - self._reach[0]), min(height, bottom + self._reach[0])
        phase, rows, inner = first % self._period[0], last - first, slice(top - first, bottom - first)
        clipped = self._counts[first:last] >= self._limit[phase:][:rows]
        if not clipped.any():
            return
        for letter in letters:
            kind, sites = (phase, rows, letter), self._sites[letter][phase:][:rows]
            if kind not in self._counted:
                self._counted[kind] = np.maximum(_spread_out(sites, self._reach), 1)
            yield _spread_out(clipped & sites, self._reach)[inner] / self._counted[kind][inner]


def hold_clipped(camera_rgb: np.ndarray, mosaic: Mosaic, pattern: ExposurePattern) -> None:
    """Hold camera RGB, (H, W, 3) float32, at the clip level where the least exposed sites clip, in place.

    1.0 is saturation of the most exposed sites. No channel stays above the level at which the least exposed sites clip,
    `pattern.ratio`, because no site has recorded more. A pixel is set to that level where the least exposed sites of
    all three colours around it clip. A single clipped channel is not, or thin dark things in front of lamps would glow
    in its colour.
    """
    level, sites = np.float32(pattern.ratio), _ClippedSites(mosaic, pattern)
    for top in range(0, mosaic.shape[0], STRIP_ROWS):
        here = camera_rgb[top : top + STRIP_ROWS]
        np.minimum(here, level, out=here)
        held = None
        for share in sites.shares(top, "GRB"):
            of_colour = np.clip((share - SURROUNDED) / (1 - SURROUNDED), 0, 1)
            held = of_colour if held is None else np.minimum(held, of_colour)
            if not held.any():
                break  # whatever the other colours say
        if held is None or not held.any():
            continue
        for channel in range(3):
            here[..., channel] *= 1 - held
            here[..., channel] += held * level  # a sum of products: exact where held is 1


def early_saturation(cfa: str, pattern: ExposurePattern) -> str:
    """Return a note if some colour has no site of the least exposure in this pattern, else ""."""
    letters, exposure = over_common_period(cfa_period(cfa), pattern.exposure)
    names = {"R": "red", "G": "green", "B": "blue"}
    least = {name: exposure[letters == letter].min() / exposure.min() for letter, name in names.items()}
    early = [name for name, share in least.items() if share > 1]
    if not early:
        return ""
    said = f"the saturation of {' and '.join(early)} comes {np.log2(max(least.values())):.1f} EV early"
    told = f"in this pattern {said}; highlights above it have false colours"
    if len(cfa) > 4:
        return told
    pairs = pattern.exposure  # made such that every Bayer cell has one exposure, as on existing sensors
    for axis, length in enumerate(pattern.exposure.shape):
        pairs = pairs.repeat(min(length, 2), axis)
    return f"{told}; if rows and columns go in pairs, write {ExposurePattern(pairs)}"


def complete_clipped(camera_rgb: np.ndarray, mosaic: Mosaic, pattern: ExposurePattern, neutral: np.ndarray) -> None:
    """Raise the channel that clips first, in place, to the lower of the other two, all balanced by `neutral`, (3,).

    Mostly that is green, whose loss leaves magenta; in infrared and candle light it is red, whose loss leaves cyan. It
    is raised only beside sites of that colour that clip, and at most to its clip level. Where the other two are well
    below that, the colour is the scene's own and stays: a blossom against the sky.
    """
    first = int(np.argmax(neutral))
    others = [channel for channel in range(3) if channel != first]
    most, sites = np.float32(pattern.ratio / neutral[first]), _ClippedSites(mosaic, pattern)
    for top in range(0, mosaic.shape[0], STRIP_ROWS):
        for share in sites.shares(top, "RGB"[first]):
            if not share.any():
                continue
            here = camera_rgb[top : top + STRIP_ROWS]
            one, other = (here[..., channel] / np.float32(neutral[channel]) for channel in others)
            wanted, missed = np.minimum(one, other), here[..., first] / np.float32(neutral[first])
            beside = np.minimum(share / BESIDE, 1) * np.clip((wanted / most - COLOURED) / (1 - COLOURED), 0, 1)
            missed += beside * np.maximum(np.minimum(wanted, most) - missed, 0)
            np.multiply(missed, np.float32(neutral[first]), out=here[..., first])


def _spread_out(sites: np.ndarray, reach: tuple[int, int]) -> np.ndarray:
    """Return sites, (H, W) bool, convolved with a tent that ends `reach` sites away: (H, W) float32, whole numbers."""
    values = np.pad(sites.astype(np.float32), [(length - 1, length - 1) for length in reach])
    for axis, length in enumerate(reach):
        lines = np.moveaxis(values, axis, 0)
        for _ in range(2):  # a tent is a box convolved with itself
            count = len(lines) - length + 1
            lines = functools.reduce(np.add, [lines[start : start + count] for start in range(length)])
        values = np.moveaxis(lines, 0, axis)
    return values
