"""Raws of one static scene at several exposures: SVE mosaics with the camera's own noise, and the scene behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..demosaic import demosaic
from ..errors import UnusableStack
from ..mosaic import BAYER_ORDERS, ONE_EXPOSURE, ExposurePattern, Mosaic, cfa_period, repeated
from ..radiance import clipped_share
from ..rawfile import read_raw
from .merge import merge_frames
from .registration import NEARLY_SATURATED, PairMeasure, green_plane, measure_pair

MAX_EXIF_ERROR_EV = 0.3  # shutters and apertures are nominal; more is another file or wrong tags
MAX_STEP_ERROR_EV = 0.15  # between an exposure of the pattern and the frame that stands for it
MOST_CLIPPED = 1e-3  # share of the sites of the frame that stands for the darkest
MIN_RANGE_EV = 0.2
MAX_SHIFT_PX = 0.7  # sites
MAX_CHANGED_SHARE = 0.1
MAX_LEVEL_DIFFERENCE = 0.01  # of the span; black and white levels measured by the camera differ a little between shots


@dataclass(frozen=True, eq=False)
class ExposureStack:
    """Frames of one static scene, the most exposed first."""

    paths: tuple[Path, ...]
    frames: tuple[Mosaic, ...]
    exposure_ev: tuple[float, ...]  # measured, relative to the first frame: 0, then falling
    notes: tuple[str, ...] = ()  # what could not be checked, or may harm


@dataclass(frozen=True, eq=False)
class SvePair:
    """One SVE mosaic with its true pattern, and the scene as camera RGB."""

    mosaic: Mosaic
    pattern: ExposurePattern  # the exposures as measured
    truth: np.ndarray  # (H, W, 3) float32, camera RGB radiance, 1.0 = saturation of the most exposed sites


# Reading --------------------------------------------------------------------------------------------------------------


def read_stack(paths: Sequence[Path], exposures_ev: Sequence[float] | None = None) -> ExposureStack:
    """Return raws of one static scene as a stack, its exposures measured on the pixels.

    Exposures are the ratios of neighbouring frames where both are well exposed, checked against those stated:
    `exposures_ev` (relative, any offset, one a file) or, if None, EXIF: time x ISO / f-number^2, where it tells them.
    The brightest frames, as long as two others remain, are left out with a note where they are saturated for the most
    part and nothing is left to measure them by.

    Raises UnreadableRaw for a file, and UnusableStack for files that are no stack: fewer than two, different cameras,
    sizes, colour filters or levels, one exposure only, exposures off by more than 0.3 EV, a camera that moved by more
    than 0.7 sites, a scene that changed.
    """
    paths = [Path(path) for path in paths]
    if len(paths) < 2:
        raise UnusableStack(f"{len(paths)} raw file given; a stack needs two or more exposures of one scene")
    if exposures_ev is not None and len(exposures_ev) != len(paths):
        raise UnusableStack(f"--ev has {len(exposures_ev)} values for {len(paths)} files; give one per file, in order")
    for i, path in enumerate(paths):
        if path.resolve() in (other.resolve() for other in paths[:i]):
            raise UnusableStack(f"{path}: is given twice; a stack has each of its frames once")
    frames = [read_raw(path) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        _refuse_other_camera(path, frame, paths[0], frames[0])
    nominal = np.array(_exif_ev(frames) if exposures_ev is None else exposures_ev, np.float64)
    greens = [green_plane(frame) for frame in frames]
    order = np.argsort([-float(green.mean()) for green in greens], kind="stable")
    paths, frames, greens = ([items[i] for i in order] for items in (paths, frames, greens))
    found = [measure_pair(*pair) for pair in pairwise(greens)]
    over = 0
    while over + 2 < len(paths) and found[over] is None and _saturated(greens[over]):
        over += 1
    notes = [f"{path}: is mostly saturated, and left out of its stack" for path in paths[:over]]
    paths, frames, order = paths[over:], frames[over:], order[over:]
    stated = nominal[order]
    if bare := [path for path, ev in zip(paths, stated, strict=True) if math.isnan(ev)]:
        more = f" and those of {len(bare) - 1} more" if len(bare) > 1 else ""
        notes.append(f"{bare[0]}: no exposure in its tags{more}; measured on the pixels alone")
    pairs = zip(found[over:], paths, paths[1:], greens[over:], strict=False)
    measures = [_measured(*pair) for pair in pairs]
    steps = [measure.step_ev for measure in measures]
    exposure_ev = np.concatenate([[0.0], -np.cumsum(steps)])
    _refuse_wrong_exposures(paths, exposure_ev, stated, "EXIF" if exposures_ev is None else "--ev")
    _refuse_movement(paths, measures)
    notes += [f"{path}: too little texture to tell whether the camera moved" for path in _untold(paths, measures)]
    order = np.argsort(-exposure_ev, kind="stable")  # frames of nearly one exposure may have come in wrong order
    paths, frames = ([items[i] for i in order] for items in (paths, frames))
    exposure_ev = exposure_ev[order] - exposure_ev.max()
    if exposure_ev[0] - exposure_ev[-1] < MIN_RANGE_EV:
        raise UnusableStack(f"{paths[0]}: the {len(paths)} frames have one exposure; give frames of several")
    if len({frame.capture.f_number for frame in frames} - {None}) > 1:
        notes.append(f"{paths[0]}: apertures differ, so sharpness differs between the frames")
    return ExposureStack(tuple(paths), tuple(frames), tuple(exposure_ev.tolist()), tuple(notes))


def _refuse_other_camera(path: Path, frame: Mosaic, first_path: Path, first: Mosaic) -> None:
    apart = MAX_LEVEL_DIFFERENCE * first.span
    if frame.cfa not in BAYER_ORDERS or any(2 % side for side in frame.black_level.shape):
        raise UnusableStack(f"{path}: not an ordinary Bayer photo; stacks are made of those")
    black, first_black = repeated(frame.black_level, (2, 2)), repeated(first.black_level, (2, 2))
    differences = {
        "camera": (frame.capture.make, frame.capture.model) != (first.capture.make, first.capture.model),
        "size": frame.shape != first.shape,
        "orientation of the colour filters": frame.cfa != first.cfa,
        "black level": float(np.abs(black - first_black).max()) > apart,
        "white level": abs(frame.white_level - first.white_level) > apart,
    }
    found = [name for name, differs in differences.items() if differs]
    if found:
        raise UnusableStack(f"{path}: another {found[0]} than {first_path.name}; give frames of one camera and scene")


def _exif_ev(frames: Sequence[Mosaic]) -> np.ndarray:
    """Return the exposures that tags tell, EV; NaN where one lacks the time, or something that others tell.

    Manual lenses tell no aperture: that is alike in all frames then.
    """
    shots = np.array([(f.capture.exposure_time_s, f.capture.iso, f.capture.f_number) for f in frames], np.float64)
    settings = shots[:, 1:]
    settings[:, np.isnan(settings).all(axis=0)] = 1
    seconds, iso, f_number = shots.T
    return np.asarray(np.log2(seconds * iso / f_number**2))


def _saturated(green: np.ndarray) -> bool:
    return bool(np.mean(green >= NEARLY_SATURATED) > 0.5)


def _measured(measure: PairMeasure | None, brighter: Path, darker: Path, brighter_green: np.ndarray) -> PairMeasure:
    if measure is not None:
        return measure
    if _saturated(brighter_green):
        raise UnusableStack(f"{brighter}: is mostly saturated; leave it out, or add a frame between")
    raise UnusableStack(f"{darker}: no part is well exposed both here and in {brighter.name}; add a frame between")


def _refuse_wrong_exposures(paths: Sequence[Path], measured: np.ndarray, stated: np.ndarray, source: str) -> None:
    error = stated - measured
    if np.isnan(error).all():
        return
    error -= np.nanmedian(error)
    worst = int(np.nanargmax(np.abs(error)))
    if abs(error[worst]) > MAX_EXIF_ERROR_EV:
        raise UnusableStack(
            f"{paths[worst]}: {source} and pixels disagree by {abs(error[worst]):.1f} EV on its exposure; "
            f"leave the file out, or correct {source}"
        )


def _refuse_movement(paths: Sequence[Path], measures: Sequence[PairMeasure]) -> None:
    steps = np.array([measure.shift_px or (0.0, 0.0) for measure in measures])
    positions = np.concatenate([[[0.0, 0.0]], np.cumsum(steps, axis=0)])
    positions -= np.median(positions, axis=0)
    worst = int(np.hypot(*positions.T).argmax())
    down, right = positions[worst]
    if math.hypot(down, right) > MAX_SHIFT_PX:
        raise UnusableStack(
            f"{paths[worst]}: the camera moved, by {down:+.1f} px down and {right:+.1f} px right; "
            f"leave the file out, or align the frames first"
        )
    for path, measure in zip(paths[1:], measures, strict=True):
        if measure.turned or measure.changed_share > MAX_CHANGED_SHARE:
            what = "the camera turned or the scene moved" if measure.turned else "the scene or its light changed"
            raise UnusableStack(f"{path}: {what} between this and the next brighter frame; leave one of them out")


def _untold(paths: Sequence[Path], measures: Sequence[PairMeasure]) -> list[Path]:
    return [path for path, measure in zip(paths[1:], measures, strict=True) if measure.shift_px is None]


# Sampling -------------------------------------------------------------------------------------------------------------


def sve_pair(stack: ExposureStack, pattern: ExposurePattern) -> SvePair:
    """Return one SVE mosaic sampled from a stack, and the scene behind it, merged from all its frames.

    Truth is the merge, demosaiced (`demosaic`). The noise is the camera's own, but where detail is finer than the
    colour filters resolve, truth has demosaicing errors; a network learns them, and scores there mean little.

    Truth has the noise of the merge, of which that of the mosaic's own frames is a part: the more frames, and brighter
    ones than the pattern takes, the less. Where even the darkest frame saturates, truth is its saturation level.

    The pattern's most exposed sites have the exposure of the brightest frame that leaves at most 0.1 % of the sites of
    the pattern's darkest one saturated, or else of the darkest possible. Raises UnusableStack where no frame lies
    within 0.15 EV of an exposure of the pattern.
    """
    index = frames_of_pattern(stack, pattern)
    mosaic, obtained = sample_sve(stack, index)
    merged, floor = _merged(stack, int(index.min()))
    return SvePair(mosaic, obtained, demosaic(merged, mosaic.cfa, linear_below=floor))


def half_size_scene(stack: ExposureStack) -> np.ndarray:
    """Return the scene of a stack as white-balanced radiance of any scale, (H // 2, W // 2, 3) float32, 0 at least.

    Each pixel is the mean over a Bayer cell of the merge, demosaiced, so that all its colours lie at the cell's centre.
    Most of what `demosaic` errs by averages out, but where the scene is sharp to the site. Sites that saturate in the
    darkest frame are as bright as white there, in every colour, so that lamps have no coloured edges.
    """
    first = stack.frames[0]
    neutral = np.ones(3) if first.as_shot_neutral is None else first.as_shot_neutral
    gains = neutral.max() / neutral
    merged, floor = _merged(stack)
    period = np.array([[gains["RGB".index(letter)] for letter in row] for row in cfa_period(first.cfa)], np.float32)
    merged *= repeated(period, first.shape)
    np.minimum(merged, np.float32(2 ** -stack.exposure_ev[-1]), out=merged)
    rgb = demosaic(merged, first.cfa, linear_below=floor)
    rows, columns = first.shape[0] // 2, first.shape[1] // 2
    cells = rgb[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, 3)
    return np.asarray(np.maximum(cells.mean(axis=(1, 3)), 0))


def _merged(stack: ExposureStack, most_exposed: int = 0) -> tuple[np.ndarray, float]:
    """Return the merge of all frames, and the radiance below which noise counts, which `demosaic` asks for."""
    merged, read_noise = merge_frames(stack.frames, stack.exposure_ev, most_exposed)
    return merged, 3 * read_noise


def sample_sve(stack: ExposureStack, index: np.ndarray) -> tuple[Mosaic, ExposurePattern]:
    """Return the mosaic whose sites come, count by count, from the frames of `index`, a period, and the true pattern.

    Levels follow the sites: where the frames' black levels differ, so does the black level from site to site; the white
    level is the lowest.
    """
    frames, first = stack.frames, stack.frames[int(index.min())]
    counts = np.empty_like(first.counts)
    for (y, x), which in np.ndenumerate(index):
        sites = slice(y, None, index.shape[0]), slice(x, None, index.shape[1])
        counts[sites] = frames[which].counts[sites]
    used = [frames[which] for which in np.unique(index)]
    black = first.black_level
    if any(not np.array_equal(frame.black_level, black) for frame in used):
        period = math.lcm(index.shape[0], 2), math.lcm(index.shape[1], 2)
        levels = np.stack([repeated(frame.black_level, period) for frame in frames])
        black = np.take_along_axis(levels, repeated(index, period)[None], axis=0)[0]
    exposure = np.exp2(np.array(stack.exposure_ev)[index])
    obtained = ExposurePattern((exposure / exposure.max()).astype(np.float32))
    white = min(frame.white_level for frame in used)
    return replace(first, counts=counts, black_level=black, white_level=white), obtained


def frames_of_pattern(stack: ExposureStack, pattern: ExposurePattern) -> np.ndarray:
    """Return which frame stands for each site of the pattern's period, (P, Q) indices, chosen as `sve_pair` says."""
    ev, wanted = np.array(stack.exposure_ev), np.log2(pattern.exposure.astype(np.float64))
    possible: list[np.ndarray] = []
    for base in range(len(ev)):
        distance = np.abs(ev - (ev[base] + wanted)[..., None])
        index = distance.argmin(axis=-1)
        if distance.min(axis=-1).max() <= MAX_STEP_ERROR_EV:
            possible.append(index)
    if not possible:
        have = ", ".join(f"{e:+.2f}" for e in ev)
        want = ", ".join(f"{e:+.2f}" for e in -np.unique(-wanted))
        raise UnusableStack(
            f"{stack.paths[0]}: the pattern needs exposures of {want} EV, the stack has {have}; choose one of these"
        )
    good = (index for index in possible if clipped_share(stack.frames[index.max()], ONE_EXPOSURE) <= MOST_CLIPPED)
    return next(good, possible[-1])
