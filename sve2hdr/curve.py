"""Exposed light -> display light: a filmic curve in tables, with the middle channel moved to preserve hues."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

MIDDLE_GREY = 0.2  # display light of the scene's average; slightly above 18 %, because an average includes shadows
CONTRAST, WHITE_EV = 1.25, 5.5  # of the curve: exponent; highest point above middle grey at which it reaches white
HEADROOM_EV = 3.0  # above a screen's white: where WHITE_EV lies on HDR screens
KEPT_HUE = np.float32(0.6)  # 0: the curve alone for each channel; 1: the middle one keeps its place between the others
MOST_LIGHT = np.float32(60_000)  # far above white
LOWER_BITS = 13  # of a float32: 10 bits of its fraction are left


class Curve(NamedTuple):
    """What each index of light (see `index_of`) becomes: tables, (n,)."""

    shown: np.ndarray  # float32, display light
    brighter: np.ndarray  # float32, the same on HDR screens
    code: np.ndarray  # uint8, sRGB

    @classmethod
    def up_to(cls, white_ev: float) -> Curve:
        """Return the curve that reaches white at `white_ev` above middle grey."""
        shown = _filmic(_lights(), white_ev)
        return cls(shown.astype(np.float32), (shown * np.exp2(_gains())).astype(np.float32), _code(shown))

    def rendered(self, indices: np.ndarray) -> np.ndarray:
        """Return the sRGB codes, (3, h, w) uint8, of the light of three channels, (3, h, w) uint32."""
        codes, middle = self.code.take(indices), _Middle.of(indices)
        middle.move(codes, self.code, _codes().take(index_of(middle.through(self.shown))))
        return codes

    def gain_ev(self, indices: np.ndarray) -> np.ndarray:
        """Return by how many EV HDR screens show each channel brighter, (3, h, w) float32; this keeps hues as well."""
        ev, middle = _gains().take(indices), _Middle.of(indices)
        shown, brighter = (np.maximum(middle.through(table), np.float32(1e-9)) for table in (self.shown, self.brighter))
        middle.move(ev, _gains(), np.log2(brighter / shown))
        return ev


class _Middle(NamedTuple):
    """The channel of each pixel that lies between the other two. A curve moves it, which changes the hue."""

    low: np.ndarray  # (h, w) uint32, index of the light of the least channel
    own: np.ndarray
    high: np.ndarray
    place: np.ndarray  # (h, w) float32, of its light between that of the others, 0 to 1
    channels: np.ndarray  # (3, h, w) bool, which one it is; none where two are equal, so that greys stay as they are

    @classmethod
    def of(cls, indices: np.ndarray) -> _Middle:
        low, high = np.minimum(indices[0], indices[1]), np.maximum(indices[0], indices[1])
        own = np.maximum(low, np.minimum(high, indices[2]))
        np.minimum(low, indices[2], out=low)
        np.maximum(high, indices[2], out=high)
        least, light, greatest = ((plane << LOWER_BITS).view(np.float32) for plane in (low, own, high))
        place = (light - least) / np.maximum(greatest - least, np.float32(1e-30))
        return cls(low, own, high, place, (indices == own) & ((low < own) & (own < high)))

    def through(self, table: np.ndarray) -> np.ndarray:
        """Return its light, (h, w), mapped by a table and moved towards its former place between the others."""
        low, own, kept = (np.asarray(table.take(index)) for index in (self.low, self.own, self.high))
        kept -= low
        kept *= self.place
        kept += low
        kept -= own
        kept *= KEPT_HUE
        own += kept
        return own

    def move(self, planes: np.ndarray, table: np.ndarray, values: np.ndarray) -> None:
        """Set this channel to `values`, (h, w), in `planes`, (3, h, w), which came from `table`."""
        step = values - table.take(self.own)  # uint8 wraps around, and back: faster than np.where
        for plane, here in zip(planes, self.channels, strict=True):
            plane += step * here


def index_of(light: np.ndarray) -> np.ndarray:
    """Return the uint32 index into tables of light, float32 from 0 to MOST_LIGHT; overwrites it."""
    # A float's first bits, read as a number, grow with its value, and finer than 8-bit sRGB does.
    bits = light.view(np.uint32)
    bits += (bits >> LOWER_BITS & 1) + ((1 << (LOWER_BITS - 1)) - 1)  # rounded, halves to even
    bits >>= LOWER_BITS
    return bits


def _lights() -> np.ndarray:
    """Return the light that each index stands for, (n,) float64."""
    count = (int(MOST_LIGHT.view(np.uint32)) >> LOWER_BITS) + 1
    return (np.arange(count, dtype=np.uint32) << LOWER_BITS).view(np.float32).astype(np.float64)


def _code(shown: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(255 * srgb_encoded(shown)), np.uint8)


@functools.cache
def _codes() -> np.ndarray:
    return _code(np.minimum(_lights(), 1))


@functools.cache
def _gains() -> np.ndarray:
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
