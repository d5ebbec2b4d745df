"""The network of the paper this project started from, layer for layer as described there, for comparison.

Xu, Liu, Wu, Chen, Wen, Li, "Deep Joint Demosaicing and High Dynamic Range Imaging within a Single Shot", IEEE TCSVT
2021 (arXiv 2111.07281). Written from the description; none of the authors' code is used. 1,912,211 parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import MOST_BLOCKS, MOST_CHANNELS, NO_MARGIN, ArchitectureConfig, Network, inside
from .network import compress, packed, unfold
from .tiles import Sides

SLOPE = 0.1  # of the leaky ReLUs


@dataclass(frozen=True)
class PaperConfig(ArchitectureConfig):
    """All that is needed to rebuild a PaperNet; defaults are the paper's, narrower ones suit machines without a GPU."""

    architecture: ClassVar[str] = "paper"

    width: int = 64  # channels of the main branch; the compensation branch has half as many between its layers
    blocks: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (2 <= self.width <= MOST_CHANNELS and 1 <= self.blocks <= MOST_BLOCKS) or self.width % 2:
            raise ValueError(
                f"width {self.width} and blocks {self.blocks}: an even width up to {MOST_CHANNELS}, and 1 to "
                f"{MOST_BLOCKS} blocks"
            )

    @property
    def features_per_px(self) -> float:
        """Values that both branches hold for each pixel: layers run at full resolution."""
        return 1.5 * self.width

    def build(self) -> PaperNet:
        """Return the network, with random weights from torch's global generator."""
        return PaperNet(self)


class SpatiallyVaryingConv(nn.Module):
    """A 5 x 5 convolution of one channel whose kernel depends on the site's place in the cell."""

    def __init__(self, cell: tuple[int, int], width: int) -> None:
        super().__init__()
        self.cell = cell
        self.kernels = nn.ModuleList(nn.Conv2d(1, width, 5, padding=2) for _ in range(cell[0] * cell[1]))

    def forward(self, x: Tensor) -> Tensor:  # (N, 1, H, W), whole cells -> (N, width, H, W)
        """Return the features of every site, each computed with the kernel of its place."""
        padded = F.pad(x, (2, 2, 2, 2))
        rows, columns = x.shape[2] - self.cell[0] + 5, x.shape[3] - self.cell[1] + 5
        parts = []
        for place, kernel in enumerate(self.kernels):
            i, j = divmod(place, self.cell[1])
            assert isinstance(kernel, nn.Conv2d)
            sites = padded[:, :, i : i + rows, j : j + columns]  # strided: each kernel runs only at its own place
            parts.append(F.conv2d(packed(sites), kernel.weight, kernel.bias, stride=self.cell))
        return unfold(torch.stack(parts, 2).flatten(1, 2), self.cell).contiguous(memory_format=torch.channels_last)


class TwoBranchBlock(nn.Module):
    """A main branch with a skip, and a compensation branch that is added to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1)
        )
        self.compensation = _carrying(_convolutions(width, width // 2, width))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, main: Tensor, compensation: Tensor) -> tuple[Tensor, Tensor]:  # each (N, width, H, W)
        """Return both branches' features."""
        compensation = self.compensation(compensation)
        return main + self.main(main) + self.scale * compensation, compensation


class PaperNet(Network):
    """Two SVC heads, 16 two-branch blocks and a tail, all at full resolution: 1.88 million MAC per pixel.

    It reads and returns uncompressed radiance, and is not given the exposures: each place's kernel learns its own.
    """

    config: PaperConfig

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.config = config
        self.radiance_head = SpatiallyVaryingConv(config.cell, config.width)
        self.guided_head = SpatiallyVaryingConv(config.cell, config.width)
        self.guided_tail = _carrying(_convolutions(config.width, config.width, config.width))
        self.blocks = nn.ModuleList(TwoBranchBlock(config.width) for _ in range(config.blocks))
        self.tail = _convolutions(config.width, config.width, 3)

    @property
    def halo(self) -> tuple[int, int]:
        """Rows and columns that an output pixel sees each way, rounded up to whole cells.

        >>> PaperConfig().build().halo
        (40, 38)
        """
        reach = 2 + 2 + 2 * self.config.blocks + 2  # guided head, its tail, blocks, tail
        rows, columns = (-(-reach // n) * n for n in self.config.cell)
        return rows, columns

    @property
    def alignment(self) -> tuple[int, int]:
        """Rows and columns of the cell: every size fed to the network is a multiple of it."""
        return self.config.cell

    def forward(self, planes: Tensor, margin: Sides = NO_MARGIN) -> Tensor:
        """Reconstruct camera RGB, see `Network.forward`; a margin costs as much as other pixels."""
        radiance, _, usable, noise = planes.chunk(4, 1)
        with torch.autocast(planes.device.type, enabled=False):  # radiance itself is read in float32
            main = self.radiance_head(radiance)
            guided = self.guided_head(radiance * guidance_mask(radiance, usable, noise))
        compensation = self.guided_tail(guided)
        for block in self.blocks:
            main, compensation = block(main, compensation)
        out: Tensor = self.tail(main)
        return inside(out, margin).float()

    def compressed(self, planes: Tensor, margin: Sides = NO_MARGIN) -> Tensor:
        """Return the reconstruction that `forward` returns, but compressed by `compress`."""
        return compress(self(planes, margin))


def guidance_mask(radiance: Tensor, usable: Tensor, noise: Tensor) -> Tensor:
    """Return the paper's exposure guidance mask, 0 to 1: low where a site is clipped or lost in noise.

    All have one shape, radiance and noise one unit. What is lost in noise is judged by the gain of a Wiener filter.

    >>> site = torch.tensor
    >>> guidance_mask(site([0.5, 0.5, 0.01]), site([1.0, 0.0, 1.0]), site([0.01, 0.01, 0.03])).round(decimals=1)
    tensor([1.0000, 0.0000, 0.1000])
    """
    signal = radiance.clamp_min(0).square()
    return usable * signal / (signal + noise.square()).clamp_min(1e-12)


def _convolutions(width: int, between: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, between, 3, padding=1),
        nn.LeakyReLU(SLOPE, inplace=True),
        nn.Conv2d(between, out, 3, padding=1),
    )


def _carrying(layers: nn.Sequential) -> nn.Sequential:
    """Return the layers, initialised to preserve the magnitude of signals (He et al., ICCV 2015).

    The compensation branch has no skips: torch's default initialisation lets a sixth of it through each layer, so that
    after two blocks nothing of the guidance is left, and no gradient comes back.
    """
    for layer, slope in ((layers[0], SLOPE), (layers[2], 1.0)):
        assert isinstance(layer, nn.Conv2d)
        nn.init.kaiming_normal_(layer.weight, a=slope)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
    return layers
