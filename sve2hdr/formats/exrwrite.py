"""A scene-linear image -> OpenEXR, with its shot and colours in the attributes that other programs read."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
import OpenEXR
import torch

from ..color import COLOR_SPACES, ColorSpace
from ..errors import check_one_of
from ..mosaic import Capture
from .exif import (
    CARRIED,
    INFINITELY_FAR,
    LARGEST_SHORT,
    LENS_MAKE,
    LENS_SERIAL_NUMBER,
    SOFTWARE,
    SUBJECT_DISTANCE,
)

EXR_COMPRESSIONS = ("none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab")

HALF_STEP = 2.0**-24  # of the smallest halves
HALF_LEAST_PEAK = 2.0**14 * HALF_STEP  # below this, the whole image would have less than 14 bits
HALF_MAX = 65504.0  # OpenEXR's and IEEE 754's largest half
DWA_MAX = 60000.0  # DWA stores halves, and overshoots by up to 3.5 %
HALF_ROWS = 256  # converted at a time


@dataclass(frozen=True)
class WriteOptions:
    """How an EXR is stored, and whether a DNG has floats (`half` False); .hdr and .tif have no choice."""

    half: bool = True  # 16-bit floats; False: 32-bit
    compression: str = "zip"  # one of EXR_COMPRESSIONS; pxr24, b44 and dwa lose precision, dwa makes halves of floats

    def __post_init__(self) -> None:
        check_one_of("compression", self.compression, EXR_COMPRESSIONS)


def storable(options: WriteOptions, peak: float, noise: float) -> tuple[WriteOptions, str]:
    """Return how an image of this greatest magnitude can be stored, and a finding if that differs from `options`.

    noise: a standard deviation; 0: unknown.
    """
    dwa = options.compression.startswith("dwa")
    greatest = DWA_MAX if dwa else HALF_MAX
    too_dark = noise < HALF_STEP if noise else 0 < peak < HALF_LEAST_PEAK
    if not (options.half or dwa) or (peak <= greatest and not too_dark):
        return options, ""
    finding = f"beyond {greatest:.0f}" if peak > greatest else "too dark for 16-bit floats"
    instead = f" in ZIP, as {options.compression} has no such range" if dwa else ""
    as_floats = WriteOptions(half=False, compression="zip" if dwa else options.compression)
    return as_floats, f"holds values {finding}, so it was written as 32-bit float{instead}"


def write_exr(
    stream: BinaryIO,
    image: np.ndarray,
    space: ColorSpace,
    capture: Capture,
    attributes: Mapping[str, str],
    options: WriteOptions,
) -> None:
    """Write an image, (H, W, 3) float32, with `options` that are `storable` for it."""
    header = _header(space, capture, attributes)
    compression = "NO" if options.compression == "none" else options.compression.upper()
    header["compression"] = getattr(OpenEXR, f"{compression}_COMPRESSION")
    if space == COLOR_SPACES["aces2065-1"] and options.half and options.compression == "none":
        header["acesImageContainerFlag"] = 1  # SMPTE ST 2065-4 requires no other attribute that is missing
    pixels = _halves(image) if options.half else np.ascontiguousarray(image)  # OpenEXR ignores strides
    OpenEXR.set_global_thread_count(torch.get_num_threads())
    OpenEXR.File(header, {"RGB": pixels}).write(stream)


def _halves(image: np.ndarray) -> np.ndarray:
    """Return an image as contiguous float16: like astype, in a tenth of the time."""
    halves = np.empty(image.shape, np.float16)
    for top in range(0, len(image), HALF_ROWS):
        strip = np.array(image[top : top + HALF_ROWS], order="C")  # a copy, always: torch takes no flipped views
        torch.from_numpy(halves[top : top + HALF_ROWS]).copy_(torch.from_numpy(strip))
    return halves


def _time_code(smpte: Sequence[int]) -> Any:
    """Return the time code of the bytes of SMPTE ST 331: BCD of frame, second, minute and hour; None if invalid.

    User bits are left out.
    """
    tens = (0x30, 0x70, 0x70, 0x30)
    frame, second, minute, hour = (
        10 * ((byte & mask) >> 4) + (byte & 15) for byte, mask in zip(smpte[:4], tens, strict=True)
    )
    with contextlib.suppress(RuntimeError, ValueError):
        return OpenEXR.TimeCode(hour, minute, second, frame, smpte[0] >> 6 & 1, *(0,) * 13)
    return None


def _utc_offset(told: str) -> float | None:
    """Return the seconds to add to local time to get UTC, from EXIF's "+hh:mm" ahead of UTC: of opposite sign."""
    return -60.0 * (int(told[:3]) * 60 + int(told[0] + told[4:])) if told else None


