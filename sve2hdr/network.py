"""The network: takes a mosaic whose sites have different exposures, returns demosaiced and merged camera RGB."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from operator import mod
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import MOST_BLOCKS, MOST_CHANNELS, MOST_STRIDE, NO_MARGIN, ArchitectureConfig, Network, inside
from .tiles import Sides

MU = 5000.0  # of the mu-law in whose compressed domain the network works; the usual value in HDR work
INPUT_PLANES = 4  # radiance, exposure, usable, noise


def compress(radiance: Tensor) -> Tensor:
    """Return radiance compressed by the mu-law, odd around zero, so that noise below black survives: 0 -> 0, 1 -> 1."""
    return torch.sign(radiance) * torch.log1p(MU * radiance.abs()) / math.log1p(MU)


def expand(compressed: Tensor) -> Tensor:
    """Return the radiance whose `compress` is given."""
    return torch.sign(compressed) * torch.expm1(compressed.abs() * math.log1p(MU)) / MU


def fold(planes: Tensor, cell: tuple[int, int]) -> Tensor:
    """Return (N, C, H, W) with each P x Q cell gathered into channels: (N, C * P * Q, H / P, W / Q)."""
    n, c, h, w = planes.shape
    p, q = cell
    cells = planes.reshape(n, c, h // p, p, w // q, q).permute(0, 1, 3, 5, 2, 4)
    return cells.reshape(n, c * p * q, h // p, w // q).contiguous(memory_format=torch.channels_last)


def unfold(features: Tensor, cell: tuple[int, int]) -> Tensor:
    """Undo `fold`: (N, C * P * Q, H / P, W / Q) -> (N, C, H, W)."""
    n, c, h, w = features.shape
    p, q = cell
    cells = features.permute(0, 2, 3, 1).reshape(n, h, w, c // (p * q), p, q).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(n, h * p, w * q, c // (p * q)).permute(0, 3, 1, 2)  # channels last, with one copy


class PartialBlock(nn.Module):
    """A residual block: a 3 x 3 convolution of half of the channels, then two 1 x 1 layers that mix all channels.

    After Chen et al., "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks" (CVPR 2023). It costs a third
    of two full convolutions, so layers can be wider.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seen = width // 2
        self.spatial = nn.Conv2d(self.seen, self.seen, 3, padding=1)
        self.first = nn.Conv2d(width, 2 * width, 1)
        self.second = nn.Conv2d(2 * width, width, 1)
        _near_identity(self.second)

    def forward(self, x: Tensor) -> Tensor:  # (N, width, H, W) -> the same
        """Return x plus the result of the three convolutions."""
        seen, passed = torch.split(x, [self.seen, x.shape[1] - self.seen], 1)
        # one expression, so that the concatenated features are freed before the last layer
        out: Tensor = self.second(F.relu_(self.first(torch.cat([self.spatial(packed(seen)), passed], 1))))
        return out.add_(x)


def packed(part: Tensor) -> Tensor:
    """Return a copy of a part of a tensor, contiguous with channels last.

    Convolutions do so themselves, except on MPS with macOS 15 or later and torch before 2.13 (pytorch issues 180984 and
    169342): there they read some channels as if they were packed, and the image is silently wrong.
    """
    return part.contiguous(memory_format=torch.channels_last)


def _near_identity(convolution: nn.Conv2d) -> None:
    """Make a block's last convolution small, so that depth does not cost stability at the start."""
    with torch.no_grad():
        convolution.weight.mul_(0.3)
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]  # it has one


