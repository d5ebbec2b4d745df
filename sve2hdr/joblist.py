"""Folders, files, globs and lists -> the list of jobs: a raw file each, and what it shall become below OUT.

All that is known before a raw file is opened: which files count as raws, the mirrored tree, names, and which raws
would be written to the same output. Jobs are plain values; where a path of OUT lies is for manifest.py to say.
"""

from __future__ import annotations

import glob
import os
import re
import string
import unicodedata
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from .errors import Sve2HdrError, one_line
from .manifest import STATE
from .places import Place, Reals, RemotePath, fixed_part, is_url, place, real
from .rawcheck import RAW_EXTENSIONS
from .tifftags import FRAME_RATE, TIME_CODES, ifds_in, numbers, read_ifds

FIELDS = ("stem", "name", "model", "source", "ext")
MLV, VIDEO = ".mlv", "a video; sve2hdr unpack makes DNG frames of it"  # why it is no raw
TAGS_BYTES = 1 << 20  # of a file at a URL, where its tags are looked for


@dataclass(frozen=True)
class Job:
    """One raw file and its outputs, as plain text: it can be sent to any process or machine that sees the paths."""

    raw: str
    relative: str  # where the raw lies below its input, with /
    outputs: tuple[str, ...]  # below OUT, with /; the preview, if there is one, is the last
    preview: bool = False
    sequence: str = ""  # jobs of one sequence share their parameters; "": none
    no_copy: str = ""  # why `relative` below OUT cannot be the raw's copy, if one is asked for; "": it can


@dataclass(frozen=True)
class Naming:
    """What outputs are called, and which there are."""

    formats: tuple[str, ...] = ("exr",)
    preview: bool = False
    template: str = "{stem}.{ext}"
    model: str = "auto"

    def __post_init__(self) -> None:
        """Check the template; raises ValueError with a sentence for the user."""
        try:
            parts = [(name, spec, conv) for _, name, spec, conv in string.Formatter().parse(self.template)]
        except ValueError as error:
            raise ValueError(f"--name {self.template}: {error}") from error
        unknown = [name for name, spec, conversion in parts if name is not None and (name not in FIELDS or spec)]
        if unknown or any(conversion for _, _, conversion in parts):
            raise ValueError(f"--name {self.template}: the fields are {', '.join(f'{{{name}}}' for name in FIELDS)}")
        if not self.template.endswith(".{ext}") or not {"stem", "name"} & {name for name, _, _ in parts}:
            raise ValueError(f"--name {self.template}: must hold {{stem}} or {{name}}, and end with .{{ext}}")
        path = PurePosixPath(self.template)
        if path.is_absolute() or ".." in path.parts or "\\" in self.template:
            raise ValueError(f"--name {self.template}: must lie below the output folder, with / between folders")

    def outputs(self, relative: str, source: str) -> tuple[str, ...]:
        """Return the outputs of a raw at `relative` below an input folder called `source`.

        >>> Naming(("exr", "dng"), True, "{stem}_{model}.{ext}", "standard").outputs("DCIM/IMG_1.CR2", "card")
        ('DCIM/IMG_1_standard.exr', 'DCIM/IMG_1_standard.dng', 'DCIM/IMG_1_standard.preview.jpg')
        """
        path, model = PurePosixPath(relative), Path(self.model).stem
        made = [*self.formats, *(["preview.jpg"] if self.preview else [])]
        names = {"stem": path.stem, "name": path.name, "model": model, "source": source}
        return tuple(str(path.parent / self.template.format(**names, ext=extension)) for extension in made)


@dataclass(frozen=True)
class Inputs:
    """What the user names, and what of it is left out."""

    paths: tuple[str, ...]  # folders, files, patterns: an error where one is not there
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    base: str = ""  # the tree is mirrored from here; "": from each folder named
    lock: str = "auto"  # whose frames share parameters: auto: CinemaDNG clips; folder: all of a folder; all; none
    watched: bool = False  # what is not there yet may come: patterns and URLs may be empty
    copied: bool = False  # ordinary raws are copied to OUT
    listed: tuple[str, ...] = ()  # as `paths`, but one that is not there is refused, and the others are done


