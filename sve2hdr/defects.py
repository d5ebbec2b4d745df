"""Hot, cold and stuck sites and lines found and replaced, before anything spreads them; stars and fine lines stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from .layout import source_index
from .lines import stuck_lines
from .mosaic import ExposurePattern, Mosaic, cfa_period, common_period, repeated
from .radiance import ROUNDING, SATURATED, NoiseModel, full_scale

BAND_ROWS = 256
REACH_PX = 5  # how far the neighbours of a site's own kind may lie
NEIGHBOURS, LEAST_NEIGHBOURS = 10, 3  # of the same colour and exposure, the nearest
ALIKE = 0.1  # exposures that differ by less, as logarithms, are one

# A defect stands out from its neighbours: by so many standard deviations, and by so many times the range in which they
# lie themselves, less what noise of one standard deviation makes of that range.
LIMIT_SIGMAS, LIMIT_TEXTURE, NOISE_RANGE = 6.0, 3.0, 2.5
# It stands out, likewise, from its surroundings: sparkling texture has single bright sites too.
LIMIT_AROUND, AROUND_PX, AROUND_SHARE = 2.0, 8, 0.03  # times the deviation that this share of the sites there exceeds

# A star of 1.2 px FWHM in the middle of a green site gives the four sites beside it a third of what it gives that site;
# one that is wider, or anywhere else, gives more. A defect gives nothing but noise.
LIGHT_SHARE, LEAST_SHARE, DARK_SIGMAS = 0.12, 0.05, 2.5
ACTIVE_SIGMAS, ACTIVITY = 2.0, 0.15  # detail around a candidate, counted from where it is more than noise
CERTAIN_SHARE, POSSIBLE_SHARE = 0.1, 0.6  # errors of that share, up to which it decides, and may decide
LEAST_BLOWN = 2  # saturated sites of its colour that touch a candidate, from which on it is light
MAJORITY = 4  # what is too faint to be told goes with those that can be told, if they are so many times as many

# No picture has a site for itself that holds less than a tenth of its lowest neighbour, so less is asked of one.
DEAD_SHARE, DEAD_BESIDE, DEAD_ACTIVITY = 0.1, 0.3, 0.7

BESIDE = ((0, -1), (0, 1), (-1, 0), (1, 0))
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
SECOND = ((0, -2), (0, 2), (-2, 0), (2, 0))  # of the same colour in a Bayer CFA
PAIRS = ((0, 2), (2, 0), (1, 1), (1, -1), (2, 2), (2, -2), (0, 4), (4, 0))  # with what lies opposite

MARGIN_PX = max(2 * REACH_PX, AROUND_PX)  # beyond the borders, where sites are asked for too

Offset = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Defects:
    """The sites of a frame that were replaced."""

    y: np.ndarray  # (N,) int64, of single sites, in the order of rows
    x: np.ndarray
    others: int = 0  # of whole rows and columns, and of a list

    @property
    def count(self) -> int:
        """Return how many they are in all."""
        return len(self.y) + self.others

    def by_row(self) -> dict[str, str]:
        """Return the single sites as text: the columns of each row that has some.

        >>> Defects(np.array([3, 3, 7]), np.array([1, 9, 4])).by_row()
        {'3': '1 9', '7': '4'}
        """
        rows, first = np.unique(self.y, return_index=True)
        columns = np.split(self.x, first[1:])
        return {str(row): " ".join(map(str, of_row)) for row, of_row in zip(rows, columns, strict=False)}

    @classmethod
    def of_rows(cls, rows: dict[str, str], shape: tuple[int, int]) -> Defects:
        """Return what `by_row` gave; ValueError for sites outside a frame of this shape."""
        sites = sorted((int(row), int(column)) for row, columns in rows.items() for column in columns.split())
        y, x = np.array(sites, np.int64).reshape(-1, 2).T
        if len(y) and (min(y.min(), x.min()) < 0 or y.max() >= shape[0] or x.max() >= shape[1]):
            raise ValueError("defects outside of the frame")
        return cls(y, x)


def repair_defects(
    mosaic: Mosaic,
    pattern: ExposurePattern,
    noise: NoiseModel,
    known: Defects | None = None,
    listed: np.ndarray | None = None,
    search: bool = True,
) -> tuple[Mosaic, Defects]:
    """Return the mosaic with its hot, cold and stuck sites replaced, and which they were.

    A defect lies above (or below) its neighbours of the same colour and exposure, by more than noise and their own
    range explain. So does a small star; but light falls onto the sites around as well, of whatever colour and
    exposure, and a defect does not: that decides. Those too faint for it go with the majority of the others. A defect
    becomes the mean of that pair of opposite sites of its colour that agrees best, of either exposure. Pairs and
    triples of defects are found as long as they are not alone among their neighbours; of whole rows and columns, those
    that `stuck_lines` finds. A frame smaller than a period of the cell is returned as it is, and so is one whose
    pattern leaves sites too few neighbours to judge them by.

    `known`: single sites that another frame of the camera has shown to be defects. They are replaced too, whether this
    one shows them or not, so that fewer come and go from frame to frame. `listed`: sites that are bad, (H, W) bool;
    without `search`, they alone are replaced.

    >>> grey = np.full((64, 64), 500, np.uint16)
    >>> grey[20, 31] = 4000
    >>> frame = Mosaic(grey, "RGGB", np.full((2, 2), 100, np.float32), 16_000.0, np.eye(3))
    >>> noise = NoiseModel(np.full((1, 1), 0.5, np.float32), np.full((1, 1), 5, np.float32))
    >>> repaired, defects = repair_defects(frame, ExposurePattern(np.ones((1, 1), np.float32)), noise)
    >>> defects.count, int(repaired.counts[20, 31])
    (1, 500)
    """
    periods = (pattern.exposure, mosaic.black_level, mosaic.white_by_site, noise.gain, noise.read_noise)
    period = common_period(cfa_period(mosaic.cfa), *periods)
    none = Defects(np.zeros(0, np.int64), np.zeros(0, np.int64))
    if mosaic.shape[0] < period[0] or mosaic.shape[1] < period[1]:
        return mosaic, none
    sites = _Sites.of(mosaic, pattern, noise)
    if any(len(near) < LEAST_NEIGHBOURS for near in sites.neighbours.values()):
        return mosaic, none
    others = np.zeros(mosaic.shape, bool) if listed is None else listed.copy()
    if search:
        rows, columns = stuck_lines(mosaic, pattern, noise)
        others[rows], others[:, columns] = True, True
    if others.any():
        mosaic = _replaced(mosaic, sites, *np.nonzero(others))
        sites = replace(sites, counts=mosaic.counts)
    bad = np.zeros(mosaic.shape, bool)
    if search:
        found = [_candidates(sites, top) for top in range(0, mosaic.shape[0], sites.band_rows)]
        y, x, excess = (np.concatenate(parts) for parts in zip(*found, strict=True))
        single = _without_light(sites, y, x, excess) if len(y) else np.zeros(0, np.intp)
        bad[y[single], x[single]] = True
        if known is not None:
            bad[known.y, known.x] = True
        bad[others] = False
    y, x = np.divmod(np.flatnonzero(bad), mosaic.shape[1])
    defects = Defects(y, x, int(np.count_nonzero(others)))
    return _replaced(mosaic, sites, y, x) if len(y) else mosaic, defects


def _replaced(mosaic: Mosaic, sites: _Sites, y: np.ndarray, x: np.ndarray) -> Mosaic:
    """Return the mosaic with what defects should have had; large groups of them are filled from their rim inwards."""
    counts, bad = mosaic.counts.copy(), np.zeros(mosaic.shape, bool)
    bad[y, x] = True
    sites = replace(sites, counts=counts)
    while len(y):
        values, known = _replacement(sites, bad, y, x)
        if not known.any():  # there is no sound site
            break
        counts[y[known], x[known]] = values[known]
        bad[y[known], x[known]] = False
        y, x = y[~known], x[~known]
    return replace(mosaic, counts=counts)


@dataclass(frozen=True, eq=False)
class _Sites:
    """A frame whose sites can be asked for, beyond its borders too; periods are those of the whole cell."""

    counts: np.ndarray
    letters: np.ndarray
    black: np.ndarray
    exposure: np.ndarray
    scale: np.ndarray  # radiance of a count
    gain: np.ndarray
    read_variance: np.ndarray
    saturation: np.ndarray  # counts above black
    rows: np.ndarray  # the row that stands at each from -margin on
    columns: np.ndarray
    margin: Offset
    neighbours: dict[Offset, list[Offset]]  # of each phase

    @classmethod
    def of(cls, mosaic: Mosaic, pattern: ExposurePattern, noise: NoiseModel) -> _Sites:
        letters, white = cfa_period(mosaic.cfa), mosaic.white_by_site
        parts = (pattern.exposure, mosaic.black_level, white, noise.gain, noise.read_noise)
        period = common_period(letters, *parts)
        exposure, black, white, gain, read = (repeated(p, period).astype(np.float32) for p in parts)
        margin = _whole_periods(MARGIN_PX, period[0]), _whole_periods(MARGIN_PX, period[1])
        rows, columns = (
            source_index(np.arange(-m, length + m + n), 0, length, n)
            for m, length, n in zip(margin, mosaic.shape, period, strict=True)
        )
        return cls(
            mosaic.counts, repeated(letters, period), black, exposure,
            exposure.min() / exposure / np.float32(full_scale(mosaic, pattern)), gain, read**2 + np.float32(ROUNDING),
            SATURATED * (white - black), rows, columns, margin, _neighbours(repeated(letters, period), exposure),
        )  # fmt: skip

    @property
    def period(self) -> Offset:
        return self.letters.shape[0], self.letters.shape[1]

    @property
    def band_rows(self) -> int:
        return max(1, BAND_ROWS // self.period[0]) * self.period[0]

    def same_colour(self, phase: Offset, offset: Offset) -> bool:
        return bool(self.letters[phase] == self.letters[self.phase_at(phase, offset)])

    def phase_at(self, phase: Offset, offset: Offset) -> Offset:
        return (phase[0] + offset[0]) % self.period[0], (phase[1] + offset[1]) % self.period[1]

    def signal(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return counts above black at sites, which may lie `margin` beyond the borders."""
        inside = self.rows[y + self.margin[0]], self.columns[x + self.margin[1]]
        above: np.ndarray = self.counts[inside] - self.black[self.phases(y, x)]
        return above

    def signal_near(self, phase: Offset, y: np.ndarray, x: np.ndarray, offset: Offset) -> np.ndarray:
        """Return what `signal` does, of the sites that lie at an offset from sites of one phase."""
        y, x = self.rows[y + (offset[0] + self.margin[0])], self.columns[x + (offset[1] + self.margin[1])]
        return np.asarray(self.counts[y, x] - self.black[self.phase_at(phase, offset)])

    def is_bad(self, bad: np.ndarray, y: np.ndarray, x: np.ndarray, offset: Offset) -> np.ndarray:
        """Return whether sites at an offset are bad; beyond the border: those before it, or those that are mirrored."""
        y, x = y + offset[0], x + offset[1]
        last = bad[y.clip(0, bad.shape[0] - 1), x.clip(0, bad.shape[1] - 1)]
        return np.asarray(last | bad[self.rows[y + self.margin[0]], self.columns[x + self.margin[1]]])

    def phases(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where in the cell sites lie."""
        return y % self.period[0], x % self.period[1]

    def sigma(self, phase: Offset, signal: np.ndarray) -> np.ndarray:
        """Return the standard deviation, counts, of a site of this phase that holds `signal`."""
        return np.asarray(np.sqrt(self.read_variance[phase] + self.gain[phase] * np.maximum(signal, 0)))

    def by_phase(self, y: np.ndarray, x: np.ndarray) -> list[tuple[Offset, np.ndarray]]:
        """Return which of the sites lie at each phase of the cell."""
        number = y % self.period[0] * self.period[1] + x % self.period[1]
        return [(divmod(n, self.period[1]), np.flatnonzero(number == n)) for n in np.unique(number).tolist()]


def _neighbours(letters: np.ndarray, exposure: np.ndarray) -> dict[Offset, list[Offset]]:
    """Return where the nearest sites of the colour and exposure of each phase of the cell lie, as (dy, dx)."""
    nearest = sorted(product(range(-REACH_PX, REACH_PX + 1), repeat=2), key=lambda o: o[0] ** 2 + o[1] ** 2)[1:]
    found = {}
    for i, j in np.ndindex(letters.shape):
        there = tuple(np.add((i, j), nearest).T % np.reshape(letters.shape, (2, 1)))
        alike = (letters[there] == letters[i, j]) & (np.abs(np.log(exposure[i, j] / exposure[there])) < ALIKE)
        found[i, j] = [nearest[n] for n in np.flatnonzero(alike)[:NEIGHBOURS]]
    return found


def _candidates(sites: _Sites, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y, x and excess (counts; negative: cold) of what stands out in the band of rows from `top` on."""
    (height, width), (period_y, period_x), (margin_y, margin_x) = sites.counts.shape, sites.period, sites.margin
    periods_y = -(-min(sites.band_rows, height - top) // period_y)
    periods_x = -(-width // period_x)
    rows = sites.rows[top : top + periods_y * period_y + 2 * margin_y]
    band = sites.counts[rows].take(sites.columns[: periods_x * period_x + 2 * margin_x], axis=1).astype(np.float32)
    phases: list[Offset] = [divmod(n, period_x) for n in range(period_y * period_x)]
    planes = {(i, j): band[i::period_y, j::period_x] - sites.black[i, j] for i, j in phases}
    found = []
    for phase in phases:

        def plane(dy: int, dx: int, phase: Offset = phase) -> np.ndarray:
            below, i = divmod(phase[0] + dy, period_y)
            right, j = divmod(phase[1] + dx, period_x)
            first_y, first_x = margin_y // period_y + below, margin_x // period_x + right
            return np.asarray(planes[i, j][first_y : first_y + periods_y, first_x : first_x + periods_x])

        here = plane(0, 0)
        high, low = _second_extremes([plane(*offset) for offset in sites.neighbours[phase]])
        beyond = np.maximum(here - high, low - here)
        # no noise is below that in the dark: what is below its limit is sorted out first
        which = np.flatnonzero(beyond > LIMIT_SIGMAS * np.sqrt(sites.read_variance[phase]))
        here, high, low, beyond = (values.ravel()[which] for values in (here, high, low, beyond))
        level = np.where(here > high, high, low)
        sigma = sites.sigma(phase, level)
        texture = high - low - NOISE_RANGE * sigma
        clear = (beyond > LIMIT_SIGMAS * sigma) & ((beyond > LIMIT_TEXTURE * texture) | (here < DEAD_SHARE * low))
        which, excess = which[clear], (here - level)[clear]
        y, x = top + phase[0] + which // periods_x * period_y, phase[1] + which % periods_x * period_x
        inside = (y < height) & (x < width)
        found.append((y[inside], x[inside], excess[inside]))
    y, x, excess = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return y, x, excess


def _second_extremes(planes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the second highest and the second lowest of the planes: a defect among the neighbours hides no other."""
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


def _without_light(sites: _Sites, y: np.ndarray, x: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Return which of the candidates are defects, not light, (N,) bool."""
    share, error, activity, blown = (np.zeros(len(y)) for _ in range(4))
    for phase, which in sites.by_phase(y, x):
        own = excess[which] * sites.scale[phase]
        beside, doubt, active, full = _light_around(sites, phase, y[which], x[which], BESIDE)
        diagonal, doubt_there, active_there, full_there = _light_around(sites, phase, y[which], x[which], DIAGONAL)
        # a star shows beside its site, a fine line perhaps only at the corners
        share[which] = np.maximum(beside / own, diagonal / own)
        error[which] = np.maximum(doubt, doubt_there) / np.abs(own)
        if sites.letters[phase] != "G":  # a red light shows in red sites alone
            each = [_light_around(sites, phase, y[which], x[which], [offset]) for offset in SECOND]
            # what saturates beside a bright site is as bright, though it tells nothing more
            shares = [np.where((full > 0) & (own > 0), 1, beside / own) for beside, _, _, full in each]
            second = np.sort(np.stack(shares), axis=0)[:-1].sum(axis=0) / 3  # the highest may be a defect as well
            share[which] = np.maximum(share[which], second)
        activity[which] = (active + active_there) / np.abs(own)
        blown[which] = full + full_there
    limit = np.clip(DARK_SIGMAS * error, LEAST_SHARE, LIGHT_SHARE)
    dark = (share < limit) & (activity < ACTIVITY) & (error < POSSIBLE_SHARE)
    dark &= (excess < 0) | (blown < LEAST_BLOWN)
    certain = error < CERTAIN_SHARE
    decided = int((dark & certain).sum()), int((~dark & certain).sum())
    bad = dark if decided[0] >= MAJORITY * max(1, decided[1]) else dark & certain
    bad[bad] = _alone(sites, y[bad], x[bad], excess[bad])
    signal = sites.signal(y, x)
    dead = signal < DEAD_SHARE * (signal - excess)
    return np.asarray(bad | (dead & (np.abs(share) < DEAD_BESIDE) & (activity < DEAD_ACTIVITY)))


def _alone(sites: _Sites, y: np.ndarray, x: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Return which candidates stand out from all sites of their exposure around them, (N,) bool."""
    alone = np.zeros(len(y), bool)
    steps = np.arange(-AROUND_PX, AROUND_PX + 1)
    for i in range(len(y)):  # few come so far
        rows, columns = y[i] + steps[:, None], x[i] + steps
        phases, here = sites.phases(rows, columns), sites.phases(y[i], x[i])
        signal, letters = sites.signal(rows, columns), sites.letters[phases]
        alike = sites.exposure[phases] == sites.exposure[here]
        of_colours = [signal[alike & (letters == letter)] for letter in np.unique(letters[alike])]
        around = np.sort(np.concatenate([values - np.median(values) for values in of_colours]))
        rank = int(AROUND_SHARE * len(around))
        alone[i] = abs(excess[i]) > LIMIT_AROUND * abs(around[-1 - rank if excess[i] > 0 else rank])
    return alone


def _light_around(
    sites: _Sites, phase: Offset, y: np.ndarray, x: np.ndarray, offsets: Sequence[Offset]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return by how much radiance at four sites, summed, exceeds what lies around each of them, and its error.

    Third, the sum of what is more than noise, brighter or darker. Fourth, how many of them, of the colour of the sites
    asked for, are saturated where what lies around them is not.
    """
    total, weights, active, blown = np.zeros(len(y)), np.full(len(y), 1e-30), np.zeros(len(y)), np.zeros(len(y))
    for dy, dx in offsets:
        there = sites.phase_at(phase, (dy, dx))
        signal = sites.signal_near(phase, y, x, (dy, dx))
        around = [sites.signal_near(phase, y, x, (dy + oy, dx + ox)) for oy, ox in sites.neighbours[there]]
        level = np.median(np.stack(around), axis=0)
        scale, sigma = sites.scale[there], sites.sigma(there, level)
        saturated = signal >= sites.saturation[there]
        if sites.same_colour(phase, (dy, dx)):
            blown += saturated & (level < sites.saturation[there])
        weight = ~saturated / (sigma * scale) ** 2
        total += weight * (signal - level) * scale
        weights += weight
        active += np.where(weight > 0, np.maximum(np.abs(signal - level) - ACTIVE_SIGMAS * sigma, 0) * scale, 0)
    return 4 * total / weights, 4 / np.sqrt(weights), active, blown


def _replacement(sites: _Sites, bad: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the counts that defects should have had, (N,) uint16, and of which there are sound sites to tell."""
    result, known = np.zeros(len(y), np.float32), np.zeros(len(y), bool)
    for phase, which in sites.by_phase(y, x):
        around = np.stack([sites.is_bad(bad, y[which], x[which], offset) for offset in sites.neighbours[phase]])
        which, around = which[~around.all(axis=0)], around[:, ~around.all(axis=0)]
        known[which] = True
        here_y, here_x = y[which], x[which]
        own_kind = np.stack([sites.signal_near(phase, here_y, here_x, offset) for offset in sites.neighbours[phase]])
        own_kind[around] = np.nan
        best, least_cost = np.nanmedian(own_kind, axis=0) * sites.scale[phase], np.full(len(which), np.inf)
        for dy, dx in PAIRS:
            if not (sites.same_colour(phase, (dy, dx)) and sites.same_colour(phase, (-dy, -dx))):
                continue
            values, cost = [], np.zeros(len(which))
            for oy, ox in ((dy, dx), (-dy, -dx)):
                there = sites.phase_at(phase, (oy, ox))
                signal, scale = sites.signal_near(phase, here_y, here_x, (oy, ox)), sites.scale[there]
                values.append(signal * scale)
                cost += (sites.sigma(there, signal) * scale) ** 2
                unsound = sites.is_bad(bad, here_y, here_x, (oy, ox)) | (signal >= sites.saturation[there])
                cost += np.where(unsound, np.inf, 0)
            cost += (values[0] - values[1]) ** 2
            better = cost < least_cost
            best, least_cost = np.where(better, (values[0] + values[1]) / 2, best), np.minimum(cost, least_cost)
        # no further than to where other sites saturate: networks have seen nothing beyond
        result[which] = np.minimum(best / sites.scale[phase], sites.saturation[phase] / SATURATED) + sites.black[phase]
    return np.clip(np.rint(result), 0, 65535).astype(np.uint16), known


def _whole_periods(length: int, period: int) -> int:
    return -(-length // period) * period
