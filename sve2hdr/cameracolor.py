"""Camera RGB of a light, and XYZ of camera RGB: by a file's one matrix, or by two, interpolated for the light."""

from __future__ import annotations

import numpy as np

from .lights import BRADFORD_CONES_FROM_XYZ, D65, Xy, adaptation, mired_and_duv, xyz_from_xy
from .mosaic import Mosaic

# Limits of adaptation to D65: beyond is no light but a mistake, or a balance for infrared, which cones do not see.
MOST_ADAPTATION = 100.0  # largest factor between the gains of cones: 35 for candle light
MOST_DUV = 0.05  # from the Planckian locus: lamps stay within 0.03


def camera_from_xyz_of(neutral: np.ndarray, mosaic: Mosaic) -> np.ndarray:
    """Return the matrix for the light whose neutral this is, (3,) camera RGB: (3, 3) float64.

    Two matrices are interpolated to the temperature that the result itself sees in the neutral. It is found by
    bisection, because the iteration of DNG 1.7, chapter 6, need not converge.
    """
    if mosaic.calibrations is None:
        return np.asarray(mosaic.camera_from_xyz, np.float64)
    warm, cool = mosaic.calibrations.mired
    for _ in range(12):
        middle = (warm + cool) / 2
        seen = _mired(np.linalg.solve(mosaic.calibrations.at(middle), neutral))
        warm, cool = (warm, middle) if seen > middle else (middle, cool)
    return mosaic.calibrations.at((warm + cool) / 2)


def camera_from_xyz_at(xy: Xy, mosaic: Mosaic) -> np.ndarray:
    """Return the matrix for a light of chromaticity xy, (3, 3) float64."""
    if mosaic.calibrations is None:
        return np.asarray(mosaic.camera_from_xyz, np.float64)
    return mosaic.calibrations.at(_mired(xyz_from_xy(xy)))


def _mired(xyz: np.ndarray) -> float:
    return float(mired_and_duv(xyz[None])[0][0])


def neutral_of_light(xy: Xy, mosaic: Mosaic) -> np.ndarray:
    """Return the camera RGB of a neutral under a light of chromaticity xy, (3,) float64, green 1.0."""
    neutral = camera_from_xyz_at(xy, mosaic) @ xyz_from_xy(xy)
    if not (np.isfinite(neutral).all() and neutral.min() > 0):
        raise ValueError(f"camera_from_xyz gives a light of xy {xy} the camera RGB {neutral}, which is no neutral")
    return np.asarray(neutral / neutral[1])


def white_balance(mosaic: Mosaic) -> np.ndarray:
    """Return the multipliers of the camera's channels that make a neutral equal in all, (3,) float64, green 1.0.

    The neutral is the mosaic's `as_shot_neutral`; if it has none, the camera's response to D65.
    """
    neutral = neutral_of_light(D65, mosaic) if mosaic.as_shot_neutral is None else mosaic.as_shot_neutral
    return np.asarray(neutral[1] / neutral, np.float64)


def xyz_from_balanced(mosaic: Mosaic) -> np.ndarray:
    """Return the matrix from white-balanced camera RGB to XYZ that takes equal channels to D65, (3, 3) float64.

    A single matrix has its rows scaled to do so, whatever the light was, as dcraw and LibRaw use a DNG's ColorMatrix1.
    Of two, as Adobe does, the one for the light of the white balance is followed by Bradford adaptation from this light
    to D65. If the balance is of no real light, as with an infrared filter, the rows are scaled as well: adaptation
    would multiply colours by ten.
    """
    neutral = 1 / white_balance(mosaic)
    camera_from_xyz = camera_from_xyz_of(neutral, mosaic)
    if mosaic.calibrations is not None:
        xyz_of_light = np.linalg.inv(camera_from_xyz) * neutral
        white = xyz_of_light.sum(axis=1)
        gains = (BRADFORD_CONES_FROM_XYZ @ xyz_from_xy(D65)) / (BRADFORD_CONES_FROM_XYZ @ white)
        duv = float(mired_and_duv(white[None])[1][0])
        if 0 < gains.max() < MOST_ADAPTATION * gains.min() and abs(duv) <= MOST_DUV:
            x, y, _ = white / white.sum()
            return np.asarray(adaptation((x, y), D65) @ xyz_of_light / white[1])
    daylight = camera_from_xyz @ xyz_from_xy(D65)
    return np.asarray(np.linalg.inv(camera_from_xyz / daylight[:, None]))
