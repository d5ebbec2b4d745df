"""Methods x scenes x conditions -> scores: how far reconstructions of simulated mosaics are from the truth."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Sve2HdrError, UnknownLayout, UnreadableImage
from ..formats.imageread import READABLE_EXTENSIONS, read_scene
from ..mosaic import BAYER_ORDERS, QUAD_BAYERS, ExposurePattern, cfa_period
from ..patterntext import parse_pattern
from ..simulation.lens import aberrated
from ..simulation.simulate import NEUTRAL, Mode, Sensor, camera_scene, simulate
from ..training.scenes import collect_scenes
from .charts import SIDE_PX, coloured_stripes, fine_lines, flat_grey, pure_colours, quarter_slices, zone_plate
from .methods import Method
from .metrics import (
    SSIM_REACH,
    aliasing,
    angular_error,
    chroma_error,
    patch_error,
    psnr_linear,
    psnr_log,
    psnr_mu,
    pu21_psnr,
    pu21_ssim,
    stripe_error,
)

Metric = Callable[[np.ndarray, np.ndarray, int], float]  # image, truth, border in px -> score

BORDER_PX = 8  # left out of the scores
LEAST_PX = 2 * BORDER_PX + 2 * SSIM_REACH + 1  # a side, of a scene
CHARTS = {  # name -> kind and what draws it
    "zone plates": ("detail", zone_plate),
    "fine lines": ("detail", fine_lines),
    "flat grey": ("grey", flat_grey),
    "pure colours": ("colours", pure_colours),
    "coloured stripes": ("stripes", coloured_stripes),
}
PATCH_BORDER_PX = 12  # left out of each patch
PERCENTILE = 98.0  # of a scene's green, which saturates the least exposed sites
CLEAN = Sensor(full_well_e=1e7, read_noise_e=0.5, preamp_noise_e=0.2)
ISO_6400 = Sensor(full_well_e=470.0, read_noise_e=2.5, preamp_noise_e=1.2)  # 6 EV less light; read noise falls by gain


_CELL, _DIAGONALS = np.ones((2, 2)), np.array([[0.0, 1.0], [1.0, 0.0]])
LAYOUTS = {  # one period of the share of the ratio, in EV, by which a site is exposed more than the least exposed ones
    "rows": np.array([[0.0], [0.0], [1.0], [1.0]]),
    "columns": np.array([[0.0, 0.0, 1.0, 1.0]]),
    "fours": np.repeat([[0.0], [1.0]], 4, 0),
    "blocks": np.kron(np.arange(4).reshape(2, 2) / 3, _CELL),  # 2 x 2 blocks, each a Bayer cell, of four exposures
    "chessboard": np.kron(_DIAGONALS, _CELL),  # the same of two exposures
    "quad": _DIAGONALS,  # of quad-Bayer
    "quad3": np.array([[0.0, 0.5], [0.5, 1.0]]),  # the same with three exposures
    "quad4": np.arange(4).reshape(2, 2) / 3,  # and with four
}


@dataclass(frozen=True)
class Condition:
    """What mosaics a method is given: of which exposures, by which sensor and lens, and how wrongly described."""

    ratio_ev: float = 3.0
    mode: Mode = "exposure"
    noise: str = "normal"  # the name of the sensor's noise in tables
    sensor: Sensor = field(default_factory=Sensor)
    cfa: str = "RGGB"
    layout: str = "rows"  # a name of LAYOUTS, or a pattern as `--pattern` takes it, which is given the ratio
    phase: int = 0  # row of the period (least, least, most, most exposed) that row 0 is
    ratio_error_ev: float = 0.0  # how much too large the method takes the ratio
    black_error: float = 0.0  # counts by which it takes the black level too high
    aberration_px: float = 0.0  # by how much the lens sets red and blue apart

    def __str__(self) -> str:
        """Return the name for tables: what differs from row pairs, RGGB, phase 0, normal noise and true levels is told.

        >>> print(Condition(mode="gain", black_error=2))
        gain 3 EV, black +2
        """
        parts = [f"{self.mode} {self.ratio_ev:g} EV"]
        parts += [self.layout] * (self.layout != "rows")
        parts += [f"{self.noise} noise"] * (self.noise != "normal")
        parts += [f"{self.cfa} phase {self.phase}"] * ((self.cfa, self.phase) != (usual_cfa(self.layout), 0))
        parts += [f"ratio {self.ratio_error_ev:+g} EV"] * (self.ratio_error_ev != 0)
        parts += [f"black {self.black_error:+g}"] * (self.black_error != 0)
        parts += [f"aberration {self.aberration_px:g} px"] * (self.aberration_px != 0)
        return ", ".join(parts)

    @property
    def pattern(self) -> ExposurePattern:
        """The exposures from row 0 on.

        >>> print(Condition(2, layout="rows:1/16,1/4,1,1").pattern)
        rows:0.25,0.5,1,1
        """
        share = LAYOUTS.get(self.layout)
        if share is None:
            own = parse_pattern(self.layout)
            share = 1 + np.log2(own.exposure.astype(np.float64)) / own.ratio_ev
        exposure = np.exp2(-self.ratio_ev * (1 - share)).astype(np.float32)
        return ExposurePattern(np.roll(exposure, -self.phase, 0))


@dataclass(frozen=True, eq=False)
class Scene:
    """A ground truth: camera RGB, (H, W, 3) float32, 1.0 = saturation of the least exposed sites."""

    name: str
    truth: np.ndarray
    kind: str = "photo"  # or "detail", whose aliasing is measured, "grey", whose chroma is, "colours" or "stripes"


@dataclass(frozen=True)
class Result:
    """The scores of one method on one scene in one condition; metrics as their functions in metrics.py tell them.

    1.0 = saturation of the least exposed sites, 4000 cd/m2 for PU21; 8 px border left out. Photographs have no
    aliasing, chroma, colour and stripe error, which take charts; charts have these alone, and none of the others.
    """

    method: str
    scene: str
    condition: str
    mode: Mode
    seconds: float
    ratio_ev: float
    layout: str
    full_well_e: float
    read_noise_e: float
    cfa: str
    bit_depth: int
    psnr_mu: float | None = None
    pu21_psnr: float | None = None
    pu21_ssim: float | None = None
    psnr_linear: float | None = None
    psnr_log: float | None = None
    angle_deg: float | None = None
    aliasing: float | None = None
    chroma: float | None = None
    colour: float | None = None
    stripes: float | None = None
    cvvdp_jod: float | None = None  # None, too, where ColorVideoVDP was not asked for


def usual_cfa(layout: str, order: str = "RGGB") -> str:
    """Return the colour filters of a layout in a Bayer order: of quad-Bayer each is a block of 2 x 2.

    >>> usual_cfa("blocks"), usual_cfa("quad", "GBRG")
    ('RGGB', 'GGBBGGBBRRGGRRGG')
    """
    if not layout.startswith("quad"):
        return order
    return "".join(cfa_period(order).repeat(2, 0).repeat(2, 1).ravel().tolist())


def quick_conditions(
    ratio_ev: float = 3.0,
    sensor: Sensor | None = None,
    layout: str = "rows",
    cfa: str | None = None,
    aberration_px: float = 0.0,
) -> list[Condition]:
    """Return both modes at one ratio; `cfa`: None for the layout's usual one."""
    modes: tuple[Mode, ...] = ("exposure", "gain")
    sensor, cfa = sensor or Sensor(), cfa or usual_cfa(layout)
    return [
        Condition(ratio_ev, mode, sensor=sensor, cfa=cfa, layout=layout, aberration_px=aberration_px) for mode in modes
    ]


