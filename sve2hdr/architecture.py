"""What all networks have in common: a configuration that builds one, and the interface to the rest of the program."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor, nn

from .tiles import Sides

# More than any useful network has: a damaged or hostile weights file must not take all memory, or hours to build.
MOST_BLOCKS, MOST_CHANNELS, MOST_SITES, MOST_STRIDE = 300, 1024, 256, 8
NO_MARGIN: Sides = ((0, 0), (0, 0))
SETTLED = (("block", "partial"), ("base_input", True))  # options of the past, which published files still name


@dataclass(frozen=True)
class ArchitectureConfig(ABC):
    """All that is needed to rebuild a network; stored beside its tensors in the weights file.

    The network knows one layout, its canonical one: `cfa` and `exposure_rank`, both (P, Q), give the colour and the
    rank of the exposure (0 = least exposed) of each site of a cell. `layout.py` brings a mosaic into it. With
    `any_exposures`, `exposure_rank` only tells which sites share an exposure: the exposures may be in any order, and
    some may be equal. Raises ValueError if `cfa` and `exposure_rank` differ in size.
    """

    architecture: ClassVar[str]  # the name in weights files

    cfa: tuple[str, ...] = ("RG", "GB", "RG", "GB")
    exposure_rank: tuple[tuple[int, ...], ...] = ((0, 0), (0, 0), (1, 1), (1, 1))
    any_exposures: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        sites = [(len(row), len(ranks)) for row, ranks in zip(self.cfa, self.exposure_rank, strict=True)]
        if set("".join(self.cfa)) != set("RGB") or set(sites) != {(len(self.cfa[0]), len(self.cfa[0]))}:
            raise ValueError(f"cfa {self.cfa} and exposure_rank {self.exposure_rank} are not of one cell of R, G and B")
        if math.prod(self.cell) > MOST_SITES:
            raise ValueError(f"a cell of {self.cell[0]} x {self.cell[1]} sites, of {MOST_SITES} at most")

    @property
    def cell(self) -> tuple[int, int]:
        """Rows and columns of the smallest repeat of CFA and exposures together."""
        return len(self.cfa), len(self.cfa[0])

    @property
    @abstractmethod
    def features_per_px(self) -> float:
        """Values that the widest layer holds for each pixel; memory grows with them."""

    @abstractmethod
    def build(self) -> Network:
        """Return the network, with random weights from torch's global generator."""

    def to_json(self) -> str:
        """Return the configuration as a JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the configuration that `to_json` wrote; raise ValueError or TypeError for any other text."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError(f"a network's configuration is a JSON object, not {text[:40]}")
        return cls(**{name: _tuples(value) for name, value in fields.items() if (name, value) not in SETTLED})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


class Network(nn.Module, ABC):
    """Takes a mosaic whose sites have different exposures, returns demosaiced and merged camera RGB."""

    config: ArchitectureConfig
    takes_bfloat16: ClassVar[bool] = False  # its result is as good when convolutions run in bfloat16

    @property
    @abstractmethod
    def halo(self) -> tuple[int, int]:
        """Rows and columns that an output pixel sees each way, rounded up to multiples of `alignment`."""

    @property
    @abstractmethod
    def alignment(self) -> tuple[int, int]:
        """Rows and columns: every size fed to the network is a multiple of these."""

    def inner_weights(self) -> list[nn.Parameter]:
        """Return the weights between the first and last layers, which orthogonal steps train best; none by default."""
        return []

    @abstractmethod
    def compressed(self, planes: Tensor, margin: Sides = NO_MARGIN) -> Tensor:
        """Return the reconstruction that `forward` returns, but compressed by `network.compress`."""

    @abstractmethod
    def forward(self, planes: Tensor, margin: Sides = NO_MARGIN) -> Tensor:
        """Reconstruct camera RGB.

        planes: (N, 4, H, W), in the network's canonical layout, H and W multiples of `alignment`: radiance (1.0 =
        saturation of the least exposed sites), relative exposure (1.0 = most exposed), usable (0 saturated to 1
        usable) and the standard deviation of the noise in the unit of radiance.
        margin: rows and columns at the edges that are read but not reconstructed, multiples of `alignment`.
        Returns camera RGB radiance inside the margin, (N, 3, rows, columns), in the unit of the input: the same as that
        part of the result without a margin, at less cost. Neither highlights nor negatives are clamped.
        """


def inside(image: Tensor, margin: Sides | np.ndarray) -> Tensor:
    """Return an image, (..., H, W), without the rows and columns of a margin."""
    (top, bottom), (left, right) = margin
    return image[..., top : image.shape[-2] - bottom, left : image.shape[-1] - right]
