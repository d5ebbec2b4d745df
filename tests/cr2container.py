"""Canon CR2 files for tests, as LibRaw, dcraw and exiftool open them: TIFF, four IFDs, one lossless JPEG in two parts.

LibRaw tells the margins from the size of the frame, and the black level from the masked columns. The structure is that
of Laurent Clevy's description of the format (https://lclevy.free.fr/cr2/).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from sve2hdr.formats.tiffwrite import ASCII, LONG, RATIONAL, SHORT, UNDEFINED, Entry, entry

EXIF_IFD, MAKER_NOTE, CR2_SLICES = 34665, 37500, 0xC640
HEADER_BYTES = 16


@dataclass(frozen=True)
class Body:
    """A camera as LibRaw knows it by the size of its frames: rows and columns of all sites, and its masked margins."""

    model: str
    shape: tuple[int, int]
    top: int
    left: int
    bottom: int = 0
    right: int = 0

    @property
    def visible(self) -> tuple[slice, slice]:
        return slice(self.top, self.shape[0] - self.bottom), slice(self.left, self.shape[1] - self.right)

    @property
    def visible_shape(self) -> tuple[int, int]:
        rows, columns = self.visible
        return rows.stop - rows.start, columns.stop - columns.start


EOS_5D_MARK_III = Body("Canon EOS 5D Mark III", (3950, 5920), 80, 122, right=2)
EOS_D30 = Body("Canon EOS D30", (1456, 2224), 6, 48, bottom=2)  # small: for tests that ask for any CR2


@dataclass(frozen=True, eq=False)
class Flaws:
    """What a sensor adds to the light; levels in counts, periods from the first visible site on."""

    black: np.ndarray = field(default_factory=lambda: np.full((1, 1), 2048.0))  # (P, Q)
    read_noise: np.ndarray = field(default_factory=lambda: np.full((1, 1), 6.0))  # (P, Q)
    banding: float = 0.0  # standard deviation of the rows' offsets
    drift: float = 0.0  # of the columns' offsets, which repeat after 8
    hot: float = 0.0  # share of the sites
    bad_columns: Sequence[int] = ()  # of all sites; half as bright again, and lit in the dark


def sensor_frame(
    body: Body, signal: np.ndarray, white: float, seed: int, flaws: Flaws | None = None, bits: int = 14
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all sites of a frame, (H, W) uint16, the offset of each row, and which sites are hot.

    signal: (visible H, W) counts of light, noise of the photons included; masked sites get none.
    """
    flaws, rng = flaws or Flaws(), np.random.default_rng(seed)
    y, x = np.indices(body.shape, sparse=True)
    y, x = y - body.top, x - body.left
    black, read_noise = (p[y % p.shape[0], x % p.shape[1]] for p in (flaws.black, flaws.read_noise))
    counts = black + rng.standard_normal(body.shape, np.float32) * read_noise
    counts[body.visible] += signal
    rows = rng.normal(0, flaws.banding, body.shape[0])
    counts += rows[:, None]
    counts += np.resize(rng.normal(0, flaws.drift, 8), body.shape[1])
    for column in flaws.bad_columns:
        counts[:, column] = counts[:, column] * 1.5 + 300
    hot = rng.random(body.shape) < flaws.hot
    counts[hot] += np.exp(rng.uniform(np.log(500), np.log(12_000), int(hot.sum())))
    return np.clip(np.rint(counts), 0, min(white, 2**bits - 1)).astype(np.uint16), rows, hot


