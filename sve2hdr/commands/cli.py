"""Commands: parse, call, print. Each imports what it needs itself, so that `detect` starts without torch."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..errors import Sve2HdrError, one_line
from ..memory import keep_freed_memory
from .batchcommand import batch
from .evaluatecommand import evaluate
from .imageoptions import IMAGE_HEADINGS, check_ensemble, check_formats, check_preview, convert_options, image_options
from .labcommands import dataset, simulate, unpack
from .options import (
    FILE,
    Commands,
    Counts,
    Files,
    FileType,
    complete_path,
    level_options,
    levels_of,
    overwrite_option,
)
from .terminal import note, progress_bar, tell
from .traincommand import train

if TYPE_CHECKING:
    from ..levels import Levels
    from ..mosaic import ExposurePattern, Mosaic

MANY = "sve2hdr batch converts many"


def show_version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    """Print the version, and below it what a report of a fault should tell; then exit."""
    if not asked or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version
    from platform import platform, python_version

    told = [f"Python {python_version()}"]
    for name in ("torch", "rawpy", "numpy", "imagecodecs", "openexr"):
        with suppress(PackageNotFoundError):  # training needs none that reads raws
            told.append(f"{name} {version(name)}")
    tell(f"sve2hdr, version {__version__}", ", ".join([*told, platform()]))
    ctx.exit()


EXAMPLES = """\b
Examples:
  sve2hdr convert photo.CR2 -o photo.exr --preview
  sve2hdr batch card/DCIM -o hdr --format dng --preview"""


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXAMPLES,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version, and those of Python and the main libraries, and exit.",
)
def main() -> None:
    """Turn raw photos with several exposures in one frame (Dual ISO and other SVE) into HDR images.

    `sve2hdr COMMAND --help` shows the options of a command.
    """


@main.command(headings=IMAGE_HEADINGS)
@click.argument("raws", cls=Files, metavar="RAW", type=FileType(MANY), nargs=-1)
@click.option("-o", "--output", type=FILE, required=True, help="Image to write: .exr, .hdr, .tif or linear .dng.")
@click.option(
    "--preview",
    is_flag=False,
    flag_value="auto",
    shell_complete=complete_path,
    help="Also write a tone-mapped preview, to this .jpg or .png; without a name, or with auto: beside OUTPUT, as "
    ".preview.jpg.",
)
@click.option(
    "--lock-params",
    type=FILE,
    help="Keep a sequence from flickering: give all frames the same JSON file. The first frame writes levels, white "
    "balance and brightness to it, and the others read them.",
)
@click.option(
    "--if-not-sve",
    type=click.Choice(["fail", "develop"]),
    default="fail",
    show_default=True,
    help="What to do with an ordinary raw, which has one exposure: refuse it, or develop it all the same.",
)
@image_options
@overwrite_option
def convert(
    raws: tuple[Path, ...],
    output: Path,
    preview: str | None,
    lock_params: Path | None,
    if_not_sve: str,
    model: str,
    **chosen: Any,
) -> None:
    """Convert one raw photo, RAW, into an HDR image.

    Pattern, exposure ratio, levels and white balance are found in the photo, unless you give them as options.
    """
    from dataclasses import replace

    from ..convert import convert_file
    from ..models import model_named

    if not raws:
        taken = "." if preview in (None, "auto") else f"; --preview has taken {preview} for its name, put RAW before it"
        raise click.UsageError(f"Missing argument 'RAW'{taken}")
    raw = raws[0]
    if len(raws) > 1:
        raise click.UsageError(f"takes one raw, and {raws[1]} is one too many; {MANY}")
    beside = output.with_suffix(".preview.jpg") if preview == "auto" else Path(preview) if preview else None
    check_ensemble(chosen["ensemble"], model)
    check_formats((output.suffix.lower(),))
    if chosen["ultra_hdr"] and (beside is None or beside.suffix.lower() not in (".jpg", ".jpeg")):
        raise click.UsageError("--ultra-hdr needs a JPEG preview; add --preview auto, or name a .jpg")
    check_preview(beside is not None)
    options = replace(convert_options(preview=beside, **chosen), lock_parameters=lock_params, if_not_sve=if_not_sve)
    keep_freed_memory()
    with progress_bar(raw.name) as progress:
        converted = convert_file(raw, output, model_named(model), options, progress)
    for said in converted.notes:
        note(said)
    tell(*converted.summary().split("\n"))


@main.command()
@click.argument(
    "raws",
    cls=Files,
    metavar="FILE...",
    type=FileType("name the files in it, such as {}/*.CR2"),
    nargs=-1,
    required=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each file, one per line.")
@click.option("-v", "--verbose", is_flag=True, help="Also print levels, noise, and the scores that led to the result.")
@level_options
def detect(
    raws: tuple[Path, ...],
    as_json: bool,
    verbose: bool,
    pattern: ExposurePattern | None,
    ev: float | None,
    black: Counts,
    white: Counts,
) -> None:
    """Find the exposure pattern of each FILE from its pixels.

    The exit code is 1 if a file has no pattern or cannot be read.
    """
    from ..patterntext import certainty
    from ..rawfile import read_raw

    levels, failed = levels_of(pattern, ev, black, white), False
    for path in raws:
        try:
            record, lines, finding = _detected(read_raw(path), levels, path)
        except Sve2HdrError as error:
            finding = one_line(error, str(path))
            nothing = {"sve": False, "exposure": None, "ratio_ev": 0.0, "confidence": 0.0, "cfa": None}
            record, lines = {"file": str(path), **nothing, "reason": finding, "error": finding}, []
        failed |= not record["sve"]
        if as_json:
            click.echo(json.dumps(record))
        elif record["sve"]:
            sure = certainty(record["ratio_ev"], record["confidence"])
            tell(f"{path}: {record['pattern']}, {sure}: {record['reason']}")
        else:
            note(f"{path}: {finding}")
        if "note" in record and not as_json:
            note(f"{path}: {record['note']}")
        for line in lines if verbose and not as_json else []:
            tell(f"  {line}")
    if failed:
        raise click.exceptions.Exit(1)


def _detected(mosaic: Mosaic, levels: Levels, path: Path) -> tuple[dict[str, Any], list[str], str]:
    """Return the JSON record of one file as read, the lines of its evidence, and why it has no pattern, if so."""
    from ..levels import estimate_levels
    from ..pattern import detect_pattern

    lines = [f"cfa {mosaic.cfa}, {mosaic.shape[1]} x {mosaic.shape[0]}"]
    if levels.pattern is None:
        found = detect_pattern(levels.applied(mosaic, path))
        record = found.as_json(path)
        lines += [
            "scores " + ", ".join(f"{name} {score:.2f}" for name, score in found.scores.items()),
            f"EV of each site of the {len(found.phase_ev)} x 4 cell above the mean of its colour:",
            *("  " + " ".join(f"{ev:+.2f}" for ev in row) for row in found.phase_ev),
        ]
        if found.pattern is None:
            return record, lines, found.finding
        estimate = estimate_levels(mosaic, path, levels, found)
    else:
        estimate = estimate_levels(mosaic, path, levels)
        record = {"file": str(path), "sve": True, "confidence": None, "cfa": mosaic.cfa, "reason": "given by --pattern"}
    record |= {"exposure": estimate.pattern.exposure.tolist(), "pattern": str(estimate.pattern)} | estimate.as_json()
    record |= {"note": estimate.note} if estimate.note else {}
    lines.append(f"ratio {estimate.pattern.ratio_ev:.3f} +- {estimate.ratio_ev_error:.3f} EV")
    for name in ("black", "white", "read_noise", "gain"):
        period = getattr(estimate.noise if name in ("read_noise", "gain") else estimate, name)
        rows = "; ".join(" ".join(f"{value:.5g}" for value in row) for row in period)
        lines.append(f"{name.replace('_', ' ')} {rows}")
    lines.append("from " + ", ".join(f"{name.replace('_', ' ')}: {at}" for name, at in estimate.sources.items()))
    return record, lines, ""


for command in (batch, unpack, simulate, dataset, train, evaluate):
    main.add_command(command)
