"""ColorVideoVDP, a metric of what differences people see: the package `cvvdp`, which is asked for apart.

Mantiuk et al., "ColorVideoVDP: A visual difference predictor for image, video and display distortions" (ACM TOG 2024).
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import Sve2HdrError

DISPLAY = "standard_hdr_linear"  # of the package: 30 inches, 4K, 1500 cd/m2, 10 lux, seen from twice its height
PEAK_NITS = 1500.0  # what 1.0 is shown as: the display's peak


class ColorVideoVdp:
    """How good an image looks beside the truth, in JOD: 10 where no difference is seen.

    Of two images whose scores are one JOD apart, three of four people prefer the better. Called with images, (H, W, 3)
    float32, linear Rec. 709 at one scale, and how much of each edge is left out: 1.0 is shown at the display's peak,
    and values are clipped to 0..1.
    """

    def __init__(self, device: str = "cpu") -> None:
        """Load the package; raise Sve2HdrError where it is missing or does not load."""
        import torch

        self._metric: Any = _package().cvvdp(display_name=DISPLAY, device=torch.device(device), quiet=True)
        self.described = str(self._metric.get_info_string()).strip(
            '"'
        )  # to be told with every score, as its authors ask

    def __call__(self, image: np.ndarray, truth: np.ndarray, border_px: int = 0) -> float:
        """Return the quality of `image`."""
        inside = slice(border_px, image.shape[0] - border_px), slice(border_px, image.shape[1] - border_px)
        shown = (np.float32(PEAK_NITS) * np.clip(i[inside], 0, 1).astype(np.float32) for i in (image, truth))
        quality, _ = self._metric.predict(*shown, dim_order="HWC")
        return float(quality)


def _package() -> ModuleType:
    try:
        try:
            return importlib.import_module("pycvvdp")
        except RuntimeError:  # torchvision's operators are for another build of PyTorch; only its blur is needed
            return _beside_bare_torchvision()
    except (ImportError, RuntimeError, OSError) as error:
        missing = isinstance(error, ImportError) and error.name == "pycvvdp"
        finding = "is not installed" if missing else f"cannot be loaded ({error})"
        raise Sve2HdrError(f"--cvvdp: ColorVideoVDP {finding}; pip install 'sve2hdr[cvvdp]'") from error


def _beside_bare_torchvision() -> ModuleType:
    """Return the package, imported while torchvision is its plain modules, without what registers its operators."""
    spec = find_spec("torchvision")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("torchvision is missing")
    bare = ModuleType("torchvision")
    bare.__path__ = list(spec.submodule_search_locations)
    bare.__spec__ = spec
    sys.modules["torchvision"] = bare
    try:
        return importlib.import_module("pycvvdp")
    finally:
        del sys.modules["torchvision"]
