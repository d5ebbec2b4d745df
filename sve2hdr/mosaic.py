"""A raw frame and its exposure pattern as values, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from .raw.calibration import Calibrations

BAYER_ORDERS = ("RGGB", "BGGR", "GRBG", "GBRG")
QUAD_BAYER = "RRGGRRGGGGBBGGBB"
MIN_SIDE_PX = 64  # of frames that are read or written
SIGMA_OF_MAD = 1.4826  # of a normal distribution: its standard deviation in units of its median absolute deviation
CELL = 4  # sites: the period of exposures that is searched for, both ways; periods of 1 and 2 divide it


def repeated(period: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return `period`, (P, Q), repeated from site (0, 0) over `shape`, in its own dtype."""
    rows, columns = np.arange(shape[0]) % period.shape[0], np.arange(shape[1]) % period.shape[1]
    return np.asarray(period[rows[:, None], columns])


def common_period(*periods: np.ndarray) -> tuple[int, int]:
    """Return the rows and columns of the smallest period that all of `periods`, (P, Q), fit into.

    >>> common_period(np.ones((4, 1)), np.ones((2, 2)))
    (4, 2)
    """
    rows, columns = np.lcm.reduce([period.shape for period in periods])
    return int(rows), int(columns)


def over_common_period(*periods: np.ndarray) -> list[np.ndarray]:
    """Return each of `periods` repeated over the smallest period that all of them fit into."""
    shape = common_period(*periods)
    return [repeated(period, shape) for period in periods]


