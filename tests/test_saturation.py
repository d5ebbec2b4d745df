"""White levels: found where counts pile up, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from frames import PAIRS

from sve2hdr.mosaic import ExposurePattern, Mosaic, repeated
from sve2hdr.saturation import WhiteLevels, pile_up, white_levels

BLACK, NOMINAL = 1024.0, 16_383.0
SEEN = np.array([[0.5, 1.0], [1.0, 0.65]])  # of a grey light, by the colours of RGGB


def histogram(values: np.ndarray) -> np.ndarray:
    return np.bincount(np.rint(values).astype(np.int64).ravel(), minlength=65536)


def noisy(rng: np.random.Generator, level: np.ndarray, gain: float = 0.5) -> np.ndarray:
    """Return what a sensor of 30,000 electrons makes of it."""
    return level + rng.normal(0, 1, level.shape) * np.sqrt(gain * np.maximum(level - BLACK, 0) + 4)


@pytest.mark.parametrize("white", [11_500, 13_337, 16_383])
@pytest.mark.parametrize("share", [0.003, 0.1, 0.7])
def test_a_pile_up_is_found_to_the_count(white: int, share: float) -> None:
    rng = np.random.default_rng(1)
    level = BLACK + (white - BLACK) * rng.random(200_000) ** 3
    level[: int(share * level.size)] = 30_000
    assert pile_up(histogram(np.clip(noisy(rng, level), 0, white)), BLACK, NOMINAL) == white


def test_a_pile_up_with_noise_of_its_own_and_hot_sites_above_it_is_found() -> None:
    rng = np.random.default_rng(2)
    level = np.where(rng.random(300_000) < 0.05, 30_000, BLACK + 9_000 * rng.random(300_000) ** 2)
    counts = np.minimum(noisy(rng, level), 13_000 + rng.normal(0, 6, level.shape))
    counts[:200] = rng.uniform(13_100, 16_383, 200)
    assert pile_up(histogram(counts), BLACK, NOMINAL) == pytest.approx(13_000, abs=8)


@pytest.mark.parametrize("gain", [0.2, 0.5, 4.0])
@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_a_flat_bright_wall_is_no_pile_up(gain: float, share: float) -> None:
    rng = np.random.default_rng(3)
    level = np.where(rng.random(300_000) < share, 12_500, BLACK + 8_000 * rng.random(300_000) ** 2)
    assert pile_up(histogram(noisy(rng, level, gain)), BLACK, NOMINAL) is None


@pytest.mark.parametrize("full_well", [30_000, 100_000, 200_000, 1_000_000])
@pytest.mark.parametrize("by_colour", [False, True])
def test_a_flat_bright_patch_of_a_clean_frame_is_no_white_level(full_well: float, by_colour: bool) -> None:
    rng = np.random.default_rng(7)
    light = BLACK + (16_000 - BLACK) * 0.6 * rng.random((400, 300)) ** 3
    light[40:80, 40:80] = BLACK + 0.7 * (16_000 - BLACK)
    if by_colour:
        light[::2, ::2] = 0.5 * (light[::2, ::2] + BLACK)
    light = np.where(PAIRS.over(light.shape) == 1, 8, 1) * (light - BLACK) + BLACK
    counts = np.clip(np.rint(noisy(rng, light, (16_000 - BLACK) / full_well)), 0, 16_000).astype(np.uint16)
    found = white_levels(Mosaic(counts, "RGGB", np.full((1, 1), BLACK, np.float32), 16_000.0, np.eye(3)), PAIRS)
    assert by_exposure(found) == (16_000, 16_000)


@pytest.mark.parametrize("whites", [(14_000, 13_800), (16_300, 15_800)])
def test_saturation_that_spreads_is_one_near_the_file_s_or_another_exposure_s(whites: tuple[int, int]) -> None:
    rng = np.random.default_rng(8)
    mosaic = frame(*whites, top=1)
    spread = np.minimum(mosaic.counts, 16_383) + rng.normal(0, 14, mosaic.shape) * (mosaic.counts >= whites[1])
    found = white_levels(replace(mosaic, counts=np.minimum(np.rint(spread), 16_383).astype(np.uint16)), PAIRS)
    np.testing.assert_allclose(by_exposure(found), whites, atol=6)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("sigma", [4, 12, 18])
def test_saturation_that_spreads_where_only_the_most_exposed_sites_clip_is_one_of_two_colours(
    sigma: float, warm: bool
) -> None:
    rng = np.random.default_rng(9)
    mosaic = frame(13_500, 13_500, top=-0.3)
    if warm:  # blue stays below
        mosaic.counts[1::2, 1::2] = BLACK + (mosaic.counts[1::2, 1::2] - BLACK) * 0.4
    spread = mosaic.counts + rng.normal(0, sigma, mosaic.shape) * (mosaic.counts >= 13_500)
    mosaic = replace(mosaic, counts=np.rint(spread).astype(np.uint16))
    np.testing.assert_allclose(by_exposure(white_levels(mosaic, PAIRS)), (13_500, 13_500), atol=2)


def coloured(light: np.ndarray, sigma: float, full_well: float) -> Mosaic:
    """Return a frame whose sites hold so many counts above black, +- sigma of them; light: of green, of the range."""
    rng = np.random.default_rng(11)
    light = light * (NOMINAL - BLACK) * repeated(SEEN, light.shape)
    held = np.minimum(noisy(rng, BLACK + light) - BLACK, full_well * rng.normal(1, sigma, light.shape))
    counts = BLACK + np.where(PAIRS.over(light.shape) == 1, 8, 1) * held
    counts = np.clip(np.rint(counts), 0, 15_300).astype(np.uint16)
    return Mosaic(counts, "RGGB", np.full((1, 1), BLACK, np.float32), NOMINAL, np.eye(3))


@pytest.mark.parametrize("sigma", [0.003, 0.006, 0.01])
@pytest.mark.parametrize("full_well", [10_500, 13_200])
def test_full_wells_that_differ_from_site_to_site_are_the_white_of_the_less_exposed(
    sigma: float, full_well: float
) -> None:
    light = np.exp2(np.random.default_rng(5).uniform(-8, 2, (400, 300)))
    mosaic = coloured(light, sigma, full_well)
    found = white_levels(mosaic, PAIRS)
    least, most = by_exposure(found)
    assert (most, found.source) == (15_300, "pile-up")
    assert least - BLACK == pytest.approx(full_well, rel=0.002 + 1.2 * sigma)
    lost = (mosaic.counts - BLACK)[(PAIRS.over(light.shape) < 1) & (light > 3)]
    assert np.mean(lost >= 0.99 * (least - BLACK)) > 0.93  # the others would tint the white around them


def test_a_blurred_heap_of_a_flat_part_is_no_white_level() -> None:
    light = np.exp2(np.random.default_rng(5).uniform(-8, -1, (400, 300)))
    light[40:80, 40:80] = 0.85
    assert by_exposure(white_levels(coloured(light, 0.01, 1e6), PAIRS)) == (15_300, 15_300)
    light /= repeated(SEEN, light.shape)  # as without colour filters
    assert by_exposure(white_levels(coloured(light, 0.01, 1e6), PAIRS)) == (15_300, 15_300)


def test_a_blurred_heap_is_no_white_level_where_nothing_else_saturates() -> None:
    rng = np.random.default_rng(5)
    light = np.exp2(rng.uniform(-12, -5, (400, 300)))
    seen = repeated(SEEN, light.shape)
    light[40:80] = 0.1 / seen[40:80]  # pink
    light[120:140] = np.where(seen[120:140] == 1, 0.098, 0.02)  # and green, not quite as bright
    signal = light * seen * rng.normal(1, 0.007, light.shape) * np.where(PAIRS.over(light.shape) == 1, 8, 1)
    counts = np.rint(BLACK + (NOMINAL - BLACK) * signal).astype(np.uint16)
    mosaic = Mosaic(counts, "RGGB", np.full((1, 1), BLACK, np.float32), NOMINAL, np.eye(3))
    assert by_exposure(white_levels(mosaic, PAIRS)) == (NOMINAL, NOMINAL)


@pytest.mark.parametrize("red_and_blue", [(0.95, 0.9), (0.3, 0.2)])  # of green
def test_a_flat_bright_patch_of_the_most_exposed_sites_differs_from_colour_to_colour(
    red_and_blue: tuple[float, float],
) -> None:
    rng = np.random.default_rng(10)
    light = BLACK + (NOMINAL - BLACK) * 0.6 * rng.random((400, 300)) ** 3
    light[40:80, 40:80] = BLACK + 0.8 * (NOMINAL - BLACK)
    for first, share in enumerate(red_and_blue):
        light[first::2, first::2] = share * (light[first::2, first::2] - BLACK) + BLACK
    light = np.where(PAIRS.over(light.shape) == 1, 1, 1 / 8) * (light - BLACK) + BLACK
    counts = np.rint(noisy(rng, light, (NOMINAL - BLACK) / 1_000_000)).astype(np.uint16)
    found = white_levels(Mosaic(counts, "RGGB", np.full((1, 1), BLACK, np.float32), NOMINAL, np.eye(3)), PAIRS)
    assert (by_exposure(found), found.source) == ((NOMINAL, NOMINAL), "file")


def test_few_sites_or_dark_ones_are_no_pile_up() -> None:
    rng = np.random.default_rng(4)
    dark = noisy(rng, np.full(100_000, BLACK + 3))
    assert pile_up(histogram(dark), BLACK, NOMINAL) is None
    assert pile_up(histogram(np.concatenate([dark, np.full(12, 14_000)])), BLACK, NOMINAL) is None
    stuck = np.concatenate([np.resize(dark, 700_000), np.full(60, 14_000)])  # hot sites that are cut off at one count
    assert pile_up(histogram(stuck), BLACK, NOMINAL) is None


def frame(least: float, most: float, top: float) -> Mosaic:
    """Return a frame whose exposures saturate at `least` and `most`; `top`: of the less exposed, EV above that."""
    rng = np.random.default_rng(5)
    light = np.exp2(rng.uniform(-8, top, (400, 300))) * 15_000
    bright = PAIRS.over(light.shape) == 1
    counts = noisy(rng, BLACK + np.where(bright, 8, 1) * light)
    counts = np.clip(np.rint(counts), 0, np.where(bright, most, least)).astype(np.uint16)
    return Mosaic(counts, "RGGB", np.full((1, 1), BLACK, np.float32), NOMINAL, np.eye(3))


def test_colours_that_do_not_clip_leave_a_pile_up_at_the_file_s_level_known() -> None:
    mosaic = frame(int(NOMINAL), int(NOMINAL), top=1)
    counts = mosaic.counts.copy()
    counts[::2, ::2] = np.minimum(counts[::2, ::2], 9_000)
    found = white_levels(Mosaic(counts, "RGGB", mosaic.black_level, NOMINAL, np.eye(3)), PAIRS)
    assert (by_exposure(found), found.source) == ((NOMINAL, NOMINAL), "pile-up")


def by_exposure(found: WhiteLevels) -> tuple[float, float]:
    least, most = found.by_site[:2], found.by_site[2:]
    assert (least == least[0, 0]).all()
    assert (most == most[0, 0]).all()
    return float(least[0, 0]), float(most[0, 0])


def test_every_exposure_has_its_own_white() -> None:
    found = white_levels(frame(14_000, 13_500, top=1), PAIRS)
    assert (by_exposure(found), found.source) == ((14_000, 13_500), "pile-up")


def test_an_exposure_that_stays_below_takes_the_other_white_else_the_file_s() -> None:
    assert by_exposure(white_levels(frame(14_000, 13_500, top=-1), PAIRS)) == (13_500, 13_500)
    beyond = white_levels(frame(14_000, 11_000, top=-0.3), PAIRS)
    assert (by_exposure(beyond), beyond.source) == ((NOMINAL, 11_000), "pile-up, file")
    dark = white_levels(frame(14_000, 13_500, top=-5), PAIRS)
    assert (by_exposure(dark), dark.source) == ((NOMINAL, NOMINAL), "file")


@pytest.mark.parametrize("whites", [(16_000, 15_000, 16_000), (15_200, 15_000, 15_300), (15_600, 14_000, NOMINAL)])
@pytest.mark.parametrize("red_clips", [True, False])
def test_colours_that_clip_apart_have_white_levels_of_their_own(whites: tuple[int, int, int], red_clips: bool) -> None:
    rng = np.random.default_rng(6)
    light = np.exp2(rng.uniform(-8, 0.7, (400, 300))) * 15_000
    light[:40] = 20_000
    sites = np.array([[0, 1], [1, 2]])[np.ix_(np.arange(400) % 2, np.arange(300) % 2)]
    light[sites == 0] *= 1 if red_clips else 0.5
    counts = noisy(rng, BLACK + np.where(PAIRS.over(light.shape) == 1, 8, 1) * light)
    counts = np.clip(np.rint(counts), 0, np.array(whites)[sites]).astype(np.uint16)
    found = white_levels(Mosaic(counts, "RGGB", np.full((1, 1), BLACK, np.float32), NOMINAL, np.eye(3)), PAIRS)
    for rows in (slice(0, 2), slice(2, 4)):
        (red, green), (again, blue) = found.by_site[rows]
        assert (green, again, blue) == (whites[1], whites[1], whites[2])
        assert red == whites[0] if red_clips or rows.start else red >= 0.5 * 20_000


def test_a_colour_with_sites_above_the_pile_up_of_the_others_keeps_the_file_s_white() -> None:
    mosaic = frame(13_000, 13_000, top=1)
    mosaic.counts[::2, ::2] //= 2  # red, far from any pile-up
    mosaic.counts[::34, ::30] = np.linspace(13_100, 15_000, 120).reshape(12, 10)  # 0.4 % of red, of either exposure
    found = white_levels(mosaic, PAIRS)
    assert found.by_site.tolist() == [[NOMINAL, 13_000], [13_000, 13_000]] * 2
    assert found.source == "pile-up, file"


def test_a_colour_with_a_few_hot_sites_above_the_pile_up_of_the_others_has_their_white() -> None:
    mosaic = frame(13_000, 13_000, top=1)
    mosaic.counts[::2, ::2] //= 2
    mosaic.counts[::100, ::100] = 15_000
    found = white_levels(mosaic, PAIRS)
    assert (by_exposure(found), found.source) == ((13_000, 13_000), "pile-up")


@pytest.mark.parametrize("whites", [(14_000, 13_500), (13_500, 14_000)])
def test_an_exposure_without_a_pile_up_takes_the_lowest_of_the_others(whites: tuple[int, int]) -> None:
    mosaic = frame(*whites, top=1)
    mosaic.counts[1::4] = 2_000
    three = ExposurePattern(np.float32([[1 / 8], [1 / 64], [1], [1]]))
    assert white_levels(mosaic, three).by_site[:, 0].tolist() == [whites[0], 13_500, whites[1], whites[1]]
