"""Folders, files, patterns and lists -> the raw files that they name, each with its place in the tree.

All is told from names alone: which files count as raws, and why others do not.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ..errors import Sve2HdrError, one_line
from ..raw.rawcheck import RAW_EXTENSIONS
from ..system.files import mode_of
from ..system.places import Place, RemotePath, fixed_part, is_url, real
from .manifest import STATE

MLV, VIDEO = ".mlv", "a video; sve2hdr unpack makes DNG frames of it"  # why it is no raw
SIDECAR = ".xmp"  # ratings and the like, which go along with the raw beside it


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
        raise Sve2HdrError(f"{name}: is UTF-16 or no text; save the list as UTF-8, one path per line")
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines = (line.rstrip("\r") for line in text.split("\n"))
    return tuple(line for line in lines if line.strip() and not line.startswith("#"))


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts names with their numbers by value.

    >>> sorted(["b", "a10", "a9"], key=natural)
    ['a9', 'a10', 'b']
    """
    parts = re.split(r"(\d+)", name)
    return [(1, 0, part.casefold()) if i % 2 == 0 else (0, int(part), part) for i, part in enumerate(parts)]


@dataclass
class Search:
    """A look through inputs for raws; OUT is left out where it only lies among them."""

    inputs: Inputs
    out: Place
    refused: list[tuple[str, str]] = field(default_factory=list)  # (path, why): counts as failed
    ignored: list[tuple[str, str]] = field(default_factory=list)  # (path, why): no failure
    out_met: bool = False  # OUT lies among the inputs

    def __post_init__(self) -> None:
        self._out_real = real(str(self.out))

    def raws(self) -> Iterator[Found]:
        """Yield the raws of all inputs. Raises Sve2HdrError for one that is not there, unless it is of a list."""
        for path in self.inputs.paths:
            yield from self.files_of(path)
        for path in self.inputs.listed:
            yield from self._listed(path)

    def _listed(self, given: str) -> Iterator[Found]:
        try:
            yield from self.files_of(given)
        except Sve2HdrError as error:
            if self.inputs.watched:  # what is away may come back
                raise
            self.refused.append((given, one_line(error, given)))

    def files_of(self, given: str) -> Iterator[Found]:
        """Yield the raws of one input. Raises Sve2HdrError where it is not there."""
        top, named = Path(given), False
        if is_url(given):
            yield from self._files_at(given)
            return
        there = os.path.lexists(top) or not glob.has_magic(given)
        kind = mode_of(top) if there else 0
        if stat.S_ISDIR(kind):
            source, files = top.resolve(), self.walk(top)
        elif there:
            if not stat.S_ISREG(kind):
                raise Sve2HdrError(f"{given}: no such file or folder; check the path")
            source, files, named = top.resolve().parent, iter([top]), True
            top = top.parent
        else:
            top = fixed_part(top)
            fitting = [match for match in _fitting(given) if not _in_system(Path(match), top)]
            matches = self._outside(fitting, top)
            if not (matches or self.inputs.watched):
                try:
                    os.scandir(top).close()
                except (FileNotFoundError, NotADirectoryError):
                    pass  # the pattern is wrong then
                except OSError as error:
                    raise Sve2HdrError(f"{top}: cannot be read ({error.strerror}); check its permissions") from error
                where = " outside the output folder, which is not searched" if fitting else ""
                raise Sve2HdrError(f"{given}: nothing matches{where}; check the pattern")
            source, files = top.resolve(), self._below_matches(sorted(matches, key=natural))
        for file in files:
            relative = _relative(file, Path(self.inputs.base) if self.inputs.base else top)
            if self._wanted(file, file.relative_to(top).as_posix(), named):
                yield Found(str(file), relative, source.name)

    def _files_at(self, given: str) -> Iterator[Found]:
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
            raise Sve2HdrError(
                f"{given}: cannot be read ({error.strerror}); check the address and your rights"
            ) from error
        if not (urls or self.inputs.watched):
            raise Sve2HdrError(f"{given}: nothing is there; check the address")
        for url in urls:
            below = url.removeprefix(f"{start}/")
            if not _is_under(start.url, self.out) and _is_under(url, self.out):
                self.out_met = True
                continue
            if STATE in below.split("/"):
                continue
            if any(part.startswith(".") for part in below.split("/")) and not named:
                self.ignored.append((url, "hidden"))
            elif self._wanted(RemotePath(url), below, named):
                yield Found(url, _relative_url(url, self.inputs.base) if self.inputs.base else below, start.name)

    def _below_matches(self, matches: Iterable[str]) -> Iterator[Path]:
        """Yield files that match, and those in folders that do, each folder once: `**` fits folders in folders, too."""
        walked: set[Path] = set()
        for match in map(Path, matches):
            if walked.isdisjoint(match.parents):
                try:
                    is_folder = stat.S_ISDIR(mode_of(match))
                except Sve2HdrError as error:
                    self.refused.append((str(match), one_line(error, str(match))))
                    continue
                if is_folder:
                    walked.add(match)
                    yield from self.walk(match)
                else:
                    yield match

    def _outside(self, paths: Iterable[str], start: Path) -> list[str]:
        """Return the paths but for those in OUT, which are met only because OUT lies among the inputs."""
        if isinstance(self.out, RemotePath) or start.resolve().is_relative_to(self._out_real):
            return list(paths)
        return [path for path in paths if not Path(real(path)).is_relative_to(self._out_real)]

    def walk(self, top: Path) -> Iterator[Path]:
        """Yield the files below a folder: each real folder once, links last, hidden ones and OUT left out."""
        waiting, seen = deque([top]), set[str]()
        linked: deque[Path] = deque()
        while waiting or linked:
            folder = waiting.popleft() if waiting else linked.popleft()
            resolved = os.path.realpath(folder)
            if resolved in seen or (resolved == self._out_real and folder != top):
                self.out_met |= resolved == self._out_real
                if resolved != self._out_real:
                    self.ignored.append((str(folder), "a link to a folder that is there already"))
                continue
            seen.add(resolved)
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
            except OSError as error:
                self.refused.append((str(folder), f"cannot be read ({error.strerror}); check its permissions"))
                continue
            for entry in entries:
                path = folder / entry.name
                try:
                    kind = _kind(entry)
                except OSError as error:  # a link to itself, a disk that fails
                    self.refused.append(
                        (str(path), f"cannot be read ({error.strerror}); remove the link, or check its disk")
                    )
                    continue
                if kind == "hidden":
                    if entry.name not in (STATE, ".DS_Store"):
                        self.ignored.append((str(path), "hidden"))
                elif kind == "folder":
                    waiting.append(path)
                elif kind == "linked folder":
                    linked.append(path)
                elif kind == "file":
                    yield path
                elif kind == "link":
                    self.refused.append((str(path), "a link to nothing; remove it, or mount what it points to"))

    def _wanted(self, path: Place, relative: str, named: bool) -> bool:
        """Return whether a file counts as raw: by its extension, or because it is named or included."""
        if path.suffix.lower() == SIDECAR and not named:  # neither a raw nor left alone
            return False
        if _matches(relative, self.inputs.exclude):
            self.ignored.append((str(path), "excluded"))
            return False
        if self.inputs.include and not _matches(relative, self.inputs.include):
            self.ignored.append((str(path), "not included"))
            return False
        if not (self.inputs.include or named) and path.suffix.lower() not in RAW_EXTENSIONS:
            self.ignored.append((str(path), VIDEO if path.suffix.lower() == MLV else "not a raw file, by its name"))
            return False
        return True


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


def _is_under(url: str, out: Place) -> bool:
    return f"{url}/".startswith(f"{out}/")


def _relative_url(url: str, base: str) -> str:
    if not url.startswith(f"{base.rstrip('/')}/"):
        raise Sve2HdrError(f"{url}: does not lie below --base {base}; name another base")
    return url[len(base.rstrip("/")) + 1 :]


def _relative(path: Path, base: Path) -> str:
    for seen in (Path, Path.resolve):  # as they are named, then as they are
        below, top = seen(path), seen(base)
        if below.is_relative_to(top) and ".." not in below.relative_to(top).parts:
            return below.relative_to(top).as_posix()
    raise Sve2HdrError(f"{path}: does not lie below --base {base}; name another base")


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


def _matches(relative: str, patterns: Collection[str], windows: bool = os.name == "nt") -> bool:
    """Return whether a pattern fits a file's name or path, or one of the folders it lies in, upper or lower case."""
    if not patterns:
        return False
    if windows:
        patterns = [pattern.replace("\\", "/") for pattern in patterns]
    path = PurePosixPath(relative.lower())
    names = {str(part) for part in (path, *path.parents)} | set(path.parts)
    return any(fnmatchcase(name, pattern.lower().rstrip("/")) for pattern in patterns for name in names)
