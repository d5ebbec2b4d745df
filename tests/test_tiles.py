"""Tiles: every core once, and the image of any tile size the image of one tile."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.mosaic import ExposurePattern, Mosaic
from sve2hdr.network import BLOCKS, FOURS, NetworkConfig, SveNet
from sve2hdr.radiance import NoiseModel
from sve2hdr.reconstruct import NetworkOptions, reconstruct
from sve2hdr.tiles import Sides, core_size, cores, run_tiled

torch.set_num_threads(1)
TINY = NetworkConfig(widths=(8, 8, 8))
TINY_BLOCKS = NetworkConfig(BLOCKS.cfa, BLOCKS.exposure_rank, (8, 8), BLOCKS.strides, BLOCKS.blocks)
TINY_FOURS = replace(FOURS, widths=(8, 8, 8))
NOISE = NoiseModel(np.full((1, 1), 0.5, np.float32), np.full((1, 1), 3, np.float32))
PATTERNS = {
    TINY: ExposurePattern(np.array([[1], [1 / 8], [1 / 8], [1]], np.float32)),
    TINY_FOURS: ExposurePattern(np.float32([[1]] * 2 + [[1 / 8]] * 4 + [[1]] * 2)),
    TINY_BLOCKS: ExposurePattern(np.kron(np.array([[1 / 8, 1 / 4], [1 / 2, 1]]), np.ones((2, 2))).astype(np.float32)),
}


@given(
    st.integers(1, 200),
    st.integers(1, 90),
    st.integers(0, 9),
    st.integers(1, 16),
    st.one_of(st.none(), st.integers(0, 40)),
)
def test_cores_cover_a_length_once_on_whole_periods_and_see_the_halo_or_the_surroundings(
    length: int, core_px: int, halo_periods: int, alignment: int, surroundings_px: int | None
) -> None:
    halo = halo_periods * alignment
    found = list(cores(length, core_px, halo, alignment, surroundings_px))
    end = found[-1][1]
    assert found[0][0] == 0
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))
    assert length <= end < length + alignment
    assert all(start % alignment == 0 == stop % alignment for start, stop, _ in found)
    assert all(0 < stop - start < core_px + alignment for start, stop, _ in found)
    beyond = halo if surroundings_px is None else min(halo, math.ceil(surroundings_px / alignment) * alignment)
    assert all(start - before == max(start - halo, -beyond) for start, _, (before, _) in found)
    assert all(stop + behind == min(stop + halo, end + beyond) for _, stop, (_, behind) in found)


@given(
    st.tuples(st.integers(1, 6000), st.integers(1, 6000)),
    st.integers(1, 1500),
    st.tuples(st.integers(0, 90), st.integers(0, 90)),
    st.tuples(st.sampled_from([1, 4, 8]), st.sampled_from([1, 4, 8])),
    st.sampled_from([None, 0, 16]),
)
def test_tiles_are_no_larger_than_asked_and_no_more_work_than_square_ones(
    shape: tuple[int, int],
    core_px: int,
    halo: tuple[int, int],
    alignment: tuple[int, int],
    surroundings_px: int | None,
) -> None:
    def greatest_and_all(size: tuple[int, ...]) -> tuple[int, int]:
        axes = zip(shape, size, halo, alignment, strict=True)
        sides = [[stop - start + sum(seen) for start, stop, seen in cores(*axis, surroundings_px)] for axis in axes]
        return math.prod(map(max, sides)), math.prod(map(sum, sides))

    square = tuple(-(-core_px // step) * step for step in alignment)
    greatest, work = greatest_and_all(core_size(shape, core_px, halo, alignment, surroundings_px))
    assert greatest <= math.prod(side + 2 * around for side, around in zip(square, halo, strict=True))
    assert work <= greatest_and_all(square)[1]


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(1, 50), st.sampled_from([None, 0, 4]))
def test_every_pixel_is_kept_once_with_the_halo_around_it(
    shape: tuple[int, int], core_px: int, surroundings_px: int | None
) -> None:
    kept = np.zeros((44, 44), int)
    shares: list[float] = []
    sizes: list[int] = []

    def network(rows: np.ndarray, columns: np.ndarray, margin: Sides) -> np.ndarray:
        assert (np.diff(rows) == 1).all()
        sizes.append(rows.size * columns.size)
        assert rows[0] % 4 == 8 % 4
        (top, bottom), (left, right) = margin
        seen = rows[top : len(rows) - bottom], columns[left : len(columns) - right]
        return np.stack(np.meshgrid(*seen, indexing="ij"), axis=-1)

    def keep(rows: tuple[int, int], columns: tuple[int, int], core: np.ndarray) -> None:
        assert_array_equal(core[..., 0], np.arange(*rows)[:, None].repeat(core.shape[1], 1))
        assert_array_equal(core[..., 1], np.arange(*columns)[None].repeat(core.shape[0], 0))
        kept[slice(*rows), slice(*columns)] += 1

    run_tiled(network, keep, shape, core_px, (8, 4), (4, 2), shares.append, surroundings_px)
    assert (kept[: shape[0], : shape[1]] == 1).all()
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("config", [TINY, TINY_FOURS, TINY_BLOCKS], ids=["rows", "fours", "blocks"])
@pytest.mark.parametrize("shape", [(264, 240), (187, 251), (5, 1504), (4, 1530), (475, 83)])
def test_the_image_does_not_depend_on_the_tiles(config: NetworkConfig, shape: tuple[int, int]) -> None:
    torch.manual_seed(3)
    network = SveNet(config)
    shape = tuple(max(side, *config.cell) for side in shape)
    with torch.no_grad():
        network.head.weight.mul_(10)  # so that the image is far from the base, which sees little around it
    counts = np.random.default_rng(5).integers(0, 16_000, shape).astype(np.uint16)
    mosaic = Mosaic(counts, "GRBG", np.full((2, 2), 512, np.float32), 15_000.0, np.eye(3))
    whole = reconstruct(mosaic, PATTERNS[config], NOISE, network, NetworkOptions(tile_px=1000))
    assert np.isfinite(whole).all()
    for tile_px in (30, 60):
        shares: list[float] = []
        tiled = reconstruct(mosaic, PATTERNS[config], NOISE, network, NetworkOptions(tile_px), shares.append)
        assert len(shares) > 1
        assert_allclose(tiled, whole, rtol=0, atol=1e-5 * float(np.ptp(whole)))


def test_a_halo_too_small_would_be_seen() -> None:
    torch.manual_seed(3)
    network = SveNet(TINY)
    planes = torch.rand(1, 4, 96, 96) * torch.tensor([1, 1, 1, 1e-3]).reshape(4, 1, 1)

    def run(core_px: int, halo: tuple[int, int]) -> np.ndarray:
        out = np.zeros((96, 96, 3), np.float32)

        def tile(rows: np.ndarray, columns: np.ndarray, margin: Sides) -> np.ndarray:
            part = planes[..., rows % 96, :][..., columns % 96]
            with torch.inference_mode():
                return np.asarray(network(part, margin)[0].permute(1, 2, 0))

        def keep(rows: tuple[int, int], columns: tuple[int, int], core: np.ndarray) -> None:
            out[slice(*rows), slice(*columns)] = core

        run_tiled(tile, keep, (96, 96), core_px, halo, network.alignment)
        return out

    whole = run(96, network.halo)
    assert_allclose(run(32, network.halo), whole, rtol=0, atol=1e-5 * float(np.ptp(whole)))
    assert np.abs(run(32, (8, 8)) - whole).max() > 1e-4 * np.ptp(whole)


@pytest.mark.parametrize("tile_px", [0, -5])
def test_a_tile_without_pixels_is_refused(tile_px: int) -> None:
    with pytest.raises(ValueError, match="at least 1 pixel"):
        run_tiled(lambda *_: np.zeros((1, 1, 3)), lambda *_: None, (8, 8), tile_px, (8, 8), (8, 8))