def _header(space: ColorSpace, capture: Capture, attributes: Mapping[str, str]) -> dict[str, Any]:
    # Names and types: ImfStandardAttributes.h. OpenEXR.File changes the dict it is given, so it is a new one each time.
    place, distance = capture.position, capture.exif.get(SUBJECT_DISTANCE, (None,))[0]
    numbers: dict[str, Any] = {
        "expTime": capture.exposure_time_s,
        "aperture": capture.f_number,
        "isoSpeed": capture.iso,
        "nominalFocalLength": capture.focal_length_mm,
        "Exif:FocalLength": capture.focal_length_mm,  # OpenImageIO's name
        "focus": math.inf if distance == INFINITELY_FAR else distance,  # m
        "sensorPhotositePitch": capture.pixels_per_mm and 1000 / capture.pixels_per_mm,  # micrometres
        "pixelAspectRatio": capture.pixel_aspect,
        "utcOffset": _utc_offset(capture.utc_offset),
        "latitude": place and place.latitude_deg,
        "longitude": place and place.longitude_deg,
        "altitude": place and place.altitude_m,
    }
    others: dict[str, Any] = {
        "cameraMake": capture.make,
        "cameraModel": capture.model,
        "lensMake": capture.exif.get(LENS_MAKE),
        "lensModel": capture.lens,
        "lensSerialNumber": capture.exif.get(LENS_SERIAL_NUMBER),
        "cameraSerialNumber": capture.serial_number,
        "owner": capture.copyright or capture.artist,
        "Artist": capture.artist,  # no standard attribute; OpenImageIO's name
        "capDate": capture.taken,
        # OpenImageIO's names, which it turns into EXIF, unlike the standard ones
        "Make": capture.make,
        "Model": capture.model,
        "Exif:LensModel": capture.lens,
        "Exif:DateTimeOriginal": capture.taken,
        "Exif:SubsecTimeOriginal": capture.subseconds,
        "Exif:PhotographicSensitivity": capture.iso and min(round(capture.iso), LARGEST_SHORT),
        "Exif:FocalLengthIn35mmFilm": capture.focal_length_35mm and round(capture.focal_length_35mm),
        "colorInteropID": space.interop_id,
        "framesPerSecond": capture.frame_rate and Fraction(capture.frame_rate).limit_denominator(1001),  # 24000/1001
        "timeCode": _time_code(capture.time_code) if capture.time_code else None,
    }
    for tag, value in capture.exif.items():
        _, count, name = CARRIED[tag]
        if count == 1 and value != (INFINITELY_FAR,):  # OpenImageIO would make it 2 km
            others[f"Exif:{name}"] = value if isinstance(value, str) else value[0]
    header: dict[str, Any] = {name: value for name, value in others.items() if value not in (None, "")}
    # an int would become an attribute of another type
    header |= {name: float(value) for name, value in numbers.items() if value is not None}
    if space.chromaticities is not None:
        header["chromaticities"] = tuple(float(v) for xy in space.chromaticities for v in xy)
        header["adoptedNeutral"] = space.neutral  # differs from the white point in XYZ
    return {**header, "type": OpenEXR.scanlineimage, "software": SOFTWARE, **attributes}
