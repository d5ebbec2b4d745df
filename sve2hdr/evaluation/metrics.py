"""How far apart two HDR images are.

Images are (H, W, 3) float32, scene-linear radiance, and both at one scale: no metric fits a factor. `border_px` at each
edge is left out. PSNR and SSIM are higher for better images, the others lower. Images that are not of one size, or have
nothing inside of the border, and borders below 0, raise ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

MU = 5000.0
LOG_FLOOR = 1e-4  # of 1.0: four decades are compared
PEAK_NITS = 4000.0  # of the display that PU21 metrics imagine: what 1.0 is shown as
PU21_NITS = (0.005, 10_000.0)  # the range PU21 is made for
PU21_PEAK = 256.0
PU21_LUMINANCE = np.array([0.212656, 0.715158, 0.072186])  # Rec. 709, as PU21's own code has it
CELL_PX = 4  # side, over which speckle is averaged away
PERIOD_PX = 4  # of the patterns whose stripes count as wrong colours
SSIM_SIGMA, SSIM_REACH = 1.5, 5  # an 11 x 11 window
MOIRE_PX = 2.0  # standard deviation of the Gaussian below which luminance is no longer fine detail but moire


def mu_law(radiance: np.ndarray) -> np.ndarray:
    """Return log(1 + mu x) / log(1 + mu) for x clipped to 0..1, mu = 5000 (Kalantari and Ramamoorthi, TOG 2017)."""
    return np.asarray(np.log1p(MU * np.clip(radiance, 0, 1)) / np.log1p(MU))


def psnr_mu(image: np.ndarray, truth: np.ndarray, border_px: int = 0) -> float:
    """Return PSNR-mu in dB: the PSNR of `mu_law` of both, peak 1; 1.0 must be the same light in both images.

    No scale is fitted; values above 1 count as 1; `border_px` at each edge is left out; identical images give inf.

    >>> grey = np.full((8, 8, 3), 0.5, np.float32)
    >>> round(psnr_mu(grey * 1.01, grey), 2)
    58.65
    """
    a, b = _inner(image, truth, border_px)
    return _psnr(mu_law(a), mu_law(b), 1.0)


def psnr_linear(image: np.ndarray, truth: np.ndarray, border_px: int = 0) -> float:
    """Return the PSNR of radiance clipped to 0..1, in dB, peak 1: what the brightest parts decide.

    >>> grey = np.full((8, 8, 3), 0.5, np.float32)
    >>> round(psnr_linear(grey + np.float32(0.01), grey), 2)
    40.0
    """
    a, b = _inner(image, truth, border_px)
    return _psnr(np.clip(a, 0, 1), np.clip(b, 0, 1), 1.0)


def psnr_log(image: np.ndarray, truth: np.ndarray, border_px: int = 0) -> float:
    """Return the PSNR of log10 of radiance clipped to 1e-4..1, in dB, peak 4, the decades there are.

    Scale does not matter as long as both images have it and stay inside of the range.

    >>> grey = np.full((8, 8, 3), 0.05, np.float32)
    >>> round(psnr_log(grey * 10, grey), 2)  # one of four decades: 20 log10(4)
    12.04
    """
    a, b = (np.log10(np.clip(inner, LOG_FLOOR, 1)) for inner in _inner(image, truth, border_px))
    return _psnr(a, b, -float(np.log10(LOG_FLOOR)))


def pu21(nits: np.ndarray) -> np.ndarray:
    """Return perceptually uniform values of luminance in cd/m2, which is clipped to 0.005..10000.

    Mantiuk and Azimi, "PU21: A novel perceptually uniform encoding for adapting existing quality metrics for HDR"
    (PCS 2021), variant banding_glare; 100 cd/m2, the white of an old display, are about 256.

    >>> pu21(np.array([0.005, 100, 10_000])).round(1).tolist()
    [0.0, 256.4, 595.4]
    """
    p = (0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142)
    power = np.clip(np.asarray(nits, np.float64), *PU21_NITS) ** p[3]
    return np.asarray(np.maximum(p[6] * (((p[0] + p[1] * power) / (1 + p[2] * power)) ** p[4] - p[5]), 0))


def pu21_psnr(image: np.ndarray, truth: np.ndarray, border_px: int = 0) -> float:
    """Return PU21-PSNR in dB: of the `pu21` of luminance, peak 256.

    Images are linear Rec. 709, shown on a display on which 1.0 has 4000 cd/m2: clipped to 0..1, then scaled.

    >>> grey = np.full((8, 8, 3), 0.025, np.float32)  # 100 cd/m2
    >>> round(pu21_psnr(grey * 1.01, grey), 1)
    52.0
    """
    return _psnr(*_displayed(image, truth, border_px), PU21_PEAK)


def pu21_ssim(image: np.ndarray, truth: np.ndarray, border_px: int = 0) -> float:
    """Return PU21-SSIM, 1 at most: `ssim` of the `pu21` of luminance, range 256; displayed as for `pu21_psnr`."""
    return ssim(*_displayed(image, truth, border_px), PU21_PEAK)


def ssim(plane: np.ndarray, truth: np.ndarray, value_range: float) -> float:
    """Return the mean structural similarity of two planes, (H, W), 11 px a side or more; 1 for identical ones.

    Wang, Bovik, Sheikh and Simoncelli (IEEE TIP 2004): Gaussian window of 11 x 11, sigma 1.5, K = 0.01 and 0.03; only
    where the window lies inside. Raises ValueError for smaller planes.

    >>> round(ssim(np.full((11, 11), 3.0), np.full((11, 11), 4.0), 100.0), 6)  # (2 * 12 + 1) / (9 + 16 + 1)
    0.961538
    """
    if plane.shape != truth.shape or min(plane.shape) < 2 * SSIM_REACH + 1:
        raise ValueError(f"SSIM compares planes of one shape, 11 px a side or more, not {plane.shape}, {truth.shape}")
    a, b = (np.asarray(p, np.float64) for p in (plane, truth))
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    mean_a, mean_b, aa, bb, ab = (_gaussian(p, SSIM_SIGMA, SSIM_REACH) for p in (a, b, a * a, b * b, a * b))
    variance_a, variance_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    brightness = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float((brightness * (2 * covariance + c2) / (variance_a + variance_b + c2)).mean())


def angular_error(image: np.ndarray, truth: np.ndarray, border_px: int = 0) -> float:
    """Return the mean angle in degrees between the colours of both images as RGB vectors: brightness does not matter.

    Xu et al. (IEEE TCSVT 2021) train against one minus its cosine. Black pixels have no colour and are left out; 0 if
    there are no others.

    >>> white, yellow = np.ones((2, 2, 3)), np.full((2, 2, 3), (1.0, 1.0, 0.0))
    >>> round(angular_error(white, yellow), 2), angular_error(5 * white, white)  # acos(2 / sqrt 6)
    (35.26, 0.0)
    """
    a, b = (np.asarray(inner, np.float64).reshape(-1, 3) for inner in _inner(image, truth, border_px))
    coloured = (a != 0).any(1) & (b != 0).any(1)
    if not coloured.any():
        return 0.0
    a, b = a[coloured], b[coloured]
    # by the tangent, as the cosine of small angles says little
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(1))).mean())


def chroma_error(image: np.ndarray, truth: np.ndarray, border_px: int = 0) -> float:
    """Return how coloured an image of something flat is: 0.02 are 2 % of its brightness.

    Each channel is divided by the truth's mean, so that the truth is grey, and averaged over cells of CELL_PX a side,
    as finer speckle is no blotch; then the root mean square over cells and channels of the distance from each cell's
    own grey, over the mean of all. Raises ValueError where there is no whole cell or no light.

    >>> grey, tinted = np.ones((8, 8, 3)), np.full((8, 8, 3), (1.1, 1.0, 0.9))
    >>> round(chroma_error(tinted, grey), 4), chroma_error(grey * 3, grey)  # sqrt(0.02 / 3)
    (0.0816, 0.0)
    """
    inner, wanted = _inner(image, truth, border_px)
    light = wanted.mean((0, 1), dtype=np.float64)
    balanced = inner / np.where(light > 0, light, np.nan)
    rows, columns = (n // CELL_PX for n in balanced.shape[:2])
    cells = balanced[: rows * CELL_PX, : columns * CELL_PX].reshape(rows, CELL_PX, columns, CELL_PX, 3).mean((1, 3))
    if not cells.size or not np.isfinite(cells).all() or cells.mean() <= 0:
        raise ValueError(f"no whole cell of {CELL_PX} px with light in all three channels")
    return float(np.sqrt(np.mean((cells - cells.mean(2, keepdims=True)) ** 2)) / cells.mean())


def patch_error(image: np.ndarray, truth: np.ndarray, patch_px: int, border_px: int = 0) -> float:
    """Return how far off flat patches of `patch_px` a side are, as a share of each one's brightest channel.

    `border_px` at each patch's edge is left out. Of the rest, the mean over all repeats of 4 x 4 px, a period, is
    compared: wrong colours and stripes of the pattern count, noise does not. The root mean square over phases, channels
    and patches.

    >>> red = np.full((32, 32, 3), (0.5, 0.005, 0.005), np.float32)
    >>> striped = red * np.where(np.arange(32) % 4 < 2, 0.99, 1.01)[:, None, None]
    >>> round(patch_error(striped, red, 16) * 3**0.5, 4)  # one of three channels is off
    0.01
    """
    if (
        image.shape != truth.shape
        or image.ndim != 3
        or not 0 <= 2 * border_px <= patch_px - PERIOD_PX
        or min(image.shape[:2]) < patch_px
    ):
        raise ValueError(f"no patches of {patch_px} px with borders of {border_px} px in {image.shape}, {truth.shape}")
    repeats = (patch_px - 2 * border_px) // PERIOD_PX
    side, cells = repeats * PERIOD_PX, (repeats, PERIOD_PX, repeats, PERIOD_PX, 3)
    squares = []
    for there in _fields(image.shape, patch_px, border_px, side):
        off = (image[there] - truth[there]).reshape(cells).mean((0, 2))
        squares.append(np.mean((off / truth[there].max()) ** 2))
    return float(np.sqrt(np.mean(squares)))


def aliasing(image: np.ndarray, truth: np.ndarray, border_px: int = 0) -> float:
    """Return the energy of false colour and moire, over that of the truth's own detail; 0 is none.

    False colour: the errors of R - G and B - G, of any fineness. Moire: the error of the mean of R, G and B that is
    left under a Gaussian of 2 px, that is, coarse where the truth is fine. Detail lost to blur counts little here; the
    PSNRs see it. Both images are divided by the truth's mean colour first, so the chart should be neutral, and balanced
    colours are what is compared. Detail: variance of the mean of R, G and B. Raises ValueError for a flat truth.

    >>> y, x = np.mgrid[:64, :64]
    >>> bars = np.repeat(1 + (x % 2)[..., None], 3, axis=2).astype(np.float32)
    >>> aliasing(bars, bars), round(aliasing(np.full_like(bars, 1.5), bars), 3)  # perfect; blurred to grey
    (0.0, 0.0)
    >>> round(aliasing(bars + np.float32((0.15, 0, 0)), bars), 2)  # red by 0.1, all brighter by 0.1 / 3: over 1 / 9
    0.1
    """
    inner, wanted = _inner(image, truth, border_px)
    light = wanted.mean((0, 1), dtype=np.float64)
    a, b = (i / np.where(light > 0, light, np.nan) for i in (inner, wanted))
    detail = float(b.mean(2).var())
    if not detail > 0:
        raise ValueError("the truth is flat or without light in a channel: there is nothing to alias")
    error = a - b
    colour = np.mean((error[..., 0] - error[..., 1]) ** 2) + np.mean((error[..., 2] - error[..., 1]) ** 2)
    moire = np.mean(_gaussian(error.mean(2), MOIRE_PX, int(3 * MOIRE_PX)) ** 2)
    return float((colour + moire) / detail)


def stripe_error(image: np.ndarray, truth: np.ndarray, patch_px: int, border_px: int = 0) -> float:
    """Return how wrong the colours of fine patterns are, in fields of `patch_px` a side, as a share of their contrast.

    Compared are R - G and B - G, of balanced colours; `border_px` at each field's edge is left out. The root mean
    square error of a field, over how far the truth's colours lie from their mean there; and the mean over all fields: 1
    where each has one colour, the mean. Raises ValueError where the truth of a field has but one.

    >>> stripes = np.where(np.arange(16)[:, None] % 8 < 4, (1.0, 0.5, 1.0), (0.5, 1.0, 0.5))[:, None].repeat(16, 1)
    >>> float(stripe_error(stripes, stripes, 16)), float(stripe_error(np.full_like(stripes, 0.75), stripes, 16))
    (0.0, 1.0)
    """
    if image.shape != truth.shape or image.ndim != 3 or not 0 <= 2 * border_px < patch_px <= min(image.shape[:2]):
        raise ValueError(f"no fields of {patch_px} px with borders of {border_px} px in {image.shape}, {truth.shape}")
    a, b = (i[..., ::2].astype(np.float64) - i[..., 1:2] for i in (image, truth))
    errors = []
    for there in _fields(image.shape, patch_px, border_px, patch_px - 2 * border_px):
        contrast = np.mean(b[there].var((0, 1)))
        if not contrast > 0:
            raise ValueError(f"the field from row {there[0].start}, column {there[1].start} on has but one colour")
        errors.append(np.sqrt(np.mean((a[there] - b[there]) ** 2) / contrast))
    return float(np.mean(errors))


def _fields(shape: Sequence[int], patch_px: int, border_px: int, side_px: int) -> Iterator[tuple[slice, slice]]:
    """Yield where the patches of an image are, row by row, without their borders: `side_px` of each that follow."""
    for top in range(border_px, shape[0] - patch_px + border_px + 1, patch_px):
        for left in range(border_px, shape[1] - patch_px + border_px + 1, patch_px):
            yield slice(top, top + side_px), slice(left, left + side_px)


def _inner(image: np.ndarray, truth: np.ndarray, border_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both without their borders; raise ValueError where they are no images of one size or nothing is left."""
    height, width = image.shape[:2]
    if (
        image.shape != truth.shape
        or image.ndim != 3
        or image.shape[2] != 3
        or not 0 <= 2 * border_px < min(height, width)
    ):
        raise ValueError(
            f"compared are (H, W, 3) images of one size, above twice the border of {border_px} px, not "
            f"{image.shape}, {truth.shape}"
        )
    inside = slice(border_px, height - border_px), slice(border_px, width - border_px)
    return image[inside], truth[inside]


def _psnr(image: np.ndarray, truth: np.ndarray, peak: float) -> float:
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(np.mean((image - truth) ** 2, dtype=np.float64) / peak**2))


def _displayed(image: np.ndarray, truth: np.ndarray, border_px: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = (pu21(PEAK_NITS * (np.clip(i, 0, 1) @ PU21_LUMINANCE)) for i in _inner(image, truth, border_px))
    return a, b


def _gaussian(plane: np.ndarray, sigma: float, reach: int) -> np.ndarray:
    """Return a plane under a Gaussian of sum 1, `reach` px smaller on each side."""
    taps = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    taps /= taps.sum()
    for axis in (0, 1):
        n = plane.shape[axis] - 2 * reach
        plane = np.sum([tap * plane.take(range(i, i + n), axis) for i, tap in enumerate(taps)], axis=0)
    return plane
