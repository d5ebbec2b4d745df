"""Scenes to batches of simulated mosaics with their ground truth."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..architecture import ArchitectureConfig
from ..radiance import ROUNDING, site_planes
from ..simulation.lens import displaced
from ..simulation.simulate import NEUTRAL, expose
from .shards import PERCENTILES, Scenes


@dataclass(frozen=True)
class SimulationRanges:
    """What training draws from. Real files differ from their tags, so the network is shown levels a little wrong."""

    ratio_ev: tuple[float, float] = (1.0, 6.0)  # uniform; 3 EV, the usual setting of Dual ISO, is drawn more often
    usual_ratio_ev: float = 3.0
    full_well_e: tuple[float, float] = (400.0, 60_000.0)  # log-uniform: ISO 100 to 6400
    usual_full_well_e: tuple[float, float] = (12_000.0, 60_000.0)  # of half the patches: the low ISO is mostly 100
    read_noise_e: tuple[float, float] = (1.5, 10.0)  # log-uniform
    spans: tuple[float, ...] = (15_000.0, 15_000.0, 15_000.0, 3_800.0, 60_000.0)  # counts, black to white
    black_error: float = 1.0  # counts at 14 bits, standard deviation, for each exposure apart
    ratio_error_ev: float = 0.03  # standard deviation
    noise_error_ev: float = 0.8  # standard deviation of the noise model's gain and read noise
    row_noise: float = 0.6  # at most, standard deviation as a share of read noise
    shadows: float = 0.1  # share of patches of deep shadows: 3 to 8 EV darker than others, where noise is what is seen
    vivid: float = 0.15  # share of patches whose colours are made more saturated, until channels are black
    vivid_black: float = 0.25  # at most, share of their pixels that then have a black channel
    vivid_saturation: float = 2.5  # at most, times as saturated
    coloured_light: float = 0.07  # share of patches under light of one or two channels, as of stages and neon signs
    coloured_light_ev: tuple[float, float] = (1.0, 9.0)  # uniform: by how much it has less of the other channels
    aberration: float = 0.35  # share of patches with lateral chromatic aberration: red and blue beside green
    aberration_px: float = 1.2  # at most, each of the two, along one line
    defective: float = 0.15  # share of patches with hot and cold sites
    defects: tuple[float, float] = (1e-4, 2e-3)  # log-uniform: share of their sites
    slanted: float = 0.3  # share of patches turned by any angle: other edges, textures of other scales
    crops_by_detail: float = 0.5  # share of the other patches; plain parts train what the eye sees in the dark


def batches(
    scenes: Scenes,
    config: ArchitectureConfig,
    ranges: SimulationRanges,
    patch_px: int,
    batch: int,
    seed: int,
    first_step: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (planes, truth) for step `first_step` and on; a step's batch depends on nothing but seed and step.

    planes: (batch, 4, patch_px, patch_px) as networks take them; truth: (batch, 3, patch_px, patch_px), camera RGB
    radiance, at most 1.0, the saturation of the least exposed sites. `patch_px` is a multiple of the network's cell.
    """
    for step in itertools.count(first_step):
        yield _batch(scenes, config, ranges, patch_px, batch, (seed, step))


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float], n: int) -> np.ndarray:
    low, high = np.log(limits)
    return np.asarray(np.exp(rng.uniform(low, high, n)))


