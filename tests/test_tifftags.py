"""read_ifds against tifffile, and on what no TIFF should be."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import tifffile

from sve2hdr.formats.tifftags import (
    EXIF,
    MAKER_NOTE,
    MAX_BYTES,
    ROOT,
    SUB,
    Ifd,
    number,
    numbers,
    read_ifd_at,
    read_ifds,
    text,
)
from sve2hdr.formats.tiffwrite import Ifd as NewIfd
from sve2hdr.formats.tiffwrite import tiff_bytes


def written(path: Path, byteorder: str = "<") -> Path:
    extra = [(33434, 5, 1, (1, 125), True), (51041, 12, 2, (1e-4, 2e-7), True), (271, 2, None, "Maker ", True)]
    extra += [(50721, 10, 2, (-3, 4, 5, 0), True)]
    with tifffile.TiffWriter(path, byteorder=byteorder) as tiff:
        tiff.write(np.zeros((8, 8), np.uint16), extratags=extra, subifds=1, metadata=None)
        tiff.write(np.zeros((4, 4), np.uint16), metadata=None)
        tiff.write(np.zeros((5, 5), np.uint16), metadata=None)
    return path


def sizes(ifds: list[tuple[str, Ifd]]) -> list[tuple[str, float | None]]:
    return sorted((kind, number(ifd, 256)) for kind, ifd in ifds)


def test_every_ifd_and_type_is_read_in_either_byte_order(tmp_path: Path) -> None:
    for byteorder in ("<", ">"):
        ifds = read_ifds(written(tmp_path / "a.tif", byteorder))
        assert sizes(ifds) == [(ROOT, 5), (ROOT, 8), (SUB, 4)]
        first = ifds[0][1]
        assert number(first, 33434) == 1 / 125
        assert numbers(first, 51041) == (1e-4, 2e-7)
        assert numbers(first, 50721) == (-0.75, 0.0)  # a fraction over 0 is no reason to fail
        assert text(first, 271) == "Maker"
        assert (numbers(first, 271), text(first, 256), number(first, 12345)) == ((), "", None)


def test_all_ifds_below_another_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.zeros((8, 8), np.uint16), subifds=3, metadata=None)
        for side in (4, 5, 6):
            tiff.write(np.zeros((side, side), np.uint16), metadata=None)
    assert sizes(read_ifds(path)) == [(ROOT, 8), (SUB, 4), (SUB, 5), (SUB, 6)]


def test_a_tiff_block_inside_another_file_is_found(tmp_path: Path) -> None:
    block = b"II*\0\x08\0\0\0" + b"\2\0"
    block += (
        b"\x0f\1" + b"\2\0" + b"\4\0\0\0" + b"Abc\0" + b"\x69\x87" + b"\4\0" + b"\1\0\0\0" + b"\x26\0\0\0" + b"\0" * 4
    )
    block += b"\1\0" + b"\x27\x88" + b"\3\0" + b"\1\0\0\0" + b"\x20\3\0\0" + b"\0" * 4
    path = tmp_path / "a.raf"
    path.write_bytes(b"FUJIFILMCCD-RAW " + b"\0" * 200 + block + b"\0" * 50)
    ifds = read_ifds(path)
    assert [kind for kind, _ in ifds] == [ROOT, EXIF]
    assert text(ifds[0][1], 271) == "Abc"
    assert number(ifds[1][1], 34855) == 800


def test_the_place_of_a_maker_note_is_told_and_read(tmp_path: Path) -> None:
    path, place = tmp_path / "a.tif", 26
    exif = b"\1\0" + struct.pack("<HHII", MAKER_NOTE, 7, 14, place) + bytes(4)
    path.write_bytes(b"II*\0\x08\0\0\0" + exif + b"\1\0" + struct.pack("<HHIHH", 12, 3, 1, 430, 0))
    ((_, ifd),) = read_ifds(path)
    assert number(ifd, MAKER_NOTE) == place
    assert read_ifd_at(path, place) == {12: (430,)}
    assert [read_ifd_at(path, amiss) for amiss in (0, 1e9, np.nan)] == [{}] * 3
    (tmp_path / "b.tif").write_bytes(b"ab" + path.read_bytes())
    assert read_ifd_at(tmp_path / "b.tif", place) == read_ifd_at(tmp_path / "none.tif", place) == {}


def test_loops_and_missing_ends_come_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0")  # an IFD whose next is itself
    assert len(read_ifds(path)) == 1
    whole = written(path).read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        read_ifds(path)
    assert read_ifds(tmp_path / "none.tif") == []
    assert read_ifds(tmp_path) == []


def test_pointers_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    entries = [(256, 3, 1, struct.pack("<I", 7)), (330, 11, 2, struct.pack("<I", 50)), (34665, 11, 1, b"\0\0\x80\x7f")]
    ifd = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + b"\3\0" + ifd + b"\0" * 4 + struct.pack("<2f", np.nan, -np.inf))
    assert sizes(read_ifds(path)) == [(ROOT, 7)]


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    """Its entries all name the same bytes."""
    entries = b"".join(struct.pack("<HHII", 40_000 + n, 3, 1 << 19, 8) for n in range(100))
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", 100) + entries + bytes(1 << 20))
    ((_, ifd),) = read_ifds(path)
    assert 0 < sum(2 * len(numbers(ifd, tag)) for tag in ifd) <= MAX_BYTES


def test_blocks_are_written_at_even_offsets() -> None:
    assert tiff_bytes(NewIfd((), blocks=[b"odd", b"next"], block_count=2)).index(b"next") % 2 == 0
