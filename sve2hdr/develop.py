"""An ordinary raw, with a single exposure at all sites -> camera RGB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np

from .architecture import ArchitectureConfig, Network
from .classical import classical
from .demosaic import demosaic
from .mosaic import BAYER_ORDERS, ONE_EXPOSURE, ExposurePattern, Mosaic, cfa_period, common_period, repeated
from .radiance import NoiseModel
from .reconstruct import NetworkOptions, reconstruct

FEIGNED_RATIO = 1.5  # between neighbouring exposures; within the range of training, and nothing is lost by it
FEIGNED_BLACK, FEIGNED_WHITE = 4096.0, 65_000.0  # counts: room for noise below black, and as fine as 16 bits allow
TOE_SIGMAS = 3.0  # demosaicing is logarithmic above this many standard deviations in the dark, linear below


def develop(
    mosaic: Mosaic,
    noise: NoiseModel,
    network: Network | None,
    options: NetworkOptions | None = None,
    progress: Callable[[float], object] = lambda share: None,
) -> np.ndarray:
    """Return camera RGB, (H, W, 3) float32, 1.0 = saturation, not clamped, of a raw of one exposure.

    A network is given the frame as an SVE frame of the kind it knows, with some of the sites scaled down. Light and
    noise stay the same, and it demosaics and denoises far better than filters do. Without a network, or with one for
    another CFA, the filters of Malvar et al. are used, or the classical method for a CFA that they do not support.
    """
    pattern = None if network is None else feigned_pattern(mosaic.cfa, network.config)
    if network is not None and pattern is not None:
        shown, shown_noise = _as_sve(mosaic, pattern, noise)
        return reconstruct(shown, pattern, shown_noise, network, options, progress)
    if mosaic.cfa not in BAYER_ORDERS:
        return classical(mosaic, ONE_EXPOSURE, noise, progress=progress)
    black, white = (repeated(period, mosaic.shape) for period in (mosaic.black_level, mosaic.white_by_site))
    radiance = (mosaic.counts - black) / (white - black)
    span = float((mosaic.white_by_site.min() - mosaic.black_level).min())
    camera_rgb = demosaic(radiance, mosaic.cfa, max(TOE_SIGMAS * float(noise.read_noise.max()) / span, 1e-4))
    progress(1.0)
    return camera_rgb


def feigned_pattern(cfa: str, config: ArchitectureConfig) -> ExposurePattern | None:
    """Return a pattern that a network knows with this CFA, or None if it knows none.

    >>> from sve2hdr.network import NetworkConfig
    >>> print(feigned_pattern("RGGB", NetworkConfig()))
    grid:0.666667,0.666667;0.666667,0.666667;1,1;1,1
    """
    letters, known = cfa_period(cfa), np.array([list(row) for row in config.cfa])
    rank = np.array(config.exposure_rank)
    shape = common_period(letters, known, rank)
    for shift in product(range(known.shape[0]), range(known.shape[1])):
        if (np.roll(repeated(known, shape), shift, (0, 1)) == repeated(letters, shape)).all():
            exposure = FEIGNED_RATIO ** (np.roll(rank, shift, (0, 1)) - float(rank.max()))
            return ExposurePattern(exposure.astype(np.float32))
    return None


def _as_sve(mosaic: Mosaic, pattern: ExposurePattern, noise: NoiseModel) -> tuple[Mosaic, NoiseModel]:
    """Return the frame and its noise as if its sites had been less exposed and amplified as `pattern` says."""
    white = mosaic.white_by_site
    period = common_period(pattern.exposure, mosaic.black_level, white, noise.gain, noise.read_noise)
    factor = pattern.over(period) * np.float32(
        (FEIGNED_WHITE - FEIGNED_BLACK) / float((repeated(white, period) - repeated(mosaic.black_level, period)).max())
    )
    black, factors = (repeated(p, mosaic.shape) for p in (mosaic.black_level, factor))
    counts = np.clip(np.rint((mosaic.counts - black) * factors + np.float32(FEIGNED_BLACK)), 0, 65535)
    # Scaled-down sites are below this white level even where they clip, so that what all sites have lost stays at 1.0
    # and is not invented by the network.
    shown = replace(
        mosaic,
        counts=counts.astype(np.uint16),
        black_level=np.full((1, 1), FEIGNED_BLACK, np.float32),
        white_level=FEIGNED_WHITE,
        saturation=None,
        masked=None,
    )
    return shown, NoiseModel(repeated(noise.gain, period) * factor, repeated(noise.read_noise, period) * factor)
