"""Any method over any size: tiles, halo, stitching."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np


def core_size(
    shape: tuple[int, int], core_px: int, halo: tuple[int, int], alignment: tuple[int, int]
) -> tuple[int, int]:
    """Return rows and columns of the cores that take the least work in sum.

    A tile has at most as many pixels, with its halo, as one of core_px x core_px, rounded up to `alignment`, but may be
    longer than wide. A video frame takes two tiles:

    >>> core_size((1080, 1920), 1024, (88, 72), (8, 8))
    (1080, 960)
    """
    limit = math.prod(_aligned(core_px, step) + 2 * around for around, step in zip(halo, alignment, strict=True))
    found = []
    for rows in {_aligned(-(-shape[0] // count), alignment[0]) for count in range(1, shape[0] + 1)}:
        most = (limit // (rows + 2 * halo[0]) - 2 * halo[1]) // alignment[1] * alignment[1]
        if most > 0:
            columns = _aligned(-(-shape[1] // -(-shape[1] // most)), alignment[1])
            tiles = -(-shape[0] // rows) * -(-shape[1] // columns)
            found.append((tiles * (rows + 2 * halo[0]) * (columns + 2 * halo[1]), rows, columns))
    return min(found)[1:]


def cores(length: int, core_px: int, alignment: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the cores along one axis: they cover `length`, start on multiples of `alignment`.

    >>> list(cores(20, 8, 4)), list(cores(20, 6, 4))
    ([(0, 8), (8, 16), (16, 20)], [(0, 8), (8, 16), (16, 20)])
    """
    step = _aligned(core_px, alignment)
    for start in range(0, length, step):
        yield start, min(start + step, _aligned(length, alignment))


def _aligned(length: int, alignment: int) -> int:
    """Return a length, rounded up to whole multiples."""
    return -(-length // alignment) * alignment


def run_tiled(
    tile: Callable[[np.ndarray, np.ndarray], np.ndarray],
    keep: Callable[[tuple[int, int], tuple[int, int], np.ndarray], None],
    shape: tuple[int, int],
    core_px: int,
    halo: tuple[int, int],
    alignment: tuple[int, int],
    progress: Callable[[float], object] = lambda share: None,
) -> None:
    """Run a network, or another method, over tiles of a frame and hand each tile's core to `keep`.

    tile: takes the row and the column numbers of a tile, which reach `halo` beyond its core and so beyond the frame,
    and returns the core's image, (rows, columns, C). keep: takes the core's (first row, stop), (first column, stop)
    and its pixels; the last cores may reach beyond `shape` by less than `alignment`. core_px: as `core_size` has it.
    progress: told the share of the frame that is done, 0 to 1. With the method's own halo and alignment, the result
    does not depend on core_px.
    """
    if core_px < 1:
        raise ValueError(f"a tile has at least 1 pixel, not {core_px}")
    size = core_size(shape, core_px, halo, alignment)
    tiles = [(r, c) for r in cores(shape[0], size[0], alignment[0]) for c in cores(shape[1], size[1], alignment[1])]
    for done, (rows, columns) in enumerate(tiles, 1):
        image = tile(
            np.arange(rows[0] - halo[0], rows[1] + halo[0]), np.arange(columns[0] - halo[1], columns[1] + halo[1])
        )
        keep(rows, columns, image)
        progress(done / len(tiles))
