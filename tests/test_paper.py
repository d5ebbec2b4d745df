"""The paper's network: its size, its cost, a kernel for each place in the cell, its halo, its start."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cost import macs_per_pixel
from frames import PAIRS
from torch import Tensor, nn
from torch.testing import assert_close

from sve2hdr.architecture import Network
from sve2hdr.mosaic import ExposurePattern, Mosaic
from sve2hdr.network import BLOCKS, compress
from sve2hdr.paper import PaperConfig, PaperNet, SpatiallyVaryingConv, TwoBranchBlock, guidance_mask
from sve2hdr.radiance import NoiseModel
from sve2hdr.reconstruct import NetworkOptions, reconstruct

torch.set_num_threads(1)
TINY = PaperConfig(width=4, blocks=1)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# Shape for shape


def test_it_has_the_parameters_and_the_cost_of_the_paper() -> None:
    network = PaperConfig().build()
    assert (network.config.width, network.config.blocks) == (64, 16)
    assert parameters(network) == 1_912_211
    assert 1.85e6 < macs_per_pixel(network, network.alignment) < 1.95e6


def test_a_narrower_one_has_the_same_layers() -> None:
    full, narrow = PaperConfig().build(), PaperConfig(width=16).build()
    assert full.state_dict().keys() == narrow.state_dict().keys()
    assert 15 < parameters(full) / parameters(narrow) < 17


def test_layers_are_those_of_the_description() -> None:
    network = PaperConfig().build()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if name.endswith("weight")}
    for head in ("radiance_head", "guided_head"):
        assert [shapes.pop(f"{head}.kernels.{place}.weight") for place in range(8)] == [(64, 1, 5, 5)] * 8
    for block in range(16):
        main, compensation = (f"blocks.{block}.{branch}" for branch in ("main", "compensation"))
        assert [shapes.pop(f"{main}.{layer}.weight") for layer in (0, 2)] == [(64, 64, 3, 3)] * 2
        found = [shapes.pop(f"{compensation}.{layer}.weight") for layer in (0, 2)]
        assert found == [(32, 64, 3, 3), (64, 32, 3, 3)]
    assert [shapes.pop(f"guided_tail.{layer}.weight") for layer in (0, 2)] == [(64, 64, 3, 3)] * 2
    assert [shapes.pop(f"tail.{layer}.weight") for layer in (0, 2)] == [(64, 64, 3, 3), (3, 64, 3, 3)]
    assert shapes == {}
    assert all(block.scale.item() == 1 for block in network.blocks if isinstance(block, TwoBranchBlock))


@pytest.mark.parametrize("cell", [(4, 2), (4, 4), (2, 2)])
def test_each_site_is_convolved_by_the_kernel_of_its_place(cell: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = SpatiallyVaryingConv(cell, 6), torch.rand(2, 1, 3 * cell[0], 2 * cell[1])
    with torch.no_grad():
        out = layer(x)
        for place, kernel in enumerate(layer.kernels):
            assert isinstance(kernel, nn.Conv2d)
            i, j = divmod(place, cell[1])
            whole = F.conv2d(x, kernel.weight, kernel.bias, padding=2)
            sites = (..., slice(i, None, cell[0]), slice(j, None, cell[1]))
            assert_close(out[sites], whole[sites], rtol=1e-5, atol=1e-6)
    assert out.shape == (2, 6, *x.shape[2:])


# What it reads and gives


def planes_of(rows: int, columns: int, seed: int = 0) -> Tensor:
    planes = torch.rand(1, 4, rows, columns, generator=torch.Generator().manual_seed(seed))
    planes[:, 3] *= 0.1
    return planes


def test_it_reads_radiance_and_the_mask_and_not_the_exposures() -> None:
    network, planes = TINY.build(), planes_of(16, 12)
    with torch.no_grad():
        image = network(planes)
        for plane, read in enumerate((True, False, True, True)):
            other = planes.clone()
            other[:, plane] *= 0.5
            assert torch.equal(network(other), image) is not read
        assert_close(network.compressed(planes), compress(image))
        assert torch.equal(network(planes, ((8, 8), (2, 2))), image[..., 8:-8, 2:-2])
    assert image.shape == (1, 3, 16, 12)


def test_the_mask_is_low_where_a_site_is_clipped_or_lost_in_noise() -> None:
    radiance = torch.tensor([0.5, 0.5, 0.001, -0.1, 0.0])
    mask = guidance_mask(radiance, torch.tensor([1.0, 0, 1, 1, 1]), torch.tensor([0.01, 0.01, 0.01, 0.01, 0.0]))
    assert float(mask[0]) > 0.99
    assert (mask[1:] < 0.02).all()
    assert ((mask >= 0) & (mask <= 1)).all()


def test_the_start_carries_guidance_through_every_block() -> None:
    torch.manual_seed(0)
    network, planes = PaperConfig(width=16).build(), planes_of(32, 32)
    features: list[Tensor] = []
    for block in network.blocks:
        block.register_forward_hook(lambda *parts: features.extend(part.detach() for part in parts[-1]))
    network(planes).square().mean().backward()  # type: ignore[no-untyped-call]
    assert all(0.1 < float(main.std()) < 10 for main in features[::2])
    assert all(float((c - c.mean((2, 3), keepdim=True)).std()) > 0.01 for c in features[1::2])
    gradients = [
        float(p.grad.norm()) for name, p in network.named_parameters() if "scale" in name and p.grad is not None
    ]
    assert len(gradients) == 16
    assert min(gradients) > 1e-4


def test_bfloat16_changes_little_and_gives_float32() -> None:
    torch.manual_seed(0)
    network, planes = PaperConfig(width=8, blocks=2).build(), planes_of(16, 16)
    with torch.no_grad():
        image = network(planes)
        with torch.autocast("cpu", torch.bfloat16):
            low = network(planes)
    assert low.dtype == torch.float32
    assert_close(low, image, rtol=0, atol=0.02)
    assert not torch.equal(low, image)


# Halo and layout


@pytest.mark.parametrize("config", [TINY, replace(TINY, blocks=3), PaperConfig(BLOCKS.cfa, BLOCKS.exposure_rank, 4, 1)])
def test_the_halo_is_as_far_as_an_output_pixel_sees(config: PaperConfig) -> None:
    network: Network = config.build().double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # every path open: positive weights and biases leave no ReLU at 0
        for parameter in network.parameters():
            parameter.copy_(0.02 + 0.02 * torch.rand(parameter.shape, generator=generator))
    (top, left), (rows, columns) = network.halo, network.alignment
    assert top % rows == left % columns == 0
    planes = planes_of(2 * top + 3 * rows, 2 * left + 3 * columns).double().requires_grad_()
    output = network.compressed(planes)
    reach = np.zeros(4, int)
    for i, j in itertools.product(range(rows), range(columns)):
        y, x = top + rows + i, left + columns + j
        (gradient,) = torch.autograd.grad(output[0, :, y, x].sum(), planes, retain_graph=True)
        seen = (gradient[0] != 0).any(0).nonzero()
        (first_y, first_x), (last_y, last_x) = seen.min(0).values.tolist(), seen.max(0).values.tolist()
        reach = np.maximum(reach, [y - first_y, last_y - y, x - first_x, last_x - x])
    assert (reach == 2 * config.blocks + 6).all()
    assert 0 <= top - reach[0] < rows
    assert 0 <= left - reach[2] < columns


def frame(cfa: str, shape: tuple[int, int] = (44, 52)) -> Mosaic:
    counts = np.random.default_rng(0).integers(1000, 16_000, shape, np.uint16)
    return Mosaic(counts, cfa, np.full((2, 2), 1024, np.float32), 16_000.0, np.eye(3))


NOISE = NoiseModel(np.ones((1, 1), np.float32), np.full((1, 1), 3, np.float32))


def test_tiles_of_any_size_give_the_same_image() -> None:
    torch.manual_seed(0)
    network = TINY.build().eval()
    whole = reconstruct(frame("RGGB"), PAIRS, NOISE, network)
    for tile_px in (8, 20):
        tiled = reconstruct(frame("RGGB"), PAIRS, NOISE, network, NetworkOptions(tile_px))
        np.testing.assert_allclose(tiled, whole, atol=1e-4)


@pytest.mark.parametrize(("cfa", "top", "left"), [("GRBG", 0, 1), ("GBRG", 1, 0), ("BGGR", 3, 1), ("RGGB", 2, 0)])
def test_any_phase_and_cfa_give_the_same_image(cfa: str, top: int, left: int) -> None:
    torch.manual_seed(0)
    network, rggb = TINY.build().eval(), frame("RGGB")
    cut = replace(rggb, counts=np.ascontiguousarray(rggb.counts[top:, left:]), cfa=cfa)
    pattern = ExposurePattern(np.roll(PAIRS.exposure, -top, 0))
    expected = reconstruct(rggb, PAIRS, NOISE, network)[top:, left:]
    inner = slice(12, -12)  # of the border, neighbours differ
    image = reconstruct(cut, pattern, NOISE, network)
    np.testing.assert_allclose(image[inner, inner], expected[inner, inner], atol=1e-4)


# Configuration


def test_a_configuration_is_rebuilt_from_its_json() -> None:
    for config in (TINY, PaperConfig(), PaperConfig(BLOCKS.cfa, BLOCKS.exposure_rank)):
        assert PaperConfig.from_json(config.to_json()) == config
    assert isinstance(TINY.build(), PaperNet)


@pytest.mark.parametrize(
    "fields", [{"width": 0}, {"width": 7}, {"blocks": 0}, {"cfa": ("RG", "GB")}, {"cfa": ("RG",) * 4}]
)
def test_another_configuration_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"width|cfa|zip"):
        replace(TINY, **fields)  # type: ignore[arg-type]
