"""A weights file rebuilds its network: safetensors (data only, nothing in it is run) with the config beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .architecture import ArchitectureConfig, Network
from .errors import PatternNotFound, UnknownLayout, UnreadableWeights
from .files import replacing
from .layout import place
from .mosaic import ExposurePattern, Mosaic
from .network import NetworkConfig
from .paper import PaperConfig

WEIGHTS_FORMAT = "sve2hdr-weights-1"
ARCHITECTURES: dict[str, type[ArchitectureConfig]] = {c.architecture: c for c in (NetworkConfig, PaperConfig)}
_PACKAGE = Path(__file__).resolve().parent
# installed, the published weights lie inside the package; in a checkout, beside it
PUBLISHED = _PACKAGE / "pretrained" if (_PACKAGE / "pretrained").is_dir() else _PACKAGE.parent / "weights"


def weights_path(model: str) -> Path:
    """Return the file for `--model`: the name of a published network, such as "standard", or a path."""
    published = PUBLISHED / f"{model}.safetensors"
    if Path(model).name == model and published.is_file():
        return published
    if not Path(model).is_file():
        names = ", ".join(sorted(path.stem for path in PUBLISHED.glob("*.safetensors")))
        raise UnreadableWeights(f"{model}: no such weights file; name a file or one of: {names}")
    return Path(model)


def models_for(mosaic: Mosaic, pattern: ExposurePattern) -> list[str]:
    """Return the names of the published networks that know a frame's pattern, ours before those to compare with."""
    names = []
    for path in sorted(PUBLISHED.glob("*.safetensors"), key=lambda path: ("paper" in path.stem, path.stem)):
        try:
            place(mosaic, pattern, load_weights(path).config)
        except UnknownLayout:
            continue
        names.append(path.stem)
    return names


def check_layout(raw: Path, mosaic: Mosaic, pattern: ExposurePattern, network: Network) -> None:
    """Raise PatternNotFound, with the model that would do, if a network does not know the pattern of a raw file."""
    try:
        place(mosaic, pattern, network.config)
    except UnknownLayout as error:
        model = next(iter(models_for(mosaic, pattern)), "classical")
        raise UnknownLayout(f"{raw}: {error}; use --model {model}") from error
    except PatternNotFound as error:
        raise PatternNotFound(f"{raw}: {error}") from error


def load_weights(path: Path) -> Network:
    """Return the network of a weights file, in evaluation mode on the CPU; raise UnreadableWeights if it is not one."""
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("format") != WEIGHTS_FORMAT:
                raise UnreadableWeights(f"{path}: not weights of sve2hdr; train some, or leave --model out")
            # the first files had one architecture, and did not name it
            architecture = metadata.get("architecture", NetworkConfig.architecture)
            if architecture not in ARCHITECTURES:
                raise UnreadableWeights(f"{path}: architecture {architecture!r} is not known here; update sve2hdr")
            network = ARCHITECTURES[architecture].from_json(metadata["config"]).build()
            network.load_state_dict({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]  # torch lists every tensor that does not fit
        raise UnreadableWeights(f"{path}: cannot be read as weights ({reason}); leave --model out") from error
    return network.eval()


def save_weights(path: Path, config: ArchitectureConfig, state: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write a weights file, or replace one; `about` (data, steps, licence, ...) goes into its header.

    Raises UnwritableOutput where that fails.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # not by save_file, whose files only their owner can read
    rebuilt_from = {"format": WEIGHTS_FORMAT, "architecture": config.architecture, "config": config.to_json()}
    stored = save(tensors, metadata={**about, **rebuilt_from})
    with replacing(path, overwrite=True) as partial:
        partial.write_bytes(stored)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
