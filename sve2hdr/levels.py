"""The levels of a frame: what the user says of them, else what the pixels show, else what the file states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .detection.matching import Match, match_exposures
from .errors import Sve2HdrError
from .mosaic import ExposurePattern, Mosaic, cfa_period, common_period, folded, in_period, repeated
from .pattern import Detection, detect_pattern
from .patterntext import with_ratio
from .radiance import NoiseModel, full_scale
from .saturation import against_white, white_levels
from .sensor.noise import measured_noise

SOURCES = ("pattern", "ratio_ev", "black", "white", "read_noise", "gain")
CUT_OFF = 1e-4  # share of sites at 0 from which noise is cut off there
UNSURE_EV = 0.1  # an error of the measured ratio from which it is worth a note
# By how much what is given differs from what the pixels show before it is worth a note.
DIFFERENT_EV = 0.3
DIFFERENT_BLACK, ERRORS = 4e-4, 10.0  # of the range: 6 counts of 14 bits; standard deviations


@dataclass(frozen=True, eq=False)
class Levels:
    """Overrides of a mosaic's levels and pattern; None: find out."""

    pattern: ExposurePattern | None = None
    ratio_ev: float | None = None
    black: float | np.ndarray | None = None  # counts; an array is one period, (P, Q), from site (0, 0) on
    white: float | tuple[float, ...] | None = None  # counts; several: one for each exposure, the least exposed first

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, ExposurePattern | None):
            raise ValueError(f"pattern must be an ExposurePattern, as parse_pattern returns, not {self.pattern!r}")

    def any_given(self) -> bool:
        """Return whether anything is overridden."""
        return any(value is not None for value in (self.pattern, self.ratio_ev, self.black, self.white))

    def applied(self, mosaic: Mosaic, path: str | Path) -> Mosaic:
        """Return the mosaic with these black and white levels; raise Sve2HdrError if they make no range.

        Of white levels by exposure only the highest is applied: which sites have which is not known yet.
        """
        black = mosaic.black_level
        if self.black is not None:
            black = np.atleast_2d(np.asarray(self.black, np.float32))
        white = mosaic.white_level if self.white is None else float(np.max(self.white))
        lowest = white if self.white is None else float(np.min(self.white))
        if not lowest > float(black.max()):
            raise Sve2HdrError(
                f"{path}: white level {lowest:g} is not above black level {black.max():g}; change --white or --black"
            )
        return replace(mosaic, black_level=black, white_level=white, saturation=None)


@dataclass(frozen=True, eq=False)
class Estimate:
    """All that a conversion needs to know of a frame. Periods start at site (0, 0)."""

    pattern: ExposurePattern
    confidence: float | None  # in the pattern, 0 to 1; None: it was given
    ratio_ev_error: float  # one standard deviation; 0 where the ratio is given, inf where it is unknown
    black: np.ndarray  # (P, Q) float32, counts, of the cell that CFA and exposures form together, or a multiple of it
    white: np.ndarray  # (P, Q) float32, counts, of the same period
    noise: NoiseModel  # of the same period
    sources: dict[str, str]  # how each was obtained, by name: pattern, ratio_ev, black, white, read_noise, gain
    note: str = ""  # what speaks against the levels given, or those of the file
    black_error: np.ndarray | None = None  # (P, Q) counts, of `black`, one standard deviation; None: it is known
    stated_black: np.ndarray | None = None  # (P, Q) counts, as the file, or its margins, have it; None: it is given
    stated_white: float | None = None  # counts, as the file has it; None: unknown
    full_scale: float | None = None  # counts of the least exposed sites that images have as the ratio; None: saturation

    def scale(self, mosaic: Mosaic) -> float:
        """Return what images of the mosaic, whose own saturation is the ratio, are to be multiplied by."""
        return 1.0 if self.full_scale is None else full_scale(self.applied(mosaic), self.pattern) / self.full_scale

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


