"""The part of a batch that runs on the machines of a Dask cluster: a job, done by a worker process of any batch.

Dask's scheduler imports this module as well, so it imports nothing heavy; jobs and results travel as bytes.
"""

from __future__ import annotations

import multiprocessing
import pickle
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import Sve2HdrError, one_line
from ..memory import available_bytes, usable_cores
from .workload import DEFAULT_SHARE, Load, Plan, plan

if TYPE_CHECKING:
    from .jobstate import BatchOptions, FileResult, Order
    from .worker import Worker

IDLE_S = 30.0  # a worker process without jobs ends after so long
TICK_S = 0.25


@dataclass(frozen=True)
class TaskOptions:
    """What a task is sent besides its job."""

    batch: BatchOptions
    timeout_s: float
    load: Load
    tile_px: int | None = None  # None: as large as fits


_idle: list[tuple[float, str, Worker]] = []  # since when, for which batch
_lock = threading.Lock()


def do(sent: bytes, version: str) -> bytes:
    """Do one job, a pickled (Order, TaskOptions), in a process of its own; return its result, or how the process died.

    Raises Sve2HdrError where this machine can do no job.
    """
    if version != __version__:
        raise Sve2HdrError(f"it has sve2hdr {__version__}, the batch has {version}; install the same")
    order, options = pickle.loads(sent)
    return pickle.dumps(_said(order, options))


def _said(order: Order, options: TaskOptions) -> FileResult | str:
    from .worker import WorkerDied

    try:
        worker = _taken(options.batch.run) or _started(options)
        said = _asked(worker, order, options.timeout_s)
    except WorkerDied as death:
        return str(death)
    except OSError as error:
        raise Sve2HdrError(one_line(error)) from None
    if said.spent:
        worker.end()
    else:
        with _lock:
            _idle.append((time.monotonic(), options.batch.run, worker))
    if said.full_here:  # other machines may have room
        raise Sve2HdrError(said.error)
    return said


def _asked(worker: Worker, order: Order, timeout_s: float) -> FileResult:
    from .jobstate import FileResult

    worker.send(order)
    while True:
        said = worker.receive() if wait([worker.connection], TICK_S) else worker.overdue(timeout_s)
        if isinstance(said, FileResult):
            return said


def _taken(run: str) -> Worker | None:
    """Return an idle process of this batch that has not died meanwhile."""
    with _lock:
        for entry in [entry for entry in _idle if entry[1] == run]:
            _idle.remove(entry)
            if entry[2].alive():
                return entry[2]
            entry[2].end()
    return None


def _started(options: TaskOptions) -> Worker:
    from .worker import Worker, WorkerOptions

    planned, batch = _planned(options), options.batch
    batch = replace(batch, convert=replace(batch.convert, tile_px=planned.tile_px))
    with _lock:
        # Dask's workers are children of a nanny that ends them: daemons, which may have no children of their own.
        # Ours end with their parent by themselves.
        process: Any = multiprocessing.current_process()
        process._config["daemon"] = False
        if not any(thread.name == _end_idle.__name__ for thread in threading.enumerate()):
            threading.Thread(target=_end_idle, name=_end_idle.__name__, daemon=True).start()
        return Worker(WorkerOptions(batch, planned.threads, planned.worker_mb))


def _planned(options: TaskOptions) -> Plan:
    """Return how a machine's share is spent: its threads are files at a time, its memory limit holds for all."""
    from distributed import get_worker

    dask = get_worker()
    files = dask.state.nthreads
    limit = dask.memory_manager.memory_limit or int(DEFAULT_SHARE * available_bytes())
    try:
        return plan(limit, options.load, max(usable_cores(), files), files, options.tile_px)
    except Sve2HdrError:
        raise Sve2HdrError(
            f"{limit / 1e9:.1f} GB are too little for {files} file(s) of {options.load.megapixels:.0f} MP at a time; "
            "start it with fewer --nthreads or a larger --memory-limit"
        ) from None


def _end_idle() -> None:
    while True:
        time.sleep(IDLE_S / 10)
        with _lock:
            old = [entry for entry in _idle if time.monotonic() - entry[0] > IDLE_S]
            _idle[:] = [entry for entry in _idle if entry not in old]
        for _, _, worker in old:
            worker.close()
