"""Merge frames of one scene at several exposures into one mosaic of radiance, with the least noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..mosaic import ONE_EXPOSURE, Mosaic, repeated
from ..sensor.noise import estimate_noise

LEFT_OUT = 0.9  # of the span: sites that the darker frames predict to be above this are not merged
BAND_ROWS = 256


def merge_frames(frames: Sequence[Mosaic], exposure_ev: Sequence[float], most_exposed: int) -> tuple[np.ndarray, float]:
    """Return a scene as a mosaic of radiance, (H, W) float32, 1.0 = saturation of frame `most_exposed`; and its noise.

    `frames` have falling exposures, `exposure_ev`, and one CFA. Each site is the mean over the frames that are not
    saturated there, weighted by the inverse of their variance (Poisson and read noise as measured on each frame).
    Whether a frame saturates at a site is predicted from the darker frames: its own noise would bias the choice,
    and so the mean. Sites that saturate in the darkest frame get its saturation level. The noise is the standard
    deviation where there is no light, on the same scale. Source: the maximum-likelihood merge of Granados et al.,
    "Optimal HDR reconstruction with linear digital cameras", CVPR 2010.
    """
    noise = _frame_noise(frames, exposure_ev, most_exposed)
    height, width = frames[0].shape
    merged = np.empty((height, width), np.float32)
    for top in range(0, height, BAND_ROWS):  # a multiple of the black levels' period
        rows = slice(top, min(top + BAND_ROWS, height))
        merged[rows] = _merged_band(frames, noise, rows)
    return merged, float(sum((frame.scale / frame.read_noise) ** 2 for frame in noise) ** -0.5)


@dataclass(frozen=True)
class _FrameNoise:
    scale: float  # counts at radiance 1.0
    gain: float  # counts per electron
    read_noise: float  # counts

    def variance(self, radiance: np.ndarray) -> np.ndarray:
        """Return the variance of this frame's radiance at the expected `radiance`."""
        read, photons = self.read_noise**2 / self.scale**2, self.gain / self.scale
        variance: np.ndarray = np.float32(read) + np.float32(photons) * radiance
        return variance


def _frame_noise(frames: Sequence[Mosaic], exposure_ev: Sequence[float], most_exposed: int) -> list[_FrameNoise]:
    span = frames[most_exposed].span
    found = []
    for frame, ev in zip(frames, exposure_ev, strict=True):
        measured = estimate_noise(frame, ONE_EXPOSURE)
        gain = max(1e-6 * span, float(measured.gain.mean()))
        found.append(_FrameNoise(span * 2 ** (ev - exposure_ev[most_exposed]), gain, float(measured.read_noise.mean())))
    return found


def _merged_band(frames: Sequence[Mosaic], noise: Sequence[_FrameNoise], rows: slice) -> np.ndarray:
    shape = rows.stop - rows.start, frames[0].shape[1]
    samples: list[tuple[np.ndarray, np.ndarray, _FrameNoise]] = []  # radiance, unsaturated, noise; darkest frame first
    total, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for frame, model in zip(reversed(frames), reversed(noise), strict=True):
        counts = frame.counts[rows]
        limit = LEFT_OUT * frame.span / model.scale
        good = (total < limit * weight) & (counts < frame.white_level) if samples else np.ones(shape, bool)
        radiance = (counts - repeated(frame.black_level, shape)) / np.float32(model.scale)
        samples.append((radiance, good, model))
        photons = good * np.float32(model.scale / model.gain)  # the best weights where only light is noisy
        total += photons * radiance
        weight += photons
    expected = np.maximum(total / weight, 0)
    total, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for radiance, good, model in samples:
        precision = good / model.variance(expected)
        total += precision * radiance
        weight += precision
    merged: np.ndarray = total / weight
    return merged
