"""All the program's refusals: one line for the user, which names the file, the finding and the next step."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class Sve2HdrError(Exception):
    """A file or an option that cannot be used; the command line prints it as one line and exits with 1."""


class UnreadableRaw(Sve2HdrError):
    """Not a raw file, a damaged one, or one that holds no Bayer mosaic."""


class PatternNotFound(Sve2HdrError):
    """The pixels show no exposure pattern, or the pattern given does not fit the file."""

    evidence: dict[str, Any] | None = None  # details, if it is a photo of one exposure


class UnknownLayout(PatternNotFound):
    """A pattern for which a network was not trained."""


class UnreadableImage(Sve2HdrError):
    """An HDR image or scene that cannot be read."""


class UnreadableWeights(Sve2HdrError):
    """A weights file, checkpoint or data shard that is damaged or not ours."""


class UnwritableOutput(Sve2HdrError):
    """An output that exists, lies in a missing folder, cannot be written, or has an unknown extension."""


class RefusedByStore(UnwritableOutput):
    """An output for a URL that was made but could not be stored there, for lack of space, rights or connection."""


class UnusableStack(Sve2HdrError):
    """Raw files that are not an exposure stack of one static scene."""


def one_line(error: Exception, file: str | None = None, for_memory: str = "use a smaller --tile") -> str:
    r"""Return what happened and what to do (`for_memory` if memory ran out), without the name of `file` in front.

    >>> one_line(Sve2HdrError("a.dng: truncated; copy it again")), one_line(MemoryError())
    ('a.dng: truncated; copy it again', 'not enough memory; use a smaller --tile, or close other programs')
    >>> one_line(Sve2HdrError("a  b.dng: truncated;\n copy it again"), "a  b.dng")
    'truncated; copy it again'
    >>> one_line(PermissionError(13, "Permission denied", "a.dng"))
    'a.dng: Permission denied; check the path, its permissions and the free space'
    """
    text = str(error) if file is None else str(error).removeprefix(f"{file}: ")
    text = " ".join(line for part in text.splitlines() if (line := part.strip()))  # names may have several spaces
    if isinstance(error, Sve2HdrError):
        return text
    # torch, and Python for lack of room for a thread's stack, raise a RuntimeError when memory runs out
    wants = ("out of memory", "can't allocate memory", "can't start new thread", "STATUS_ALLOC_FAILED")
    if isinstance(error, MemoryError) or any(said in text for said in wants):
        return f"not enough memory; {for_memory}, or close other programs"
    if any(said in text for said in ("CUDA error", "HIP error", "cuDNN error", "STATUS_EXECUTION_FAILED")):
        finding = str(error).strip().splitlines()[0]  # the rest is for programmers
        return f"the GPU failed ({finding}); update its driver, or use --device cpu"
    if isinstance(error, OSError):
        if error.strerror:  # without the error number that Python puts first
            named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else file
            text = error.strerror if named == file else f"{named}: {error.strerror}"
        return f"{text}; check the path, its permissions and the free space"
    return (
        f"unexpected {type(error).__name__}: {text}; please report it with `sve2hdr --version` and what "
        "SVE2HDR_TRACEBACK=1 makes it show"
    )


def printable(text: str) -> str:
    r"""Return a text as one line safe for any terminal, even if a file's name is not Unicode or has control codes.

    >>> print(printable("IMG_\udcff\n\x1b[2J.CR2"))
    IMG_?\n\x1b[2J.CR2
    """
    text = text.encode("utf-8", "replace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda code: ascii(code[0])[1:-1], text)


def check_one_of(name: str, value: object, known: Collection[str]) -> None:
    """Raise ValueError if the argument called `name` is none of the known values.

    >>> check_one_of("mode", "fast", ("slow", "slower"))
    Traceback (most recent call last):
    ...
    ValueError: mode must be one of slow, slower, not 'fast'
    """
    if value not in list(known):
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def check_image(name: str, image: np.ndarray, dtype: str = "float32") -> None:
    """Raise ValueError unless the argument called `name` is an image: (H, W, 3) of this dtype, and not empty."""
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != dtype:
        raise ValueError(f"{name} must be (H, W, 3) {dtype}, not {image.shape} {image.dtype}")
