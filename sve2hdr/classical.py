"""Reconstruction without learning: local regression weighted by the noise of every site, for any pattern and CFA."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .architecture import inside
from .layout import source_index
from .mosaic import ExposurePattern, Mosaic, cfa_period, over_common_period
from .radiance import NoiseModel, full_scale, site_planes
from .tiles import Sides, run_tiled

TILE_PX = 288
TOE_SIGMAS, LEAST_TOE = 3.0, 1e-4  # logarithmic above this many standard deviations in the dark, linear below
PILOT_PX, TEXTURE_PX, CHOICE_PX = 1.7, 2.0, 1.0  # standard deviations of the smoothing Gaussians
LAST_RESORT = 1e-4  # weight of the least exposed sites where they saturate: they decide if there is nothing else
LEAST_VARIANCE = 1e-4  # of the logarithm: no site is trusted more, however bright
LEAST_TEXTURE = 1e-6  # variance of the logarithm
MISFIT = 0.05  # variance, relative to that of the texture, that no second-order polynomial explains
SLOPE_PRIOR, CURVE_PRIOR, CHROMA_PRIOR = 0.3, 0.5, 4.0  # ridge penalties, where a site's weight is up to 1 / MISFIT
LEVEL_PRIOR, TEXTURE_FADES = 0.1, 16.0  # penalty of a level where all is noise; it fades with texture
SOLVABLE = 1e-3  # penalty of a level everywhere, so that there is a solution even without any site
NOISE_BIAS = 0.7  # share corrected of what noise takes from the mean of a logarithm; remaining noise restores the rest
# How far an estimate may leave the range of its colour's sites around it: half an EV, because thin lines and stars lie
# between sites, but a tenth upwards beside saturated sites of brighter rows, where edges would get a bright line.
BETWEEN_SITES, BESIDE_LOST, RANGE_PX = 0.35, 0.1, 2
CHOICE_POWER = 6.0  # of the ratio of misfits: almost only the best window counts, but without seams
MONOMIALS = ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2))  # powers of x and y; the constants are one per colour
PRIORS = (SLOPE_PRIOR, SLOPE_PRIOR, CURVE_PRIOR, CURVE_PRIOR, CURVE_PRIOR)
HIGHER = tuple((degree - power, power) for degree in (3, 4) for power in range(degree + 1))


@dataclass(frozen=True)
class Window:
    """A Gaussian window: standard deviations along and across its direction, px, and that direction in radians."""

    along: float
    across: float
    angle: float = 0.0

    @property
    def reach(self) -> int:
        """How far the window reaches each way, px."""
        return max(2, math.ceil(2.5 * self.along))

    def moments(self, powers: Sequence[tuple[int, int]]) -> Tensor:
        """Return the window times x^p y^q for each of the powers (p, q), (M, K, K)."""
        steps = torch.arange(-self.reach, self.reach + 1, dtype=torch.float32)
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        along = x * math.cos(self.angle) + y * math.sin(self.angle)
        across = y * math.cos(self.angle) - x * math.sin(self.angle)
        weight = torch.exp(-((along / self.along) ** 2 + (across / self.across) ** 2) / 2)
        return torch.stack([weight * x**p * y**q for p, q in powers])


# Coarse to fine: each pass starts from the brightness that the previous one found. Along an edge a long, thin window is
# best, so the middle pass chooses between four (the slanting ones cost a third of the time and remove a fifth of the
# moire). The last pass restores what the wider windows smoothed.
PASSES = (
    (Window(1.0, 1.0),),
    tuple(Window(1.6, 0.6, quarter * math.pi / 4) for quarter in range(4)),
    (Window(0.7, 0.7),),
)


def _blur_reach(sigma: float) -> int:
    return math.ceil(2 * sigma)


HALO_PX = _blur_reach(PILOT_PX) + sum(
    _blur_reach(PILOT_PX)
    + _blur_reach(TEXTURE_PX)
    + max(window.reach for window in windows)
    + (_blur_reach(CHOICE_PX) if len(windows) > 1 else 0)
    for windows in PASSES
)


def classical(
    mosaic: Mosaic,
    pattern: ExposurePattern,
    noise: NoiseModel,
    tile_px: int = TILE_PX,
    progress: Callable[[float], object] = lambda share: None,
) -> np.ndarray:
    """Return camera RGB, (H, W, 3) float32 radiance, 1.0 = saturation of the most exposed sites, not clamped.

    Around every pixel a second-order polynomial is fitted to the logarithm of all usable sites, weighted by a window
    and by their inverse variance. Each colour has its own level, but all share slopes and curvature, so that every site
    adds to the detail of all three. After Hajisharif, Kronander and Unger, "Adaptive dualISO HDR reconstruction"
    (EURASIP Journal on Image and Video Processing 2015), who fit each colour alone and choose a window by intersecting
    confidence intervals; here windows of four directions compete by their misfit. Takes any pattern and CFA; the result
    does not depend on tile_px. Memory beyond the result is that of a tile. Raises ValueError for a frame smaller than
    one period of CFA and pattern.
    """
    cfa, exposure, black, white, gain, read_noise = over_common_period(
        cfa_period(mosaic.cfa), pattern.exposure, mosaic.black_level, mosaic.white_by_site, noise.gain, noise.read_noise
    )
    period = cfa.shape
    least = float(exposure.min())
    full = full_scale(mosaic, pattern)
    scale = least / exposure / full  # radiance of a count
    read_variance, photon_variance = (read_noise * scale) ** 2, gain * scale
    toe = max(LEAST_TOE, TOE_SIGMAS * float(np.sqrt(read_variance.min())))
    result = np.empty((*mosaic.shape, 3), np.float32)

    def tile(rows: np.ndarray, columns: np.ndarray, margin: Sides) -> np.ndarray:
        y = source_index(rows, 0, mosaic.shape[0], period[0])[:, None]
        x = source_index(columns, 0, mosaic.shape[1], period[1])[None, :]
        phase = (y % period[0], x % period[1])
        black_here, white_here, exposure_here, read_here, photon_here = (
            p[phase].astype(np.float32) for p in (black, white, exposure, read_variance, photon_variance)
        )
        counts, zero = mosaic.counts[y, x].astype(np.float32), np.float32(0)
        radiance, usable, _ = site_planes(
            counts, black_here, white_here, exposure_here, np.float32(least), zero, zero, np.float32(full)
        )
        usable += np.float32(LAST_RESORT) * (np.float32(least) / exposure_here) ** 4
        colour = np.stack([cfa[phase] == letter for letter in "RGB"]).astype(np.float32)
        planes = (radiance, usable, exposure_here, read_here, photon_here, colour)
        with torch.inference_mode():
            image = _reconstruct(toe, *(torch.from_numpy(plane) for plane in planes))
        return np.asarray(inside(image, margin).permute(1, 2, 0))

    def keep(rows: tuple[int, int], columns: tuple[int, int], core: np.ndarray) -> None:
        part = result[rows[0] : rows[1], columns[0] : columns[1]]
        np.divide(core[: part.shape[0], : part.shape[1]], np.float32(least), out=part)

    run_tiled(tile, keep, mosaic.shape, tile_px, (HALO_PX, HALO_PX), (1, 1), progress)
    return result


def _reconstruct(
    toe: float, radiance: Tensor, usable: Tensor, exposure: Tensor, read: Tensor, photons: Tensor, colour: Tensor
) -> Tensor:
    """Return radiance, (3, H, W), of one tile; `colour` is (3, H, W), 1 where a site has that colour, others (H, W).

    toe: the radiance around which the logarithm turns linear; read: variance of a site's radiance in the dark;
    photons: what each unit of radiance adds to that variance.
    """
    # variance from the mean light around, not each site's own count: weights that depend on its noise would bias
    light = (_mean(radiance, colour * usable * exposure) * colour).sum(0).clamp_min(0)
    sigma = (read + photons * light).sqrt()
    variance = sigma**2 / (light**2 + toe**2)  # of the logarithm, which asinh approximates
    value = torch.asinh(radiance / toe) + NOISE_BIAS * _darkened(light / toe, sigma / toe)
    certainty = usable / (variance + LEAST_VARIANCE)
    below = torch.where(usable > 0.5, -value, -torch.inf)
    # where the least exposed sites saturate, the upper end is unknown
    above = torch.where(usable > 0.5, value, torch.where(exposure == exposure.min(), torch.inf, -torch.inf))
    lost = ((usable <= 0.5) & (exposure > exposure.min())).float()
    overshoot = BETWEEN_SITES + (BESIDE_LOST - BETWEEN_SITES) * F.max_pool2d(lost[None], 2 * RANGE_PX + 1, 1, RANGE_PX)
    lowest, highest = -_highest(below, colour) - BETWEEN_SITES, _highest(above, colour) + overshoot
    guide = torch.zeros_like(value)
    estimate = guide[None]
    for windows in PASSES:
        pilot = guide + _mean(value - guide, colour * certainty)
        rest = value - (pilot * colour).sum(0)
        squares, total = _blur(torch.stack([certainty * (rest**2 - variance), certainty]), TEXTURE_PX)
        texture = (squares / total).clamp_min(LEAST_TEXTURE)
        weight = colour * (usable / (variance / texture + MISFIT))
        # without it, the smallest window would follow the noise of its few sites
        level_prior = SOLVABLE + LEVEL_PRIOR * torch.exp(-TEXTURE_FADES * texture * total)
        fits = [_fit(rest, weight, window, level_prior) for window in windows]
        estimate = pilot + (_chosen(fits) if len(fits) > 1 else fits[0][0])
        estimate = torch.minimum(torch.maximum(estimate, lowest), highest)
        guide = estimate.mean(0)
    return torch.sinh(estimate) * toe


def _darkened(level: Tensor, sigma: Tensor) -> Tensor:
    """Return by how much noise of this standard deviation lowers the mean of asinh, from two-point quadrature."""
    return torch.asinh(level) - (torch.asinh(level + sigma) + torch.asinh(level - sigma)) / 2


def _blur(planes: Tensor, sigma: float) -> Tensor:
    """Return planes, (N, H, W), blurred by a Gaussian of sum 1."""
    reach = _blur_reach(sigma)
    taps = torch.exp(-((torch.arange(-reach, reach + 1, dtype=torch.float32) / sigma) ** 2) / 2)
    taps = taps / taps.sum()
    for axis, around in ((1, (0, 0, reach, reach)), (2, (reach, reach))):
        padded, length = F.pad(planes, around), planes.shape[axis]
        planes = torch.zeros_like(planes)
        for first, tap in enumerate(taps.tolist()):  # F.conv2d on single channels takes three times as long
            planes.add_(padded.narrow(axis, first, length), alpha=tap)
    return planes


def _mean(value: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of `value`, (H, W), around every pixel for each of the weights, (N, H, W)."""
    return _blur(weight * value, PILOT_PX) / _blur(weight, PILOT_PX).clamp_min(1e-20)


