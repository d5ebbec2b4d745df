"""The masked margins of a sensor -> a mosaic with the black that they show, and without its banding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..mosaic import SIGMA_OF_MAD, MaskedSites, Mosaic, cfa_period, repeated
from ..radiance import ROUNDING
from ..saturation import saturation_counts
from .margins import black_of_margins, measure_margins

LEAST_BANDING = 0.3  # counts: whole ones hold nothing finer
SKIP_COLUMNS, MIN_MASKED = 4, 16  # at either side of masked columns, where light leaks in; and how many there must be
MASKED_NOISE = 2.0  # times the read noise: masked columns are no noisier
DRIFT_ROWS, ERROR_OF_MEDIAN = 15, 1.2533  # of a phase, of whose offsets the median is a drift; over that of a mean
OUTLYING = 6.0  # times the read noise: the mean that `measure_margins` takes for black is without such rows


@dataclass(frozen=True, eq=False)
class RowOffsets:
    """By how many counts whole rows lie too high, and how sure that is."""

    counts: np.ndarray  # (H,) float64
    error: np.ndarray  # (H,) float64, one standard deviation; inf: unknown

    def over(self, unit: np.ndarray) -> RowOffsets:
        """Return them as multiples of `unit`, (H,) counts."""
        return RowOffsets(self.counts / unit, self.error / unit)


def as_margins_show(mosaic: Mosaic, sensor: np.ndarray, top: int, left: int) -> Mosaic:
    """Return a mosaic with the black levels that the masked margins of its sensor show, and without its banding.

    mosaic: as read; sensor: (H, W) uint16, all sites; top, left: where those of the mosaic begin. Where there are no
    margins, or none that are masked indeed, it is returned as it is. Margins whose level is not that of the rows'
    black, such as dimly lit ones, tell nothing of its banding.
    """
    visible = (top, left, *mosaic.shape)
    masked = measure_margins(sensor, visible, mosaic.black_level, mosaic.white_level)
    if masked is None:
        return mosaic
    black = black_of_margins(masked, mosaic.black_level, mosaic.white_level, len(cfa_period(mosaic.cfa)))
    mosaic = replace(mosaic, black_level=black, masked=masked)
    rows = masked_row_offsets(sensor, visible, masked) if masked.level_believed else None
    return mosaic if rows is None else without_masked_banding(mosaic, rows)


def without_masked_banding(mosaic: Mosaic, rows: RowOffsets) -> Mosaic:
    """Return the mosaic without what its masked columns show of its rows, slow drifts among it, and of how much.

    It comes before all that is measured: where black drifts along with the light of a scene, as from a sky to the
    ground, exposures do not have the ratio that they seem to have.
    """
    assert mosaic.masked is not None
    offsets = _of_masked(rows, len(mosaic.masked.black))
    if offsets.std() < LEAST_BANDING:
        offsets = np.zeros(mosaic.shape[0])
    masked = replace(mosaic.masked, banding=float(offsets.std()))
    return replace(without_row_offsets(mosaic, offsets, saturation_counts(mosaic)), masked=masked)


def masked_row_offsets(
    sensor: np.ndarray, visible: tuple[int, int, int, int], masked: MaskedSites
) -> RowOffsets | None:
    """Return what the masked columns beside the visible area show of its rows, or None if they show nothing.

    sensor: (H, W) uint16, all sites; visible: top, left, height and width of the part that sees light; `masked`: what
    is known of black and noise, one period from the first visible site on. Columns that differ make no difference.
    """
    top, left, height, width = visible
    first, last = max((0, left), (left + width, sensor.shape[1]), key=lambda side: side[1] - side[0])
    first, last = first + SKIP_COLUMNS, last - SKIP_COLUMNS
    if last - first < MIN_MASKED:
        return None
    period = masked.black.shape
    y, x = np.arange(height) % period[0], np.arange(first - left, last - left) % period[1]
    rest = sensor[top : top + height, first:last] - masked.black[y[:, None], x]
    rest -= np.median(rest, axis=0)
    noise = np.sqrt((masked.read_noise[y] ** 2).mean(axis=1) + ROUNDING)
    middle = np.median(rest, axis=1, keepdims=True)
    spread = SIGMA_OF_MAD * np.median(np.abs(rest - middle), axis=1)
    if np.median(spread / noise) > MASKED_NOISE:
        return None
    limit = 3 * noise[:, None]
    offsets = (middle + np.clip(rest - middle, -limit, limit).mean(axis=1, keepdims=True))[:, 0]
    for phase in range(period[0]):  # what the rows of a phase share is their black level: a mean, but of bad rows
        here = offsets[phase :: period[0]]
        here -= np.median(here)
        here -= np.clip(here, -OUTLYING * noise[phase], OUTLYING * noise[phase]).mean()
    return RowOffsets(offsets, noise / np.sqrt(last - first))


def without_row_offsets(mosaic: Mosaic, offsets: np.ndarray, limit: np.ndarray) -> Mosaic:
    """Return the mosaic without offsets of its rows, (H,) counts; what is from `limit` on, (P, Q) counts, is left."""
    limit = repeated(np.ceil(limit).astype(np.int32), (len(limit), mosaic.shape[1]))
    counts, shifts = mosaic.counts.copy(), np.rint(offsets).astype(np.int32)
    for row in np.flatnonzero(shifts):  # what is below half a count is lost in rounding
        here = counts[row].astype(np.int32)
        counts[row] = np.where(here < limit[row % len(limit)], np.clip(here - shifts[row], 0, 65535), here)
    return replace(mosaic, counts=counts)


def _of_masked(shown: RowOffsets, step: int) -> np.ndarray:
    """Return the most likely offsets, (H,), given what masked columns show: a slow drift, and what rows have beside.

    The rows of each phase of `step` are looked at apart, as each amplification has a banding of its own.
    """
    likely = np.zeros(len(shown.counts))
    for first in range(step):
        counts, error = shown.counts[first::step], shown.error[first::step]
        around = np.pad(counts, DRIFT_ROWS // 2, "symmetric")
        drift = np.median(sliding_window_view(around, DRIFT_ROWS), axis=1)  # bad rows are no part of it
        likely[first::step] = _shrunk(drift, error * ERROR_OF_MEDIAN / np.sqrt(DRIFT_ROWS))
        likely[first::step] += _shrunk(counts - drift, error)
    return likely


def _shrunk(seen: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return what values, (N,), likely are that are spread about 0 and seen with an error."""
    variance = max(0.0, float(np.mean(seen**2 - error**2)))
    return np.asarray(seen * variance / (variance + error**2))
