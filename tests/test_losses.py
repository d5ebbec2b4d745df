"""The losses: none for the truth, each with its own terms, and finite gradients."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from sve2hdr.network import compress
from sve2hdr.training.losses import l1_loss, radiance_loss, rms_loss


def test_the_loss_is_none_for_the_truth_and_has_its_two_terms() -> None:
    truth = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert float(l1_loss(compress(truth), truth, 0.1)) < 1e-5
    assert float(rms_loss(compress(truth), truth)) == pytest.approx(1e-3, rel=1e-3)  # its floor
    away = compress(truth) + 0.02
    assert float(l1_loss(away, truth, 0)) == pytest.approx(0.02, rel=1e-4)
    assert float(rms_loss(away, truth)) == pytest.approx(0.02, rel=1e-2)
    red, green = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    red[:, 0] = green[:, 1] = 1
    assert float(l1_loss(compress(red), green, 1) - l1_loss(compress(red), green, 0)) == pytest.approx(1, abs=1e-3)


def test_the_papers_loss_is_on_radiance_and_a_lamp_outweighs_a_room() -> None:
    truth = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert float(radiance_loss(truth, truth, 0.1)) < 1e-5
    assert float(radiance_loss(truth + 0.02, truth, 0)) == pytest.approx(0.02, rel=1e-4)
    turned = truth[:, [1, 2, 0]]
    wanted = 1 - torch.nn.functional.cosine_similarity(turned, truth, dim=1).mean()
    found = radiance_loss(turned, truth, 1) - radiance_loss(turned, truth, 0)
    assert_close(found, wanted, rtol=2e-3, atol=1e-4)
    room, lamp = torch.full((1, 3, 4, 4), 0.01), torch.full((1, 3, 4, 4), 1.0)
    ours, theirs = (
        [float(loss(predict(light * 1.1), light, 0)) for light in (room, lamp)]
        for loss, predict in ((l1_loss, compress), (radiance_loss, lambda light: light))
    )
    assert theirs[1] > 50 * theirs[0]
    assert ours[1] < 2 * ours[0]


def test_black_has_no_gradient_that_is_no_number() -> None:
    for value in (0.0, -1e-4, 1e-8):
        predicted = torch.full((1, 3, 4, 4), value, requires_grad=True)
        radiance_loss(predicted, torch.zeros(1, 3, 4, 4), 0.1).backward()  # type: ignore[no-untyped-call]
        assert predicted.grad is not None
        assert predicted.grad.isfinite().all()


def test_the_best_guess_of_what_is_not_known_is_its_mean_by_rms_and_its_median_by_l1() -> None:
    truth = torch.zeros(1, 3, 4, 4)
    truth[..., :1] = 1  # a quarter of the pixels, and nothing tells which
    guesses = torch.linspace(0, 1, 101)
    losses = torch.tensor(
        [[float(rms_loss(truth * 0 + g, truth)), float(l1_loss(truth * 0 + g, truth, 0))] for g in guesses]
    )
    assert guesses[losses.argmin(0)].tolist() == pytest.approx([0.25, 0.0])


def test_a_dark_patch_counts_for_rms_as_a_light_one() -> None:
    easy, hard = torch.full((1, 3, 4, 4), 0.01), torch.full((1, 3, 4, 4), 0.5)
    predicted = torch.cat([compress(easy) + 0.01, compress(hard) + 0.1])
    assert float(rms_loss(predicted, torch.cat([easy, hard]))) == pytest.approx(0.055, rel=1e-2)
