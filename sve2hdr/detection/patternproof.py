"""A layout and its measured steps -> whether they are the sensor's doing or the scene's."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..mosaic import CELL, SIGMA_OF_MAD, Mosaic, cfa_period, repeated
from ..saturation import cell_black, saturation_counts
from .patternfit import (
    CHUNKS,
    MIN_WINDOWS,
    colour_classes,
    error_ev,
    fit_line,
    offset_sigma_of,
    sample_colours,
    sample_greens,
    spread,
)
from .patternlayout import Layout
from .patternsteps import Step
from .patternwindows import Windows

CLEAR_MARGIN = 100.0  # of chi squared, by which a layout that is beyond doubt is better than any other
PLAIN_EV = 1.0  # of levels and colours: what is less varied may be anything
LEAST_NOISE = 0.05  # counts, of a window's mean
NOISE_ERROR_EV = 10.0  # of two variances, one standard deviation from one window; neighbours overlap
# Of what is not saturated in some sites of a colour, and of the frame: what is saturated in others is no scene's doing.
BURNT_APART, LEAST_APART = 0.25, 0.05
SOME_CELLS = 40_000  # that are looked at for it; more change nothing
# To see whether exposures repeat: cells looked at, parts along each side of a frame, least cells of a part, what chance
# may add to its light, and the share of the parts that may differ by less
REPEATED_CELLS, PARTS, CELLS_OF_PART, MOST_CHANCE, FEW_PARTS = 8000, 4, 5, 0.12, 0.1
NEARLY = 0.8  # of saturation: a phase that comes there may well be saturated, as that is measured


def burnt_apart(mosaic: Mosaic, windows: Windows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what share of the frame is saturated in some phases of a colour and not in others, and in which ones.

    By phase: (16,) float64, of its colour; (16,) bool: that is no scene's doing; (16,) bool: it is one of those.
    """
    size = np.array(mosaic.shape)[:, None] // CELL
    top, left = CELL * np.random.default_rng(0).integers(0, size, (2, SOME_CELLS))  # no step that stripes may share
    y, x = np.divmod(np.arange(CELL * CELL), CELL)
    signal = mosaic.counts[top[:, None] + y, left[:, None] + x] - cell_black(mosaic).ravel()
    burnt, bright = ((signal >= share * windows.saturation).mean(axis=0) for share in (1.0, NEARLY))
    least, most = np.zeros_like(burnt), np.zeros_like(burnt)
    for phases in colour_classes(mosaic.cfa):
        least[phases], most[phases] = bright[phases].min(), burnt[phases].max()
    apart = most - least
    return apart, apart > np.maximum(LEAST_APART, BURNT_APART * (1 - least)), burnt > (least + most) / 2


def unrepeated_ev(mosaic: Mosaic) -> float:
    """Return by how much green sites differ from those of the next cells, up and down or to both sides, EV.

    More than 0 where that is so all over the frame: exposures repeat after two cells and not after one. Stripes in the
    scene do not keep step with the cells in every part of it. Every row and column has green sites, and none is a focus
    pixel, whose grids repeat after 8 columns, too. Parts that are lost in noise tell nothing.
    """
    size = np.array(mosaic.shape) // CELL - 2  # of the cells that have others on all sides
    if size.min() < 1:
        return 0.0
    cells = int(size.prod())
    y, x = np.divmod(np.random.default_rng(0).choice(cells, min(cells, REPEATED_CELLS), replace=False), size[1])
    phases = np.nonzero(repeated(cfa_period(mosaic.cfa), (CELL, CELL)) == "G")
    black, saturation = cell_black(mosaic)[phases], saturation_counts(mosaic)[phases]

    def light(down: int, right: int) -> np.ndarray:
        top, left = CELL * (y[:, None] + 1 + down), CELL * (x[:, None] + 1 + right)
        counts = mosaic.counts[top + phases[0], left + phases[1]]
        return np.where(counts < saturation, counts - black, np.nan)

    here = light(0, 0)
    of_part = np.arange(PARTS**2)[:, None] == y * PARTS // size[0] * PARTS + x * PARTS // size[1]
    found = 0.0
    for down, right, number in ((1, 0, y), (0, 1, x)):
        beside = (light(-down, -right) + light(down, right)) / 2
        both, more = here + beside, np.where(number % 2, -1, 1)[:, None] * (here - beside)
        known = np.isfinite(both)
        total, surplus, squares, count = (of_part @ np.where(known, v, 0.0) for v in (both, more, more**2, known))
        chance = np.sqrt(np.maximum(squares - surplus**2 / np.maximum(count, 1), 0))  # one standard deviation
        told = (count >= CELLS_OF_PART) & (np.abs(surplus) < total) & (chance < MOST_CHANCE * total)
        for phase in np.flatnonzero(told.sum(axis=0) > PARTS**2 / 2):
            share = surplus[told[:, phase], phase] / total[told[:, phase], phase]
            ev = np.log2((1 + share) / (1 - share))
            found = max(found, float(np.quantile(np.sign(np.median(ev)) * ev, FEW_PARTS)))
    return found


