"""What the user says about a file, in place of what the file or its pixels say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .errors import Sve2HdrError
from .mosaic import ExposurePattern, Mosaic
from .pattern import detect_pattern, with_ratio


@dataclass(frozen=True)
class Levels:
    """Overrides of a mosaic's levels and pattern; None: find out."""

    pattern: ExposurePattern | None = None
    ratio_ev: float | None = None
    black: float | None = None  # counts
    white: float | None = None  # counts

    def applied(self, mosaic: Mosaic, path: Path) -> Mosaic:
        """Return the mosaic with these black and white levels; raise Sve2HdrError if they make no range."""
        black = mosaic.black_level if self.black is None else np.full((1, 1), self.black, np.float32)
        white = mosaic.white_level if self.white is None else self.white
        if not white > float(black.max()):
            raise Sve2HdrError(
                f"{path}: white level {white:g} is not above black level {black.max():g}; change --white or --black"
            )
        return replace(mosaic, black_level=black, white_level=white)

    def pattern_of(self, mosaic: Mosaic, path: Path) -> tuple[ExposurePattern, float]:
        """Return the pattern, given or found, and the confidence in it; raise PatternNotFound if there is none."""
        pattern, confidence = self.pattern, 1.0
        if pattern is None:
            detection = detect_pattern(mosaic)
            if detection.pattern is None:
                raise detection.not_found(path)
            pattern, confidence = detection.pattern, detection.confidence
        return (pattern if self.ratio_ev is None else with_ratio(pattern, self.ratio_ev)), confidence
