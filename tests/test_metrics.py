"""PSNR-mu: known values, and what it must not mind."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sve2hdr.metrics import MU, mu_law, psnr_mu


def test_mu_law_by_hand() -> None:
    assert_allclose(mu_law(np.array([0.0, 1.0])), [0, 1])
    assert_allclose(mu_law(np.array([1 / MU])), np.log(2) / np.log(5001))
    assert_allclose(mu_law(np.array([-3.0, 7.0])), [0, 1])


@pytest.mark.parametrize(("difference", "wanted"), [(0.1, 20.0), (0.01, 40.0), (1.0, 0.0)])
def test_a_difference_in_the_mu_domain_has_its_psnr(difference: float, wanted: float) -> None:
    truth = np.zeros((8, 8, 3))
    image = np.full((8, 8, 3), np.expm1(difference * np.log1p(MU)) / MU)
    assert psnr_mu(image, truth) == pytest.approx(wanted, abs=1e-6)


def test_equal_images_are_infinitely_near_without_a_warning() -> None:
    image = np.random.default_rng(0).random((9, 9, 3)).astype(np.float32)
    assert psnr_mu(image, image) == float("inf")
    assert psnr_mu(image + 1, image + 2) == float("inf")  # above 1 nothing is compared


def test_it_is_symmetric_and_falls_with_the_error() -> None:
    rng = np.random.default_rng(1)
    truth, error = rng.random((32, 32, 3)), rng.normal(0, 0.01, (32, 32, 3))
    assert psnr_mu(truth + error, truth) == psnr_mu(truth, truth + error)
    scores = [psnr_mu(truth + k * error, truth) for k in (0.5, 1, 2, 4)]
    assert scores == sorted(scores, reverse=True)


def test_the_border_is_left_out() -> None:
    truth = np.full((20, 20, 3), 0.5)
    image = truth.copy()
    image[:4] = image[-4:] = image[:, :4] = image[:, -4:] = 0
    assert psnr_mu(image, truth) < 20
    assert psnr_mu(image, truth, border_px=4) == float("inf")
