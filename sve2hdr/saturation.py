"""Where the sites of a frame saturate: at the white level the file names, or where the counts pile up below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .mosaic import CELL, ExposurePattern, Mosaic, cfa_period, in_period, over_common_period, repeated
from .radiance import SATURATED

LOWEST = 0.6  # of the range from black to the white level that the file names: no pile-up is looked for below
HAIR = 0.002  # of the range. Photon noise of a flat bright part is narrower from 150,000 electrons on only
FAR = 0.05  # of the range: so far from where others saturate a heap may be such a part
MIN_HEAP = 20, 1e-4  # sites; share of the sites
TAIL = 0.02  # of the heap: what may lie above it, hot sites
APART, ABOVE = 0.005, 1e-3  # of the range: from which colours clip apart; share of sites that are too many above white
BLURRED_HAIRS, LOW_SHARE = (2, 4, 8), 0.02  # of heaps that all colours share; of such a heap, taken for its low end
ALIKE = 0.95  # of the sites of the colour with most in such a heap: from here on all have as many
MAX_SITES = 700_000  # of one exposure and colour; more change nothing


def cell_black(mosaic: Mosaic) -> np.ndarray:
    """Return the black level of each phase, (4, 4) float32: the mean over the sites of that phase."""
    return np.asarray(in_period(mosaic.black_level, (CELL, CELL)), np.float32)


def saturation_counts(mosaic: Mosaic) -> np.ndarray:
    """Return the counts from which each phase clips, (4, 4) float32: the nominal white level, or a pile-up below it.

    A sensor or a file may clip well below the white level it names; the values of a phase then heap up at its top.
    This is for frames whose pattern is not known yet, on the safe side; `white_levels` is exact.
    """
    if mosaic.saturation is not None:
        return np.asarray(repeated(mosaic.saturation, (CELL, CELL)), np.float32)
    bins, lowest = 256, 150  # a real white level below 0.6 of the nominal one is not looked for
    black = cell_black(mosaic)
    saturation = np.full((CELL, CELL), mosaic.white_level, np.float32)
    rows = mosaic.shape[0] // CELL
    for phase_y, phase_x in np.ndindex(CELL, CELL):
        thinned = mosaic.counts[phase_y :: CELL * max(1, rows // 128), phase_x::CELL]
        scale = bins / (mosaic.white_level - float(black[phase_y, phase_x]))
        level = (thinned.astype(np.float32) - black[phase_y, phase_x]) * scale
        histogram = np.bincount(np.clip(level, 0, 2 * bins - 1).astype(np.int64).ravel(), minlength=2 * bins)
        above = np.cumsum(histogram[::-1])[::-1]
        for top in range(bins + 2, lowest, -1):
            heap = int(histogram[top - 1 : top + 2].sum())
            below = int(histogram[top - 12 : top - 3].sum())
            if heap >= max(5, 0.0005 * thinned.size) and above[top + 2] < 0.1 * heap and heap > 2 * below:
                saturation[phase_y, phase_x] = min(
                    mosaic.white_level, float(black[phase_y, phase_x]) + (top - 3) / scale
                )
                break
    return saturation


@dataclass(frozen=True, eq=False)
class WhiteLevels:
    """Where the sites of each exposure and colour saturate."""

    by_site: np.ndarray  # (P, Q) float32, counts, of the period that CFA and exposures form together
    source: str  # "pile-up" if all have one, "pile-up, file" if some, else "file"


def white_levels(mosaic: Mosaic, pattern: ExposurePattern) -> WhiteLevels:
    """Return the counts at which sites saturate: the pile-up of their exposure, never above `mosaic.white_level`.

    An exposure without a pile-up takes that of another one if all of its own counts stay below; else the file's. A
    colour whose counts pile up elsewhere, as where a camera has balanced them before it wrote them, has a level of its
    own. A blurred pile-up FAR from the file's level is one if two colours of the most exposed sites share it.
    """
    letters, exposure = over_common_period(cfa_period(mosaic.cfa), pattern.exposure)
    exposures = [_Exposure.of(mosaic, letters, exposure == level) for level in np.unique(exposure)]
    piles = _clear_piles(exposures)
    found = [pile for pile in piles if pile is not None]
    blurred = [one.blurred_pile() if pile is None else None for one, pile in zip(exposures, piles, strict=True)]
    if len(found) + sum(pile is not None for pile in blurred) < 2:
        blurred = [None] * len(exposures)  # less exposed sites saturate where the more exposed ones do, too
    by_site, piled_up = np.empty(exposure.shape, np.float32), []
    for one, pile, wide in zip(exposures, piles, blurred, strict=True):
        for letter in one.of_colours:
            white, is_pile = one.white_of(letter, pile, found) if wide is None else (wide, True)
            by_site[one.sites & (letters == letter)] = white
            piled_up.append(is_pile)
    return WhiteLevels(by_site, "pile-up" if all(piled_up) else "pile-up, file" if any(piled_up) else "file")


def against_white(mosaic: Mosaic, pattern: ExposurePattern, given: np.ndarray) -> str:
    """Return what is to be said where the counts speak against white levels that are given, "" where they do not.

    mosaic: as read; given: counts, (P, Q), of the period of the pattern. An exposure speaks where its counts pile up
    elsewhere, or, without a pile-up, where too many lie above.
    """
    black, piles, above = float(mosaic.black_level.mean()), [], 0.0
    apart = APART * mosaic.span
    whites = {level: float(given[pattern.exposure == level][0]) for level in np.unique(pattern.exposure)}
    for level, white in whites.items():
        histogram = _histogram(mosaic.counts, pattern.exposure == level)
        pile = pile_up(histogram, black, mosaic.white_level, list(whites.values()))
        if pile is None:
            above = max(above, histogram[int(white + apart) :].sum() / histogram.sum())
        elif abs(pile - white) > apart:
            piles.append(f"{pile:.0f}")
    asked = [f"{white:g}" for white in whites.values()]
    option = f"--white {','.join(asked[:1] if len(set(asked)) == 1 else asked)}"
    if piles:
        return f"the pixels pile up at {' and '.join(dict.fromkeys(piles))}, not at {option}"
    return f"{above:.1%} of the sites of an exposure are above {option}" if above > ABOVE else ""


def too_low(mosaic: Mosaic, pattern: ExposurePattern, white: np.ndarray) -> np.ndarray:
    """Return at which sites, (P, Q) bool, too many counts of their exposure lie above `white`, (P, Q) counts."""
    exposure, low = repeated(pattern.exposure, white.shape), np.zeros(white.shape, bool)
    apart = APART * mosaic.span
    for level, top in np.unique(np.stack([exposure.ravel(), white.ravel()]), axis=1).T:
        sites = (exposure == level) & (white == top)
        histogram = _histogram(mosaic.counts, sites)
        low[sites] = _too_many(histogram, top + apart)
    return low


def _clear_piles(exposures: Sequence[_Exposure]) -> list[float | None]:
    """Return where the counts of each exposure, the least one first, clearly pile up; None: they do not."""
    heaps = [one.pile_up(one.together) for one in exposures]
    piles = []
    for number, one in enumerate(exposures):
        others = [heap for heap in heaps[:number] + heaps[number + 1 :] if heap is not None]
        if one is exposures[-1]:  # it clips first: perhaps no other one does
            others += one.shared_by_colours(heaps[number])
        piles.append(one.pile_up(one.together, others))
    return piles


@dataclass(frozen=True, eq=False)
class _Exposure:
    """How often each count occurs at the sites of one exposure."""

    sites: np.ndarray  # (P, Q) bool: those of it
    of_colours: dict[str, np.ndarray]  # (65536,) int each
    together: np.ndarray  # (65536,) int, of all colours
    black: float
    white: float  # that the file names

    @classmethod
    def of(cls, mosaic: Mosaic, letters: np.ndarray, sites: np.ndarray) -> _Exposure:
        """Count the sites of a period, (P, Q) bool, whose colours are `letters`, (P, Q)."""
        colours = np.unique(letters[sites])
        of_colours = {letter: _histogram(mosaic.counts, sites & (letters == letter)) for letter in colours}
        together = np.sum(list(of_colours.values()), axis=0)
        return cls(sites, of_colours, together, float(mosaic.black_level.mean()), mosaic.white_level)

    def pile_up(self, histogram: np.ndarray, known: Sequence[float] | None = None, hairs: int = 1) -> float | None:
        """Return what `pile_up` does."""
        return pile_up(histogram, self.black, self.white, known, hairs)

    def shared_by_colours(self, heap: float | None) -> list[float]:
        """Return the heap if two colours or all pile up there, as flat parts do only in light that balances them."""
        found = [self.pile_up(histogram) for histogram in self.of_colours.values()]
        piles = [pile for pile in found if pile is not None]  # in warm light blue may stay below
        if heap is None or len(piles) < 2:
            return []
        return [heap] if max(abs(pile - heap) for pile in piles) <= HAIR * (self.white - self.black) else []

    def blurred_pile(self) -> float | None:
        """Return where counts of all colours pile up alike, wider than a HAIR, or None if they do not.

        Full wells differ from site to site. A flat bright part has a level for each colour, or, without filters, as
        many sites of each; saturated are more of one colour. Taken is a level near which, or above, next to all of the
        heap is.
        """
        for hairs in BLURRED_HAIRS:
            heaps = [self.pile_up(histogram, hairs=hairs) for histogram in self.of_colours.values()]
            piles = [heap for heap in heaps if heap is not None]
            width = hairs * HAIR * (self.white - self.black)
            if len(piles) < 3 or max(piles) - min(piles) > width / 2:
                continue
            first = round(min(piles) - 2 * width)
            shares = [histogram[first:].sum() / histogram.sum() for histogram in self.of_colours.values()]
            if min(shares) > ALIKE * max(shares):
                return None
            heap = np.cumsum(self.together[first:])
            low = first + int(np.searchsorted(heap, LOW_SHARE * heap[-1]))
            return float(min(*piles, self.black + (low - self.black) / SATURATED))
        return None

    def white_of(self, letter: str, pile: float | None, found: Sequence[float]) -> tuple[float, bool]:
        """Return where sites of a colour saturate, and whether counts pile up there.

        pile: where those of the exposure clearly do; found: where those of all exposures do.
        """
        lent = [other for other in found if _top(self.together) <= other + HAIR * (other - self.black)]
        usual = pile or min(lent, default=self.white)
        histogram, apart = self.of_colours[letter], APART * (self.white - self.black)
        own = self.pile_up(histogram, found)
        if own is not None:
            return usual if abs(own - usual) <= apart else own, True
        return (self.white, False) if _too_many(histogram, usual + apart) else (usual, pile is not None)


def _too_many(histogram: np.ndarray, level: float) -> bool:
    """Return whether more sites lie above a level where they saturate than hot ones."""
    return bool(histogram[int(level) :].sum() > ABOVE * histogram.sum())


def _top(histogram: np.ndarray) -> int:
    """Return the count that next to no site exceeds."""
    above = np.cumsum(histogram[::-1])[::-1]
    return int(np.count_nonzero(above > max(3, 1e-5 * above[0]))) - 1


def _histogram(counts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return how often each count occurs, (65536,) int, at chosen sites of a period, (P, Q) bool: at many of them."""
    rows, columns = chosen.shape
    step = max(1, counts.size * int(chosen.sum()) // chosen.size // MAX_SITES)  # whole periods
    sites = np.concatenate([counts[y :: rows * step, x::columns].ravel() for y, x in np.argwhere(chosen)])
    return np.bincount(sites, minlength=65536)


def pile_up(
    histogram: np.ndarray, black: float, white: float, known: Sequence[float] | None = None, hairs: int = 1
) -> float | None:
    """Return the level at which counts pile up at the top of a histogram, (65536,) int, or None if they do not.

    Clear is a heap of many sites, no wider than HAIR, or so many `hairs`, to either side, that stands out from what
    lies below, with next to nothing above. FAR from `white` and all levels that are `known` to saturate, if they are
    told, half of it must lie within a quarter of that: photon noise of a flat bright part is as narrow from a million
    electrons on only.

    >>> histogram = np.bincount([15_000] * 500 + list(range(2000, 14_000)), minlength=65536)
    >>> pile_up(histogram, 1000.0, 16_383.0)
    15000.0
    """
    hair = max(1, round(hairs * HAIR * (white - black)))
    total = np.concatenate([[0], np.cumsum(histogram)])

    def between(first: np.ndarray, last: np.ndarray) -> np.ndarray:
        return np.asarray(total[np.clip(last, 0, 65536)] - total[np.clip(first, 0, 65536)])

    level = np.arange(max(0, round(black + LOWEST * (white - black))), min(65535, round(white)) + 1)
    heap = between(level - hair, level + hair + 1)
    tail = between(level + hair + 1, np.full(level.shape, 65536))
    below = between(level - 12 * hair, level - 2 * hair) / 5
    near = between(level - 4 * hair, level - 2 * hair)
    enough = max(MIN_HEAP[0], MIN_HEAP[1] * int(total[-1]))
    clear = (heap >= enough) & (tail <= TAIL * heap) & (heap > 2 * np.maximum(below, near))
    if not clear.any():
        return None
    centre = int(level[clear][np.argmax(heap[clear])])
    first, last = max(0, centre - hair), min(65536, centre + hair + 1)
    middle = np.searchsorted(np.cumsum(histogram[first:last]), total[last] / 2 - total[first] / 2)
    found, quarter = first + int(middle), hair // 4
    sharp = 2 * histogram[max(0, found - quarter) : found + quarter + 1].sum() >= histogram[first:last].sum()
    if not sharp and known is not None and min(abs(found - other) for other in (white, *known)) > FAR * (white - black):
        return None
    return float(min(found, white))
