"""Scene-linear Rec. 709 -> display-referred 8-bit sRGB that looks right without tuning.

For HDR screens it also tells by how much highlights are brighter there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

STRIP_SITES = 1 << 17  # pixels mapped at a time
GRID_SIDE = 384  # px; long side of the low-resolution image that exposure and base are found in
LUMINANCE_OF_RGB = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709
LEAST_OF_CHANNEL = np.float32(0.35)  # of each channel: how bright it is at least, or blue and red light are blown out
COLOURED = 4.0  # times what is black in luminance: the noise of single channels, which is more, stays below

MIDDLE_GREY = 0.2  # display light of the scene's average; a little above 18 %, as an average holds shadows
KEY_FOLLOWS_SCENE = 0.15  # EV the exposure lets a high-key scene be brighter by per EV of its skew: snow, night
BLACK_SIGMAS = 3.0  # of the noise: darker areas are black, and say nothing of the exposure
BLACK_BELOW_GREY_EV = 1.5  # at least: a frame that holds nothing else stays dark
BASE_RANGE_EV = 6.0  # between the 1st and 99th percentile: what the curve holds without help
LEAST_BASE_SLOPE = 0.55  # more compression than this looks painted
EDGE_EV = 1.0  # steps above this are kept by the guided filter, so they leave no halos
CONTRAST, WHITE_EV = 1.25, 5.5  # of the curve: slope at middle grey; the most above it that comes out below white
LEAST_WHITE_EV, WHITE_PERCENTILE = 2.0, 99.7  # the least; of the scene's areas, what is white where that is less bright
HEADROOM_EV = 3.0  # above a screen's white: where WHITE_EV lies on HDR screens
FOLLOWS_EV = 2  # a fade is seen as one, but not as black
MOST_LIGHT = np.float32(60_000)  # far above white
LOWER_BITS = 13  # of a float32: 10 bits of its fraction are left
CROSSTALK = 0.05  # of luminance mixed into each channel: the very brightest lose colour, as on film


@dataclass(frozen=True)
class _Base:
    """The guided filter's answer, base = slope * log brightness + offset, on a grid of cells of `cell` x `cell` px."""

    slope: np.ndarray  # (h, w) float32
    offset: np.ndarray  # (h, w) float32, EV
    cell: int


class Look(NamedTuple):
    """How a scene is exposed and rendered: what the previews of a sequence share. EV: log2 of brightness."""

    floor_ev: float  # what is taken for black
    grey_ev: float  # what is shown as middle grey
    base_slope: float  # how much of the range of large areas is left, 1: all
    white_ev: float  # what is shown as white, above middle grey

    def followed_by(self, own: Look) -> Look:
        """Return how another frame is shown that would have a look of its `own`: within FOLLOWS_EV of that.

        >>> Look(-20, -8, 1, 5).followed_by(Look(-9, -3, 1, 4))
        Look(floor_ev=-17, grey_ev=-5, base_slope=1, white_ev=5)
        """
        shift = own.grey_ev - self.grey_ev
        shift -= min(max(shift, -FOLLOWS_EV), FOLLOWS_EV)
        return Look(self.floor_ev + shift, self.grey_ev + shift, self.base_slope, self.white_ev)


def tone_map(rec709_linear: np.ndarray, look: Look | None = None, noise: float | None = None) -> np.ndarray:
    """Return an 8-bit sRGB preview, (H, W, 3) uint8, of scene-linear Rec. 709, (H, W, 3) float32 of any scale.

    Exposure comes from a robust log-average (Reinhard et al. 2002), the range of large areas is compressed by a guided
    filter in log brightness (He and Sun 2015) that keeps local contrast, and a filmic curve renders each channel, up to
    white, so that what is lost in the raw does not come out grey, if it is less than a quarter of the image. Brightness
    is luminance, which blue and red light have little of: a third of the greatest channel at least. Negatives count as
    black. The scale of the input does not matter, but to a `look` of another image, which frames of a sequence
    share (see `Look.followed_by`). `noise`, the standard deviation of luminance of a pixel in the dark, tells what is
    black, so that a moon in a night sky is exposed for itself; None: unknown. Raises ValueError for another shape or
    dtype, or noise that is not a number from 0 on.

    >>> tone_map(np.full((2, 2, 3), 0.01, np.float32))[0, 0].tolist()
    [124, 124, 124]
    """
    preview = np.zeros(rec709_linear.shape, np.uint8)
    for top, rendered, _ in _rendered_strips(rec709_linear, look, noise):
        preview[top : top + len(rendered)] = rendered
    return preview


