"""Claims hold between processes, all or nothing, and end with the process that holds them."""

from __future__ import annotations

import errno
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from sve2hdr.system import claims
from sve2hdr.system.claims import Claims, key_of

OTHER = """
import sys
from pathlib import Path
from sve2hdr.system.claims import Claims
claims = Claims(Path(sys.argv[1]))
for line in sys.stdin:
    print(claims.take(line.split()), flush=True)
"""


class Other:
    """Another process, which takes the keys it is told."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", OTHER, str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def take(self, *keys: str) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(keys) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip() == "True"


@pytest.fixture
def other(tmp_path: Path) -> Other:
    other = Other(tmp_path / "lock")
    yield other
    other.process.kill()
    other.process.communicate()


def test_a_key_is_held_by_one_process_until_it_dies(tmp_path: Path, other: Other) -> None:
    with Claims(tmp_path / "lock") as ours:
        assert ours.take(["a", "b"])
        assert not other.take("b")
        assert other.take("d")
        assert not ours.take(["d", "c"])
        assert other.take("c")  # nothing is kept of a claim that failed
        ours.release(["b"])
        assert other.take("b")
        other.process.kill()
        other.process.wait()
        assert ours.take(["b", "c", "d"])
        with ours.turn("device"):
            pass
    assert (tmp_path / "lock").read_bytes() == b""


def test_who_waits_for_a_turn_may_show_that_it_is_alive(tmp_path: Path, other: Other) -> None:
    waited = 0

    def waiting() -> None:
        nonlocal waited
        waited += 1
        if waited == 3:
            other.process.kill()
            other.process.wait()

    assert other.take("device")
    with Claims(tmp_path / "lock") as ours, ours.turn("device", waiting):
        assert waited >= 3


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks")
def test_nobody_waits_for_a_drive_that_does_not_answer(
    tmp_path: Path, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an NFS server has forgotten the file, or a FUSE file system has ended."""
    fcntl = importlib.import_module("fcntl")
    lock = fcntl.lockf

    def stale(descriptor: int, command: int, size: int, offset: int) -> None:
        if offset == claims._offset("b") and command != fcntl.LOCK_UN:
            raise OSError(errno.ESTALE, "Stale file handle")
        lock(descriptor, command, size, offset)

    monkeypatch.setattr(fcntl, "lockf", stale)
    with Claims(tmp_path / "lock") as ours:
        with pytest.raises(OSError, match=r"Stale file handle: '.*lock'"):
            ours.take(["a", "b"])
        assert other.take("a")  # nothing is kept of a claim that failed
        with pytest.raises(OSError, match="Stale file handle"), ours.turn("b"):
            pass


def loaded_again() -> ModuleType:
    spec = importlib.util.spec_from_file_location("claims_elsewhere", claims.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks")
def test_where_there_are_no_locks_on_macos_all_claims_are_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(45, "Operation not supported")

    monkeypatch.setattr(errno, "ENOTSUP", 45)
    monkeypatch.setattr(errno, "EOPNOTSUPP", 102)
    monkeypatch.setattr("fcntl.lockf", refuse)
    with loaded_again().Claims(tmp_path / "lock") as ours:
        assert ours.take(["a", "b"])


def test_locks_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As msvcrt has them: EACCES where a lock is held (Wine: what failed last, if anything), EINVAL where none are."""
    answers: list[OSError | None] = []

    def locking(descriptor: int, mode: int, size: int) -> None:
        assert (mode, size) in ((2, 1), (0, 1))
        if answers and (error := answers.pop(0)):
            raise error

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_UNLCK=0, LK_LOCK=1, LK_NBLCK=2, locking=locking))
    monkeypatch.setattr(sys, "platform", "win32")
    of_windows = loaded_again()
    held, unsupported = PermissionError(errno.EACCES, "held"), OSError(errno.EINVAL, "no locks")
    with of_windows.Claims(tmp_path / "lock") as ours:
        failed_last = FileNotFoundError(errno.ENOENT, "no record")
        for said, taken in (
            (None, True), (held, False), (OSError(0, "Error"), False), (failed_last, False), (unsupported, True),
        ):  # fmt: skip
            answers[:] = [said]
            assert ours.take(["a"]) is taken
            assert not answers


def test_keys_are_names_for_files() -> None:
    names = ["a/b.exr", "a/B.exr", "x" * 5000, "\udcff.exr", "é"]
    keys = [key_of(name) for name in names]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 and key.isalnum() for key in keys)
