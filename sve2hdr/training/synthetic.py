"""Synthetic HDR scenes for training: what photographs are short of - edges, fine lines, text, gradients, hard light.

Dead leaves (Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001) have the edge statistics of
natural images and no noise of their own; the rest is where demosaicing and merging fail first.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FINEST_COLOUR_PX = 7  # period of what colour alone tells apart
SUPERSAMPLING = 2  # shapes are drawn this much larger and averaged down, so edges are anti-aliased as a lens would


def synthetic_scene(seed: int, size: int = 512) -> np.ndarray:
    """Return one scene, (size, size, 3) float32, scene-linear, positive; the same seed gives the same scene."""
    rng = np.random.default_rng(seed)
    side = size * SUPERSAMPLING
    plain = rng.random() < 0.15  # walls and skies: nothing but light, where noise leaves blotches
    reflectance = _gradient(rng, side) if plain or rng.random() < 0.25 else _dead_leaves(rng, side)
    for _ in range(0 if plain else rng.integers(0, 6)):
        light_and_dark = rng.random() < 0.6  # cloth, blinds and railings have both of one colour, and so moire is seen
        tinted = not light_and_dark and rng.random() < 0.6  # cloth and leaves that colour alone tells apart
        # of finer colour a Bayer sensor sees the same as of light and dark, which are more likely
        grating, area = _grating(rng, side, finest_px=FINEST_COLOUR_PX if tinted else 2)
        if light_and_dark:
            reflectance *= (1 - np.float32(rng.uniform(0.3, 0.97)) * grating)[..., None]
        elif tinted:
            reflectance[area], other = equally_bright(rng)
            reflectance += grating[..., None] * (other - reflectance)
        else:
            _lay(reflectance, grating, rng)
    for _ in range(0 if plain else rng.integers(0, 3)):
        _lay(reflectance, _strokes(rng, side), rng)
    if not plain and rng.random() < 0.5:
        if rng.random() < 0.6:
            lay_paper(reflectance, rng)
        text = _text(rng, side)
        if rng.random() < 0.6:  # print is as neutral as its paper, and so colour is seen on it
            reflectance *= (1 - np.float32(rng.uniform(0.5, 0.97)) * text)[..., None]
        else:
            _lay(reflectance, text, rng)
    scene = reflectance * _light(rng, side)[..., None]
    _lay(scene, _lamps(rng, side), rng, brightness=float(np.exp2(rng.uniform(2, 8)) * np.median(scene)))
    _lay(scene, _points(rng, side), rng, brightness=float(np.exp2(rng.uniform(2, 8)) * np.median(scene)), pure=True)
    small = scene.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 3).mean(axis=(1, 3))
    return np.ascontiguousarray(small, dtype=np.float32)


def _colour(rng: np.random.Generator) -> np.ndarray:
    """One reflectance, (3,) float32: mostly muted, now and then saturated or pure."""
    grey = np.exp2(rng.uniform(-5, 0))
    if rng.random() < 0.08:
        return np.asarray(grey * _pure(rng), np.float32)
    chroma = rng.normal(size=3) * rng.choice([0.1, 0.35, 1.0], p=[0.4, 0.4, 0.2])
    return np.asarray(grey * np.exp2(chroma - chroma.mean()), np.float32)


def _pure(rng: np.random.Generator) -> np.ndarray:
    """One colour of one or two channels, (3,) float64, at most 1: the others are 2 to 9 EV lower."""
    channels = rng.permutation([0.0, rng.uniform(2, 9), rng.choice([0.0, rng.uniform(2, 9)])])
    return np.asarray(np.exp2(-channels))


def equally_bright(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return two reflectances, (3,) float32, of about one mean: mostly green beside magenta or grey.

    To a Bayer sensor their stripes look much like the finest light and dark: so networks take them for that.
    """
    axis = np.array([-1.0, 2.0, -1.0]) if rng.random() < 0.6 else rng.normal(size=3)
    axis = axis - axis.mean() + rng.normal(0, 0.1, 3)
    axis *= rng.uniform(0.2, 0.95) / np.abs(axis).max()
    tint, grey = np.exp2(rng.normal(0, 0.2, 3)), np.exp2(rng.uniform(-4, 0))
    one, other = grey * tint * (1 + axis), grey * tint * (1 - rng.uniform(0, 1) * axis)
    return np.asarray(one, np.float32), np.asarray(other, np.float32)


