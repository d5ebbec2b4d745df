"""Where raws and outputs of a batch lie: files of this machine, or at any URL that fsspec reaches, such as s3://.

fsspec is imported where a URL is met, and never for files.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import Sve2HdrError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# What file systems call the state of a file, the surest first.
VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "generation", "LastModified", "last_modified", "updated", "mtime",
            "modified", "created")  # fmt: skip


def is_url(text: str) -> bool:
    r"""Return whether a text is a URL and no path.

    >>> is_url("s3://bucket/a.dng"), is_url("card/a.dng"), is_url(r"C:\card\a.dng")
    (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def without_file_url(text: str, windows: bool = os.name == "nt") -> str:
    """Return a path for a file:// URL; all else as it is.

    >>> without_file_url("file:///mnt/card 1/a#1.dng"), without_file_url("s3://bucket/a.dng")
    ('/mnt/card 1/a#1.dng', 's3://bucket/a.dng')
    >>> [without_file_url(url, windows=True) for url in ("file:///C:/card", "file://nas/card")]
    ['C:/card', '//nas/card']
    """
    drive, server = "^file:///?(?=[A-Z]:)", "^file:(?=//[^/])"
    start = f"{drive}|{server}|^file://" if windows else "^file://"
    return re.sub(start, "", text, flags=re.IGNORECASE)


@dataclass(frozen=True)
class Status:
    """What `stat` says of a file at a URL; the time is any number that changes with the file."""

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True)
class RemotePath:
    """A file or folder at a URL. Methods do what those of Path do, and raise nothing but OSError.

    Every method but `name`, `suffix` and `/` raises Sve2HdrError where the URL's kind needs a package that is missing.
    """

    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.rstrip("/"))

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, below: str) -> RemotePath:
        return RemotePath(f"{self.url}/{below}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def suffix(self) -> str:
        """The extension with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """The folder it lies in."""
        return RemotePath(self.url.rsplit("/", 1)[0])

    def exists(self) -> bool:
        """Return whether there is a file."""
        return self.is_file()

    def is_file(self) -> bool:
        """Return whether there is a file."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def stat(self) -> Status:
        """Return size and version of a file."""
        with self._reached() as (system, path):
            info = system.info(path)
            if info["type"] != "file":
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.url)
            return _status(info)

    @contextlib.contextmanager
    def open(self) -> Iterator[BufferedReader]:
        """Open a file for reading, during the block."""
        with self._reached() as (system, path), system.open(path, "rb") as file:
            yield file

    def read_bytes(self) -> bytes:
        """Return a file's bytes."""
        return self.read_start(None)

    def read_start(self, size: int | None) -> bytes:
        """Return the first bytes of a file; None: all."""
        with self._reached() as (system, path):
            return bytes(system.cat_file(path, end=size))

    def write_bytes(self, content: bytes) -> None:
        """Write a file: whole or not at all where the system is an object store."""
        with self._reached() as (system, path):
            _with_folder(system, path, lambda: system.pipe_file(path, content))

    def unlink(self) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError), self._reached() as (system, path):
            system.rm_file(path)

    def fetch(self, to: Path) -> None:
        """Copy the file to this machine."""
        with self._reached() as (system, path):
            system.get_file(path, str(to))

    def put(self, local: Path) -> None:
        """Copy a file of this machine here: whole or not at all where the system is an object store."""
        with self._reached() as (system, path):
            _with_folder(system, path, lambda: system.put_file(str(local), path))

    def files(self) -> list[str]:
        """Return the URLs of all files below, as they are now; none where there is no such folder."""
        return sorted(self.statuses())

    def statuses(self) -> dict[str, Status]:
        """Return what `stat` says of all files below, by URL, at the cost of a listing."""
        with self._reached() as (system, path):
            system.invalidate_cache()
            try:
                found = system.find(path, detail=True)
            except FileNotFoundError:
                return {}
            return dict(zip(self._urls(system, path, found), map(_status, found.values()), strict=True))

    def matches(self) -> list[str]:
        """Return the URLs of the files that fit this one, taken as a pattern, and of all files below folders that do.

        They are as they are now.
        """
        with self._reached() as (system, path):
            system.invalidate_cache()
            found, names, folder = system.glob(path, detail=True), set(), None
            for name in sorted(found):
                if found[name]["type"] == "file":
                    names.add(name)
                elif folder is None or not name.startswith(f"{folder}/"):  # `**` fits all folders in folders, too
                    folder = name
                    names.update(system.find(folder))
            return sorted(self._urls(system, path, names))

    def _urls(self, system: AbstractFileSystem, path: str, found: Iterable[str]) -> Iterator[str]:
        """Yield URLs that begin as this one does: file systems return them without protocol, host or user."""
        start = self.url[: len(self.url) - len(path)] if self.url.endswith(path) else ""
        return (f"{start}{name}" if start else system.unstrip_protocol(name) for name in found)

    @contextlib.contextmanager
    def _reached(self) -> Iterator[tuple[AbstractFileSystem, str]]:
        """Yield the file system and the path in it."""
        try:
            from fsspec.core import url_to_fs

            system, path = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise Sve2HdrError(f"{self.url}: cannot be reached ({error}); pip install 'sve2hdr[cluster]'") from error
        try:
            yield system, path
        except OSError as error:
            if error.strerror:
                raise
            if isinstance(error, FileNotFoundError):  # all that the text says is the path
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.url) from error
            number = errno.EACCES if isinstance(error, PermissionError) else errno.EIO
            raise OSError(number, str(error) or os.strerror(number), self.url) from error
        except Exception as error:  # each library has errors of its own for missing credentials, lost networks, ...
            raise OSError(errno.EIO, " ".join(str(error).split()) or type(error).__name__, self.url) from error


