"""One job of a batch from claim to record: what a worker process, here or on another machine, does with one raw."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import platform
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import PatternNotFound, RefusedByStore, Sve2HdrError, UnwritableOutput, one_line
from ..memory import peak_mb, release_freed_memory, reset_peak
from ..parameters import LEAD_EV
from ..patterntext import parse_pattern
from ..pipeline import ConvertOptions
from ..rawfile import read_raw
from ..sequence import FileKind, as_laid_out, difference
from ..system.claims import key_of
from ..system.files import FULL, file_sha256
from ..system.places import Place, is_url, place
from ..whitebalance import WhiteBalance, check_lights
from .classify import doubt_of, look
from .jobfiles import PARAMETERS, Task, copied_to, copy_sidecars, made
from .joblist import Job
from .jobstate import BatchOptions, FileResult, Order, Tools, is_ours, shared_before, standings_of, to_make, unchanged
from .manifest import Standing
from .record import Record, Stamp
from .remotemanifest import AnyManifest

FETCHED = "raw"  # folder of a raw that came from a URL
HOPELESS = (*FULL, errno.EROFS)  # the next files would fare no better


def run_job(order: Order, options: BatchOptions, tools: Tools) -> FileResult:
    """Do one job and tell what became of it; what goes wrong with it is in the result, nothing is raised."""
    job = order.job
    started = time.perf_counter()
    release_freed_memory()
    reset_peak()
    try:
        result = _claimed(order, options, tools)
    except Exception as error:
        hopeless = any(getattr(link, "errno", None) in HOPELESS for link in _chain(error))
        sha256, said = "", one_line(error, job.raw)
        full_here = hopeless and options.in_temporary and not isinstance(error, RefusedByStore)
        if full_here:
            folder = tempfile.gettempdir()
            said = f"{platform.node()}: the temporary folder {folder} is full; make room there, or set TMPDIR"
        with contextlib.suppress(Exception):
            if not is_url(job.raw):  # to fetch it again would take long
                sha256 = file_sha256(Path(job.raw))
        result = FileResult(
            job.raw,
            "failed",
            sha256=sha256,
            error=said,
            hopeless=hopeless,
            full_here=full_here,
            # want of memory leaves a torn heap, and after a failure of the GPU all that a process does there fails
            spent=not isinstance(error, Sve2HdrError | OSError),
        )
    return replace(result, seconds=round(time.perf_counter() - started, 3), peak_mb=peak_mb())


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _claimed(order: Order, options: BatchOptions, tools: Tools) -> FileResult:
    job = order.job
    if options.look_only or tools.claims is None:
        return _looked_at(order, options, tools)
    written = job.outputs + ((job.relative,) if options.if_not_sve == "copy" else ())
    if job.sequence and order.found is None and not order.only_ordinary:  # one at a time finds out what all share
        written += (options.sequence_record(job),)
    keys = [key_of(output) for output in written]
    tools.manifest.recover(tools.claims, job.outputs)
    if not tools.claims.take(keys):
        return FileResult(job.raw, "busy")
    try:
        return _done(order, options, tools)
    finally:
        tools.claims.release(keys)


def _looked_at(order: Order, options: BatchOptions, tools: Tools) -> FileResult:
    """Say what would happen; the outcome is the one that `_done` would have."""
    job, found = order.job, order.found
    standings = standings_of(job, tools.manifest, options.recipes(job, found))
    wanted = to_make(standings, options, again=False)
    if not wanted:
        return unchanged(job, options, tools.manifest, standings.values())
    with tempfile.TemporaryDirectory(prefix="sve2hdr-") as folder:
        evidence = _evidence(_at_hand(job, Path(folder)), order, options, tools)
    if isinstance(evidence, FileResult):
        return evidence
    if found and evidence["sve"]:  # the frame that leads the sequence decides
        if finding := _unlike(evidence, found):
            raise Sve2HdrError(f"{job.raw}: {finding}; {options.apart}")
        evidence |= {name: found[name] for name in ("pattern", "ratio_ev", "confidence", "megapixels")}
    outputs = tuple(str(tools.manifest.out / output) for output in wanted)
    if evidence["sve"]:
        return FileResult(
            job.raw, "converted", outputs, found=evidence | {"sequence": options.shared is None and job.sequence}
        )
    if options.if_not_sve == "fail":
        raise PatternNotFound(f"{job.raw}: no exposure pattern: {evidence['reason']}")
    outcome = {"skip": "skipped", "copy": "copied", "develop": "developed"}[options.if_not_sve]
    there = {"skipped": (), "copied": (str(tools.manifest.out / job.relative),), "developed": outputs}[outcome]
    return FileResult(job.raw, outcome, there, found=evidence)


def _evidence(raw: Path, order: Order, options: BatchOptions, tools: Tools) -> dict[str, Any] | FileResult:
    """Return what is told of a raw at hand, `sve` at least; the result where its sequence decides what becomes of it.

    Raises what dealing with it would raise.
    """
    job, found = order.job, order.found
    try:
        doubt, known = doubt_of(raw, options.convert) if order.may_wait else (0.0, None)
        if doubt > LEAD_EV:
            return _unsure(job, doubt)
        evidence = known or look(raw, options.convert, tools.model)
        if order.only_ordinary and not found and evidence["sve"]:
            return FileResult(job.raw, "leads")
        may_be_one = found and not evidence["sve"] and not _other_kind(evidence, found)
        if may_be_one and math.isinf(doubt_of(raw, options.convert)[0]):
            evidence = {"sve": True}
        if options.if_not_sve == "copy" and not evidence["sve"]:
            copied_to(job, options, tools.manifest.out, file_sha256(raw))
        if evidence["sve"] or options.if_not_sve == "develop":
            _check_options(raw, options.convert, found if evidence["sve"] else None)
        return evidence
    except Sve2HdrError as error:
        if isinstance(error, PatternNotFound) and found:  # in doubt: the sequence's is taken
            return {"sve": True}
        raise type(error)(str(error).replace(str(raw), job.raw)) from error


def _check_options(raw: Path, asked: ConvertOptions, found: dict[str, Any] | None) -> None:
    """Raise what converting a raw would raise for a white balance, or a bad-pixel map, that does not fit it.

    `found`: what its sequence shares.
    """
    choice = asked.white_balance
    if choice.rule == "grey" and found:
        shared = json.loads(found["parameters"])["white_balance"] if "parameters" in found else str(choice)
        choice = WhiteBalance() if shared == str(choice) else choice  # the card is where the sequence has it
    if choice.rule in ("grey", "kelvin") or asked.bad_pixel_map is not None:
        mosaic = read_raw(raw)
        check_lights(choice, mosaic, raw)
        if asked.bad_pixel_map is not None:
            asked.bad_pixel_map.sites(mosaic.shape)


def _other_kind(evidence: dict[str, Any], found: dict[str, Any]) -> str:
    """Return how a file that was looked at is of another kind than those of its sequence; "": it is not."""
    shared = json.loads(found["parameters"]) if "parameters" in found else found  # of a batch, or only looked at
    return FileKind.told(shared).unlike(FileKind.told(evidence), "its sequence")


def _unlike(evidence: dict[str, Any], found: dict[str, Any]) -> str:
    """Return how a frame that was looked at is none of its sequence, which has `found`; "": it may be one."""
    if "pattern" not in evidence:  # in doubt: the sequence's is taken
        return ""
    own, locked = (parse_pattern(told["pattern"]) for told in (evidence, found))
    steps = as_laid_out(own, locked)
    differs = difference(steps, [evidence["ratio_ev_error"]] * len(steps), locked.steps_ev, "its sequence")
    return _other_kind(evidence, found) or differs


def _unsure(job: Job, doubt: float) -> FileResult:
    """Return the result of a frame that is too unsure to decide for its sequence."""
    return FileResult(job.raw, "unsure", found={"doubt_ev": doubt})


def _done(order: Order, options: BatchOptions, tools: Tools) -> FileResult:
    job, manifest, source = order.job, tools.manifest, place(order.job.raw)
    if order.found is None and (known := shared_before(job, options, manifest, options.overwrite)):
        order = replace(order, found=known.found)  # of another batch, just now
    found = order.found
    recipes = options.recipes(job, found)
    standings = standings_of(job, manifest, recipes)
    wanted = to_make(standings, options, order.again)
    if not wanted:
        _keep_times(job, manifest, standings.values())
        return unchanged(job, options, manifest, standings.values())
    before = _stamp(source)
    with manifest.staged(wanted[0]) as folder:
        raw = _at_hand(job, folder)
        try:
            sha256 = file_sha256(raw)
        except OSError as error:
            raise _gone(source, error) from error
        record = Record("", "", "converted", recipes[0], job.raw, sha256, before, run=options.run)
        staged = {output: f"{i}{PurePosixPath(output).suffix}" for i, output in enumerate(wanted)}
        try:
            evidence = None
            if found is None and (order.may_wait or order.only_ordinary):
                doubt, evidence = doubt_of(raw, options.convert)
                if order.may_wait and doubt > LEAD_EV:
                    return _unsure(job, doubt)
                if order.only_ordinary and evidence is None:
                    return FileResult(job.raw, "leads")
            records, result = made(Task(job, raw, options, tools, folder, staged, record), found, evidence)
        except Sve2HdrError as error:
            text = str(error).replace(str(raw), job.raw)
            raise type(error)(_with_final_names(text, folder, staged, manifest, options.apart)) from error
        if _stamp(source) != before:
            return FileResult(job.raw, "moving", error="changes while it is read; run again when it is complete")
        replaceable = {o for o in wanted if options.overwrite or is_ours(manifest, o)}
        if result.outcome == "copied" and not options.overwrite:  # a copy's place is no output's
            replaceable = set()
        notes = list(result.notes)
        if result.outcome == "copied" and not is_url(result.outputs[0]):
            notes += copy_sidecars(raw, Path(result.outputs[0]), folder)
        published = manifest.publish(folder, [(r, name, r.output in replaceable) for r, name in records])
    notes = [note.replace(str(raw), job.raw) for note in notes]
    notes = [_with_final_names(note, folder, staged, manifest, options.apart) for note in notes]
    digests = {str(manifest.out / record.file): record.sha256 for record in published}
    # a raw that is its own copy has no record
    outputs_sha256 = tuple(digests.get(output, sha256) for output in result.outputs)
    return replace(result, sha256=sha256, outputs_sha256=outputs_sha256, notes=tuple(notes))


def _keep_times(job: Job, manifest: AnyManifest, standings: Iterable[Standing]) -> None:
    """Record the times of files that were read to know them again, as copies that are put back: once is enough."""
    moved = [standing.record for standing in standings if standing.moved and standing.record is not None]
    if moved:
        with contextlib.suppress(OSError, UnwritableOutput), manifest.staged(job.outputs[0]) as folder:
            manifest.publish(folder, [(record, "", False) for record in moved])


def _at_hand(job: Job, folder: Path) -> Path:
    """Return a raw as a file of this machine, which one at a URL becomes in `folder`."""
    source = place(job.raw)
    if isinstance(source, Path):
        return source
    raw = folder / FETCHED / source.name
    try:
        raw.parent.mkdir()
        source.fetch(raw)
    except OSError as error:
        if error.errno in HOPELESS:  # it is this machine that takes no more
            raise
        raise _gone(source, error) from error
    return raw


def _stamp(raw: Place) -> Stamp:
    try:
        return Stamp.of(raw)
    except OSError as error:
        raise _gone(raw, error) from error


def _gone(raw: Place, error: OSError) -> Sve2HdrError:
    return Sve2HdrError(f"{raw}: cannot be read ({error.strerror}); check the card, cable or network")


def _with_final_names(text: str, folder: Path, staged: dict[str, str], manifest: AnyManifest, apart: str) -> str:
    for output, name in staged.items():
        text = text.replace(str(folder / name), str(manifest.out / output))
    text = text.replace(str(folder / PARAMETERS), "its sequence")
    return text.replace("name another --lock-params file", apart)
