"""Laws of the preview: scale-free, monotone, grey stays grey, odd inputs pass without a warning."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sve2hdr import preview
from sve2hdr.curve import HEADROOM_EV
from sve2hdr.preview import LOST_RISES_EV, look_of, tone_map, tone_map_with_gain


def scene(height: int = 120, width: int = 180, stops: float = 14.0, seed: int = 1) -> np.ndarray:
    """Return a dark room with a bright window and a lamp: two surfaces with texture, far apart in light."""
    texture = np.random.default_rng(seed).lognormal(-2, 0.5, (height, width, 3)).astype(np.float32)
    texture[height // 4 : height // 2, width // 3 : width // 2] *= 2 ** (stops / 2)
    texture[-6:-2, -6:-2] = 2 ** (stops / 2 + 1)
    return texture


NOISE = 0.75e-3  # of luminance, where that of each channel is 1e-3


def moon(light: float = 0.4, grain: float = 1 / 3) -> np.ndarray:
    """Return a textured disc on a sky of nothing but coloured noise, of which denoising has left `grain`."""
    y, x = np.mgrid[:240, :360]
    image = np.random.default_rng(1).normal(0, 1e-3, (240, 360, 3))
    if grain < 1:
        image = sum(np.roll(image, (i, j), (0, 1)) for i in range(3) for j in range(3)) * (grain / 3)
    disc = np.hypot(y - 100, x - 200) < 30
    image[disc] += light * (1 + 0.25 * np.sin(x + y / 2))[disc, None]
    return image.astype(np.float32)


@pytest.mark.parametrize("factor", [2.0**-20, 2.0**-3, 2.0**15])
def test_the_scale_of_the_input_does_not_matter(factor: float) -> None:
    image = scene()
    difference = tone_map(image).astype(int) - tone_map(image * np.float32(factor))
    assert np.abs(difference).max() <= 1


def test_grey_in_grey_out() -> None:
    grey = np.repeat(scene()[..., :1], 3, axis=2)
    assert np.ptp(tone_map(grey), axis=2).max() <= 1


def hue(linear: np.ndarray) -> np.ndarray:
    """Return the hue, (...), degrees, of linear sRGB, (..., 3), in Oklab (Ottosson 2020)."""
    cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.63]]
    a, b = np.moveaxis(
        np.cbrt(linear @ np.transpose(cones)) @ [[1.978, 0.0259], [-2.4286, 0.7828], [0.4506, -0.8087]], -1, 0
    )
    return np.degrees(np.arctan2(b, a))


def linear(rgb: np.ndarray) -> np.ndarray:
    """Return sRGB codes as linear light."""
    code = rgb / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


GOLD, SKY = (1.0, 0.55, 0.12), (0.25, 0.5, 1.0)


@pytest.mark.parametrize("colour", [GOLD, SKY, (0.2, 1.0, 0.45), (1.0, 0.25, 0.5)])
def test_bright_colours_keep_their_hue(colour: tuple[float, float, float]) -> None:
    image = np.repeat(np.float32(np.exp2(np.linspace(-5, 3, 200)))[None, :, None], 120, 0) * np.float32([1, 1, 1])
    image[40:80] *= np.float32(colour)
    rgb, gain = tone_map_with_gain(image)
    shown = linear(rgb[60])
    bright = (shown.max(axis=1) > 0.5) & (rgb[60].max(axis=1) < 253)
    assert bright.sum() > 20
    assert np.abs(hue(shown) - hue(np.float64(colour)))[bright].max() < 6
    on_hdr = shown[::2] * np.exp2(gain[30] * (HEADROOM_EV / 255))
    assert np.abs(hue(on_hdr) - hue(np.float64(colour)))[bright[::2]].max() < 6
    assert (np.diff(rgb[60].astype(int), axis=0) >= -1).all()  # more light makes no channel darker
    assert (gain[30][shown[::2].max(axis=1) < 0.18] == 0).all()  # below middle grey HDR screens show the same


@pytest.mark.parametrize("light", [(0, 0, 1), (1, 0, 0), (0.02, 0.03, 1), (1, 0.02, 0.05), (0.4, 0, 1)])
def test_coloured_light_is_not_blown_out(light: tuple[float, float, float]) -> None:
    lit = scene(stops=4.0).mean(axis=2, keepdims=True)
    brightest = tone_map(lit * np.float32(light)).max(axis=2)
    white = tone_map(np.repeat(lit, 3, axis=2)).max(axis=2)
    assert (brightest >= 250).mean() < (white >= 250).mean() + 0.06
    assert brightest[70:110].std() > 0.7 * white[70:110].std()  # texture of the room
    first = look_of(np.repeat(lit, 3, axis=2))
    assert abs(look_of(lit * np.float32(light)).grey_ev - first.grey_ev) < 1.6  # a sequence follows it


@pytest.mark.parametrize("light", [(-0.12, -0.27, 2.1), (-0.52, -0.26, 2.67)])
def test_deep_blue_light_of_negative_luminance_is_not_black(light: tuple[float, float, float]) -> None:
    lit = scene(stops=4.0).mean(axis=2, keepdims=True) * np.float32(light)
    lit += np.random.default_rng(0).normal(0, 1e-5, lit.shape).astype(np.float32)
    blue = tone_map(lit, noise=1e-5)[..., 2]
    assert 100 < blue[70:110].mean() < 245
    assert blue[70:110].std() > 10


def test_the_range_of_coloured_light_is_compressed_as_that_of_white_light() -> None:
    lit = scene().mean(axis=2, keepdims=True)
    white = tone_map(np.repeat(lit, 3, axis=2))[..., 0].astype(int)
    blue = tone_map(lit * np.float32([0, 0, 1]))[..., 2].astype(int)
    assert max(np.ptp(blue[white == level]) for level in range(1, 255) if (white == level).any()) <= 4


def test_shadows_and_highlights_are_both_there() -> None:
    rgb = tone_map(scene())
    room, window, lamp = rgb[70:110, 20:160], rgb[35:55, 65:85], rgb[-5:-3, -5:-3]
    assert 70 < room.mean() < 140
    assert room.mean() + 40 < window.mean() < 252
    assert window.std() > 4  # texture in the window, 7 stops above the room
    assert lamp.min() > 235


@pytest.mark.parametrize("stops", [0.0, 6.0, 14.0])
def test_a_preview_is_as_much_brighter_as_asked_for_on_all_screens(stops: float) -> None:
    image, look = scene(stops=stops), look_of(scene(stops=stops))
    usual, gain = tone_map_with_gain(image)
    for ev in (-1.5, -0.5, 0.5, 1.5):
        rgb, brighter = tone_map_with_gain(image, brighter_ev=ev)
        assert_array_equal(tone_map(image, look, brighter_ev=ev), rgb)
        step = np.log2(linear(rgb)[70:110, 20:160] / linear(usual)[70:110, 20:160].clip(1e-4))
        assert 0.7 < np.median(step) / ev < 1.4  # of the room: the curve is steeper than 1 in the shadows
        assert ((rgb.astype(int) - usual) * ev >= 0).all()
        assert ((brighter.astype(int) - gain) * ev >= 0).all()
        assert (rgb.min(axis=2) >= 254).mean() < 0.06
    assert_array_equal(tone_map(image, brighter_ev=0.0), usual)
    assert tone_map(image, brighter_ev=-30).max() == 0
    assert tone_map(image, brighter_ev=30).min() == 255


@pytest.mark.parametrize("blown", [0.02, 0.1, 0.25])
def test_what_is_lost_in_the_raw_comes_out_white(blown: float) -> None:
    image = np.minimum(scene(stops=6.0), 1).astype(np.float32)
    image[: round(120 * blown)] = 1.0  # a sky
    rgb = tone_map(image)
    assert rgb[: round(120 * blown) - 1].min() > 245
    assert 70 < np.median(rgb[70:110]) < 140


def overexposed(blown: float, grey_below_ev: float) -> np.ndarray:
    """Return a textured ground below a sky, a share of the image, of which nothing is left: 1.0."""
    texture = np.random.default_rng(4).lognormal(0, 0.3, (120, 180, 1)) * 2.0**-grey_below_ev
    image = np.minimum(np.repeat(texture, 3, axis=2), 1).astype(np.float32)
    image[: round(120 * blown)] = 1.0
    return image


@pytest.mark.parametrize("grey_below_ev", [1.9, 2.2])
def test_what_is_lost_is_white_in_overexposed_frames_too(grey_below_ev: float) -> None:
    image = overexposed(0.3, grey_below_ev)
    assert tone_map(image)[:35].max() < 245  # 1.0 may be a white wall, as far as one knows
    assert tone_map(image, lost=1.0)[:35].min() > 245
    assert 100 < np.median(tone_map(image, lost=1.0)[40:]) < 160


def test_what_is_lost_brightens_no_frame_much() -> None:
    for below_ev in (0.0, 1.0, 2.0, 4.0):
        image = overexposed(0.3, below_ev)
        own, told = look_of(image), look_of(image, lost=1.0)
        assert -1e-6 <= own.grey_ev - told.grey_ev <= LOST_RISES_EV + 1e-6
    assert told == own  # far above grey it is white already
    assert look_of(image, lost=1.5) == own  # nothing is


def test_a_little_more_that_is_lost_makes_no_other_picture() -> None:
    image = overexposed(0.0, 1.5)
    greys = []
    for pixels in range(0, 300, 20):
        image.reshape(-1, 3)[:pixels] = 1.0
        greys.append(look_of(image, lost=1.0).grey_ev)
    assert greys[0] > greys[-1] + 0.3
    assert np.abs(np.diff(greys)).max() < 0.25


def test_frames_of_a_sequence_do_not_follow_what_is_lost_in_one() -> None:
    first, next_one = overexposed(0.0, 1.5), overexposed(0.3, 1.5)
    look = look_of(first, lost=1.0)
    assert_array_equal(tone_map(next_one, look, lost=1.0)[45:], tone_map(next_one, look)[45:])
    shared = look_of(next_one, lost=1.0)
    assert_array_equal(tone_map(next_one, shared, lost=1.0), tone_map(next_one, lost=1.0))


def test_a_blue_sky_of_a_scene_of_small_range_does_not_clip() -> None:
    y, x = np.mgrid[:120, :180]
    image = (0.18 * (1 + 0.2 * np.sin(x / 2 + y))[..., None] * np.float32([1, 1, 0.7])).astype(np.float32)
    image[:50] = (0.8 - 0.2 * y[:50, :, None] / 50) * np.float32([0.55, 0.9, 1.9])
    rgb = tone_map(image)
    assert (rgb.max(axis=2) >= 254).mean() < 0.02
    assert np.diff(rgb[5:45:5, 90, 2].astype(int)).max() < 0  # the sky's gradient is there


def test_a_plain_scene_is_not_stretched_to_white() -> None:
    texture = np.random.default_rng(2).uniform(0.15, 0.25, (120, 180, 1)).astype(np.float32)
    rgb = tone_map(np.repeat(texture, 3, axis=2))
    assert 90 < rgb.min() < rgb.max() < 160


@pytest.mark.parametrize(("ev", "share"), [(9, 0.01), (-20, 0.02)])
def test_a_few_lamps_or_black_holes_hardly_move_the_look(ev: float, share: float) -> None:
    texture = np.random.default_rng(2).uniform(0.15, 0.25, (120, 180, 1)).astype(np.float32)
    image = np.repeat(texture, 3, axis=2)
    plain = look_of(image)
    image.reshape(-1, 3)[: round(share * texture.size)] *= np.float32(2.0**ev)
    look = look_of(image)
    assert look.grey_ev == pytest.approx(plain.grey_ev, abs=0.15)
    assert look.white_ev == (preview.WHITE_EV if ev > 0 else plain.white_ev)


def test_a_ramp_stays_monotone() -> None:
    ramp = np.exp2(np.linspace(-7, 7, 900, dtype=np.float32))
    rgb = tone_map(np.repeat(np.tile(ramp, (80, 1))[..., None], 3, axis=2)).astype(int)
    assert (np.diff(rgb, axis=1) >= -1).all()  # 1: the base comes from a grid
    assert rgb[:, 0].max() < 30
    assert rgb[:, -1].min() > 235


def test_an_edge_gets_no_halo() -> None:
    image = np.full((200, 300, 3), 0.05, np.float32)
    image[:, 150:] = 5.0
    rgb = tone_map(image)[..., 1].astype(int)
    for side in (rgb[:, :150], rgb[:, 150:]):
        assert np.ptp(side) <= 14
    assert rgb[:, 160:].min() > rgb[:, :140].max() + 60


def test_strips_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    image = scene(301, 200)
    whole, gain = tone_map_with_gain(image)
    assert_array_equal(tone_map(image), whole)
    monkeypatch.setattr(preview, "STRIP_SITES", 7 * 200)
    assert_array_equal(tone_map(image), whole)
    for same, once in zip(tone_map_with_gain(image), (whole, gain), strict=True):
        assert_array_equal(same, once)


def test_what_is_brighter_than_any_number_is_white() -> None:
    image = scene(100, 200)
    image[40, 60] = np.finfo(np.float32).max
    rgb, gain = tone_map_with_gain(image)
    assert (rgb[40, 60] == 255).all()
    assert (gain[20, 30] > 0).all()


def test_hdr_screens_show_brighter_highlights_in_their_order_and_the_same_shadows() -> None:
    ramp = np.exp2(np.linspace(-7, 9, 900, dtype=np.float32))
    rgb, gain = tone_map_with_gain(np.repeat(np.tile(ramp, (80, 1))[..., None], 3, axis=2))
    assert gain.shape == (40, 450, 3)
    ev = gain[20, :, 1] * (HEADROOM_EV / 255)
    shown = rgb[40, ::2, 1] / 255
    assert (ev[shown < 0.48] == 0).all()  # sRGB of middle grey
    assert (np.diff(ev) >= 0).all()
    assert 1.5 < ev[-1] <= HEADROOM_EV
    bright = shown > 0.8
    light = np.log2(((shown + 0.055) / 1.055) ** 2.4) + ev
    slope = np.polyfit(np.log2(ramp[::2][bright]), light[bright], 1)[0]
    assert 0.5 < slope < 1.3  # about as the scene, whatever the base layer's compression is


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (5, 3), (4, 6)])
def test_gain_maps_cover_images_of_odd_sizes(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 0.01, np.float32)
    image[-1, -1] = 10.0
    gain = tone_map_with_gain(image)[1]
    assert gain.shape == ((shape[0] + 1) // 2, (shape[1] + 1) // 2, 3)
    assert gain.max() == 0 if shape == (1, 1) else gain[-1, -1].min() > 0
    assert tone_map_with_gain(np.zeros((*shape, 3), np.float32))[1].max() == 0


def test_gain_keeps_the_colour_of_highlights() -> None:
    image = scene()
    image[30:60, 60:90] *= np.float32([1.0, 0.6, 0.3])
    gain = tone_map_with_gain(image)[1][17:28, 32:43].reshape(-1, 3).mean(0)
    assert gain[0] > gain[1] > gain[2]


def test_pixels_far_below_the_noise_do_not_set_the_exposure() -> None:
    image = scene(600, 900)
    with_holes = image.copy()
    with_holes[::4, ::4], with_holes[1::4, ::4] = np.float32(1e-12), np.float32(-1e-3)
    changed = np.abs(tone_map(image).astype(int) - tone_map(with_holes))
    assert np.median(changed[2::4]) < 10


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-30, 1e-6, 0.18, 1.0, 1e6, 1e30])
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 900, 3), (900, 1, 3), (5, 3, 3)])
def test_constant_images(value: float, shape: tuple[int, ...]) -> None:
    rgb = tone_map(np.full(shape, value, np.float32))
    assert rgb.shape == shape
    assert rgb.dtype == np.uint8
    assert np.ptp(rgb) == 0
    assert rgb.max() == 0 if value <= 0 else 100 < rgb.max() < 150


def test_negatives_count_as_black() -> None:
    image = scene()
    image[:20] = -image[:20]
    image[20:40, :, 0] *= -1
    rgb = tone_map(image)
    assert rgb[:20].max() == 0
    assert rgb[20:40, :, 0].max() <= rgb[20:40, :, 1].max()


@pytest.mark.parametrize("grain", [1 / 3, 1])
@pytest.mark.parametrize("light", [0.04, 0.4, 8.0])
def test_what_is_lit_in_a_black_frame_is_exposed_for_itself(light: float, grain: float) -> None:
    rgb = tone_map(moon(light, grain), noise=NOISE)
    disc, sky = rgb[85:115, 185:215], rgb[:60]
    assert np.percentile(sky, 99) < 50 * grain
    assert 90 < np.median(disc) < 235
    assert disc.std() > 8


@pytest.mark.parametrize("rest", [0.0, 0.5e-3])  # of a black level that is not quite right
def test_a_frame_of_nothing_but_noise_stays_dark(rest: float) -> None:
    rgb = tone_map(moon(light=0) + np.float32(rest), noise=NOISE)
    assert np.percentile(rgb, 99) < 50
    assert np.median(rgb) < 30


@pytest.mark.parametrize("noisy", [0, 1, 2])
def test_noise_of_one_channel_is_no_light(noisy: int) -> None:
    image = moon(grain=1)
    image[..., noisy] += np.random.default_rng(3).normal(0, 4e-3, image.shape[:2]).astype(np.float32)
    noise = float(np.hypot(NOISE, 4e-3 * preview.LUMINANCE_OF_RGB[noisy]))
    even = look_of(moon(grain=1), NOISE)
    look = look_of(image, noise)
    assert look.grey_ev == pytest.approx(even.grey_ev, abs=0.5)


def test_negative_luminance_is_no_light_where_the_noise_is_not_known() -> None:
    image = moon()
    look = look_of(image)
    image[image @ preview.LUMINANCE_OF_RGB < 0] = -1
    assert look_of(image) == look


def test_noise_far_below_the_scene_changes_nothing() -> None:
    image = scene(stops=6.0)
    for noise in (None, 0.0, 1e-9, 1e-4):
        assert_array_equal(tone_map(image, noise=noise), tone_map(image))


def test_a_little_more_noise_makes_no_other_picture() -> None:
    image = scene()
    means = [tone_map(image, noise=float(noise)).mean() for noise in np.geomspace(0.01, 1, 100)]
    assert means[0] > means[-1] + 60  # the room becomes black
    assert np.abs(np.diff(means)).max() < 10


def test_looks_hold_what_is_known_of_noise() -> None:
    first, dimmer = moon(), moon(light=0.2)
    look = look_of(first, NOISE)
    assert_array_equal(tone_map(first, look, NOISE), tone_map(first, noise=NOISE))
    assert_array_equal(tone_map_with_gain(first, look, NOISE)[0], tone_map(first, noise=NOISE))
    shown = [tone_map(image, look, NOISE) for image in (first, dimmer)]
    assert shown[0][85:115, 185:215].mean() > shown[1][85:115, 185:215].mean() + 20  # a fade
    assert np.percentile(shown[1][:60], 99) < 15


def test_wrong_arguments_are_refused() -> None:
    for noise in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="noise"):
            tone_map(scene(), noise=noise)
    for lost in (-1.0, 0.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="lost"):
            tone_map(scene(), lost=lost)
    for ev in (np.nan, np.inf):
        with pytest.raises(ValueError, match="brighter_ev"):
            tone_map(scene(), brighter_ev=ev)
    for bad in (np.zeros((4, 4), np.float32), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.float32)):
        with pytest.raises(ValueError, match="float32"):
            tone_map(bad)
