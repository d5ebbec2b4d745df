"""What even the least exposed sites have lost: held at the level where they clip, so that it can become neutral.

Methods guess there, networks above all, and a green that is guessed a little too low beside a red and a blue that are
guessed well is pink.
"""

from __future__ import annotations

import functools

import numpy as np

from .mosaic import ExposurePattern, Mosaic, cfa_period, common_period, over_common_period, repeated
from .radiance import saturation_limit

STRIP_ROWS = 64  # worked on at a time: the temporaries stay in the processor's cache
SURROUNDED = 0.6  # share of clipped sites around a pixel, by distance, from which it is drawn to the level
COLOURED = 0.7  # of the level: magenta up to there is a colour, and none that clipping has made
BESIDE = 1 / 3  # share of clipped green sites around a pixel, by distance, from which its own green counts as missing


def hold_clipped(camera_rgb: np.ndarray, mosaic: Mosaic, pattern: ExposurePattern) -> np.ndarray:
    """Hold camera RGB, (H, W, 3) float32, in place where the least exposed sites clip; return how near green does.

    1.0 is saturation of the most exposed sites. No channel stays above the level at which the least exposed sites clip,
    `pattern.ratio`, for no site has seen more. Where all of the least exposed sites around a pixel clip, of all three
    colours, it is at that level; one channel alone is not drawn there, or thin dark things before lamps would glow in
    its colour. Returned is (H, W) float16, 0 to 1, for `without_magenta`: how much of the green around is clipped.
    """
    near = np.zeros(mosaic.shape, np.float16)
    letters = cfa_period(mosaic.cfa)
    white, black = mosaic.white_by_site, mosaic.black_level
    period = common_period(letters, pattern.exposure, white, black)
    reach = common_period(letters, pattern.exposure)  # a site of every kind lies within it, either way
    letters, white, black, exposure = (repeated(p, period) for p in (letters, white, black, pattern.exposure))
    least = exposure == exposure.min()
    height, width = mosaic.shape
    over_strip = (period[0] + STRIP_ROWS + 2 * reach[0], width)
    limit = repeated(np.where(least, saturation_limit(black, white), np.inf), over_strip)
    sites = {letter: repeated(least & (letters == letter), over_strip) for letter in "GRB"}
    counted: dict[tuple[int, int, str], np.ndarray] = {}  # the same for most strips
    for top in range(0, height, STRIP_ROWS):
        bottom = min(height, top + STRIP_ROWS)
        here = camera_rgb[top:bottom]
        np.minimum(here, np.float32(pattern.ratio), out=here)
        first, last = max(0, top - reach[0]), min(height, bottom + reach[0])
        phase, rows, inner = first % period[0], last - first, slice(top - first, bottom - first)
        clipped = mosaic.counts[first:last] >= limit[phase:][:rows]
        if not clipped.any():
            continue
        held = np.ones((bottom - top, width), np.float32)
        for letter, of_letter in sites.items():
            kind = phase, rows, letter
            if kind not in counted:
                counted[kind] = np.maximum(_spread_out(of_letter[phase:][:rows], reach), 1)
            share = _spread_out(clipped & of_letter[phase:][:rows], reach)[inner] / counted[kind][inner]
            if letter == "G":
                near[top:bottom] = np.minimum(share / BESIDE, 1)
            np.minimum(held, np.clip((share - SURROUNDED) / (1 - SURROUNDED), 0, 1), out=held)
            if not held.any():
                break  # whatever the other colours say
        else:
            for channel in range(3):
                here[..., channel] *= 1 - held
                here[..., channel] += held * np.float32(pattern.ratio)  # a sum of products: exact where held is 1
    return near


def early_saturation(cfa: str, pattern: ExposurePattern) -> str:
    """Return what is to be said of a pattern in which some colour has no site of the least exposure, or ""."""
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
    pairs = pattern.exposure  # of which every Bayer cell has one exposure, as on sensors that there are
    for axis, length in enumerate(pattern.exposure.shape):
        pairs = pairs.repeat(min(length, 2), axis)
    return f"{told}; if rows and columns go in pairs, write {ExposurePattern(pairs)}"


def without_magenta(camera_rgb: np.ndarray, near: np.ndarray, neutral: np.ndarray, clip_level: float) -> None:
    """Raise green, in place, to the lower one of red and blue, as `neutral`, (3,), balances them, by the share `near`.

    Beside what is clipped, green is the first to be missing: it is the channel that clips first, at `clip_level`, and
    is raised no higher. What is well below that, red and blue, is a colour of the scene: a blossom before the sky. So
    is what lies further from clipped sites of green than others of its kind, `near` 0.
    """
    most = np.float32(clip_level / neutral[1])
    for top in range(0, len(near), STRIP_ROWS):
        beside = near[top : top + STRIP_ROWS]
        if not beside.any():
            continue
        here = camera_rgb[top : top + STRIP_ROWS]
        red, green, blue = (here[..., channel] / np.float32(neutral[channel]) for channel in range(3))
        wanted = np.minimum(red, blue)
        share = beside * np.clip((wanted / most - COLOURED) / (1 - COLOURED), 0, 1)
        green += share * np.maximum(np.minimum(wanted, most) - green, 0)
        np.multiply(green, np.float32(neutral[1]), out=here[..., 1])


def _spread_out(sites: np.ndarray, reach: tuple[int, int]) -> np.ndarray:
    """Return each site, (H, W) bool, spread over a tent that ends `reach` sites away, (H, W) float32, whole numbers."""
    values = np.pad(sites.astype(np.float32), [(length - 1, length - 1) for length in reach])
    for axis, length in enumerate(reach):
        lines = np.moveaxis(values, axis, 0)
        for _ in range(2):  # a tent is a box over a box
            count = len(lines) - length + 1
            lines = functools.reduce(np.add, [lines[start : start + count] for start in range(length)])
        values = np.moveaxis(lines, 0, axis)
    return values
