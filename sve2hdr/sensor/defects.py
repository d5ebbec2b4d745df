"""Finds hot, cold and stuck sites and lines, and replaces them before anything spreads them; stars and lines stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..mosaic import ExposurePattern, Mosaic, cfa_period, common_period
from ..radiance import NoiseModel
from ..system.threads import in_threads
from .focuspixels import FocusPixels, focus_pixels
from .lines import stuck_lines
from .replacement import with_replaced
from .sites import AROUND_PX, Offset, Sites

LEAST_NEIGHBOURS = 3  # of the same colour and exposure

# A defect exceeds its neighbours by LIMIT_SIGMAS standard deviations, and by LIMIT_TEXTURE times their own range, less
# NOISE_RANGE standard deviations that noise adds to this range.
LIMIT_SIGMAS, LIMIT_TEXTURE, NOISE_RANGE = 6.0, 3.0, 2.5
# It stands out from its wider surroundings as well, because sparkling texture has single bright sites, too.
LIMIT_AROUND, AROUND_SHARE = 2.0, 0.03  # times the deviation that this share of the sites there exceeds

# A star of 1.2 px FWHM centred on a green site gives the four sites beside it a third of what it gives that site; a
# wider star, or one off the centre, gives more. A defect leaves nothing but noise there.
LIGHT_SHARE, LEAST_SHARE, DARK_SIGMAS = 0.12, 0.05, 2.5
ACTIVE_SIGMAS, ACTIVITY = 2.0, 0.15  # standard deviations above which detail around a candidate counts; the most of it
CERTAIN_SHARE, POSSIBLE_SHARE = 0.1, 0.6  # errors of the light's share up to which it decides, and may decide
LEAST_BLOWN = 2  # a candidate next to at least this many saturated sites of its colour is light
MAJORITY = 4  # faint candidates follow the clear ones if defects outnumber lights among these by this factor

# No image has a single site with less than a tenth of its lowest neighbour, so such a site has to meet weaker limits.
DEAD_SHARE, DEAD_BESIDE, DEAD_ACTIVITY = 0.1, 0.3, 0.7

BESIDE = ((0, -1), (0, 1), (-1, 0), (1, 0))
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
SECOND = ((0, -2), (0, 2), (-2, 0), (2, 0))  # of the same colour in a Bayer CFA


@dataclass(frozen=True, eq=False)
class Defects:
    """The sites of a frame that were replaced."""

    y: np.ndarray  # (N,) int64, of single sites, in the order of rows
    x: np.ndarray
    others: int = 0  # number of those in whole rows and columns, in a list, and among focus pixels
    focus_pixels: FocusPixels | None = None  # None: there are none

    @property
    def count(self) -> int:
        """The number of all sites that were replaced."""
        return len(self.y) + self.others

    @property
    def kinds(self) -> str:
        """What to say after the count, or ""."""
        return "" if self.focus_pixels is None else ", focus pixels among them"

    def by_row(self) -> dict[str, str]:
        """Return the single sites as text: for each row with any, their columns.

        >>> Defects(np.array([3, 3, 7]), np.array([1, 9, 4])).by_row()
        {'3': '1 9', '7': '4'}
        """
        rows, first = np.unique(self.y, return_index=True)
        columns = np.split(self.x, first[1:])
        return {str(row): " ".join(map(str, of_row)) for row, of_row in zip(rows, columns, strict=False)}

    @classmethod
    def of_rows(cls, rows: dict[str, str], shape: tuple[int, int], focus_pixels: FocusPixels | None = None) -> Defects:
        """Return the defects that `by_row` was called on; raise ValueError for sites outside a frame of this shape."""
        sites = sorted((int(row), int(column)) for row, columns in rows.items() for column in columns.split())
        y, x = np.array(sites, np.int64).reshape(-1, 2).T
        if len(y) and (min(y.min(), x.min()) < 0 or y.max() >= shape[0] or x.max() >= shape[1]):
            raise ValueError("defects outside of the frame")
        return cls(y, x, focus_pixels=focus_pixels)


def repair_defects(
    mosaic: Mosaic,
    pattern: ExposurePattern,
    noise: NoiseModel,
    known: Defects | None = None,
    listed: np.ndarray | None = None,
    search: bool = True,
) -> tuple[Mosaic, Defects]:
    """Return the mosaic with its hot, cold and stuck sites replaced, and which they were.

    A defect lies above (or below) its neighbours of the same colour and exposure by more than noise and their own range
    explain. So does a small star, but light also reaches the sites around, whatever their colour and exposure, and a
    defect does not: that decides. Candidates too faint to tell follow the majority of the others. A defect is replaced
    by the mean of pairs of opposite sites of its colour, of either exposure, in which pairs that agree weigh more.
    Pairs and triples of defects are found too, if their other neighbours are sound; whole rows and columns are found
    by `stuck_lines`, and focus pixels by `focus_pixels`. A frame smaller than a period of the cell is returned
    unchanged, as is one whose pattern leaves sites too few neighbours to judge by.

    `known`: defects and focus pixels found in another frame of the camera. They are replaced whether this frame shows
    them or not, so that fewer come and go from frame to frame. `listed`: bad sites, (H, W) bool; without `search`, only
    these are replaced.

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
    sites = Sites.of(mosaic, pattern, noise)
    if any(len(near) < LEAST_NEIGHBOURS for near in sites.neighbours.values()):
        return mosaic, none
    others = np.zeros(mosaic.shape, bool) if listed is None else listed.copy()
    focus = None if known is None else known.focus_pixels
    bad = np.zeros(mosaic.shape, bool)
    if search:
        rows, columns = stuck_lines(mosaic, pattern, noise)
        others[rows], others[:, columns] = True, True
        focus = _with_focus_pixels(sites, others, focus)
        # hot green sites are not known yet, and would spoil what follows the curvature of green
        looked_at = with_replaced(sites, others, curved=False)
        found = in_threads(partial(_candidates, looked_at), range(0, mosaic.shape[0], sites.band_rows))
        y, x, excess = (np.concatenate(parts) for parts in zip(*found, strict=True))
        single = _without_light(looked_at, y, x, excess) if len(y) else np.zeros(0, np.intp)
        bad[y[single], x[single]] = True
        if known is not None:
            bad[known.y, known.x] = True
        bad[others] = False
    y, x = np.divmod(np.flatnonzero(bad), mosaic.shape[1])
    defects = Defects(y, x, int(np.count_nonzero(others)), focus)
    return replace(mosaic, counts=with_replaced(sites, bad | others).counts), defects


