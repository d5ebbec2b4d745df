"""A camera's matrices at two lights, and what lies between, as DNG has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Of EXIF's LightSource. CIE's lights: CIE 15; fluorescent lamps: the middle of the ranges that EXIF 2.3 gives.
KELVIN_OF_ILLUMINANT = {
    1: 5503, 2: 4200, 3: 2856, 4: 5503, 9: 5503, 10: 6504, 11: 7504, 12: 6400, 13: 5050, 14: 4150, 15: 3525, 16: 2925,
    17: 2856, 18: 4874, 19: 6774, 20: 5503, 21: 6504, 22: 7504, 23: 5003, 24: 3200,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Calibrations:
    """Two matrices of a camera, XYZ to camera RGB, and the lights they hold at.

    Raises ValueError for other shapes, and lights that are unknown or not in this order.
    """

    camera_from_xyz: np.ndarray  # (2, 3, 3) float64, the warmer light first
    illuminants: tuple[int, int]  # EXIF LightSource, of KELVIN_OF_ILLUMINANT

    def __post_init__(self) -> None:
        if self.camera_from_xyz.shape != (2, 3, 3) or not np.isfinite(self.camera_from_xyz).all():
            raise ValueError(f"camera_from_xyz must be (2, 3, 3) and finite, not {self.camera_from_xyz.shape}")
        warm, cool = (KELVIN_OF_ILLUMINANT.get(light, 0) for light in self.illuminants)
        if not 0 < warm < cool:
            raise ValueError(f"illuminants must be two that are known, the warmer one first, not {self.illuminants}")

    @property
    def mired(self) -> tuple[float, float]:
        """Reciprocal megakelvin of the two lights, the greater first."""
        warm, cool = (1e6 / KELVIN_OF_ILLUMINANT[light] for light in self.illuminants)
        return warm, cool

    def at(self, mired: float) -> np.ndarray:
        """Return the matrix at a light, (3, 3) float64: between the two in reciprocal temperature, beyond them theirs.

        Source: Adobe DNG 1.7, chapter 6.

        >>> lights = Calibrations(np.stack([np.eye(3), 3 * np.eye(3)]), (17, 21))
        >>> [lights.at(mired)[0, 0].round(2).item() for mired in (500, 251.94, 100)]
        [1.0, 2.0, 3.0]
        """
        warm, cool = self.mired
        warmth = min(max((mired - cool) / (warm - cool), 0.0), 1.0)
        return np.asarray(warmth * self.camera_from_xyz[0] + (1 - warmth) * self.camera_from_xyz[1])
