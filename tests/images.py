"""Images, and how they are written, for the tests of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sve2hdr.color import COLOR_SPACES
from sve2hdr.hdrfile import write_hdr
from sve2hdr.mosaic import Capture

REC709 = COLOR_SPACES["rec709"]
CAPTURE = Capture("Canon", "EOS 5D Mark III", "EF 50mm f/1.8", 0.01, 2.8, 100, 50, "2020:01:02 03:04:05")


def image_of(height: int = 37, width: int = 53, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(0, 3, (height, width, 3)).clip(1e-4, 6e4).astype(np.float32)


def write_scene(path: Path, scene: np.ndarray) -> Path:
    write(path, scene)
    return path


def write(path: Path, image: np.ndarray, **settings: object) -> str:
    return write_hdr(path, image, **{"color_space": REC709, "capture": Capture(), **settings})  # type: ignore[arg-type]
