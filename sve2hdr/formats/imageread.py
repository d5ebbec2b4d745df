"""EXR, Radiance HDR and TIFF -> image, as stored or as a scene in linear Rec. 709: the one place that reads these."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import OpenEXR
import tifffile

from ..color import COLOR_SPACES, ColorSpace, rec709_from, space_of
from ..errors import UnreadableImage
from ..system.quiet import quiet_libraries
from .exif import SOFTWARE
from .rgbe import read_rgbe
from .xmp import XMP_TAG

# what the libraries raise for damaged files, without MemoryError
DAMAGED = (tifffile.TiffFileError, struct.error, ValueError, RuntimeError, LookupError, TypeError, ArithmeticError)
COLOURS = tuple(tifffile.PHOTOMETRIC[name] for name in ("RGB", "LINEAR_RAW", "MINISBLACK", "MINISWHITE"))
PX_PER_BYTE = 4096  # no file of a scene is denser: a uniform image has 2600 in OpenEXR's DWA, 170 in Deflate
# in XMP: an attribute, as we write it, or an element, as exiftool rewrites it
COLOR_SPACE_TOLD = re.compile(r"""\bsve2hdr:color_space\s*(?:=\s*["']|>)scene-linear ([\w-]+)""")
READABLE_EXTENSIONS = (".exr", ".hdr", ".pic", ".tif", ".tiff")


def read_hdr(path: str | Path) -> np.ndarray:
    """Return an image as stored, (H, W, 3) float32: .exr, .hdr or .pic (Radiance RGBE), .tif or .tiff.

    TIFFs may be float, or uint16, which is scaled to 0 to 1. An alpha channel is dropped. Of a multi-part EXR the first
    part is read, of a TIFF the first page that is not a thumbnail. Raises UnreadableImage for a file that is missing,
    damaged, of another kind, without three colours, or with values that are not finite.
    """
    return _read(Path(path)).pixels


def read_scene(path: str | Path) -> tuple[np.ndarray, str]:
    """Return a scene in linear Rec. 709, (H, W, 3) float32, and a note about the file for the user, or "".

    Files are read as by `read_hdr`. If a file states other primaries (an EXR's chromaticities, Radiance's PRIMARIES,
    the XMP of our own TIFFs), its colours are converted, with Bradford adaptation to D65. If it states none, they are
    taken as Rec. 709, as in OpenEXR. Raises UnreadableImage, also for camera RGB, which has no such space.
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
    with np.errstate(over="ignore", invalid="ignore"):
        rec709 = np.asarray(stored.pixels @ matrix.T.astype(np.float32))
    if not (math.isfinite(rec709.min()) and math.isfinite(rec709.max())):
        raise UnreadableImage(f"{path}: holds values that are too great for Rec. 709; scale it down first")
    return rec709, stored.note


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


def _read_exr(path: Path, stream: BinaryIO) -> _Stored:
    try:
        # For damaged pixels the binding prints a warning and goes on; reading the channels then fails.
        with quiet_libraries():
            windows = [part.header["dataWindow"] for part in OpenEXR.File(stream, header_only=True).parts]
            _refuse_beyond(path, sum(math.prod(int(b) - int(a) + 1 for a, b in zip(*w, strict=True)) for w in windows))
            stream.seek(0)
            file = OpenEXR.File(stream, separate_channels=True)  # combined, they would need one type
            channels, header = file.channels(), file.header()
        told = tuple(header.get("chromaticities", ()))
        camera = not told and header.get("software") == SOFTWARE  # all our other files state them
        space = COLOR_SPACES["camera"] if camera else space_of(told)
        if {"R", "G", "B"} <= set(channels):
            planes = [channels[name].pixels for name in "RGB"]
            if len({plane.shape for plane in planes}) == 1:
                return _Stored(np.stack(planes, axis=2, dtype=np.float32), space)
    except DAMAGED as error:
        raise UnreadableImage(f"{path}: not an OpenEXR image, or damaged; check the file") from error
    raise UnreadableImage(f"{path}: has the channels {', '.join(channels)}; R, G and B of one size are needed")


def _read_tiff(path: Path, stream: BinaryIO) -> _Stored:
    try:
        with quiet_libraries(), tifffile.TiffFile(stream) as tiff:
            pages = [page for page in _pages(tiff) if not page.is_reduced] or [tiff.pages.first]
            page = pages[0]
            _refuse_beyond(path, page.imagewidth * page.imagelength)
            _refuse_by_tags(path, page)
            image, turned, icc = page.asarray(), page.tags.valueof(274), page.iccprofile
            xmp = page.tags.valueof(XMP_TAG)
            if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and image.ndim == 3:
                image = np.moveaxis(image, 0, 2)
    except DAMAGED as error:
        raise UnreadableImage(f"{path}: not a TIFF this program can decode, or damaged; check the file") from error
    named = COLOR_SPACE_TOLD.search(xmp.decode(errors="replace") if isinstance(xmp, bytes) else "")
    space = COLOR_SPACES.get(named[1] if named else "", COLOR_SPACES["rec709"])
    if image.dtype != np.uint16 and image.dtype.kind != "f":
        raise UnreadableImage(f"{path}: holds {image.dtype} values; a scene needs float or 16-bit ones")
    notes = {
        "its 16-bit integers were taken as linear light, which images for screens are not": image.dtype == np.uint16,
        f"of its {len(pages)} pages the first was taken": len(pages) > 1,
        "its ICC profile was not applied": icc and not named,
        f"its orientation, {turned}, was not applied": turned not in (None, 1),
    }
    note = "; ".join(finding for finding, is_so in notes.items() if is_so)
    pixels = image / np.float32(65535) if image.dtype == np.uint16 else np.asarray(image)
    return _Stored(pixels, space, note and f"{path}: {note}")


def _pages(tiff: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """Yield the pages, each once: damaged ones may follow each other in a ring."""
    seen: set[int] = set()
    for page in tiff.pages:
        if page.offset in seen:
            return
        seen.add(page.offset)
        yield page.aspage()


def _refuse_by_tags(path: Path, page: tifffile.TiffPage) -> None:
    if page.photometric not in COLOURS:
        kind = getattr(page.photometric, "name", page.photometric)
        raise UnreadableImage(f"{path}: holds {kind} colours; convert it to RGB")
    in_one = page.compression == tifffile.COMPRESSION.NONE and len(page.dataoffsets) == 1
    if in_one and page.dataoffsets[0] + page.nbytes <= path.stat().st_size:
        return  # tifffile reads these whatever the strip tags say
    if len(page.dataoffsets) < math.prod(page.chunked) or 0 in page.databytecounts:  # tifffile would read these as 0
        raise UnreadableImage(f"{path}: lacks a part of its pixels; get a whole copy")


def _refuse_beyond(path: Path, pixels: int) -> None:
    """Refuse more pixels than the bytes of a file can hold, before allocating memory for them."""
    if pixels > PX_PER_BYTE * path.stat().st_size:
        raise UnreadableImage(f"{path}: its header tells of {pixels} pixels, more than it holds; get a whole copy")
