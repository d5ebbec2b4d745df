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


@settings(max_examples=300)
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
    assert_array_equal(recover_clipped(dark / 16, gains, CLIP / 16, around_ev), recovered / 16)  # of any scale
    if max(pixel) < 0.88 * CLIP:
        assert_array_equal(recovered, dark)


def lamp(colour: tuple[float, ...], gains: np.ndarray, peak: float, shape: tuple[int, int] = (230, 233)) -> np.ndarray:
    """Return white-balanced planes of a lamp in a haze of its colour, brightest in the middle."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    away = np.hypot(y - shape[0] / 2, x - shape[1] / 2)
    light = peak * np.exp(-away / 30) * np.array(colour, np.float32)[:, None, None]
    return np.asarray(np.minimum(light, CLIP * gains[:, None, None]), np.float32)


def around(balanced: np.ndarray, gains: np.ndarray) -> Surroundings:
    return Surroundings(np.moveaxis(balanced / gains[:, None, None], 0, 2), gains, CLIP)


def recovered(balanced: np.ndarray, gains: np.ndarray) -> np.ndarray:
    return recover_clipped(balanced, gains, CLIP, around(balanced, gains).part(balanced, 0, 0))


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
    assert_array_equal(around(np.zeros((3, 3, 5), np.float32), gains).part(black_around[:, :3, :5], 0, 0), 0)


def test_what_is_near_counts_more_than_what_is_far() -> None:
    green, teal = (np.array(colour, np.float32)[:, None, None] for colour in ([4, 7, 4], [6.5, 7, 6.5]))
    scene = np.where(np.arange(512) < 256, green, teal) * np.ones((3, 64, 512), np.float32)
    scene[1, :, 192:320] = CLIP
    scene[::2, :, 192:320] = 7
    tint = around(scene, DAYLIGHT).part(scene, 0, 0)[32]
    assert_allclose(tint[[100, 400]], np.log2([7 / 4, 7 / 6.5]), atol=0.02)
    assert tint[200] > 0.9 * np.log2(7 / 4)
    assert tint[311] < 0.3 * np.log2(7 / 4)
    assert (np.diff(tint[192:320]) <= 1e-6).all()


@pytest.mark.parametrize("coat", [(2.4, 7, 4.2), (6, 7, 2), (2, 7, 7), (6.9, 6, 3)])
def test_snow_by_a_coloured_coat_stays_white(coat: tuple[float, ...]) -> None:
    """The coat is bright, and the only thing that lost no channel."""
    scene = np.full((3, 128, 128), 10.0, np.float32) + np.array([0, 0, 0.1], np.float32)[:, None, None]
    scene[:, 50:90, 50:80] = np.array(coat, np.float32)[:, None, None]
    scene[1] = np.minimum(scene[1], CLIP)
    snow = recovered(scene, DAYLIGHT)[1, 30:45]
    assert np.abs(np.log2(snow / 10)).max() < 0.12


@pytest.mark.parametrize("red", [0.95, 1.0])  # of its clip level
def test_white_whose_red_clips_too_is_not_taken_for_leaves(red: float) -> None:
    """In warm light red clips soon after green, and nothing tells any more how red it was."""
    gains = np.array([1 / 0.75, 1, 1 / 0.42], np.float32)
    scene = np.full((3, 128, 128), red * CLIP * gains[0], np.float32)
    scene[:, 40:90, 40:90] = 6.5 * np.array([0.45, 1, 0.1], np.float32)[:, None, None]
    scene[1] = np.minimum(scene[1], CLIP)
    green = recovered(scene, gains)[1, 26:36]
    assert np.abs(np.log2(green / (red * CLIP * gains[0]))).max() < 0.35


def test_pink_edges_of_what_clips_do_not_count() -> None:
    """Beside a lost window green is low by its own clipping: a white wall further away tells more."""
    gains = DAYLIGHT
    scene = np.full((3, 96, 96), 6.0, np.float32)
    scene[:, 36:64, 32:64] = np.array([12, CLIP, 12], np.float32)[:, None, None]
    scene[:, 33:36, 32:64] = np.array([10, 6.9, 10], np.float32)[:, None, None]  # as a network guesses there
    green = recovered(scene, gains)[1, 36:62, 34:62]
    assert green.min() > 12 * 0.97


def test_a_sky_behind_leaves_is_no_greener_for_their_edges() -> None:
    """The edges, which mix sky and leaf, are all that is bright and has lost nothing."""
    y, x = np.mgrid[:160, :163]
    leaf = np.clip(2 * (np.sin(x / 5.3 + 0.6 * np.sin(y / 11)) + np.sin(y / 6.1)) - 0.7, 0, 1)
    sky, green = (np.array(colour)[:, None, None] for colour in ([8.8, 9.75, 10.8], [2, 4, 0.4]))
    scene = ((1 - leaf) * sky + leaf * green).astype(np.float32)
    scene[1] = np.minimum(scene[1], CLIP)
    off = np.log2(recovered(scene, DAYLIGHT)[1][leaf == 0] / 9.75)
    assert np.abs(off).max() < 0.07


@pytest.mark.parametrize("spread_ev", [0.15, 0.3])
def test_grass_whose_tint_varies_by_chance_is_no_less_green(spread_ev: float) -> None:
    """Of two tints that differ by chance, the dim one is the greener of every other cell: it does not count there."""
    rng = np.random.default_rng(0)
    light, tint = (np.kron(rng.standard_normal((54, 54)), np.ones((3, 3)))[:160, :160] for _ in range(2))
    green = 8 * np.exp2(0.5 * light)
    others = green * np.exp2(-0.5 - spread_ev * tint)
    scene = np.stack([0.9 * others, green, 0.7 * others]).astype(np.float32)
    scene[1] = np.minimum(scene[1], CLIP)
    lost = (green > 8.2) & (scene[0] < 6.9 * DAYLIGHT[0]) & (scene[2] < 6.9 * DAYLIGHT[2])
    off = np.log2(recovered(scene, DAYLIGHT)[1] / np.minimum(green, CLIP * DAYLIGHT.max()))[lost]
    assert lost.sum() > 10_000
    assert abs(off.mean()) < 0.02


def test_parts_are_those_of_the_whole() -> None:
    balanced = lamp((0.3, 1, 0.6), DAYLIGHT, 25.0, (77, 45))
    measured = around(balanced, DAYLIGHT)
    whole = measured.part(balanced, 0, 0)
    strips = [measured.part(balanced[:, top : top + 10], top, 0) for top in range(0, 77, 10)]
    assert_array_equal(np.concatenate(strips), whole)
    assert_array_equal(measured.part(balanced[:, 5:20, 13:31], 5, 13), whole[5:20, 13:31])
    assert np.ptp(whole) > 0


def test_a_shift_of_the_frame_changes_little() -> None:
    """In a pan or a clip, cells fall elsewhere in the scene, and its lamps shall not flicker."""
    scene = lamp((0.3, 1, 0.6), DAYLIGHT, 25.0)
    moved = np.ascontiguousarray(scene[:, CELL_PX // 2 :, CELL_PX // 2 :])
    there = recovered(scene, DAYLIGHT)[1, CELL_PX // 2 :, CELL_PX // 2 :]
    assert np.abs(np.log2(recovered(moved, DAYLIGHT)[1] / there)).max() < 0.08
