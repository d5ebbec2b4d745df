"""Is a raw file SVE, or one of the ordinary photos of the same shoot?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..levels import estimate_levels
from ..models import Model
from ..mosaic import ExposurePattern, Mosaic
from ..pattern import Detection, detect_pattern
from ..patterntext import with_ratio
from ..pipeline import ConvertOptions
from ..rawfile import read_raw
from ..sequence import FileKind


def look(raw: Path, options: ConvertOptions, model: Model | None) -> dict[str, Any]:
    """Return what detection says of a raw file, as JSON has it: `sve`, `reason`, `pattern`, `ratio_ev`, `confidence`.

    Raises what converting it would raise at its start: UnreadableRaw, Sve2HdrError for levels that do not fit, and
    PatternNotFound for a pattern that is in doubt, or one that `model` was not trained for.
    """
    read = read_raw(raw)
    mosaic = options.levels.applied(read, raw)
    pattern, confidence, error = options.levels.pattern, None, 0.0
    if pattern is None:
        detection = detect_pattern(mosaic)
        if detection.doubtful:
            raise detection.not_found(raw)
        if detection.pattern is None:
            return _of_one_exposure(detection, read)
        pattern, confidence, error = detection.pattern, detection.confidence, detection.ratio_ev_error
    if options.levels.ratio_ev is not None:
        pattern, error = with_ratio(pattern, options.levels.ratio_ev), 0.0
    if model is not None:
        model.for_pattern(raw, mosaic, pattern)
    found = {"sve": True, "reason": "", "ratio_ev_error": round(error, 4)}
    return found | told_of(pattern, confidence, mosaic.shape) | FileKind.of(read).as_json()


def told_of(pattern: ExposurePattern, confidence: float | None, shape: tuple[int, int]) -> dict[str, Any]:
    """Return what reports tell of a frame, (H, W), that has a pattern; no confidence: it was given."""
    return {
        "pattern": str(pattern),
        "ratio_ev": round(pattern.ratio_ev, 4),
        "confidence": None if confidence is None else round(confidence, 3),
        "megapixels": round(shape[0] * shape[1] / 1e6, 3),
    }


def ordinary(raw: Path, options: ConvertOptions) -> dict[str, Any] | None:
    """Return what detection says of a raw file that has one exposure; None: it has more, or `--pattern` says so.

    Raises what `look` raises.
    """
    found = look(raw, options, None)
    return None if found["sve"] else found


def doubt_of(raw: Path, options: ConvertOptions) -> tuple[float, dict[str, Any] | None]:
    """Return how wrong the ratio may be that a frame would give its sequence, EV, one standard deviation.

    inf: it shows too little to tell. 0: the ratio is given, or the frame is an ordinary photo. With it, what `ordinary`
    returns, but None for what is in doubt. Raises UnreadableRaw, and Sve2HdrError for levels that do not fit.
    """
    mosaic = read_raw(raw)
    detection = None if options.levels.pattern is not None else detect_pattern(options.levels.applied(mosaic, raw))
    if detection is not None and detection.pattern is None:
        evidence = None if detection.doubtful else _of_one_exposure(detection, mosaic)
        return math.inf if detection.undecided else 0.0, evidence
    return estimate_levels(mosaic, raw, options.levels, detection).ratio_ev_error, None


def _of_one_exposure(detection: Detection, read: Mosaic) -> dict[str, Any]:
    """Return what is told of a raw, as read, that has no pattern."""
    return detection.of_one_exposure(read.shape) | FileKind.of(read).as_json()
