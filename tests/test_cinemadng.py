"""CinemaDNG frames as Magic Lantern video becomes: packed 10, 12 and 14 bits or lossless JPEG, Dual ISO in them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import OpenEXR
import pytest
import tifffile
from cr2container import lossless_jpeg

from sve2hdr.color import COLOR_SPACES
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.lineardng import write_linear_dng
from sve2hdr.formats.tifftags import DEFAULT_SCALE, read_ifds
from sve2hdr.formats.tiffwrite import (
    BYTE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    Ifd,
    entry,
    rationals,
    text_entry,
    write_tiff,
)
from sve2hdr.hdrfile import encoded_preview, write_hdr
from sve2hdr.mosaic import Capture, ExposurePattern, Mosaic
from sve2hdr.pattern import detect_pattern
from sve2hdr.raw.capture import _pixel_aspect, _time_code, true_frame_rate
from sve2hdr.rawfile import read_raw
from sve2hdr.simulation.simulate import CAMERA_FROM_XYZ, NEUTRAL, Sensor, simulate

PATTERN = ExposurePattern(np.float32([[1], [1 / 8], [1 / 8], [1]]))
REAL = Path(__file__).parents[2] / "shared" / "data" / "raw" / "Blackmagic.dng"


def packed(counts: np.ndarray, bits: int) -> bytes:
    """Return counts as TIFF packs them: each row's bits without gaps, the highest first, rows from whole bytes on."""
    shifts = np.arange(bits - 1, -1, -1)
    return np.packbits((counts[..., None] >> shifts & 1).astype(np.uint8).reshape(len(counts), -1), axis=1).tobytes()


def write_cinema_dng(
    path: Path, counts: np.ndarray, bits: int, black: int, white: int, *, lossless: bool, components: int = 2,
    active: tuple[int, int, int, int] | None = None,
) -> None:  # fmt: skip
    """Write a frame as raw video converters do: one strip, one black level, one matrix, little else."""
    height, width = counts.shape
    data = lossless_jpeg(counts, bits, components) if lossless else packed(counts, bits)
    entries = [
        entry(254, LONG, [0]),
        entry(256, LONG, [width]),
        entry(257, LONG, [height]),
        entry(258, SHORT, [bits]),
        entry(259, SHORT, [7 if lossless else 1]),
        entry(262, SHORT, [32803]),
        text_entry(271, "Canon"),
        text_entry(272, "Canon EOS 5D Mark III"),
        entry(274, SHORT, [1]),
        entry(277, SHORT, [1]),
        entry(278, LONG, [height]),
        entry(284, SHORT, [1]),
        text_entry(305, "raw video converter"),
        entry(33421, SHORT, [2, 2]),
        entry(33422, BYTE, [0, 1, 1, 2]),
        entry(50706, BYTE, [1, 4, 0, 0]),
        entry(50707, BYTE, [1, 1, 0, 0]),
        text_entry(50708, "Canon EOS 5D Mark III"),
        entry(50714, LONG, [black]),
        entry(50717, LONG, [white]),
        entry(50721, SRATIONAL, rationals(CAMERA_FROM_XYZ.ravel(), 10_000)),
        entry(50728, RATIONAL, rationals(NEUTRAL, 10_000)),
        entry(50778, SHORT, [21]),
        entry(51044, SRATIONAL, [24000, 1001]),  # FrameRate
        entry(51043, BYTE, [0x52, 0x59, 0x34, 0x12, 0, 0, 0, 0]),  # TimeCodes: 12:34:59.12, drop frame
    ]
    if active is not None:
        entries.append(entry(50829, LONG, active))
    with path.open("wb") as file:
        write_tiff(file, Ifd(entries, {}, [data], 1))


