"""Who works on what, among all processes that share a folder: locks that end with the process that holds them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

UNSUPPORTED = {errno.ENOLCK, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}  # on macOS all differ
HELD = {errno.EACCES, errno.EAGAIN}  # as POSIX has it
WAIT_S = 0.05  # until a turn that is another's is asked for again


def key_of(name: str) -> str:
    """Return 32 hexadecimal digits for any name, also one too long or too odd for a file's.

    >>> key_of("DCIM/IMG_0001.exr")
    'd5cac46adb8e283e36c12f38d5c44959'
    """
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]


class Claims:
    """Claims by key on one lock file, a byte of it each: no file is left behind, and kill -9 frees what was held.

    Opened once in a process: POSIX drops all locks of a process on a file when it closes any descriptor of that file.
    Where the file system has no locks every claim is granted; two batches may then do the same work, and one of them
    fail at it, but nothing comes out half: each makes its files in a folder of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        os.close(self._descriptor)

    def take(self, keys: Sequence[str]) -> bool:
        """Claim all keys, or none: False where another process holds one; OSError where a drive does not answer."""
        with contextlib.ExitStack() as taken:
            for key in sorted(set(keys)):
                if not self._lock(key):
                    return False
                taken.callback(self.release, [key])
            taken.pop_all()
        return True

    def release(self, keys: Sequence[str]) -> None:
        """Give keys back."""
        for key in set(keys):
            with contextlib.suppress(OSError):
                self._unlock(key)

    @contextlib.contextmanager
    def turn(self, key: str, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Hold a key during the block, after waiting for one's turn; `waiting` is called again and again meanwhile."""
        while not self.take([key]):
            waiting()
            time.sleep(WAIT_S)
        try:
            yield
        finally:
            self.release([key])

    if sys.platform == "win32":

        def _lock(self, key: str) -> bool:
            try:
                os.lseek(self._descriptor, _offset(key), os.SEEK_SET)
                msvcrt.locking(self._descriptor, msvcrt.LK_NBLCK, 1)
            except OSError as error:
                return error.errno in UNSUPPORTED  # held: Windows says EACCES, Wine whatever failed last
            return True

        def _unlock(self, key: str) -> None:
            os.lseek(self._descriptor, _offset(key), os.SEEK_SET)
            msvcrt.locking(self._descriptor, msvcrt.LK_UNLCK, 1)

    else:

        def _lock(self, key: str) -> bool:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(key))
            except OSError as error:
                if error.errno not in HELD | UNSUPPORTED:  # who waits would wait for ever
                    raise OSError(error.errno, error.strerror, str(self._path)) from error
                return error.errno in UNSUPPORTED
            return True

        def _unlock(self, key: str) -> None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _offset(key))


def _offset(key: str) -> int:
    return int(key_of(key)[:10], 16)  # 40 bits: an offset that all file systems let a file be sought to
