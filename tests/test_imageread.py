"""Finished images and scenes as they are read: whole, in linear Rec. 709, or refused in a line."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import tifffile
from images import image_of, write
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.color import COLOR_SPACES, rec709_from
from sve2hdr.errors import UnreadableImage
from sve2hdr.formats.exrwrite import WriteOptions
from sve2hdr.formats.imageread import read_hdr, read_scene

# As stored


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_tiff_of_any_floats_and_with_alpha_is_read(tmp_path: Path, kind: type[np.floating]) -> None:
    image = image_of().astype(np.float16)
    rgba = np.concatenate([image, image[..., :1]], axis=2).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    found = read_hdr(tmp_path / "a.tif")
    assert found.dtype == np.float32
    assert_array_equal(found, image.astype(np.float32))


def test_exr_with_alpha_and_with_single_channels_is_read(tmp_path: Path) -> None:
    image = image_of()
    kind = OpenEXR.scanlineimage
    rgba = np.concatenate([image, image[..., :1]], axis=2)
    OpenEXR.File({"type": kind}, {"RGBA": rgba}).write(str(tmp_path / "rgba.exr"))
    planes = {c: np.ascontiguousarray(image[..., i]) for i, c in enumerate("RGB")} | {"Z": image[..., 0].copy()}
    OpenEXR.File({"type": kind}, planes).write(str(tmp_path / "planes.exr"))
    OpenEXR.File({"type": kind}, {"Y": image[..., 0].copy()}).write(str(tmp_path / "y.exr"))
    assert_array_equal(read_hdr(tmp_path / "rgba.exr"), image)
    assert_array_equal(read_hdr(tmp_path / "planes.exr"), image)
    with pytest.raises(UnreadableImage, match="channels Y"):
        read_hdr(tmp_path / "y.exr")


@pytest.mark.parametrize("keep", [0, 5, 60, 90, 0.5, 0.95])
@pytest.mark.parametrize("name", ["a.exr", "a.hdr", "a.tif", "flat.hdr"])
def test_truncated_files_are_refused(
    tmp_path: Path, muted: None, capfd: pytest.CaptureFixture[str], name: str, keep: float
) -> None:
    path = tmp_path / name
    write(path, image_of(64, 7 if name == "flat.hdr" else 60))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(UnreadableImage, match=name) as refusal:
        read_hdr(path)
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")  # the library keeps its own words to itself


def test_other_tiffs_are_read_or_refused(tmp_path: Path) -> None:
    image = image_of()
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(image, 2, 0), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "16.tiff", np.uint16([[[0, 32768, 65535]]]), photometric="rgb")
    tifffile.imwrite(tmp_path / "8.tif", np.zeros((4, 4, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "grey.tif", image[..., 0], photometric="minisblack")
    assert_array_equal(read_hdr(tmp_path / "planes.tif"), image)
    assert_allclose(read_hdr(tmp_path / "16.tiff"), [[[0, 0.5, 1]]], atol=1e-5)
    with pytest.raises(UnreadableImage, match="uint8"):
        read_hdr(tmp_path / "8.tif")
    with pytest.raises(UnreadableImage, match="three colours"):
        read_hdr(tmp_path / "grey.tif")


def test_an_exr_of_channels_of_several_types_is_read(tmp_path: Path) -> None:
    image = image_of()
    planes = {c: np.ascontiguousarray(image[..., i], np.float16) for i, c in enumerate("RGB")}
    planes["A"] = np.ones(image.shape[:2], np.float32)
    OpenEXR.File({"type": OpenEXR.scanlineimage}, planes).write(str(tmp_path / "a.exr"))
    assert_array_equal(read_hdr(tmp_path / "a.exr"), image.astype(np.float16))


def test_an_exr_may_be_plain_but_not_larger_than_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.exr"
    tiles = OpenEXR.TileDescription()
    tiles.xSize = tiles.ySize = 512
    header = {"type": OpenEXR.tiledimage, "tiles": tiles, "compression": OpenEXR.DWAA_COMPRESSION}
    OpenEXR.File(header, {"RGB": np.full((1500, 1500, 3), 0.5, np.float16)}).write(str(path))
    assert path.stat().st_size * 500 < 1500 * 1500  # Deflate would take three times as much
    assert (read_hdr(path) > 0).all()
    window = b"dataWindow\0box2i\0\x10\0\0\0" + bytes(8)
    stored = path.read_bytes()
    at = stored.index(window) + len(window)
    path.write_bytes(stored[:at] + (2**24).to_bytes(4, "little") + stored[at + 4 :])  # the last column
    with pytest.raises(UnreadableImage, match="more than it holds"):
        read_hdr(path)


@pytest.mark.parametrize("told", [1.0, (0.1, 0.2, 0.3), "eight"])
def test_chromaticities_of_another_type_are_refused(tmp_path: Path, told: object) -> None:
    path = tmp_path / "a.exr"
    OpenEXR.File({"type": OpenEXR.scanlineimage, "chromaticitieX": told}, {"RGB": image_of()}).write(str(path))
    path.write_bytes(path.read_bytes().replace(b"chromaticitieX", b"chromaticities"))
    with pytest.raises(UnreadableImage, match="damaged"):
        read_hdr(path)


def with_entry(path: Path, tag: int, count: int | None = None, value: int | None = None) -> None:
    """Change an entry of the first IFD of a little-endian TIFF: its count, or the value in it."""
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages.first.tags[tag].offset
    stored = bytearray(path.read_bytes())
    for place, number in ((at + 4, count), (at + 8, value)):
        if number is not None:
            stored[place : place + 4] = number.to_bytes(4, "little")
    path.write_bytes(stored)


def test_a_ring_of_tiff_pages_comes_to_an_end(tmp_path: Path) -> None:
    path, image = tmp_path / "a.tif", image_of()
    tifffile.imwrite(path, image, photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        first, last = tiff.pages.first.offset, tiff.pages.first.tags[max(tiff.pages.first.tags.keys())].offset + 12
    stored = bytearray(path.read_bytes())
    stored[last : last + 4] = first.to_bytes(4, "little")
    path.write_bytes(stored)
    assert_array_equal(read_hdr(path), image)


@pytest.mark.parametrize(
    ("tag", "count", "value", "finding"),
    [
        (273, 2, None, "lacks a part"),  # StripOffsets
        (257, None, 400, "lacks a part"),  # ImageLength
        (256, None, 1 << 30, "more than it holds"),  # ImageWidth
        (262, None, 8, "CIELAB"),  # PhotometricInterpretation
        (262, None, 5, "SEPARATED"),
    ],
)
def test_tiffs_that_tell_of_other_pixels_are_refused(
    tmp_path: Path, tag: int, count: int | None, value: int | None, finding: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image_of(), photometric="rgb", rowsperstrip=8, metadata=None)
    with_entry(tmp_path / "a.tif", tag, count, value)
    with pytest.raises(UnreadableImage, match=finding):
        read_hdr(tmp_path / "a.tif")


@pytest.mark.parametrize(("tag", "value"), [(278, 8), (278, 0), (279, 0), (262, 34892)])
def test_tiffs_in_one_piece_are_read_whatever_they_say_of_strips(tmp_path: Path, tag: int, value: int) -> None:
    """RowsPerStrip too few or 0, no StripByteCounts: the pixels are there all the same. And light from a raw."""
    image, path = image_of(), tmp_path / "a.tif"
    tifffile.imwrite(path, image, photometric="rgb", metadata=None)
    with_entry(path, tag, value=value)
    assert_array_equal(read_hdr(path), image)


def test_want_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scene that does not fit ends `dataset`, which would leave a damaged one out."""
    for name in ("a.exr", "a.tif"):
        write(tmp_path / name, image_of())

    def fails(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "stack", fails)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", fails)
    for name in ("a.exr", "a.tif"):
        with pytest.raises(MemoryError):
            read_hdr(tmp_path / name)


