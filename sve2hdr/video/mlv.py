"""Magic Lantern video: an MLV file and those that continue it -> the blocks of a clip, in their order.

Written from the description of the format, version 2.0: blocks of a four-letter name, a size and a time, little-endian,
in no particular order (https://www.magiclantern.fm/forum/index.php?topic=7122).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ..errors import UnreadableRaw
from ..raw.capture import true_frame_rate

FILE_HEADER = struct.Struct(
    "<4sI8sQHHIHHIIII"
)  # MLVI: size, version, GUID, number, count; flags, classes, frames, rate
BLOCK_HEADER = struct.Struct("<4sIQ")  # name, size with this header, microseconds
VIDEO_FRAME = struct.Struct("<I4HI")  # VIDF: number, window's column and row, the same panned, bytes before the sites
SOUND_FRAME = struct.Struct("<II")  # AUDF: number, bytes to skip
KEPT_BLOCKS = (b"RAWI", b"RAWC", b"WAVI", b"EXPO", b"LENS", b"IDNT", b"RTCI", b"WBAL", b"DISO")
LARGEST_KEPT_BYTES = 1 << 12
MOST_FILES = 100  # beside the first: .M00 to .M99

RAW, LOSSLESS_JPEG = 0x01, 0x20  # video class, and its flag


class Block(NamedTuple):
    """Where a block lies, and what it holds if it is small."""

    time_us: int
    name: bytes
    file: Path
    start: int  # of what follows its header
    size: int  # bytes, without its header
    content: bytes  # of pixels and sound: only what comes before them

    def payload(self, header: struct.Struct) -> bytes:
        """Return the pixels or the sound behind `header`, and behind what aligns them; empty where it is damaged."""
        count = self.payload_bytes(header)
        with self.file.open("rb") as file:
            file.seek(self.start + self.size - count)
            return file.read(count)

    def payload_bytes(self, header: struct.Struct) -> int:
        """Return how many bytes `payload` has."""
        if len(self.content) < header.size:
            return 0
        return max(0, self.size - header.size - int(header.unpack_from(self.content)[-1]))


class FileHeader(NamedTuple):
    """What is asked for of the block that a file begins with, MLVI."""

    size: int
    guid: int
    files: int
    video_class: int
    frame_rate: float | None


@dataclass(frozen=True)
class Frame:
    """A frame of a clip, and the last blocks before it that say what it is, by their names."""

    number: int
    block: Block
    told: Mapping[bytes, Block]

    @property
    def phase(self) -> int:
        """0 or 2, in which half of Dual ISO's four rows it begins: the camera can move its window by pairs of rows."""
        return int(VIDEO_FRAME.unpack(self.block.content)[2]) & 2


@dataclass(frozen=True)
class Clip:
    """The frames of a clip in their order, its sound, and what is wrong with it."""

    path: Path
    guid: int  # by which cameras tell clips apart
    frames: tuple[Frame, ...]
    compressed: bool  # as lossless JPEG
    frame_rate: float | None  # a second
    sound: tuple[Block, ...]  # in its order
    losses: tuple[str, ...]  # what is missing of its files, or damaged
    missing: int  # frames between the others that are in no file: the camera drops some where the card is too slow

    @cached_property
    def lost_rows(self) -> int:
        """How many rows each frame loses, above or below, so that all begin in the same half of Dual ISO's rows."""
        return max(self.rows_above(frame) for frame in self.frames)

    def rows_above(self, frame: Frame) -> int:
        """Return how many rows a frame loses above."""
        return abs(frame.phase - self.frames[0].phase)

    @property
    def dual_iso(self) -> bool:
        """Whether the camera says that any frame is Dual ISO. It is silent where a module wrote no such block."""
        told = (frame.told.get(b"DISO") for frame in self.frames)
        return any(block is not None and any(block.content[:4]) for block in told)


