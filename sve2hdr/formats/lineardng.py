"""Camera RGB -> linear DNG, with which photographers continue in their own raw developer."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from ..cameracolor import white_balance
from ..clipping import CLIP_STARTS, clipped_weight
from ..color import COLOR_SPACES, linear_rgb, lost_level
from ..errors import UnwritableOutput, check_image
from ..hdrfile import encoded_preview, resized, shown_size
from ..mosaic import Mosaic
from ..preview import BLACK_SIGMAS, Look, tone_map
from ..system.files import replacing
from ..system.threads import in_threads
from .dngfile import MATRIX_DENOMINATOR, STRIP_BYTES, UNCOMPRESSED, dng_entries
from .exif import ifds_of, scale_entries
from .tifftags import JPEG, PHOTOMETRIC_LINEAR, SUB_IFDS
from .tiffwrite import (
    BYTE,
    LONG,
    MAX_BYTES,
    RATIONAL,
    SHORT,
    SRATIONAL,
    Entry,
    Ifd,
    entry,
    image_entries,
    lossless_jpeg,
    rationals,
    write_tiff,
)
from .xmp import XMP_TAG, xmp_packet

DNG_EXTENSIONS = (".dng",)

YCBCR = 6  # PhotometricInterpretation
UNSIGNED, FLOAT = 1, 3  # SampleFormat
PREVIEW_SRGB = 2
WHITE = 65535  # of the integer form
TILE_PX, LEAST_TILE_PX = 512, 16  # in TIFF the sides of tiles are multiples of 16 px
PREVIEW_SIDE = 1536  # px at most
AVERAGE_OF_WHITE = 0.128  # 10 / 78: a metered scene's average over saturation in ISO 12232


@dataclass(frozen=True)
class LinearDngOptions:
    """How a linear DNG is stored.

    16-bit integers in lossless JPEG are what Adobe's own linear DNGs have, and LibRaw and dcraw read them. Floats are
    read by LibRaw and Adobe's programs, but not by dcraw. They are uncompressed: lossless JPEG cannot hold them, and
    some readers refuse Deflate.
    """

    floating: bool = False  # half floats
    baseline_exposure_ev: float | None = None  # None: from the image, see `baseline_exposure`
    exposure_ev: float = 0.0  # added to it, by the user's wish
    look: Look | None = None  # of the preview, as shared by a sequence; None: its own
    noise: float | None = None  # of luminance, see `tone_map`; None: unknown


def write_linear_dng(
    path: str | Path,
    camera_rgb: np.ndarray,
    mosaic: Mosaic,
    clip_level: float,
    *,
    options: LinearDngOptions | None = None,
    attributes: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write camera RGB, (H, W, 3) float32 radiance, as LinearRaw DNG 1.4, whole or not at all.

    The pixels must be upright already; Orientation is 1. `mosaic` gives the colours (matrix, and neutral as
    AsShotNeutral) and the capture; the values themselves stay camera RGB. `clip_level`, as in `color.linear_rgb`,
    becomes WhiteLevel (65535, or 1.0 in floats), black is 0, and BaselineExposure makes a raw developer open the file
    as bright as a metered shot.

    Raw developers clip at WhiteLevel after white balance, which makes a highlight neutral only if all its channels
    reach that level. So each channel is smoothly raised to it between 0.88 and 0.98 of it, the range in which
    `color.linear_rgb` counts it more and more as clipped; values below 0.88 are unchanged. Negatives become 0: with a
    pedestal the noise of the deepest shadows would stay unbiased, but darktable's reader ignores BlackLevel for pixels
    of three samples and would lift all shadows. 16-bit integers have steps of 1/65535 of the clip level; dither keeps
    the mean of finer shadows, which high ratios have. Floats have finer steps below 1/32.

    The main IFD is an sRGB preview; the raw image lies in its SubIFD, in strips, or in tiles if compressed.
    `attributes` are texts of our own ("sve2hdr:pattern"), stored as XMP. Source: Adobe DNG 1.4, TIFF 6.0 and its
    technical note 3.

    Raises UnwritableOutput if `path` does not end in .dng, exists or cannot be written, or the image exceeds 4 GiB;
    ValueError for another shape or dtype, values that are not finite, or a clip level that is not above 0.
    """
    path, options = Path(path), options or LinearDngOptions()
    if path.suffix.lower() not in DNG_EXTENSIONS:
        raise UnwritableOutput(f"{path}: camera RGB is written as DNG; name the output *.dng")
    check_image("camera_rgb", camera_rgb)
    if not clip_level > 0:
        raise ValueError(f"clip_level must be above 0, not {clip_level}")
    if not (math.isfinite(camera_rgb.min()) and math.isfinite(camera_rgb.max())):
        raise ValueError("camera_rgb holds values that are not finite")
    if 2 * camera_rgb.size > MAX_BYTES:
        raise UnwritableOutput(f"{path}: the image is too large for a DNG, which holds 4 GiB; use .exr")
    mosaic = replace(mosaic, capture=mosaic.capture.upright())
    small = reduced_for_preview(camera_rgb)
    shown = linear_rgb(small, mosaic, COLOR_SPACES["rec709"], clip_level)
    tone_mapped = tone_map(shown, options.look, options.noise, lost_level(mosaic, clip_level))
    square = resized(tone_mapped, shown_size(tone_mapped.shape, mosaic.capture.pixel_aspect))
    preview = encoded_preview(path, square)
    brighter_ev = options.baseline_exposure_ev
    if brighter_ev is None:
        brighter_ev = baseline_exposure(small, clip_level, options.noise)
    main = [
        *_preview_entries(square.shape),
        entry(XMP_TAG, BYTE, xmp_packet(attributes or {}, mosaic.capture.xmp)),
        *dng_entries(mosaic, [1, 4, 0, 0]),
        entry(50728, RATIONAL, rationals(1 / white_balance(mosaic), MATRIX_DENOMINATOR)),  # AsShotNeutral
        entry(50730, SRATIONAL, rationals(np.array([brighter_ev + options.exposure_ev]), 100)),  # BaselineExposure
    ]
    raw = _raw_ifd(camera_rgb, clip_level, options, scale_entries(mosaic.capture.pixel_aspect))
    below = {SUB_IFDS: raw, **ifds_of(mosaic.capture)}
    with replacing(path, overwrite) as partial, partial.open("wb") as file:
        write_tiff(file, Ifd(main, below, [preview], 1))