@dataclass(frozen=True)
class NetworkConfig(ArchitectureConfig):
    """All that is needed to rebuild a SveNet, which folds cells into channels.

    A cell is one place of the first level, or several, so that a large cell has features as dense as a small one.
    """

    architecture: ClassVar[str] = "sve2hdr"

    widths: tuple[int, ...] = (96, 96, 96)  # channels of each level
    strides: tuple[tuple[int, int], ...] = ((1, 2), (2, 2))  # from each level to the next
    blocks: tuple[int, ...] = (2, 1, 4)  # of each level; all but the last have them in both encoder and decoder
    parts: tuple[int, int] = (1, 1)  # rows and columns of places in a cell

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.widths) == len(self.blocks) == len(self.strides) + 1:
            raise ValueError("a network of n levels has n widths, n blocks and n - 1 strides")
        if min(self.widths) < 2 or min(*self.blocks, *(n for stride in self.strides for n in stride), 1) < 1:
            raise ValueError("widths must be 2 or more, blocks and strides 1 or more")
        if (
            len(self.parts) != 2
            or min(self.parts) < 1
            or any(map(mod, self.cell, self.parts))
            or any(map(mod, self.coarsest_place, self.cell))
        ):
            raise ValueError(
                f"a cell of {self.cell[0]} x {self.cell[1]} sites has no {self.parts} parts for strides to join"
            )
        largest = max((n for stride in self.strides for n in stride), default=1)
        if max(self.widths) > MOST_CHANNELS or sum(self.blocks) > MOST_BLOCKS or largest > MOST_STRIDE:
            raise ValueError(
                f"widths are at most {MOST_CHANNELS}, blocks {MOST_BLOCKS} together, and strides {MOST_STRIDE}"
            )

    @property
    def place(self) -> tuple[int, int]:
        """Rows and columns of sites in one place of the first level."""
        return self.cell[0] // self.parts[0], self.cell[1] // self.parts[1]

    @property
    def coarsest_place(self) -> tuple[int, int]:
        """Rows and columns of sites that are one place of the last level."""
        rows, columns = self.place
        for down_rows, down_columns in self.strides:
            rows, columns = rows * down_rows, columns * down_columns
        return rows, columns

    @property
    def features_per_px(self) -> float:
        """A third of the values that a block of the widest level holds for each pixel: what memory is measured by."""
        sites, widest = math.prod(self.place), 0.0
        for width, stride in zip(self.widths, (*self.strides, (1, 1)), strict=True):
            widest = max(widest, width / sites)
            sites *= math.prod(stride)
        return widest * 4 / 3

    def build(self) -> SveNet:
        """Return the network, with random weights from torch's global generator."""
        return SveNet(self)


# row pairs of two exposures; column pairs are row pairs, transposed
ROWS = NetworkConfig()
LARGE = replace(ROWS, widths=(160, 160, 160), blocks=(3, 2, 4))  # of four times the cost
FOURS = replace(  # rows of two exposures, four of each, which some cameras make in place of row pairs
    ROWS, cfa=("RG", "GB") * 4, exposure_rank=((0, 0),) * 4 + ((1, 1),) * 4, parts=(2, 1)
)
BLOCKS = NetworkConfig(  # Bayer cells of two to four exposures, in blocks of 2 x 2
    cfa=("RGRG", "GBGB", "RGRG", "GBGB"),
    exposure_rank=((0, 0, 1, 1), (0, 0, 1, 1), (2, 2, 3, 3), (2, 2, 3, 3)),
    widths=(128, 160),
    strides=((2, 2),),
    blocks=(2, 6),
    any_exposures=True,
)
QUAD = replace(  # quad-Bayer: two to four exposures in every 2 x 2 sites of a colour
    BLOCKS,
    cfa=("RRGG", "RRGG", "GGBB", "GGBB"),
    exposure_rank=((0, 1, 0, 1), (2, 3, 2, 3), (0, 1, 0, 1), (2, 3, 2, 3)),
)
LAYOUTS = {"rows": ROWS, "fours": FOURS, "blocks": BLOCKS, "quad": QUAD}  # that networks are made for


