"""A batch on many machines: each job is a task of a Dask cluster, done there by the worker process of any batch.

The client hands out the jobs, looks after the scheduler, and writes the report. A machine that can do no jobs is told
of, and gets no more. Imports distributed, an extra.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import pickle
import time
from collections.abc import Collection
from typing import Any

from distributed import Client, Future, KilledWorker

from .. import __version__
from ..errors import Sve2HdrError
from .batch import Crew, Events, RunOptions
from .clustertask import TaskOptions, do
from .jobstate import FileResult, Order
from .worker import WorkerDied

FIRST_ANSWER_S, ANSWER_S, ASK_EVERY_S = 30.0, 5.0, 2.0


class Cluster(Crew):
    """The threads of all Dask workers of a scheduler; they come and go, and so may the scheduler.

    Raises Sve2HdrError where no scheduler answers at the address.
    """

    def __init__(self, address: str, options: TaskOptions, say: Events) -> None:
        super().__init__(options.batch, RunOptions())
        self.address, self.options, self._say = address, options, say
        self._hands: list[ClusterHand] = []
        self._threads: dict[str, int] = {}  # of each Dask worker, by its address
        self._unfit: set[str] = set()  # addresses of those that can do no jobs
        self._asked, self._told = -ASK_EVERY_S, False
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it logs is told in our words
        try:
            self._client = self._connected(FIRST_ANSWER_S)
        except (OSError, ValueError, TypeError) as error:
            raise Sve2HdrError(
                f"{address}: no Dask scheduler answers there; start one with `dask scheduler`, or check the address"
            ) from error

    def _connected(self, seconds: float) -> Client:
        return Client(self.address, timeout=seconds, set_as_default=False, name="sve2hdr")

    def room(self) -> int:
        """Return how many threads the workers have; 1 where there are none yet: its job waits for the first."""
        return max(1, sum(self._threads[address] for address in self.fit()))

    def fit(self) -> set[str]:
        """Return the addresses of the workers that may have jobs."""
        return self._threads.keys() - self._unfit

    def hire(self) -> ClusterHand:
        """Return one more thread of the cluster."""
        self._hands = [hand for hand in self._hands if not hand.connection.closed]
        self._hands.append(ClusterHand(self))
        return self._hands[-1]

    def submit(self, order: Order) -> tuple[Future | None, Collection[str]]:
        """Send a job, and return the only workers that may take it; none named: all.

        The job is None where the scheduler is away, or no worker is fit: `tend` sends it later.
        """
        among = self.fit() if self._unfit else set()
        if self._unfit and not among:
            return None, among
        sent = pickle.dumps((order, self.options))
        try:
            return self._client.submit(do, sent, __version__, pure=False, workers=list(among) or None), among
        except Exception:  # what a client that is closing raises differs
            return None, among

    def refuse(self, failed: Future, why: str) -> None:
        """Give no more jobs to the worker on which a task has failed; raise Sve2HdrError where no other is there."""
        key, addresses = failed.key, list[str]()

        def erred_on(dask_scheduler: Any) -> list[str]:
            return list(dask_scheduler.tasks[key].erred_on)

        with contextlib.suppress(Exception):  # the scheduler is gone just now: the job is sent again
            addresses = self._client.run_on_scheduler(erred_on)
        self._look()
        for address in set(addresses) - self._unfit:
            self._unfit.add(address)
            if self._threads and not self.fit():
                raise Sve2HdrError(f"the Dask worker {address} {why}")
            self._say.notice(f"the Dask worker {address} {why}; it gets no more jobs")

    def _look(self) -> None:
        self._asked = time.monotonic()
        with contextlib.suppress(Exception):  # gone just now: the next turn sees it
            self._threads = self._client.nthreads()
            self._unfit &= self._threads.keys()  # one that comes back may have been put right

    def tend(self) -> None:
        """Look after the connection, the number of threads, and jobs that a scheduler took with it."""
        if self._client.status == "closed":
            with contextlib.suppress(OSError, ValueError):
                self._client = self._connected(ANSWER_S)
        if self._client.status != "running":
            if not self._told:
                self._say.notice(
                    f"the Dask scheduler at {self.address} is gone; waiting for it, Ctrl-C twice ends that"
                )
            self._told = True
            return
        if time.monotonic() - self._asked >= ASK_EVERY_S:
            self._look()
        if self._told:
            self._say.notice(f"the Dask scheduler at {self.address} is back")
        self._told = False
        for hand in self._hands:
            hand.tend()

    def close(self) -> None:
        """Leave the cluster; jobs that are not begun are dropped there."""
        with contextlib.suppress(Exception):
            self._client.close(timeout=ANSWER_S)


class ClusterHand:
    """A thread of the cluster as the batch sees it: `Worker` has the same members."""

    def __init__(self, cluster: Cluster) -> None:
        self.connection, self._inside = multiprocessing.Pipe(duplex=False)
        self.order: Order | None = None
        self.ready = True
        self._cluster = cluster
        self._future: Future | None = None
        self._among: Collection[str] = ()  # the only workers that may take the job; none: all

    def send(self, order: Order) -> None:
        """Send a job to the cluster, now or when its scheduler is back."""
        self.order = order
        self._future, self._among = self._cluster.submit(order)
        if self._future is not None:
            self._future.add_done_callback(self._wake)

    def tend(self) -> None:
        """Send a job again that was lost, or whose workers are gone; look at one whose end was not told."""
        if self._future is not None and self._among and not self._cluster.fit().intersection(self._among):
            self._future.cancel()
            self._future = None
        if self.order is not None and self._future is None:
            self.send(self.order)
        elif self._future is not None and self._future.status != "pending":
            self._wake()

    def _wake(self, future: Future | None = None) -> None:
        with contextlib.suppress(OSError):
            self._inside.send(None)

    def receive(self) -> FileResult | None:
        """Return a result, or None for a sign of life.

        Raises WorkerDied if the process that did the job is gone, and Sve2HdrError if no machine can do jobs.
        """
        while self.connection.poll():
            self.connection.recv()
        if self._future is None or self._future.status == "pending":
            return None
        if self._future.status not in ("finished", "error"):  # cancelled, lost
            self._future = None
            return None
        try:
            said: FileResult | str = pickle.loads(self._future.result(timeout=ANSWER_S))
        except KilledWorker:
            self.order = self._future = None
            self.end()
            raise WorkerDied("was lost with its Dask worker, and so were others after it") from None
        except (OSError, TimeoutError):  # its machine went before the result was fetched: the scheduler has it redone
            return None
        except Exception as error:
            failed, self._future = self._future, None
            if failed.status == "error":
                self._cluster.refuse(failed, _why(error))
            return None
        self.order = self._future = None
        if isinstance(said, str):
            self.end()
            raise WorkerDied(said)
        return said

    def overdue(self, timeout_s: float) -> None:
        """Do nothing: the time-out is the task's, on its machine."""

    def end(self) -> str:
        """Drop the job; one that is begun is finished on its machine."""
        if self._future is not None:
            with contextlib.suppress(Exception):
                self._future.cancel()
        self.connection.close()
        self._inside.close()
        return ""

    def close(self) -> None:
        """End."""
        self.end()


def _why(error: Exception) -> str:
    """Return why a machine can do no jobs."""
    if isinstance(error, Sve2HdrError):
        return f"cannot do jobs: {error}"
    text = " ".join(str(error).split())
    return f"cannot do jobs ({type(error).__name__}: {text}); install the same sve2hdr[cluster] on all machines"
