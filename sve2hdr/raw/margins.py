"""The masked margins of a sensor -> black level and read noise of every row phase and colour.

Cameras and LibRaw average the optical black of all rows, but the two amplifications of Dual ISO have a black level and
a noise each. Bad columns, columns that differ by their place in a period of 8, and rows that share an offset of their
own are what such margins suffer from: the first are left out, the others averaged over.
"""

from __future__ import annotations

import numpy as np

from ..mosaic import SIGMA_OF_MAD, MaskedSites, common_period, folded, repeated

ROWS, COLUMNS = 8, 4  # of the period: exposures repeat after 4 rows, on some bodies 8; colours after 2 or 4 columns
LEAST_DIFFERENCE, LEAST_COUNTS, SIGMAS = 3e-5, 0.2, 4.0  # of the range; counts; errors: a difference is above all
MOST_ROWS = 2048  # that are looked at: more change nothing


# When a margin is believed to be masked.
MIN_SITES = 16  # across
SKIP_SITES = 4  # at either side: light leaks in, and some cameras store other things there
MAX_OFFSET, MAX_NOISE = 0.02, 0.02  # of the range: masked sites lie this near the black level the file states
MAX_SLOPE = 5e-4  # of the range, from the outer half to the inner: light that leaks in
BELIEVED_OFFSET = 0.005  # of the range: a mean further away is taken for another thing than the rows' black


def measure_margins(
    sensor: np.ndarray, visible: tuple[int, int, int, int], black: np.ndarray, white: float
) -> MaskedSites | None:
    """Return what the masked sites show, one period of 8 x 4 from the first visible site on, or None.

    sensor: (H, W) uint16, all sites; visible: top, left, height and width of the part that sees light; black: (P, Q),
    what the file states; white: counts. Asked are the margins at the left and at the right of the visible rows, the
    wider one first, then that above: the first one that is masked indeed.
    """
    top, left, height, width = visible
    right = left + width
    sides = sorted([(0, left), (right, sensor.shape[1])], key=lambda side: side[0] - side[1])
    strips = [(top, top + height, *side) for side in sides] + [(0, top, left, right)]
    for first_row, last_row, first, last in strips:
        rows, columns = last_row - first_row, last - first
        if min(rows, columns) < MIN_SITES or max(rows, columns) < 8 * ROWS:
            continue
        upright = columns < rows
        margin = (0, SKIP_SITES) if upright else (SKIP_SITES, 0)
        strip = sensor[first_row + margin[0] : last_row - margin[0], first + margin[1] : last - margin[1]]
        shift = (first_row + margin[0] - top) % ROWS, (first + margin[1] - left) % COLUMNS
        found = _measure(strip, shift, black, white, upright)
        if found is not None:
            return found
    return None


