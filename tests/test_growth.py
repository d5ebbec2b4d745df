"""Networks that grow: nothing changes at first, and all that is new learns."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from sve2hdr.network import BLOCKS, FOURS, QUAD, NetworkConfig, SveNet
from sve2hdr.training.growth import grown

torch.set_num_threads(1)
TINY = NetworkConfig(widths=(8, 8, 8), blocks=(2, 1, 1))
TINY_BLOCKS = replace(BLOCKS, widths=(8, 8))


def frame() -> Tensor:
    """Random radiance as `TINY` takes it, (1, 4, 32, 32): row pairs of 8 : 1, all usable."""
    exposure = torch.tensor([1 / 8, 1 / 8, 1, 1]).repeat(8)[:, None].expand(32, 32)
    return torch.stack([torch.rand(32, 32), exposure, torch.ones(32, 32), torch.full((32, 32), 1e-3)])[None]


@pytest.mark.parametrize(
    "larger",
    [
        {"blocks": (3, 2, 4)},
        {"widths": (12, 8, 20)},
        {"widths": (12, 12, 12), "blocks": (2, 3, 1)},
    ],
)
def test_a_network_grows_without_a_change_that_is_seen_and_then_learns(larger: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network, images = SveNet(TINY), frame()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    bigger = grown(network, replace(TINY, **larger))
    assert bigger.config == replace(TINY, **larger)
    assert_close(bigger(images), network(images))
    optimizer = torch.optim.SGD(bigger.parameters(), lr=1e-6)
    for _ in range(2):  # what further channels give is learned first, then what they hold
        optimizer.zero_grad()
        bigger(images).square().sum().backward()
        optimizer.step()
    learns = [(weight.grad != 0).flatten(1).any(1) for weight in bigger.inner_weights() if weight.grad is not None]
    assert torch.cat(learns).float().mean() > 0.8  # but where all of a channel's outputs are negative


@pytest.mark.parametrize("wider", [8, 15, 16])
def test_blocks_of_odd_widths_grow_without_a_change_that_is_seen(wider: int) -> None:
    torch.manual_seed(0)
    network, images = SveNet(replace(TINY, widths=(7, 7, 7))), frame()
    bigger = grown(network, replace(TINY, widths=(wider, wider, wider)))
    with torch.no_grad():
        assert_close(bigger(images), network(images))


def test_a_network_of_fewer_blocks_loses_its_last_ones() -> None:
    torch.manual_seed(0)
    network, images = SveNet(TINY), frame()
    fewer = grown(network, replace(TINY, blocks=(1, 1, 1)))
    with torch.no_grad():
        assert not torch.allclose(fewer(images), network(images))
    assert_close(fewer.encoder[0][0].first.weight, network.encoder[0][0].first.weight)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (TINY_BLOCKS, "its strides stay"),
        (replace(TINY, widths=(8,), strides=(), blocks=(2,)), "its strides stay"),
        (replace(TINY, widths=(8, 8, 4)), "narrower"),
    ],
)
def test_a_network_grows_in_widths_and_blocks_only(other: NetworkConfig, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        grown(SveNet(TINY), other)


def test_a_network_of_another_layout_keeps_all_but_the_base_image_of_other_colours() -> None:
    for config, kept in (
        (replace(TINY_BLOCKS, any_exposures=False), True),
        (replace(TINY_BLOCKS, cfa=QUAD.cfa), False),
    ):
        known, other = SveNet(TINY_BLOCKS), SveNet(config)
        nn.init.constant_(known.base.log_weight, 0.7)
        made = grown(known, config)
        assert made.config == config
        assert_close(made.head.weight, known.head.weight)
        assert_close(made.base.log_weight, (known if kept else other).base.log_weight)


def test_a_network_for_larger_cells_keeps_all_but_what_reads_them() -> None:
    known, config = SveNet(TINY), replace(FOURS, widths=(8, 8, 8), blocks=(2, 1, 1))
    made = grown(known, config)
    assert made.config == config
    kept, state = made.state_dict(), known.state_dict()
    for name, tensor in state.items():
        if not name.startswith(("base", "stem")):
            assert_close(kept[name], tensor)
    assert_close(kept["base.trust"], state["base.trust"])
    assert_close(made.base.log_weight, SveNet(config).base.log_weight)
