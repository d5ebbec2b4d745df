"""Magic Lantern video -> a folder of CinemaDNG frames, and a WAV beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..errors import Sve2HdrError, UnwritableOutput
from ..folders.inputs import MLV, Inputs, Search, natural
from ..formats.dngfile import write_cfa_dng
from ..formats.tifftags import read_ifds, text
from ..memory import usable_cores
from .mlv import Clip, Frame, open_clip
from .mlvframe import kept_area, pixel_aspect, raw_info, read_frame
from .mlvsound import sound_of


@dataclass(frozen=True)
class Unpacked:
    """What became of a clip."""

    clip: Clip
    folder: Path
    written: int
    kept: int  # frames that were there already
    sound: bool
    failures: tuple[str, ...]  # a line for each thing that is missing in the folder
    notes: tuple[str, ...]

    def summary(self) -> str:
        """Return one line for the user."""
        height, width = (kept.stop - kept.start for kept in kept_area(self.clip, self.clip.frames[0]))
        rate = f", {self.clip.frame_rate:.3f} frames a second" if self.clip.frame_rate else ""
        parts = [f"{self.folder}: {self.written} frames of {width} x {height} px{rate}"]
        parts += ["Dual ISO"] if self.clip.dual_iso else []
        parts += [f"{self.kept} kept from before"] if self.kept else []
        parts += ["with sound"] if self.sound else []
        return ", ".join(parts)


def clips_of(given: Sequence[Path], output: Path) -> tuple[list[tuple[Path, Path]], list[tuple[str, str]]]:
    """Return the clips of files and folders, each with where it gets a folder of its name, and what cannot be read.

    Of a folder these are all .MLV files below but hidden ones, in natural order; its tree is mirrored in `output`.
    What cannot be read is a path, and why. Raises ValueError where two clips would get one folder, and Sve2HdrError for
    a folder without clips.
    """
    clips: dict[str, tuple[Path, Path]] = {}
    search = Search(Inputs(()), output)
    for path in given:
        amiss = len(search.refused)
        below = [path]
        if path.is_dir():
            below = [file for file in search.walk(path) if file.suffix.lower() == MLV]
            below.sort(key=lambda file: natural(file.relative_to(path).as_posix()))
            if not below and len(search.refused) == amiss:
                raise Sve2HdrError(f"{path}: no .MLV files in this folder; name another one")
        for clip in below:
            into = output / clip.relative_to(path).parent
            other, _ = clips.setdefault(str(into / clip.stem).casefold(), (clip, into))
            if other != clip:
                raise ValueError(f"{other} and {clip} have one name; give each an -o of its own")
    return list(clips.values()), search.refused


def unpack_clip(
    path: Path,
    output: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> Unpacked:
    """Write the frames of the clip NAME.MLV as output/NAME/NAME_000000.dng and so on, and its sound as NAME.wav there.

    The DNGs are those of `write_cfa_dng`, in lossless JPEG, with frame rate and time code, which counts from the
    camera's time of day; ImageDescription has the clip's GUID. Files that are there already are kept unless
    `overwrite`. Several frames are written at the same time, by threads. `progress` is told the share that is done.

    Raises UnreadableRaw as `open_clip` does, and UnwritableOutput, also where the folder holds frames of another clip:
    cameras give names again. A frame that cannot be read, and what else is lost, is told in `failures`.
    """
    clip = open_clip(path)
    raw_info(clip, clip.frames[0])
    folder, said = output / path.stem, f"Magic Lantern clip {clip.guid:016x}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableOutput(f"{folder}: no folder can be made ({error.strerror}); choose another -o") from error
    name_of = {frame.number: folder / f"{path.stem}_{frame.number:06d}.dng" for frame in clip.frames}
    there = {number: name for number, name in name_of.items() if name.exists()}
    if there and not any(text(ifd, 270) == said for _, ifd in read_ifds(min(there.values()))):
        raise UnwritableOutput(f"{folder}: holds frames of another clip of this name; choose another -o")
    wanted = [frame for frame in clip.frames if overwrite or frame.number not in there]

    def unpack(frame: Frame) -> str:
        try:
            mosaic = read_frame(clip, frame)
        except Sve2HdrError as error:
            return str(error)
        write_cfa_dng(name_of[frame.number], mosaic, description=said, compressed=True, overwrite=overwrite)
        return ""

    failures = [f"{path}: {loss}" for loss in clip.losses]
    with ThreadPoolExecutor(usable_cores()) as pool:
        try:
            damaged = 0
            for done, failure in enumerate(pool.map(unpack, wanted), 1):
                damaged += bool(failure)
                failures += [failure] if failure else []
                progress(done / len(wanted))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    sound, notes = sound_of(clip), []
    wav = folder / f"{path.stem}.wav"
    if sound and wav.exists() and not overwrite:
        if wav.stat().st_size != sound.file_bytes:
            notes.append(f"{wav}: kept, but the clip's sound has another length; --overwrite replaces it")
    elif sound:
        sound.write(wav, overwrite)
    aspect = pixel_aspect(clip.frames[0])
    if aspect != 1:
        notes.append(f"{path}: its pixels are {aspect:.3g} times as wide as high, as its frames say")
    if clip.lost_rows:
        notes.append(
            f"{path}: its window moved; frames lose {clip.lost_rows} rows, so that the same rows are bright in all"
        )
    if clip.missing:
        notes.append(f"{path}: {clip.missing} frames are missing between the others, dropped by the camera perhaps")
    return Unpacked(
        clip,
        folder,
        written=len(wanted) - damaged,
        kept=len(clip.frames) - len(wanted),
        sound=sound is not None,
        failures=tuple(failures),
        notes=tuple(notes),
    )
