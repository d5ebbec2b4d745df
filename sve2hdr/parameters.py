"""One set of levels for many files: what one frame has found, kept as JSON, so that a sequence does not flicker."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .curve import WHITE_EV
from .detection.matching import Match, match_exposures
from .errors import Sve2HdrError
from .levels import SOURCES, Estimate, Levels, noise_of
from .mosaic import ExposurePattern, Mosaic, folded, in_period, repeated
from .preview import LEAST_BASE_SLOPE, LEAST_WHITE_EV, Look
from .radiance import NoiseModel, clipped_share, full_scale
from .saturation import too_low, white_levels
from .sensor.defects import Defects
from .sensor.focuspixels import FocusPixels
from .sequence import FileKind, difference
from .system.files import replacing
from .whitebalance import Neutral, WhiteBalance, parse_white_balance

FORMAT = 1
LEAD_EV = 0.015  # the error from which a frame shall not decide for others: 1 %, which rows of bright frames would show
TOO_BRIGHT = 0.5  # share of the most exposed sites that are saturated
UNSURE = 1e-4  # of the range: from that error on a black level gives way to what other frames say
FOUND_OUT = ("usual", "as-shot", "auto")  # white balances that differ from frame to frame


@dataclass(frozen=True, eq=False)
class LockedParameters:
    """What the frames of a sequence share, and the kind of file that it is for."""

    estimate: Estimate  # of the first frame
    shape: tuple[int, int]
    cfa: str
    neutral: Neutral | None = None  # of the first frame; None: each its own
    look: Look | None = None  # of previews
    baseline_exposure_ev: float | None = None  # of linear DNGs
    defects: Defects | None = None  # of the first frame; None: each its own
    iso: float | None = None  # of the first frame; None: unknown
    path: Path | None = None  # of the file that it is from

    @property
    def kind(self) -> FileKind:
        """Return what other frames have to be alike in."""
        return FileKind(self.shape, self.cfa, self.estimate.stated_white or float(self.estimate.white.max()))

    def neutral_for(self, asked: WhiteBalance) -> Neutral | None:
        """Return the sequence's neutral, where each frame would find out its own, or it is from the card asked for."""
        of_card = self.neutral is not None and asked.rule == "grey" and asked == self.neutral.taken
        return self.neutral if of_card or asked.rule in FOUND_OUT else None

    def estimate_for(self, mosaic: Mosaic, raw: str | Path) -> Estimate:
        """Return the levels of another frame of the sequence, as read: exposures and scale are the first one's.

        So are black, white and noise, but where the first frame could not know better. Black follows what the files
        state (or their margins show). One of which the first frame's fit was not sure is weighed against what this
        frame's fit says: in the dark it matters most, and is known best. White is never above the file's, and gives way
        to a pile-up below it if it was only what a file names, or is of another ISO; also to one above it if it was
        that of another exposure. The noise of another ISO is the frame's own. The scale is one of counts, whatever
        clips where: light that is metered alike has the same counts at every ISO.

        Raises Sve2HdrError for a frame of another shape, CFA, bit depth or layout of exposures.
        """
        self._refuse(self.kind.unlike(FileKind.of(mosaic), self.path), raw)
        lead, pattern = self.estimate, self.estimate.pattern
        first = self._with_white(replace(lead, black=self._black_of(mosaic)), mosaic, raw)
        locked = first.applied(mosaic)
        # where most is saturated, what fits see are gaps in some texture
        unsure = self._black_is_unsure() and clipped_share(locked, pattern, float(pattern.exposure.max())) < TOO_BRIGHT
        given = {name for name, source in lead.sources.items() if source == "given"}
        read = Levels(white=float(lead.white.max()) if "white" in given else None).applied(mosaic, raw)
        match = match_exposures(read if unsure else locked, pattern, black_known=not unsure)
        if match is not None:
            self._refuse(difference(match.steps_ev, match.step_errors, pattern.steps_ev, self.path), raw)
        if unsure and match is not None and match.fitted:
            black = _weighed(first, match)
            if (black != first.black).any():  # or it is the first frame, made again
                first = replace(first, black=black, sources=first.sources | {"black": "sequence + fit"})
        if self._has_other_iso(mosaic):
            noise, sources = noise_of(first.applied(mosaic), pattern)
            first = replace(first, noise=noise, sources=first.sources | sources)
        return replace(first, full_scale=full_scale(lead.applied(mosaic), pattern))

    def _has_other_iso(self, mosaic: Mosaic) -> bool:
        return None not in (self.iso, mosaic.capture.iso) and self.iso != mosaic.capture.iso

    def _black_of(self, mosaic: Mosaic) -> np.ndarray:
        """Return the first frame's black, moved by as much as what the frames' files state differs: sensors warm up."""
        black, stated = self.estimate.black, self.estimate.stated_black
        return black if stated is None else black + (in_period(mosaic.black_level, stated.shape) - stated)

    def _with_white(self, first: Estimate, mosaic: Mosaic, raw: str | Path) -> Estimate:
        """Return levels, whose black is the frame's, with its white."""
        white, source = first.white, first.sources["white"]
        if source == "given":
            return first
        # at the same ISO a pile-up is what it was, and another one just something flat
        if "file" not in source and mosaic.white_level >= white.max() and not self._has_other_iso(mosaic):
            return first
        highest = mosaic.white_level if "file" in source else min(float(white.max()), mosaic.white_level)
        open_ended = replace(mosaic, black_level=first.black, white_level=highest, saturation=None)
        found = white_levels(open_ended, first.pattern)
        own = repeated(found.by_site, white.shape)
        taken = np.minimum(white, own)
        if "file" in source:  # an exposure that nothing saturated took the level of another one, perhaps too low
            taken = np.where(too_low(open_ended, first.pattern, white), own, taken)
        if "file" in source or (taken < white).any():
            source = found.source
        return replace(first, white=taken, sources=first.sources | {"white": source})

    def _black_is_unsure(self) -> bool:
        first = self.estimate
        if first.black_error is None:  # given, or measured, or of a file that cuts off what is below 0; or no fit
            return first.sources["black"] == "file" and bool(first.black.min() > 0)
        return bool(first.black_error.max() > UNSURE * float((first.white - first.black).max()))

    def _refuse(self, finding: str, raw: str | Path) -> None:
        if finding:
            raise Sve2HdrError(f"{raw}: {finding}; name another --lock-params file")


