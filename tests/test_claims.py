"""Claims hold between processes, all or nothing, and end with the process that holds them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sve2hdr.claims import Claims, key_of

OTHER = """
import sys
from pathlib import Path
from sve2hdr.claims import Claims
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
        assert other.take("c")
        assert not ours.take(["d", "c"])
        assert other.take("d")  # nothing is kept of a claim that failed
        ours.release(["b"])
        assert other.take("b")
        other.process.kill()
        other.process.wait()
        assert ours.take(["b", "c", "d"])
        with ours.turn("device"):
            pass
    assert (tmp_path / "lock").read_bytes() == b""


def test_keys_are_names_for_files() -> None:
    names = ["a/b.exr", "a/B.exr", "x" * 5000, "\udcff.exr", "é"]
    keys = [key_of(name) for name in names]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 and key.isalnum() for key in keys)
