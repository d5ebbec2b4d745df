"""The sound of Magic Lantern video -> WAV that begins with the picture."""

from __future__ import annotations

import datetime
import struct
from dataclasses import dataclass
from pathlib import Path

from ..formats.exif import SOFTWARE
from ..system.files import replacing
from .mlv import SOUND_FRAME, Block, Clip
from .mlvframe import taken_at
from .timecode import frames_since_midnight

SOUND_FORMAT = struct.Struct("<HHIIHH")  # WAVI: format, channels, rate, bytes a second, bytes and bits of a sample
# Broadcast WAV (EBU Tech 3285): description, originator, its reference, date, time, samples since midnight, version, -
BROADCAST = struct.Struct("<256s32s32s10s8sQH254x")
CHUNK = struct.Struct("<4sI")  # name, bytes that follow
PCM = 1
WAV_HEADER_BYTES = 4 * CHUNK.size + 4 + BROADCAST.size + SOUND_FORMAT.size
MOST_LOST, MOST_LATE_US = 1000, 60_000_000  # blocks of sound, and its start: more means that they are damaged


@dataclass(frozen=True)
class Sound:
    """A clip's sound from its first frame on, as WAV."""

    channels: int
    sample_bytes: int  # of one channel
    rate: int
    skipped: int  # bytes at its start, from before the first frame
    parts: tuple[tuple[int, Block | None], ...]  # bytes, and where they are from; None: silence
    start: datetime.datetime | None  # of the first frame, by the camera's clock
    samples_since_midnight: int  # by the time code of that frame; 0: unknown

    @property
    def file_bytes(self) -> int:
        """The size of its file."""
        return WAV_HEADER_BYTES + self._sample_bytes + self._sample_bytes % 2

    @property
    def _sample_bytes(self) -> int:
        return max(sum(count for count, _ in self.parts) - self.skipped, 0)

    def write(self, path: Path, overwrite: bool) -> None:
        """Write it whole or not at all. Raises UnwritableOutput."""
        skipped = self.skipped
        with replacing(path, overwrite) as partial, partial.open("wb") as file:
            file.write(self._header())
            for count, block in self.parts:
                samples = bytes(count) if block is None else block.payload(SOUND_FRAME)
                file.write(samples[skipped:])
                skipped = max(skipped - count, 0)
            file.write(bytes(self._sample_bytes % 2))

    def _header(self) -> bytes:
        date, time = (self.start.strftime(form).encode() if self.start else b"" for form in ("%Y-%m-%d", "%H:%M:%S"))
        broadcast = BROADCAST.pack(b"", SOFTWARE.encode(), b"", date, time, self.samples_since_midnight, 1)
        frame_bytes = self.channels * self.sample_bytes
        bytes_a_second, bits = self.rate * frame_bytes, 8 * self.sample_bytes
        form = SOUND_FORMAT.pack(PCM, self.channels, self.rate, bytes_a_second, frame_bytes, bits)
        chunks = ((b"bext", broadcast), (b"fmt ", form))
        return b"".join(
            [
                CHUNK.pack(b"RIFF", self.file_bytes - CHUNK.size) + b"WAVE",
                *(CHUNK.pack(name, len(content)) + content for name, content in chunks),
                CHUNK.pack(b"data", self._sample_bytes),
            ]
        )


def sound_of(clip: Clip) -> Sound | None:
    """Return a clip's sound, None where it has none that is PCM of at least 16 bits, as cameras write it.

    Silence stands for what is missing at its start, and for blocks between others that are lost. Its time of day is
    the first frame's time code, so that editors put both together: frames are as long as their rate has them, though
    codes count whole numbers of them a second.
    """
    told = clip.frames[0].told.get(b"WAVI")
    if not clip.sound or told is None or len(told.content) < SOUND_FORMAT.size:
        return None
    form, channels, rate, _, _, bits = SOUND_FORMAT.unpack_from(told.content)
    if form != PCM or not (channels and rate) or bits not in (16, 24, 32):
        return None
    late_us, before = clip.sound[0].time_us - clip.frames[0].block.time_us, None
    parts: list[tuple[int, Block | None]] = []
    late = round(late_us / 1e6 * rate) * (channels * bits // 8) if abs(late_us) < MOST_LATE_US else 0
    if late > 0:
        parts.append((late, None))
    for block in clip.sound:
        number, count = SOUND_FRAME.unpack_from(block.content)[0], block.payload_bytes(SOUND_FRAME)
        if before is not None and 1 < number - before < MOST_LOST:
            parts.append((count * (number - before - 1), None))
        parts.append((count, block))
        before = number
    start, frame_rate = taken_at(clip.frames[0]), clip.frame_rate or rate
    since_midnight = 0 if start is None else round(frames_since_midnight(start, frame_rate) / frame_rate * rate)
    return Sound(channels, bits // 8, rate, max(-late, 0), tuple(parts), start, since_midnight)
