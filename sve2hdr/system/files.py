"""Writing a file whole or not at all, whatever its format; and its digest."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from ..errors import Sve2HdrError, UnwritableOutput
from .places import Place, lies_at

FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
BUSY_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8) if os.name == "nt" else ()  # between attempts to rename or remove a file


def check_writable(path: str | Path, overwrite: bool = False, extensions: Collection[str] = ()) -> None:
    """Refuse an output that could not be written, before long work; nothing is created.

    `extensions`, lower case with their dot, are those allowed; none given: any. Raises UnwritableOutput for another
    extension, a missing or read-only folder, a folder of that name, or a file that exists unless `overwrite`.

    >>> check_writable("photo.bmp", extensions=(".jpg", ".png"))
    Traceback (most recent call last):
    sve2hdr.errors.UnwritableOutput: photo.bmp: unknown extension '.bmp'; use one of .jpg, .png
    """
    path = Path(path)
    if extensions and path.suffix.lower() not in extensions:
        raise UnwritableOutput(f"{path}: unknown extension {path.suffix!r}; use one of {', '.join(extensions)}")
    try:
        _check_place(path, overwrite)
    except OSError as error:  # a name that is too long, a drive that does not answer
        finding = error.strerror or error
        raise UnwritableOutput(f"{path}: cannot be written ({finding}); choose another name or place") from error


def _check_place(path: Path, overwrite: bool) -> None:
    if not stat.S_ISDIR(_mode(path.parent)):
        raise UnwritableOutput(f"{path}: there is no folder {path.parent}; create it first")
    if stat.S_ISDIR(_mode(path)):
        raise UnwritableOutput(f"{path}: is a folder; name a file")
    if not overwrite and os.path.lexists(path):  # also as a link that leads nowhere
        raise _exists(path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UnwritableOutput(f"{path}: folder {path.parent} is not writable; choose another one")


def mode_of(path: Path) -> int:
    """Return the kind and the permissions of what lies at a path, 0 for nothing.

    Raises Sve2HdrError where that is not known: for names that cannot be, folders that are closed and drives that do
    not answer. `Path.exists` takes these for nothing since Python 3.14.
    """
    try:
        return _mode(path)
    except OSError as error:
        finding = error.strerror or error
        raise Sve2HdrError(
            f"{path}: cannot be read ({finding}); check the path, its permissions and its disk"
        ) from error


def _mode(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return path.stat().st_mode
    return 0


@contextlib.contextmanager
def replacing(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to, which takes its name only if the block succeeds.

    A whole file or no file: the temporary one is flushed to the disk and renamed at the end, and removed after any
    error or interruption. A file that appears under the name meanwhile is not replaced unless `overwrite`.
    Raises UnwritableOutput as `check_writable` does, and for every OSError of the block: disk full, file too large, ...
    """
    path = Path(path)
    check_writable(path, overwrite)
    # The name is cut because it must stay below 255 bytes with what is added; the suffix stays, writers look at it.
    partial = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(6)}.partial{path.suffix}")
    try:
        partial.open("xb").close()  # not by tempfile: the result shall have the user's usual permissions
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        if not take_name(partial, path, overwrite):
            raise _exists(path)
    except OSError as error:
        finding = error.strerror or str(error) or type(error).__name__
        advice = "make room or choose another place" if error.errno in FULL else "choose another name or place"
        if isinstance(error, PermissionError):  # Windows replaces no file that a program has open
            advice = f"check its permissions, close programs that have it open, or {advice}"
        raise UnwritableOutput(f"{path}: cannot be written ({finding}); {advice}, nothing was left behind") from error
    finally:
        with contextlib.suppress(OSError):
            _patiently(lambda: partial.unlink(missing_ok=True))


def take_name(partial: Path, path: Path, overwrite: bool) -> bool:
    """Give a file its name; return False where another program has taken that meanwhile, unless `overwrite`.

    Its old name may be there as well.
    """
    if not overwrite:
        try:
            os.link(partial, path)  # unlike a rename, this fails where the name is taken
            return True
        except OSError:  # it is, or the file system has no hard links, such as a memory card's, or is another one
            if lies_at(path):
                return False
    _patiently(lambda: partial.replace(path))
    return True


def _patiently(action: Callable[[], object]) -> None:
    """Do what Windows refuses while a program has a file open, as scanners have each new one for a moment."""
    for wait_s in BUSY_WAITS_S:
        try:
            action()
        except PermissionError:
            time.sleep(wait_s)
        else:
            return
    action()


def same_file(first: Path, second: Path) -> bool:
    """Return whether two paths are those of one file; False where there is none, or cannot be."""
    with contextlib.suppress(OSError):
        return first.samefile(second)
    return False


def _exists(path: Path) -> UnwritableOutput:
    return UnwritableOutput(f"{path}: exists already; give --overwrite or another name")


def file_sha256(path: Place) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits; raise OSError where it cannot be read."""
    with path.open("rb") if isinstance(path, Path) else path.open() as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
