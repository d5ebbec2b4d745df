"""The files of a job, made in its folder before they take their names, and the records of what they are."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..convert import Converted, convert_file
from ..errors import PatternNotFound, Sve2HdrError, UnwritableOutput, one_line
from ..levels import Levels
from ..parameters import load_parameters
from ..pipeline import ConvertOptions
from ..raw.xmpread import sidecars
from ..system.files import file_sha256
from ..system.places import Place, real
from .classify import ordinary, told_of
from .joblist import Job
from .jobstate import BatchOptions, FileResult, Tools, is_ours
from .manifest import put_in_place
from .record import Record

PARAMETERS = "parameters.json"


@dataclass(frozen=True)
class Task:
    """A job that is at work."""

    job: Job
    raw: Path  # at hand
    options: BatchOptions
    tools: Tools
    folder: Path  # where its files are made
    staged: dict[str, str]  # their names there, by the output that each becomes
    record: Record  # what those of its outputs have in common

    @property
    def out(self) -> Place:
        """Where outputs lie."""
        return self.tools.manifest.out

    @property
    def finals(self) -> tuple[str, ...]:
        """What outputs are called, with their folder."""
        return tuple(str(self.out / output) for output in self.staged)

    @property
    def preview(self) -> Path | None:
        """Where the preview is made; None: there is none."""
        return next((self.folder / name for o, name in self.staged.items() if _is_preview(self.job, o)), None)

    def convert(self, asked: ConvertOptions) -> Converted:
        """Make images and preview. Raises what `convert_file` does."""
        images = [self.folder / name for output, name in self.staged.items() if not _is_preview(self.job, output)]
        tools = self.tools
        return convert_file(self.raw, images, tools.model, asked, tools.progress, tools.turn)


Made = tuple[list[tuple[Record, str]], FileResult]  # records with the names of their files, and the result


def made(task: Task, found: dict[str, Any] | None, evidence: dict[str, Any] | None) -> Made:
    """Make a job's files in its folder; `found`: what its sequence shares, `evidence`: that it is an ordinary photo.

    Both are None where that is not known.
    """
    job, options, folder = task.job, task.options, task.folder
    if evidence is not None and options.if_not_sve != "fail":
        return _of_ordinary(task, found, evidence)
    asked = replace(options.convert, preview=task.preview, overwrite=False)
    if job.sequence:
        asked = replace(asked, lock_parameters=folder / PARAMETERS)
    if found is not None:
        asked = replace(asked, levels=Levels())
        (folder / PARAMETERS).write_text(found["parameters"], encoding="utf-8")
    try:
        converted = task.convert(asked)
    except Sve2HdrError as error:
        if options.if_not_sve == "fail":
            raise
        if found is None and isinstance(error, PatternNotFound):
            evidence = error.evidence
        else:  # levels of a sequence, or options, do not fit it
            evidence = ordinary(task.raw, options.convert)
        if evidence is None:
            raise
        return _of_ordinary(task, found, evidence)
    about, record = found_in(converted), task.record
    result = FileResult(job.raw, "converted", task.finals, found=about, notes=converted.notes)
    records = [(replace(record, output=o, file=o, found=about), name) for o, name in task.staged.items()]
    if job.sequence and found is None and (folder / PARAMETERS).exists():  # this frame is the one that finds out
        parameters = (folder / PARAMETERS).read_text(encoding="utf-8")
        shared = about | {"parameters": parameters, "output": records[0][0].output}
        recipe, raw = options.recipes(job, shared)[0], real(job.raw)
        of_all = replace(record, output=options.sequence_record(job), raw=raw, found=shared)
        records = [(replace(one, recipe=recipe), name) for one, name in records] + [(of_all, "")]
        result = replace(result, found=shared)
    return records, result


def _of_ordinary(task: Task, found: dict[str, Any] | None, evidence: dict[str, Any]) -> Made:
    """Deal with a raw that has one exposure, as `--if-not-sve` says."""
    job, options, out, staged = task.job, task.options, task.out, task.staged
    record = replace(task.record, recipe=options.recipes(job, found)[1], found=evidence)
    if options.if_not_sve == "develop":
        asked = replace(options.convert, overwrite=False, preview=task.preview, if_not_sve="develop")
        converted = task.convert(asked)
        records = [(replace(record, output=o, file=o, outcome="developed"), name) for o, name in staged.items()]
        return records, FileResult(job.raw, "developed", task.finals, found=evidence, notes=converted.notes)
    if options.if_not_sve == "skip":
        ours = [output for output in staged if is_ours(task.tools.manifest, output)]
        records = [(replace(record, output=o, outcome="skipped"), "") for o in staged if o not in ours]
        return records, FileResult(job.raw, "skipped", found=evidence)
    target, there = copied_to(job, options, out, record.raw_sha256)
    name = "" if there else f"copy{target.suffix}"
    if name:
        _copy(task.raw, task.folder / name)
    file = "" if real(str(target)) == real(job.raw) else job.relative  # a raw in its place is none of our files
    copied = replace(record, file=file, outcome="copied", sha256=record.raw_sha256, stamp=record.raw_stamp)
    records = [(replace(copied, output=o), name if i == 0 else "") for i, o in enumerate(staged)]
    return records, FileResult(job.raw, "copied", (str(target),), found=evidence)


def _copy(source: Path, target: Path) -> None:
    """Copy a file, where the disk lets us with its time and mode, but so that it can be written, and synced."""
    shutil.copyfile(source, target)
    about = source.stat()
    with contextlib.suppress(OSError):  # a disk without them, or whose files all are another user's
        os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
        os.chmod(target, stat.S_IMODE(about.st_mode) | stat.S_IWUSR)


def copy_sidecars(raw: Path, copy: Path, folder: Path) -> list[str]:
    """Put the XMP files beside a raw beside its copy, where there are none yet; return what went wrong.

    This comes before the copy takes its name, so that a job that is killed is done again with them. They are made in
    `folder`, the job's.
    """
    notes = []
    for i, sidecar in enumerate(sidecars(raw)):
        beside, staged = copy.with_name(sidecar.name), folder / f"sidecar{i}"
        try:
            beside.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(beside):
                _copy(sidecar, staged)
                put_in_place(staged, beside, may_replace=False)
        except (OSError, UnwritableOutput) as error:
            if not os.path.lexists(beside):  # another raw may share it, and have been faster
                notes.append(f"{sidecar}: is not copied ({one_line(error, str(sidecar))})")
    return notes


def copied_to(job: Job, options: BatchOptions, out: Place, sha256: str) -> tuple[Place, bool]:
    """Return where a raw is copied to, and whether it is there already; raise UnwritableOutput where it cannot be."""
    if job.no_copy:
        raise UnwritableOutput(f"{job.raw}: {job.no_copy}")
    target = out / job.relative
    if not target.exists():
        return target, False
    same = file_sha256(target) == sha256
    if not (same or options.overwrite):
        raise UnwritableOutput(f"{target}: exists already and differs from {job.raw}; give --overwrite")
    return target, same


def found_in(converted: Converted) -> dict[str, Any]:
    """Return what a conversion found, as JSON has it."""
    return told_of(converted.pattern, converted.confidence, converted.shape) | {
        "exposure": converted.pattern.exposure.tolist(),
        "clipped": round(converted.clipped, 5),
        "neutral": list(converted.neutral),
        "device": converted.device,
    }


def found_in_parameters(path: Path) -> dict[str, Any]:
    """Return what `found_in` tells of the frame that has written a file of `--lock-params`. Raises Sve2HdrError."""
    locked = load_parameters(path)
    told = told_of(locked.estimate.pattern, locked.estimate.confidence, locked.shape)
    return told | {"parameters": path.read_text(encoding="utf-8")}


def _is_preview(job: Job, output: str) -> bool:
    return job.preview and output == job.outputs[-1]