def tone_map_with_gain(
    rec709_linear: np.ndarray, look: Look | None = None, noise: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the preview that `tone_map` returns, and its gain map: (H / 2, W / 2, 3) uint8, sizes rounded up.

    A gain map's 0 to 255 are 0 to HEADROOM_EV by which a channel's light is brighter on an HDR screen: 0 up to middle
    grey, so that the picture stays the same one, and more from there on, until highlights rise as the scene's do.
    """
    height, width = rec709_linear.shape[:2]
    preview = np.zeros(rec709_linear.shape, np.uint8)
    gain = np.zeros((-(-height // 2), -(-width // 2), 3), np.uint8)
    for top, rendered, light in _rendered_strips(rec709_linear, look, noise):
        preview[top : top + len(light)] = rendered
        ev = _gain_table().take(np.pad(light, [(0, len(light) % 2), (0, width % 2), (0, 0)], "edge"))
        mean = (ev[::2, ::2] + ev[1::2, ::2] + ev[::2, 1::2] + ev[1::2, 1::2]) / 4
        gain[top // 2 : top // 2 + len(mean)] = np.rint(mean * (255 / HEADROOM_EV))
    return preview, gain


def look_of(rec709_linear: np.ndarray, noise: float | None = None) -> Look | None:
    """Return the look that `tone_map` gives an image, as it takes it, of its own; None: all is black."""
    areas = _areas(rec709_linear, noise)
    return _look(areas) if areas.brightness.max() > 0 else None


class _Areas(NamedTuple):
    """The low-resolution image that exposure and base are found in."""

    brightness: np.ndarray  # (h, w) float32
    cell: int  # px
    black: float  # up to here it is noise

    def base(self, floor_ev: float) -> tuple[np.ndarray, _Base]:
        """Return log brightness, (h, w) float32, and the base."""
        ev = _log2(self.brightness, floor_ev)
        return ev, _guided_base(ev, self.cell)


def _areas(image: np.ndarray, noise: float | None) -> _Areas:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.float32:
        raise ValueError(f"the image must be (H, W, 3) float32, not {image.shape} {image.dtype}")
    if noise is not None and not 0 <= noise < np.inf:
        raise ValueError(f"noise must be a number from 0 on, not {noise}")
    cell = -(-max(image.shape[:2]) // GRID_SIDE)
    black = BLACK_SIGMAS * (noise or 0.0)
    return _Areas(_cell_brightness(image, cell, black), cell, black)


def _look(areas: _Areas) -> Look:
    floor_ev, grey_ev, base_slope = _exposure(areas.brightness, areas.black)
    ev, base = areas.base(floor_ev)
    shown_ev = ev + (base_slope - 1) * (base.slope * ev + base.offset - grey_ev) - grey_ev
    white_ev = min(max(float(np.percentile(shown_ev, WHITE_PERCENTILE)), LEAST_WHITE_EV), WHITE_EV)
    return Look(floor_ev, grey_ev, base_slope, white_ev)


def _rendered_strips(
    image: np.ndarray, look: Look | None, noise: float | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield first rows, all even, their preview, and the index of their light in `_lights`; nothing if all is black."""
    areas = _areas(image, noise)
    if not areas.brightness.max() > 0:
        return
    own = _look(areas)
    floor_ev, grey_ev, base_slope, white_ev = own if look is None else look.followed_by(own)
    _, base = areas.base(floor_ev)
    curve = _curve_table(white_ev)
    rows = max(2, STRIP_SITES // image.shape[1] // 2 * 2)
    for top in range(0, image.shape[0], rows):
        strip = np.ascontiguousarray(image[top : top + rows])  # it may be a turned view, which is slow to read
        ev = _log2(_brightness(strip), floor_ev)
        base_ev = _upsampled(base.slope, base.cell, top, ev.shape) * ev
        base_ev += _upsampled(base.offset, base.cell, top, ev.shape)
        gain = np.exp2((base_slope - 1) * (base_ev - grey_ev) - grey_ev) * np.float32(MIDDLE_GREY)
        light = _exposed(strip, gain)
        yield top, curve.take(light), light


def _cell_brightness(image: np.ndarray, cell: int, black: float) -> np.ndarray:
    # Of the mean of every cell; the last ones may be cut off by the border. Luminance, whose noise is known, tells what
    # is black, but deep blue light, of which it may be negative: that is far above the noise, also of single channels.
    starts = np.arange(0, image.shape[1], cell)
    widths = np.diff(np.append(starts, image.shape[1]))[:, None]
    means = [
        np.add.reduceat(strip.sum(axis=0), starts) / np.float32(widths * len(strip))
        for top in range(0, image.shape[0], cell)
        for strip in [np.ascontiguousarray(image[top : top + cell])]
    ]
    rgb = np.stack(means)
    luminance = rgb @ LUMINANCE_OF_RGB
    coloured = (LEAST_OF_CHANNEL * rgb.max(axis=-1) > COLOURED * black) & (black > 0)
    return np.maximum(np.where((luminance > black) | coloured, _brightness(rgb), luminance), 0)


def _brightness(rgb: np.ndarray) -> np.ndarray:
    """Return luminance, (...), of RGB, (..., 3) float32, but LEAST_OF_CHANNEL of its greatest channel at least."""
    greatest = np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    return np.asarray(np.maximum(rgb @ LUMINANCE_OF_RGB, LEAST_OF_CHANNEL * greatest))


def _log2(brightness: np.ndarray, floor_ev: float) -> np.ndarray:
    return np.asarray(np.log2(np.maximum(brightness, np.float32(2.0**floor_ev))))


def _exposure(brightness: np.ndarray, black: float) -> tuple[float, float, float]:
    # The EV taken for black, the EV shown as middle grey, and the slope that fits the scene's range into the curve.
    black_ev = max(math.log2(black), -120.0) if black else -120.0
    least_grey_ev = black_ev + BLACK_BELOW_GREY_EV
    ev = np.log2(brightness[brightness > black])
    if not len(ev):
        return black_ev, least_grey_ev, 1.0
    dark, low, median, high, bright = (float(p) for p in np.percentile(ev, [1, 5, 50, 95, 99]))
    dark = max(dark, median - 8)  # deeper shadows are noise, and would drag the average down
    average = float(np.clip(ev, dark, bright).mean())
    skew = 2 * average - max(low, dark) - high  # above 0: most of the scene is bright; lamps are not counted
    slope = float(np.clip(BASE_RANGE_EV / max(bright - dark, 1e-6), LEAST_BASE_SLOPE, 1))
    return max(dark - 4, black_ev), max(average - KEY_FOLLOWS_SCENE * skew, least_grey_ev), slope


def _guided_base(ev: np.ndarray, cell: int) -> _Base:
    radius = max(2, max(ev.shape) // 24)
    mean = _box_mean(ev, radius)
    variance = np.maximum(_box_mean(ev * ev, radius) - mean * mean, 0)
    slope = variance / (variance + EDGE_EV**2)
    offset = mean - slope * mean
    return _Base(_box_mean(slope, radius), _box_mean(offset, radius), cell)


def _box_mean(grid: np.ndarray, radius: int) -> np.ndarray:
    for axis in (0, 1):
        size = grid.shape[axis]
        sums = np.concatenate([np.zeros_like(grid.take([0], axis), np.float64), grid.cumsum(axis, np.float64)], axis)
        low, high = np.maximum(np.arange(size) - radius, 0), np.minimum(np.arange(size) + radius + 1, size)
        counts = (high - low).reshape((-1, 1) if axis == 0 else (1, -1))
        grid = (sums.take(high, axis) - sums.take(low, axis)) / counts
    return np.asarray(grid, np.float32)


def _upsampled(grid: np.ndarray, cell: int, top: int, shape: tuple[int, ...]) -> np.ndarray:
    # Bilinear between the centres of cells, for the rows from `top` on.
    y0, y1, fy = _neighbours(np.arange(top, top + shape[0]), cell, grid.shape[0])
    x0, x1, fx = _neighbours(np.arange(shape[1]), cell, grid.shape[1])
    rows = grid[y0] * (1 - fy)[:, None] + grid[y1] * fy[:, None]
    left = rows.take(x0, axis=1)
    return np.asarray(left + (rows.take(x1, axis=1) - left) * fx)


def _neighbours(positions: np.ndarray, cell: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    at = np.clip((positions + 0.5) / cell - 0.5, 0, size - 1)
    low = at.astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (at - low).astype(np.float32)


def _exposed(strip: np.ndarray, gain: np.ndarray) -> np.ndarray:
    exposed = np.empty(strip.shape, np.float32)
    for channel in range(3):  # each plane alone, as NumPy is slow where the last axis is short
        np.multiply(strip[..., channel], gain, out=exposed[..., channel])
    np.clip(exposed, 0, MOST_LIGHT, out=exposed)
    grey = exposed @ LUMINANCE_OF_RGB
    for channel in range(3):
        exposed[..., channel] += CROSSTALK * (grey - exposed[..., channel])
    # A float's first bits, read as a number, grow with its value, and finer than 8-bit sRGB does: they index curves.
    bits = exposed.view(np.uint32)
    bits += (bits >> LOWER_BITS & 1) + ((1 << (LOWER_BITS - 1)) - 1)  # rounded, halves to even
    bits >>= LOWER_BITS
    return bits


def _lights() -> np.ndarray:
    """Return the light that each index stands for, (n,) float64."""
    count = (int(MOST_LIGHT.view(np.uint32)) >> LOWER_BITS) + 1
    return (np.arange(count, dtype=np.uint32) << LOWER_BITS).view(np.float32).astype(np.float64)


def _curve_table(white_ev: float) -> np.ndarray:
    return np.asarray(np.rint(255 * srgb_encoded(_filmic(_lights(), white_ev))), np.uint8)


@functools.cache
def _gain_table() -> np.ndarray:
    above_grey = np.log2(np.maximum(_lights() / MIDDLE_GREY, 1)) / WHITE_EV
    return np.asarray(HEADROOM_EV * np.minimum(above_grey, 1) ** 2, np.float32)


def _filmic(light: np.ndarray, white_ev: float) -> np.ndarray:
    # Naka-Rushton, x^n / (x^n + s^n): an S in log light, scaled to reach white; s keeps middle grey in its place.
    powered = light**CONTRAST
    white, grey = (MIDDLE_GREY * 2**white_ev) ** CONTRAST, MIDDLE_GREY**CONTRAST
    # Solve grey / (grey + s) * (white + s) / white = MIDDLE_GREY for s.
    s = grey * white * (1 - MIDDLE_GREY) / (MIDDLE_GREY * white - grey)
    return np.asarray(np.minimum(powered / (powered + s) * ((white + s) / white), 1))


def srgb_encoded(linear: np.ndarray) -> np.ndarray:
    """Return display light, 0 to 1, as sRGB code values, 0 to 1 (IEC 61966-2-1).

    >>> srgb_encoded(np.array([0.0, 0.002, 0.18, 1.0])).round(4).tolist()
    [0.0, 0.0258, 0.4614, 1.0]
    """
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
