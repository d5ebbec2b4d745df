"""Ctrl-C, and signals to end, in our own hands for a while."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
ONE_WISH_S = 1.0  # within which signals tell of one wish to stop


@contextlib.contextmanager
def handling(numbers: Iterable[int], handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let `handle` take these signals during the block, if this is the main thread, which alone may; then as before.

    What is ignored stays so: SIGHUP after `nohup`, Ctrl-C in a shell's background.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    usual = {number: signal.signal(number, handle) or signal.SIG_DFL for number in heeded}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def stopping(*, at_once: bool) -> Iterator[list[float]]:
    """Yield a list that the times of Ctrl-C and signals to end are put into during the block.

    `at_once`: the first raises KeyboardInterrupt, so that all is cleaned up, and those after it shall not disturb that:
    `timeout` passes Ctrl-C on twice, and a terminal that is closed tells of it more than once, and perhaps after
    Ctrl-C. Ctrl-C a while after the first raises it in any case.
    """
    stopped_at: list[float] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        stopped_at.append(time.monotonic())
        insists = number == signal.SIGINT and stopped_at[-1] - stopped_at[0] > ONE_WISH_S
        if insists or (at_once and len(stopped_at) == 1):
            raise KeyboardInterrupt

    with handling(STOP_SIGNALS, handle):
        yield stopped_at
