"""The white balance asked for -> the neutral of a shot, in camera RGB; and whether a neutral is believable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .cameracolor import camera_from_xyz_at, camera_from_xyz_of, neutral_of_light
from .clipping import CLIP_STARTS
from .errors import Sve2HdrError, check_one_of
from .lights import D65, GREATEST_KELVIN, LEAST_KELVIN, Xy, kelvin_and_duv, mired_and_duv, xy_of_kelvin, xy_of_mired
from .mosaic import Mosaic, upright

RULES = ("usual", "as-shot", "auto", "daylight", "multipliers", "kelvin", "grey")

MOST_APART = 100  # a factor, between the channels of a neutral
BELIEVABLE_KELVIN = (1800.0, 15000.0)  # candle light to blue shade
BELIEVABLE_DUV = 0.03  # fluorescent lamps and leafy shade stay within 0.02 of the locus, the rest is the matrix

GREY_SIDE = 128  # cells at most along the long side that `auto` looks at
GREY_MIRED, GREY_DUV = (100.0, 540.0), 0.02  # what `auto` takes for grey: 1850 to 10000 K, near the locus
MEASURED_DECIMALS = 5  # of a neutral that is measured on an image: all devices make the same of it
USUAL_MIRED, USUAL_DUV, USUAL_SHARE = 185.0, 0.003, 0.1  # sunlight, and its weight, where the whole image has 1

# Where light one photographs by makes less of an image grey, it is infrared, or from under water. A balance that was
# set for it makes so much of it grey. Where camera RGB itself is nearly all grey, though no light is of that colour, no
# filter lies over the sensor, or all is of one pink, which is seldom so near to it.
LEAST_GREY, GREY_AS_SHOT, COLOURLESS, ALIKE_EV = 0.02, 0.1, 0.9, 0.07
GREY_EV = 0.25  # within which balanced channels are grey


@dataclass(frozen=True)
class WhiteBalance:
    """A `--wb` as parsed: `rule` is one of RULES. Of them, multipliers (R, G, B), kelvin and grey have `values`.

    Those of grey are a part of the upright image, px: column and row where it begins, width and height. Raises
    ValueError, with a sentence for the user, for other rules, multipliers that are not above 0 or further apart than a
    factor of 100, temperatures outside 1600 to 25000 K, and no whole px.
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
            len(values) == 3 and all(0 < value < np.inf for value in values) and max(values) <= MOST_APART * min(values)
        ):
            apart = f"within a factor of {MOST_APART} of each other"
            raise ValueError(f"'{self}': multipliers must be three, above 0, and {apart}")

        if self.rule == "grey" and not (
            len(values) == 4 and all(0 <= value < np.inf and value % 1 == 0 for value in values) and min(values[2:]) > 0
        ):
            raise ValueError(f"'{self}': write grey:X,Y,WIDTH,HEIGHT, in whole pixels of the image")

    def __str__(self) -> str:
        """Return it as `--wb` takes it."""
        listed = ",".join(f"{value:g}" for value in self.values)
        return {"kelvin": f"{listed}K", "multipliers": listed, "grey": f"grey:{listed}"}.get(self.rule, self.rule)


def parse_white_balance(text: str) -> WhiteBalance:
    """Return what `--wb` says: as-shot, auto, daylight, multipliers R,G,B, a temperature in kelvin, or where grey is.

    Raises ValueError, with a sentence for the user, for anything else, and what WhiteBalance refuses.

    >>> parse_white_balance("2,1,1.5")
    WhiteBalance(rule='multipliers', values=(2.0, 1.0, 1.5))
    >>> parse_white_balance("5500K")
    WhiteBalance(rule='kelvin', values=(5500.0,))
    >>> parse_white_balance("grey:1200,800,60,40")
    WhiteBalance(rule='grey', values=(1200.0, 800.0, 60.0, 40.0))
    """
    given = text.strip().lower()
    if given in ("as-shot", "auto", "daylight"):
        return WhiteBalance(given)
    if re.fullmatch(r"\d+(\.\d*)? ?k?", given):
        return WhiteBalance("kelvin", (float(given.rstrip("k ")),))
    if place := re.fullmatch(r"gr[ae]y:(\d{1,6}(?:,\d{1,6}){3})", given):
        return WhiteBalance("grey", tuple(map(float, place[1].split(","))))
    parts = given.split(",")
    try:
        values = tuple(float(part) for part in parts)
    except ValueError:
        values = ()
    if len(values) != 3:
        raise ValueError(
            f"{text!r} is no white balance; give as-shot, auto, daylight, multipliers R,G,B, kelvin (5500K), or "
            "grey:X,Y,WIDTH,HEIGHT"
        )
    return WhiteBalance("multipliers", values)


