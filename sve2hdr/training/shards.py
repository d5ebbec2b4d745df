"""Folders of scenes to shards, and the scenes of shards to random parts of them."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from ..errors import UnreadableWeights, UnwritableOutput
from ..network import compress
from ..simulation.simulate import LEAST_RADIANCE
from ..system.files import replacing

SHARD_FORMAT = "sve2hdr-scenes-1"
LEAST_PX = 16  # a side, of a scene
DETAIL_PX = 16  # side of the blocks that detail is told of
SLANTED_SCALE = (1.25, 2.5)  # by how much slanted parts are made smaller, so that they are as sharp as upright ones
# of a scene's green: one of them becomes saturation of the least exposed sites
PERCENTILES = np.linspace(85, 99.95, 24)


def pack_scenes(
    scenes: Iterable[tuple[str, np.ndarray]],
    folder: Path,
    shard_mb: float,
    progress: Callable[[str], None],
    leave_out: Callable[[str], None] | None = None,
) -> int:
    """Write white-balanced scenes, (name, (H, W, 3) float32), into shards of at most about `shard_mb`; return how many.

    Each is stored as half floats with its 99.95th percentile at 64: 16 stops below it stay exact to 0.1 %. What
    holds no light, or values that are not finite, or is below 16 px a side, is left out and told to `leave_out`, or to
    `progress` if that is None. The shards appear once all are written: none after an error, Ctrl-C or a crash. Raises
    UnwritableOutput, also for a folder that holds shards.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_no_shards(folder)
        staging = tempfile.TemporaryDirectory(prefix=".scenes-", dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        raise UnwritableOutput(f"{folder}: no folder can be made here ({error.strerror}); choose another") from error
    with staging as name:
        try:
            packed = _write_shards(scenes, Path(name), shard_mb, progress, leave_out or progress)
        except UnwritableOutput as error:  # it is of a folder that nobody else knows
            raise UnwritableOutput(str(error).replace(name, str(folder))) from error
        _publish(Path(name), folder)
    return packed


def check_no_shards(folder: Path) -> None:
    """Raise UnwritableOutput for a folder that holds shards, which others would mix with."""
    if any(folder.glob("*.safetensors")):
        raise UnwritableOutput(f"{folder}: holds shards already; name an empty folder")


def _publish(staged: Path, folder: Path) -> None:
    """Move all shards of a folder to where they are looked for, or none."""
    check_no_shards(folder)  # again: another run may have been faster
    shards = sorted(staged.iterdir())
    try:
        for shard in shards:
            shard.rename(folder / shard.name)
    except BaseException:
        for shard in shards:
            if not shard.exists():  # it was moved
                (folder / shard.name).unlink(missing_ok=True)
        raise


def _write_shards(
    scenes: Iterable[tuple[str, np.ndarray]],
    folder: Path,
    shard_mb: float,
    progress: Callable[[str], None],
    leave_out: Callable[[str], None],
) -> int:
    shard: dict[str, np.ndarray] = {}
    packed = shards = 0

    def flush() -> None:
        nonlocal shards
        with replacing(folder / f"scenes-{shards:03d}.safetensors") as partial:
            partial.write_bytes(save(shard, metadata={"format": SHARD_FORMAT}))
        shards += 1
        shard.clear()

    for name, scene in scenes:
        top = float(np.percentile(scene[..., 1], 99.95)) if np.isfinite(scene).all() else 0.0
        if top < LEAST_RADIANCE:
            leave_out(f"{name}: left out, no light in it or values that are not finite")
            continue
        if min(scene.shape[:2]) < LEAST_PX:
            leave_out(f"{name}: left out, {scene.shape[1]} x {scene.shape[0]} px are below {LEAST_PX} a side")
            continue
        with np.errstate(over="ignore"):
            half = np.clip(scene.transpose(2, 0, 1) * (64 / top), 0, 60_000).astype(np.float16)
        if shard and sum(a.nbytes for a in shard.values()) + half.nbytes > shard_mb * 2**20:
            flush()
        key = f"{packed:05d} {name}".encode("utf-8", "replace").decode()  # a file's name may be no Unicode
        shard[key] = np.ascontiguousarray(half)
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
