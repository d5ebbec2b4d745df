"""Reconstruct a mosaic from Python step by step: pattern, noise, network.

What `sve2hdr convert` corrects besides (levels, defects, banding, what is clipped) is not done here: the whole of it is
one call, `sve2hdr.convert.reconstruct_file`.
"""

import sys
from pathlib import Path

from sve2hdr import detect_pattern
from sve2hdr.color import COLOR_SPACES, linear_rgb
from sve2hdr.hdrfile import write_hdr, write_preview
from sve2hdr.noise import estimate_noise
from sve2hdr.preview import tone_map
from sve2hdr.rawfile import read_raw
from sve2hdr.reconstruct import reconstruct
from sve2hdr.weights import load_weights, weights_path

raw = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("example.dng")

mosaic = read_raw(raw)  # counts, CFA, levels, colour matrix
detection = detect_pattern(mosaic)
print(f"{detection.reason}; confidence {detection.confidence:.2f}")
pattern = detection.pattern
if pattern is None:
    raise SystemExit(1)

network = load_weights(weights_path("standard"))
camera_rgb = reconstruct(mosaic, pattern, estimate_noise(mosaic, pattern), network)  # (H, W, 3) float32
space = COLOR_SPACES["rec709"]
image = linear_rgb(camera_rgb, mosaic, space, pattern.ratio)  # 1.0 = saturation of the most exposed sites
print(f"{image.shape}, brightest value {image.max():.2f}")

write_hdr(f"{raw.stem}.exr", image, color_space=space, capture=mosaic.capture, overwrite=True)
write_preview(f"{raw.stem}.jpg", tone_map(image), overwrite=True)
