"""What a lens does to the colours of a scene before a sensor sees it: lateral chromatic aberration."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..network import compress, expand

ANGLE_DEG = 30.0  # of the displacement to the rows, so that it has a part along rows and columns


def displaced(light: Tensor, px: np.ndarray) -> Tensor:
    """Return radiance, (3, H, W), with each channel moved down and to the right by its row of `px`, (3, 2).

    The interpolation is cubic, in the compressed domain, so that lamps do not ring. Edge pixels are repeated.
    """
    moving = np.flatnonzero(px.any(1))
    height, width = light.shape[1:]
    move = torch.from_numpy(np.float32(-2 * px[moving, ::-1] / (width, height)))
    affine = torch.cat([torch.eye(2).expand(len(moving), 2, 2), move[..., None]], 2).to(light.device)
    grid = F.affine_grid(affine, [len(moving), 1, height, width], align_corners=False)
    moved = F.grid_sample(compress(light[moving])[:, None], grid, "bicubic", "border", align_corners=False)
    light = light.clone()
    light[moving] = expand(moved[:, 0]).clamp_min(0)
    return light


def aberrated(scene: np.ndarray, apart_px: float) -> np.ndarray:
    """Return a scene, (H, W, 3) float32, whose red and blue lie `apart_px` apart, with green in the middle.

    This is what a lens whose magnification depends on colour does within a small part of its image circle.

    >>> row = np.zeros((5, 9, 3), np.float32)
    >>> row[:, 4] = 1
    >>> aberrated(row, 4)[2].argmax(0).tolist()
    [6, 4, 2]
    """
    angle = np.deg2rad(ANGLE_DEG)
    move = np.outer([apart_px / 2, 0, -apart_px / 2], [np.sin(angle), np.cos(angle)])
    light = torch.from_numpy(np.ascontiguousarray(scene.transpose(2, 0, 1)))
    return np.ascontiguousarray(displaced(light, move).permute(1, 2, 0).numpy())
