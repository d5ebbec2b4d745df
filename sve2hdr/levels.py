"""The levels of a frame: what the user says of them, else what the pixels show, else what the file states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .errors import Sve2HdrError
from .matching import match_exposures
from .mosaic import ExposurePattern, Mosaic, cfa_period, common_period, repeated
from .noise import estimate_noise
from .pattern import Detection, detect_pattern, with_ratio
from .radiance import NoiseModel
from .saturation import white_levels


@dataclass(frozen=True, eq=False)
class Levels:
    """Overrides of a mosaic's levels and pattern; None: find out."""

    pattern: ExposurePattern | None = None
    ratio_ev: float | None = None
    black: float | np.ndarray | None = None  # counts; an array is one period, (P, Q), from site (0, 0) on
    white: float | tuple[float, ...] | None = None  # counts; several: one for each exposure, the least exposed first

    def any_given(self) -> bool:
        """Return whether anything is overridden."""
        return any(value is not None for value in (self.pattern, self.ratio_ev, self.black, self.white))

    def applied(self, mosaic: Mosaic, path: Path) -> Mosaic:
        """Return the mosaic with these black and white levels; raise Sve2HdrError if they make no range.

        Of white levels by exposure only the highest is applied: which sites have which is not known yet.
        """
        black = mosaic.black_level
        if self.black is not None:
            black = np.atleast_2d(np.asarray(self.black, np.float32))
        white = mosaic.white_level if self.white is None else float(np.max(self.white))
        if not min(white, np.min(white if self.white is None else self.white)) > float(black.max()):
            raise Sve2HdrError(
                f"{path}: white level {white:g} is not above black level {black.max():g}; change --white or --black"
            )
        return replace(mosaic, black_level=black, white_level=white, saturation=None)


@dataclass(frozen=True, eq=False)
class Estimate:
    """All that a conversion needs to know of a frame. Periods start at site (0, 0)."""

    pattern: ExposurePattern
    confidence: float  # in the pattern, 0 to 1
    ratio_ev_error: float  # one standard deviation; 0 where the ratio is given, inf where it is unknown
    black: np.ndarray  # (P, Q) float32, counts, of the cell that CFA and exposures form together, or a multiple of it
    white: np.ndarray  # (P, Q) float32, counts, of the same period
    noise: NoiseModel  # of the same period
    sources: dict[str, str]  # how each was obtained, by name: pattern, ratio_ev, black, white, read_noise, gain

    def applied(self, mosaic: Mosaic) -> Mosaic:
        """Return the mosaic with these levels."""
        white = float(self.white.max())
        saturation = None if (self.white == white).all() else self.white
        return replace(mosaic, black_level=self.black, white_level=white, saturation=saturation)

    def as_json(self) -> dict[str, object]:
        """Return what `detect --json` prints of the levels: one number per site of the cell, and their sources."""
        return {
            "ratio_ev": round(self.pattern.ratio_ev, 4),
            "ratio_ev_error": round(self.ratio_ev_error, 4) if np.isfinite(self.ratio_ev_error) else None,
            "black": _rounded(self.black),
            "white": _rounded(self.white),
            "read_noise": _rounded(self.noise.read_noise),
            "gain": _rounded(self.noise.gain),
            "sources": self.sources,
        }


def _rounded(period: np.ndarray) -> list[list[float]]:
    return [[float(f"{value:.6g}") for value in row] for row in period.tolist()]


def estimate_levels(mosaic: Mosaic, path: Path, levels: Levels | None = None) -> Estimate:
    """Estimate pattern, ratio, black, white and noise of a frame as read; what `levels` gives is taken as it is.

    Black is measured on the masked margins where the file has some; else it is what the file states for each phase;
    else what it states for all, corrected by the fit between the exposures. White is where the counts pile up, never
    above the file's. Raises PatternNotFound, and Sve2HdrError where the levels given do not fit the frame.
    """
    levels = levels or Levels()
    mosaic = levels.applied(mosaic, path)
    pattern, detection, confidence, sources = levels.pattern, None, 1.0, {"pattern": "given"}
    if pattern is None:
        detection = detect_pattern(mosaic)
        if detection.pattern is None:
            raise detection.not_found(path)
        pattern, confidence, sources = detection.pattern, detection.confidence, {"pattern": "pixels"}
    return _estimate(mosaic, path, levels, pattern, detection, confidence, sources)


