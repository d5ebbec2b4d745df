"""Highlights that lost a channel: no false colour, and the colour of what is around them, where there is any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.clipping import CELL_PX, Surroundings, recover_clipped

DAYLIGHT, TUNGSTEN, RED_HEAVY = 1 / np.array([[0.5, 1, 0.66], [0.72, 1, 0.38], [1.2, 1, 0.4]], np.float32)
CLIP = 8.0


@pytest.mark.parametrize("tint", [(1.1, 1.0, 0.9), (0.75, 1.0, 1.35), (1.5, 1.0, 0.5)])  # cloud, blue sky, lamp
@pytest.mark.parametrize("gains", [DAYLIGHT, TUNGSTEN])
def test_coloured_ramps_never_turn_magenta_or_cyan(tint: tuple[float, ...], gains: np.ndarray) -> None:
    level = np.linspace(1, 60, 3000)[:, None]
    camera = np.minimum(level * np.array(tint) / gains, CLIP).astype(np.float32).T
    red, green, blue = recover_clipped(camera * gains[:, None], gains, CLIP)
    assert (green >= np.minimum(red, blue) * (1 - 1e-6)).all()  # magenta: green below both
    # Cyan: red below both, by more than in the scene; their mean may lie a little above a sky's green.
    assert (red / np.minimum(green, blue) >= min(1, tint[0] / min(tint[1:])) * 0.94).all()


channel = st.floats(-0.5, 9.5, width=32)


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(channel, channel, channel), st.integers(0, 2), st.floats(0, 2), st.sampled_from([DAYLIGHT, RED_HEAVY]),
    st.floats(-2, 2),
)  # fmt: skip
def test_recovery_only_raises_and_grows(
    pixel: tuple[float, ...], which: int, step: float, gains: np.ndarray, around_ev: float
) -> None:
    dark = (np.array(pixel, np.float32) * gains)[:, None]
    bright = dark.copy()
    bright[which] += np.float32(step)
    recovered = recover_clipped(dark, gains, CLIP, around_ev)
    assert (recovered >= dark - 1e-5).all()
    assert (recover_clipped(bright, gains, CLIP, around_ev) >= recovered - 1e-4).all()
    if max(pixel) < 0.88 * CLIP:
        assert_array_equal(recovered, dark)


def lamp(colour: tuple[float, ...], gains: np.ndarray, peak: float, shape: tuple[int, int] = (230, 233)) -> np.ndarray:
    """Return white-balanced planes of a lamp in a haze of its colour, brightest in the middle."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    away = np.hypot(y - shape[0] / 2, x - shape[1] / 2)
    light = peak * np.exp(-away / 30) * np.array(colour, np.float32)[:, None, None]
    return np.asarray(np.minimum(light, CLIP * gains[:, None, None]), np.float32)


def recovered(balanced: np.ndarray, gains: np.ndarray) -> np.ndarray:
    around = Surroundings(np.moveaxis(balanced / gains[:, None, None], 0, 2), gains, CLIP)
    return recover_clipped(balanced, gains, CLIP, around.rows(0, *balanced.shape[1:]))


@pytest.mark.parametrize("colour", [(0.2, 1.0, 0.5), (0.9, 1.0, 0.2), (0.9, 0.75, 0.8)])
def test_a_blown_light_keeps_the_colour_of_its_rim(colour: tuple[float, ...]) -> None:
    gains, peak = DAYLIGHT, 25.0
    truth = lamp(colour, gains * 1e9, peak)
    balanced = lamp(colour, gains, peak)
    lost = (truth[1] > 1.05 * CLIP) & (truth[0] < 0.85 * CLIP * gains[0]) & (truth[2] < 0.85 * CLIP * gains[2])
    wanted = np.minimum(truth[1], CLIP * gains.max())[lost]
    off = np.abs(np.log2(recovered(balanced, gains)[1][lost] / wanted))
    alone = np.abs(np.log2(recover_clipped(balanced, gains, CLIP)[1][lost] / wanted))
    assert lost.sum() > 100
    assert off.mean() < 0.1
    assert off.mean() < 0.5 * alone.mean()


def test_nothing_is_assumed_where_nothing_tells_of_a_colour() -> None:
    gains = DAYLIGHT
    black_around = np.zeros((3, 96, 96), np.float32)
    black_around[:, 40:56, 40:56] = np.array([9, 8, 7], np.float32)[:, None, None]  # green clips, no rim
    assert_array_equal(recovered(black_around, gains), recover_clipped(black_around, gains, CLIP))
    around = Surroundings(np.zeros((3, 5, 3), np.float32), gains, CLIP)
    assert_array_equal(around.rows(0, 3, 5), 0)


def test_what_is_near_counts_more_than_what_is_far() -> None:
    gains = DAYLIGHT
    camera = np.zeros((64, 512, 3), np.float32)
    camera[:, :256] = np.array([3, 7, 5], np.float32) / gains  # green
    camera[:, 256:] = np.array([9, 7, 9], np.float32) / gains  # magenta
    camera[:, 192:320] = CLIP
    tint = Surroundings(camera, gains, CLIP).rows(0, 64, 512)[32]
    green, magenta = np.log2(7 / np.sqrt(15.0)), np.log2(7 / 9)
    assert_allclose(tint[[100, 400]], [green, magenta], atol=0.05)
    assert tint[200] > 0.6 * green
    assert tint[311] < 0.6 * magenta
    assert (np.diff(tint[192:320]) <= 1e-6).all()


def test_strips_of_rows_are_those_of_the_whole() -> None:
    balanced = lamp((0.3, 1, 0.6), DAYLIGHT, 25.0, (77, 45))
    around = Surroundings(np.moveaxis(balanced / DAYLIGHT[:, None, None], 0, 2), DAYLIGHT, CLIP)
    whole = around.rows(0, 77, 45)
    strips = [around.rows(top, min(77, top + 10), 45) for top in range(0, 77, 10)]
    assert_array_equal(np.concatenate(strips), whole)
    assert np.ptp(whole) > 0
    assert np.abs(np.diff(whole, axis=0)).max() <= 1.01 * np.ptp(whole) / CELL_PX  # smooth: no edges of cells