def full_conditions(layout: str = "rows") -> list[Condition]:
    """Return both modes at ratios 4, 8 and 16 and at three levels of noise, wrong levels, a lens, phases, CFA orders.

    Phases are those of rows: of column pairs there are none. Quad-Bayer is also cut off in the middle of its blocks.
    """
    exposure, gain = both = quick_conditions(layout=layout)
    odd = ((0, 1), (1, 0), (1, 1)) if layout.startswith("quad") else ()
    return [
        *(condition for ev in (2.0, 3.0, 4.0) for condition in quick_conditions(ev, layout=layout)),
        *(replace(c, noise="clean", sensor=CLEAN) for c in both),
        *(replace(c, noise="ISO 6400", sensor=ISO_6400) for c in both),
        *(replace(gain, ratio_error_ev=ev) for ev in (-0.05, 0.05)),
        *(replace(gain, black_error=counts) for counts in (-2.0, 2.0)),
        replace(exposure, aberration_px=1.0),
        *(replace(exposure, phase=phase) for phase in range(1, LAYOUTS[layout].shape[0])),
        *(replace(exposure, cfa=usual_cfa(layout, order)) for order in BAYER_ORDERS[1:]),
        *(replace(exposure, cfa=QUAD_BAYERS[4 * down + right]) for down, right in odd),
    ]


