"""Requested white balance -> the neutral of a shot in camera RGB; and whether a neutral is plausible."""

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

MOST_APART = 100  # largest factor between two multipliers
BELIEVABLE_KELVIN = (1800.0, 15000.0)  # candle light to blue shade
BELIEVABLE_DUV = 0.03  # fluorescent lamps and leafy shade stay within 0.02 of the locus; the rest is for the matrix

GREY_SIDE = 128  # `auto` looks at cells, at most this many along the long side
GREY_MIRED, GREY_DUV = (100.0, 540.0), 0.02  # what `auto` takes for grey: 1850 to 10000 K, near the locus
MEASURED_DECIMALS = 5  # of a neutral measured on an image: rounded so that all devices give the same
USUAL_MIRED, USUAL_DUV, USUAL_SHARE = 185.0, 0.003, 0.1  # sunlight, and its weight if the whole image has 1

# If plausible lights make a smaller share of an image grey than LEAST_GREY, it is infrared or was taken under water. A
# white balance set for that makes at least GREY_AS_SHOT of it grey. If a share of COLOURLESS has equal channels, which
# no light explains, and the median is within ALIKE_EV of that, the sensor has no colour filters: a scene that is all
# pink is seldom so close.
LEAST_GREY, GREY_AS_SHOT, COLOURLESS, ALIKE_EV = 0.02, 0.1, 0.9, 0.07
GREY_EV = 0.25  # balanced channels within this of green are grey


@dataclass(frozen=True)
class WhiteBalance:
    """A parsed `--wb`: `rule` is one of RULES; multipliers (R, G, B), kelvin and grey also have `values`.

    The values of grey are an area of the upright image in px: first column, first row, width and height. Raises
    ValueError, with a sentence for the user, for other rules, multipliers that are not above 0 or differ by more than a
    factor of 100, temperatures outside 1600 to 25000 K, and areas that are not in whole px.
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
    """Parse `--wb`: as-shot, auto, daylight, multipliers R,G,B, a temperature in kelvin, or a grey area.

    Raises ValueError, with a sentence for the user, for anything else, and for what WhiteBalance refuses.

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
    """Raise Sve2HdrError for a temperature at which `camera_from_xyz` gives no neutral, or a grey area off the image.

    Few matrices hold for candle light: some make blue negative at 1600 K. Raises ValueError for a matrix that gives no
    neutral even for daylight, which cannot be a camera's.
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
    """The neutral that a white balance led to."""

    camera_rgb: np.ndarray  # (3,) float64, of a neutral, green 1.0
    taken: WhiteBalance  # the rule that gave it
    note: str = ""  # for the user


def neutral_of(
    choice: WhiteBalance, mosaic: Mosaic, camera_rgb: np.ndarray, clip_level: float, raw: str | Path = "mosaic"
) -> Neutral:
    """Return the neutral of a shot, which errors call `raw`.

    usual (no `--wb`): as shot; but auto if the file has no white balance, if it is implausible (`looks_wrong`), because
    Dual ISO misleads cameras, or if the image has no colours. An implausible one is kept all the same if it makes parts
    of the image grey and plausible lights make hardly any.
    as-shot: the file's, plausible or not; daylight if it has none.
    auto: `auto_neutral` of the reconstructed image, (H, W, 3) float32 camera RGB, with its clip level.
    daylight: the camera's response to D65. kelvin: its response to a light of this temperature, see `xy_of_kelvin`.
    grey: the mean of an area of the image; the note gives multipliers for other shots in the same light.

    Raises ValueError if `camera_from_xyz` gives no neutral for a light, and Sve2HdrError if the area that should be
    grey is black or clipped.
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
    """Return why a neutral, (3,) camera RGB, is no plausible light for photos, as a clause for the user; else "".

    Through the camera's matrix, plausible lights lie near the Planckian locus: within Duv 0.03, at 1800 to 15000 K.
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

    A grey world of only those parts that can be grey: unclipped, and of a colour that a light near the Planckian locus
    gives to grey. The estimate is their weighted mean in reciprocal temperature and distance from the locus, with
    sunlight as a prior that weighs a tenth of the image. So foliage, neon and flowers do not move it, and the fewer
    parts can be grey, the closer it is to sunlight. It cannot tell orange walls from orange light. Candles look like
    amber lamps (LED, 560 MK^-1): GREY_MIRED ends between the two, so candle light below 2000 K comes out slightly
    orange. If all channels are equal, which no light explains, the sensor has no colour filters, and the neutral has
    equal channels.
    """
    return _Greys.of(camera_rgb, mosaic, clip_level).neutral