class GuidedStem(nn.Module):
    """First layer: convolves all inputs, and gates every feature by usable and noise."""

    def __init__(self, sites: int, width: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(7 * sites, width, 3, padding=1)
        self.gate = nn.Conv2d(2 * sites, width, 3, padding=1)

    def forward(self, value: Tensor, usable: Tensor, noise: Tensor, base: Tensor) -> Tensor:
        """Return gated features, (N, width, H, W); inputs are (N, sites, H, W), and the base (N, 3 sites, H, W)."""
        guidance = torch.cat([usable, noise], 1)
        gate = torch.sigmoid_(self.gate(guidance))
        with torch.autocast(value.device.type, enabled=False):  # radiance itself is read in float32
            features: Tensor = self.features(torch.cat([value, value * usable, guidance, base], 1))
        return features.to(gate.dtype) * gate  # in one dtype: products of two are slow


class MergingInterpolation(nn.Module):
    """Base image: for every pixel and colour, the weighted mean of the sites of that colour around it.

    A normalised convolution (Knutsson and Westin, 1993) on the folded cells. The weights are learned, positive and
    start as a tent. They are multiplied by each site's certainty: a learned power of its exposure where it is usable,
    and next to nothing where it is not, but most for the least exposed sites, so that these decide where all clip.
    """

    same_colour: Tensor  # (3 * P * Q, P * Q, 3, 3): 1 where a site has the colour of the pixel's value it adds to

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        p, q = config.cell
        dy, dx = (_offsets(period).double() for period in (p, q))
        across, near, far = ((1 - d.abs() / r).clamp_min(0) for d, r in ((dx, 2), (dy, 2), (dy, 4)))
        # pixel in the cell; site in the cell, cell offset
        tent = torch.einsum("ika,jmb->ijkmab", near + 0.03 * far, across + 1e-3) + 1e-5
        is_colour = torch.tensor([[[letter == c for letter in row] for row in config.cfa] for c in "RGB"])
        tent = (is_colour[:, None, None, :, :, None, None] * tent).reshape(3 * p * q, p * q, 3, 3).float()
        self.register_buffer("same_colour", (tent > 0).float(), persistent=False)
        self.log_weight = nn.Parameter(torch.where(tent > 0, tent, 1.0).log())
        self.trust = nn.Parameter(torch.tensor(0.2))  # the power: at 0 all usable sites count alike

    def forward(self, radiance: Tensor, exposure: Tensor, usable: Tensor) -> Tensor:  # each (N, P * Q, H, W)
        """Return the base image's radiance, folded: (N, 3 * P * Q, H, W)."""
        least = exposure.amin(1, keepdim=True).clamp_min(1e-6)
        certainty = usable * exposure**self.trust + 1e-5 * (least / exposure.clamp_min(1e-6)) ** 4
        weight = self.log_weight.exp() * self.same_colour
        total = F.conv2d(certainty, weight, padding=1)
        return F.conv2d(certainty * radiance, weight, padding=1) / total.clamp_min(1e-9)


class SveNet(Network):
    """A small U-Net on folded cells that corrects `MergingInterpolation` in the compressed domain.

    After Xu et al., "Deep Joint Demosaicing and High Dynamic Range Imaging within a Single Shot" (IEEE TCSVT 2021):
    kernels that depend on the place in the cell, one network for demosaicing and merging, exposure guidance. Their
    network runs all layers at full resolution; folding makes the same kind of first layers some thirty times cheaper.
    """

    config: NetworkConfig
    takes_bfloat16: ClassVar[bool] = True  # input, base and sum stay in float32

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths, last = config.widths, len(config.widths) - 1
        self.base = MergingInterpolation(config)
        self.stem = GuidedStem(math.prod(config.cell), widths[0] * math.prod(config.parts))
        self.encoder = nn.ModuleList(self._stack(i) for i in range(last))
        self.down = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, stride=config.strides[i], padding=1) for i in range(last)
        )
        self.bottom = self._stack(last)
        self.up = nn.ModuleList(
            nn.Conv2d(widths[i + 1], widths[i] * math.prod(config.strides[i]), 1) for i in range(last)
        )
        self.decoder = nn.ModuleList(self._stack(i) for i in range(last))
        self.head = nn.Conv2d(widths[0], 3 * math.prod(config.place), 3, padding=1)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]  # it has one

    def _stack(self, level: int) -> nn.Sequential:
        width, blocks = self.config.widths[level], self.config.blocks[level]
        return nn.Sequential(*(PartialBlock(width) for _ in range(blocks)))

    @property
    def halo(self) -> tuple[int, int]:
        """Rows and columns that an output pixel sees each way, rounded up to multiples of `alignment`."""
        halo = []
        for axis in range(2):
            cell, step = self.config.cell[axis], self.config.place[axis]
            reach = 2 * cell + step  # stem, the base image it reads, and head
            for level, blocks in enumerate(self.config.blocks):
                both_ways = 1 if level == len(self.config.blocks) - 1 else 2
                reach += blocks * both_ways * step
                if both_ways == 2:
                    reach += step  # the strided convolution
                    step *= self.config.strides[level][axis]
            reach += self.alignment[axis] - 1  # where the pixel lies in the coarsest place
            halo.append(math.ceil(reach / self.alignment[axis]) * self.alignment[axis])
        return halo[0], halo[1]

    @property
    def alignment(self) -> tuple[int, int]:
        """Rows and columns of the coarsest level's place: every size fed to the network is a multiple of it."""
        return self.config.coarsest_place

    def inner_weights(self) -> list[nn.Parameter]:
        """Return the weights of all convolutions except those that read the mosaic or write the image."""
        inner = (self.encoder, self.down, self.bottom, self.up, self.decoder)
        return [weight for part in inner for weight in part.parameters() if weight.ndim == 4]

    def compressed(self, planes: Tensor, margin: Sides = NO_MARGIN) -> Tensor:
        """Return the reconstruction that `forward` returns, but compressed by `compress`."""
        radiance, exposure, usable, noise = (fold(plane, self.config.cell) for plane in planes.chunk(INPUT_PLANES, 1))
        value = compress(radiance)
        # noise in the compressed domain: multiplied by the derivative of `compress`
        compressed_noise = noise * (10 * MU / math.log1p(MU)) / (1 + MU * radiance.clamp_min(0))
        with torch.autocast(planes.device.type, enabled=False):  # the image is built upon it
            base = compress(self.base(radiance, exposure, usable))
        x = unfold(self.stem(value, usable, compressed_noise, base), self.config.parts)
        x = x.contiguous(memory_format=torch.channels_last)
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            x = blocks(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        cropped = np.zeros((2, 2), int)  # rows and columns of x left out at each side
        for level in reversed(range(len(skips))):
            stride = self.config.strides[level]
            x, before = unfold(self.up[level](x), stride), cropped * np.reshape(stride, (2, 1))
            cropped = self._unseen(level, margin)
            x = inside(skips[level], cropped) + inside(x, cropped - before)
            x = self.decoder[level](x.contiguous(memory_format=torch.channels_last))
        residual = 0.1 * self.head(x).float()  # about as large as corrections are, while features stay around 1
        residual, before = unfold(residual, self.config.place), cropped * np.reshape(self.config.place, (2, 1))
        return inside(unfold(base, self.config.cell), margin) + inside(residual, np.array(margin) - before)

    def _unseen(self, level: int, margin: Sides) -> np.ndarray:
        """Return rows and columns of places, at each side of a level's decoder, that the image inside does not see."""
        step, seen = np.array(self.config.place), np.ones(2, int)  # places: by the head
        for finer in range(level + 1):
            seen += self.config.blocks[finer]
            if finer < level:
                step *= self.config.strides[finer]
                seen = -(-seen // self.config.strides[finer])
        unseen: np.ndarray = np.array(margin) // step[:, None] - seen[:, None]
        return unseen.clip(0)

    def forward(self, planes: Tensor, margin: Sides = NO_MARGIN) -> Tensor:
        """Reconstruct camera RGB, see `Network.forward`; the decoder skips parts of a margin that have no effect."""
        # a frame unlike any photo must not overflow: 1.25 is 8 times the brightest light that any site records
        return expand(self.compressed(planes, margin).clamp(-1.25, 1.25))


def _offsets(period: int) -> Tensor:
    """Return the distances from pixels (axis 0) to sites (axis 1) of the previous, same and next cell (axis 2)."""
    place = torch.arange(period)
    return place[None, :, None] - place[:, None, None] + period * torch.arange(-1, 2)