def folded(values: np.ndarray, period: tuple[int, int]) -> np.ndarray:
    """Return the mean over the repeats of `period` in `values`, whose size is a multiple of it.

    >>> folded(np.array([[1.0], [2], [5], [6]]), (2, 1)).tolist()
    [[3.0], [4.0]]
    """
    rows, columns = (n // p for n, p in zip(values.shape, period, strict=True))
    return np.asarray(values.reshape(rows, period[0], columns, period[1]).mean(axis=(0, 2)))


def in_period(values: np.ndarray, period: tuple[int, int]) -> np.ndarray:
    """Return `values`, (P, Q), converted to another period: the mean over the sites of each of its phases.

    >>> in_period(np.array([[1.0], [2.0], [5.0], [6.0]]), (2, 2)).tolist()
    [[3.0, 3.0], [4.0, 4.0]]
    """
    return folded(repeated(values, common_period(values, np.empty(period))), period)


def cfa_period(cfa: str) -> np.ndarray:
    """Return a CFA name, its letters row by row, as one square period of letters.

    >>> cfa_period("GRBG").tolist()
    [['G', 'R'], ['B', 'G']]
    """
    if cfa not in BAYER_ORDERS and not (len(cfa) == CELL**2 and set(cfa) == set("RGB")):
        orders = ", ".join(BAYER_ORDERS)
        raise ValueError(f"{cfa!r} is no CFA: {orders}, or 16 letters of R, G and B, the colours of sites row by row")
    side = math.isqrt(len(cfa))
    return np.array(list(cfa)).reshape(side, side)


# Quad-Bayer at every phase, and thus in every Bayer order.
QUAD_BAYERS = tuple("".join(np.roll(cfa_period(QUAD_BAYER), phase, (0, 1)).ravel()) for phase in np.ndindex(CELL, CELL))


@dataclass(frozen=True)
class Position:
    """Where a shot was taken (WGS 84)."""

    latitude_deg: float  # north of the equator, -90 to 90
    longitude_deg: float  # east of Greenwich, -180 to 180
    altitude_m: float | None = None  # above the sea
    taken_utc: str = ""  # by the receiver: "YYYY:MM:DD hh:mm:ss", with decimals of the second if it gives any
    direction_deg: float | None = None  # in which the camera pointed, 0 to 360, clockwise from north
    magnetic: bool = False  # the direction is from magnetic north, not true north


@dataclass(frozen=True)
class Capture:
    """What the file says about the shot. None or an empty string: nothing."""

    make: str = ""
    model: str = ""
    lens: str = ""
    exposure_time_s: float | None = None
    f_number: float | None = None
    iso: float | None = None
    focal_length_mm: float | None = None
    taken: str = ""  # "YYYY:MM:DD hh:mm:ss", as EXIF and OpenEXR write it
    orientation: int = 1  # EXIF Orientation, 1 to 8: how to turn the sensor's image upright
    pixel_aspect: float = 1.0  # distance between the sensor's columns over that between its rows
    frame_rate: float | None = None  # of footage, frames a second
    time_code: tuple[int, ...] = ()  # of footage: the 8 bytes of SMPTE ST 331, as in CinemaDNG
    artist: str = ""
    copyright: str = ""
    serial_number: str = ""  # of the camera's body
    utc_offset: str = ""  # of `taken` from UTC: "+hh:mm" or "-hh:mm", as EXIF writes it
    subseconds: str = ""  # of `taken`: decimal digits of a second
    position: Position | None = None
    focal_length_35mm: float | None = None  # mm, of the lens with the same angle of view on 36 x 24 mm
    pixels_per_mm: float | None = None  # across the sensor's columns; stitchers derive the angle of view from it
    unique_model: str = ""  # of a DNG: the name by which colour profiles know the camera
    # by EXIF tag: what is copied unchanged (metering, flash, lens maker: `exif.CARRIED`), numbers or a text
    exif: Mapping[int, tuple[float, ...] | str] = field(default_factory=dict)
    xmp: str = ""  # what people added (rating, keywords, ...), as XML elements: `raw/xmpread.py`

    def upright(self) -> Capture:
        """Return the capture for the image turned upright, whose columns may be rows of the sensor.

        >>> Capture(orientation=6, pixel_aspect=3.0, pixels_per_mm=50.0).upright().pixels_per_mm
        150.0
        """
        if self.orientation < 5:
            return replace(self, orientation=1)
        density = self.pixels_per_mm and self.pixels_per_mm * self.pixel_aspect
        return replace(self, orientation=1, pixel_aspect=1 / self.pixel_aspect, pixels_per_mm=density)

    def with_square_pixels(self, scale: float = 1.0) -> Capture:
        """Return the capture for the image stretched to square pixels and then scaled."""
        density = self.pixels_per_mm and self.pixels_per_mm * max(self.pixel_aspect, 1.0) * scale
        return replace(self, pixel_aspect=1.0, pixels_per_mm=density)


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return a view of an image, (H, W, ...), turned upright according to EXIF Orientation, 1 to 8.

    >>> upright(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    """
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return image[::rows, ::columns]


@dataclass(frozen=True, eq=False)
class MaskedSites:
    """What the masked sites, which no light reaches, show: one period from the visible area's first site on."""

    black: np.ndarray  # (P, Q) float64, counts
    error: np.ndarray  # (P, Q) float64, counts: one standard deviation of `black`
    read_noise: np.ndarray  # (P, Q) float64, counts: a standard deviation, without what whole rows or columns share
    banding: float | None = None  # counts, standard deviation of the row offsets that were removed; None: unknown
    level_believed: bool = True  # False: the file states another level, to which the mean of `black` is set


@dataclass(frozen=True, eq=False)  # arrays have no single ==
class Mosaic:
    """One raw frame as read: counts of the visible area, and what they mean."""

    counts: np.ndarray  # (H, W) uint16, as read, less the row offsets that masked columns show
    cfa: str  # colours of the top-left 2 x 2, row by row: "RGGB"; 16 letters for a 4 x 4 CFA
    black_level: np.ndarray  # (P, Q) float32, counts without light, one period from site (0, 0)
    white_level: float  # counts; any site at or above it is saturated
    camera_from_xyz: np.ndarray  # (3, 3) float64; the scale of a row has no meaning
    as_shot_neutral: np.ndarray | None = None  # (3,) float64, camera RGB of a neutral, green 1.0; None: not in the file
    capture: Capture = field(default_factory=Capture)
    saturation: np.ndarray | None = None  # (P, Q) float32, counts, one period; None: every site has `white_level`
    masked: MaskedSites | None = None  # None: the file has no masked sites that can be trusted
    calibrations: Calibrations | None = None  # camera_from_xyz is the one nearest D65; None: it is for any light

    def __post_init__(self) -> None:
        for name in ("counts", "black_level", "camera_from_xyz", "as_shot_neutral", "saturation"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, np.ndarray):
                raise TypeError(f"{name} must be a numpy array, not {type(value).__name__}")
        if self.counts.ndim != 2 or self.counts.dtype != np.uint16 or 0 in self.counts.shape:
            raise ValueError(f"counts must be (H, W) uint16, not {self.counts.shape} {self.counts.dtype}")
        cfa_period(self.cfa)
        if self.black_level.ndim != 2 or 0 in self.black_level.shape:
            raise ValueError(f"black_level must be one period, (P, Q), not {self.black_level.shape}")
        if not (np.isfinite(self.black_level).all() and math.isfinite(self.white_level)):
            raise ValueError(f"levels must be finite, not {self.black_level.tolist()} and {self.white_level}")
        if not self.white_level > float(self.black_level.max()):
            raise ValueError(f"white level {self.white_level} is not above black level {self.black_level.max()}")
        if self.saturation is not None:
            if self.saturation.ndim != 2 or 0 in self.saturation.shape:
                raise ValueError(f"saturation must be one period, (P, Q), not {self.saturation.shape}")
            if not self.black_level.max() < self.saturation.min() <= self.saturation.max() <= self.white_level:
                raise ValueError(
                    f"saturation {self.saturation.min():g} to {self.saturation.max():g} does not lie above black level "
                    f"{self.black_level.max():g} and not above white level {self.white_level:g}"
                )
        if self.camera_from_xyz.shape != (3, 3):
            raise ValueError(f"camera_from_xyz must be (3, 3), not {self.camera_from_xyz.shape}")
        if not (np.isfinite(self.camera_from_xyz).all() and abs(np.linalg.det(self.camera_from_xyz)) > 0):
            raise ValueError(f"camera_from_xyz has no inverse: {self.camera_from_xyz.tolist()}")
        if self.calibrations is not None and not any(
            np.array_equal(self.camera_from_xyz, matrix) for matrix in self.calibrations.camera_from_xyz
        ):
            raise ValueError("camera_from_xyz must be one of the matrices of calibrations, where there are two")
        if self.as_shot_neutral is not None and not (
            self.as_shot_neutral.shape == (3,)
            and bool(((self.as_shot_neutral > 0) & np.isfinite(self.as_shot_neutral)).all())
        ):
            raise ValueError(f"as_shot_neutral must be three positive, finite numbers, not {self.as_shot_neutral}")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the visible area."""
        return self.counts.shape[0], self.counts.shape[1]

    @property
    def span(self) -> float:
        """Counts from the mean black level to the white level."""
        return self.white_level - float(self.black_level.mean())

    @property
    def white_by_site(self) -> np.ndarray:
        """The counts at which sites saturate, one period, (P, Q) float32."""
        return np.full((1, 1), self.white_level, np.float32) if self.saturation is None else self.saturation


@dataclass(frozen=True, eq=False)
class ExposurePattern:
    """One period of relative exposures, the most exposed site 1.0, from the visible area's first site on.

    >>> ExposurePattern(np.float32([[1 / 8], [1]])).over((3, 1)).ravel().tolist()
    [0.125, 1.0, 0.125]
    """

    exposure: np.ndarray  # (P, Q) float32, 0 < exposure <= 1

    def __post_init__(self) -> None:
        e = self.exposure
        if e.ndim != 2 or e.size == 0 or e.dtype != np.float32:
            raise ValueError(f"exposure must be (P, Q) float32, not {e.shape} {e.dtype}")
        if not (np.isfinite(e).all() and e.min() > 0 and e.max() == 1):
            raise ValueError("exposures must lie above 0, and the most exposed site must have 1.0")

    def over(self, shape: tuple[int, int]) -> np.ndarray:
        """Return the relative exposure of every site of a mosaic of this shape, (H, W) float32."""
        return repeated(self.exposure, shape)

    def __str__(self) -> str:
        """Return the pattern as `--pattern` takes it.

        >>> print(ExposurePattern(np.float32([[1 / 8], [1]])))
        rows:0.125,1
        """
        rows = [",".join(f"{e:.6g}" for e in row) for row in self.exposure.tolist()]
        if self.exposure.shape[0] == 1:
            return f"columns:{rows[0]}"
        return f"rows:{','.join(rows)}" if self.exposure.shape[1] == 1 else f"grid:{';'.join(rows)}"

    @property
    def ratio(self) -> float:
        """The exposure ratio: most exposed over least exposed."""
        return 1 / float(self.exposure.min())

    @property
    def ratio_ev(self) -> float:
        """The exposure ratio in EV."""
        return math.log2(self.ratio)

    @property
    def steps_ev(self) -> tuple[float, ...]:
        """The steps from each exposure to the next lower one in EV, most exposed first.

        >>> ExposurePattern(np.float32([[1, 1 / 2], [1 / 4, 1 / 16]])).steps_ev
        (1.0, 1.0, 2.0)
        """
        return tuple(np.diff(-np.log2(np.unique(self.exposure)[::-1])).tolist())


ONE_EXPOSURE = ExposurePattern(np.ones((1, 1), np.float32))
