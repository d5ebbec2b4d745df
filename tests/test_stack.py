"""Stacks, written as DNGs from a synthetic scene with the noise of a sensor, and what is made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sve2hdr.errors import UnusableStack
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.mosaic import BAYER_ORDERS, Capture, ExposurePattern, Mosaic, cfa_period, repeated
from sve2hdr.simulation.merge import merge_frames
from sve2hdr.simulation.simulated import SimulatedFile, from_stack
from sve2hdr.simulation.stack import (
    ExposureStack,
    SvePair,
    frames_of_pattern,
    half_size_scene,
    read_stack,
    sample_sve,
    sve_pair,
)

ROWS = ExposurePattern(np.float32([[1 / 8], [1 / 8], [1], [1]]))
BLACK, WHITE, FULL_WELL_E, READ_E = 500.0, 15_500.0, 20_000.0, 4.0
GAIN = (WHITE - BLACK) / FULL_WELL_E
SHAPE = (260, 300)
CAMERA = Capture(make="Maker", model="Camera 1", exposure_time_s=1.0, iso=100.0, f_number=8.0)


def scene(seed: int = 0, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Return camera RGB over about ten stops, smooth shading with texture; 1.0 saturates the most exposed frame."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    texture = np.zeros(shape)
    for _ in range(40):
        fy, fx, phase = *rng.uniform(-0.6, 0.6, 2), rng.uniform(0, 6.28)
        texture += np.cos(fy * y + fx * x + phase) / 40**0.5
    stops = -7 + 10 * (x / shape[1] * 0.6 + y / shape[0] * 0.4) + 0.7 * texture
    hue = np.stack([0.5 + 0.1 * np.sin(y / 40), np.ones(shape), 0.6 + 0.1 * np.cos(x / 50)], axis=-1)
    return np.exp2(stops)[..., None] * hue


def taken(
    rgb: np.ndarray, ev: float, seed: int, cfa: str = "RGGB", stated_ev: float | None = None, **changed: Any
) -> Mosaic:
    """Return the frame a sensor takes of a scene at a relative exposure; its tags state `stated_ev`."""
    rng = np.random.default_rng(seed)
    colour = repeated(np.array([["RGB".index(letter) for letter in row] for row in cfa_period(cfa)]), rgb.shape[:2])
    light = np.take_along_axis(rgb, colour[..., None], axis=2)[..., 0] * 2**ev
    electrons = rng.poisson(np.minimum(light, 50) * FULL_WELL_E) + rng.normal(0, READ_E, light.shape)
    counts = np.clip(np.rint(BLACK + GAIN * electrons), 0, WHITE).astype(np.uint16)
    capture = replace(CAMERA, exposure_time_s=2.0 ** (ev if stated_ev is None else stated_ev))
    fields = {"capture": capture, **changed}
    return replace(
        Mosaic(counts, cfa, np.full((2, 2), BLACK, np.float32), WHITE, np.eye(3), np.array([0.5, 1, 0.6])), **fields
    )


def written(folder: Path, frames: Sequence[Mosaic]) -> list[Path]:
    paths = [folder / f"frame{i}.dng" for i in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        write_cfa_dng(path, frame, overwrite=True)
    return paths


def stack_of(frames: Sequence[Mosaic], ev: Sequence[float]) -> ExposureStack:
    return ExposureStack(tuple(Path(f"{i}.dng") for i in range(len(frames))), tuple(frames), tuple(ev))


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return scene()


@pytest.fixture(scope="module")
def four(rgb: np.ndarray) -> ExposureStack:
    ev = (0.0, -1.0, -2.0, -3.0)
    return stack_of([taken(rgb, e, seed=i) for i, e in enumerate(ev)], ev)


# Exposures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_exposures_are_measured_whatever_the_tags_say_and_the_order(tmp_path: Path, rgb: np.ndarray, cfa: str) -> None:
    true = [-2.03, 0.0, -3.1, -0.95]
    frames = [taken(rgb, ev, i, cfa, stated_ev=round(ev) + 0.1 * (i % 2)) for i, ev in enumerate(true)]
    stack = read_stack(written(tmp_path, frames))
    assert [path.name for path in stack.paths] == ["frame1.dng", "frame3.dng", "frame0.dng", "frame2.dng"]
    np.testing.assert_allclose(stack.exposure_ev, sorted(true, reverse=True), atol=0.02)
    assert stack.notes == ()


def test_exposures_fall_also_where_frames_of_one_are_told_apart_late(tmp_path: Path, rgb: np.ndarray) -> None:
    stack = read_stack(written(tmp_path, [taken(rgb, ev, seed) for ev, seed in ((0, 0), (-2, 10), (-2, 30))]))
    assert [path.name for path in stack.paths] == ["frame0.dng", "frame2.dng", "frame1.dng"]  # the mean says otherwise
    assert list(stack.exposure_ev) == sorted(stack.exposure_ev, reverse=True)


@pytest.mark.parametrize("step", [1.0, 3.0, 5.0])
def test_any_step_is_measured(tmp_path: Path, rgb: np.ndarray, step: float) -> None:
    stack = read_stack(written(tmp_path, [taken(rgb, 0, 0), taken(rgb, -step, 1)]))
    np.testing.assert_allclose(stack.exposure_ev, [0, -step], atol=0.02)


def test_iso_and_aperture_count_in_the_tags(tmp_path: Path, rgb: np.ndarray) -> None:
    slow = taken(rgb, 0, 0, capture=replace(CAMERA, exposure_time_s=1 / 60, iso=400.0, f_number=4.0))
    fast = taken(rgb, -3, 1, capture=replace(CAMERA, exposure_time_s=1 / 60, iso=200.0, f_number=8.0))
    stack = read_stack(written(tmp_path, [slow, fast]))
    np.testing.assert_allclose(stack.exposure_ev, [0, -3], atol=0.02)
    assert "apertures differ" in stack.notes[0]


@pytest.mark.parametrize("lacking", [["exposure_time_s"], ["exposure_time_s", "iso", "f_number"]])
def test_exposures_that_no_tags_tell_are_measured_with_a_note(
    tmp_path: Path, rgb: np.ndarray, lacking: list[str]
) -> None:
    untold = replace(CAMERA, **dict.fromkeys(lacking))
    stack = read_stack(written(tmp_path, [taken(rgb, ev, 1, capture=untold) for ev in (-2, 0, -1)]))
    np.testing.assert_allclose(stack.exposure_ev, [0, -1, -2], atol=0.02)
    finding = "no exposure in its tags and those of 2 more; measured on the pixels alone"
    assert stack.notes == (f"{tmp_path / 'frame1.dng'}: {finding}",)


@pytest.mark.parametrize("lacking", ["exposure_time_s", "iso", "f_number"])
def test_frames_whose_tags_tell_their_exposure_are_checked_though_others_do_not(
    tmp_path: Path, rgb: np.ndarray, lacking: str
) -> None:
    frames = [taken(rgb, ev, i) for i, ev in enumerate((0, -1, -2, -3))]
    frames[1] = replace(frames[1], capture=replace(frames[1].capture, **{lacking: None}))
    stack = read_stack(written(tmp_path, frames))
    np.testing.assert_allclose(stack.exposure_ev, [0, -1, -2, -3], atol=0.02)
    assert stack.notes == (f"{tmp_path / 'frame1.dng'}: no exposure in its tags; measured on the pixels alone",)
    wrong = replace(frames[3].capture, exposure_time_s=2.0**-3.5)
    with pytest.raises(UnusableStack, match=r"frame3\.dng: EXIF and pixels disagree by 0\.5 EV"):
        read_stack(written(tmp_path, [*frames[:3], replace(frames[3], capture=wrong)]))


def test_given_exposures_stand_in_for_missing_tags(tmp_path: Path, rgb: np.ndarray) -> None:
    frames = [taken(rgb, ev, 1, capture=replace(CAMERA, exposure_time_s=None)) for ev in (-2, 0)]
    paths = written(tmp_path, frames)
    stack = read_stack(paths, [5, 7.1])
    np.testing.assert_allclose(stack.exposure_ev, [0, -2], atol=0.02)
    assert stack.notes == ()
    with pytest.raises(UnusableStack, match="--ev has 1 values for 2 files"):
        read_stack(paths, [0])
    with pytest.raises(UnusableStack, match="--ev and pixels disagree"):
        read_stack(paths, [0, 3])


def test_a_frame_with_another_exposure_than_its_tags_is_named(tmp_path: Path, rgb: np.ndarray) -> None:
    frames = [taken(rgb, ev, i, stated_ev=ev + (0.5 if i == 2 else 0)) for i, ev in enumerate((0, -1, -2, -3))]
    with pytest.raises(UnusableStack, match=r"frame2\.dng: EXIF and pixels disagree by 0\.5 EV"):
        read_stack(written(tmp_path, frames))


# What is no stack -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "which"), [((1, 0), 2), ((0, -1), 0), ((2, 3), 1), ((-11, 7), 0), ((30, -24), 2)])
def test_a_camera_that_moved_is_refused(tmp_path: Path, shift: tuple[int, int], which: int) -> None:
    large = scene(shape=(SHAPE[0] + 64, SHAPE[1] + 64))
    y, x = 32 - shift[0], 32 - shift[1]
    steady, moved = large[32:-32, 32:-32], large[y : y + SHAPE[0], x : x + SHAPE[1]]
    frames = [taken(moved if i == which else steady, -i, i) for i in range(3)]
    with pytest.raises(UnusableStack, match=rf"frame{which}\.dng: the camera moved") as refused:
        read_stack(written(tmp_path, frames))
    told = [float(word) for word in str(refused.value).split() if word[0] in "+-" and word[1:2].isdigit()]
    np.testing.assert_allclose(told, shift, atol=0.5)


def test_a_scene_that_changed_is_refused(tmp_path: Path, rgb: np.ndarray) -> None:
    other = rgb.copy()
    other[60:200, 80:200] = other[60:200, 80:200] * 3
    with pytest.raises(UnusableStack, match=r"frame1\.dng: the scene or its light changed"):
        read_stack(written(tmp_path, [taken(rgb, 0, 0), taken(other, -2, 1)]))


@pytest.mark.parametrize("iso_noise", [1.0, 0.03])
def test_noise_alone_is_no_movement(tmp_path: Path, iso_noise: float) -> None:
    for seed in range(3):
        dim = scene(seed) * iso_noise  # as at 32 times the ISO, the light is that much less
        stack = read_stack(written(tmp_path, [taken(dim, ev, seed) for ev in (0, -1, -2)]))
        np.testing.assert_allclose(stack.exposure_ev, [0, -1, -2], atol=0.02 if iso_noise == 1 else 0.05)


def test_flat_scenes_are_taken_with_a_note(tmp_path: Path) -> None:
    flat = np.full((*SHAPE, 3), 0.5)
    stack = read_stack(written(tmp_path, [taken(flat, 0, 0), taken(flat, -1, 1)]))
    assert stack.notes == (f"{tmp_path / 'frame1.dng'}: too little texture to tell whether the camera moved",)


def test_other_cameras_sizes_and_levels_are_refused(tmp_path: Path, rgb: np.ndarray) -> None:
    first = taken(rgb, 0, 0)
    others = {
        "camera": taken(rgb, -1, 1, capture=replace(CAMERA, model="Camera 2")),
        "size": taken(rgb[:-2], -1, 1),
        "orientation of the colour filters": taken(rgb, -1, 1, "GRBG"),
        "black level": taken(rgb, -1, 1, black_level=np.full((2, 2), 800, np.float32)),
        "white level": taken(rgb, -1, 1, white_level=14_000.0),
    }
    for name, other in others.items():
        with pytest.raises(UnusableStack, match=rf"frame1\.dng: another {name} than frame0\.dng"):
            read_stack(written(tmp_path, [first, other]))
    with pytest.raises(UnusableStack, match="not an ordinary Bayer photo"):
        read_stack(written(tmp_path, [first, taken(rgb, -1, 1, "RRGGRRGGGGBBGGBB")]))


def test_too_few_equal_or_unconnected_frames_are_refused(tmp_path: Path, rgb: np.ndarray) -> None:
    with pytest.raises(UnusableStack, match="needs two or more"):
        read_stack(written(tmp_path, [taken(rgb, 0, 0)]))
    with pytest.raises(UnusableStack, match="have one exposure"):
        read_stack(written(tmp_path, [taken(rgb, 0, 0), taken(rgb, 0, 1)]))
    with pytest.raises(UnusableStack, match="no part is well exposed both here and in"):
        read_stack(written(tmp_path, [taken(rgb / 1000, 0, 0), taken(rgb / 1000, -1, 1)]))
    with pytest.raises(UnusableStack, match=r"frame0\.dng: is mostly saturated"):
        read_stack(written(tmp_path, [taken(rgb + 2, 0, 0), taken(rgb, -14, 1)]))


@pytest.mark.parametrize("over_ev", [[4.0], [5.0, 4.0]])
def test_frames_that_are_all_light_are_left_out_with_a_note(
    tmp_path: Path, rgb: np.ndarray, over_ev: list[float]
) -> None:
    bright = np.maximum(rgb, 0.1)  # what saturates every part of a frame that is exposed by 4 EV more
    evs = (*over_ev, 0.0, -1.0, -2.0)
    paths = written(tmp_path, [taken(bright, ev, i) for i, ev in enumerate(evs)])
    stack = read_stack(paths)
    assert list(stack.paths) == paths[len(over_ev) :]
    np.testing.assert_allclose(stack.exposure_ev, [0, -1, -2], atol=0.02)
    left_out = [f"{path}: is mostly saturated, and left out of its stack" for path in paths[: len(over_ev)]]
    assert list(stack.notes) == left_out
    notes: list[str] = []
    half = ExposurePattern(np.float32([[1 / 2], [1 / 2], [1], [1]]))
    from_stack(paths, SimulatedFile(tmp_path / "sve.dng"), half, None, notes.append)
    assert notes == left_out
    with pytest.raises(UnusableStack, match=r"frame0\.dng: is mostly saturated; leave it out"):
        read_stack([paths[0], paths[-1]])  # two frames are what a stack has at least


# Sampling -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "exposure",
    [
        [[1 / 8], [1 / 8], [1], [1]],
        [[1], [1 / 2], [1 / 2], [1]],
        [[1, 1, 1 / 4, 1 / 4]],
        [[1, 1 / 2], [1 / 4, 1 / 8]],
    ],
)
def test_every_site_is_that_of_the_frame_of_its_exposure(four: ExposureStack, exposure: list[list[float]]) -> None:
    pattern = ExposurePattern(np.float32(exposure))
    index = frames_of_pattern(four, pattern)
    mosaic, obtained = sample_sve(four, index)
    np.testing.assert_array_equal(obtained.exposure, pattern.exposure)
    over = pattern.over(mosaic.shape)
    for frame, ev in zip(four.frames, four.exposure_ev, strict=True):
        sites = over == 2 ** (ev - four.exposure_ev[index.min()])
        np.testing.assert_array_equal(mosaic.counts[sites], frame.counts[sites])
    assert (mosaic.cfa, mosaic.white_level) == ("RGGB", WHITE)


def test_the_pattern_obtained_is_the_measured_one(four: ExposureStack) -> None:
    off = replace(four, exposure_ev=(0.0, -1.02, -2.1, -3.07))
    _, obtained = sample_sve(off, frames_of_pattern(off, ROWS))
    np.testing.assert_allclose(obtained.exposure.ravel(), [2**-3.07] * 2 + [1] * 2, rtol=1e-6)


def test_black_and_white_levels_follow_the_sites(four: ExposureStack) -> None:
    changed = replace(four.frames[3], black_level=np.full((2, 2), BLACK + 3, np.float32), white_level=WHITE - 10)
    mosaic, _ = sample_sve(replace(four, frames=(*four.frames[:3], changed)), frames_of_pattern(four, ROWS))
    assert mosaic.white_level == WHITE - 10
    assert mosaic.black_level.tolist() == [[BLACK + 3] * 2] * 2 + [[BLACK] * 2] * 2


def test_the_darkest_sites_hold_the_highlights_if_any_frame_does(rgb: np.ndarray) -> None:
    ev = (0.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0)
    stack = stack_of([taken(rgb, e, i) for i, e in enumerate(ev)], ev)
    mosaic, _ = sample_sve(stack, frames_of_pattern(stack, ROWS))
    peak = math.log2(rgb.max())  # 3 to 4 EV above the brightest frame's saturation
    assert 3 < peak < 5
    np.testing.assert_array_equal(mosaic.counts[2::4], stack.frames[math.ceil(peak) - 3].counts[2::4])


def test_where_all_frames_saturate_the_darkest_sites_come_from_the_darkest(four: ExposureStack) -> None:
    half = ExposurePattern(np.float32([[1 / 2], [1 / 2], [1], [1]]))
    # the scene's lights are beyond what even the last frame holds
    mosaic, _ = sample_sve(four, frames_of_pattern(four, half))
    assert (four.frames[3].counts >= WHITE).mean() > 1e-3
    np.testing.assert_array_equal(mosaic.counts[0::4], four.frames[3].counts[0::4])
    np.testing.assert_array_equal(mosaic.counts[2::4], four.frames[2].counts[2::4])


def test_exposures_the_stack_does_not_have_are_refused(four: ExposureStack) -> None:
    for ratio in (1.5, 16.0):
        pattern = ExposurePattern(np.float32([[1 / ratio], [1]]))
        with pytest.raises(UnusableStack, match=r"the stack has \+0\.00, -1\.00, -2\.00, -3\.00"):
            frames_of_pattern(four, pattern)


# Merging --------------------------------------------------------------------------------------------------------------


def merged_of(stack: ExposureStack, most_exposed: int = 0) -> np.ndarray:
    return merge_frames(stack.frames, stack.exposure_ev, most_exposed)[0]


def clean_mosaic(rgb: np.ndarray, cfa: str = "RGGB") -> np.ndarray:
    colour = repeated(np.array([["RGB".index(letter) for letter in row] for row in cfa_period(cfa)]), rgb.shape[:2])
    return np.take_along_axis(rgb, colour[..., None], axis=2)[..., 0]


def test_merge_is_nearer_the_scene_than_any_frame_and_unbiased(rgb: np.ndarray, four: ExposureStack) -> None:
    merged, clean = merged_of(four), clean_mosaic(rgb)
    held = clean < 0.9 * 8  # what the darkest frame holds
    error = (merged - clean)[held] / clean[held]
    for frame, ev in zip(four.frames, four.exposure_ev, strict=True):
        alone = (frame.counts - BLACK) / (WHITE - BLACK) * 2**-ev
        assert np.mean(error**2) < np.mean(((alone - clean)[held] / clean[held]) ** 2)
    edges = 2.0 ** np.arange(-8, 3.01, 0.5)
    for low, high in pairwise(edges):  # also where frames begin to saturate
        here = (clean[held] >= low) & (clean[held] < high)
        if here.sum() > 200:
            spread = float(error[here].std()) / math.sqrt(here.sum())
            assert abs(float(error[here].mean())) < max(0.002, 4 * spread), (low, high)


def test_merge_weights_reach_the_least_possible_variance(four: ExposureStack) -> None:
    dark = np.full((*SHAPE, 3), 0.002)  # 40 electrons in the brightest frame: read noise counts
    frames = [taken(dark, ev, i) for i, ev in enumerate(four.exposure_ev)]
    merged = merged_of(stack_of(frames, four.exposure_ev))
    full_e = [2**ev * FULL_WELL_E for ev in four.exposure_ev]
    best = sum(e**2 / (0.002 * e + READ_E**2) for e in full_e) ** -0.5
    assert float(merged.std()) < 1.05 * best
    assert abs(float(merged.mean()) - 0.002) < 5 * best / math.sqrt(merged.size)


def test_no_saturated_site_leaks_into_the_merge(four: ExposureStack, rgb: np.ndarray) -> None:
    spoiled = [
        replace(f, counts=np.where(f.counts >= WHITE, 65535, f.counts).astype(np.uint16)) for f in four.frames[:-1]
    ]
    np.testing.assert_array_equal(merged_of(replace(four, frames=(*spoiled, four.frames[-1]))), merged_of(four))
    assert merged_of(four).max() <= 8 * (1 + 1e-5)  # where the darkest frame saturates, its saturation


def test_a_hot_site_of_one_frame_does_not_leak_into_the_merge(four: ExposureStack) -> None:
    counts = four.frames[0].counts.copy()
    counts[40:60, 40] = WHITE  # where the scene is dark
    spoiled = replace(four, frames=(replace(four.frames[0], counts=counts), *four.frames[1:]))
    np.testing.assert_allclose(merged_of(spoiled)[40:60, 40], merged_of(four)[40:60, 40], rtol=0.5)


def test_what_just_saturates_is_not_the_darker_for_it() -> None:
    """Were only sites taken that noise has left below saturation, they would be too dark by 0.1 %."""
    frames = [taken(np.ones((*SHAPE, 3)), ev, i) for i, ev in enumerate((0, -1))]
    assert merged_of(stack_of(frames, (0, -1))).mean() == pytest.approx(1, abs=2e-4)


def test_scale_is_the_saturation_of_the_frame_asked_for(four: ExposureStack) -> None:
    np.testing.assert_allclose(merged_of(four, most_exposed=2), merged_of(four) / 4, rtol=1e-4)


# Pairs ----------------------------------------------------------------------------------------------------------------


def radiance_of(pair: SvePair) -> np.ndarray:
    black = repeated(pair.mosaic.black_level, pair.mosaic.shape)
    return (pair.mosaic.counts - black) / (pair.mosaic.white_level - black) / pair.pattern.over(pair.mosaic.shape)


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_truth_and_mosaic_show_one_scene(rgb: np.ndarray, cfa: str) -> None:
    ev = (0.0, -1.0, -2.0, -3.0)
    stack = stack_of([taken(rgb, e, i, cfa) for i, e in enumerate(ev)], ev)
    pair = sve_pair(stack, ROWS)
    assert pair.truth.shape == (*pair.mosaic.shape, 3)
    assert pair.mosaic.cfa == cfa
    expected, seen = clean_mosaic(pair.truth, cfa), radiance_of(pair)
    usable = (pair.mosaic.counts < 0.95 * WHITE) & (expected > 0.05) & (expected < 5)
    ratio = seen[usable] / expected[usable]
    assert abs(float(ratio.mean()) - 1) < 0.005
    assert float(ratio.std()) < 0.08  # the noise of single sites
    inside = (slice(4, -4), slice(4, -4))
    lit = (rgb[inside].max(axis=-1) < 5) & (rgb[inside].min(axis=-1) > 0.05)
    error = np.log2(np.maximum(pair.truth[inside][lit], 1e-6) / rgb[inside][lit])
    assert float(np.abs(error).mean()) < 0.06


def test_a_frame_that_is_given_twice_is_refused(tmp_path: Path, rgb: np.ndarray) -> None:
    paths = written(tmp_path, [taken(rgb, ev, seed) for seed, ev in enumerate((0.0, -2.0))])
    with pytest.raises(UnusableStack, match="is given twice"):
        read_stack([*paths, tmp_path / ".." / tmp_path.name / paths[0].name])


# Scenes of half the size ----------------------------------------------------------------------------------------------


INSIDE = slice(1, -1), slice(1, -1)


def noiseless(rgb: np.ndarray, cfa: str, evs: Sequence[float] = (0.0, -1.0, -2.0, -3.0)) -> ExposureStack:
    light = clean_mosaic(rgb, cfa)
    counts = [np.rint(np.minimum(BLACK + 15_000 * light * 2**ev, WHITE)).astype(np.uint16) for ev in evs]
    return stack_of([replace(taken(rgb[:2, :2], 0, 0, cfa), counts=of_frame) for of_frame in counts], evs)


def slanted(bright: float, dark: float) -> np.ndarray:
    """Return an edge that no row and no column follows, as soft as a lens draws it, of what the camera sees as grey."""
    y, x = np.mgrid[:101, :120]
    light = dark + (bright - dark) / (1 + np.exp(0.6 * y + 25 - x))
    return light[..., None] * np.array([0.5, 1, 0.6])


def colour_of(image: np.ndarray) -> float:
    """Return by how much red or blue are off green at most, as a share, but for the border."""
    return float(np.abs(image / image[..., 1:2] - 1)[INSIDE].max())


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_a_scene_has_all_colours_at_the_centres_of_its_cells(cfa: str) -> None:
    rgb = slanted(4, 0.1)
    found = half_size_scene(noiseless(rgb, cfa))
    wanted = (rgb[:100] / [0.5, 1, 0.6]).reshape(50, 2, 60, 2, 3).mean(axis=(1, 3))
    assert found.shape == (50, 60, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose((found / found.mean())[INSIDE], (wanted / wanted.mean())[INSIDE], rtol=0.05)
    assert colour_of(found) < 0.02


def test_lamps_beyond_all_frames_are_white_to_their_edges() -> None:
    found = half_size_scene(noiseless(slanted(60, 0.5), "RGGB"))
    assert colour_of(found) < 0.1
    np.testing.assert_allclose(found[:20, 40:], 8, rtol=1e-4)  # the darkest frame's saturation
