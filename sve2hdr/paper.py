"""The network of the paper this project starts from, layer for layer as it is described there, to be measured against.

Xu, Liu, Wu, Chen, Wen, Li, "Deep Joint Demosaicing and High Dynamic Range Imaging within a Single Shot", IEEE TCSVT
2021 (arXiv 2111.07281). Written from the description; none of the authors' code is used. 1,912,211 parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CELL = (4, 2)  # rows, columns: row pairs of two exposures x Bayer
WIDTH = 64


class SpatiallyVaryingConv(nn.Module):
    """A 5 x 5 convolution of one channel whose kernel depends on the site's place in the cell."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(nn.Conv2d(1, WIDTH, 5, padding=2) for _ in range(CELL[0] * CELL[1]))

    def forward(self, x: Tensor) -> Tensor:  # (N, 1, H, W) -> (N, 64, H, W)
        """Return the features of every site, each by the kernel of its place."""
        padded = F.pad(x, (2, 2, 2, 2))
        out = x.new_empty(x.shape[0], WIDTH, *x.shape[2:])
        for place, kernel in enumerate(self.kernels):
            i, j = divmod(place, CELL[1])
            assert isinstance(kernel, nn.Conv2d)
            rows, columns = x.shape[2] - i, x.shape[3] - j  # strided: each kernel runs only where it is wanted
            part = padded[:, :, i : i + rows + 4, j : j + columns + 4]
            out[:, :, i :: CELL[0], j :: CELL[1]] = F.conv2d(part, kernel.weight, kernel.bias, stride=CELL)
        return out


class TwoBranchBlock(nn.Module):
    """A main branch with a skip, and a compensation branch that is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        )
        self.compensation = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH // 2, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(WIDTH // 2, WIDTH, 3, padding=1)
        )
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, main: Tensor, compensation: Tensor) -> tuple[Tensor, Tensor]:  # each (N, 64, H, W)
        """Return both branches' features."""
        compensation = self.compensation(compensation)
        return main + self.main(main) + self.scale * compensation, compensation


class PaperNet(nn.Module):
    """Two SVC heads, 16 two-branch blocks and a tail, all at full resolution: 1.88 million MAC per pixel."""

    def __init__(self, blocks: int = 16) -> None:
        super().__init__()
        self.radiance_head = SpatiallyVaryingConv()
        self.guided_head = SpatiallyVaryingConv()
        self.guided_tail = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        )
        self.blocks = nn.ModuleList(TwoBranchBlock() for _ in range(blocks))
        self.tail = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(WIDTH, 3, 3, padding=1)
        )

    def forward(self, planes: Tensor) -> Tensor:
        """Reconstruct camera RGB: planes (N, 4, H, W) as SveNet takes them -> (N, 3, H, W) radiance."""
        radiance, usable = planes[:, :1], planes[:, 2:3]
        main, compensation = self.radiance_head(radiance), self.guided_tail(self.guided_head(radiance * usable))
        for block in self.blocks:
            main, compensation = block(main, compensation)
        out: Tensor = self.tail(main)
        return out
