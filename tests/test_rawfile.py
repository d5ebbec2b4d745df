"""read_raw on real files (read in place) and on DNGs that tifffile writes, tag by tag."""

from __future__ import annotations

import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import rawpy
import tifffile
from cr2container import lossless_jpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from sve2hdr.errors import UnreadableRaw
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.exif import unique_camera_model
from sve2hdr.formats.lineardng import write_linear_dng
from sve2hdr.formats.tifftags import SUB_IFDS, numbers, read_ifds
from sve2hdr.formats.tiffwrite import BYTE, LONG, SHORT, Ifd, entry, text_entry, tiff_bytes
from sve2hdr.mosaic import BAYER_ORDERS, cfa_period
from sve2hdr.raw.rawcolor import REC709_FROM_XYZ
from sve2hdr.rawfile import read_raw

REAL = Path(__file__).parents[2] / "shared" / "data" / "raw"
MATRIX = np.array([[0.7, -0.2, -0.05], [-0.4, 1.2, 0.16], [-0.09, 0.2, 0.58]])
STARTS = [b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"FOVb", b"FUJIFILM"]
ENTRY_STARTS = [(271, b"\2\0"), (42036, b"\2\0"), (33434, b"\5\0"), (36867, b"\2\0"), (50728, b"\5\0")]
Tags = dict[int, tuple[int, Any]]  # tag -> type, values; (0, None): leave out

needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not here: real raw files untested")


def rational(values: ArrayLike) -> list[int]:
    return [n for v in np.ravel(values) for n in (round(v * 10_000), 10_000)]


def write_dng(path: Path, counts: np.ndarray, cfa: str = "RGGB", photometric: int = 32803, **changed: Tags) -> Path:
    """Write a DNG with tifffile; `changed["tags"]` replaces, adds or removes tags."""
    side = int(len(cfa) ** 0.5)
    tags: Tags = {
        33421: (3, (side, side)),
        33422: (1, tuple("RGB".index(letter) for letter in cfa)),
        50706: (1, (1, 4, 0, 0)),
        50707: (1, (1, 1, 0, 0)),
        50708: (2, "Nobody's camera"),
        50713: (3, (1, 1)),
        50714: (4, (100,)),
        50717: (4, (4000,)),
        50721: (10, rational(MATRIX)),
        50778: (3, (21,)),
        50728: (5, rational(np.array([0.5, 1.0, 0.6]))),
        **changed.get("tags", {}),
    }
    extra = []
    for tag, (kind, values) in tags.items():
        if values is not None:
            count = None if kind == 2 else len(values) // (2 if kind in (5, 10) else 1)
            extra.append((tag, kind, count, values if kind == 2 or len(values) > 1 else values[0], True))
    planes = "contig" if counts.ndim == 3 else None  # new releases of tifffile take linear raws for grey ones without
    settings = {"photometric": photometric, "planarconfig": planes, "metadata": None, "software": False}
    tifffile.imwrite(path, counts, extratags=extra, **settings)
    return path


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(1).integers(90, 4000, (101, 122)).astype(np.uint16)


# Laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cfa", [*BAYER_ORDERS, "GGBBGGBBRRGGRRGG"])
@pytest.mark.parametrize("margin", [(0, 0), (3, 0), (0, 5), (7, 9)])
def test_cfa_and_black_belong_to_their_sites_whatever_the_margins(
    tmp_path: Path, counts: np.ndarray, cfa: str, margin: tuple[int, int]
) -> None:
    """A DNG's periods start at the active area's first site; LibRaw's visible area starts at the next even one."""
    top, left = margin
    levels = np.array([[100, 101], [102, 103]])
    tags: Tags = {50829: (4, (top, left, 99, 120)), 50713: (3, (2, 2)), 50714: (4, tuple(levels.ravel().tolist()))}
    path = write_dng(tmp_path / "a.dng", counts, cfa, tags=tags)
    mosaic = read_raw(path)
    first_y, first_x = top + top % 2, left + left % 2
    np.testing.assert_array_equal(mosaic.counts, counts[first_y : first_y + mosaic.shape[0], first_x:120])
    letters = cfa_period(cfa)
    period = len(letters)
    for y, x in np.ndindex(period, period):
        in_area = first_y - top + y, first_x - left + x
        assert cfa_period(mosaic.cfa)[y, x] == letters[in_area[0] % period, in_area[1] % period]
        assert mosaic.black_level[y % 2, x % 2] == levels[in_area[0] % 2, in_area[1] % 2]
    if period == 2:
        with rawpy.imread(str(path)) as raw:  # LibRaw, asked site by site, agrees
            first = [raw.raw_color(first_y + y, first_x + x) for y in (0, 1) for x in (0, 1)]
            assert "".join(chr(raw.color_desc[colour]) for colour in first) == mosaic.cfa


