"""Raw file -> Mosaic: the one import of rawpy, and every reason why a file is not a usable Bayer raw."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rawpy

from .errors import UnreadableRaw
from .formats import tifftags
from .formats.tifftags import Ifd, number, numbers
from .mosaic import CELL, MIN_SIDE_PX, Capture, Mosaic, over_common_period
from .raw.capture import read_capture
from .raw.margins import LEAST_COUNTS, SIGMAS
from .raw.maskedrows import as_margins_show
from .raw.rawcheck import dng_tags, is_raw_image, refuse_by_tags, refuse_damaged_data
from .raw.rawcolor import as_shot_neutral, camera_matrices
from .system.quiet import quiet_libraries

MAX_COUNT = 65535
UNLIT = 0.05  # share of rows, at the top, that may be 0: if there are more, they are missing
MOST_ZERO = 0.01  # share of zeros in a column, with black above 0: if nine columns in ten have more, counts clip at 0
UNDECODED = {8: "Deflate", 34892: "lossy JPEG", 52546: "JPEG XL"}  # by Compression: mosaics LibRaw does not decode


def read_raw(path: str | Path) -> Mosaic:
    """Return the visible area of a raw file's Bayer mosaic, as counts, with levels, colour and capture data.

    Reads every Bayer file that LibRaw decodes, and DNGs with a 4 x 4 CFA. Levels, matrix and neutral of a DNG come from
    its own tags (Adobe DNG 1.7), otherwise from LibRaw. Black levels that differ between row phases (Dual ISO) are
    measured in the masked margins, if there are any; see `Mosaic.masked`. `camera_from_xyz` falls back on LibRaw's
    matrix from camera to display, or else on XYZ to Rec. 709. `as_shot_neutral` is None if the file has no white
    balance.

    Raises UnreadableRaw, with what is wrong and what to do, for anything else: other files, damaged or truncated ones,
    X-Trans, Foveon, monochrome, sRAW, float or demosaiced data, and frames with a side below 64 px.

    >>> read_raw("missing.cr2")
    Traceback (most recent call last):
    ...
    sve2hdr.errors.UnreadableRaw: missing.cr2: no such file; check the path
    """
    path = Path(path) if isinstance(path, str) else path
    ifds = tifftags.read_ifds(path)
    refuse_by_tags(path, ifds)
    try:
        with quiet_libraries(), path.open("rb") as file, rawpy.imread(file) as raw:
            with ThreadPoolExecutor(1) as other:  # LibRaw ignores damage, so the data are decoded twice
                undamaged = other.submit(refuse_damaged_data, path, ifds)
                raw.unpack()
            undamaged.result()
            return _mosaic(path, raw, ifds)
    except FileNotFoundError as error:
        raise UnreadableRaw(f"{path}: no such file; check the path") from error
    except OSError as error:
        if os.path.isdir(path):  # Windows reports a denied permission for it; unlike Path's, this never raises
            raise UnreadableRaw(f"{path}: a folder; name the raw files in it") from error
        advice = "permissions" if isinstance(error, PermissionError) else "path and disk"
        raise UnreadableRaw(f"{path}: cannot be read ({error.strerror}); check its {advice}") from error
    except rawpy.LibRawError as error:
        raise UnreadableRaw(f"{path}: {_undecodable(path, ifds, error)}") from error
    except NotImplementedError as error:  # rawpy's, for a number of filters that no camera has
        raise UnreadableRaw(f"{path}: a damaged colour filter array ({error}); copy it again from the card") from error


def _mosaic(path: Path, raw: Any, ifds: list[tuple[str, Ifd]]) -> Mosaic:
    visible = _visible(path, raw)
    capture = read_capture(path, ifds, raw)
    if not ifds and replace(capture, orientation=1) == Capture():
        # LibRaw takes any file of a known size for some camera's sensor dump, and guesses colours and levels.
        raise UnreadableRaw(f"{path}: does not name its camera, perhaps a headerless dump; convert it to DNG first")
    dng = dng_tags(ifds)
    cfa = _cfa(path, raw, dng)
    white = _white_level(raw, dng)
    black = _black_level(raw, dng)
    if not float(np.abs(black).max()) < white <= MAX_COUNT:
        raise UnreadableRaw(f"{path}: damaged levels (black {black.max():g}, white {white:g}); try a DNG made from it")
    counts = visible.copy()  # LibRaw frees this view when the file is closed
    _refuse_missing_rows(path, counts, black)
    matrix, calibrations = camera_matrices(raw, dng)
    mosaic = Mosaic(counts, cfa, black, white, matrix, capture=capture, calibrations=calibrations)
    mosaic = as_margins_show(mosaic, raw.raw_image, raw.sizes.top_margin, raw.sizes.left_margin)
    return replace(mosaic, as_shot_neutral=as_shot_neutral(raw, dng, mosaic))


# Refusals of what is not a Bayer raw ----------------------------------------------------------------------------------


def _undecodable(path: Path, ifds: list[tuple[str, Ifd]], error: Exception) -> str:
    message = error.args[0] if error.args else "no reason given"
    reason = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        return "an empty file; copy it again"
    if start.startswith((b"\xff\xd8", b"\x89PNG")):
        return "a picture, not a raw file; give the camera's own raw file"
    if start.startswith(b"MLV"):
        return "Magic Lantern video; make DNG frames of it by sve2hdr unpack, and convert their folder by sve2hdr batch"
    if start.startswith((b"II+\0", b"MM\0+")):
        return "a BigTIFF, which LibRaw does not read; give the camera's own raw file, or a DNG below 4 GB"
    compression = UNDECODED.get(int(number(dng_tags(ifds), 259) or 0))
    if compression is not None:
        return f"{compression}, which LibRaw does not decode; give the camera's own raw file, or a lossless JPEG DNG"
    if isinstance(error, rawpy.LibRawFileUnsupportedError):
        if start[6:14] == b"HEAPCCDR" or start.startswith((b"FUJIFILM", b"FOVb")) or start[4:12] == b"ftypcrx ":
            return "a damaged or truncated raw file, or one newer than this LibRaw; copy it again from the card"
        if any(is_raw_image(ifd) for _, ifd in ifds):
            return "damaged, or compressed in a way LibRaw does not know; convert it with Adobe DNG Converter"
        return "not a raw file LibRaw can decode; if a camera made it, convert it to DNG first"
    return f"damaged or truncated ({reason}); copy it again from the card"


def _visible(path: Path, raw: Any) -> np.ndarray:
    if raw.raw_type != rawpy.RawType.Flat:
        with path.open("rb") as file:
            foveon = file.read(4) == b"FOVb"
        what = (
            "a Foveon file, three colours at every site" if foveon else "sRAW, mRAW or demosaiced, not a Bayer mosaic"
        )
        raise UnreadableRaw(f"{path}: {what}; give a full-size Bayer raw file")
    visible: np.ndarray = raw.raw_image_visible
    if visible.ndim != 2:
        raise UnreadableRaw(f"{path}: {visible.shape[-1]} values per site, not a Bayer mosaic; give a Bayer raw file")
    if min(visible.shape) < MIN_SIDE_PX:
        height, width = visible.shape
        raise UnreadableRaw(f"{path}: {width} x {height} px, below {MIN_SIDE_PX} a side; give a full frame")
    return visible


def _refuse_missing_rows(path: Path, counts: np.ndarray, black: np.ndarray) -> None:
    """Refuse a frame with adjacent rows of 0, which is how LibRaw leaves rows that are missing from the file.

    The first few rows may be 0, like unlit lines, and any rows may be if zeros occur all over the frame.
    """
    empty = counts.max(axis=1) == 0
    first = int(np.argmin(empty))
    first = first if first <= UNLIT * len(empty) else 0
    apart = empty[first + 1 :] & empty[first:-1]
    if black.min() <= 0 or not apart.any():
        return
    beside = np.convolve(empty, [1, 1, 1], "same") > 0  # rows that may be incomplete
    if not beside.all() and np.quantile(np.mean(counts[~beside] == 0, axis=0), 0.1) > MOST_ZERO:
        return
    missing = counts.shape[0] - int(np.flatnonzero(~empty).max(initial=-1)) - 1
    what = f"truncated: the last {missing}" if missing > 1 else f"damaged: {np.count_nonzero(empty)}"
    raise UnreadableRaw(f"{path}: {what} rows hold no data; copy it again from the card")


# What the counts mean -------------------------------------------------------------------------------------------------


def _cfa(path: Path, raw: Any, dng: Ifd) -> str:
    size, stored = numbers(dng, 33421), dng.get(33422, b"")
    codes = stored if isinstance(stored, bytes) else bytes(int(n) for n in numbers(dng, 33422) if 0 <= n < 256)
    if size == (4, 4) and len(codes) == 16 and set(codes) == {0, 1, 2}:  # LibRaw takes the 16 codes for 8 rows of 2
        letters = _from_active_area(np.array(list("RGB"))[list(codes)].reshape(4, 4), raw, dng)
    else:
        pattern = raw.raw_pattern
        if pattern is None or pattern.shape == (1, 1):
            raise UnreadableRaw(
                f"{path}: monochrome, no colour filter array; its counts can be taken from Python, as "
                "examples/monochrome.py shows"
            )
        if pattern.shape != (2, 2) or size not in ((), (2, 2)):
            shape = tuple(pattern.shape if size in ((), (2, 2)) else size[:2])
            kind = "X-Trans, " if shape == (6, 6) else ""
            told = " x ".join(f"{n:g}" for n in shape)
            raise UnreadableRaw(f"{path}: {kind}a {told} colour filter array; give a Bayer raw file")
        letters = _from_visible(np.array(list(raw.color_desc.decode("ascii", "replace")))[pattern], raw)
    cfa = "".join(letters.ravel())
    greens = letters == "G"
    if set(cfa) != set("RGB") or (letters.size == 4 and (greens.sum() != 2 or greens[0, 0] != greens[1, 1])):
        raise UnreadableRaw(f"{path}: colour filters {cfa}, not red, green and blue as Bayer; give a Bayer raw file")
    return cfa


def _from_visible(period: np.ndarray, raw: Any) -> np.ndarray:
    """Shift a period that starts at the sensor's first site to start at the visible area's."""
    return np.roll(period, (-raw.sizes.top_margin, -raw.sizes.left_margin), axis=(0, 1))


def _from_active_area(period: np.ndarray, raw: Any, dng: Ifd) -> np.ndarray:
    """Shift a period of a DNG's active area likewise: LibRaw's visible area starts at its next even row and column."""
    area = numbers(dng, 50829)
    if len(area) != 4 or not all(0 <= n < 1 << 31 for n in area):
        return period
    return np.roll(period, (int(area[0]) - raw.sizes.top_margin, int(area[1]) - raw.sizes.left_margin), axis=(0, 1))


def _white_level(raw: Any, dng: Ifd) -> float:
    stored = [level for level in numbers(dng, 50717) if 0 < level <= MAX_COUNT]
    if stored:
        return float(min(stored))
    # For some cameras LibRaw's constant is the format's upper end; the maker's value is where this shot saturates.
    white, maker = float(raw.white_level), raw.camera_white_level_per_channel or []
    per_channel = [float(level) for level in maker if level > max(raw.black_level_per_channel)]
    return min([white, *per_channel])


def _black_level(raw: Any, dng: Ifd) -> np.ndarray:
    stored = numbers(dng, 50714)
    if stored:
        size = [int(n) for n in numbers(dng, 50713) if 1 <= n <= len(stored)]
        rows, columns = size if len(size) == 2 and size[0] * size[1] <= len(stored) else (1, 1)
        period = np.array(stored[: rows * columns], np.float32).reshape(rows, columns)
        top, left, bottom, right = (*numbers(dng, 50829), 0, 0, number(dng, 257) or 0, number(dng, 256) or 0)[:4]
        down, across = _of_lines(numbers(dng, 50716), bottom - top), _of_lines(numbers(dng, 50715), right - left)
        lines = down[:, None] + across
        period, lines = over_common_period(period, lines.astype(np.float32))
        black = _from_active_area(period + lines, raw, dng)
    elif dng:
        black = np.zeros((1, 1), np.float32)  # the DNG default
    else:
        black = _from_visible(np.array(raw.black_level_per_channel, np.float32)[raw.raw_pattern], raw)
    return black


def _of_lines(deltas: tuple[float, ...], lines: float) -> np.ndarray:
    """Return what BlackLevelDeltaV or H adds to rows or columns, as the smallest period that explains it, up to (4,).

    Deviations of single lines are averaged out, because counts stay whole numbers. If there is not one value for each
    of `lines`, all are averaged.
    """
    if len(deltas) < CELL or len(deltas) != lines:
        return np.array([np.mean(deltas or (0.0,))])
    by_phase = [np.array(deltas[phase::CELL]) for phase in range(CELL)]
    mean, error = np.array([[d.mean(), d.std() / len(d) ** 0.5] for d in by_phase]).T
    for period in (1, 2, CELL):
        level = mean.reshape(-1, period).mean(axis=0)
        if (np.abs(mean - np.tile(level, CELL // period)) <= np.maximum(LEAST_COUNTS, SIGMAS * error)).all():
            break
    return np.asarray(level)
