"""Everything the program says no with: one line for the user, which names the file, the finding and the next step."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Collection, Iterator


class Sve2HdrError(Exception):
    """A file or an option that cannot be used; the command line prints it as one line and exits with 1."""


class UnreadableRaw(Sve2HdrError):
    """Not a raw file, a damaged one, or one that holds no Bayer mosaic."""


class PatternNotFound(Sve2HdrError):
    """The pixels show no exposure pattern, or the pattern given does not fit the file."""


class UnknownLayout(PatternNotFound):
    """A pattern for which a network was not trained."""


class UnreadableImage(Sve2HdrError):
    """An HDR image or scene that cannot be read."""


class UnreadableWeights(Sve2HdrError):
    """A weights file, checkpoint or data shard that is damaged or not ours."""


class UnwritableOutput(Sve2HdrError):
    """An output that exists, lies in a missing folder, cannot be written, or has an unknown extension."""


class RefusedByStore(UnwritableOutput):
    """An output at a URL that is made, but not taken there: for want of room, rights or connection."""


class UnusableStack(Sve2HdrError):
    """Raw files that are no exposure stack of one static scene."""


def one_line(error: Exception, file: str | None = None) -> str:
    r"""Return what happened and what to do; without the name of `file` where it begins with that.

    >>> one_line(Sve2HdrError("a.dng: truncated; copy it again")), one_line(MemoryError())
    ('a.dng: truncated; copy it again', 'not enough memory; use a smaller --tile, or close other programs')
    >>> one_line(Sve2HdrError("a  b.dng: truncated;\n copy it again"), "a  b.dng")
    'truncated; copy it again'
    """
    text = str(error) if file is None else str(error).removeprefix(f"{file}: ")
    text = " ".join(line for part in text.splitlines() if (line := part.strip()))  # names may have several spaces
    if isinstance(error, Sve2HdrError):
        return text
    # torch raises a RuntimeError for want of memory
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "not enough memory; use a smaller --tile, or close other programs"
    if isinstance(error, OSError):
        return f"{text}; check the path and the free space"
    return f"unexpected {type(error).__name__}: {text}; please report it with what SVE2HDR_TRACEBACK=1 makes it show"


def check_one_of(name: str, value: object, known: Collection[str]) -> None:
    """Raise ValueError where an argument, `name`, is none of the names that there are.

    >>> check_one_of("mode", "fast", ("slow", "slower"))
    Traceback (most recent call last):
    ...
    ValueError: mode must be one of slow, slower, not 'fast'
    """
    if value not in list(known):
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")


# What libraries print -------------------------------------------------------------------------------------------------

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
