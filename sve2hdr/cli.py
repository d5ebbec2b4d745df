"""Commands: parse, call, print. A command imports what it needs itself, so that `detect` starts without torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .errors import Sve2HdrError
from .options import (
    FILE,
    FOLDER,
    Commands,
    Number,
    PatternType,
    WhiteBalanceType,
    device_option,
    keep_freed_memory,
    level_options,
    levels_of,
    model_option,
    one_line,
    overwrite_option,
    progress_bar,
)
from .pattern import parse_pattern

if TYPE_CHECKING:
    from .levels import Levels
    from .mosaic import ExposurePattern, Mosaic
    from .whitebalance import WhiteBalance

COLOR_SPACE_NAMES = ("rec709", "rec2020", "acescg", "aces2065-1", "xyz", "camera")
COMPRESSIONS = ("zip", "zips", "piz", "none", "rle", "pxr24", "b44", "b44a", "dwaa", "dwab")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sve2hdr")
def main() -> None:
    """Turn a raw photo whose sites have different exposures (SVE, Dual ISO) into an HDR image."""


@main.command()
@click.argument("raw", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Image to write: .exr, .hdr, .tif or linear .dng.")
@click.option(
    "--color-space",
    type=click.Choice(COLOR_SPACE_NAMES),
    default="rec709",
    show_default=True,
    help="Of .exr, .hdr and .tif; a .dng is camera RGB with its matrix.",
)
@click.option(
    "--wb",
    type=WhiteBalanceType(),
    help="White balance: as-shot, auto, daylight, multipliers R,G,B, or a temperature such as 5500K.  "
    "[default: as-shot if believable, else auto]",
)
@click.option(
    "--exposure",
    type=Number(-30, 30),
    default=0.0,
    show_default=True,
    help="Shift in EV; at 0, 1.0 is saturation of the most exposed sites.",
)
@click.option(
    "--float", "single", is_flag=True, help="EXR with 32-bit instead of 16-bit floats; DNG with 16-bit floats."
)
@click.option("--compression", type=click.Choice(COMPRESSIONS), default="zip", show_default=True, help="Of the EXR.")
@click.option("--preview", help="Also write a tone-mapped .jpg or .png; auto: OUTPUT with .preview.jpg.")
@click.option("--tile", type=click.IntRange(32), help="Tile size in px: smaller needs less memory.  [default: 1024]")
@model_option
@device_option
@level_options
@overwrite_option
def convert(
    raw: Path,
    output: Path,
    color_space: str,
    wb: WhiteBalance | None,
    exposure: float,
    single: bool,
    compression: str,
    preview: str | None,
    tile: int | None,
    model: str,
    device: str,
    pattern: ExposurePattern | None,
    ev: float | None,
    black: float | None,
    white: float | None,
    overwrite: bool,
) -> None:
    """Reconstruct RAW and write it as an HDR image."""
    from .convert import ConvertOptions, convert_file
    from .hdrfile import WriteOptions
    from .reconstruct import TILE_PX
    from .weights import load_weights, weights_path
    from .whitebalance import WhiteBalance

    options = ConvertOptions(
        color_space=color_space,
        white_balance=wb or WhiteBalance(),
        exposure_ev=exposure,
        preview=output.with_suffix(".preview.jpg") if preview == "auto" else Path(preview) if preview else None,
        levels=levels_of(pattern, ev, black, white),
        write=WriteOptions(half=not single, compression=compression),
        tile_px=tile or TILE_PX,
        device=device,
        overwrite=overwrite,
    )
    keep_freed_memory()
    network = load_weights(weights_path(model))
    with progress_bar(raw.name) as progress:
        converted = convert_file(raw, output, network, model, options, progress)
    for note in converted.notes:
        click.echo(f"sve2hdr: {note}", err=True)
    click.echo(converted.summary())


@main.command()
@click.argument("raws", metavar="FILE...", type=FILE, nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line per file.")
@click.option("-v", "--verbose", is_flag=True, help="Also print the evidence.")
@level_options
def detect(
    raws: tuple[Path, ...],
    as_json: bool,
    verbose: bool,
    pattern: ExposurePattern | None,
    ev: float | None,
    black: float | None,
    white: float | None,
) -> None:
    """Find the exposure pattern of each FILE.

    It is found from the pixels alone. Exits with 1 if a file has none, or cannot be read.
    """
    from .rawfile import read_raw

    levels, failed = levels_of(pattern, ev, black, white), False
    for path in raws:
        try:
            mosaic = levels.applied(read_raw(path), path)
            record, lines = _detected(mosaic, levels, path)
            finding = f"no exposure pattern: {record['reason']}"
        except Sve2HdrError as error:
            finding = one_line(error).removeprefix(f"{path}: ")
            nothing = {"sve": False, "exposure": None, "ratio_ev": 0.0, "confidence": 0.0, "cfa": None}
            record, lines = {"file": str(path), **nothing, "reason": finding}, []
        failed |= not record["sve"]
        if as_json:
            click.echo(json.dumps(record))
        elif record["sve"]:
            certainty = f"{record['ratio_ev']:.2f} EV, confidence {record['confidence']:.2f}"
            click.echo(f"{path}: {record['pattern']}, {certainty}: {record['reason']}")
        else:
            click.echo(f"sve2hdr: {path}: {finding}", err=True)
        for line in lines if verbose and not as_json else []:
            click.echo(f"  {line}")
    if failed:
        raise click.exceptions.Exit(1)


def _detected(mosaic: Mosaic, levels: Levels, path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the JSON record of one file and the lines of its evidence."""
    if levels.pattern is not None:
        given, _ = levels.pattern_of(mosaic, path)
        record: dict[str, Any] = {
            "file": str(path), "sve": True, "exposure": given.exposure.tolist(), "ratio_ev": round(given.ratio_ev, 4),
            "confidence": 1.0, "cfa": mosaic.cfa, "reason": "given by --pattern", "pattern": str(given),
        }  # fmt: skip
        return record, []
    from .pattern import detect_pattern

    found = detect_pattern(mosaic)
    record = found.as_json(path)
    lines = [
        f"cfa {mosaic.cfa}, {mosaic.shape[1]} x {mosaic.shape[0]}",
        f"white {mosaic.white_level:g}, black {mosaic.black_level.tolist()}",
        f"ratio {found.ratio_ev:.3f} +- {found.ratio_ev_error:.3f} EV",
        "scores " + ", ".join(f"{name} {score:.2f}" for name, score in found.scores.items()),
        "EV of each site of the 4 x 4 cell above the mean of its colour:",
        *("  " + " ".join(f"{ev:+.2f}" for ev in row) for row in found.phase_ev),
    ]
    if found.pattern is not None:
        final, _ = levels.pattern_of(mosaic, path)
        record |= {"exposure": final.exposure.tolist(), "ratio_ev": round(final.ratio_ev, 4), "pattern": str(final)}
    return record, lines


