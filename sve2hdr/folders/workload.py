"""What one conversion of a batch takes of a machine, and so how many may run at a time."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import Sve2HdrError
from ..formats.tifftags import number, read_ifds
from ..system.places import Place

DEFAULT_SHARE = 0.75  # of what is available
TILES_PX, GOOD_TILE_PX = (1024, 768, 512, 384, 256), 512  # smaller ones are mostly halo: a last resort
# Peak memory of a worker, MB, measured with `examples/bench_batch.py model`: what Python and torch take, what a
# frame takes (several formats and a preview), and what a tile takes: the same for all networks, and for each feature
# of the widest layer, between what bfloat16 and float32 take.
BASE_MB, MB_PER_MP, MB_PER_TILE_MP, MB_PER_FEATURE = 310.0, 34.0, 320.0, 34.0
MARGIN = 1.15  # the measured model is met within that
LEAST_MP = 6.0  # frames of unknown size are taken for at least so large
MOST_WORKERS = 60 if os.name == "nt" else 10_000  # Windows waits for 63 things at most before Python 3.13
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 800M, 4G or 1.5 GiB; raise ValueError, with a sentence for the user.

    >>> parse_size("1.5G"), parse_size("800 MiB")
    (1610612736, 838860800)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT])(?:I?B)?\s*", text.upper())
    if not found or float(found[1]) <= 0:
        raise ValueError(f"{text!r} is no size of memory with its unit; write 4G or 800M")
    return int(float(found[1]) * UNITS[found[2]])


def megapixels_of(path: Place) -> float:
    """Return how large a raw file's frame is at most, MP, by its tags, or else by its size on disk."""
    tags = read_ifds(path) if isinstance(path, Path) else []  # a batch has no time to open each file at a URL
    by_tags = [(number(ifd, 256) or 0) * (number(ifd, 257) or 0) / 1e6 for _, ifd in tags]  # ImageWidth, ImageLength
    by_tags = [size for size in by_tags if size < 1000]
    with contextlib.suppress(OSError):
        largest = path.stat().st_size / 1e6  # a byte a site: no camera packs tighter
        return max(by_tags) if by_tags and max(by_tags) > 1 else min(largest, 200.0)
    return max(by_tags, default=0.0)


@dataclass(frozen=True)
class Load:
    """What a worker's memory depends on, tiles apart."""

    megapixels: float  # of the largest frame
    features_per_px: float  # of the widest network, as `Model.features_per_px` has it

    def worker_mb(self, tile_px: int) -> float:
        """Return the peak memory of a worker, MB, after the measured model.

        >>> Load(24, 8).worker_mb(512) < Load(24, 8).worker_mb(1024) < Load(24, 16).worker_mb(1024)
        True
        """
        megapixels = max(self.megapixels, LEAST_MP)
        tile_mb = (MB_PER_TILE_MP + MB_PER_FEATURE * self.features_per_px) * min(tile_px**2 / 1e6, megapixels)
        return MARGIN * (BASE_MB + MB_PER_MP * megapixels + tile_mb)


def too_large(limit_bytes: int, load: Load, tile_px: int | None = None) -> str:
    """Return why not even one worker can do a frame, for the user, or "". `tile_px` is as `plan` has it.

    Nothing is said of a frame where none of any size fits: that is for `plan` to say, once.

    >>> too_large(4 * 10**9, Load(24, 8)), too_large(10**8, Load(24, 8))
    ('', '')
    """
    limit_mb, smallest = limit_bytes / 1e6, TILES_PX[-1] if tile_px is None else tile_px
    need = load.worker_mb(smallest)
    if need <= limit_mb or replace(load, megapixels=0.0).worker_mb(smallest) > limit_mb:
        return ""
    return (
        f"has {load.megapixels:.0f} MP, by its tags or its size, which need about {need / 1000:.1f} GB of memory where "
        f"only {limit_mb / 1000:.1f} GB may be used; give a larger --memory or a smaller --tile"
    )


@dataclass(frozen=True)
class Plan:
    """How many workers run, and how."""

    workers: int
    threads: int  # of each
    tile_px: int
    worker_mb: float  # what each may take


def plan(
    limit_bytes: int,
    load: Load,
    cores: int,
    workers: int | None = None,
    tile_px: int | None = None,
    most: int | None = None,
) -> Plan:
    """Return how many workers of how many threads fit into a limit, with tiles as large as leaves room for them.

    `workers` and `tile_px` are what the user asks for; None: as many as there are cores, but `most` at most, as large
    as fits. However many they are, they share out all cores. Raises Sve2HdrError where not even one worker fits, or not
    as many as asked for.
    """
    limit_mb = limit_bytes / 1e6
    tiles = TILES_PX if tile_px is None else (tile_px,)
    most = min(cores, MOST_WORKERS, MOST_WORKERS if most is None else most)
    counts = range(most, 0, -1) if workers is None else (min(workers, MOST_WORKERS),)
    choices = [(count, tile) for count in counts for tile in tiles]
    for count, tile in sorted(choices, key=lambda choice: tile_px is None and choice[1] < GOOD_TILE_PX):
        if count * load.worker_mb(tile) <= limit_mb:
            return Plan(count, max(1, cores // count), tile, limit_mb / count)
    need = load.worker_mb(tiles[-1]) * counts[-1]
    raise Sve2HdrError(
        f"{limit_mb / 1000:.1f} GB of memory are too little for {workers or 1} worker(s) on "
        f"frames of {max(load.megapixels, LEAST_MP):.0f} MP, which need about {need / 1000:.1f} GB; give a larger "
        "--memory, fewer --workers, or a smaller --tile"
    )
