"""Make the README's picture: linear interpolation beside the network, both of example.dng, and the whole frame.

python examples/make_picture.py -o examples/picture.jpg
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sve2hdr import detect_pattern
from sve2hdr.color import COLOR_SPACES, linear_rgb
from sve2hdr.interpolate import interpolate
from sve2hdr.preview import tone_map
from sve2hdr.rawfile import read_raw
from sve2hdr.reconstruct import reconstruct
from sve2hdr.sensor.noise import estimate_noise
from sve2hdr.weights import load_weights, weights_path

CROPS = ((140, 108), (290, 300))  # left, top of what is enlarged, px
CROP_PX, ENLARGED, GAP = (96, 64), 4, 6

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("-o", "--output", type=Path, default=Path("picture.jpg"))
parser.add_argument("--model", default="standard")
arguments = parser.parse_args()

mosaic = read_raw(Path(__file__).with_name("example.dng"))
pattern = detect_pattern(mosaic).pattern
assert pattern is not None
ratio = pattern.ratio
noise = estimate_noise(mosaic, pattern)
network = load_weights(weights_path(arguments.model))


def shown(camera_rgb: np.ndarray) -> Image.Image:
    """Return camera RGB as the preview has it."""
    return Image.fromarray(tone_map(linear_rgb(camera_rgb, mosaic, COLOR_SPACES["rec709"], ratio)))


def as_taken() -> Image.Image:
    """Return the mosaic as it is: dark and bright rows, each clipped where its sites are."""
    signal = np.clip((mosaic.counts.astype(np.float32) - float(mosaic.black_level.mean())) / mosaic.span, 0, 1)
    return Image.fromarray(np.uint8(np.rint(255 * signal ** (1 / 2.2)))).convert("RGB")


rows = {
    "the raw photo": as_taken(),
    "linear interpolation": shown(interpolate(mosaic, pattern)),
    "sve2hdr": shown(reconstruct(mosaic, pattern, noise, network)),
}
width, height = (side * ENLARGED for side in CROP_PX)
whole = rows["sve2hdr"]
picture_width = 3 * width + 2 * GAP
whole = whole.resize((picture_width, round(whole.height * picture_width / whole.width)), Image.Resampling.LANCZOS)
picture = Image.new("RGB", (picture_width, whole.height + len(CROPS) * (height + GAP)), "white")
picture.paste(whole, (0, 0))
draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=20)
for line, (left, top) in enumerate(CROPS):
    for column, (name, image) in enumerate(rows.items()):
        crop = image.crop((left, top, left + CROP_PX[0], top + CROP_PX[1])).resize(
            (width, height), Image.Resampling.NEAREST
        )
        corner = (column * (width + GAP), whole.height + GAP + line * (height + GAP))
        picture.paste(crop, corner)
        if line == 0:
            draw.text((corner[0] + 8, corner[1] + 6), name, "white", font, stroke_width=2, stroke_fill="black")
picture.save(arguments.output, quality=82)
