"""Magic Lantern video for tests, laid out field by field as its description (MLV 2.0) has it; ffmpeg demuxes it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cr2container import lossless_jpeg

from sve2hdr.simulation.simulate import CAMERA_FROM_XYZ

GUID = 0x1122334455667788


def block(name: bytes, time_us: int, content: bytes) -> bytes:
    return name + struct.pack("<IQ", 16 + len(content), time_us) + content


@dataclass(frozen=True)
class Shot:
    """What the camera writes of a clip, besides its frames."""

    bits: int = 14
    compressed: bool = False
    black: int = 2047
    white: int = 15_000
    cfa: int = 0x02010100
    sensor: tuple[int, int] = (1320, 2080)  # rows and columns of the sensor's buffer
    active: tuple[int, int, int, int] = (28, 160, 1320, 2080)  # top, left, bottom, right
    matrix: tuple[int, ...] = tuple(round(10_000 * v) for v in CAMERA_FROM_XYZ.ravel())
    rate: tuple[int, int] = (23_976, 1000)
    white_balance: tuple[int, int, int, int, int] = (9, 5600, 0, 0, 0)  # mode, kelvin, three multipliers
    sampling: tuple[int, int, int, int] = (3, 0, 3, 0)  # columns binned and skipped, rows binned and skipped
    dual_iso: bool = True
    files: int = 1
    version: bytes = b"v2.0"
    video_class: int | None = None


def file_header(shot: Shot, number: int = 0, guid: int = GUID) -> bytes:
    video_class = (0x21 if shot.compressed else 1) if shot.video_class is None else shot.video_class
    return b"MLVI" + struct.pack(
        "<I8sQHHIHHIIII", 52, shot.version, guid, number, shot.files, 0, video_class, 1, 0, 0, *shot.rate
    )


def raw_block(shot: Shot, shape: tuple[int, int]) -> bytes:
    height, width = shape
    info = struct.pack("<II", 1, 0x40000000)  # version, and where the camera had its buffer
    info += struct.pack("<iiii", *shot.sensor, shot.sensor[1] * 14 // 8, shot.sensor[0] * shot.sensor[1] * 14 // 8)
    info += struct.pack("<iii", shot.bits, shot.black, shot.white)
    info += struct.pack("<iiii", 0, 0, shot.sensor[1], shot.sensor[0])
    info += struct.pack("<iiii", *shot.active)
    info += struct.pack("<iiIi", 0, 0, shot.cfa, 21)
    info += struct.pack("<18i", *(n for value in shot.matrix for n in (value, 10_000)))
    info += struct.pack("<i", 1100)
    return block(b"RAWI", 10, struct.pack("<HH", width, height) + info)


def camera_blocks(shot: Shot) -> list[bytes]:
    blocks = [
        block(b"IDNT", 20, struct.pack("<32sI32s", b"Canon EOS 5D Mark III", 0x80000285, b"0123456789")),
        block(b"EXPO", 21, struct.pack("<IIIIQ", 0, 400, 400, 0, 20_833)),
        block(b"LENS", 22, struct.pack("<HHHBBII32s32s", 35, 120, 280, 0, 0, 0, 230, b"EF24-70mm f/2.8L II USM", b"")),
        block(b"RTCI", 1000, struct.pack("<10H8s", 58, 59, 23, 31, 11, 125, 3, 364, 0, 0, b"")),
        block(b"WBAL", 24, struct.pack("<IIIIIii", *shot.white_balance, 0, 0)),
        block(b"RAWC", 11, struct.pack("<4H4B2h", 5796, 3870, 100, 0, *shot.sampling, 0, 0)),
        block(b"WAVI", 25, struct.pack("<HHIIHH", 1, 2, 48_000, 192_000, 4, 16)),
    ]
    return blocks + ([block(b"DISO", 26, struct.pack("<II", 1, 3))] if shot.dual_iso else [])


def packed(counts: np.ndarray, bits: int) -> bytes:
    """Return counts one behind the other, their highest bits first, in little-endian words of 16 bits."""
    stream = np.packbits((counts.ravel()[:, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8).ravel())
    return np.pad(stream, (0, stream.size % 2)).view(">u2").astype("<u2").tobytes()


def video_block(shot: Shot, number: int, time_us: int, counts: np.ndarray, row: int = 2) -> bytes:
    stored = lossless_jpeg(counts, shot.bits, 2) if shot.compressed else packed(counts, shot.bits)
    space = 24 + number % 3
    return block(
        b"VIDF", time_us, struct.pack("<IHHHHI", number, 8, row, 9, row + 1, space) + b"\xaa" * space + stored + b"\0\0"
    )


def sound_block(number: int, time_us: int, samples: np.ndarray) -> bytes:
    return block(b"AUDF", time_us, struct.pack("<II", number, 8) + bytes(8) + samples.astype("<i2").tobytes())


def write_mlv(
    path: Path, frames: Sequence[np.ndarray], shot: Shot | None = None, sound: Sequence[np.ndarray] = ()
) -> None:
    """Write frames, (H, W) uint16, 1/24 s apart from 1 ms on, as one file."""
    shot = shot or Shot()
    blocks = [raw_block(shot, frames[0].shape), *camera_blocks(shot)]
    blocks += [video_block(shot, number, 1000 + number * 41_667, counts) for number, counts in enumerate(frames)]
    blocks += [sound_block(number, 1000 + number * 41_667, samples) for number, samples in enumerate(sound)]
    header = bytearray(file_header(shot))
    header[36:44] = struct.pack("<II", len(frames), len(sound))  # which cameras that lose power leave at 0
    path.write_bytes(header + b"".join(blocks))
