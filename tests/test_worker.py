"""A worker as its owner sees it: when it is given up. Its process is in the tests of batches."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sve2hdr.errors import Sve2HdrError
from sve2hdr.folders.joblist import Job
from sve2hdr.folders.jobstate import BatchOptions, FileResult, Order
from sve2hdr.folders.worker import START_S, Worker, WorkerOptions, _device_turn

ORDER = Order(Job("1.dng", "1.dng", ("1.exr",)))
NOW = 5000.0


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sve2hdr.folders.worker.time", SimpleNamespace(monotonic=lambda: NOW))


class Silent(Worker):
    """A worker without a process, which has said nothing for some time."""

    def __init__(self, order: Order | None, ready: bool, silent_s: float) -> None:
        self.order, self.ready, self.ended = order, ready, False
        self.last_look, self.last_sign = NOW, NOW - silent_s

    def end(self) -> str:
        self.ended = True
        return "was ended"


@pytest.mark.parametrize(("order", "ready", "silent_s"), [(None, True, 9e9), (ORDER, True, 5), (ORDER, False, 100)])
def test_one_that_is_idle_at_work_or_starting_is_left_alone(order: Order | None, ready: bool, silent_s: float) -> None:
    worker = Silent(order, ready, silent_s)
    assert worker.overdue(10) is None
    assert not worker.ended


def test_one_that_hangs_is_ended_and_fails_its_job() -> None:
    worker = Silent(ORDER, True, 11)
    result = worker.overdue(10)
    assert result is not None
    assert worker.ended
    assert (result.input, result.outcome, result.spent) == ("1.dng", "failed", True)
    assert "no progress for 10 s" in result.error


@pytest.mark.parametrize("ready", [False, True])
def test_the_time_of_an_owner_that_was_stopped_does_not_count(ready: bool) -> None:
    worker = Silent(ORDER, ready, START_S + 3)
    worker.last_look -= START_S + 1
    assert worker.overdue(10) is None
    assert NOW - worker.last_sign == 2  # what it was silent before does
    worker.last_sign -= 7
    assert worker.overdue(10) is None
    worker.last_sign -= START_S
    with pytest.raises(Sve2HdrError) if not ready else contextlib.nullcontext():
        assert worker.overdue(10) is not None
    assert worker.ended


def test_what_it_is_sent_and_says_are_signs_of_life() -> None:
    worker = Silent(None, True, 100)
    worker.connection, theirs = multiprocessing.Pipe()
    worker.send(ORDER)
    assert worker.overdue(10) is None
    worker.last_sign -= 100
    theirs.send(("progress", 0.5))
    assert (worker.receive(), worker.overdue(10)) == (0.5, None)
    theirs.send(("result", FileResult("1.dng", "converted")))
    assert worker.receive() == FileResult("1.dng", "converted")
    assert worker.order is None


@pytest.mark.parametrize("order", [None, ORDER])
def test_one_that_does_not_start_is_an_error(order: Order | None) -> None:
    worker = Silent(order, False, START_S + 1)
    with pytest.raises(Sve2HdrError, match="did not start within 600 s"):
        worker.overdue(10)
    assert worker.ended


def test_its_threads_leave_the_cores_to_others_whoever_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask starts its processes by itself, and not by our command."""
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    told = []
    started = multiprocessing.get_context("spawn").Process
    monkeypatch.setattr(started, "start", lambda process: told.append(os.environ.get("GOMP_SPINCOUNT")))
    Worker(WorkerOptions(BatchOptions("out")))
    assert told == ["3000"]


def test_who_waits_for_a_gpu_shows_that_it_is_alive_and_waits_for_no_other_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    waited_for, told = list[str](), list[float]()

    @contextlib.contextmanager
    def turn(key: str, waiting: Callable[[], object]) -> Iterator[None]:
        waited_for.append(key)
        waiting()
        yield

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tools: Any = SimpleNamespace(claims=SimpleNamespace(turn=turn), progress=told.append)
    for visible in (None, "1", "0,1"):
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with _device_turn(tools, "cuda"):
            pass
    assert told == [0.0] * 3
    assert len({*waited_for}) == 2
    assert waited_for[0] == waited_for[2]
