"""Any network over any size: tiles, halo, stitching."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np


def cores(length: int, core_px: int, alignment: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the cores along one axis: they cover `length`, start on multiples of `alignment`.

    >>> list(cores(20, 8, 4)), list(cores(20, 6, 4))
    ([(0, 8), (8, 16), (16, 20)], [(0, 8), (8, 16), (16, 20)])
    """
    step = -(-core_px // alignment) * alignment
    for start in range(0, length, step):
        yield start, min(start + step, -(-length // alignment) * alignment)


def run_tiled(
    network: Callable[[np.ndarray, np.ndarray], np.ndarray],
    keep: Callable[[tuple[int, int], tuple[int, int], np.ndarray], None],
    shape: tuple[int, int],
    core_px: int,
    halo: tuple[int, int],
    alignment: tuple[int, int],
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Run a network over tiles of a frame and hand each tile's core to `keep`.

    network: takes the row and the column numbers of a tile, which reach `halo` beyond its core and so beyond the frame,
    and returns the core's image, (rows, columns, C). keep: takes the core's (first row, stop), (first column, stop)
    and its pixels; the last cores may reach beyond `shape` by less than `alignment`. progress: told the share of the
    frame that is done, 0 to 1. With the network's own halo and alignment, the result does not depend on core_px.
    """
    if core_px < 1:
        raise ValueError(f"a tile has at least 1 pixel, not {core_px}")
    tiles = [(r, c) for r in cores(shape[0], core_px, alignment[0]) for c in cores(shape[1], core_px, alignment[1])]
    for done, (rows, columns) in enumerate(tiles, 1):
        image = network(
            np.arange(rows[0] - halo[0], rows[1] + halo[0]), np.arange(columns[0] - halo[1], columns[1] + halo[1])
        )
        keep(rows, columns, image)
        progress(done / len(tiles))
