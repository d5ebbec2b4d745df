"""Mosaic + pattern + network -> camera RGB: the whole middle on one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .architecture import Network
from .layout import Placement, placements
from .mosaic import ExposurePattern, Mosaic
from .radiance import NoiseModel, full_scale, site_planes
from .system.devices import has_bfloat16
from .tiles import Sides, run_tiled

Precision = Literal["auto", "float32", "bfloat16"]
# Networks need little beyond a frame's edge: they were trained on patches without surroundings.
SURROUNDINGS_PX = 16  # mirrored beyond each edge of the frame
TILE_PX = 1024  # the default: smaller tiles are mostly halo, larger ones take more memory and save little time


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is run over a frame.

    An ensemble is the geometric self-ensemble of Lim et al., "Enhanced deep residual networks for single image
    super-resolution" (2017): the mean of the network's results for every way to turn the frame that fits its layout.
    """

    tile_px: int = TILE_PX  # memory beyond the result is that of one tile of this side with its halo
    device: torch.device | str = "cpu"
    precision: Precision = "auto"  # of convolutions; auto: bfloat16 if it is faster and the network loses nothing
    ensemble: bool = False  # better, but as many times slower as there are ways


def reconstruct(
    mosaic: Mosaic,
    pattern: ExposurePattern,
    noise: NoiseModel,
    network: Network,
    options: NetworkOptions | None = None,
    progress: Callable[[float], object] = lambda share: None,
) -> np.ndarray:
    """Return camera RGB, (H, W, 3) float32: radiance, 1.0 = saturation of the most exposed sites, not clamped.

    Raises PatternNotFound if the network was trained for another kind of pattern.
    """
    options = options or NetworkOptions()
    device, precision = options.device, options.precision
    ways = placements(mosaic, pattern, network.config)[: None if options.ensemble else 1]
    periods = (mosaic.black_level, mosaic.white_by_site, pattern.exposure, noise.gain, noise.read_noise)
    least, full = float(pattern.exposure.min()), full_scale(mosaic, pattern)
    scale = least * len(ways)
    result = np.zeros((*mosaic.shape, 3), np.float32)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it

    half = precision == "bfloat16" or (precision == "auto" and network.takes_bfloat16 and has_bfloat16(device))
    kind = torch.device(device).type

    def add(placement: Placement, progress: Callable[[float], object]) -> None:
        turned_result = placement.turned(result)
        height, width = turned_result.shape[:2]

        @torch.inference_mode()
        def tile(rows: np.ndarray, columns: np.ndarray, margin: Sides) -> np.ndarray:
            y, x = placement.sites(rows, columns, mosaic.shape, network.config.cell)
            counts = torch.from_numpy(mosaic.counts[y, x].astype(np.float32)).to(device)
            black, white, exposure, gain, read_noise = (_repeated(p, y, x, device) for p in periods)
            radiance, usable, sigma = site_planes(counts, black, white, exposure, least, gain, read_noise, full)
            planes = torch.stack([radiance, exposure, usable, sigma])[None]
            with torch.autocast(kind, torch.bfloat16, enabled=half):
                image = network(planes, margin)[0]
            return np.asarray((image.permute(1, 2, 0).float() / scale).contiguous().cpu())

        def keep(rows: tuple[int, int], columns: tuple[int, int], core: np.ndarray) -> None:
            first_y, first_x = rows[0] - placement.top, columns[0] - placement.left  # of the core, in the turned frame
            top, bottom = max(first_y, 0), min(rows[1] - placement.top, height)
            left, right = max(first_x, 0), min(columns[1] - placement.left, width)
            inside = core[top - first_y : bottom - first_y, left - first_x : right - first_x]
            turned_result[top:bottom, left:right] += inside

        canonical_shape = (placement.top + height, placement.left + width)
        halo, alignment = network.halo, network.alignment
        run_tiled(tile, keep, canonical_shape, options.tile_px, halo, alignment, progress, SURROUNDINGS_PX)

    for done, placement in enumerate(ways):
        add(placement, lambda share, done=done: progress((done + share) / len(ways)))  # type: ignore[misc]
    return result


def _repeated(period: np.ndarray, y: np.ndarray, x: np.ndarray, device: torch.device | str) -> Tensor:
    """Return the values of a period, (P, Q) from site (0, 0) on, at the sites of two index arrays, float32."""
    at_y, at_x = (torch.from_numpy(index % n).to(device) for index, n in zip((y, x), period.shape, strict=True))
    return torch.from_numpy(period.astype(np.float32)).to(device)[at_y, at_x]