def open_clip(path: Path) -> Clip:
    """Return what a clip holds; `path` is its .MLV, beside which lie the files that continue it, .M00, .M01 and so on.

    Raises UnreadableRaw for a file that is no MLV 2.0, holds no raw frames, or was compressed by other programs in ways
    that cameras do not. What is missing or damaged besides is in `losses`.
    """
    if path.suffix.lower() != ".mlv":
        raise UnreadableRaw(f"{path}: not an .MLV file; name the one that the clip begins with")
    files, losses = _files(path)
    blocks = [block for file in files for block in _blocks(file, losses)]
    blocks.sort(key=lambda block: block.time_us)  # stable: blocks of one time keep their order
    told: dict[bytes, Block] = {}
    for block in blocks:
        told.setdefault(block.name, block)  # the first of a name also holds before its time
    frames: dict[int, Frame] = {}
    for block in blocks:
        if block.name in KEPT_BLOCKS and block.name != b"RTCI":  # of clocks, which tell whole seconds, the first
            told[block.name] = block
        elif block.name == b"VIDF" and len(block.content) == VIDEO_FRAME.size:
            number = VIDEO_FRAME.unpack(block.content)[0]
            frames.setdefault(number, Frame(number, block, dict(told)))
    header = _file_header(path)
    if header.video_class & ~LOSSLESS_JPEG != RAW:
        raise UnreadableRaw(f"{path}: video of class {header.video_class:#x}, not raw; give the camera's own file")
    if not frames or b"RAWI" not in told:
        raise UnreadableRaw(f"{path}: no raw frames in it; copy it again from the card")
    return Clip(
        path,
        header.guid,
        tuple(frames[number] for number in sorted(frames)),
        bool(header.video_class & LOSSLESS_JPEG),
        header.frame_rate,
        tuple(block for block in blocks if block.name == b"AUDF" and len(block.content) >= SOUND_FRAME.size),
        tuple(losses),
        max(frames) - min(frames) + 1 - len(frames),
    )


def _file_header(path: Path) -> FileHeader:
    try:
        with path.open("rb") as file:
            stored = file.read(FILE_HEADER.size)
    except FileNotFoundError as error:
        raise UnreadableRaw(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise UnreadableRaw(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    if len(stored) < FILE_HEADER.size or stored[:4] != b"MLVI":
        raise UnreadableRaw(f"{path}: not Magic Lantern video; name an .MLV file")
    _, size, version, guid, _, files, _, video_class, _, _, _, rate, base = FILE_HEADER.unpack(stored)
    if not version.startswith(b"v2."):
        told = version.split(b"\0")[0].decode("ascii", "replace")
        raise UnreadableRaw(f"{path}: MLV {told}, of which only v2.0 is known; export DNG frames with MLV App")
    return FileHeader(size, guid, files, video_class, true_frame_rate(rate / base if base else None))


def _files(path: Path) -> tuple[list[Path], list[str]]:
    """Return the files of a clip that are there, and what is to be said of those that are not."""
    first, files, losses = _file_header(path), [path], []
    there = first.files  # 0 where the camera did not come to count them
    for number in range(MOST_FILES):
        beside = (path.with_suffix(f".{letter}{number:02d}") for letter in "Mm")
        found = next((file for file in beside if file.is_file()), None)
        if found is None:
            continue
        try:
            ours = _file_header(found).guid == first.guid
        except UnreadableRaw:
            ours = False
        if ours:
            files.append(found)
            there = max(there, number + 2)
        else:
            losses.append(f"{found.name} is damaged, or of another clip, and left out")
    if len(files) < there:
        losses.append(f"only {len(files)} of its {there} files are here; copy the others beside the first")
    return files, losses


def _blocks(path: Path, losses: list[str]) -> Iterator[Block]:
    """Yield the blocks of one file that matter; what is cut off or damaged is told in `losses`."""
    at = _file_header(path).size
    try:
        end = path.stat().st_size
        with path.open("rb") as file:
            while at < end:
                file.seek(at)
                header = file.read(BLOCK_HEADER.size)
                name, size, time_us = BLOCK_HEADER.unpack(header) if len(header) == BLOCK_HEADER.size else (b"", 0, 0)
                if size < BLOCK_HEADER.size or at + size > end or not name.isalnum():
                    losses.append(f"{path.name} is cut off or damaged at byte {at} of {end}; what follows is left out")
                    return
                within = size - BLOCK_HEADER.size
                if name in (*KEPT_BLOCKS, b"VIDF", b"AUDF"):
                    most = LARGEST_KEPT_BYTES if name in KEPT_BLOCKS else VIDEO_FRAME.size
                    yield Block(time_us, name, path, at + BLOCK_HEADER.size, within, file.read(min(within, most)))
                at += size
    except OSError as error:
        losses.append(f"{path.name} cannot be read from byte {at} on ({error.strerror}); copy it again from the card")
