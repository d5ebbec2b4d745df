"""The training loop, plain, top to bottom."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..architecture import ArchitectureConfig, Network
from ..errors import Sve2HdrError, UnwritableOutput
from ..system.claims import Claims
from ..system.files import mode_of
from ..system.signals import stopping
from .checkpoint import Run
from .dataset import SimulationRanges, batches
from .losses import l1_loss, radiance_loss, rms_loss
from .optimizer import Muon, optimizers_of
from .shards import Scenes

AHEAD = 3  # batches that are made before they are asked for


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. Only the options that checkpoint.RESUMABLE names may change when a run is resumed."""

    steps: int = 60_000
    patch_px: int = 96  # a multiple of the network's alignment
    batch: int = 8
    learning_rate: float = 8e-4  # of Adam
    muon: float = 2.5  # times this rate: the rate of Muon's, for the inner convolutions; 0: Adam steps all
    warmup_steps: int = 500
    decay_share: float = 0.3  # of `steps`, at the end: the rate falls to 0 as a cosine; before, it is constant
    clip_norm: float = 0.03  # of the gradient: about three times its usual norm
    ema: float = 0.999  # of the weights that are saved
    loss: Literal["rms", "l1", "radiance"] = "rms"  # a function of losses.py
    angle_weight: float = 0.1  # of the paper's colour-angle term, which rms has not
    border_px: int = 4  # not judged: the patch's edge, of which the network cannot see enough
    bfloat16: bool = False  # convolutions in bfloat16: twice as fast where the processor has instructions for it
    seed: int = 1
    log_every: int = 200
    checkpoint_every: int = 1000  # steps
    checkpoint_minutes: float = 10.0  # at least so often
    ranges: SimulationRanges = field(default_factory=SimulationRanges)


DEFAULT_OPTIONS = {  # by the name of the architecture
    "sve2hdr": TrainingOptions(),
    # its gradients are some hundred times as large; four times the rate is well at a width of 16, twice is not at 64
    "paper": TrainingOptions(loss="radiance", learning_rate=2e-4, muon=0, clip_norm=1.0),
}


class Interrupted(Sve2HdrError):
    """A run that Ctrl-C or a signal to end ended before its last step, with a checkpoint."""


def learning_rate(options: TrainingOptions, step: int) -> float:
    """Return the rate of a step: warm-up, constant, cosine to 0 (so that a run can be prolonged from its plateau)."""
    warm = min(1.0, (step + 1) / max(1, options.warmup_steps))
    into_decay = (step - options.steps * (1 - options.decay_share)) / max(1.0, options.steps * options.decay_share)
    return options.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, into_decay))))


def loss_of(network: Network, planes: Tensor, truth: Tensor, options: TrainingOptions) -> Tensor:
    """Return the loss of the network on a batch, with the patches' borders left out.

    planes: (N, 4, H, W), as the network takes them; truth: (N, 3, H, W), radiance.
    """
    inner = slice(options.border_px, options.patch_px - options.border_px)
    predict = network.forward if options.loss == "radiance" else network.compressed
    with torch.autocast(planes.device.type, torch.bfloat16, enabled=options.bfloat16):
        predicted = predict(planes.contiguous(memory_format=torch.channels_last))
    predicted, truth = predicted[..., inner, inner], truth[..., inner, inner]
    if options.loss == "rms":
        return rms_loss(predicted, truth)
    return (l1_loss if options.loss == "l1" else radiance_loss)(predicted, truth, options.angle_weight)


def ahead(batches_: Iterator[tuple[Tensor, Tensor]]) -> Generator[tuple[Tensor, Tensor]]:
    """Yield the same batches, made by a thread AHEAD of them."""
    pool = ThreadPoolExecutor(1)
    made = deque(pool.submit(next, batches_) for _ in range(AHEAD))
    try:
        while True:
            made.append(pool.submit(next, batches_))
            yield made.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def train(
    scenes_folder: Path,
    run_folder: Path,
    start: ArchitectureConfig | Network,
    options: TrainingOptions,
    device: torch.device,
    report: Callable[[dict[str, float]], None] = lambda record: None,
) -> Path:
    """Train until `options.steps` and return the weights file; go on from run_folder's checkpoint if it has one.

    `start` is a network that was trained before, to be refined (it stays as it is), or the configuration of a new one.
    Writes into run_folder: checkpoint.pt, log.jsonl (a line per `log_every` steps) and weights.safetensors (the
    moving average). Each step's batch depends on seed and step only, so a run that was interrupted at any moment and
    started again ends with the same weights as an uninterrupted one on the same machine. Ctrl-C and
    signals to end stop it after the step at hand, with a checkpoint.

    Raises Interrupted for these; Sve2HdrError for a loss that is no number, or a run_folder that another process
    trains in; UnreadableWeights for shards or a checkpoint that cannot be used, or are of other options,
    another start or other scenes; UnwritableOutput; ValueError for a patch the network cannot take.
    """
    scenes = Scenes(scenes_folder, simulated_on(device))
    with _claimed(run_folder):
        run = _begun(run_folder, start, options, scenes, device)
        _steps(run, options, scenes, device, report)
    if run.step < options.steps:
        raise Interrupted(
            f"{run_folder}: stopped after step {run.step} of {options.steps}; run the same command again to go on"
        )
    return run.weights