def words(name: str) -> str:
    """Return a layout's name without its phase."""
    return re.sub(r" \d+$", "", name)


def _ramp(value: float, none: float, full: float) -> float:
    """Return 0 at `none`, 1 at `full`, linear between, and 0 for NaN."""
    return min(max((value - none) / (full - none), 0.0), 1.0) if math.isfinite(value) else 0.0


def judge(
    mosaic: Mosaic,
    windows: Windows,
    layout: Layout,
    steps: Sequence[Step],
    ev: float,
    error: float,
) -> tuple[dict[str, float], dict[str, str]]:
    """Return each condition's confidence, and what to say where it is too low."""
    name, cfa = words(layout.name), mosaic.cfa
    views = [
        view
        for view in (_view(windows, cfa, s) for s in steps if s.fit.slope > 0 and not s.from_pairs)
        if view is not None
    ]
    covered, unsteady = 1.0, 0.0
    # Where much is saturated only the darker sites tell how varied the scene is; in the dark only the brighter ones do.
    variety = max(_variety_ev(windows, cfa, group) for group in (steps[0].groups[0], steps[-1].groups[1]))
    # Variances of stripes in the scene differ by the ratio, those of two gains by its square.
    noise = max(_noise_ev(s) / s.ev for s in steps)
    if views:
        # Of several steps the darker ones are seen through ever more noise: the clearest speaks for all.
        clearest = max(views, key=lambda view: view.windows)
        covered, unsteady = clearest.covered, clearest.unsteady_ev / max(clearest.step_ev, 1.0)
    greens = max(_greens_ev(windows, cfa, group, offset_sigma_of(mosaic)) for step in steps for group in step.groups)
    _, telling, burnt = burnt_apart(mosaic, windows)
    laid_out = len(steps) == 1 and telling.all() and np.flatnonzero(burnt).tolist() == steps[0].groups[0]
    # Single sites are asked where most are saturated: then the layout is plain and only the ratio hard to measure.
    bounds = (1.0, 0.1) if any(s.from_pairs for s in steps) else (0.4, 0.05)
    unrepeated = unrepeated_ev(mosaic)
    scores = {
        "contrast": _ramp(ev, 0.5, 0.9),
        "certainty": min(_ramp(error, *bounds), _ramp(ev / max(error, 1e-6), 4, 12)),
        "layout": _ramp(layout.misfit_ev / max(ev, 0.1), 0.1, 0.03),
        "clearness": 1.0 if laid_out else _ramp(layout.margin, 20, CLEAR_MARGIN),
        "greens": _ramp(greens, 0.5, 0.25),
        "repetition": _ramp(unrepeated, 0.5, 0.2),
        "coverage": _ramp(covered, 0.92, 0.99),
        "steadiness": _ramp(unsteady, 0.5, 0.15),
    }
    # Something plain is believed by its noise, where nothing else leaves a doubt. (Texture has the variances of two
    # gains too; but no lens aligns stripes with sites from border to border.)
    scores["variety"] = max(
        _ramp(variety, PLAIN_EV, 2.0), min(_ramp(noise, 1.25, 1.75), _ramp(min(scores.values()), 0.7, 1))
    )
    unclear = "too much of the frame is plain or lost in noise to tell"
    unknown = "in no layout that is known" if scores["clearness"] > 0.5 else unclear
    findings = {
        "contrast": f"{name} differ by only {ev:.2f} EV",
        "certainty": f"{name} differ by {ev:.1f} EV, give or take {error:.1f}: too uncertain",
        "layout": f"the sites differ by some {ev:.1f} EV, but {unknown}",
        "greens": f"{name} differ by {ev:.2f} EV, but the two greens within one of them by {greens:.2f} EV: {unknown}",
        "repetition": f"the sites differ by some {max(ev, unrepeated):.1f} EV and repeat after more than {CELL}: "
        "in no layout that is known",
        "clearness": f"the sites may differ by some {ev:.1f} EV, but {unclear}",
        "coverage": f"{name} differ by {ev:.2f} EV in only {covered:.0%} of the frame, so it is the scene",
        "steadiness": f"the {ev:.2f} EV between {name} change with place, level or colour, so it is the scene",
        "variety": f"{name} differ by {ev:.2f} EV, but may be stripes on something plain: levels and colours span only "
        f"{variety:.1f} EV, and the noise does not show two gains",
    }
    return scores, findings


@dataclass(frozen=True)
class _View:
    """How one step looks window by window."""

    windows: int  # that stand clear of the noise
    step_ev: float
    covered: float  # share of the windows that take part
    unsteady_ev: float  # most that a part of the frame, a level or a colour differs