def write_cr2(
    path: Path,
    sites: np.ndarray,
    body: Body,
    *,
    iso: int = 100,
    orientation: int = 1,
    balance: str = "as shot",
    noted: Sequence[Entry] = (),
) -> None:
    """Write all sites of a frame, (H, W) uint16 of 14 bits, as a CR2.

    `balance`: "as shot", or "" for none; `noted`: more entries of the maker note.
    """
    if sites.shape != body.shape:
        raise ValueError(f"{sites.shape} sites, where {body.model} has {body.shape}")
    height, width = sites.shape
    raw = lossless_jpeg(sites, 14, components=2)  # LibRaw takes a frame of one component for another format
    picture = io.BytesIO()
    Image.fromarray((sites[::16, ::16] >> 6).astype(np.uint8)).convert("RGB").save(picture, "JPEG")
    exif = [
        entry(33434, RATIONAL, [1, 125]),
        entry(33437, RATIONAL, [8, 1]),
        entry(34855, SHORT, [iso]),
        entry(36867, ASCII, b"2024:05:06 07:08:09\0"),
        entry(37386, RATIONAL, [50, 1]),
        entry(41486, RATIONAL, [2_160_000, 894]),  # pixels an inch, as Canon has it
        entry(41487, RATIONAL, [1_440_000, 595]),
        entry(41488, SHORT, [2]),
        entry(MAKER_NOTE, UNDEFINED, _maker_note(body, balance, noted)),
    ]
    preview = [
        entry(256, SHORT, [width // 16]),
        entry(257, SHORT, [height // 16]),
        entry(258, SHORT, [8, 8, 8]),
        entry(259, SHORT, [6]),
        entry(271, ASCII, b"Canon\0"),
        entry(272, ASCII, body.model.encode() + b"\0"),
        entry(274, SHORT, [orientation]),
        entry(306, ASCII, b"2024:05:06 07:08:09\0"),
    ]
    mosaic = [entry(259, SHORT, [6]), entry(CR2_SLICES, SHORT, [0, 0, 0])]
    path.write_bytes(_assembled(preview, exif, mosaic, picture.getvalue(), raw))


def lossless_jpeg(sites: np.ndarray, bits: int, components: int = 1) -> bytes:
    """Return a lossless JPEG (ITU-T T.81, process 14, predictor 1) of (H, W) uint16, its columns components in turn.

    Samples have up to 15 bits, so that no difference wraps.
    """
    height, width = sites.shape[0], sites.shape[1] // components
    samples = sites.astype(np.int32).reshape(height, width, components)
    predicted = np.empty_like(samples)
    predicted[:, 1:] = samples[:, :-1]
    predicted[1:, 0] = samples[:-1, 0]
    predicted[0, 0] = 1 << (bits - 1)
    stored = _huffman((samples - predicted).ravel())
    frame = struct.pack(">BHHB", bits, height, width, components)
    frame += b"".join(bytes([c + 1, 0x11, 0]) for c in range(components))
    table = bytes([0, 0, 0, 0, 0, len(CATEGORIES), *[0] * 11]) + bytes(CATEGORIES)  # class and id 0, codes of 5 bits
    scan = bytes([components]) + b"".join(bytes([c + 1, 0]) for c in range(components)) + bytes([1, 0, 0])
    segments = [(0xC4, table), (0xC3, frame), (0xDA, scan)]
    head = b"".join(bytes([0xFF, mark]) + struct.pack(">H", len(body) + 2) + body for mark, body in segments)
    return b"\xff\xd8" + head + stored.replace(b"\xff", b"\xff\0") + b"\xff\xd9"


CATEGORIES = range(17)  # how many bits a difference has; their codes have 5, the category itself
CHUNK = 1 << 20


def _huffman(differences: np.ndarray) -> bytes:
    """Return the codes and bits of the differences, filled up with ones."""
    words, used = [np.zeros(1, np.uint64)], 0  # 32 bits in each, from the highest on; bits used of the last
    for start in range(0, len(differences), CHUNK):
        value = differences[start : start + CHUNK].astype(np.int64)
        size = np.frexp(np.abs(value).astype(np.float64))[1].astype(np.int64)
        code = (size << size) | np.where(value < 0, value + (1 << size) - 1, value)
        length = size + 5
        at = used + np.cumsum(length) - length
        placed = code.astype(np.uint64) << (64 - at % 32 - length).astype(np.uint64)
        end = int(at[-1] + length[-1])
        out = np.zeros(end // 32 + 2, np.uint64)
        out[0] = words[-1][-1]
        first = np.flatnonzero(np.diff(at // 32, prepend=-1))
        out[at[first] // 32] += np.add.reduceat(placed >> np.uint64(32), first)
        out[at[first] // 32 + 1] += np.add.reduceat(placed & np.uint64(0xFFFFFFFF), first)
        words[-1] = words[-1][:-1]
        words.append(out[: end // 32 + 1])
        used = end % 32
    whole = np.concatenate(words).astype(">u4")
    whole[-1] |= (1 << (32 - used)) - 1
    return whole.tobytes()


def _maker_note(body: Body, balance: str, noted: Sequence[Entry]) -> bytes:
    """Return a Canon maker note with the sensor's size and, if asked for, a white balance; its values lie inside."""
    height, width = body.shape
    sensor = [34, width, height, 0, 0, body.left, body.top, width - body.right - 1, height - body.bottom - 1]
    entries = [*noted, entry(0x00E0, SHORT, [*sensor, *[0] * 8])]
    if balance:
        colours = [0] * 1312  # ColorData of the 5D Mark III: RGGB of the shot from word 63 on
        colours[0] = 10
        colours[63:67] = [2048, 1024, 1024, 1600]
        entries.append(entry(0x4001, SHORT, colours))
    return _ifd(entries, MAKER_NOTE_AT, 0)


MAKER_NOTE_AT = 512  # where it lies in the file: its offsets count from the file's start


def _assembled(preview: list[Entry], exif: list[Entry], mosaic: list[Entry], picture: bytes, raw: bytes) -> bytes:
    note = next(e for e in exif if e[0] == MAKER_NOTE)
    exif_at = _even(MAKER_NOTE_AT + len(note[3]))
    exif_ifd = _ifd(exif, exif_at, 0, {MAKER_NOTE: MAKER_NOTE_AT})
    picture_at = _even(exif_at + len(exif_ifd))
    thumbnail_at = _even(picture_at + len(picture))
    small_at, mosaic_at = thumbnail_at + 64, thumbnail_at + 128
    raw_at = mosaic_at + 128
    first = [
        *preview,
        entry(273, LONG, [picture_at]),
        entry(279, LONG, [len(picture)]),
        entry(EXIF_IFD, LONG, [exif_at]),
    ]
    thumbnail = [entry(513, LONG, [picture_at]), entry(514, LONG, [len(picture)])]
    small = [entry(259, SHORT, [6]), entry(273, LONG, [picture_at]), entry(279, LONG, [len(picture)])]
    mosaic = [*mosaic, entry(273, LONG, [raw_at]), entry(279, LONG, [len(raw)])]
    header = b"II*\0" + struct.pack("<I", HEADER_BYTES) + b"CR\x02\0" + struct.pack("<I", mosaic_at)
    parts = {
        0: header,
        HEADER_BYTES: _ifd(first, HEADER_BYTES, thumbnail_at),
        MAKER_NOTE_AT: note[3],
        exif_at: exif_ifd,
        picture_at: picture,
        thumbnail_at: _ifd(thumbnail, thumbnail_at, small_at),
        small_at: _ifd(small, small_at, mosaic_at),
        mosaic_at: _ifd(mosaic, mosaic_at, 0),
        raw_at: raw,
    }
    out = bytearray()
    for at, part in parts.items():
        if len(out) > at:
            raise ValueError(f"the part at {at} begins before byte {len(out)}, where the one before ends")
        out += bytes(at - len(out)) + part
    return bytes(out)


def _ifd(entries: list[Entry], at: int, following: int, elsewhere: dict[int, int] | None = None) -> bytes:
    """Return an IFD as stored at `at`, its longer values behind it, but for those of the tags that lie `elsewhere`."""
    entries = sorted(entries)
    longer_at = at + 2 + 12 * len(entries) + 4
    table, longer = struct.pack("<H", len(entries)), b""
    for tag, kind, count, value in entries:
        place = (elsewhere or {}).get(tag)
        if place is None and len(value) <= 4:
            where = value.ljust(4, b"\0")
        else:
            where = struct.pack("<I", longer_at + len(longer) if place is None else place)
            longer += b"" if place is not None else value + bytes(len(value) % 2)
        table += struct.pack("<HHI", tag, kind, count) + where
    return table + struct.pack("<I", following) + longer


def _even(at: int) -> int:
    return at + at % 2