def simulated_on(device: torch.device) -> torch.device:
    """Return where batches are made: MPS cannot draw photons (aten::poisson) before torch 2.14.

    >>> simulated_on(torch.device("mps")).type, simulated_on(torch.device("cuda")).type
    ('cpu', 'cuda')
    """
    return torch.device("cpu") if device.type == "mps" else device


def _steps(
    run: Run, options: TrainingOptions, scenes: Scenes, device: torch.device, report: Callable[[dict[str, float]], None]
) -> None:
    """Train from where a run is to the last step, or the first signal to stop."""
    config = run.network.config
    network, average = run.network, run.average
    started, total, since = time.monotonic() - run.seconds, torch.zeros((), device=device), run.step
    source = ahead(
        batches(scenes, config, options.ranges, options.patch_px, options.batch, options.seed, first_step=run.step)
    )
    saved, last = time.monotonic(), run.step >= options.steps
    with closing(source), run.log.open("a") as log, stopping(at_once=False) as stopped_at:
        while not last:
            planes, truth = (made.to(device) for made in next(source))
            rate = learning_rate(options, run.step)
            for optimizer in run.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate * (options.muon if isinstance(optimizer, Muon) else 1)
            loss = loss_of(network, planes, truth, options)
            network.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
            for optimizer in run.optimizers:
                optimizer.step()
            run.step += 1
            decay = min(options.ema, (1 + run.step) / (10 + run.step))
            with torch.no_grad():
                for name, tensor in network.state_dict().items():
                    average[name].lerp_(tensor, 1 - decay)
            total += loss.detach()
            run.seconds = time.monotonic() - started

            last = run.step == options.steps or bool(stopped_at)
            to_log, to_save = (last or run.step % every == 0 for every in (options.log_every, options.checkpoint_every))
            to_save |= time.monotonic() - saved >= 60 * options.checkpoint_minutes
            if (to_log or to_save) and not math.isfinite(float(total)):
                raise Sve2HdrError(
                    f"{run.folder}: the loss is {float(total)} at step {run.step}; lower the learning rate"
                )
            if to_log:
                record = {
                    "step": run.step,
                    "loss": float(total) / (run.step - since),
                    "learning_rate": learning_rate(options, run.step - 1),
                    "megapixels": run.step * options.batch * options.patch_px**2 / 1e6,
                    "seconds": run.seconds,
                }
                log.write(json.dumps(record) + "\n")
                log.flush()
                total.zero_()
                since = run.step
            if to_save:
                run.save()
                saved = time.monotonic()
            if to_log:
                report(record)  # last: a terminal that was closed, whose signal has ended the run, cannot be told


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Make a run's folder and hold it during the block; the claim ends with this process, however that ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        claims = Claims(folder / ".lock")
    except OSError as error:
        raise UnwritableOutput(f"{folder}: cannot be a run's folder ({error.strerror}); choose another") from error
    with claims:
        if not claims.take(["train"]):
            raise Sve2HdrError(f"{folder}: another process trains here; wait until it ends, or name another folder")
        yield


def _begun(
    folder: Path, start: ArchitectureConfig | Network, options: TrainingOptions, scenes: Scenes, device: torch.device
) -> Run:
    """Return a run at its first step, or where its checkpoint left it."""
    torch.manual_seed(options.seed)
    network = start.build() if isinstance(start, ArchitectureConfig) else copy.deepcopy(start).train()
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub
    if any(options.patch_px % n for n in network.alignment):
        raise ValueError(f"patch_px must be a multiple of {network.alignment}, not {options.patch_px}")
    optimizers = optimizers_of(network, options.learning_rate, options.muon * options.learning_rate)
    average = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    begun_with = {"start": _digest(network) if isinstance(start, Network) else "", "scenes": scenes.digest}
    run = Run(folder, asdict(options) | begun_with, network, optimizers, average)
    if mode_of(run.checkpoint):
        run.resume(device)
    run.trim_log()
    return run


def _digest(network: Network) -> str:
    """Return what tells a trained network from others."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
