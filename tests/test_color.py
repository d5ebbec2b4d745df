"""Laws of colour: neutrals stay neutral, known matrices, highlights without false colour, nothing else clamped."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.cameracolor import white_balance
from sve2hdr.color import (
    ACES_WHITE,
    COLOR_SPACES,
    linear_rgb,
    lost_level,
    rec709_from,
    rgb_from_camera,
    rgb_from_xyz,
    space_of,
)
from sve2hdr.lights import D65, adaptation, xyz_from_xy
from sve2hdr.mosaic import Mosaic

# Adobe's ColorMatrix for D65 of a Canon EOS 5D Mark III.
CANON = np.array([[0.6722, -0.0635, -0.0963], [-0.4287, 1.2460, 0.2028], [-0.0908, 0.2162, 0.5668]])
DAYLIGHT, TUNGSTEN, RED_HEAVY = (0.5, 1.0, 0.66), (0.72, 1.0, 0.38), (1.2, 1.0, 0.4)
RGB_SPACES = ("rec709", "rec2020", "acescg", "aces2065-1")


def mosaic_with(neutral: tuple[float, ...] | None = DAYLIGHT, camera_from_xyz: np.ndarray = CANON) -> Mosaic:
    as_shot = None if neutral is None else np.array(neutral)
    return Mosaic(np.zeros((4, 4), np.uint16), "RGGB", np.zeros((2, 2), np.float32), 1.0, camera_from_xyz, as_shot)


def image_of(*pixels: tuple[float, ...] | np.ndarray) -> np.ndarray:
    return np.array([pixels], np.float32)


def developed(pixel: np.ndarray, neutral: tuple[float, ...] = DAYLIGHT, clip: float = 8.0) -> np.ndarray:
    return linear_rgb(image_of(pixel), mosaic_with(neutral), COLOR_SPACES["rec709"], clip)[0, 0]


def test_spaces_are_the_ones_of_the_command_line() -> None:
    assert set(COLOR_SPACES) == {"camera", "rec709", "rec2020", "acescg", "aces2065-1", "xyz"}
    assert all(name == space.name for name, space in COLOR_SPACES.items())


def test_rgb_from_xyz_agrees_with_the_standards() -> None:
    rec709 = [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
    ap0 = [[1.0498110175, 0, -0.0000974845], [-0.4959030231, 1.3733130458, 0.0982400361], [0, 0, 0.9912520182]]
    assert_allclose(rgb_from_xyz(COLOR_SPACES["rec709"]), rec709, atol=1e-3)  # published with another rounding of D65
    assert_allclose(rgb_from_xyz(COLOR_SPACES["aces2065-1"]), ap0, atol=1e-6)  # SMPTE ST 2065-1
    assert_allclose(rgb_from_xyz(COLOR_SPACES["xyz"]), np.eye(3), atol=1e-12)
    with pytest.raises(ValueError, match="camera"):
        rgb_from_xyz(COLOR_SPACES["camera"])


def test_adaptation_moves_one_white_onto_the_other() -> None:
    assert_allclose(adaptation(D65, ACES_WHITE) @ xyz_from_xy(D65), xyz_from_xy(ACES_WHITE), rtol=1e-12)
    assert_allclose(adaptation(D65, ACES_WHITE) @ adaptation(ACES_WHITE, D65), np.eye(3), atol=1e-12)


def test_acescg_of_rec709_is_what_is_published() -> None:
    bradford = [
        [0.6130974024, 0.3395231462, 0.0473794514],
        [0.0701937225, 0.9163538791, 0.0134523985],
        [0.0206155929, 0.1095697729, 0.8698146342],
    ]
    acescg = rgb_from_camera(mosaic_with((1.0, 1.0, 1.0), rgb_from_xyz(COLOR_SPACES["rec709"])), COLOR_SPACES["acescg"])
    assert_allclose(acescg, bradford, atol=1e-9)


@pytest.mark.parametrize("name", RGB_SPACES)
@pytest.mark.parametrize("neutral", [DAYLIGHT, TUNGSTEN, RED_HEAVY, (1.0, 2.0, 1.5), None])
def test_neutral_patches_are_neutral_in_every_rgb_space(name: str, neutral: tuple[float, ...] | None) -> None:
    mosaic = mosaic_with(neutral)
    grey = 1 / white_balance(mosaic)
    levels = np.float32([-0.01, 0.001, 0.18, 1.0, 3.0])
    rgb = linear_rgb((levels[:, None, None] * grey).astype(np.float32), mosaic, COLOR_SPACES[name], 8.0)
    assert_allclose(rgb[:, 0], np.repeat(levels[:, None], 3, axis=1), rtol=1e-6)  # green keeps its scale
    assert_allclose(rgb_from_camera(mosaic, COLOR_SPACES[name]) @ grey, 1, rtol=1e-12)


def test_equal_balanced_channels_are_equal_to_the_last_bit() -> None:
    grey = np.repeat(np.random.default_rng(1).normal(0, 1, (50, 40, 1)).astype(np.float32), 3, axis=2)
    for name in RGB_SPACES:
        rgb = linear_rgb(grey, mosaic_with((1.0, 1.0, 1.0)), COLOR_SPACES[name], 100.0)
        assert_array_equal(rgb[..., 0], rgb[..., 1])
        assert_array_equal(rgb[..., 0], rgb[..., 2])


def test_neutral_in_xyz_is_d65() -> None:
    assert_allclose(rgb_from_camera(mosaic_with(), COLOR_SPACES["xyz"]) @ DAYLIGHT, xyz_from_xy(D65), rtol=1e-12)


def test_linear_rgb_is_the_matrix_below_the_clip_level() -> None:
    camera = np.random.default_rng(2).normal(0.3, 0.5, (300, 500, 3)).astype(np.float32)  # several strips
    for name in (*RGB_SPACES, "xyz"):
        matrix = rgb_from_camera(mosaic_with(), COLOR_SPACES[name])
        assert_allclose(linear_rgb(camera, mosaic_with(), COLOR_SPACES[name], 8.0), camera @ matrix.T, atol=2e-5)


def test_scale_of_a_matrix_row_has_no_meaning() -> None:
    scaled = mosaic_with(camera_from_xyz=CANON * [[2.0], [0.3], [5.0]])
    for name in COLOR_SPACES:
        space = COLOR_SPACES[name]
        assert_allclose(rgb_from_camera(scaled, space), rgb_from_camera(mosaic_with(), space), rtol=1e-9, atol=1e-12)


def test_a_camera_that_sees_rec709_gives_rec709() -> None:
    mosaic = mosaic_with((1.0, 1.0, 1.0), rgb_from_xyz(COLOR_SPACES["rec709"]))
    assert_allclose(rgb_from_camera(mosaic, COLOR_SPACES["rec709"]), np.eye(3), atol=1e-12)


def test_camera_space_is_untouched() -> None:
    camera = image_of((9.0, -1.0, 8.0))
    result = linear_rgb(camera, mosaic_with(), COLOR_SPACES["camera"], 1.0)
    assert_array_equal(result, camera)
    assert not np.shares_memory(result, camera)
    assert linear_rgb(camera, mosaic_with(), COLOR_SPACES["camera"], 1.0, out=camera) is camera
    assert_array_equal(rgb_from_camera(mosaic_with(), COLOR_SPACES["camera"]), np.eye(3))


def test_in_place_equals_the_copy() -> None:
    camera = np.random.default_rng(3).uniform(-0.1, 9, (200, 700, 3)).astype(np.float32)
    expected = linear_rgb(camera, mosaic_with(), COLOR_SPACES["acescg"], 8.0)
    assert linear_rgb(camera, mosaic_with(), COLOR_SPACES["acescg"], 8.0, out=camera) is camera
    assert_array_equal(camera, expected)


@pytest.mark.parametrize("neutral", [DAYLIGHT, TUNGSTEN, RED_HEAVY])
def test_wholly_clipped_is_exactly_neutral_at_the_greatest_level(neutral: tuple[float, ...]) -> None:
    for over in (0.98, 1.0, 1.1):
        rgb = developed(np.full(3, 8.0 * over), neutral)
        assert rgb[0] == rgb[1] == rgb[2]
    assert_allclose(developed(np.full(3, 8.0), neutral), lost_level(mosaic_with(neutral), 8.0), rtol=1e-6)


@pytest.mark.parametrize("neutral", [DAYLIGHT, TUNGSTEN, RED_HEAVY])
def test_a_neutral_ramp_through_clipping_stays_neutral(neutral: tuple[float, ...]) -> None:
    level = np.linspace(4, 40, 2000)[:, None]
    camera = np.minimum(level * neutral, 8.0).astype(np.float32)[None]
    rgb = linear_rgb(camera, mosaic_with(neutral), COLOR_SPACES["rec709"], 8.0)[0]
    assert np.ptp(rgb, axis=1).max() / rgb.max() < 0.02
    assert (np.diff(rgb, axis=0) >= -1e-5).all()


def test_nothing_else_clamps() -> None:
    camera = image_of((-0.2, -0.1, -0.3), (3.0, 6.0, 4.0), (0.0, 0.0, 5.0))
    rgb = linear_rgb(camera, mosaic_with(), COLOR_SPACES["rec709"], 1e6)
    assert_allclose(rgb, camera @ rgb_from_camera(mosaic_with(), COLOR_SPACES["rec709"]).T, rtol=1e-5, atol=1e-5)
    assert rgb.min() < 0 < 1 < rgb.max()


def test_wrong_arguments_are_refused() -> None:
    camera = image_of((1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="float32"):
        linear_rgb(camera.astype(np.float64), mosaic_with(), COLOR_SPACES["rec709"], 8.0)
    with pytest.raises(ValueError, match="clip_level"):
        linear_rgb(camera, mosaic_with(), COLOR_SPACES["rec709"], 0.0)
    with pytest.raises(ValueError, match="out"):
        linear_rgb(camera, mosaic_with(), COLOR_SPACES["rec709"], 8.0, out=np.empty((2, 2, 3), np.float32))
    with pytest.raises(ValueError, match="neutral"):
        white_balance(mosaic_with(None, -CANON))


def test_told_primaries_are_converted_and_neutrals_stay_neutral() -> None:
    rng = np.random.default_rng(0)
    colours = rng.random((50, 3))
    for name in ("rec2020", "acescg", "aces2065-1", "xyz"):
        space = COLOR_SPACES[name]
        assert space.chromaticities is not None
        told = [round(v, 4) for xy in space.chromaticities for v in xy]
        matrix = rec709_from(space_of(told))
        assert matrix is not None
        back = (
            rgb_from_xyz(space) @ adaptation(D65, space.neutral) @ np.linalg.inv(rgb_from_xyz(COLOR_SPACES["rec709"]))
        )
        assert_allclose(colours @ back.T @ matrix.T, colours, atol=1e-9)
    adobe = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, 0.3127, 0.3290)
    matrix = rec709_from(space_of(adobe))
    assert matrix is not None
    assert_allclose(matrix.sum(axis=1), 1, atol=1e-3)
    assert matrix[0, 1] < -0.3  # its green is beyond Rec. 709
    assert rec709_from(space_of(())) is rec709_from(space_of((0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329))) is None


@pytest.mark.parametrize("told", [(0.3, 0.3) * 4, (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.0)])
def test_primaries_that_span_no_colours_are_refused(told: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="span no colours"):
        rec709_from(space_of(told))


def test_primaries_that_are_nearly_one_are_refused() -> None:
    with pytest.raises(ValueError, match="span no colours"):
        rec709_from(space_of((0.64, 0.33, 0.6401, 0.33, 0.15, 0.06, 0.3127, 0.329)))
