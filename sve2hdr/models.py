"""What `--model` names: a network, several from which a frame's pattern selects one, or the classical method."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .architecture import Network
from .errors import PatternNotFound, UnknownLayout, UnreadableWeights
from .layout import placements
from .mosaic import ExposurePattern, Mosaic
from .system.files import file_sha256
from .weights import PUBLISHED, load_weights, published, weights_path

AUTO, CLASSICAL = "auto", "classical"
AUTOMATIC = ("standard", "blocks", "quad", "fours")  # published networks in the order in which `auto` tries them


@dataclass(frozen=True, eq=False)
class Model:
    """Networks by name, in the order in which they are tried; None is the classical method, which takes any pattern."""

    candidates: Mapping[str, Network | None]

    @property
    def features_per_px(self) -> float:
        """Values that the widest layer of any candidate holds for each pixel; 0 without networks."""
        return max((network.config.features_per_px for network in self.candidates.values() if network), default=0.0)

    def for_pattern(self, asked: Path | str, mosaic: Mosaic, pattern: ExposurePattern) -> tuple[str, Network | None]:
        """Return the first candidate that knows a frame's pattern, and its name.

        `asked`: what messages name, such as a raw file. Raises UnknownLayout, which names a suitable model, if no
        candidate knows it; PatternNotFound for a frame that is too small.
        """
        refusals = []
        for name, network in self.candidates.items():
            try:
                if network is not None:
                    placements(mosaic, pattern, network.config)
            except UnknownLayout as error:
                refusals.append(error)
            except PatternNotFound as error:
                raise PatternNotFound(f"{asked}: {error}") from error
            else:
                return name, network
        known, _ = model_named(AUTO).for_pattern(asked, mosaic, pattern)
        raise UnknownLayout(f"{asked}: {refusals[0]}; use --model {known}") from refusals[0]

    def for_one_exposure(self) -> tuple[str, Network | None]:
        """Return the candidate that develops a raw of one exposure, the first one, and its name."""
        return next(iter(self.candidates.items()))


def model_named(name: str | Path) -> Model:
    """Return the model of `--model`: auto, classical, a published network or a file; raise UnreadableWeights."""
    name = str(name)
    if name == AUTO:
        return Model({**{known: load_weights(path) for known, path in _automatic().items()}, CLASSICAL: None})
    return Model({name: None if name == CLASSICAL else load_weights(weights_path(name, (AUTO, CLASSICAL)))})


def model_digest(name: str) -> str:
    """Return a digest of the weights that `--model` names, "" for the classical method; raise UnreadableWeights."""
    if name == CLASSICAL:
        return ""
    if name != AUTO:
        return file_sha256(weights_path(name, (AUTO, CLASSICAL)))
    return hashlib.sha256("".join(map(file_sha256, _automatic().values())).encode()).hexdigest()


def is_file(name: str) -> bool:
    """Return whether `--model` names a weights file of the user's own."""
    return name not in (AUTO, CLASSICAL, *published())


def _automatic() -> dict[str, Path]:
    known = published()
    if missing := [name for name in AUTOMATIC if name not in known]:
        raise UnreadableWeights(
            f"{PUBLISHED}: lacks the networks {', '.join(missing)}; install sve2hdr with its weights"
        )
    return {name: known[name] for name in AUTOMATIC}
