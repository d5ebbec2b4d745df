"""hold_clipped and complete_clipped: what all sites have lost is at one level, and nothing beside it turns pink."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sve2hdr import highlights
from sve2hdr.color import COLOR_SPACES, linear_rgb
from sve2hdr.convert import convert_file
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.highlights import complete_clipped, hold_clipped
from sve2hdr.models import model_named
from sve2hdr.mosaic import ExposurePattern, Mosaic
from sve2hdr.patterntext import parse_pattern
from sve2hdr.pipeline import ConvertOptions
from sve2hdr.simulation.simulate import CAMERA_FROM_XYZ, NEUTRAL, Sensor, simulate
from sve2hdr.whitebalance import WhiteBalance

BLOCKS = "grid:1,1,1/2,1/2;1,1,1/2,1/2;1/4,1/4,1/8,1/8;1/4,1/4,1/8,1/8"
PATTERNS = ["rows:1/8,1/8,1,1", "columns:1,1/4,1/4,1", "grid:1", BLOCKS]
HEIGHT, WIDTH = 601, 96  # more than a strip, and no whole number of periods
INFRARED = np.array([5.0, 1.0, 0.9])  # a custom balance behind a 720 nm filter: red clips first


def lamp(pattern: str, cfa: str = "GRBG") -> tuple[Mosaic, np.ndarray]:
    """Return a frame of a lamp on a wall, and the light, camera RGB, 1.0 = saturation of the most exposed sites."""
    light = np.full((HEIGHT, WIDTH, 3), 0.1, np.float32) * np.float32(NEUTRAL)
    light[200:330, 32:64] = 30
    found = parse_pattern(pattern)
    mosaic = simulate(light, cfa, found, Sensor(full_well_e=1e7, read_noise_e=0.1), seed=1)
    return mosaic, light * np.float32(found.ratio)


def nearness(mosaic: Mosaic, pattern: ExposurePattern, neutral: np.ndarray = NEUTRAL) -> np.ndarray:
    """Return by which share the channel that clips first is raised at each pixel, (H, W)."""
    first = int(np.argmax(neutral))
    missing = np.full((*mosaic.shape, 3), pattern.ratio, np.float32) * np.float32(neutral / neutral[first])
    missing[..., first] = 0
    before = missing.copy()
    complete_clipped(missing, mosaic, pattern, neutral)
    np.testing.assert_array_equal(np.delete(missing, first, axis=2), np.delete(before, first, axis=2))
    return np.asarray(missing[..., first] / np.float32(pattern.ratio))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_is_guessed_where_all_is_lost_becomes_one_level(pattern: str) -> None:
    mosaic, _ = lamp(pattern)
    found = parse_pattern(pattern)
    guessed = np.random.default_rng(2).uniform(0.7, 3, (HEIGHT, WIDTH, 3)).astype(np.float32) * np.float32(found.ratio)
    before = guessed.copy()
    hold_clipped(guessed, mosaic, found)
    assert (guessed[209:321, 41:55] == found.ratio).all()
    image = linear_rgb(guessed, mosaic, COLOR_SPACES["rec709"], found.ratio)[209:321, 41:55]
    assert (image == image[..., :1]).all()
    far = np.ones((HEIGHT, WIDTH), bool)
    far[190:340, 22:74] = False
    np.testing.assert_array_equal(guessed[far], np.minimum(before, np.float32(found.ratio))[far])
    for neutral in (NEUTRAL, INFRARED):
        near = nearness(mosaic, found, neutral)
        np.testing.assert_allclose(near[204:326, 34:62], 1, rtol=1e-6)
        assert not near[far].any()


@pytest.mark.parametrize("column", [0, 1])
def test_what_is_dark_between_lamps_keeps_its_colour(column: int) -> None:
    """Columns of lamps, a pixel wide, on all red sites, or on all blue ones: those tell nothing of the dark between."""
    light = np.full((HEIGHT, WIDTH, 3), 0.1, np.float32) * np.float32(NEUTRAL)
    light[:, column::2] = 30
    found = parse_pattern("rows:1/8,1/8,1,1")
    mosaic = simulate(light, "RGGB", found, Sensor(full_well_e=1e7, read_noise_e=0.1), seed=1)
    guessed = light * np.float32(found.ratio)
    hold_clipped(guessed, mosaic, found)
    complete_clipped(guessed, mosaic, found, NEUTRAL)
    dark, border = slice(1 - column, None, 2), 8
    np.testing.assert_allclose(guessed[:-border, dark], light[:-border, dark] * found.ratio, rtol=1e-6)
    assert (guessed[:, column::2] == found.ratio).any()


def test_a_site_that_clips_alone_changes_little() -> None:
    """One clipped site among others is a hot one, or a spark: it says nothing of the pixels around."""
    mosaic, _ = lamp("rows:1/8,1/8,1,1")
    counts = np.full_like(mosaic.counts, 1200)
    counts[100, 40] = 16_000
    mosaic = Mosaic(counts, "GRBG", mosaic.black_level, mosaic.white_level, CAMERA_FROM_XYZ)
    camera_rgb = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
    hold_clipped(camera_rgb, mosaic, parse_pattern("rows:1/8,1/8,1,1"))
    assert (camera_rgb == 0.5).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_strips_leave_no_seams(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    found = parse_pattern(pattern)
    light = np.random.default_rng(3).choice(np.float32([0.1, 3]), (256, 40, 3), p=[0.3, 0.7])  # lamps everywhere
    mosaic = simulate(light, "GRBG", found, Sensor(full_well_e=1e7, read_noise_e=0.1), seed=1)
    results = []
    for rows in (64, 100, 1000):
        monkeypatch.setattr(highlights, "STRIP_ROWS", rows)
        camera_rgb = light * np.float32(found.ratio)
        hold_clipped(camera_rgb, mosaic, found)
        complete_clipped(camera_rgb, mosaic, found, NEUTRAL)
        results.append((nearness(mosaic, found), nearness(mosaic, found, INFRARED), camera_rgb))
    for *near, camera_rgb in results:
        np.testing.assert_array_equal(near, results[0][:2])
        np.testing.assert_array_equal(camera_rgb, results[0][2])


def test_a_clipped_green_site_is_near_within_a_period() -> None:
    mosaic, _ = lamp("rows:1/8,1/8,1,1")
    counts = np.full_like(mosaic.counts, 1200)
    counts[[256, 249], [0, 95]] = 16_000  # green of GRBG, at borders of the frame; row 256 begins a strip
    near = nearness(replace(mosaic, counts=counts), parse_pattern("rows:1/8,1/8,1,1"))
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[253:260, :2] = expected[246:253, 94:] = True  # a period is 4 x 2 sites
    np.testing.assert_array_equal(near > 0, expected)
    np.testing.assert_allclose([near[256, 0], near[249, 95]], 1, rtol=1e-6)
    assert 0 < near[253, 1] < 0.5  # it fades, so that no block shows


def test_magenta_things_before_the_sky_stay_magenta() -> None:
    """A blossom that lies nearly as high as what clips behind it: its green was measured, and is not missing."""
    light = np.full((HEIGHT, WIDTH, 3), 30, np.float32)
    blossom = np.float32([0.9, 0.25, 0.85]) * np.float32(NEUTRAL)
    light[200:330, 32:64] = blossom
    found = parse_pattern("rows:1/8,1/8,1,1")
    mosaic = simulate(light, "RGGB", found, Sensor(full_well_e=1e7, read_noise_e=0.1), seed=1)
    image = np.minimum(light * np.float32(found.ratio), np.float32(found.ratio))
    hold_clipped(image, mosaic, found)
    complete_clipped(image, mosaic, found, NEUTRAL)
    np.testing.assert_allclose(image[204:326, 34:62], np.broadcast_to(blossom * found.ratio, (122, 28, 3)), rtol=1e-6)


@pytest.mark.parametrize("first", range(3))
def test_what_is_missing_comes_where_it_is_asked_for_and_other_colours_stay(first: int) -> None:
    """Magenta where green clips first, as in daylight, cyan where red does, as in infrared."""
    neutral = np.roll([1.0, 0.5, 0.625], first)
    beside = [[0.5, 1, 1], [0.7, 1.9, 1.5]]  # of a level of 1: what is missing of the first
    others = [[2, 1, 0.5], [0.9, 0.2, 1], [0.9, 1, 0.2], [0.1, 0.7, 0.6], [1, 2, 1.6]]  # colours, and what is held
    colours = np.float32(np.roll(beside + others, first, axis=1)) * np.float32(neutral)
    counts = np.full((48, len(colours)), 1200, np.uint16)
    counts[24:] = 16_000
    mosaic = Mosaic(counts, "RGGB", np.full((2, 2), 1000, np.float32), 16_000, CAMERA_FROM_XYZ)
    camera_rgb = np.repeat(colours[None], 48, axis=0)
    found = parse_pattern("grid:1")
    complete_clipped(camera_rgb, mosaic, found, neutral)
    np.testing.assert_array_equal(camera_rgb[:16], np.broadcast_to(colours, (16, *colours.shape)))
    np.testing.assert_allclose(camera_rgb[-1, 0], neutral, rtol=1e-6)
    np.testing.assert_allclose(camera_rgb[-1, 1], np.roll([1, 0.95, 0.9375], first), rtol=1e-6)
    np.testing.assert_array_equal(camera_rgb[-1, 2:], colours[2:])
    share = nearness(mosaic, found, neutral)[:, 0]
    assert (np.diff(share) >= 0).all()
    np.testing.assert_allclose(
        camera_rgb[:, 0], colours[0] + share[:, None] * (camera_rgb[-1, 0] - colours[0]), rtol=1e-6
    )


@pytest.mark.parametrize("level", [0.1, 0.6])
def test_magenta_beside_a_lamp_keeps_its_colour(level: float) -> None:
    light = np.full((HEIGHT, WIDTH, 3), level, np.float32) * np.float32(NEUTRAL) * np.float32([1, 0.1, 0.8])
    light[200:330, 32:64] = 30
    found = parse_pattern("rows:1/8,1/8,1,1")
    mosaic = simulate(light, "RGGB", found, Sensor(full_well_e=1e7, read_noise_e=0.1), seed=1)
    image = light * np.float32(found.ratio)
    hold_clipped(image, mosaic, found)
    complete_clipped(image, mosaic, found, NEUTRAL)
    wall = np.ones((HEIGHT, WIDTH), bool)
    wall[196:334, 28:68] = False
    np.testing.assert_allclose(image[wall], (light * np.float32(found.ratio))[wall], rtol=1e-6)
    assert (image[210:320, 42:54] == found.ratio).all()  # in every channel alike


@pytest.mark.parametrize("white", [0.7, 1.0])
def test_no_pixel_of_a_preview_is_pink_beside_lamps(tmp_path: Path, white: float) -> None:
    """White and grey alone, with a body that clips at this share of what the file names."""
    y, x = np.mgrid[:192, :256]
    light = np.full((192, 256, 3), 0.02, np.float32) * np.float32(NEUTRAL)
    light *= np.exp2(np.sin(x / 47) + np.sin(y / 31) + 0.3 * np.sign(np.sin((x - 2 * y) / 13)))[..., None]
    light[(y % 91 < 20 + 10 * np.sin(x / 27)) & (x % 67 < 15)] *= 900
    top = round(1024 + white * (16_383 - 1024))
    mosaic = simulate(np.float32(light), "RGGB", parse_pattern(PATTERNS[0]), Sensor("gain", 14, 1024, top), seed=6)
    raw, preview = tmp_path / "lamps.dng", tmp_path / "lamps.png"
    write_cfa_dng(raw, replace(mosaic, white_level=16_383.0))
    options = ConvertOptions(preview=preview)
    found = convert_file(raw, tmp_path / "lamps.exr", model_named("standard"), options)
    assert found.clipped > 0.03
    with Image.open(preview) as opened:
        shown = np.asarray(opened.convert("RGB")).astype(int)
    pink = np.minimum(shown[..., 0], shown[..., 2]) - shown[..., 1]
    pink = pink[shown.max(axis=2) > 128]
    assert (pink > 8).sum() <= 12  # 45 pixels without it
    assert pink.max() < 32


def test_no_pixel_of_a_preview_is_cyan_beside_clouds_in_infrared(tmp_path: Path) -> None:
    """Grey behind a 720 nm filter, by the balance that was set for it: red is the channel that clips."""
    y, x = np.mgrid[:192, :256]
    grey = 0.02 * np.exp2(np.sin(x / 47) + np.sin(y / 31) + 0.3 * np.sign(np.sin((x - 2 * y) / 13)))
    grey[(y % 91 < 20 + 10 * np.sin(x / 27)) & (x % 67 < 15)] *= 900
    light = np.float32(grey[..., None] * INFRARED / INFRARED.max())
    mosaic = simulate(light, "RGGB", parse_pattern(PATTERNS[0]), Sensor("gain"), seed=6)
    raw, preview = tmp_path / "clouds.dng", tmp_path / "clouds.png"
    write_cfa_dng(raw, replace(mosaic, as_shot_neutral=INFRARED))
    options = ConvertOptions(preview=preview, white_balance=WhiteBalance("as-shot"))
    convert_file(raw, tmp_path / "clouds.exr", model_named("standard"), options)
    with Image.open(preview) as opened:
        shown = np.asarray(opened.convert("RGB")).astype(int)
    cyan = np.minimum(shown[..., 1], shown[..., 2]) - shown[..., 0]
    assert (cyan[shown.max(axis=2) > 128] > 8).sum() <= 30  # 145 pixels without it
