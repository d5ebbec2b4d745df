"""Make example.dng: the raw photo that a Dual ISO camera would have taken of a Poly Haven panorama.

    python examples/make_example.py chinese_garden_1k.hdr -o examples/example.dng

The scene is https://polyhaven.com/a/chinese_garden (CC0), 1k, as .hdr or .exr.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sve2hdr import Capture
from sve2hdr.color import COLOR_SPACES
from sve2hdr.formats.exrwrite import WriteOptions
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.hdrfile import write_hdr

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("panorama", type=Path)
parser.add_argument("-o", "--output", type=Path, default=Path("example.dng"))
arguments = parser.parse_args()

panorama = read_hdr(arguments.panorama)
top = (panorama.shape[0] - 384) // 2  # without the zenith and the ground, which a panorama stretches
scene = np.ascontiguousarray(panorama[top : top + 384, 200:968])
with tempfile.TemporaryDirectory() as folder:
    cut = Path(folder, "scene.exr")
    write_hdr(cut, scene, color_space=COLOR_SPACES["rec709"], capture=Capture(), options=WriteOptions(half=False))
    simulate = f"simulate {cut} -o {arguments.output} --mode gain --percentile 99.5 --compress --overwrite"
    subprocess.run([sys.executable, "-m", "sve2hdr", *simulate.split()], check=True)
