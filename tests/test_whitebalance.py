"""White balance: neutral patches come out neutral, temperatures run one way, odd neutrals are told from lights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sve2hdr.cameracolor import neutral_of_light, white_balance
from sve2hdr.color import COLOR_SPACES, linear_rgb, rgb_from_xyz
from sve2hdr.errors import Sve2HdrError
from sve2hdr.lights import D65, kelvin_and_duv, xy_of_kelvin
from sve2hdr.mosaic import Capture, Mosaic, upright
from sve2hdr.simulation.simulate import CAMERA_FROM_XYZ
from sve2hdr.whitebalance import (
    WhiteBalance,
    auto_neutral,
    check_lights,
    looks_wrong,
    neutral_of,
    parse_white_balance,
)

# Adobe's ColorMatrix for D65 of a Canon EOS 5D Mark III and a Nikon D750.
CANON = np.array([[0.6722, -0.0635, -0.0963], [-0.4287, 1.2460, 0.2028], [-0.0908, 0.2162, 0.5668]])
NIKON = np.array([[0.9020, -0.2890, -0.0715], [-0.4535, 1.2436, 0.2348], [-0.0934, 0.1919, 0.7086]])
KELVINS = st.floats(1600, 25000)


def mosaic_with(neutral: tuple[float, ...] | None = None, matrix: np.ndarray = CANON) -> Mosaic:
    as_shot = None if neutral is None else np.array(neutral)
    return Mosaic(np.zeros((4, 4), np.uint16), "RGGB", np.zeros((2, 2), np.float32), 1.0, matrix, as_shot)


def scene(light: np.ndarray, seed: int = 0, shape: tuple[int, int] = (60, 90)) -> np.ndarray:
    # Patches of reflectances scattered around grey, in light of this camera RGB; a tenth deep green, some clipped.
    rng = np.random.default_rng(seed)
    grey = rng.lognormal(-1, 0.8, (*shape, 1))
    tint = np.exp(rng.normal(0, 0.08, (*shape, 3)))
    tint[: shape[0] // 10] *= [0.3, 1.0, 0.2]
    return np.minimum(grey * tint * light, 8).astype(np.float32)


# Laws


@pytest.mark.parametrize("matrix", [CANON, NIKON])
@pytest.mark.parametrize("text", [None, "as-shot", "auto", "daylight", "2.1,1,1.6", "3200K", "5500", "9000 k"])
def test_a_neutral_patch_comes_out_neutral(text: str | None, matrix: np.ndarray) -> None:
    mosaic = mosaic_with((0.5, 1.0, 0.66), matrix)
    choice = parse_white_balance(text) if text else WhiteBalance()
    neutral, taken, _ = neutral_of(choice, mosaic, scene(np.array([0.5, 1, 0.66])), 8.0)
    assert parse_white_balance(str(taken)) == (choice if text else WhiteBalance("as-shot"))
    assert neutral.shape == (3,)
    assert neutral[1] == 1.0
    balanced = replace(mosaic, as_shot_neutral=neutral)
    patch = np.float32(0.3 * neutral).reshape(1, 1, 3)
    developed = linear_rgb(patch, balanced, COLOR_SPACES["rec709"], 8.0)[0, 0]
    assert_allclose(developed, developed[1], rtol=1e-5)
    assert_allclose(neutral * white_balance(balanced), 1, rtol=1e-12)


@settings(max_examples=60)
@given(KELVINS, KELVINS)
def test_higher_temperatures_are_bluer_lights(first: float, second: float) -> None:
    low, high = sorted((first, second))
    if high - low < 1:
        return
    for matrix in (CANON, NIKON):
        warm, cold = (neutral_of_light(xy_of_kelvin(k), mosaic_with(matrix=matrix)) for k in (low, high))
        assert warm[0] / warm[2] > cold[0] / cold[2]


@settings(max_examples=60)
@given(st.floats(1600, 15000))
def test_the_temperature_of_a_light_is_found_again(kelvin: float) -> None:
    x, y = xy_of_kelvin(kelvin)
    found, duv = kelvin_and_duv(np.array([x / y, 1, (1 - x - y) / y]))
    assert 1e6 / found == pytest.approx(1e6 / kelvin, abs=2.5)
    assert abs(duv) < (0.004 if kelvin >= 4000 else 5e-4)


@settings(max_examples=60)
@given(st.floats(1900, 14000), st.sampled_from([CANON, NIKON]))
def test_lights_are_believable(kelvin: float, matrix: np.ndarray) -> None:
    mosaic = mosaic_with(matrix=matrix)
    assert looks_wrong(neutral_of_light(xy_of_kelvin(kelvin), mosaic), mosaic) == ""


@pytest.mark.parametrize("kelvin", [2700, 4000, 5500, 7500])
@pytest.mark.parametrize("matrix", [CANON, NIKON])
def test_auto_finds_the_light_of_a_greyish_scene(kelvin: float, matrix: np.ndarray) -> None:
    mosaic = mosaic_with(matrix=matrix)
    light = neutral_of_light(xy_of_kelvin(kelvin), mosaic)
    found = auto_neutral(scene(light), mosaic, 8.0)
    assert np.abs(np.log(found / light)).max() < 0.08
    daylight = neutral_of_light(D65, mosaic)
    assert kelvin == 7500 or np.abs(found - light).max() < 0.5 * np.abs(daylight - light).max()


@pytest.mark.parametrize("kelvin", [1900, 2000])
@pytest.mark.parametrize("matrix", [CANON, NIKON])
def test_auto_finds_candle_light(kelvin: float, matrix: np.ndarray) -> None:
    mosaic = mosaic_with(matrix=matrix)
    light = neutral_of_light(xy_of_kelvin(kelvin), mosaic)
    assert np.abs(np.log2(auto_neutral(scene(light), mosaic, 8.0) / light)).max() < 0.3  # EV


def test_auto_keeps_the_colour_of_amber_lamps() -> None:
    amber = 0.3 * CANON @ np.array([0.57, 0.43, 0]) / 0.43  # near 1780 K
    found = auto_neutral(np.full((60, 90, 3), amber, np.float32), mosaic_with(), 8.0)
    assert kelvin_and_duv(np.linalg.inv(CANON) @ found)[0] > 5000


def test_auto_is_stable() -> None:
    mosaic = mosaic_with()
    image = scene(np.array([0.6, 1, 0.5]))
    found = auto_neutral(image, mosaic, 8.0)
    noisy = image + np.random.default_rng(5).normal(0, 0.01, image.shape).astype(np.float32)
    assert_allclose(auto_neutral(noisy, mosaic, 8.0), found, rtol=0.01)
    assert_allclose(auto_neutral(image[1:, 2:], mosaic, 8.0), found, rtol=0.02)
    assert_allclose(auto_neutral(np.rot90(image), mosaic, 8.0), found, rtol=1e-6)
    assert_allclose(auto_neutral(image * np.float32(0.01), mosaic, 0.08), found, rtol=1e-5)


def test_auto_gives_sunlight_where_nothing_can_be_grey() -> None:
    mosaic = mosaic_with()
    green = scene(np.array([0.1, 1, 0.1]))
    for image in (green, np.zeros_like(green), np.full_like(green, 8.0), -green):
        kelvin, duv = kelvin_and_duv(np.linalg.inv(CANON) @ auto_neutral(image, mosaic, 8.0))
        assert 5200 < kelvin < 5600
        assert 0 <= duv < 0.006


# Cases


def test_d65_is_daylight() -> None:
    for matrix in (CANON, NIKON):
        mosaic = mosaic_with(matrix=matrix)
        image = np.ones((4, 4, 3), np.float32)
        daylight, *_ = neutral_of(WhiteBalance("daylight"), mosaic, image, 8.0)
        assert_allclose(neutral_of(parse_white_balance("6504K"), mosaic, image, 8.0)[0], daylight, rtol=0.01)
        assert_allclose(1 / daylight, white_balance(mosaic), rtol=1e-12)


def test_known_chromaticities() -> None:
    for kelvin, xy in ((2856, (0.44757, 0.40745)), (5003, (0.34567, 0.35850)), (6504, D65), (7504, (0.29902, 0.31485))):
        assert_allclose(xy_of_kelvin(kelvin), xy, atol=5e-4)  # CIE A, D50, D65, D75


def test_multipliers_are_those_of_raw_developers() -> None:
    choice = parse_white_balance(" 4, 2 ,3")
    neutral, _, note = neutral_of(choice, mosaic_with((0.5, 1.0, 0.6)), np.ones((4, 4, 3), np.float32), 8.0)
    assert_allclose(white_balance(mosaic_with(tuple(neutral))), [2, 1, 1.5])
    assert note == ""


@pytest.mark.parametrize(
    ("neutral", "reason"),
    [
        ((1.0, 1.0, 1.0), "magenta"),
        ((0.3, 1.0, 0.5), "green"),
        ((1.5, 1.0, 0.2), "below 1800 K"),
        ((0.33, 1.0, 1.05), "above 15000 K"),
    ],
)
def test_what_no_light_gives_is_told_and_auto_takes_over(neutral: tuple[float, ...], reason: str) -> None:
    mosaic, image = mosaic_with(neutral), scene(np.array([0.5, 1, 0.66]))
    assert reason in looks_wrong(np.array(neutral), mosaic)
    used, taken, note = neutral_of(WhiteBalance(), mosaic, image, 8.0)
    assert_allclose(used, auto_neutral(image, mosaic, 8.0))
    assert taken.rule == "auto"
    assert reason in note
    assert "auto is used" in note
    kept, _, note = neutral_of(WhiteBalance("as-shot"), mosaic, image, 8.0)
    assert_allclose(kept, neutral)
    assert "--wb auto" in note


@pytest.mark.parametrize("neutral", [(6.67, 1.0, 0.9), (3.5, 1.0, 0.8), (1.2, 1.0, 0.8), (0.1, 1.0, 0.7)])
def test_a_balance_set_for_infrared_or_under_water_is_kept(neutral: tuple[float, ...]) -> None:
    """Behind filters of 720 and 590 nm, of a full-spectrum body, and where water has taken red away."""
    mosaic, image = mosaic_with(neutral), scene(np.array(neutral))[6:]  # leaves are as white as the rest
    assert looks_wrong(np.array(neutral), mosaic)
    used, taken, note = neutral_of(WhiteBalance(), mosaic, image, 8.0)
    assert_allclose(used, neutral)
    assert taken.rule == "as-shot"
    assert note.endswith("which is not plausible, but no plausible one makes anything in the image grey; it is used")
    for other in ((1.0, 1.0, 1.0), (0.3, 1.0, 0.5)):  # what a camera was misled to
        used, taken, note = neutral_of(WhiteBalance(), mosaic_with(other), image, 8.0)
        assert_allclose(used, auto_neutral(image, mosaic, 8.0))
        assert taken.rule == "auto"
        assert note.endswith("--wb auto is used instead")


@pytest.mark.parametrize("neutral", [None, (0.5, 1.0, 0.66), (0.4, 1.0, 0.85), (0.7, 1.0, 1.5)])
def test_what_a_sensor_without_filters_saw_stays_grey(neutral: tuple[float, ...] | None) -> None:
    mosaic = mosaic_with(neutral)
    image = scene(np.ones(3)).mean(axis=2, keepdims=True) * np.float32([1.02, 1, 0.98])
    for choice in (WhiteBalance(), WhiteBalance("auto")):
        used, taken, note = neutral_of(choice, mosaic, image, 8.0)
        assert_allclose(used, 1)
        assert taken.rule == "auto"
        assert (choice.rule == "auto") == (note == "")
    assert "without colour filters" in neutral_of(WhiteBalance(), mosaic, image, 8.0).note
    if neutral is not None:
        assert_allclose(neutral_of(WhiteBalance("as-shot"), mosaic, image, 8.0)[0], neutral)
    balanced = replace(mosaic_with((1.0, 1.0, 1.0)), camera_from_xyz=rgb_from_xyz(COLOR_SPACES["rec709"]))
    assert neutral_of(WhiteBalance(), balanced, image, 8.0)[1:] == (WhiteBalance("as-shot"), "")
    warm = neutral_of_light(xy_of_kelvin(5500), balanced)  # of a camera whose daylight is equal in all channels
    found = neutral_of(WhiteBalance("auto"), balanced, image * np.float32(warm), 8.0).camera_rgb
    assert np.abs(found - warm).max() < 0.5 * np.abs(1 - warm).max()


@pytest.mark.parametrize("paper", [(0.45, 0.4, 0.42), (0.42, 0.4, 0.45), (0.4, 0.44, 0.44)])
def test_pink_paper_stays_pink(paper: tuple[float, ...]) -> None:
    mosaic = mosaic_with((0.5, 1.0, 0.66))
    noise = np.random.default_rng(3).normal(1, 0.04, (60, 90, 3))
    for image in (np.float32(noise * paper), scene(np.array(paper)).mean(axis=2, keepdims=True) * np.float32(paper)):
        assert neutral_of(WhiteBalance(), mosaic, image, 8.0)[1:] == (WhiteBalance("as-shot"), "")


@pytest.mark.parametrize("neutral", [(0.5, 1.0, 0.66), (0.72, 1.0, 0.38), (0.4, 1.0, 0.85), (1.0, 2.0, 1.3)])
def test_usual_is_as_shot(neutral: tuple[float, ...]) -> None:
    used, taken, note = neutral_of(WhiteBalance(), mosaic_with(neutral), scene(np.ones(3)), 8.0)
    assert_allclose(used, np.array(neutral) / neutral[1])
    assert taken.rule == "as-shot"
    assert note == ""


def test_where_the_file_says_nothing_the_image_does_or_daylight_is_as_shot() -> None:
    mosaic, image = mosaic_with(), scene(np.ones(3))
    usual, taken, note = neutral_of(WhiteBalance(), mosaic, image, 8.0)
    assert_allclose(usual, auto_neutral(image, mosaic, 8.0))
    assert taken.rule == "auto"
    assert note == "no as-shot white balance is stated; --wb auto is used"
    as_shot, taken, note = neutral_of(WhiteBalance("as-shot"), mosaic, image, 8.0)
    assert_allclose(as_shot, neutral_of_light(D65, mosaic))
    assert taken.rule == "daylight"
    assert "daylight is used" in note


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cloudy",
        "1,2",
        "1,2,3,4",
        "0,1,1",
        "-1,1,1",
        "nan,1,1",
        "inf,1,1",
        "1,1,1000",
        "900K",
        "30000",
        "5.5.5",
        "K",
        "grey",
        "grey:1,2,3",
        "grey:1,2,3,0",
        "grey:-1,2,3,4",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no white balance|no colour temperature|multipliers must|write grey:"):
        parse_white_balance(text)


@pytest.mark.parametrize(
    "made",
    [
        ("5500K",), ("As-Shot",), ("kelvin",), ("kelvin", (500.0,)), ("multipliers", (0, 1, 1)), ("grey",),
        ("grey", (-1, 0, 1, 1)), ("grey", (0, 0, 0.5, 1)), ("grey", (0, 0, np.inf, 1)),
    ],
)  # fmt: skip
def test_a_white_balance_is_checked_when_it_is_made(made: tuple[Any, ...]) -> None:
    reasons = r"rule must be one of usual, as-shot|no colour temperature|multipliers must|write grey:"
    with pytest.raises(ValueError, match=reasons):
        WhiteBalance(*made)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_grey_card_comes_out_grey_wherever_the_upright_image_has_it(orientation: int) -> None:
    turned = replace(mosaic_with(), counts=np.zeros((60, 90), np.uint16), capture=Capture(orientation=orientation))
    image = scene(np.array([0.7, 1.0, 0.4]))
    x, y, width, height = 7, 11, 20, 13
    card = upright(image, orientation)[y : y + height, x : x + width]  # a view
    card[:] = np.float32([0.15, 0.2, 0.09]) * np.random.default_rng(0).normal(1, 0.05, (height, width, 1))
    choice = parse_white_balance(f"gray:{x},{y},{width},{height}")
    check_lights(choice, turned, "card.dng")
    neutral, taken, note = neutral_of(choice, turned, image, 8.0)
    assert_allclose(neutral, [0.75, 1.0, 0.45], rtol=1e-5)
    assert parse_white_balance(str(taken)) == choice
    told = parse_white_balance(note.rsplit(" ", 1)[1])
    assert_allclose(neutral_of(told, turned, image, 8.0)[0], neutral, rtol=1e-4)


def test_what_cannot_be_a_grey_card_is_refused() -> None:
    mosaic = replace(mosaic_with(), counts=np.zeros((60, 90), np.uint16), capture=Capture(orientation=6))
    check_lights(parse_white_balance("grey:40,70,20,20"), mosaic, "card.dng")
    with pytest.raises(Sve2HdrError, match=r"^card\.dng: --wb grey:41,70,20,20 lies outside .* 60 x 90 px$"):
        check_lights(parse_white_balance("grey:41,70,20,20"), mosaic, "card.dng")
    for level, reason in ((8.0, "is clipped"), (-0.001, "is black")):
        image = np.full((60, 90, 3), level, np.float32)
        with pytest.raises(Sve2HdrError, match=rf"^card\.dng: the area of --wb grey:40,70,20,20 {reason}; choose a "):
            neutral_of(parse_white_balance("grey:40,70,20,20"), mosaic, image, 8.0, "card.dng")


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="kelvin"):
        xy_of_kelvin(100)
    with pytest.raises(ValueError, match="no neutral"):
        neutral_of_light(D65, mosaic_with(matrix=-CANON))


def test_a_temperature_the_matrix_does_not_hold_for_is_refused() -> None:
    simulated = mosaic_with(matrix=CAMERA_FROM_XYZ)
    with pytest.raises(Sve2HdrError, match=r"^a\.dng: .* no neutral at 1600K; give --wb a higher temperature"):
        check_lights(parse_white_balance("1600K"), simulated, Path("a.dng"))
    with pytest.raises(ValueError, match="camera_from_xyz gives a light"):
        check_lights(WhiteBalance(), mosaic_with(matrix=-CANON), Path("a.dng"))
    for text in ("2000K", "2,1,1", "daylight"):
        check_lights(parse_white_balance(text), simulated, Path("a.dng"))
    check_lights(parse_white_balance("1600K"), mosaic_with(matrix=CANON), Path("a.dng"))


def test_a_few_lamps_hardly_move_auto() -> None:
    mosaic = mosaic_with()
    image = scene(neutral_of_light(xy_of_kelvin(5500), mosaic))
    without = auto_neutral(image, mosaic, 1e6)
    image[::20, ::30] = 10_000 * neutral_of_light(xy_of_kelvin(2700), mosaic)
    assert_allclose(auto_neutral(image, mosaic, 1e6), without, rtol=0.02)


def test_what_is_partly_clipped_does_not_move_auto() -> None:
    mosaic = mosaic_with(matrix=CAMERA_FROM_XYZ)
    light = neutral_of_light(xy_of_kelvin(2800), mosaic)
    image = scene(light)
    without = auto_neutral(image, mosaic, 8.0)
    image[20:40] = np.minimum(24 * light, 8)  # redder than it seems
    assert np.abs(np.log2(auto_neutral(image, mosaic, 8.0) / without)).max() < 0.05  # EV


def test_the_less_can_be_grey_the_nearer_auto_is_to_sunlight() -> None:
    mosaic = mosaic_with()
    image, found = np.full((100, 100, 3), [0.03, 0.3, 0.03], np.float32), []
    for rows in (0, 5, 25, 100):
        image[:rows] = 0.3 * neutral_of_light(xy_of_kelvin(3000), mosaic)
        found.append(1e6 / kelvin_and_duv(np.linalg.inv(CANON) @ auto_neutral(image, mosaic, 8.0))[0])
    # sunlight, 185 MK^-1, counts as a tenth of the image, what is grey, 333 MK^-1, as much as there is of it
    assert_allclose(found, [185, 234, 291, 320], atol=3)
