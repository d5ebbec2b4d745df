"""The raw files of inputs -> the list of jobs: a raw file each, and what it shall become below OUT.

All that is known before a raw file is opened: the mirrored tree, names, and which raws would be written to the same
output. Jobs are plain values; where a path of OUT lies is for manifest.py to say.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..errors import Sve2HdrError
from ..formats.tifftags import FRAME_RATE, TIME_CODES, ifds_in, numbers, read_ifds
from ..system.places import Place, Reals, RemotePath, place
from .inputs import Found, Inputs, Search, natural

FIELDS = ("stem", "name", "model", "source", "ext")
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


@dataclass
class JobList:
    """What was found."""

    jobs: list[Job] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)  # (path, why): counts as failed
    ignored: list[tuple[str, str]] = field(default_factory=list)  # (path, why): no failure


def collect(
    inputs: Inputs, out: Place, naming: Naming, made_before: Mapping[str, str] | None = None, exact_case: bool = True
) -> JobList:
    """Return the jobs of all inputs, sorted by their place in them, natural numbers in order.

    `made_before`: outputs that OUT's manifest knows, each with the raw it was made of; they are never taken for raws.
    `exact_case`: OUT tells `a.exr` from `A.exr`. Raises Sve2HdrError for an input that is not there, or if the only
    raws lie in OUT, which is searched only where it is named.
    """
    made, search, names = dict(made_before or {}), Search(inputs, out), _Names(out, exact_case)
    own = set(map(names.of_output, made))
    files = list(search.raws())
    found = JobList(refused=search.refused, ignored=search.ignored)
    once: dict[str, Found] = {}
    for file in files:
        name = names.real(file.path)
        if names.alike(name) in own:
            found.ignored.append((file.path, "an output of this folder"))
        elif name in once and once[name].path != file.path:
            found.ignored.append((file.path, f"the same file as {once[name].path}"))
        else:
            once.setdefault(name, file)
    if search.out_met and not (once or found.refused or inputs.watched):
        of_out = Search(replace(inputs, base=""), out).files_of(str(out))
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
            kept_raw, suffix = others[0].raw, PurePosixPath(job.raw).suffix
            leave = f"--exclude '*{suffix}', or " * (suffix.lower() != PurePosixPath(kept_raw).suffix.lower())
            advice = f"{leave}add {{name}} or {{source}} to --name"
            found.refused.append((job.raw, f"would be written to the same file as {kept_raw}; {advice}"))
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
