"""Commands for those who make networks: simulate, dataset, train, evaluate. Each imports what it needs itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import Sve2HdrError
from .options import FILE, FOLDER, Number, PatternType, device_option, overwrite_option
from .pattern import parse_pattern

if TYPE_CHECKING:
    import numpy as np

    from .evaluate import Condition, Scene
    from .mosaic import ExposurePattern


@click.command()
@click.argument("sources", metavar="SOURCE...", type=FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="Mosaic to write: .dng.")
@click.option("--truth", type=FILE, help="Also write the ground truth: .exr, .hdr or .tif, camera RGB.")
@click.option("--pattern", type=PatternType(), help="Exposures of one period.  [default: rows:1/8,1/8,1,1]")
@click.option(
    "--ev",
    help="Of an image: the ratio, in place of the pattern's. Of raws: their exposures, as in -2,0,2, in place of EXIF.",
)
@click.option("--cfa", type=click.Choice(["RGGB", "BGGR", "GRBG", "GBRG"]), default="RGGB", show_default=True)
@click.option(
    "--mode",
    type=click.Choice(["exposure", "gain"]),
    default="exposure",
    show_default=True,
    help="Bright sites get more light, or more gain (Dual ISO).",
)
@click.option(
    "--percentile",
    type=Number(0, 100),
    default=98.0,
    show_default=True,
    help="Of the scene's green, that saturates the least exposed sites.",
)
@click.option("--bits", type=click.IntRange(8, 16), default=14, show_default=True)
@click.option("--black", type=Number(0, 65535), help="Black level in counts.  [default: 1/16 of the range]")
@click.option("--white", type=Number(0, 65535), help="White level in counts.  [default: 63/64 of the range]")
@click.option("--full-well", type=Number(0, min_open=True), default=30_000.0, show_default=True, help="Electrons.")
@click.option(
    "--read-noise", type=Number(0), default=4.0, show_default=True, help="Electrons, of the least exposed sites."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--compress", is_flag=True, help="Store the mosaic as lossless JPEG.")
@overwrite_option
def simulate(
    sources: tuple[Path, ...],
    output: Path,
    truth: Path | None,
    pattern: ExposurePattern | None,
    ev: str | None,
    cfa: str,
    mode: str,
    percentile: float,
    bits: int,
    black: float | None,
    white: float | None,
    full_well: float,
    read_noise: float,
    seed: int,
    compress: bool,
    overwrite: bool,
) -> None:
    """Make an SVE mosaic of a scene.

    SOURCE is one HDR image (.exr, .hdr, .tif), or the raws of one exposure stack of a static scene.
    """
    from .simulate import Sensor
    from .simulated import SimulatedFile, from_image, from_stack, is_image

    evs = _numbers(ev)
    wanted = pattern or parse_pattern("rows:1/8,1/8,1,1")
    target = SimulatedFile(output, truth, compress, overwrite)
    if is_image(sources[0]):
        if len(sources) > 1 or (evs and len(evs) > 1):
            raise click.UsageError("one HDR image at a time, with one --ev; several files are a stack of raws")
        if evs and (wanted.ratio == 1 or not 0 < evs[0] <= 20):
            raise click.UsageError(
                f"--ev {ev}: a ratio lies above 0 and at most at 20 EV, in a pattern of two exposures"
            )
        full = 2.0**bits
        try:
            sensor = Sensor(
                mode=mode,  # type: ignore[arg-type]  # click checked it
                bit_depth=bits,
                black_level=round(full / 16) if black is None else black,
                white_level=round(full * 63 / 64) if white is None else white,
                full_well_e=full_well,
                read_noise_e=read_noise,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        click.echo(from_image(sources[0], target, wanted, evs[0] if evs else None, cfa, sensor, percentile, seed))
    else:
        names = ("cfa", "mode", "percentile", "bits", "black", "white", "full_well", "read_noise", "seed")
        _refuse_given(names, "is for one HDR image (.exr, .hdr, .tif); raws bring what their camera did")
        click.echo(from_stack(sources, target, wanted, evs))


def _numbers(text: str | None) -> list[float] | None:
    """Return the numbers of `--ev`."""
    if text is None:
        return None
    try:
        numbers = [float(value) for value in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise click.UsageError(f"--ev {text}: write numbers such as 3 or -2,0,2")
    return numbers


def _refuse_given(names: Sequence[str], why: str) -> None:
    """Refuse options that are of no meaning here."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} {why}")


