"""Raw photos whose sites have different exposures (SVE, Dual ISO) to HDR images.

The way of the pixels: `rawfile`, `pattern`, `levels`, `radiance`, `reconstruct` with a `network` in `tiles`, `color`,
and `preview` and `hdrfile`. `pipeline` joins them in memory, `convert` from file to file. Packages hold what these
need (`raw`, `detection`, `sensor`, `formats`, `system`), what else there is to do (`video`, `folders`, `simulation`,
`training`, `evaluation`), and the command line (`commands`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .color import COLOR_SPACES
    from .errors import Sve2HdrError
    from .formats.dngfile import write_cfa_dng
    from .hdrfile import write_hdr
    from .levels import Levels
    from .models import model_named
    from .mosaic import Capture, ExposurePattern, Mosaic, upright
    from .pattern import Detection, detect_pattern
    from .patterntext import parse_pattern
    from .pipeline import ConvertOptions, reconstruct_file, reconstruct_mosaic
    from .rawfile import read_raw

__version__ = "0.1.0"

__all__ = [
    "COLOR_SPACES",
    "Capture",
    "ConvertOptions",
    "Detection",
    "ExposurePattern",
    "Levels",
    "Mosaic",
    "Sve2HdrError",
    "__version__",
    "detect_pattern",
    "model_named",
    "parse_pattern",
    "read_raw",
    "reconstruct_file",
    "reconstruct_mosaic",
    "upright",
    "write_cfa_dng",
    "write_hdr",
]

# Imported when asked for, so that the program is past its first lines, and Ctrl-C in hand, before NumPy is there.
_NAMES = {
    "color": ("COLOR_SPACES",),
    "errors": ("Sve2HdrError",),
    "formats.dngfile": ("write_cfa_dng",),
    "hdrfile": ("write_hdr",),
    "levels": ("Levels",),
    "models": ("model_named",),
    "mosaic": ("Capture", "ExposurePattern", "Mosaic", "upright"),
    "pattern": ("Detection", "detect_pattern"),
    "patterntext": ("parse_pattern",),
    "pipeline": ("ConvertOptions", "reconstruct_file", "reconstruct_mosaic"),
    "rawfile": ("read_raw",),
}


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
