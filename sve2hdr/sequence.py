"""Whether a frame can belong to a sequence, judged by the kind of its file and by its exposures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .mosaic import ExposurePattern, Mosaic, over_common_period

SAME_EV, SURE_EV = 0.25, 0.2  # by which a frame's own ratio may differ; error from which on it is no evidence
OTHER_DEPTH = 0.45  # ratio of white levels that shows another bit depth: it is 1/4 between 12 and 14 bits


class FileKind(NamedTuple):
    """What all files of a sequence have in common, whatever they show."""

    shape: tuple[int, int]
    cfa: str
    white: float  # counts, as the file states it; shows the bit depth

    @classmethod
    def of(cls, read: Mosaic) -> FileKind:
        """Return the kind of a frame as read."""
        return cls(read.shape, read.cfa, read.white_level)

    @classmethod
    def told(cls, record: dict[str, Any]) -> FileKind:
        """Return the kind from a record of `as_json` or from a file of `save_parameters`."""
        rows, columns = record["shape"]
        white = record.get("stated_white") or np.max(record["white"])  # earlier versions recorded the measured one
        return cls((rows, columns), record["cfa"], float(white))

    def as_json(self) -> dict[str, Any]:
        """Return it in types of JSON."""
        return {"shape": list(self.shape), "cfa": self.cfa, "stated_white": self.white}

    def unlike(self, own: FileKind, other: str | Path | None) -> str:
        """Return why a frame of kind `own` is not of the sequence of this kind, that of `other`; "" if it may be.

        >>> FileKind((4, 6), "RGGB", 16_383.0).unlike(FileKind((4, 6), "RGGB", 4095.0), "another")
        'white level 4095, far from the 16383 of another: another bit depth'
        """
        if own.shape != self.shape:
            here, there = (f"{columns} x {rows}" for rows, columns in (own.shape, self.shape))
            return f"{here} sites, but {other} is for {there}"
        if own.cfa != self.cfa:
            return f"colours {own.cfa}, but {other} is for {self.cfa}"
        if not OTHER_DEPTH * self.white < own.white < self.white / OTHER_DEPTH:
            return f"white level {own.white:g}, far from the {self.white:g} of {other}: another bit depth"
        return ""


def as_laid_out(own: ExposurePattern, locked: ExposurePattern) -> tuple[float, ...]:
    """Return the steps of `own` in EV, from the sites of each exposure of `locked` to those of the next lower one.

    >>> ends = [ExposurePattern(np.array([[low], [low], [1], [1]], np.float32)) for low in (1 / 4, 1 / 8)]
    >>> as_laid_out(*ends), as_laid_out(ExposurePattern(ends[0].exposure[::-1]), ends[1])
    ((2.0,), (-2.0,))
    """
    ev, there = over_common_period(np.log2(own.exposure), locked.exposure)
    means = [ev[there == exposure].mean() for exposure in np.unique(there)[::-1]]
    return tuple(np.diff(np.negative(means)).tolist())


def difference(
    own_ev: Sequence[float], errors_ev: Sequence[float], locked_ev: Sequence[float], other: str | Path | None
) -> str:
    """Return how a frame's own steps show that it is not of a sequence with the steps `locked_ev`; "" if they do not.

    Steps go from the sites of each of the sequence's exposures to those of the next lower one. Single steps and their
    sum are compared: opposite errors cancel in the sum, but if all steps are slightly off, only the sum shows it. A
    frame too dark or too bright to tell is taken to belong.

    >>> difference([2.0], [0.01], [3.0], "another")
    'its exposures differ by 2.00 EV where another has 3.00 EV'
    >>> [difference([own], [error], [3.0], "another") for own, error in ((2.9, 0.01), (2.6, 0.19), (2.0, 0.3))]
    ['', '', '']
    """
    steps = [*zip(own_ev, errors_ev, locked_ev, strict=True), (sum(own_ev), math.hypot(*errors_ev), sum(locked_ev))]
    off = [(own, locked) for own, error, locked in steps if _differs(own, error, locked)]
    if not off:
        return ""
    if sum(own_ev) < -SAME_EV and max(own_ev) < SAME_EV:
        return f"its bright and dark sites lie the other way round than those of {other}"
    if min(own for own, _ in off) < SAME_EV:
        alike = max(map(abs, own_ev)) < SAME_EV
        return f"{'it has one exposure, or ' * alike}its exposures lie in another pattern than those of {other}"
    own, locked = max(off, key=lambda step: abs(step[0] - step[1]))
    return f"its exposures differ by {own:.2f} EV where {other} has {locked:.2f} EV"


def _differs(own_ev: float, error_ev: float, locked_ev: float) -> bool:
    return error_ev < SURE_EV and abs(own_ev - locked_ev) > max(SAME_EV, 2.5 * error_ev)
