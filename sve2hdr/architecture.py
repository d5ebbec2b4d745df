"""What all networks have in common: a configuration that builds one, and what the rest of the program asks of it."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor, nn

from .tiles import Sides

# More than any network of use has: a damaged or hostile weights file shall not take all memory, or hours to build.
MOST_BLOCKS, MOST_CHANNELS, MOST_SITES, MOST_STRIDE = 300, 1024, 256, 8
NO_MARGIN: Sides = ((0, 0), (0, 0))
SETTLED = (("block", "partial"), ("base_input", True))  # once were options: files that are published name them


@dataclass(frozen=True)
class ArchitectureConfig(ABC):
    """What rebuilds a network; stored beside its tensors in the weights file.

    The network knows one layout, its canonical one: `cfa` and `exposure_rank`, both (P, Q), give the colour and the
    place in the order of exposures (0 = least exposed) of each site of a cell. `layout.py` brings a mosaic into it.
    With `any_exposures`, `exposure_rank` only tells which sites share an exposure: these may be in any order, and
    several of them equal. Raises ValueError where `cfa` and `exposure_rank` are not of one cell.
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
        """Values that the widest layer holds for each pixel: memory goes with them."""

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
    """A mosaic whose sites have different exposures in, demosaiced and merged camera RGB out."""

    config: ArchitectureConfig
    takes_bfloat16: ClassVar[bool] = False  # its result is as good when convolutions run in bfloat16

    @property
    @abstractmethod
    def halo(self) -> tuple[int, int]:
        """Rows and columns that an output pixel sees each way, rounded up to whole multiples of `alignment`."""

    @property
    @abstractmethod
    def alignment(self) -> tuple[int, int]:
        """Rows and columns of which every size fed to the network is a multiple."""

    def inner_weights(self) -> list[nn.Parameter]:
        """Return the weights between first and last layers, which orthogonal steps train best; none by default."""
        return []

    @abstractmethod
    def compressed(self, planes: Tensor, margin: Sides = NO_MARGIN) -> Tensor:
        """Return `network.compress` of the reconstruction, as `forward` returns that."""

    @abstractmethod
    def forward(self, planes: Tensor, margin: Sides = NO_MARGIN) -> Tensor:
        """Reconstruct camera RGB.

        planes: (N, 4, H, W), in the network's canonical layout, H and W multiples of `alignment`: radiance (1.0 =
        saturation of the least exposed sites), relative exposure (1.0 = most exposed), usable (0 saturated to 1
        usable) and the standard deviation of the noise in the unit of radiance.
        margin: rows and columns at the edges that are only looked at, multiples of `alignment`.
        Returns (N, 3, rows, columns) inside of the margin, camera RGB radiance in the unit of the input: a part of what
        no margin gives, at less cost; nothing clamps highlights or negatives.
        """


def inside(image: Tensor, margin: Sides | np.ndarray) -> Tensor:
    """Return an image, (..., H, W), without the rows and columns of a margin."""
    (top, bottom), (left, right) = margin
    return image[..., top : image.shape[-2] - bottom, left : image.shape[-1] - right]
