"""Orders that wait, in the order in which they can be done: frames of a sequence after the one that finds it out.

One frame at a time leads: it finds out what its sequence shares. When it has found nothing, as in a clip of one
exposure, the others are looked at at the same time; those with nothing to share are done, and the first of the rest is
the next to lead, whichever is looked at sooner.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ..system.places import real
from .inputs import natural
from .joblist import Job
from .jobstate import BatchOptions, FileResult, Order, of_this_run, shared_before
from .remotemanifest import AnyManifest


class Queue:
    """What of a batch is not begun, but for what was put off. Its length is what can be done now."""

    def __init__(self, options: BatchOptions, manifest: AnyManifest) -> None:
        self.options, self.manifest = options, manifest
        self._waiting: deque[Order] = deque()
        self._anew: set[str] = set()  # raws that --overwrite has done anew, whether they wait, are in work, or over
        self._found: dict[str, dict[str, Any]] = {}  # sequences whose parameters are known
        self._held: dict[str, list[Order]] = {}  # jobs that wait for the first one of their sequence
        self._leads: dict[str, str] = {}  # that one's raw
        self._ordinary: set[str] = set()  # sequences whose last leader has found nothing to share
        self._looked_at: dict[str, set[str]] = {}  # raws of each that are at work at the same time
        self._unsure: dict[str, list[tuple[float, Order]]] = {}  # those that know too little for that, and how much

    def __len__(self) -> int:
        return len(self._waiting)

    def total(self) -> int:
        """Return how many there are, with those that wait for others."""
        held, unsure = (sum(map(len, waiting.values())) for waiting in (self._held, self._unsure))
        return len(self._waiting) + held + unsure

    def extend(self, orders: Iterable[Order]) -> None:
        """Add orders, to be done last."""
        for order in orders:
            self._returned(order)
            self._waiting.append(order)
            if self.options.overwrite and order.job.sequence:
                self._anew.add(real(order.job.raw))

    def put_back(self, order: Order) -> None:
        """Add an order, to be the next one."""
        self._returned(order)
        self._waiting.appendleft(order)

    def forget(self, name: str) -> None:
        """Ask again what a sequence shares."""
        self._found.pop(name, None)

    def take_result(self, order: Order, result: FileResult) -> bool:
        """Let the sequence of what was done go on; return whether it is over, or waits for one that knows more."""
        name = order.job.sequence
        if name and name in self._held and self._leads[name] == order.job.raw:
            if result.found.get("parameters") or (self.options.look_only and result.outcome == "converted"):
                self._share(name, result.found)
            elif result.outcome != "failed":  # which says nothing of the others
                self._ordinary.add(name)
            self._waiting.extendleft(reversed(self._held.pop(name, [])))
        if result.outcome == "leads":
            self._ordinary.discard(name)
            if name not in self._held:
                self._leads[name] = ""  # until all are back that are looked at: one of them may lie before it
            self._held.setdefault(name, []).append(order)
        elif result.outcome == "unsure":
            self._unsure.setdefault(name, []).append((result.found["doubt_ev"], order))
        self._returned(order)
        return result.outcome not in ("leads", "unsure")

    def _returned(self, order: Order) -> None:
        """Note that an order is not looked at any more; where it was the last of those, one that is held can lead."""
        name = order.job.sequence
        looked_at = self._looked_at.get(name, set())
        looked_at.discard(order.job.raw)
        if not looked_at and name in self._held and not self._leads[name]:
            held = sorted(self._held.pop(name), key=lambda order: natural(order.job.relative))
            self._waiting.extendleft(reversed(held))

    def let_unsure_lead(self) -> None:
        """Let the frame that knows most decide for a sequence in which none knows enough; the others follow."""
        self._ordinary.difference_update(self._unsure)
        for unsure in self._unsure.values():
            first = min(unsure, key=lambda pair: pair[0])
            self._waiting.extend(replace(o, leads=True) for _, o in (first, *(p for p in unsure if p is not first)))
        self._unsure.clear()

    def next(self) -> Order | None:
        """Return the next order whose sequence is known, or which finds it out."""
        while self._waiting:
            order = self._waiting.popleft()
            name = order.job.sequence
            if self.options.shared is not None:
                return replace(order, found=self.options.shared)
            if not name:
                return order
            if name not in self._found and (name not in self._held or self._leads[name] == order.job.raw):
                found = None if order.looked_up else self._shared_before(order)
                if found is None and name in self._ordinary:
                    self._looked_at.setdefault(name, set()).add(order.job.raw)
                    return replace(order, only_ordinary=True)
                if found is None:
                    self._leads[name] = order.job.raw
                    self._held.setdefault(name, [])
                    return replace(order, only_ordinary=False)
                self._share(name, found)
            if name in self._found:
                return replace(order, found=self._found[name], only_ordinary=False)
            self._held[name].append(order)
        return None

    def _shared_before(self, order: Order) -> dict[str, Any] | None:
        """Return what the order's sequence shares since an earlier batch, or another one that runs; None: nothing yet.

        With --overwrite it is found anew if the frame that has found it is done anew as well.
        """
        left = self._left_of(order.job.sequence)
        try:
            record = shared_before(order.job, self.options, self.manifest, others=left)
        except OSError:  # the worker meets it, or not any more
            return None
        if record is None or (record.raw in self._anew and not of_this_run(record, self.options)):
            return None
        return record.found

    def _left_of(self, name: str) -> Iterator[Job]:
        """Yield the jobs of a sequence that are not begun."""
        yield from (order.job for order in self._waiting if order.job.sequence == name)
        yield from (order.job for _, order in self._unsure.get(name, ()))

    def _share(self, name: str, found: dict[str, Any]) -> None:
        """Let the frames of a sequence that wait for what they share go on, in their order."""
        self._found[name] = found
        self._waiting.extendleft(reversed(self._held.pop(name, [])))
        self._waiting.extendleft(o for _, o in reversed(self._unsure.pop(name, [])))
