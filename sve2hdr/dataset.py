"""Folders of scenes to shards, and shards to batches of simulated mosaics with their ground truth."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from .architecture import ArchitectureConfig
from .errors import UnreadableWeights, UnwritableOutput
from .files import replacing
from .network import compress
from .radiance import site_planes
from .simulate import LEAST_RADIANCE, NEUTRAL, expose

SHARD_FORMAT = "sve2hdr-scenes-1"
LEAST_PX = 16  # a side, of a scene
DETAIL_PX = 16  # side of the blocks that detail is told of
SLANTED_SCALE = (1.25, 2.5)  # by how much slanted parts are made smaller, so that they are as sharp as upright ones
# of a scene's green: one of them becomes saturation of the least exposed sites
PERCENTILES = np.linspace(85, 99.95, 24)


def pack_scenes(
    scenes: Iterable[tuple[str, np.ndarray]], folder: Path, shard_mb: float, progress: Callable[[str], None]
) -> int:
    """Write white-balanced scenes, (name, (H, W, 3) float32), into shards of at most about `shard_mb`; return how many.

    Each is stored as half floats with its 99.95th percentile at 64: 16 stops below it stay exact to 0.1 %. What
    holds no light, or values that are not finite, or is below 16 px a side, is told to `progress` and left out. Raises
    UnwritableOutput.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableOutput(f"{folder}: no folder can be made here ({error.strerror}); choose another") from error
    shard: dict[str, np.ndarray] = {}
    packed = shards = 0

    def flush() -> None:
        nonlocal shards
        with replacing(folder / f"scenes-{shards:03d}.safetensors", overwrite=True) as partial:
            partial.write_bytes(save(shard, metadata={"format": SHARD_FORMAT}))
        shards += 1
        shard.clear()

    for name, scene in scenes:
        top = float(np.percentile(scene[..., 1], 99.95)) if np.isfinite(scene).all() else 0.0
        if top < LEAST_RADIANCE:
            progress(f"{name}: left out, no light in it or values that are not finite")
            continue
        if min(scene.shape[:2]) < LEAST_PX:
            progress(f"{name}: left out, {scene.shape[1]} x {scene.shape[0]} px are below {LEAST_PX} a side")
            continue
        with np.errstate(over="ignore"):
            half = np.clip(scene.transpose(2, 0, 1) * (64 / top), 0, 60_000).astype(np.float16)
        if shard and sum(a.nbytes for a in shard.values()) + half.nbytes > shard_mb * 2**20:
            flush()
        shard[f"{packed:05d} {name}"] = np.ascontiguousarray(half)
        packed += 1
        progress(f"{name}: {half.shape[2]} x {half.shape[1]}")
    if shard:
        flush()
    return packed


