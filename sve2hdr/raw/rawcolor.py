"""What a raw file says of its camera's colours: matrices for one light or two, and the neutral as shot."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import Any

import numpy as np

from ..cameracolor import neutral_of_light
from ..color import COLOR_SPACES, rgb_from_xyz
from ..formats.tifftags import Ifd, number, numbers
from ..lights import D65, xyz_from_xy
from ..mosaic import Mosaic
from .calibration import KELVIN_OF_ILLUMINANT, Calibrations

# Stands in for the camera's matrix where neither the file nor LibRaw has one, so colours come out as if the camera saw
# like a display.
REC709_FROM_XYZ = rgb_from_xyz(COLOR_SPACES["rec709"])

DAYLIGHT_ILLUMINANTS = (21, 20, 23, 1, 22, 4, 9, 10)  # EXIF LightSource: D65 first, then what comes nearest


def camera_matrices(raw: Any, dng: Ifd) -> tuple[np.ndarray, Calibrations | None]:
    """Return a file's matrix, (3, 3) XYZ to camera RGB, of two that nearest D65, and both where they differ.

    raw: as rawpy has opened it; dng: the tags of a DNG, else none. Where a DNG has no matrix, LibRaw's is taken, then
    one made of LibRaw's camera to display matrix, then XYZ to Rec. 709.
    """
    tags = ((50722, 50779), (50721, 50778))
    stored = [(number(dng, light), matrix) for tag, light in tags if (matrix := _stored_matrix(dng, tag)) is not None]
    stored = [(light, matrix) for light, matrix in stored if of_a_camera(matrix)]
    if stored:
        stored.sort(key=lambda m: DAYLIGHT_ILLUMINANTS.index(int(m[0])) if m[0] in DAYLIGHT_ILLUMINANTS else 99)
        return stored[0][1], _calibrations(stored)
    candidates = [np.array(raw.rgb_xyz_matrix, np.float64)[:3]]
    rec709_from_camera = np.array(raw.color_matrix, np.float64)[:3, :3]  # of a camera that is balanced
    balanced = REC709_FROM_XYZ
    if _invertible(rec709_from_camera) and not np.allclose(rec709_from_camera, np.eye(3)):
        balanced = np.linalg.inv(rec709_from_camera) @ REC709_FROM_XYZ
    neutral = _stored_neutral(dng)
    neutral = _libraw_neutral(raw) if neutral is None else neutral
    candidates.append(balanced * (np.ones(3) if neutral is None else neutral)[:, None])
    return next((matrix for matrix in candidates if of_a_camera(matrix)), REC709_FROM_XYZ.copy()), None


def _calibrations(stored: list[tuple[float | None, np.ndarray]]) -> Calibrations | None:
    """Return two matrices with their lights; None where one is missing, or its light, or those between are damaged."""
    lit = [(KELVIN_OF_ILLUMINANT[int(light)], int(light), m) for light, m in stored if light in KELVIN_OF_ILLUMINANT]
    if len(lit) != 2 or lit[0][0] == lit[1][0] or np.allclose(lit[0][2], lit[1][2]):
        return None
    (_, warm, warm_matrix), (_, cool, cool_matrix) = sorted(lit, key=lambda m: m[0])
    between = [warm_matrix + share * (cool_matrix - warm_matrix) for share in np.linspace(0, 1, 9)]
    mirrored = any(np.linalg.det(one) * np.linalg.det(next_one) <= 0 for one, next_one in pairwise(between))
    if mirrored or not all(of_a_camera(matrix) for matrix in between):
        return None
    return Calibrations(np.stack([warm_matrix, cool_matrix]), (warm, cool))


def _stored_matrix(dng: Ifd, tag: int) -> np.ndarray | None:
    """Return ColorMatrix1 or 2 with what belongs to it: CameraCalibration and AnalogBalance (DNG 1.7, chapter 6)."""
    if len(numbers(dng, tag)) != 9:
        return None
    matrix, calibration, analog = np.array(numbers(dng, tag)).reshape(3, 3), numbers(dng, tag + 2), numbers(dng, 50727)
    if len(calibration) == 9 and dng.get(50931, "") == dng.get(50932, ""):  # signatures: it is for this matrix
        matrix = np.array(calibration).reshape(3, 3) @ matrix
    return np.array(analog)[:, None] * matrix if len(analog) == 3 else matrix


def _invertible(matrix: np.ndarray) -> bool:
    # The bounds are far beyond any camera's: condition numbers of 3 to 10, entries below 3.
    usable = np.isfinite(matrix).all() and np.abs(matrix).max() < 1000 and abs(np.linalg.det(matrix)) > 1e-6
    return bool(usable and np.linalg.cond(matrix) < 1000)


def of_a_camera(matrix: np.ndarray) -> bool:
    """Return whether a matrix, (3, 3) XYZ to camera RGB, could be a camera's: it has an inverse, and sees daylight."""
    return _invertible(matrix) and bool((matrix @ xyz_from_xy(D65) > 0).all())


def as_shot_neutral(raw: Any, dng: Ifd, mosaic: Mosaic) -> np.ndarray | None:
    """Return the camera RGB of a neutral as shot, (3,) float64, green 1.0; None where the file has no white balance.

    mosaic: the file's, of which the colours are asked: a DNG may tell the light's xy instead (AsShotWhiteXY).
    """
    stored, light = _stored_neutral(dng), numbers(dng, 50729)
    if stored is not None:
        return stored
    if len(light) == 2 and min(light) > 0 and sum(light) < 1:
        with contextlib.suppress(ValueError):
            neutral = neutral_of_light((light[0], light[1]), mosaic)
            if _of_a_light(neutral):
                return neutral
    return _libraw_neutral(raw)


def _stored_neutral(dng: Ifd) -> np.ndarray | None:
    stored = np.array(numbers(dng, 50728), np.float64)  # AsShotNeutral
    return stored / stored[1] if stored.size == 3 and _of_a_light(stored) else None


def _libraw_neutral(raw: Any) -> np.ndarray | None:
    balance = np.array(raw.camera_whitebalance[:3], np.float64)
    return balance[1] / balance if _of_a_light(balance) else None


def _of_a_light(colour: np.ndarray) -> bool:
    return bool(np.isfinite(colour).all() and 0 < colour.max() < 1000 * colour.min())