def scene_files(folder: Path) -> list[Path]:
    """Return the HDR images of a folder by name, without hidden files."""
    files = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in files if path.suffix.lower() in READABLE_EXTENSIONS)


def photographs(
    paths: Sequence[Path], leave_out: Callable[[str], None], note: Callable[[str], None]
) -> Iterator[Scene]:
    """Yield the scenes of HDR images (`read_scene`); the 98th percentile of green saturates the least exposed sites.

    They are named by their files, with extensions where these alone tell them apart. What cannot be read, holds no
    light or is too small to be scored is told to `leave_out` instead; `note` is told what else one should know.
    """
    stems = Counter(path.stem for path in paths)
    for path in paths:
        try:
            image, finding = read_scene(path)
            scene = camera_scene(image, PERCENTILE)
            if min(scene.shape[:2]) < LEAST_PX:
                raise ValueError(f"{scene.shape[1]} x {scene.shape[0]} px, and scores need {LEAST_PX} a side")
        except UnreadableImage as error:
            leave_out(f"left out: {error}")
        except ValueError as error:
            leave_out(f"left out: {path}: {error}; take another scene")
        else:
            if finding:
                note(finding)
            yield Scene(path.stem if stems[path.stem] == 1 else path.name, scene)


def merged_stacks(folder: Path, leave_out: Callable[[str], None], note: Callable[[str], None]) -> Iterator[Scene]:
    """Yield the scenes of a folder of exposure stacks, merged as `collect_scenes` does it: half size, a little noise.

    `leave_out` and `note` as in `photographs`.
    """
    for name, scene in collect_scenes((folder,), 0, 0, note, leave_out):
        try:
            yield Scene(name, camera_scene(scene, PERCENTILE))
        except ValueError as error:
            leave_out(f"left out: {name}: {error}")


def chart_scenes() -> Iterator[Scene]:
    """Yield zone plates and fine lines at four levels of brightness, dark grey, pure colours and coloured stripes."""
    for name, (kind, draw) in CHARTS.items():
        drawn = draw()
        yield Scene(name, (drawn if drawn.ndim == 3 else drawn[..., None]) * np.float32(NEUTRAL), kind)


