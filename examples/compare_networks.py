"""Train variants of the network for equal time, and print how good each became.

    python examples/compare_networks.py SHARDS VAL -o runs/compare --seconds 200

SHARDS: what `sve2hdr dataset` wrote; VAL: a folder of HDR scenes that are in no shard. A variant's steps follow from
its time per step, measured for all variants in turn before the first is trained, so what else runs on the machine
meanwhile does not favour any. A variant whose weights lie in the output folder is not trained again. The paper's
networks train with their own loss, rate and, as their steps cost so much, smaller batches; the widest takes minutes to
be evaluated.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from cost import macs_per_pixel
from torch import Tensor, nn

from sve2hdr.architecture import ArchitectureConfig, Network
from sve2hdr.evaluation.evaluate import measure, photographs, quick_conditions, scene_files
from sve2hdr.evaluation.methods import methods_named, of_network
from sve2hdr.network import ROWS, NetworkConfig, SveNet
from sve2hdr.paper import PaperConfig
from sve2hdr.training.dataset import SimulationRanges, batches
from sve2hdr.training.optimizer import optimizers_of
from sve2hdr.training.shards import Scenes
from sve2hdr.training.train import DEFAULT_OPTIONS, TrainingOptions, train


class PlainStem(nn.Module):
    """The first layer without gates: guidance is an input like any other."""

    def __init__(self, sites: int, width: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(7 * sites, width, 3, padding=1)

    def forward(self, value: Tensor, usable: Tensor, noise: Tensor, base: Tensor) -> Tensor:
        """Return features, (N, width, H, W)."""
        features: Tensor = self.features(torch.cat([value, value * usable, usable, noise, base], 1))
        return features


class Blind(nn.Module):
    """A stem that is not told the noise."""

    def __init__(self, stem: nn.Module) -> None:
        super().__init__()
        self.stem = stem

    def forward(self, value: Tensor, usable: Tensor, noise: Tensor, base: Tensor) -> Tensor:
        """Return features, (N, width, H, W)."""
        features: Tensor = self.stem(value, usable, torch.zeros_like(noise), base)
        return features


def ungated(network: SveNet) -> None:
    """Take the gates of the first layer away."""
    sites = network.config.cell[0] * network.config.cell[1]
    network.stem = PlainStem(sites, network.config.widths[0])  # type: ignore[assignment]


def blind(network: SveNet) -> None:
    """Take the noise level away."""
    network.stem = Blind(network.stem)  # type: ignore[assignment]


def fixed_base(network: SveNet) -> None:
    """Leave the base interpolation as it starts: a tent."""
    network.base.requires_grad_(False)


def as_it_is(network: Network) -> None:
    """Change nothing."""


WIDE_CELL = NetworkConfig(
    cfa=("RGRG", "GBGB", "RGRG", "GBGB"),
    exposure_rank=((0, 0, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1), (1, 1, 1, 1)),
    widths=(128, 160),
    strides=((2, 2),),
    blocks=(2, 6),
)
VARIANTS: dict[str, tuple[ArchitectureConfig, Callable[[Any], None]]] = {  # most differ from the first in one thing
    "partial blocks and base: 96, 2/1/4": (ROWS, as_it_is),
    "two levels: 96/128, blocks 2/3": (replace(ROWS, widths=(96, 128), strides=((2, 2),), blocks=(2, 3)), as_it_is),
    "one level: 96, 5 blocks": (replace(ROWS, widths=(96,), strides=(), blocks=(5,)), as_it_is),
    "places of 2 x 2: 64/96/128, 1/2/4": (
        replace(ROWS, parts=(2, 1), widths=(64, 96, 128), strides=((2, 2), (2, 2)), blocks=(1, 2, 4)),
        as_it_is,
    ),
    "cells of 4 x 4: 128/160, blocks 2/6": (WIDE_CELL, as_it_is),
    "base not learned": (ROWS, fixed_base),
    "no gates": (ROWS, ungated),
    "no noise input": (ROWS, blind),
    "loss: l1 and colour": (ROWS, as_it_is),
    "steps all by Adam": (ROWS, as_it_is),
    "crops drawn evenly": (ROWS, as_it_is),
    "no slanted crops": (ROWS, as_it_is),
    "the paper's: 64, 16 blocks": (PaperConfig(), as_it_is),
    "the paper's, with our loss": (PaperConfig(), as_it_is),
    "the paper's, narrow: 16, 16 blocks": (PaperConfig(width=16), as_it_is),
    "the paper's, narrow, with our loss": (PaperConfig(width=16), as_it_is),
}
NARROW = {"batch": 4, "patch_px": 64, "learning_rate": 8e-4}
OWN_OPTIONS: dict[str, dict[str, Any]] = {  # where a variant trains in another way than the first
    "loss: l1 and colour": {"loss": "l1"},
    "steps all by Adam": {"muon": 0},
    "crops drawn evenly": {"ranges": SimulationRanges(crops_by_detail=0)},
    "no slanted crops": {"ranges": SimulationRanges(slanted=0)},
    "the paper's: 64, 16 blocks": {"batch": 2, "patch_px": 64, "warmup_steps": 50},
    "the paper's, with our loss": {"batch": 2, "patch_px": 64, "learning_rate": 6e-4, "loss": "rms"},
    "the paper's, narrow: 16, 16 blocks": NARROW,
    "the paper's, narrow, with our loss": {**NARROW, "loss": "rms"},
}


def options_of(name: str, bfloat16: bool) -> TrainingOptions:
    """Return how a variant trains, but for its steps."""
    options = replace(DEFAULT_OPTIONS[VARIANTS[name][0].architecture], warmup_steps=200, decay_share=0.5, ema=0.995)
    return replace(options, bfloat16=bfloat16, **OWN_OPTIONS.get(name, {}))


def built(name: str) -> Network:
    """Return a variant, untrained."""
    torch.manual_seed(1)
    config, change = VARIANTS[name]
    network = config.build()
    change(network)
    return network


def seconds_per_step(network: Network, scenes: Scenes, options: TrainingOptions, steps: int = 8) -> float:
    """Return the time of a training step, the least of `steps`; the network does not learn by them."""
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub
    source = batches(scenes, network.config, options.ranges, options.patch_px, options.batch, 1, first_step=0)
    times, optimizers = [], optimizers_of(network, adam_rate=0.0, muon_rate=1e-30 if options.muon else 0.0)
    for _ in range(steps):
        started = time.perf_counter()
        planes, truth = next(source)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            predicted = network.compressed(planes)
        network.zero_grad(set_to_none=True)
        (predicted - truth).abs().mean().backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Measure times, train, evaluate, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=200.0, help="of training for each variant")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--only", action="append", choices=list(VARIANTS), help="train this one; may be repeated")
    arguments = parser.parse_args()
    names = arguments.only or list(VARIANTS)
    options = {name: options_of(name, arguments.bfloat16) for name in names}
    scenes = Scenes(arguments.shards, torch.device("cpu"))
    times = {name: seconds_per_step(built(name), scenes, options[name]) for name in names}
    times = {name: min(times[name], seconds_per_step(built(name), scenes, options[name])) for name in names}
    del scenes
    val = scene_files(arguments.val)
    interpolated = measure(methods_named(["linear"]), photographs(val, print, print), quick_conditions())
    linear = {r.scene + r.condition: r for r in interpolated}
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{arguments.seconds:g} s of training each; PSNR-mu above linear, dB, mean over {len(val)} scenes")
    print(f"{'variant':36s} kMAC/px  ms/step   steps  exposure  gain")
    for name in names:
        steps = max(1, int(arguments.seconds / times[name]))
        run = arguments.output / f"variant-{list(VARIANTS).index(name)}"
        network = built(name)
        if not (run / "done").exists():
            train(arguments.shards, run, network, replace(options[name], steps=steps), torch.device("cpu"))
            (run / "done").touch()
        state = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
        network.load_state_dict(state)
        results = list(measure({"n": of_network(network.eval())}, photographs(val, print, print), quick_conditions()))
        gains = [
            [r.psnr_mu - linear[r.scene + r.condition].psnr_mu for r in results if r.mode == mode]
            for mode in ("exposure", "gain")
        ]
        cost = macs_per_pixel(network, network.alignment) / 1e3
        means = "  ".join(f"{sum(gain) / len(gain):+8.2f}" for gain in gains)
        print(f"{name:36s} {cost:7.1f} {times[name] * 1e3:8.0f} {steps:7d}  {means}", flush=True)


if __name__ == "__main__":
    main()
