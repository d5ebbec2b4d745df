"""What libraries print of damaged files: dropped by our own programs; the streams of others are left alone."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator

_lock, _loud_again = threading.Lock(), contextlib.ExitStack()
_ours, _readers = False, 0


def mute_libraries() -> None:
    """Have `quiet_libraries` take effect: in a process of our own. The streams of others are not ours to touch."""
    global _ours
    _ours = True


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Drop what libraries print of a damaged file, of which an error of ours tells; see `mute_libraries`.

    Of threads at the same time, the first mutes the process, and the last lets it speak again.
    """
    global _readers
    if not _ours:
        yield
        return
    with _lock:
        _readers += 1
        if _readers == 1:
            _loud_again.enter_context(_silence())
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                _loud_again.close()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), _no_stderr():
        yield


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
