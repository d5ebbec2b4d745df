"""Files: a whole one or none, round trips within each format's precision, read with other eyes."""

import errno
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import imagecodecs
import imageio.v3 as imageio
import numpy as np
import OpenEXR
import pytest
import tifffile
from images import CAPTURE, image_of, write
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from sve2hdr.color import COLOR_SPACES
from sve2hdr.curve import HEADROOM_EV
from sve2hdr.errors import UnwritableOutput
from sve2hdr.formats.exrwrite import EXR_COMPRESSIONS, WriteOptions
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.formats.xmp import xmp_packet
from sve2hdr.hdrfile import encoded_preview, write_preview
from sve2hdr.mosaic import Capture, Position


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# A whole file or no file


def test_very_long_names_are_possible(tmp_path: Path) -> None:
    name = "n" * 250 + ".exr"
    write(tmp_path / name, image_of())
    assert names_in(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.exr", "a.hdr", "a.tif"])
def test_disk_full_leaves_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwritableOutput, match="No space left") as refusal:
        write(tmp_path / name, image_of())
    assert "\n" not in str(refusal.value)
    assert str(tmp_path / name) in str(refusal.value)
    assert names_in(tmp_path) == []


LIMITED = """
import resource, signal, sys
import numpy as np
from sve2hdr.color import COLOR_SPACES
from sve2hdr.errors import UnwritableOutput
from sve2hdr.hdrfile import write_hdr, write_preview
from sve2hdr.mosaic import Capture, Position
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0).random((200, 300, 3), dtype=np.float32)
for name in sys.argv[1:]:
    try:
        if name.endswith(("jpg", "png")):
            write_preview(name, (noise * 255).astype(np.uint8))
        else:
            write_hdr(name, noise, color_space=COLOR_SPACES["rec709"], capture=Capture())
    except UnwritableOutput as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.exr", "a.hdr", "a.tif", "a.jpg", "a.png")]
    done = subprocess.run([sys.executable, "-c", LIMITED, *paths], capture_output=True, text=True, timeout=600)
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == paths, done.stderr
    assert all("File too large" in line for line in lines)
    assert names_in(tmp_path) == []


# Refusals before long work


def test_writers_refuse_what_exists_and_other_extensions(tmp_path: Path) -> None:
    image = image_of()
    write(tmp_path / "a.exr", image)
    before = (tmp_path / "a.exr").read_bytes()
    with pytest.raises(UnwritableOutput, match="--overwrite"):
        write(tmp_path / "a.exr", image * 2)
    assert (tmp_path / "a.exr").read_bytes() == before
    write(tmp_path / "a.exr", image / 2, overwrite=True)
    assert_allclose(read_hdr(tmp_path / "a.exr"), image / 2, rtol=1e-3)
    with pytest.raises(UnwritableOutput, match="extension"):
        write(tmp_path / "a.png", image)
    with pytest.raises(UnwritableOutput, match="extension"):
        write_preview(tmp_path / "a.exr", np.zeros((2, 2, 3), np.uint8))


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="float32"):
        write(tmp_path / "a.exr", image_of().astype(np.float64))
    for hole in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            write(tmp_path / "a.exr", np.full((2, 2, 3), hole, np.float32))
    with pytest.raises(ValueError, match="uint8"):
        write_preview(tmp_path / "a.png", image_of())
    with pytest.raises(ValueError, match="compression"):
        WriteOptions(compression="lzma")
    assert names_in(tmp_path) == []


# OpenEXR


@pytest.mark.parametrize("compression", EXR_COMPRESSIONS)
@pytest.mark.parametrize("half", [True, False])
def test_exr_round_trip(tmp_path: Path, compression: str, half: bool) -> None:
    smooth = np.add.outer(np.linspace(-0.2, 4, 41), np.linspace(0, 3, 67))[..., None] * [1, 0.5, 2]
    image = smooth.astype(np.float32)
    path = tmp_path / "a.exr"
    assert write(path, image, options=WriteOptions(half, compression)) == ""
    assert path.read_bytes()[:4] == b"\x76\x2f\x31\x01"
    stored = OpenEXR.File(str(path))
    assert stored.header()["compression"].name.removesuffix("_COMPRESSION") == compression.upper().replace("NONE", "NO")
    pixels = stored.channels()["RGB"].pixels
    assert pixels.dtype == (np.float16 if half else np.float32)
    if compression.startswith(("b44", "dwa")):
        assert np.median(np.abs(pixels - image)) < 0.02
        assert_allclose(pixels, image, atol=0.3)
    elif compression == "pxr24" and not half:
        assert_allclose(pixels, image, rtol=2e-5)
    else:
        assert_array_equal(pixels, image.astype(pixels.dtype))
    assert_array_equal(read_hdr(path), pixels.astype(np.float32))


def test_exr_of_a_view_is_not_scrambled(tmp_path: Path) -> None:
    image = image_of()[::-1, ::2]
    write(tmp_path / "a.exr", image, options=WriteOptions(half=False))
    assert_array_equal(read_hdr(tmp_path / "a.exr"), image)


def test_halves_are_those_of_numpy_however_the_image_is_turned(tmp_path: Path) -> None:
    image = image_of(513, 7)  # more rows than are converted at a time, and one row left
    for number, turned in enumerate((image, image[::-1], image[::-1, ::-1], image.swapaxes(0, 1)[::-1])):
        write(tmp_path / f"{number}.exr", turned)
        with OpenEXR.File(str(tmp_path / f"{number}.exr")) as file:
            assert_array_equal(file.channels()["RGB"].pixels, turned.astype(np.float16))


def test_exr_attributes(tmp_path: Path) -> None:
    carried: dict[int, tuple[float, ...] | str] = {37380: (-0.5,), 37382: (3.2,), 37385: (16,), 42035: "Canon"}
    carried |= {42034: (24.0, 70.0, 2.8, 2.8), 42037: "01"}
    capture = replace(CAPTURE, pixels_per_mm=160.0, focal_length_35mm=80.4, subseconds="070", exif=carried)
    write(tmp_path / "a.exr", image_of(), capture=capture, attributes={"sve2hdr:pattern": "rows:1/8,1/8,1,1"})
    header = OpenEXR.File(str(tmp_path / "a.exr"), header_only=True).header()
    numbers = {"expTime": 0.01, "aperture": 2.8, "isoSpeed": 100, "nominalFocalLength": 50}
    numbers |= {"sensorPhotositePitch": 6.25, "focus": 3.2, "Exif:ExposureBiasValue": -0.5}  # micrometres, m, EV
    texts = {
        "cameraMake": "Canon",
        "cameraModel": "EOS 5D Mark III",
        "lensModel": "EF 50mm f/1.8",
        "capDate": "2020:01:02 03:04:05",
        "software": "sve2hdr",
        "sve2hdr:pattern": "rows:1/8,1/8,1,1",
        "colorInteropID": "lin_rec709_scene",
        "Make": "Canon",
        "Model": "EOS 5D Mark III",
        "Exif:LensModel": "EF 50mm f/1.8",
        "Exif:DateTimeOriginal": "2020:01:02 03:04:05",
        "Exif:SubsecTimeOriginal": "070",
        **dict.fromkeys(("lensMake", "Exif:LensMake"), "Canon"),
        **dict.fromkeys(("lensSerialNumber", "Exif:LensSerialNumber"), "01"),
    }
    assert (header["Exif:FocalLengthIn35mmFilm"], header["Exif:PhotographicSensitivity"]) == (80, 100)
    assert (header["Exif:FocalLength"], header["Exif:Flash"]) == (50, 16)
    assert_allclose([header[name] for name in numbers], list(numbers.values()), rtol=1e-6)
    assert {name: header[name] for name in texts} == texts
    assert_array_equal(header["dataWindow"], header["displayWindow"])
    data = (tmp_path / "a.exr").read_bytes()
    assert all(f"{name}\0float\0".encode() in data for name in (*numbers, "Exif:FocalLength"))
    write(tmp_path / "b.exr", image_of(), capture=Capture(iso=102_400))
    fast = OpenEXR.File(str(tmp_path / "b.exr"), header_only=True).header()
    assert (fast["isoSpeed"], fast["Exif:PhotographicSensitivity"]) == (102_400, 65535)  # all that EXIF's tag holds
    assert not {"Make", "Model", "Exif:LensModel", "Exif:DateTimeOriginal", "Exif:FocalLength"} & set(fast)
    assert "whiteLuminance" not in header
    write(tmp_path / "c.exr", image_of(), capture=Capture(exif={37382: (2.0**32 - 1,)}))
    far = OpenEXR.File(str(tmp_path / "c.exr"), header_only=True).header()
    assert (far["focus"], "Exif:SubjectDistance" in far) == (np.inf, False)


@pytest.mark.parametrize(("told", "seconds"), [("+02:00", -7200), ("-03:30", 12600), ("+00:00", 0), ("", None)])
def test_exr_tells_whose_it_is_and_how_far_utc_is_away(tmp_path: Path, told: str, seconds: float | None) -> None:
    place = Position(-33.5, 151.25, 12.5)
    capture = Capture(artist="Ann", copyright="© Ann Ö.", serial_number="0123", utc_offset=told, position=place)
    write(tmp_path / "a.exr", image_of(), capture=capture)
    header = OpenEXR.File(str(tmp_path / "a.exr"), header_only=True).header()
    assert (header["owner"], header["Artist"], header["cameraSerialNumber"]) == ("© Ann Ö.", "Ann", "0123")
    assert header.get("utcOffset") == seconds  # UTC == local time + utcOffset (ImfStandardAttributes.h)
    assert (header["latitude"], header["longitude"], header["altitude"]) == (-33.5, 151.25, 12.5)
    write(tmp_path / "c.exr", image_of(), capture=Capture(position=Position(0.0, 9.5)))
    header = OpenEXR.File(str(tmp_path / "c.exr"), header_only=True).header()
    assert (header["latitude"], header["longitude"], "altitude" in header) == (0.0, 9.5, False)
    write(tmp_path / "b.exr", image_of(), capture=Capture(artist="Ann"))
    assert OpenEXR.File(str(tmp_path / "b.exr"), header_only=True).header()["owner"] == "Ann"


@pytest.mark.parametrize("name", COLOR_SPACES)
def test_exr_chromaticities_are_those_of_the_space(tmp_path: Path, name: str) -> None:
    space = COLOR_SPACES[name]
    write(tmp_path / "a.exr", image_of(), color_space=space)
    header = OpenEXR.File(str(tmp_path / "a.exr"), header_only=True).header()
    if space.chromaticities is None:
        assert not {"chromaticities", "colorInteropID", "adoptedNeutral"} & set(header)
        return
    assert_allclose(header["adoptedNeutral"], space.neutral, atol=1e-6)
    assert_allclose(header["chromaticities"], np.ravel(space.chromaticities), atol=1e-6)
    if name != "xyz":  # OpenEXR's own table has no chromaticities for XYZ
        known = OpenEXR.colorInteropIDToChromaticities(header["colorInteropID"])
        assert_allclose(header["chromaticities"], known, atol=1e-6)


@pytest.mark.parametrize("value", [65505.0, -70000.0, 1e9, 2e-5, -3e-9])
def test_what_halves_cannot_hold_makes_the_exr_float_and_is_told(tmp_path: Path, value: float) -> None:
    image = image_of() if abs(value) > 1 else np.zeros((8, 8, 3), np.float32)
    image[3, 4, 1] = value
    note = write(tmp_path / "a.exr", image, options=WriteOptions(compression="piz"))
    assert "32-bit float" in note
    assert str(tmp_path / "a.exr") in note
    assert OpenEXR.File(str(tmp_path / "a.exr")).header()["compression"] == OpenEXR.PIZ_COMPRESSION
    assert_array_equal(read_hdr(tmp_path / "a.exr"), image)


@pytest.mark.parametrize("compression", ["dwaa", "dwab"])
@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("peak", [65000.0, 1e6, 2.0**-12])
def test_what_dwa_would_spoil_is_written_in_zip_and_told(
    tmp_path: Path, compression: str, half: bool, peak: float
) -> None:
    noise = np.random.default_rng(1).random((64, 64, 3)) < 0.5
    image = np.float32(peak * noise)
    note = write(tmp_path / "a.exr", image, options=WriteOptions(half, compression))
    assert f"32-bit float in ZIP, as {compression}" in note
    assert_array_equal(read_hdr(tmp_path / "a.exr"), image)


@pytest.mark.parametrize("compression", EXR_COMPRESSIONS)
@pytest.mark.parametrize("half", [True, False])
def test_no_compression_overshoots_into_infinity(tmp_path: Path, compression: str, half: bool) -> None:
    peak = 60000 if compression.startswith("dwa") else 65504
    image = np.float32(peak * (np.random.default_rng(1).random((64, 64, 3)) < 0.5))
    assert write(tmp_path / "a.exr", image, options=WriteOptions(half, compression)) == ""
    assert_allclose(read_hdr(tmp_path / "a.exr"), image, atol=0.05 * peak)


def test_shadows_of_a_dark_image_are_not_lost_in_halves(tmp_path: Path) -> None:
    image = np.geomspace(2.0**-23, 2.0**-11, 64 * 3, dtype=np.float32).reshape(8, 8, 3)
    assert "too dark for 16-bit floats" in write(tmp_path / "a.exr", image)
    assert_allclose(read_hdr(tmp_path / "a.exr"), image, rtol=1e-3)
    image[0, 0] = 1  # what is lit does not help the shadows
    assert write(tmp_path / "b.exr", image) == ""
    assert "too dark for 16-bit floats" in write(tmp_path / "c.exr", image, noise=2.0**-25)
    assert_array_equal(read_hdr(tmp_path / "c.exr"), image)


@pytest.mark.parametrize("compression", ["zip", "dwaa"])
def test_a_black_frame_is_stored_as_the_others_of_its_sequence_are(tmp_path: Path, compression: str) -> None:
    noise = 1e-4  # 1.6 counts of 14 bits
    image = np.random.default_rng(1).normal(0, noise, (64, 64, 3)).astype(np.float32)
    assert write(tmp_path / "a.exr", image, noise=noise, options=WriteOptions(compression=compression)) == ""
    stored = OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True)
    assert stored.header()["compression"] == getattr(OpenEXR, f"{compression.upper()}_COMPRESSION")
    assert stored.channels()["R"].pixels.dtype == np.float16
    if compression == "zip":
        assert_allclose(read_hdr(tmp_path / "a.exr"), image, rtol=2**-11, atol=noise / 1000)


@pytest.mark.parametrize(
    ("space", "half", "compression", "peak", "flagged"),
    [
        ("aces2065-1", True, "none", 1.0, True),
        ("aces2065-1", True, "none", 1e5, False),
        ("aces2065-1", False, "none", 1.0, False),
        ("aces2065-1", True, "zip", 1.0, False),
        ("acescg", True, "none", 1.0, False),
    ],
)
def test_an_exr_is_an_aces_container_where_it_can_be_one(
    tmp_path: Path, space: str, half: bool, compression: str, peak: float, flagged: bool
) -> None:
    options, image = WriteOptions(half, compression), np.full((4, 6, 3), peak, np.float32)
    write(tmp_path / "a.exr", image, color_space=COLOR_SPACES[space], capture=CAPTURE, options=options)
    stored = OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True)
    header = stored.header()
    assert header.get("acesImageContainerFlag") == (1 if flagged else None)
    if not flagged:
        return
    assert_allclose(
        header["chromaticities"], [0.7347, 0.2653, 0, 1, 0.0001, -0.077, 0.32168, 0.33767], atol=1e-7
    )  # SMPTE ST 2065-1
    assert sorted(stored.channels()) == ["B", "G", "R"]
    assert (tmp_path / "a.exr").read_bytes()[4:8] == b"\2\0\0\0"  # scan lines, names of 31 characters at most
    assert b"acesImageContainerFlag\0int\0\4\0\0\0\1\0\0\0" in (tmp_path / "a.exr").read_bytes()
    needed = (
        "channels compression dataWindow displayWindow lineOrder pixelAspectRatio screenWindowCenter screenWindowWidth"
    )
    assert set(needed.split()) <= header.keys()


def test_exr_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a.exr", "b.exr"):
        write(tmp_path / name, image_of(), capture=CAPTURE)
    assert (tmp_path / "a.exr").read_bytes() == (tmp_path / "b.exr").read_bytes()


# TIFF


def test_tiff_round_trip_and_tags(tmp_path: Path) -> None:
    image = image_of() - 1
    capture = Capture("Canon", "EOS Ω", taken="2020:01:02 03:04:05")
    write(tmp_path / "a.tif", image, capture=capture, attributes={"sve2hdr:ev": "3.00"})
    assert_array_equal(read_hdr(tmp_path / "a.tif"), image)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        page = tiff.pages.first
        tags = {name: page.tags[name].value for name in ("Make", "Model", "Software", "DateTime", "XMP")}
        assert "ImageDescription" not in page.tags  # the photographer's caption
        assert page.photometric == tifffile.PHOTOMETRIC.RGB
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.dtype == np.float32
    xmp = tags.pop("XMP")
    assert tags == {"Make": "Canon", "Model": "EOS Ω", "Software": "sve2hdr", "DateTime": "2020:01:02 03:04:05"}
    assert xmp == xmp_packet({"sve2hdr:color_space": "scene-linear rec709", "sve2hdr:ev": "3.00"})


def test_a_tiff_beyond_4_gib_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_of()
    monkeypatch.setattr("sve2hdr.hdrfile.MAX_BYTES", image.nbytes - 1)
    with pytest.raises(UnwritableOutput, match=r"a\.tif: the image is too large for a TIFF, .*; use \.exr$"):
        write(tmp_path / "a.tif", image)
    assert names_in(tmp_path) == []
    write(tmp_path / "a.exr", image)


# Previews


@pytest.mark.parametrize(
    ("name", "start"), [("a.jpg", b"\xff\xd8\xff"), ("a.JPEG", b"\xff\xd8\xff"), ("a.png", b"\x89PNG")]
)
def test_previews(tmp_path: Path, name: str, start: bytes) -> None:
    ramp = np.linspace(0, 255, 64 * 80 * 3).reshape(64, 80, 3).astype(np.uint8)
    write_preview(tmp_path / name, ramp)
    data = (tmp_path / name).read_bytes()
    assert data.startswith(start)
    decoded = imageio.imread(data).astype(int)
    assert np.abs(decoded - ramp).max() <= (0 if name.endswith("png") else 4)
    assert names_in(tmp_path) == [name]
    if not name.endswith("png"):
        frame = data[data.index(b"\xff\xc0") :]
        assert frame[11] == 0x11  # first component sampled 1 x 1: 4:4:4


def test_a_png_says_that_it_is_srgb() -> None:
    encoded = encoded_preview(Path("a.png"), np.zeros((4, 4, 3), np.uint8))
    chunk = encoded.index(b"sRGB")
    assert encoded[chunk - 4 : chunk + 5] == b"\0\0\0\x01sRGB\0"
    assert chunk < encoded.index(b"IDAT")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("aspect", [1.0, 3.0, 0.4])
@pytest.mark.parametrize("most_px", [None, 16, 31, 64, 10_000])
def test_smaller_previews_keep_shape_and_angle_of_view(name: str, aspect: float, most_px: int | None) -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    gain = None if name == "a.png" else image[::2, ::2]
    capture = replace(CAPTURE, pixel_aspect=aspect, pixels_per_mm=100.0)
    encoded = encoded_preview(Path(name), image, capture, gain, most_px)
    with Image.open(io.BytesIO(encoded)) as preview:
        width, height = preview.size
        told = preview.getexif().get_ifd(34665)
    stretched = (64 * max(aspect, 1), 48 / min(aspect, 1))
    scale = min(1, (most_px or 10_000) / max(stretched))
    assert (width, height) == pytest.approx([side * scale for side in stretched], abs=0.5)
    assert (told[40962], told[40963]) == (width, height)
    on_sensor = max(stretched) / max(aspect, 1) / 1000  # cm
    assert max(width, height) / told[41486] == pytest.approx(on_sensor, rel=1e-6)
    if gain is not None:
        with Image.open(io.BytesIO(encoded[encoded.index(b"\xff\xd9\xff\xd8") + 2 :])) as gains:
            assert gains.size == ((width + 1) // 2, (height + 1) // 2)


def test_a_png_has_no_gain_map() -> None:
    with pytest.raises(ValueError, match="no gain map"):
        encoded_preview(Path("a.png"), np.zeros((4, 4, 3), np.uint8), gain=np.zeros((2, 2, 3), np.uint8))


@pytest.mark.parametrize("brightest", [0, 85, 255])
def test_screens_that_can_show_the_brightest_of_a_picture_show_all_of_it(brightest: int) -> None:
    """As wide a range as a map can hold is not what a picture needs: screens would show a part of what they could."""
    picture, gain = np.full((64, 64, 3), 200, np.uint8), np.zeros((32, 32, 3), np.uint8)
    gain[8:24, 8:24] = brightest
    encoded = encoded_preview(Path("a.jpg"), picture, gain=gain)
    needed_ev = HEADROOM_EV * brightest / 255
    for screen_ev in (0.0, 0.5, 1.0, 2.0, HEADROOM_EV):
        shown = imagecodecs.ultrahdr_decode(encoded, boost=2**screen_ev)[24:40, 24:40, :3].astype(float)
        usual = imagecodecs.ultrahdr_decode(encoded, boost=1.0)[24:40, 24:40, :3].astype(float)
        assert np.log2(shown / usual).mean() == pytest.approx(min(screen_ev, needed_ev), abs=0.03)
    told = re.search(rb'hdrgm:HDRCapacityMax="([^"]+)"', encoded)
    assert told is not None
    assert float(told[1]) == pytest.approx(max(needed_ev, HEADROOM_EV / 255), rel=1e-5)
