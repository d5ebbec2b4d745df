"""Test charts that photographs are short of: what fine detail, dark grey and colours make of a reconstruction."""

from __future__ import annotations

import numpy as np

SIDE_PX = 256
BRIGHTNESS = (0.8, 1 / 5, 1 / 20, 1 / 80)  # of the quarters of a chart: clipped in the brighter exposure, to dark
HUES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0.4, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (0.4, 0, 1))
LEAST_CHANNEL = 0.01  # of the brightest one of a hue: what lenses and filters leave of purity
PATCH_LEVELS = (0.5, 0.1)  # of the brightest channel
# Colours are light x (1 + a x axis): of one mean of R, G and B, whatever a is.
STRIPES = (((-0.5, 1, -0.5), -0.6), ((-0.5, 1, -0.5), 0.0), ((1, -0.5, -0.5), -0.6), ((-0.5, -0.5, 1), -0.6))
STRIPES_SATURATION = 0.6  # a of the first colour; that of the second is the number above
STRIPES_PX, STRIPES_DEGREES = (6.0, 4.0), 75.0  # how wide each is; the angle of the line across them
GREY_STOPS = 10  # below saturation of the least exposed sites
SUPERSAMPLING = 4
LINE_PX, LINE_PERIOD_PX = 1.5, 5.3
CONTRAST = 0.8  # (white - black) / (white + black)


def zone_plate(side: int = SIDE_PX) -> np.ndarray:
    """Return four zone plates, (side, side) float32 from 0 to 1, one for each of BRIGHTNESS.

    Rings whose frequency grows from their middle to half a cycle a pixel, the sampling limit, at the sides' middles.

    >>> [round(float(middle), 4) for middle in zone_plate(64)[[16, 48], [16, 48]]]
    [0.8, 0.0125]
    """
    half = side // 2
    steps = np.arange(half) - half // 2
    # phase = pi r^2 / half turns by pi a pixel, half a cycle, where r = half / 2
    wave = np.cos(np.pi / half * (steps[:, None] ** 2 + steps[None, :] ** 2))
    return _quarters(wave)


def fine_lines(side: int = SIDE_PX) -> np.ndarray:
    """Return four fans of thin dark lines, (side, side) float32 from 0 to 1, one for each of BRIGHTNESS.

    Lines of LINE_PX every LINE_PERIOD_PX, nearly upright, nearly level and slanting, averaged over each pixel as a lens
    and a sensor do it. The period is no multiple of any CFA's or pattern's, so that no phase is favoured.
    """
    half, fine = side // 2, SUPERSAMPLING
    steps = (np.arange(half * fine) + 0.5) / fine
    y, x = steps[:, None], steps[None, :]
    tall = half / 3
    distance = np.where(y < tall, x + 0.06 * y, np.where(y < 2 * tall, y + 0.06 * x, (x + y) / np.sqrt(2)))
    light = np.where(distance % LINE_PERIOD_PX < LINE_PX, -1.0, 1.0)
    return _quarters(light.reshape(half, fine, half, fine).mean((1, 3)))


def flat_grey(side: int = SIDE_PX) -> np.ndarray:
    """Return flat grey, (side, side) float32, GREY_STOPS below 1.

    >>> float(flat_grey(2)[0, 0]) * 1024
    1.0
    """
    return np.full((side, side), 2.0**-GREY_STOPS, np.float32)


def pure_colours(side: int = SIDE_PX) -> np.ndarray:
    """Return 4 x 4 flat patches, (side, side, 3) float32, balanced RGB: HUES at both of PATCH_LEVELS.

    >>> [round(float(channel), 3) for channel in pure_colours(64)[0, 0]]
    [0.5, 0.005, 0.005]
    """
    hues = np.maximum(np.array(HUES, np.float32), np.float32(LEAST_CHANNEL))
    patches = np.concatenate([level * hues for level in PATCH_LEVELS]).reshape(4, 4, 3)
    return np.asarray(patches.repeat(side // 4, axis=0).repeat(side // 4, axis=1), np.float32)


def coloured_stripes(side: int = SIDE_PX) -> np.ndarray:
    """Return 4 x 4 fields of stripes, (side, side, 3) float32, balanced RGB: STRIPES at both widths and PATCH_LEVELS.

    Green against magenta, and grey, red against cyan, blue against yellow: both colours have one mean of R, G and B, so
    that colour alone tells them apart. Averaged over each pixel as a lens and a sensor do it.

    >>> fields = coloured_stripes(64)
    >>> float(fields.max()), round(float(np.ptp(fields[:16, :16].mean(2))), 6)
    (0.5, 0.0)
    """
    fine = SUPERSAMPLING
    steps = (np.arange(side // 4 * fine) + 0.5) / fine
    angle = np.deg2rad(STRIPES_DEGREES)
    across = steps[None, :] * np.cos(angle) + steps[:, None] * np.sin(angle)
    fields = []
    for width in STRIPES_PX:
        first = (across // width % 2).reshape(side // 4, fine, side // 4, fine).mean((1, 3))[..., None]
        of_width = []
        for axis, second in STRIPES:
            one, other = (1 + a * np.array(axis) for a in (STRIPES_SATURATION, second))
            of_width.append((first * one + (1 - first) * other) / (1 + STRIPES_SATURATION))
        row = np.concatenate(of_width, axis=1)
        fields += [level * row for level in PATCH_LEVELS]
    return np.asarray(np.concatenate(fields), np.float32)


def _quarters(wave: np.ndarray) -> np.ndarray:
    light = (1 + CONTRAST * wave) / (1 + CONTRAST)
    quarters = [brightness * light for brightness in BRIGHTNESS]
    return np.asarray(np.block([quarters[:2], quarters[2:]]), np.float32)


def quarter_slices(side: int) -> list[tuple[slice, slice]]:
    """Return where the quarters of a chart are, in the order of BRIGHTNESS.

    >>> quarter_slices(8)[1]
    (slice(0, 4, None), slice(4, 8, None))
    """
    halves = (slice(0, side // 2), slice(side // 2, side))
    return [(rows, columns) for rows in halves for columns in halves]
