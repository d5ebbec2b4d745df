"""How much memory and how many cores this process may use, what it has taken, and what it keeps and gives back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

USUAL_STACK_BYTES, MOST_STACK_BYTES = 8 << 20, 1 << 30  # of a thread; more is no limit


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how much memory this process and its children may still take: of the machine, and of control groups."""
    limits = [*_machine(proc), *_control_groups(proc, groups)]
    return max(0, min(limits)) if limits else 4 * 2**30  # unknown: what any machine for photos has


def _machine(proc: Path) -> Iterable[int]:
    with contextlib.suppress(OSError, LookupError, ValueError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB", (proc / "meminfo").read_text(), re.MULTILINE)
        return [int(found[1]) * 1024] if found else []
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    with contextlib.suppress(AttributeError, OSError):  # Windows
        kernel32 = ctypes.windll.kernel32  # type: ignore[attr-defined]
        status = (ctypes.c_uint64 * 8)(64)  # MEMORYSTATUSEX: its size and the load, ullTotalPhys, ullAvailPhys, ...
        return [status[2]] if kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else []
    return []


def _control_groups(proc: Path, groups: Path) -> Iterable[int]:
    """Yield what is left of the limit of each group this process is in; pages of files, which can go, count as left."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for _, controllers, name in (line.split(":", 2) for line in lines):
        if controllers and "memory" not in controllers.split(","):
            continue
        names = ("memory.max", "memory.current", "inactive_file")
        top = groups
        if controllers:  # version 1
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = groups / "memory"
        below = Path(name.lstrip("/"))
        for part in (below, *below.parents):  # inside a container the names of outside may not exist; the top does
            with contextlib.suppress(OSError, ValueError):
                limit, used = (int((top / part / file).read_text()) for file in names[:2])
                cached = re.search(rf"^{names[2]} (\d+)$", (top / part / "memory.stat").read_text(), re.MULTILINE)
                yield limit - used + (int(cached[1]) if cached else 0)


def reset_peak() -> None:
    """Let the peak of this process's memory be counted from here on, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Return the peak of this process's resident memory, MB (10^6 bytes), since `reset_peak` or its start."""
    peak = _status_mb("VmHWM")
    if peak is not None:
        return round(peak, 1)
    with contextlib.suppress(AttributeError, OSError):  # Windows
        counters = (ctypes.c_uint64 * 9)(72)  # PROCESS_MEMORY_COUNTERS: its size and faults, PeakWorkingSetSize, ...
        this = ctypes.c_void_p(-1)
        told = ctypes.windll.kernel32.K32GetProcessMemoryInfo(this, ctypes.byref(counters), 72)  # type: ignore[attr-defined]
        return round(counters[1] / 1e6, 1) if told else 0.0
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def data_mb() -> float | None:
    """Return what `limit_memory` counts of this process, MB; None where the system does not tell."""
    return _status_mb("VmData")


def _status_mb(name: str) -> float | None:
    with contextlib.suppress(OSError):
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 / 1e6 if found else None
    return None


def limit_memory(megabytes: float, threads: int = 0) -> None:
    """Let allocations of this process beyond a limit fail with MemoryError, in place of the machine's end (Linux).

    Stacks of so many `threads` to come are not part of it: the system counts each whole, of which little is ever used.
    """
    if sys.platform.startswith("linux"):
        import resource

        stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
        limit = int(megabytes * 1e6) + threads * (stack if 0 < stack < MOST_STACK_BYTES else USUAL_STACK_BYTES)
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def keep_freed_memory() -> None:
    """Let the C library keep the memory of one tile for the next, instead of returning it and asking for it anew.

    Without this, each of a network's large tensors costs fresh pages, which takes time on CPUs. What a thread is done
    with is there for all: else each would keep its own. Only glibc has the settings (mallopt(3): M_MMAP_THRESHOLD,
    M_TRIM_THRESHOLD, M_ARENA_MAX); elsewhere nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for parameter, value in ((-3, 1 << 30), (-1, 1 << 30), (-8, 1)):
        mallopt(parameter, value)


def release_freed_memory() -> None:
    """Give back what `keep_freed_memory` keeps, so that holes that many files leave in it do not add up (glibc)."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
