"""The tags of TIFF-based raw files, read without trust: what is damaged or too large is skipped, nothing raises."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

Value = tuple[float, ...] | str | bytes
Ifd = dict[int, Value]

SUB_IFDS, EXIF_IFD, GPS_IFD, MAKER_NOTE = 330, 34665, 34853, 37500
FRAME_RATE, TIME_CODES = 51044, 51043  # CinemaDNG 1.1: tags that photos do not have
PHOTOMETRIC_CFA, PHOTOMETRIC_LINEAR = 32803, 34892
JPEG = 7  # of Compression: baseline or lossless, depending on the data
DEFAULT_SCALE = 50718  # DNG: factors that stretch columns and rows to square pixels
ROOT, SUB, EXIF, GPS = "root", "sub", "exif", "gps"  # kinds of IFD: in the file's chain, a SubIFD, and those so named

TIFF_STARTS = (b"II*\0", b"MM\0*", b"IIU\0", b"IIRO", b"IIRS", b"MMOR")  # TIFF, RW2, ORF
HEADER_SEARCH_BYTES = 1 << 18  # RAF, CR3 and CRW hold a TIFF block near their start, or none
MAX_IFDS, MAX_ENTRIES, MAX_VALUE_BYTES = 64, 4096, 1 << 20
MAX_TEXT_BYTES = 1 << 12  # in UTF-8: a sixteenth of the 64 kB that a JPEG's EXIF can hold
MAX_BYTES = 1 << 24  # of all entries and values of a file together: damaged ones may all refer to the same bytes

FORMATS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}


def read_ifds(path: Path) -> list[tuple[str, Ifd]]:
    """Return every IFD of a TIFF-based file with its kind ("root", "sub", "exif" or "gps"), in the order of the file.

    Rationals are returned as floats, text without its closing NUL, and a maker note as its place for `read_ifd_at`, in
    bytes from the file's start. For a file that is not a TIFF, these are the IFDs of the TIFF blocks near its start
    (the EXIF of RAF and CR3), or an empty list. The structure is that of TIFF 6.0.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return ifds_in(data)
    except (OSError, ValueError):  # ValueError: an empty file cannot be mapped
        return []


def read_ifd_at(path: Path, place: float) -> Ifd:
    """Return the IFD at `place`, in bytes from the start of a TIFF, to which its offsets refer; {} if there is none."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] not in TIFF_STARTS or not 8 <= place < len(data):
                return {}
            return _read_ifd(data, 0, int(place), _order(data, 0), MAX_BYTES)[0]
    except (OSError, ValueError):
        return {}


def ifds_in(data: mmap.mmap | bytes) -> list[tuple[str, Ifd]]:
    """Return the IFDs, as `read_ifds` does, of a file given by its bytes or its first bytes."""
    found: list[tuple[str, Ifd]] = []
    room = MAX_BYTES
    for base in _headers(data):
        ifds, room = _walk(data, base, room)
        found += ifds
    return found


def numbers(ifd: Ifd, tag: int) -> tuple[float, ...]:
    """Return a tag's numbers; an empty tuple if it is missing or not numeric."""
    value = ifd.get(tag, ())
    return value if isinstance(value, tuple) else ()


def number(ifd: Ifd, tag: int) -> float | None:
    """Return a tag's first number, or None."""
    return next(iter(numbers(ifd, tag)), None)


def text(ifd: Ifd, tag: int) -> str:
    """Return a tag's text without surrounding space, cut off at MAX_TEXT_BYTES, or an empty string."""
    value = ifd.get(tag, "")
    return value.strip().encode()[:MAX_TEXT_BYTES].decode("utf-8", "ignore") if isinstance(value, str) else ""


def _headers(data: mmap.mmap | bytes) -> Iterator[int]:
    if data[:4] in TIFF_STARTS:
        yield 0
        return
    head = data[:HEADER_SEARCH_BYTES]
    for start in (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        at = head.find(start)
        while at >= 0:
            yield at
            at = head.find(start, at + 8)


def _walk(data: mmap.mmap | bytes, base: int, room: int) -> tuple[list[tuple[str, Ifd]], int]:
    """Return the IFDs of the TIFF block at `base`, and how much of `room`, in bytes, they leave."""
    order = _order(data, base)
    pending: list[tuple[str, float]] = [(ROOT, _long(data, base + 4, order))]
    found: list[tuple[str, Ifd]] = []
    seen: set[int] = set()
    while pending and len(seen) < MAX_IFDS:
        kind, pointer = pending.pop(0)
        if not 8 <= pointer < len(data) - base or int(pointer) in seen:  # a damaged one may be NaN or infinite
            continue
        offset = int(pointer)
        seen.add(offset)
        ifd, following, room = _read_ifd(data, base, offset, order, room)
        found.append((kind, ifd))
        pending += [(SUB, pointer) for pointer in numbers(ifd, SUB_IFDS)[:MAX_IFDS]]
        pending += [(EXIF, pointer) for pointer in numbers(ifd, EXIF_IFD)[:MAX_IFDS]]
        pending += [(GPS, pointer) for pointer in numbers(ifd, GPS_IFD)[:MAX_IFDS]]
        pending.append((kind, following))
    return found, room


def _order(data: mmap.mmap | bytes, base: int) -> str:
    return "<" if data[base : base + 2] == b"II" else ">"


def _read_ifd(data: mmap.mmap | bytes, base: int, offset: int, order: str, room: int) -> tuple[Ifd, int, int]:
    at = base + offset
    entries = struct.unpack(order + "H", data[at : at + 2])[0] if at + 2 <= len(data) else 0
    ifd: Ifd = {}
    for entry in range(at + 2, at + 2 + 12 * min(entries, MAX_ENTRIES), 12):
        if entry + 12 > len(data) or room < 12:
            return ifd, 0, room
        tag, kind, count = struct.unpack(order + "HHI", data[entry : entry + 8])
        size = struct.calcsize("=" + FORMATS[kind]) * count if kind in FORMATS else 0
        where = entry + 8 if size <= 4 else base + _long(data, entry + 8, order)
        room -= 12
        if 0 < size <= min(MAX_VALUE_BYTES, room) and where + size <= len(data):
            value = (where,) if tag == MAKER_NOTE else _value(data[where : where + size], kind, count, order)
            ifd.setdefault(tag, value)
            room -= size
    return ifd, _long(data, at + 2 + 12 * entries, order), room


def _value(stored: bytes, kind: int, count: int, order: str) -> Value:
    if kind == 7:
        return stored
    if kind == 2:
        return stored.split(b"\0")[0].decode("utf-8", "replace")
    values = struct.unpack(f"{order}{count * len(FORMATS[kind])}{FORMATS[kind][0]}", stored)
    if kind in (5, 10):
        return tuple(n / d if d else 0.0 for n, d in zip(values[::2], values[1::2], strict=True))
    return values


def _long(data: mmap.mmap | bytes, at: int, order: str) -> int:
    stored = data[at : at + 4]
    return int(struct.unpack(order + "I", stored)[0]) if len(stored) == 4 else 0
