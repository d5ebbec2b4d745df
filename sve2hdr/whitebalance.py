"""The white balance asked for -> the neutral of a shot, in camera RGB; and whether a neutral is believable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .clipping import CLIP_STARTS
from .color import D65, Xy, neutral_of_light
from .errors import Sve2HdrError, check_one_of
from .mosaic import Mosaic

RULES = ("usual", "as-shot", "auto", "daylight", "multipliers", "kelvin")
LEAST_KELVIN, DAYLIGHT_FROM_KELVIN, GREATEST_KELVIN = 1600.0, 4000.0, 25000.0

BELIEVABLE_KELVIN = (1800.0, 15000.0)  # candle light to blue shade
BELIEVABLE_DUV = 0.03  # fluorescent lamps and leafy shade stay within 0.02 of the locus, the rest is the matrix

LOCUS_MIRED = np.arange(1e6 / GREATEST_KELVIN, 800.0, 2.0)
GREY_SIDE = 128  # cells at most along the long side that `auto` looks at
GREY_MIRED, GREY_DUV = (100.0, 540.0), 0.02  # what `auto` takes for grey: 1850 to 10000 K, near the locus
USUAL_MIRED, USUAL_DUV, USUAL_SHARE = 185.0, 0.003, 0.1  # sunlight, and its weight, where the whole image has 1


@dataclass(frozen=True)
class WhiteBalance:
    """A `--wb` as parsed: `rule` is one of RULES. Of them, multipliers (R, G, B) and kelvin have `values`.

    Raises ValueError, with a sentence for the user, for other rules, multipliers that are not above 0 or further apart
    than a factor of 100, and temperatures outside 1600 to 25000 K.
    """

    rule: str = "usual"
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_one_of("rule", self.rule, RULES)
        values = self.values
        if self.rule == "kelvin" and not (len(values) == 1 and LEAST_KELVIN <= values[0] <= GREATEST_KELVIN):
            told = "K, ".join(f"{value!r}" for value in values)
            raise ValueError(f"'{told}K' is no colour temperature from {LEAST_KELVIN:g} to {GREATEST_KELVIN:g} K")
        if self.rule == "multipliers" and not (
            len(values) == 3 and all(0 < value < np.inf for value in values) and max(values) <= 100 * min(values)
        ):
            raise ValueError(f"'{self}': multipliers must be three, above 0, and within a factor of 100 of each other")

    def __str__(self) -> str:
        """Return it as `--wb` takes it."""
        listed = ",".join(f"{value:g}" for value in self.values)
        return {"kelvin": f"{listed}K", "multipliers": listed}.get(self.rule, self.rule)


def parse_white_balance(text: str) -> WhiteBalance:
    """Return what `--wb` says: as-shot, auto, daylight, three multipliers R,G,B or a colour temperature in kelvin.

    Raises ValueError, with a sentence for the user, for anything else, and what WhiteBalance refuses.

    >>> parse_white_balance("2,1,1.5")
    WhiteBalance(rule='multipliers', values=(2.0, 1.0, 1.5))
    >>> parse_white_balance("5500K")
    WhiteBalance(rule='kelvin', values=(5500.0,))
    """
    given = text.strip().lower()
    if given in ("as-shot", "auto", "daylight"):
        return WhiteBalance(given)
    if re.fullmatch(r"\d+(\.\d*)? ?k?", given):
        return WhiteBalance("kelvin", (float(given.rstrip("k ")),))
    parts = given.split(",")
    try:
        values = tuple(float(part) for part in parts)
    except ValueError:
        values = ()
    if len(values) != 3:
        raise ValueError(f"{text!r} is no white balance: as-shot, auto, daylight, R,G,B multipliers or kelvin (5500K)")
    return WhiteBalance("multipliers", values)


def check_lights(choice: WhiteBalance, mosaic: Mosaic, raw: str | Path) -> None:
    """Raise Sve2HdrError where a temperature was asked for that `camera_from_xyz` gives no neutral of.

    Few matrices hold for candle light: at 1600 K, in some, blue is below 0. Raises ValueError for a matrix that is no
    camera's, as it gives no neutral of daylight.
    """
    neutral_of_light(D65, mosaic)
    if choice.rule == "kelvin":
        try:
            neutral_of_light(xy_of_kelvin(choice.values[0]), mosaic)
        except ValueError as error:
            raise Sve2HdrError(
                f"{raw}: this camera's matrix has no neutral at {choice}; give --wb a higher temperature or multipliers"
            ) from error


class Neutral(NamedTuple):
    """What a white balance came to."""

    camera_rgb: np.ndarray  # (3,) float64, of a neutral, green 1.0
    taken: WhiteBalance  # where one was found out: by which rule
    note: str = ""  # for the user


def neutral_of(choice: WhiteBalance, mosaic: Mosaic, camera_rgb: np.ndarray, clip_level: float) -> Neutral:
    """Return the neutral of a shot.

    usual (no `--wb`): as shot; where that is not believable (`looks_wrong`), as Dual ISO misleads cameras, or the file
    has none, auto. as-shot: the file's, believable or not; where it has none, daylight.
    auto: `auto_neutral` of the reconstructed image, (H, W, 3) float32 camera RGB, with its clip level.
    daylight: the camera's response to D65. kelvin: that to a light of this temperature, see `xy_of_kelvin`.

    Raises ValueError where `camera_from_xyz` gives a light that is no neutral.
    """
    auto, daylight = WhiteBalance("auto"), WhiteBalance("daylight")
    if choice.rule == "multipliers":
        return Neutral(choice.values[1] / np.array(choice.values), choice)
    if choice.rule == "kelvin":
        return Neutral(neutral_of_light(xy_of_kelvin(choice.values[0]), mosaic), choice)
    if choice.rule == "auto":
        return Neutral(auto_neutral(camera_rgb, mosaic, clip_level), auto)
    if choice.rule == "daylight":
        return Neutral(neutral_of_light(D65, mosaic), daylight)
    if mosaic.as_shot_neutral is None:
        doubt = "no as-shot white balance is stated"
        if choice.rule == "as-shot":
            return Neutral(neutral_of_light(D65, mosaic), daylight, f"{doubt}, daylight is used; choose one with --wb")
        return Neutral(auto_neutral(camera_rgb, mosaic, clip_level), auto, f"{doubt}; --wb auto is used")
    neutral = mosaic.as_shot_neutral / mosaic.as_shot_neutral[1]
    doubt = looks_wrong(neutral, mosaic)
    if choice.rule == "as-shot" or not doubt:
        return Neutral(neutral, WhiteBalance("as-shot"), f"{doubt}; --wb auto may do better" if doubt else "")
    return Neutral(auto_neutral(camera_rgb, mosaic, clip_level), auto, f"{doubt}; --wb auto is used instead")


def looks_wrong(neutral: np.ndarray, mosaic: Mosaic) -> str:
    """Return why a neutral, (3,) camera RGB, is no light one photographs by, as a clause for the user; else "".

    Seen through the camera's matrix, lights lie near the Planckian locus: within Duv 0.03 and 1800 to 15000 K.
    """
    kelvin, duv = kelvin_and_duv(_xyz_from_camera(mosaic) @ neutral)
    least, greatest = BELIEVABLE_KELVIN
    if not abs(duv) <= BELIEVABLE_DUV:
        cast = "green" if duv > 0 else "magenta"
        return f"the as-shot white balance stands for a {cast} light (Duv {duv:+.3f}), which is not believable"
    if not least <= kelvin <= greatest:
        bound = f"below {least:.0f}" if kelvin < least else f"above {greatest:.0f}"
        return f"the as-shot white balance stands for a light of {bound} K, which is not believable"
    return ""


def auto_neutral(camera_rgb: np.ndarray, mosaic: Mosaic, clip_level: float) -> np.ndarray:
    """Return the neutral that makes an image, (H, W, 3) float32 camera RGB, grey on average: (3,) float64, green 1.0.

    A grey world of those parts only that can be grey: unclipped, and lit, if they are, by something near the Planckian
    locus. The estimate is their weighted mean in reciprocal temperature and distance from the locus, with sunlight
    counted in as a tenth of the image. So foliage, neon and flowers do not move it, the less can be grey the nearer it
    is to sunlight. A scene of orange walls is not told from one in orange light. Candles look like amber lamps (LED,
    560 MK^-1): GREY_MIRED ends between the two, so candle light below 2000 K comes out a little orange.
    """
    cells, usable = _cells(camera_rgb, CLIP_STARTS * clip_level)
    cells = cells[usable & (cells.min(axis=1) > 0)].astype(np.float64)
    mired, duv = _mired_and_duv(cells @ _xyz_from_camera(mosaic).T) if cells.size else (np.empty(0), np.empty(0))
    grey = (mired >= GREY_MIRED[0]) & (mired <= GREY_MIRED[1]) & (np.abs(duv) <= GREY_DUV)
    estimate = np.array([USUAL_MIRED, USUAL_DUV])
    if grey.any():
        found = np.stack([mired[grey], duv[grey]], axis=1)
        green = cells[grey, 1]
        weights = np.sqrt(np.minimum(green, np.percentile(green, 95)))  # dark ones are noisy, lamps are few
        weights *= grey.mean() / weights.sum()
        estimate = (weights @ found + USUAL_SHARE * estimate) / (weights.sum() + USUAL_SHARE)
    return neutral_of_light(_xy_of_mired(*estimate), mosaic)


def _cells(camera_rgb: np.ndarray, clipped_from: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of square cells, (n, 3), and which of them hold nothing clipped, (n,)."""
    height, width = camera_rgb.shape[:2]
    side = min(height, width, -(-max(height, width) // GREY_SIDE))
    columns = width // side
    means, usable = [], []
    for top in range(0, height - side + 1, side):  # a row of cells at a time keeps the copies small
        row = camera_rgb[top : top + side, : columns * side].reshape(side, columns, side, 3)
        means.append(np.einsum("yxwc->xc", row) / np.float32(side * side))  # as mean, in a third of its time
        usable.append(row.max(axis=(0, 2, 3)) < clipped_from)
    return np.concatenate(means), np.concatenate(usable)


# Lights ---------------------------------------------------------------------------------------------------------------


def xy_of_kelvin(kelvin: float) -> Xy:
    """Return the chromaticity of a light: CIE D illuminant (CIE 15) from 4000 K on, below a Planckian radiator.

    Raises ValueError outside 1600 to 25000 K.

    >>> [round(v, 4) for v in xy_of_kelvin(6504)]
    [0.3127, 0.3291]
    """
    if not LEAST_KELVIN <= kelvin <= GREATEST_KELVIN:
        raise ValueError(f"kelvin must be from {LEAST_KELVIN:g} to {GREATEST_KELVIN:g}, not {kelvin}")
    if kelvin < DAYLIGHT_FROM_KELVIN:
        return _xy_from_uv(*(float(c) for c in _planckian_uv(np.array(kelvin))))
    t = 1000 / kelvin
    if kelvin <= 7000:
        x = -4.6070 * t**3 + 2.9678 * t**2 + 0.09911 * t + 0.244063
    else:
        x = -2.0064 * t**3 + 1.9018 * t**2 + 0.24748 * t + 0.237040
    return x, -3.000 * x**2 + 2.870 * x - 0.275


def kelvin_and_duv(xyz: np.ndarray) -> tuple[float, float]:
    """Return the correlated colour temperature of XYZ, (3,), and its signed distance from the Planckian locus.

    The distance is in CIE 1960 uv, above 0 on the green side (ANSI C78.377). Temperatures beyond 1250 or 25000 K are
    given as these.
    """
    mired, duv = _mired_and_duv(xyz[None])
    return 1e6 / float(mired[0]), float(duv[0])


def _xyz_from_camera(mosaic: Mosaic) -> np.ndarray:
    return np.asarray(np.linalg.inv(np.asarray(mosaic.camera_from_xyz, np.float64)))


def _planckian_uv(kelvin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Krystek 1985, Color Res. Appl. 10: CIE 1960 uv of the Planckian locus, good to 1e-4 between 1000 and 15000 K.
    t = kelvin
    u = (0.860117757 + 1.54118254e-4 * t + 1.28641212e-7 * t**2) / (1 + 8.42420235e-4 * t + 7.08145163e-7 * t**2)
    v = (0.317398726 + 4.22806245e-5 * t + 4.20481691e-8 * t**2) / (1 - 2.89741816e-5 * t + 1.61456053e-7 * t**2)
    return u, v


def _xy_from_uv(u: float, v: float) -> Xy:
    return 3 * u / (2 * u - 8 * v + 4), 2 * v / (2 * u - 8 * v + 4)


@cache
def _locus() -> tuple[np.ndarray, np.ndarray]:
    """Return points of the Planckian locus, (n, 2) uv, and the unit normals there that point to green."""
    points = np.stack(_planckian_uv(1e6 / LOCUS_MIRED), axis=1)
    along = np.gradient(points, axis=0)
    normals = np.stack([-along[:, 1], along[:, 0]], axis=1)
    return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _mired_and_duv(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for XYZ, (n, 3), the reciprocal megakelvin of the nearest point of the locus, and the distance, (n,)."""
    sums = xyz @ np.array([1.0, 15.0, 3.0])
    uv = xyz[:, :2] * [4.0, 6.0] / np.where(sums > 0, sums, np.nan)[:, None]
    points, normals = _locus()
    uv = np.nan_to_num(uv, nan=9.0)  # no light at all: far from the locus
    nearest = ((uv**2).sum(axis=1)[:, None] - 2 * uv @ points.T + (points**2).sum(axis=1)).argmin(axis=1)
    away = uv - points[nearest]
    sides = np.sign((away * normals[nearest]).sum(axis=1))
    return LOCUS_MIRED[nearest], np.linalg.norm(away, axis=1) * np.where(sides < 0, -1, 1)


def _xy_of_mired(mired: float, duv: float) -> Xy:
    points, normals = _locus()
    u, v = (float(np.interp(mired, LOCUS_MIRED, line)) for line in (points + duv * normals).T)
    return _xy_from_uv(u, v)
