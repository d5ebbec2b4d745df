"""Entries, IFDs and blocks -> TIFF bytes (TIFF 6.0, little-endian): shared by the DNG writers and the EXIF block."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import BinaryIO

import imagecodecs
import numpy as np

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12
STRUCT_LETTER = {BYTE: "B", SHORT: "H", LONG: "I", RATIONAL: "I", SRATIONAL: "i", DOUBLE: "d"}
STRIP_TAGS, TILE_TAGS = (273, 279), (324, 325)  # offsets and byte counts

MAX_BYTES = 2**32 - 2**16  # offsets have 32 bits; the rest is left to the IFDs

Entry = tuple[int, int, int, bytes]  # tag, type, count, value


@dataclass(frozen=True)
class Ifd:
    """One IFD to be written: its entries, the IFDs it points to, and the strips or tiles it describes.

    Entries without a value, such as an empty text, are left out.
    """

    entries: Sequence[Entry]
    below: Mapping[int, Ifd] = field(default_factory=dict)  # by pointing tag: SUB_IFDS, EXIF_IFD of tifftags
    blocks: Iterable[bytes] = ()  # taken one at a time, so that they need not be in memory together
    block_count: int = 0
    tiled: bool = False  # the blocks are tiles; False: strips


def entry(tag: int, kind: int, values: Sequence[float] | bytes) -> Entry:
    """Return an entry of numbers of one type (rationals: numerators and denominators in turn), or of bytes.

    >>> entry(256, LONG, [640])
    (256, 4, 1, b'\\x80\\x02\\x00\\x00')
    """
    if isinstance(values, bytes):
        return tag, kind, len(values), values
    stored = struct.pack(f"<{len(values)}{STRUCT_LETTER[kind]}", *values)
    return tag, kind, len(values) // (2 if kind in (RATIONAL, SRATIONAL) else 1), stored


def text_entry(tag: int, value: str) -> Entry:
    """Return an entry of text, in UTF-8 if ASCII does not suffice; one of an empty text is left out when written."""
    return entry(tag, ASCII, value.encode() + b"\0" if value else b"")


def image_entries(shape: tuple[int, ...], bits: int, compression: int, photometric: int) -> list[Entry]:
    """Return the entries that every image, (H, W[, C]), has: its size, and how it is stored, pixel by pixel."""
    samples = shape[2] if len(shape) == 3 else 1
    return [
        entry(256, LONG, [shape[1]]),
        entry(257, LONG, [shape[0]]),
        entry(258, SHORT, [bits] * samples),
        entry(259, SHORT, [compression]),
        entry(262, SHORT, [photometric]),
        entry(277, SHORT, [samples]),
        entry(284, SHORT, [1]),  # PlanarConfiguration: pixel by pixel
    ]


def rationals(values: np.ndarray, denominator: int) -> list[int]:
    """Return numbers as fractions with this denominator. Raises ValueError if a numerator exceeds 31 bits."""
    scaled = np.rint(np.asarray(values, np.float64) * denominator)
    if not np.abs(scaled).max() < 2**31:
        raise ValueError(f"{values} cannot be written as fractions of {denominator}")
    return [n for value in scaled for n in (int(value), denominator)]


def nearest_rational(value: float) -> list[int]:
    """Return the numerator, of 31 bits, and the denominator, up to a million, of the fraction nearest to a number.

    >>> nearest_rational(1 / 125)
    [1, 125]
    """
    fraction = Fraction(value).limit_denominator(max(1, min(1_000_000, int((2**31 - 2) / max(1, value)))))
    return [fraction.numerator, fraction.denominator]


def lossless_jpeg(samples: np.ndarray) -> bytes:
    """Return (H, W) or (H, W, C) uint16 as lossless JPEG; three components are marked as RGB.

    The predictor is 1, which all raw developers support; darktable supports no other.
    """
    space = "rgb" if samples.shape[2:] == (3,) else "unknown"
    samples = np.ascontiguousarray(samples)
    return bytes(
        imagecodecs.jpeg8_encode(
            samples, lossless=True, predictor=1, bitspersample=16, colorspace=space, outcolorspace=space
        )
    )


def write_tiff(file: BinaryIO, root: Ifd) -> None:
    """Write an IFD with all below it to an empty file: first the IFDs, each with its longer values, then the blocks.

    Raises ValueError if `block_count` is wrong, or an offset exceeds 32 bits.
    """
    ifds = _with_all_below(root)
    nothing = [[(0, 0)] * ifd.block_count for ifd in ifds]
    file.write(bytes(len(_header(ifds, nothing))))
    places = [_write_blocks(file, ifd) for ifd in ifds]
    file.seek(0)
    file.write(_header(ifds, places))


def tiff_bytes(root: Ifd) -> bytes:
    """Return what `write_tiff` writes."""
    stored = io.BytesIO()
    write_tiff(stored, root)
    return stored.getvalue()


def _write_blocks(file: BinaryIO, ifd: Ifd) -> list[tuple[int, int]]:
    places = []
    for block in ifd.blocks:
        offset = file.tell()
        if offset + len(block) >= 2**32:
            raise ValueError("a TIFF holds at most 4 GiB")
        places.append((offset, len(block)))
        file.write(block)
        file.write(b"\0" * (len(block) % 2))  # TIFF requires even offsets
    if len(places) != ifd.block_count:
        raise ValueError(f"{len(places)} blocks, where {ifd.block_count} were announced")
    return places


def _with_all_below(ifd: Ifd) -> list[Ifd]:
    return [ifd, *(deeper for below in ifd.below.values() for deeper in _with_all_below(below))]


def _header(ifds: Sequence[Ifd], places: Sequence[Sequence[tuple[int, int]]]) -> bytes:
    offsets = {id(ifd): 0 for ifd in ifds}
    for _ in range(2):  # first for the lengths, which do not depend on the offsets, then with them
        at, stored = 8, []
        for ifd, blocks in zip(ifds, places, strict=True):
            offsets[id(ifd)] = at
            stored.append(_stored(ifd, blocks, offsets, at))
            at += len(stored[-1])
    return b"II*\0" + struct.pack("<I", 8) + b"".join(stored)


def _stored(ifd: Ifd, blocks: Sequence[tuple[int, int]], offsets: Mapping[int, int], at: int) -> bytes:
    pointers = [entry(tag, LONG, [offsets[id(below)]]) for tag, below in ifd.below.items()]
    if blocks:
        tags = TILE_TAGS if ifd.tiled else STRIP_TAGS
        pointers += [entry(tag, LONG, numbers) for tag, numbers in zip(tags, zip(*blocks, strict=True), strict=True)]
    entries = sorted(e for e in (*ifd.entries, *pointers) if e[2])
    longer_at = at + 2 + 12 * len(entries) + 4
    table, longer = struct.pack("<H", len(entries)), b""
    for tag, kind, count, value in entries:
        if len(value) > 4:
            where = struct.pack("<I", longer_at + len(longer))
            longer += value + b"\0" * (-len(value) % 4)
        else:
            where = value.ljust(4, b"\0")
        table += struct.pack("<HHI", tag, kind, count) + where
    return table + struct.pack("<I", 0) + longer
