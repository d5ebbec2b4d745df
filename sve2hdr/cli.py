"""Commands: parse, call, print. Each imports what it needs itself, so that `detect` starts without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .errors import Sve2HdrError
from .labcommands import dataset, evaluate, simulate, train
from .options import (
    FILE,
    Commands,
    Number,
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


for command in (simulate, dataset, train, evaluate):
    main.add_command(command)


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
    network = None if model == "classical" else load_weights(weights_path(model))
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