@settings(max_examples=150)
@given(data=st.binary(max_size=400), start=st.sampled_from(STARTS))
def test_any_bytes_are_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "x.dng"
    path.write_bytes(start + data)
    with pytest.raises(UnreadableRaw) as refusal:
        read_raw(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


def test_damaged_metadata_never_fails_a_readable_frame(tmp_path: Path, counts: np.ndarray) -> None:
    tags: Tags = {271: (2, "Maker of cameras"), 42036: (2, "A lens"), 33434: (5, (1, 125)), 36867: (2, "no date")}
    path = write_dng(tmp_path / "a.dng", counts, tags=tags)
    entries = [(tag, path.read_bytes().index(tag.to_bytes(2, "little") + kind)) for tag, kind in ENTRY_STARTS]
    rng = np.random.default_rng(3)
    for tag, at in entries * 10:
        damaged = bytearray(path.read_bytes())
        damaged[at + 2 : at + 12] = rng.integers(0, 256, 10).astype(np.uint8).tobytes()  # type, count, value
        other = tmp_path / "b.dng"
        other.write_bytes(damaged)
        np.testing.assert_array_equal(read_raw(other).counts, counts, err_msg=f"tag {tag}")


@pytest.mark.parametrize("white", [(4, (70_000,)), (4, (2**32 - 1,)), (11, (np.inf,)), (11, (np.nan,))])
def test_a_white_level_beyond_16_bits_is_not_believed(tmp_path: Path, counts: np.ndarray, white: Any) -> None:
    assert read_raw(write_dng(tmp_path / "a.dng", counts, tags={50717: white})).white_level == 65535
    assert read_raw(write_dng(tmp_path / "b.dng", counts, tags={50717: (4, (3000, 70_000))})).white_level == 3000


@pytest.mark.parametrize(
    "tags",
    [
        {50829: (11, (np.nan, 0.0, 99.0, 120.0))},
        {50713: (11, (np.inf, np.inf))},
        {50728: (11, (1e-30, 1.0, 1.0))},
        {50721: (11, (1e30, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))},  # which no DNG of ours could hold
        {50721: (11, (1.0, 1.0, 1.0, 1.0, 1.001, 1.0, 1.0, 1.0, 1.001))},  # next to no colours
        {33434: (12, (1e300,)), 33437: (12, (1e-300,)), 37386: (12, (4294967.123456789,))},
    ],
)
def test_other_damaged_tags_count_as_missing(tmp_path: Path, counts: np.ndarray, tags: Tags) -> None:
    mosaic = read_raw(write_dng(tmp_path / "a.dng", counts, tags=tags))
    assert np.array_equal(mosaic.counts, counts)
    assert mosaic.black_level.tolist() == [[100]]
    assert np.linalg.cond(mosaic.camera_from_xyz) < 100
    write_cfa_dng(tmp_path / "b.dng", mosaic)
    write_linear_dng(tmp_path / "c.dng", np.ones((8, 8, 3), np.float32), mosaic, 1.0)


# Levels and colour ----------------------------------------------------------------------------------------------------


def test_what_the_tags_say_is_what_is_read(tmp_path: Path, counts: np.ndarray) -> None:
    mosaic = read_raw(write_dng(tmp_path / "a.dng", counts))
    np.testing.assert_array_equal(mosaic.counts, counts)
    assert mosaic.black_level.tolist() == [[100]]
    assert mosaic.white_level == 4000
    np.testing.assert_allclose(mosaic.camera_from_xyz, MATRIX, atol=1e-12)
    assert mosaic.as_shot_neutral is not None
    np.testing.assert_allclose(mosaic.as_shot_neutral, [0.5, 1, 0.6])


def test_a_dng_s_own_name_of_its_camera_is_kept(tmp_path: Path, counts: np.ndarray) -> None:
    capture = read_raw(write_dng(tmp_path / "a.dng", counts)).capture
    assert (capture.make, capture.model, unique_camera_model(capture)) == ("", *["Nobody's camera"] * 2)
    tags: Tags = {271: (2, "Canon"), 272: (2, "Canon EOS 350D DIGITAL"), 50708: (2, "Canon EOS 350D")}
    capture = read_raw(write_dng(tmp_path / "b.dng", counts, tags=tags)).capture
    assert (capture.model, unique_camera_model(capture)) == ("Canon EOS 350D DIGITAL", "Canon EOS 350D")


def test_dng_matrix_wins_over_the_one_libraw_knows_for_the_model(tmp_path: Path, counts: np.ndarray) -> None:
    tags: Tags = {271: (2, "Canon"), 272: (2, "Canon EOS 5D Mark III")}
    np.testing.assert_allclose(
        read_raw(write_dng(tmp_path / "a.dng", counts, tags=tags)).camera_from_xyz, MATRIX, atol=1e-12
    )


def test_daylight_matrix_is_taken_of_two(tmp_path: Path, counts: np.ndarray) -> None:
    daylight = MATRIX + 0.1 * np.eye(3)
    tags: Tags = {50778: (3, (17,)), 50722: (10, rational(daylight)), 50779: (3, (21,))}
    matrix = read_raw(write_dng(tmp_path / "a.dng", counts, tags=tags)).camera_from_xyz
    np.testing.assert_allclose(matrix, daylight, atol=1e-12)


def test_two_matrices_and_their_lights_are_read_and_written_again(tmp_path: Path, counts: np.ndarray) -> None:
    warm = MATRIX + 0.05 * np.eye(3)
    tags: Tags = {50722: (10, rational(warm)), 50778: (3, (21,)), 50779: (3, (17,)), 50727: (5, rational([0.5, 1, 1]))}
    mosaic = read_raw(write_dng(tmp_path / "a.dng", counts, tags=tags))
    write_cfa_dng(tmp_path / "b.dng", mosaic)
    for read in (mosaic, read_raw(tmp_path / "b.dng")):
        assert read.calibrations is not None
        assert read.calibrations.illuminants == (17, 21)
        expected = np.stack([warm, MATRIX]) * [[0.5], [1], [1]]
        np.testing.assert_allclose(read.calibrations.camera_from_xyz, expected, atol=1e-6)
        np.testing.assert_array_equal(read.camera_from_xyz, read.calibrations.camera_from_xyz[1])


@pytest.mark.parametrize(
    ("matrix", "light"), [(MATRIX, 17), (-MATRIX, 17), (MATRIX + 0.1, 255), (MATRIX + 0.1, 21), (MATRIX[[1, 0, 2]], 17)]
)
def test_a_second_matrix_that_is_none_changes_nothing(
    tmp_path: Path, counts: np.ndarray, matrix: np.ndarray, light: int
) -> None:
    tags: Tags = {50778: (3, (21,)), 50722: (10, rational(matrix)), 50779: (3, (light,))}
    assert read_raw(write_dng(tmp_path / "a.dng", counts, tags=tags)).calibrations is None


def test_the_light_s_xy_stands_in_for_the_neutral(tmp_path: Path, counts: np.ndarray) -> None:
    tags: Tags = {50728: (0, None), 50729: (5, rational([0.4476, 0.4075]))}
    mosaic = read_raw(write_dng(tmp_path / "a.dng", counts, tags=tags))
    expected = MATRIX @ [0.4476 / 0.4075, 1, 0.1449 / 0.4075]
    assert mosaic.as_shot_neutral is not None
    np.testing.assert_allclose(mosaic.as_shot_neutral, expected / expected[1], rtol=1e-5)
    both = read_raw(write_dng(tmp_path / "b.dng", counts, tags={50729: tags[50729]})).as_shot_neutral
    np.testing.assert_allclose(both, [0.5, 1, 0.6])  # type: ignore[arg-type]
    warm = MATRIX * [[0.8], [1], [1.2]]
    two: Tags = {**tags, 50778: (3, (21,)), 50722: (10, rational(warm)), 50779: (3, (17,))}
    found = read_raw(write_dng(tmp_path / "c.dng", counts, tags=two)).as_shot_neutral
    expected = expected * [0.8, 1, 1.2]
    np.testing.assert_allclose(found, expected / expected[1], rtol=5e-3)  # type: ignore[arg-type]
    for wrong in ([0.0, 0.4], [0.7, 0.4], [0.3, 0.3, 0.3]):
        tags[50729] = (5, rational(wrong))
        assert read_raw(write_dng(tmp_path / "d.dng", counts, tags=tags)).as_shot_neutral is None


def test_calibration_and_analog_balance_belong_to_the_matrix(tmp_path: Path, counts: np.ndarray) -> None:
    calibration, analog = np.diag([1.25, 1, 0.8]), np.array([0.5, 1, 0.75])
    tags: Tags = {50723: (10, rational(calibration)), 50727: (5, rational(analog))}
    matrix = read_raw(write_dng(tmp_path / "a.dng", counts, tags=tags)).camera_from_xyz
    np.testing.assert_allclose(matrix, np.diag(analog) @ calibration @ MATRIX, atol=1e-12)
    other: Tags = {**tags, 50931: (2, "one"), 50932: (2, "another")}  # signatures: the calibration is for another one
    matrix = read_raw(write_dng(tmp_path / "b.dng", counts, tags=other)).camera_from_xyz
    np.testing.assert_allclose(matrix, np.diag(analog) @ MATRIX, atol=1e-12)


def test_without_a_matrix_the_stand_in_has_the_camera_s_balance(tmp_path: Path, counts: np.ndarray) -> None:
    gone: Tags = {50721: (0, None), 50778: (0, None)}
    mosaic = read_raw(write_dng(tmp_path / "a.dng", counts, tags=gone))
    np.testing.assert_allclose(mosaic.camera_from_xyz, REC709_FROM_XYZ * np.array([[0.5], [1], [0.6]]))


def test_without_colour_data_the_defaults_stand_in(tmp_path: Path, counts: np.ndarray) -> None:
    gone: Tags = {50721: (0, None), 50778: (0, None), 50728: (0, None)}
    mosaic = read_raw(write_dng(tmp_path / "a.dng", counts, tags=gone))
    np.testing.assert_array_equal(mosaic.camera_from_xyz, REC709_FROM_XYZ)
    assert mosaic.as_shot_neutral is None


def test_four_by_four_cfa_is_read(tmp_path: Path, counts: np.ndarray) -> None:
    mosaic = read_raw(write_dng(tmp_path / "a.dng", counts, "GGBBGGBBRRGGRRGG"))
    assert mosaic.cfa == "GGBBGGBBRRGGRRGG"
    np.testing.assert_array_equal(mosaic.counts, counts)


def dual_iso_sensor(black_of_row: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(5)
    sensor = rng.normal(1500, 300, (410, 160))
    sensor[:, :40] = rng.normal(100, 3, (410, 40)) + black_of_row[:, None]
    return np.clip(np.rint(sensor), 0, 4000).astype(np.uint16)


def test_black_levels_of_two_amplifications_are_told_from_the_masked_columns(tmp_path: Path) -> None:
    offset = np.where(np.arange(410) % 4 < 2, -3.0, 3.0)
    area: Tags = {50829: (4, (6, 40, 410, 160))}
    black = read_raw(write_dng(tmp_path / "a.dng", dual_iso_sensor(offset), tags=area)).black_level
    assert black.shape == (4, 2)
    np.testing.assert_allclose(black[:, 0], 100 + offset[6:10], atol=0.3)  # phase from the first visible row on


@pytest.mark.parametrize("margin", [None, (0, 0), (3, 5)])  # None: no active area is stated
def test_rows_and_columns_have_black_levels_of_their_own(
    tmp_path: Path, counts: np.ndarray, margin: tuple[int, int] | None
) -> None:
    """Adobe's converter writes black as BlackLevelDeltaV for some Canon bodies: by row, and so by ISO in Dual ISO."""
    (top, left), (bottom, right) = margin or (0, 0), (99, 120) if margin else counts.shape
    rows, columns = np.arange(bottom - top), np.arange(right - left)
    down, across = 50 + 12.0 * (rows % 4 >= 2) + rows % 7 / 10, np.where(columns % 2, -3.0, 4.0)
    tags: Tags = {
        50829: (4, (top, left, bottom, right) if margin else None), 50713: (3, (1, 2)), 50714: (4, (10, 11)),
        50716: (10, rational(down)), 50715: (10, rational(across)),
    }  # fmt: skip
    black = read_raw(write_dng(tmp_path / "a.dng", counts, tags=tags)).black_level
    assert black.shape == (4, 2)
    y, x = np.ogrid[:4, :2]
    y, x = y + top % 2, x + left % 2  # the visible area starts at an even site
    expected = 50.3 + 12 * (y % 4 >= 2) + np.where(x % 2, 11 - 3, 10 + 4)
    np.testing.assert_allclose(black, expected, atol=0.2)


def test_noise_of_the_rows_black_levels_is_averaged_over(tmp_path: Path, counts: np.ndarray) -> None:
    down = np.random.default_rng(8).normal(156, 3, 101)
    tags: Tags = {50714: (4, (0,)), 50716: (10, rational(down))}
    black = read_raw(write_dng(tmp_path / "a.dng", counts, tags=tags)).black_level
    assert black.shape == (1, 1)
    np.testing.assert_allclose(black, down.mean(), atol=0.1)


@pytest.mark.parametrize(
    ("size", "black"),
    [
        (None, (128, 128, 128, 128)), ((2, 2), (128,)), ((4, 4), (128, 128, 128)), ((1, 2), (128,)), ((2, 1), (128,)),
        ((2, 5), (128,) * 4), ((1,), (128,) * 4),
    ],
)  # fmt: skip
def test_black_that_does_not_fit_its_period_is_not_taken_for_none(
    tmp_path: Path, counts: np.ndarray, size: tuple[int, int] | None, black: tuple[int, ...]
) -> None:
    tags: Tags = {50713: (3, size) if size else (0, None), 50714: (4, black)}
    assert np.unique(read_raw(write_dng(tmp_path / "a.dng", counts, tags=tags)).black_level).tolist() == [128]


@pytest.mark.parametrize("rows", [3, 99, 103])
def test_of_rows_that_are_not_those_of_the_frame_the_mean_is_taken(
    tmp_path: Path, counts: np.ndarray, rows: int
) -> None:
    """Which of them belong to which phase is not known."""
    down = 50 + 12.0 * (np.arange(rows) % 4 >= 2)
    tags: Tags = {50714: (4, (100,)), 50716: (10, rational(down))}
    black = read_raw(write_dng(tmp_path / "a.dng", counts, tags=tags)).black_level
    np.testing.assert_allclose(black, [[100 + down.mean()]], atol=0.01)


def test_equal_black_levels_stay_as_stated(tmp_path: Path) -> None:
    area: Tags = {50829: (4, (5, 40, 410, 160))}
    path = write_dng(tmp_path / "a.dng", dual_iso_sensor(np.zeros(410)), tags=area)
    assert read_raw(path).black_level.tolist() == [[100]]


def test_a_matrix_that_sees_no_daylight_is_not_taken(tmp_path: Path, counts: np.ndarray) -> None:
    wrong: Tags = {50721: (10, rational(-MATRIX))}
    gone: Tags = {50721: (0, None), 50778: (0, None)}
    found = read_raw(write_dng(tmp_path / "a.dng", counts, tags=wrong)).camera_from_xyz
    np.testing.assert_array_equal(found, read_raw(write_dng(tmp_path / "b.dng", counts, tags=gone)).camera_from_xyz)


def test_masked_columns_that_saw_light_are_not_believed(tmp_path: Path) -> None:
    rows = np.where(np.arange(410) % 4 < 2, 400.0, 900.0)
    area: Tags = {50829: (4, (5, 40, 410, 160))}
    assert read_raw(write_dng(tmp_path / "a.dng", dual_iso_sensor(rows), tags=area)).black_level.tolist() == [[100]]


# Refusals -------------------------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(UnreadableRaw) as refused:
        read_raw(path)
    return str(refused.value).removeprefix(f"{path}: ")


def test_missing_file_folder_text_and_pictures_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.cr2").startswith("no such file")
    assert refusal(tmp_path).startswith("a folder")
    assert re.match(r"(cannot be read|no such file).*check \w+ path", refusal(tmp_path / ("a" * 300 + ".cr2")))
    contents = {
        b"": "an empty file", b"hello\n" * 50: "not a raw file", b"\xff\xd8\xff\xe0" * 50: "a picture",
        b"MLVI4\0\0\0v2.0" * 50: "Magic Lantern video", b"II+\0\x08\0\0\0" * 50: "a BigTIFF",
        b"MM\0+\0\x08\0\0" * 50: "a BigTIFF",
    }  # fmt: skip
    for content, finding in contents.items():
        path = tmp_path / "x.dng"
        path.write_bytes(content)
        assert refusal(path).startswith(finding)


def test_frames_without_a_bayer_mosaic_are_refused(tmp_path: Path, counts: np.ndarray) -> None:
    path, no_cfa = tmp_path / "a.dng", {33421: (0, None), 33422: (0, None)}
    linear = np.stack([counts] * 3, axis=-1)
    assert refusal(write_dng(path, linear, photometric=34892, tags=no_cfa)).startswith("already demosaiced")
    grey = write_dng(path, counts, tags=no_cfa)
    stored = grey.read_bytes()
    entry = stored.index((262).to_bytes(2, "little") + b"\3\0") + 8
    grey.write_bytes(stored[:entry] + (34892).to_bytes(2, "little") + stored[entry + 2 :])
    assert refusal(grey).startswith("monochrome")
    assert refusal(write_dng(path, counts.astype(np.float32))).startswith("holds floating-point data")
    xtrans = {33421: (3, (6, 6)), 33422: (1, (1, 1, 0, 1, 1, 2, 1, 1, 2, 1, 1, 0, 2, 0, 1, 0, 2, 1) * 2)}
    assert refusal(write_dng(path, counts, tags=xtrans)).startswith("X-Trans")
    assert refusal(write_dng(path, counts, "RGBG")).startswith("colour filters RGBG")
    assert refusal(write_dng(path, counts[:63])).startswith("122 x 63 px, below 64")


@pytest.mark.parametrize(("code", "name"), [(52546, "JPEG XL"), (34892, "lossy JPEG"), (8, "Deflate")])
def test_a_compression_that_is_not_decoded_is_named(tmp_path: Path, code: int, name: str) -> None:
    counts = np.random.default_rng(1).integers(90, 4000, (128, 128)).astype(np.uint16)
    stored = {
        52546: lambda: imagecodecs.jpegxl_encode(counts, lossless=True),
        34892: lambda: imagecodecs.jpeg8_encode((counts >> 4).astype(np.uint8)),
        8: lambda: zlib.compress(counts.tobytes()),
    }[code]()
    path = tmp_path / "a.dng"
    write_tiled_dng(path, [bytes(stored)], 128, counts.shape, compression=code)
    assert refusal(path).startswith(f"{name}, which LibRaw does not decode; give the camera's own raw file")


def test_what_was_made_of_the_mosaic_beside_it_does_no_harm(tmp_path: Path, counts: np.ndarray) -> None:
    """Such as enhanced images, of three colours, of floats even, that are marked by NewSubfileType 16."""
    path = write_dng(tmp_path / "a.dng", counts)
    enhanced = np.full((202, 244, 3), 0.5, np.float32)
    with tifffile.TiffWriter(path, append=True) as tiff:
        tiff.write(enhanced, photometric=34892, planarconfig="contig", subfiletype=16, metadata=None)
    np.testing.assert_array_equal(read_raw(path).counts, counts)


def test_truncated_and_hollow_frames_are_refused(
    tmp_path: Path, muted: None, capfd: pytest.CaptureFixture[str], counts: np.ndarray
) -> None:
    path = write_dng(tmp_path / "a.dng", counts)
    whole = path.read_bytes()
    for share in (0.3, 0.9, 0.9999):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert refusal(path).startswith("truncated")
    path = write_dng(tmp_path / "b.dng", np.vstack([counts, np.zeros((8, 122), np.uint16)]))
    assert refusal(path).startswith("truncated: the last 8 rows")
    path = write_dng(tmp_path / "c.dng", np.vstack([counts, np.zeros((8, 122), np.uint16), counts]))
    assert refusal(path).startswith("damaged: 8 rows hold no data")
    path = write_dng(tmp_path / "d.dng", counts, tags={50714: (4, (4000,))})
    assert refusal(path).startswith("damaged levels")
    assert capfd.readouterr() == ("", "")  # LibRaw keeps its own words to itself


def test_rows_of_zeros_that_are_no_damage_are_read(tmp_path: Path, counts: np.ndarray) -> None:
    """Lines before the picture that get no light, and a night that is clipped at 0."""
    lines, night = counts.copy(), counts.copy()
    lines[:4] = 0
    night[50:] = np.random.default_rng(2).random(night[50:].shape) < 0.005
    assert (night[51:].max(axis=1) + night[50:-1].max(axis=1) == 0).any()
    for stored, black in ((lines, 64), (night, 1)):
        path = write_dng(tmp_path / "a.dng", stored, tags={50714: (4, (black,))})
        np.testing.assert_array_equal(read_raw(path).counts, stored)


def test_rows_of_zeros_that_are_damage_are_refused_whatever_else_is_0(tmp_path: Path, counts: np.ndarray) -> None:
    """The first half of a picture, the rows below a bar of dark columns, and tiles of which one ends within a row."""
    upper, bar, tiles = counts.copy(), counts.copy(), counts.copy()
    upper[:50] = 0
    bar[:, :4] = bar[60:] = 0
    tiles[32:64] = tiles[64:96, :128] = 0
    for stored in (upper, bar, tiles):
        assert "rows hold no data" in refusal(write_dng(tmp_path / "a.dng", stored))


@pytest.mark.parametrize("share", [0.7, 0.982])
def test_a_length_that_tells_too_few_bytes_of_the_one_strip_does_no_harm(
    tmp_path: Path, counts: np.ndarray, share: float
) -> None:
    """DJI's Mavic 3 wrote 0.982 of it until June 2022, picamera2 0.7 of it in May 2026."""
    path = write_dng(tmp_path / "a.dng", counts)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags[279].overwrite(int(counts.nbytes * share))
    np.testing.assert_array_equal(read_raw(path).counts, counts)


def write_tiled_dng(
    path: Path, tiles: list[bytes], side: int, shape: tuple[int, int], compression: int = 7, minor: int = 4
) -> None:
    """Write a DNG as Adobe's converter does: a preview in the first IFD, the mosaic below as tiles of lossless JPEG."""
    image = [
        entry(254, LONG, [0]), entry(256, LONG, [shape[1]]), entry(257, LONG, [shape[0]]), entry(258, SHORT, [16]),
        entry(259, SHORT, [compression]), entry(262, SHORT, [32803]), entry(277, SHORT, [1]), entry(322, LONG, [side]),
        entry(323, LONG, [side]), entry(33421, SHORT, [2, 2]), entry(33422, BYTE, [0, 1, 1, 2]),
        entry(50714, SHORT, [100]), entry(50717, SHORT, [4000]),
    ]  # fmt: skip
    preview = [
        entry(254, LONG, [1]), entry(256, LONG, [8]), entry(257, LONG, [8]), entry(258, SHORT, [8, 8, 8]),
        entry(259, SHORT, [1]), entry(262, SHORT, [2]), entry(277, SHORT, [3]), entry(278, LONG, [8]),
        entry(50706, BYTE, [1, minor, 0, 0]), entry(50707, BYTE, [1, 0, 0, 0]), text_entry(50708, "Nobody's camera"),
    ]  # fmt: skip
    below = {SUB_IFDS: Ifd(image, {}, tiles, len(tiles), tiled=True)}
    path.write_bytes(tiff_bytes(Ifd(preview, below, [bytes(192)], 1)))


@pytest.mark.parametrize("lost", [None, 0, 4])
def test_tiles_are_read_and_a_lost_one_is_told(tmp_path: Path, lost: int | None) -> None:
    counts = np.random.default_rng(7).integers(90, 4000, (192, 192)).astype(np.uint16)
    places = [(y, x) for y in range(0, 192, 64) for x in range(0, 192, 64)]
    tiles = [lossless_jpeg(counts[y : y + 64, x : x + 64], 14, components=2) for y, x in places]
    if lost is not None:
        tiles[lost] = bytes(len(tiles[lost]))
    path = tmp_path / "a.dng"
    write_tiled_dng(path, tiles, 64, counts.shape)
    if lost is None:
        np.testing.assert_array_equal(read_raw(path).counts, counts)
    else:
        assert refusal(path).startswith("damaged")


def test_differences_of_16_bits_as_the_first_dngs_have_them_are_read(tmp_path: Path) -> None:
    """Before DNG 1.1 they had 16 bits behind their code, of which the JPEG standard has none."""
    counts = np.random.default_rng(7).choice(np.array([90, 3000, 40_000], np.uint16), (128, 128))
    path = tmp_path / "a.dng"
    write_tiled_dng(path, [lossless_jpeg(counts, 16, components=2)], 128, counts.shape, minor=0)
    np.testing.assert_array_equal(read_raw(path).counts, counts)


@pytest.mark.parametrize("lost", [None, 0, 1])
def test_tiles_of_which_no_length_is_told_are_read_and_a_lost_one_is_told(tmp_path: Path, lost: int | None) -> None:
    """Also one that was never written, of which neither length nor place is told."""
    counts = np.random.default_rng(7).integers(90, 4000, (128, 384)).astype(np.uint16)
    path = tmp_path / "a.dng"
    tiles = [lossless_jpeg(np.ascontiguousarray(part), 14, components=2) for part in np.split(counts, 3, axis=1)]
    if lost == 0:
        tiles[0] = tiles[0][:900] + bytes(4096) + tiles[0][4996:]
    write_tiled_dng(path, tiles, 128, counts.shape)
    stored, ifd = path.read_bytes(), next(ifd for kind, ifd in read_ifds(path) if kind == "sub")
    offsets, lengths = (entry(tag, LONG, [int(n) for n in numbers(ifd, tag)])[3] for tag in (324, 325))
    stored = stored.replace(lengths, bytes(12))
    if lost == 1:
        stored = stored.replace(offsets, offsets[:4] + bytes(4) + offsets[8:])
    path.write_bytes(stored)
    if lost is None:
        np.testing.assert_array_equal(read_raw(path).counts, counts)
    else:
        assert refusal(path).startswith("damaged")


def test_tiles_that_all_name_the_same_bytes_are_not_decoded_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = lossless_jpeg(np.full((64, 64), 300, np.uint16), 14, components=2)
    path = tmp_path / "a.dng"
    write_tiled_dng(path, [stream] * 9, 64, (192, 192))
    stored = path.read_bytes()
    ifd = next(ifd for kind, ifd in read_ifds(path) if kind == "sub")
    first, *others = (int(n).to_bytes(4, "little") for n in numbers(ifd, 324))
    for other in others:
        stored = stored.replace(other, first)
    path.write_bytes(stored[: int.from_bytes(first, "little") + len(stream)])
    monkeypatch.setattr("sve2hdr.raw.rawcheck.is_damaged", lambda stream: pytest.fail("decoded"))
    read_raw(path)


@pytest.mark.parametrize(
    ("tags", "finding"),
    [
        ({33421: (11, (np.inf,))}, "a inf colour filter array"),
        ({33421: (11, (np.nan, 2.0))}, "a nan x 2 colour filter array"),
        ({33421: (3, (2, 2, 2))}, "a 2 x 2 colour filter array"),
        ({33422: (0, None), 50710: (1, (0, 1, 2))}, "colour filter array"),  # LibRaw then has any
        ({50714: (11, (-1e30,))}, "damaged levels"),
        ({50714: (11, (np.nan,))}, "damaged levels"),
    ],
)
def test_damaged_tags_are_refused_in_one_line(tmp_path: Path, counts: np.ndarray, tags: Tags, finding: str) -> None:
    assert finding in refusal(write_dng(tmp_path / "a.dng", counts, tags=tags))


# Real files -----------------------------------------------------------------------------------------------------------


@needs_real
def test_real_bayer_files_are_read() -> None:
    mosaic = read_raw(REAL / "PowerShotS40_CRW_0119.CRW")
    assert (mosaic.shape, mosaic.cfa, mosaic.white_level) == ((1720, 2312), "RGGB", 1023)
    assert mosaic.black_level.tolist() == [[32, 32], [32, 32]]
    assert (mosaic.capture.make, mosaic.capture.model) == ("Canon", "Canon PowerShot S40")
    assert mosaic.capture.taken == "2021:03:26 21:18:06"
    assert mosaic.capture.exposure_time_s == pytest.approx(1 / 60, rel=0.01)
    cinema = read_raw(REAL / "Blackmagic.dng")
    assert (cinema.shape, cinema.cfa, cinema.white_level) == ((2176, 4128), "RGGB", 65535)
    assert cinema.black_level.tolist() == [[512]]
    assert cinema.capture.model == "Blackmagic Pocket Cinema Camera 4K"
    assert cinema.camera_from_xyz[0, 0] == pytest.approx(0.68795)  # its second matrix, daylight
    assert read_raw(REAL / "DC120_P003908.KDC").cfa == "GRBG"


@needs_real
@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("DSC8695_linear.dng", "already demosaiced"),
        ("canon_eos_6d_linear.dng", "already demosaiced"),
        ("Hero7Black_GOPR8508.GPR", "damaged, or compressed in a way LibRaw does not know"),
        ("stub_CanonRaw.cr2", "damaged, or compressed"),
        ("stub_CanonRaw.crw", "damaged or truncated"),
        ("stub_Nikon.nef", "damaged or truncated"),
        ("stub_DNG.dng", "holds 22 bytes for 8185248 sites"),
        ("DSC_1339_768x512_rggb.raw", "does not name its camera"),
        ("openISP_test_1920x1080_rggb.RAW", "does not name its camera"),
    ],
)
def test_real_files_that_are_no_bayer_raw_are_refused(name: str, finding: str) -> None:
    assert refusal(REAL / name).startswith(finding)


@needs_real
@pytest.mark.parametrize("name", ["PowerShotG2_CRW_0304.CRW", "DC120_P003908.KDC", "Blackmagic.dng"])
def test_truncated_real_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    shutil.copy(REAL / name, path)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * 0.8))
    assert "truncated" in refusal(path)