@dataclass
class JobList:
    """What was found."""

    jobs: list[Job] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)  # (path, why): counts as failed
    ignored: list[tuple[str, str]] = field(default_factory=list)  # (path, why): no failure
    out_met: bool = False  # OUT lies among the inputs, where it is not searched


@dataclass(frozen=True)
class Found:
    """A file that counts as raw."""

    path: str
    relative: str  # with /
    source: str  # name of the input folder


def read_list(content: bytes, name: str = "list") -> tuple[str, ...]:
    r"""Return the paths of a list file, UTF-8: one a line; empty lines and those that begin with # are left out.

    `name` is the file's, for Sve2HdrError where it is UTF-16 or no text.

    >>> read_list(b"# two cards\ncard1/DCIM\r\n\ncard 2/IMG_0001.CR2")
    ('card1/DCIM', 'card 2/IMG_0001.CR2')
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise Sve2HdrError(f"{name}: is UTF-16 or no text; save the list as UTF-8, a path a line")
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines = (line.rstrip("\r") for line in text.split("\n"))
    return tuple(line for line in lines if line.strip() and not line.startswith("#"))


def collect(
    inputs: Inputs, out: Place, naming: Naming, made_before: Mapping[str, str] | None = None, exact_case: bool = True
) -> JobList:
    """Return the jobs of all inputs, sorted by their place in them, natural numbers in order.

    `made_before`: outputs that OUT's manifest knows, each with the raw it was made of; they are never taken for raws.
    `exact_case`: OUT tells `a.exr` from `A.exr`. Raises Sve2HdrError for an input that is not there, or if the only
    raws lie in OUT, which is searched only where it is named.
    """
    made, found, names = dict(made_before or {}), JobList(), _Names(out, exact_case)
    own = set(map(names.of_output, made))
    files = [raw for path in inputs.paths for raw in _files_of(path, inputs, out, found)]
    files += [raw for path in inputs.listed for raw in _listed(path, inputs, out, found)]
    once: dict[str, Found] = {}
    for file in files:
        name = names.real(file.path)
        if names.alike(name) in own:
            found.ignored.append((file.path, "an output of this folder"))
        elif name in once and once[name].path != file.path:
            found.ignored.append((file.path, f"the same file as {once[name].path}"))
        else:
            once.setdefault(name, file)
    if found.out_met and not (once or found.refused or inputs.watched):
        of_out = _files_of(str(out), replace(inputs, paths=(), base=""), out, JobList())
        if missed := next((raw.path for raw in of_out if names.of_file(raw.path) not in own), None):
            raise Sve2HdrError(
                f"{missed}: lies in the output folder, {out}, which is not searched, and there is no other raw; give "
                "another -o, or name that folder as IN"
            )
    ordered = sorted(once.values(), key=lambda file: natural(file.relative))
    jobs = [
        Job(file.path, file.relative, naming.outputs(file.relative, file.source), naming.preview) for file in ordered
    ]
    raws = set(map(names.alike, once))
    jobs = _sparing_raws(_without_clashes(jobs, made, names, found), raws, names, found)
    if inputs.copied:
        jobs = _with_copies(jobs, made, raws, names)
    found.jobs = jobs if inputs.lock == "none" else list(_with_sequences(jobs, inputs.lock, names.real))
    return found


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts names with their numbers by value.

    >>> sorted(["b", "a10", "a9"], key=natural)
    ['a9', 'a10', 'b']
    """
    parts = re.split(r"(\d+)", name)
    return [(1, 0, part.casefold()) if i % 2 == 0 else (0, int(part), part) for i, part in enumerate(parts)]


# Inputs -> files ------------------------------------------------------------------------------------------------------


def _listed(given: str, inputs: Inputs, out: Place, found: JobList) -> Iterator[Found]:
    try:
        yield from _files_of(given, inputs, out, found)
    except Sve2HdrError as error:
        if inputs.watched:  # what is away may come back
            raise
        found.refused.append((given, one_line(error, given)))


