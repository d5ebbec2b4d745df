"""Ctrl-C, and signals to end, in our own hands for a while."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType


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
