"""Reconstruct counts that come from no file, such as those of a sensor of your own: arrays -> Mosaic -> HDR image.

`reconstruct_mosaic` does all that `sve2hdr convert` does; for a raw file, `reconstruct_file` takes one line less.
"""

import sys
from pathlib import Path

from sve2hdr import (
    COLOR_SPACES,
    ConvertOptions,
    Levels,
    Mosaic,
    Sve2HdrError,
    model_named,
    parse_pattern,
    reconstruct_mosaic,
    upright,
    write_hdr,
)
from sve2hdr.hdrfile import write_preview
from sve2hdr.patterntext import certainty
from sve2hdr.preview import tone_map
from sve2hdr.rawfile import read_raw

raw = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("example.dng")
sensor = read_raw(raw)  # stands in for your sensor: only arrays and numbers are taken from it

mosaic = Mosaic(
    counts=sensor.counts,  # (H, W) uint16, as read out
    cfa=sensor.cfa,  # colours of the top-left 2 x 2, row by row, such as "RGGB"; quad-Bayer: of 4 x 4
    black_level=sensor.black_level,  # float32, one period: (1, 1) for one level, (2, 2) for each site of a Bayer cell
    white_level=sensor.white_level,  # counts at which sites saturate
    camera_from_xyz=sensor.camera_from_xyz,  # (3, 3) float64, a DNG's ColorMatrix; not known: as in monochrome.py
    as_shot_neutral=sensor.as_shot_neutral,  # (3,) float64, camera RGB of a neutral; None: found in the image
    capture=sensor.capture,  # what files state about the shot, and how the camera was held; may be left out
)
pattern = parse_pattern(sys.argv[2]) if len(sys.argv) > 2 else None  # "rows:1/8,1/8,1,1" as you know it; None: found
options = ConvertOptions(levels=Levels(pattern))
try:
    made = reconstruct_mosaic(mosaic, model_named("auto"), options)
except Sve2HdrError as error:
    raise SystemExit(str(error)) from error
found = made.estimate
print(f"{found.pattern}, {certainty(found.pattern.ratio_ev, found.confidence)}; {made.model}", *made.notes, sep="\n")

image = made.linear_rgb("rec709")  # (H, W, 3) float32, 1.0 = saturation of the most exposed sites; as on the sensor
image = upright(image, mosaic.capture.orientation)
print(f"{image.shape}, brightest value {image.max():.2f}")
write_hdr(
    f"{raw.stem}.exr",
    image,
    color_space=COLOR_SPACES["rec709"],
    capture=mosaic.capture,
    attributes=made.attributes,
    noise=made.noise,
    overwrite=True,
)
write_preview(f"{raw.stem}.jpg", tone_map(image, noise=made.noise, lost=made.lost_level), overwrite=True)