def estimate_levels(
    mosaic: Mosaic, path: str | Path, levels: Levels | None = None, detection: Detection | None = None
) -> Estimate:
    """Estimate pattern, ratio, black, white and noise of a frame as read; what `levels` gives is taken as it is.

    Black is measured on the masked margins where the file has some; else it is what the file states for each phase;
    else what it states for all, corrected by the fit between the exposures. White is where the counts pile up, never
    above the file's. `detection`: of `levels.applied(mosaic)`, if it was made already. Raises PatternNotFound, and
    Sve2HdrError where the levels given do not fit the frame.
    """
    levels, read = levels or Levels(), mosaic
    mosaic = levels.applied(mosaic, path)
    pattern, detection = _pattern(mosaic, path, levels, detection)
    given = levels.pattern is not None
    ratio_given = given or levels.ratio_ev is not None
    sources = {"pattern": "given" if given else "pixels", "ratio_ev": "given" if ratio_given else "fit"}
    against = _contradiction(detection, pattern) if ratio_given and detection is not None else ""
    sources["black"] = _black_source(mosaic, levels)
    known, match = sources["black"] not in ("file", "file + fit"), None
    if not (known and ratio_given):
        measured = None if given else detection  # what was detected may be of another pattern than the one given
        match = match_exposures(mosaic, pattern, measured, black_known=known)
    error = 0.0 if ratio_given else np.inf
    if match is not None and not ratio_given:
        pattern, error = match.pattern, match.ratio_ev_error
    unsure = f"the ratio, {pattern.ratio_ev:.2f} EV, is only known to within {error:.2f} EV; --ev sets it"
    cell = common_period(cfa_period(mosaic.cfa), pattern.exposure)
    if levels.black is not None:
        _check_period(mosaic.black_level, cell, path)
        against = against or _against_black(mosaic, read, detection)
    black, black_error, sources["black"] = _black(mosaic, sources["black"], match, cell)
    moved = _moved(mosaic.black_level, black) if sources["black"] == "fit" else ""
    mosaic = replace(mosaic, black_level=black)
    white, sources["white"] = _white(mosaic, path, levels, pattern)
    note = against or moved or (unsure if UNSURE_EV < error < np.inf else "")
    if levels.white is not None:
        note = "; ".join(filter(None, (note, against_white(read, pattern, white))))
    period = common_period(cfa_period(mosaic.cfa), pattern.exposure, black)
    black, white = repeated(black, period), repeated(white, period)
    if not white.min() > black.max():
        raise Sve2HdrError(
            f"{path}: white level {white.min():g} is not above black level {black.max():g}; change --white or --black"
        )
    mosaic = replace(mosaic, black_level=black, white_level=float(white.max()), saturation=white)
    noise, noise_sources = noise_of(mosaic, pattern)
    sources |= noise_sources
    stated = None if levels.black is not None else in_period(read.black_level, period)
    confidence = None if given or detection is None else detection.confidence
    black_error = None if black_error is None else repeated(black_error, period)
    return Estimate(
        pattern, confidence, error, black, white, noise, sources, note, black_error, stated, read.white_level
    )


def _pattern(
    mosaic: Mosaic, path: str | Path, levels: Levels, detection: Detection | None
) -> tuple[ExposurePattern, Detection | None]:
    """Return the pattern, with the ratio if that is given, and what is detected; None: one exposure is given."""
    if levels.pattern is not None:
        pattern, detection = levels.pattern, detect_pattern(mosaic) if levels.pattern.ratio > 1 else None
    else:
        detection = detection or detect_pattern(mosaic)
        if detection.pattern is None:
            refusal = detection.not_found(path)
            refusal.evidence = None if detection.doubtful else detection.of_one_exposure(mosaic.shape)
            raise refusal
        pattern = detection.pattern
    return pattern if levels.ratio_ev is None else with_ratio(pattern, levels.ratio_ev), detection


