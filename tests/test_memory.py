"""What memory there is, what a worker may take, and that it is held to that."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sve2hdr.commands import batchcommand
from sve2hdr.errors import Sve2HdrError
from sve2hdr.folders import workload
from sve2hdr.folders.jobstate import BatchOptions
from sve2hdr.folders.workload import Load, megapixels_of, parse_size, plan, too_large
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.memory import available_bytes, peak_mb, reset_peak, usable_cores
from sve2hdr.mosaic import Mosaic
from sve2hdr.system import devices

GB = 1_000_000_000
FRAME = Load(24, 8)


def system(folder: Path, available_kb: int, groups: dict[str, tuple[str, str, str]], lines: str) -> tuple[Path, Path]:
    """Write what /proc and /sys/fs/cgroup hold: by group, its limit, use and statistics."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {available_kb} kB\n")
    (folder / "proc/self/cgroup").write_text(lines)
    (folder / "groups").mkdir()
    for name, texts in groups.items():
        first = name.startswith("memory")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if first else ("memory.max", "memory.current")
        (folder / "groups" / name).mkdir(parents=True, exist_ok=True)
        for file, text in zip((*names, "memory.stat"), texts, strict=True):
            (folder / "groups" / name / file).write_text(text)
    return folder / "proc", folder / "groups"


@pytest.mark.parametrize(
    ("available_kb", "groups", "lines", "expected"),
    [
        (8000, {}, "", 8_192_000),
        (8000, {"a/b": ("max", "5", ""), "a": ("6000000", "2000000", "inactive_file 500000")}, "0::/a/b\n", 4_500_000),
        (2000, {"a": ("6000000", "2000000", "")}, "0::/a\n", 2_048_000),
        (8000, {"memory/x": ("3000000", "1000000", "total_inactive_file 7")}, "4:memory:/x\n3:cpuset:/\n", 2_000_007),
        (8000, {".": ("700", "900", "")}, "0::/outside/of/the/container\n", 0),
    ],
)
def test_available_memory_heeds_control_groups(
    tmp_path: Path, available_kb: int, groups: dict[str, tuple[str, str, str]], lines: str, expected: int
) -> None:
    assert available_bytes(*system(tmp_path, available_kb, groups, lines)) == expected


def test_available_memory_of_this_machine() -> None:
    assert 50_000_000 < available_bytes() < 2**50
    assert available_bytes(Path("/nowhere"), Path("/nowhere")) > GB / 2


def test_available_memory_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    class MemoryStatusEx(ctypes.Structure):
        _fields_ = (
            *((name, ctypes.c_uint32) for name in ("dwLength", "dwMemoryLoad")),
            *((name, ctypes.c_uint64) for name in ("ullTotalPhys", "ullAvailPhys", "ullTotalPageFile")),
            *((name, ctypes.c_uint64) for name in ("ullAvailPageFile", "ullTotalVirtual", "ullAvailVirtual")),
            ("ullAvailExtendedVirtual", ctypes.c_uint64),
        )

    def tell(at: object) -> bool:
        status = ctypes.cast(at, ctypes.POINTER(MemoryStatusEx)).contents  # type: ignore[arg-type]
        status.ullTotalPhys, status.ullAvailPhys, status.ullAvailPageFile = 32 * GB, 20 * GB, 40 * GB
        return bool(status.dwLength == ctypes.sizeof(MemoryStatusEx))

    kernel32 = SimpleNamespace(GlobalMemoryStatusEx=tell)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel32), raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert available_bytes(Path("/nowhere"), Path("/nowhere")) == 20 * GB
    kernel32.GlobalMemoryStatusEx = lambda at: False
    assert available_bytes(Path("/nowhere"), Path("/nowhere")) == 4 * 2**30


def test_windows_waits_for_no_more_than_60_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "MOST_WORKERS", 60)
    assert plan(999 * GB, FRAME, 128).workers == 60
    assert plan(999 * GB, FRAME, 128, workers=100).workers == 60


def test_a_plan_never_takes_more_than_its_limit() -> None:
    for limit in (1 * GB, 2 * GB, 4 * GB, 16 * GB, 128 * GB):
        for load in (Load(1, 8), Load(12, 16), Load(24, 8), Load(60, 96), Load(150, 16)):
            for cores in (1, 2, 8, 64):
                try:
                    planned = plan(limit, load, cores)
                except Sve2HdrError:
                    assert load.worker_mb(256) > limit / 1e6
                    continue
                assert planned.workers * load.worker_mb(planned.tile_px) <= limit / 1e6
                assert planned.workers * planned.threads <= cores
                assert planned.worker_mb * planned.workers == pytest.approx(limit / 1e6)


def test_more_memory_gives_no_fewer_workers() -> None:
    counts = [plan(limit * GB, FRAME, 16).workers for limit in (3, 6, 12, 24, 48, 96)]
    assert counts == sorted(counts)
    assert counts[-1] == 16
    assert counts[0] < 4


