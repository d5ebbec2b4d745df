"""Raw file -> HDR file: the lines that join the other modules."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .color import COLOR_SPACES
from .errors import UnwritableOutput
from .formats.lineardng import DNG_EXTENSIONS, LinearDngOptions, write_linear_dng
from .hdrfile import HDR_EXTENSIONS, PREVIEW_EXTENSIONS, encoded_preview, write_hdr
from .memory import release_freed_memory
from .models import Model
from .mosaic import ExposurePattern, upright
from .parameters import LockedParameters
from .patterntext import certainty
from .pipeline import ConvertOptions, Reconstruction, locked_for, reconstructed, share
from .preview import tone_map, tone_map_with_gain
from .radiance import clipped_share
from .rawfile import read_raw
from .system.files import check_writable, replacing, same_file

OUTPUT_EXTENSIONS = (*HDR_EXTENSIONS, *DNG_EXTENSIONS)


@dataclass(frozen=True, eq=False)
class Converted:
    """What a conversion found and made."""

    raw: Path
    outputs: tuple[Path, ...]
    pattern: ExposurePattern
    confidence: float | None  # in the pattern; None: the pattern was given
    clipped: float  # share of the least exposed sites that are saturated
    shape: tuple[int, int]
    device: str
    seconds: float
    repaired: int = 0  # sites replaced: hot, cold, stuck, focus pixels and those of a list
    repaired_kinds: str = ""  # what `summary` adds to their number
    notes: tuple[str, ...] = ()
    neutral: tuple[float, ...] = ()  # camera RGB of a neutral, green 1.0, by which the image was balanced

    def summary(self) -> str:
        """Return two lines for the user."""
        rate = self.shape[0] * self.shape[1] / 1e6 / self.seconds
        found = f"{self.pattern}, {certainty(self.pattern.ratio_ev, self.confidence)}"
        if self.pattern.ratio == 1:
            found = "one exposure"
        bad = f"; bad sites replaced: {self.repaired}{self.repaired_kinds}" if self.repaired else ""
        return (
            f"{self.raw} -> {', '.join(map(str, self.outputs))}\n"
            f"{found}; clipped in all exposures: {self.clipped:.2%}{bad}; "
            f"{self.shape[1]} x {self.shape[0]} on {self.device} in {self.seconds:.1f} s, {rate:.2f} MP/s"
        )


def convert_file(
    raw: str | Path,
    output: str | Path | Sequence[str | Path],
    model: Model | str | Path,
    options: ConvertOptions | None = None,
    progress: Callable[[float], object] = lambda share: None,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Converted:
    """Reconstruct a raw file, as `reconstruct_file` does, and write one HDR image or several, and a preview if wanted.

    What the frames of a sequence share is written to the file `lock_parameters` if there is none yet. Whatever can be
    refused without long work is refused before it. Refusals and failures to write are Sve2HdrErrors and leave no file
    behind.
    """
    options = options or ConvertOptions()
    started = time.perf_counter()
    raw, outputs = Path(raw), tuple(map(Path, [output] if isinstance(output, str | Path) else output))
    written = outputs if options.preview is None else (*outputs, options.preview)
    _check_outputs(raw, written, options)
    locked = locked_for(options)
    made = reconstructed(read_raw(raw), model, options, locked, progress, turn, raw)
    release_freed_memory()  # that of tiles, before copies of the image take as much
    mosaic, pattern = made.mosaic, made.estimate.pattern
    unsure = ""
    with ExitStack() as undone:  # if nothing can be written, nothing is shared
        if options.lock_parameters is not None and locked is None and pattern.ratio > 1:
            locked, unsure = share(made, options.lock_parameters, raw)
            undone.callback(options.lock_parameters.unlink, missing_ok=True)
        notes = _write(outputs, made, options, locked)
        undone.pop_all()
    return Converted(
        raw=raw,
        outputs=written,
        pattern=pattern,
        confidence=made.estimate.confidence,
        clipped=clipped_share(mosaic, pattern),
        shape=mosaic.shape,
        device=made.device,
        seconds=time.perf_counter() - started,
        repaired=0 if made.defects is None else made.defects.count,
        repaired_kinds="" if made.defects is None else made.defects.kinds,
        notes=tuple(note for note in (*made.notes, unsure, *notes) if note),
        neutral=tuple(float(channel) for channel in made.neutral.camera_rgb),
    )


def _check_outputs(raw: Path, written: Sequence[Path], options: ConvertOptions) -> None:
    for path in written:
        if same_file(path, raw):
            raise UnwritableOutput(f"{path}: is the raw file itself; name another output")
        check_writable(path, options.overwrite, PREVIEW_EXTENSIONS if path is options.preview else OUTPUT_EXTENSIONS)


def _write(
    outputs: Sequence[Path], made: Reconstruction, options: ConvertOptions, locked: LockedParameters | None
) -> list[str]:
    """Write the images, and the preview if wanted, upright; return notes. Overwrites `made.camera_rgb`."""
    capture = made.mosaic.capture
    attributes = made.attributes | {"sve2hdr:exposure_ev": f"{options.exposure_ev:g}"}
    look, baseline_ev = (None, None) if locked is None else (locked.look, locked.baseline_exposure_ev)
    if baseline_ev is not None:  # DNGs have the clip level as white
        baseline_ev += math.log2(made.clip_level / made.estimate.pattern.ratio)
    dngs = [path for path in outputs if path.suffix.lower() in DNG_EXTENSIONS]
    others = [path for path in outputs if path not in dngs]
    in_place = options.preview is not None and options.color_space == "rec709" and not dngs  # one image serves all
    with ExitStack() as pending:  # the preview takes its name once the image has its own
        if options.preview is not None:
            image = upright(made.linear_rgb(out=made.camera_rgb if in_place else None), capture.orientation)
            how = look, made.noise, made.lost_level, options.preview_exposure_ev
            tone_mapped, gain = tone_map_with_gain(image, *how) if options.ultra_hdr else (tone_map(image, *how), None)
            encoded = encoded_preview(options.preview, tone_mapped, capture, gain, options.preview_px)
            del image
            pending.enter_context(replacing(options.preview, options.overwrite)).write_bytes(encoded)
        for output in dngs:
            dng = LinearDngOptions(
                floating=not options.write.half, baseline_exposure_ev=baseline_ev, exposure_ev=options.exposure_ev,
                look=look, noise=made.noise,
            )  # fmt: skip
            write_linear_dng(
                output, upright(made.camera_rgb, capture.orientation), made.mosaic, made.clip_level, options=dng,
                attributes=attributes, overwrite=options.overwrite,
            )  # fmt: skip
        if not others:
            return []
        image = made.camera_rgb if in_place else made.linear_rgb(options.color_space, out=made.camera_rgb)
        if options.exposure_ev:
            image *= np.float32(2**options.exposure_ev)
        clipped_white = made.clip_level if options.color_space == "camera" else made.lost_level
        attributes["sve2hdr:clipped_white"] = f"{clipped_white * 2**options.exposure_ev:.6g}"
        return [
            write_hdr(
                output, upright(image, capture.orientation), color_space=COLOR_SPACES[options.color_space],
                capture=capture, options=options.write, attributes=attributes,
                noise=made.noise * 2**options.exposure_ev, overwrite=options.overwrite,
            )
            for output in others
        ]  # fmt: skip