def _highest(value: Tensor, colour: Tensor) -> Tensor:
    """Return the highest value, (H, W), of the sites of each colour around every pixel, (3, H, W); inf for -inf."""
    of_colour = torch.where(colour > 0, value, -torch.inf)
    highest = F.max_pool2d(of_colour[None], 2 * RANGE_PX + 1, 1, RANGE_PX)[0]
    return torch.where(highest.isinf(), torch.inf, highest)


def _summed(planes: Tensor, kernels: Tensor) -> Tensor:
    """Return the sums of planes, (N, H, W), weighted by each kernel, (M, K, K), around every pixel: (M, N, H, W)."""
    return F.conv2d(planes[:, None], kernels[:, None], padding=kernels.shape[-1] // 2).transpose(0, 1)


def _fit(rest: Tensor, weight: Tensor, window: Window, level_prior: Tensor) -> tuple[Tensor, Tensor]:
    """Return the three colours at every pixel, (3, H, W), and the misfit there, (2, H, W): squares and weights.

    level_prior: (H, W), the penalty of levels other than 0.
    """
    kernels = window.moments(((0, 0), *MONOMIALS))
    weighted, all_weights = weight * rest, weight.sum(0, keepdim=True)
    of_colour = _summed(weight, kernels)
    of_all = dict(zip(((0, 0), *MONOMIALS), of_colour.sum(1), strict=True))
    of_all |= dict(zip(HIGHER, _summed(all_weights, window.moments(HIGHER))[:, 0], strict=True))
    right = [*_summed(weighted, kernels[:1])[0], *_summed(weighted.sum(0, keepdim=True), kernels[1:])[:, 0]]
    matrix: list[list[Tensor]] = []  # the upper triangle: three levels, two slopes, three curvatures
    for c in range(3):
        levels = [_like(rest, -CHROMA_PRIOR / 3) for _ in range(3)]
        levels[c] = of_colour[0, c] + (CHROMA_PRIOR * 2 / 3 + level_prior)
        matrix.append([*levels, *of_colour[1:, c]])
    for i, (p, q) in enumerate(MONOMIALS):
        products = [of_all[p + r, q + s] + PRIORS[i] * (i == j) for j, (r, s) in enumerate(MONOMIALS)]
        matrix.append([_like(rest, 0.0)] * 3 + products)
    solution = _solved(matrix, right)
    squares = _summed((weighted * rest).sum(0, keepdim=True), kernels[:1])[0, 0]
    explained = torch.stack([x * b for x, b in zip(solution, right, strict=True)]).sum(0)
    return torch.stack(solution[:3]), torch.stack([(squares - explained).clamp_min(0), of_all[0, 0]])


def _like(plane: Tensor, value: float) -> Tensor:
    return torch.full_like(plane, value)


def _solved(matrix: list[list[Tensor]], right: list[Tensor]) -> list[Tensor]:
    """Solve the symmetric systems matrix @ x = right, one per pixel; only the upper triangle is read."""
    size, upper, x = len(right), [list(row) for row in matrix], list(right)
    for i in range(size):
        for j in range(i + 1, size):
            factor = upper[i][j] / upper[i][i]
            for k in range(j, size):
                upper[j][k] = torch.addcmul(upper[j][k], factor, upper[i][k], value=-1)
            x[j] = torch.addcmul(x[j], factor, x[i], value=-1)
    for i in reversed(range(size)):
        for k in range(i + 1, size):
            x[i] = torch.addcmul(x[i], upper[i][k], x[k], value=-1)
        x[i] = x[i] / upper[i][i]
    return x


def _chosen(fits: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the mean of the fits' colours, (3, H, W), weighted by how small each one's misfit around the pixel is."""
    misses = []
    for _, misfit in fits:
        squares, weights = _blur(misfit, CHOICE_PX)
        misses.append(squares / weights.clamp_min(1e-20))
    missed = torch.stack(misses)
    share = (missed / missed.amin(0).clamp_min(1e-20) + 1e-6) ** -CHOICE_POWER
    share = share / share.sum(0)
    return (share[:, None] * torch.stack([colours for colours, _ in fits])).sum(0)
