"""Ctrl-C, and signals to end, in our own hands for a while."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

TO_END = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
STOP_SIGNALS = [signal.SIGINT, *TO_END]


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


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt for a signal to end, so that all is cleaned up as after Ctrl-C.

    Once: a terminal that is closed tells of it more than once, and the cleaning up shall come to its end.
    """
    for number in TO_END:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
