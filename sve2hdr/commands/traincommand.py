"""The command that trains networks. It imports what it needs itself."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import FOLDER, SEED, Command, Number, Parsed, complete_path, device_option, refuse_given
from .terminal import note, tell, tried_device

if TYPE_CHECKING:
    from ..architecture import ArchitectureConfig, Network
    from ..network import NetworkConfig


_LAYOUTS = ("rows", "fours", "blocks", "quad")  # as in network.py, which takes long to import


def parse_blocks(text: str) -> tuple[int, ...]:
    """Parse numbers of blocks; raise ValueError for other text.

    >>> parse_blocks("2,1,1"), parse_blocks("16")
    ((2, 1, 1), (16,))
    """
    if not re.fullmatch(r"[1-9]\d?(,[1-9]\d?)*", text):
        raise ValueError(f"{text} is not numbers of blocks, such as 2,1,1.")
    return tuple(int(number) for number in text.split(","))


@click.command(cls=Command, headings={"start": "Network", "loss": "Options", "layout": "Network", "device": "Options"})
@click.argument("shards", type=FOLDER)
@click.option(
    "-o", "--output", type=FOLDER, required=True, help="Folder of the run; a run that was begun there is continued."
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=30_000,
    show_default=True,
    help="Steps of the whole run, with those before an interruption.",
)
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Patches per step.")
@click.option(
    "--patch",
    type=click.IntRange(32),
    default=96,
    show_default=True,
    help="Side of a patch in pixels, a multiple of 8.",
)
@click.option(
    "--learning-rate",
    type=Number(0, min_open=True),
    help="Learning rate, until it falls at the end.  [default: 0.0008; for the paper's network, 0.0002]",
)
@click.option(
    "--decay-share",
    type=Number(0, 1),
    default=0.3,
    show_default=True,
    help="Share of the steps, at the end, over which the learning rate falls to 0.",
)
@click.option(
    "--seed",
    type=SEED,
    default=1,
    show_default=True,
    help="Seed of the new network, and of the patches it is trained on.",
)
@click.option("--bfloat16", is_flag=True, help="Convolve in 16 bits: faster on GPUs and CPUs made for it.")
@click.option(
    "--checkpoint-minutes",
    type=Number(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Write a checkpoint at least this often.",
)
@click.option(
    "--start",
    shell_complete=complete_path,
    help="Published network, or weights file, to refine.  [default: start with a new network]",
)
@click.option(
    "--architecture",
    type=click.Choice(["sve2hdr", "paper"]),
    default="sve2hdr",
    show_default=True,
    help="Our network, or that of the paper (Xu et al. 2021), which costs some thirty times as much.",
)
@click.option("--width", type=click.IntRange(2), help="Channels of the paper's network, an even number.  [default: 64]")
@click.option(
    "--blocks", type=Parsed("n,n,...", parse_blocks),
    help="Number of blocks of each level, such as 2,1,4, or of the paper's network, such as 8; with --start, blocks "
    "that are added change nothing at first.",
)  # fmt: skip
@click.option(
    "--loss",
    type=click.Choice(["rms", "l1", "radiance"]),
    help="rms: RMS error of mu-law radiance; l1: its L1 and colour error; radiance: these of linear radiance.  "
    "[default: rms; for the paper's network, radiance]",
)
@click.option(
    "--layout",
    type=click.Choice(_LAYOUTS),
    help="Patterns to learn: row pairs or rows in fours of two exposures (and columns likewise), or 2 x 2 blocks or "
    "quad-Bayer of two to four.  [default: rows, or that of --start]",
)
@click.option(
    "--large",
    is_flag=True,
    help="Train a network for row pairs that costs four times as much; with --start, it grows from that one.",
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

    SHARDS is a folder that `sve2hdr dataset` made. Weights, checkpoint, log and its curve are written to the folder of
    the run. After an interruption, give the same command to continue.
    """
    from ..training.plot import plot_log
    from ..training.train import DEFAULT_OPTIONS, Interrupted
    from ..training.train import train as run
    from ..weights import load_weights, weights_path

    network: ArchitectureConfig | Network
    if start is None:
        network = config = _configuration(architecture, layout, large, width, blocks)
    else:
        refuse_given(("architecture", "width"), "is set by the network that --start names; leave it out")
        network = load_weights(weights_path(start))
        if layout is not None or large or blocks is not None:
            network = _grown(start, network, layout, large, blocks, seed)
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
        log_every=min(defaults.log_every, max(1, steps // 20)),  # a curve needs points
    )

    told = []

    def report(record: dict[str, float]) -> None:
        told.append(record)
        click.echo(f"step {record['step']} of {steps}: loss {record['loss']:.5f}, {record['seconds']:.0f} s", err=True)

    chosen = tried_device(device)
    try:
        weights = run(shards, output, network, options, chosen, report)
    except Interrupted as stop:
        note(str(stop))
        raise click.exceptions.Exit(130) from stop
    if not told:
        note(f"{output}: is trained to the end already; give more --steps to go on")
    curve = plot_log(output / "log.jsonl")
    tell(f"{weights}, {curve}")


def _configuration(
    architecture: str, layout: str | None, large: bool, width: int | None, blocks: tuple[int, ...] | None
) -> ArchitectureConfig:
    """Return the configuration of a new network."""
    from ..network import LARGE, LAYOUTS
    from ..paper import PaperConfig

    layout = layout or "rows"
    if large and (architecture, layout) != ("sve2hdr", "rows"):
        raise click.UsageError("--large is only for --architecture sve2hdr and --layout rows")
    ours = LARGE if large else LAYOUTS[layout]
    try:
        if architecture == "sve2hdr":
            refuse_given(("width",), "is only for --architecture paper")
            return _with_blocks(ours, blocks)
        if blocks is not None and len(blocks) > 1:
            raise ValueError("--blocks is one number for --architecture paper")
        depth = PaperConfig.blocks if blocks is None else blocks[0]
        width = width or PaperConfig.width
        return PaperConfig(ours.cfa, ours.exposure_rank, width, depth, any_exposures=ours.any_exposures)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _with_blocks(config: NetworkConfig, blocks: tuple[int, ...] | None) -> NetworkConfig:
    """Return a configuration with other numbers of blocks, if these are given."""
    if blocks is not None and len(blocks) != len(config.blocks):
        usual = ",".join(map(str, config.blocks))
        raise click.UsageError(f"--blocks needs {len(config.blocks)} numbers, such as {usual}")
    return config if blocks is None else replace(config, blocks=blocks)


def _grown(
    start: str, network: Network, layout: str | None, large: bool, blocks: tuple[int, ...] | None, seed: int
) -> Network:
    """Return a trained network made wider, with other blocks or for another layout; new weights come from the seed."""
    import torch

    from ..network import LARGE, LAYOUTS, SveNet
    from ..training.growth import grown

    if not isinstance(network, SveNet):
        raise click.UsageError("--layout, --large and --blocks cannot change the paper's network; leave them out")
    asked = LARGE if large else LAYOUTS[layout] if layout else network.config
    if asked.place != network.config.place:
        able = " or ".join(name for name, of in LAYOUTS.items() if of.place == asked.place)
        wanted = "large" if large else layout
        raise click.UsageError(f"--start {start} cannot become a {wanted} network; start from one for {able}")
    try:
        config = LARGE if large else network.config
        if layout is not None:
            of = LAYOUTS[layout]
            config = replace(
                config, cfa=of.cfa, exposure_rank=of.exposure_rank, any_exposures=of.any_exposures, parts=of.parts
            )
        torch.manual_seed(seed)
        return grown(network, _with_blocks(config, blocks))
    except ValueError as error:
        raise click.UsageError(f"--start: {error}") from error
