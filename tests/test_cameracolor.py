"""Two matrices of a camera: each holds at its light, those between are interpolated, and neutrals stay neutral."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.cameracolor import (
    camera_from_xyz_at,
    camera_from_xyz_of,
    neutral_of_light,
    white_balance,
    xyz_from_balanced,
)
from sve2hdr.color import COLOR_SPACES, linear_rgb, rgb_from_camera, rgb_from_xyz
from sve2hdr.lights import D65, Xy, adaptation, kelvin_and_duv, xy_of_kelvin, xy_of_mired, xyz_from_xy
from sve2hdr.mosaic import Mosaic
from sve2hdr.raw.calibration import Calibrations
from sve2hdr.whitebalance import WhiteBalance, auto_neutral, looks_wrong, neutral_of

# Adobe's ColorMatrices of a Canon EOS 5D Mark III for A and D65.
WARM = np.array([[0.7234, -0.1413, -0.0600], [-0.3631, 1.1150, 0.2850], [-0.0382, 0.1335, 0.6437]])
COOL = np.array([[0.6722, -0.0635, -0.0963], [-0.4287, 1.2460, 0.2028], [-0.0908, 0.2162, 0.5668]])
A: Xy = (0.44757, 0.40745)
TWO = Calibrations(np.stack([WARM, COOL]), (17, 21))
LEVELS = np.zeros((4, 4), np.uint16), "RGGB", np.zeros((2, 2), np.float32), 1.0
ONE_MATRIX, MOSAIC = Mosaic(*LEVELS, COOL), Mosaic(*LEVELS, COOL, calibrations=TWO)


@pytest.mark.parametrize(("xy", "matrix"), [(A, WARM), (D65, COOL), (xy_of_kelvin(2000), WARM)])
def test_each_matrix_holds_at_its_light_and_beyond(xy: Xy, matrix: np.ndarray) -> None:
    seen = matrix @ xyz_from_xy(xy)
    assert_allclose(neutral_of_light(xy, MOSAIC), seen / seen[1], rtol=2e-3)
    assert_allclose(camera_from_xyz_at(xy, MOSAIC), matrix, atol=1e-3)
    assert_allclose(camera_from_xyz_of(seen, MOSAIC), matrix, atol=1e-3)
    assert looks_wrong(seen, MOSAIC) == ""


@pytest.mark.parametrize(
    ("light", "xy"),  # of EXIF's LightSource, as CIE 15 has them: B, C, D55, D75, D50
    [
        (18, (0.3484, 0.3516)),
        (19, (0.3101, 0.3162)),
        (20, (0.3324, 0.3474)),
        (22, (0.2990, 0.3149)),
        (23, (0.3457, 0.3585)),
    ],
)
def test_a_matrix_holds_at_the_light_that_the_file_names(light: int, xy: Xy) -> None:
    mosaic = replace(MOSAIC, calibrations=Calibrations(np.stack([WARM, COOL]), (17, light)))
    assert_allclose(camera_from_xyz_at(xy, mosaic), COOL, atol=2e-3)
    warmer = xy_of_mired(1e6 / kelvin_and_duv(xyz_from_xy(xy))[0] + 20, 0.0)
    assert np.abs(camera_from_xyz_at(warmer, mosaic) - COOL).max() > 5e-3


@given(st.floats(1800, 20000))
@settings(max_examples=30, deadline=None)
def test_a_light_is_found_again_from_its_neutral(kelvin: float) -> None:
    neutral = neutral_of_light(xy_of_kelvin(kelvin), MOSAIC)
    matrix = camera_from_xyz_of(neutral, MOSAIC)
    assert_allclose(matrix, camera_from_xyz_at(xy_of_kelvin(kelvin), MOSAIC), atol=2e-3)
    assert 1e6 / kelvin_and_duv(np.linalg.inv(matrix) @ neutral)[0] == pytest.approx(1e6 / kelvin, abs=4)


@pytest.mark.parametrize("kelvin", [2000, 2856, 3500, 5003, 6504, 9000])
def test_colours_of_any_light_come_out_as_daylight_has_them(kelvin: float) -> None:
    light = xy_of_kelvin(kelvin)
    neutral = neutral_of_light(light, MOSAIC)
    mired = 1e6 / kelvin_and_duv(xyz_from_xy(light))[0]
    rgb = np.random.default_rng(1).uniform(0.05, 1, (20, 30, 3))  # linear Rec. 709, in daylight
    xyz = rgb @ np.linalg.inv(rgb_from_xyz(COLOR_SPACES["rec709"])).T @ adaptation(D65, light).T
    response = TWO.at(mired)
    camera = (xyz @ response.T / (response @ xyz_from_xy(light))[1]).astype(np.float32)
    balanced = neutral_of(WhiteBalance("kelvin", (kelvin,)), MOSAIC, camera, 8.0).camera_rgb
    assert_array_equal(balanced, neutral)
    found = linear_rgb(camera, replace(MOSAIC, as_shot_neutral=balanced), COLOR_SPACES["rec709"], 8.0)
    assert_allclose(found, rgb, atol=0.01)
    one = linear_rgb(camera, replace(ONE_MATRIX, as_shot_neutral=balanced), COLOR_SPACES["rec709"], 8.0)
    if kelvin < 4000:
        assert np.abs(one - rgb).max() > 0.05  # what the second matrix is for


@pytest.mark.parametrize("neutral", [(0.5, 1.0, 0.66), (0.72, 1.0, 0.2), (2.0, 1.0, 2.0), (0.01, 1.0, 1.0), None])
def test_neutrals_stay_neutral_whatever_the_balance(neutral: tuple[float, ...] | None) -> None:
    mosaic = replace(MOSAIC, as_shot_neutral=None if neutral is None else np.array(neutral))
    assert_allclose(xyz_from_balanced(mosaic).sum(axis=1), xyz_from_xy(D65), rtol=1e-9)
    for name in ("rec709", "acescg"):
        assert_allclose(rgb_from_camera(mosaic, COLOR_SPACES[name]) @ (1 / white_balance(mosaic)), 1, rtol=1e-9)


@pytest.mark.parametrize("red", [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 6.67])
def test_balances_for_infrared_do_not_blow_colours_up(red: float) -> None:
    """What two matrices make of a red that is 20 % too much for grey, behind filters of no light's colour."""
    neutral = np.array([red, 1.0, 0.8])
    camera = np.float32([[neutral * [1.2, 1, 1]]])
    found = linear_rgb(camera, replace(MOSAIC, as_shot_neutral=neutral), COLOR_SPACES["rec709"], 80.0)
    assert np.abs(found - 1).max() < 0.8  # 5.1, -2.2, 1.2 behind 590 nm, were it adapted to daylight as light is


