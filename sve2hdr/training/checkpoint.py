"""A training run's state as files: checkpoint, weights and log, so that it can be interrupted at any moment."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from ..architecture import Network
from ..errors import UnreadableWeights
from ..system.files import mode_of, replacing
from ..weights import save_weights

# what damaged bytes make torch.load, and what takes its result, raise
DAMAGED = (
    OSError, RuntimeError, LookupError, EOFError, ValueError, TypeError, AttributeError, ArithmeticError,
    UnpicklingError,
)  # fmt: skip
# options that may change
RESUMABLE = ("steps", "learning_rate", "decay_share", "log_every", "checkpoint_every", "checkpoint_minutes")
# digests, of which users are told in words
BEGUN_WITH = {"start": "from another --start, or from none", "scenes": "on other shards"}


@dataclass(eq=False)
class Run:
    """A network in training, and how far it is."""

    folder: Path
    options: dict[str, Any]  # as JSON has them
    network: Network
    optimizers: list[torch.optim.Optimizer]
    average: dict[str, Tensor]  # the moving average of the network's state: the weights that are published
    step: int = 0  # steps done
    seconds: float = 0.0  # of training, interruptions left out

    @property
    def checkpoint(self) -> Path:
        """Where the state lies from which training goes on."""
        return self.folder / "checkpoint.pt"

    @property
    def log(self) -> Path:
        """Where a JSON object a line says how training went."""
        return self.folder / "log.jsonl"

    @property
    def weights(self) -> Path:
        """Where the network is published."""
        return self.folder / "weights.safetensors"

    def save(self) -> None:
        """Write the weights, then the checkpoint: beside a checkpoint lie weights that are no older."""
        config, options = self.network.config, json.dumps(self.options)
        about = {"steps": str(self.step), "training_seconds": f"{self.seconds:.0f}", "options": options}
        save_weights(self.weights, config, self.average, {**about, "licence": "Apache-2.0"})
        state = {
            "config": config.to_json(),
            "options": options,
            "network": self.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average,
            "step": self.step,
            "seconds": self.seconds,
        }
        stored = io.BytesIO()
        torch.save(state, stored)
        with replacing(self.checkpoint, overwrite=True) as partial:
            partial.write_bytes(stored.getbuffer())

    def resume(self, device: torch.device) -> None:
        """Take the state of the checkpoint; raise UnreadableWeights if it is damaged or was begun in another way."""
        try:
            state = torch.load(self.checkpoint, map_location=device, weights_only=True)
            self._check_same(state["config"], json.loads(state["options"]))
            self.network.load_state_dict(state["network"])
            for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(stored)
            for name, tensor in self.average.items():
                tensor.copy_(state["average"][name])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
        except DAMAGED as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UnreadableWeights(f"{self.checkpoint}: cannot be read ({reason}); remove it to start anew") from error

    def _check_same(self, config: str, options: dict[str, Any]) -> None:
        if not self._is_ours(config):
            raise UnreadableWeights(f"{self.checkpoint}: of another network; name another folder, or the same network")
        ours = json.loads(json.dumps(self.options))
        for name in sorted(ours.keys() - set(RESUMABLE)):
            if options[name] != ours[name]:
                if name in BEGUN_WITH:
                    finding = f"begun {BEGUN_WITH[name]}"
                else:
                    finding = f"begun with {name} {options[name]}, not {ours[name]}"
                raise UnreadableWeights(f"{self.checkpoint}: {finding}; go on with the same, or name another folder")

    def _is_ours(self, config: str) -> bool:
        try:
            return type(self.network.config).from_json(config) == self.network.config
        except (ValueError, TypeError):  # of another architecture
            return False

    def trim_log(self) -> None:
        """Drop from the log what it says of steps that will be done again, and what a crash or power cut has torn."""
        if mode_of(self.log):
            lines = self.log.read_text("utf-8", "replace").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _step_told(line) <= self.step]
            with replacing(self.log, overwrite=True) as partial:
                partial.write_text("".join(kept), "utf-8")


def _step_told(line: str) -> float:
    """Return the step that a line of the log is of; infinity for a torn line."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, LookupError):
        return math.inf
