"""The cost of networks: by hand, and within the target."""

import pytest
import torch
from cost import macs_per_pixel
from torch import nn

from sve2hdr.network import INPUT_PLANES, LARGE, LAYOUTS, NetworkConfig, SveNet

torch.set_num_threads(1)


def test_macs_of_one_convolution_by_hand() -> None:
    network = nn.Conv2d(INPUT_PLANES, 7, 3, padding=1)
    assert macs_per_pixel(network, (8, 8)) == 4 * 7 * 9
    strided = nn.Sequential(nn.Conv2d(INPUT_PLANES, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 1))
    assert macs_per_pixel(strided, (4, 2)) == (4 * 6 * 9 + 6 * 5) / 4


def test_macs_of_the_base_by_hand() -> None:
    sites = 8
    flat = SveNet(NetworkConfig(widths=(8,), strides=(), blocks=(2,)))
    blocks = [(4, 4, 9), (8, 16, 1), (16, 8, 1)] * 2
    layers = [(7 * sites, 8, 9), (2 * sites, 8, 9), *blocks, (8, 3 * sites, 9), *[(sites, 3 * sites, 9)] * 2]
    assert macs_per_pixel(flat, flat.alignment) == sum(a * b * k for a, b, k in layers) / sites


MOST = dict.fromkeys(LAYOUTS, 60_000) | {"fours": 67_000}  # more to read: 16 sites for the width of 8


@pytest.mark.parametrize(
    ("config", "most"),
    [*((LAYOUTS[name], most) for name, most in MOST.items()), (LARGE, 400_000)],
    ids=[*LAYOUTS, "large"],
)
def test_the_cost_is_within_the_target(config: NetworkConfig, most: int) -> None:
    network = SveNet(config)
    assert most / 3 < macs_per_pixel(network, network.alignment) <= most
