"""A batch on a Dask cluster: real scheduler and workers, which are killed, added and restarted, and some unfit."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
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
from distributed import LocalCluster, Worker, get_worker
from frames import PAIRS

from sve2hdr.errors import Sve2HdrError
from sve2hdr.folders import cluster, clustertask
from sve2hdr.folders.batch import Batch, Events, Outcome, RunOptions
from sve2hdr.folders.clustertask import TaskOptions
from sve2hdr.folders.joblist import Job
from sve2hdr.folders.jobstate import BatchOptions, FileResult
from sve2hdr.folders.worker import Order
from sve2hdr.folders.workload import Load
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.network import NetworkConfig, SveNet
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate
from sve2hdr.weights import save_weights

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


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="ends groups of processes, as POSIX does")
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


# Machines that can do no jobs -----------------------------------------------------------------------------------------


class Told(Events):
    """What a user of a batch is told."""

    def __init__(self, finished: Callable[[], None] = lambda: None) -> None:
        self.notices: list[str] = []
        self._finished = finished

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def finished(self, job: Job, result: FileResult) -> None:
        self._finished()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalCluster]:
    """Return a scheduler with two workers in this process, called 0 and 1."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, local_directory=str(tmp_path)
    ) as machines:
        yield machines


def run(
    machines: LocalCluster, out: Path, unfit: tuple[object, ...], told: Told, monkeypatch: pytest.MonkeyPatch
) -> Outcome:
    """Do eight jobs; workers that are called so can do none."""

    def do(sent: bytes, version: str) -> bytes:
        if get_worker().name in unfit:
            raise Sve2HdrError("too little memory")
        time.sleep(0.05)
        order, _ = pickle.loads(sent)
        return pickle.dumps(FileResult(order.job.raw, "converted", found={"by": get_worker().name}))

    monkeypatch.setattr(cluster, "do", do)
    monkeypatch.setattr(cluster, "ASK_EVERY_S", 0.1)
    options = BatchOptions(str(out))
    crew = cluster.Cluster(machines.scheduler_address, TaskOptions(options, 60, Load(1.0, 8)), told)
    jobs = [Job(f"{i}.dng", f"{i}.dng", (f"{i}.exr",)) for i in range(8)]
    return Batch(options, RunOptions(), told, crew=crew).run(jobs)


def test_an_unfit_machine_is_told_of_once_and_others_do_its_jobs(
    local: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    outcome = run(local, tmp_path / "out", (0,), told, monkeypatch)
    assert [(result.outcome, result.found["by"]) for result in outcome.results] == [("converted", 1)] * 8
    unfit = local.workers[0].address
    assert told.notices == [f"the Dask worker {unfit} cannot do jobs: too little memory; it gets no more jobs"]


def test_a_batch_is_given_up_where_all_machines_are_unfit(
    local: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    with pytest.raises(Sve2HdrError, match=r"cannot do jobs: too little memory$"):
        run(local, tmp_path / "out", (0, 1), told, monkeypatch)
    assert len(told.notices) == 1


def test_jobs_of_the_only_fit_machine_go_to_the_next_when_it_leaves(
    local: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        if told.notices and 1 in local.workers:
            fit: Worker = local.workers.pop(1)
            local.sync(fit.close)
            local.scale(3)

    told = Told(change)
    outcome = run(local, tmp_path / "out", (0,), told, monkeypatch)
    by = [result.found["by"] for result in outcome.results]
    assert len(by) == 8
    assert set(by) == {1, 2}


@pytest.mark.parametrize("here", [True, False])
def test_a_machine_whose_temporary_folder_is_full_is_unfit(monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    full = FileResult("1.dng", "failed", error="the temporary folder is full", hopeless=True, full_here=here)
    monkeypatch.setattr(clustertask, "_taken", lambda run: object())
    monkeypatch.setattr(clustertask, "_asked", lambda worker, order, timeout_s: full)
    monkeypatch.setattr(clustertask, "_idle", [])
    options = TaskOptions(BatchOptions("s3://shoot/out"), 60, Load(1.0, 8))
    order = Order(Job("1.dng", "1.dng", ("1.exr",)))
    if not here:  # but OUT, for all
        assert clustertask._said(order, options) is full
    else:
        with pytest.raises(Sve2HdrError, match="the temporary folder is full"):
            clustertask._said(order, options)


def test_an_idle_process_that_died_is_not_given_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    class Idle:
        def __init__(self, alive: bool) -> None:
            self.alive, self.ended = lambda: alive, False

        def end(self) -> None:
            self.ended = True

    dead, alive, other = Idle(False), Idle(True), Idle(True)
    waiting = [(0.0, "ours", dead), (0.0, "theirs", other), (0.0, "ours", alive)]
    monkeypatch.setattr(clustertask, "_idle", waiting)
    assert clustertask._taken("ours") is alive
    assert dead.ended
    assert clustertask._taken("ours") is None
    assert waiting == [(0.0, "theirs", other)]
