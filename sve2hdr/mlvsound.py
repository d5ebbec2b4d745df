"""The sound of Magic Lantern video -> WAV that begins with the picture."""

from __future__ import annotations

import struct
import wave
from dataclasses import dataclass
from pathlib import Path

from .files import replacing
from .mlv import SOUND_FRAME, Block, Clip

SOUND_FORMAT = struct.Struct("<HHIIHH")  # WAVI: format, channels, rate, bytes a second, bytes and bits of a sample
PCM, WAV_HEADER_BYTES = 1, 44
MOST_LOST, MOST_LATE_US = 1000, 60_000_000  # blocks of sound, and its start: more means that they are damaged


@dataclass(frozen=True)
class Sound:
    """A clip's sound from its first frame on, as WAV."""

    channels: int
    sample_bytes: int  # of one channel
    rate: int
    skipped: int  # bytes at its start, from before the first frame
    parts: tuple[tuple[int, Block | None], ...]  # bytes, and where they are from; None: silence

    @property
    def file_bytes(self) -> int:
        """The size of its file."""
        return WAV_HEADER_BYTES + max(sum(count for count, _ in self.parts) - self.skipped, 0)

    def write(self, path: Path, overwrite: bool) -> None:
        """Write it whole or not at all. Raises UnwritableOutput."""
        skipped = self.skipped
        with replacing(path, overwrite) as partial, partial.open("wb") as file, wave.open(file, "wb") as sound:
            sound.setnchannels(self.channels)
            sound.setsampwidth(self.sample_bytes)
            sound.setframerate(self.rate)
            for count, block in self.parts:
                samples = bytes(count) if block is None else block.payload(SOUND_FRAME)
                sound.writeframes(samples[skipped:])
                skipped = max(skipped - count, 0)


def sound_of(clip: Clip) -> Sound | None:
    """Return a clip's sound, None where it has none that is PCM of at least 16 bits, as cameras write it.

    Silence stands for what is missing at its start, and for blocks between others that are lost.
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
    return Sound(channels, bits // 8, rate, max(-late, 0), tuple(parts))