def _weighed(first: Estimate, match: Match) -> np.ndarray:
    """Return black levels, a period of float32 counts: the first frame's and another one's, weighed by their errors."""
    own, own_error = (folded(values, first.black.shape) for values in (match.black, match.black_error))
    weight = 0.0 if first.black_error is None else (own_error / first.black_error) ** 2
    return np.asarray((own + weight * first.black) / (1 + weight), np.float32)


def save_parameters(path: Path, parameters: LockedParameters) -> None:
    """Write what a sequence shares as JSON, whole or not at all. Raises UnwritableOutput, also where the file exists.

    All is kept as it is, so that a frame comes out the same whether it has found it out or takes it.
    """
    estimate, neutral = parameters.estimate, parameters.neutral
    focus = None if parameters.defects is None else parameters.defects.focus_pixels
    record = {
        "format": FORMAT,
        "shape": list(parameters.shape),
        "iso": parameters.iso,
        "cfa": parameters.cfa,
        "exposure": estimate.pattern.exposure.tolist(),
        "confidence": estimate.confidence,
        "ratio_ev_error": estimate.ratio_ev_error if math.isfinite(estimate.ratio_ev_error) else None,
        "black": estimate.black.tolist(),
        "black_error": None if estimate.black_error is None else estimate.black_error.tolist(),
        "stated_black": None if estimate.stated_black is None else estimate.stated_black.tolist(),
        "white": estimate.white.tolist(),
        "stated_white": estimate.stated_white,
        "gain": estimate.noise.gain.tolist(),
        "read_noise": estimate.noise.read_noise.tolist(),
        "sources": estimate.sources,
        "neutral": None if neutral is None else neutral.camera_rgb.tolist(),
        "white_balance": None if neutral is None else str(neutral.taken),
        "look": None if parameters.look is None else list(parameters.look),
        "baseline_exposure_ev": parameters.baseline_exposure_ev,
        "defects": None if parameters.defects is None else parameters.defects.by_row(),
        "focus_pixels": None if focus is None else focus.as_json(),
    }
    with replacing(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def load_parameters(path: Path) -> LockedParameters:
    """Read what `save_parameters` wrote. Raises Sve2HdrError for a file that is missing, or none of ours."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}")
        exposure, black, white, gain, read_noise = (
            np.array(record[name], np.float32) for name in ("exposure", "black", "white", "gain", "read_noise")
        )
        if not (black.shape == white.shape and black.ndim == 2 and np.isfinite(black).all()):
            raise ValueError("levels that are none")
        if not (black.max() < white.min() and white.max() <= 65535):
            raise ValueError("levels that make no range")
        error, black_error, baseline = (
            record[name] for name in ("ratio_ev_error", "black_error", "baseline_exposure_ev")
        )
        # of an earlier version: unknown
        stated, top, iso, focus = map(record.get, ("stated_black", "stated_white", "iso", "focus_pixels"))
        estimate = Estimate(
            ExposurePattern(exposure),
            _confidence(record["confidence"]),
            np.inf if error is None else _within(error, 0, math.inf),
            black,
            white,
            NoiseModel(gain, read_noise),
            {name: str(record["sources"][name]) for name in SOURCES},
            black_error=None if black_error is None else _positive(black_error, black.shape),
            stated_black=None if stated is None else _finite(stated, black.shape),
            stated_white=None if top is None else _within(top, 0, 65535),
        )
        focus = None if focus is None else FocusPixels.of_json(focus)
        shape = int(record["shape"][0]), int(record["shape"][1])
        return LockedParameters(
            estimate,
            shape,
            str(record["cfa"]),
            _neutral(record["neutral"], record["white_balance"]),
            None if record["look"] is None else _look(record["look"]),
            None if baseline is None else _within(baseline, -20, 20),
            None if record["defects"] is None else Defects.of_rows(record["defects"], shape, focus),
            None if iso is None else _within(iso, 0, math.inf),
            path,
        )
    except OSError as error:
        raise Sve2HdrError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        finding = f"no parameters of --lock-params ({type(error).__name__}: {error})"
        raise Sve2HdrError(f"{path}: {finding}; name another file, or delete this one") from error


def _neutral(camera_rgb: Sequence[float] | None, taken: str | None) -> Neutral | None:
    return None if camera_rgb is None else Neutral(_positive(camera_rgb, (3,)), parse_white_balance(str(taken)))


def _positive(values: object, shape: tuple[int, ...]) -> np.ndarray:
    """Return values as float64; ValueError where they are not of this shape, finite and above 0."""
    array = np.array(values, np.float64)
    if array.shape != shape or not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError(f"{values} in place of numbers above 0, of shape {shape}")
    return array


def _finite(values: object, shape: tuple[int, ...]) -> np.ndarray:
    """Return values as float32; ValueError where they are not finite, and of this shape."""
    array = np.array(values, np.float32)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{values} in place of numbers of shape {shape}")
    return array


def _look(values: Sequence[float]) -> Look:
    ranges = ((-200, 200), (-200, 200), (LEAST_BASE_SLOPE, 1), (LEAST_WHITE_EV, WHITE_EV))
    return Look(*(_within(value, *bounds) for value, bounds in zip(values, ranges, strict=True)))


def _within(value: float, least: float, most: float) -> float:
    if not least <= value <= most:
        raise ValueError(f"{value} is not from {least} to {most}")
    return float(value)


def _confidence(value: float | None) -> float | None:
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"confidence {value}")
    return value
