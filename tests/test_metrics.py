"""Metrics: values known by hand and from independent formulas, and what they must not mind."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sve2hdr.evaluation.metrics import (
    MU,
    aliasing,
    angular_error,
    chroma_error,
    mu_law,
    patch_error,
    psnr_linear,
    psnr_log,
    psnr_mu,
    pu21,
    pu21_psnr,
    pu21_ssim,
    ssim,
    stripe_error,
)

PSNRS = (psnr_mu, psnr_linear, psnr_log, pu21_psnr)
Metric = Callable[[np.ndarray, np.ndarray, int], float]


def random_image(seed: int = 0, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.05, 0.9, (side, side, 3)).astype(np.float32)


def test_mu_law_by_hand() -> None:
    assert_allclose(mu_law(np.array([0.0, 1.0])), [0, 1])
    assert_allclose(mu_law(np.array([1 / MU])), np.log(2) / np.log(5001))
    assert_allclose(mu_law(np.array([-3.0, 7.0])), [0, 1])


@pytest.mark.parametrize(("difference", "wanted"), [(0.1, 20.0), (0.01, 40.0), (1.0, 0.0)])
def test_a_difference_in_the_mu_domain_has_its_psnr(difference: float, wanted: float) -> None:
    truth = np.zeros((8, 8, 3))
    image = np.full((8, 8, 3), np.expm1(difference * np.log1p(MU)) / MU)
    assert psnr_mu(image, truth) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("metric", PSNRS)
def test_equal_images_are_infinitely_near_without_a_warning(metric: Metric) -> None:
    image = random_image()
    assert metric(image, image, 0) == float("inf")
    assert metric(image + 1, image + 2, 0) == float("inf")  # above 1 nothing is compared


@pytest.mark.parametrize("metric", [*PSNRS, pu21_ssim])
def test_it_is_symmetric_and_falls_with_the_error(metric: Metric) -> None:
    truth, error = random_image(), np.random.default_rng(1).normal(0, 0.01, (32, 32, 3))
    assert metric(truth + error, truth, 0) == pytest.approx(metric(truth, truth + error, 0), abs=1e-12)
    scores = [metric(truth + k * error, truth, 0) for k in (0.5, 1, 2, 4)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


@pytest.mark.parametrize(
    ("metric", "perfect"),
    [*((metric, np.inf) for metric in PSNRS), (pu21_ssim, 1), (angular_error, 0), (chroma_error, 0), (aliasing, 0)],
)
def test_the_border_is_left_out(metric: Metric, perfect: float) -> None:
    truth = np.repeat(random_image(side=40)[..., :1], 3, axis=2)
    if metric is chroma_error:
        truth = np.full_like(truth, 0.5)
    image = truth.copy()
    image[:4] = image[-4:] = image[:, :4] = image[:, -4:] = [0.9, 0.1, 0]
    assert metric(image, truth, 0) != pytest.approx(perfect)
    assert metric(image, truth, 4) == pytest.approx(perfect, abs=1e-6)


def test_log_psnr_is_one_for_one_factor_at_any_brightness() -> None:
    wanted = 20 * np.log10(4 / np.log10(1.1))
    for light in (0.001, 0.02, 0.5):
        truth = np.full((4, 4, 3), light)
        assert psnr_log(truth * 1.1, truth) == pytest.approx(wanted)


# PU21 -----------------------------------------------------------------------------------------------------------------


def test_pu21_rises_and_is_limited() -> None:
    values = pu21(np.geomspace(0.005, 10_000, 2000))
    assert (np.diff(values) > 0).all()
    assert pu21(np.array([100.0]))[0] == pytest.approx(256, abs=0.5)  # what it is made for
    assert_allclose(pu21(np.array([0.0, -1.0, 1e9])), pu21(np.array([0.005, 0.005, 1e4])))


def test_pu21_metrics_look_at_luminance_shown_at_the_peak() -> None:
    truth = random_image()
    luminance = truth @ np.array([0.212656, 0.715158, 0.072186])
    grey = np.repeat(luminance[..., None], 3, axis=2)
    assert pu21_psnr(grey, truth) > 100  # a change of colour alone
    darker = truth * np.float32(0.9)
    error = pu21(4000 * luminance) - pu21(3600 * luminance)
    assert pu21_psnr(darker, truth) == pytest.approx(20 * np.log10(256 / np.sqrt(np.mean(error**2))), abs=1e-4)
    assert pu21_ssim(truth, truth) == 1
    assert pu21_ssim(darker, truth) < 1


# SSIM -----------------------------------------------------------------------------------------------------------------


def test_ssim_of_one_window_is_its_formula() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((11, 11)), rng.random((11, 11))
    y, x = np.mgrid[-5:6, -5:6]
    weight = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    weight /= weight.sum()
    ma, mb = (weight * a).sum(), (weight * b).sum()
    va, vb = (weight * (a - ma) ** 2).sum(), (weight * (b - mb) ** 2).sum()
    cov = (weight * (a - ma) * (b - mb)).sum()
    c1, c2 = 1e-4, 9e-4
    wanted = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    assert ssim(a, b, 1.0) == pytest.approx(wanted)


def test_ssim_knows_an_image_its_negative_and_its_scale() -> None:
    plane = np.random.default_rng(3).random((30, 25))
    assert ssim(plane, plane, 1.0) == pytest.approx(1)
    assert ssim(1 - plane, plane, 1.0) < 0
    assert ssim(50 * plane, 50 * plane[::-1], 50.0) == pytest.approx(ssim(plane, plane[::-1], 1.0))


@pytest.mark.parametrize("shape", [(10, 30), (30, 10), (12, 12)])
def test_ssim_refuses_what_it_cannot_compare(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="11 px"):
        ssim(np.zeros(shape), np.zeros((30, 30) if shape == (12, 12) else shape), 1.0)


# Colour and aliasing --------------------------------------------------------------------------------------------------


def test_the_angle_heeds_colour_alone() -> None:
    truth = random_image()
    scale = np.random.default_rng(4).uniform(0.1, 10, (32, 32, 1))
    assert angular_error(truth * scale, truth) == pytest.approx(0, abs=1e-3)
    red, green = (np.broadcast_to(np.float64(c), (4, 4, 3)) for c in ((1, 0, 0), (0, 2, 0)))
    assert angular_error(red, green) == pytest.approx(90)
    assert angular_error(red, -red) == pytest.approx(180)
    half_black = red.copy()
    half_black[:2] = 0
    assert angular_error(half_black, green) == pytest.approx(90)  # black has no colour
    assert angular_error(np.zeros((4, 4, 3)), green) == 0


def test_the_angle_is_the_arc_cosine() -> None:
    a, b = random_image(1), random_image(2)
    cosine = (a * b).sum(2) / np.linalg.norm(a, axis=2) / np.linalg.norm(b, axis=2)
    assert angular_error(a, b) == pytest.approx(np.degrees(np.arccos(cosine)).mean(), rel=1e-4)


def test_chroma_is_relative_to_the_light_and_blind_to_its_brightness_and_speckle() -> None:
    tint = np.float32([0.5, 1, 0.6])
    truth = np.broadcast_to(tint, (64, 64, 3))
    rng = np.random.default_rng(5)
    assert chroma_error(truth * rng.uniform(0.5, 2, (64, 64, 1)), truth) == pytest.approx(0, abs=1e-6)
    speckle = truth * (1 + rng.normal(0, 0.1, (64, 64, 3)))
    # one over 4 of it is left by 4 x 4 cells, and 2 of 3 dimensions are colour
    assert chroma_error(speckle, truth) == pytest.approx(0.025 * np.sqrt(2 / 3), rel=0.1)
    assert chroma_error(speckle * 7, truth) == pytest.approx(chroma_error(speckle, truth))
    with pytest.raises(ValueError, match="no whole cell"):
        chroma_error(truth, truth, border_px=31)
    for image, wanted in ((truth, np.zeros_like(truth)), (np.zeros_like(truth), truth)):
        with pytest.raises(ValueError, match="light"):
            chroma_error(image, wanted)


def test_aliasing_is_false_colour_and_moire_but_not_blur() -> None:
    y, x = np.mgrid[:96, :96]
    fine, coarse = (np.repeat(1 + 0.5 * np.cos(k * x + 0 * y)[..., None], 3, axis=2) for k in (2.8, 0.2))
    assert aliasing(np.ones_like(fine), fine) < 0.01  # all detail lost
    assert aliasing(coarse, fine) > 0.5  # all of it come back as coarse waves
    false = fine.copy()
    false[..., 0] = 1
    assert aliasing(false, fine) > 0.9
    assert aliasing(false[..., ::-1], fine) == pytest.approx(aliasing(false, fine))
    tint = np.array([0.3, 1, 0.6])  # of the light, no matter for either
    assert aliasing(false * tint, fine * tint) == pytest.approx(aliasing(false, fine))
    assert aliasing(4 * false, 4 * fine) == pytest.approx(aliasing(false, fine))
    with pytest.raises(ValueError, match="flat"):
        aliasing(fine, np.ones_like(fine))


def test_patches_count_for_their_colour_and_stripes_and_not_for_noise_or_edges() -> None:
    rng = np.random.default_rng(5)
    truth = np.float32([[[0.5, 0.01, 0.01], [0.02, 0.2, 0.02]]]).repeat(64, axis=0).repeat(64, axis=1)
    assert patch_error(truth, truth, 64, 12) == 0
    assert patch_error(truth + rng.normal(0, 0.002, truth.shape), truth, 64, 12) < 0.003
    assert patch_error(truth * np.float32(1.02), truth, 64, 12) == pytest.approx(0.02 / np.sqrt(3), rel=0.01)
    edges = truth.copy()
    edges[:, 52:76] = 9
    assert patch_error(edges, truth, 64, 12) == 0
    with pytest.raises(ValueError, match="no patches of 64 px"):
        patch_error(truth, truth, 64, 31)


def test_stripes_are_compared_by_colour_alone_and_relative_to_their_contrast() -> None:
    rng = np.random.default_rng(0)
    truth = 0.3 + rng.uniform(0, 0.2, (32, 32, 3))
    brighter = truth + rng.uniform(0, 1, (32, 32, 1))
    assert stripe_error(brighter, truth, 16) == pytest.approx(0, abs=1e-6)
    blurred = truth.mean((0, 1)) + 0.25 * (truth - truth.mean((0, 1)))
    assert stripe_error(blurred, truth, 32) == pytest.approx(0.75)
    assert stripe_error(blurred * 3, truth * 3, 32) == pytest.approx(0.75)
    spoiled = truth.copy()
    spoiled[:3], spoiled[16:19] = 9, 9  # at the edges of two of four fields
    assert stripe_error(spoiled, truth, 16, 3) == 0 < stripe_error(spoiled, truth, 16, 2)
    for image, wanted, patch in ((truth, truth[:16], 16), (truth, truth, 33), (truth, np.ones_like(truth), 16)):
        with pytest.raises(ValueError, match=r"no fields|one colour"):
            stripe_error(image, wanted, patch)


@pytest.mark.parametrize("metric", [*PSNRS, pu21_ssim, angular_error, chroma_error, aliasing])
def test_what_is_not_of_one_size_is_not_compared(metric: Metric) -> None:
    truth = np.random.default_rng(0).random((32, 32, 3))
    for image, border in ((truth[:1], 0), (truth[..., :1], 0), (truth, 16), (truth, -1)):
        with pytest.raises(ValueError, match="images of one size"):
            metric(image, truth, border)
