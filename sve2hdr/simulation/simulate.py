"""A clean scene to the noisy counts of a sensor whose sites have different exposures, for training and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..mosaic import Capture, ExposurePattern, Mosaic, cfa_period, repeated
from ..radiance import NoiseModel

Mode = Literal["exposure", "gain"]

# The simulated camera: linear Rec. 709 primaries, with red and blue recorded weaker than green, as daylight has it on
# common sensors. Its matrix and neutral go into the DNG, so that every raw developer shows the scene's own colours.
NEUTRAL = np.array([1 / 2.0, 1.0, 1 / 1.6])
XYZ_FROM_REC709 = np.array(  # IEC 61966-2-1, D65
    [[0.4123908, 0.3575843, 0.1804808], [0.2126390, 0.7151687, 0.0721923], [0.0193308, 0.1191948, 0.9505322]]
)
CAMERA_FROM_XYZ = np.diag(NEUTRAL) @ np.linalg.inv(XYZ_FROM_REC709)

LEAST_FULL_WELL_E, MOST_FULL_WELL_E, MOST_READ_NOISE_E = 1.0, 1e12, 1e6
MOST_ELECTRONS = 1e18  # at a site: no more can be counted, and no full well is as large
LEAST_RADIANCE, MOST_RADIANCE = 1e-30, 1e30  # of scenes: within float32 by far

# written so that tools which ask for exposure tags find some; a simulation has no shutter
CAPTURE = Capture(make="sve2hdr", model="simulated SVE sensor", exposure_time_s=0.01, f_number=8.0, iso=100.0)


@dataclass(frozen=True)
class Sensor:
    """A sensor with two ways of giving sites different exposures.

    "exposure": more exposed sites collect light for longer: ratio x the electrons, the same gain.
    "gain": all sites collect the same electrons and are amplified differently (Dual ISO). What the amplifier adds in
    front is amplified along with the signal, what comes behind it is not, so the bright sites have less read noise
    in electrons, and saturate earlier.
    """

    mode: Mode = "exposure"
    bit_depth: int = 14
    black_level: float = 1024.0  # counts
    white_level: float = 16_000.0  # counts
    full_well_e: float = 30_000.0  # electrons at saturation of the least exposed sites
    read_noise_e: float = 4.0  # electrons, of the least exposed sites
    preamp_noise_e: float = 1.2  # electrons, the part of read_noise_e that is there before the amplifier

    def __post_init__(self) -> None:
        if self.mode not in ("exposure", "gain"):
            raise ValueError(f"mode must be exposure or gain, not {self.mode}")
        if not 8 <= self.bit_depth <= 16:
            raise ValueError(f"bit depth must be 8 to 16, not {self.bit_depth}")
        if not 0 <= self.black_level < self.white_level <= 2**self.bit_depth - 1:
            raise ValueError(
                f"levels must have 0 <= black < white <= {2**self.bit_depth - 1} at {self.bit_depth} bits, "
                f"not {self.black_level:g} and {self.white_level:g}"
            )
        if not (self.full_well_e >= LEAST_FULL_WELL_E and self.read_noise_e >= 0 and self.preamp_noise_e >= 0):
            raise ValueError(f"full well must be at least {LEAST_FULL_WELL_E:g} electron, and no noise below 0")
        if self.full_well_e > MOST_FULL_WELL_E or max(self.read_noise_e, self.preamp_noise_e) > MOST_READ_NOISE_E:
            raise ValueError(
                f"at most {MOST_FULL_WELL_E:g} electrons are simulated at full well, and {MOST_READ_NOISE_E:g} of noise"
            )

    def noise_model(self, pattern: ExposurePattern) -> NoiseModel:
        """Return gain and read noise of each site of the pattern's period, as the sensor has them before rounding."""
        gain, read_noise = noise_of_sites(self, pattern.exposure, pattern.exposure.min())
        return NoiseModel(gain.astype(np.float32), read_noise.astype(np.float32))


