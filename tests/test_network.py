"""The network: its compression, its folding, its halo, its configuration."""

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close

from sve2hdr.architecture import ArchitectureConfig, inside
from sve2hdr.network import (
    BLOCKS,
    FOURS,
    LARGE,
    ROWS,
    NetworkConfig,
    SveNet,
    compress,
    expand,
    fold,
    unfold,
)
from sve2hdr.paper import PaperConfig

torch.set_num_threads(1)
TINY = NetworkConfig(widths=(8, 8, 8))
TINY_BLOCKS = replace(BLOCKS, widths=(8, 8))
FLAT = NetworkConfig(widths=(8,), strides=(), blocks=(2,))
DEEP = NetworkConfig(widths=(4, 4, 4, 4), strides=((2, 2), (1, 2), (2, 1)), blocks=(1, 2, 1, 1))
IN_PARTS = replace(FOURS, widths=(8, 8, 8))
SHAPES = {"rows": TINY, "blocks": TINY_BLOCKS, "flat": FLAT, "deep": DEEP, "in parts": IN_PARTS}


def planes_of(config: NetworkConfig, radiance: Tensor) -> Tensor:
    """Radiance, (N, 1, H, W), with the exposures of a canonical frame of 8 : 1, all usable."""
    rank = torch.tensor(config.exposure_rank)
    exposure = 2.0 ** (3.0 * (rank / rank.max() - 1))
    repeats = [n // p for n, p in zip(radiance.shape[2:], config.cell, strict=True)]
    exposure = exposure.repeat(*repeats).expand_as(radiance).to(radiance)
    return torch.cat([radiance, exposure, torch.ones_like(radiance), torch.full_like(radiance, 1e-3)], 1)


def test_compress_is_odd_monotone_and_undone_by_expand() -> None:
    radiance = torch.cat([-torch.logspace(3, -6, 400), torch.zeros(1), torch.logspace(-6, 3, 400)]).double()
    compressed = compress(radiance)
    assert (compressed.diff() > 0).all()
    assert_close(compressed, -compress(-radiance), rtol=0, atol=0)
    assert_close(expand(compressed), radiance, rtol=1e-9, atol=1e-12)
    assert_close(compress(torch.tensor([0.0, 1.0])), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("cell", [(4, 2), (4, 4), (1, 1), (2, 3)])
def test_fold_gathers_cells_and_unfold_undoes_it(cell: tuple[int, int]) -> None:
    image = torch.arange(2 * 3 * 12 * 12.0).reshape(2, 3, 12, 12)
    folded = fold(image, cell)
    p, q = cell
    for c, i, j in itertools.product(range(3), range(p), range(q)):
        assert_close(folded[:, (c * p + i) * q + j], image[:, c, i::p, j::q], rtol=0, atol=0)
    assert_close(unfold(folded, cell), image, rtol=0, atol=0)


def all_active(config: NetworkConfig) -> SveNet:
    """A network in float64 whose every path is open: positive weights and biases leave no ReLU at 0."""
    network = SveNet(config).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.startswith("base"):
                parameter.copy_(0.02 + 0.02 * torch.rand(parameter.shape, generator=generator))
    return network


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_the_halo_is_as_far_as_an_output_pixel_sees(config: NetworkConfig) -> None:
    network = all_active(config)
    (top, left), (rows, columns) = network.halo, network.alignment
    assert top % rows == left % columns == 0
    size = (2 * top + 3 * rows, 2 * left + 3 * columns)
    generator = torch.Generator().manual_seed(1)
    planes = planes_of(config, torch.rand(1, 1, *size, generator=generator, dtype=torch.float64) + 0.1)
    planes.requires_grad_()
    output = network.compressed(planes)  # `expand` is of one pixel and may overflow here
    corners = list(itertools.product((0, rows - 1), (0, columns - 1)))
    others = np.random.default_rng(0).integers(0, (rows, columns), (4, 2)).tolist()
    reach = np.zeros(4, int)
    for i, j in corners + others:
        y, x = top + rows + i, left + columns + j  # in the second of the coarsest cells, so that the halo fits
        (gradient,) = torch.autograd.grad(output[0, :, y, x].sum(), planes, retain_graph=True)
        assert gradient.isfinite().all()
        seen = (gradient[0] != 0).any(0).nonzero()
        (first_y, first_x), (last_y, last_x) = seen.min(0).values.tolist(), seen.max(0).values.tolist()
        reach = np.maximum(reach, [y - first_y, last_y - y, x - first_x, last_x - x])
    halo = np.array([top, top, left, left])
    assert (reach <= halo).all(), (reach, halo)
    assert (reach.reshape(2, 2).max(1) >= np.array([top - rows, left - columns])).all(), (reach, halo)


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_a_margin_is_left_out_and_nothing_else_changes(config: NetworkConfig) -> None:
    network = all_active(config)
    (rows, columns), (top, left) = network.alignment, network.halo
    planes = planes_of(config, torch.rand(1, 1, 2 * top + 3 * rows, 2 * left + 2 * columns).double())
    with torch.no_grad():
        whole = network.compressed(planes)
        for vertical in ((0, 0), (rows, 0), (0, top), (top - rows, 2 * rows), (top, top)):
            for horizontal in ((0, 0), (0, columns), (left, 2 * columns), (left, left)):
                margin = vertical, horizontal
                assert_close(network.compressed(planes, margin), inside(whole, margin), rtol=1e-9, atol=0)


def test_a_margin_saves_time_in_the_decoder() -> None:
    network, worked = all_active(TINY), 0

    def count(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal worked
        worked += output.numel()

    network.decoder[0].register_forward_hook(count)
    (top, left), (rows, columns) = network.halo, network.alignment
    planes = planes_of(TINY, torch.rand(1, 1, 2 * top + 4 * rows, left + 4 * columns).double())
    with torch.no_grad():
        network(planes, ((top, top), (0, left)))
    seen = TINY.blocks[0] + 1
    assert worked == 8 * (4 * rows // 4 + 2 * seen) * (4 * columns // 2 + seen)


@pytest.mark.parametrize("level", [-0.02, 0.0, 1e-4, 0.5, 1.0, 3.0, 8.0])
def test_radiance_passes_unclamped(level: float) -> None:
    network = SveNet(TINY)
    nn.init.zeros_(network.head.weight)
    with torch.no_grad():
        image = network(planes_of(TINY, torch.full((1, 1, 32, 32), level)))
    assert image.shape == (1, 3, 32, 32)
    assert_close(image, torch.full_like(image, level), rtol=2e-5, atol=1e-8)


def test_no_input_overflows() -> None:
    torch.manual_seed(0)
    network = SveNet(TINY)
    with torch.no_grad():
        network.head.weight.mul_(1e4)
        image = network(torch.rand(1, 4, 32, 32) * torch.tensor([1e3, 1, 1, 1e3]).reshape(4, 1, 1))
    assert image.isfinite().all()
    assert image.abs().max() > 8  # far beyond what any site records


def test_where_all_sites_clip_the_least_exposed_decide() -> None:
    network = SveNet(TINY)
    nn.init.zeros_(network.head.weight)
    planes = planes_of(TINY, torch.ones(1, 1, 32, 32))
    planes[:, 0] *= torch.where(planes[:, 1] == 1, 1 / 8, 1.0)  # a clipped bright site says 1/8, a dark one 1
    planes[:, 2] = 0
    with torch.no_grad():
        image = network(planes)
    assert image[..., 8:-8, 8:-8].min() > 0.6  # 1/8 if they counted alike; the residual learns the rest


def test_a_colour_is_made_of_its_own_sites_only() -> None:
    network = SveNet(TINY)
    nn.init.zeros_(network.head.weight)
    letters = np.array([list(row) for row in TINY.cfa])
    level = torch.tensor([0.2, 0.4, 0.8])
    sites = level[torch.tensor(["RGB".index(c) for c in letters.ravel()])].reshape(TINY.cell).repeat(8, 16)
    with torch.no_grad():
        image = network(planes_of(TINY, sites.expand(1, 1, -1, -1)))
    assert_close(image, level.reshape(1, 3, 1, 1).expand_as(image), rtol=1e-4, atol=1e-6)


def test_a_batch_is_its_images() -> None:
    torch.manual_seed(0)
    network, images = SveNet(TINY), planes_of(TINY, torch.rand(3, 1, 16, 16))
    with torch.no_grad():
        assert_close(network(images), torch.cat([network(image[None]) for image in images]), rtol=1e-4, atol=1e-6)


class Convolved(TorchFunctionMode):
    """Keeps what convolutions are given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d:
            self.given.append(args[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("config", [*SHAPES.values(), PaperConfig(width=4, blocks=1)], ids=[*SHAPES, "paper"])
def test_no_convolution_is_given_a_part_of_a_tensor(config: ArchitectureConfig) -> None:
    """Those of MPS before torch 2.13 read other pixels then."""
    network = config.build()
    rows, columns = network.alignment
    with torch.inference_mode(), Convolved() as convolved:
        network(torch.rand(2, 4, 4 * rows, 4 * columns))
    assert convolved.given
    for x in convolved.given:
        assert x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("config", [ROWS, BLOCKS, FOURS, LARGE, TINY, FLAT, DEEP])
def test_a_configuration_is_rebuilt_from_its_json(config: NetworkConfig) -> None:
    assert NetworkConfig.from_json(config.to_json()) == config
    settled = json.dumps(json.loads(config.to_json()) | {"block": "partial", "base_input": True})  # as published
    assert NetworkConfig.from_json(settled) == config


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "3",
        '{"widths": 3}',
        '{"unknown": 1}',
        '{"widths": [8, 8]}',
        '{"widths": [0, 8, 8]}',
        '{"blocks": [1, 1]}',
        '{"block": "residual"}',
        '{"base_input": false}',
        '{"widths": [8, 1, 8]}',
        '{"strides": [[2, 2]]}',
        '{"parts": [4, 1]}',
        '{"parts": [3, 1], "strides": [[3, 2], [4, 2]]}',
        '{"parts": [0, 1]}',
        '{"parts": [2]}',
        '{"parts": 2}',
        '{"strides": [[2, 2], [0, 2]]}',
        '{"cfa": ["RG", "GB", "RG", "G"]}',
        '{"cfa": ["RG", "GX", "RG", "GB"]}',
        '{"cfa": ["RG", "GB"]}',
        '{"exposure_rank": [[0], [0], [1], [1]]}',
    ],
)
def test_another_configuration_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        NetworkConfig.from_json(text)


def test_the_configuration_is_plain_json() -> None:
    assert json.loads(ROWS.to_json())["cfa"] == ["RG", "GB", "RG", "GB"]
