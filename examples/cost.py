"""What a network costs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sve2hdr.network import INPUT_PLANES, MergingInterpolation


def macs_per_pixel(network: nn.Module, alignment: tuple[int, int]) -> float:
    """Return the multiply-accumulates of all convolutions for one pixel, halo left out, counted by running it."""
    total = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, MergingInterpolation):
            total += 2 * output.numel() * module.log_weight[0].numel()

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    size = (8 * alignment[0], 8 * alignment[1])
    with torch.no_grad():
        network(torch.rand(1, INPUT_PLANES, *size))
    for hook in hooks:
        hook.remove()
    return total / math.prod(size)