def _note(text: str) -> None:
    click.echo(f"sve2hdr: {text}", err=True)


@click.command()
@click.argument("sources", metavar="SOURCE...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder for the shards.")
@click.option("--synthetic", type=click.IntRange(0), default=0, show_default=True, help="Synthetic scenes to add.")
@click.option("--shard-mb", type=Number(1), default=60.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first synthetic scene.")
def dataset(sources: tuple[Path, ...], output: Path, synthetic: int, shard_mb: float, seed: int) -> None:
    """Pack scenes into shards for training.

    SOURCE is an HDR image, a folder of them, or a folder with the raws of one exposure stack (or of such folders).
    """
    from .dataset import pack_scenes
    from .scenes import collect_scenes

    if output.exists() and any(output.glob("*.safetensors")):
        raise Sve2HdrError(f"{output}: holds shards already; name an empty folder")
    scenes = collect_scenes(sources, synthetic, seed, _note)
    packed = pack_scenes(scenes, output, shard_mb, lambda note: click.echo(note, err=True))
    if not packed:
        raise Sve2HdrError(f"{', '.join(map(str, sources))}: no scenes found; name HDR images or folders of raws")
    click.echo(f"{output}: {packed} scenes")


@click.command()
@click.argument("shards", type=FOLDER)
@click.option(
    "-o", "--output", type=FOLDER, required=True, help="Folder of the run; one that was begun is gone on with."
)
@click.option("--steps", type=click.IntRange(1), default=30_000, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Patches a step.")
@click.option("--patch", type=click.IntRange(32), default=96, show_default=True, help="px, a multiple of 8.")
@click.option("--learning-rate", type=Number(0, min_open=True), default=8e-4, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--start", help="Published network or weights file to refine.  [default: a new network]")
@click.option(
    "--layout",
    type=click.Choice(["rows", "blocks"]),
    default="rows",
    show_default=True,
    help="Row pairs of two exposures (columns too), or 2 x 2 blocks of four.",
)
@device_option
def train(
    shards: Path,
    output: Path,
    steps: int,
    batch: int,
    patch: int,
    learning_rate: float,
    seed: int,
    start: str | None,
    layout: str,
    device: str,
) -> None:
    """Train a network on packed scenes.

    SHARDS is a folder that `sve2hdr dataset` made. Writes weights, checkpoint, log and its curve.
    """
    from .convert import choose_device
    from .network import BLOCKS, ROWS
    from .plot import plot_log
    from .train import TrainingOptions
    from .train import train as run
    from .weights import load_weights, weights_path

    if start is not None:
        _refuse_given(("layout",), "is that of the network that --start names")
    network = {"rows": ROWS, "blocks": BLOCKS}[layout] if start is None else load_weights(weights_path(start))
    if patch % 8:
        raise click.UsageError(f"--patch {patch}: must be a multiple of 8")
    options = TrainingOptions(steps=steps, batch=batch, patch_px=patch, learning_rate=learning_rate, seed=seed)

    def report(record: dict[str, float]) -> None:
        click.echo(f"step {record['step']} of {steps}: loss {record['loss']:.5f}, {record['seconds']:.0f} s", err=True)

    try:
        weights = run(shards, output, network, options, choose_device(device), report)
    except ArithmeticError as error:
        raise Sve2HdrError(f"{output}: {error}, and name another folder") from error
    curve = plot_log(output / "log.jsonl")
    click.echo(f"{weights}, {curve}")


@click.command()
@click.argument("scenes", type=FOLDER)
@click.option(
    "--model", "models", multiple=True, default=["standard"], show_default=True,
    help="linear, classical, a published network or a weights file; several times for several.",
)  # fmt: skip
@click.option(
    "--external", "externals", multiple=True, metavar="COMMAND",
    help="Another program, as in 'program {input} {output}': DNG in, linear Rec. 709 out.",
)  # fmt: skip
@click.option("--full", is_flag=True, help="All ratios, noises, wrong levels, phases and CFA orders, and charts.")
@click.option("--ev", type=Number(0.1, 8), default=3.0, show_default=True, help="Exposure ratio.")
@click.option("--full-well", type=Number(0, min_open=True), default=30_000.0, show_default=True, help="Electrons.")
@click.option("--read-noise", type=Number(0), default=4.0, show_default=True, help="Electrons.")
@click.option(
    "--format", "style", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True,
    help="Of the tables; json: one object a line for each score.",
)  # fmt: skip
@click.option("--pictures", type=FOLDER, help="Folder for crops of the worst regions of the last method.")
@click.option("--timeout", type=Number(0, min_open=True), default=600.0, show_default=True, help="s, of --external.")
@device_option
@overwrite_option
def evaluate(
    scenes: Path,
    models: tuple[str, ...],
    externals: tuple[str, ...],
    full: bool,
    ev: float,
    full_well: float,
    read_noise: float,
    style: str,
    pictures: Path | None,
    timeout: float,
    device: str,
    overwrite: bool,
) -> None:
    """Score reconstructions on HDR images.

    The images of the folder SCENES are simulated as row pairs; validity-weighted linear interpolation comes first, and
    the gain of the others is over it.
    """
    from .convert import choose_device
    from .evaluate import Result, chart_scenes, full_conditions, measure, photographs, quick_conditions, scene_files
    from .methods import external, method_named, program_name
    from .pictures import check_folder, write_pictures
    from .scoretable import as_json_lines, as_markdown, as_text, condition_rows, scene_rows
    from .simulate import Sensor
    from .weights import sha256, weights_path

    if full:
        _refuse_given(("ev", "full_well", "read_noise"), "is not for --full, which has its own")
    names = list(dict.fromkeys(("linear", *(("classical",) if full else ()), *models)))
    methods = {name: method_named(name, str(choose_device(device))) for name in names}
    for command in externals:
        method = external(command, timeout)
        methods[command if program_name(command) in methods else program_name(command)] = method
    if not scenes.is_dir() or not (files := scene_files(scenes)):
        raise Sve2HdrError(f"{scenes}: no folder with HDR images (.exr, .hdr, .tif); name one")
    if pictures is not None:
        check_folder(pictures, overwrite)
    sensor = Sensor(full_well_e=full_well, read_noise_e=read_noise, preamp_noise_e=min(1.2, read_noise))
    conditions = full_conditions() if full else quick_conditions(ev, sensor)

    def done(result: Result) -> None:
        score = "" if result.psnr_mu is None else f": {result.psnr_mu:.2f} dB"
        click.echo(f"{result.scene}, {result.condition}, {result.method}{score}", err=True)

    def seen(scene: Scene, condition: Condition, images: Mapping[str, np.ndarray]) -> None:
        if pictures is not None:
            write_pictures(pictures, scene, condition, images, overwrite)

    results = measure(methods, photographs(files), conditions, done, seen)
    if full:
        results += measure(methods, chart_scenes(), quick_conditions(), done, seen)
    if style == "json":
        click.echo(as_json_lines(results))
        return
    for name in names:
        if name not in ("linear", "classical"):
            click.echo(f"{weights_path(name)}, SHA-256 {sha256(weights_path(name))}")
    table = as_markdown if style == "markdown" else as_text
    if full:
        click.echo("Row pairs, 14 bit, means over the scenes; 1.0 = saturation of the least exposed sites, 4000 cd/m2")
        click.echo("")
        click.echo(table(condition_rows(results)))
    else:
        click.echo(f"PSNR-mu, dB; row pairs, {ev:g} EV, {full_well:g} e-, {read_noise:g} e-, 14 bit")
        click.echo("")
        click.echo(table(scene_rows(results)))