def _black(
    mosaic: Mosaic, source: str, match: Match | None, cell: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Return black levels, one period, with their error, None: they are known, and where they are from.

    `source`: where they are to be had from, as `_black_source` has it.
    """
    if source != "file + fit":
        return mosaic.black_level, None, source
    if match is None or not match.fitted:
        return mosaic.black_level, None, "file"
    black, error = folded(match.black, cell).astype(np.float32), folded(match.black_error, cell)
    return black, error, "fit" if match.moved else source


def noise_of(mosaic: Mosaic, pattern: ExposurePattern) -> tuple[NoiseModel, dict[str, str]]:
    """Return the noise of a mosaic whose levels are right, of the period of its black level, and where it is from."""
    read_noise = None
    if mosaic.masked is not None:
        read_noise = in_period(mosaic.masked.read_noise**2, mosaic.black_level.shape) ** 0.5
    noise, shown = measured_noise(mosaic, pattern, read_noise)
    transfer = "photon transfer" if shown else "usual sensor"
    return noise, {"read_noise": transfer if read_noise is None else "margins", "gain": transfer}


def _check_period(black: np.ndarray, cell: tuple[int, int], path: str | Path) -> None:
    """Refuse black levels whose period, (P, Q), neither divides the cell nor is a multiple of it."""
    if any(n % m and m % n for n, m in zip(black.shape, cell, strict=True)):
        raise Sve2HdrError(
            f"{path}: --black has a period of {black.shape[0]} x {black.shape[1]} sites, which does not fit the "
            f"{cell[0]} x {cell[1]} of colours and exposures; give one number, or a period of these"
        )


def _moved(stated: np.ndarray, black: np.ndarray) -> str:
    return (
        f"the stated black level, {float(stated.mean()):g}, does not fit the exposures: {float(black.mean()):.0f} was "
        "used, at which they agree; --black sets another"
    )


def _contradiction(detection: Detection, given: ExposurePattern) -> str:
    """Return what is to be said where the pixels show other exposures than those given."""
    shown = detection.suspected if detection.doubtful else detection.pattern
    if shown is None:
        return ""
    period = common_period(shown.exposure, given.exposure)
    off_ev = np.abs(np.log2(shown.over(period) / given.over(period))).max()
    if off_ev <= max(DIFFERENT_EV, 5 * detection.ratio_ev_error):
        return ""
    return f"the pixels show {shown}, {detection.ratio_ev:.2f} EV; {given} was used, as given"


def _against_black(mosaic: Mosaic, read: Mosaic, detection: Detection | None) -> str:
    """Return what is to be said where the black level given, that of `mosaic`, is not the one of its pixels.

    The masked margins of the frame as read are asked, else the exposures, which agree at the right level.
    """
    given = ", ".join(f"{level:g}" for level in np.unique(mosaic.black_level))
    if read.masked is not None and read.masked.level_believed:
        shown, error = read.black_level, read.masked.error
        margins = ", ".join(f"{level:.0f}" for level in np.unique(shown.round()))
        finding = f"the masked margins show a black level of {margins}, not --black {given}"
    else:
        if detection is None or detection.pattern is None or _cut_off(mosaic):
            return ""
        match = match_exposures(mosaic, detection.pattern, detection)
        if match is None:
            return ""
        shown, error = match.black, match.black_error
        finding = f"the exposures do not agree at --black {given}; leave it out to have it measured"
    period = common_period(mosaic.black_level, shown, error)
    off = np.abs(repeated(mosaic.black_level, period) - repeated(shown, period))
    least = DIFFERENT_BLACK * mosaic.span
    return finding if (off > np.maximum(least, ERRORS * repeated(error, period))).any() else ""


def _black_source(mosaic: Mosaic, levels: Levels) -> str:
    """Return where the black levels are to be had from."""
    stated, letters = mosaic.black_level, cfa_period(mosaic.cfa)
    if levels.black is not None:
        return "given"
    if mosaic.masked is not None:
        return "margins" if mosaic.masked.level_believed else "file + fit"
    if letters.shape[0] % stated.shape[0] or letters.shape[1] % stated.shape[1]:
        return "file, per phase"
    return "file" if stated.min() <= 0 and _cut_off(mosaic) else "file + fit"


def _cut_off(mosaic: Mosaic) -> bool:
    """Return whether noise is cut off at 0: what is left of it would pass for light."""
    return bool(np.mean(mosaic.counts == 0) > CUT_OFF)


def _white(mosaic: Mosaic, path: str | Path, levels: Levels, pattern: ExposurePattern) -> tuple[np.ndarray, str]:
    """Return the white levels, (P, Q) float32 of one period, and where they are from."""
    exposures = np.unique(pattern.exposure)
    if levels.white is None:
        found = white_levels(mosaic, pattern)
        return found.by_site, found.source
    counts = np.atleast_1d(levels.white).tolist()
    counts = counts * len(exposures) if len(counts) == 1 else counts
    if len(counts) != len(exposures):
        raise Sve2HdrError(
            f"{path}: {len(counts)} white levels for {len(exposures)} exposures; give --white one number for all, "
            "or one for each, the least exposed first"
        )
    return np.asarray(counts, np.float32)[np.searchsorted(exposures, pattern.exposure)], "given"
