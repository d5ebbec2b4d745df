"""What rows share goes, where it is there; edges, textures and clean frames stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sve2hdr.mosaic import ExposurePattern, MaskedSites, Mosaic
from sve2hdr.raw.margins import measure_margins
from sve2hdr.raw.maskedrows import RowOffsets, as_margins_show, masked_row_offsets, without_masked_banding
from sve2hdr.sensor.banding import _solution, remove_banding
from sve2hdr.sensor.noise import estimate_noise
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate

ROWS = ExposurePattern(np.float32([[1 / 8], [1 / 8], [1], [1]]))
SENSOR = Sensor("gain", black_level=2048, white_level=15_488, read_noise_e=8)
SHAPE = 256, 768


def frame_of(light: np.ndarray, banding: np.ndarray | None = None, pattern: ExposurePattern = ROWS) -> Mosaic:
    frame = simulate(np.float32(light[..., None] * NEUTRAL), "RGGB", pattern, SENSOR, seed=2)
    if banding is None:
        return frame
    counts = np.clip(np.rint(frame.counts + banding[:, None]), 0, 15_488)
    return replace(frame, counts=np.where(frame.counts < 15_488, counts, 15_488).astype(np.uint16))


def dim() -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return 0.002 * np.exp2(2 * np.sin(x / 90) + np.sin(y / 60))


def offsets(level: float) -> np.ndarray:
    """Return row offsets of so many times the read noise of each row."""
    read = np.resize(SENSOR.noise_model(ROWS).read_noise, SHAPE[0])
    return np.random.default_rng(4).normal(0, level, SHAPE[0]) * read


def removed(frame: Mosaic, rows: RowOffsets | None = None) -> tuple[np.ndarray, float]:
    read, noise, nothing = frame, estimate_noise(frame, ROWS), np.zeros((8, 4))
    if rows is not None:
        read = without_masked_banding(replace(frame, masked=MaskedSites(nothing, nothing, nothing)), rows)
    result, spread = remove_banding(read, ROWS, noise)
    return np.median(frame.counts.astype(float) - result.counts, axis=1), spread


def test_most_of_it_goes_where_half_of_the_frame_is_bright() -> None:
    banding = offsets(1)
    dark = np.arange(SHAPE[0]) < 128
    taken, _ = removed(frame_of(np.where(dark[:, None], dim(), 0.2), banding))
    assert (banding - taken)[dark][8:-8].std() < 0.6 * banding.std()


@pytest.mark.parametrize("bright", [0.004, 0.02])
def test_most_of_it_goes_beside_a_level_horizon_which_stays(bright: float) -> None:
    banding = offsets(0.5)
    taken, _ = removed(frame_of(np.where(np.arange(SHAPE[0]) < 101, bright, 0.0015)[:, None] * np.ones(SHAPE), banding))
    assert (banding - taken)[8:-8].std() < 0.7 * banding.std()
    assert np.abs(taken[97:105]).max() < np.abs(banding).max()


@pytest.mark.parametrize("level", [0.5, 1, 2])
def test_most_of_it_goes(level: float) -> None:
    banding = offsets(level)
    taken, spread = removed(frame_of(dim(), banding))
    inner = slice(8, -8)
    assert (banding - taken)[inner].std() < 0.6 * banding.std()
    assert spread == pytest.approx(banding.std(), rel=0.4)


def test_masked_columns_tell_more() -> None:
    banding = offsets(1)
    error = np.full(SHAPE[0], 0.4)
    shown = banding + np.random.default_rng(8).normal(0, 0.4, SHAPE[0])
    frame = frame_of(dim(), banding)
    taken, _ = removed(frame, RowOffsets(shown, error))
    alone, _ = removed(frame)
    assert (banding - taken).std() < min(0.6, (banding - alone).std())


def test_what_masked_columns_told_is_taken_off_once() -> None:
    masked = MaskedSites(*np.zeros((3, 8, 4)))
    frame = replace(frame_of(dim(), offsets(1)), masked=masked)
    read = without_masked_banding(frame, RowOffsets(offsets(1), np.ones(SHAPE[0])))
    read = replace(read, counts=frame.counts)  # as if much were left
    assert read.masked is not None
    assert remove_banding(read, ROWS, estimate_noise(read, ROWS)) == (read, read.masked.banding)


def test_masked_columns_do_where_the_scene_tells_nothing() -> None:
    banding = offsets(2)
    light = np.random.default_rng(1).uniform(0.01, 0.1, (SHAPE[0], 1)) * np.ones(SHAPE)
    taken, _ = removed(frame_of(light, banding), RowOffsets(banding, np.full(SHAPE[0], 0.4)))
    assert (banding - taken).std() < 0.6


def test_masked_columns_tell_the_banding_of_each_exposure_apart() -> None:
    bright = np.resize(ROWS.exposure == 1, SHAPE[0])
    banding = np.where(bright, offsets(2), 0)
    shown = banding + np.random.default_rng(8).normal(0, 1.5, SHAPE[0])
    taken, _ = removed(frame_of(dim(), banding), RowOffsets(shown, np.full(SHAPE[0], 1.5)))
    assert (banding - taken)[bright].std() < 2
    assert taken[~bright].std() < 0.5  # not what is noise of the masked columns there


def test_a_slow_drift_is_taken_off_however_little_a_row_shows_of_it() -> None:
    drift = np.linspace(-1, 1, SHAPE[0])
    error = np.full(SHAPE[0], 1.5)
    shown = drift + np.random.default_rng(8).normal(0, 1.5, SHAPE[0])
    mosaic = replace(frame_of(dim()), masked=MaskedSites(*np.zeros((3, 8, 4))))
    frame = replace(mosaic, counts=np.rint(mosaic.counts + drift[:, None]).astype(np.uint16))
    taken = frame.counts.astype(float).mean(axis=1)
    taken -= without_masked_banding(frame, RowOffsets(shown, error)).counts.mean(axis=1)
    left = (drift - taken).reshape(-1, 32).mean(axis=1)  # but whole counts
    assert np.abs(left).max() < 0.5


def test_what_is_saturated_stays_where_it_piles_up() -> None:
    frame = frame_of(np.where(np.arange(SHAPE[1]) < 200, 3.0, 0.01) * np.ones(SHAPE))
    counts = np.minimum(frame.counts, 15_283)  # lower than the file says
    rows = RowOffsets(10 * np.sin(np.arange(SHAPE[0])), np.ones(SHAPE[0]))
    frame = replace(frame, counts=counts, masked=MaskedSites(*np.zeros((3, 8, 4))))
    taken = counts.astype(int) - without_masked_banding(frame, rows).counts
    assert not taken[:, :200].any()
    assert np.abs(taken[:, 200:]).max() >= 9


def sensor_with(
    banding: np.ndarray, left: int, right: int
) -> tuple[np.ndarray, tuple[int, int, int, int], MaskedSites]:
    """Return all sites of a sensor with masked columns, its visible area, and what is known of the masked sites."""
    rng, (height, width) = np.random.default_rng(3), SHAPE
    black = np.array([[2040.0], [2040], [2060], [2060], [2041], [2039], [2060], [2058]])
    read = np.array([[4.0], [4], [12], [12]] * 2)
    shape = height + 6, left + width + right
    rows = (np.arange(shape[0]) - 6) % 8
    sites = black[rows] + read[rows] * rng.standard_normal(shape)
    sites[6:] += banding[:, None]
    sites += rng.normal(0, 1, shape[1])  # columns of their own level
    sites[:, 5] += 900  # a bad one
    sites[rng.random(shape) < 0.002] = 9000
    sites[6:, left : left + width] += rng.uniform(0, 9000, SHAPE)
    known = MaskedSites(np.tile(black, (1, 4)), np.ones((8, 4)), np.tile(read, (1, 4)))
    return np.rint(sites).astype(np.uint16), (6, left, height, width), known


@pytest.mark.parametrize(("left", "right"), [(122, 0), (0, 60), (24, 8)])
def test_masked_columns_show_the_offset_of_each_row(left: int, right: int) -> None:
    banding = offsets(1)
    found = masked_row_offsets(*sensor_with(banding, left, right))
    assert found is not None
    miss = (found.counts - banding) / found.error
    assert 0.6 < miss.std() < 1.5
    assert np.median(found.error) == pytest.approx(8 / np.sqrt(max(left, right) - 8), rel=0.6)


def test_offsets_are_those_from_the_mean_that_margins_take_for_black() -> None:
    decay = 20 * np.exp(-np.arange(SHAPE[0]) / 20)  # its median is 0
    sites, visible, known = sensor_with(decay, 122, 0)
    stated = np.full((1, 1), 2050.0)
    measured = measure_margins(sites, visible, stated, 15_488)
    found = masked_row_offsets(sites, visible, known)
    assert measured is not None
    assert found is not None
    rows = np.arange(SHAPE[0])
    left = known.black[rows % 8, 0] + decay - found.counts - measured.black.mean(axis=1)[rows % 8]
    assert np.abs(np.reshape(left, (-1, 8)).mean(axis=0)).max() < 1.2  # counts; 2.4 from a median


def test_dim_light_beside_the_frame_is_not_taken_for_banding() -> None:
    """As where the active area leaves out columns that are lit."""
    light = 0.004 * (1.3 - 0.8 * np.arange(SHAPE[0]) / SHAPE[0])[:, None] * np.ones(SHAPE)
    sensor = frame_of(light).counts
    frame = replace(frame_of(light), counts=sensor[:, 40:].copy())
    assert measure_margins(sensor, (0, 40, *frame.shape), frame.black_level, frame.white_level) is not None
    np.testing.assert_array_equal(as_margins_show(frame, sensor, 0, 40).counts, frame.counts)


def test_a_dead_row_moves_no_other() -> None:
    sites, visible, known = sensor_with(np.zeros(SHAPE[0]), 122, 0)
    sites[106] = 0
    found = masked_row_offsets(sites, visible, known)
    assert found is not None
    others = np.arange(SHAPE[0]) != 100
    assert found.counts[100] < -2000
    assert np.abs(found.counts / found.error)[others].max() < 6


def test_no_masked_columns_and_lit_ones_show_nothing() -> None:
    assert masked_row_offsets(*sensor_with(offsets(1), 20, 20)) is None
    sites, visible, known = sensor_with(offsets(1), 122, 0)
    sites[:, :122] += np.random.default_rng(1).integers(0, 900, (len(sites), 122)).astype(np.uint16)
    assert masked_row_offsets(sites, visible, known) is None


def scenes() -> dict[str, np.ndarray]:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    rng = np.random.default_rng(6)
    horizon = np.where(y < 101, 0.004, 0.0015)
    blinds = 0.002 * (1 + 0.4 * np.sign(np.sin(y / 7)))
    return {
        "smooth": dim(),
        "a level horizon": horizon,
        "blinds": blinds,
        "texture": 0.002 * np.exp(0.5 * rng.standard_normal(SHAPE)),
        "bright": np.full(SHAPE, 0.4) * (1 + 0.3 * np.sin(y / 3)),
        "saturated": np.full(SHAPE, 3.0),
        "dark": np.zeros(SHAPE),
        "slanting edges": 0.003 * (1 + np.sign(np.sin((y + 0.1 * x) / 9)) * 0.6),
    }


def level_textures() -> dict[str, np.ndarray]:
    """Return scenes, (H, W, 3) as the camera sees them, in which all rows differ from those around them."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    lines, falling = np.modf(y / 7)[0] < 0.3, 0.05 * np.exp2(-3 * x / SHAPE[1])
    red, blue = np.array([0.7, 0.4, 0.3]), np.array([0.3, 0.4, 0.7])
    rng = np.random.default_rng(6)
    rough = rng.uniform(0.5, 1, (SHAPE[0], 1))
    soft = np.convolve(rng.normal(size=SHAPE[0] + 8), np.ones(9) / 3, "valid")[:, None]
    return {
        "stripes in even light": (0.005 * (1 - 0.5 * lines))[..., None] * NEUTRAL,
        "stripes in falling light": (falling * (1 - 0.5 * lines))[..., None] * NEUTRAL,
        "slightly tilted": (falling * (1 + 0.3 * np.sin((y + 0.002 * x) * 2 * np.pi / 5)))[..., None] * NEUTRAL,
        "faint stripes": (0.02 * (1 - 0.05 * lines))[..., None] * NEUTRAL,
        "rows of any brightness": (falling * rough)[..., None] * NEUTRAL,
        "stripes of colour": 0.05 * np.where(lines[..., None], red, blue) * NEUTRAL,
        "rows that are much like their neighbours": 0.005 * (1 + 0.01 * soft[..., None]) * np.ones((*SHAPE, 3)),
        "without colour for the camera": np.repeat((0.05 * (1 - 0.5 * lines))[..., None], 3, axis=2),
    }


