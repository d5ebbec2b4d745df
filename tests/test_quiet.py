"""What libraries print of damaged files: dropped by our own programs, and nobody else's streams are touched."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import tifffile

from sve2hdr.errors import UnreadableImage
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.rawfile import read_raw
from sve2hdr.system.quiet import quiet_libraries


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Return an EXR of which OpenEXR's binding prints a warning to stdout."""
    path = tmp_path / "a.exr"
    image = np.random.default_rng(0).random((64, 64, 3), np.float32)
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": image}).write(str(path))
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def read(damaged: Path, raw: Path) -> None:
    for _ in range(4):
        read_raw(raw)
        with pytest.raises(UnreadableImage):
            read_hdr(damaged)


def test_an_application_keeps_its_streams(damaged: Path, example_raw: Path, capfd: pytest.CaptureFixture[str]) -> None:
    streams = sys.stdout, os.fstat(2).st_ino
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, damaged, example_raw)
        while not reading.done():
            assert (sys.stdout, os.fstat(2).st_ino) == streams
        reading.result()
    assert "Warning" in capfd.readouterr().out  # OpenEXR's words, which are the application's to deal with


def test_threads_of_our_own_program_leave_its_streams_as_they_were(
    damaged: Path, example_raw: Path, capfd: pytest.CaptureFixture[str], muted: None
) -> None:
    before = sys.stdout, os.fstat(2).st_ino
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(read, damaged, example_raw) for _ in range(4)]:
            done.result()
    with quiet_libraries(), quiet_libraries():
        os.write(2, b"never seen")
    assert (sys.stdout, os.fstat(2).st_ino) == before
    assert capfd.readouterr() == ("", "")


def test_our_program_says_one_line_of_a_damaged_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((64, 64, 3), np.float32), photometric="rgb", metadata=None)
    path.write_bytes(path.read_bytes()[:200])  # of which tifffile logs four lines
    command = [sys.executable, "-m", "sve2hdr", "simulate", str(path), "-o", str(tmp_path / "a.dng")]
    ran = subprocess.run([*command, "--pattern", "rows:1/8,1/8,1,1"], capture_output=True, text=True, timeout=600)
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (1, "", 1), ran.stderr
