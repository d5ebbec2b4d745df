"""Cost and speed of the published network, and of the paper's network in the same run.

python examples/bench_network.py --runs 3
"""

import argparse
import statistics

import numpy as np
import torch
from cost import macs_per_pixel
from machine import machine, spread, timed

from sve2hdr import Mosaic
from sve2hdr.architecture import Network
from sve2hdr.memory import keep_freed_memory, usable_cores
from sve2hdr.paper import PaperConfig
from sve2hdr.patterntext import parse_pattern
from sve2hdr.reconstruct import TILE_PX, reconstruct
from sve2hdr.sensor.noise import estimate_noise
from sve2hdr.system.devices import has_bfloat16
from sve2hdr.weights import load_weights, weights_path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="standard")
parser.add_argument("--runs", type=int, default=3)
parser.add_argument("--threads", type=int, default=usable_cores())
parser.add_argument("--size", type=int, default=2 * TILE_PX, help="side of the square frame, px")
parser.add_argument("--paper-size", type=int, default=384, help="side of the paper's network's input, px")
arguments = parser.parse_args()
torch.set_num_threads(arguments.threads)


def parameters(network: torch.nn.Module) -> int:
    """Return how many numbers were, or would be, trained."""
    return sum(parameter.numel() for parameter in network.parameters())


network = load_weights(weights_path(arguments.model))
paper = PaperConfig().build().eval().to(memory_format=torch.channels_last)
side, paper_side = arguments.size, arguments.paper_size
counts = np.random.default_rng(0).integers(1024, 16_000, (side, side), np.uint16)
mosaic = Mosaic(counts, "RGGB", np.full((2, 2), 1024, np.float32), 16_128.0, np.eye(3))
pattern = parse_pattern("rows:1/8,1/8,1,1")
noise = estimate_noise(mosaic, pattern)
planes = torch.rand(1, 4, paper_side, paper_side)


def run_on_planes(model: Network) -> torch.Tensor:
    """Run a network on one tile, as fast as it goes here without loss."""
    half = model.takes_bfloat16 and has_bfloat16("cpu")
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        out: torch.Tensor = model(planes.contiguous(memory_format=torch.channels_last))
    return out


keep_freed_memory()  # as the command does
image = reconstruct(mosaic, pattern, noise, network)
assert image.shape == (side, side, 3)
assert np.isfinite(image).all()
ours = timed(lambda: reconstruct(mosaic, pattern, noise, network), arguments.runs)
alone = timed(lambda: run_on_planes(network), arguments.runs)
theirs = timed(lambda: run_on_planes(paper), arguments.runs)
ours_per_mp = [s / (side**2 / 1e6) for s in ours]
alone_per_mp, theirs_per_mp = ([s / (paper_side**2 / 1e6) for s in seconds] for seconds in (alone, theirs))

print(f"{machine()}, torch {torch.__version__}, {arguments.threads} threads, {arguments.runs} runs")
print("network      kMAC/px  parameters  frame      seconds per megapixel, median (range)")
for name, model, alignment, frame, per_mp in (
    (arguments.model[-10:], network, network.alignment, side, ours_per_mp),
    ("alone", network, network.alignment, paper_side, alone_per_mp),
    ("paper", paper, paper.alignment, paper_side, theirs_per_mp),
):
    kmac = macs_per_pixel(model, alignment) / 1000
    print(f"{name:10} {kmac:9.1f} {parameters(model):11,}  {frame:4} x {frame:4} {spread(per_mp)}")
precision = "bfloat16" if network.takes_bfloat16 and has_bfloat16("cpu") else "float32"
print(f"{arguments.model} with tiles of {TILE_PX} px and their halo; alone: the same without; both in {precision}")
print("paper: without tiles, in float32")
print(
    f"the paper's network takes {statistics.median(theirs_per_mp) / statistics.median(ours_per_mp):.0f} times as long"
)
