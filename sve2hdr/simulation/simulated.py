"""Simulated raws as files: an HDR image or an exposure stack -> SVE DNG, and its ground truth beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..color import COLOR_SPACES
from ..errors import UnreadableImage, UnwritableOutput
from ..formats.dngfile import write_cfa_dng
from ..formats.exrwrite import WriteOptions
from ..formats.imageread import READABLE_EXTENSIONS, read_scene
from ..hdrfile import HDR_EXTENSIONS, write_hdr
from ..highlights import early_saturation
from ..mosaic import MIN_SIDE_PX, ExposurePattern, Mosaic
from ..system.files import check_writable, same_file
from .simulate import Sensor, saturating_radiance, seen_by_camera, simulate
from .stack import read_stack, sve_pair


@dataclass(frozen=True)
class SimulatedFile:
    """Where a simulated mosaic and its ground truth go."""

    mosaic: Path
    truth: Path | None = None
    compressed: bool = False
    overwrite: bool = False

    def check(self, sources: Sequence[Path]) -> None:
        """Refuse, before long work, what could not be written, or would replace a source."""
        if self.mosaic.suffix.lower() != ".dng":
            raise UnwritableOutput(f"{self.mosaic}: a mosaic is written as DNG; name the output *.dng")
        check_writable(self.mosaic, self.overwrite)
        if self.truth is not None:
            check_writable(self.truth, self.overwrite, HDR_EXTENSIONS)
        for output in (self.mosaic, self.truth):
            if output is not None and any(same_file(output, source) for source in sources):
                raise UnwritableOutput(f"{output}: is the source itself; name another output")

    def write(
        self, mosaic: Mosaic, truth: np.ndarray, about: dict[str, object], noise_profile: np.ndarray | None
    ) -> None:
        """Write both or neither; truth is camera RGB, 1.0 = saturation of the most exposed sites, as in `convert`."""
        with ExitStack() as failed:
            if self.truth is not None:
                attributes = {f"sve2hdr:{name}": str(value) for name, value in about.items()}
                write_hdr(
                    self.truth, truth, color_space=COLOR_SPACES["camera"], capture=mosaic.capture,
                    options=WriteOptions(half=False), attributes=attributes, overwrite=self.overwrite,
                )  # fmt: skip
                failed.callback(self.truth.unlink)
            write_cfa_dng(
                self.mosaic, mosaic, noise_profile=noise_profile, description=json.dumps(about),
                compressed=self.compressed, overwrite=self.overwrite,
            )  # fmt: skip
            failed.pop_all()

    def line(self, pattern: ExposurePattern, shape: tuple[int, int]) -> str:
        """Return what was made, for the user."""
        truth = f" and {self.truth}" if self.truth is not None else ""
        return f"{self.mosaic}{truth}: {shape[1]} x {shape[0]}, {pattern}, {pattern.ratio_ev:.2f} EV"


@dataclass(frozen=True)
class Shot:
    """How an image is taken."""

    pattern: ExposurePattern
    cfa: str = "RGGB"
    sensor: Sensor = field(default_factory=Sensor)
    percentile: float = 98.0  # of the scene's green, which saturates the least exposed sites
    saturation: float | None = None  # the value of green that does, in its place
    seed: int = 0  # of the noise


def is_image(path: Path) -> bool:
    """Return whether the name is that of an image rather than of a raw file."""
    return path.suffix.lower() in READABLE_EXTENSIONS


def from_image(source: Path, target: SimulatedFile, shot: Shot, note: Callable[[str], None] = lambda text: None) -> str:
    """Write what a sensor records of an HDR image (see `read_scene`); return lines for the user.

    `note` is told what speaks against the pattern.
    """
    target.check([source])
    pattern, sensor, saturation = shot.pattern, shot.sensor, shot.saturation
    scene, finding = read_scene(source)
    if min(scene.shape[:2]) < MIN_SIDE_PX:
        size = f"{scene.shape[1]} x {scene.shape[0]} px"
        raise UnreadableImage(f"{source}: {size}; a raw has {MIN_SIDE_PX} a side or more, take a larger scene")
    try:
        saturation = saturating_radiance(scene, shot.percentile) if saturation is None else saturation
    except ValueError as error:
        raise UnreadableImage(f"{source}: {error}; choose another --percentile or scene") from error
    scene = seen_by_camera(scene, saturation)
    mosaic = simulate(scene, shot.cfa, pattern, sensor, shot.seed)
    profile = None
    if sensor.mode == "exposure":  # in gain mode each exposure has its own, which the tag has no room for
        noise, span = sensor.noise_model(pattern), sensor.white_level - sensor.black_level
        profile = np.array([[noise.gain.min() / span, (noise.read_noise.min() / span) ** 2]])
    about: dict[str, object] = {
        "pattern": str(pattern),
        "cfa": shot.cfa,
        "seed": shot.seed,
        "saturation": saturation,
        **vars(sensor),
    }
    target.write(mosaic, scene * np.float32(pattern.ratio), about, profile)
    if early := early_saturation(shot.cfa, pattern):
        note(f"{target.mosaic}: {early}")
    return "\n".join(filter(None, [target.line(pattern, mosaic.shape), finding]))


def from_stack(
    sources: Sequence[Path],
    target: SimulatedFile,
    pattern: ExposurePattern,
    exposures_ev: Sequence[float] | None,
    note: Callable[[str], None] = lambda text: None,
) -> str:
    """Write the SVE mosaic that raws of one static scene contain; return a line for the user.

    `note` is told what speaks against the stack or the pattern.
    """
    target.check(sources)
    stack = read_stack(sources, exposures_ev)
    for finding in stack.notes:
        note(finding)
    pair = sve_pair(stack, pattern)
    frames = " ".join(path.name for path in stack.paths).encode("utf-8", "replace").decode()  # may be no Unicode
    about: dict[str, object] = {"pattern": str(pair.pattern), "frames": frames}
    target.write(pair.mosaic, pair.truth, about, None)
    if early := early_saturation(pair.mosaic.cfa, pair.pattern):
        note(f"{target.mosaic}: {early}")
    return target.line(pair.pattern, pair.mosaic.shape)
