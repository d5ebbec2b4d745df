"""Black and noise of masked margins: right whatever a sensor does to them, and believed only where they are dark."""

from __future__ import annotations

import numpy as np
import pytest

from sve2hdr.mosaic import repeated
from sve2hdr.raw.margins import black_of_margins, measure_margins

WHITE, STATED = 16_000.0, np.full((1, 1), 1024, np.float32)


def sensor(black: np.ndarray, margin: tuple[int, int], noise: float = 4.0, seed: int = 1) -> np.ndarray:
    """Return a sensor of 404 x 300 visible sites full of light, masked at the top and at the left."""
    rng, (top, left) = np.random.default_rng(seed), margin
    shape = 404 + top, 300 + left
    rolled = np.roll(black, (top, left), (0, 1))  # the period starts at the first visible site
    counts = repeated(rolled, shape) + rng.normal(0, noise, shape) + rng.normal(0, 0.3 * noise, (shape[0], 1))
    counts[top:, left:] += rng.uniform(500, 9000, (404, 300))
    return np.clip(np.rint(counts), 0, WHITE).astype(np.uint16)


@pytest.mark.parametrize("left", [40, 57, 122])
@pytest.mark.parametrize("top", [0, 3, 80])
def test_black_of_every_row_and_colour_is_found_whatever_the_margins(top: int, left: int) -> None:
    black = 1024 + np.random.default_rng(top + left).uniform(-30, 30, (4, 2))
    found = measure_margins(sensor(black, (top, left)), (top, left, 404, 300), STATED, WHITE)
    assert found is not None
    np.testing.assert_allclose(found.black, repeated(black, (8, 4)), atol=0.9)
    assert (np.abs(found.black - repeated(black, (8, 4))) < 6 * found.error).all()
    smallest = black_of_margins(found, STATED, WHITE, 2)
    assert smallest.shape == (4, 2)
    np.testing.assert_allclose(smallest, black, atol=0.7)


@pytest.mark.parametrize("black", [1024.0, 1180.0])
def test_a_mean_far_from_the_file_s_is_not_believed(black: float) -> None:
    found = measure_margins(sensor(np.full((1, 1), black), (0, 60)), (0, 60, 404, 300), STATED, WHITE)
    assert found is not None
    assert found.level_believed == (black == 1024)
    np.testing.assert_allclose(found.black, 1024, atol=0.9)


def test_a_period_of_eight_rows_is_kept() -> None:
    black = np.repeat(1024 + np.array([0, 0, 0, 0, 9, 9, 9, 9.0])[:, None], 2, axis=1)
    found = measure_margins(sensor(black, (0, 60)), (0, 60, 404, 300), STATED, WHITE)
    assert found is not None
    np.testing.assert_allclose(black_of_margins(found, STATED, WHITE, 2), black, atol=0.7)


def test_bad_columns_hot_sites_and_drift_do_not_move_black() -> None:
    counts = sensor(np.full((1, 1), 1024.0), (0, 100))
    rng = np.random.default_rng(2)
    spoilt = counts + np.tile(np.rint(rng.normal(0, 1, 8)), 50)[None].astype(np.int64)[:, :400]
    spoilt[:, [20, 51]] += 700
    spoilt[rng.random(spoilt.shape) < 0.003] = 12_000
    found = measure_margins(spoilt.astype(np.uint16), (0, 100, 404, 300), STATED, WHITE)
    assert found is not None
    np.testing.assert_allclose(found.black, 1024, atol=1.6)  # the drift itself is of that size
    np.testing.assert_allclose(found.read_noise, 4.0, rtol=0.1)


def test_read_noise_is_that_of_each_row_without_what_rows_share() -> None:
    counts = sensor(np.full((1, 1), 1024.0), (0, 100), noise=3.0)
    rng = np.random.default_rng(3)
    bright = np.arange(404) % 4 >= 2
    counts[bright, :100] = np.rint(rng.normal(1024, 9.0, (int(bright.sum()), 100)))
    found = measure_margins(counts, (0, 100, 404, 300), STATED, WHITE)
    assert found is not None
    np.testing.assert_allclose(found.read_noise[[0, 1, 4, 5]], 3.0, rtol=0.1)
    np.testing.assert_allclose(found.read_noise[[2, 3, 6, 7]], 9.0, rtol=0.1)


def test_the_top_margin_serves_where_there_is_none_aside() -> None:
    black = 1024 + np.array([[0.0], [6.0], [-9.0], [3.0]])
    found = measure_margins(sensor(black, (80, 0), noise=2), (80, 0, 404, 300), STATED, WHITE)
    assert found is not None
    np.testing.assert_allclose(found.black, repeated(black, (8, 4)), atol=1.2)


@pytest.mark.parametrize("fill", [0, 64, 1024])
def test_what_rows_were_filled_up_with_is_no_margin(fill: int) -> None:
    """Some files store more of each row than the sensor has: one number, whose noise, 0, is not that of the sensor."""
    stated = np.full((1, 1), max(fill, 64), np.float32)
    counts = sensor(stated, (80, 40))
    filled = np.pad(counts, ((0, 0), (0, 48)), constant_values=fill)
    found = measure_margins(filled, (80, 40, 404, 300), stated, WHITE)
    assert found is not None
    np.testing.assert_allclose(found.read_noise, 4.0, rtol=0.25)
    assert measure_margins(filled[80:, 40:], (0, 0, 404, 300), stated, WHITE) is None


@pytest.mark.parametrize("light", ["all over", "leaking in", "noisy"])
def test_margins_that_saw_light_are_not_believed(light: str) -> None:
    counts = sensor(np.full((1, 1), 1024.0), (0, 60)).astype(np.float64)
    rng = np.random.default_rng(4)
    counts[:, :60] += {
        "all over": 500.0,
        "leaking in": np.linspace(0, 60, 60)[None],
        "noisy": rng.normal(0, 900, (404, 60)),
    }[light]
    found = measure_margins(np.clip(counts, 0, WHITE).astype(np.uint16), (0, 60, 404, 300), STATED, WHITE)
    assert found is None


def test_what_the_file_states_stays_where_margins_agree() -> None:
    found = measure_margins(sensor(np.full((1, 1), 1024.0), (0, 60)), (0, 60, 404, 300), STATED, WHITE)
    assert found is not None
    assert black_of_margins(found, STATED, WHITE, 2) is STATED


def test_no_margin_is_no_answer() -> None:
    assert measure_margins(sensor(np.full((1, 1), 1024.0), (0, 8)), (0, 8, 404, 300), STATED, WHITE) is None
