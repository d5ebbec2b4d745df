"""Raw frame -> scene-linear image in memory: the whole pipeline with all corrections, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import get_args

import numpy as np

from . import __version__
from .cameracolor import camera_from_xyz_of
from .classical import classical
from .color import COLOR_SPACES, linear_rgb, lost_level, rgb_from_camera
from .develop import develop
from .errors import Sve2HdrError, UnreadableWeights, check_one_of
from .formats.exrwrite import WriteOptions
from .formats.lineardng import baseline_exposure, reduced_for_preview
from .highlights import complete_clipped, early_saturation, hold_clipped
from .levels import Estimate, Levels, estimate_levels
from .models import Model, model_named
from .mosaic import ONE_EXPOSURE, Mosaic
from .parameters import LEAD_EV, LockedParameters, load_parameters, save_parameters
from .pattern import detect_pattern
from .preview import LUMINANCE_OF_RGB, Look, look_of
from .radiance import full_scale
from .rawfile import read_raw
from .reconstruct import TILE_PX, NetworkOptions, Precision, reconstruct
from .sensor.badpixels import BadPixelMap
from .sensor.corrections import corrected
from .sensor.defects import Defects
from .system.devices import DEVICES, choose_device
from .system.files import check_writable, mode_of
from .trial import tried_device
from .whitebalance import Neutral, WhiteBalance, check_lights, neutral_of

MOST_EV = 30  # largest shift of the exposure of files and previews


@dataclass(frozen=True)
class ConvertOptions:
    """How a raw file becomes an image. The comments in sve2hdr/pipeline.py say what each field means.

    Paths may be given as text. Raises ValueError for invalid values, and Sve2HdrError for a bad-pixel map that cannot
    be read.
    """

    color_space: str = "rec709"  # a name of color.COLOR_SPACES
    exposure_ev: float = 0.0  # of the files written; at 0, 1.0 is saturation of the most exposed sites, as in memory
    white_balance: WhiteBalance = field(default_factory=WhiteBalance)
    preview: Path | None = None
    preview_px: int | None = None  # its longer side at most; None: that of the image
    preview_exposure_ev: float = 0.0  # added to the preview's own exposure
    ultra_hdr: bool = False  # a JPEG preview with a gain map, for HDR screens
    levels: Levels = field(default_factory=Levels)
    lock_parameters: Path | None = None  # file of what a sequence shares: used, or written if there is none yet
    bad_pixels: bool = True  # look for hot, cold and stuck sites, and repair them
    bad_pixel_map: BadPixelMap | None = None  # sites that are repaired without testing them
    if_not_sve: str = "fail"  # what to do with a raw of one exposure: fail, or develop
    write: WriteOptions = field(default_factory=WriteOptions)
    tile_px: int = TILE_PX
    device: str = "auto"  # auto, cpu, cuda or mps
    precision: Precision = "auto"  # of the network's convolutions: auto, float32 or bfloat16
    ensemble: bool = False  # mean over all ways to turn the frame: better, but as many times slower
    overwrite: bool = False

    def __post_init__(self) -> None:
        names = {"if_not_sve": ("fail", "develop"), "device": DEVICES, "precision": get_args(Precision)}
        for name, known in {"color_space": COLOR_SPACES, **names}.items():
            check_one_of(name, getattr(self, name), known)
        for name, kind in {"white_balance": WhiteBalance, "levels": Levels, "write": WriteOptions}.items():
            if not isinstance(value := getattr(self, name), kind):
                raise ValueError(f"{name} must be of the class {kind.__name__}, not {value!r}")
        for name, value in {
            "tile_px": self.tile_px,
            "preview_px": 1 if self.preview_px is None else self.preview_px,
        }.items():
            if not (isinstance(value, int | np.integer) and value >= 1):
                raise ValueError(f"{name} must be a whole number from 1 on, not {value!r}")
        for name, ev in {"exposure_ev": self.exposure_ev, "preview_exposure_ev": self.preview_exposure_ev}.items():
            if not (isinstance(ev, Real) and abs(ev) <= MOST_EV):
                raise ValueError(f"{name} must be a number from -{MOST_EV} to {MOST_EV}, not {ev!r}")
        for name in ("preview", "lock_parameters", "bad_pixel_map"):
            if isinstance(value := getattr(self, name), str | Path):
                given = BadPixelMap.of(value) if name == "bad_pixel_map" else Path(value)
                object.__setattr__(self, name, given)  # the class is frozen


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The image of a mosaic, oriented as on the sensor (see `mosaic.upright`), and all that was found on the way."""

    camera_rgb: np.ndarray  # (H, W, 3) float32, radiance: 1.0 = saturation of the most exposed sites, or a sequence's
    mosaic: Mosaic  # as it was reconstructed: levels measured, defects repaired, as_shot_neutral as the balance has it
    neutral: Neutral
    estimate: Estimate
    clip_level: float  # camera RGB of light that clips at all exposures
    model: str
    device: str
    attributes: dict[str, str]  # what files record about it
    defects: Defects | None  # that were replaced; None: they were not to be looked for
    notes: tuple[str, ...]

    def linear_rgb(self, color_space: str = "rec709", out: np.ndarray | None = None) -> np.ndarray:
        """Return the image, white-balanced, (H, W, 3) float32, in a space of `color.COLOR_SPACES`.

        `out` may be `camera_rgb`, which is then overwritten. Raises ValueError for an unknown space.
        """
        check_one_of("color_space", color_space, COLOR_SPACES)
        return linear_rgb(self.camera_rgb, self.mosaic, COLOR_SPACES[color_space], self.clip_level, out=out)

    @property
    def noise(self) -> float:
        """Return the standard deviation of luminance in `linear_rgb()` due to read noise alone, for `tone_map`.

        It is that of a pixel whose channels are sites of the exposure with the least noise in the dark.
        """
        pattern, read_noise = self.estimate.pattern, self.estimate.noise.read_noise
        least = float((read_noise / pattern.over(read_noise.shape)).min())  # counts of the most exposed sites
        of_camera = LUMINANCE_OF_RGB @ rgb_from_camera(self.mosaic, COLOR_SPACES["rec709"])
        scale = self.clip_level / pattern.ratio / full_scale(self.mosaic, pattern)
        return least * scale * float(np.linalg.norm(of_camera))

    @property
    def lost_level(self) -> float:
        """Return the value of each channel in `linear_rgb()` where all channels are clipped, for `tone_map`."""
        return lost_level(self.mosaic, self.clip_level)


