"""What a batch knows of an output that is finished: its record, as JSON, and digests of what it was made by."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import MISSING, asdict, astuple, dataclass, field, fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from ..system.places import Place

DAMAGED = (ValueError, TypeError, LookupError, RecursionError)  # what a text raises that is no record


@dataclass(frozen=True)
class Stamp:
    """A file's size and time, by which it is known again without being read."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Place) -> Stamp:
        """Return those of a file; raise OSError where there is none."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Record:
    """One output that is finished: what it was made of, and what it is."""

    output: str  # the file asked for, below OUT, with /
    file: str  # the file that is there for it; "": none, as for a photo that is skipped
    outcome: str  # converted, developed, copied or skipped
    recipe: str  # digest of all that changes the result
    raw: str
    raw_sha256: str
    raw_stamp: Stamp
    sha256: str = ""
    stamp: Stamp = Stamp(0, 0)
    found: dict[str, Any] = field(default_factory=dict)  # pattern, EV, ...: what reports say again
    run: str = ""  # the batch that made it

    @classmethod
    def from_json(cls, text: str | bytes) -> Record:
        """Return a record as `as_json` wrote it; raise one of DAMAGED for anything else.

        Output folders are passed on: a record of a file outside of them is not one that we wrote.
        """
        stored = json.loads(text)
        stamps = {name: Stamp(**stored[name]) for name in ("raw_stamp", "stamp")}
        record = cls(**{f.name: stored[f.name] for f in fields(cls)} | stamps)
        texts = [getattr(record, f.name) for f in fields(cls) if f.type == "str"]
        numbers = [number for stamp in stamps.values() for number in astuple(stamp)]
        kinds = ((texts, str), (numbers, int), ([record.found], dict))
        if not all(isinstance(value, kind) for values, kind in kinds for value in values):
            raise TypeError("values of other types than records have")
        file = PurePath(record.file)
        if b"\0" in os.fsencode(file) or file.anchor or ".." in file.parts:
            raise ValueError(f"{record.file!r} is no file in the output folder")
        return record

    def as_json(self) -> str:
        """Return the record as one line."""
        return json.dumps(asdict(self))


def recipe_of(options: Any, *more: str) -> str:
    """Return a digest of options: only what is not the default counts, so that a new option changes no old digest.

    `options` is a dataclass of numbers, texts, arrays, paths and dataclasses; what is not compared does not count.

    >>> from ..formats.exrwrite import WriteOptions
    >>> recipe_of(WriteOptions()) == recipe_of(WriteOptions(half=True)) != recipe_of(WriteOptions(half=False))
    True
    """
    return hashlib.sha256(json.dumps([_plain(options), *more], sort_keys=True).encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        compared = [f for f in fields(value) if f.compare]
        plain = {f.name: _plain(getattr(value, f.name)) for f in compared}
        usual = {f.name: _plain(f.default if f.default_factory is MISSING else f.default_factory()) for f in compared}
        return {name: item for name, item in plain.items() if item != usual[name]}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | None) else str(value)
