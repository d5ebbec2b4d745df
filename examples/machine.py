"""What a benchmark says of the machine it ran on, and of the time that something took there."""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sve2hdr.memory import usable_cores


def machine() -> str:
    """Return the processor's name, how many cores this process may use, and the system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return (
        f"{name}, {usable_cores()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )


def timed(run: Callable[[], object], runs: int = 3) -> list[float]:
    """Return the seconds of each run, after one that is not counted."""
    run()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return seconds


def spread(seconds: Sequence[float]) -> str:
    """Return median and range.

    >>> spread([1, 3, 2])
    '2.00 s (1.00-3.00)'
    """
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f})"
