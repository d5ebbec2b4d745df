"""How far apart two HDR images are. Images are (H, W, 3) float32 radiance; higher is better unless said."""

from __future__ import annotations

import numpy as np

MU = 5000.0


def mu_law(radiance: np.ndarray) -> np.ndarray:
    """Return log(1 + mu x) / log(1 + mu) for x clipped to 0..1, mu = 5000 (Kalantari and Ramamoorthi, TOG 2017)."""
    return np.asarray(np.log1p(MU * np.clip(radiance, 0, 1)) / np.log1p(MU))


def psnr_mu(image: np.ndarray, truth: np.ndarray, border_px: int = 0) -> float:
    """Return PSNR-mu in dB: the PSNR of `mu_law` of both, peak 1; 1.0 must be the same light in both images.

    No scale is fitted; values above 1 count as 1; `border_px` at each edge is left out; identical images give inf.

    >>> grey = np.full((8, 8, 3), 0.5, np.float32)
    >>> round(psnr_mu(grey * 1.01, grey), 2)
    58.65
    """
    inner = np.s_[border_px : image.shape[0] - border_px, border_px : image.shape[1] - border_px]
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(np.mean((mu_law(image[inner]) - mu_law(truth[inner])) ** 2, dtype=np.float64)))
