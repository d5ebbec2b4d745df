"""A batch: jobs in, results out; who works on what, and what is tried again."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Protocol

from ..errors import Sve2HdrError
from ..system.signals import STOP_SIGNALS, handling
from .joblist import Job
from .jobstate import BatchOptions, FileResult, Order, finished_before
from .orderqueue import Queue
from .remotemanifest import manifest_of
from .worker import Worker, WorkerDied, WorkerOptions

TICK_S = 0.25
BUSY_WAIT_S, MOVING_WAIT_S, MOVING_TRIES = 1.0, 3.0, 5
START_TRIES, CRASH_TRIES = 3, 2
UNSURE_WAIT_S = 30.0  # without new jobs, until a frame that is unsure decides for its sequence all the same


class Events:
    """What a batch tells while it runs; the methods of this class do nothing."""

    def started(self, job: Job) -> None:
        """A worker has begun a job."""

    def progress(self, job: Job, share: float) -> None:
        """So much of a job is done, 0 to 1."""

    def finished(self, job: Job, result: FileResult) -> None:
        """A job is over; once for each."""

    def tick(self) -> None:
        """A quarter of a second has passed."""

    def notice(self, text: str) -> None:
        """Something that the user should know."""

    def stopping(self, in_work: int) -> None:
        """No more jobs are begun; so many are being finished."""


@dataclass(frozen=True)
class RunOptions:
    """How a batch is run; it changes no result."""

    workers: int = 1
    threads: int = 1  # of each worker
    memory_mb: float = 0.0  # each worker's limit; 0: none
    timeout_s: float = 300.0  # without any progress in a file


@dataclass
class Outcome:
    """What a batch came to."""

    results: list[FileResult] = field(default_factory=list)
    not_begun: int = 0
    interrupted: bool = False
    hopeless: str = ""  # why it was given up: the disk is full, or the like

    @property
    def good(self) -> bool:
        """Whether all files are good."""
        return not (self.not_begun or self.interrupted or self.hopeless) and all(r.good for r in self.results)


class Hand(Protocol):
    """Somebody who does one job at a time; `Worker` says what each member is."""

    connection: Connection
    order: Order | None
    ready: bool

    def send(self, order: Order) -> None:
        """Give it a job."""

    def receive(self) -> float | FileResult | None:
        """Return what it says."""

    def overdue(self, timeout_s: float) -> FileResult | None:
        """End it if it shows no progress for too long, and return the result of its job; None: all is well."""

    def end(self) -> str:
        """End it now."""

    def close(self) -> None:
        """Let it end."""


class Crew:
    """Who does the jobs: worker processes of this machine."""

    def __init__(self, batch: BatchOptions, run: RunOptions) -> None:
        self.batch, self.run = batch, run

    def room(self) -> int:
        """Return how many jobs can be in work at a time."""
        return self.run.workers

    def hire(self) -> Hand:
        """Return one more to do jobs."""
        return Worker(WorkerOptions(self.batch, self.run.threads, self.run.memory_mb))

    def tend(self) -> None:
        """Do what is to be done again and again; called each turn."""

    def close(self) -> None:
        """End; nobody is in work."""


class Batch:
    """One run. `feed` is asked for more jobs while it runs, and says None when there will be no more.

    It is told whether there are any that are not done.
    """

    def __init__(
        self,
        options: BatchOptions,
        run: RunOptions,
        events: Events | None = None,
        feed: Callable[[bool], Sequence[tuple[Job, bool]] | None] = lambda busy: None,
        crew: Crew | None = None,
    ) -> None:
        self.options, self.run_options, self.events, self.feed = options, run, events or Events(), feed
        self.manifest, self.outcome = manifest_of(options.out), Outcome()
        self.crew = crew or Crew(options, run)
        self._waiting = Queue(options, self.manifest)
        self._later: list[tuple[float, Order]] = []
        self._workers: list[Hand] = []
        self._fed_at = time.monotonic()
        self._crashes: Counter[str] = Counter()
        self._moves: Counter[str] = Counter()
        self._failed_starts, self._fed = 0, True
        self._stop, self._drop = False, False

    def run(self, jobs: Sequence[Job] = ()) -> Outcome:
        """Do all jobs; raise Sve2HdrError where none can be done: no output folder, weights or device."""
        if not self.options.look_only:
            self.manifest.create()
            self._recover()
        self._add([Order(job) for job in jobs])
        with handling(STOP_SIGNALS, self._asked_to_stop):
            try:
                while self._turn():
                    pass
            finally:
                for worker in self._workers:
                    worker.end() if worker.order or not worker.ready else worker.close()
                self.crew.close()
                if not self.options.look_only:
                    self._recover()
        self.outcome.not_begun += self._waiting.total() + len(self._later)
        self.outcome.interrupted = self._stop and not self.outcome.hopeless
        return self.outcome

    def stop(self, drop: bool = False) -> None:
        """Begin no more jobs; finish those in work, or drop them."""
        first, self._stop, self._drop = not self._stop, True, self._drop or drop
        if first and not drop:
            self.events.stopping(sum(worker.order is not None for worker in self._workers))

    def _recover(self) -> None:
        with contextlib.suppress(OSError), self.manifest.claims() as claims:  # the job, or the next batch, tries again
            self.manifest.recover(claims)

    # One turn of the loop

    def _turn(self) -> bool:
        """Hand out jobs, listen for a moment, look after the workers; return whether there is more to do."""
        if self._drop:
            for worker in [worker for worker in self._workers if worker.order]:
                self.outcome.not_begun += 1
                self._remove(worker)
            return False
        if not self._stop:
            self._take_in()
            self._hand_out()
        self.events.tick()
        self.crew.tend()
        self._listen()
        self._end_hung()
        if self._stop:
            return any(worker.order for worker in self._workers)
        if not (self._busy() or (self._fed and time.monotonic() < self._fed_at + UNSURE_WAIT_S)):
            self._waiting.let_unsure_lead()
        return self._fed or self._busy()

    def _busy(self) -> bool:
        return bool(self._waiting or self._later or any(worker.order for worker in self._workers))

    def _take_in(self) -> None:
        if self._fed:
            more = self.feed(self._busy())
            self._fed = more is not None
            for job, again in more or ():
                if again:  # it may be of another sequence now
                    self._waiting.forget(job.sequence)
            self._add([Order(job, again=again) for job, again in more or ()])
        now = time.monotonic()
        self._waiting.extend(order for due, order in self._later if due <= now)
        self._later = [(due, order) for due, order in self._later if due > now]

    def _add(self, orders: Sequence[Order]) -> None:
        if orders:
            self._fed_at = time.monotonic()
            self._waiting.extend(orders)

    def _hand_out(self) -> None:
        """Give each idle worker a job; what the manifest knows to be finished needs none."""
        until = time.monotonic() + TICK_S
        while time.monotonic() < until:
            idle = next((worker for worker in self._workers if worker.ready and not worker.order), None)
            order = self._waiting.next()
            if order is None:
                return
            known = self._known(order)
            if known is not None:
                self._over(order, known)
            elif idle is not None:
                self._give(idle, order)
            else:
                self._waiting.put_back(replace(order, looked_up=True))
                starting = sum(not worker.ready for worker in self._workers)
                if len(self._workers) >= self.crew.room() or starting >= len(self._waiting):
                    return
                self._workers.append(self.crew.hire())
                if not self._workers[-1].ready:
                    return

    def _known(self, order: Order) -> FileResult | None:
        """Return the result of a job that was finished before; None: a worker must look."""
        try:
            return None if order.looked_up else finished_before(order.job, self.options, self.manifest, order.found)
        except OSError:  # the worker meets it, or not any more
            return None

    def _give(self, worker: Hand, order: Order) -> None:
        self.events.started(order.job)
        try:
            worker.send(order)
        except WorkerDied as death:
            self._died(worker, order, str(death))

    def _listen(self) -> None:
        ends: list[Connection] = [worker.connection for worker in self._workers]
        if not ends:
            if not self._waiting:
                time.sleep(TICK_S)
            return
        try:
            ready = wait(ends, TICK_S)
        except InterruptedError:  # Windows: by Ctrl-C, of which `_asked_to_stop` has been told
            return
        for worker in [worker for worker in self._workers if worker.connection in ready]:
            order = worker.order
            try:
                said = worker.receive()
            except WorkerDied as death:
                self._died(worker, order, str(death))
                continue
            if isinstance(said, FileResult) and order is not None:
                if said.spent:
                    self._remove(worker)
                self._over(order, said)
            elif isinstance(said, float) and order is not None:
                self.events.progress(order.job, said)

    def _end_hung(self) -> None:
        for worker in list(self._workers):
            result, order = worker.overdue(self.run_options.timeout_s), worker.order
            if result is not None and order is not None:
                self._workers.remove(worker)
                self._over(order, result)

    def _remove(self, worker: Hand) -> None:
        self._workers.remove(worker)
        worker.end()

    def _died(self, worker: Hand, order: Order | None, how: str) -> None:
        self._workers.remove(worker)
        if order is None:
            if worker.ready:
                return
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES:
                raise Sve2HdrError(f"worker processes cannot be started: the last {how}; check memory and installation")
            return
        self._crashes[order.job.raw] += 1
        if self._crashes[order.job.raw] < CRASH_TRIES:
            self._waiting.extend([order])  # last: others may be innocent of what ends this one
            return
        times = f"{CRASH_TRIES} times; the file is damaged, or --memory too small"
        error = f"the process that read it {how}, {times}"
        self._over(order, FileResult(order.job.raw, "failed", error=error))

    # Results

    def _over(self, order: Order, result: FileResult) -> None:
        """Take a job's result: put it off, or tell it; and let its sequence go on."""
        if result.outcome == "busy":
            self._put_off(order, BUSY_WAIT_S)
            return
        if result.outcome == "moving":
            self._moves[order.job.raw] += 1
            if self._moves[order.job.raw] < MOVING_TRIES:
                self._put_off(order, MOVING_WAIT_S)
                return
            result = replace(result, outcome="failed")
        if not self._waiting.take_result(order, result):
            return
        if result.hopeless:
            self.outcome.hopeless = result.error
            self._stop = True
        self.outcome.results.append(result)
        self.events.finished(order.job, result)

    def _put_off(self, order: Order, seconds: float) -> None:
        self._later.append((time.monotonic() + seconds, replace(order, looked_up=False)))

    def _asked_to_stop(self, number: int, _frame: object) -> None:
        """Ctrl-C: finish what is in work; again, or a signal to end: drop it."""
        self.stop(drop=self._stop or number != signal.SIGINT)
