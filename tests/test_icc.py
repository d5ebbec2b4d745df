"""ICC profiles, as LittleCMS (in Pillow), tifffile and, where installed, exiftool read them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from images import CAPTURE, write
from PIL import Image, ImageCms

from sve2hdr.color import COLOR_SPACES, rgb_from_xyz
from sve2hdr.formats.icc import D50_XYZ, icc_profile, srgb_profile
from sve2hdr.hdrfile import encoded_preview
from sve2hdr.lights import adaptation

NAMES = [name for name, space in COLOR_SPACES.items() if space.chromaticities is not None]


def opened(name: str) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(icc_profile(COLOR_SPACES[name])))


@pytest.mark.parametrize("name", NAMES)
def test_littlecms_finds_the_primaries_and_the_name(name: str) -> None:
    profile, space = opened(name).profile, COLOR_SPACES[name]
    assert ImageCms.getProfileDescription(opened(name)).strip() == f"scene-linear {name}"
    assert (profile.version, profile.xcolor_space.strip(), profile.connection_space.strip()) == (4.3, "RGB", "XYZ")
    assert profile.is_matrix_shaper
    np.testing.assert_allclose(profile.media_white_point[0], D50_XYZ, atol=1e-4)
    colorants = np.array([getattr(profile, f"{color}_colorant")[0] for color in ("red", "green", "blue")])
    neutral = rgb_from_xyz(space) @ np.array([x / space.neutral[1] for x in (*space.neutral, 1 - sum(space.neutral))])
    np.testing.assert_allclose(neutral @ colorants, D50_XYZ, atol=1e-4)  # what is neutral is white
    told = np.array([profile.red_primary[1][:2], profile.green_primary[1][:2], profile.blue_primary[1][:2]])
    to_d50 = adaptation(space.neutral, (0.34570, 0.35854))
    for xy, (x, y) in zip(told, space.chromaticities[:3], strict=True):  # type: ignore[index]
        expected = to_d50 @ [x, y, 1 - x - y]
        np.testing.assert_allclose(xy, (expected / expected.sum())[:2], atol=2e-4)


def test_linear_rec709_is_shown_as_srgb_has_it() -> None:
    linear = np.uint8(255 * np.array([[[0.5, 0.5, 0.5], [1, 0, 0], [0.2, 0.5, 0.1]]]))
    shown = ImageCms.profileToProfile(Image.fromarray(linear), opened("rec709"), ImageCms.createProfile("sRGB"))
    share = linear / 255
    encoded = np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(np.asarray(shown), 255 * encoded, atol=1.5)


def test_srgb_is_the_srgb_of_littlecms() -> None:
    codes = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    assert ImageCms.getProfileDescription(profile).strip() == "sRGB"
    shown = ImageCms.profileToProfile(codes, profile, ImageCms.createProfile("sRGB"))
    np.testing.assert_allclose(np.asarray(shown), np.asarray(codes), atol=1)


@pytest.mark.parametrize("gain", [None, np.zeros((8, 8, 3), np.uint8)])
def test_jpeg_previews_are_tagged_as_srgb(gain: np.ndarray | None) -> None:
    """Firefox, and others that manage colours of tagged images alone, show others oversaturated on wide screens."""
    encoded = encoded_preview(Path("a.jpg"), np.zeros((16, 16, 3), np.uint8), CAPTURE, gain)
    with Image.open(io.BytesIO(encoded)) as preview:
        assert preview.info["icc_profile"] == srgb_profile()
        assert preview.info["exif"]


@pytest.mark.parametrize("name", COLOR_SPACES)
def test_tiffs_are_tagged_unless_they_are_camera_rgb(tmp_path: Path, name: str) -> None:
    space = COLOR_SPACES[name]
    write(tmp_path / "a.tif", np.ones((4, 5, 3), np.float32), color_space=space)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        stored = tiff.pages.first.iccprofile
    assert stored == (icc_profile(space) if name in NAMES else None)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed: untested")
def test_exiftool_reads_it(tmp_path: Path) -> None:
    space = COLOR_SPACES["acescg"]
    write(tmp_path / "a.tif", np.ones((4, 5, 3), np.float32), color_space=space)
    command = ["exiftool", "-j", "-ICC_Profile:all", str(tmp_path / "a.tif")]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[0]
    assert told["ProfileDescription"] == "scene-linear acescg"
    assert told["ProfileVersion"] == "4.3.0"
    assert [float(v) for v in told["MediaWhitePoint"].split()] == pytest.approx(D50_XYZ, abs=1e-4)
