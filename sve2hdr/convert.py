"""Raw file -> HDR file: the lines that join the other modules."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from . import __version__
from .banding import remove_banding
from .classical import classical
from .color import COLOR_SPACES, linear_rgb, rgb_from_camera
from .defects import Defects, repair_defects
from .develop import ONE_EXPOSURE, develop
from .devices import choose_device
from .errors import Sve2HdrError, UnreadableWeights, UnwritableOutput
from .files import check_writable, replacing
from .hdrfile import HDR_EXTENSIONS, PREVIEW_EXTENSIONS, WriteOptions, encoded_preview, write_hdr
from .highlights import early_saturation, hold_clipped, without_magenta
from .levels import Estimate, Levels, estimate_levels
from .lineardng import DNG_EXTENSIONS, LinearDngOptions, baseline_exposure, reduced_for_preview, write_linear_dng
from .linegain import even_lines
from .memory import release_freed_memory
from .models import Model
from .mosaic import ExposurePattern, Mosaic
from .parameters import LEAD_EV, LockedParameters, load_parameters, save_parameters
from .pattern import certainty, detect_pattern
from .preview import LUMINANCE_OF_RGB, look_of, tone_map, tone_map_with_gain
from .radiance import NoiseModel, clipped_share, full_scale
from .rawfile import read_raw
from .reconstruct import TILE_PX, Precision, reconstruct
from .whitebalance import Neutral, WhiteBalance, check_temperature, neutral_of

OUTPUT_EXTENSIONS = (*HDR_EXTENSIONS, *DNG_EXTENSIONS)


@dataclass(frozen=True)
class ConvertOptions:
    """How a raw file becomes an image."""

    color_space: str = "rec709"  # a name of color.COLOR_SPACES
    exposure_ev: float = 0.0  # added to the scale at which 1.0 is saturation of the most exposed sites
    white_balance: WhiteBalance = field(default_factory=WhiteBalance)
    preview: Path | None = None
    ultra_hdr: bool = False  # a JPEG preview with a gain map, for HDR screens
    levels: Levels = field(default_factory=Levels)
    lock_parameters: Path | None = None  # what a sequence shares: file to use, or to write if there is none yet
    bad_pixels: bool = True  # repair hot, cold and stuck sites
    if_not_sve: str = "fail"  # what becomes of a raw of one exposure: fail, or develop
    write: WriteOptions = field(default_factory=WriteOptions)
    tile_px: int = TILE_PX
    device: str = "auto"  # auto, cpu, cuda or mps
    precision: Precision = "auto"  # of the network's convolutions: auto, float32 or bfloat16
    ensemble: bool = False  # the mean over all ways to turn the frame: better, and as many times as slow
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class Converted:
    """What a conversion found and made."""

    raw: Path
    outputs: tuple[Path, ...]
    pattern: ExposurePattern
    confidence: float | None  # in the pattern; None: it was given
    clipped: float  # share of the least exposed sites that are saturated
    shape: tuple[int, int]
    device: str
    seconds: float
    repaired: int = 0  # hot, cold and stuck sites that were replaced
    notes: tuple[str, ...] = ()
    neutral: tuple[float, ...] = ()  # camera RGB of a neutral, green 1.0, as the white balance has found it

    def summary(self) -> str:
        """Return two lines for the user."""
        rate = self.shape[0] * self.shape[1] / 1e6 / self.seconds
        found = f"{self.pattern}, {certainty(self.pattern.ratio_ev, self.confidence)}"
        if self.pattern.ratio == 1:
            found = "one exposure"
        bad = f"; bad sites replaced: {self.repaired}" if self.repaired else ""
        return (
            f"{self.raw} -> {', '.join(map(str, self.outputs))}\n"
            f"{found}; clipped in all exposures: {self.clipped:.2%}{bad}; "
            f"{self.shape[1]} x {self.shape[0]} on {self.device} in {self.seconds:.1f} s, {rate:.2f} MP/s"
        )


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


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A mosaic as an image, and all that was found on the way."""

    camera_rgb: np.ndarray  # (H, W, 3) float32, radiance: 1.0 = saturation of the most exposed sites, or a sequence's
    mosaic: Mosaic  # as it was reconstructed: levels measured, defects repaired, as_shot_neutral as the balance has it
    neutral: Neutral
    estimate: Estimate
    clip_level: float  # what is lost at all exposures is at this level
    model: str
    device: str
    attributes: dict[str, str]  # what files tell of it
    defects: Defects | None  # that were replaced; None: they were to be left
    notes: tuple[str, ...]

    def linear_rgb(self, color_space: str = "rec709", out: np.ndarray | None = None) -> np.ndarray:
        """Return the image, white-balanced, (H, W, 3) float32, in a space of `color.COLOR_SPACES`.

        `out` may be `camera_rgb`, which is then used up.
        """
        return linear_rgb(self.camera_rgb, self.mosaic, COLOR_SPACES[color_space], self.clip_level, out=out)

    @property
    def noise(self) -> float:
        """Return the standard deviation of luminance, as `linear_rgb()` has it, that read noise alone would leave.

        Of a pixel whose channels are sites of the exposure that is best in the dark: what `tone_map` takes.
        """
        pattern, read_noise = self.estimate.pattern, self.estimate.noise.read_noise
        least = float((read_noise / pattern.over(read_noise.shape)).min())  # counts of the most exposed sites
        of_camera = LUMINANCE_OF_RGB @ rgb_from_camera(self.mosaic, COLOR_SPACES["rec709"])
        scale = self.clip_level / pattern.ratio / full_scale(self.mosaic, pattern)
        return least * scale * float(np.linalg.norm(of_camera))


