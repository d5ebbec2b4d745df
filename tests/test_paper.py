"""The paper's network: its size, its cost, and a kernel for each place in the cell."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from sve2hdr.network import macs_per_pixel
from sve2hdr.paper import CELL, PaperNet, SpatiallyVaryingConv

torch.set_num_threads(1)


def test_it_has_the_parameters_and_the_cost_of_the_paper() -> None:
    network = PaperNet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_912_211
    assert 1.85e6 < macs_per_pixel(network, CELL) < 1.95e6


@pytest.mark.parametrize("size", [(8, 6), (9, 7), (4, 2)])
def test_each_site_is_convolved_by_the_kernel_of_its_place(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = SpatiallyVaryingConv(), torch.rand(2, 1, *size)
    with torch.no_grad():
        out = layer(x)
        for place, kernel in enumerate(layer.kernels):
            assert isinstance(kernel, nn.Conv2d)
            i, j = divmod(place, CELL[1])
            whole = F.conv2d(x, kernel.weight, kernel.bias, padding=2)
            sites = (..., slice(i, None, CELL[0]), slice(j, None, CELL[1]))
            assert_close(out[sites], whole[sites], rtol=1e-5, atol=1e-6)


def test_it_takes_the_planes_that_ours_takes() -> None:
    network, planes = PaperNet(blocks=1), torch.rand(1, 4, 16, 12)
    with torch.no_grad():
        image = network(planes)
        planes[:, 1] = planes[:, 3] = 0  # it reads radiance and usable only
        assert_close(network(planes), image, rtol=0, atol=0)
        planes[:, 2] = 0
        assert not torch.equal(network(planes), image)
    assert image.shape == (1, 3, 16, 12)