def frame(bits: int, shape: tuple[int, int] = (270, 480)) -> Mosaic:
    """Return a Dual ISO frame of a video: black 2047 and white 15000 at 14 bits, fewer bits cut off."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    light = np.exp2(7 * x / shape[1] - 6.5 + 0.6 * np.sin(y / 19) + 0.4 * np.sign(np.sin((x + 2 * y) / 13)))
    scale = 2.0 ** (bits - 14)
    sensor = Sensor("gain", bits, round(2047 * scale), round(15_000 * scale))
    return simulate(np.float32(light[..., None] * NEUTRAL), "RGGB", PATTERN, sensor, seed=bits)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize(("lossless", "components"), [(False, 0), (True, 1), (True, 2)])
def test_frames_are_read_site_by_site(tmp_path: Path, bits: int, lossless: bool, components: int) -> None:
    mosaic, path = frame(bits), tmp_path / "M01-0001_frame_000000.dng"
    black, white = int(mosaic.black_level[0, 0]), int(mosaic.white_level)
    write_cinema_dng(path, mosaic.counts, bits, black, white, lossless=lossless, components=components)
    read = read_raw(path)
    np.testing.assert_array_equal(read.counts, mosaic.counts)
    assert (read.cfa, read.white_level, np.unique(read.black_level).tolist()) == ("RGGB", white, [black])
    assert read.as_shot_neutral is not None
    np.testing.assert_allclose(read.as_shot_neutral, NEUTRAL, atol=1e-4)
    found = detect_pattern(read).pattern
    assert found is not None
    assert (found.exposure.ravel() < 1).tolist() == [False, True, True, False]
    assert found.ratio_ev == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize(("top", "left"), [(1, 0), (0, 3), (5, 7), (28, 146)])
def test_odd_margins_keep_colours_and_exposures_in_step(tmp_path: Path, top: int, left: int, lossless: bool) -> None:
    """The CFA of a DNG starts at the active area; LibRaw's visible area at the next even site."""
    mosaic, path = frame(14), tmp_path / "a.dng"
    area = (top, left, 270, 480)
    sites = np.roll(mosaic.counts, (top, left), (0, 1))  # masked sites: what light there is wraps around
    write_cinema_dng(path, sites, 14, 2047, 15_000, lossless=lossless, active=area)
    read, first = read_raw(path), (top % 2, left % 2)
    inside = mosaic.counts[first[0] : 270 - top, first[1] : 480 - left]
    np.testing.assert_array_equal(read.counts, inside[: read.shape[0], : read.shape[1]])
    assert read.cfa == {(0, 0): "RGGB", (1, 0): "GBRG", (0, 1): "GRBG", (1, 1): "BGGR"}[first]
    found = detect_pattern(read).pattern
    assert found is not None
    assert (found.exposure.ravel() < 1).tolist() == np.roll([False, True, True, False], -first[0]).tolist()


