"""Whether the data of a lossless JPEG (ITU-T T.81, process 14) are whole: decoders go on past damage, and say nothing.

A code that is read wrong shifts all that follow: where the last sample is decoded, data are then left over, or lacking.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np

SOF3, DHT, DRI, SOS = 0xC3, 0xC4, 0xDD, 0xDA
# By number, of the samples to the left, above, and above that to the left: cameras and Adobe use 1, video converters 6.
PREDICTORS: dict[int, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    1: lambda left, above, corner: left,
    2: lambda left, above, corner: above,
    3: lambda left, above, corner: corner,
    4: lambda left, above, corner: left + above - corner,
    5: lambda left, above, corner: left + ((above.astype(np.int32) - corner) >> 1),
    6: lambda left, above, corner: above + ((left.astype(np.int32) - corner) >> 1),
    7: lambda left, above, corner: (left.astype(np.int32) + above) >> 1,
}
MOST_PADDING = 16  # bytes that may follow the last code, and then any number of equal ones
LESS = 2  # bytes that may be lacking: the last ones of some encoders, which decoders take for 0
BLANK = 64  # bytes, all alike: what a bad card leaves
MARKER = re.compile(rb"\xff[^\0\xff]")
MOST_BITS = 16  # of a difference; one of so many has a code, and nothing behind it
ALL_DIFFERENCES = np.arange(1 << 16, dtype=np.uint16).view(np.int16)


def is_damaged(stream: bytes) -> bool:
    """Return whether a lossless JPEG is none, or has too few or too many data for its samples.

    False where that is unknown: of other JPEGs, those with restart markers, several scans or subsampling, those without
    an end marker that do not end blank, and what no decoder reads. A change that is as long as what it replaces, such
    as that of a single bit, is often not seen.
    """
    if not stream.startswith(b"\xff\xd8"):
        return True
    try:
        head = _read_head(stream)
        if head is None:
            return False
        marker = MARKER.search(stream, head.start)  # what follows may be left from another frame
        if marker is None and len(set(stream[-BLANK:])) > 1:
            return False  # an encoder that leaves the end marker out, or a length that does
        stream = stream[: marker.start() if marker else None]
        data = stream[head.start :].rstrip(b"\xff").replace(b"\xff\0", b"\xff")  # which may fill up before a marker
        if head.samples > 8 * (len(data) + LESS):  # each takes a bit at least
            return True
        samples = np.asarray(imagecodecs.jpeg8_decode(stream + b"\xff\xd9"))
        samples = samples.reshape(*samples.shape[:2], len(head.tables)).astype(np.uint16, copy=False)
        needed = -(-sum(_bits_of(samples[..., n], table, head) for n, table in enumerate(head.tables)) // 8)
    except (struct.error, IndexError, ValueError, imagecodecs.Jpeg8Error):
        return False
    filled = len(data.rstrip(data[-1:]))
    if marker is None:  # the blank end is a part of the picture, or follows it
        return min(abs(len(data) - needed), abs(filled - needed)) > MOST_PADDING
    return needed > len(data) + LESS or filled > needed + MOST_PADDING


@dataclass(frozen=True)
class _Head:
    start: int  # of the data in the stream
    samples: int
    bits: int  # of a sample
    predictor: int
    tables: list[bytes]  # the Huffman table of each component: 16 counts of codes, and their categories


def _read_head(stream: bytes) -> _Head | None:
    """Return what precedes the data; None of a JPEG that is another kind. Raises as struct does where it is damaged."""
    at, tables, samples, bits, names, sampling = 2, dict[int, bytes](), 0, 0, b"", {0}
    while True:
        start, mark, size = struct.unpack(">BBH", stream[at : at + 4])
        body, at = stream[at + 4 : at + 2 + size], at + 2 + size
        if start != 0xFF or mark == DRI:
            return None
        if mark == SOF3:
            bits, height, width, components = struct.unpack(">BHHB", body[:6])
            samples = height * width * components
            names, sampling = body[6::3], set(body[7::3])
        while mark == DHT and body:
            size = 17 + sum(body[1:17])
            tables[body[0]], body = body[1:size], body[size:]
        if mark == SOS:
            chosen = [tables.get(body[2 + 2 * n] >> 4, b"") for n in range(body[0])]
            one_by_one = names == body[1 : 1 + 2 * body[0] : 2] and len(sampling) == 1  # all components, at each site
            known = bits and one_by_one and all(chosen) and body[-3] in PREDICTORS and body[-1] == 0
            return _Head(at, samples, bits, body[-3], chosen) if known else None


def _bits_of(samples: np.ndarray, table: bytes, head: _Head) -> int:
    """Return how many bits the codes of one component take, (H, W) uint16. Raises ValueError for unknown categories."""
    lengths = np.repeat(np.arange(1, 17), list(table[:16]))
    categories = np.frombuffer(table[16:], np.uint8)
    if len(lengths) != len(categories) or categories.max() > MOST_BITS:
        raise ValueError(f"a Huffman table of categories {categories.tolist()}")
    code = np.zeros(MOST_BITS + 1, np.int64)
    code[categories] = lengths
    category = np.frexp(np.abs(ALL_DIFFERENCES.astype(np.float64)))[1]
    taken = np.asarray(code[category] + category * (category < MOST_BITS), np.uint8)  # by difference modulo 2**16
    left, above, corner = samples[1:, :-1], samples[:-1, 1:], samples[:-1, :-1]
    differences = (
        samples[:1, 0] - np.uint16(1 << (head.bits - 1)),
        samples[0, 1:] - samples[0, :-1],
        samples[1:, 0] - samples[:-1, 0],
        samples[1:, 1:] - PREDICTORS[head.predictor](left, above, corner).astype(np.uint16, copy=False),
    )
    return sum(int(taken[part].sum(dtype=np.int64)) for part in differences)
