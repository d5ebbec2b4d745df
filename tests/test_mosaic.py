"""Raw frames and patterns as values: what they repeat, how they read, what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sve2hdr.mosaic import BAYER_ORDERS, QUAD_BAYERS, ExposurePattern, Mosaic, cfa_period, repeated
from sve2hdr.patterntext import parse_pattern

FRAME = Mosaic(np.full((4, 6), 500, np.uint16), "RGGB", np.full((2, 2), 64, np.float32), 1000.0, np.eye(3))


@given(st.tuples(st.integers(1, 5), st.integers(1, 5)), st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_repeated_is_the_period_everywhere(period: tuple[int, int], shape: tuple[int, int]) -> None:
    values = np.arange(period[0] * period[1], dtype=np.int16).reshape(period)
    whole = repeated(values, shape)
    assert whole.shape == shape
    assert whole.dtype == np.int16
    for y, x in np.ndindex(shape):
        assert whole[y, x] == values[y % period[0], x % period[1]]


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_bayer_orders_are_one_red_two_green_one_blue(cfa: str) -> None:
    letters = cfa_period(cfa)
    assert sorted(letters.ravel()) == ["B", "G", "G", "R"]
    assert "".join(letters.ravel()) == cfa


def test_quad_bayers_are_blocks_of_a_bayer_order_at_every_phase() -> None:
    blocks = {"".join(cfa_period(order).repeat(2, 0).repeat(2, 1).ravel()) for order in BAYER_ORDERS}
    assert len(set(QUAD_BAYERS)) == 16
    assert blocks < set(QUAD_BAYERS)
    assert {"".join(np.roll(cfa_period(cfa), 1, axis).ravel()) for cfa in QUAD_BAYERS for axis in (0, 1)} == set(
        QUAD_BAYERS
    )


@pytest.mark.parametrize("cfa", ["", "RGB", "RGGG", "RGBG", "rggb", "RGGBRGGB", "RGGX", "RGBRGBRGB"])
def test_other_colour_layouts_are_refused(cfa: str) -> None:
    with pytest.raises(ValueError, match="no CFA"):
        cfa_period(cfa)


@pytest.mark.parametrize(
    "wrong",
    [
        {"counts": np.zeros((4, 4), np.int32)},
        {"counts": np.zeros((4, 4, 1), np.uint16)},
        {"counts": np.zeros((0, 4), np.uint16)},
        {"cfa": "RGGG"},
        {"black_level": np.zeros(4, np.float32)},
        {"black_level": np.full((2, 2), 1000, np.float32)},
        {"black_level": np.full((2, 2), np.nan, np.float32)},
        {"white_level": 64.0},
        {"white_level": float("nan")},
        {"white_level": float("inf")},
        {"black_level": np.float32([[-np.inf]])},
        {"camera_from_xyz": np.eye(4)},
        {"camera_from_xyz": np.zeros((3, 3))},
        {"as_shot_neutral": np.ones(2)},
        {"as_shot_neutral": np.array([1.0, 0.0, 1.0])},
        {"as_shot_neutral": np.array([1.0, np.nan, 1.0])},
        {"as_shot_neutral": np.array([np.inf, 1.0, 1.0])},
        {"camera_from_xyz": np.diag([np.inf, 1.0, 1.0])},
    ],
)
def test_a_mosaic_that_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        replace(FRAME, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"counts": [[1, 2], [3, 4]]}, {"black_level": 64.0}, {"as_shot_neutral": [0.5, 1.0, 0.6]}]
)
def test_what_is_no_array_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(wrong))} must be a numpy array, not "):
        replace(FRAME, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "exposure",
    [
        np.zeros((2, 2), np.float32),
        np.array([[0.5], [0.25]], np.float32),
        np.array([[1.5], [1]], np.float32),
        np.array([[np.nan], [1]], np.float32),
        np.array([[-1], [1]], np.float32),
        np.array([1.0, 0.5], np.float32),
        np.array([[0.5], [1.0]]),
        np.zeros((0, 2), np.float32),
    ],
)
def test_exposures_are_relative_to_the_most_exposed(exposure: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expos"):
        ExposurePattern(exposure)


@given(
    st.lists(st.floats(1 / 64, 0.99), min_size=0, max_size=3),
    st.sampled_from([(-1, 1), (1, -1), (2, -1)]),
)
def test_a_pattern_reads_as_the_command_line_takes_it(others: list[float], shape: tuple[int, int]) -> None:
    exposure = np.array([1.0, *others, *[1.0] * (len(others) + 1)], np.float32).reshape(shape)
    pattern = ExposurePattern(exposure)
    again = parse_pattern(str(pattern))
    np.testing.assert_allclose(again.over((8, 8)), pattern.over((8, 8)), rtol=1e-5)


def test_ratio() -> None:
    pattern = ExposurePattern(np.array([[0.125, 1]], np.float32))
    assert pattern.ratio == 8
    assert pattern.ratio_ev == 3
    assert_array_equal(pattern.over((1, 3)), np.array([[0.125, 1, 0.125]], np.float32))