@main.command()
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
        _refuse_sensor_options(click.get_current_context())
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


def _refuse_sensor_options(ctx: click.Context) -> None:
    """Refuse options that say what a stack's own camera decides."""
    for name in ("cfa", "mode", "percentile", "bits", "black", "white", "full_well", "read_noise", "seed"):
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(
                f"{option} is for one HDR image (.exr, .hdr, .tif); raws bring what their camera did"
            )


def _note(text: str) -> None:
    click.echo(f"sve2hdr: {text}", err=True)


@main.command()
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


@main.command()
@click.argument("shards", type=FOLDER)
@click.option(
    "-o", "--output", type=FOLDER, required=True, help="Folder of the run; one that was begun is gone on with."
)
@click.option("--steps", type=click.IntRange(1), default=30_000, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Patches a step.")
@click.option("--patch", type=click.IntRange(32), default=96, show_default=True, help="px, a multiple of 8.")
@click.option("--learning-rate", type=Number(0, min_open=True), default=8e-4, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
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

    config = {"rows": ROWS, "blocks": BLOCKS}[layout]
    if patch % 8:
        raise click.UsageError(f"--patch {patch}: must be a multiple of 8")
    options = TrainingOptions(steps=steps, batch=batch, patch_px=patch, learning_rate=learning_rate, seed=seed)

    def report(record: dict[str, float]) -> None:
        click.echo(f"step {record['step']} of {steps}: loss {record['loss']:.5f}, {record['seconds']:.0f} s", err=True)

    try:
        weights = run(shards, output, config, options, choose_device(device), report)
    except ArithmeticError as error:
        raise Sve2HdrError(f"{output}: {error}, and name another folder") from error
    curve = plot_log(output / "log.jsonl")
    click.echo(f"{weights}, {curve}")


@main.command()
@click.argument("scenes", type=FOLDER)
@model_option
@click.option("--ev", type=Number(0.1, 8), default=3.0, show_default=True, help="Exposure ratio.")
@click.option("--full-well", type=Number(0, min_open=True), default=30_000.0, show_default=True, help="Electrons.")
@click.option("--read-noise", type=Number(0), default=4.0, show_default=True, help="Electrons.")
def evaluate(scenes: Path, model: str, ev: float, full_well: float, read_noise: float) -> None:
    """Score a network on HDR images.

    The images of the folder SCENES are simulated as row pairs; validity-weighted linear interpolation is scored beside.
    """
    from .evaluate import Score, mean_gain, scene_files
    from .evaluate import evaluate as run
    from .simulate import Sensor
    from .weights import load_weights, sha256, weights_path

    path = weights_path(model)
    network = load_weights(path)
    if not scenes.is_dir() or not (files := scene_files(scenes)):
        raise Sve2HdrError(f"{scenes}: no folder with HDR images (.exr, .hdr, .tif); name one")
    click.echo(f"{path}, SHA-256 {sha256(path)}")
    click.echo(f"PSNR-mu, dB; row pairs, {ev:g} EV, {full_well:g} e-, {read_noise:g} e-, 14 bit")
    click.echo(f"{'scene':32} {'mode':9} {'linear':>7} {model[-12:]:>12}")

    def show(score: Score) -> None:
        click.echo(f"{score.scene:32} {score.mode:9} {score.linear:7.2f} {score.network:12.2f}")

    scores = run(network, files, ev, sensor=Sensor(full_well_e=full_well, read_noise_e=read_noise), done=show)
    for mode in ("exposure", "gain"):
        linear, learned = mean_gain(scores, mode)
        click.echo(f"{'mean':32} {mode:9} {linear:7.2f} {learned:12.2f}   {learned - linear:+.2f} dB")