def _files_of(given: str, inputs: Inputs, out: Place, found: JobList) -> Iterator[Found]:
    top, named = Path(given), False
    if is_url(given):
        yield from _files_at(given, inputs, out, found)
        return
    if top.is_dir():
        source, files = top.resolve(), walk(top, out, found)
    elif os.path.lexists(top) or not glob.has_magic(given):
        if not top.is_file():
            raise Sve2HdrError(f"{given}: no such file or folder; check the path")
        source, files, named = top.resolve().parent, iter([top]), True
        top = top.parent
    else:
        top = fixed_part(top)
        fitting = [match for match in _fitting(given) if not _in_system(Path(match), top)]
        matches = _outside(fitting, out, top)
        if not (matches or inputs.watched):
            where = " outside the output folder, which is not searched" if fitting else ""
            raise Sve2HdrError(f"{given}: nothing matches{where}; check the pattern")
        source, files = top.resolve(), _below_matches(sorted(matches, key=natural), out, found)
    for file in files:
        relative = _relative(file, Path(inputs.base) if inputs.base else top)
        if _wanted(file, file.relative_to(top).as_posix(), inputs, found, named):
            yield Found(str(file), relative, source.name)


def _fitting(pattern: str) -> Iterator[str]:
    """Yield what `glob` finds, but `**` enters each real folder once: some links lead upwards, to what they lie in."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.glob(pattern)
        return
    at = parts.index("**")
    rest = parts[at + 1 :]
    for folder in _folders_in(glob.glob(os.path.join(*parts[:at])) if at else [os.curdir]):
        yield from _fitting(os.path.join(glob.escape(folder), *rest)) if rest else [folder]


def _folders_in(tops: Iterable[str]) -> Iterator[str]:
    """Yield the folders `tops` and all below but hidden ones: each real folder once, by a link only if not without."""
    seen: set[str] = set()
    waiting = deque(sorted(tops, key=os.path.islink))
    while waiting:
        for folder, names, _ in os.walk(waiting.popleft()):
            names[:] = (name for name in names if not name.startswith("."))
            if (real_folder := os.path.realpath(folder)) in seen:
                names.clear()
                continue
            seen.add(real_folder)
            yield folder
            waiting += (path for name in names if os.path.islink(path := os.path.join(folder, name)))


def _below_matches(matches: Iterable[str], out: Place, found: JobList) -> Iterator[Path]:
    """Yield files that match and those in folders that do, each folder once: `**` fits all folders in folders, too."""
    walked: set[Path] = set()
    for match in map(Path, matches):
        if walked.isdisjoint(match.parents):
            if match.is_dir():
                walked.add(match)
                yield from walk(match, out, found)
            else:
                yield match


def _files_at(given: str, inputs: Inputs, out: Place, found: JobList) -> Iterator[Found]:
    """Yield the files of a folder, file or pattern at a URL; folders are what lies between slashes."""
    at = RemotePath(given)
    try:
        named = at.is_file()
        start, urls = (at.parent, [at.url]) if named else (at, at.files())
        if not urls and glob.has_magic(given):
            start, urls = fixed_part(at), at.matches()
    except FileNotFoundError:
        start, urls = at, []
    except OSError as error:
        raise Sve2HdrError(f"{given}: cannot be read ({error.strerror}); check the address and your rights") from error
    if not (urls or inputs.watched):
        raise Sve2HdrError(f"{given}: nothing is there; check the address")
    for url in urls:
        below = url.removeprefix(f"{start}/")
        if not _is_under(start.url, out) and _is_under(url, out):
            found.out_met = True
            continue
        if STATE in below.split("/"):
            continue
        if any(part.startswith(".") for part in below.split("/")) and not named:
            found.ignored.append((url, "hidden"))
        elif _wanted(RemotePath(url), below, inputs, found, named):
            yield Found(url, _relative_url(url, inputs.base) if inputs.base else below, start.name)


def _is_under(url: str, out: Place) -> bool:
    return f"{url}/".startswith(f"{out}/")


def _relative_url(url: str, base: str) -> str:
    if not url.startswith(f"{base.rstrip('/')}/"):
        raise Sve2HdrError(f"{url}: does not lie below --base {base}; name another base")
    return url[len(base.rstrip("/")) + 1 :]


def _outside(paths: Iterable[str], out: Place, start: Path) -> list[str]:
    """Return the paths but for those in OUT, which are met only because OUT lies among the inputs."""
    out_real = real(str(out))
    if isinstance(out, RemotePath) or start.resolve().is_relative_to(out_real):
        return list(paths)
    return [path for path in paths if not Path(real(path)).is_relative_to(out_real)]


def _relative(path: Path, base: Path) -> str:
    for seen in (Path, Path.resolve):  # as they are named, then as they are
        below, top = seen(path), seen(base)
        if below.is_relative_to(top) and ".." not in below.relative_to(top).parts:
            return below.relative_to(top).as_posix()
    raise Sve2HdrError(f"{path}: does not lie below --base {base}; name another base")


def walk(top: Path, out: Place, found: JobList) -> Iterator[Path]:
    """Yield the files below a folder: each real folder once, links last, hidden ones and OUT left out."""
    waiting, seen, out_real = deque([top]), set(), real(str(out))
    linked: deque[Path] = deque()
    while waiting or linked:
        folder = waiting.popleft() if waiting else linked.popleft()
        resolved = os.path.realpath(folder)
        if resolved in seen or (resolved == out_real and folder != top):
            found.out_met |= resolved == out_real
            if resolved != out_real:
                found.ignored.append((str(folder), "a link to a folder that is there already"))
            continue
        seen.add(resolved)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
        except OSError as error:
            found.refused.append((str(folder), f"cannot be read ({error.strerror}); check its permissions"))
            continue
        for entry in entries:
            path = folder / entry.name
            try:
                kind = _kind(entry)
            except OSError as error:  # a link to itself, a disk that fails
                found.refused.append(
                    (str(path), f"cannot be read ({error.strerror}); remove the link, or check its disk")
                )
                continue
            if kind == "hidden":
                if entry.name not in (STATE, ".DS_Store"):
                    found.ignored.append((str(path), "hidden"))
            elif kind == "folder":
                waiting.append(path)
            elif kind == "linked folder":
                linked.append(path)
            elif kind == "file":
                yield path
            elif kind == "link":
                found.refused.append((str(path), "a link to nothing; remove it, or mount what it points to"))


def _kind(entry: os.DirEntry[str]) -> str:
    """Return hidden, folder, linked folder, file, link (to nothing), or "" for what else there is; raise OSError."""
    if entry.name.startswith(".") or _is_system(entry.name):
        return "hidden"
    if entry.is_dir():
        return "folder" if entry.is_dir(follow_symlinks=False) else "linked folder"
    if entry.is_file():
        return "file"
    return "link" if entry.is_symlink() else ""


def _in_system(path: Path, start: Path) -> bool:
    return any(map(_is_system, path.relative_to(start).parts))


def _is_system(name: str) -> bool:
    """Return whether a folder is one that Windows keeps on every drive: deleted raws are there, too."""
    return name.lower() in ("$recycle.bin", "system volume information")


def _wanted(path: Place, relative: str, inputs: Inputs, found: JobList, named: bool = False) -> bool:
    """Return whether a file counts as raw: by its extension, or because it is named or included."""
    if _matches(relative, inputs.exclude):
        found.ignored.append((str(path), "excluded"))
        return False
    if inputs.include and not _matches(relative, inputs.include):
        found.ignored.append((str(path), "not included"))
        return False
    if not (inputs.include or named) and path.suffix.lower() not in RAW_EXTENSIONS:
        found.ignored.append((str(path), VIDEO if path.suffix.lower() == MLV else "no raw file by its name"))
        return False
    return True


def _matches(relative: str, patterns: Collection[str], windows: bool = os.name == "nt") -> bool:
    """Return whether a pattern fits a file's name or path, or one of the folders it lies in, upper or lower case."""
    if not patterns:
        return False
    if windows:
        patterns = [pattern.replace("\\", "/") for pattern in patterns]
    path = PurePosixPath(relative.lower())
    names = {str(part) for part in (path, *path.parents)} | set(path.parts)
    return any(fnmatchcase(name, pattern.lower().rstrip("/")) for pattern in patterns for name in names)