class Scenes:
    """The scenes of a folder of shards, in memory, with the levels that exposures are chosen from."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Load all shards of `folder`; raise UnreadableWeights if there are none, or one is not ours."""
        self.images: list[Tensor] = []  # (3, H, W) float16
        self.detail: list[Tensor] = []  # (H / DETAIL_PX, W / DETAIL_PX) float32, of each
        levels: list[np.ndarray] = []
        digest = hashlib.sha256()
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="pt") as shard:
                    if (shard.metadata() or {}).get("format") != SHARD_FORMAT:
                        raise UnreadableWeights(f"{path}: not a shard of scenes; make some with sve2hdr dataset")
                    for name in sorted(shard.keys()):
                        image = shard.get_tensor(name)
                        digest.update(f"{name} {tuple(image.shape)}".encode())
                        levels.append(np.percentile(image[1].numpy()[::2, ::2].astype(np.float32), PERCENTILES))
                        self.images.append(image.to(device))
                        self.detail.append(_detail(image, max(float(np.interp(98, PERCENTILES, levels[-1])), 1e-3)))
            except (SafetensorError, OSError) as error:
                finding = f"cannot be read ({error})"
                raise UnreadableWeights(f"{path}: {finding}; pack it again with sve2hdr dataset") from error
        if not self.images:
            raise UnreadableWeights(f"{folder}: no shards here; make some with sve2hdr dataset")
        digest.update(np.stack(levels).tobytes())
        self.digest = digest.hexdigest()  # what tells these scenes from others
        self.levels = np.maximum(np.stack(levels), 1e-3)
        # larger scenes are drawn more often, but not in proportion: they are of one place and one light all the same
        area = np.array([math.sqrt(image.shape[1] * image.shape[2]) for image in self.images])
        self.probability = area / area.sum()

    def crop(
        self, index: int, size: int, rng: np.random.Generator, by_detail: float = 1.0, slanted: float = 0.0
    ) -> Tensor:
        """Return a random, randomly turned part of one scene, (3, size, size) float32; sometimes at half scale.

        `slanted` is the share of parts that are turned by any angle and made `SLANTED_SCALE` times smaller. Of the
        others, the share `by_detail` is drawn in proportion to the detail in them, which is about how wrong a
        reconstruction will be: with a loss that counts a patch's root mean square error, this trains for the mean
        square error of scenes. All other parts are as likely.
        """
        image = self.images[index]
        if rng.random() < slanted:
            patch = _slanted(image, size, rng)
            return patch.flip(2) if rng.random() < 0.5 else patch
        scale = 2 if rng.random() < 0.15 and min(image.shape[1:]) >= 2 * size else 1
        side = size * scale
        if rng.random() < by_detail and min(image.shape[1:]) >= side:
            top, left = self._detailed_place(index, side, rng)
        else:
            image = image.repeat(1, *(math.ceil(side / n) for n in image.shape[1:]))
            top, left = (int(rng.integers(0, n - side + 1)) for n in image.shape[1:])
        patch = image[:, top : top + side, left : left + side].float()
        if scale == 2:
            patch = F.avg_pool2d(patch, 2)
        if rng.random() < 0.5:
            patch = patch.flip(1)
        if rng.random() < 0.5:
            patch = patch.flip(2)
        return patch.transpose(1, 2) if rng.random() < 0.5 else patch

    def _detailed_place(self, index: int, side: int, rng: np.random.Generator) -> tuple[int, int]:
        """Return the first row and column of a part that lies wholly inside the scene."""
        block = F.avg_pool2d(self.detail[index][None], math.ceil(side / DETAIL_PX), 1)[0]
        chance = (block + 0.1 * block.mean() + 1e-12).sqrt().flatten().cumsum(0)  # even plain parts are seen
        at = int(torch.searchsorted(chance, float(chance[-1]) * rng.random()).clamp_max(len(chance) - 1))
        near = (int(n * DETAIL_PX + rng.integers(-DETAIL_PX // 2, DETAIL_PX // 2)) for n in divmod(at, block.shape[1]))
        top, left = (min(max(n, 0), most - side) for n, most in zip(near, self.images[index].shape[1:], strict=True))
        return top, left


def _slanted(image: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """Return a part of a scene turned by any angle and made smaller: (3, H, W) -> (3, size, size) float32."""
    height, width = image.shape[1:]
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    half = size / 2 * (abs(cos) + abs(sin))  # of the upright square around the part, at full scale
    scale = min(rng.uniform(*SLANTED_SCALE), max(1.0, (min(height, width) - 2) / (2 * half)))
    margin = math.ceil(half * scale) + 1
    cy, cx = (rng.uniform(margin, max(margin, n - margin)) for n in (height, width))
    top, left = max(0, int(cy) - margin), max(0, int(cx) - margin)
    around = image[None, :, top : int(cy) + margin + 2, left : int(cx) + margin + 2].float()
    at = (torch.arange(2 * size, device=image.device) + 0.5 - size) * (scale / 2)  # two samples a pixel, averaged
    y, x = cy - top + cos * at[:, None] - sin * at[None], cx - left + sin * at[:, None] + cos * at[None]
    grid = torch.stack([2 * x / around.shape[3] - 1, 2 * y / around.shape[2] - 1], -1)[None]
    return F.avg_pool2d(F.grid_sample(around, grid, padding_mode="reflection", align_corners=False), 2)[0]


def _detail(image: Tensor, saturation: float) -> Tensor:
    """Return how much fine detail blocks of a scene hold: (3, H, W) -> (H / DETAIL_PX, W / DETAIL_PX)."""
    seen = compress((image.float() / saturation).clamp(0, 1))
    fine = seen - F.avg_pool2d(seen[None], 5, 1, 2, count_include_pad=False)[0]
    return F.avg_pool2d(fine.square().mean(0)[None], DETAIL_PX, ceil_mode=True)[0]


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
        sites(gain * wrong[0]), sites(read * wrong[1]),
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
    light = torch.einsum("nij,njhw->nihw", torch.from_numpy(_cameras(rng, n)).to(device), light)
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
