"""The sites of a frame and their neighbours of the same colour and exposure, for the search for defects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..layout import source_index
from ..mosaic import ExposurePattern, Mosaic, cfa_period, over_common_period
from ..radiance import SATURATED, NoiseModel, full_scale

BAND_ROWS = 256
REACH_PX = 5  # how far the neighbours of a site's own kind may lie
NEIGHBOURS = 10  # of the same colour and exposure, the nearest
ALIKE = 0.1  # exposures that differ by less, as logarithms, are one
AROUND_PX = 8  # how far surroundings reach
MARGIN_PX = max(2 * REACH_PX, AROUND_PX)  # how far beyond the borders sites can be accessed

Offset = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Sites:
    """A frame whose sites can be accessed even beyond its borders. Periods, (P, Q), are float32, except letters.

    The cell is the common period of CFA, exposures, levels and noise; a phase is a place in it, row and column.
    """

    counts: np.ndarray  # (H, W) uint16
    letters: np.ndarray  # (P, Q), the colours
    black: np.ndarray  # (P, Q) counts
    exposure: np.ndarray  # (P, Q), relative
    scale: np.ndarray  # (P, Q), radiance of a count, 1.0 = saturation of the least exposed sites
    gain: np.ndarray  # (P, Q) counts per electron
    read_variance: np.ndarray  # (P, Q) counts squared
    saturation: np.ndarray  # (P, Q) counts above black
    rows: np.ndarray  # (n,), the row of the frame to use for each row from -margin on
    columns: np.ndarray  # (n,), likewise
    margin: Offset  # rows and columns, whole periods
    neighbours: dict[Offset, list[Offset]]  # of each phase

    @classmethod
    def of(cls, mosaic: Mosaic, pattern: ExposurePattern, noise: NoiseModel) -> Sites:
        """Return the sites of a frame that is not smaller than a cell."""
        letters, *parts = over_common_period(
            cfa_period(mosaic.cfa), pattern.exposure, mosaic.black_level, mosaic.white_by_site, noise.gain,
            noise.read_noise,
        )  # fmt: skip
        exposure, black, white, gain, read = (part.astype(np.float32) for part in parts)
        period = letters.shape
        margin = _whole_periods(MARGIN_PX, period[0]), _whole_periods(MARGIN_PX, period[1])
        rows, columns = (
            source_index(np.arange(-m, length + m + n), 0, length, n)
            for m, length, n in zip(margin, mosaic.shape, period, strict=True)
        )
        return cls(
            mosaic.counts, letters, black, exposure,
            exposure.min() / exposure / np.float32(full_scale(mosaic, pattern)), gain, read**2,
            SATURATED * (white - black), rows, columns, margin, _neighbours(letters, exposure),
        )  # fmt: skip

    @property
    def period(self) -> Offset:
        """Rows and columns of the cell."""
        return self.letters.shape[0], self.letters.shape[1]

    @property
    def band_rows(self) -> int:
        """Rows of a band: whole periods."""
        return max(1, BAND_ROWS // self.period[0]) * self.period[0]

    def band(self, top: int) -> Iterator[tuple[Offset, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield each phase of the band of rows from `top` on, its counts above black, and its neighbours' range.

        The range is their second highest and second lowest value, so that one defect among them hides no other. Arrays
        are (periods down, periods across), whole periods; `places` tells where each lies.
        """
        (height, width), (period_y, period_x), (margin_y, margin_x) = self.counts.shape, self.period, self.margin
        periods_y, periods_x = -(-min(self.band_rows, height - top) // period_y), -(-width // period_x)
        rows = self.rows[top : top + periods_y * period_y + 2 * margin_y]
        band = self.counts[rows].take(self.columns[: periods_x * period_x + 2 * margin_x], axis=1).astype(np.float32)
        phases: list[Offset] = [divmod(n, period_x) for n in range(period_y * period_x)]
        planes = {(i, j): band[i::period_y, j::period_x] - self.black[i, j] for i, j in phases}
        for phase in phases:

            def plane(dy: int, dx: int, phase: Offset = phase) -> np.ndarray:
                below, i = divmod(phase[0] + dy, period_y)
                right, j = divmod(phase[1] + dx, period_x)
                first_y, first_x = margin_y // period_y + below, margin_x // period_x + right
                return np.asarray(planes[i, j][first_y : first_y + periods_y, first_x : first_x + periods_x])

            yield phase, plane(0, 0), *_second_extremes([plane(*offset) for offset in self.neighbours[phase]])

    def places(self, top: int, phase: Offset, down: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and columns of sites of a phase, given in periods down and across the band from `top` on."""
        return top + phase[0] + down * self.period[0], phase[1] + across * self.period[1]

    def same_colour(self, phase: Offset, offset: Offset) -> bool:
        """Return whether sites at an offset from those of a phase have their colour."""
        return bool(self.letters[phase] == self.letters[self.phase_at(phase, offset)])

    def phase_at(self, phase: Offset, offset: Offset) -> Offset:
        """Return the phase of sites at an offset from those of a phase."""
        return (phase[0] + offset[0]) % self.period[0], (phase[1] + offset[1]) % self.period[1]

    def signal(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return counts above black, (...) float32, at sites, which may lie up to `margin` beyond the borders."""
        inside = self.rows[y + self.margin[0]], self.columns[x + self.margin[1]]
        above: np.ndarray = self.counts[inside] - self.black[self.phases(y, x)]
        return above

    def signal_near(self, phase: Offset, y: np.ndarray, x: np.ndarray, offset: Offset) -> np.ndarray:
        """Return what `signal` does, for the sites at an offset from sites of one phase."""
        y, x = self.rows[y + (offset[0] + self.margin[0])], self.columns[x + (offset[1] + self.margin[1])]
        return np.asarray(self.counts[y, x] - self.black[self.phase_at(phase, offset)])

    def is_bad(self, bad: np.ndarray, y: np.ndarray, x: np.ndarray, offset: Offset) -> np.ndarray:
        """Return whether sites at an offset are bad; beyond the border, whether the last or the mirrored site is."""
        y, x = y + offset[0], x + offset[1]
        last = bad[y.clip(0, bad.shape[0] - 1), x.clip(0, bad.shape[1] - 1)]
        return np.asarray(last | bad[self.rows[y + self.margin[0]], self.columns[x + self.margin[1]]])

    def phases(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the phases of sites."""
        return y % self.period[0], x % self.period[1]

    def sigma(self, phase: Offset, signal: np.ndarray) -> np.ndarray:
        """Return the standard deviation in counts of a site of this phase with this `signal`."""
        return np.asarray(np.sqrt(self.read_variance[phase] + self.gain[phase] * np.maximum(signal, 0)))

    def by_phase(self, y: np.ndarray, x: np.ndarray) -> list[tuple[Offset, np.ndarray]]:
        """Return which of the sites lie at each phase of the cell."""
        number = y % self.period[0] * self.period[1] + x % self.period[1]
        return [(divmod(n, self.period[1]), np.flatnonzero(number == n)) for n in np.unique(number).tolist()]


def _neighbours(letters: np.ndarray, exposure: np.ndarray) -> dict[Offset, list[Offset]]:
    """Return for each phase of the cell the offsets, (dy, dx), of the nearest sites of its colour and exposure."""
    nearest = sorted(product(range(-REACH_PX, REACH_PX + 1), repeat=2), key=lambda o: o[0] ** 2 + o[1] ** 2)[1:]
    found = {}
    for i, j in np.ndindex(letters.shape):
        there = tuple(np.add((i, j), nearest).T % np.reshape(letters.shape, (2, 1)))
        alike = (letters[there] == letters[i, j]) & (np.abs(np.log(exposure[i, j] / exposure[there])) < ALIKE)
        found[i, j] = [nearest[n] for n in np.flatnonzero(alike)[:NEIGHBOURS]]
    return found


def _second_extremes(planes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the second highest and the second lowest of the planes."""
    first_high = first_low = planes[0]
    high, low = np.full_like(planes[0], -np.inf), np.full_like(planes[0], np.inf)
    for one, other in zip(planes[1::2], planes[2::2], strict=False):  # two at once take fewer comparisons
        upper, lower = np.maximum(one, other), np.minimum(one, other)
        np.maximum(high, lower, out=high)
        np.maximum(high, np.minimum(first_high, upper), out=high)
        np.minimum(low, upper, out=low)
        np.minimum(low, np.maximum(first_low, lower), out=low)
        first_high, first_low = np.maximum(first_high, upper), np.minimum(first_low, lower)
    if len(planes) % 2 == 0:
        np.maximum(high, np.minimum(first_high, planes[-1]), out=high)
        np.minimum(low, np.maximum(first_low, planes[-1]), out=low)
    return high, low


def _whole_periods(length: int, period: int) -> int:
    return -(-length // period) * period
