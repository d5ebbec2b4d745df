"""Commands for those who make networks: train and evaluate. Each imports what it needs itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import Sve2HdrError
from .options import FOLDER, Number, Parsed, device_option, note, overwrite_option, refuse_given

if TYPE_CHECKING:
    import numpy as np

    from .architecture import ArchitectureConfig, Network
    from .evaluate import Condition, Scene


_LAYOUTS = {
    "rows": "row pairs",
    "columns": "column pairs",
    "blocks": "2 x 2 blocks of four exposures",
    "chessboard": "2 x 2 blocks of two exposures",
    "quad": "quad-Bayer with diagonals of two exposures",
}
_PAIRS = ("rows", "columns")  # which the same network knows


def parse_blocks(text: str) -> tuple[int, ...]:
    """Return numbers of blocks; raise ValueError for other text.

    >>> parse_blocks("2,1,1"), parse_blocks("16")
    ((2, 1, 1), (16,))
    """
    if not re.fullmatch(r"[1-9]\d?(,[1-9]\d?)*", text):
        raise ValueError(f"{text} is not numbers of blocks, such as 2,1,1.")
    return tuple(int(number) for number in text.split(","))


@click.command()
@click.argument("shards", type=FOLDER)
@click.option(
    "-o", "--output", type=FOLDER, required=True, help="Folder of the run; one that was begun is gone on with."
)
@click.option("--steps", type=click.IntRange(1), default=30_000, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Patches a step.")
@click.option("--patch", type=click.IntRange(32), default=96, show_default=True, help="px, a multiple of 8.")
@click.option("--learning-rate", type=Number(0, min_open=True), help="[default: 0.0008; of the paper's, 0.0002]")
@click.option(
    "--decay-share",
    type=Number(0, 1),
    default=0.3,
    show_default=True,
    help="Of the steps, at the end: the rate falls to 0.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--bfloat16", is_flag=True, help="Convolve in 16 bits: faster on GPUs and CPUs made for it.")
@click.option(
    "--checkpoint-minutes", type=Number(0, min_open=True), default=10.0, show_default=True, help="Write one so often."
)
@click.option("--start", help="Published network or weights file to refine.  [default: a new network]")
@click.option(
    "--architecture",
    type=click.Choice(["sve2hdr", "paper"]),
    default="sve2hdr",
    show_default=True,
    help="Ours, or that of Xu et al. 2021, which costs some thirty times as much.",
)
@click.option("--width", type=click.IntRange(2), help="Channels of the paper's network, even.  [default: 64]")
@click.option(
    "--blocks", type=Parsed("n,n,...", parse_blocks),
    help="Residual blocks of each level, e.g. 2,1,1, or of the paper's network; with --start, further blocks change "
    "nothing at first.",
)  # fmt: skip
@click.option(
    "--loss",
    type=click.Choice(["rms", "l1", "radiance"]),
    help="rms, or l1 and colour, of mu-law radiance; or l1 and colour of radiance.  [default: rms; paper: radiance]",
)
@click.option(
    "--layout",
    type=click.Choice([layout for layout in _LAYOUTS if layout != "columns"]),
    help="Row pairs of two exposures (columns too), 2 x 2 blocks of four, or of two, or quad-Bayer with diagonals.  "
    "[default: rows, or that of --start]",
)
@click.option(
    "--large", is_flag=True, help="A network for row pairs of four times the cost; with --start, grown from that one."
)
@device_option
def train(
    shards: Path,
    output: Path,
    steps: int,
    batch: int,
    patch: int,
    learning_rate: float | None,
    decay_share: float,
    seed: int,
    bfloat16: bool,
    checkpoint_minutes: float,
    start: str | None,
    architecture: str,
    width: int | None,
    blocks: tuple[int, ...] | None,
    loss: str | None,
    layout: str | None,
    large: bool,
    device: str,
) -> None:
    """Train a network on packed scenes.

    SHARDS is a folder that `sve2hdr dataset` made. Writes weights, checkpoint, log and its curve.
    """
    from .devices import choose_device
    from .plot import plot_log
    from .train import DEFAULT_OPTIONS
    from .train import train as run
    from .weights import load_weights, weights_path

    network: ArchitectureConfig | Network
    if start is None:
        network = config = _configuration(architecture, layout, large, width, blocks)
    else:
        refuse_given(("architecture", "width"), "is that of the network that --start names")
        network = load_weights(weights_path(start))
        if layout is not None or large or blocks is not None:
            network = _grown(network, layout, large, blocks, seed)
        config = network.config
    if patch % 8:
        raise click.UsageError(f"--patch {patch}: must be a multiple of 8")
    defaults = DEFAULT_OPTIONS[config.architecture]
    options = replace(
        defaults,
        steps=steps,
        batch=batch,
        patch_px=patch,
        learning_rate=learning_rate or defaults.learning_rate,
        decay_share=decay_share,
        loss=loss or defaults.loss,  # type: ignore[arg-type]  # click checked it
        seed=seed,
        bfloat16=bfloat16,
        checkpoint_minutes=checkpoint_minutes,
    )

    def report(record: dict[str, float]) -> None:
        click.echo(f"step {record['step']} of {steps}: loss {record['loss']:.5f}, {record['seconds']:.0f} s", err=True)

    try:
        weights = run(shards, output, network, options, choose_device(device), report)
    except ArithmeticError as error:
        raise Sve2HdrError(f"{output}: {error}, and name another folder") from error
    curve = plot_log(output / "log.jsonl")
    click.echo(f"{weights}, {curve}")


def _configuration(
    architecture: str, layout: str | None, large: bool, width: int | None, blocks: tuple[int, ...] | None
) -> ArchitectureConfig:
    """Return the configuration of a new network."""
    from .network import LARGE, LAYOUTS
    from .paper import PaperConfig

    layout = layout or "rows"
    if large and (architecture, layout) != ("sve2hdr", "rows"):
        raise click.UsageError("--large is for --architecture sve2hdr and --layout rows")
    ours = LARGE if large else LAYOUTS[layout]
    try:
        if architecture == "sve2hdr":
            refuse_given(("width",), "is for --architecture paper")
            return ours if blocks is None else replace(ours, blocks=blocks)
        if blocks is not None and len(blocks) > 1:
            raise ValueError("--blocks is one number for --architecture paper")
        depth = PaperConfig.blocks if blocks is None else blocks[0]
        return PaperConfig(ours.cfa, ours.exposure_rank, width or PaperConfig.width, depth)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _grown(network: Network, layout: str | None, large: bool, blocks: tuple[int, ...] | None, seed: int) -> Network:
    """Return a trained network made wider, of other blocks or for another layout; what is new in it is of the seed."""
    import torch

    from .network import LARGE, LAYOUTS, SveNet, grown

    if not isinstance(network, SveNet):
        raise click.UsageError("--layout, --large and --blocks: the paper's network is refined as it is")
    try:
        config = LARGE if large else network.config
        if layout is not None:
            config = replace(config, cfa=LAYOUTS[layout].cfa, exposure_rank=LAYOUTS[layout].exposure_rank)
        torch.manual_seed(seed)
        return grown(network, config if blocks is None else replace(config, blocks=blocks))
    except ValueError as error:
        raise click.UsageError(f"--start: {error}") from error


@click.command()
@click.argument("scenes", type=FOLDER)
@click.option(
    "--model", "models", multiple=True,
    help="classical, a published network or a weights file; several times for several.  [default: the one that "
    "knows the layout; classical too with --full]",
)  # fmt: skip
@click.option(
    "--external", "externals", multiple=True, metavar="COMMAND",
    help="Another program, as in 'program {input} {output}': DNG in, linear Rec. 709 out.",
)  # fmt: skip
@click.option("--full", is_flag=True, help="All ratios, noises, wrong levels, phases and CFA orders, and charts.")
@click.option(
    "--layout", type=click.Choice(list(_LAYOUTS)), default="rows", show_default=True,
    help="Row or column pairs of two exposures, 2 x 2 blocks of four, or of two, or quad-Bayer with diagonals.",
)  # fmt: skip
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
    layout: str,
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

    The images of the folder SCENES, or where it has none its exposure stacks (folders of raws, as for dataset), are
    simulated; validity-weighted linear interpolation comes first, and the gain of the others is over it.
    """
    from .devices import choose_device
    from .evaluate import (
        Result,
        chart_scenes,
        full_conditions,
        measure,
        merged_stacks,
        photographs,
        quick_conditions,
        scene_files,
    )
    from .methods import external, method_named, program_name
    from .models import AUTO, CLASSICAL
    from .pictures import check_folder, write_pictures
    from .scoretable import as_json_lines, as_markdown, as_text, condition_rows, scene_rows
    from .simulate import Sensor
    from .weights import sha256, weights_path

    if full:
        refuse_given(("layout", "ev", "full_well", "read_noise"), "is not for --full, which has its own")
    usual = ("classical", "standard") if full else ("standard" if layout in _PAIRS else layout,)
    names = list(dict.fromkeys(("linear", *(models or usual))))
    methods = {name: method_named(name, str(choose_device(device))) for name in names}
    for command in externals:
        method = external(command, timeout)
        methods[command if program_name(command) in methods else program_name(command)] = method
    files = scene_files(scenes) if scenes.is_dir() else []
    nothing = Sve2HdrError(f"{scenes}: no folder with HDR images (.exr, .hdr, .tif) or exposure stacks; name one")
    if not files and not (scenes.is_dir() and any(scenes.iterdir())):
        raise nothing
    if pictures is not None:
        check_folder(pictures, overwrite)
    sensor = Sensor(full_well_e=full_well, read_noise_e=read_noise, preamp_noise_e=min(1.2, read_noise))
    conditions = full_conditions() if full else quick_conditions(ev, sensor, layout)

    def done(result: Result) -> None:
        score = "" if result.psnr_mu is None else f": {result.psnr_mu:.2f} dB"
        click.echo(f"{result.scene}, {result.condition}, {result.method}{score}", err=True)

    def seen(scene: Scene, condition: Condition, images: Mapping[str, np.ndarray]) -> None:
        if pictures is not None:
            write_pictures(pictures, scene, condition, images, overwrite)

    material = photographs(files) if files else merged_stacks(scenes, note)
    results = measure(methods, material, conditions, done, seen)
    if not results:
        raise nothing
    if full:
        results += measure(methods, chart_scenes(), quick_conditions(), done, seen)
    if style == "json":
        click.echo(as_json_lines(results))
        return
    for name in names:
        if name not in ("linear", AUTO, CLASSICAL):
            click.echo(f"{weights_path(name)}, SHA-256 {sha256(weights_path(name))}")
    table = as_markdown if style == "markdown" else as_text
    if full:
        click.echo("Row pairs, 14 bit, means over the scenes; 1.0 = saturation of the least exposed sites, 4000 cd/m2")
        click.echo("")
        click.echo(table(condition_rows(results)))
    else:
        click.echo(f"PSNR-mu, dB; {_LAYOUTS[layout]}, {ev:g} EV, {full_well:g} e-, {read_noise:g} e-, 14 bit")
        click.echo("")
        click.echo(table(scene_rows(results)))