def _with_focus_pixels(sites: Sites, others: np.ndarray, known: FocusPixels | None) -> FocusPixels | None:
    """Return the focus pixels found once `others` are replaced, and add them to `others`."""
    while True:
        if known is not None:
            others |= known.sites(others.shape)
        found = focus_pixels(with_replaced(sites, others), known)  # if there are many, some hide others
        if found is known:
            return known
        known = found


def _candidates(sites: Sites, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y, x and excess (counts; negative: cold) of what stands out in the band of rows from `top` on."""
    found = []
    for phase, here, high, low in sites.band(top):
        periods_x = here.shape[1]
        beyond = np.maximum(here - high, low - here)
        # a quick first test with the noise in the dark, below which noise never lies
        which = np.flatnonzero(beyond > LIMIT_SIGMAS * np.sqrt(sites.read_variance[phase]))
        here, high, low, beyond = (values.ravel()[which] for values in (here, high, low, beyond))
        level = np.where(here > high, high, low)
        sigma = sites.sigma(phase, level)
        texture = high - low - NOISE_RANGE * sigma
        clear = (beyond > LIMIT_SIGMAS * sigma) & ((beyond > LIMIT_TEXTURE * texture) | (here < DEAD_SHARE * low))
        which, excess = which[clear], (here - level)[clear]
        y, x = sites.places(top, phase, which // periods_x, which % periods_x)
        inside = (y < sites.counts.shape[0]) & (x < sites.counts.shape[1])
        found.append((y[inside], x[inside], excess[inside]))
    y, x, excess = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return y, x, excess


def _without_light(sites: Sites, y: np.ndarray, x: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Return which of the candidates are defects, not light, (N,) bool."""
    share, error, activity, blown = (np.zeros(len(y)) for _ in range(4))
    for phase, which in sites.by_phase(y, x):
        own = excess[which] * sites.scale[phase]
        beside, doubt, active, full = _light_around(sites, phase, y[which], x[which], BESIDE)
        diagonal, doubt_there, active_there, full_there = _light_around(sites, phase, y[which], x[which], DIAGONAL)
        # a star shows beside its site, a fine line perhaps only at its corners
        share[which] = np.maximum(beside / own, diagonal / own)
        error[which] = np.maximum(doubt, doubt_there) / np.abs(own)
        if sites.letters[phase] != "G":  # a red light shows in red sites alone
            each = [_light_around(sites, phase, y[which], x[which], [offset]) for offset in SECOND]
            # saturated sites beside a bright site count as equally bright, though they tell no more
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


def _alone(sites: Sites, y: np.ndarray, x: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Return which candidates stand out from all sites of their exposure around them, (N,) bool."""
    alone = np.zeros(len(y), bool)
    steps = np.arange(-AROUND_PX, AROUND_PX + 1)
    for i in range(len(y)):  # few get this far
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
    sites: Sites, phase: Offset, y: np.ndarray, x: np.ndarray, offsets: Sequence[Offset]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return by how much the summed radiance of four sites exceeds that around each of them, and its error.

    Also return the sum of deviations beyond noise, up or down, and the number of those four that have the colour of the
    site in question and are saturated although their surroundings are not.
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
