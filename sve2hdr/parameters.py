"""One set of levels for many files: estimates of one frame kept as JSON, so that a sequence does not flicker."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import Sve2HdrError
from .files import replacing
from .levels import Estimate, Levels, estimate_levels
from .matching import match_exposures
from .mosaic import ExposurePattern, Mosaic
from .radiance import NoiseModel

FORMAT = 1
SAME_EV, SURE_EV = 0.25, 0.2  # how far a frame's own ratio may be off; the error from which it is no evidence


@dataclass(frozen=True, eq=False)
class LockedParameters:
    """Estimates, and the kind of file that they are for."""

    estimate: Estimate
    shape: tuple[int, int]
    cfa: str

    def refuse_other(self, mosaic: Mosaic, raw: Path, path: Path) -> None:
        """Raise Sve2HdrError if a frame has another shape, CFA or layout of exposures than these parameters."""
        if mosaic.shape != self.shape:
            here, there = (f"{shape[1]} x {shape[0]}" for shape in (mosaic.shape, self.shape))
            raise Sve2HdrError(f"{raw}: {here} sites, but {path} is for {there}; name another --lock-params file")
        if mosaic.cfa != self.cfa:
            raise Sve2HdrError(
                f"{raw}: colours {mosaic.cfa}, but {path} is for {self.cfa}; name another --lock-params file"
            )
        match = match_exposures(self.estimate.applied(mosaic), self.estimate.pattern, black_known=True)
        # A frame that is too dark or too bright to tell is one of the sequence for all that is known.
        if match is None or not match.ratio_ev_error < SURE_EV:
            return
        own, locked = match.measured_ev, self.estimate.pattern.ratio_ev
        if abs(own - locked) > max(SAME_EV, 2.5 * match.ratio_ev_error):
            raise Sve2HdrError(
                f"{raw}: its exposures differ by {own:.2f} EV where {path} has {locked:.2f} EV; name another "
                "--lock-params file"
            )


def save_parameters(path: Path, estimate: Estimate, mosaic: Mosaic, overwrite: bool = False) -> None:
    """Write the estimates of a frame as JSON, whole or not at all. Raises UnwritableOutput."""
    record = {
        "format": FORMAT,
        "shape": list(mosaic.shape),
        "cfa": mosaic.cfa,
        "exposure": estimate.pattern.exposure.tolist(),
        "confidence": estimate.confidence,
        "ratio_ev_error": estimate.ratio_ev_error if math.isfinite(estimate.ratio_ev_error) else None,
        "black": estimate.black.tolist(),
        "white": estimate.white.tolist(),
        "gain": estimate.noise.gain.tolist(),
        "read_noise": estimate.noise.read_noise.tolist(),
        "sources": estimate.sources,
    }
    with replacing(path, overwrite) as partial:
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
        if not (black.shape == white.shape and black.ndim == 2 and 0 < black.max() < white.min() <= 65535):
            raise ValueError("levels that make no range")
        error = record["ratio_ev_error"]
        estimate = Estimate(
            ExposurePattern(exposure),
            _confidence(record["confidence"]),
            np.inf if error is None else float(error),
            black,
            white,
            NoiseModel(gain, read_noise),
            {str(name): str(source) for name, source in record["sources"].items()},
        )
        rows, columns = record["shape"]
        return LockedParameters(estimate, (int(rows), int(columns)), str(record["cfa"]))
    except OSError as error:
        raise Sve2HdrError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        finding = f"no parameters of --lock-params ({type(error).__name__}: {error})"
        raise Sve2HdrError(f"{path}: {finding}; name another file, or delete this one") from error


def _confidence(value: float | None) -> float | None:
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"confidence {value}")
    return value


def locked_levels(path: Path, mosaic: Mosaic, raw: Path, levels: Levels | None = None) -> Estimate:
    """Return the parameters in `path` for a frame as read; where there is no such file, estimate and write them.

    Raises Sve2HdrError where the file is for other frames, or has levels while `levels` gives some as well, and what
    `estimate_levels` raises.
    """
    levels = levels or Levels()
    if not path.exists():
        estimate = estimate_levels(mosaic, raw, levels)
        save_parameters(path, estimate, mosaic)
        return estimate
    if levels.any_given():
        raise Sve2HdrError(
            f"{path}: has all levels already; leave out --pattern, --ev, --black and --white, or delete it"
        )
    locked = load_parameters(path)
    locked.refuse_other(mosaic, raw, path)
    return locked.estimate