def reconstruct_file(
    raw: str | Path,
    model: Model | str | Path,
    options: ConvertOptions | None = None,
    progress: Callable[[float], object] = lambda share: None,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Reconstruction:
    """Return what `convert` makes of a raw file, without writing it: `read_raw`, then `reconstruct_mosaic`.

    `options.exposure_ev` applies to files only, not here.

    >>> from sve2hdr.models import model_named
    >>> reconstruct_file("missing.cr2", model_named("classical"))
    Traceback (most recent call last):
    ...
    sve2hdr.errors.UnreadableRaw: missing.cr2: no such file; check the path
    """
    return reconstruct_mosaic(read_raw(raw), model, options, progress, turn, name=raw)


def reconstruct_mosaic(
    mosaic: Mosaic,
    model: Model | str | Path,
    options: ConvertOptions | None = None,
    progress: Callable[[float], object] = lambda share: None,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    name: str | Path = "mosaic",
) -> Reconstruction:
    """Return what `convert` makes of a mosaic, from a file or not: the whole pipeline with all corrections.

    `model` may be anything `model_named` takes; the pattern decides which of its networks is used. `progress` is given
    the share that is done, 0 to 1, also before and after levels and repairs; an exception from it ends the work. The
    device is used inside a `turn()`. Notes and errors call the mosaic `name`; the mosaic itself is not changed. What
    the frames of a sequence share is written to the file `lock_parameters` if there is none yet. Of `options`, those
    for files, `exposure_ev` and the colour space have no effect. Raises Sve2HdrError, and ValueError for a matrix that
    cannot be a camera's.
    """
    options = options or ConvertOptions()
    locked, path = locked_for(options), options.lock_parameters
    made = reconstructed(mosaic, model, options, locked, progress, turn, name)
    if path is None or locked is not None or made.estimate.pattern.ratio == 1:
        return made
    _, unsure = share(made, path, name)
    return replace(made, notes=(*made.notes, unsure)) if unsure else made


def reconstructed(
    mosaic: Mosaic,
    model: Model | str | Path,
    options: ConvertOptions,
    locked: LockedParameters | None,
    progress: Callable[[float], object],
    turn: Callable[[], AbstractContextManager[None]],
    name: str | Path,
) -> Reconstruction:
    """Return what `reconstruct_mosaic` does; `locked` is what the sequence shares, already read; None: nothing yet."""
    progress(0.0)
    model = model if isinstance(model, Model) else model_named(model)
    has_networks = model.features_per_px > 0
    device, gpu_fault = tried_device(options.device) if has_networks else (choose_device(options.device), "")
    neutral = locked.neutral_for(options.white_balance) if locked is not None else None
    check_lights(options.white_balance if neutral is None else WhiteBalance(), mosaic, name)
    listed = options.bad_pixel_map.sites(mosaic.shape) if options.bad_pixel_map is not None else None
    estimate, plain = _estimated(mosaic, name, options, locked)
    progress(0.0)
    scale = estimate.scale(mosaic)
    # noise is measured, not taken from a DNG's NoiseProfile, in which converters write that of one ISO, not of two
    mosaic, pattern, noise = estimate.applied(mosaic), estimate.pattern, estimate.noise
    taken, network = model.for_one_exposure() if plain else model.for_pattern(name, mosaic, pattern)
    known = locked.defects if locked is not None else None
    mosaic, defects, corrections = corrected(mosaic, pattern, noise, options.bad_pixels, known, listed)
    progress(0.0)
    how = NetworkOptions(options.tile_px, device, options.precision, options.ensemble)
    with turn() if network is not None else nullcontext():
        if plain:
            camera_rgb = develop(mosaic, noise, network, how, progress)
        elif network is None:
            camera_rgb = classical(mosaic, pattern, noise, progress=progress)
        else:
            camera_rgb = reconstruct(mosaic, pattern, noise, network, how, progress)
    if not (math.isfinite(camera_rgb.min()) and math.isfinite(camera_rgb.max())):
        raise UnreadableWeights(
            f"{taken}: these weights give values that are not finite; train on, or leave --model out"
        )
    hold_clipped(camera_rgb, mosaic, pattern)
    if neutral is None:
        neutral = neutral_of(options.white_balance, mosaic, camera_rgb, pattern.ratio, name)
    complete_clipped(camera_rgb, mosaic, pattern, neutral.camera_rgb)
    if scale != 1:
        camera_rgb *= np.float32(scale)
    attributes = {
        "sve2hdr:version": __version__,
        "sve2hdr:model": taken,
        **({"sve2hdr:ensemble": "yes"} if options.ensemble and network is not None else {}),
        **_about_levels(estimate),
        **corrections,
        **_about_balance(neutral, mosaic),
    }
    fallback = ""
    if network is None and len(model.candidates) > 1:
        fallback = "no published network knows this pattern; the classical method was used"
    notes = (plain, estimate.note, fallback or gpu_fault, neutral.note, early_saturation(mosaic.cfa, pattern))
    return Reconstruction(
        camera_rgb,
        replace(mosaic, as_shot_neutral=neutral.camera_rgb),
        neutral,
        estimate,
        pattern.ratio * scale,
        taken,
        "cpu" if network is None else device.type,
        attributes,
        defects,
        tuple(f"{name}: {said}" for said in notes if said),
    )


def _estimated(
    mosaic: Mosaic, name: str | Path, options: ConvertOptions, locked: LockedParameters | None
) -> tuple[Estimate, str]:
    """Return a frame's pattern and levels, and a note that says why, if it is developed as a raw of one exposure."""
    if locked is not None:
        return locked.estimate_for(mosaic, name), ""
    levels = options.levels
    if options.if_not_sve != "develop" or levels.pattern is not None:
        return estimate_levels(mosaic, name, levels), ""
    detection = detect_pattern(levels.applied(mosaic, name))
    if detection.pattern is not None or detection.doubtful:  # in doubt it is refused: developed, it could have stripes
        return estimate_levels(mosaic, name, levels, detection), ""
    plain = f"developed as a photo of one exposure: {detection.reason}"
    return estimate_levels(mosaic, name, replace(levels, pattern=ONE_EXPOSURE, ratio_ev=None)), plain


def _about_levels(estimate: Estimate) -> dict[str, str]:
    return {
        "sve2hdr:pattern": str(estimate.pattern),
        "sve2hdr:ratio_ev": f"{estimate.pattern.ratio_ev:.3f}",
        "sve2hdr:black_level": " ".join(f"{level:.5g}" for level in estimate.black.ravel()),
        "sve2hdr:white_level": " ".join(f"{level:.5g}" for level in np.unique(estimate.white)[::-1]),
        "sve2hdr:levels_from": ", ".join(f"{name}: {source}" for name, source in estimate.sources.items()),
    }


def _about_balance(neutral: Neutral, mosaic: Mosaic) -> dict[str, str]:
    matrix = camera_from_xyz_of(neutral.camera_rgb, mosaic)
    return {
        "sve2hdr:white_balance": str(neutral.taken),
        "sve2hdr:neutral": " ".join(f"{channel:.4f}" for channel in neutral.camera_rgb),
        "sve2hdr:camera_from_xyz": " ".join(f"{value:.6g}" for value in matrix.ravel()),  # row by row
    }


def share(made: Reconstruction, path: Path, name: str | Path) -> tuple[LockedParameters, str]:
    """Write what the frames of a sequence take from this one to `path`; return it, and a note for the user or "".

    The look is rounded, like a neutral that `neutral_of` measures, so that it does not depend on the device. Raises
    UnwritableOutput, also if another process has written the file in the meantime.
    """
    mosaic, estimate, small = made.mosaic, made.estimate, reduced_for_preview(made.camera_rgb)
    look = look_of(linear_rgb(small, mosaic, COLOR_SPACES["rec709"], made.clip_level), made.noise, made.lost_level)
    look = look and Look(*(round(value, 3) for value in look))
    baseline_ev = baseline_exposure(small, made.clip_level, made.noise)
    shared = LockedParameters(
        estimate, mosaic.shape, mosaic.cfa, made.neutral, look, baseline_ev, made.defects, mosaic.capture.iso
    )
    save_parameters(path, shared)
    unsure = estimate.ratio_ev_error > LEAD_EV
    return (
        shared,
        f"{name}: too dark or featureless to tell its exposure ratio well; its sequence uses it all the same" * unsure,
    )


def locked_for(options: ConvertOptions) -> LockedParameters | None:
    """Return what the sequence shares; None without a sequence, or if its file, which must be writable, is to come."""
    path = options.lock_parameters
    if path is None:
        return None
    if not mode_of(path):
        check_writable(path)
        return None
    if options.levels.any_given():
        raise Sve2HdrError(
            f"{path}: has all levels already; leave out --pattern, --ev, --black and --white, or delete it"
        )
    return load_parameters(path)
