"""A batch as a whole: who does what when, what its user sees, and what survives crashes, hangs and kill -9."""

from __future__ import annotations

import errno
import io
import itertools
import json
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
import torch
from click.testing import CliRunner, Result
from frames import PAIRS, SINGLE, write_frame
from workers import Here

from sve2hdr.commands import batchcommand, cli
from sve2hdr.errors import Sve2HdrError, UnreadableRaw
from sve2hdr.folders import batch as batch_module
from sve2hdr.folders import watch
from sve2hdr.folders.batch import Batch, Events, Outcome, RunOptions
from sve2hdr.folders.batchdisplay import Display, Report, ending
from sve2hdr.folders.joblist import Job
from sve2hdr.folders.jobstate import BatchOptions, FileResult
from sve2hdr.folders.manifest import Manifest
from sve2hdr.folders.orderqueue import Queue
from sve2hdr.folders.record import Record, Stamp
from sve2hdr.folders.worker import Order, Worker, WorkerDied, WorkerOptions
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.pipeline import ConvertOptions
from sve2hdr.rawfile import read_raw
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate
from sve2hdr.system.places import RemotePath, Status, real

torch.set_num_threads(1)


# Scheduling -----------------------------------------------------------------------------------------------------------


def jobs(*names: str, sequence: str = "") -> list[Job]:
    return [Job(name, name, (f"{name}.exr",), sequence=sequence) for name in names]


def run(tmp_path: Path, todo: list[Job], workers: int = 2, **changed: int) -> Outcome:
    options = BatchOptions(str(tmp_path / "out"), convert=ConvertOptions(device="cpu"))
    return Batch(options, RunOptions(workers, **changed)).run(todo)


def outcomes(outcome: Outcome) -> dict[str, str]:
    return {result.input: result.outcome for result in outcome.results}


def test_what_is_busy_or_moving_is_tried_again(tmp_path: Path, here: type[Here]) -> None:
    asked: list[str] = []

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        asked.append(order.job.raw)
        state = {("busy", 1): "busy", ("moving", 1): "moving", ("moves", 1): "moving"}
        turn = 1 if order.job.raw == "moves" else asked.count(order.job.raw)
        return FileResult(order.job.raw, state.get((order.job.raw, turn), "converted"))

    here.answer = staticmethod(answer)
    outcome = run(tmp_path, jobs("busy", "moving", "moves", "calm"))
    assert outcomes(outcome) == {"busy": "converted", "moving": "converted", "moves": "failed", "calm": "converted"}
    assert not outcome.good
    assert asked.count("calm") == 1


def test_a_crash_costs_one_file_and_is_tried_twice(tmp_path: Path, here: type[Here]) -> None:
    asked: list[str] = []

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        asked.append(order.job.raw)
        if order.job.raw == "bad" or (order.job.raw == "unlucky" and asked.count("unlucky") == 1):
            raise WorkerDied
        return FileResult(order.job.raw, "converted")

    here.answer = staticmethod(answer)
    outcome = run(tmp_path, jobs("bad", "unlucky", "1", "2"))
    assert outcomes(outcome) == {"1": "converted", "2": "converted", "unlucky": "converted", "bad": "failed"}
    assert asked.count("bad") == 2
    (failed,) = (result for result in outcome.results if not result.good)
    assert "SIGSEGV, 2 times" in failed.error


def test_a_sequence_takes_the_parameters_of_its_first_good_frame(tmp_path: Path, here: type[Here]) -> None:
    given: dict[str, object] = {}

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        given[order.job.raw] = order.found
        if order.job.raw == "1":
            return FileResult("1", "failed", error="broken")
        found = {
            "exposure": [[0.125], [1.0]],
            "parameters": "{}",
            "neutral": [0.5, 1.0, 0.6],
            "frame": order.job.raw,
        }
        return FileResult(order.job.raw, "converted", found=found)

    here.answer = staticmethod(answer)
    outcome = run(tmp_path, [*jobs("1", "2", "3", "4", sequence="clip"), *jobs("photo")], workers=3)
    assert len(outcome.results) == 5
    lead = {name for name, found in given.items() if found is None}
    assert lead == {"1", "2", "photo"}
    assert all(found["frame"] == "2" for found in given.values() if found)  # type: ignore[index]


