"""Mosaic + pattern + network -> camera RGB: the whole middle on one page."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .layout import place
from .mosaic import ExposurePattern, Mosaic
from .network import SveNet
from .radiance import NoiseModel, site_planes
from .tiles import run_tiled

TILE_PX = 1024  # the default: smaller tiles are mostly halo, larger ones need more memory than they save time


def reconstruct(
    mosaic: Mosaic,
    pattern: ExposurePattern,
    noise: NoiseModel,
    network: SveNet,
    tile_px: int = TILE_PX,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> np.ndarray:
    """Return camera RGB, (H, W, 3) float32: radiance, 1.0 = saturation of the most exposed sites, not clamped.

    Memory beyond the result is that of one tile of tile_px x tile_px and its halo. Raises PatternNotFound if the
    network was trained for another kind of pattern.
    """
    placement = place(mosaic, pattern, network.config)
    least = float(pattern.exposure.min())
    result = np.empty((*mosaic.shape, 3), np.float32)
    turned_result = placement.turned(result)
    height, width = turned_result.shape[:2]
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it

    def tile(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        y, x = placement.sites(rows, columns, mosaic.shape, network.config.cell)
        black, exposure, gain, read_noise = (
            period.astype(np.float32)[y % period.shape[0], x % period.shape[1]]
            for period in (mosaic.black_level, pattern.exposure, noise.gain, noise.read_noise)
        )
        counts, white = mosaic.counts[y, x].astype(np.float32), np.float32(mosaic.white_level)
        radiance, usable, sigma = site_planes(counts, black, white, exposure, np.float32(least), gain, read_noise)
        planes = torch.from_numpy(np.stack([radiance, exposure, usable, sigma])[None])
        with torch.inference_mode():
            image = network(planes.to(device))[0]
        return np.asarray(image.permute(1, 2, 0).cpu())

    def keep(rows: tuple[int, int], columns: tuple[int, int], core: np.ndarray) -> None:
        top, bottom = max(rows[0], placement.top), min(rows[1], placement.top + height)
        left, right = max(columns[0], placement.left), min(columns[1], placement.left + width)
        inside = core[top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]]
        turned_result[top - placement.top : bottom - placement.top, left - placement.left : right - placement.left] = (
            inside / np.float32(least)
        )

    canonical_shape = (placement.top + height, placement.left + width)
    run_tiled(tile, keep, canonical_shape, tile_px, network.halo, network.alignment, progress)
    return result