def check_lights(choice: WhiteBalance, mosaic: Mosaic, raw: str | Path) -> None:
    """Raise Sve2HdrError where a temperature was asked for that `camera_from_xyz` gives no neutral of, or grey outside.

    Few matrices hold for candle light: at 1600 K, in some, blue is below 0. Raises ValueError for a matrix that is no
    camera's, as it gives no neutral of daylight.
    """
    neutral_of_light(D65, mosaic)
    if choice.rule == "grey":
        x, y, width, height = choice.values
        rows, columns = upright(mosaic.counts, mosaic.capture.orientation).shape
        if x + width > columns or y + height > rows:
            raise Sve2HdrError(f"{raw}: --wb {choice} lies outside of the image, which has {columns} x {rows} px")
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


def neutral_of(
    choice: WhiteBalance, mosaic: Mosaic, camera_rgb: np.ndarray, clip_level: float, raw: str | Path = "mosaic"
) -> Neutral:
    """Return the neutral of a shot, which errors call `raw`.

    usual (no `--wb`): as shot; where that is not believable (`looks_wrong`), as Dual ISO misleads cameras, or the file
    has none, auto. Of an image that has no colours, auto; of one that no believable light makes grey anywhere, and that
    as shot does, as shot. as-shot: the file's, believable or not; where it has none, daylight.
    auto: `auto_neutral` of the reconstructed image, (H, W, 3) float32 camera RGB, with its clip level.
    daylight: the camera's response to D65. kelvin: that to a light of this temperature, see `xy_of_kelvin`.
    grey: the mean of a part of the image; the note tells multipliers for other shots in the same light.

    Raises ValueError where `camera_from_xyz` gives a light that is no neutral, and Sve2HdrError where what shall be
    grey is dark or clipped.
    """
    as_shot, auto, daylight = WhiteBalance("as-shot"), WhiteBalance("auto"), WhiteBalance("daylight")
    if choice.rule == "multipliers":
        return Neutral(choice.values[1] / np.array(choice.values), choice)
    if choice.rule == "kelvin":
        return Neutral(neutral_of_light(xy_of_kelvin(choice.values[0]), mosaic), choice)
    if choice.rule == "grey":
        return _grey_at(choice, mosaic, camera_rgb, clip_level, raw)
    if choice.rule == "daylight":
        return Neutral(neutral_of_light(D65, mosaic), daylight)
    stated = None if mosaic.as_shot_neutral is None else mosaic.as_shot_neutral / mosaic.as_shot_neutral[1]
    doubt = "no as-shot white balance is stated" if stated is None else looks_wrong(stated, mosaic)
    if choice.rule == "as-shot":
        if stated is None:
            return Neutral(neutral_of_light(D65, mosaic), daylight, f"{doubt}, daylight is used; choose one with --wb")
        return Neutral(stated, as_shot, f"{doubt}; --wb auto may do better" if doubt else "")
    found = _Greys.of(camera_rgb, mosaic, clip_level)
    if choice.rule == "auto":
        return Neutral(found.neutral, auto)
    if stated is not None:
        if not (doubt or found.colourless):
            return Neutral(stated, as_shot)
        if doubt and found.share < LEAST_GREY and found.grey_by(stated) >= GREY_AS_SHOT:
            return Neutral(
                stated, as_shot, f"{doubt}, but no plausible one makes anything in the image grey; it is used"
            )
    if found.colourless:
        alike = "all channels are alike, as from a sensor without colour filters"
        return Neutral(found.neutral, auto, f"{alike}, and were left so; --wb as-shot tints them")
    return Neutral(found.neutral, auto, f"{doubt}; --wb auto is used" + ("" if stated is None else " instead"))


def _grey_at(
    choice: WhiteBalance, mosaic: Mosaic, camera_rgb: np.ndarray, clip_level: float, raw: str | Path
) -> Neutral:
    x, y, width, height = map(int, choice.values)
    card = upright(camera_rgb, mosaic.capture.orientation)[y : y + height, x : x + width]
    if card.max() > CLIP_STARTS * clip_level:
        raise Sve2HdrError(f"{raw}: the area of --wb {choice} is clipped; choose a darker grey")
    mean = card.mean(axis=(0, 1), dtype=np.float64)
    if not mean.min() > 0:
        raise Sve2HdrError(f"{raw}: the area of --wb {choice} is black; choose a lighter grey")
    neutral = (mean / mean[1]).round(MEASURED_DECIMALS)
    others = ",".join(f"{multiplier:.4f}" for multiplier in 1 / neutral)
    return Neutral(neutral, choice, f"{choice} is neutral now; for other photos in this light, give --wb {others}")


