"""Optimizers: Muon for the convolutions inside a network, Adam for all else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..architecture import Network

# Amsel, Persson, Musco and Gower, "The Polar Express" (2025): an odd polynomial a x + b x^3 + c x^5 per iteration
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)


def orthogonalized(matrices: Tensor) -> Tensor:
    """Return the orthogonal factors of matrices, (N, R, C) -> the same, with singular values of 0.85 to 1.15.

    The iterations run on the Gram matrices, which are small. Singular values below a thousandth of a matrix's norm
    come out smaller.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalized(matrices.mT).mT
    unit = matrices / (1.01 * torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True) + 1e-12)
    gram = torch.bmm(unit, unit.mT)
    identity = torch.eye(gram.shape[1], device=gram.device)
    factor = identity.expand_as(gram)
    for a, b, c in POLAR_EXPRESS:
        step = torch.baddbmm(b * gram, gram, gram, alpha=c) + a * identity
        factor = torch.bmm(step, factor)
        gram = torch.bmm(torch.bmm(step, gram), step)
        gram = (gram + gram.mT) / 2  # keeps rounding errors from breaking the symmetry
    return torch.bmm(factor, unit)


MOMENTUM = 0.95  # share kept from step to step
WEIGHT_DECAY = 0.1  # per step, times the rate: without it, weights grow until training is unstable


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is the nearest orthogonal matrix (Jordan et al., "Muon", 2024).

    For weights of convolutions, each a matrix of output channels x all else. A step's root mean square is 0.2 x lr, so
    rates are near to Adam's, and weights decay (Liu et al., "Muon is scalable for LLM training", 2025).
    torch.optim.Muon takes only 2-D tensors, and one at a time, which costs twice as much for these small ones.
    """

    def __init__(self, weights: Iterable[Tensor], lr: float) -> None:
        super().__init__(weights, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all weights that have gradients; return what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault(weight.flatten(1).shape, []).append(weight)
            for shape, weights in alike.items():
                steps = orthogonalized(torch.stack([self._direction(w) for w in weights]))
                for weight, step in zip(weights, steps, strict=True):
                    weight.mul_(1 - WEIGHT_DECAY * group["lr"])
                    weight.add_(step.view(weight.shape), alpha=-0.2 * math.sqrt(max(shape)) * group["lr"])
        return loss

    def _direction(self, weight: Tensor) -> Tensor:
        gradient: Tensor = weight.grad  # type: ignore[assignment]  # there is one
        state: dict[str, Any] = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(state["momentum"], MOMENTUM).flatten(1)  # as Nesterov


def optimizers_of(network: Network, adam_rate: float, muon_rate: float) -> list[torch.optim.Optimizer]:
    """Return a network's optimizers: Adam, and, with a `muon_rate` above 0, Muon for its inner weights."""
    inner: list[nn.Parameter] = network.inner_weights() if muon_rate > 0 else []
    known = {id(weight) for weight in inner}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in known]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(rest, lr=adam_rate, betas=(0.9, 0.99), fused=True)]
    if inner:
        optimizers.append(Muon(inner, lr=muon_rate))
    return optimizers
