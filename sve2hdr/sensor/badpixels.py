"""The user's own lists of a sensor's bad sites: a text file, or a frame taken without light."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..errors import Sve2HdrError
from ..mosaic import CELL, SIGMA_OF_MAD, Mosaic
from ..rawfile import read_raw
from ..system.files import file_sha256

LOOKED_AT, LONGEST_LIST = 2**16, 2**24  # bytes: read to tell whether a file is text; of a list, for a million sites
BLOCK = 16  # side of the blocks, in sites of one phase, whose medians are taken
LIMIT_SIGMAS, LIMIT_OF_COLUMNS = 6.0, 0.5  # standard deviations from which a site, and the mean of a column, is off
LEAST_SIGMA = 0.5  # counts, because these are whole numbers
SIGMA_OF_LOW = 2.6  # of a normal distribution: its standard deviation, in units of its magnitude's 30th percentile
CLIP_SIGMAS, AROUND = 4.0, 4  # values are clipped to this for a column's mean; columns at either side to compare with
DARK, MOST_BAD = 0.05, 0.05  # of the range, and of the sites: a frame with more is a photo
MOST_LISTED = 0.2  # of the sites


@dataclass(frozen=True)
class BadPixelMap:
    """A file that names sites to be replaced: text, or a raw that was taken with the lens capped."""

    path: Path = field(compare=False)
    sha256: str  # of the file

    @classmethod
    def of(cls, path: str | Path) -> BadPixelMap:
        """Return the map of a file; raise Sve2HdrError if it cannot be read, or is a list with invalid lines."""
        with _readable(path):
            if (text := _text(Path(path))) is not None:
                deque(listed(text, Path(path)), maxlen=0)  # raises for invalid lines
            return cls(Path(path).absolute(), file_sha256(Path(path)))

    def sites(self, shape: tuple[int, int]) -> np.ndarray:
        """Return which sites of a frame of this shape are bad, (H, W) bool, read-only.

        Raises Sve2HdrError for a list that names too many sites or some outside the frame, and for a raw that is not
        dark or has another shape; UnreadableRaw for one that cannot be read.
        """
        return _sites(self, shape)


@lru_cache(maxsize=1)  # frames of a batch share it
def _sites(of: BadPixelMap, shape: tuple[int, int]) -> np.ndarray:
    with _readable(of.path):
        text = _text(of.path)
    bad = _of_dark(of.path, shape) if text is None else _of_list(text, of.path, shape)
    bad.setflags(write=False)
    return bad


def _of_dark(path: Path, shape: tuple[int, int]) -> np.ndarray:
    bad = off_in_the_dark(read_raw(path), path)
    if bad.shape != shape:
        raise Sve2HdrError(
            f"{path}: has {bad.shape[1]} x {bad.shape[0]} sites, the photo {shape[1]} x {shape[0]}; take it by the "
            "same camera and mode"
        )
    return bad


def _of_list(text: str, path: Path, shape: tuple[int, int]) -> np.ndarray:
    bad = np.zeros(shape, bool)
    for number, at in listed(text, path):
        if any(isinstance(index, int) and index >= length for index, length in zip(at, shape, strict=True)):
            raise Sve2HdrError(
                f"{path}: line {number} is outside of the {shape[1]} x {shape[0]} sites of the photo; is it of another "
                "camera or mode?"
            )
        bad[at] = True
    if bad.mean() > MOST_LISTED:
        raise Sve2HdrError(f"{path}: lists {bad.mean():.0%} of the photo's sites; list fewer")
    return bad


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Sve2HdrError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def _text(path: Path) -> str | None:
    """Return the text of a list, None for other files; raise Sve2HdrError for UTF-16."""
    with path.open("rb") as file:
        start = file.read(LOOKED_AT)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise Sve2HdrError(f"{path}: is UTF-16; save the list as UTF-8")
        if b"\0" in start:
            return None
        text = start + file.read(LONGEST_LIST)
    if len(text) > LONGEST_LIST:
        raise Sve2HdrError(f"{path}: is longer than {LONGEST_LIST >> 20} MB; list fewer sites")
    return text.decode("utf-8-sig", "replace")


def listed(text: str, path: Path) -> Iterator[tuple[int, tuple[int | slice, int | slice]]]:
    """Yield the sites that a text lists: the number of each line, and its row and column.

    A line has the column and the row of a site, counted from 0 at the first visible one. Whatever follows, such as the
    time in dcraw's lists, is ignored, as is anything after a #. `*` stands for all rows, or all columns. Raises
    Sve2HdrError for other lines.

    >>> list(listed("# x y\\n1 0 1104537600\\n2 *", Path("bad.txt")))
    [(2, (0, 1)), (3, (slice(None, None, None), 2))]
    """
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) < 2 or not all(re.fullmatch(r"[0-9]{1,6}|\*", word) for word in words[:2]):
            raise Sve2HdrError(
                f"{path}: line {number} is not the 'column row' of a site, such as '1034 77' or '1034 *'"
            )
        column, row = (slice(None) if word == "*" else int(word) for word in words[:2])
        yield number, (row, column)


def off_in_the_dark(dark: Mosaic, path: Path) -> np.ndarray:
    """Return the sites that lie above or below those around them in a frame without light, (H, W) bool.

    A site is off if it differs from those around it at the same place in the cell by 6 robust standard deviations. A
    column is off, in the same rows of the cell, if its mean differs from that of the columns around it by half of one,
    and by 6 of those of the column means. Raises Sve2HdrError for a frame that is not dark.
    """
    bad = np.zeros(dark.shape, bool)
    levels = dark.counts[::7, ::7] - float(dark.black_level.mean())
    if np.median(levels) > DARK * dark.span:
        raise _not_dark(path, f"half of its sites lie above {DARK:.0%} of the range")
    for row, column in np.ndindex(CELL, CELL):
        off = _above_around(dark.counts[row::CELL, column::CELL].astype(np.float32))
        sigma = _sigma(off)
        means = np.clip(off, -CLIP_SIGMAS * sigma, CLIP_SIGMAS * sigma).mean(axis=0)
        means -= np.median(sliding_window_view(np.pad(means, AROUND, mode="reflect"), 2 * AROUND + 1), axis=1)
        usual = max(sigma / off.shape[0] ** 0.5, SIGMA_OF_MAD * float(np.median(np.abs(means))))
        limit = max(LIMIT_OF_COLUMNS * sigma, LIMIT_SIGMAS * usual)
        of_columns = np.abs(means) > limit
        bad[row::CELL, column::CELL] = (np.abs(off) > LIMIT_SIGMAS * sigma) | of_columns
    if bad.mean() > MOST_BAD:
        raise _not_dark(path, f"{bad.mean():.0%} of its sites stand out")
    return bad


def _sigma(off: np.ndarray) -> float:
    """Return the standard deviation of most values; from those above 0 alone, if the camera clips at black."""
    low, high = np.quantile(off, (0.1, 0.9))
    values = off[off > 0] if -low < high / 2 else np.abs(off)
    if not values.size:
        return LEAST_SIGMA
    most = CLIP_SIGMAS * max(SIGMA_OF_LOW * float(np.quantile(values, 0.3)), 1.0)  # rough: counts are whole numbers
    return max(float(np.sqrt(np.mean(values[values < most] ** 2))), LEAST_SIGMA)


def _not_dark(path: Path, why: str) -> Sve2HdrError:
    return Sve2HdrError(f"{path}: {why}; take the frame with the lens capped, or name a text file of sites")


def _above_around(plane: np.ndarray) -> np.ndarray:
    """Return a plane, (H, W), less the medians of its blocks, interpolated linearly."""
    edges = [np.linspace(0, length, max(1, length // BLOCK) + 1).astype(int) for length in plane.shape]
    medians = np.array(
        [[np.median(plane[top:bottom, left:right]) for left, right in pairwise(edges[1])]
         for top, bottom in pairwise(edges[0])]
    )  # fmt: skip
    return np.asarray(plane - _drawn(_drawn(medians, edges[0]).T, edges[1]).T)


def _drawn(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return values, (N, M), at the middles between edges, inter- and extrapolated linearly to (length, M)."""
    if len(values) == 1:
        return np.repeat(values, edges[-1], 0)
    middles, at = (edges[:-1] + edges[1:] - 1) / 2, np.arange(edges[-1])
    before = np.clip(np.searchsorted(middles, at) - 1, 0, len(middles) - 2)
    share = ((at - middles[before]) / (middles[before + 1] - middles[before])).astype(np.float32)[:, None]
    return np.asarray(values[before] * (1 - share) + values[before + 1] * share, np.float32)
