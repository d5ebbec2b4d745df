"""Removal of all that the sensor added to the light, in this order: line gains, banding, defects."""

from __future__ import annotations

import numpy as np

from ..mosaic import ExposurePattern, Mosaic
from ..radiance import NoiseModel
from .banding import remove_banding
from .defects import Defects, repair_defects
from .linegain import even_lines


def corrected(
    mosaic: Mosaic,
    pattern: ExposurePattern,
    noise: NoiseModel,
    bad_pixels: bool,
    known: Defects | None,
    listed: np.ndarray | None,
) -> tuple[Mosaic, Defects | None, dict[str, str]]:
    """Return the mosaic without what the sensor added to the light, the defects replaced, and attributes for files.

    bad_pixels: whether to look for defects; known, listed: see `repair_defects`.
    """
    mosaic, row_gain, column_gain = even_lines(mosaic, pattern)
    mosaic, banding = remove_banding(mosaic, pattern, noise)
    defects = None
    if bad_pixels or listed is not None:
        mosaic, defects = repair_defects(mosaic, pattern, noise, known, listed, search=bad_pixels)
    attributes = {
        "sve2hdr:bad_pixels": "left" if defects is None else f"{defects.count} repaired{defects.kinds}",
        "sve2hdr:row_gain": f"{row_gain:.4f}",
        "sve2hdr:column_gain": f"{column_gain:.4f}",
        "sve2hdr:banding": f"{banding:.2f}",
    }
    return mosaic, defects, attributes
