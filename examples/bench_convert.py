"""Time and peak memory of `sve2hdr convert` as a whole process, on a simulated Dual ISO raw of 24 megapixels.

python examples/bench_convert.py --width 6000 --height 4000 --runs 3
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine, spread

from sve2hdr import Mosaic
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.rawfile import read_raw

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--width", type=int, default=6000)
parser.add_argument("--height", type=int, default=4000)
parser.add_argument("--runs", type=int, default=3)
parser.add_argument("--options", default="", help="for convert, such as '--preview auto'")
arguments = parser.parse_args()
if not hasattr(os, "wait4"):
    raise SystemExit("peak memory is measured by wait4, which this system does not have")


def enlarged(mosaic: Mosaic, height: int, width: int) -> Mosaic:
    """Return a frame of any size: the example beside and below itself, whole periods of it."""
    rows, columns = (n - n % 4 for n in mosaic.shape)
    tiled = np.tile(mosaic.counts[:rows, :columns], (-(-height // rows), -(-width // columns)))
    return Mosaic(
        tiled[:height, :width], mosaic.cfa, mosaic.black_level, mosaic.white_level, mosaic.camera_from_xyz,
        mosaic.as_shot_neutral, mosaic.capture,
    )  # fmt: skip


def run(command: list[str]) -> tuple[float, float]:
    """Return the seconds and the peak memory, MB, of a process; raise if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    summary = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    print(summary.splitlines()[-1])
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


with tempfile.TemporaryDirectory() as folder:
    raw, output = Path(folder, "large.dng"), Path(folder, "large.exr")
    example = read_raw(Path(__file__).with_name("example.dng"))
    write_cfa_dng(raw, enlarged(example, arguments.height, arguments.width))
    command = [sys.executable, "-m", "sve2hdr", "convert", str(raw), "-o", str(output), "--overwrite"]
    results = [run([*command, *arguments.options.split()]) for _ in range(arguments.runs)]
    assert output.stat().st_size > 0

megapixels = arguments.width * arguments.height / 1e6
seconds, peaks = [s for s, _ in results], [peak for _, peak in results]
print(
    f"{machine()}, {arguments.width} x {arguments.height}, {arguments.runs} runs: convert {arguments.options}".rstrip()
)
print(f"wall {spread(seconds)}, {megapixels / statistics.median(seconds):.2f} MP/s, peak memory {max(peaks):.0f} MB")
