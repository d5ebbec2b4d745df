"""Magic Lantern video -> a folder of CinemaDNG frames, and a WAV beside them."""

from __future__ import annotations

import os
import struct
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .dngfile import write_cfa_dng
from .errors import Sve2HdrError, UnwritableOutput
from .files import replacing
from .mlv import SOUND_FRAME, Clip, Frame, open_clip
from .mlvframe import raw_info, read_frame

SOUND_FORMAT = struct.Struct("<HHIIHH")  # WAVI: format, channels, rate, bytes a second, bytes and bits of a sample
PCM = 1


@dataclass(frozen=True)
class Unpacked:
    """What became of a clip."""

    clip: Clip
    folder: Path
    written: int
    kept: int  # frames that were there already
    sound: Path | None  # None: the clip has none
    failures: tuple[str, ...]  # a line for each frame that could not be read

    def summary(self) -> str:
        """Return one line for the user."""
        height, width = raw_info(self.clip, self.clip.frames[0]).shape
        rate = f", {self.clip.frame_rate:.3f} frames a second" if self.clip.frame_rate else ""
        parts = [f"{self.folder}: {self.written} frames of {width} x {height} px{rate}"]
        parts += ["Dual ISO"] if self.clip.dual_iso else []
        parts += [f"{self.kept} kept that were there"] if self.kept else []
        parts += ["with sound"] if self.sound else []
        return ", ".join(parts)


def unpack_clip(
    path: Path,
    output: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> Unpacked:
    """Write the frames of the clip NAME.MLV as output/NAME/NAME_000000.dng and so on, and its sound as NAME.wav there.

    The DNGs are those of `write_cfa_dng`, in lossless JPEG, with frame rate and time code, which counts from the
    camera's time of day. Files that are there already are kept unless `overwrite`. Several frames are written at the
    same time, by threads. `progress` is told the share that is done.

    Raises UnreadableRaw as `open_clip` does, and UnwritableOutput; a frame that cannot be read is told in `failures`.
    """
    clip = open_clip(path)
    raw_info(clip, clip.frames[0])
    folder = output / path.stem
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableOutput(f"{folder}: no folder can be made ({error.strerror}); choose another -o") from error
    name_of = {frame.number: folder / f"{path.stem}_{frame.number:06d}.dng" for frame in clip.frames}
    wanted = [frame for frame in clip.frames if overwrite or not name_of[frame.number].exists()]

    def unpack(frame: Frame) -> str:
        try:
            mosaic = read_frame(clip, frame)
        except Sve2HdrError as error:
            return str(error)
        write_cfa_dng(name_of[frame.number], mosaic, compressed=True, overwrite=overwrite)
        return ""

    failures = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for done, failure in enumerate(pool.map(unpack, wanted), 1):
                failures += [failure] if failure else []
                progress(done / len(wanted))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    sound = folder / f"{path.stem}.wav"
    has_sound = (sound.exists() and not overwrite) or write_sound(clip, sound, overwrite)
    return Unpacked(
        clip,
        folder,
        written=len(wanted) - len(failures),
        kept=len(clip.frames) - len(wanted),
        sound=sound if has_sound else None,
        failures=tuple(failures),
    )


def write_sound(clip: Clip, path: Path, overwrite: bool = False) -> bool:
    """Write a clip's sound as WAV, whole or not at all; return whether it has some that is PCM.

    Raises UnwritableOutput where `path` exists or cannot be written.
    """
    told = clip.frames[0].told.get(b"WAVI")
    if not clip.sound or told is None or len(told.content) < SOUND_FORMAT.size:
        return False
    form, channels, rate, _, _, bits = SOUND_FORMAT.unpack_from(told.content)
    if form != PCM or not (channels and rate) or bits not in (8, 16, 24, 32):
        return False
    with replacing(path, overwrite) as partial, partial.open("wb") as file, wave.open(file, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(bits // 8)
        sound.setframerate(rate)
        for block in clip.sound:
            sound.writeframes(block.payload(SOUND_FRAME))
    return True
