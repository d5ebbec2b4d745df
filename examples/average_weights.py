"""Take the mean of networks that were trained from the same one: often better than either (Wortsman et al., ICML 2022).

python examples/average_weights.py runs/a/weights.safetensors runs/b/weights.safetensors -o mean.safetensors
"""

import argparse
from pathlib import Path

import torch

from sve2hdr.system.files import file_sha256
from sve2hdr.weights import load_weights, save_weights

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("weights", type=Path, nargs="+")
parser.add_argument("-o", "--output", type=Path, required=True)
arguments = parser.parse_args()

networks = [load_weights(path) for path in arguments.weights]
if any(network.config != networks[0].config for network in networks):
    parser.error("the networks differ in their configuration; name such as were trained from the same one")
states = [network.state_dict() for network in networks]
mean = {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
about = {"mean_of": " ".join(file_sha256(path) for path in arguments.weights)}
save_weights(arguments.output, networks[0].config, mean, about)
print(f"{arguments.output}: the mean of {len(networks)} networks")
