"""A weights file rebuilds its network: safetensors (data only, nothing in it is run) with the config in its header."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .architecture import ArchitectureConfig, Network
from .errors import UnreadableWeights
from .network import NetworkConfig
from .paper import PaperConfig
from .system.files import replacing

WEIGHTS_FORMAT = "sve2hdr-weights-1"
ARCHITECTURES: dict[str, type[ArchitectureConfig]] = {c.architecture: c for c in (NetworkConfig, PaperConfig)}
_PACKAGE = Path(__file__).resolve().parent
# installed, the published weights lie inside the package; in a checkout, beside it
PUBLISHED = _PACKAGE / "pretrained" if (_PACKAGE / "pretrained").is_dir() else _PACKAGE.parent / "weights"


def published() -> dict[str, Path]:
    """Return the published networks' files by name."""
    return {path.stem: path for path in sorted(PUBLISHED.glob("*.safetensors"))}


def weights_path(model: str, others: Collection[str] = ()) -> Path:
    """Return the weights file of a published network, such as "standard", or of a path.

    `others`: further names, of models without a file, for UnreadableWeights to list if there is no such file.
    """
    known = published()
    if model not in known and not Path(model).is_file():
        raise UnreadableWeights(f"{model}: no such weights file; name a file or one of: {', '.join([*others, *known])}")
    return known.get(model, Path(model))


def load_weights(path: Path) -> Network:
    """Return the network of a weights file, in evaluation mode on the CPU; raise UnreadableWeights if it is not one."""
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("format") != WEIGHTS_FORMAT:
                raise UnreadableWeights(f"{path}: not weights of sve2hdr; name a file that train wrote")
            architecture = metadata["architecture"]
            if architecture not in ARCHITECTURES:
                raise UnreadableWeights(f"{path}: architecture {architecture!r} is not known here; update sve2hdr")
            # leaves the application's random numbers alone
            with torch.random.fork_rng(devices=()), _AtMost(Path(path).stat().st_size):
                network = ARCHITECTURES[architecture].from_json(metadata["config"]).build()
            network.load_state_dict({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]  # torch lists every tensor that does not fit
        raise UnreadableWeights(f"{path}: cannot be read as weights ({reason}); name another file") from error
    return network.eval()


class _AtMost(TorchFunctionMode):
    """Ends the building of a network with a ValueError once it has more values than its file has bytes.

    So a short file takes little memory, whatever its configuration says. Building on torch's meta device first would
    import for seconds.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.left = size

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is torch.empty:  # how layers allocate; memory is taken when they are filled
            self.left -= made.numel()
            if self.left < 0:
                raise ValueError("its configuration is of a larger network than the file can hold")
        return made


def save_weights(path: Path, config: ArchitectureConfig, state: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write a weights file, or replace one; `about` (data, steps, licence, ...) goes into its header.

    Raises UnwritableOutput where that fails.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # not save_file, whose files only their owner can read
    rebuilt_from = {"format": WEIGHTS_FORMAT, "architecture": config.architecture, "config": config.to_json()}
    stored = save(tensors, metadata={**about, **rebuilt_from})
    with replacing(path, overwrite=True) as partial:
        partial.write_bytes(stored)
