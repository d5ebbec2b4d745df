"""What arrives in the inputs while a batch watches them: files that are complete, once, and again when they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .joblist import Job, JobList
from .manifest import Stamp
from .places import place

EVERY_S = 1.0  # how often the inputs are looked through
SETTLE_S = 3.0  # a file that has not changed for so long is complete


class Watch:
    """Asked again and again, it returns the jobs that have become ready. `collect` lists all jobs there are now."""

    def __init__(
        self,
        collect: Callable[[], JobList],
        refused: Callable[[str, str], None],
        idle_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collect, self._refused = collect, refused
        self._idle_s, self._clock = idle_s, clock
        self._seen: dict[str, tuple[Stamp, float]] = {}  # each raw as it is, and since when
        self._taken: dict[str, Stamp] = {}
        self._told: set[tuple[str, str]] = set()
        self._next = self._last_new = clock()

    def __call__(self) -> Sequence[tuple[Job, bool]] | None:
        """Return new jobs, each with whether an earlier state of its raw was taken; None: idle for long enough."""
        now = self._clock()
        if now < self._next:
            return ()
        found, ready = self._collect(), []
        for refusal in found.refused:
            if refusal not in self._told:
                self._told.add(refusal)
                self._refused(*refusal)
        for job in found.jobs:
            if self._complete(job.raw, now):
                ready.append((job, job.raw in self._taken))
                self._taken[job.raw] = self._seen[job.raw][0]
        if ready or any(self._taken.get(raw) != stamp for raw, (stamp, _) in self._seen.items()):
            self._last_new = now
        self._next = self._clock() + EVERY_S
        return None if self._idle_s is not None and now - self._last_new >= self._idle_s else ready

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