def _measure(
    strip: np.ndarray, shift: tuple[int, int], black: np.ndarray, white: float, upright: bool
) -> MaskedSites | None:
    span = white - float(black.mean())
    good = _good_columns(strip)
    stated = repeated(black, (ROWS, COLUMNS)) if not (ROWS % black.shape[0] or COLUMNS % black.shape[1]) else black
    level, error, noise = np.zeros((3, ROWS, COLUMNS))
    for y, x in np.ndindex(ROWS, COLUMNS):
        first = (x - shift[1]) % COLUMNS
        plane = strip[(y - shift[0]) % ROWS :: ROWS, first::COLUMNS][:, good[first::COLUMNS]]
        plane = plane[:: -(-plane.shape[0] // (MOST_ROWS // ROWS))].astype(np.float64)
        level[y, x], error[y, x], noise[y, x] = _phase(plane)
    if abs(level.mean() - stated.mean()) > MAX_OFFSET * span or not 0 < noise.max() <= MAX_NOISE * span:
        return None  # without noise, they are what rows were filled up with
    halves = np.array_split(strip[:: max(1, strip.shape[0] // 512)] if upright else strip, 2, axis=int(upright))
    outer, inner = (_trimmed_mean(half.astype(np.float64)) for half in halves)
    if abs(outer - inner) > MAX_SLOPE * span:
        return None
    believed = abs(level.mean() - stated.mean()) <= BELIEVED_OFFSET * span
    if not believed:
        level += stated.mean() - level.mean()
    return MaskedSites(level, error, noise, level_believed=believed)


def _good_columns(strip: np.ndarray) -> np.ndarray:
    """Return which columns of all are like the others, (columns,) bool; all are where too few would be left.

    All rows together tell: within one phase of a noisy exposure a bad column hides in the noise.
    """
    thinned = strip[:: -(-strip.shape[0] // MOST_ROWS) | 1].astype(np.float64)  # odd steps meet all phases
    rest = thinned - np.median(thinned, axis=1, keepdims=True)
    limit = 4 * SIGMA_OF_MAD * np.median(np.abs(rest), axis=1, keepdims=True) + 1
    good = _inliers(np.clip(rest, -limit, limit).mean(axis=0))
    enough = min(np.count_nonzero(good[first::COLUMNS]) for first in range(COLUMNS)) >= 2
    return good if enough else np.ones_like(good)


def _phase(plane: np.ndarray) -> tuple[float, float, float]:
    """Return level, its error, and read noise of the sites of one phase, (rows, columns) float64."""
    centre = np.median(plane)
    spread = max(SIGMA_OF_MAD * float(np.median(np.abs(plane - centre))), 0.5)
    kept = np.where(np.abs(plane - centre) < 6 * spread, plane, np.nan)
    kept = kept[np.isfinite(kept).sum(axis=1) * 2 > plane.shape[1]]
    kept = kept[:, np.isfinite(kept).sum(axis=0) * 2 > max(kept.shape[0], 1)]
    if min(kept.shape) < 2:
        return float(centre), spread, spread
    by_row, by_column = np.nanmean(kept, axis=1), np.nanmean(kept, axis=0)
    inside = _inliers(by_column)
    kept, by_column = kept[:, inside], by_column[inside]
    level = float(np.nanmean(kept))
    residual = kept - np.nanmean(kept, axis=1, keepdims=True) - (by_column - level)
    freedom = max(1, (kept.shape[0] - 1) * (kept.shape[1] - 1)) / kept.size
    noise = float(np.sqrt(np.nanmean(residual**2) / freedom))
    error = float(np.hypot(by_row.std() / np.sqrt(by_row.size), by_column.std() / np.sqrt(by_column.size)))
    return level, error, noise


def _inliers(values: np.ndarray) -> np.ndarray:
    off = np.abs(values - np.median(values))
    return np.asarray(off <= max(5 * SIGMA_OF_MAD * float(np.median(off)), 1e-3))


def _trimmed_mean(values: np.ndarray) -> float:
    low, high = np.quantile(values, [0.05, 0.95])
    return float(values[(values >= low) & (values <= high)].mean())


def black_of_margins(masked: MaskedSites, stated: np.ndarray, white: float, cfa_side: int) -> np.ndarray:
    """Return the smallest period of black levels, (P, Q) float32, that says what the margins do.

    Differences that are within the error, or below half a count of 14 bits, are none. Where all are none from what the
    file states, `stated`, that stays. `cfa_side`: 2, or 4 for a 4 x 4 CFA.
    """
    least = max(LEAST_COUNTS, LEAST_DIFFERENCE * (white - float(stated.mean())))
    for rows, columns in ((2, cfa_side), (4, cfa_side), (ROWS, cfa_side), (4, COLUMNS), (ROWS, COLUMNS)):
        if rows % cfa_side:
            continue
        level, error = folded(masked.black, (rows, columns)), folded(masked.error, (rows, columns))
        left = masked.black - repeated(level, masked.black.shape)
        if (np.abs(left) <= np.maximum(least, SIGMAS * masked.error)).all():
            break
    shape = common_period(stated, level)
    error = error / np.sqrt(masked.error.size / level.size)
    apart = np.abs(repeated(level, shape) - repeated(stated, shape))
    if shape == level.shape and (apart > np.maximum(least, SIGMAS * repeated(error, shape))).any():
        return np.asarray(level, np.float32)
    return stated
