"""Mosaic -> CFA DNG: 16-bit counts with levels, colour and capture tags, as raw developers read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UnwritableOutput
from ..mosaic import Mosaic, cfa_period
from ..system.files import replacing
from .exif import SOFTWARE, camera_entries, footage_entries, ifds_of, scale_entries, unique_camera_model
from .tifftags import JPEG, PHOTOMETRIC_CFA
from .tiffwrite import (
    BYTE,
    DOUBLE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    Entry,
    Ifd,
    entry,
    image_entries,
    lossless_jpeg,
    rationals,
    text_entry,
    write_tiff,
)

UNCOMPRESSED = 1
ILLUMINANT_D65 = 21
STRIP_BYTES = 1 << 18
MATRIX_DENOMINATOR = 1_000_000


def write_cfa_dng(
    path: str | Path,
    mosaic: Mosaic,
    *,
    noise_profile: np.ndarray | None = None,
    description: str = "",
    compressed: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a mosaic as a 16-bit CFA DNG 1.4, whole or not at all; `read_raw` gives the same mosaic back.

    `noise_profile`, (1 or 3, 2) rows (scale, offset), becomes tag NoiseProfile: the variance of a signal x, 0 at black
    and 1 at white, is scale * x + offset. `description` is free text (ImageDescription), such as the true exposure
    pattern. `compressed` stores lossless JPEG instead of plain strips; it is smaller and takes longer.
    Levels are kept to 1/1000 count, matrix and neutral to a millionth. A 4 x 4 CFA is valid DNG, but LibRaw and dcraw
    decode only its counts correctly and mistake its colours. Source: Adobe DNG 1.4, TIFF 6.0, EXIF 2.3.

    Raises UnwritableOutput if `path` exists, does not end in .dng, or cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".dng":
        raise UnwritableOutput(f"{path}: a mosaic is written as DNG; name the output *.dng")
    height, width = mosaic.shape
    if compressed:
        rows, compression = height, JPEG
        strips = [lossless_jpeg(_by_colour(mosaic.counts))]
    else:
        rows, compression = min(height, max(1, STRIP_BYTES // (2 * width))), UNCOMPRESSED
        strips = [mosaic.counts[y : y + rows].astype("<u2").tobytes() for y in range(0, height, rows)]
    image = [
        *image_entries(mosaic.shape, 16, compression, PHOTOMETRIC_CFA),
        entry(254, LONG, [0]),  # NewSubfileType: the full image
        text_entry(270, description),
        entry(278, LONG, [rows]),
        entry(339, SHORT, [1]),
        *_mosaic_entries(mosaic),
    ]
    if noise_profile is not None:
        image.append(entry(51041, DOUBLE, np.asarray(noise_profile, np.float64).ravel().tolist()))
    below = ifds_of(mosaic.capture)
    with replacing(path, overwrite=overwrite) as partial, partial.open("wb") as file:
        write_tiff(file, Ifd(image, below, strips, len(strips)))


def dng_entries(mosaic: Mosaic, reader_version: Sequence[int]) -> list[Entry]:
    """Return the entries that the main IFD of every DNG has: versions of DNG and reader, camera, colours, footage."""
    return [
        *camera_entries(mosaic.capture),
        entry(274, SHORT, [mosaic.capture.orientation]),
        text_entry(305, SOFTWARE),
        entry(50706, BYTE, [1, 4, 0, 0]),  # DNGVersion
        entry(50707, BYTE, reader_version),  # DNGBackwardVersion
        text_entry(50708, unique_camera_model(mosaic.capture)),
        *_matrix_entries(mosaic),
        *footage_entries(mosaic.capture),
    ]


def _matrix_entries(mosaic: Mosaic) -> list[Entry]:
    """Return ColorMatrix1 and CalibrationIlluminant1, and for two calibrations also 2, which is the cooler light.

    The camera's calibration and analog balance are already in the matrices.
    """
    two = mosaic.calibrations
    matrices = mosaic.camera_from_xyz[None] if two is None else two.camera_from_xyz
    lights = (ILLUMINANT_D65,) if two is None else two.illuminants
    return [
        made
        for n, (matrix, light) in enumerate(zip(matrices, lights, strict=True))
        for made in (
            entry(50721 + n, SRATIONAL, rationals(matrix.ravel(), MATRIX_DENOMINATOR)),
            entry(50778 + n, SHORT, [light]),
        )
    ]


def _by_colour(counts: np.ndarray) -> np.ndarray:
    """Return pairs of columns as two components, as in Adobe's DNGs, so that each colour is predicted from itself."""
    height, width = counts.shape
    return counts.reshape(height, width // 2, 2) if width % 2 == 0 else counts


def _mosaic_entries(mosaic: Mosaic) -> list[Entry]:
    """Return what the counts mean: filters, levels, colours, and the camera's names."""
    capture, period = mosaic.capture, cfa_period(mosaic.cfa)
    entries = [
        *dng_entries(mosaic, [1, 1, 0, 0]),
        entry(33421, SHORT, period.shape),  # CFARepeatPatternDim
        entry(33422, BYTE, ["RGB".index(letter) for letter in mosaic.cfa]),  # CFAPattern
        entry(50710, BYTE, [0, 1, 2]),  # CFAPlaneColor: red, green, blue
        entry(50711, SHORT, [1]),  # CFALayout: rectangular
        entry(50713, SHORT, mosaic.black_level.shape),  # BlackLevelRepeatDim
        entry(50714, RATIONAL, rationals(mosaic.black_level.ravel(), 1000)),
        entry(50717, LONG, [round(mosaic.white_level)]),
        *scale_entries(capture.pixel_aspect),
    ]
    if mosaic.as_shot_neutral is not None:
        entries.append(entry(50728, RATIONAL, rationals(mosaic.as_shot_neutral, MATRIX_DENOMINATOR)))
    return entries
