"""Scene-linear Rec. 709 -> display-referred 8-bit sRGB that looks right without tuning, and its HDR gain map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .curve import HEADROOM_EV, MIDDLE_GREY, MOST_LIGHT, WHITE_EV, Curve, index_of
from .errors import check_image
from .system.threads import in_threads

STRIP_SITES = 1 << 17  # pixels mapped at a time
GRID_SIDE = 384  # px; long side of the low-resolution image on which exposure and base are computed
LUMINANCE_OF_RGB = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709
LEAST_OF_CHANNEL = np.float32(0.35)  # brightness is at least this share of each channel, or blue and red light blow out
COLOURED = 4.0  # times the black limit of luminance: stays above the noise of single channels, which is higher

KEY_FOLLOWS_SCENE = 0.15  # EV that a high-key scene (snow) stays brighter, a low-key one (night) darker, per EV of skew
BLACK_SIGMAS = 3.0  # of the noise: darker areas are black and do not affect the exposure
BLACK_BELOW_GREY_EV = 1.5  # at least, so that a frame of nothing but black stays dark
BASE_RANGE_EV = 6.0  # between the 1st and 99th percentile: what the curve holds without compression
LEAST_BASE_SLOPE = 0.55  # more compression than this looks painted
EDGE_EV = 1.0  # steps above this are kept by the guided filter, so they leave no halos
LEAST_WHITE_EV, WHITE_PERCENTILE = 2.0, 99.7  # above grey, at least; of the brightness of areas, what is shown as white
COLOURED_WHITE_PERCENTILE = 98.5  # the same for their greatest channels: a sky's blue far exceeds its luminance
ABOUT_LOST, LOST_SHARE = 0.93, 0.003  # of the clip level: brighter areas are lost; of areas: fewer count less
LOST_RISES_EV = 0.6  # by which exposure rises at most, so that what is lost is white
FOLLOWS_EV = 2  # by which a frame may differ from its own exposure: a fade is seen as one, but not as black
CROSSTALK = 0.05  # of luminance mixed into each channel: the brightest colours fade, as on film


@dataclass(frozen=True)
class _Base:
    """The guided filter's answer, base = slope * log brightness + offset, on a grid of cells of `cell` x `cell` px."""

    slope: np.ndarray  # (h, w) float32
    offset: np.ndarray  # (h, w) float32, EV
    cell: int


class Look(NamedTuple):
    """How a scene is exposed and rendered, as the previews of a sequence share it. EV: log2 of brightness."""

    floor_ev: float  # what is taken for black
    grey_ev: float  # what is shown as middle grey
    base_slope: float  # how much of the range of large areas is kept; 1: all
    white_ev: float  # what is shown as white, above middle grey

    def followed_by(self, own: Look) -> Look:
        """Return this look for another frame, shifted so that its exposure is within FOLLOWS_EV of that frame's `own`.

        >>> Look(-20, -8, 1, 5).followed_by(Look(-9, -3, 1, 4))
        Look(floor_ev=-17, grey_ev=-5, base_slope=1, white_ev=5)
        """
        shift = own.grey_ev - self.grey_ev
        shift -= min(max(shift, -FOLLOWS_EV), FOLLOWS_EV)
        return Look(self.floor_ev + shift, self.grey_ev + shift, self.base_slope, self.white_ev)


def tone_map(
    rec709_linear: np.ndarray,
    look: Look | None = None,
    noise: float | None = None,
    lost: float | None = None,
    brighter_ev: float = 0.0,
) -> np.ndarray:
    """Return an 8-bit sRGB preview, (H, W, 3) uint8, of scene-linear Rec. 709, (H, W, 3) float32 of any scale.

    Exposure comes from a robust log-average (Reinhard et al. 2002). A guided filter in log brightness (He and Sun 2015)
    compresses the range of large areas and keeps local contrast. A filmic curve renders each channel, up to white; the
    middle channel is moved towards its place between the others, or gold would turn lemon and blue cyan. Brightness is
    luminance, but at least a third of the greatest channel, because blue and red light have little luminance.
    Negatives count as black.

    The scale of the input matters only with a `look` from another frame of a sequence (see `Look.followed_by`).
    `noise`, the standard deviation of a pixel's luminance in the dark, tells what is black, so that a moon in a night
    sky is exposed for itself. `lost`, the level of light that clips in all exposures (see `color.lost_level`),
    brightens overexposed images by at most LOST_RISES_EV, so that such light comes out white, not grey. None: unknown.
    `brighter_ev` is added to the exposure. Raises ValueError for another shape or dtype, noise that is not a finite
    number from 0 on, a level that is not a finite number above 0, or EV that are not finite.

    >>> tone_map(np.full((2, 2, 3), 0.01, np.float32))[0, 0].tolist()
    [124, 124, 124]
    """
    preview = np.zeros(rec709_linear.shape, np.uint8)

    def draw(rows: slice, indices: np.ndarray, curve: Curve) -> None:
        preview[rows] = _pixels(curve.rendered(indices))

    _by_strips(draw, rec709_linear, look, noise, lost, brighter_ev)
    return preview


