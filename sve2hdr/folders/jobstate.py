"""What a batch is asked for, what became of a raw, and what of a job the manifest has done already."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from typing import Any

from ..errors import UnwritableOutput
from ..levels import Levels
from ..models import Model
from ..parameters import FORMAT
from ..pipeline import ConvertOptions
from ..system.claims import Claims
from ..system.places import is_url, lies_at, place
from .joblist import Job
from .manifest import Standing, known_again
from .record import Record, Stamp, recipe_of
from .remotemanifest import AnyManifest

GOOD = ("converted", "unchanged", "edited", "developed", "copied", "skipped")


@dataclass(frozen=True, eq=False)
class BatchOptions:
    """What holds for all jobs of a batch; plain values, so that it can be sent along with them."""

    out: str
    model: str = "auto"  # as `--model` has it; a file's path is absolute
    model_digest: str = ""
    convert: ConvertOptions = field(default_factory=ConvertOptions)
    if_not_sve: str = "skip"  # or "copy", "develop", "fail"
    overwrite: bool = False  # make everything anew, and replace files that are not from a batch
    look_only: bool = False  # find out and tell; write nothing
    shared: dict[str, Any] | None = None  # what all jobs take, as a result's `found` has it; None: sequences find out
    run: str = ""  # a name for this run alone; what a lost worker has finished in it is no work of an earlier one

    @property
    def apart(self) -> str:
        """What a user can do with a frame that cannot take what its sequence shares."""
        given = self.shared is not None
        return (
            "name another --lock-params file" if given else "put shots into folders of their own, or take --lock none"
        )

    @property
    def in_temporary(self) -> bool:
        """Whether what is written on a disk of this machine is in its temporary folder alone."""
        return self.look_only or is_url(self.out)

    def recipes(self, job: Job, found: dict[str, Any] | None) -> tuple[str, str]:
        """Return the digests of how a job is converted, and of how it is dealt with if it is no SVE raw."""
        shared = ("sequence 2", found.get("parameters", "") if found else "") if job.sequence else ()
        recipe = _recipe(self, bool(found), shared)
        return recipe, f"{recipe}-{self.if_not_sve}"

    def sequence_record(self, job: Job) -> str:
        """Return the name of the record of what a job's sequence shares: of the sequence, and of what finds it out."""
        asked = self.convert
        bearing = ConvertOptions(
            white_balance=asked.white_balance,
            levels=asked.levels,
            bad_pixels=asked.bad_pixels,
            bad_pixel_map=asked.bad_pixel_map,
        )
        return f"sequence {recipe_of(bearing, job.sequence, str(FORMAT))}"


@lru_cache(maxsize=16)  # files of a sequence share it
def _recipe(batch: BatchOptions, found: bool, shared: tuple[str, ...]) -> str:
    levels = Levels() if found else batch.convert.levels  # those of a sequence come from its first frame
    options = replace(batch.convert, levels=levels, preview=None, tile_px=1, device="auto", overwrite=False)
    return recipe_of(options, batch.model, batch.model_digest, *shared)


@dataclass(frozen=True)
class Order:
    """A job as it is sent to a worker."""

    job: Job
    found: dict[str, Any] | None = None  # parameters of its sequence
    again: bool = False  # what an earlier state of the raw has given may be replaced
    looked_up: bool = False  # the manifest has been asked: it must be done
    leads: bool = False  # no frame of its sequence knows better: it decides, however unsure it is
    only_ordinary: bool = False  # others of its sequence are in work, too: it is done if it has nothing to share

    @property
    def may_wait(self) -> bool:
        """Whether another frame is to decide for its sequence, if this one is unsure."""
        return bool(self.job.sequence) and self.found is None and not self.leads


@dataclass(frozen=True)
class FileResult:
    """What became of one raw: a line of the report."""

    input: str
    outcome: str  # one of GOOD; failed; busy: another batch has it; moving: it changes while it is read; unsure; leads
    outputs: tuple[str, ...] = ()
    sha256: str = ""  # of the raw
    outputs_sha256: tuple[str, ...] = ()  # of each; "": edited since
    found: dict[str, Any] = field(default_factory=dict)  # pattern, exposure, ratio_ev, confidence, megapixels, ...
    seconds: float = 0.0
    peak_mb: float = 0.0
    error: str = ""
    notes: tuple[str, ...] = ()
    hopeless: bool = False  # the disk is full, or the like: no other file would fare better
    full_here: bool = False  # it is the temporary folder of this machine
    spent: bool = False  # the process that did it hangs, or has a heap that stays torn: it is to do no other

    @property
    def good(self) -> bool:
        """Whether nothing is left to do."""
        return self.outcome in GOOD


