"""Image + metadata -> EXR, HDR, TIFF, JPEG, PNG: the one place that writes finished images."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import imageio.v3 as imageio
import numpy as np
import OpenEXR
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .color import COLOR_SPACES, ColorSpace
from .curve import HEADROOM_EV
from .errors import UnwritableOutput, check_image, check_one_of
from .formats.exif import (
    CARRIED,
    EXIF_START,
    INFINITELY_FAR,
    LARGEST_SHORT,
    LENS_MAKE,
    LENS_SERIAL_NUMBER,
    SOFTWARE,
    SUBJECT_DISTANCE,
    UNCALIBRATED,
    camera_entries,
    exif_block,
    ifds_of,
)
from .formats.gainmap import ultra_hdr
from .formats.icc import icc_profile, srgb_profile
from .formats.rgbe import write_rgbe
from .formats.tiffwrite import (
    BYTE,
    LONG,
    MAX_BYTES,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Ifd,
    entry,
    image_entries,
    nearest_rational,
    text_entry,
    write_tiff,
)
from .formats.xmp import XMP_TAG, xmp_packet
from .mosaic import Capture
from .system.files import check_writable, replacing

HDR_EXTENSIONS = (".exr", ".hdr", ".tif", ".tiff")
PREVIEW_EXTENSIONS = (".jpg", ".jpeg", ".png")
EXR_COMPRESSIONS = ("none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab")

HALF_STEP = 2.0**-24  # of the least halves
HALF_LEAST_PEAK = 2.0**14 * HALF_STEP  # where that step is one of 14 bits
HALF_MAX = 65504.0  # OpenEXR's and IEEE 754's largest half
DWA_MAX = 60000.0  # DWA stores halves, and overshoots by up to 3.5 %
HALF_ROWS = 256  # are converted at a time
TIFF_STRIP_PX = 1 << 18  # at most so many pixels are encoded at a time
ADOBE_DEFLATE, RGB, FLOAT_PREDICTOR, FLOAT = 8, 2, 3, 3  # Compression, Photometric, Predictor, SampleFormat of TIFF


@dataclass(frozen=True)
class WriteOptions:
    """How an EXR is stored, and whether a DNG has floats (`half` False); .hdr and .tif have one way each."""

    half: bool = True  # 16-bit floats; False: 32-bit
    compression: str = "zip"  # one of EXR_COMPRESSIONS; pxr24, b44 and dwa lose precision, dwa makes halves of floats

    def __post_init__(self) -> None:
        check_one_of("compression", self.compression, EXR_COMPRESSIONS)


def write_hdr(
    path: str | Path,
    image: np.ndarray,
    *,
    color_space: ColorSpace,
    capture: Capture,
    options: WriteOptions | None = None,
    attributes: Mapping[str, str] | None = None,
    noise: float = 0.0,
    overwrite: bool = False,
) -> str:
    """Write a scene-linear image, (H, W, 3) float32, as .exr, .hdr (Radiance RGBE) or .tif(f) (float32), by extension.

    `attributes` are texts of our own ("sve2hdr:pattern"), kept in EXR attributes, HDR header lines or the TIFF's XMP,
    beside the capture and the colour space. What a format cannot hold is never changed silently: an EXR with values
    beyond +-65504 (dwa: 60000), or too dark for halves, becomes 32-bit (dwa: in ZIP), and RGBE, which has no negatives,
    shows them as 0; the note returned says so in a sentence for the user, and is "" otherwise. Too dark is an image
    whose `noise`, a standard deviation, is below 2**-24; where it is not known, 0, one of no value above 2**-10.

    Raises UnwritableOutput (see `replacing`, and for a TIFF beyond 4 GiB), and ValueError for another shape or dtype or
    values that are not finite.
    """
    path = Path(path)
    check_writable(path, overwrite, HDR_EXTENSIONS)
    check_image("the image", image)
    least, greatest = float(image.min()), float(image.max())
    if not (math.isfinite(least) and math.isfinite(greatest)):
        raise ValueError("the image holds values that are not finite")
    if path.suffix.lower() in (".tif", ".tiff") and image.nbytes > MAX_BYTES:
        raise UnwritableOutput(f"{path}: the image is too large for a TIFF, which holds 4 GiB; use .exr")
    options, attributes, note = options or WriteOptions(), attributes or {}, ""
    capture = capture.upright()
    with replacing(path, overwrite) as partial, partial.open("wb+") as stream:
        if path.suffix.lower() == ".exr":
            options, note = _exr_options(path, max(-least, greatest), noise, options)
            header = _exr_header(color_space, capture, attributes)
            header["compression"] = _exr_compression(options.compression)
            if color_space == COLOR_SPACES["aces2065-1"] and options.half and options.compression == "none":
                header["acesImageContainerFlag"] = 1  # SMPTE ST 2065-4 asks for no other attribute that is not there
            pixels = _halves(image) if options.half else np.ascontiguousarray(image)  # OpenEXR ignores strides
            OpenEXR.set_global_thread_count(torch.get_num_threads())
            OpenEXR.File(header, {"RGB": pixels}).write(stream)
        elif path.suffix.lower() == ".hdr":
            if least < 0:
                note = f"{path}: Radiance HDR holds no negative values, they were written as 0; .exr keeps them"
            write_rgbe(stream, image, color_space, capture, attributes)
        else:
            _write_tiff(stream, image, color_space, capture, attributes)
    return note


def write_preview(
    path: str | Path, image: np.ndarray, *, capture: Capture | None = None, overwrite: bool = False
) -> None:
    """Write a display-referred sRGB image as `encoded_preview` encodes it; raise UnwritableOutput (see `replacing`)."""
    path = Path(path)
    check_writable(path, overwrite, PREVIEW_EXTENSIONS)
    encoded = encoded_preview(path, image, capture)
    with replacing(path, overwrite) as partial:
        partial.write_bytes(encoded)


def encoded_preview(
    path: Path,
    image: np.ndarray,
    capture: Capture | None = None,
    gain: np.ndarray | None = None,
    most_px: int | None = None,
) -> bytes:
    """Return what `path` shall hold of an sRGB image, (H, W, 3) uint8: .png, or else JPEG (quality 92, 4:4:4).

    `capture` goes into the image's EXIF; its orientation does not, as the image is upright. None: no EXIF. Pixels that
    are not square become so, as viewers take them to be. With `most_px`, the longer side has no more.
    With `gain`, a gain map as `tone_map_with_gain` returns it, a JPEG is an Ultra HDR one.
    Raises UnwritableOutput where the image is too large for the format, and ValueError for another shape or dtype, or a
    PNG with `gain`.
    """
    check_image("the preview", image, "uint8")
    png = path.suffix.lower() == ".png"
    if png and gain is not None:
        raise ValueError("a PNG has no gain map")
    capture = capture and capture.upright()
    aspect = 1.0 if capture is None else capture.pixel_aspect
    whole, size = (shown_size(image.shape, aspect, most) for most in (None, most_px))
    image = resized(image, size)
    if gain is not None:
        gain = resized(gain, (-(-size[0] // 2), -(-size[1] // 2)))
    if capture is not None:
        capture = capture.with_square_pixels(max(size) / max(whole))
    if not png and max(image.shape[:2]) > 65535:
        raise UnwritableOutput(f"{path}: JPEG holds at most 65535 px a side; use .png")
    settings: dict[str, Any] = {"quality": 92, "subsampling": 0, "icc_profile": srgb_profile()}
    if png:
        srgb = PngInfo()
        srgb.add(b"sRGB", b"\0")  # rendering intent: perceptual
        settings = {"compress_level": 3, "pnginfo": srgb}
    if capture is not None:
        settings["exif"] = EXIF_START + exif_block(capture, image.shape[:2])
    extension = ".png" if png else ".jpg"
    encoded = bytes(imageio.imwrite("<bytes>", image, extension=extension, plugin="pillow", **settings))
    if gain is None:
        return encoded
    gains = imageio.imwrite("<bytes>", gain, extension=".jpg", plugin="pillow", quality=85, subsampling=0)
    # screens that can show the brightest of this picture show all of it; 0, where nothing is brighter, is no headroom
    return ultra_hdr(encoded, bytes(gains), HEADROOM_EV, HEADROOM_EV * max(int(gain.max()), 1) / 255)


def shown_size(shape: tuple[int, ...], aspect: float, most_px: int | None = None) -> tuple[int, int]:
    """Return width and height at which an image, (H, W, ...), is shown whose pixels are `aspect` times as wide as high.

    None are lost by making them square, unless the longer side would have more than `most_px`.

    >>> shown_size((4, 6), 3.0), shown_size((4, 6), 0.5), shown_size((4, 6), 1.0, most_px=3)
    ((18, 4), (6, 8), (3, 2))
    """
    width, height = shape[1] * max(aspect, 1.0), shape[0] * max(1 / aspect, 1.0)
    scale = min(1.0, (most_px or math.inf) / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image, (H, W[, 3]) uint8, at another width and height."""
    if image.shape[1::-1] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


