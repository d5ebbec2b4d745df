"""measure_pair on planes of known step and shift."""

from __future__ import annotations

import numpy as np
import pytest

from sve2hdr.simulation.registration import measure_pair

RNG_SEED = 4


def texture(shape: tuple[int, int] = (200, 240)) -> np.ndarray:
    """Return a picture over five stops, detail down to some three pixels, 0 to 0.8."""
    rng = np.random.default_rng(RNG_SEED)
    f2 = np.fft.fftfreq(shape[0])[:, None] ** 2 + np.fft.rfftfreq(shape[1])[None, :] ** 2
    spectrum = np.fft.rfft2(rng.normal(size=shape)) * np.exp(-f2 / (2 * 0.12**2)) / (0.02 + np.sqrt(f2))
    waves = np.fft.irfft2(spectrum, s=shape)
    plane: np.ndarray = (0.8 * np.exp2(waves / np.abs(waves).max() * 2.5 - 2.5)).astype(np.float32)
    return plane


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (-3, 2), (12, -20)])
@pytest.mark.parametrize("step_ev", [0.0, 1.0, 3.5])
def test_step_and_shift_are_found_and_turn_round(step_ev: float, shift: tuple[int, int]) -> None:
    first = texture()
    second = np.roll(first, shift, axis=(0, 1)) * np.float32(2**-step_ev)
    forth = measure_pair(first, second)
    assert forth is not None
    assert forth.shift_px is not None
    np.testing.assert_allclose(forth.shift_px, (2 * shift[0], 2 * shift[1]), atol=0.1)  # a cell is two sites
    if shift == (0, 0):
        assert forth.step_ev == pytest.approx(step_ev, abs=1e-4)
        assert (forth.turned, forth.changed_share) == (False, 0.0)
    if step_ev == 0:
        back = measure_pair(second, first)
        assert back is not None
        assert back.shift_px is not None
        np.testing.assert_allclose(back.shift_px, np.negative(forth.shift_px), atol=0.1)


def test_saturation_in_one_frame_moves_nothing() -> None:
    second = texture()
    first = np.where(second * 4 >= 0.85, 1, second * 4).astype(np.float32)
    found = measure_pair(first, second)
    assert found is not None
    assert found.shift_px is not None
    assert found.step_ev == pytest.approx(2, abs=1e-3)
    np.testing.assert_allclose(found.shift_px, 0, atol=0.02)


def test_a_turned_camera_is_seen() -> None:
    large = texture((1300, 1300))
    turned = np.vstack([np.roll(large[:650], 6, axis=1), np.roll(large[650:], -6, axis=1)])
    found = measure_pair(large, turned)
    assert found is not None
    assert found.turned


def test_darkness_and_flatness_are_admitted() -> None:
    assert measure_pair(np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32)) is None
    flat = measure_pair(np.full((64, 64), 0.5, np.float32), np.full((64, 64), 0.25, np.float32))
    assert flat is not None
    assert (flat.step_ev, flat.shift_px) == (1.0, None)
