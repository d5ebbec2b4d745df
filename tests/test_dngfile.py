"""write_cfa_dng, read back with LibRaw, tifffile and, where installed, dcraw and exiftool."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile
from frames import read_noise_profile

from sve2hdr.errors import UnwritableOutput
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.mosaic import BAYER_ORDERS, Capture, Mosaic, Position
from sve2hdr.rawfile import read_raw

MATRIX = np.array([[0.9194, -0.2787, -0.1059], [-0.8098, 1.5657, 0.2608], [-0.261, 0.3064, 0.7867]])
CAPTURE = Capture(
    make="Canon",
    model="Canon EOS 5D Mark III",
    lens="EF24-70mm f/2.8L II USM",
    exposure_time_s=1 / 125,
    f_number=2.8,
    iso=800.0,
    focal_length_mm=35.0,
    taken="2020:01:02 03:04:05",
    orientation=6,
    artist="Ann Ö.",
    copyright="© Ann Ö.",
    serial_number="0123",
    utc_offset="-03:30",
    subseconds="070",
    position=Position(48.25, -16.5, -2.25, "2020:01:02 06:04:05.07", 90.5, magnetic=True),
    focal_length_35mm=36.0,
    pixels_per_mm=160.125,
)

needs_dcraw = pytest.mark.skipif(shutil.which("dcraw") is None, reason="dcraw is not installed: untested with it")
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed: untested")


def frame(cfa: str = "RGGB", shape: tuple[int, int] = (70, 66), capture: Capture = CAPTURE) -> Mosaic:
    counts = np.random.default_rng(7).integers(0, 65536, shape).astype(np.uint16)
    black = np.float32([[2047, 2048], [2049, 2050]])
    return Mosaic(counts, cfa, black, 15300.0, MATRIX, np.array([0.5, 1.0, 0.625]), capture)


def assert_same(actual: Mosaic, expected: Mosaic) -> None:
    np.testing.assert_array_equal(actual.counts, expected.counts)
    assert actual.cfa == expected.cfa
    np.testing.assert_array_equal(actual.black_level, expected.black_level)
    assert actual.white_level == expected.white_level
    np.testing.assert_allclose(actual.camera_from_xyz, expected.camera_from_xyz, rtol=0, atol=1e-6)
    assert actual.as_shot_neutral is not None
    assert expected.as_shot_neutral is not None
    np.testing.assert_allclose(actual.as_shot_neutral, expected.as_shot_neutral, rtol=0, atol=1e-6)
    assert actual.capture == expected.capture


# Laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", [(64, 64), (65, 70), (70, 65), (81, 67)])
@pytest.mark.parametrize("cfa", [*BAYER_ORDERS, "RRGGRRGGGGBBGGBB"])
def test_what_is_written_is_read_back(tmp_path: Path, cfa: str, shape: tuple[int, int], compressed: bool) -> None:
    mosaic = frame(cfa, shape)
    write_cfa_dng(tmp_path / "a.dng", mosaic, compressed=compressed)
    assert_same(read_raw(tmp_path / "a.dng"), mosaic)


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("shape", [(64, 64), (65, 71)])
def test_libraw_reads_counts_filters_levels_and_balance(tmp_path: Path, cfa: str, shape: tuple[int, int]) -> None:
    mosaic = frame(cfa, shape)
    write_cfa_dng(tmp_path / "a.dng", mosaic)
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        np.testing.assert_array_equal(raw.raw_image_visible, mosaic.counts)
        letters = np.array([chr(c) for c in raw.color_desc])[raw.raw_pattern]
        assert "".join(letters.ravel()) == cfa
        black = np.array(raw.black_level_per_channel)[raw.raw_pattern]
        np.testing.assert_array_equal(black, mosaic.black_level)
        assert raw.white_level == mosaic.white_level
        np.testing.assert_allclose(raw.camera_whitebalance[:3], [2.0, 1.0, 1.6], rtol=1e-6)
        assert raw.sizes.flip == 6
        assert raw.other.shutter_speed == pytest.approx(1 / 125)
        assert (raw.other.iso_speed, raw.lens.model) == (800, CAPTURE.lens)
        assert raw.other.aperture == pytest.approx(2.8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_survives(tmp_path: Path, orientation: int) -> None:
    write_cfa_dng(tmp_path / "a.dng", frame(capture=Capture(orientation=orientation)))
    assert read_raw(tmp_path / "a.dng").capture == Capture(orientation=orientation)


@pytest.mark.parametrize("seconds", [1 / 8000, 1 / 125, 1 / 3, 0.4, 1.3, 30.0, 1e-5])
@pytest.mark.parametrize("iso", [50.0, 65535.0, 102400.0])
def test_exposure_survives(tmp_path: Path, seconds: float, iso: float) -> None:
    write_cfa_dng(tmp_path / "a.dng", frame(capture=replace(CAPTURE, exposure_time_s=seconds, iso=iso)))
    capture = read_raw(tmp_path / "a.dng").capture
    assert capture.exposure_time_s == pytest.approx(seconds, rel=1e-5)
    assert capture.iso == iso


def test_black_levels_per_row_and_in_fractions_survive(tmp_path: Path) -> None:
    levels = np.float32([[2047.25] * 2, [2047.25] * 2, [2053] * 2, [2053.5] * 2])
    write_cfa_dng(tmp_path / "a.dng", replace(frame(), black_level=levels))
    np.testing.assert_array_equal(read_raw(tmp_path / "a.dng").black_level, levels)


@pytest.mark.parametrize("told", [{"utc_offset": "   :  "}, {"utc_offset": "2 h"}, {"subseconds": "7 s"}])
def test_what_is_no_time_counts_as_missing(tmp_path: Path, told: dict[str, str]) -> None:
    write_cfa_dng(tmp_path / "a.dng", frame(capture=Capture(**told)))  # type: ignore[arg-type]
    assert read_raw(tmp_path / "a.dng").capture == Capture()


def test_missing_capture_data_stay_missing(tmp_path: Path) -> None:
    mosaic = replace(frame(capture=Capture()), as_shot_neutral=None)
    write_cfa_dng(tmp_path / "a.dng", mosaic)
    read = read_raw(tmp_path / "a.dng")
    assert read.capture == Capture()
    assert read.as_shot_neutral is None


def test_same_mosaic_same_bytes(tmp_path: Path) -> None:
    for name in ("a.dng", "b.dng"):
        write_cfa_dng(tmp_path / name, frame(), description="x")
    assert (tmp_path / "a.dng").read_bytes() == (tmp_path / "b.dng").read_bytes()


# Other eyes -----------------------------------------------------------------------------------------------------------


def test_tifffile_finds_a_dng_of_many_strips(tmp_path: Path) -> None:
    mosaic = frame(shape=(400, 700))
    text, profile = json.dumps({"exposure": [[1], [0.125]]}), np.array([[1e-4, 2e-7]])
    write_cfa_dng(tmp_path / "a.dng", mosaic, noise_profile=profile, description=text)
    assert (tmp_path / "a.dng").read_bytes()[:8] == b"II*\0\x08\0\0\0"
    with tifffile.TiffFile(tmp_path / "a.dng") as tiff:
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        np.testing.assert_array_equal(page.asarray(), mosaic.counts)
        assert (page.photometric, page.compression, len(page.dataoffsets) > 1) == (32803, 1, True)
        tags = {tag.code: tag.value for tag in page.tags}
        assert list(tags) == sorted(tags)  # TIFF 6.0: ascending
        assert tags[50706] == b"\1\4\0\0"
        assert tags[33422] == b"\0\1\1\2"
        assert (tags[305], json.loads(tags[270])) == ("sve2hdr", {"exposure": [[1], [0.125]]})
        assert tags[34665]["DateTimeOriginal"] == CAPTURE.taken
    np.testing.assert_array_equal(read_noise_profile(tmp_path / "a.dng"), profile)


@needs_dcraw
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_dcraw_reads_the_same(tmp_path: Path, cfa: str, compressed: bool) -> None:
    mosaic = frame(cfa, (67, 71))
    write_cfa_dng(tmp_path / "a.dng", mosaic, compressed=compressed)
    told = subprocess.run(["dcraw", "-i", "-v", tmp_path / "a.dng"], capture_output=True, text=True, check=True).stdout
    assert f"Filter pattern: {cfa[:2]}/{cfa[2:]}" in told
    assert "Camera: Canon EOS 5D Mark III" in told
    assert "Camera multipliers: 2.000000 1.000000 1.600000" in told
    command = ["dcraw", "-D", "-4", "-t", "0", "-c", tmp_path / "a.dng"]
    stored = subprocess.run(command, capture_output=True, check=True).stdout
    counts = np.frombuffer(stored[-2 * mosaic.counts.size :], ">u2").reshape(mosaic.shape)
    np.testing.assert_array_equal(counts, mosaic.counts)


@needs_exiftool
@pytest.mark.parametrize("compressed", [False, True])
def test_exiftool_finds_every_tag_and_nothing_wrong(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.dng"
    write_cfa_dng(path, frame(), noise_profile=np.array([[1e-4, 2e-7]]), compressed=compressed)
    command = ["exiftool", "-j", "-n", "-validate", "-all", path]
    tags = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[0]
    expected = {
        "Validate": "0 0 0",
        "Model": CAPTURE.model,
        "BlackLevel": "2047 2048 2049 2050",
        "WhiteLevel": 15300,
        "ColorMatrix1": "0.9194 -0.2787 -0.1059 -0.8098 1.5657 0.2608 -0.261 0.3064 0.7867",
        "AsShotNeutral": "0.5 1 0.625",
        "ExposureTime": 0.008,
        "FNumber": 2.8,
        "ISO": 800,
        "LensModel": CAPTURE.lens,
        "DateTimeOriginal": CAPTURE.taken,
        "Orientation": 6,
        "NoiseProfile": "0.0001 2e-07",
    }
    assert {name: tags.get(name) for name in expected} == expected


# Refusals -------------------------------------------------------------------------------------------------------------


def test_what_exists_is_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(b"mine")
    with pytest.raises(UnwritableOutput, match=r"a\.dng"):
        write_cfa_dng(path, frame())
    assert path.read_bytes() == b"mine"
    write_cfa_dng(path, frame(), overwrite=True)
    assert_same(read_raw(path), frame())
    assert [p.name for p in tmp_path.iterdir()] == ["a.dng"]


def test_other_extensions_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwritableOutput, match=r"name the output \*\.dng"):
        write_cfa_dng(tmp_path / "a.tif", frame())
    with pytest.raises(UnwritableOutput):
        write_cfa_dng(tmp_path / "none" / "a.dng", frame())


def test_numbers_that_no_tag_holds_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be written as fractions"):
        write_cfa_dng(tmp_path / "a.dng", replace(frame(), camera_from_xyz=MATRIX * 1e5))
    assert not list(tmp_path.iterdir())
