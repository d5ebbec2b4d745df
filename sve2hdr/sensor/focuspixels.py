"""Focus pixels: sites for phase detection, in a grid on the sensor, that see other light than their neighbours.

Canon's EOS M, 100D, 650D, 700D and 70D have them among the red and blue sites, where they cause green and magenta dots
in raw video. Half covered and without a colour filter of their own, they agree with their neighbours in grey and stand
out in colour. Where they lie, and in how many rows, depends on camera and mode, but the grid always repeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..mosaic import SIGMA_OF_MAD, repeated
from .sites import Sites

# Rows and columns after which all grids repeat: theirs have 8, 12 or 24 columns, and 6, 10, 12 or 60 rows, by mode.
PERIOD = 60, 24
LEAST_PERIODS = 100  # in a window, so that each place of the period has as many sites
ENOUGH_SITES = 4_000_000  # to look at: more change nothing
WINDOWS = 1, 4  # parts in which a frame is searched, because a grid may fill only some of its rows

# How far a site stands out: beyond its neighbours' values, in units of noise and of their own range, at most by 1.
NOISE_UNITS, RANGE_UNITS, MOST = 2.0, 0.5, 1.0
# Standard errors by which places of the period stand out from others of their kind, for the first ones found and for
# further ones; the least such error. Places between two that stand out by half as much are lines of the scene.
SIGNIFICANT, FURTHER, LEAST_ERROR, OF_LINES = 6.0, 5.0, 0.002, 0.5
TWO_SIGMA = 0.95  # share of errors within two standard errors
LEAST_PLACES = 6  # that stand out, half as many as in the smallest grid: fewer are chance
MOST_IN_LINE = 1 / 3  # share of them in one row or column: with more, it is an edge of the scene
MOST_GREEN = 0.2  # share of them that are green: with more, the scene repeats itself
SHOWN = 4.0  # standard errors by which they stand out together in the rows of a period that has them


@dataclass(frozen=True, eq=False)
class FocusPixels:
    """Where focus pixels lie: at which places of each PERIOD, and in which rows."""

    grid: np.ndarray  # (60, 24) bool
    top: int
    bottom: int  # the row that follows the last one

    def sites(self, shape: tuple[int, int]) -> np.ndarray:
        """Return which sites of a frame are focus pixels, (H, W) bool."""
        down, across = (-(-length // period) for length, period in zip(shape, PERIOD, strict=True))
        there = np.tile(self.grid, (down, across))[: shape[0], : shape[1]]
        there[: self.top] = there[self.bottom :] = False
        return there

    def with_others(self, others: FocusPixels | None) -> FocusPixels:
        """Return the union of these and others."""
        if others is None:
            return self
        rows = min(self.top, others.top), max(self.bottom, others.bottom)
        return FocusPixels(self.grid | others.grid, *rows)

    def as_json(self) -> dict[str, list[int] | list[list[int]]]:
        """Return them in types of JSON: the rows, and the row and column of each place.

        >>> FocusPixels.of_json(FocusPixels(np.arange(1440).reshape(60, 24) == 25, 120, 480).as_json()).as_json()
        {'rows': [120, 480], 'places': [[1, 1]]}
        """
        return {"rows": [self.top, self.bottom], "places": np.argwhere(self.grid).tolist()}

    @classmethod
    def of_json(cls, record: dict[str, list[int] | list[list[int]]]) -> FocusPixels:
        """Undo `as_json`; raise ValueError, LookupError or TypeError for a record that it cannot have returned."""
        grid, places = np.zeros(PERIOD, bool), np.array(record["places"], np.int64).reshape(-1, 2)
        top, bottom = np.array(record["rows"], np.int64).tolist()
        if not (0 <= top <= bottom and (places >= 0).all() and (places < PERIOD).all()):
            raise ValueError("focus pixels outside of their period")
        grid[tuple(places.T)] = True
        return cls(grid, top, bottom)


def focus_pixels(sites: Sites, known: FocusPixels | None = None) -> FocusPixels | None:
    """Return where sites of a grid see other light than their neighbours; None: nowhere.

    `known` are those found and replaced before; the result includes them.

    In every scene, each site stands out from its neighbours now and then. If sites at one place of the period do so
    more often and more strongly than at others, the sensor is the cause, unless green sites or sites in a line do so,
    too: then it is the light of screens, meshes and prints.
    """
    size = PERIOD[0] * PERIOD[1]
    # Exposures of rows in fours are out of step with PERIOD, but sites of one kind in the first period stay so in all
    letters, exposure = (repeated(part, PERIOD) for part in (sites.letters, sites.exposure))
    numbers = [np.unique(part.ravel(), return_inverse=True)[1] for part in (letters, exposure)]
    kind = np.unique(numbers, axis=1, return_inverse=True)[1].ravel()
    sums = _sums(sites)
    is_green = letters == "G"
    grid = _standing_out(sums, kind, is_green.ravel(), SIGNIFICANT if known is None else FURTHER).reshape(PERIOD)
    green = np.count_nonzero(grid & is_green)
    if known is not None:
        grid &= ~known.grid
    if (np.count_nonzero(grid) < LEAST_PLACES and known is None) or green > MOST_GREEN * np.count_nonzero(grid):
        return known
    grid &= ~is_green
    if not grid.any() or (known is None and _along_one_edge(grid)):
        return known
    if known is not None and np.count_nonzero(grid) < LEAST_PLACES:  # may be chance: no reason to extend the rows
        return replace(known, grid=known.grid | grid)
    kind_and_row = np.unique([kind, np.arange(size) // PERIOD[1]], axis=1, return_inverse=True)[1].ravel()
    return FocusPixels(grid, *_rows(sums, kind_and_row, grid.ravel(), sites.counts.shape[0])).with_others(known)


def _along_one_edge(grid: np.ndarray) -> bool:
    """Return whether one row or column has more of the places than in any grid."""
    return bool(max(grid.sum(axis=0).max(), grid.sum(axis=1).max()) > MOST_IN_LINE * grid.sum())


def _standing_out(sums: np.ndarray, kind: np.ndarray, is_green: np.ndarray, limit: float) -> np.ndarray:
    """Return at which places sites stand out from those of their kind by `limit` standard errors, (1440,) bool.

    If green sites, which are no focus pixels, differ by more than their errors, the scene repeats itself, and the
    errors of red and blue sites are enlarged by the same factor. Places in a line belong to the scene, too.
    """
    found = np.zeros(kind.size, bool)
    for parts in WINDOWS:
        for window in np.array_split(sums, parts):
            count, total, squares = window.sum(axis=0)
            if count.min() < LEAST_PERIODS:
                continue
            mean = total / count
            error = np.sqrt(np.maximum(squares / count - mean**2, 0) / count)
            of_kinds = [np.flatnonzero(kind == one) for one in range(kind.max() + 1)]
            more = np.zeros(kind.size)
            for of_kind in of_kinds:
                more[of_kind] = mean[of_kind] - np.median(mean[of_kind])
                error[of_kind] = max(np.median(error[of_kind]), LEAST_ERROR)
            scene = max(1, np.quantile(np.abs(more / error)[is_green], TWO_SIGMA) / 2)
            error[~is_green] *= scene
            for of_kind in of_kinds:
                more[of_kind] /= np.maximum(SIGMA_OF_MAD * np.median(np.abs(more[of_kind])), error[of_kind])
            found |= (more > limit) & ~_in_lines(more > OF_LINES * limit)
    return found


def _in_lines(found: np.ndarray) -> np.ndarray:
    """Return which places lie between two found ones, two sites away like the next of their colour, (1440,) bool."""
    grid, between = found.reshape(PERIOD), np.zeros(PERIOD, bool)
    for down, across in ((0, 2), (2, 0), (2, 2), (2, -2)):
        between |= np.roll(grid, (down, across), (0, 1)) & np.roll(grid, (-down, -across), (0, 1))
    return between.ravel()


def _rows(sums: np.ndarray, kind: np.ndarray, grid: np.ndarray, height: int) -> tuple[int, int]:
    """Return the first row with focus pixels and the one after the last: all rows, if they show nowhere.

    They are compared with sites of their kind in the same rows, so that lines of the scene do not count.
    """
    shown = []
    for number, (count, total, squares) in enumerate(sums):
        amount, others = (np.bincount(kind[~grid], part[~grid], kind.max() + 1) for part in (total, count))
        per_site = amount / np.maximum(others, 1)
        more = (total - per_site[kind] * count)[grid].sum()
        if more > SHOWN * np.sqrt(squares[grid].sum()) > 0:
            shown.append(number)
    if not shown:
        return 0, height
    return max(0, shown[0] - 1) * PERIOD[0], min(height, (shown[-1] + 2) * PERIOD[0])


def _sums(sites: Sites) -> np.ndarray:
    """Return the number of sites at each place of PERIOD, and the sums of how far they stand out and of its squares.

    (N, 3, 1440), one of N for each period from top to bottom.
    """
    height, size = sites.counts.shape[0], PERIOD[0] * PERIOD[1]
    number = -(-height // PERIOD[0])
    sums = np.zeros((3, number * size))
    for place, amount in _amounts(sites):
        for values, weights in zip(sums, (None, amount, amount**2), strict=True):
            values += np.bincount(place, weights, values.size)
    return sums.reshape(3, number, size).swapaxes(0, 1)


def _amounts(sites: Sites) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield places, numbered from top to bottom with 1440 in each period, and how far the sites there stand out."""
    height, width = sites.counts.shape
    tops = range(0, height, sites.band_rows)
    for top in tops[:: -(-sites.counts.size // ENOUGH_SITES)]:
        for phase, here, high, low in sites.band(top):
            level = np.where(here > high, high, low)
            beyond = np.maximum(np.maximum(here - high, low - here), 0)
            amount = np.minimum(beyond / (NOISE_UNITS * sites.sigma(phase, level) + RANGE_UNITS * (high - low)), MOST)
            amount[high >= sites.saturation[phase]] = 0  # too bright to tell
            y, x = sites.places(top, phase, np.arange(here.shape[0]), np.arange(here.shape[1]))
            inside = (y < height)[:, None] & (x < width)
            yield ((y * PERIOD[1])[:, None] + x % PERIOD[1])[inside], amount[inside]
