"""Store a network's convolutions in half precision: a file of half the size, and almost the same image.

python examples/halve_weights.py runs/large/weights.safetensors -o weights/large.safetensors
"""

import argparse
import math
from pathlib import Path

import torch
from safetensors import safe_open

from sve2hdr.weights import load_weights, save_weights

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("weights", type=Path)
parser.add_argument("-o", "--output", type=Path, required=True)
arguments = parser.parse_args()

network = load_weights(arguments.weights)
with safe_open(arguments.weights, framework="pt") as stored:
    about = dict(stored.metadata() or {})
convolutions = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, torch.nn.Conv2d)}
state = {name: t.half() if name in convolutions else t for name, t in network.state_dict().items()}
save_weights(arguments.output, network.config, state, about)

planes = torch.rand(1, 4, *(16 * n for n in network.alignment), generator=torch.Generator().manual_seed(1))
with torch.inference_mode():
    before, after = (model.compressed(planes) for model in (network, load_weights(arguments.output)))
sizes = [path.stat().st_size / 1e6 for path in (arguments.weights, arguments.output)]
change = float((after - before).square().mean() / before.square().mean())
print(f"{sizes[0]:.1f} MB -> {sizes[1]:.1f} MB; the image changes by {10 * math.log10(change):.0f} dB")