def baseline_exposure(camera_rgb: np.ndarray, clip_level: float, noise: float | None = None) -> float:
    """Return by how many EV to brighten an image whose white is the clip level, from 0 to log2(clip_level).

    The average of log green becomes that of a metered shot: 12.8 % of white (ISO 12232). The image is never darker than
    the least exposed sites alone would look, nor brighter than the most exposed ones. Pixels that are black by `noise`,
    see `tone_map`, are left out, unless all are.

    >>> baseline_exposure(np.full((4, 4, 3), 0.128, np.float32), 8.0)
    3.0
    """
    green = camera_rgb[..., 1]
    above = green[green > BLACK_SIGMAS * (noise or 0)]
    lit = np.log2(above if above.size else green[green > 0], dtype=np.float64)
    if not lit.size:
        return 0.0
    median, high = np.percentile(lit, [50, 99])
    average = float(np.clip(lit, median - 8, high).mean())  # deeper shadows are noise
    wanted = math.log2(AVERAGE_OF_WHITE * clip_level) - average
    return round(min(max(wanted, 0.0), max(math.log2(clip_level), 0.0)), 2)


def reduced_for_preview(camera_rgb: np.ndarray) -> np.ndarray:
    """Return an image, (H, W, 3) float32, averaged down to the size of embedded previews; remainders are cut off.

    >>> reduced_for_preview(np.ones((9, 6, 3), np.float32)).shape
    (3, 2, 3)
    """
    longest = max(camera_rgb.shape[:2])
    cell = min(-(-longest // max(1, min(PREVIEW_SIDE, longest // 2))), *camera_rgb.shape[:2])
    height, width = camera_rgb.shape[0] // cell, camera_rgb.shape[1] // cell
    out = np.empty((height, width, 3), np.float32)
    for y in range(height):
        rows = camera_rgb[y * cell : (y + 1) * cell, : width * cell]
        for channel in range(3):  # plane by plane, because NumPy is slow where the last axis is short
            out[y, :, channel] = sum(row[x::cell] for row in rows[..., channel] for x in range(cell))
    return out / np.float32(cell * cell)


# Tags -----------------------------------------------------------------------------------------------------------------


def _preview_entries(shape: tuple[int, ...]) -> list[Entry]:
    return [
        *image_entries(shape, 8, JPEG, YCBCR),
        entry(254, LONG, [1]),  # NewSubFileType: a preview
        entry(278, LONG, [shape[0]]),
        entry(530, SHORT, [1, 1]),  # YCbCrSubSampling: none
        entry(532, RATIONAL, [0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1]),  # ReferenceBlackWhite: JFIF's
        entry(50970, LONG, [PREVIEW_SRGB]),  # PreviewColorSpace
    ]


def _raw_ifd(camera_rgb: np.ndarray, clip_level: float, options: LinearDngOptions, more: Sequence[Entry]) -> Ifd:
    height, width, _ = camera_rgb.shape
    # LibRaw misreads tiles larger than the image, so tiny images are not compressed.
    side = min(TILE_PX, height, width) // LEAST_TILE_PX * LEAST_TILE_PX
    code = JPEG if side and not options.floating else UNCOMPRESSED
    entries = [
        *image_entries(camera_rgb.shape, 16, code, PHOTOMETRIC_LINEAR),
        entry(254, LONG, [0]),  # NewSubFileType: the full image
        entry(339, SHORT, [FLOAT if options.floating else UNSIGNED] * 3),
        entry(50713, SHORT, [1, 1]),  # BlackLevelRepeatDim
        entry(50714, RATIONAL, [0, 1] * 3),  # BlackLevel
        entry(50717, LONG, [1 if options.floating else WHITE] * 3),
        *more,
    ]
    if code == UNCOMPRESSED:
        rows = min(height, max(1, STRIP_BYTES // (6 * width)))
        strips = (
            _encoded(camera_rgb[y : y + rows], clip_level, options.floating).tobytes() for y in range(0, height, rows)
        )
        return Ifd([*entries, entry(278, LONG, [rows])], blocks=strips, block_count=-(-height // rows))
    entries += [entry(322, LONG, [side]), entry(323, LONG, [side])]
    count = -(-height // side) * -(-width // side)
    tiles = _tiles(camera_rgb, clip_level, side)
    return Ifd(entries, blocks=tiles, block_count=count, tiled=True)


# Values ---------------------------------------------------------------------------------------------------------------


def _encoded(camera_rgb: np.ndarray, clip_level: float, floating: bool) -> np.ndarray:
    """Return values as stored, little-endian uint16 or half: scaled and clamped, with highlights raised."""
    share = camera_rgb * np.float32(1 / clip_level)
    np.clip(share, 0, 1, out=share)
    if float(share.max()) > CLIP_STARTS:
        share += clipped_weight(share, 1.0) * (1 - share)
    if floating:
        return share.astype("<f2")
    share *= WHITE
    share += np.resize(_dither(), share.shape)
    return np.rint(share, out=share).astype("<u2")


@functools.cache
def _dither() -> np.ndarray:
    """Return the dither to add before rounding, float32 in steps, the same for every tile.

    It preserves means: shadows finer than a step have neither banding nor a colour cast. Whole steps, such as black and
    white, stay as they are.
    """
    half = np.float32(0.49)  # less than half a step, also after float32 has rounded the sum
    return np.random.default_rng(0).uniform(-half, half, (TILE_PX, TILE_PX, 3)).astype(np.float32)


def _tiles(camera_rgb: np.ndarray, clip_level: float, side: int) -> Iterator[bytes]:
    def tile(place: tuple[int, int]) -> bytes:
        part = camera_rgb[place[0] : place[0] + side, place[1] : place[1] + side]
        encoded = _encoded(part, clip_level, floating=False)
        missing = ((0, side - encoded.shape[0]), (0, side - encoded.shape[1]), (0, 0))
        return lossless_jpeg(np.pad(encoded, missing, mode="edge"))  # TIFF requires whole tiles at the border, too

    height, width, _ = camera_rgb.shape
    # lossless JPEG takes most of the time of writing
    return in_threads(tile, product(range(0, height, side), range(0, width, side)))