# OpenEXR


def _halves(image: np.ndarray) -> np.ndarray:
    """Return an image as float16, contiguous: what astype does, but in a tenth of its time."""
    halves = np.empty(image.shape, np.float16)
    for top in range(0, len(image), HALF_ROWS):
        strip = np.array(image[top : top + HALF_ROWS], order="C")  # a copy always, and so one that torch takes
        torch.from_numpy(halves[top : top + HALF_ROWS]).copy_(torch.from_numpy(strip))
    return halves


def _exr_options(path: Path, peak: float, noise: float, options: WriteOptions) -> tuple[WriteOptions, str]:
    """Return how an image of this greatest magnitude can be stored, and a note if not as asked for."""
    dwa = options.compression.startswith("dwa")
    greatest = DWA_MAX if dwa else HALF_MAX
    too_dark = noise < HALF_STEP if noise else 0 < peak < HALF_LEAST_PEAK
    if not (options.half or dwa) or (peak <= greatest and not too_dark):
        return options, ""
    finding = f"beyond {greatest:.0f}" if peak > greatest else "too dark for 16-bit floats"
    instead = f" in ZIP, as {options.compression} has no such range" if dwa else ""
    note = f"{path}: holds values {finding}, so it was written as 32-bit float{instead}"
    return WriteOptions(half=False, compression="zip" if dwa else options.compression), note


