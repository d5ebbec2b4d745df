"""The command that compares methods. It imports what it needs itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Sve2HdrError
from ..mosaic import ExposurePattern
from ..patterntext import with_ratio
from .options import (
    CFA,
    CFA_HELP,
    FOLDER,
    PATTERN,
    Command,
    Number,
    complete_path,
    device_option,
    overwrite_option,
    refuse_given,
    refuse_one_exposure,
    sensor_options,
)
from .terminal import note, tell, tried_device

if TYPE_CHECKING:
    import numpy as np

    from ..evaluation.colorvideovdp import ColorVideoVdp
    from ..evaluation.evaluate import Condition, Result, Scene
    from ..evaluation.methods import Method
    from ..evaluation.scoretable import Rows
    from ..simulation.simulate import Sensor

_LAYOUTS = {
    "rows": "row pairs",
    "columns": "column pairs",
    "fours": "rows in fours",
    "blocks": "2 x 2 blocks of four exposures",
    "chessboard": "2 x 2 blocks of two exposures",
    "quad": "quad-Bayer with diagonals of two exposures",
    "quad3": "quad-Bayer with three exposures",
    "quad4": "quad-Bayer with four exposures",
}


@click.command(cls=Command, headings={"layout": "Sensor and lens", "style": "Options"})
@click.argument("scenes", type=FOLDER)
@click.option(
    "--model", "models", multiple=True, shell_complete=complete_path,
    help="Method to score: classical, a published network or a weights file; can be given several times.  [default: "
    "the network that knows the pattern, or classical if none does; with --full, classical as well]",
)  # fmt: skip
@click.option(
    "--external", "externals", multiple=True, metavar="COMMAND",
    help="Also score another program, such as 'program {input} {output}', which reads a DNG and writes linear Rec. "
    "709; its scale is fitted.",
)  # fmt: skip
@click.option(
    "--ensemble",
    is_flag=True,
    help="Also score every network as `convert --ensemble` uses it.",
)
@click.option(
    "--full",
    is_flag=True,
    help="Score under all conditions: ratios, noise, wrong levels, phases, CFA orders, and charts.",
)
@click.option(
    "--cvvdp", is_flag=True,
    help="Also score by ColorVideoVDP: what people see on an HDR display, in JOD, 10 at most. Needs pip install "
    "'sve2hdr[cvvdp]'.",
)  # fmt: skip
@click.option(
    "--layout", type=click.Choice(list(_LAYOUTS)), default="rows", show_default=True,
    help="Pattern: row pairs, column pairs or rows in fours of two exposures, 2 x 2 blocks of four (blocks) or two "
    "(chessboard), or quad-Bayer with two (on diagonals), three or four.",
)  # fmt: skip
@click.option(
    "--pattern", type=PATTERN,
    help="Relative exposures of one period, such as 'grid:1,1,1/2,1/2;...', instead of --layout.",
)  # fmt: skip
@click.option("--ev", type=Number(0.1, 8), help="Exposure ratio in EV.  [default: 3, or that of --pattern]")
@click.option("--cfa", type=CFA, metavar="CFA", help=f"{CFA_HELP}  [default: RGGB, or quad-Bayer for such layouts]")
@click.option("--bits", type=click.IntRange(8, 16), default=14, show_default=True, help="Bit depth of the counts.")
@sensor_options
@click.option(
    "--aberration", type=Number(0, 10), default=0.0, show_default=True,
    help="Lateral chromatic aberration of the lens: how many pixels apart it sets red and blue.",
)  # fmt: skip
@click.option(
    "--format", "style", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True,
    help="Format of the tables; json: one object for each score, one per line.",
)  # fmt: skip
@click.option(
    "--pictures", type=FOLDER, help="Also write crops of the worst regions of the last method to this folder."
)
@click.option(
    "--timeout",
    type=Number(0, min_open=True),
    default=600.0,
    show_default=True,
    help="How many seconds --external may take for a frame.",
)
@device_option
@overwrite_option
def evaluate(
    scenes: Path,
    models: tuple[str, ...],
    externals: tuple[str, ...],
    ensemble: bool,
    full: bool,
    cvvdp: bool,
    layout: str,
    pattern: ExposurePattern | None,
    ev: float | None,
    cfa: str | None,
    bits: int,
    full_well: float,
    read_noise: float,
    aberration: float,
    style: str,
    pictures: Path | None,
    timeout: float,
    device: str,
    overwrite: bool,
) -> None:
    """Compare methods on HDR images: simulate, reconstruct, score.

    SCENES is a folder of HDR images, or, if it has none, of exposure stacks (folders of raws, as for dataset). First in
    the table is validity-weighted linear interpolation; gains in brackets are over it. An image that cannot be used,
    or that a method fails on, is left out with a note, and the exit code is then 1.
    """
    from ..evaluation.colorvideovdp import ColorVideoVdp
    from ..evaluation.evaluate import (
        chart_scenes,
        full_conditions,
        measure,
        merged_stacks,
        photographs,
        quick_conditions,
        scene_files,
    )
    from ..evaluation.methods import LINEAR
    from ..evaluation.pictures import check_folder, write_pictures
    from ..highlights import early_saturation

    _refuse_contradictions(**click.get_current_context().params)
    if pattern is not None:
        pattern = pattern if ev is None else with_ratio(pattern, ev)
        layout, ev = str(pattern), pattern.ratio_ev
    ev = 3.0 if ev is None else ev
    sensor = _sensor(bits, full_well, read_noise)
    conditions = full_conditions(layout) if full else quick_conditions(ev, sensor, layout, cfa, aberration)
    if early := early_saturation(conditions[0].cfa, conditions[0].pattern):
        note(early)
    if not models:
        models = (*(("classical",) if full else ()), _published_for(conditions[0]))
    names = list(dict.fromkeys((LINEAR, *models)))
    chosen = str(tried_device(device))
    seeing = ColorVideoVdp(chosen) if cvvdp else None
    methods, weights = _loaded(names, chosen, ensemble)
    methods |= _of_programs(externals, timeout, methods)
    scores = _Scores(style, weights, seeing)
    files = scene_files(scenes) if scenes.is_dir() else []
    nothing = Sve2HdrError(f"{scenes}: no folder with HDR images (.exr, .hdr, .tif) or exposure stacks; name one")
    if not files and not (scenes.is_dir() and any(scenes.iterdir())):
        raise nothing
    if pictures is not None:
        check_folder(pictures, overwrite)

    def done(result: Result) -> None:
        score = "" if result.psnr_mu is None else f": {result.psnr_mu:.2f} dB"
        tell(f"{result.scene}, {result.condition}, {result.method}{score}", err=True)

    def seen(scene: Scene, condition: Condition, images: Mapping[str, np.ndarray]) -> None:
        if pictures is not None:
            write_pictures(pictures, scene, condition, images, overwrite)

    left_out: list[str] = []

    def leave_out(what: str) -> None:
        left_out.append(what)
        note(what)

    material = photographs(files, leave_out, note) if files else merged_stacks(scenes, leave_out, note)
    try:
        further = {"cvvdp_jod": seeing} if seeing else {}
        scores.keep(measure(methods, material, conditions, done, seen, leave_out, further))
        if not scores.results:
            raise Sve2HdrError(f"{scenes}: no scene is left to score; see above") if left_out else nothing
        if full:
            scores.keep(measure(methods, chart_scenes(), quick_conditions(layout=layout), done, seen, leave_out))
    except BaseException:  # also Ctrl-C: what has taken long is not lost
        if scores.results:
            note("stopped; the scores are of what was done")
        raise
    finally:
        scores.print_tables(conditions[0], full, with_cfa=cfa is not None or pattern is not None)
    if left_out:
        raise click.exceptions.Exit(1)


def _refuse_contradictions(
    *, full: bool, pattern: ExposurePattern | None, externals: tuple[str, ...], pictures: Path | None,
    models: tuple[str, ...], **_: Any,
) -> None:  # fmt: skip
    """Refuse options that contradict each other."""
    from ..evaluation.methods import LINEAR
    from ..models import CLASSICAL

    if full:
        of_sensor = ("pattern", "ev", "cfa", "bits", "full_well", "read_noise", "aberration")
        refuse_given(of_sensor, "cannot be given with --full, which sets its own")
    if pattern is not None:
        refuse_given(("layout",), "and --pattern exclude each other; give one")
        refuse_one_exposure(pattern)
    if not externals:
        refuse_given(("timeout",), "needs --external")
    if pictures is None:
        refuse_given(("overwrite",), "needs --pictures")
    if models and not {*models} - {LINEAR, CLASSICAL}:
        refuse_given(("ensemble",), "needs a network; add --model auto")


def _sensor(bits: int, full_well: float, read_noise: float) -> Sensor:
    """Return the usual sensor with another bit depth, with levels scaled accordingly, and other noise."""
    from ..simulation.simulate import Sensor

    usual, finer = Sensor(), 2.0 ** (bits - Sensor.bit_depth)
    black, white = usual.black_level * finer, usual.white_level * finer
    return Sensor(bit_depth=bits, black_level=black, white_level=white, full_well_e=full_well, read_noise_e=read_noise)


def _published_for(condition: Condition) -> str:
    """Return the name of the published network that knows a pattern; classical if none does."""
    import numpy as np

    from ..models import AUTO, model_named
    from ..simulation.simulate import simulate

    blank = simulate(np.zeros((16, 16, 3), np.float32), condition.cfa, condition.pattern, condition.sensor, seed=0)
    return model_named(AUTO).for_pattern("evaluate", blank, condition.pattern)[0]


def _loaded(names: Sequence[str], device: str, ensemble: bool) -> tuple[dict[str, Method], dict[str, tuple[Path, str]]]:
    """Return methods, and file and digest of each network's weights; read again if `train` replaces them meanwhile."""
    from ..evaluation.methods import methods_named

    while True:
        before = _weights_of(names)
        methods = methods_named(names, device, ensemble)
        if _weights_of(names) == before:
            return methods, before


