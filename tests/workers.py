"""Workers in the process of a test, for batches of which processes are not the subject."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace

import pytest

from sve2hdr.folders import batch
from sve2hdr.folders.filejob import run_job
from sve2hdr.folders.jobstate import FileResult
from sve2hdr.folders.worker import Order, WorkerDied, WorkerOptions, prepared


class Here:
    """Stands for a worker, in this process: answers each order with what `answer` says, and dies where it raises."""

    answer: Callable[[WorkerOptions, Order], FileResult | None]
    started = 0

    def __init__(self, options: WorkerOptions) -> None:
        type(self).started += 1
        self.options, self.ready, self.order, self.dead = options, True, None, False
        self.order: Order | None
        self.connection, self.inside = multiprocessing.Pipe()

    def send(self, order: Order) -> None:
        self.order = order
        try:
            result = type(self).answer(self.options, order)
            if result is not None:
                self.inside.send(result)
        except WorkerDied:
            self.inside.send(None)

    def receive(self) -> FileResult:
        said = self.connection.recv()
        if said is None:
            raise WorkerDied("was ended by SIGSEGV")
        self.order = None
        return said

    def overdue(self, timeout_s: float) -> None:
        return None

    def end(self) -> str:
        return ""

    close = end


def hired_here(monkeypatch: pytest.MonkeyPatch) -> type[Here]:
    """Let batches use workers in this process, which convert as the true ones do, and wait for nothing long."""
    tools = {}

    def answer(options: WorkerOptions, order: Order) -> FileResult:
        key = (options.batch.out, options.batch.look_only)
        if key not in tools:
            with monkeypatch.context() as patch:
                patch.setattr("sve2hdr.folders.worker.limit_memory", lambda megabytes, threads: None)
                patch.setattr("sve2hdr.folders.worker.keep_freed_memory", lambda: None)
                tools[key] = prepared(replace(options, threads=1), lambda share: None)
        return run_job(order, options.batch, tools[key])

    class Ours(Here):
        pass

    Ours.answer = staticmethod(answer)
    monkeypatch.setattr(batch, "Worker", Ours)
    monkeypatch.setattr(batch, "TICK_S", 0.01)
    monkeypatch.setattr(batch, "BUSY_WAIT_S", 0.02)
    monkeypatch.setattr(batch, "MOVING_WAIT_S", 0.02)
    return Ours
