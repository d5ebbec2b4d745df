"""A watch takes complete files, once, and again when they change."""

from __future__ import annotations

from pathlib import Path

import pytest

from sve2hdr.errors import Sve2HdrError
from sve2hdr.folders.joblist import Job, JobList
from sve2hdr.folders.watch import BUSY_SHARE, EVERY_S, SETTLE_S, SHARE, Watch


class Folder:
    """A folder that is watched, and the clock by which it is."""

    def __init__(self, folder: Path, idle_s: float | None = None) -> None:
        self.folder, self.now, self.refused = folder, 0.0, [("x.dng", "clash")]
        self.told: list[tuple[str, str]] = []
        self.noticed: list[str] = []
        self.fails: Exception | None = None
        self.failed: set[str] = set()
        self.looks, self.takes_s = 0, 0.0
        self.watch = Watch(
            self.collect,
            lambda *refusal: self.told.append(refusal),
            self.noticed.append,
            idle_s,
            lambda: self.now,
            lambda job: "too large" if Path(job.raw).stat().st_size > 100 else "",
            lambda raw: Path(raw).name in self.failed,
        )

    def collect(self) -> JobList:
        self.looks += 1
        self.now += self.takes_s
        if self.fails:
            raise self.fails
        paths = sorted(self.folder.glob("*.dng"))
        return JobList([Job(str(path), path.name, (f"{path.stem}.exr",)) for path in paths], list(self.refused))

    def after(self, seconds: float, busy: bool = False) -> list[tuple[str, bool]] | None:
        self.now += seconds
        ready = self.watch(busy)
        return None if ready is None else [(job.relative, again) for job, again in ready]


def test_a_file_is_taken_when_it_grows_no_more(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    growing = tmp_path / "a.dng"
    for size in range(1, 6):
        growing.write_bytes(bytes(size))
        assert folder.after(EVERY_S) == []
    assert folder.after(SETTLE_S + EVERY_S) == [("a.dng", False)]
    assert folder.after(60) == []
    growing.write_bytes(bytes(9))
    assert folder.after(EVERY_S) == []
    assert folder.after(SETTLE_S) == [("a.dng", True)]
    assert folder.told == [("x.dng", "clash")]  # once


@pytest.mark.parametrize(("busy", "share"), [(False, SHARE), (True, BUSY_SHARE)])
def test_looking_leaves_most_of_the_time_to_what_is_in_work(tmp_path: Path, busy: bool, share: float) -> None:
    folder = Folder(tmp_path)
    folder.takes_s = 8
    while folder.now < 1600:
        folder.after(0.25, busy)
    assert share / 2 < folder.looks * folder.takes_s / folder.now < share * 1.1


def test_when_the_work_is_done_the_next_look_is_soon(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.takes_s = 8
    folder.after(0, busy=True)
    folder.after(8 / SHARE, busy=True)
    assert folder.looks == 1
    folder.after(0)
    assert folder.looks == 2


def test_empty_and_vanished_files_are_not_taken(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    (tmp_path / "a.dng").touch()
    (tmp_path / "b.dng").write_text("b")
    assert folder.after(EVERY_S) == []
    true, folder.collect = folder.collect, lambda: JobList([Job("gone.dng", "gone.dng", ("gone.exr",))])  # type: ignore[method-assign]
    assert true().jobs
    folder.watch._collect = folder.collect
    assert folder.after(60) == []


def test_a_watch_ends_when_nothing_arrives(tmp_path: Path) -> None:
    folder = Folder(tmp_path, idle_s=10)
    assert folder.after(9) == []
    (tmp_path / "a.dng").write_text("a")
    assert folder.after(EVERY_S) == []
    assert folder.after(9) == [("a.dng", False)]
    assert folder.after(9) == []
    assert folder.after(EVERY_S) is None


def test_a_watch_does_not_end_while_files_are_in_work(tmp_path: Path) -> None:
    folder = Folder(tmp_path, idle_s=10)
    assert folder.after(9) == []
    assert folder.after(60, busy=True) == []
    assert folder.after(9) == []
    assert folder.after(EVERY_S) is None


def test_a_store_that_is_away_is_told_of_and_comes_back(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert folder.after(EVERY_S) == []
    for fails in (Sve2HdrError("s3://a: cannot be read (timed out)"), OSError(5, "timed out", "s3://a")):
        folder.fails = fails
        assert folder.after(EVERY_S) == folder.after(EVERY_S) == []
    assert [said.split(";")[0] for said in folder.noticed] == [
        "s3://a: cannot be read (timed out)",
        "s3://a: timed out",
    ]
    folder.fails = None
    (tmp_path / "a.dng").write_text("a")
    assert folder.after(EVERY_S) == []
    assert folder.after(SETTLE_S) == [("a.dng", False)]
    folder.fails = fails
    assert folder.after(EVERY_S) == []
    assert len(folder.noticed) == 3  # it was there meanwhile
    folder.fails = None
    assert folder.after(SETTLE_S + EVERY_S) == []  # what is done is not new


def test_what_failed_is_taken_again_when_its_card_comes_back(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for name in ("a.dng", "b.dng"):
        (tmp_path / name).write_text(name)
    assert folder.after(EVERY_S) == []
    assert folder.after(SETTLE_S) == [("a.dng", False), ("b.dng", False)]
    folder.failed = {"b.dng"}
    assert folder.after(60) == []  # it lies there, and would fail again
    folder.fails = Sve2HdrError("card: no such file or folder; check the path")
    assert folder.after(EVERY_S) == []
    folder.fails = None
    assert folder.after(EVERY_S) == []
    assert folder.after(SETTLE_S) == [("b.dng", False)]


def test_a_watch_ends_though_a_file_went_before_it_was_complete(tmp_path: Path) -> None:
    folder = Folder(tmp_path, idle_s=10)
    (tmp_path / "a.dng").write_text("a")
    assert folder.after(EVERY_S) == []
    (tmp_path / "a.dng").unlink()
    assert folder.after(EVERY_S) == []
    assert folder.after(10) is None


def test_a_file_that_takes_too_much_memory_is_refused_each_time_it_arrives(tmp_path: Path) -> None:
    folder = Folder(tmp_path, idle_s=10)
    large = tmp_path / "a.dng"
    for size in (200, 300):
        large.write_bytes(bytes(size))
        assert folder.after(EVERY_S) == folder.after(SETTLE_S) == []
        assert folder.after(EVERY_S) == []
    assert [refusal for refusal in folder.told if refusal[0] != "x.dng"] == [(str(large), "too large")] * 2
    large.write_bytes(bytes(9))
    assert folder.after(EVERY_S) == []
    assert folder.after(SETTLE_S) == [("a.dng", True)]
    assert folder.after(10) is None
