"""A scene-linear image -> TIFF of 32-bit floats, deflated, with its colours as an ICC profile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import BinaryIO

import imagecodecs
import numpy as np

from ..color import ColorSpace
from ..mosaic import Capture
from ..system.threads import in_threads
from .exif import SOFTWARE, UNCALIBRATED, camera_entries, ifds_of
from .icc import icc_profile
from .tiffwrite import (
    BYTE,
    LONG,
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
from .xmp import XMP_TAG, xmp_packet

STRIP_PX = 1 << 18  # pixels encoded at a time, at most
ADOBE_DEFLATE, RGB, FLOAT_PREDICTOR, FLOAT = 8, 2, 3, 3  # Compression, Photometric, Predictor, SampleFormat


def write_float_tiff(
    stream: BinaryIO, image: np.ndarray, space: ColorSpace, capture: Capture, attributes: Mapping[str, str]
) -> None:
    """Write an image, (H, W, 3) float32, that fits into MAX_BYTES; `attributes` become XMP."""
    height, width = image.shape[:2]
    rows = min(height, max(1, STRIP_PX // width))
    known = re.fullmatch(r"\d{4}(:\d\d){2} \d\d(:\d\d){2}", capture.taken)
    told = {"sve2hdr:color_space": f"scene-linear {space.name}", **attributes}
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
        entry(XMP_TAG, BYTE, xmp_packet(told, capture.xmp)),
        entry(34675, UNDEFINED, b"" if space.chromaticities is None else icc_profile(space)),
        *camera_entries(capture),
    ]

    def strip(top: int) -> bytes:
        predicted = imagecodecs.floatpred_encode(np.ascontiguousarray(image[top : top + rows]), axis=1)
        return bytes(imagecodecs.deflate_encode(predicted.tobytes()))

    strips = in_threads(strip, range(0, height, rows))
    write_tiff(stream, Ifd(entries, ifds_of(capture, UNCALIBRATED), strips, -(-height // rows)))
