"""Steps of training: orthogonal for inner convolutions, Adam's for all else."""

import pytest
import torch
from torch import nn

from sve2hdr.network import ROWS, NetworkConfig
from sve2hdr.paper import PaperConfig
from sve2hdr.training.optimizer import WEIGHT_DECAY, Muon, optimizers_of, orthogonalized

torch.set_num_threads(1)


@pytest.mark.parametrize("shape", [(3, 8, 72), (2, 16, 16), (2, 64, 8), (1, 1, 9)])
def test_singular_values_become_about_1_and_directions_stay(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape) * torch.tensor([1e-6, 1.0, 1e6])[: shape[0], None, None]
    result = orthogonalized(matrices)
    assert result.shape == matrices.shape
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    within = u.mT @ result @ vh.mT  # what became of each singular value, and between which vectors
    values = within.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.85
    assert values.max() < 1.15
    assert (within - torch.diag_embed(values)).abs().max() < 0.02


def test_a_gradient_of_nothing_moves_nothing() -> None:
    assert torch.equal(orthogonalized(torch.zeros(2, 4, 9)), torch.zeros(2, 4, 9))


def test_weights_of_one_shape_are_stepped_as_if_each_were_alone() -> None:
    torch.manual_seed(0)
    first, second, other = (nn.Parameter(torch.randn(size)) for size in ((8, 4, 3, 3), (8, 4, 3, 3), (4, 8, 1, 1)))
    alone = [nn.Parameter(weight.detach().clone()) for weight in (first, second, other)]
    together, apart = Muon([first, second, other], lr=0.1), [Muon([weight], lr=0.1) for weight in alone]
    for _ in range(3):
        for weight, lone in zip((first, second, other), alone, strict=True):
            weight.grad = torch.randn_like(weight)
            lone.grad = weight.grad.clone()
        together.step()
        for optimizer in apart:
            optimizer.step()
    for weight, lone in zip((first, second, other), alone, strict=True):
        torch.testing.assert_close(weight, lone)


def test_a_step_has_the_size_that_is_told() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(16, 8, 3, 3))
    weight.grad = torch.randn_like(weight) * 1e3
    Muon([weight], lr=0.5).step()
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.5, rel=0.15)
    assert float((weight.detach() * weight.grad).sum()) < 0  # downhill


def test_weights_decay() -> None:
    weight = nn.Parameter(torch.ones(4, 4, 1, 1))
    weight.grad = torch.zeros_like(weight)
    Muon([weight], lr=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((4, 4, 1, 1), 1 - 0.5 * WEIGHT_DECAY))
    for _ in range(2000):  # the same direction for ever ends where decay equals the step
        weight.grad = torch.eye(4)[..., None, None].clone()
        Muon([weight], lr=0.5).step()
    assert 0.8 < float(-weight.detach()[..., 0, 0].diagonal().mean()) * WEIGHT_DECAY / (0.2 * 2) < 1.2


def test_a_weight_without_a_gradient_stays_and_a_closure_is_asked() -> None:
    weight = nn.Parameter(torch.ones(4, 4, 1, 1))
    assert Muon([weight], lr=1.0).step(lambda: 3.0) == 3.0
    assert torch.equal(weight, torch.ones(4, 4, 1, 1))


def test_every_parameter_has_one_optimizer() -> None:
    network = NetworkConfig(widths=(8, 8, 8)).build()
    adam, muon = optimizers_of(network, adam_rate=1e-3, muon_rate=2e-3)
    groups = [{id(p) for group in each.param_groups for p in group["params"]} for each in (adam, muon)]
    assert not groups[0] & groups[1]
    assert groups[0] | groups[1] == {id(p) for p in network.parameters()}
    inner = {name for name, p in network.named_parameters() if id(p) in groups[1]}
    assert {"encoder.0.0.first.weight", "down.1.weight", "bottom.0.second.weight", "up.0.weight"} <= inner
    assert not any(name.startswith(("stem", "head", "base")) or name.endswith("bias") for name in inner)


@pytest.mark.parametrize(("config", "rate"), [(ROWS, 0.0), (PaperConfig(width=4, blocks=1), 1e-3)])
def test_adam_alone_steps_what_asks_for_no_muon(config: NetworkConfig | PaperConfig, rate: float) -> None:
    (adam,) = optimizers_of(config.build(), adam_rate=1e-3, muon_rate=rate)
    assert isinstance(adam, torch.optim.Adam)
