"""Image + metadata -> EXR, HDR, TIFF, JPEG, PNG: the one place that writes finished images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .color import ColorSpace
from .curve import HEADROOM_EV
from .errors import UnwritableOutput, check_image
from .formats.exif import EXIF_START, exif_block
from .formats.exrwrite import WriteOptions, storable, write_exr
from .formats.floattiff import write_float_tiff
from .formats.gainmap import ultra_hdr
from .formats.icc import srgb_profile
from .formats.rgbe import write_rgbe
from .formats.tiffwrite import MAX_BYTES
from .formats.xmp import xmp_packet
from .mosaic import Capture
from .system.files import check_writable, replacing

HDR_EXTENSIONS = (".exr", ".hdr", ".tif", ".tiff")
PREVIEW_EXTENSIONS = (".jpg", ".jpeg", ".png")


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

    `attributes` are texts of our own ("sve2hdr:pattern"), stored in EXR attributes, HDR header lines or the TIFF's XMP,
    beside the capture and the colour space. Values that a format cannot hold are never changed silently: an EXR with
    values beyond +-65504 (dwa: 60000), or too dark for halves, becomes 32-bit (dwa: in ZIP), and in RGBE negatives
    become 0. The note returned says so in a sentence for the user; otherwise it is "". An image is too dark if its
    `noise`, a standard deviation, is below 2**-24 or, if that is unknown (0), no value reaches 2**-10.

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
    options, attributes, finding = options or WriteOptions(), attributes or {}, ""
    capture = capture.upright()
    with replacing(path, overwrite) as partial, partial.open("wb+") as stream:
        if path.suffix.lower() == ".exr":
            options, finding = storable(options, max(-least, greatest), noise)
            write_exr(stream, image, color_space, capture, attributes, options)
        elif path.suffix.lower() == ".hdr":
            if least < 0:
                finding = "Radiance HDR cannot hold negative values: they were written as 0; .exr keeps them"
            write_rgbe(stream, image, color_space, capture, attributes)
        else:
            write_float_tiff(stream, image, color_space, capture, attributes)
    return finding and f"{path}: {finding}"


def write_preview(
    path: str | Path, image: np.ndarray, *, capture: Capture | None = None, overwrite: bool = False
) -> None:
    """Write a display-referred sRGB image, encoded by `encoded_preview`; raise UnwritableOutput (see `replacing`)."""
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
    """Return an sRGB image, (H, W, 3) uint8, encoded for `path`: PNG for .png, else JPEG (quality 92, 4:4:4).

    `capture` goes into the image's EXIF and XMP, but for its orientation, because the image is upright. None: neither.
    Non-square pixels are made square, because viewers assume that. `most_px` limits the longer side. With `gain`, a
    gain map from `tone_map_with_gain`, the JPEG is an Ultra HDR one. Raises UnwritableOutput if the image is too large
    for the format, and ValueError for another shape or dtype, or a PNG with `gain`.
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
    written = "" if capture is None else capture.xmp
    packet = xmp_packet({}, written) if written else b""
    settings: dict[str, Any] = {"quality": 92, "subsampling": 0, "icc_profile": srgb_profile()}
    if png:
        chunks = PngInfo()
        chunks.add(b"sRGB", b"\0")  # rendering intent: perceptual
        if packet:
            chunks.add_itxt("XML:com.adobe.xmp", packet.decode())
        settings = {"compress_level": 3, "pnginfo": chunks}
    elif packet and gain is None:  # with a gain map, this joins that one's XMP
        settings["xmp"] = packet
    if capture is not None:
        settings["exif"] = EXIF_START + exif_block(capture, image.shape[:2])
    extension = ".png" if png else ".jpg"
    encoded = bytes(imageio.imwrite("<bytes>", image, extension=extension, plugin="pillow", **settings))
    if gain is None:
        return encoded
    gains = imageio.imwrite("<bytes>", gain, extension=".jpg", plugin="pillow", quality=85, subsampling=0)
    # screens that can show the brightest part show all; at least 1, because without any gain the headroom would be 0
    return ultra_hdr(encoded, bytes(gains), HEADROOM_EV, HEADROOM_EV * max(int(gain.max()), 1) / 255, written)


def shown_size(shape: tuple[int, ...], aspect: float, most_px: int | None = None) -> tuple[int, int]:
    """Return the width and height at which to show an image, (H, W, ...), with pixels `aspect` times as wide as high.

    Making them square loses none, unless the longer side would exceed `most_px`.

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