# Files -> jobs --------------------------------------------------------------------------------------------------------


class _Names:
    """What files are called, and outputs of OUT: of two paths to one file, the same. `exact_case`: as for `collect`."""

    def __init__(self, out: Place, exact_case: bool) -> None:
        self._out, self._exact_case, self.real = out, exact_case, Reals()

    def alike(self, name: str) -> str:
        """Return one of the names that OUT does not tell from this one."""
        name = unicodedata.normalize("NFC", name)
        return name if self._exact_case else name.casefold()

    def of_file(self, path: str) -> str:
        return self.alike(self.real(path))

    def of_output(self, output: str) -> str:
        return self.of_file(str(self._out / output))


def _without_clashes(jobs: Sequence[Job], made: Mapping[str, str], names: _Names, found: JobList) -> list[Job]:
    """Refuse all raws but one of those that would be written to one file: that keeps it which it was made of."""
    holder: dict[str, Job] = {}
    for job in sorted(jobs, key=lambda job: not any(made.get(output) == job.raw for output in job.outputs)):
        for output in job.outputs:
            holder.setdefault(names.alike(output), job)
    kept = []
    for job in jobs:
        others = [other for output in job.outputs if (other := holder[names.alike(output)]) is not job]
        if others:
            found.refused.append(
                (job.raw, f"would be written to the same file as {others[0].raw}; add {{name}} or {{source}} to --name")
            )
        else:
            kept.append(job)
    return kept