def test_frame_rate_and_time_code_go_along(tmp_path: Path) -> None:
    mosaic, path = frame(14), tmp_path / "a.dng"
    write_cinema_dng(path, mosaic.counts, 14, 2047, 15_000, lossless=False)
    read = read_raw(path)
    image = np.full((16, 24, 3), 0.1, np.float32)
    write_hdr(tmp_path / "b.exr", image, color_space=COLOR_SPACES["rec709"], capture=read.capture)
    header = OpenEXR.File(str(tmp_path / "b.exr")).header()
    assert header["framesPerSecond"] == Fraction(24000, 1001)
    code = header["timeCode"]
    assert (code.hours, code.minutes, code.seconds, code.frame, code.dropFrame) == (12, 34, 59, 12, True)
    nonsense = replace(read.capture, time_code=(255,) * 8)
    write_hdr(tmp_path / "d.exr", image, color_space=COLOR_SPACES["rec709"], capture=nonsense)
    assert "timeCode" not in OpenEXR.File(str(tmp_path / "d.exr")).header()
    assert _time_code((300.0,) * 8) == _time_code((float("nan"),) * 8) == _time_code((1.0,)) == ()
    assert true_frame_rate(2.0**31) is None
    write_linear_dng(tmp_path / "c.dng", image, read, 8.0)
    with tifffile.TiffFile(tmp_path / "c.dng") as dng:
        tags = dng.pages.first.tags
        assert tuple(tags[51044].value) == (24000, 1001)
        assert list(tags[51043].value) == [0x52, 0x59, 0x34, 0x12, 0, 0, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_which_way_up_the_camera_was_is_read_as_it_was_written(tmp_path: Path, orientation: int) -> None:
    write_cfa_dng(tmp_path / "a.dng", replace(frame(14), capture=Capture(orientation=orientation)))
    assert read_raw(tmp_path / "a.dng").capture.orientation == orientation


@pytest.mark.parametrize(("aspect", "orientation", "upright"), [(3.0, 1, 3.0), (0.6, 1, 0.6), (3.0, 6, 1 / 3)])
def test_pixels_that_are_not_square_are_told(tmp_path: Path, aspect: float, orientation: int, upright: float) -> None:
    """As Magic Lantern's 1x3 modes have them; programs stretch the picture by it."""
    capture = Capture(pixel_aspect=aspect, orientation=orientation)
    write_cfa_dng(tmp_path / "a.dng", replace(frame(14), capture=capture), compressed=True)
    read = read_raw(tmp_path / "a.dng")
    assert read.capture.pixel_aspect == pytest.approx(aspect, rel=1e-6)
    np.testing.assert_array_equal(read.counts, frame(14).counts)
    image = np.full((64, 96, 3), 0.1, np.float32)
    for name in ("b.exr", "b.tif", "b.hdr"):
        write_hdr(tmp_path / name, image, color_space=COLOR_SPACES["rec709"], capture=read.capture)
    write_linear_dng(tmp_path / "b.dng", image, read, 8.0)
    assert OpenEXR.File(str(tmp_path / "b.exr")).header()["pixelAspectRatio"] == pytest.approx(upright)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        across, down = (tiff.pages.first.tags[tag].value for tag in (282, 283))
        assert Fraction(*down) / Fraction(*across) == pytest.approx(upright)  # pixels a unit
    with tifffile.TiffFile(tmp_path / "b.dng") as dng:
        scale = dng.pages.first.pages[0].tags[50718].value
        assert (scale[0] / scale[1], scale[2] / scale[3]) == pytest.approx((max(upright, 1), max(1 / upright, 1)))
        shown = dng.pages.first.shape
    gain = np.zeros((64, 96, 3), np.uint8)
    encoded = encoded_preview(Path("b.jpg"), np.zeros((64, 96, 3), np.uint8), read.capture, gain)
    assert imageio.imread(encoded).shape == (round(64 * max(1 / upright, 1)), round(96 * max(upright, 1)), 3)
    assert shown[1] / shown[0] == pytest.approx(96 / 64 * upright, rel=0.02)
    lines = (tmp_path / "b.hdr").read_bytes()[:200].split(b"\n")
    told = [float(line.partition(b"=")[2]) for line in lines if line.startswith(b"PIXASPECT=")]
    assert told == [pytest.approx(1 / upright, rel=1e-5)]  # Radiance: height over width


def test_square_pixels_and_damaged_scales_are_not_told(tmp_path: Path) -> None:
    write_cfa_dng(tmp_path / "a.dng", frame(14))
    whole = dict(read_ifds(tmp_path / "a.dng"))["root"]
    assert DEFAULT_SCALE not in whole
    for scale in ((3.0,), (0.0, 1.0), (1.0, 0.0), (1e6, 1.0), (float("nan"), 1.0), (float("inf"), 1.0)):
        assert _pixel_aspect(scale) is None


@pytest.mark.parametrize(
    ("told", "meant"),
    [(23.976, Fraction(24000, 1001)), (23.98, Fraction(24000, 1001)), (29.97, Fraction(30000, 1001)),
     (59.94, Fraction(60000, 1001)), (25.0, Fraction(25)), (24.0, Fraction(24)), (1.0, Fraction(1)),
     (12.5, Fraction(25, 2))],
)  # fmt: skip
def test_rounded_frame_rates_are_taken_for_what_they_were(tmp_path: Path, told: float, meant: Fraction) -> None:
    capture = Capture(frame_rate=true_frame_rate(told))
    pixels = np.ones((64, 64, 3), np.float32)
    write_hdr(tmp_path / "a.exr", pixels, color_space=COLOR_SPACES["rec709"], capture=capture)
    assert OpenEXR.File(str(tmp_path / "a.exr")).header()["framesPerSecond"] == meant
    write_linear_dng(tmp_path / "a.dng", pixels, replace(frame(14, (64, 64)), capture=capture), 8.0)
    with tifffile.TiffFile(tmp_path / "a.dng") as dng:
        assert Fraction(*dng.pages.first.tags[51044].value) == meant


@pytest.mark.skipif(not REAL.is_file(), reason="../shared/data is not here: a real CinemaDNG untested")
def test_a_real_frame_is_read_and_is_no_sve() -> None:
    mosaic = read_raw(REAL)
    assert mosaic.shape == (2176, 4128)
    assert detect_pattern(mosaic).pattern is None
