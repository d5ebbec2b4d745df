"""Mosaic -> ExposurePattern: which sites have seen how much of the light, from the pixels alone, and how sure that is.

What tells an SVE frame from stripes in the scene: its one ratio holds at every level, in every colour and all over the
frame, and its groups end exactly between two sites. A frame that does not show all of that is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from .detection.interleaved import PERIOD, ROW_PLACES, halves, in_fours, joined
from .detection.patternfit import MIN_WINDOWS, offset_sigma_of
from .detection.patternlayout import Layout, PhaseLevels, choose_layout, measure_phases
from .detection.patternproof import CLEAR_MARGIN, burnt_apart, judge, words
from .detection.patternsteps import SAME_EXPOSURE_EV, Step, measure_steps
from .detection.patternwindows import Windows, measure_windows
from .errors import PatternNotFound
from .mosaic import CELL, ExposurePattern, Mosaic

KNOWN_EV = 0.1  # error of a ratio below which it is worth to be named
SURE = 0.5  # confidence from which a frame counts as SVE
DOUBTFUL_EV = 1.0  # from which exposures that are refused are no matter of course
IN_FOURS = "rows in fours"
SAME_RATIO_EV = 0.15  # by which two halves of a frame may see their ratio apart
EXAMPLE, EXAMPLE_EV = "rows:1/8,1/8,1,1", 3.0
FEW_SITES = "too few sites are neither saturated nor lost in noise to compare the exposures"


@dataclass(frozen=True, eq=False)
class Detection:
    """What the pixels of one mosaic say about its exposures."""

    pattern: ExposurePattern | None  # None: no SVE
    ratio_ev: float  # most over least exposed, as measured, also of what was refused; 0.0: nothing to measure
    ratio_ev_error: float  # one standard deviation; inf: unknown
    reason: str  # one sentence
    cfa: str
    phase_ev: np.ndarray  # (4, 4) float64, of rows in fours (8, 4): EV of each site above the mean of its colour
    scores: dict[str, float]  # each condition's own confidence; the least of them is `confidence`
    windows: Windows | None = None  # what was measured, where there is a pattern
    steps: tuple[Step, ...] = ()  # from each exposure to the next lower one, where there is a pattern
    suspected: ExposurePattern | None = None  # what was measured and refused, where it has a layout that is known
    doubtful: bool = False  # refused, and may well be SVE all the same: no ordinary photo
    halves: tuple[Detection, ...] = ()  # of rows in fours, what was measured: that of each of their frames of row pairs

    @property
    def sve(self) -> bool:
        """Whether the frame is SVE: its confidence is 0.5 or more."""
        return self.pattern is not None

    @property
    def confidence(self) -> float:
        """How sure it is that the frame is SVE, 0 to 1."""
        return min(self.scores.values())

    def as_json(self, path: str | Path) -> dict[str, object]:
        """Return the record that `detect --json` prints for a file.

        `exposure` is None where there is no pattern; where one is in doubt, it is `suspected`.
        """
        record = {
            "file": str(path),
            "sve": self.sve,
            "exposure": None if self.pattern is None else self.pattern.exposure.tolist(),
            "ratio_ev": round(self.ratio_ev, 4),
            "confidence": round(self.confidence, 3),
            "cfa": self.cfa,
            "reason": self.reason,
        }
        return record | {"suspected": str(self.suspected)} if self.doubtful and self.suspected else record

    @property
    def undecided(self) -> bool:
        """Whether the frame shows too little to tell; another one of its clip may."""
        return not self.sve and (self.laid_out or self.scores.get("certainty") == 0)

    @property
    def laid_out(self) -> bool:
        """Whether the exposures seem to differ in some layout; an ordinary photo has none."""
        return self.doubtful or min(self.scores.get(name, 0) for name in ("layout", "greens")) > 0

    @property
    def finding(self) -> str:
        """Return why no pattern was found, and what to do where one is in doubt."""
        if not self.doubtful:
            return f"no exposure pattern: {self.reason}"
        ratio = ", as measured" if self.ratio_ev_error < KNOWN_EV else " and its true ratio with --ev"
        named = f"name it with --pattern {self.suspected}{ratio}" if self.suspected else f"name it, as in {EXAMPLE}"
        return f"doubtful exposure pattern: {self.reason}; {named}"

    def of_one_exposure(self, shape: tuple[int, int]) -> dict[str, object]:
        """Return what is told of a frame, (H, W), that has no pattern."""
        size = {"megapixels": round(shape[0] * shape[1] / 1e6, 3)}
        return {"sve": False, "reason": self.reason, "confidence": round(self.confidence, 3), **size}

    def not_found(self, path: str | Path) -> PatternNotFound:
        """Return the error for a file whose pattern is needed and was not found.

        >>> black = Mosaic(np.zeros((64, 64), np.uint16), "RGGB", np.zeros((1, 1), np.float32), 255.0, np.eye(3))
        >>> str(detect_pattern(black).not_found("a.dng")).split("; ")[0]
        'a.dng: no exposure pattern: nothing lies above the noise'
        """
        if self.doubtful:
            return PatternNotFound(f"{path}: {self.finding}")
        return PatternNotFound(
            f"{path}: {self.finding}; name it with --pattern {self.suspected or EXAMPLE}, or convert an ordinary photo "
            "with --if-not-sve develop"
        )


def detect_pattern(mosaic: Mosaic) -> Detection:
    """Find the exposure pattern of a mosaic, or say why there is none. The same mosaic gives the same answer.

    Looked for are row pairs, column pairs and 2 x 2 blocks in all phases, rows in fours, and in a 4 x 4 CFA the sites
    of its 2 x 2 blocks. A pattern that is found has one period of 1 or 4 sites each way, or of 8 rows.
    """
    found = _found(mosaic, measure_windows(mosaic))
    return found if found.sve or found.doubtful else _rows_in_fours(mosaic) or found


def _found(mosaic: Mosaic, windows: Windows) -> Detection:
    found = _detected(mosaic, windows)
    return found if found.sve or found.doubtful else _unless_burnt_apart(found, mosaic, windows)


def _detected(mosaic: Mosaic, windows: Windows) -> Detection:
    levels = measure_phases(windows, mosaic.cfa, offset_sigma_of(mosaic))
    layout = choose_layout(levels, mosaic.cfa)
    found = Detection(None, 0.0, np.inf, "", mosaic.cfa, levels.ev.reshape(CELL, CELL), {})
    if len(layout.groups) == 1:
        lacking, reason, spread = _single_exposure(windows, levels)
        return replace(found, ratio_ev=spread, reason=reason, scores={lacking: 0.0})
    groups, steps = measure_steps(mosaic, windows, layout)
    ev, error = sum(s.ev for s in steps), math.hypot(*(s.error for s in steps))
    if not math.isfinite(error):
        return _unmeasured(found, windows, levels, layout)
    found = replace(found, ratio_ev=ev, ratio_ev_error=error)
    if min(s.ev for s in steps) < SAME_EXPOSURE_EV:
        reason = f"{words(layout.name)} do not differ where compared"
        return replace(found, reason=reason, scores={"contrast": 0.0})
    scores, findings = judge(mosaic, windows, layout, steps, ev, error)
    found = replace(found, scores=scores)
    weakest = min(scores, key=lambda name: scores[name])
    pattern = _pattern(groups, [s.ev for s in steps])
    if scores[weakest] < SURE:
        longer = scores["repetition"] < SURE
        known = min(scores["layout"], scores["greens"]) > 0 and scores["clearness"] == 1 and not longer
        suspected = pattern if known else None  # a wrong layout, named, would be taken for the right one
        against = min(score for name, score in scores.items() if name not in ("variety", "clearness", "repetition"))
        doubtful = (ev >= DOUBTFUL_EV or longer) and against > (0 if scores["clearness"] > 0 else SURE)
        return replace(found, reason=findings[weakest], suspected=suspected, doubtful=doubtful)
    reason = f"{words(layout.name)}, {len(groups)} exposures over {ev:.2f} EV, alike at every level, colour and place"
    return replace(found, pattern=pattern, reason=reason, windows=windows, steps=tuple(steps))


def _rows_in_fours(mosaic: Mosaic) -> Detection | None:
    """Return what a frame's halves say of rows in fours, None if they do not show or suspect any.

    The less sure half decides: the frame is in doubt where one of them is, or where their ratios differ.
    """
    if mosaic.shape[0] < PERIOD or len(mosaic.cfa) != 4:
        return None
    parts = []
    for half in halves(mosaic):
        parts.append(_found(half, measure_windows(half, ROW_PLACES)))
        if not parts[-1].laid_out:
            return None
    pattern, least = _in_fours(parts), min(parts, key=lambda part: (part.sve, part.doubtful, part.confidence))
    if least.sve and pattern is None:
        return None
    (first, first_error), (second, second_error) = ((part.ratio_ev, part.ratio_ev_error) for part in parts)
    ev, error = (first + second) / 2, math.hypot(first_error, second_error) / 2
    whole = replace(
        least, pattern=None, ratio_ev=ev, ratio_ev_error=error, reason=least.reason.replace("row pairs", IN_FOURS),
        phase_ev=joined(parts[0].phase_ev, parts[1].phase_ev), windows=None, steps=(), suspected=pattern,
    )  # fmt: skip
    if not least.sve:
        return whole
    if abs(first - second) > max(SAME_RATIO_EV, 5 * error):
        return replace(
            whole, scores={"steadiness": 0.0}, suspected=None, doubtful=True,
            reason=f"{IN_FOURS} differ by {first:.2f} EV in one half of the rows and by {second:.2f} EV in the other",
        )  # fmt: skip
    reason = f"{IN_FOURS}, 2 exposures over {ev:.2f} EV, alike at every level, colour and place"
    return replace(whole, pattern=pattern, reason=reason, suspected=None, halves=tuple(parts))


def _in_fours(parts: Sequence[Detection]) -> ExposurePattern | None:
    """Return the rows in fours whose halves, row pairs, are found or suspected, with their mean ratio."""
    pairs = [found for part in parts if (found := part.pattern or part.suspected) and found.exposure.shape == (CELL, 1)]
    if len(pairs) < len(parts):
        return None
    ev = sum(found.ratio_ev for found in pairs) / len(pairs)
    exposure = np.exp2(-ev * (joined(*(found.exposure for found in pairs)) < 1)).astype(np.float32)
    return ExposurePattern(exposure) if in_fours(exposure) else None


def _unmeasured(found: Detection, windows: Windows, levels: PhaseLevels, layout: Layout) -> Detection:
    """Return the refusal of a frame whose exposures may differ, but all but a few sites are saturated or dark."""
    brightest = layout.groups[0]
    burnt = float((windows.peak[brightest] >= windows.saturation[brightest, None]).mean())
    means = [float(levels.ev[group].mean()) for group in layout.groups]  # clipping makes their differences too small
    ev, found = means[0] - means[-1], replace(found, scores={"certainty": 0.0})
    if burnt < 0.5 or ev < DOUBTFUL_EV or layout.margin < CLEAR_MARGIN:
        return replace(found, reason=FEW_SITES)
    reason = f"{words(layout.name)} differ by at least {ev:.1f} EV, but {FEW_SITES}"
    suspected = _pattern(layout.groups, [max(a - b, 0.0) for a, b in pairwise(means)])
    return replace(found, ratio_ev=ev, reason=reason, suspected=suspected, doubtful=True)


def _unless_burnt_apart(found: Detection, mosaic: Mosaic, windows: Windows) -> Detection:
    """Return a refusal, as one in doubt where some phases of the sites are burnt out and others are not.

    Where something black stands before something bright, little else may be left to tell the exposures.
    """
    if not windows.row.size:
        return found
    apart, telling, more = burnt_apart(mosaic, windows)
    if not telling.any():
        return found
    reason = f"{apart.max():.0%} of the frame is saturated in some sites of a colour and not in others, but {FEW_SITES}"
    suspected = found.suspected
    if telling.all():
        suspected = _pattern([np.flatnonzero(more).tolist(), np.flatnonzero(~more).tolist()], [EXAMPLE_EV])
    return replace(found, reason=reason, suspected=suspected, ratio_ev_error=np.inf, doubtful=True)


def _single_exposure(windows: Windows, levels: PhaseLevels) -> tuple[str, str, float]:
    """Return what a frame whose phases do not differ lacks, certainty or contrast, why, and the EV between phases."""
    if windows.row.size < MIN_WINDOWS:
        return "certainty", "the frame is too small to tell", 0.0
    level = windows.values.mean(axis=(0, 1))
    noise = float(np.median(np.abs(windows.values[0] - windows.values[1])))
    if np.percentile(level, 99) < max(1.0, 3 * noise) and np.median(level) < 0.01 * windows.saturation.mean():
        return "certainty", "nothing lies above the noise", 0.0
    burnt = float((windows.peak >= windows.saturation[:, None]).all(axis=0).mean())
    if burnt > 0.9:
        return "certainty", f"{burnt:.0%} of the frame is saturated in all sites", 0.0
    if not levels.fitted.any():
        return "certainty", FEW_SITES, 0.0
    spread = float(np.ptp(levels.ev[levels.fitted]))
    reason = f"all sites have the same exposure, in periods of up to {CELL} sites, or 8 rows"
    return "contrast", reason, spread


def _pattern(groups: list[list[int]], steps_ev: list[float]) -> ExposurePattern:
    """Return the smallest period of 1 or 4 sites each way that says the same."""
    exposure = np.ones(CELL * CELL, np.float32)
    for k, group in enumerate(groups):
        exposure[group] = 2.0 ** -sum(steps_ev[:k])
    cell = exposure.reshape(CELL, CELL)
    if (cell == cell[:, :1]).all():
        cell = cell[:, :1]
    if (cell == cell[:1]).all():
        cell = cell[:1]
    return ExposurePattern(np.ascontiguousarray(cell))
