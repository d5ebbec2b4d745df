"""Any method over any size: tiles, halo, stitching."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

Sides = tuple[tuple[int, int], tuple[int, int]]  # rows above and below, columns left and right
Core = tuple[int, int, tuple[int, int]]  # along one axis: start, stop, and the margins before and behind it


def core_size(
    shape: tuple[int, int],
    core_px: int,
    halo: tuple[int, int],
    alignment: tuple[int, int],
    surroundings_px: int | None = None,
) -> tuple[int, int]:
    """Return the rows and columns of the cores for which all tiles together take the least work.

    A tile with its halo has at most as many pixels as one with a core of core_px x core_px, rounded up to `alignment`,
    in the middle of a frame, but need not be square. A video frame takes two tiles:

    >>> core_size((1080, 1920), 1024, (88, 72), (8, 8))
    (1080, 960)
    """
    limit = math.prod(_aligned(core_px, step) + 2 * around for around, step in zip(halo, alignment, strict=True))
    found: list[list[tuple[int, int, int]]] = []  # by axis: lengths of a core, of the longest tile, of all tiles
    for length, around, step in zip(shape, halo, alignment, strict=True):
        found.append([])
        for size in {_aligned(-(-length // count), step) for count in range(1, length + 1)}:
            tiles = list(map(_tile_length, cores(length, size, around, step, surroundings_px)))
            found[-1].append((size, max(tiles), sum(tiles)))
    fitting = (pair for pair in product(*found) if pair[0][1] * pair[1][1] <= limit)
    return min((rows[2] * columns[2], rows[0], columns[0]) for rows, columns in fitting)[1:]


def cores(length: int, core_px: int, halo: int, alignment: int, surroundings_px: int | None = None) -> Iterator[Core]:
    """Yield (start, stop, margins) of the cores along one axis: they cover `length`, start on multiples of `alignment`.

    The margins, before and behind a tile's core, are as wide as the halo, but reach at most `surroundings_px`, rounded
    up to `alignment`, beyond the frame; None: as far as the halo.

    >>> [place[:2] for place in cores(20, 8, 0, 4)], [place[:2] for place in cores(20, 6, 0, 4)]
    ([(0, 8), (8, 16), (16, 20)], [(0, 8), (8, 16), (16, 20)])
    >>> list(cores(20, 8, 12, 4, surroundings_px=4))
    [(0, 8, (4, 12)), (8, 16, (12, 8)), (16, 20, (12, 4))]
    """
    step, end = _aligned(core_px, alignment), _aligned(length, alignment)
    beyond = halo if surroundings_px is None else min(halo, _aligned(surroundings_px, alignment))
    for start in range(0, length, step):
        stop = min(start + step, end)
        yield start, stop, (min(halo, start + beyond), min(halo, end - stop + beyond))


def _tile_length(core: Core) -> int:
    """Return the length of a tile: of its core and both margins."""
    start, stop, margins = core
    return stop - start + sum(margins)


def _aligned(length: int, alignment: int) -> int:
    """Return a length rounded up to a multiple of `alignment`."""
    return -(-length // alignment) * alignment


def run_tiled(
    tile: Callable[[np.ndarray, np.ndarray, Sides], np.ndarray],
    keep: Callable[[tuple[int, int], tuple[int, int], np.ndarray], None],
    shape: tuple[int, int],
    core_px: int,
    halo: tuple[int, int],
    alignment: tuple[int, int],
    progress: Callable[[float], object] = lambda share: None,
    surroundings_px: int | None = None,
) -> None:
    """Run a network, or another method, over tiles of a frame and hand each tile's core to `keep`.

    tile: takes the row numbers and the column numbers of a tile, some of which may lie beyond the frame, and how many
    of them are margins around its core; returns the core's image, (rows, columns, C). keep: takes the core's (first
    row, stop), (first column, stop) and its pixels; the last cores may exceed `shape` by less than `alignment`.
    core_px: see `core_size`. progress: is given the share of the frame that is done, 0 to 1. surroundings_px: see
    `cores`. With the method's own halo and alignment, the result does not depend on core_px.
    """
    if core_px < 1:
        raise ValueError(f"a tile has at least 1 pixel, not {core_px}")
    size = core_size(shape, core_px, halo, alignment, surroundings_px)
    axes = zip(shape, size, halo, alignment, strict=True)
    tiles = list(product(*(list(cores(*axis, surroundings_px)) for axis in axes)))
    # the largest first: smaller ones then fit into the memory that it leaves, of which there would else be holes
    tiles.sort(key=lambda axes: math.prod(map(_tile_length, axes)), reverse=True)
    for done, ((top, bottom, rows), (left, right, columns)) in enumerate(tiles, 1):
        y, x = np.arange(top - rows[0], bottom + rows[1]), np.arange(left - columns[0], right + columns[1])
        keep((top, bottom), (left, right), tile(y, x, (rows, columns)))
        progress(done / len(tiles))