def levels_of_detection(mosaic: Mosaic, path: Path, levels: Levels, detection: Detection) -> Estimate:
    """Return what `estimate_levels` does, from what was detected on `levels.applied(mosaic)` already."""
    if detection.pattern is None:
        raise detection.not_found(path)
    mosaic, sources = levels.applied(mosaic, path), {"pattern": "pixels"}
    return _estimate(mosaic, path, levels, detection.pattern, detection, detection.confidence, sources)


def _estimate(
    mosaic: Mosaic,
    path: Path,
    levels: Levels,
    pattern: ExposurePattern,
    detection: Detection | None,
    confidence: float,
    sources: dict[str, str],
) -> Estimate:
    ratio_given = levels.pattern is not None or levels.ratio_ev is not None
    if levels.ratio_ev is not None:
        pattern = with_ratio(pattern, levels.ratio_ev)
    sources = sources | {"ratio_ev": "given" if ratio_given else "fit"}
    black_source = _black_source(mosaic, levels)
    known, match = black_source not in ("file", "file + fit"), None
    if not (known and ratio_given):
        match = match_exposures(mosaic, pattern, detection, ratio_given=ratio_given, black_known=known)
    error, black = 0.0 if ratio_given else np.inf, mosaic.black_level
    if match is not None and not ratio_given:
        pattern, error = match.pattern, match.ratio_ev_error
    if match is not None and match.fitted and black_source == "file + fit":
        black = _folded(match.black, common_period(cfa_period(mosaic.cfa), pattern.exposure)).astype(np.float32)
    elif black_source == "file + fit":
        black_source = "file"
    sources["black"] = black_source
    mosaic = replace(mosaic, black_level=black)
    white, sources["white"] = _white(mosaic, path, levels, pattern)
    period = common_period(cfa_period(mosaic.cfa), pattern.exposure, black)
    black, white = repeated(black, period), repeated(white, period)
    if not white.min() > black.max():
        raise Sve2HdrError(
            f"{path}: white level {white.min():g} is not above black level {black.max():g}; change --white or --black"
        )
    mosaic = replace(mosaic, black_level=black, white_level=float(white.max()), saturation=white)
    read_noise = None
    if mosaic.masked is not None:
        read_noise = repeated(mosaic.masked.read_noise, common_period(mosaic.masked.read_noise, black))
        read_noise = _folded(read_noise**2, period) ** 0.5
    noise = estimate_noise(mosaic, pattern, read_noise)
    sources |= {"read_noise": "photon transfer" if read_noise is None else "margins", "gain": "photon transfer"}
    return Estimate(pattern, confidence, error, black, white, noise, sources)


def _folded(values: np.ndarray, period: tuple[int, int]) -> np.ndarray:
    """Return the mean over the repeats of `period` in a period that is a multiple of it."""
    rows, columns = (n // p for n, p in zip(values.shape, period, strict=True))
    return np.asarray(values.reshape(rows, period[0], columns, period[1]).mean(axis=(0, 2)))


def _black_source(mosaic: Mosaic, levels: Levels) -> str:
    """Return where the black levels are to be had from."""
    stated, letters = mosaic.black_level, cfa_period(mosaic.cfa)
    if levels.black is not None:
        return "given"
    if mosaic.masked is not None:
        return "margins"
    if letters.shape[0] % stated.shape[0] or letters.shape[1] % stated.shape[1]:
        return "file, per phase"
    # Noise below a black of 0 is cut off, and what is left of it would pass for light.
    return "file + fit" if stated.min() > 0 else "file"


def _white(mosaic: Mosaic, path: Path, levels: Levels, pattern: ExposurePattern) -> tuple[np.ndarray, str]:
    """Return the white levels, (P, Q) float32 of the pattern's period, and where they are from."""
    exposures = np.unique(pattern.exposure)
    if levels.white is None:
        found = white_levels(mosaic, pattern)
        counts, source = found.counts, found.source
    else:
        counts, source = (np.atleast_1d(levels.white) * np.ones(1)).tolist(), "given"
        counts = counts * len(exposures) if len(counts) == 1 else counts
        if len(counts) != len(exposures):
            raise Sve2HdrError(
                f"{path}: {len(counts)} white levels for {len(exposures)} exposures; give --white one number for all, "
                "or one for each, the least exposed first"
            )
    index = np.searchsorted(exposures, pattern.exposure)
    return np.asarray(counts, np.float32)[index], source