@pytest.mark.parametrize("xy", [(0.569, 0.430), (0.53, 0.46)])  # of low-pressure sodium lamps; greener still
def test_light_of_nearly_one_wavelength_does_not_blow_colours_up(xy: Xy) -> None:
    """Bradford's blue cones see less than nothing of it."""
    neutral = WARM @ xyz_from_xy(xy)
    camera = np.float32([[neutral / neutral[1] * [1, 1, 1.2]]])
    found = linear_rgb(camera, replace(MOSAIC, as_shot_neutral=neutral), COLOR_SPACES["rec709"], 80.0)
    assert np.abs(found - 1).max() < 0.5


def test_auto_sees_through_the_matrix_of_the_light_it_finds() -> None:
    neutral = neutral_of_light(A, MOSAIC)
    image = (np.random.default_rng(2).lognormal(-1, 0.8, (60, 90, 1)) * neutral).astype(np.float32)
    found = auto_neutral(image, MOSAIC, 1e6)
    mired = 1e6 / kelvin_and_duv(np.linalg.inv(camera_from_xyz_of(found, MOSAIC)) @ found)[0]
    assert mired == pytest.approx((350 + 0.1 * 185) / 1.1, abs=4)


def test_two_matrices_that_make_no_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="the warmer one first"):
        Calibrations(np.stack([COOL, WARM]), (21, 17))
    with pytest.raises(ValueError, match="that are known"):
        Calibrations(np.stack([WARM, COOL]), (17, 255))
    with pytest.raises(ValueError, match=r"must be \(2, 3, 3\)"):
        Calibrations(COOL, (17, 21))
    with pytest.raises(ValueError, match="one of the matrices of calibrations"):
        Mosaic(*LEVELS, np.eye(3), calibrations=TWO)
