"""write_linear_dng, read back with LibRaw, tifffile and, where installed, dcraw and exiftool."""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from sve2hdr.color import COLOR_SPACES, linear_rgb
from sve2hdr.errors import UnreadableRaw, UnwritableOutput
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.lineardng import LinearDngOptions, baseline_exposure, reduced_for_preview, write_linear_dng
from sve2hdr.formats.xmp import xmp_packet
from sve2hdr.mosaic import Capture, Mosaic
from sve2hdr.preview import look_of
from sve2hdr.raw.calibration import Calibrations
from sve2hdr.rawfile import read_raw

CANON = np.array([[0.6722, -0.0635, -0.0963], [-0.4287, 1.2460, 0.2028], [-0.0908, 0.2162, 0.5668]])
CAPTURE = Capture("Canon", "Canon EOS 5D Mark III", "EF 50mm f/1.8", 1 / 125, 2.8, 800, 50, "2020:01:02 03:04:05", 6)
NEUTRAL = np.array([0.5, 1.0, 0.66])
MOSAIC = Mosaic(np.zeros((4, 4), np.uint16), "RGGB", np.zeros((2, 2), np.float32), 1.0, CANON, NEUTRAL, CAPTURE)
CLIP = 8.0
EVERY = LinearDngOptions(), LinearDngOptions(floating=True)

needs_dcraw = pytest.mark.skipif(shutil.which("dcraw") is None, reason="dcraw is not installed: untested with it")
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed: untested")


def scene(height: int = 90, width: int = 140, brightest: float = 0.8 * CLIP, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    tint = rng.uniform(0.7, 1.3, (height, width, 3))
    light = np.exp2(rng.uniform(-6, 0, (height, width, 1)))
    image = (light * tint * NEUTRAL).astype(np.float32)
    return np.asarray(image * np.float32(brightest / image.max()))


def write(folder: Path, image: np.ndarray, options: LinearDngOptions | None = None, **settings: Any) -> Path:
    path = folder / "a.dng"
    write_linear_dng(path, image, MOSAIC, CLIP, options=options, overwrite=True, **settings)
    return path


def stored(path: Path) -> tuple[np.ndarray, dict[int, Any], dict[int, Any]]:
    """Return the raw values, the main IFD's tags and the raw's, as tifffile has them."""
    with tifffile.TiffFile(path) as tiff:
        main = tiff.pages.first
        (raw,) = main.pages
        tags = ({tag.code: tag.value for tag in page.tags} for page in (main, raw))
        return raw.asarray(), *tags


def developed_by_libraw(path: Path) -> np.ndarray:
    with rawpy.imread(str(path)) as raw:
        image = raw.postprocess(
            gamma=(1, 1),
            no_auto_bright=True,
            use_camera_wb=True,
            output_bps=16,
            output_color=rawpy.ColorSpace.sRGB,
            adjust_maximum_thr=0,
        )
    return np.asarray(image)


def developed_by_dcraw(path: Path) -> np.ndarray:
    command = ["dcraw", "-T", "-4", "-o", "1", "-w", "-c", str(path)]
    return np.asarray(tifffile.imread(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)))


def assert_developed(developed: np.ndarray, image: np.ndarray, step: float) -> None:
    """Compare with our own EXR path where all fits into the developer's 16 bits; `step` is what rounding may do."""
    ours = linear_rgb(image, MOSAIC, COLOR_SPACES["rec709"], CLIP) / CLIP
    fits = (ours.min(axis=2) > 0) & (ours.max(axis=2) < 0.98) & ((image / NEUTRAL).max(axis=2) < 0.98 * CLIP)
    assert fits.mean() > 0.5
    assert_allclose(developed[fits] / 65535, ours[fits], rtol=0.005, atol=step)
    assert np.median(developed[fits] / 65535 / ours[fits]) == pytest.approx(1, abs=0.001)


# Laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", EVERY)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 96), (90, 140), (513, 70), (70, 1030)])
def test_what_is_written_is_read_back(tmp_path: Path, options: LinearDngOptions, shape: tuple[int, int]) -> None:
    image = scene(*shape)
    values, _, tags = stored(write(tmp_path, image, options))
    assert values.dtype == (np.float16 if options.floating else np.uint16)
    if options.floating:
        assert_array_equal(values, (image / np.float32(CLIP)).astype(np.float16))
        assert set(tags[50717]) == {1}
    else:
        assert_allclose(values * (CLIP / 65535), image, rtol=0, atol=CLIP / 65535)  # dither
        assert set(tags[50717]) == {65535}