def _exr_compression(name: str) -> Any:
    return getattr(OpenEXR, f"{'NO' if name == 'none' else name.upper()}_COMPRESSION")


def _exr_time_code(smpte: Sequence[int]) -> Any:
    """Return the time code of the bytes of SMPTE ST 331: decimals of frame, second, minute and hour; None: it is none.

    What users may add to one is left out.
    """
    tens = (0x30, 0x70, 0x70, 0x30)
    frame, second, minute, hour = (
        10 * ((byte & mask) >> 4) + (byte & 15) for byte, mask in zip(smpte[:4], tens, strict=True)
    )
    with contextlib.suppress(RuntimeError, ValueError):
        return OpenEXR.TimeCode(hour, minute, second, frame, smpte[0] >> 6 & 1, *(0,) * 13)
    return None


def _exr_utc_offset(told: str) -> float | None:
    """Return what a local time is added to make UTC, s, of EXIF's "+hh:mm" ahead of UTC: of the other sign."""
    return -60.0 * (int(told[:3]) * 60 + int(told[0] + told[4:])) if told else None


def _exr_header(space: ColorSpace, capture: Capture, attributes: Mapping[str, str]) -> dict[str, Any]:
    # Names and types: ImfStandardAttributes.h. OpenEXR.File writes into the dict it is given: a new one each time.
    place, distance = capture.position, capture.exif.get(SUBJECT_DISTANCE, (None,))[0]
    numbers: dict[str, Any] = {
        "expTime": capture.exposure_time_s,
        "aperture": capture.f_number,
        "isoSpeed": capture.iso,
        "nominalFocalLength": capture.focal_length_mm,
        "Exif:FocalLength": capture.focal_length_mm,  # named as OpenImageIO has it
        "focus": math.inf if distance == INFINITELY_FAR else distance,  # m
        "sensorPhotositePitch": capture.pixels_per_mm and 1000 / capture.pixels_per_mm,  # micrometres
        "pixelAspectRatio": capture.pixel_aspect,
        "utcOffset": _exr_utc_offset(capture.utc_offset),
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
        "Artist": capture.artist,  # no standard attribute; named as OpenImageIO has it
        "capDate": capture.taken,
        # named as OpenImageIO has them, which makes EXIF of them, but not of their standard names
        "Make": capture.make,
        "Model": capture.model,
        "Exif:LensModel": capture.lens,
        "Exif:DateTimeOriginal": capture.taken,
        "Exif:SubsecTimeOriginal": capture.subseconds,
        "Exif:PhotographicSensitivity": capture.iso and min(round(capture.iso), LARGEST_SHORT),
        "Exif:FocalLengthIn35mmFilm": capture.focal_length_35mm and round(capture.focal_length_35mm),
        "colorInteropID": space.interop_id,
        "framesPerSecond": capture.frame_rate and Fraction(capture.frame_rate).limit_denominator(1001),  # 24000/1001
        "timeCode": _exr_time_code(capture.time_code) if capture.time_code else None,
    }
    for tag, value in capture.exif.items():
        _, count, name = CARRIED[tag]
        if count == 1 and value != (INFINITELY_FAR,):  # of which OpenImageIO makes 2 km
            others[f"Exif:{name}"] = value if isinstance(value, str) else value[0]
    header: dict[str, Any] = {name: value for name, value in others.items() if value not in (None, "")}
    # an int would become an attribute of another type
    header |= {name: float(value) for name, value in numbers.items() if value is not None}
    if space.chromaticities is not None:
        header["chromaticities"] = tuple(float(v) for xy in space.chromaticities for v in xy)
        header["adoptedNeutral"] = space.neutral  # another one than the white point in XYZ
    return {**header, "type": OpenEXR.scanlineimage, "software": SOFTWARE, **attributes}


