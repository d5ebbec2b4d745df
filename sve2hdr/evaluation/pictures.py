"""Where reconstructions are worst: crops of truth and results side by side, with their error maps below."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..curve import srgb_encoded
from ..errors import UnwritableOutput
from ..hdrfile import write_preview
from ..simulation.simulate import NEUTRAL
from .evaluate import BORDER_PX, Condition, Scene
from .metrics import mu_law

CROP_PX, ENLARGED, GAP_PX = 64, 4, 4
REGIONS = 3  # of a scene and condition
WHITE_OVER_MEDIAN = 5.5  # display white: 2.5 EV above the crop's median, which then is middle grey
ERROR_WHITE = 0.1  # error of the mu-law that is shown white
NAME_BYTES = 100  # at most, of a scene's name in those of its pictures


Region = tuple[slice, slice]  # rows and columns


def worst_regions(image: np.ndarray, truth: np.ndarray) -> list[Region]:
    """Return the regions, at most three, of the largest mean squared error of the mu-law, the worst first.

    They lie on a grid of half their side, inside of the border, and do not overlap. An image smaller than a region and
    the border is one region.
    """
    error, side = np.square(mu_law(image) - mu_law(truth)).mean(2), CROP_PX
    starts = [
        range(BORDER_PX, n - side - BORDER_PX + 1, side // 2) if n >= side + 2 * BORDER_PX else range(1)
        for n in error.shape
    ]
    candidates = [(slice(y, y + side), slice(x, x + side)) for y in starts[0] for x in starts[1]]
    chosen: list[Region] = []
    for region in sorted(candidates, key=lambda r: -float(error[r].mean())):
        if len(chosen) < REGIONS and not any(_overlap(region, other) for other in chosen):
            chosen.append(region)
    return chosen


def _overlap(a: Region, b: Region) -> bool:
    return all(abs(p.start - q.start) < CROP_PX for p, q in zip(a, b, strict=True))


def comparison(images: Mapping[str, np.ndarray], truth: np.ndarray, region: Region) -> np.ndarray:
    """Return one region as sRGB, (H, W, 3) uint8: the truth and each image in a row, their error maps below.

    Images and truth are the simulated camera's RGB at one scale, and are shown at one exposure, by the truth's median;
    an error map shows |error| of `mu_law`, white from 0.1 on, channel by channel. Enlarged fourfold.
    """
    wanted = truth[region]
    shown = [_displayed(crop, wanted) for crop in (wanted, *(image[region] for image in images.values()))]
    errors = [np.abs(mu_law(image[region]) - mu_law(wanted)) / ERROR_WHITE for image in images.values()]
    maps = [np.zeros(wanted.shape), *errors]
    rows = [_joined([_code(plane) for plane in planes], 1) for planes in (shown, maps)]
    return _joined(rows, 0)


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """Make a folder for pictures, before long work; raise UnwritableOutput if that fails or it is not empty.

    With `overwrite`, pictures in it may be replaced.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not overwrite and any(folder.iterdir()):
            raise UnwritableOutput(f"{folder}: is not empty; give --overwrite or name another folder")
    except OSError as error:
        raise UnwritableOutput(f"{folder}: cannot be made ({error.strerror or error}); name another folder") from error


def write_pictures(
    folder: Path, scene: Scene, condition: Condition, images: Mapping[str, np.ndarray], overwrite: bool = False
) -> list[Path]:
    """Write the worst regions of the last of the images as FOLDER/<scene>-<condition>-<n>.png; return the paths.

    The columns are the truth and `images` in their order; other signs than letters, digits and .,+- become a dash, and
    long names are cut. Raises UnwritableOutput as `write_preview` does.
    """
    paths = []
    prefix = f"{_shortened(_as_name(scene.name))}-{_shortened(_as_name(str(condition)))}"
    for n, region in enumerate(worst_regions(list(images.values())[-1], scene.truth), 1):
        paths.append(folder / f"{prefix}-{n}.png")
        write_preview(paths[-1], comparison(images, scene.truth, region), overwrite=overwrite)
    return paths


def _as_name(text: str) -> str:
    return re.sub(r"[^\w.,+-]+", "-", text)


def _shortened(name: str) -> str:
    """Return a name of at most NAME_BYTES bytes; one that was cut ends with a digest, which keeps it apart."""
    stored = name.encode()
    if len(stored) <= NAME_BYTES:
        return name
    digest = hashlib.sha256(stored).hexdigest()[:8]
    return f"{stored[: NAME_BYTES - 9].decode(errors='ignore')}-{digest}"


def _displayed(crop: np.ndarray, truth: np.ndarray) -> np.ndarray:
    neutral = np.float32(NEUTRAL)
    white = WHITE_OVER_MEDIAN * max(float(np.median(truth / neutral)), 1e-6)
    saturated = 1 / neutral.max()  # of all channels; what is lost above it would be pink
    return np.asarray(srgb_encoded(np.clip(np.minimum(crop / neutral, saturated) / white, 0, 1)))


def _code(plane: np.ndarray) -> np.ndarray:
    code: np.ndarray = np.rint(255 * np.clip(plane, 0, 1)).astype(np.uint8)
    return code.repeat(ENLARGED, 0).repeat(ENLARGED, 1)


def _joined(parts: list[np.ndarray], axis: int) -> np.ndarray:
    gap = [(0, GAP_PX if a == axis else 0) for a in range(3)]
    padded = [np.pad(part, gap, constant_values=255) for part in parts[:-1]]
    return np.concatenate([*padded, parts[-1]], axis)