def _lay(
    canvas: np.ndarray,
    cover: np.ndarray,
    rng: np.random.Generator,
    brightness: float | None = None,
    pure: bool = False,
) -> None:
    """Paint one colour over `canvas` where `cover`, (side, side) from 0 to 1, is above 0."""
    if brightness is None:
        colour = _colour(rng)
    else:
        colour = np.asarray(brightness * (_pure(rng) if pure else 0.5 + _colour(rng)), np.float32)
    canvas += cover[..., None] * (colour - canvas)


def lay_paper(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Lay bright sheets of almost no colour over reflectance, (side, side, 3) float32, in place."""
    side = len(canvas)
    for _ in range(rng.integers(1, 4)):
        (h, w), (top, left) = rng.integers(side // 4, side, 2), rng.integers(0, side - side // 4, 2)
        canvas[top : top + h, left : left + w] = np.exp2(rng.uniform(-1.5, 0) + rng.normal(0, 0.05, 3))


def _dead_leaves(rng: np.random.Generator, side: int) -> np.ndarray:
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = _colour(rng)
    smallest, largest = rng.uniform(2, 8), side * rng.uniform(0.1, 0.4)
    u = rng.random(2500)  # radii by r^-3 between the limits, in any order: later leaves cover earlier ones
    radii = 1 / np.sqrt(u / smallest**2 + (1 - u) / largest**2)
    for radius in radii:
        cy, cx = rng.uniform(0, side, 2)
        top, bottom = max(0, int(cy - 1.5 * radius)), min(side, int(cy + 1.5 * radius) + 1)
        left, right = max(0, int(cx - 1.5 * radius)), min(side, int(cx + 1.5 * radius) + 1)
        if top >= bottom or left >= right:
            continue
        y, x = np.ogrid[top - cy : bottom - cy, left - cx : right - cx]
        angle = rng.uniform(0, np.pi)
        a, b = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        flat = rng.uniform(0.3, 1)
        inside = (np.abs(a) + 0 * b < radius) & (np.abs(b) < flat * radius)
        if rng.random() < 0.6:
            inside = (a / radius) ** 2 + (b / (flat * radius)) ** 2 < 1
        patch = canvas[top:bottom, left:right]
        shade = 1 + rng.uniform(-0.4, 0.4) * a / radius  # a gradient over each leaf
        if rng.random() < 0.3:  # a texture on some
            shade = shade * (1 + rng.uniform(0.1, 0.6) * np.sin(a * rng.uniform(0.2, 2.5) + b * rng.uniform(-1, 1)))
        patch[inside] = np.maximum(_colour(rng) * shade[inside][:, None], 1e-3)
    return canvas


def _gradient(rng: np.random.Generator, side: int) -> np.ndarray:
    t = np.linspace(0, 1, side, dtype=np.float32)
    y, x = t[:, None, None], t[None, :, None]
    corners = [_colour(rng) for _ in range(4)]
    blend = (1 - y) * ((1 - x) * corners[0] + x * corners[1]) + y * ((1 - x) * corners[2] + x * corners[3])
    return np.ascontiguousarray(blend, dtype=np.float32)


def _grating(rng: np.random.Generator, side: int, finest_px: float) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Bars, a zone plate or a Siemens star, periods from `finest_px` of the finished scene up, and its rectangle."""
    cover = np.zeros((side, side), np.float32)
    h, w = rng.integers(side // 8, side // 2, 2)
    top, left = rng.integers(0, side - h), rng.integers(0, side - w)
    y, x = np.mgrid[-h / 2 : h / 2, -w / 2 : w / 2][:, :h, :w]
    kind, period = rng.integers(3), SUPERSAMPLING * np.exp2(rng.uniform(np.log2(finest_px), 5))
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)], p=[0.2, 0.2, 0.6])
    phase = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)
    if kind == 1:
        phase = (x**2 + y**2) * (np.pi / (period * max(h, w) / 2))
    elif kind == 2:
        phase = np.arctan2(y, x) * rng.integers(8, 72)
    wave = np.sin(phase + rng.uniform(0, 2 * np.pi))
    cover[top : top + h, left : left + w] = wave > 0 if rng.random() < 0.6 else 0.5 + 0.5 * wave
    return cover * np.float32(rng.uniform(0.3, 1)), (slice(top, top + h), slice(left, left + w))