# TIFF


def _write_tiff(
    stream: BinaryIO, image: np.ndarray, space: ColorSpace, capture: Capture, attributes: Mapping[str, str]
) -> None:
    height, width = image.shape[:2]
    rows = min(height, max(1, TIFF_STRIP_PX // width))
    known = re.fullmatch(r"\d{4}(:\d\d){2} \d\d(:\d\d){2}", capture.taken)
    entries = [
        *image_entries(image.shape, 32, ADOBE_DEFLATE, RGB),
        entry(274, SHORT, [1]),  # Orientation: upright
        entry(278, LONG, [rows]),
        entry(282, RATIONAL, [1, 1]),  # XResolution, of no unit
        entry(283, RATIONAL, nearest_rational(capture.pixel_aspect)),
        entry(296, SHORT, [1]),
        text_entry(305, SOFTWARE),
        text_entry(306, capture.taken if known else ""),
        entry(317, SHORT, [FLOAT_PREDICTOR]),
        entry(339, SHORT, [FLOAT] * 3),
        entry(XMP_TAG, BYTE, xmp_packet({"sve2hdr:color_space": f"scene-linear {space.name}", **attributes})),
        entry(34675, UNDEFINED, b"" if space.chromaticities is None else icc_profile(space)),
        *camera_entries(capture),
    ]

    def strip(top: int) -> bytes:
        predicted = imagecodecs.floatpred_encode(np.ascontiguousarray(image[top : top + rows]), axis=1)
        return bytes(imagecodecs.deflate_encode(predicted.tobytes()))

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        strips = pool.map(strip, range(0, height, rows))
        write_tiff(stream, Ifd(entries, ifds_of(capture, UNCALIBRATED), strips, -(-height // rows)))