def test_what_the_user_asks_for_is_taken_or_refused() -> None:
    asked = plan(16 * GB, FRAME, 8, workers=3, tile_px=512)
    assert (asked.workers, asked.threads, asked.tile_px) == (3, 2, 512)
    with pytest.raises(Sve2HdrError, match="--workers"):
        plan(2 * GB, Load(60, 8), 8, workers=6)
    assert plan(64 * GB, FRAME, 1, workers=4).workers == 4  # more than cores, if they are asked for


@pytest.mark.parametrize(
    ("device", "files", "workers", "threads"),
    [("cpu", 1, 1, 8), ("cpu", 0, 1, 8), ("cpu", 3, 3, 2), ("cpu", 100, 8, 1), ("cpu", None, 8, 1), ("cuda", 9, 4, 2)],
)
def test_few_files_and_a_gpu_leave_no_core_idle(
    device: str, files: int | None, workers: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batchcommand, "usable_cores", lambda: 8)
    monkeypatch.setattr(devices, "choose_device", lambda name: SimpleNamespace(type=device))
    planned = batchcommand._planned(BatchOptions("out"), FRAME, 99 * GB, None, None, files)
    assert (planned.workers, planned.threads) == (workers, threads)


@pytest.mark.parametrize(("files", "workers", "threads"), [(1, 1, 8), (3, 3, 2), (20, 12, 1), (None, 12, 1)])
def test_more_workers_than_files_are_not_started_though_they_are_asked_for(
    files: int | None, workers: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batchcommand, "usable_cores", lambda: 8)
    planned = batchcommand._planned(BatchOptions("out"), FRAME, 99 * GB, 12, None, files)
    assert (planned.workers, planned.threads) == (workers, threads)


def test_a_frame_is_too_large_where_no_plan_fits_it_alone() -> None:
    for limit in (2 * GB, 4 * GB, 16 * GB):
        for megapixels in (1, 24, 60, 200, 900):
            for tile_px in (None, 1024):
                load = Load(megapixels, 8)
                try:
                    plan(limit, load, 4, None, tile_px)
                except Sve2HdrError:
                    assert "give a larger --memory or a smaller --tile" in too_large(limit, load, tile_px)
                else:
                    assert too_large(limit, load, tile_px) == ""
    assert too_large(GB // 10, Load(900, 8)) == ""  # none fits: nothing that is to be said of each file


@pytest.mark.parametrize("text", ["", "much", "-1G", "0", "4X", "1e3", "nan", "4", "4B"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="write 4G"):
        parse_size(text)


def test_size_of_a_raw(tmp_path: Path) -> None:
    frame = Mosaic(np.zeros((1000, 1500), np.uint16), "RGGB", np.zeros((1, 1), np.float32), 255.0, np.eye(3))
    write_cfa_dng(tmp_path / "a.dng", frame)
    assert megapixels_of(tmp_path / "a.dng") == 1.5
    (tmp_path / "b.raf").write_bytes(bytes(2_000_000))
    assert megapixels_of(tmp_path / "b.raf") == 2
    assert megapixels_of(tmp_path / "none") == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit and the reset are Linux's")
def test_a_process_is_held_to_its_limit_and_its_peak_is_known() -> None:
    script = (
        "import numpy as np\n"
        "from sve2hdr.memory import limit_memory, peak_mb, reset_peak\n"
        "np.ones(20_000_000); high = peak_mb(); reset_peak(); low = peak_mb()\n"
        "limit_memory(700)\n"
        "try: np.ones(200_000_000)\n"
        "except MemoryError: print(high - low > 100, peak_mb() < 500)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=True)
    assert ran.stdout.split() == ["True", "True"]
    reset_peak()
    assert 10 < peak_mb() < 100_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_holes_between_what_is_in_use_are_given_back() -> None:
    script = (
        "import re\n"
        "from sve2hdr.memory import keep_freed_memory, release_freed_memory\n"
        "def resident(): return int(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1000\n"
        "keep_freed_memory()\n"
        "start = resident()\n"
        "blocks = [bytes(100_000) if n % 2 else bytearray(b'x' * 100_000) for n in range(2000)]\n"
        "print(resident() - start)\n"
        "blocks = blocks[-1:]\n"
        "print(resident() - start)\n"
        "release_freed_memory()\n"
        "print(resident() - start)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    used, kept, released = map(float, done.stdout.split())
    assert used > 90
    assert kept > 0.9 * used
    assert released < 0.1 * used


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
@pytest.mark.parametrize("limit", ["", "limit_memory(start + 100, 16)\n"])
def test_threads_share_what_is_freed_and_their_stacks_are_no_part_of_the_limit(limit: str) -> None:
    script = (
        "import threading\n"
        "from sve2hdr.memory import data_mb, keep_freed_memory, limit_memory\n"
        "keep_freed_memory()\n"
        f"start = data_mb()\n{limit}"
        "turn, together = threading.Lock(), threading.Barrier(16, timeout=20)\n"
        "def work():\n"
        "    together.wait()\n"
        "    with turn: [bytearray(5_000_000) for _ in range(5)]\n"
        "    together.wait()\n"
        "threads = [threading.Thread(target=work, daemon=True) for _ in range(16)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join(30)\n"
        "print(data_mb() - start)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert not ran.stderr
    assert 25 < float(ran.stdout) < 150  # of all, not 16 times as much, and some stacks


def test_cores_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
