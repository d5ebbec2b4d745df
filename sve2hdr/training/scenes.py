"""Where training scenes come from: HDR images, raw exposure stacks, and synthesis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import Sve2HdrError
from ..formats.imageread import READABLE_EXTENSIONS, read_scene
from ..raw.rawcheck import RAW_EXTENSIONS
from ..simulation.stack import half_size_scene, read_stack
from ..system.files import mode_of
from .synthetic import synthetic_scene


def collect_scenes(
    sources: Sequence[Path],
    synthetic: int,
    seed: int,
    note: Callable[[str], None],
    leave_out: Callable[[str], None] | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, (H, W, 3) float32 white-balanced radiance) of every scene.

    Unusable sources are reported to `leave_out` (to `note` if that is None), other remarks to `note`.

    A folder is one scene if it holds raws (an exposure stack, merged at half its size: `half_size_scene`), else what
    its images and folders hold; each source once. The synthetic scenes come last, with the seeds from `seed` on. Raises
    Sve2HdrError at once for a source that does not exist.
    """
    for source in sources:
        if not mode_of(source):
            raise Sve2HdrError(f"{source}: no such file or folder; check the path")
    return _scenes(sources, synthetic, seed, note, leave_out or note)


def _scenes(
    sources: Sequence[Path],
    synthetic: int,
    seed: int,
    note: Callable[[str], None],
    leave_out: Callable[[str], None],
) -> Iterator[tuple[str, np.ndarray]]:
    once = {source.resolve(): source for source in reversed(sources)}
    if len(once) < len(sources):
        note("a source that was given several times is taken once")
    for source in reversed(once.values()):
        yield from _of_path(source, note, leave_out)
    for number in range(seed, seed + synthetic):
        yield f"synthetic-{number}", synthetic_scene(number)


def _of_path(
    path: Path, note: Callable[[str], None], leave_out: Callable[[str], None]
) -> Iterator[tuple[str, np.ndarray]]:
    try:
        if not path.exists():  # a broken link, or removed since the check
            raise Sve2HdrError(f"{path}: no such file or folder; check the path")
        if path.is_file():
            scene, finding = read_scene(path)
            if finding:
                note(finding)
            yield path.stem, np.maximum(scene, 0)
            return
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        folders = [entry for entry in entries if entry.is_dir()]
        images, raws = (
            [entry for entry in entries if entry.suffix.lower() in extensions and entry not in folders]
            for extensions in (READABLE_EXTENSIONS, RAW_EXTENSIONS)
        )
        if not (images or folders or raws):
            raise Sve2HdrError(f"{path}: holds no HDR images and no raws; name a folder of either")
        if not images and not folders:
            stack = read_stack(raws)
            for finding in stack.notes:
                note(finding)
            yield path.name, half_size_scene(stack)
            return
        if raws:
            note(f"{path}: {len(raws)} raw(s) beside images or folders left out; put them into a folder")
    except (Sve2HdrError, OSError) as error:
        leave_out(f"left out: {error}")
        return
    for entry in [*images, *folders]:
        yield from _of_path(entry, note, leave_out)