def reconstruct_file(
    raw: str | Path,
    model: Model,
    options: ConvertOptions | None = None,
    progress: Callable[[float], None] = lambda share: None,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Reconstruction:
    """Return what `convert` makes of a raw file, before it is written: `read_raw`, then `reconstruct_mosaic`.

    >>> from sve2hdr.models import model_named
    >>> reconstruct_file("missing.cr2", model_named("classical"))
    Traceback (most recent call last):
    ...
    sve2hdr.errors.UnreadableRaw: missing.cr2: no such file; check the path
    """
    return reconstruct_mosaic(read_raw(raw), model, options, progress, turn, name=raw)


def reconstruct_mosaic(
    mosaic: Mosaic,
    model: Model,
    options: ConvertOptions | None = None,
    progress: Callable[[float], None] = lambda share: None,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    name: str | Path = "mosaic",
) -> Reconstruction:
    """Return what `convert` makes of a mosaic, from a file or not: the whole way, with all corrections.

    The pattern decides which of the model's networks is taken. progress is told the share that is done, 0 to 1; the
    device is used inside a `turn()`. `name` is what notes and errors call the mosaic, which stays as it is. Raises
    Sve2HdrErrors. Of `options`, those of files and colour space are not asked.
    """
    options = options or ConvertOptions()
    return _reconstructed(mosaic, model, options, _locked(options), progress, turn, name)


def _reconstructed(
    mosaic: Mosaic,
    model: Model,
    options: ConvertOptions,
    locked: LockedParameters | None,
    progress: Callable[[float], None],
    turn: Callable[[], AbstractContextManager[None]],
    name: str | Path,
) -> Reconstruction:
    device = choose_device(options.device)
    check_temperature(options.white_balance, mosaic, name)
    estimate, plain = _estimated(mosaic, name, options, locked)
    scale = estimate.scale(mosaic)
    # noise is measured, not taken from a DNG's NoiseProfile: converters write there what one ISO has, not what two have
    mosaic, pattern, noise = estimate.applied(mosaic), estimate.pattern, estimate.noise
    taken, network = model.for_one_exposure() if plain else model.for_pattern(name, mosaic, pattern)
    fallback = network is None and len(model.candidates) > 1
    known = locked.defects if locked is not None else None
    mosaic, defects, corrections = _corrected(mosaic, pattern, noise, options.bad_pixels, known)
    if network is None and not plain:
        device = torch.device("cpu")
        camera_rgb = classical(mosaic, pattern, noise, progress=progress)
    else:
        with turn():
            if network is None or plain:
                camera_rgb = develop(mosaic, noise, network, options.tile_px, device, options.ensemble, progress)
            else:
                how = (options.tile_px, device, options.precision, options.ensemble, progress)
                camera_rgb = reconstruct(mosaic, pattern, noise, network, *how)
    if not (math.isfinite(camera_rgb.min()) and math.isfinite(camera_rgb.max())):
        raise UnreadableWeights(
            f"{taken}: these weights give values that are not finite; train on, or leave --model out"
        )
    near_clipped = hold_clipped(camera_rgb, mosaic, pattern)
    neutral = locked.neutral_for(options.white_balance) if locked is not None else None
    if neutral is None:
        neutral = neutral_of(options.white_balance, mosaic, camera_rgb, pattern.ratio)
    without_magenta(camera_rgb, near_clipped, neutral.camera_rgb, pattern.ratio)
    if scale != 1:
        camera_rgb *= np.float32(scale)
    attributes = {
        "sve2hdr:version": __version__,
        "sve2hdr:model": taken,
        **({"sve2hdr:ensemble": "yes"} if options.ensemble and network is not None else {}),
        **_about_levels(estimate),
        **corrections,
        "sve2hdr:white_balance": str(neutral.taken),
        "sve2hdr:neutral": " ".join(f"{channel:.4f}" for channel in neutral.camera_rgb),
        "sve2hdr:camera_from_xyz": " ".join(f"{value:.6g}" for value in mosaic.camera_from_xyz.ravel()),  # row by row
    }
    notes = (
        plain,
        f"{name}: {estimate.note}" if estimate.note else "",
        f"{name}: no published network knows this pattern; the classical method was taken" if fallback else "",
        f"{name}: {neutral.note}" if neutral.note else "",
        f"{name}: {early}" if (early := early_saturation(mosaic.cfa, pattern)) else "",
    )
    return Reconstruction(
        camera_rgb,
        replace(mosaic, as_shot_neutral=neutral.camera_rgb),
        neutral,
        estimate,
        pattern.ratio * scale,
        taken,
        device.type,
        attributes,
        defects,
        tuple(said for said in notes if said),
    )


def _corrected(
    mosaic: Mosaic, pattern: ExposurePattern, noise: NoiseModel, bad_pixels: bool, known: Defects | None
) -> tuple[Mosaic, Defects | None, dict[str, str]]:
    """Return the mosaic without what the sensor added to the light, the defects replaced, and what files tell of it."""
    mosaic, row_gain, column_gain = even_lines(mosaic, pattern)
    mosaic, banding = remove_banding(mosaic, pattern, noise)
    defects = None
    if bad_pixels:
        mosaic, defects = repair_defects(mosaic, pattern, noise, known)
    attributes = {
        "sve2hdr:bad_pixels": "left" if defects is None else f"{defects.count} repaired",
        "sve2hdr:row_gain": f"{row_gain:.4f}",
        "sve2hdr:column_gain": f"{column_gain:.4f}",
        "sve2hdr:banding": f"{banding:.2f}",
    }
    return mosaic, defects, attributes


def convert_file(
    raw: Path,
    output: Path | Sequence[Path],
    model: Model,
    options: ConvertOptions | None = None,
    progress: Callable[[float], None] = lambda share: None,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Converted:
    """Reconstruct one raw file and write it as an HDR image, or as several, and a preview if asked for.

    As `reconstruct_file` does it. What frames of a sequence share is written to the file `lock_parameters` where there
    is none yet. All refusals that need no long work come before it. They and failures to write are Sve2HdrErrors and
    leave no file behind.
    """
    options = options or ConvertOptions()
    started = time.perf_counter()
    outputs = (output,) if isinstance(output, Path) else tuple(output)
    written = outputs if options.preview is None else (*outputs, options.preview)
    _check_outputs(raw, written, options)
    locked = _locked(options)
    made = _reconstructed(read_raw(raw), model, options, locked, progress, turn, raw)
    release_freed_memory()  # what tiles took, before copies of the image take as much
    mosaic, pattern = made.mosaic, made.estimate.pattern
    unsure = ""
    with ExitStack() as undone:  # if nothing can be written, nothing is shared
        if options.lock_parameters is not None and locked is None and pattern.ratio > 1:
            locked = _to_be_shared(made)
            if made.estimate.ratio_ev_error > LEAD_EV:
                unsure = f"{raw}: too dark or plain to tell its ratio well, which its sequence takes all the same"
            save_parameters(options.lock_parameters, locked)  # refuses if another process has written it meanwhile
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
        notes=tuple(note for note in (*made.notes, unsure, *notes) if note),
        neutral=tuple(float(channel) for channel in made.neutral.camera_rgb),
    )


def _check_outputs(raw: Path, written: Sequence[Path], options: ConvertOptions) -> None:
    for path in written:
        check_writable(path, options.overwrite, PREVIEW_EXTENSIONS if path is options.preview else OUTPUT_EXTENSIONS)
        if path.exists() and raw.exists() and path.samefile(raw):
            raise UnwritableOutput(f"{path}: is the raw file itself; name another output")
    if options.lock_parameters is not None and not options.lock_parameters.exists():
        check_writable(options.lock_parameters)


def _about_levels(estimate: Estimate) -> dict[str, str]:
    return {
        "sve2hdr:pattern": str(estimate.pattern),
        "sve2hdr:ratio_ev": f"{estimate.pattern.ratio_ev:.3f}",
        "sve2hdr:black_level": " ".join(f"{level:.5g}" for level in estimate.black.ravel()),
        "sve2hdr:white_level": " ".join(f"{level:.5g}" for level in np.unique(estimate.white)[::-1]),
        "sve2hdr:levels_from": ", ".join(f"{name}: {source}" for name, source in estimate.sources.items()),
    }


def _to_be_shared(made: Reconstruction) -> LockedParameters:
    """Return what the frames of a sequence take from this one, whatever is to be written of it."""
    mosaic, small = made.mosaic, reduced_for_preview(made.camera_rgb)
    look = look_of(linear_rgb(small, mosaic, COLOR_SPACES["rec709"], made.clip_level), made.noise)
    baseline_ev = baseline_exposure(small, made.clip_level, made.noise)
    return LockedParameters(made.estimate, mosaic.shape, mosaic.cfa, made.neutral, look, baseline_ev, made.defects)


def _locked(options: ConvertOptions) -> LockedParameters | None:
    """Return what the sequence shares, None where there is none, or no file of it yet."""
    path = options.lock_parameters
    if path is None or not path.exists():
        return None
    if options.levels.any_given():
        raise Sve2HdrError(
            f"{path}: has all levels already; leave out --pattern, --ev, --black and --white, or delete it"
        )
    return load_parameters(path)


def _estimated(
    mosaic: Mosaic, name: str | Path, options: ConvertOptions, locked: LockedParameters | None
) -> tuple[Estimate, str]:
    """Return a frame's pattern and levels, and why it is taken for a raw of one exposure, if it is and may be."""
    if locked is not None:
        return locked.estimate_for(mosaic, name), ""
    levels = options.levels
    if options.if_not_sve != "develop" or levels.pattern is not None:
        return estimate_levels(mosaic, name, levels), ""
    detection = detect_pattern(levels.applied(mosaic, name))
    if detection.pattern is not None or detection.doubtful:  # what is in doubt is refused: developed it has stripes
        return estimate_levels(mosaic, name, levels, detection), ""
    plain = f"{name}: developed as a photo of one exposure: {detection.reason}"
    return estimate_levels(mosaic, name, replace(levels, pattern=ONE_EXPOSURE, ratio_ev=None)), plain


def _write(
    outputs: Sequence[Path], made: Reconstruction, options: ConvertOptions, locked: LockedParameters | None
) -> list[str]:
    """Write the images, and the preview if asked for, upright. Uses up the image; returns notes."""
    capture = made.mosaic.capture
    attributes = made.attributes | {"sve2hdr:exposure_ev": f"{options.exposure_ev:g}"}
    look, baseline_ev = (None, None) if locked is None else (locked.look, locked.baseline_exposure_ev)
    if baseline_ev is not None:  # DNGs have the clip level as white
        baseline_ev += math.log2(made.clip_level / made.estimate.pattern.ratio)
    with ExitStack() as pending:  # the preview takes its name once the image has its own
        if options.preview is not None:
            image = upright(made.linear_rgb(), capture.orientation)
            if options.ultra_hdr:
                tone_mapped, gain = tone_map_with_gain(image, look, made.noise)
            else:
                tone_mapped, gain = tone_map(image, look, made.noise), None
            encoded = encoded_preview(options.preview, tone_mapped, capture, gain)
            del image
            pending.enter_context(replacing(options.preview, options.overwrite)).write_bytes(encoded)
        for output in (path for path in outputs if path.suffix.lower() in DNG_EXTENSIONS):
            dng = LinearDngOptions(
                floating=not options.write.half, baseline_exposure_ev=baseline_ev, exposure_ev=options.exposure_ev,
                look=look, noise=made.noise,
            )  # fmt: skip
            write_linear_dng(
                output, upright(made.camera_rgb, capture.orientation), made.mosaic, made.clip_level, options=dng,
                attributes=attributes, overwrite=options.overwrite,
            )  # fmt: skip
        others = [path for path in outputs if path.suffix.lower() not in DNG_EXTENSIONS]
        if not others:
            return []
        image = made.linear_rgb(options.color_space, out=made.camera_rgb)
        if options.exposure_ev:
            image *= np.float32(2**options.exposure_ev)
        return [
            write_hdr(
                output, upright(image, capture.orientation), color_space=COLOR_SPACES[options.color_space],
                capture=capture, options=options.write, attributes=attributes, overwrite=options.overwrite,
            )
            for output in others
        ]  # fmt: skip
