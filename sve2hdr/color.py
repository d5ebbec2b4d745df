"""Camera RGB -> scene-linear RGB with named primaries: white balance, clipped highlights, matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .cameracolor import white_balance, xyz_from_balanced
from .clipping import CLIP_STARTS, Surroundings, recover_clipped
from .errors import check_image
from .lights import D65, Xy, adaptation, xyz_from_xy
from .mosaic import Mosaic
from .system.threads import in_threads

ACES_WHITE: Xy = (0.32168, 0.33767)  # about D60 (SMPTE ST 2065-1)
EQUAL_ENERGY: Xy = (1 / 3, 1 / 3)

MOST_CONDITION = 1000.0  # condition number of primaries: 5 for Rec. 709, more if two nearly coincide
STRIP_SITES = 1 << 16  # pixels converted at a time: the temporaries stay in the processor's cache


@dataclass(frozen=True)
class ColorSpace:
    """A scene-linear space: its primaries, its white point, and where neutral scene patches lie in it.

    `chromaticities` are the xy of red, green, blue and white, or None where the space is the camera's own.
    """

    name: str
    chromaticities: tuple[Xy, Xy, Xy, Xy] | None
    neutral: Xy = D65  # of the scene: D65 even in XYZ, whose white point is equal energy
    interop_id: str = ""  # of the Color Interop Forum, for EXR's colorInteropID


_AP0 = ((0.7347, 0.2653), (0.0, 1.0), (0.0001, -0.0770), ACES_WHITE)
_AP1 = ((0.713, 0.293), (0.165, 0.830), (0.128, 0.044), ACES_WHITE)

#: By the name `--color-space` takes. Rec. 709 and 2020: ITU-R; ACES: SMPTE ST 2065-1 (AP0) and S-2014-004 (AP1).
COLOR_SPACES: dict[str, ColorSpace] = {
    space.name: space
    for space in (
        ColorSpace("rec709", ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65), D65, "lin_rec709_scene"),
        ColorSpace("rec2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65), D65, "lin_rec2020_scene"),
        ColorSpace("acescg", _AP1, ACES_WHITE, "lin_ap1_scene"),
        ColorSpace("aces2065-1", _AP0, ACES_WHITE, "lin_ap0_scene"),
        ColorSpace("xyz", ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), EQUAL_ENERGY), D65, "lin_ciexyzd65_scene"),
        ColorSpace("camera", None),
    )
}


def rgb_from_xyz(space: ColorSpace) -> np.ndarray:
    """Return the matrix from XYZ to the space's RGB, (3, 3) float64, without adaptation (SMPTE RP 177).

    Raises ValueError for the camera's own space, which has no chromaticities.

    >>> rgb_from_xyz(COLOR_SPACES["rec709"]).round(3).tolist()
    [[3.241, -1.537, -0.499], [-0.969, 1.876, 0.042], [0.056, -0.204, 1.057]]
    """
    if space.chromaticities is None:
        raise ValueError("camera RGB has no chromaticities")
    *primaries, white = space.chromaticities
    xyz_from_primaries = np.array([[x, y, 1 - x - y] for x, y in primaries]).T
    luminances = np.linalg.solve(xyz_from_primaries, xyz_from_xy(white))
    return np.linalg.inv(xyz_from_primaries * luminances)


def space_of(told: Sequence[float]) -> ColorSpace:
    """Return the space with the xy of red, green, blue and white that a file states, eight numbers; Rec. 709 for ().

    Chromaticities within 0.001 of a known space give that space, whose neutral is known too. Raises ValueError for
    another number of them.

    >>> space_of((0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)).name, space_of(()).name
    ('acescg', 'rec709')
    """
    if not told:
        return COLOR_SPACES["rec709"]
    red, green, blue, white = np.asarray(told, np.float64).reshape(4, 2).tolist()
    chromaticities = tuple((x, y) for x, y in (red, green, blue, white))
    for space in COLOR_SPACES.values():
        if space.chromaticities is not None and np.allclose(chromaticities, space.chromaticities, rtol=0, atol=1e-3):
            return space
    return ColorSpace("other", chromaticities, chromaticities[3])  # type: ignore[arg-type]  # four of them


def rec709_from(space: ColorSpace) -> np.ndarray | None:
    """Return the matrix from a space to linear Rec. 709, (3, 3) float64, neutral to neutral; None for Rec. 709.

    Raises ValueError for primaries that span no colours.
    """
    rec709 = COLOR_SPACES["rec709"]
    if space == rec709:
        return None
    try:
        if np.linalg.cond(rgb_from_xyz(space)) > MOST_CONDITION:
            raise np.linalg.LinAlgError
        matrix = rgb_from_xyz(rec709) @ adaptation(space.neutral, D65) @ np.linalg.inv(rgb_from_xyz(space))
    except (np.linalg.LinAlgError, ZeroDivisionError):
        matrix = np.full((3, 3), np.nan)
    if not np.isfinite(matrix).all():
        raise ValueError(f"primaries {space.chromaticities} span no colours")
    return np.asarray(matrix)


def rgb_from_balanced(mosaic: Mosaic, space: ColorSpace) -> np.ndarray:
    """Return the matrix from white-balanced camera RGB to a space, (3, 3) float64; see `xyz_from_balanced`."""
    return np.asarray(rgb_from_xyz(space) @ adaptation(D65, space.neutral) @ xyz_from_balanced(mosaic))


def rgb_from_camera(mosaic: Mosaic, space: ColorSpace) -> np.ndarray:
    """Return the matrix from camera RGB to a space, white balance included, (3, 3) float64; identity for camera.

    >>> nikon = np.array([[0.76, -0.24, -0.07], [-0.49, 1.29, 0.21], [-0.1, 0.19, 0.68]])
    >>> mosaic = Mosaic(np.zeros((2, 2), np.uint16), "RGGB", np.zeros((1, 1)), 1.0, nikon, np.array([0.5, 1.0, 0.6]))
    >>> (rgb_from_camera(mosaic, COLOR_SPACES["rec709"]) @ [0.5, 1.0, 0.6]).round(6).tolist()
    [1.0, 1.0, 1.0]
    """
    if space.chromaticities is None:
        return np.eye(3)
    return np.asarray(rgb_from_balanced(mosaic, space) * white_balance(mosaic))


def linear_rgb(
    camera_rgb: np.ndarray,
    mosaic: Mosaic,
    color_space: ColorSpace,
    clip_level: float,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Return camera RGB, (H, W, 3) float32 radiance, in a scene-linear space, (H, W, 3) float32.

    White balance keeps the scale of green. `clip_level` is the camera RGB at which even the least exposed sites
    saturate (the exposure ratio, where 1.0 is saturation of the most exposed ones); highlights that reach it are
    treated by `recover_clipped`. Nothing is clamped: negatives and values above 1 pass. `out` may be `camera_rgb`
    itself, for a conversion in place. In the camera's own space nothing changes.

    Raises ValueError for another shape or dtype, or a clip level that is not above 0.
    """
    check_image("camera_rgb", camera_rgb)
    if not clip_level > 0:
        raise ValueError(f"clip_level must be above 0, not {clip_level}")
    result = np.empty_like(camera_rgb) if out is None else out
    if result.shape != camera_rgb.shape or result.dtype != np.float32:
        raise ValueError(f"out must be {camera_rgb.shape} float32, not {result.shape} {result.dtype}")
    if color_space.chromaticities is None:
        if result is not camera_rgb:
            result[:] = camera_rgb
        return result
    gains = white_balance(mosaic).astype(np.float32)
    matrix = rgb_from_balanced(mosaic, color_space)
    if color_space.neutral == color_space.chromaticities[3]:
        matrix /= matrix.sum(axis=1, keepdims=True)  # sums are 1 but for rounding; now neutrals stay exactly neutral
    height, width = camera_rgb.shape[:2]
    rows = max(1, STRIP_SITES // max(1, width))
    surroundings = Surroundings(camera_rgb, gains, clip_level)

    def convert(top: int) -> None:
        camera = np.moveaxis(camera_rgb[top : top + rows], 2, 0)
        balanced = np.multiply(camera, gains[:, None, None], order="C")
        clipped = (balanced.max(axis=1) > gains[:, None] * np.float32(CLIP_STARTS * clip_level)).any(axis=0)
        if clipped.any():
            left, right = int(clipped.argmax()), width - int(clipped[::-1].argmax())
            part = balanced[..., left:right]
            part[:] = recover_clipped(part, gains, clip_level, surroundings.part(part, top, left))
        _apply_matrix(matrix, balanced, result[top : top + rows])

    list(in_threads(convert, range(0, height, rows)))
    return result


def lost_level(mosaic: Mosaic, clip_level: float) -> float:
    """Return the value that `linear_rgb` gives each channel where all are clipped."""
    return clip_level * float(white_balance(mosaic).max())


def _apply_matrix(matrix: np.ndarray, planes: np.ndarray, out: np.ndarray) -> None:
    # Written in differences from green, so that equal channels come out equal to the last bit.
    red, green, blue = planes
    red_green, blue_green = red - green, blue - green
    for channel, row in enumerate(matrix):
        from_red, from_blue, from_green = np.float32(row[0]), np.float32(row[2]), np.float32(row.sum())
        out[..., channel] = from_green * green + from_red * red_green + from_blue * blue_green
