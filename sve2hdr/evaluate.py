"""Weights x scenes -> a table: how far reconstructions of simulated mosaics are from the scenes they were made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .errors import UnreadableImage
from .hdrfile import READABLE_EXTENSIONS, read_hdr
from .interpolate import interpolate
from .metrics import psnr_mu
from .mosaic import ExposurePattern
from .network import SveNet
from .noise import estimate_noise
from .reconstruct import reconstruct
from .simulate import Mode, Sensor, camera_scene, simulate

BORDER_PX = 8  # left out of the scores
PERCENTILE = 98.0  # of a scene's green, which saturates the least exposed sites


@dataclass(frozen=True)
class Score:
    """PSNR-mu, dB, of one scene by linear interpolation and by the network."""

    scene: str
    mode: Mode
    linear: float
    network: float


def scene_files(folder: Path) -> list[Path]:
    """Return the HDR images of a folder by name, without hidden files."""
    files = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in files if path.suffix.lower() in READABLE_EXTENSIONS)


def evaluate(
    network: SveNet,
    scenes: Sequence[Path],
    ratio_ev: float = 3.0,
    modes: Sequence[Mode] = ("exposure", "gain"),
    sensor: Sensor | None = None,
    done: Callable[[Score], None] = lambda score: None,
) -> list[Score]:
    """Return the scores of a network and of linear interpolation on scenes simulated as row pairs.

    Camera RGB, 1.0 = saturation of the least exposed sites, no scale fitted, 8 px border left out; the 98th percentile
    of green saturates. The noise model is estimated from each mosaic, as `convert` does it. `done` is told each score.
    Raises UnreadableImage for a scene that cannot be read, or holds no light.
    """
    sensor = sensor or Sensor()
    least = np.float32(2**-ratio_ev)
    pattern = ExposurePattern(np.array([[least], [least], [1], [1]], np.float32))
    scores = []
    for seed, path in enumerate(scenes):
        try:
            truth = camera_scene(read_hdr(path), PERCENTILE)
        except ValueError as error:
            raise UnreadableImage(f"{path}: {error}; leave this scene out") from error
        for mode in modes:
            mosaic = simulate(truth, "RGGB", pattern, replace(sensor, mode=mode), seed)
            images = (
                interpolate(mosaic, pattern),
                reconstruct(mosaic, pattern, estimate_noise(mosaic, pattern), network),
            )
            linear, learned = (psnr_mu(image * least, truth, BORDER_PX) for image in images)
            scores.append(Score(path.stem, mode, linear, learned))
            done(scores[-1])
    return scores


def mean_gain(scores: Sequence[Score], mode: Mode) -> tuple[float, float]:
    """Return the means over the scenes of linear interpolation and of the network, dB."""
    chosen = [score for score in scores if score.mode == mode]
    return float(np.mean([s.linear for s in chosen])), float(np.mean([s.network for s in chosen]))
