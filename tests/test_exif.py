"""EXIF in previews and TIFFs, read with Pillow, tifffile and, where installed, exiftool."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from sve2hdr.color import COLOR_SPACES
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.exif import exif_block
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.formats.lineardng import write_linear_dng
from sve2hdr.formats.tifftags import text
from sve2hdr.formats.tiffwrite import LONG, RATIONAL, Ifd, entry, nearest_rational, rationals, write_tiff
from sve2hdr.hdrfile import write_hdr, write_preview
from sve2hdr.mosaic import Capture, Mosaic, Position
from sve2hdr.raw.capture import _carried, _pixels_per_mm, _position
from sve2hdr.rawfile import read_raw

CAPTURE = Capture("Canon", "EOS 5D Mark III", "EF 50mm f/1.8", 1 / 125, 2.8, 800, 50, "2020:01:02 03:04:05", 6)
CAPTURE = replace(
    CAPTURE, artist="Ann", copyright="© Ann Ö.", serial_number="0123", utc_offset="-03:30", subseconds="070",
    position=Position(-33.8567844, 151.2152967, 12.5),
)  # fmt: skip
CARRIED_TAGS: dict[int, tuple[float, ...] | str] = {
    34850: (3,), 37380: (-4 / 3,), 37382: (3.2,), 37383: (5,), 37384: (1,), 37385: (16,), 41986: (1,), 41987: (1,),
    41990: (1,), 42032: "Ann Ö.", 42034: (24.0, 70.0, 2.8, 0.0), 42035: "Canon", 42037: "0000123456",
}  # fmt: skip
IMAGE = np.random.default_rng(3).random((31, 47, 3)).astype(np.float32)

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed: untested")


def written(folder: Path, name: str, capture: Capture = CAPTURE) -> Path:
    path = folder / name
    if path.suffix == ".tif":
        write_hdr(path, IMAGE, color_space=COLOR_SPACES["rec709"], capture=capture)
    elif path.suffix == ".dng":
        mosaic = Mosaic(np.ones((64, 64), np.uint16), "RGGB", np.zeros((1, 1), np.float32), 9.0, np.eye(3))
        write_linear_dng(path, IMAGE, replace(mosaic, capture=capture), 1.0)
    else:
        write_preview(path, np.uint8(255 * IMAGE), capture=capture)
    return path


def exiftool(path: Path) -> dict[str, Any]:
    command = ["exiftool", "-j", "-n", "-validate", "-all", "-warning", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[0]
    return found


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_pillow_finds_the_capture_in_previews(tmp_path: Path, name: str) -> None:
    with Image.open(written(tmp_path, name)) as image:
        exif = image.getexif()
        assert (exif[ExifTags.Base.Make], exif[ExifTags.Base.Model]) == (CAPTURE.make, CAPTURE.model)
        assert (exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Software]) == (1, "sve2hdr")
        shot = exif.get_ifd(ExifTags.IFD.Exif)
        assert shot[ExifTags.Base.ExposureTime] == pytest.approx(1 / 125)
        assert (shot[ExifTags.Base.FNumber], shot[ExifTags.Base.FocalLength]) == (2.8, 50)
        assert (shot[ExifTags.Base.ISOSpeedRatings], shot[ExifTags.Base.LensModel]) == (800, CAPTURE.lens)
        assert shot[ExifTags.Base.DateTimeOriginal] == CAPTURE.taken
        assert (shot[ExifTags.Base.ExifImageWidth], shot[ExifTags.Base.ExifImageHeight]) == image.size


def test_previews_start_with_exif_and_without_a_capture_have_none(tmp_path: Path) -> None:
    data = written(tmp_path, "a.jpg").read_bytes()
    assert data[:2] == b"\xff\xd8"
    assert b"Exif\0\0II*\0" in data[:64]
    write_preview(tmp_path / "b.jpg", np.uint8(255 * IMAGE))
    assert b"Exif" not in (tmp_path / "b.jpg").read_bytes()


def test_tifffile_finds_the_capture_in_tiffs(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tif")
    np.testing.assert_array_equal(read_hdr(path), IMAGE)
    with tifffile.TiffFile(path) as tiff:
        tags = {tag.code: tag.value for tag in tiff.pages.first.tags}
    assert list(tags) == sorted(tags)
    assert (tags[271], tags[272], tags[274]) == (CAPTURE.make, CAPTURE.model, 1)
    shot = tags[34665]
    assert (shot["ExposureTime"], shot["FNumber"], shot["ISOSpeedRatings"]) == ((1, 125), (14, 5), 800)
    assert (shot["DateTimeOriginal"], shot["LensModel"]) == (CAPTURE.taken, CAPTURE.lens)
    place = tags[34853]
    assert (place["GPSLatitudeRef"], place["GPSLatitude"][:4]) == ("S", (33, 1, 51, 1))


@needs_exiftool
@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.dng"])
def test_stitchers_find_the_angle_of_view(tmp_path: Path, name: str) -> None:
    capture = replace(CAPTURE, focal_length_35mm=80.4, pixels_per_mm=155.75)
    told = exiftool(written(tmp_path, name, capture))
    assert told["FocalLengthIn35mmFormat"] == 80
    unit_mm = {2: 25.4, 3: 10.0}[told["FocalPlaneResolutionUnit"]]
    for direction in "XY":
        assert told[f"FocalPlane{direction}Resolution"] / unit_mm == pytest.approx(155.75)


@needs_exiftool
@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.dng"])
def test_how_the_shot_was_metered_and_what_lens_it_was_go_along(tmp_path: Path, name: str) -> None:
    mosaic = Mosaic(np.full((64, 64), 100, np.uint16), "RGGB", np.zeros((1, 1), np.float32), 999.0, np.eye(3))
    write_cfa_dng(tmp_path / "raw.dng", replace(mosaic, capture=replace(CAPTURE, exif=CARRIED_TAGS)))
    capture = read_raw(tmp_path / "raw.dng").capture
    assert {tag: pytest.approx(value) for tag, value in CARRIED_TAGS.items()} == capture.exif
    if name == "a.dng":
        write_linear_dng(tmp_path / name, IMAGE, replace(mosaic, capture=capture), 1.0)
    else:
        written(tmp_path, name, capture)
    told = exiftool(tmp_path / name)
    assert (told["ExposureProgram"], told["MeteringMode"], told["Flash"], told["LightSource"]) == (3, 5, 16, 1)
    assert (told["ExposureMode"], told["WhiteBalance"], told["SceneCaptureType"]) == (1, 1, 1)
    assert (told["ExposureCompensation"], told["SubjectDistance"]) == (pytest.approx(-4 / 3, abs=1e-5), 3.2)
    assert (told["LensMake"], told["LensSerialNumber"], told["OwnerName"]) == ("Canon", "0000123456", "Ann Ö.")
    assert told["LensInfo"] == "24 70 2.8 undef"


def test_what_is_damaged_of_them_stays_behind() -> None:
    damaged: dict[int, Any] = {
        34850: (70_000,), 37380: (math.nan,), 37382: (0.0,), 37383: (1, 2), 37384: "day", 37385: (-1.0,), 42032: " ",
        42034: (24.0, 70.0), 42035: (5.0,),
    }  # fmt: skip
    assert _carried(damaged) == {}
    assert _carried({37382: (2.0**32 - 1,), 42037: "1"}) == {37382: (2.0**32 - 1,), 42037: "1"}


@needs_exiftool
@pytest.mark.parametrize("name", ["a.tif", "a.dng", "a.jpg"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("aspect", [3.0, 0.5])
def test_stitchers_find_the_angle_of_view_of_pixels_that_are_not_square(
    tmp_path: Path, aspect: float, orientation: int, name: str
) -> None:
    density = [50.0, 50.0 * aspect][:: 1 if orientation < 5 else -1]  # upright, rows of the sensor may be columns
    capture = replace(CAPTURE, pixels_per_mm=50.0, pixel_aspect=aspect, orientation=orientation)
    told = exiftool(written(tmp_path, name, capture))
    assert [told[f"FocalPlane{direction}Resolution"] / 10 for direction in "XY"] == pytest.approx(
        [max(density)] * 2 if name == "a.jpg" else density
    )
    assert told["Orientation"] == 1


@needs_exiftool
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize(
    "capture",
    [
        CAPTURE,
        Capture(),
        replace(CAPTURE, model="Größe", iso=102400.0, position=Position(0.0, -0.5)),
        Capture(position=Position(31.5, 35.5, -430.5)),
        Capture(position=Position(48.123456789, 16.987654321, 151.25, "2026:05:06 10:11:12.345", 271.5)),
        Capture(position=Position(-1.5, 2.5, None, "2026:05:06 23:59:59", 0.0, magnetic=True)),
    ],
)
def test_exiftool_finds_it_and_nothing_wrong(tmp_path: Path, name: str, capture: Capture) -> None:
    told = exiftool(written(tmp_path, name, capture))
    # exiftool checks TIFFs against EXIF's list of compressions, in which TIFF's own 8 (deflate) is not.
    # Of places in them it wants to know how they were found, which cameras seldom tell.
    accepted = ("Invalid value for IFD0 tag 0x0103 Compression", "Missing required TIFF GPS tag 0x001b")
    assert told.get("Warning", "").startswith(accepted if name == "a.tif" else "")
    assert name == "a.tif" or "Warning" not in told
    assert told.get("Make", "") == capture.make
    assert told.get("Model", "") == capture.model
    assert (told.get("Artist", ""), told.get("Copyright", "")) == (capture.artist, capture.copyright)
    assert str(told.get("SerialNumber", "")) == capture.serial_number
    assert told.get("OffsetTimeOriginal", "") == capture.utc_offset
    assert str(told.get("SubSecTimeOriginal", "")).zfill(len(capture.subseconds)) == capture.subseconds
    assert told.get("ExposureTime") == capture.exposure_time_s
    assert told.get("FNumber") == capture.f_number
    assert told.get("FocalLength") == capture.focal_length_mm
    assert told.get("LensModel", "") == capture.lens
    assert told.get("DateTimeOriginal", "") == capture.taken
    assert told.get("Orientation") == 1
    place = capture.position
    assert told.get("GPSLatitude") == (None if place is None else pytest.approx(place.latitude_deg, abs=2e-9))
    assert told.get("GPSLongitude") == (None if place is None else pytest.approx(place.longitude_deg, abs=2e-9))
    altitude = None if place is None or place.altitude_m is None else pytest.approx(place.altitude_m)
    assert told.get("GPSAltitude") == altitude
    assert told.get("GPSDateTime", "").removesuffix("Z") == (place.taken_utc if place else "")
    assert told.get("GPSImgDirection") == (place and place.direction_deg)
    directed = place is not None and place.direction_deg is not None
    assert told.get("GPSImgDirectionRef") == ("TM"[place.magnetic] if place and directed else None)
    iso = capture.iso and (65535 if capture.iso > 65535 else capture.iso)
    assert told.get("ISO") == iso
    assert told.get("RecommendedExposureIndex") == (capture.iso if capture.iso and capture.iso > 65535 else None)


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\ufffd", "\U0001f4f7"])
def test_the_longest_texts_that_are_read_fit_into_a_jpeg(tmp_path: Path, letter: str) -> None:
    longest = text({315: letter * 300_000}, 315)
    assert set(longest) == {letter}
    names = ("make", "model", "lens", "artist", "copyright", "serial_number")
    capture = replace(CAPTURE, exif=dict.fromkeys((42032, 42035, 42037), longest))
    path = written(tmp_path, "a.jpg", replace(capture, **dict.fromkeys(names, longest)))  # type: ignore[arg-type]
    with Image.open(path) as image:
        assert len(image.getexif()[ExifTags.Base.Artist]) >= 4000


def test_same_capture_same_bytes_and_it_is_a_tiff() -> None:
    assert exif_block(CAPTURE, (2, 3)) == exif_block(CAPTURE, (2, 3))
    assert exif_block(CAPTURE, (2, 3))[:8] == b"II*\0\x08\0\0\0"


def test_long_exposures_and_high_rates_fit_their_fractions() -> None:
    for value in (4300.1234567, 99_999.987651, 1e9, 1e-6):
        entry(33434, RATIONAL, nearest_rational(value))
        numerator, denominator = nearest_rational(value)
        assert numerator / denominator == pytest.approx(value, rel=1e-6)


def test_tiff_writing_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file, pytest.raises(ValueError, match="announced"):
        write_tiff(file, Ifd([entry(256, LONG, [1])], blocks=[b"a"], block_count=2))
    with pytest.raises(ValueError, match="fractions"):
        rationals(np.array([1e9]), 1000)


@pytest.mark.parametrize(
    "change",
    [
        {9: "V"},
        {1: ""},
        {1: "E"},
        {3: "X"},
        {2: (90.0, 0.5, 0.0)},
        {4: (1.0, 2.0)},
        {2: (math.nan, 0, 0)},
        {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)},
    ],
)
def test_places_that_are_damaged_or_void_are_none(change: dict[int, Any]) -> None:
    gps = {1: "N", 2: (48.0, 15.0, 0.0), 3: "W", 4: (16.0, 30.0, 0.0), 5: (1,), 6: (2.25,), 9: "A"}
    assert _position(gps) == Position(48.25, -16.5, -2.25)
    assert _position(gps | {6: (1e9,), 3: "west"}) == Position(48.25, -16.5)
    assert _position(gps | change) is None


@pytest.mark.parametrize(
    ("date", "clock", "expected"),
    [
        ("2026:05:06", (10.0, 11.0, 12.345), "2026:05:06 10:11:12.345"),
        ("2026:05:06", (0.0, 0.0, 0.0), "2026:05:06 00:00:00"),
        ("2026:05:06", (10.0, 20.0, 30.0), "2026:05:06 10:20:30"),
        ("2026:05:06", (10.0, 59.75, 0.0), "2026:05:06 10:59:45"),
        ("2026:05:06", (10.0, 59.0, 59.9999999), "2026:05:06 11:00:00"),
        ("2026:05:06", (23.0, 59.0, 59.9999999), "2026:05:06 23:59:59.999999"),
        ("2026:05:06", (24.0, 0.0, 0.0), ""),
        ("2026:05:06", (10.0, math.nan, 0.0), ""),
        ("2026:05:06", (10.0, 11.0), ""),
        ("0000:00:00", (10.0, 11.0, 12.0), ""),
        ("6 May 2026", (10.0, 11.0, 12.0), ""),
        ("", (10.0, 11.0, 12.0), ""),
    ],
)
def test_the_time_of_a_place_is_read_or_none(date: str, clock: tuple[float, ...], expected: str) -> None:
    gps = {1: "N", 2: (48.0, 15.0, 0.0), 3: "W", 4: (16.0, 30.0, 0.0), 7: clock, 29: date, 16: "M", 17: (359.5,)}
    assert _position(gps) == Position(48.25, -16.5, None, expected, 359.5, magnetic=True)
    assert _position(gps | {17: (361.0,)}) == Position(48.25, -16.5, None, expected)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({41486: (4064.0,), 41488: (2,)}, 160.0),
        ({41486: (4064.0,)}, 160.0),  # EXIF's default is the inch
        ({41486: (1600.0,), 41488: (3,)}, 160.0),
        ({41486: (72.0,)}, None),  # of a screen
        ({41486: (0.0,)}, None),
        ({41486: (math.nan,), 41488: (math.nan,)}, None),
        ({41486: (1600.0,), 41488: (9,)}, None),
        ({}, None),
    ],
)
def test_pixels_on_the_sensor_are_told_in_several_units(tags: dict[int, Any], expected: float | None) -> None:
    assert _pixels_per_mm(tags) == (expected and pytest.approx(expected))


@pytest.mark.parametrize("degrees", [0.9999999999, 12.9999998, 89.99999999, 47.3])
def test_seconds_that_round_up_carry(tmp_path: Path, degrees: float) -> None:
    path = written(tmp_path, "a.jpg", Capture(position=Position(degrees, -degrees)))
    with Image.open(path) as image:
        gps = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
    told = [sum(float(part) / 60**k for k, part in enumerate(gps[tag])) for tag in (2, 4)]
    assert told == pytest.approx([degrees, degrees], abs=1.5e-9)  # half of a 100,000th of a second
    assert all(float(part) < 60 for tag in (2, 4) for part in gps[tag][1:])