def _strokes(rng: np.random.Generator, side: int) -> np.ndarray:
    """Thin lines and curves: twigs, wires, hair."""
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(5, 60)):
        start, step, turn = rng.uniform(0, side, 2), rng.uniform(-60, 60, 2), rng.uniform(-0.25, 0.25)
        points = [start]
        for _ in range(rng.integers(1, 16)):
            step = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ step
            points.append(points[-1] + step)
        draw.line([(float(px), float(py)) for px, py in points], fill=255, width=int(rng.integers(1, 7)))
    return np.asarray(image, np.float32) / 255


def _text(rng: np.random.Generator, side: int) -> np.ndarray:
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    letters = np.array(list("ABCDEFGHIKLMNOPRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&%#/=+-.,;:()"))
    for _ in range(rng.integers(4, 30)):
        line = "".join(rng.choice(letters, rng.integers(4, 40)))
        font = ImageFont.load_default(size=float(SUPERSAMPLING * np.exp2(rng.uniform(2.6, 5.3))))
        draw.text((float(rng.uniform(-40, side)), float(rng.uniform(0, side))), line, fill=255, font=font)
    if rng.random() < 0.3:
        image = image.rotate(float(rng.uniform(-45, 45)))
    return np.asarray(image, np.float32) / 255


def _light(rng: np.random.Generator, side: int) -> np.ndarray:
    """Illumination, (side, side) float32: smooth over some stops, with hard shadows."""
    t = np.linspace(-1, 1, side, dtype=np.float32)
    y, x = t[:, None], t[None, :]
    stops = rng.uniform(-2, 2) * x + rng.uniform(-2, 2) * y
    for _ in range(rng.integers(1, 5)):
        cy, cx, width = *rng.uniform(-1, 1, 2), rng.uniform(0.1, 0.8)
        stops = stops + rng.uniform(-2, 4) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    for _ in range(rng.integers(0, 3)):
        angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.6, 0.6)
        stops = stops - rng.uniform(1, 6) * (x * np.cos(angle) + y * np.sin(angle) > offset)
    return np.exp2(stops).astype(np.float32)


def _lamps(rng: np.random.Generator, side: int) -> np.ndarray:
    """Small bright sources: windows, bulbs, glints."""
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 25)):
        (x, y), r = rng.uniform(0, side, 2), float(np.exp2(rng.uniform(0, 5.5)))
        shape = draw.ellipse if rng.random() < 0.6 else draw.rectangle
        shape((float(x) - r, float(y) - r, float(x) + r, float(y) + r * float(rng.uniform(0.2, 1))), fill=255)
    return np.asarray(image, np.float32) / 255


def _points(rng: np.random.Generator, side: int) -> np.ndarray:
    """Point lights: LEDs, tail lights, far signs, hardly larger than a site."""
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 30)):
        (x, y), r = rng.uniform(0, side, 2), float(rng.uniform(0.8, 3))
        draw.ellipse((float(x) - r, float(y) - r, float(x) + r, float(y) + r), fill=int(rng.integers(60, 256)))
    return np.asarray(image, np.float32) / 255