def measure(
    methods: Mapping[str, Method],
    scenes: Iterable[Scene],
    conditions: Sequence[Condition],
    done: Callable[[Result], None] = lambda result: None,
    seen: Callable[[Scene, Condition, Mapping[str, np.ndarray]], None] = lambda scene, condition, images: None,
    note: Callable[[str], None] | None = None,
    further: Mapping[str, Metric] | None = None,
) -> Iterator[Result]:
    """Yield the scores of every method on every scene in every condition, scene by scene, once a condition is through.

    All methods are given the same counts; their noise has the scene's place in `scenes` as its seed. `done` is told
    each result at once; `seen` the images of all methods, at the truth's scale, once a scene and condition are through.
    Where a method fails on a scene in a condition, that is told to `note`, if there is one, and no method has a score
    there, so that means stay comparable; else its error is raised. Scenes of one name are numbered. `further`: fields
    of Result with their metrics, which are given balanced photographs.
    """
    for seed, sharp in enumerate(_told_apart(scenes)):
        for condition in conditions:
            scene = sharp
            if condition.aberration_px:
                scene = replace(sharp, truth=aberrated(sharp.truth, condition.aberration_px))
            least = np.float32(2**-condition.ratio_ev)
            sensor = replace(condition.sensor, mode=condition.mode)
            mosaic = simulate(scene.truth, condition.cfa, condition.pattern, sensor, seed)
            mosaic = replace(mosaic, black_level=mosaic.black_level + np.float32(condition.black_error))
            believed = replace(condition, ratio_ev=condition.ratio_ev + condition.ratio_error_ev).pattern
            images, of_methods = {}, []
            try:
                for name, method in methods.items():
                    started = time.perf_counter()
                    images[name] = method(mosaic, believed) * least
                    seconds = time.perf_counter() - started
                    result = Result(
                        name, scene.name, str(condition), condition.mode, seconds, condition.ratio_ev, condition.layout,
                        sensor.full_well_e, sensor.read_noise_e, condition.cfa, sensor.bit_depth,
                    )  # fmt: skip
                    of_methods.append(replace(result, **_scores(images[name], scene, further or {})))
                    done(of_methods[-1])
            except Sve2HdrError as error:
                if note is None or isinstance(error, UnknownLayout):
                    raise
                note(f"left out: {scene.name}, {condition}: {error}")
                continue
            yield from of_methods
            seen(scene, condition, images)


def _told_apart(scenes: Iterable[Scene]) -> Iterator[Scene]:
    """Yield the scenes, those of names taken before, or of the same letters and digits, with a number added.

    Charts come apart from photographs, and keep their names.
    """
    taken: set[str] = set()
    for scene in scenes:
        if scene.kind == "photo":
            taken |= set(map(_letters, CHARTS))
        numbered = itertools.chain([scene.name], (f"{scene.name} ({n})" for n in itertools.count(2)))
        name = next(name for name in numbered if _letters(name) not in taken)
        taken.add(_letters(name))
        yield replace(scene, name=name)


def _letters(name: str) -> str:
    return re.sub(r"\W+", "-", name).lower()


def _scores(image: np.ndarray, scene: Scene, further: Mapping[str, Metric]) -> dict[str, Any]:
    truth = scene.truth
    balanced, balanced_truth = image / np.float32(NEUTRAL), truth / np.float32(NEUTRAL)
    if scene.kind == "grey":
        return {"chroma": chroma_error(image, truth, BORDER_PX)}
    if scene.kind == "colours":
        return {"colour": patch_error(image, truth, SIDE_PX // 4, PATCH_BORDER_PX)}
    if scene.kind == "stripes":
        return {"stripes": stripe_error(balanced, balanced_truth, SIDE_PX // 4, PATCH_BORDER_PX)}
    if scene.kind == "detail":
        quarters = quarter_slices(truth.shape[0])
        return {"aliasing": float(np.mean([aliasing(image[q], truth[q], BORDER_PX) for q in quarters]))}
    return {
        "psnr_mu": psnr_mu(image, truth, BORDER_PX),
        "pu21_psnr": pu21_psnr(balanced, balanced_truth, BORDER_PX),
        "pu21_ssim": pu21_ssim(balanced, balanced_truth, BORDER_PX),
        "psnr_linear": psnr_linear(image, truth, BORDER_PX),
        "psnr_log": psnr_log(image, truth, BORDER_PX),
        "angle_deg": angular_error(image, truth, BORDER_PX),
        **{name: metric(balanced, balanced_truth, BORDER_PX) for name, metric in further.items()},
    }
