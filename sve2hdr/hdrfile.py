"""Image + metadata -> EXR, HDR, TIFF, JPEG, PNG, and back: the one place that writes and reads finished images."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import imageio.v3 as imageio
import numpy as np
import OpenEXR
import tifffile

from .color import COLOR_SPACES, ColorSpace, rec709_from, space_of
from .errors import UnreadableImage, UnwritableOutput
from .exif import EXIF_START, UNCALIBRATED, exif_block, exif_entries
from .files import check_writable, quiet_libraries, replacing
from .gainmap import ultra_hdr
from .mosaic import Capture
from .preview import HEADROOM_EV
from .rgbe import read_rgbe, write_rgbe
from .tiffwrite import EXIF_IFD, Ifd, ifd_bytes

HDR_EXTENSIONS = (".exr", ".hdr", ".tif", ".tiff")
PREVIEW_EXTENSIONS = (".jpg", ".jpeg", ".png")
READABLE_EXTENSIONS = (".exr", ".hdr", ".pic", ".tif", ".tiff")
EXR_COMPRESSIONS = ("none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab")

HALF_MIN = 2.0**-14  # where halves begin to lose bits
HALF_MAX = 65504.0  # OpenEXR's and IEEE 754's largest half
TIFF_STRIP_PX = 1 << 18  # at most so many pixels are encoded at a time
EXIF_STAND_IN = EXIF_IFD + 1  # of no meaning, and in the same place of an IFD, which is sorted
BIG_TIFF_BYTES = 2**32 - 2**25  # from here on offsets need 64 bits
SOFTWARE = "sve2hdr"


@dataclass(frozen=True)
class WriteOptions:
    """How an EXR is stored; the other formats have one way each."""

    half: bool = True  # 16-bit floats; False: 32-bit
    compression: str = "zip"  # one of EXR_COMPRESSIONS; pxr24, b44 and dwa lose precision

    def __post_init__(self) -> None:
        if self.compression not in EXR_COMPRESSIONS:
            raise ValueError(f"compression must be one of {', '.join(EXR_COMPRESSIONS)}, not {self.compression!r}")


def write_hdr(
    path: str | Path,
    image: np.ndarray,
    *,
    color_space: ColorSpace,
    capture: Capture,
    options: WriteOptions | None = None,
    attributes: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> str:
    """Write a scene-linear image, (H, W, 3) float32, as .exr, .hdr (Radiance RGBE) or .tif(f) (float32), by extension.

    `attributes` are texts of our own ("sve2hdr:pattern"), kept in EXR attributes, HDR header lines or the TIFF's
    description, beside the capture and the colour space. What a format cannot hold is never changed silently: an EXR
    with values beyond +-65504, or below 2**-14 only, becomes 32-bit, and RGBE, which has no negatives, shows them as 0;
    the note returned says so in a sentence for the user, and is "" otherwise.

    Raises UnwritableOutput (see `replacing`), and ValueError for another shape or dtype or values that are not finite.
    """
    path = Path(path)
    check_writable(path, overwrite, HDR_EXTENSIONS)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.float32:
        raise ValueError(f"the image must be (H, W, 3) float32, not {image.shape} {image.dtype}")
    least, greatest = float(image.min()), float(image.max())
    if not (math.isfinite(least) and math.isfinite(greatest)):
        raise ValueError("the image holds values that are not finite")
    options, attributes, note = options or WriteOptions(), attributes or {}, ""
    with replacing(path, overwrite) as partial, partial.open("wb+") as stream:
        if path.suffix.lower() == ".exr":
            peak = max(-least, greatest)
            half = options.half and (HALF_MIN <= peak <= HALF_MAX or peak == 0)
            if options.half and not half:
                finding = f"beyond {HALF_MAX:.0f}" if peak > HALF_MAX else f"below {HALF_MIN:.5f} only"
                note = f"{path}: holds values {finding}, so it was written as 32-bit float"
            header = _exr_header(color_space, capture, attributes)
            header["compression"] = _exr_compression(options.compression)
            pixels = np.ascontiguousarray(image, np.float16 if half else np.float32)  # OpenEXR ignores strides
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
    path: Path, image: np.ndarray, capture: Capture | None = None, gain: np.ndarray | None = None
) -> bytes:
    """Return what `path` shall hold of an sRGB image, (H, W, 3) uint8: .png, or else JPEG (quality 92, 4:4:4).

    `capture` goes into the image's EXIF; its orientation does not, as the image is upright. None: no EXIF.
    With `gain`, a gain map as `tone_map_with_gain` returns it, a JPEG is an Ultra HDR one.
    Raises UnwritableOutput where the image is too large for the format, and ValueError for another shape or dtype, or a
    PNG with `gain`.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.uint8:
        raise ValueError(f"the preview must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    png = path.suffix.lower() == ".png"
    if png and gain is not None:
        raise ValueError("a PNG has no gain map")
    if not png and max(image.shape[:2]) > 65535:
        raise UnwritableOutput(f"{path}: JPEG holds at most 65535 px a side; use .png")
    settings: dict[str, Any] = {"compress_level": 3} if png else {"quality": 92, "subsampling": 0}
    if capture is not None:
        settings["exif"] = EXIF_START + exif_block(capture, image.shape[:2], SOFTWARE)
    extension = ".png" if png else ".jpg"
    encoded = bytes(imageio.imwrite("<bytes>", image, extension=extension, plugin="pillow", **settings))
    if gain is None:
        return encoded
    gains = imageio.imwrite("<bytes>", gain, extension=".jpg", plugin="pillow", quality=85, subsampling=0)
    return ultra_hdr(encoded, bytes(gains), HEADROOM_EV)


def read_hdr(path: str | Path) -> np.ndarray:
    """Return an image as stored, (H, W, 3) float32: .exr, .hdr or .pic (Radiance RGBE), .tif or .tiff.

    TIFFs are float, or uint16, which is scaled to 0 to 1. An alpha channel is dropped; the first part of a multi-part
    EXR, the first page of a TIFF is read. Raises UnreadableImage for a file that is missing, damaged, of another kind,
    without three colours, or with values that are not finite.
    """
    return _read(Path(path)).pixels


def read_scene(path: str | Path) -> tuple[np.ndarray, str]:
    """Return a scene in linear Rec. 709, (H, W, 3) float32, and what the user is to know about the file, or "".

    Read as by `read_hdr`; colours of which the file tells other primaries (an EXR's chromaticities, Radiance's
    PRIMARIES, our own TIFFs' description) are converted, with Bradford's adaptation to D65. Where none are told they
    are Rec. 709, as in OpenEXR. Raises UnreadableImage, also for camera RGB, which is of no such space.
    """
    path = Path(path)
    stored = _read(path)
    if stored.space.chromaticities is None:
        raise UnreadableImage(f"{path}: is camera RGB, not linear Rec. 709; convert it without --color-space camera")
    try:
        matrix = rec709_from(stored.space)
    except ValueError as error:
        raise UnreadableImage(f"{path}: its {error}; correct or remove them") from error
    if matrix is None:
        return stored.pixels, stored.note
    return np.asarray(stored.pixels @ matrix.T.astype(np.float32)), stored.note


class _Stored(NamedTuple):
    pixels: np.ndarray  # (H, W, 3 or 4)
    space: ColorSpace = COLOR_SPACES["rec709"]
    note: str = ""


def _read(path: Path) -> _Stored:
    readers = {".exr": _read_exr, ".hdr": _read_radiance, ".pic": _read_radiance, ".tif": _read_tiff}
    readers[".tiff"] = _read_tiff
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UnreadableImage(f"{path}: unknown extension {path.suffix!r}; use one of {', '.join(READABLE_EXTENSIONS)}")
    try:
        with path.open("rb") as stream:
            stored = reader(path, stream)
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    image = stored.pixels
    if image.ndim != 3 or image.shape[2] not in (3, 4):
        raise UnreadableImage(f"{path}: has the shape {image.shape}, not three colours; convert it to RGB")
    image = np.ascontiguousarray(image[..., :3], np.float32)
    if image.size == 0 or not (math.isfinite(image.min()) and math.isfinite(image.max())):
        raise UnreadableImage(f"{path}: holds no pixels, or NaN or infinite ones; repair it first")
    return stored._replace(pixels=image)


def _read_radiance(path: Path, stream: BinaryIO) -> _Stored:
    found = read_rgbe(path, stream)
    return _Stored(found.image, COLOR_SPACES["camera"] if found.camera_rgb else space_of(found.primaries))


# OpenEXR


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


def _exr_header(space: ColorSpace, capture: Capture, attributes: Mapping[str, str]) -> dict[str, Any]:
    # Names and types: ImfStandardAttributes.h. OpenEXR.File writes into the dict it is given: a new one each time.
    standard: dict[str, Any] = {
        "expTime": capture.exposure_time_s,
        "aperture": capture.f_number,
        "isoSpeed": capture.iso,
        "nominalFocalLength": capture.focal_length_mm,
        "cameraMake": capture.make,
        "cameraModel": capture.model,
        "lensModel": capture.lens,
        "capDate": capture.taken,
        "colorInteropID": space.interop_id,
        "framesPerSecond": capture.frame_rate and Fraction(capture.frame_rate).limit_denominator(1001),  # 24000/1001
        "timeCode": _exr_time_code(capture.time_code) if capture.time_code else None,
    }
    header: dict[str, Any] = {name: value for name, value in standard.items() if value not in (None, "")}
    for name in ("expTime", "aperture", "isoSpeed", "nominalFocalLength"):
        if name in header:
            header[name] = float(header[name])  # an int would become an attribute of another type
    if space.chromaticities is not None:
        header["chromaticities"] = tuple(float(v) for xy in space.chromaticities for v in xy)
    return {**header, "type": OpenEXR.scanlineimage, "software": SOFTWARE, **attributes}


def _read_exr(path: Path, stream: BinaryIO) -> _Stored:
    try:
        # The binding prints a warning for damaged pixels and goes on; asking for the channels then fails.
        with contextlib.redirect_stdout(io.StringIO()), quiet_libraries():
            file = OpenEXR.File(stream)
            channels, header = file.channels(), file.header()
    except (RuntimeError, ValueError) as error:
        raise UnreadableImage(f"{path}: not an OpenEXR image, or damaged; check the file") from error
    told = tuple(header.get("chromaticities", ()))
    camera = not told and header.get("software") == SOFTWARE  # all others of ours tell them
    space = COLOR_SPACES["camera"] if camera else space_of(told)
    for name in ("RGB", "RGBA"):
        if name in channels:
            return _Stored(np.asarray(channels[name].pixels), space)
    if {"R", "G", "B"} <= set(channels):
        planes = [np.asarray(channels[name].pixels, np.float32) for name in "RGB"]
        if len({plane.shape for plane in planes}) == 1:
            return _Stored(np.stack(planes, axis=2), space)
    raise UnreadableImage(f"{path}: has the channels {', '.join(channels)}; R, G and B of one size are needed")


# TIFF


def _write_tiff(
    stream: BinaryIO, image: np.ndarray, space: ColorSpace, capture: Capture, attributes: Mapping[str, str]
) -> None:
    said = {"color space": f"scene-linear {space.name}", **attributes}
    description = "\n".join(f"{name}: {value}" for name, value in said.items())
    texts = [(271, capture.make), (272, capture.model)]  # Make, Model
    tags: list[tuple[int, int, int, str | int, bool]] = [(t, 2, 0, _ascii(text), True) for t, text in texts if text]
    big = image.nbytes > BIG_TIFF_BYTES
    if not big:  # a BigTIFF wants the IFD in another form; no reader of EXIF takes one
        tags += [(274, 3, 1, 1, True), (EXIF_STAND_IN, 4, 1, 0, True)]  # Orientation: upright
    tifffile.imwrite(
        stream,
        image,
        bigtiff=big,
        byteorder="<",
        photometric="rgb",
        compression="zlib",
        predictor=True,
        rowsperstrip=max(1, TIFF_STRIP_PX // image.shape[1]),
        metadata=None,
        description=_ascii(description),
        software=SOFTWARE,
        datetime=capture.taken if re.fullmatch(r"\d{4}(:\d\d){2} \d\d(:\d\d){2}", capture.taken) else None,
        extratags=tags,
    )
    if not big:
        _append_exif(stream, capture)


def _append_exif(stream: BinaryIO, capture: Capture) -> None:
    # tifffile writes no IFD of EXIF and refuses its tag. So it comes last, and the entry kept for it is made its own.
    offset = stream.seek(0, os.SEEK_END)
    offset += stream.write(b"\0" * (offset % 2))  # TIFF wants even offsets
    stream.write(ifd_bytes(Ifd(exif_entries(capture, UNCALIBRATED)), offset))
    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        place = tiff.pages.first.tags[EXIF_STAND_IN].offset
    stream.seek(place)
    stream.write(struct.pack("<HHII", EXIF_IFD, 4, 1, offset))


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()  # TIFF 6.0 texts are 7-bit


def _read_tiff(path: Path, stream: BinaryIO) -> _Stored:
    try:
        with tifffile.TiffFile(stream) as tiff:
            page, pages = tiff.pages.first, sum(not getattr(page, "is_reduced", False) for page in tiff.pages)
            image, description = page.asarray(), page.description
            if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and image.ndim == 3:
                image = np.moveaxis(image, 0, 2)
    except (tifffile.TiffFileError, struct.error, ValueError, RuntimeError, LookupError, TypeError) as error:
        raise UnreadableImage(f"{path}: not a TIFF this program can decode, or damaged; check the file") from error
    named = re.search(r"^color space: scene-linear (\S+)$", description, re.MULTILINE)  # as _write_tiff has it
    space = COLOR_SPACES.get(named[1] if named else "", COLOR_SPACES["rec709"])
    note = f"{path}: of its {pages} pages the first was taken" if pages > 1 else ""
    if image.dtype == np.uint16:
        finding = f"{path}: its 16-bit integers were taken as linear light; what was encoded for screens is not"
        return _Stored(image / np.float32(65535), space, "; ".join(filter(None, [finding, note])))
    if image.dtype.kind != "f":
        raise UnreadableImage(f"{path}: holds {image.dtype} values; a scene needs float or 16-bit ones")
    return _Stored(np.asarray(image), space, note)