def _batch(
    scenes: Scenes, config: ArchitectureConfig, ranges: SimulationRanges, patch_px: int, n: int, seed: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return planes (N, 4, H, W) and camera RGB (N, 3, H, W), clipped where nothing records it."""
    rng = np.random.default_rng(seed)
    device = scenes.images[0].device
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))

    def column(values: np.ndarray) -> Tensor:  # one number, or one per group of sites, for each patch
        return _columns(values, device)

    light = _light(scenes, ranges, patch_px, n, rng)
    rank = torch.tensor(config.exposure_rank, device=device)
    groups = int(rank.max()) + 1
    usual = rng.random(n) < 0.35
    ratio_ev = np.where(usual, ranges.usual_ratio_ev, rng.uniform(*ranges.ratio_ev, n))
    steps = _exposure_steps(rng, n, groups, config.any_exposures)
    ev = -ratio_ev[:, None] * steps  # (N, groups)
    by_gain = rng.random(n)[:, None] < 0.5
    span = rng.choice(ranges.spans, n)[:, None]
    wells = [_log_uniform(rng, limits, n)[:, None] for limits in (ranges.full_well_e, ranges.usual_full_well_e)]
    full_well_e = np.where(rng.random((n, 1)) < 0.5, *wells)
    read_e = _log_uniform(rng, ranges.read_noise_e, n)[:, None]
    preamp_e = read_e * rng.uniform(0.1, 0.9, (n, 1))
    gain = span / full_well_e * np.where(by_gain, np.exp2(ev + ratio_ev[:, None]), 1.0)
    read = np.sqrt((gain * preamp_e) ** 2 + (span / full_well_e) ** 2 * (read_e**2 - preamp_e**2))
    span_e = full_well_e * np.where(by_gain, 1.0, np.exp2(ev + ratio_ev[:, None]))

    def sites(values: np.ndarray) -> Tensor:  # (N, groups) -> (N, 1, H, W)
        cell = column(values)[:, rank.reshape(-1), 0, 0].reshape(n, 1, *config.cell)
        return cell.repeat(1, 1, patch_px // config.cell[0], patch_px // config.cell[1])

    letters = torch.tensor([["RGB".index(c) for c in row] for row in config.cfa], device=device)
    colour = letters.repeat(patch_px // config.cell[0], patch_px // config.cell[1]).expand(n, 1, -1, -1)
    black = span * 0.07
    row_noise = column(rng.uniform(0, ranges.row_noise, n))
    rows = torch.randn((n, 1, patch_px, 1), generator=generator, device=device) * row_noise
    counts = expose(
        light.gather(1, colour), sites(gain), sites(span_e), sites(read), column(black) + rows * sites(read),
        column(black + span), generator,
    )  # fmt: skip
    share = np.where(rng.random(n) < ranges.defective, _log_uniform(rng, ranges.defects, n), 0)
    broken, stuck_at = torch.rand((2, *counts.shape), generator=generator, device=device)
    counts = torch.where(broken < column(share), column(black) + stuck_at**2 * column(span), counts)

    ratio_error = rng.normal(0, ranges.ratio_error_ev, (n, groups))
    fewer = (steps[:, :, None] < steps[:, None, :]).sum(2)  # groups that are exposed less: equal for equal exposures
    exposure = np.exp2(ev + np.where(steps > 0, np.take_along_axis(ratio_error, fewer, 1), 0))
    wrong = np.exp2(rng.normal(0, ranges.noise_error_ev, (2, n, 1)))
    believed_black = black + rng.normal(0, ranges.black_error, (n, groups)) * span / 15_000
    radiance, usable, noise = site_planes(
        counts, sites(believed_black), column(black + span), sites(exposure), column(exposure.min(1)),
        sites(gain * wrong[0]), sites(np.sqrt(read**2 + ROUNDING) * wrong[1]),
    )  # fmt: skip
    return torch.cat([radiance, sites(exposure), usable, noise], 1), light.clamp(0, 1)


def _columns(values: np.ndarray, device: torch.device) -> Tensor:
    """Return values of N patches, (N,) or (N, C), as (N, 1 or C, 1, 1) float32."""
    return torch.from_numpy(np.float32(values)).to(device).reshape(len(values), -1, 1, 1)


def _light(scenes: Scenes, ranges: SimulationRanges, patch_px: int, n: int, rng: np.random.Generator) -> Tensor:
    """Return camera RGB of random parts of scenes, (N, 3, H, W) float32, 1.0 = where the least exposed sites clip."""
    picked = rng.choice(len(scenes.images), n, p=scenes.probability)
    light = torch.stack([scenes.crop(int(i), patch_px, rng, ranges.crops_by_detail, ranges.slanted) for i in picked])
    device = light.device
    levels = np.array([np.interp(rng.uniform(85, 99.95), PERCENTILES, scenes.levels[i]) for i in picked])
    light /= _columns(levels, device)
    black = np.where(rng.random(n) < ranges.vivid, rng.uniform(0, ranges.vivid_black, n), -1)
    for i in np.flatnonzero(black >= 0):
        light[i] = _vivid(light[i], black[i], ranges.vivid_saturation)
    lit, weak = rng.random((n, 1)) < ranges.coloured_light, rng.random((n, 3)) < 0.6
    missing_ev = np.where(lit & weak, rng.uniform(*ranges.coloured_light_ev, (n, 3)), 0)
    light *= _columns(np.exp2(missing_ev.min(1, keepdims=True) - missing_ev), device)
    light = torch.einsum("nij,njhw->nihw", torch.from_numpy(_cameras(rng, n)).to(device), light)
    angles, moves = rng.uniform(0, np.pi, n), rng.uniform(-ranges.aberration_px, ranges.aberration_px, (n, 2))
    for i in np.flatnonzero(rng.random(n) < ranges.aberration):
        red, blue = moves[i]
        light[i] = displaced(light[i], np.outer([red, 0, blue], [np.sin(angles[i]), np.cos(angles[i])]))
    darker_ev = np.where(rng.random(n) < 0.2, rng.uniform(0, 3, n), 0)  # some frames are underexposed
    darker_ev += np.where(rng.random(n) < ranges.shadows, rng.uniform(3, 8, n), 0)
    return light * _columns(np.exp2(-darker_ev), device)


def _vivid(light: Tensor, black: float, most: float) -> Tensor:
    """Return (3, H, W) at most `most` times as saturated: until the share `black` of its pixels has a black channel.

    Colours that a camera sees and linear Rec. 709 cannot hold are such: foliage, flowers and lamps have black channels
    in most HDR images, beside fine detail.
    """
    grey = light.mean(0, keepdim=True)
    until_black = grey / (grey - light.amin(0, keepdim=True)).clamp_min(1e-12)
    saturation = torch.quantile(until_black, black).clamp(1, most)
    return (grey + saturation * (light - grey)).clamp_min(0)


def _exposure_steps(rng: np.random.Generator, n: int, groups: int, any_exposures: bool) -> np.ndarray:
    """Return where exposures lie between the most (0) and the least exposed group (1), in EV: (N, groups).

    In even steps, least exposed first; with `any_exposures` also of two or three levels, uneven, and in any order.
    """
    even = np.tile(np.linspace(1, 0, groups) if groups > 1 else np.ones(1), (n, 1))
    if not any_exposures:
        return even
    levels = rng.choice([2, 3, groups], (n, 1), p=[0.5, 0.2, 0.3])
    uneven = (np.round(even * (levels - 1)) / (levels - 1)) ** _log_uniform(rng, (0.5, 2), n)[:, None]
    return np.asarray(rng.permuted(uneven, axis=1))


def _cameras(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return random camera RGB <- white-balanced RGB, (N, 3, 3) float32: channels overlap, red and blue are weaker."""
    overlap = rng.dirichlet((1, 1, 1), (n, 3)) * rng.uniform(0, 0.4, (n, 1, 1)) * (rng.random((n, 1, 1)) < 0.6)
    mixing = overlap + np.eye(3) * (1 - overlap.sum(2, keepdims=True))
    balance = NEUTRAL * np.exp2(rng.normal(0, 0.35, (n, 3)) * [1, 0, 1])
    return np.asarray(balance[:, :, None] * mixing, np.float32)
