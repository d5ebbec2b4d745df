"""How far a batch's reconstruction is from the truth: what training minimises."""

from __future__ import annotations

import torch
from torch import Tensor

from ..network import compress, expand


def rms_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the root of the mean square error of each patch in the mu-law domain, averaged over the patches.

    predicted: (N, 3, H, W), compressed; truth: (N, 3, H, W), radiance. Where the mosaic leaves a value open, the
    mean is the best guess for PSNR-mu; L1 asks for the median, which is far from it where a channel is nearly black.
    """
    return ((predicted - compress(truth)).square().mean((1, 2, 3)) + 1e-6).sqrt().mean()


def l1_loss(predicted: Tensor, truth: Tensor, angle_weight: float) -> Tensor:
    """Return L1 in the mu-law domain plus `angle_weight` x mean(1 - cos of the angle between the RGB vectors).

    predicted: (N, 3, H, W), compressed; truth: (N, 3, H, W), radiance.
    """
    return (predicted - compress(truth)).abs().mean() + angle_weight * _angle_of(expand(predicted), truth)


def radiance_loss(predicted: Tensor, truth: Tensor, angle_weight: float) -> Tensor:
    """Return the loss of Xu et al. 2021: as `l1_loss`, but on linear radiance, where a lamp outweighs a room.

    predicted, truth: (N, 3, H, W), radiance.
    """
    return (predicted - truth).abs().mean() + angle_weight * _angle_of(predicted, truth)


def _angle_of(predicted: Tensor, truth: Tensor) -> Tensor:
    a, b = predicted + 1e-4, truth + 1e-4
    squares = (a.square().sum(1) * b.square().sum(1)).clamp_min(1e-16)  # black has no colour, and no gradient
    return (1 - (a * b).sum(1) * torch.rsqrt(squares)).mean()  # twenty times as fast as torch's own
