"""Lights: chromaticities, colour temperatures, and Bradford's adaptation from one white to another."""

from __future__ import annotations

from functools import cache

import numpy as np

Xy = tuple[float, float]

D65: Xy = (0.3127, 0.3290)
LEAST_KELVIN, DAYLIGHT_FROM_KELVIN, GREATEST_KELVIN = 1600.0, 4000.0, 25000.0
LOCUS_MIRED = np.arange(1e6 / GREATEST_KELVIN, 800.0, 2.0)

# Bradford: Lam 1985; as in ICC.1:2022, annex E.
BRADFORD_CONES_FROM_XYZ = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def xyz_from_xy(xy: Xy) -> np.ndarray:
    """Return the XYZ of a chromaticity at Y = 1, (3,) float64.

    >>> xyz_from_xy((1 / 3, 1 / 3)).round(6).tolist()
    [1.0, 1.0, 1.0]
    """
    x, y = xy
    return np.array([x / y, 1.0, (1 - x - y) / y])


def adaptation(source: Xy, target: Xy) -> np.ndarray:
    """Return the Bradford chromatic adaptation of XYZ from one white to another, (3, 3) float64."""
    cones = BRADFORD_CONES_FROM_XYZ
    gains = (cones @ xyz_from_xy(target)) / (cones @ xyz_from_xy(source))
    return np.asarray(np.linalg.inv(cones) @ (gains[:, None] * cones))


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

    The distance is in CIE 1960 uv, above 0 on the green side (ANSI C78.377). Temperatures are limited to 1250 to
    25000 K.
    """
    mired, duv = mired_and_duv(xyz[None])
    return 1e6 / float(mired[0]), float(duv[0])


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


def mired_and_duv(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for XYZ, (n, 3), the MK^-1 of the nearest point of the locus and the signed distance to it, both (n,)."""
    sums = xyz @ np.array([1.0, 15.0, 3.0])
    uv = xyz[:, :2] * [4.0, 6.0] / np.where(sums > 0, sums, np.nan)[:, None]
    points, normals = _locus()
    uv = np.nan_to_num(uv, nan=9.0)  # no light at all: far from the locus
    nearest = ((uv**2).sum(axis=1)[:, None] - 2 * uv @ points.T + (points**2).sum(axis=1)).argmin(axis=1)
    away = uv - points[nearest]
    greener = (away * normals[nearest]).sum(axis=1)
    return LOCUS_MIRED[nearest], np.copysign(np.linalg.norm(away, axis=1), greener)


def xy_of_mired(mired: float, duv: float) -> Xy:
    """Return the chromaticity at a reciprocal temperature, MK^-1, and a signed distance from the Planckian locus."""
    points, normals = _locus()
    u, v = (float(np.interp(mired, LOCUS_MIRED, line)) for line in (points + duv * normals).T)
    return _xy_from_uv(u, v)