@pytest.mark.parametrize("pattern", [ROWS, ExposurePattern(np.ones((1, 1), np.float32))], ids=["rows", "plain"])
@pytest.mark.parametrize("name", level_textures())
def test_level_texture_is_left_as_it_is(name: str, pattern: ExposurePattern) -> None:
    frame = simulate(np.float32(level_textures()[name]), "RGGB", pattern, SENSOR, seed=2)
    result, spread = remove_banding(frame, pattern, estimate_noise(frame, pattern))
    assert spread == 0
    assert result is frame


@pytest.mark.parametrize("name", scenes())
def test_a_frame_without_banding_is_left_as_it_is(name: str) -> None:
    frame = frame_of(scenes()[name])
    result, spread = remove_banding(frame, ROWS, estimate_noise(frame, ROWS))
    assert spread == 0
    np.testing.assert_array_equal(result.counts, frame.counts)


def test_saturated_sites_stay_saturated() -> None:
    light = dim()
    light[:, 300:400] = 5
    frame = frame_of(light, offsets(2))
    result, spread = remove_banding(frame, ROWS, estimate_noise(frame, ROWS))
    assert spread > 0
    np.testing.assert_array_equal(result.counts[:, 310:390], frame.counts[:, 310:390])


@pytest.mark.parametrize(
    "exposure", [[[1]], [[1, 1, 0.125, 0.125]], [[1, 1, 0.5, 0.5]] * 2 + [[0.25] * 2 + [0.125] * 2] * 2]
)
def test_other_patterns(exposure: list[list[float]]) -> None:
    pattern = ExposurePattern(np.float32(exposure))
    banding = offsets(2)
    frame = frame_of(dim(), banding, pattern)
    result, spread = remove_banding(frame, pattern, estimate_noise(frame, pattern))
    taken = np.median(frame.counts.astype(float) - result.counts, axis=1)
    assert spread > 0
    assert (banding - taken)[8:-8].std() < 0.7 * banding.std()


def test_frames_too_small_to_tell_are_left() -> None:
    for shape in ((1, 1), (4, 2), (9, 900), (900, 9), (7, 7)):
        frame = replace(frame_of(dim()), counts=np.full(shape, 3000, np.uint16))
        noise = estimate_noise(frame_of(dim()), ROWS)
        assert remove_banding(frame, ROWS, noise)[1] == 0


@pytest.mark.parametrize("size", [1, 2, 3, 40])
def test_equations_with_five_diagonals_are_solved(size: int) -> None:
    rng = np.random.default_rng(size)
    bands, right = rng.uniform(-1, 1, (3, size)), rng.normal(size=size)
    bands[0] += 5
    bands[1, -1:], bands[2, -2:] = 0, 0
    system = sum((np.diag(bands[k, : size - k], k) for k in range(min(3, size))), start=np.zeros((size, size)))
    system += np.triu(system, 1).T
    np.testing.assert_allclose(_solution(bands, right), np.linalg.solve(system, right), rtol=1e-9)