@pytest.mark.parametrize("shape", [(64, 96), (8, 3000), (530, 600)])  # tiles, strips, tiles that are cut off
def test_shadows_finer_than_a_step_are_there_in_the_mean(tmp_path: Path, shape: tuple[int, int]) -> None:
    steps = np.array([0.1, 0.5, 7.3], np.float32)
    values, _, _ = stored(write(tmp_path, np.tile(steps * np.float32(CLIP / 65535), (*shape, 1))))
    assert_allclose(values.mean(axis=(0, 1)), steps, rtol=0, atol=0.03)
    assert (np.ptp(values, axis=(0, 1)) == 1).all()
    for level, stored_as in ((0, 0), (-0.1, 0), (3 / 65535, 3), (1, 65535)):  # whole steps stay
        flat = np.full((*shape, 3), level * CLIP, np.float32)
        assert (stored(write(tmp_path, flat))[0] == stored_as).all()


def test_an_image_of_planes_is_stored_as_any(tmp_path: Path) -> None:
    image = scene(33, 1025)
    of_planes = np.moveaxis(np.ascontiguousarray(np.moveaxis(image, 2, 0)), 0, 2)
    values = [stored(write(tmp_path, i))[0] for i in (image, of_planes)]
    assert_array_equal(*values)


@pytest.mark.parametrize("shape", [(64, 64), (70, 95), (520, 90), (90, 521), (511, 513)])
def test_libraw_decodes_the_same_values(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = write(tmp_path, scene(*shape))
    with rawpy.imread(str(path)) as raw:
        assert_array_equal(raw.raw_image_visible[..., :3], stored(path)[0])
        assert (raw.white_level, raw.num_colors, raw.sizes.flip) == (65535, 3, 0)
        assert_allclose(raw.camera_whitebalance[:3], 1 / NEUTRAL, rtol=1e-5)
        assert_allclose(raw.rgb_xyz_matrix[:3], CANON, atol=1e-5)
        assert (raw.other.iso_speed, raw.lens.model) == (800, CAPTURE.lens)


@pytest.mark.parametrize("options", EVERY)
@pytest.mark.parametrize("shape", [(64, 64), (90, 140), (530, 100)])
def test_libraw_develops_what_our_exr_holds(tmp_path: Path, options: LinearDngOptions, shape: tuple[int, int]) -> None:
    image = scene(*shape)
    step = 6 / 65535 if not options.floating else 6 / 16383  # LibRaw turns floats into 14 bits
    assert_developed(developed_by_libraw(write(tmp_path, image, options)), image, step)


@needs_dcraw
@pytest.mark.parametrize("shape", [(64, 64), (90, 140), (530, 100)])
def test_dcraw_develops_what_our_exr_holds(tmp_path: Path, shape: tuple[int, int]) -> None:
    image = scene(*shape)
    assert_developed(developed_by_dcraw(write(tmp_path, image)), image, 6 / 65535)


@pytest.mark.parametrize("options", EVERY)
def test_what_clips_in_all_exposures_is_white_in_raw_developers(tmp_path: Path, options: LinearDngOptions) -> None:
    image = scene(64, 96)
    image[20:40, 20:60] = np.random.default_rng(1).uniform(0.98 * CLIP, 1.2 * CLIP, (20, 40, 3))  # a network's clipped
    path = write(tmp_path, image, options)
    assert (stored(path)[0][20:40, 20:60] == (1 if options.floating else 65535)).all()
    white = developed_by_libraw(path)[22:38, 22:58]
    assert white.min() > 0.999 * 65535
    assert np.ptp(white) <= 4


def test_values_grow_with_light_and_are_untouched_below_the_highlights(tmp_path: Path) -> None:
    ramp = (
        np.append(np.linspace(-0.5, 1.3 * CLIP, 3000, dtype=np.float32), [np.float32(1e9)]).repeat(3).reshape(1, -1, 3)
    )
    for options in EVERY:
        values = stored(write(tmp_path, ramp, options))[0][0, :, 1].astype(np.float64)
        share = values / values.max() * CLIP
        assert (np.diff(values) >= 0).all()
        linear = (ramp[0, :, 1] > 0) & (ramp[0, :, 1] < 0.88 * CLIP)
        assert_allclose(share[linear], ramp[0, linear, 1], rtol=6e-4, atol=CLIP / 65535)
        assert (values[ramp[0, :, 1] <= 0] == 0).all()


def test_a_turned_view_is_stored_as_it_looks(tmp_path: Path) -> None:
    image = scene(40, 70)
    turned = image.swapaxes(0, 1)[:, ::-1]
    assert not turned.flags.c_contiguous
    first = write(tmp_path, turned).read_bytes()
    assert first == write(tmp_path, np.ascontiguousarray(turned)).read_bytes()


@settings(max_examples=50)
@given(st.floats(-8, 8), st.floats(0, 5))
def test_baseline_exposure_makes_up_for_brightness(image_ev: float, ratio_ev: float) -> None:
    image = scene(20, 30)
    clip = float(np.exp2(ratio_ev))
    found = baseline_exposure(image * np.float32(2**image_ev), clip)
    darker = baseline_exposure(image * np.float32(2 ** (image_ev - 0.5)), clip)
    assert 0 <= found <= darker <= ratio_ev + 0.005
    if found > 0 and darker < ratio_ev - 0.005:
        assert darker == pytest.approx(found + 0.5, abs=0.011)


def test_what_previews_show_keeps_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    image = scene(60, 80)
    for side in (40, 20, 4):
        monkeypatch.setattr("sve2hdr.formats.lineardng.PREVIEW_SIDE", side)
        small = reduced_for_preview(image)
        assert max(small.shape[:2]) <= side
        assert_allclose(small.mean(axis=(0, 1)), image.mean(axis=(0, 1)), rtol=1e-5)


def test_same_image_same_bytes(tmp_path: Path) -> None:
    image = scene()
    for options in EVERY:
        assert write(tmp_path, image, options).read_bytes() == write(tmp_path, image, options).read_bytes()


def test_memory_stays_far_below_the_image(tmp_path: Path) -> None:
    image = np.tile(scene(64, 64), (16, 24, 1))
    for options in EVERY:
        tracemalloc.start()
        try:
            write(tmp_path, image, options)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2.5 * image.nbytes  # of a small image, which its preview is a fourth of


# Other eyes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", EVERY)
def test_structure_is_a_dngs(tmp_path: Path, options: LinearDngOptions) -> None:
    path = write(tmp_path, scene(600, 300), options, attributes={"sve2hdr:version": "1.2", "sve2hdr:model": "m"})
    assert path.read_bytes()[:8] == b"II*\0\x08\0\0\0"
    _, main, raw = stored(path)
    assert (main[254], main[262], main[259], main[274]) == (1, 6, 7, 1)
    assert main[50706] == main[50707] == b"\1\4\0\0"
    assert main[50708] == "Canon EOS 5D Mark III"
    assert 270 not in main  # the photographer's caption
    assert main[700] == xmp_packet({"sve2hdr:version": "1.2", "sve2hdr:model": "m"})
    assert (raw[254], raw[262], raw[256], raw[257]) == (0, 34892, 300, 600)
    strips, tiles = {273, 278, 279}, {322, 323, 324, 325}
    assert (strips | tiles) & set(raw) in (strips, tiles)  # whole, and never both
    odd = {50719, 50720, 50829, 51008, 51009, 51022, 51125, 50712}  # crops, active area, opcodes, linearization
    assert not odd & (set(main) | set(raw))
    for ifd in (main, raw):
        assert list(ifd) == sorted(ifd)


def test_both_matrices_go_along_with_their_lights(tmp_path: Path) -> None:
    warm = CANON * [[1.1], [0.9], [1.2]]
    two = replace(MOSAIC, calibrations=Calibrations(np.stack([warm, CANON]), (17, 21)))
    write_linear_dng(tmp_path / "a.dng", scene(), two, CLIP)
    _, main, _ = stored(tmp_path / "a.dng")
    assert (main[50778], main[50779]) == (17, 21)
    for tag, matrix in ((50721, warm), (50722, CANON)):
        assert_allclose(np.array(main[tag]).reshape(-1, 2) @ [1, 0] / 1e6, matrix.ravel(), atol=1e-6)
    _, one, _ = stored(write(tmp_path, scene()))
    assert one[50778] == 21
    assert not {50722, 50779} & set(one)


def test_the_preview_is_an_upright_jpeg_of_the_image(tmp_path: Path) -> None:
    image = np.full((400, 600, 3), 0.02, np.float32) * NEUTRAL.astype(np.float32)
    image[:, 300:] *= 16
    with rawpy.imread(str(write(tmp_path, image))) as raw:
        thumbnail = raw.extract_thumb()
    assert thumbnail.format == rawpy.ThumbFormat.JPEG
    with Image.open(io.BytesIO(thumbnail.data)) as preview:
        assert preview.size == (300, 200)
        pixels = np.asarray(preview).astype(int)
    assert pixels[:, 200:].mean() > pixels[:, :100].mean() + 50
    assert np.ptp(pixels, axis=2).max() <= 3  # neutral


@needs_exiftool
@pytest.mark.parametrize("options", EVERY)
def test_exiftool_finds_every_tag_and_nothing_wrong(tmp_path: Path, options: LinearDngOptions) -> None:
    attributes = {"sve2hdr:model": "a & b", "sve2hdr:white_level": "15000 16000"}
    path = write(
        tmp_path, scene(), replace(options, baseline_exposure_ev=1.5, exposure_ev=-0.25), attributes=attributes
    )
    command = ["exiftool", "-j", "-n", "-validate", "-all", str(path)]
    tags = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[0]
    expected = {
        "Validate": "0 0 0",
        "Make": CAPTURE.make,
        "Model": CAPTURE.model,
        "Software": "sve2hdr",
        "ImageDescription": None,
        "White_level": "15000 16000",
        "Orientation": 1,
        "DNGVersion": "1 4 0 0",
        "ColorMatrix1": " ".join(f"{v:g}" for v in CANON.ravel()),
        "CalibrationIlluminant1": 21,
        "AsShotNeutral": "0.5 1 0.66",
        "BaselineExposure": 1.25,
        "PhotometricInterpretation": 34892,
        "BlackLevel": "0 0 0",
        "ExposureTime": 0.008,
        "FNumber": 2.8,
        "ISO": 800,
        "FocalLength": 50,
        "LensModel": CAPTURE.lens,
        "DateTimeOriginal": CAPTURE.taken,
    }
    assert {name: tags.get(name) for name in expected} == expected


@needs_dcraw
def test_dcraw_identifies_it(tmp_path: Path) -> None:
    path = write(tmp_path, scene())
    told = subprocess.run(["dcraw", "-i", "-v", path], capture_output=True, text=True, check=True).stdout
    told = " ".join(told.split())
    for line in ("Camera: Canon EOS 5D Mark III", "Image size: 140 x 90", "Raw colors: 3", "Thumb size: 70 x 45"):
        assert line in told
    assert "Camera multipliers: 2.000000 1.000000 1.515152" in told


def test_our_own_reader_says_that_it_is_no_mosaic(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRaw, match=r"a\.dng"):
        read_raw(write(tmp_path, scene()))


@pytest.mark.parametrize(
    ("capture", "name"),
    [
        (Capture(), "sve2hdr"),
        (Capture(make="NIKON CORPORATION", model="NIKON D750"), "NIKON D750"),
        (Capture(make="Sony", model="ILCE-7M3"), "Sony ILCE-7M3"),
        (Capture(make="Canon", model="Canon EOS 350D DIGITAL", unique_model="Canon EOS 350D"), "Canon EOS 350D"),
        (Capture(make="Canon", model="Canon EOS REBEL T5i"), "Canon EOS 700D"),
        (Capture(make="Canon", model="EOS Kiss X5"), "Canon EOS 600D"),
        (Capture(make="Canon", model="Canon EOS Rebel SL2"), "Canon EOS 200D"),
        (Capture(make="Canon", model="Canon EOS Hi"), "Canon EOS 1200D"),
        (Capture(make="Canon", model="Canon EOS REBEL T5", unique_model="Canon EOS Rebel T5"), "Canon EOS 1200D"),
    ],
)
def test_the_camera_is_named_as_profiles_name_it(tmp_path: Path, capture: Capture, name: str) -> None:
    path = tmp_path / "a.dng"
    write_linear_dng(path, scene(), replace(MOSAIC, capture=capture, as_shot_neutral=None), CLIP)
    _, main, _ = stored(path)
    write_cfa_dng(tmp_path / "cfa.dng", replace(MOSAIC, capture=capture))
    with tifffile.TiffFile(tmp_path / "cfa.dng") as cfa:
        assert cfa.pages.first.tags[50708].value == main[50708] == name
    assert len(main[50728]) == 6  # a neutral, though the file had none: else raw developers guess


# Refusals -------------------------------------------------------------------------------------------------------------


def test_other_names_and_what_exists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwritableOutput, match=r"name the output \*\.dng"):
        write_linear_dng(tmp_path / "a.tif", scene(), MOSAIC, CLIP)
    (tmp_path / "a.dng").write_bytes(b"mine")
    with pytest.raises(UnwritableOutput, match=r"exists"):
        write_linear_dng(tmp_path / "a.dng", scene(), MOSAIC, CLIP)
    assert (tmp_path / "a.dng").read_bytes() == b"mine"
    assert [p.name for p in tmp_path.iterdir()] == ["a.dng"]