def _sparing_raws(jobs: Sequence[Job], raws: Collection[str], names: _Names, found: JobList) -> list[Job]:
    """Refuse jobs whose output would take the place of a raw file, whatever else is allowed."""
    kept = []
    for job in jobs:
        onto = [output for output in job.outputs if names.of_output(output) in raws]
        if onto:
            found.refused.append((job.raw, f"its output would replace a raw file, {onto[0]}; choose another folder"))
        else:
            kept.append(job)
    return kept


def _with_copies(jobs: Sequence[Job], made: Mapping[str, str], raws: Collection[str], names: _Names) -> list[Job]:
    """Tell each job why its raw could not be copied; whether it is to be, only its pixels tell."""
    written = {names.alike(output): job for job in jobs for output in job.outputs}
    holder = dict(written)
    for job in sorted(jobs, key=lambda job: made.get(job.relative) != job.raw):
        holder.setdefault(names.alike(job.relative), job)
    told = []
    for job in jobs:
        name, why = names.alike(job.relative), ""
        target, own = names.of_output(job.relative), names.of_file(job.raw)
        if target in raws:
            advice = "choose another folder, or a --base above all raws"
            why = "" if target == own else f"its copy would replace a raw file, {job.relative}; {advice}"
        elif holder[name] is not job:
            advice = "another --name" if name in written else "a --base above both"
            why = f"its copy would be written to the same file as {holder[name].raw}; give {advice}"
        told.append(replace(job, no_copy=why))
    return told


def _with_sequences(jobs: Sequence[Job], lock: str, reals: Reals) -> Iterator[Job]:
    """Give the jobs of each sequence its name: a folder's, or that of a folder and a clip's frames."""
    names = [_sequence_of(place(job.raw), lock, reals) for job in jobs]
    clips: dict[str, bool | None] = {}
    for job, name in zip(jobs, names, strict=True):
        if clips.get(name) is None:  # a frame that cannot be read says nothing of the others
            clips[name] = lock in ("folder", "all") or (job.raw.lower().endswith(".dng") and _is_cinema(place(job.raw)))
    for job, name in zip(jobs, names, strict=True):
        yield replace(job, sequence=name) if clips[name] else job


def _sequence_of(raw: Place, lock: str, reals: Reals) -> str:
    """Return the name of a raw's sequence; names of frames of a clip differ in their last number alone.

    Which number counts is not looked for among the frames: a part of them may be all that a batch is given.
    """
    if lock == "all":
        return lock
    path, folder = PurePosixPath(raw.name), reals(str(raw.parent))
    clip = re.sub(r"[0-9]+([^0-9]*)$", r"#\1", path.stem)
    return folder if lock == "folder" else f"{folder}/{clip}{path.suffix.lower()}"


def _is_cinema(path: Place) -> bool | None:
    """Return whether a DNG is a frame of footage; None: it cannot be read."""
    if isinstance(path, RemotePath):
        try:
            ifds = ifds_in(path.read_start(TAGS_BYTES))
        except OSError:
            return None
    else:
        ifds = read_ifds(path)
    return any(numbers(ifd, FRAME_RATE) or TIME_CODES in ifd for _, ifd in ifds) if ifds else None
