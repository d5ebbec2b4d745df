"""Small scenes for the tests of shards and batches: coloured squares."""

from __future__ import annotations

import numpy as np


def light(seed: int, height: int = 72, width: int = 90) -> np.ndarray:
    """Return a scene, (H, W, 3) float32, of squares of 6 px; sides are multiples of that."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.lognormal(0, 1.5, (height // 6, width // 6, 3)), np.ones((6, 6, 1))).astype(np.float32)