@pytest.mark.parametrize(
    ("image", "clip_level"),
    [
        (np.zeros((4, 4), np.float32), 8.0),
        (np.zeros((4, 4, 3)), 8.0),
        (np.zeros((0, 4, 3), np.float32), 8.0),
        (np.full((4, 4, 3), np.nan, np.float32), 8.0),
        (np.full((4, 4, 3), np.inf, np.float32), 8.0),
        (np.zeros((4, 4, 3), np.float32), 0.0),
        (np.zeros((4, 4, 3), np.float32), math.nan),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, image: np.ndarray, clip_level: float) -> None:
    with pytest.raises(ValueError, match=r"camera_rgb|clip_level"):
        write_linear_dng(tmp_path / "a.dng", image, MOSAIC, clip_level)
    assert not list(tmp_path.iterdir())


def test_a_frame_that_is_black_but_for_a_little_is_brightened_for_that() -> None:
    image = np.abs(np.random.default_rng(0).normal(0, 1e-4, (64, 64, 3))).astype(np.float32)
    image[20:40, 20:40] = 2.0
    assert baseline_exposure(image, 8.0) == 3
    assert baseline_exposure(image, 8.0, noise=1e-4) == 0
    dim = np.full((8, 8, 3), 0.01, np.float32)
    assert baseline_exposure(dim, 8.0, noise=0.01) == baseline_exposure(dim, 8.0) == 3  # all of it


def test_how_deep_shadows_and_how_bright_a_few_lamps_are_moves_no_baseline_exposure() -> None:
    image = np.full((40, 40, 3), 0.3, np.float32)
    plain, shadows, lamps = baseline_exposure(image, CLIP), image.copy(), image.copy()
    shadows[:2] = 0.3 * 2.0**-9
    deeper = np.where(shadows < 0.3, np.float32(0.3 * 2.0**-16), shadows)
    assert plain < baseline_exposure(shadows, CLIP) == baseline_exposure(deeper, CLIP) < 3
    lamps[0, :8] = 1000
    assert baseline_exposure(lamps, CLIP) == plain
    assert baseline_exposure(image * np.float32([2, 1, 0.5]), CLIP) == plain  # green tells


def shown_by(path: Path) -> float:
    """Return the mean of the preview within."""
    with rawpy.imread(str(path)) as raw, Image.open(io.BytesIO(raw.extract_thumb().data)) as preview:
        return float(np.asarray(preview).mean())


def test_the_preview_within_is_as_bright_as_that_beside(tmp_path: Path) -> None:
    image = scene(brightest=1.0)
    own = shown_by(write(tmp_path, image))
    of_a_brighter_frame = look_of(linear_rgb(4 * image, MOSAIC, COLOR_SPACES["rec709"], CLIP))
    assert shown_by(write(tmp_path, image, LinearDngOptions(look=of_a_brighter_frame))) < own - 20
    fog = np.full((64, 96, 3), 1.1 * CLIP, np.float32)
    assert shown_by(write(tmp_path, fog)) > shown_by(write(tmp_path, fog / 2)) + 5  # what is lost is white


def test_noise_tells_what_is_black_also_in_the_file(tmp_path: Path) -> None:
    image = np.abs(np.random.default_rng(0).normal(0, 1e-4, (64, 64, 3))).astype(np.float32)
    image[20:40, 20:40] = 2.0
    exposures = []
    for noise in (None, 1e-4):
        _, main, _ = stored(write(tmp_path, image, LinearDngOptions(noise=noise)))
        exposures.append(main[50730][0] / main[50730][1])
    assert exposures == [3, 0]