def test_a_strip_without_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image_of(), photometric="rgb", rowsperstrip=8, metadata=None, compression="deflate")
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages.first.tags[279].valueoffset + 4 * (tiff.pages.first.tags[279].dtype == 4)
    stored = bytearray(path.read_bytes())
    stored[at : at + 2] = bytes(2)
    path.write_bytes(stored)
    with pytest.raises(UnreadableImage, match="lacks a part"):
        read_hdr(path)


def test_a_thumbnail_is_not_taken_for_the_image(tmp_path: Path) -> None:
    image = image_of()
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(image[::4, ::4], photometric="rgb", subfiletype=1)
        tiff.write(image, photometric="rgb")
    scene, note = read_scene(tmp_path / "a.tif")
    assert_array_equal(scene, image)
    assert note == ""


def test_scenes_that_are_missing_unknown_or_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="No such file"):
        read_hdr(tmp_path / "missing.exr")
    with pytest.raises(UnreadableImage, match="extension"):
        read_hdr(tmp_path / "a.jpg")
    tifffile.imwrite(tmp_path / "nan.tif", np.full((2, 2, 3), np.nan, np.float32), photometric="rgb")
    with pytest.raises(UnreadableImage, match="NaN"):
        read_hdr(tmp_path / "nan.tif")