def tone_map_with_gain(
    rec709_linear: np.ndarray,
    look: Look | None = None,
    noise: float | None = None,
    lost: float | None = None,
    brighter_ev: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the preview that `tone_map` returns, and its gain map: (H / 2, W / 2, 3) uint8, sizes rounded up.

    Its values of 0 to 255 are the 0 to HEADROOM_EV by which each channel is brighter on an HDR screen: 0 up to middle
    grey, so that the picture stays the same, and more above it, until highlights rise as in the scene.
    """
    height, width = rec709_linear.shape[:2]
    preview = np.zeros(rec709_linear.shape, np.uint8)
    gain = np.zeros((-(-height // 2), -(-width // 2), 3), np.uint8)

    def draw(rows: slice, indices: np.ndarray, curve: Curve) -> None:
        preview[rows] = _pixels(curve.rendered(indices))
        padding = [(0, 0), (0, indices.shape[1] % 2), (0, width % 2)]
        ev = np.pad(curve.gain_ev(indices), padding, "edge")
        mean = (ev[:, ::2, ::2] + ev[:, 1::2, ::2] + ev[:, ::2, 1::2] + ev[:, 1::2, 1::2]) / 4
        half = slice(rows.start // 2, rows.start // 2 + mean.shape[1])
        gain[half] = _pixels(np.rint(mean * (255 / HEADROOM_EV)))

    _by_strips(draw, rec709_linear, look, noise, lost, brighter_ev)
    return preview, gain


def look_of(rec709_linear: np.ndarray, noise: float | None = None, lost: float | None = None) -> Look | None:
    """Return the look that `tone_map` gives an image by itself, for the same arguments; None if all is black."""
    areas = _areas(rec709_linear, noise, lost)
    return _look(areas) if areas.brightness.max() > 0 else None


class _Areas(NamedTuple):
    """The low-resolution image on which exposure and base are computed."""

    brightness: np.ndarray  # (h, w) float32
    greatest: np.ndarray  # (h, w) float32, of the channels; at least brightness
    cell: int  # px
    black: float  # brightness up to this is noise
    lost: float  # brightness from this on is clipped

    def base(self, floor_ev: float) -> tuple[np.ndarray, _Base]:
        """Return log brightness, (h, w) float32, and the base."""
        ev = _log2(self.brightness, floor_ev)
        return ev, _guided_base(ev, self.cell)


def _areas(image: np.ndarray, noise: float | None, lost: float | None) -> _Areas:
    check_image("the image", image)
    if noise is not None and not 0 <= noise < np.inf:
        raise ValueError(f"noise must be a number from 0 on, not {noise}")
    if lost is not None and not 0 < lost < np.inf:
        raise ValueError(f"lost must be a number above 0, not {lost}")
    cell = -(-max(image.shape[:2]) // GRID_SIDE)
    black = BLACK_SIGMAS * (noise or 0.0)
    return _Areas(*_cell_brightness(image, cell, black), cell, black, np.inf if lost is None else ABOUT_LOST * lost)


def _look(areas: _Areas) -> Look:
    floor_ev, grey_ev, base_slope = _exposure(areas.brightness, areas.black)
    ev, base = areas.base(floor_ev)
    shown_ev = ev + (base_slope - 1) * (base.slope * ev + base.offset - grey_ev) - grey_ev
    lost = areas.brightness >= areas.lost
    if lost.any():
        rise_ev = min(max(LEAST_WHITE_EV - float(np.median(shown_ev[lost])), 0) / base_slope, LOST_RISES_EV)
        rise_ev *= min(float(lost.mean()) / LOST_SHARE, 1)
        grey_ev, shown_ev = grey_ev - rise_ev, shown_ev + base_slope * rise_ev
    coloured_ev = shown_ev + _log2(areas.greatest, floor_ev) - ev
    white_ev = max(np.percentile(shown_ev, WHITE_PERCENTILE), np.percentile(coloured_ev, COLOURED_WHITE_PERCENTILE))
    return Look(floor_ev, grey_ev, base_slope, min(max(float(white_ev), LEAST_WHITE_EV), WHITE_EV))


def _by_strips(
    draw: Callable[[slice, np.ndarray, Curve], None],
    image: np.ndarray,
    look: Look | None,
    noise: float | None,
    lost: float | None,
    brighter_ev: float,
) -> None:
    """Call `draw` for strips of rows, each from an even row on, with the curve and the indices into it, (3, h, w).

    Nothing is drawn if all is black.
    """
    if not math.isfinite(brighter_ev):
        raise ValueError(f"brighter_ev must be a number, not {brighter_ev}")
    areas = _areas(image, noise, lost)
    if not areas.brightness.max() > 0:
        return
    own = _look(areas)
    floor_ev, grey_ev, base_slope, white_ev = own if look is None else look.followed_by(own)
    _, base = areas.base(floor_ev)
    curve = Curve.up_to(min(white_ev + max(brighter_ev, 0), WHITE_EV))  # brightening blows nothing out
    rows = max(2, STRIP_SITES // image.shape[1] // 2 * 2)

    def strip_from(top: int) -> None:
        strip = np.ascontiguousarray(image[top : top + rows])  # it may be a turned view, which is slow to read
        ev = _log2(_brightness(strip), floor_ev)
        base_ev = _upsampled(base.slope, base.cell, top, ev.shape) * ev
        base_ev += _upsampled(base.offset, base.cell, top, ev.shape)
        gain = np.exp2((base_slope - 1) * (base_ev - grey_ev) - grey_ev + brighter_ev) * np.float32(MIDDLE_GREY)
        draw(slice(top, top + len(strip)), index_of(_exposed(strip, gain)), curve)

    list(in_threads(strip_from, range(0, image.shape[0], rows)))


def _cell_brightness(image: np.ndarray, cell: int, black: float) -> tuple[np.ndarray, np.ndarray]:
    # Returns the brightness and the greatest channel of each cell's mean; the border may cut the last cells. Luminance,
    # whose noise is known, tells what is black, except in deep blue light, where it may be negative: there a channel
    # must be far above the noise, which is higher in single channels.
    starts = np.arange(0, image.shape[1], cell)
    widths = np.diff(np.append(starts, image.shape[1]))[:, None]
    means = [
        np.add.reduceat(strip.sum(axis=0), starts) / np.float32(widths * len(strip))
        for top in range(0, image.shape[0], cell)
        for strip in [np.ascontiguousarray(image[top : top + cell])]
    ]
    rgb = np.stack(means)
    luminance, greatest = rgb @ LUMINANCE_OF_RGB, rgb.max(axis=-1)
    lit = (luminance > black) | (LEAST_OF_CHANNEL * greatest > COLOURED * black) & (black > 0)
    brightness = np.maximum(np.where(lit, _brightness(rgb), luminance), 0)
    return brightness, np.where(lit, np.maximum(greatest, brightness), brightness)


def _brightness(rgb: np.ndarray) -> np.ndarray:
    """Return the luminance, (...), of RGB, (..., 3) float32, or LEAST_OF_CHANNEL of its greatest channel if higher."""
    greatest = np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    return np.asarray(np.maximum(rgb @ LUMINANCE_OF_RGB, LEAST_OF_CHANNEL * greatest))


def _log2(brightness: np.ndarray, floor_ev: float) -> np.ndarray:
    return np.asarray(np.log2(np.maximum(brightness, np.float32(2.0**floor_ev))))


def _exposure(brightness: np.ndarray, black: float) -> tuple[float, float, float]:
    # Returns the EV taken for black, the EV shown as middle grey, and the slope that fits the scene's range.
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
    # Returns planes, (3, h, w), computed one by one, because NumPy is slow where the last axis is short.
    exposed = np.empty(strip.shape, np.float32)
    for channel in range(3):
        np.multiply(strip[..., channel], gain, out=exposed[..., channel])
    np.clip(exposed, 0, MOST_LIGHT, out=exposed)
    grey = exposed @ LUMINANCE_OF_RGB
    planes = np.empty((3, *grey.shape), np.float32)
    for channel, plane in enumerate(planes):
        np.subtract(grey, exposed[..., channel], out=plane)
        plane *= np.float32(CROSSTALK)
        plane += exposed[..., channel]
    return planes


def _pixels(planes: np.ndarray) -> np.ndarray:
    return np.stack([*planes], axis=2)  # faster than reading a transposed view