def _view(windows: Windows, cfa: str, step: Step) -> _View | None:
    """Look at all unsaturated windows that stand clear of the noise, None where they are too few."""
    deviation, labels = [], []
    slope, samples = step.fit.slope, sample_colours(windows, cfa, *step.groups)
    for k, (sample, offset) in enumerate(zip(samples, step.fit.offsets, strict=True)):
        bright, dark = sample.brighter.mean(axis=0), sample.darker.mean(axis=0) - offset
        residual = sample.darker - slope * sample.brighter
        # The halves' difference is noise and texture: it does not grow where the step itself is missing.
        sigma = spread((residual[0] - residual[1]) / 2, bright, np.full(bright.shape, 0.05))
        # Each half by itself: a hot site lies in one of them, and would choose windows for their bright rows alone.
        clear = slope * sample.brighter.min(axis=0) > 4 / min(step.ev, 1.0) * sigma
        place, bright = sample.window[clear], bright[clear]
        deviation.append(np.log2(np.maximum(dark[clear] / (slope * bright), 1e-3)))
        level = np.log2(bright)
        # A part is a sixteenth of the frame, across or down; levels and colours are groups of their own.
        row = windows.row[place] * CHUNKS // (windows.row.max() + 1)
        column = windows.column[place] * CHUNKS // (windows.column.max() + 1)
        edges = np.quantile(level, np.linspace(0, 1, 7)[1:-1]) if place.size else np.zeros(0)
        bins = np.searchsorted(edges, level)
        labels.append(np.stack([row, CHUNKS + column, np.full(place.size, 2 * CHUNKS + k), 3 * CHUNKS + bins]))
    deviations, labelled = np.concatenate(deviation), np.concatenate(labels, axis=1)
    if deviations.size < MIN_WINDOWS:
        return None
    # Texture strays both ways; a part of the frame without the pattern strays towards equal exposures only.
    astray = float((deviations > step.ev / 2).mean() - (deviations < -step.ev / 2).mean())
    unsteady = max(_unsteady_ev(deviations, kind) for kind in labelled)
    return _View(deviations.size, step.ev, 1 - max(astray, 0.0), unsteady)


def _variety_ev(windows: Windows, cfa: str, group: list[int]) -> float:
    """Return how widely the windows' levels differ plus how widely their colours do, as one group of phases sees it."""
    levels = []
    for phases in colour_classes(cfa):
        seen = [p for p in group if p in phases]
        if seen:
            values = windows.values[:, seen].mean(axis=1, dtype=np.float64)
            value = values.mean(axis=0)
            sigma = spread((values[0] - values[1]) / 2, value, np.full(value.shape, 0.05))
            unsaturated = (windows.peak[seen] < windows.saturation[seen, None]).all(axis=0)
            clear = unsaturated & (value > 4 * sigma)
            levels.append(np.log2(np.where(clear, np.maximum(values, LEAST_NOISE), np.nan)))
    tints = [levels[i] - levels[j] for i in range(len(levels)) for j in range(i)]
    return max(map(_range_ev, levels), default=0.0) + max(map(_range_ev, tints), default=0.0)


def _noise_ev(step: Step) -> float:
    """Return by how much, at least, the variances of two groups differ, as the halves of their windows show it, EV."""
    ev, count = 0.0, sum(sample.window.size for sample in step.samples)
    for sample in step.samples:
        bright, dark = (np.median(np.abs(x[0] - x[1])) for x in (sample.brighter, sample.darker))
        ev += 2 * math.log2(max(bright, LEAST_NOISE) / max(dark, LEAST_NOISE)) * sample.window.size / count
    return ev - 2 * NOISE_ERROR_EV / math.sqrt(max(count, 1))


def _greens_ev(windows: Windows, cfa: str, group: list[int], offset_sigma: float) -> float:
    """Return by how much, at least, the two greens of a Bayer CFA see one light differently in one group of phases.

    Every other layout tells sites of a colour by their rows and columns alone, to which four exposures row by row are
    pairs of two. The slope of a line is asked for: rows differ in black level.
    """
    sample = sample_greens(windows, cfa, group) if len(cfa) == 4 else None
    if sample is None:
        return 0.0
    fit = fit_line([sample], offset_sigma)
    if not (fit.slope > 0 and math.isfinite(fit.slope_error)):
        return 0.0
    return max(0.0, abs(math.log2(fit.slope)) - 3 * error_ev(fit.slope, fit.slope_error))


def _range_ev(values: np.ndarray) -> float:
    """Return how far the 2nd and the 98th percentile of windows, (2, N) by half, lie apart, noise and texture aside.

    0 where too few are finite.
    """
    values = values[:, np.isfinite(values).all(axis=0)]
    if values.shape[1] < MIN_WINDOWS:
        return 0.0
    seen, chance = np.ptp(np.percentile([values.mean(axis=0), (values[0] - values[1]) / 2], [2, 98], axis=1), axis=0)
    return math.sqrt(max(seen**2 - chance**2, 0.0))


def _unsteady_ev(deviations: np.ndarray, labels: np.ndarray) -> float:
    """Return the greatest median deviation of a labelled part that chance does not explain, EV."""
    unsteady = 0.0
    for label in np.unique(labels):
        part = deviations[labels == label]
        if part.size >= 30:
            median = float(np.median(part))
            sigma, independent = (
                SIGMA_OF_MAD * float(np.median(np.abs(part - median))),
                part.size / 4,
            )  # windows overlap
            error = 1.25 * sigma / math.sqrt(independent)
            unsteady = max(unsteady, abs(median) - 3 * error)
    return unsteady
