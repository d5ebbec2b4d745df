"""Reconstruct a sensor without colour filters, whose 2 x 2 sites have their own exposures, as if it were quad-Bayer.

No network was trained for monochrome sensors, but the one for quad-Bayer treats them as a sensor that sees grey things,
and the mean of its three channels is the picture. The counts are simulated here, from HDR images that you name or from
the converted example; put those of your sensor in their place.
"""

import sys
from pathlib import Path

import numpy as np

from sve2hdr import COLOR_SPACES, Mosaic, model_named, parse_pattern, reconstruct_file, reconstruct_mosaic, write_hdr
from sve2hdr.color import rgb_from_xyz
from sve2hdr.evaluation.metrics import psnr_mu
from sve2hdr.formats.imageread import read_scene
from sve2hdr.mosaic import QUAD_BAYER
from sve2hdr.preview import LUMINANCE_OF_RGB
from sve2hdr.simulation.simulate import Sensor, simulate

SENSOR, PATTERN = Sensor(), parse_pattern("grid:1,1/2;1/8,1/4")
model = model_named("auto")


def scenes() -> list[tuple[str, np.ndarray]]:
    """Return names and light, (H, W, 3) float32."""
    if sys.argv[1:]:
        return [(path.stem, read_scene(path)[0]) for path in map(Path, sys.argv[1:])]
    example = Path(__file__).with_name("example.dng")
    return [("example", reconstruct_file(example, model).linear_rgb("rec709"))]


scores = []
for name, light in scenes():
    grey = np.maximum(light @ LUMINANCE_OF_RGB, 0)
    grey /= np.percentile(grey, 98)  # 1.0 = saturation of the least exposed sites
    truth = np.repeat(grey[..., None], 3, axis=2)
    counts = simulate(truth, QUAD_BAYER, PATTERN, SENSOR, seed=0).counts

    mosaic = Mosaic(
        counts=counts,  # (H, W) uint16, as read out
        cfa=QUAD_BAYER,  # where whole rows or columns go in pairs, as with Dual ISO, "RGGB" instead
        black_level=np.full((1, 1), SENSOR.black_level, np.float32),
        white_level=SENSOR.white_level,
        camera_from_xyz=rgb_from_xyz(COLOR_SPACES["rec709"]),  # by which grey stays grey
        as_shot_neutral=np.ones(3),
    )
    made = reconstruct_mosaic(mosaic, model, name=name)
    grey = made.camera_rgb.mean(axis=2)  # (H, W) float32, 1.0 = saturation of the most exposed sites
    image = np.repeat(grey[..., None], 3, axis=2)
    write_hdr(
        f"{name}.monochrome.exr",
        image,
        color_space=COLOR_SPACES["rec709"],
        capture=mosaic.capture,
        attributes=made.attributes,
        overwrite=True,
    )
    scores.append(psnr_mu(image / np.float32(made.estimate.pattern.ratio), truth))
    print(f"{name}: {made.model}, {made.estimate.pattern.ratio_ev:.2f} EV, {scores[-1]:.2f} dB", *made.notes, sep="\n")
print(f"PSNR-mu, mean of {len(scores)}: {np.mean(scores):.2f} dB")
