"""Reconstruction without learning: local regression that heeds the noise of every site, for any pattern and CFA."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .layout import source_index
from .mosaic import ExposurePattern, Mosaic, cfa_period
from .radiance import NoiseModel, site_planes
from .tiles import run_tiled

TILE_PX = 192
HALO_PX = 24
TOE_SIGMAS = 3.0  # logarithmic above so many standard deviations of the darkest the frame can tell, linear below
LEAST_TOE = 1e-4
PILOT_PX, TEXTURE_PX, CHOICE_PX = 1.7, 2.0, 1.0
WINDOWS = ((1.0, 1.0, 0.0), (2.0, 0.6, 0.0), (0.6, 2.0, 0.0), (1.8, 0.6, 0.785), (1.8, 0.6, -0.785))
KAPPA, P_SLOPE, P_CURVE, P_CHROMA, POWER = 0.05, 1.0, 1.0, 10.0, 3.0
LEAST_TEXTURE = 1e-6
EXPONENTS = ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
HIGHER = tuple((d - j, j) for d in (3, 4) for j in range(d + 1))


def _grid(radius):
    d = torch.arange(-radius, radius + 1, dtype=torch.float32)
    return torch.meshgrid(d, d, indexing="ij")


def _gauss(sx, sy, angle):
    r = max(2, math.ceil(2.5 * max(sx, sy)))
    y, x = _grid(r)
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return torch.exp(-0.5 * ((u / sx) ** 2 + (v / sy) ** 2)), x, y


def _blur(planes, s):
    r = math.ceil(2.5 * s)
    k = torch.exp(-0.5 * (torch.arange(-r, r + 1, dtype=torch.float32) / s) ** 2)
    k = k / k.sum()
    p = planes[:, None]
    p = F.conv2d(p, k[None, None, :, None], padding=(r, 0))
    return F.conv2d(p, k[None, None, None, :], padding=(0, r))[:, 0]


def _moments(plane, kernel):  # (N, H, W), (M, k, k) -> (M, N, H, W)
    return F.conv2d(plane[:, None], kernel[:, None], padding=kernel.shape[-1] // 2).transpose(0, 1)


def _solve(a, b):
    """LDL^T in place"""
    n = len(b)
    for i in range(n):
        inv = 1 / a[i][i]
        for j in range(i + 1, n):
            f = a[i][j] * inv
            for k in range(j, n):
                a[j][k] = a[j][k] - f * a[i][k]
            b[j] = b[j] - f * b[i]
    x = [None] * n
    for i in reversed(range(n)):
        s = b[i]
        for k in range(i + 1, n):
            s = s - a[i][k] * x[k]
        x[i] = s / a[i][i]
    return x


def _fit(w, wr, wrr, window):
    g, x, y = _gauss(*window)
    mono = lambda e: g * x ** e[0] * y ** e[1]
    low = torch.stack([g, *(mono(e) for e in EXPONENTS)])
    high = torch.stack([mono(e) for e in HIGHER])
    wc = _moments(w, low)  # (6, 3, H, W)
    total = wc.sum(1)
    hi = _moments(w.sum(0)[None], high)[:, 0]
    table = {e: total[i + 1] for i, e in enumerate(EXPONENTS)} | {e: hi[i] for i, e in enumerate(HIGHER)}
    bc = _moments(wr, g[None])[0]
    bs = _moments(wr.sum(0)[None], low[1:])[:, 0]
    rr = _moments(wrr[None], g[None])[0, 0]
    prior = (P_SLOPE, P_SLOPE, P_CURVE, P_CURVE, P_CURVE)
    a = [[None] * 8 for _ in range(8)]
    for c in range(3):
        for k in range(c, 3):
            a[c][k] = wc[0, c] + P_CHROMA * 2 / 3 + 1e-3 if k == c else torch.full_like(total[0], -P_CHROMA / 3)
        for i in range(5):
            a[c][3 + i] = wc[1 + i, c]
    for i, (p, q) in enumerate(EXPONENTS):
        for j in range(i, 5):
            a[3 + i][3 + j] = table[p + EXPONENTS[j][0], q + EXPONENTS[j][1]] + (prior[i] if i == j else 0)
    rhs = [*bc, *bs]
    theta = _solve(a, list(rhs))
    rss = rr - sum(t * b for t, b in zip(theta, rhs, strict=True))
    return torch.stack(theta[:3]), rss, total[0]


def reconstruct_tile(radiance, usable, exposure, least, colour, read, gain, toe):
    """all (H, W) tensors; colour (3, H, W) 0/1. -> (3, H, W)"""
    trust = usable + 1e-4 * (least / exposure) ** 2
    # variance from smoothed signal
    wp = colour * trust * exposure
    pilot = _blur(wp * radiance, PILOT_PX) / _blur(wp, PILOT_PX).clamp_min(1e-20)
    mean = (pilot * colour).sum(0).clamp_min(0)
    v = (read + gain * mean) / (mean**2 + toe**2)
    y = torch.asinh(radiance / toe)
    w = colour * trust / (v + 1e-4)
    p = _blur(w * y, PILOT_PX) / _blur(w, PILOT_PX).clamp_min(1e-20)
    r = y - (p * colour).sum(0)
    ws = trust / (v + 1e-4)
    num, den = _blur(torch.stack([ws * (r * r - v), ws]), TEXTURE_PX)
    texture = (num / den).clamp_min(LEAST_TEXTURE)
    w = colour * trust / (v / texture + KAPPA)
    wr = w * r
    wrr = (wr * r).sum(0)
    est, err = [], []
    for window in WINDOWS:
        theta, rss, n = _fit(w, wr, wrr, window)
        a, b = _blur(torch.stack([rss.clamp_min(0), n]), CHOICE_PX)
        est.append(theta)
        err.append(a / b.clamp_min(1e-20))
    err = torch.stack(err)
    share = (err / err.amin(0).clamp_min(1e-20) + 1e-6) ** -POWER
    share = share / share.sum(0)
    detail = sum(s * e for s, e in zip(share, est, strict=True))
    return torch.sinh(p + detail) * toe


def classical(
    mosaic: Mosaic,
    pattern: ExposurePattern,
    noise: NoiseModel,
    tile_px: int = TILE_PX,
    progress: Callable[[float], None] = lambda share: None,
) -> np.ndarray:
    letters = cfa_period(mosaic.cfa)
    period = np.lcm.reduce([letters.shape, pattern.exposure.shape, mosaic.black_level.shape])
    least = float(pattern.exposure.min())
    result = np.empty((*mosaic.shape, 3), np.float32)
    black, exposure, gain, read, colour = (
        np.tile(a, np.array(period) // a.shape)
        for a in (mosaic.black_level, pattern.exposure, noise.gain, noise.read_noise, letters)
    )
    scale = least / exposure / (mosaic.white_level - black)
    toe = max(LEAST_TOE, TOE_SIGMAS * float((read * scale).min()))

    def tile(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        y = source_index(rows, 0, mosaic.shape[0], int(period[0]))[:, None]
        x = source_index(columns, 0, mosaic.shape[1], int(period[1]))[None, :]
        at = lambda a: a[y % period[0], x % period[1]].astype(np.float32)
        counts = mosaic.counts[y, x].astype(np.float32)
        r, u, _ = site_planes(counts, at(black), np.float32(mosaic.white_level), at(exposure), np.float32(least), np.float32(0), np.float32(0))
        col = np.stack([colour[y % period[0], x % period[1]] == c for c in "RGB"]).astype(np.float32)
        with torch.inference_mode():
            out = reconstruct_tile(*(torch.from_numpy(a) for a in (r, u, at(exposure))), least, torch.from_numpy(col),
                torch.from_numpy(at((read * scale) ** 2)), torch.from_numpy(at(gain * scale)), toe)
        return out.permute(1, 2, 0).numpy()

    def keep(rows, columns, core):
        a = result[rows[0] : rows[1], columns[0] : columns[1]]
        a[:] = core[: a.shape[0], : a.shape[1]] / np.float32(least)

    halo = [int(-(-HALO_PX // p) * p) for p in period]
    run_tiled(tile, keep, mosaic.shape, tile_px, (halo[0], halo[1]), (int(period[0]), int(period[1])), progress)
    return result
