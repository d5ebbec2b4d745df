"""Raw photos whose sites have different exposures (SVE, Dual ISO) to HDR images."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import Sve2HdrError
    from .mosaic import Capture, ExposurePattern, Mosaic
    from .pattern import Detection, detect_pattern

__version__ = "0.1.0"

__all__ = ["Capture", "Detection", "ExposurePattern", "Mosaic", "Sve2HdrError", "__version__", "detect_pattern"]

# Imported when asked for, so that the program is past its first lines, and Ctrl-C in hand, before NumPy is there.
_MODULES = {"Sve2HdrError": "errors", "Detection": "pattern", "detect_pattern": "pattern"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES.get(name, 'mosaic')}", __name__), name)
