"""Raw photos whose sites have different exposures (SVE, Dual ISO) to HDR images."""

from .errors import Sve2HdrError
from .mosaic import Capture, ExposurePattern, Mosaic
from .pattern import Detection, detect_pattern

__version__ = "0.1.0"

__all__ = ["Capture", "Detection", "ExposurePattern", "Mosaic", "Sve2HdrError", "__version__", "detect_pattern"]
