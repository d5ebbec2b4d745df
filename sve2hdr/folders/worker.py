"""A process of its own for the jobs of a batch: spawned, bounded, watched, and replaced when it dies."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

from ..errors import Sve2HdrError, one_line
from ..memory import data_mb, keep_freed_memory, limit_memory
from ..system.threads import wait_politely
from .filejob import run_job
from .jobstate import BatchOptions, FileResult, Order, Tools
from .remotemanifest import manifest_of
from .workload import BASE_MB

PROGRESS_S = 0.25  # progress is told no more often
PAUSE_S = 2.0  # who has not looked for longer was stopped, as by Ctrl-Z, and the worker perhaps with it
START_S = 600.0  # importing torch from a slow disk takes long; longer than this is a hang


@dataclass(frozen=True, eq=False)
class WorkerOptions:
    """What a worker is started with."""

    batch: BatchOptions
    threads: int = 1
    memory_mb: float = 0.0  # 0: no limit


class WorkerDied(Exception):
    """A worker ended in the middle of something; the text says how."""


class Worker:
    """A worker process as its owner sees it. What `receive` returns is progress, a result, or nothing yet."""

    def __init__(self, options: WorkerOptions) -> None:
        context = multiprocessing.get_context("spawn")  # forking after OpenMP has run deadlocks (rawpy issue 265)
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, options), daemon=True)
        wait_politely()  # what Dask has started was not told so by `main`
        with _interrupts_held_back():
            self._process.start()
        theirs.close()
        self.order: Order | None = None
        self.ready, self.last_sign, self.last_look = False, time.monotonic(), time.monotonic()

    def send(self, order: Order) -> None:
        """Give the worker its next job; raise WorkerDied if it is gone."""
        self.order, self.last_sign = order, time.monotonic()
        try:
            self.connection.send(order)
        except OSError:
            raise WorkerDied(self.end()) from None

    def receive(self) -> float | FileResult | None:
        """Return the share of the job that is done, its result, or None for a sign of life.

        Raises WorkerDied if the process is gone, and Sve2HdrError if it cannot do any job.
        """
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError):
            raise WorkerDied(self.end()) from None
        self.last_sign = time.monotonic()
        if kind == "broken":
            raise Sve2HdrError(content)
        if kind == "ready":
            self.ready = True
            return None
        if kind == "result":
            self.order = None
        result: float | FileResult = content
        return result

    def overdue(self, timeout_s: float) -> FileResult | None:
        """End the process if its job shows no progress for too long, and return the job's result; None: all is well.

        Asked several times a second. Raises Sve2HdrError if it has not even started after a long time.
        """
        now = time.monotonic()
        if now - self.last_look > PAUSE_S:
            self.last_sign = min(now, self.last_sign + now - self.last_look)
        self.last_look, silent_s = now, now - self.last_sign
        if not self.ready and silent_s > START_S:
            self.end()
            raise Sve2HdrError(f"a worker process did not start within {START_S:.0f} s; try again")
        if not self.ready or self.order is None or silent_s <= timeout_s:
            return None
        self.end()
        error = f"no progress for {timeout_s:g} s; try a longer --timeout, or another copy"
        return FileResult(self.order.job.raw, "failed", error=error, spent=True)

    def alive(self) -> bool:
        """Return whether the process is there."""
        return self._process.is_alive()

    def end(self) -> str:
        """End the process now, and return how it ended, if it did so by itself before."""
        self._process.join(0.2)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        self.connection.close()
        if code is None:
            return "was ended"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}" + (
                    ", perhaps for want of memory" if -code == getattr(signal, "SIGKILL", 0) else ""
                )
        return f"ended with code {code}"

    def close(self) -> None:
        """Let an idle process end."""
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self._process.join(5)
        self.end()


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: it goes to the owner, who decides."""
    if sys.platform == "win32":
        ignore = ctypes.windll.kernel32.SetConsoleCtrlHandler  # with None: whether Ctrl-C is; processes inherit it
        ignore(None, True)
        try:
            yield
        finally:
            ignore(None, False)
        return
    resource_tracker.ensure_running()  # as starting it, with the first process, lets them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In the process -------------------------------------------------------------------------------------------------------


def serve(connection: Connection, options: WorkerOptions) -> None:
    """Do jobs as they come, until None comes or the owner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_owner, daemon=True).start()
    _silence()
    try:
        tools = prepared(options, lambda share: connection.send(("progress", share)))
    except Exception as error:
        connection.send(("broken", one_line(error)))
        return
    connection.send(("ready", None))
    with contextlib.suppress(EOFError, OSError):
        while (order := connection.recv()) is not None:
            result = run_job(order, options.batch, tools)
            connection.send(("result", result))


def prepared(options: WorkerOptions, progress: Callable[[float], None]) -> Tools:
    """Return a process's tools: the network loaded, threads and memory bounded. Raises Sve2HdrError."""
    import torch

    from ..models import model_digest, model_named
    from ..system.devices import choose_device
    from ..trial import tried_device

    batch = options.batch
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    model = model_named(batch.model)
    unused = batch.look_only or not model.features_per_px
    device = choose_device(batch.convert.device) if unused else tried_device(batch.convert.device)[0]
    if batch.model_digest and model_digest(batch.model) != batch.model_digest:
        raise Sve2HdrError(f"{batch.model}: changed since the batch began; run it again")
    manifest = manifest_of(batch.out)
    claims = None if batch.look_only else manifest.claims()
    tools = Tools(manifest, claims, model, _seldom(progress))
    if device.type == "cpu" and options.memory_mb:
        more = max(options.memory_mb - BASE_MB, 100.0)
        limit_memory((data_mb() or BASE_MB) + more, 2 * options.threads)  # the network's, and ours or OpenEXR's
    if device.type != "cpu" and claims is not None:
        return replace(tools, turn=lambda: _device_turn(tools, device.type))
    return tools


@contextlib.contextmanager
def _device_turn(tools: Tools, device: str) -> Iterator[None]:
    """Let one process at a time feed the device, and leave its memory to the next; others decode and write.

    Who waits shows that it is alive: several large files before it may take longer than `--timeout`.
    """
    import torch

    assert tools.claims is not None
    which = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0] or "0"  # torch takes the first
    key = f"device {device} {which} of {platform.node()}"  # OUT may be shared by machines
    with tools.claims.turn(key, waiting=lambda: tools.progress(0.0)):
        try:
            yield
        finally:
            (torch.cuda if device == "cuda" else torch.mps).empty_cache()


def _seldom(progress: Callable[[float], None]) -> Callable[[float], None]:
    last = -PROGRESS_S

    def tell(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_S:
            last = time.monotonic()
            progress(share)

    return tell


def _end_with_owner() -> None:
    owner = multiprocessing.parent_process()
    if owner is not None:
        wait([owner.sentinel])
        os._exit(1)  # what it holds is given back, what it was making is removed by the next batch


def _silence() -> None:
    """Keep what C libraries print of damaged files off the progress display; results tell what went wrong."""
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