@dataclass(eq=False)
class Tools:
    """What a process needs for its jobs, made once."""

    manifest: AnyManifest
    claims: Claims | None  # None where only looked at
    model: Model
    progress: Callable[[float], object] = lambda share: None
    turn: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext


def standings_of(job: Job, manifest: AnyManifest, recipes: tuple[str, str]) -> dict[str, Standing]:
    """Return what is there for each output of a job; raise OSError where that cannot be found out."""
    return {output: manifest.state(output, place(job.raw), recipes) for output in job.outputs}


def to_make(standings: dict[str, Standing], options: BatchOptions, again: bool) -> list[str]:
    """Return the outputs that are still to be made; raise UnwritableOutput where one may not be replaced.

    `again`: those of an earlier state of the raw may be.
    """
    wanted = []
    for output, (state, why, record, _) in standings.items():
        if not options.overwrite and (state == "foreign" or (state == "outdated" and not again)):
            raise UnwritableOutput(f"{why}; another -o keeps it, --overwrite replaces it")
        if state not in ("done", "edited") or (options.overwrite and not of_this_run(record, options)):
            wanted.append(output)
    return wanted


def of_this_run(record: Record | None, options: BatchOptions) -> bool:
    """Return whether a record was made in this very run."""
    return record is not None and record.run == options.run != ""


def finished_before(
    job: Job, options: BatchOptions, manifest: AnyManifest, found: dict[str, Any] | None = None
) -> FileResult | None:
    """Return the result of a job of which nothing is left to do, by records, sizes and times; None: it must be done.

    Whether a file was edited, or is the same with another time, and is not being written, is for who claims the job to
    find out. Raises OSError where even that cannot be.
    """
    if options.overwrite:
        return None
    records, recipes = [], options.recipes(job, found)
    try:
        raw = Stamp.of(place(job.raw))
        for output in job.outputs:
            record = manifest.get(output)
            if record is None or not manifest.done_by_stamps(record, raw, recipes):
                return None
            records.append(record)
    except FileNotFoundError:
        return None
    return before(job, options, manifest, records)


def before(
    job: Job, options: BatchOptions, manifest: AnyManifest, records: Sequence[Record], edited: bool = False
) -> FileResult:
    """Return the result of a job whose outputs are all there, by their records."""
    files = {str(manifest.out / record.file): record.sha256 for record in records if record.file}
    outcome = "edited" if edited else "unchanged"
    if any(of_this_run(record, options) for record in records):
        outcome = records[0].outcome
    return FileResult(job.raw, outcome, (*files,), records[0].raw_sha256, (*files.values(),), records[0].found)


def unchanged(job: Job, options: BatchOptions, manifest: AnyManifest, standings: Collection[Standing]) -> FileResult:
    """Return the result of a job whose outputs are all there, by what was found there."""
    there = [(standing.record, standing.state == "edited") for standing in standings if standing.record is not None]
    records = [replace(record, sha256="") if edited else record for record, edited in there]
    return before(job, options, manifest, records, any(edited for _, edited in there))


def shared_before(
    job: Job, options: BatchOptions, manifest: AnyManifest, anew: bool = False, others: Iterable[Job] = ()
) -> Record | None:
    """Return the record of what a frame has found for all of the job's sequence; None: there is none yet.

    `found` in it is as the frame's result has it. That frame is to be what it was, or the job, or one of the `others`
    of the sequence, or its output is to be there without its raw; else the record is of another sequence in the same
    place. `anew`: what earlier batches have found does not count. Raises OSError.
    """
    record = manifest.get(options.sequence_record(job)) if job.sequence else None
    if record is None or (anew and not of_this_run(record, options)):
        return None
    lead = place(record.raw)
    if not lies_at(lead) and lies_at(manifest.out / record.found["output"]):
        return record
    known = ((place(j.raw), manifest.get(output)) for j in chain([job], others) for output in j.outputs)
    same = (
        of is not None and known_again(raw, of.raw_stamp, of.raw_sha256) for raw, of in chain([(lead, record)], known)
    )
    return record if any(same) else None


def is_ours(manifest: AnyManifest, output: str) -> bool:
    """Return whether an output that is there is from a batch."""
    record = manifest.get(output)  # what is foreign has been refused
    return record is not None and bool(record.file)
