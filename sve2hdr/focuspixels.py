"""Focus pixels: sites for phase detection, in a grid all over a sensor, that see other light than their neighbours.

Canon's EOS M, 100D, 650D, 700D and 70D have them among red and blue sites, where their raw video shows green and
magenta dots: half covered, without a colour filter of their own, they agree with their neighbours in grey and stand
out in colour. Where they lie depends on camera and mode, but in each it repeats.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .mosaic import SIGMA_OF_MAD, repeated
from .sites import Sites

# Rows and columns after which grids repeat: of 8 or 24 columns, and 10, 12 or 60 rows, in those cameras' modes.
PERIOD = 60, 24
LEAST_PERIODS = 40  # in a frame: that many sites at each place of the period
ENOUGH_SITES = 4_000_000  # that are looked at: more change nothing

# How a site stands out: beyond what its neighbours have, in units of noise and of their own range, at most by 1.
NOISE_UNITS, RANGE_UNITS, MOST = 2.0, 0.5, 1.0
# Standard errors by which places of the period stand out more than others of their kind do, the first ones that are
# found and further ones; such an error at least.
SIGNIFICANT, FURTHER, LEAST_ERROR = 6.0, 4.5, 0.002
LEAST_PLACES = 4  # that do: fewer are chance
MOST_GREEN = 0.2  # of them, that are green: of more, the scene repeats itself


def focus_pixels(sites: Sites, known: np.ndarray | None = None) -> np.ndarray | None:
    """Return at which places of PERIOD sites see other light than their neighbours, (60, 24) bool; None: at none.

    `known` are places where they were found, and replaced, before: they are among those returned.

    In every scene each site stands out from its neighbours now and then; where those of one place of the period do so
    more often, and stronger, than those of others, all over the frame, that is of the sensor.
    """
    found = np.zeros(PERIOD, bool) if known is None else known.copy()
    if sites.counts.size < LEAST_PERIODS * found.size or any(p % q for p, q in zip(PERIOD, sites.period, strict=True)):
        return known
    mean, error = _standing_out(sites)
    letters, exposure = (repeated(part, PERIOD) for part in (sites.letters, sites.exposure))
    for letter in np.unique(letters):
        for level in np.unique(exposure):
            of_kind = (letters == letter) & (exposure == level)
            values = mean[of_kind]
            if not values.size:
                continue
            usual = np.median(values)
            spread = SIGMA_OF_MAD * np.median(np.abs(values - usual)), np.median(error[of_kind]), LEAST_ERROR
            found[of_kind] |= values - usual > (SIGNIFICANT if known is None else FURTHER) * max(spread)
    green = np.count_nonzero(found & (letters == "G"))
    if np.count_nonzero(found) < LEAST_PLACES or green > MOST_GREEN * np.count_nonzero(found):
        return known
    return np.asarray(found & (letters != "G"))


def _standing_out(sites: Sites) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much sites at each place of PERIOD stand out on the average, and its standard error."""
    count, total, squares = np.zeros((3, PERIOD[0] * PERIOD[1]))
    for place, amount in _amounts(sites):
        count += np.bincount(place, minlength=count.size)
        total += np.bincount(place, amount, count.size)
        squares += np.bincount(place, amount**2, count.size)
    mean = total / count
    error = np.sqrt(np.maximum(squares / count - mean**2, 0) / count)
    return mean.reshape(PERIOD), error.reshape(PERIOD)


def _amounts(sites: Sites) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield places of PERIOD, one number each, and how far sites there stand out, 0 to 1."""
    height, width = sites.counts.shape
    tops = range(0, height, sites.band_rows)
    for top in tops[:: -(-sites.counts.size // ENOUGH_SITES)]:
        for phase, here, high, low in sites.band(top):
            level = np.where(here > high, high, low)
            beyond = np.maximum(np.maximum(here - high, low - here), 0)
            amount = np.minimum(beyond / (NOISE_UNITS * sites.sigma(phase, level) + RANGE_UNITS * (high - low)), MOST)
            y, x = sites.places(top, phase, np.arange(here.shape[0]), np.arange(here.shape[1]))
            amount[high >= sites.saturation[phase]] = 0  # there no site tells
            inside = (y < height)[:, None] & (x < width)
            yield ((y % PERIOD[0] * PERIOD[1])[:, None] + x % PERIOD[1])[inside], amount[inside]


def tiled(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which sites of a frame a grid names, (H, W) bool."""
    down, across = (-(-length // period) for length, period in zip(shape, grid.shape, strict=True))
    return np.tile(grid, (down, across))[: shape[0], : shape[1]]