def looks_wrong(neutral: np.ndarray, mosaic: Mosaic) -> str:
    """Return why a neutral, (3,) camera RGB, is no light one photographs by, as a clause for the user; else "".

    Seen through the camera's matrix, lights lie near the Planckian locus: within Duv 0.03 and 1800 to 15000 K.
    """
    kelvin, duv = kelvin_and_duv(np.linalg.inv(camera_from_xyz_of(neutral, mosaic)) @ neutral)
    least, greatest = BELIEVABLE_KELVIN
    if not abs(duv) <= BELIEVABLE_DUV:
        cast = "green" if duv > 0 else "magenta"
        return f"the as-shot white balance implies a {cast} light (Duv {duv:+.3f}), which is not plausible"
    if not least <= kelvin <= greatest:
        bound = f"below {least:.0f}" if kelvin < least else f"above {greatest:.0f}"
        return f"the as-shot white balance implies a light of {bound} K, which is not plausible"
    return ""


def auto_neutral(camera_rgb: np.ndarray, mosaic: Mosaic, clip_level: float) -> np.ndarray:
    """Return the neutral that makes an image, (H, W, 3) float32 camera RGB, grey on average: (3,) float64, green 1.0.

    A grey world of those parts only that can be grey: unclipped, and lit, if they are, by something near the Planckian
    locus. The estimate is their weighted mean in reciprocal temperature and distance from the locus, with sunlight
    counted in as a tenth of the image. So foliage, neon and flowers do not move it, the less can be grey the nearer it
    is to sunlight. A scene of orange walls is not told from one in orange light. Candles look like amber lamps (LED,
    560 MK^-1): GREY_MIRED ends between the two, so candle light below 2000 K comes out a little orange. Where all
    channels are alike, and no light makes them so, that is the neutral: no filter lies over such a sensor.
    """
    return _Greys.of(camera_rgb, mosaic, clip_level).neutral


@dataclass(frozen=True, eq=False)
class _Greys:
    """What of an image can be grey."""

    cells: np.ndarray  # (n, 3) float64, camera RGB of those parts that are not clipped
    neutral: np.ndarray  # (3,) float64, see `auto_neutral`
    share: float  # of the parts, that a light one photographs by makes grey
    colourless: bool  # all channels are alike, which no light makes them

    @classmethod
    def of(cls, camera_rgb: np.ndarray, mosaic: Mosaic, clip_level: float) -> _Greys:
        cells, usable = _cells(camera_rgb, CLIP_STARTS * clip_level)
        cells = cells[usable & (cells.min(axis=1) > 0)].astype(np.float64)
        if _alike(cells) and looks_wrong(np.ones(3), mosaic):
            return cls(cells, np.ones(3), 0.0, True)
        light, share = xy_of_mired(USUAL_MIRED, USUAL_DUV), 0.0
        for _ in range(1 if mosaic.calibrations is None else 4):  # whose matrix depends on the light
            light, share = _light_of_grey(cells, np.linalg.inv(camera_from_xyz_at(light, mosaic)))
        return cls(cells, neutral_of_light(light, mosaic).round(MEASURED_DECIMALS), share, False)

    def grey_by(self, neutral: np.ndarray) -> float:
        """Return the share of the parts that a neutral, (3,), makes grey."""
        return _grey_by(self.cells, neutral)


def _alike(cells: np.ndarray) -> bool:
    """Return whether the channels of camera RGB, (n, 3), all above 0, are alike: nearly everywhere, and in the median.

    Noise strays on both sides. Pink paper, or a stage in pink light, is off on one, if only by a tenth of an EV.
    """
    if _grey_by(cells, np.ones(3)) < COLOURLESS:
        return False
    return bool(np.abs(np.median(np.log2(cells / cells[:, 1:2]), axis=0)).max() <= ALIKE_EV)


def _grey_by(cells: np.ndarray, neutral: np.ndarray) -> float:
    """Return the share of camera RGB, (n, 3), all above 0, that a neutral, (3,), makes grey."""
    if not cells.size:
        return 0.0
    of_green = np.log2(cells / neutral)
    return float((np.abs(of_green - of_green[:, 1:2]) <= GREY_EV).all(axis=1).mean())


def _light_of_grey(cells: np.ndarray, xyz_from_camera: np.ndarray) -> tuple[Xy, float]:
    """Return the chromaticity of the light that makes camera RGB, (n, 3), grey on average, and what share can be it."""
    mired, duv = mired_and_duv(cells @ xyz_from_camera.T) if cells.size else (np.empty(0), np.empty(0))
    grey = (mired >= GREY_MIRED[0]) & (mired <= GREY_MIRED[1]) & (np.abs(duv) <= GREY_DUV)
    estimate, share = np.array([USUAL_MIRED, USUAL_DUV]), 0.0
    if grey.any():
        found = np.stack([mired[grey], duv[grey]], axis=1)
        green = cells[grey, 1]
        weights = np.sqrt(np.minimum(green, np.percentile(green, 95)))  # dark ones are noisy, lamps are few
        share = float(grey.mean())
        weights *= share / weights.sum()
        estimate = (weights @ found + USUAL_SHARE * estimate) / (weights.sum() + USUAL_SHARE)
    return xy_of_mired(*estimate), share


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