# Scenes


@pytest.mark.parametrize("name", ["a.exr", "a.hdr", "a.tif"])
def test_a_scene_is_read_in_rec_709_whatever_space_it_is_stored_in(tmp_path: Path, name: str) -> None:
    rec709 = np.random.default_rng(0).uniform(0.2, 1, (9, 13, 3)).astype(np.float32)
    for space in (COLOR_SPACES["rec709"], COLOR_SPACES["acescg"], COLOR_SPACES["xyz"]):
        matrix = rec709_from(space)
        stored = rec709 if matrix is None else (rec709 @ np.linalg.inv(matrix).T).astype(np.float32)
        write(tmp_path / name, stored, color_space=space, options=WriteOptions(half=False), overwrite=True)
        scene, note = read_scene(tmp_path / name)
        assert_allclose(scene, rec709, atol=0.02 if name == "a.hdr" else 1e-4)
        assert note == ""


@pytest.mark.parametrize("name", ["a.exr", "a.hdr", "a.tif"])
def test_camera_rgb_is_no_scene(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, np.ones((4, 4, 3), np.float32), color_space=COLOR_SPACES["camera"])
    with pytest.raises(UnreadableImage, match=rf"{name}: is camera RGB"):
        read_scene(tmp_path / name)
    assert (read_hdr(tmp_path / name) == 1).all()


ELEMENT = b"<rdf:Description xmlns:sve2hdr='u'><sve2hdr:color_space>scene-linear camera</sve2hdr:color_space>"


@pytest.mark.parametrize("xmp", [ELEMENT, ELEMENT.replace(b"<sve2hdr", b"<!-- \xff --><sve2hdr")])
def test_the_space_of_rewritten_tiffs_is_found(tmp_path: Path, xmp: bytes) -> None:
    tags = [(700, 1, len(xmp), xmp, True)]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((4, 4, 3), np.float32), photometric="rgb", metadata=None, extratags=tags)
    with pytest.raises(UnreadableImage, match=r"a\.tif: is camera RGB"):
        read_scene(path)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed: untested")
def test_the_space_is_still_known_once_exiftool_has_added_a_caption(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, np.ones((4, 4, 3), np.float32), color_space=COLOR_SPACES["camera"])
    command = ["exiftool", "-q", "-overwrite_original", "-ImageDescription=A moon", "-XMP-dc:Creator=me", path]
    subprocess.run(command, check=True)
    with pytest.raises(UnreadableImage, match=r"a\.tif: is camera RGB"):
        read_scene(path)


def test_primaries_of_no_colours_are_told(tmp_path: Path) -> None:
    header = {"type": OpenEXR.scanlineimage, "chromaticities": (0.3,) * 8}
    OpenEXR.File(header, {"RGB": np.ones((4, 4, 3), np.float32)}).write(str(tmp_path / "a.exr"))
    with pytest.raises(UnreadableImage, match=r"a\.exr: its primaries"):
        read_scene(tmp_path / "a.exr")


def test_what_a_tiff_leaves_open_is_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((20, 20, 3), 65535, np.uint16), photometric="rgb")
    scene, note = read_scene(tmp_path / "a.tif")
    assert (scene == 1).all()
    assert "a.tif: its 16-bit integers were taken as linear" in note
    pages = np.stack([np.full((20, 20, 3), level, np.float32) for level in (1, 2)])
    tifffile.imwrite(tmp_path / "b.tif", pages, photometric="rgb")
    scene, note = read_scene(tmp_path / "b.tif")
    assert (scene == 1).all()
    assert "of its 2 pages the first" in note
    turned = [(274, 3, 1, 6, True)]
    tifffile.imwrite(tmp_path / "c.tif", pages[0], photometric="rgb", iccprofile=b"\0" * 128, extratags=turned)
    note = read_scene(tmp_path / "c.tif")[1]
    assert note == f"{tmp_path / 'c.tif'}: its ICC profile was not applied; its orientation, 6, was not applied"


def test_values_that_no_rec_709_holds_are_refused(tmp_path: Path) -> None:
    header = {"type": OpenEXR.scanlineimage, "chromaticities": (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329)}
    OpenEXR.File(header, {"RGB": np.full((4, 4, 3), (3e38, 0, 0), np.float32)}).write(str(tmp_path / "a.exr"))
    with pytest.raises(UnreadableImage, match="too great"):
        read_scene(tmp_path / "a.exr")
