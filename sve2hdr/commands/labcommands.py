"""Commands that make scenes and mosaics: simulate, dataset and unpack. Each imports what it needs itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import Sve2HdrError, UnreadableImage, one_line
from ..patterntext import MAX_EV, MIN_EV, parse_pattern, with_ratio
from .options import (
    CFA,
    CFA_HELP,
    FILE,
    FOLDER,
    PATTERN,
    SEED,
    Command,
    Files,
    Number,
    overwrite_option,
    refuse_given,
    sensor_options,
)
from .terminal import note, progress_bar, tell

if TYPE_CHECKING:
    from ..mosaic import ExposurePattern


@click.command(cls=Command, headings={"pattern": "Sensor and exposure", "seed": "Options"})
@click.argument("sources", cls=Files, metavar="SOURCE...", type=FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="Raw file to write: .dng.")
@click.option("--truth", type=FILE, help="Also write the ground truth, in camera RGB: .exr, .hdr or .tif.")
@click.option("--pattern", type=PATTERN, help="Relative exposures of one period.  [default: rows:1/8,1/8,1,1]")
@click.option(
    "--ev",
    help="For an image: the exposure ratio in EV.  [default: that of --pattern]  For raws: the exposure of each in EV, "
    "such as -2,0,2, against which measured ones are checked.  [default: EXIF]",
)
@click.option("--cfa", type=CFA, metavar="CFA", default="RGGB", show_default=True, help=CFA_HELP)
@click.option(
    "--mode",
    type=click.Choice(["exposure", "gain"]),
    default="exposure",
    show_default=True,
    help="Give the bright sites more light (exposure), or more amplification (gain, as Dual ISO does).",
)
@click.option(
    "--percentile",
    type=Number(0, 100),
    default=98.0,
    show_default=True,
    help="Expose so that the least exposed sites saturate at this percentile of the scene's green.",
)
@click.option(
    "--saturation",
    type=Number(1e-30, 1e30),
    help="Instead of --percentile: the value of the scene's green at which the least exposed sites saturate, by which "
    "several frames are exposed alike.",
)
@click.option("--bits", type=click.IntRange(8, 16), default=14, show_default=True, help="Bit depth of the counts.")
@click.option("--black", type=Number(0, 65535), help="Black level in counts.  [default: 1/16 of the range]")
@click.option("--white", type=Number(0, 65535), help="White level in counts.  [default: 63/64 of the range]")
@sensor_options
@click.option(
    "--preamp-noise",
    type=Number(0, 1e6),
    default=1.2,
    show_default=True,
    help="Part of the read noise, in electrons, that arises before the amplifier, and is amplified by --mode gain.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the noise.")
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
    saturation: float | None,
    bits: int,
    black: float | None,
    white: float | None,
    full_well: float,
    read_noise: float,
    preamp_noise: float,
    seed: int,
    compress: bool,
    overwrite: bool,
) -> None:
    """Make an SVE raw (DNG) of a scene, with its ground truth.

    SOURCE is one HDR image (.exr, .hdr, .tif), or the raws of one exposure stack of a static scene. Options that
    describe the sensor and the exposure are only for images; raws stay as their camera took them.
    """
    from ..raw.rawcheck import RAW_EXTENSIONS
    from ..simulation.simulate import Sensor
    from ..simulation.simulated import Shot, SimulatedFile, from_image, from_stack, is_image

    if saturation is not None:
        refuse_given(("percentile",), "and --saturation exclude each other; give one")
    evs = _numbers(ev)
    wanted = pattern or parse_pattern("rows:1/8,1/8,1,1")
    target = SimulatedFile(output, truth, compress, overwrite)
    if is_image(sources[0]):
        if len(sources) > 1 or (evs and len(evs) > 1):
            raise click.UsageError("give one HDR image with one --ev, or the raws of a stack")
        if evs and (wanted.ratio == 1 or not MIN_EV <= evs[0] <= MAX_EV):
            raise click.UsageError(
                f"--ev {ev}: a ratio lies from {MIN_EV} to {MAX_EV} EV, in a pattern of two exposures"
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
                preamp_noise_e=preamp_noise,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        wanted = with_ratio(wanted, evs[0]) if evs else wanted
        said = from_image(sources[0], target, Shot(wanted, cfa, sensor, percentile, saturation, seed), note)
    elif len(sources) == 1 and sources[0].suffix.lower() not in RAW_EXTENSIONS:
        raise UnreadableImage(
            f"{sources[0]}: neither an HDR image (.exr, .hdr, .tif) nor a raw; to make one from an array: "
            'tifffile.imwrite("scene.tif", array, photometric="rgb")'
        )
    else:
        of_sensor = ("mode", "bits", "black", "white", "full_well", "read_noise", "preamp_noise")
        of_images = ("cfa", "percentile", "saturation", *of_sensor, "seed")
        refuse_given(of_images, "is for an HDR image (.exr, .hdr, .tif); raws keep what their camera did")
        said = from_stack(sources, target, wanted, evs, note)
    tell(*said.split("\n"))


def _numbers(text: str | None) -> list[float] | None:
    """Parse the numbers of `--ev`."""
    if text is None:
        return None
    try:
        numbers = [float(value) for value in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise click.UsageError(f"--ev {text}: write numbers such as 3 or -2,0,2")
    return numbers


@click.command(cls=Command)
@click.argument("sources", cls=Files, metavar="SOURCE...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder for the shards.")
@click.option(
    "--synthetic", type=click.IntRange(0), default=0, show_default=True, help="How many synthetic scenes to add."
)
@click.option(
    "--shard-mb",
    type=Number(1),
    default=60.0,
    show_default=True,
    help="Size of a shard in MB, unless one scene is larger.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the first synthetic scene.")
def dataset(sources: tuple[Path, ...], output: Path, synthetic: int, shard_mb: float, seed: int) -> None:
    """Pack scenes into shards for training.

    SOURCE is an HDR image, a folder of them, or a folder with the raws of one exposure stack (or with such folders).
    Whatever cannot be used is left out with a note, and the exit code is then 1.
    """
    from ..training.scenes import collect_scenes
    from ..training.shards import check_no_shards, pack_scenes

    check_no_shards(output)
    left_out: list[str] = []

    def leave_out(what: str) -> None:
        left_out.append(what)
        note(what)

    scenes = collect_scenes(sources, synthetic, seed, note, leave_out)
    packed = pack_scenes(scenes, output, shard_mb, lambda line: tell(line, err=True), leave_out)
    if not packed:
        raise Sve2HdrError(f"{', '.join(map(str, sources))}: no scenes found; name HDR images or folders of raws")
    tell(f"{output}: {packed} scenes")
    if left_out:
        raise click.exceptions.Exit(1)


@click.command(cls=Command)
@click.argument("given", cls=Files, metavar="CLIP...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=FOLDER,
    required=True,
    help="Output folder, in which each clip gets a folder of its own name.",
)
@overwrite_option
def unpack(given: tuple[Path, ...], output: Path, overwrite: bool) -> None:
    """Turn Magic Lantern video into CinemaDNG frames and a WAV.

    CLIP is an .MLV file, or a folder with such files in its tree, which is mirrored in the output folder. Files that
    continue a clip, .M00 and so on, are found beside it. Frames that exist are kept, so that an interrupted command
    can be given again. Then convert the frames with `sve2hdr batch`.
    """
    from ..video.unpack import clips_of, unpack_clip

    try:
        clips, unread = clips_of(given, output)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for name, why in unread:
        note(f"{name}: {why}")
    failed = bool(unread)
    for path, into in clips:
        try:
            with progress_bar(path.name) as progress:
                unpacked = unpack_clip(path, into, overwrite=overwrite, progress=progress)
        except Sve2HdrError as error:
            failed = True
            note(one_line(error))
            continue
        failed |= bool(unpacked.failures)
        for said in (*unpacked.failures, *unpacked.notes):
            note(said)
        tell(unpacked.summary())
    if failed:
        raise click.exceptions.Exit(1)
