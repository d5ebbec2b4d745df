"""The options that say how a raw becomes an image: those of `convert`, which `batch` takes over."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..color import COLOR_SPACES
from .options import (
    FILE,
    WHITE_BALANCE,
    Counts,
    Number,
    device_option,
    level_options,
    levels_of,
    model_option,
    options_of,
)

if TYPE_CHECKING:
    from ..mosaic import ExposurePattern
    from ..pipeline import ConvertOptions
    from ..reconstruct import Precision
    from ..whitebalance import WhiteBalance

COMPRESSIONS = ("zip", "zips", "piz", "none", "rle", "pxr24", "b44", "b44a", "dwaa", "dwab")

IMAGE_HEADINGS = {"color_space": "Image", "tile": "Network", "pattern": "Levels", "overwrite": "Options"}
image_options = options_of(
    click.option(
        "--color-space",
        type=click.Choice(list(COLOR_SPACES)),
        default="rec709",
        show_default=True,
        help="Colour space of .exr, .hdr and .tif; a .dng always has camera RGB and its matrix.",
    ),
    click.option(
        "--wb",
        type=WHITE_BALANCE,
        help="White balance: as-shot, auto, daylight, multipliers R,G,B, a temperature such as 5500K, or "
        "grey:X,Y,WIDTH,HEIGHT for a grey card, by its place in the image in pixels.  [default: as-shot if plausible, "
        "else auto]",
    ),
    click.option(
        "--exposure",
        type=Number(-30, 30),
        default=0.0,
        show_default=True,
        help="Make values brighter by so many EV (stops), or darker if negative; at 0, green of the most exposed sites "
        "saturates at 1.0.",
    ),
    click.option(
        "--float",
        "single",
        is_flag=True,
        help="Write 32-bit instead of 16-bit floats to EXR, and 16-bit floats instead of integers to DNG.",
    ),
    click.option(
        "--compression",
        type=click.Choice(COMPRESSIONS),
        default="zip",
        show_default=True,
        help="Compression of the EXR; pxr24, b44 and dwa lose precision, and dwa stores 16-bit floats even with "
        "--float.",
    ),
    click.option(
        "--preview-exposure",
        type=Number(-30, 30),
        default=0.0,
        show_default=True,
        help="Make only the preview brighter by so many EV, or darker if negative; at 0, its brightness is found in "
        "the image.",
    ),
    click.option(
        "--preview-size",
        type=click.IntRange(16),
        metavar="PX",
        help="Reduce the preview to at most this length of its longer side, and its gain map with it.",
    ),
    click.option(
        "--ultra-hdr", is_flag=True, help="Add a gain map to the JPEG preview: brighter highlights on HDR screens."
    ),
    click.option(
        "--no-bad-pixels",
        is_flag=True,
        help="Do not look for hot, cold and stuck sites and focus pixels, and replace none.",
    ),
    click.option(
        "--bad-pixel-map",
        type=FILE,
        help="Also replace the sites that this file names: a text file with 'column row' on each line, or a raw taken "
        "with the lens capped.",
    ),
    click.option(
        "--tile",
        type=click.IntRange(32),
        help="Side in pixels of the square tiles that are processed at a time; smaller ones need less memory.  "
        "[default: 1024; batch: as large as memory allows]",
    ),
    model_option,
    device_option,
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default="auto",
        show_default=True,
        help="Precision of the network's convolutions; auto: bfloat16 if device and network are made for it.",
    ),
    click.option(
        "--ensemble",
        is_flag=True,
        help="Average the results for the frame and its mirror image (quad-Bayer: all 8 ways to turn it): less noise "
        "and moire, in 2 (8) times the time.",
    ),
    level_options,
)


def check_ensemble(ensemble: bool, model: str) -> None:
    """Raise UsageError for `--ensemble` with the classical method, whose result does not depend on how a frame lies."""
    if ensemble and model == "classical":
        raise click.UsageError("--ensemble needs a network; leave it out, or --model classical")


def check_formats(extensions: Collection[str]) -> None:
    """Raise UsageError for options of formats that are not written. `extensions`: of the images, in lower case."""
    for name, option, of in (("single", "--float", (".exr", ".dng")), ("compression", "--compression", (".exr",))):
        given = click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and not {*of} & {*extensions}:
            raise click.UsageError(f"{option} is only for {' and '.join(of)}; leave it out")


def check_preview(written: bool) -> None:
    """Raise UsageError for options of previews if none is written."""
    for name in ("ultra_hdr", "preview_size", "preview_exposure"):
        if click.get_current_context().params[name] and not written:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --preview")


def convert_options(
    color_space: str,
    wb: WhiteBalance | None,
    exposure: float,
    single: bool,
    compression: str,
    preview_exposure: float,
    preview_size: int | None,
    ultra_hdr: bool,
    no_bad_pixels: bool,
    bad_pixel_map: Path | None,
    tile: int | None,
    device: str,
    precision: Precision,
    ensemble: bool,
    pattern: ExposurePattern | None,
    ev: float | None,
    black: Counts,
    white: Counts,
    overwrite: bool = False,
    preview: Path | None = None,
) -> ConvertOptions:
    """Return the values of `image_options`, except the model, as the library's options."""
    from ..formats.exrwrite import WriteOptions
    from ..pipeline import ConvertOptions
    from ..reconstruct import TILE_PX
    from ..sensor.badpixels import BadPixelMap
    from ..whitebalance import WhiteBalance

    return ConvertOptions(
        color_space=color_space,
        white_balance=wb or WhiteBalance(),
        exposure_ev=exposure,
        preview=preview,
        preview_px=preview_size,
        preview_exposure_ev=preview_exposure,
        ultra_hdr=ultra_hdr,
        levels=levels_of(pattern, ev, black, white),
        bad_pixels=not no_bad_pixels,
        bad_pixel_map=None if bad_pixel_map is None else BadPixelMap.of(bad_pixel_map),
        write=WriteOptions(half=not single, compression=compression),
        tile_px=tile or TILE_PX,
        device=device,
        precision=precision,
        ensemble=ensemble,
        overwrite=overwrite,
    )