def _of_programs(commands: Sequence[str], timeout: float, taken: Iterable[str]) -> dict[str, Method]:
    """Return other programs as methods, by their names, or by their commands if a name is taken."""
    from ..evaluation.methods import external

    methods: dict[str, Method] = {}
    for command in commands:
        program, method = external(command, timeout)
        methods[command if program in {*taken, *methods} else program] = method
    return methods


def _weights_of(names: Sequence[str]) -> dict[str, tuple[Path, str]]:
    """Return the file and its digest for each network named."""
    from ..evaluation.methods import LINEAR
    from ..models import AUTO, CLASSICAL
    from ..system.files import file_sha256
    from ..weights import weights_path

    others = (LINEAR, AUTO, CLASSICAL)
    paths = {name: weights_path(name, others) for name in names if name not in others}
    return {name: (path, file_sha256(path)) for name, path in paths.items()}


@dataclass
class _Scores:
    """The results as they come: JSON is printed at once, tables at the end."""

    style: str
    weights: Mapping[str, tuple[Path, str]]  # file and digest of each network's
    seeing: ColorVideoVdp | None
    results: list[Result] = field(default_factory=list)

    def keep(self, scored: Iterable[Result]) -> None:
        """Store results, and print JSON, as soon as each is known."""
        from ..evaluation.methods import ensemble_of
        from ..evaluation.scoretable import as_json

        digests = {of: digest for name, (_, digest) in self.weights.items() for of in (name, ensemble_of(name))}
        for result in scored:
            self.results.append(result)
            if self.style == "json":
                click.echo(as_json(result, digests, self.seeing.described if self.seeing else None))

    def print_tables(self, first: Condition, full: bool, with_cfa: bool) -> None:
        """Print the tables of scores, if there are any; `first` is the first condition."""
        from ..evaluation.scoretable import condition_rows, scene_rows

        if self.style == "json" or not self.results:
            return
        heading = [f"{path}, SHA-256 {digest}" for path, digest in self.weights.values()]
        described, sensor = _LAYOUTS.get(first.layout, first.layout), first.sensor
        if full:
            means = "14 bit, means over the scenes; 1.0 = saturation of the least exposed sites, 4000 cd/m2"
            title = f"{described[0].upper()}{described[1:]}, {means}"
            seen_on = [self.seeing.described] if self.seeing else []
            self._print_table([*heading, *seen_on, title], condition_rows(self.results))
            return
        described += f", {first.cfa}" if with_cfa else ""
        noise = f"{sensor.full_well_e:g} e-, {sensor.read_noise_e:g} e-, {sensor.bit_depth} bit"
        described += f", {first.ratio_ev:g} EV, {noise}"
        self._print_table([*heading, f"PSNR-mu, dB; {described}"], scene_rows(self.results))
        if self.seeing:
            title = f"CVVDP, JOD; {described}"
            self._print_table(["", self.seeing.described, title], scene_rows(self.results, "cvvdp_jod"))

    def _print_table(self, heading: Sequence[str], rows: Rows) -> None:
        """Print a table below its heading, which may have several lines."""
        from ..evaluation.scoretable import as_markdown, as_text

        tell(*heading, "", *(as_markdown if self.style == "markdown" else as_text)(rows).split("\n"))
