"""Networks that grow: nothing changes at first, and all that is new learns."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from sve2hdr.growth import grown
from sve2hdr.network import BLOCKS, QUAD, ROWS, NetworkConfig, SveNet

torch.set_num_threads(1)
TINY = NetworkConfig(widths=(8, 8, 8))
TINY_BLOCKS = replace(BLOCKS, widths=(8, 8))
PARTIAL = replace(ROWS, widths=(8, 8, 8), blocks=TINY.blocks)


def frame() -> Tensor:
    """Random radiance as `TINY` takes it, (1, 4, 32, 32): row pairs of 8 : 1, all usable."""
    exposure = torch.tensor([1 / 8, 1 / 8, 1, 1]).repeat(8)[:, None].expand(32, 32)
    return torch.stack([torch.rand(32, 32), exposure, torch.ones(32, 32), torch.full((32, 32), 1e-3)])[None]


@pytest.mark.parametrize("config", [TINY, PARTIAL], ids=["residual", "partial"])
@pytest.mark.parametrize(
    "larger",
    [
        {"blocks": (3, 2, 4)},
        {"widths": (12, 8, 20)},
        {"widths": (12, 12, 12), "blocks": (2, 3, 1)},
        {"base_input": True},
    ],
)
def test_a_network_grows_without_a_change_that_is_seen_and_then_learns(
    config: NetworkConfig, larger: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    network, images = SveNet(config), frame()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    bigger = grown(network, replace(config, **larger))
    assert bigger.config == replace(config, **larger)
    assert_close(bigger(images), network(images))
    optimizer = torch.optim.SGD(bigger.parameters(), lr=1e-6)
    for _ in range(2):  # what further channels give is learned first, then what they hold
        optimizer.zero_grad()
        bigger(images).square().sum().backward()
        optimizer.step()
    learns = [(weight.grad != 0).flatten(1).any(1) for weight in bigger.inner_weights() if weight.grad is not None]
    assert torch.cat(learns).float().mean() > 0.8  # but where all of a channel's outputs are negative


@pytest.mark.parametrize("wider", [8, 15, 16])
def test_partial_blocks_of_odd_widths_grow_without_a_change_that_is_seen(wider: int) -> None:
    torch.manual_seed(0)
    network, images = SveNet(replace(PARTIAL, widths=(7, 7, 7))), frame()
    bigger = grown(network, replace(PARTIAL, widths=(wider, wider, wider)))
    with torch.no_grad():
        assert_close(bigger(images), network(images))


def test_a_network_of_fewer_blocks_loses_its_last_ones() -> None:
    torch.manual_seed(0)
    network, images = SveNet(TINY), frame()
    assert TINY.blocks == (2, 1, 1)
    fewer = grown(network, replace(TINY, blocks=(1, 1, 1)))
    with torch.no_grad():
        assert not torch.allclose(fewer(images), network(images))
    assert_close(fewer.encoder[0][0].first.weight, network.encoder[0][0].first.weight)


@pytest.mark.parametrize(
    ("config", "other"),
    [
        (TINY, TINY_BLOCKS),
        (TINY, replace(TINY, widths=(8,), strides=(), blocks=(2,))),
        (TINY, replace(TINY, widths=(8, 8, 4))),
        (TINY, PARTIAL),
        (PARTIAL, replace(PARTIAL, base_input=False)),
    ],
)
def test_a_network_grows_in_widths_and_blocks_only(config: NetworkConfig, other: NetworkConfig) -> None:
    with pytest.raises(ValueError, match=r"kind of its blocks stay|narrower|goes on to read"):
        grown(SveNet(config), other)


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
