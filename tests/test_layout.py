"""Any phase, CFA order, direction and size to the canonical layout: site by site, and back."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sve2hdr.errors import PatternNotFound
from sve2hdr.layout import Placement, placements, source_index
from sve2hdr.mosaic import BAYER_ORDERS, QUAD_BAYER, ExposurePattern, Mosaic, cfa_period, repeated
from sve2hdr.network import BLOCKS, QUAD, ROWS, NetworkConfig

OF_FOUR_GROUPS = [  # two to four exposures, in any order
    np.float32([[a, b], [c, d]]) / 8
    for a, b, c, d in ((1, 2, 4, 8), (1, 2, 8, 4), (8, 1, 4, 2), (1, 4, 4, 8), (1, 8, 8, 1), (1, 1, 8, 1), (1, 1, 8, 8))
]
SIZES = [(16, 16), (17, 12), (8, 15), (21, 9), (6, 7), (5, 4), (4, 5)]


def frame(shape: tuple[int, int], cfa: str) -> Mosaic:
    counts = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)  # every site its own number
    return Mosaic(counts, cfa, np.zeros((1, 1), np.float32), 65535.0, np.eye(3))


def row_pairs(phase: int, columns: bool) -> ExposurePattern:
    exposure = np.roll(np.array([[1 / 8], [1 / 8], [1], [1]], np.float32), phase, axis=0)
    return ExposurePattern(exposure.T.copy() if columns else exposure)


def assert_lies_in_layout(mosaic: Mosaic, pattern: ExposurePattern, config: NetworkConfig) -> None:
    for placement in placements(mosaic, pattern, config):
        assert_brings_into_layout(placement, mosaic, pattern, config)


def assert_brings_into_layout(
    placement: Placement, mosaic: Mosaic, pattern: ExposurePattern, config: NetworkConfig
) -> None:
    height, width = placement.turned(mosaic.counts).shape
    rows, columns = np.arange(-9, placement.top + height + 9), np.arange(-9, placement.left + width + 9)
    y, x = placement.sites(rows, columns, mosaic.shape, config.cell)
    letters, levels = repeated(cfa_period(mosaic.cfa), mosaic.shape), np.unique(pattern.exposure)
    rank = np.searchsorted(levels, pattern.over(mosaic.shape))
    wanted = rows[:, None] % config.cell[0], columns[None, :] % config.cell[1]
    assert_array_equal(letters[y, x], np.array([list(row) for row in config.cfa])[wanted])
    wanted_rank = np.array(config.exposure_rank)[wanted]
    if config.any_exposures:
        assert all(np.unique(rank[y, x][wanted_rank == group]).size == 1 for group in range(4))
    else:
        assert_array_equal(rank[y, x], wanted_rank)
    inside = np.s_[9 + placement.top : -9, 9 + placement.left : -9]
    assert_array_equal(mosaic.counts[y, x][inside], placement.turned(mosaic.counts))
    assert 0 <= placement.top < config.cell[0]
    assert 0 <= placement.left < config.cell[1]


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("phase", range(4))
def test_row_and_column_pairs_of_every_kind_and_size(cfa: str, columns: bool, phase: int) -> None:
    for shape in SIZES:
        assert_lies_in_layout(frame(shape, cfa), row_pairs(phase, columns), ROWS)


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("phase", list(product(range(4), range(4))))
def test_blocks_of_every_kind_and_size(cfa: str, phase: tuple[int, int]) -> None:
    for exposures in OF_FOUR_GROUPS:
        pattern = ExposurePattern(np.roll(np.kron(exposures, np.ones((2, 2), np.float32)), phase, (0, 1)))
        for shape in SIZES:
            assert_lies_in_layout(frame(shape, cfa), pattern, BLOCKS)


@pytest.mark.parametrize("phase", list(product(range(4), range(4))))
def test_quad_bayer_of_every_kind_and_size(phase: tuple[int, int]) -> None:
    cfa = "".join(np.roll(cfa_period(QUAD_BAYER), phase, (0, 1)).ravel())
    for exposures in OF_FOUR_GROUPS:
        for shape in SIZES:
            assert_lies_in_layout(frame(shape, cfa), ExposurePattern(exposures), QUAD)


def test_every_turn_that_fits_is_found() -> None:
    of_four = ExposurePattern(np.kron(OF_FOUR_GROUPS[0], np.ones((2, 2), np.float32)))
    assert len(placements(frame((18, 16), "GRBG"), row_pairs(1, False), ROWS)) == 2  # as it is, and mirrored
    assert len(placements(frame((18, 16), "RGGB"), of_four, BLOCKS)) == 2  # as it is, and transposed
    assert len(placements(frame((18, 16), QUAD_BAYER), ExposurePattern(OF_FOUR_GROUPS[0]), QUAD)) == 8


def test_the_canonical_frame_stays_as_it_is() -> None:
    placement = placements(frame((16, 16), "RGGB"), row_pairs(0, False), ROWS)[0]
    assert (placement.transpose, placement.flip_rows, placement.flip_columns) == (False, False, False)
    assert (placement.top, placement.left) == (0, 0)


@pytest.mark.parametrize(
    "exposure",
    [
        [[1]],
        [[1 / 8], [1]],
        [[1 / 8], [1 / 8], [1], [1 / 2]],
        [[1 / 8], [1 / 8], [1 / 2], [1]],
        [[1 / 8], [1], [1]],
        [[1 / 8, 1], [1, 1 / 8]],
    ],
)
def test_a_pattern_the_network_does_not_know_is_refused(exposure: list[list[float]]) -> None:
    with pytest.raises(PatternNotFound, match="not a layout that this network knows") as refusal:
        placements(frame((16, 16), "RGGB"), ExposurePattern(np.array(exposure, np.float32)), ROWS)
    assert "\n" not in str(refusal.value)


def test_a_quad_bayer_mosaic_is_refused_by_a_network_for_bayer() -> None:
    with pytest.raises(PatternNotFound, match=QUAD_BAYER):
        placements(frame((16, 16), QUAD_BAYER), row_pairs(0, False), ROWS)


@pytest.mark.parametrize("shape", [(3, 16), (16, 3), (1, 1)])
def test_a_frame_smaller_than_a_cell_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(PatternNotFound, match="larger frame"):
        placements(frame(shape, "RGGB"), row_pairs(0, False), ROWS)


def test_a_pattern_given_with_a_longer_period_is_the_same() -> None:
    twice = ExposurePattern(np.tile(row_pairs(1, False).exposure, (2, 2)))
    usual = placements(frame((16, 16), "RGGB"), row_pairs(1, False), ROWS)
    assert placements(frame((16, 16), "RGGB"), twice, ROWS) == usual


@given(st.sampled_from([1, 2, 4]), st.integers(0, 40), st.integers(0, 3))
def test_source_index_keeps_the_phase_and_stays_inside(period: int, more: int, first: int) -> None:
    length = period + more
    canonical = np.arange(-100, 140)
    index = source_index(canonical, first, length, period)
    assert index.min() >= 0
    assert index.max() < length
    assert_array_equal((canonical - first - index) % period, 0)
    assert_array_equal(index[100 + first : 100 + first + length], np.arange(length))


def test_beyond_its_ends_a_frame_goes_on_as_near_the_end_as_its_phase_allows() -> None:
    index = source_index(np.arange(-12, 0), 0, 64, 4)
    assert index.max() <= 14
    assert (np.diff(index[::4]) < 0).all()  # mirrored: farther out is farther in


def test_source_index_refuses_a_length_below_the_period() -> None:
    with pytest.raises(ValueError, match="does not hold"):
        source_index(np.arange(4), 0, 3, 4)


def test_turned_is_a_view() -> None:
    mosaic = frame((8, 12), "GBRG")
    placement = placements(mosaic, row_pairs(1, True), ROWS)[0]
    assert np.shares_memory(placement.turned(mosaic.counts), mosaic.counts)
    assert replace(placement, transpose=False).turned(mosaic.counts).shape == (8, 12)
