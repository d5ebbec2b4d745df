"""Small raws for the tests of batches: grey waves, of two exposures or of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sve2hdr.formats import tifftags
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.mosaic import ExposurePattern
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate

PAIRS = ExposurePattern(np.array([[1 / 8], [1 / 8], [1], [1]], np.float32))
SINGLE = ExposurePattern(np.ones((1, 1), np.float32))


def write_frame(
    path: Path,
    seed: int = 0,
    pattern: ExposurePattern = PAIRS,
    sensor: Sensor | None = None,
    cfa: str = "RGGB",
    rows: int = 96,
) -> bytes:
    """Write a DNG of 128 sites a row, and its folder, and return its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:rows, :128] / 20
    grey = np.exp2(-4 + 3 * np.sin(x + seed) * np.cos(y)).astype(np.float32)
    write_cfa_dng(path, simulate(grey[..., None] * np.float32(NEUTRAL), cfa, pattern, sensor or Sensor(), seed=seed))
    return path.read_bytes()


def read_noise_profile(path: Path) -> np.ndarray | None:
    """Return a DNG's NoiseProfile (tag 51041), (1 or planes, 2) float64 rows (scale, offset), or None."""
    found = [tifftags.numbers(ifd, 51041) for _, ifd in tifftags.read_ifds(path)]
    return next((np.array(values, np.float64).reshape(-1, 2) for values in found if values), None)
