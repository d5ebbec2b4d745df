"""What arrives in the inputs while a batch watches them: files that are complete, once, and again when they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..errors import Sve2HdrError, one_line
from ..system.places import place
from .joblist import Job, JobList
from .record import Stamp

EVERY_S, SHARE = 1.0, 0.2  # the inputs are looked through so often, unless that takes more than this share of the time
BUSY_SHARE = 0.05  # while there is work: who is done with a file waits for the next one until all is looked through
SETTLE_S = 3.0  # a file that has not changed for so long is complete


class Watch:
    """Asked again and again, it returns the jobs that have become ready. `collect` lists all jobs there are now.

    Where that fails nothing is new: a store or a card that is away may come back. `notice` is told why. `refused` is
    told what `collect` refuses, and why a job that is ready cannot be done: what `unfit` returns of it, if anything.
    What `failed`, as of a card that was pulled, is taken again when it comes back.
    """

    def __init__(
        self,
        collect: Callable[[], JobList],
        refused: Callable[[str, str], None],
        notice: Callable[[str], None],
        idle_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        unfit: Callable[[Job], str] = lambda job: "",
        failed: Callable[[str], bool] = lambda raw: False,
    ) -> None:
        self._collect, self._refused, self._notice, self._unfit = collect, refused, notice, unfit
        self._failed = failed
        self._away = ""  # why the inputs cannot be listed
        self._idle_s, self._clock = idle_s, clock
        self._seen: dict[str, tuple[Stamp, float]] = {}  # each raw as it is, and since when
        self._taken: dict[str, Stamp] = {}
        self._told: set[tuple[str, str]] = set()
        self._last_new = clock()
        self._looked, self._took_s = self._last_new - EVERY_S, 0.0

    def __call__(self, busy: bool = False) -> Sequence[tuple[Job, bool]] | None:
        """Return new jobs, each with whether an earlier state of its raw was taken; None: idle for long enough.

        It is not idle while it is `busy` with jobs.
        """
        now = self._clock()
        if busy:
            self._last_new = now
        if now < self._looked + max(EVERY_S, self._took_s * (1 / (BUSY_SHARE if busy else SHARE) - 1)):
            return ()
        found, ready, new = self._listed(), [], False
        for refusal in found.refused:
            if refusal not in self._told:
                self._told.add(refusal)
                self._refused(*refusal)
        there = {job.raw for job in found.jobs}
        self._seen = {raw: seen for raw, seen in self._seen.items() if raw in there}
        self._taken = {raw: at for raw, at in self._taken.items() if raw in there or not self._failed(raw)}
        for job in found.jobs:
            if self._complete(job.raw, now):
                again, new = job.raw in self._taken, True
                self._taken[job.raw] = self._seen[job.raw][0]
                if why := self._unfit(job):
                    self._refused(job.raw, why)
                else:
                    ready.append((job, again))
        if new or any(self._taken.get(raw) != stamp for raw, (stamp, _) in self._seen.items()):
            self._last_new = now
        self._looked = self._clock()
        self._took_s = self._looked - now
        return None if self._idle_s is not None and now - self._last_new >= self._idle_s else ready

    def _listed(self) -> JobList:
        try:
            found, away = self._collect(), ""
        except (Sve2HdrError, OSError) as error:
            found, away = JobList(), one_line(error)
        if away and away != self._away:
            self._notice(f"{away}; --watch goes on")
        self._away = away
        return found

    def _complete(self, raw: str, now: float) -> bool:
        """Return whether a raw has not changed for a while, holds something, and was not taken as it is."""
        try:
            stamp = Stamp.of(place(raw))
        except OSError:  # gone again
            self._seen.pop(raw, None)
            return False
        if self._seen.get(raw, (None, 0.0))[0] != stamp:
            self._seen[raw] = (stamp, now)
        settled = now - self._seen[raw][1] >= SETTLE_S
        return settled and stamp.size > 0 and self._taken.get(raw) != stamp