def _status(info: dict[str, Any]) -> Status:
    version = next((str(info[key]).strip('"') for key in VERSIONS if info.get(key)), "")
    return Status(int(info.get("size") or 0), int(hashlib.sha256(version.encode()).hexdigest()[:15], 16))


def _with_folder(system: AbstractFileSystem, path: str, write: Callable[[], object]) -> None:
    """Write a file; where that fails for want of its folder, make it, but never what all lies in, such as a bucket."""
    try:
        write()
    except FileNotFoundError:
        folder = path.rpartition("/")[0]
        top = re.match(r"/?[^/]*", folder)
        if not folder or top is None or not system.exists(top[0]):
            raise
        system.makedirs(folder, exist_ok=True)
        write()


Place = Path | RemotePath
At = TypeVar("At", Path, RemotePath)


def place(text: str) -> Place:
    """Return where a path or URL leads."""
    return RemotePath(text) if is_url(text) else Path(text)


def lies_at(where: Place) -> bool:
    """Return whether there is something, also a link to nothing; raise OSError where that is not known."""
    if isinstance(where, RemotePath):
        return where.exists()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(where)
        return True
    return False


def real(text: str) -> str:
    """Return the one name of a file: URLs are taken as they are."""
    return text if is_url(text) else os.path.realpath(text)


class Reals:
    """`real`, faster for many files: the folders they lie in are resolved once, so it is for one look at them."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """Return the one name of a file."""
        folder, name = os.path.split(text)
        if is_url(text) or name in ("", ".", ".."):
            return real(text)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        path = os.path.join(self._folders[folder], name)
        return os.path.realpath(path) if os.path.islink(path) else path


def fixed_part(pattern: At) -> At:
    """Return the part of a pattern before the first folder with a wildcard.

    >>> str(fixed_part(RemotePath("s3://bucket/shoot/*/IMG_*.CR2")))
    's3://bucket/shoot'
    """
    while glob.has_magic(str(pattern).removeprefix("\\\\?\\")) and pattern != pattern.parent:  # Windows: \\?\C:
        pattern = pattern.parent
    return pattern
