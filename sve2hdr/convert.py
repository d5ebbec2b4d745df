"""Raw file -> HDR file: the lines that join the other modules."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from . import __version__
from .classical import classical
from .color import COLOR_SPACES, linear_rgb
from .errors import PatternNotFound, Sve2HdrError, UnreadableWeights, UnwritableOutput
from .hdrfile import (
    HDR_EXTENSIONS,
    PREVIEW_EXTENSIONS,
    WriteOptions,
    check_writable,
    encoded_preview,
    replacing,
    write_hdr,
)
from .layout import place
from .levels import Levels
from .lineardng import DNG_EXTENSIONS, LinearDngOptions, write_linear_dng
from .mosaic import ExposurePattern, Mosaic
from .network import SveNet
from .noise import estimate_noise
from .preview import tone_map
from .radiance import clipped_share
from .rawfile import read_raw
from .reconstruct import TILE_PX, reconstruct
from .whitebalance import WhiteBalance, neutral_of

OUTPUT_EXTENSIONS = (*HDR_EXTENSIONS, *DNG_EXTENSIONS)


@dataclass(frozen=True)
class ConvertOptions:
    """How a raw file becomes an image."""

    color_space: str = "rec709"  # a name of color.COLOR_SPACES
    exposure_ev: float = 0.0  # added to the scale at which 1.0 is saturation of the most exposed sites
    white_balance: WhiteBalance = field(default_factory=WhiteBalance)
    preview: Path | None = None
    levels: Levels = field(default_factory=Levels)
    write: WriteOptions = field(default_factory=WriteOptions)
    tile_px: int = TILE_PX
    device: str = "auto"  # auto, cpu, cuda or mps
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class Converted:
    """What a conversion found and made."""

    raw: Path
    outputs: tuple[Path, ...]
    pattern: ExposurePattern
    confidence: float
    clipped: float  # share of the least exposed sites that are saturated
    shape: tuple[int, int]
    device: str
    seconds: float
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return two lines for the user."""
        megapixels = self.shape[0] * self.shape[1] / 1e6
        return (
            f"{self.raw} -> {', '.join(map(str, self.outputs))}\n"
            f"{self.pattern}, {self.pattern.ratio_ev:.2f} EV, confidence {self.confidence:.2f}; "
            f"clipped in all exposures: {self.clipped:.2%}; {self.shape[1]} x {self.shape[0]} on {self.device} in "
            f"{self.seconds:.1f} s, {megapixels / self.seconds:.2f} MP/s"
        )


def choose_device(name: str) -> torch.device:
    """Return the device for `--device`; auto is CUDA, else MPS, else the CPU. Raises Sve2HdrError if there is none."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available.get(name, False):
        raise Sve2HdrError(f"device {name}: torch finds none here; use --device auto or cpu")
    return torch.device(name)


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return an image, (H, W, ...), turned as EXIF Orientation 1 to 8 says: a view.

    >>> upright(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    """
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return image[::rows, ::columns]


def convert_file(
    raw: Path,
    output: Path,
    network: SveNet | None,
    model: str,
    options: ConvertOptions | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Converted:
    """Reconstruct one raw file and write it as an HDR image, and a preview if asked for.

    `network` None takes the classical method, which knows all patterns. `model` names what is taken in the output's
    attributes; progress is told the share that is done, 0 to 1. All refusals
    that need no long work come before it. They and failures to write are Sve2HdrErrors and leave no file behind.
    """
    options = options or ConvertOptions()
    started = time.perf_counter()
    check_writable(output, options.overwrite, OUTPUT_EXTENSIONS)
    if options.preview is not None:
        check_writable(options.preview, options.overwrite, PREVIEW_EXTENSIONS)
    for path in (output, options.preview):
        if path is not None and path.exists() and raw.exists() and path.samefile(raw):
            raise UnwritableOutput(f"{path}: is the raw file itself; name another output")
    device = choose_device(options.device)
    mosaic = options.levels.applied(read_raw(raw), raw)
    pattern, confidence = options.levels.pattern_of(mosaic, raw)
    try:
        if network is not None:
            place(mosaic, pattern, network.config)
    except PatternNotFound as error:
        raise PatternNotFound(f"{raw}: {error}") from error
    # measured, not taken from a DNG's NoiseProfile: converters write there what one ISO has, not what two have
    noise = estimate_noise(mosaic, pattern)
    if network is None:
        camera_rgb, device = classical(mosaic, pattern, noise, progress=progress), torch.device("cpu")
    else:
        camera_rgb = reconstruct(mosaic, pattern, noise, network, options.tile_px, device, progress)
    if not (math.isfinite(camera_rgb.min()) and math.isfinite(camera_rgb.max())):
        raise UnreadableWeights(
            f"{model}: these weights give values that are not finite; train on, or leave --model out"
        )

    neutral, note = neutral_of(options.white_balance, mosaic, camera_rgb, pattern.ratio)
    mosaic = replace(mosaic, as_shot_neutral=neutral)
    attributes = {
        "sve2hdr:version": __version__,
        "sve2hdr:model": model,
        "sve2hdr:pattern": str(pattern),
        "sve2hdr:ratio_ev": f"{pattern.ratio_ev:.3f}",
        "sve2hdr:black_level": " ".join(f"{level:g}" for level in mosaic.black_level.ravel()),
        "sve2hdr:white_level": f"{mosaic.white_level:g}",
        "sve2hdr:neutral": " ".join(f"{channel:.4f}" for channel in neutral),
        "sve2hdr:exposure_ev": f"{options.exposure_ev:g}",
    }
    notes = (f"{raw}: {note}" if note else "", _write(output, camera_rgb, mosaic, pattern.ratio, options, attributes))
    return Converted(
        raw=raw,
        outputs=(output,) if options.preview is None else (output, options.preview),
        pattern=pattern,
        confidence=confidence,
        clipped=clipped_share(mosaic, pattern),
        shape=mosaic.shape,
        device=device.type,
        seconds=time.perf_counter() - started,
        notes=tuple(note for note in notes if note),
    )


def _write(
    output: Path,
    camera_rgb: np.ndarray,
    mosaic: Mosaic,
    clip_level: float,
    options: ConvertOptions,
    attributes: Mapping[str, str],
) -> str:
    """Write the image, and the preview if asked for, upright: both or neither. Uses up `camera_rgb`; returns a note."""
    orientation, capture = mosaic.capture.orientation, mosaic.capture
    with ExitStack() as pending:  # the preview takes its name once the image has its own
        if options.preview is not None:
            rec709 = linear_rgb(camera_rgb, mosaic, COLOR_SPACES["rec709"], clip_level)
            encoded = encoded_preview(options.preview, tone_map(upright(rec709, orientation)), capture)
            del rec709
            pending.enter_context(replacing(options.preview, options.overwrite)).write_bytes(encoded)
        if output.suffix.lower() in DNG_EXTENSIONS:
            dng = LinearDngOptions(floating=not options.write.half, exposure_ev=options.exposure_ev)
            write_linear_dng(
                output, upright(camera_rgb, orientation), mosaic, clip_level, options=dng, attributes=attributes,
                overwrite=options.overwrite,
            )  # fmt: skip
            return ""
        space = COLOR_SPACES[options.color_space]
        image = linear_rgb(camera_rgb, mosaic, space, clip_level, out=camera_rgb)
        if options.exposure_ev:
            image *= np.float32(2**options.exposure_ev)
        return write_hdr(
            output, upright(image, orientation), color_space=space, capture=capture, options=options.write,
            attributes=attributes, overwrite=options.overwrite,
        )  # fmt: skip
