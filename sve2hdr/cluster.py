"""A batch on many machines: each job is a task of a Dask cluster, done there by the worker process of any batch.

The client hands out the jobs, looks after the scheduler, and writes the report. Imports distributed, an extra.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import pickle
import time

from distributed import Client, Future, KilledWorker

from . import __version__
from .batch import Crew, Events, RunOptions
from .clustertask import TaskOptions, do
from .errors import Sve2HdrError
from .filejob import FileResult
from .worker import Order, WorkerDied

FIRST_ANSWER_S, ANSWER_S, ASK_EVERY_S = 30.0, 5.0, 2.0


class Cluster(Crew):
    """The threads of all Dask workers of a scheduler; they come and go, and so may the scheduler.

    Raises Sve2HdrError where no scheduler answers at the address.
    """

    def __init__(self, address: str, options: TaskOptions, say: Events) -> None:
        super().__init__(options.batch, RunOptions())
        self.address, self.options, self._say = address, options, say
        self._hands: list[ClusterHand] = []
        self._threads, self._asked, self._told = 0, -ASK_EVERY_S, False
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
        return max(1, self._threads)

    def hire(self) -> ClusterHand:
        """Return one more thread of the cluster."""
        self._hands = [hand for hand in self._hands if not hand.connection.closed]
        self._hands.append(ClusterHand(self))
        return self._hands[-1]

    def submit(self, order: Order) -> Future | None:
        """Send a job; None where the scheduler is away: `tend` sends it later."""
        try:
            return self._client.submit(do, pickle.dumps((order, self.options)), __version__, pure=False, retries=0)
        except Exception:  # what a client that is closing raises differs
            return None

    def tend(self) -> None:
        """Look after the connection, the number of threads, and jobs that a scheduler took with it."""
        if self._client.status == "closed":
            with contextlib.suppress(OSError, ValueError):
                self._client = self._connected(ANSWER_S)
        if self._client.status != "running":
            if not self._told:
                self._say.notice(f"the Dask scheduler at {self.address} is gone; waiting for it, Ctrl-C ends that")
            self._told = True
            return
        if time.monotonic() - self._asked >= ASK_EVERY_S:
            self._asked = time.monotonic()
            with contextlib.suppress(Exception):  # gone just now: the next turn sees it
                self._threads = sum(self._client.nthreads().values())
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

    def send(self, order: Order) -> None:
        """Send a job to the cluster, now or when its scheduler is back."""
        self.order, self._future = order, self._cluster.submit(order)
        if self._future is not None:
            self._future.add_done_callback(self._wake)

    def tend(self) -> None:
        """Send a job again that was lost; look at one whose end was not told."""
        if self.order is not None and self._future is None:
            self.send(self.order)
        elif self._future is not None and self._future.status != "pending":
            self._wake()

    def _wake(self, future: Future | None = None) -> None:
        with contextlib.suppress(OSError):
            self._inside.send(None)

    def receive(self) -> FileResult | None:
        """Return a result, or None for a sign of life.

        Raises WorkerDied if the process that did the job is gone, and Sve2HdrError if a machine can do no jobs.
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
        except Sve2HdrError:
            raise
        except (OSError, TimeoutError):  # its machine went before the result was fetched: the scheduler has it redone
            return None
        except Exception as error:
            if self._future.status == "error":
                raise Sve2HdrError(
                    f"a Dask worker cannot do jobs ({type(error).__name__}: {' '.join(str(error).split())}); "
                    "install the same sve2hdr[cluster] on all machines"
                ) from error
            self._future = None
            return None
        self.order = self._future = None
        if isinstance(said, str):
            self.end()
            raise WorkerDied(said)
        return said

    def silent_s(self) -> float:
        """Return 0: the time-out is the task's, on its machine."""
        return 0.0

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