def noise_of_sites(sensor: Sensor, exposure: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Return gain (counts per electron) and read noise (counts) for relative exposures of any shape."""
    base_gain = (sensor.white_level - sensor.black_level) / sensor.full_well_e
    gain = base_gain * (exposure / least if sensor.mode == "gain" else np.ones_like(exposure))
    preamp_e = min(sensor.preamp_noise_e, sensor.read_noise_e)
    behind = base_gain**2 * (sensor.read_noise_e**2 - preamp_e**2)
    return gain, np.sqrt((gain * preamp_e) ** 2 + behind)


def expose(
    radiance: Tensor,
    gain: Tensor,
    span_e: Tensor,
    read_noise: Tensor,
    black: Tensor,
    white: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Return the counts, float32, that sites record: Poisson electrons, amplified, plus read noise, rounded, clipped.

    radiance: what a site sees, 1.0 = saturation of the least exposed sites; span_e: electrons a site collects at 1.0.
    All arguments broadcast against `radiance`; they and `generator` are on one device.
    """
    electrons = torch.poisson((radiance * span_e).clamp(0, MOST_ELECTRONS), generator=generator)
    read = torch.randn(radiance.shape, generator=generator, device=radiance.device) * read_noise
    return torch.minimum((black + electrons * gain + read).round().clamp_min(0), white)


def mosaic_of(camera_rgb: np.ndarray, cfa: str) -> np.ndarray:
    """Return, for every site, the camera RGB of its own colour: (H, W, 3) float32 -> (H, W) float32."""
    colour = np.array([["RGB".index(letter) for letter in row] for row in cfa_period(cfa)])
    index = repeated(colour, camera_rgb.shape[:2])
    return np.take_along_axis(camera_rgb, index[..., None], axis=2)[..., 0]


def simulate(camera_rgb: np.ndarray, cfa: str, pattern: ExposurePattern, sensor: Sensor, seed: int) -> Mosaic:
    """Return the frame that `sensor` takes of a scene.

    camera_rgb: (H, W, 3) float32, 1.0 = saturation of the least exposed sites. The same arguments give the same counts.

    >>> grey = np.full((4, 2, 3), 0.1, np.float32)
    >>> pattern = ExposurePattern(np.float32([[1 / 8], [1 / 8], [1], [1]]))
    >>> frame = simulate(grey, "RGGB", pattern, Sensor(black_level=1000, white_level=11_000, full_well_e=1e9), seed=0)
    >>> frame.counts[:, 0].tolist()
    [2000, 2000, 9000, 9000]
    """
    if not np.isfinite(camera_rgb).all():
        raise ValueError("camera_rgb has values that are not finite")
    exposure, least = pattern.over(camera_rgb.shape[:2]), float(pattern.exposure.min())
    gain, read_noise = noise_of_sites(sensor, exposure, least)
    span_e = sensor.full_well_e * (exposure / least if sensor.mode == "exposure" else np.ones_like(exposure))
    counts = expose(
        torch.from_numpy(mosaic_of(camera_rgb, cfa)),
        torch.from_numpy(gain.astype(np.float32)),
        torch.from_numpy(span_e.astype(np.float32)),
        torch.from_numpy(read_noise.astype(np.float32)),
        torch.tensor(sensor.black_level),
        torch.tensor(sensor.white_level),
        torch.Generator().manual_seed(seed),
    )
    return Mosaic(
        counts=counts.numpy().astype(np.uint16),
        cfa=cfa,
        black_level=np.full((2, 2), sensor.black_level, np.float32),
        white_level=sensor.white_level,
        camera_from_xyz=CAMERA_FROM_XYZ,
        as_shot_neutral=NEUTRAL,
        capture=CAPTURE,
    )


def camera_scene(scene: np.ndarray, percentile: float) -> np.ndarray:
    """Return `seen_by_camera` where `percentile`, 0 to 100, of a scene's green saturates the least exposed sites."""
    return seen_by_camera(scene, saturating_radiance(scene, percentile))


def saturating_radiance(scene: np.ndarray, percentile: float) -> float:
    """Return a percentile, 0 to 100, of the green of a scene, (H, W, 3) float32; ValueError if there is no light."""
    top = float(np.percentile(scene[..., 1], percentile))
    if not top >= LEAST_RADIANCE:
        raise ValueError(f"the {percentile:g}th percentile of the scene's green is {top:g}: nothing to expose for")
    return top


def seen_by_camera(scene: np.ndarray, saturation: float) -> np.ndarray:
    """Return a scene-linear Rec. 709 image as the simulated camera's RGB, scaled for a frame.

    A green of `saturation` becomes 1.0, the saturation of the least exposed sites. (H, W, 3) float32 both; negative
    values, which no light has, become 0, and none is above 1e30.
    """
    with np.errstate(over="ignore"):
        seen = scene * np.float32(NEUTRAL / saturation)
    return np.clip(seen, 0, MOST_RADIANCE, out=seen)
