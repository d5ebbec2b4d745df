"""A batch on a Dask cluster: real scheduler and workers on loopback, which are killed, added and restarted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sve2hdr.dngfile import write_cfa_dng
from sve2hdr.hdrfile import read_hdr
from sve2hdr.mosaic import ExposurePattern
from sve2hdr.network import NetworkConfig, SveNet
from sve2hdr.simulate import NEUTRAL, Sensor, simulate
from sve2hdr.weights import save_weights

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="ends groups of processes, as POSIX does")]
PAIRS = ExposurePattern(np.array([[1 / 8], [1 / 8], [1], [1]], np.float32))
FILES, PATIENCE_S = 10, 240.0
NO_DASHBOARD = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")


class Machines:
    """Processes that stand for machines of a cluster; each a group of its own, that can be killed as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, list[subprocess.Popen[bytes]]()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"

    def start(self, name: str, *command: object) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", *map(str, command)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"DASK_TEMPORARY_DIRECTORY": str(self.folder / "dask")},
            )
        self.started.append(started)
        return started

    def scheduler(self) -> subprocess.Popen[bytes]:
        return self.start("scheduler", "dask", "scheduler", "--host", "127.0.0.1", "--port", self.port, *NO_DASHBOARD)

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        return self.start(name, "dask", "worker", self.address, "--nthreads", 1, *NO_DASHBOARD)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wait_until(self, happened: Callable[[], bool], run: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            assert run.poll() is None, self.logs()
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)

    def logs(self) -> str:
        return "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    cluster = Machines(tmp_path)
    try:
        yield cluster
    finally:
        for process in cluster.started:
            with contextlib.suppress(ProcessLookupError):  # also what the first of a group has left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def raws(tmp_path: Path) -> Path:
    """Return a folder of raws, one of them broken, with weights beside it."""
    y, x = np.mgrid[:96, :128] / 20
    for seed in range(FILES):
        grey = np.exp2(-4 + 3 * np.sin(x + seed) * np.cos(y)).astype(np.float32)
        path = tmp_path / "raws" / f"card{seed % 2}" / f"{seed}.dng"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_cfa_dng(path, simulate(grey[..., None] * np.float32(NEUTRAL), "RGGB", PAIRS, Sensor(), seed=seed))
    (tmp_path / "raws" / "broken.dng").write_text("no raw")
    torch.manual_seed(0)
    config = NetworkConfig(widths=(8, 8, 8))
    save_weights(tmp_path / "tiny.safetensors", config, SveNet(config).state_dict(), {})
    return tmp_path / "raws"


def lines_of(report: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []


def test_killed_added_restarted_and_every_file_once(tmp_path: Path, machines: Machines, raws: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "run.jsonl"
    options = ("-o", out, "--model", tmp_path / "tiny.safetensors", "--device", "cpu", "--plain", "--report", report)
    scheduler, first = machines.scheduler(), machines.worker("first")
    batch = machines.start("batch", "sve2hdr", "batch", raws, *options, "--dask", machines.address)

    machines.wait_until(lambda: len(lines_of(report)) >= 2, batch)  # the first of them is no work
    machines.kill(first)
    at_kill = len(lines_of(report))
    machines.worker("second")
    machines.wait_until(lambda: len(lines_of(report)) >= at_kill + 2, batch)
    machines.kill(scheduler)
    at_restart = len(lines_of(report))
    assert at_restart <= FILES, "all was done before the scheduler was killed"
    machines.scheduler()
    machines.worker("third")  # Dask's workers end with their scheduler; who started them starts them again
    code = batch.wait(PATIENCE_S)

    lines = lines_of(report)
    assert code == 1, machines.logs()
    assert len({str(line["input"]) for line in lines}) == len(lines) == FILES + 1, machines.logs()
    assert sorted(str(line["outcome"]) for line in lines) == ["converted"] * FILES + ["failed"], machines.logs()
    said = (tmp_path / "batch.log").read_text()
    assert "is gone; waiting for it" in said
    for seed in range(FILES):
        assert read_hdr(out / f"card{seed % 2}" / f"{seed}.exr").shape == (96, 128, 3)
    assert len(list(out.rglob("*.exr"))) == FILES
    assert list((out / ".sve2hdr" / "work").iterdir()) == []
