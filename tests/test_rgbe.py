"""Radiance RGBE: round trips to half a step, other eyes, old and foreign files."""

from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from images import CAPTURE, image_of, write
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.color import COLOR_SPACES
from sve2hdr.errors import UnreadableImage
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.mosaic import Capture


@pytest.mark.parametrize("width", [1, 7, 8, 129, 32767, 32768])
def test_rgbe_round_trip_and_other_eyes(tmp_path: Path, width: int) -> None:
    image = image_of(5, width)
    image[:, width // 2 :] = image[0, 0]  # runs
    path = tmp_path / "a.hdr"
    assert write(path, image, capture=CAPTURE, attributes={"sve2hdr:ev": "3\n\n-Y 1 +X 1"}) == ""
    data = path.read_bytes()
    assert data.startswith(b"#?RADIANCE\n")
    assert f"\n\n-Y 5 +X {width}\n".encode() in data
    assert b"\nPRIMARIES=0.64 0.33 0.3 0.6 0.15 0.06 0.3127 0.329\n" in data
    ours = read_hdr(path)
    assert (np.abs(ours - image) <= image.max(axis=2, keepdims=True) / 256 * 1.001).all()  # half a step of 2 ** -7
    assert_array_equal(imagecodecs.rgbe_decode(data), ours)


def test_rgbe_stores_runs_in_short(tmp_path: Path) -> None:
    write(tmp_path / "a.hdr", np.ones((100, 300, 3), np.float32))
    assert (tmp_path / "a.hdr").stat().st_size < 100 * 300 * 4 / 10


def test_rgbe_rounds_without_bias(tmp_path: Path) -> None:
    image = np.random.default_rng(5).uniform(0.5, 1, (200, 300, 3)).astype(np.float32)
    write(tmp_path / "a.hdr", image)
    assert abs(float((read_hdr(tmp_path / "a.hdr") - image).mean())) < 2e-5


def test_rgbe_keeps_greys_grey_and_has_no_negatives(tmp_path: Path) -> None:
    image = np.repeat(image_of()[..., :1], 3, axis=2)
    image[0, 0], image[0, 1], image[0, 2] = -1, (0.999, 0.9999, 1), (-0.5, 0.5, 0.25)
    image[0, 3], image[0, 4] = 1e-40, 3e38
    note = write(tmp_path / "a.hdr", image)
    assert "negative" in note
    stored = read_hdr(tmp_path / "a.hdr")
    assert_array_equal(stored[1:, :, 0], stored[1:, :, 2])
    assert_array_equal(stored[0, :4], [[0, 0, 0], [1, 1, 1], [0, 0.5, 0.25], [0, 0, 0]])
    assert stored[0, 4, 0] > 1e38


def test_rgbe_header_names_primaries_and_capture(tmp_path: Path) -> None:
    write(
        tmp_path / "a.hdr", image_of(), color_space=COLOR_SPACES["rec2020"], capture=replace(CAPTURE, copyright="© Ann")
    )
    head = (tmp_path / "a.hdr").read_bytes().split(b"\n\n")[0].decode().splitlines()
    assert "PRIMARIES=0.708 0.292 0.17 0.797 0.131 0.046 0.3127 0.329" in head
    assert {"CAPDATE=2020:01:02 03:04:05", "# camera: Canon EOS 5D Mark III", "# copyright: © Ann"} <= set(head)
    assert not any(line.startswith(("# artist", "# serial number", "# UTC offset")) for line in head)
    exposed = {"# lens: EF 50mm f/1.8", "# exposure time, s: 0.01", "# f-number: 2.8", "# ISO: 100"}
    assert exposed | {"# focal length, mm: 50"} <= set(head)
    assert not any(line.startswith(("# focal length in 35 mm film", "# pixels per mm")) for line in head)
    seen = replace(CAPTURE, focal_length_35mm=35.0, pixels_per_mm=160.25)
    write(tmp_path / "d.hdr", image_of(), capture=seen)
    told = (tmp_path / "d.hdr").read_bytes()
    assert b"\n# focal length in 35 mm film, mm: 35\n# pixels per mm: 160.25\n" in told
    for model, name in (("Canon EOS 5D Mark III", "Canon EOS 5D Mark III"), ("", "Canon")):
        write(tmp_path / "c.hdr", image_of(), capture=Capture("Canon", model), overwrite=True)
        assert f"\n# camera: {name}\n".encode() in (tmp_path / "c.hdr").read_bytes()
    write(tmp_path / "b.hdr", image_of(), color_space=COLOR_SPACES["camera"])
    assert b"# camera:" not in (tmp_path / "b.hdr").read_bytes()
    assert b"PRIMARIES" not in (tmp_path / "b.hdr").read_bytes()
    assert b"# camera RGB" in (tmp_path / "b.hdr").read_bytes()


@pytest.mark.parametrize("length", [126, 127, 128, 254, 255, 381, 510])
def test_no_line_of_the_header_leaves_an_empty_piece(tmp_path: Path, length: int) -> None:
    """OpenCV takes lines in pieces of 127 bytes, FreeImage of 255; an empty one is the end of the header to them."""
    attribute = "ü" * 20 + "x" * (length - len("# a: ") - 2 * 20)
    write(tmp_path / "a.hdr", image_of(2, 2), attributes={"a": attribute})
    head = (tmp_path / "a.hdr").read_bytes().split(b"\n\n")[0]
    assert f"\n# a: {attribute}".encode() in head
    assert all(len(line) % piece for line in head.split(b"\n") for piece in (127, 255))


def test_rgbe_old_runs_flat_pixels_and_exposure_are_read(tmp_path: Path) -> None:
    head = b"#?RGBE\n# by hand\nEXPOSURE=2\nEXPOSURE= 2.0\nFORMAT=32-bit_rle_rgbe\n\n-Y 2 +X 300\n"
    first, second = bytes([128, 64, 0, 131]), bytes([200, 10, 20, 120])
    pixels = first + bytes([1, 1, 1, 43, 1, 1, 1, 1]) + second + bytes([1, 1, 1, 43, 1, 1, 1, 1])  # 1 + 43 + 256
    (tmp_path / "old.hdr").write_bytes(head + pixels)
    (tmp_path / "flat.pic").write_bytes(head + first * 300 + second * 300)
    old, flat = read_hdr(tmp_path / "old.hdr"), read_hdr(tmp_path / "flat.pic")
    assert_array_equal(old, flat)
    assert old[0, 299].tolist() == [1, 0.5, 0]  # 128 * 2 ** (131 - 136) / 4
    assert_allclose(old[1, 0], np.array([200, 10, 20]) * 2.0**-18)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (b"II*\0 a TIFF named .hdr", "begins with"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_xyze\n\n-Y 1 +X 1\n\1\1\1\1", "xyze"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n+X 1 -Y 1\n\1\1\1\1", "-Y height"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n\1\1\1\1", "early"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 9\n\2\2\0\10" + b"\x88\1" * 40, "damaged"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 99999999 +X 99999999\n\1\1\1\1", "before"),
    ],
)
def test_foreign_rgbe_is_refused(tmp_path: Path, text: bytes, finding: str) -> None:
    (tmp_path / "a.hdr").write_bytes(text)
    with pytest.raises(UnreadableImage, match=finding):
        read_hdr(tmp_path / "a.hdr")


@pytest.mark.parametrize("exposure", [b"inf", b"nan", b"1e300", b"1e-300", b"-1", b"0"])
def test_an_exposure_that_is_none_is_left_out(tmp_path: Path, exposure: bytes) -> None:
    (tmp_path / "a.hdr").write_bytes(b"#?RGBE\nEXPOSURE=" + exposure + b"\n\n-Y 1 +X 1\n" + bytes([128, 64, 0, 129]))
    assert read_hdr(tmp_path / "a.hdr").tolist() == [[[1, 0.5, 0]]]


@pytest.mark.parametrize("name", ["artist_workshop_1k.hdr", "venice.hdr"])
def test_shared_scenes_are_read_as_others_read_them(name: str) -> None:
    path = Path(__file__).parents[2] / "shared/data/train" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    assert_array_equal(read_hdr(path), imagecodecs.rgbe_decode(path.read_bytes()))
