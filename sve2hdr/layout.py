"""Any phase, CFA order and direction of a pattern -> the one layout that a network was trained for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice, product

import numpy as np

from .architecture import ArchitectureConfig
from .errors import PatternNotFound, UnknownLayout
from .mosaic import ExposurePattern, Mosaic, cfa_period, repeated


@dataclass(frozen=True)
class Placement:
    """How a frame lies in a network's canonical layout: first transposed, then flipped, then shifted.

    Canonical row `row` is row `row - top` of the transposed and flipped frame, and likewise for columns; rows and
    columns outside the frame are filled by `source_index`.
    """

    transpose: bool
    flip_rows: bool
    flip_columns: bool
    top: int  # 0 <= top < rows of the cell
    left: int

    def turned(self, image: np.ndarray) -> np.ndarray:
        """Return a view of `image`, (H, W[, C]), transposed and flipped for this placement."""
        turned = image.swapaxes(0, 1) if self.transpose else image
        return turned[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def sites(
        self, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], cell: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return index arrays y and x such that image[y, x] holds the sites at canonical `rows` x `columns`.

        shape: of the frame as read; cell: rows and columns of the network's cell.
        """
        height, width = shape[::-1] if self.transpose else shape
        y = source_index(rows, self.top, height, cell[0])
        x = source_index(columns, self.left, width, cell[1])
        y = height - 1 - y if self.flip_rows else y
        x = width - 1 - x if self.flip_columns else x
        return (x[None, :], y[:, None]) if self.transpose else (y[:, None], x[None, :])


def placements(mosaic: Mosaic, pattern: ExposurePattern, config: ArchitectureConfig) -> list[Placement]:
    """Return the placements that bring a frame into the layout of `config`: one for each turn that some shift fits.

    Row pairs, column pairs and blocks have two; quad-Bayer, which is its own mirror image, has eight. Raises
    UnknownLayout if there is none, because the network knows another kind of pattern, and PatternNotFound if the frame
    is smaller than one cell.
    """
    if min(mosaic.shape) < max(config.cell):
        raise PatternNotFound(
            f"{mosaic.shape[1]} x {mosaic.shape[0]} sites do not hold one cell of the pattern; give a larger frame"
        )
    side = 16  # a common multiple of all periods
    shape = (side, side)
    letters, exposure = repeated(cfa_period(mosaic.cfa), shape), pattern.over(shape)
    levels = np.unique(pattern.exposure)
    wanted_cfa = repeated(np.array([list(row) for row in config.cfa]), shape)
    wanted_rank = repeated(np.array(config.exposure_rank), shape)
    _, first_site = np.unique(wanted_rank, return_index=True)

    def known(rank: np.ndarray) -> bool:
        return bool((rank == (rank.flat[first_site][wanted_rank] if config.any_exposures else wanted_rank)).all())

    found = []
    if len(levels) == first_site.size or (config.any_exposures and 1 < len(levels) < first_site.size):
        for transpose, flip_rows, flip_columns in product((False, True), repeat=3):
            turn = Placement(transpose, flip_rows, flip_columns, 0, 0)
            # a flip starts from the frame's far end, whose phase depends on the frame's size
            ends = [side - n % side for n in mosaic.shape]
            frame = [np.roll(a, (ends[0] * (flip_columns if transpose else flip_rows),
                                 ends[1] * (flip_rows if transpose else flip_columns)), (0, 1))
                     for a in (letters, np.searchsorted(levels, exposure))]  # fmt: skip
            turned_cfa, turned_rank = (turn.turned(a) for a in frame)
            fitting = (
                replace(turn, top=top, left=left)
                for top, left in product(range(config.cell[0]), range(config.cell[1]))
                if (np.roll(turned_cfa, (top, left), (0, 1)) == wanted_cfa).all()
                and known(np.roll(turned_rank, (top, left), (0, 1)))
            )
            found += list(islice(fitting, 1))
    if not found:
        raise UnknownLayout(
            f"a {mosaic.cfa} mosaic with {len(levels)} exposures, period {pattern.exposure.shape[0]} x "
            f"{pattern.exposure.shape[1]}, is not a layout that this network knows"
        )
    return found


def source_index(canonical: np.ndarray, first: int, length: int, period: int) -> np.ndarray:
    """Return which rows (or columns) of a frame lie at the given canonical ones.

    Row 0 of the frame lies at canonical row `first`. Beyond its ends the frame continues mirrored, with each row moved
    by at most half a period, so that colours and exposures keep to the layout.

    >>> source_index(np.arange(-4, 12), first=0, length=8, period=4).tolist()
    [4, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 2, 3]
    """
    if length < period:
        raise ValueError(f"a frame of {length} rows does not hold a period of {period}")
    index = canonical - first
    cycle = max(1, 2 * (length - 1))
    mirrored = np.abs((index + length - 1) % cycle - (length - 1))
    moved = mirrored + (index - mirrored + period // 2) % period - period // 2
    moved = np.where(moved < 0, moved + period, moved)
    return np.asarray(np.where(moved >= length, moved - period, moved))