def test_frames_with_nothing_to_share_are_done_at_the_same_time(
    tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip of one exposure, in which something seems to have two, takes all workers, and has no second leader."""
    monkeypatch.setattr(batch_module, "TICK_S", 60.0)  # in which all workers are given jobs, however slow that is
    in_work, most, leaders = set[str](), 0, list[str]()

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        nonlocal most
        name = order.job.raw
        most = max(most, len(in_work | {name}))
        if order.found is None and not order.only_ordinary:
            leaders.append(name)
        if name != "5" or order.found:
            return FileResult(name, "converted" if order.found else "skipped")
        return FileResult(name, "leads" if order.only_ordinary else "converted", found={"parameters": "{}"})

    class Tells(Events):
        def started(self, job: Job) -> None:
            in_work.add(job.raw)

        def finished(self, job: Job, result: FileResult) -> None:
            in_work.discard(job.raw)

    here.answer = staticmethod(answer)
    options = BatchOptions(str(tmp_path / "out"), convert=ConvertOptions(device="cpu"))
    outcome = Batch(options, RunOptions(workers=3), Tells()).run(jobs(*"123456789", sequence="clip"))
    assert sorted(outcomes(outcome)) == list("123456789")
    assert outcomes(outcome)["5"] == outcomes(outcome)["9"] == "converted"
    assert (leaders, most) == (["1", "5"], 3)


@pytest.mark.parametrize(
    ("frames", "leader"), [("oooosooso", ["4"]), ("ouuousoos", ["5"]), ("uuuu", ["0"]), ("fooss", ["3"]), ("ooo", [])]
)
@pytest.mark.parametrize("led", [None, 0, 4, 5])
def test_who_leads_does_not_depend_on_who_is_faster(
    tmp_path: Path, frames: str, leader: list[str], led: int | None
) -> None:
    """Frames are ordinary, unsure, failures, or sure; which of those at work is over next is drawn.

    With --overwrite neither on what an earlier batch has found, in whichever of them.
    """
    manifest = Manifest(tmp_path / "out")
    manifest.create()
    options = BatchOptions(str(manifest.out), overwrite=True)
    clip = jobs(*map(str, range(len(frames))), sequence="clip")
    if led is not None:
        lead, found = real(str(led % len(frames))), {"parameters": "{}", "output": "kept.exr"}
        share(options, Record(options.sequence_record(clip[0]), "", "", "", lead, "", NONE, found=found))
    for seed in range(50):
        rng, work, over, leaders = np.random.default_rng(seed), list[Order](), list[str](), list[str]()
        queue = Queue(options, manifest)
        queue.extend(map(Order, clip))
        while queue.total() or work:
            while len(work) < 3 and (given := queue.next()):
                work.append(given)
            if not work:
                queue.let_unsure_lead()
                continue
            order = work.pop(rng.integers(len(work)))
            raw, kind, found = order.job.raw, frames[int(order.job.raw)], {"doubt_ev": int(order.job.raw) / 10}
            if order.found:
                result = FileResult(raw, "converted")
            elif kind in "of":
                result = FileResult(raw, "skipped" if kind == "o" else "failed")
            elif kind == "u" and not order.leads:
                result = FileResult(raw, "unsure", found=found)
            elif order.only_ordinary:
                result = FileResult(raw, "leads")
            else:
                leaders.append(raw)
                result = FileResult(raw, "converted", found={"parameters": "{}"})
            over += [raw] if queue.take_result(order, result) else []
        assert (sorted(over), leaders) == ([str(i) for i in range(len(frames))], leader)


def test_a_sequence_whose_first_frame_another_batch_has_waits_for_it(tmp_path: Path, here: type[Here]) -> None:
    asked: list[tuple[str, object]] = []

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        asked.append((order.job.raw, order.found))
        if order.job.raw == "1" and len(asked) < 3:
            return FileResult("1", "busy")
        found = {"parameters": "{}", "neutral": [1.0, 1.0, 1.0], "exposure": [[1.0]]}
        return FileResult(order.job.raw, "unchanged" if order.job.raw == "1" else "converted", found=found)

    here.answer = staticmethod(answer)
    outcome = run(tmp_path, jobs("1", "2", "3", sequence="clip"))
    assert len(outcome.results) == 3
    assert [raw for raw, _ in asked][:3] == ["1", "1", "1"]
    assert all(found is not None for raw, found in asked if raw != "1")


@pytest.mark.parametrize("surest", ["3", "2", "none"])
def test_frames_that_tell_little_wait_for_one_that_tells_more(tmp_path: Path, here: type[Here], surest: str) -> None:
    doubts, given = {"1": math.inf, "2": 0.05, "3": 0.04, "4": 0.2}, list[tuple[str, object, bool]]()

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        name = order.job.raw
        if order.only_ordinary and (order.leads or name == surest):
            return FileResult(name, "leads")
        given.append((name, None if order.found is None else order.found["frame"], order.leads))
        if order.found is None and not order.leads and name != surest:
            return FileResult(name, "unsure", found={"doubt_ev": doubts[name]})
        return FileResult(name, "converted", found={"parameters": "{}", "frame": name})

    here.answer = staticmethod(answer)
    outcome = run(tmp_path, jobs("1", "2", "3", "4", sequence="clip"), workers=3)
    assert outcomes(outcome) == dict.fromkeys("1234", "converted")
    lead = {"none": "3"}.get(surest, surest)  # the one that is least unsure
    last = {name: found for name, found, _ in given}
    assert last == dict.fromkeys("1234", lead) | {lead: None}
    assert ((lead, None, True) in given) == (surest == "none")
    assert max(Counter(name for name, *_ in given).values()) == 2


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("doubt_ev", [0.0, 0.1])
@pytest.mark.parametrize(
    ("inputs", "overwrite", "anew"),
    [("123", False, False), ("12", False, False), ("12", True, False), ("123", True, True)],
)
def test_what_a_sequence_shares_is_kept(
    tmp_path: Path, here: type[Here], watched: bool, doubt_ev: float, inputs: str, overwrite: bool, anew: bool
) -> None:
    given = dict[str, object]()

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        if order.job.raw == "3" and order.found is None and doubt_ev:  # the one that has led knows little
            return FileResult("3", "unsure", found={"doubt_ev": doubt_ev})
        given[order.job.raw] = order.found and order.found["frame"]
        return FileResult(order.job.raw, "converted", found={"parameters": "{}", "frame": order.job.raw})

    here.answer = staticmethod(answer)
    batch_options = BatchOptions(str(tmp_path / "out"), convert=ConvertOptions(device="cpu"), overwrite=overwrite)
    clip = jobs(*inputs, sequence="clip")
    found = {"parameters": "{}", "frame": "3", "output": "kept.exr"}
    share(batch_options, Record(batch_options.sequence_record(clip[0]), "", "", "", real("3"), "", NONE, found=found))
    fed = [[(job, False) for job in clip]] if watched else []
    batch = Batch(batch_options, RunOptions(2), feed=lambda busy: fed.pop() if fed else None)
    batch.run([] if watched else clip)
    assert given == dict.fromkeys(inputs, "1" if anew else "3") | ({"1": None} if anew else {})


NONE = Stamp(0, 0)


def share(options: BatchOptions, record: Record) -> None:
    """Let an earlier batch have found what a sequence shares."""
    manifest = Manifest(Path(options.out))
    manifest.create()
    with manifest.staged("earlier") as folder:
        manifest.publish(folder, [(record, "", False)])
    (manifest.out / record.found["output"]).touch()


def test_a_sequence_goes_on_with_what_another_batch_has_found_meanwhile(tmp_path: Path, here: type[Here]) -> None:
    given = list[tuple[str, object]]()
    clip = jobs("1", "2", "3", sequence="clip")

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        given.append((order.job.raw, order.found and order.found["frame"]))
        if len(given) == 1:
            found = {"parameters": "{}", "frame": "other", "output": "kept.exr"}
            name = options.batch.sequence_record(clip[0])
            share(options.batch, Record(name, "", "", "", "/elsewhere/0", "", NONE, found=found))
            return FileResult(order.job.raw, "busy")
        return FileResult(order.job.raw, "converted")

    here.answer = staticmethod(answer)
    assert outcomes(run(tmp_path, clip)) == dict.fromkeys("123", "converted")
    assert given == [("1", None), *((name, "other") for name in "123")]


def test_a_clip_in_the_place_of_another_is_found_out_anew(tmp_path: Path, here: type[Here]) -> None:
    given = list[tuple[str, object]]()

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        given.append((order.job.raw, order.found and order.found["take"]))
        return FileResult(order.job.raw, "converted", found={"parameters": "{}", "take": len(given) // 3 + 1})

    here.answer = staticmethod(answer)
    clip = jobs("1", "2", sequence="clip")
    fed = [[(job, again) for job in clip] for again in (True, False)]
    options = BatchOptions(str(tmp_path / "out"), convert=ConvertOptions(device="cpu"))
    Batch(options, RunOptions(1), feed=lambda busy: [] if busy else fed.pop() if fed else None).run()
    assert given == [("1", None), ("2", 1), ("1", None), ("2", 2)]


def test_an_unsure_frame_that_led_and_has_changed_is_converted(
    tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(options: WorkerOptions, order: Order) -> FileResult:
        if not (order.leads or order.found):
            return FileResult(order.job.raw, "unsure", found={"doubt_ev": 0.1})
        return FileResult(order.job.raw, "converted", found={"parameters": "{}"})

    here.answer = staticmethod(answer)
    fed = [[(jobs("1", sequence="clip")[0], again)] for again in (True, False)]
    options = BatchOptions(str(tmp_path / "out"), convert=ConvertOptions(device="cpu"))
    monkeypatch.setattr(batch_module, "UNSURE_WAIT_S", 0.0)

    def feed(busy: bool) -> list[tuple[Job, bool]] | None:
        if not fed:
            return None
        return fed.pop() if len(fed) == 2 or batch.outcome.results else []

    batch = Batch(options, RunOptions(1), feed=feed)
    outcome = batch.run()
    assert [result.outcome for result in outcome.results] == ["converted", "converted"]


def test_a_full_disk_ends_the_batch(tmp_path: Path, here: type[Here]) -> None:
    def answer(options: WorkerOptions, order: Order) -> FileResult:
        return FileResult(order.job.raw, "failed", error="no space left", hopeless=True)

    here.answer = staticmethod(answer)
    outcome = run(tmp_path, jobs(*"123456789"), workers=1)
    assert (len(outcome.results), outcome.not_begun, outcome.hopeless) == (1, 8, "no space left")
    assert not outcome.interrupted


def test_a_disk_that_is_pulled_takes_no_results_with_it(tmp_path: Path, here: type[Here]) -> None:
    def answer(options: WorkerOptions, order: Order) -> FileResult:
        if order.job.raw != "1":
            return FileResult(order.job.raw, "failed", error="the disk is gone")
        shutil.rmtree(tmp_path / "out")
        return FileResult("1", "converted")

    here.answer = staticmethod(answer)
    assert outcomes(run(tmp_path, jobs("1", "2"), workers=1)) == {"1": "converted", "2": "failed"}


def test_a_process_that_is_spent_does_no_other_job(tmp_path: Path, here: type[Here]) -> None:
    def answer(options: WorkerOptions, order: Order) -> FileResult:
        return FileResult(order.job.raw, "failed", error="not enough memory", spent=order.job.raw == "1")

    here.answer = staticmethod(answer)
    assert len(run(tmp_path, jobs("1", "2", "3"), workers=1).results) == 3
    assert here.started == 2


def test_a_store_that_fails_in_the_client_leaves_it_to_the_worker(
    tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fail(job: Job, *_: object) -> None:
        asked.append(job.raw)
        raise OSError(5, "timed out")

    monkeypatch.setattr(batch_module, "finished_before", fail)
    here.answer = staticmethod(lambda options, order: FileResult(order.job.raw, "converted"))
    assert outcomes(run(tmp_path, jobs("1", "2", "3"))) == dict.fromkeys("123", "converted")
    assert sorted(asked) == ["1", "2", "3"]  # each once


def test_ctrl_c_that_interrupts_the_waiting_as_on_windows(
    tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(ends: list[Any], seconds: float) -> list[Any]:
        if asked:
            return true(ends, seconds)
        asked.append(1)
        signal.raise_signal(signal.SIGINT)
        raise InterruptedError(4, "Interrupted function call")

    asked: list[int] = []
    true = batch_module.wait
    monkeypatch.setattr(batch_module, "wait", wait)
    monkeypatch.setattr(batch_module, "TICK_S", 60.0)  # in which a job is given, however slow that is
    here.answer = staticmethod(lambda options, order: FileResult(order.job.raw, "converted"))
    outcome = run(tmp_path, jobs(*"123"), workers=1)
    assert outcome.interrupted
    assert outcomes(outcome) == {"1": "converted"}


@pytest.mark.parametrize("drop", [False, True])
def test_ctrl_c_finishes_or_drops_what_is_in_work(tmp_path: Path, here: type[Here], drop: bool) -> None:
    before = signal.getsignal(signal.SIGINT)

    def answer(options: WorkerOptions, order: Order) -> FileResult | None:
        if order.job.raw == "2":
            signal.raise_signal(signal.SIGINT)
            if drop:
                signal.raise_signal(signal.SIGINT)
                return None  # it would have gone on
        return FileResult(order.job.raw, "converted")

    here.answer = staticmethod(answer)
    outcome = run(tmp_path, jobs(*"12345"), workers=1)
    assert outcome.interrupted
    assert set(outcomes(outcome)) == ({"1"} if drop else {"1", "2"})
    assert outcome.not_begun == (4 if drop else 3)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", batch_module.STOP_SIGNALS)
def test_what_is_ignored_from_the_start_stays_so(tmp_path: Path, here: type[Here], number: int) -> None:
    def answer(options: WorkerOptions, order: Order) -> FileResult | None:
        signal.raise_signal(number)
        return FileResult(order.job.raw, "converted")

    here.answer = staticmethod(answer)
    usual = signal.signal(number, signal.SIG_IGN)  # as by nohup, or in a shell's background
    try:
        assert run(tmp_path, jobs(*"12")).good
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, usual)


def test_workers_that_cannot_work_end_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Here):
        def __init__(self, options: WorkerOptions) -> None:
            super().__init__(options)
            self.ready = False
            self.inside.send(None)

    monkeypatch.setattr(batch_module, "Worker", Broken)
    with pytest.raises(Sve2HdrError, match="cannot be started"):
        run(tmp_path, jobs("1"))


# The command ----------------------------------------------------------------------------------------------------------


def command(*arguments: object, code: int = 0) -> Result:
    """Run the command; of what it tells, the paths have / on all systems."""
    result = CliRunner().invoke(cli.main, ["batch", *map(str, arguments)])
    for name in ("output_bytes", "stdout_bytes", "stderr_bytes"):
        setattr(result, name, getattr(result, name).replace(os.sep.encode(), b"/"))
    assert result.exit_code == code, result.output + str(result.exception)
    assert "Traceback" not in result.output
    return result


def lines_of(report: Path) -> dict[str, dict[str, object]]:
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert len({line["input"] for line in lines}) == len(lines)  # a line for each file
    return {Path(line["input"]).name: line for line in lines}


@pytest.fixture
def shoot(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, here: type[Here]) -> list[object]:
    """Return the arguments for a folder of two SVE raws, an ordinary one, a broken one, and other files."""
    monkeypatch.chdir(tmp_path)
    write_frame(Path("in/a/1.dng"))
    write_frame(Path("in/b/2.dng"), seed=1)
    write_frame(Path("in/plain.dng"), pattern=SINGLE)
    Path("in/broken.dng").write_text("no raw")
    Path("in/1.txt").write_text("notes")
    return ["in", "-o", "out", "--model", weights, "--workers", "1", "--device", "cpu", "--report", "run.jsonl"]


def test_a_mixed_folder_from_first_to_last(shoot: list[object], here: type[Here]) -> None:
    look = [*shoot[:-2], "--dry-run"]
    looked = command(*look, code=1)
    assert not Path("out").exists()
    for said in ("a/1.dng: would convert -> out/a/1.exr", "plain.dng: would skip", "1.txt: left alone"):
        assert f"in/{said}" in looked.stdout
    assert "in/broken.dng: " in looked.stderr
    assert "sequence" not in looked.stdout
    assert "sequence share what its first one has" in command(*look, "--lock", "folder", code=1).stdout

    first = command(*shoot, code=1)
    assert first.stdout.split("\n")[:3] == ["      2  converted", "      1  skipped: one exposure", "      1  failed"]
    assert "in/broken.dng: " in first.stdout
    report = lines_of(Path("run.jsonl"))
    assert {name: line["outcome"] for name, line in report.items()} == {
        "1.dng": "converted", "2.dng": "converted", "plain.dng": "skipped", "broken.dng": "failed",
    }  # fmt: skip
    assert report["1.dng"]["outputs"] == [str(Path("out/a/1.exr"))]
    assert read_hdr("out/a/1.exr").shape == (96, 128, 3)
    assert {path.name for path in Path("out").rglob("*.*") if ".sve2hdr" not in path.parts} == {"1.exr", "2.exr"}

    Path("in/broken.dng").unlink()
    before, here.started = Path("out/a/1.exr").stat().st_mtime_ns, 0
    again = command(*shoot)
    assert "3  finished before" in again.stdout
    assert Path("out/a/1.exr").stat().st_mtime_ns == before
    assert here.started == 0  # nothing to do: no process is started for it
    assert "2  converted" in command(*shoot, "--exposure", "1").stdout
    assert "2  converted" in command(*shoot, "--exposure", "1", "--overwrite").stdout
    write_frame(Path("in/a/3.dng"), seed=2)
    clip = ("--lock", "folder", "--exposure", "2")
    assert "3  converted" in command(*shoot, *clip).stdout
    assert command(*look, *clip).stdout.count("finished before") == 4
    quiet = command(*shoot, "--exposure", "1", "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_formats_previews_and_ordinary_raws_are_as_they_are_asked_for(shoot: list[object], here: type[Here]) -> None:
    Path("in/broken.dng").unlink()
    asked = ("--format", "dng", "--format", "exr", "--preview", "--ultra-hdr", "--if-not-sve")
    copied = command(*shoot, *asked, "copy")
    assert "1  copied" in copied.stdout
    assert "in/plain.dng -> out/plain.dng (copied: one exposure, " in copied.stderr  # and not as a converted one
    made = {path.relative_to("out").as_posix() for path in Path("out").rglob("*.*") if ".sve2hdr" not in path.parts}
    endings = ("dng", "exr", "preview.jpg")
    assert made == {f"{raw}.{ending}" for raw in ("a/1", "b/2") for ending in endings} | {"plain.dng"}
    with pytest.raises(UnreadableRaw, match="already demosaiced"):
        read_raw(Path("out/a/1.dng"))
    assert b"hdrgm:Version" in Path("out/a/1.preview.jpg").read_bytes()
    assert Path("out/plain.dng").read_bytes() == Path("in/plain.dng").read_bytes()
    assert "1  developed" in command(*shoot, *asked, "develop").stdout
    assert read_hdr("out/plain.exr").shape == (96, 128, 3)
    failed = command(*shoot, *asked, "fail", code=1)
    assert "in/plain.dng: no exposure pattern" in failed.stdout


def test_workers_are_given_up_after_the_seconds_that_are_asked_for(
    shoot: list[object], here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = set[float]()
    monkeypatch.setattr(here, "overdue", lambda self, timeout_s: asked.add(timeout_s))
    for more, timeout_s in (((), 300), (("--overwrite", "--timeout", "7"), 7)):
        asked.clear()
        command(*shoot, *more, code=1)
        assert asked == {timeout_s}


def test_a_part_of_a_clip_takes_what_the_clip_shares(shoot: list[object], here: type[Here]) -> None:
    for name in ("2", "3"):
        write_frame(Path(f"in/a/{name}.dng"), seed=int(name))
    clip = ("in/a", *shoot[1:-2], "--lock", "folder")
    assert "3  converted" in command(*clip).stdout
    ratios = [OpenEXR.File(f"out/{name}.exr").header()["sve2hdr:ratio_ev"] for name in "123"]
    assert ratios == ratios[:1] * 3
    Path("out/3.exr").unlink()
    for again in ((), ("--overwrite",), ("--exposure", "1")):
        assert "1  converted" in command(*clip, "--include", "3.dng", *again).stdout
        assert OpenEXR.File("out/3.exr").header()["sve2hdr:ratio_ev"] == ratios[0]
    assert "1  finished before" in command(*clip, "--include", "3.dng", "--exposure", "1").stdout
    assert "1  converted\n      2  finished before" in command(*clip).stdout
    Path("in/a/1.dng").unlink()
    assert "2  finished before" in command(*clip).stdout
    assert "2  converted" in command(*clip, "--overwrite").stdout
    assert OpenEXR.File("out/3.exr").header()["sve2hdr:ratio_ev"] == ratios[0]


def test_all_folders_take_what_a_file_of_lock_params_has(shoot: list[object], here: type[Here]) -> None:
    network = ("--model", str(shoot[4]), "--lock-params")
    for name, seed in (("chart", 3), ("other", 4)):
        write_frame(Path(f"{name}.dng"), seed=seed)
        made = CliRunner().invoke(cli.main, ["convert", f"{name}.dng", "-o", f"{name}.exr", *network, f"{name}.json"])
        assert made.exit_code == 0, made.output
    Path("in/broken.dng").unlink()
    session = (*shoot[:-2], "--lock-params", "chart.json")
    looked = command(*session, "--dry-run").stdout
    assert "1.dng: would convert" in looked
    assert "plain.dng: would skip" in looked
    assert "of a sequence" not in looked
    assert "2  converted\n      1  skipped" in command(*session).stdout
    ratio, *ratios = (
        OpenEXR.File(f"{name}.exr").header()["sve2hdr:ratio_ev"] for name in ("chart", "out/a/1", "out/b/2")
    )
    assert ratios == [ratio] * 2
    assert "3  finished before" in command(*session).stdout
    assert "2  converted" in command(*session[:-1], "other.json").stdout
    assert OpenEXR.File("out/b/2.exr").header()["sve2hdr:ratio_ev"] != ratio
    write_frame(Path("in/tall.dng"), rows=128)
    for look in ((), ("--dry-run",)):
        refused = command(*session[:-1], "other.json", *look, code=1)
        assert "128 x 128 sites, but its sequence is for 128 x 96; name another --lock-params file" in refused.output


def test_edited_outputs_are_kept_and_said_to_be(shoot: list[object], here: type[Here]) -> None:
    Path("in/broken.dng").unlink()
    command(*shoot)
    with Path("out/a/1.exr").open("ab") as file:
        file.write(b"rated")
    look = command(*shoot[:-2], "--dry-run")
    assert "in/a/1.dng: kept, edited since\n" in look.stdout
    again = command(*shoot)
    assert again.stdout.split("\n")[:2] == ["      2  finished before", "      1  kept, edited since"]
    assert "in/a/1.dng -> out/a/1.exr (kept, edited since)\n" in again.stderr
    assert lines_of(Path("run.jsonl"))["1.dng"]["outcome"] == "edited"
    assert Path("out/a/1.exr").read_bytes().endswith(b"rated")


def test_clips_of_magic_lantern_are_pointed_to_unpack(tmp_path: Path, shoot: list[object], here: type[Here]) -> None:
    said = "2 Magic Lantern clip(s): sve2hdr unpack makes DNG frames of them"
    for name in ("M1.MLV", "a/M2.mlv", "._M1.MLV", "M1.M00"):
        Path("card", name).parent.mkdir(parents=True, exist_ok=True)
        Path("card", name).write_bytes(b"video")
    for more in ((), ("--dry-run",)):
        result = command("card", *shoot[1:-2], *more)
        assert f"sve2hdr: {said}\nsve2hdr: no raw files found\n" in result.stderr
    assert command("card", *shoot[1:-2], "--quiet").stderr == ""
    assert said in command("card", *shoot, code=1).stderr
    assert "Magic" not in command("card", *shoot[1:-2], "--exclude", "*.mlv").stderr


def test_a_doubtful_raw_is_a_failure(tmp_path: Path, shoot: list[object], here: type[Here]) -> None:
    fog = np.float32(0.01 * np.exp2(np.arange(128) / 128))[:, None, None] * np.ones((1, 128, 1)) * NEUTRAL
    write_cfa_dng(Path("in/fog.dng"), simulate(np.float32(fog), "RGGB", PAIRS, Sensor(), seed=0))
    Path("in/broken.dng").unlink()
    done = command(*shoot, "--if-not-sve", "skip", code=1)
    assert "      1  skipped: one exposure\n      1  failed" in done.stdout
    assert "in/fog.dng: doubtful exposure pattern" in done.stdout
    assert "--pattern rows:0.12" in done.stdout


def test_a_doubtful_frame_of_a_sequence_is_taken_as_its_first_one_is(shoot: list[object], here: type[Here]) -> None:
    fog = np.float32(0.01 * np.exp2(np.arange(96) / 96))[:, None, None] * np.ones((1, 128, 1)) * NEUTRAL
    write_cfa_dng(Path("in/a/2.dng"), simulate(np.float32(fog), "RGGB", PAIRS, Sensor(), seed=0))
    clip = ("in/a", *shoot[1:-2], "--lock", "folder")
    assert command(*clip, "--dry-run").stdout.count("would convert") == 2
    assert "2  converted" in command(*clip).stdout


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let watching count its looks at the clock in place of seconds, which would count how busy the machine is."""
    counted = itertools.count()
    monkeypatch.setattr(watch, "Watch", partial(watch.Watch, clock=lambda: float(next(counted))))
    monkeypatch.setattr(watch, "SHARE", 1.0)


@pytest.fixture
def watched(shoot: list[object], turns: None) -> list[object]:
    """Return the arguments for a folder of two SVE raws, which is watched until nothing comes for many looks."""
    Path("in/broken.dng").unlink()
    Path("in/plain.dng").unlink()
    return [*shoot, "--watch", "--idle", "40"]


def test_watching_takes_what_arrives_when_it_is_complete(watched: list[object], here: type[Here]) -> None:
    arriving = Path("in/late.dng")

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        if not arriving.exists():
            write_frame(arriving, seed=2)
        return true(options, order)

    true, here.answer = here.answer, staticmethod(answer)
    result = command(*watched)
    assert "3  converted" in result.stdout
    assert Path("out/late.exr").exists()


def test_a_slow_copy_that_is_whole_in_the_end_is_no_failure(watched: list[object], here: type[Here]) -> None:
    slow, whole = Path("in/slow.dng"), write_frame(Path("whole.dng"), seed=2)
    slow.write_bytes(whole[: len(whole) // 2])

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        result = true(options, order)
        if Path(order.job.raw).name == slow.name and not result.good:
            slow.write_bytes(whole)
        return result

    true, here.answer = here.answer, staticmethod(answer)
    result = command(*watched)
    assert "slow.dng: truncated" in result.stderr  # told when it was
    assert "3  converted" in result.stdout
    assert "failed" not in result.stdout


def test_a_file_that_was_refused_and_is_converted_later_is_no_failure(watched: list[object], here: type[Here]) -> None:
    Path("in/link.dng").symlink_to(Path("card.dng").absolute())

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        if not Path("card.dng").exists():
            write_frame(Path("card.dng"), seed=2)
        return true(options, order)

    true, here.answer = here.answer, staticmethod(answer)
    result = command(*watched)
    assert "in/link.dng: a link to nothing" in result.stderr  # told when it was
    assert "3  converted" in result.stdout
    assert "failed" not in result.stdout


def test_watching_a_url_that_is_empty_away_and_emptied(
    shoot: list[object], here: type[Here], monkeypatch: pytest.MonkeyPatch, turns: None
) -> None:
    bucket = RemotePath(f"memory://bucket{secrets.token_hex(4)}")
    listed, read = 0, list[str]()
    true_statuses, true_read = RemotePath.statuses, RemotePath.read_bytes

    def statuses(self: RemotePath) -> dict[str, Status]:
        nonlocal listed
        if self == bucket / "in":
            listed += 1
            if listed == 3:
                (bucket / "in/1.dng").write_bytes(Path("in/a/1.dng").read_bytes())
            if listed == 5:
                raise OSError(5, "timed out", self.url)
            if listed > 15:
                (bucket / "in/1.dng").unlink()
        return true_statuses(self)

    monkeypatch.setattr(RemotePath, "statuses", statuses)
    monkeypatch.setattr(RemotePath, "read_bytes", lambda self: read.append(self.url) or true_read(self))
    result = command(f"{bucket}/in", "-o", f"{bucket}/out", *shoot[3:], "--watch", "--idle", "40")
    assert "1  converted" in result.stdout
    assert "timed out" in result.stderr
    assert (bucket / "out/1.exr").exists()
    assert listed > 16
    assert len([url for url in read if "/done/" in url]) < 6  # a few for the job, one for all looks that follow


def test_copies_replace_no_raw_and_no_other_copy(shoot: list[object], here: type[Here]) -> None:
    for folder, seed in (("A", 1), ("B", 2)):
        write_frame(Path(folder, "x.dng"), pattern=SINGLE, seed=seed)
    raws = {path: path.read_bytes() for path in (Path("A/x.dng"), Path("B/x.dng"))}
    copying = ["A", "B", *shoot[3:], "--if-not-sve", "copy", "--name", "{source}_{stem}.{ext}", "--overwrite", "-o"]
    onto = command(*copying, "B", code=1)
    assert "A/x.dng: its copy would replace a raw file, x.dng" in onto.stderr
    assert "1  copied" in onto.stdout
    assert {path: path.read_bytes() for path in raws} == raws
    clash = command(*copying, "out", code=1)
    assert "B/x.dng: its copy would be written to the same file as A/x.dng; give a --base above both" in clash.stderr
    assert Path("out/x.dng").read_bytes() == raws[Path("A/x.dng")]
    assert "2  copied" in command(*copying, "all", "--base", ".").stdout
    assert {path: Path("all", path).read_bytes() for path in raws} == raws


def test_raws_copied_in_their_place_are_taken_again(shoot: list[object], here: type[Here]) -> None:
    Path("in/broken.dng").unlink()
    copying = ["in", "-o", "in", *shoot[3:], "--if-not-sve", "copy"]
    assert "1  copied" in command(*copying).stdout
    assert "3  finished before" in command(*copying).stdout


def test_a_file_that_is_too_large_is_refused_by_name(shoot: list[object], here: type[Here]) -> None:
    Path("in/broken.dng").unlink()
    with Path("in/disk.raw").open("wb") as odd:
        odd.truncate(300_000_000)
    small = [*shoot[:-2], "--memory", "3G"]
    for more in ((), ("--dry-run",)):
        done = command(*small, *more, code=1)
        assert "in/disk.raw: has 200 MP" in done.stderr
        assert "give a larger --memory or a smaller --tile" in done.stderr
        assert done.stdout.count("finished before") == 3 if more else "2  converted" in done.stdout


def test_raws_that_are_finished_are_not_opened_for_their_size(
    shoot: list[object], here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in/broken.dng").unlink()
    command(*shoot)
    opened: list[str] = []
    monkeypatch.setattr(batchcommand, "megapixels_of", lambda path: opened.append(path.name) or 0.01)
    Path("in/b/2.dng").unlink()
    write_frame(Path("in/b/2.dng"), seed=2)
    shutil.copyfile("in/a/1.dng", "in/3.dng")
    command(*shoot, "--overwrite")
    assert sorted(opened) == ["2.dng", "3.dng"]


def test_a_dry_run_leaves_the_report_of_the_last_run(shoot: list[object], here: type[Here]) -> None:
    Path("run.jsonl").write_text('{"input": "in/a/1.dng"}\n')
    refused = command(*shoot, "--dry-run", "--overwrite", code=2)
    assert "run.jsonl: exists already; name another --report" in refused.stderr
    assert Path("run.jsonl").read_text() == '{"input": "in/a/1.dng"}\n'
    command(*shoot[:-1], "looked.jsonl", "--dry-run", code=1)
    assert len(lines_of(Path("looked.jsonl"))) == 4


def test_a_list_of_another_system(shoot: list[object], here: type[Here]) -> None:
    strange = "\u5199\x85\u2028" + "\x0c" * (os.name != "nt")  # which has no names of control characters
    Path("in/a/1.dng").rename(f"in/a/{strange}.dng")
    names = f"in/a/{strange}.dng\r\nin/b/2.dng\r\n"
    Path("cards.txt").write_bytes(b"\xef\xbb\xbf" + names.encode())
    listed = ["--list", "cards.txt", *shoot[1:-2]]
    assert "2  converted" in command(*listed).stdout
    Path("cards.txt").write_bytes(names.encode("utf-16"))
    refused = command(*listed, code=1)
    assert refused.stderr.splitlines() == [
        "sve2hdr: cards.txt: is UTF-16 or no text; save the list as UTF-8, one path per line"
    ]


def test_what_a_list_names_and_is_gone_is_a_failure_among_others(shoot: list[object], here: type[Here]) -> None:
    Path("cards.txt").write_text("in/a/1.dng\nin/gone.dng\n")
    done = command("--list", "cards.txt", *shoot[1:], code=1)
    assert "sve2hdr: in/gone.dng: no such file or folder; check the path" in done.stderr.splitlines()
    assert "1  converted" in done.stdout
    report = lines_of(Path("run.jsonl"))
    assert {name: line["outcome"] for name, line in report.items()} == {"1.dng": "converted", "gone.dng": "failed"}


def test_a_name_is_told_once_and_as_it_is(shoot: list[object], here: type[Here]) -> None:
    Path("in/broken.dng").rename("in/cut  off.dng")
    (said,) = (line for line in command(*shoot, code=1).stderr.splitlines() if "cut" in line)
    assert said.startswith("sve2hdr: in/cut  off.dng: ")
    assert said.count("cut") == 1


def test_a_log_that_cannot_be_written_ends_nothing_but_one_that_nobody_reads_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Log(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sys, "stderr", Log())
    number = errno.ENOSPC
    Display("plain", None).say("1.dng")
    number = errno.EPIPE
    with pytest.raises(BrokenPipeError):
        Display("plain", None).say("1.dng")


@pytest.mark.parametrize(("mode", "told"), [("bar", 2), ("plain", 4), ("quiet", 0)])
def test_what_is_noted_of_every_file_is_said_once_above_the_bars(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str, told: int
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Display, "say", lambda self, text: said.append(text))
    display = Display(mode, 4)
    for name, note in (("1", "a light of 980 K"), ("2", "a light of 1012.5 K"), ("3", "as"), ("4", "a light of -3 K")):
        result = FileResult(f"{name}.dng", "edited", notes=(f"{name}.dng: {note}",))
        display.finished(Job(f"{name}.dng", name, ()), result)
    assert len([text for text in said if text.startswith("sve2hdr: ")]) == told
    counted = "      2  more notes like those above; "
    later = f"{counted}--report or --plain shows each as it is converted"  # what is finished has no notes any more
    assert (later in ending(Outcome(), display)) is (mode == "bar")
    display.report = Report(tmp_path / "report.jsonl", overwrite=False)
    display.report.close()
    assert (f"{counted}each is in the report" in ending(Outcome(), display)) is (mode == "bar")


def test_progress_counts_failures_without_going_through_all_results() -> None:
    class Results(list[FileResult]):
        def __iter__(self) -> Iterator[FileResult]:
            raise AssertionError("50,000 results at each of 50,000 files")

    display = Display("bar", 4)
    display.results = Results()
    for name, outcome in (("1", "failed"), ("2", "failed"), ("3", "skipped"), ("1", "unchanged")):
        display.finished(Job(name, name, ()), FileResult(name, outcome))
        display.tick()
    assert display._bars.tasks[0].fields["says"] == "3 of 4, 1 failed"


@pytest.mark.skipif(
    os.name == "nt" or not os.path.exists("/dev/full"), reason="needs a file to which nothing can be written"
)
def test_a_report_that_cannot_be_written_is_said_once_and_counts(shoot: list[object], here: type[Here]) -> None:
    Path("in/broken.dng").unlink()
    done = command(*shoot[:-1], "/dev/full", "--overwrite", code=1)
    (said,) = (line for line in done.stderr.splitlines() if "/dev/full" in line)
    assert said.startswith("sve2hdr: /dev/full: cannot be written (No space left on device) and ends here")
    assert "2  converted\n      1  skipped: one exposure\n      3  files" in done.stdout


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_a_report_may_be_a_pipe(tmp_path: Path) -> None:
    def write() -> None:
        report = Report(pipe, overwrite=False)
        report.add(FileResult("1.dng", "converted"))
        report.close()

    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    ends = [threading.Thread(target=t, daemon=True) for t in (write, lambda: read.append(pipe.read_text()))]
    for end in ends:
        end.start()
    for end in ends:
        end.join(600)
    assert [json.loads(text)["input"] for text in read] == ["1.dng"]


@pytest.mark.skipif(os.name == "nt" or not os.path.exists("/dev/stdout"), reason="needs a name for what is printed to")
def test_a_report_may_go_down_the_pipe_that_is_printed_to(
    shoot: list[object], here: type[Here], capfd: pytest.CaptureFixture[str]
) -> None:
    with capfd.disabled():
        ours, printed = os.dup(1), os.pipe()
        os.dup2(printed[1], 1)
        try:
            done = command(*shoot[:-2], "--quiet", "--report", "/dev/stdout", code=1)
        finally:
            os.dup2(ours, 1)
            os.close(printed[1])
            os.close(ours)
    with os.fdopen(printed[0]) as pipe:
        lines = [json.loads(line) for line in pipe]
    assert sorted(line["outcome"] for line in lines) == ["converted", "converted", "failed", "skipped"]
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "out"),
        ("in", "-o", "out", "--name", "{stem}.exr"),
        ("in", "-o", "out", "--memory", "much"),
        ("in", "-o", "out", "--memory", "4"),
        ("in", "-o", "out", "--dask", "host"),
        ("in", "-o", "out", "--dask", "tcp://host:99999"),
        ("in", "-o", "out", "--format", "tif", "--format", "hdr", "--float"),
        ("in", "-o", "out", "--format", "dng", "--compression", "zip"),
        ("in", "-o", "out", "--idle", "5"),
        ("in", "-o", "out", "--lock-params", "chart.json", "--lock", "folder"),
        ("in", "-o", "out", "--lock-params", "chart.json", "--white", "15000"),
        ("in", "-o", "out", "--ultra-hdr"),
        ("in", "-o", "out", "--preview-size", "2048"),
        ("in", "-o", "out", "--preview-exposure", "-1"),
        ("in", "-o", "out", "--ensemble", "--model", "classical"),
        ("in", "-o", "out", "--watch", "--dry-run"),
        ("in", "-o", "out", "--dask", "tcp://127.0.0.1:1", "--workers", "2"),
        ("in", "-o", "out", "--format", "png"),
    ],
)
def test_usage_errors_exit_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    command(*arguments, code=2)
    assert os.listdir() == ["in"]


def test_what_cannot_be_is_one_line(shoot: list[object]) -> None:
    Path("notes.txt").write_text("mine")
    refused = [
        (["none", *shoot[1:]], "none: no such file or folder"),
        ([*shoot, "--memory", "100M"], "100"),
        ([*shoot[:-1], "notes.txt"], "notes.txt: exists already and is not a report"),
        ([*shoot, "--lock-params", "none.json"], "none.json: cannot be read"),
        (["none" if part == shoot[shoot.index("--model") + 1] else part for part in shoot], "none: no such weights"),
    ]
    for arguments, said in refused:
        result = command(*arguments, code=1)
        assert said.replace("100", "of memory are too little") in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert Path("notes.txt").read_text() == "mine"


def test_nothing_to_do_is_said_and_no_failure(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "in").mkdir()
    result = command(tmp_path / "in", "-o", tmp_path / "out", "--model", weights)
    assert "no raw files found" in result.stderr


# True processes -------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # starts processes, which import torch
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name, which hangs its reader")
def test_a_killed_and_a_hung_worker_cost_one_file(tmp_path: Path, weights: Path) -> None:
    write_frame(tmp_path / "1.dng")
    write_frame(tmp_path / "2.dng", seed=1)
    os.mkfifo(tmp_path / "hangs.dng")
    todo = [Job(str(tmp_path / f"{name}.dng"), f"{name}.dng", (f"{name}.exr",)) for name in ("1", "hangs", "2")]
    killed, hangs = [], []

    class Killing(Events):
        def started(self, job: Job) -> None:
            if job.relative != "hangs.dng":
                return
            worker = batch._workers[0]
            if killed:
                hangs.append(threading.Timer(1, silent_for_long, [worker]))
                hangs[0].start()
            else:
                killed.append(job)
                assert worker.alive()
                os.kill(worker._process.pid or 0, signal.SIGKILL)
                worker._process.join()
                assert not worker.alive()

    def silent_for_long(worker: Worker) -> None:
        worker.last_sign -= 700

    options = BatchOptions(str(tmp_path / "out"), str(weights), convert=ConvertOptions(device="cpu"))
    batch = Batch(options, RunOptions(1, 1, 2000.0, timeout_s=600), Killing())
    outcome = batch.run(todo)
    assert {Path(r.input).name: r.outcome for r in outcome.results} == {
        "1.dng": "converted", "2.dng": "converted", "hangs.dng": "failed",
    }  # fmt: skip
    assert len(killed) == len(hangs) == 1
    assert "no progress for 600 s" in next(r.error for r in outcome.results if not r.good)
    assert read_hdr(tmp_path / "out/2.exr").shape == (96, 128, 3)
    assert list((tmp_path / "out/.sve2hdr/work").iterdir()) == []


@pytest.mark.slow
def test_kill_9_and_go_on(repository: Path, tmp_path: Path) -> None:
    script = repository / "examples" / "bench_batch.py"
    options = ["--files", "5", "--broken", "2", "--kills", "1", "--workers", "1"]
    ran = subprocess.run(
        [sys.executable, str(script), "crash", *options], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 of 3 whole and right, 2 reported, 5 lines, 0 temporary files" in ran.stdout


@pytest.mark.parametrize("empty", ["file://", ""])
def test_an_empty_path_is_not_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.dng").write_bytes(b"no raw")
    assert "empty path" in command(empty, "-o", "out", code=2).output
    assert "path is empty" in command("a.dng", "-o", empty, code=2).output
    assert not (tmp_path / "out").exists()
