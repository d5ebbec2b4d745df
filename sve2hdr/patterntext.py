"""Exposure patterns as users give them, by `--pattern` and `--ev`, and as they are shown to users."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from .mosaic import ExposurePattern

MIN_EV, MAX_EV = 0.01, 20  # of the ratios that are accepted


def parse_pattern(text: str) -> ExposurePattern:
    """Read a pattern as `--pattern` takes it: relative exposures, fractions or decimals, the greatest scaled to 1.

    `rows:` and `columns:` list one period, `grid:` its rows with a semicolon between. ValueError says what is wrong.

    >>> parse_pattern("rows:1/8,1/8,1,1").exposure.tolist()
    [[0.125], [0.125], [1.0], [1.0]]
    >>> parse_pattern("grid:1,4;4,16").exposure.tolist()
    [[0.0625, 0.25], [0.25, 1.0]]
    """
    kind, colon, listed = text.strip().partition(":")
    if not colon or kind not in ("rows", "columns", "grid"):
        raise ValueError(f"pattern {text!r} begins with none of rows:, columns: and grid:, as in rows:1/8,1/8,1,1")
    if kind != "grid" and ";" in listed:
        raise ValueError(f"pattern {text!r} has a semicolon: only grid: has rows of its own")
    rows = [[_exposure(value, text) for value in row.split(",")] for row in listed.split(";")]
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"pattern {text!r} has rows of different lengths")
    exact = np.array(rows, np.float64)
    span_ev = math.log2(exact.max()) - math.log2(exact.min())
    if span_ev > MAX_EV:
        raise ValueError(f"pattern {text!r} spans {span_ev:.1f} EV; at most {MAX_EV} are taken")
    exposure = (exact / exact.max()).astype(np.float32)
    return ExposurePattern(exposure.T.copy() if kind == "rows" else exposure)


def _exposure(value: str, text: str) -> float:
    try:
        number = float(Fraction(value.strip()))
    except (ValueError, ZeroDivisionError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(
            f"pattern {text!r}: {value.strip()!r} is no exposure; write numbers above 0, such as 1/8 or 0.125"
        )
    return number


def certainty(ratio_ev: float, confidence: float | None) -> str:
    """Return for the user how far exposures differ and how certain that is; without a confidence, they were given.

    >>> certainty(3, 0.984), certainty(3, None)
    ('3.00 EV, confidence 0.98', '3.00 EV, as given')
    """
    return f"{ratio_ev:.2f} EV, " + ("as given" if confidence is None else f"confidence {confidence:.2f}")


def with_ratio(pattern: ExposurePattern, ratio_ev: float) -> ExposurePattern:
    """Return the same layout with another ratio; exposures between the extremes keep their place on the EV scale.

    ValueError: `ratio_ev` is not from 0.01 to 20, or the pattern has but one exposure, which no ratio fits.

    >>> with_ratio(parse_pattern("rows:1/16,1/4,1,1"), 2).exposure.ravel().tolist()
    [0.25, 0.5, 1.0, 1.0]
    """
    if not MIN_EV <= ratio_ev <= MAX_EV:
        raise ValueError(f"a ratio must be from {MIN_EV} to {MAX_EV} EV, not {ratio_ev}")
    if pattern.ratio == 1:
        raise ValueError("a pattern of one exposure has no ratio to change")
    scale = ratio_ev / pattern.ratio_ev
    return ExposurePattern(np.exp2(np.log2(pattern.exposure.astype(np.float64)) * scale).astype(np.float32))