@dataclass(frozen=True, eq=False)
class _Greys:
    """The parts of an image that can be grey."""

    cells: np.ndarray  # (n, 3) float64, camera RGB of the parts that are not clipped
    neutral: np.ndarray  # (3,) float64, see `auto_neutral`
    share: float  # of the parts that a plausible light makes grey
    colourless: bool  # all channels are equal, which no light explains

    @classmethod
    def of(cls, camera_rgb: np.ndarray, mosaic: Mosaic, clip_level: float) -> _Greys:
        cells, usable = _cells(camera_rgb, CLIP_STARTS * clip_level)
        cells = cells[usable & (cells.min(axis=1) > 0)].astype(np.float64)
        if _alike(cells) and looks_wrong(np.ones(3), mosaic):
            return cls(cells, np.ones(3), 0.0, True)
        light, share = xy_of_mired(USUAL_MIRED, USUAL_DUV), 0.0
        for _ in range(1 if mosaic.calibrations is None else 4):  # of two calibrations, the matrix depends on the light
            light, share = _light_of_grey(cells, np.linalg.inv(camera_from_xyz_at(light, mosaic)))
        return cls(cells, neutral_of_light(light, mosaic).round(MEASURED_DECIMALS), share, False)

    def grey_by(self, neutral: np.ndarray) -> float:
        """Return the share of `cells` that a neutral, (3,), makes grey."""
        return _grey_by(self.cells, neutral)


def _alike(cells: np.ndarray) -> bool:
    """Return whether the channels of camera RGB, (n, 3) above 0, are equal nearly everywhere, and in the median.

    Noise deviates to both sides; pink paper, or a stage in pink light, to one, if only by a tenth of an EV.
    """
    if _grey_by(cells, np.ones(3)) < COLOURLESS:
        return False
    return bool(np.abs(np.median(np.log2(cells / cells[:, 1:2]), axis=0)).max() <= ALIKE_EV)


def _grey_by(cells: np.ndarray, neutral: np.ndarray) -> float:
    """Return the share of camera RGB, (n, 3) above 0, that a neutral, (3,), makes grey."""
    if not cells.size:
        return 0.0
    of_green = np.log2(cells / neutral)
    return float((np.abs(of_green - of_green[:, 1:2]) <= GREY_EV).all(axis=1).mean())


def _light_of_grey(cells: np.ndarray, xyz_from_camera: np.ndarray) -> tuple[Xy, float]:
    """Return the xy of the light that makes camera RGB, (n, 3), grey on average, and the share that can be grey."""
    mired, duv = mired_and_duv(cells @ xyz_from_camera.T) if cells.size else (np.empty(0), np.empty(0))
    grey = (mired >= GREY_MIRED[0]) & (mired <= GREY_MIRED[1]) & (np.abs(duv) <= GREY_DUV)
    estimate, share = np.array([USUAL_MIRED, USUAL_DUV]), 0.0
    if grey.any():
        found = np.stack([mired[grey], duv[grey]], axis=1)
        green = cells[grey, 1]
        weights = np.sqrt(np.minimum(green, np.percentile(green, 95)))  # dark ones are noisy; lamps are few
        share = float(grey.mean())
        weights *= share / weights.sum()
        estimate = (weights @ found + USUAL_SHARE * estimate) / (weights.sum() + USUAL_SHARE)
    return xy_of_mired(*estimate), share


def _cells(camera_rgb: np.ndarray, clipped_from: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of square cells, (n, 3), and which of them have nothing clipped, (n,)."""
    height, width = camera_rgb.shape[:2]
    side = min(height, width, -(-max(height, width) // GREY_SIDE))
    columns = width // side
    means, usable = [], []
    for top in range(0, height - side + 1, side):  # a row of cells at a time keeps the copies small
        row = camera_rgb[top : top + side, : columns * side].reshape(side, columns, side, 3)
        means.append(np.einsum("yxwc->xc", row) / np.float32(side * side))  # as mean, in a third of the time
        usable.append(row.max(axis=(0, 2, 3)) < clipped_from)
    return np.concatenate(means), np.concatenate(usable)
