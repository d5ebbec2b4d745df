"""What `sve2hdr batch` is held to: kill -9 at random, two workers against one, memory over many files, memory per MP.

python examples/bench_batch.py crash --files 1000 --broken 50 --kills 5
python examples/bench_batch.py workers --files 4 --width 6000 --height 4000
python examples/bench_batch.py memory --files 500 --width 512 --height 384
python examples/bench_batch.py model --megapixels 3,12,24,48 --tiles 256,512,1024
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import machine

from sve2hdr import ExposurePattern, Mosaic
from sve2hdr.convert import convert_file
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.models import model_named
from sve2hdr.network import NetworkConfig, SveNet
from sve2hdr.pipeline import ConvertOptions
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate
from sve2hdr.weights import save_weights

torch.set_num_threads(1)
PAIRS = ExposurePattern(np.float32([[1 / 8], [1 / 8], [1], [1]]))
BATCH = [sys.executable, "-m", "sve2hdr", "batch"]


def frame(seed: int, width: int, height: int) -> Mosaic:
    """Return a Dual ISO frame of waves of light, each seed another; large ones repeat a small one."""
    side = 512
    y, x = np.mgrid[: min(height, side), : min(width, side)] / 20
    grey = np.exp2(-4 + 3 * np.sin(x + seed) * np.cos(y)).astype(np.float32)
    small = simulate(grey[..., None] * np.float32(NEUTRAL), "RGGB", PAIRS, Sensor(), seed=seed)
    times = (-(-height // grey.shape[0]), -(-width // grey.shape[1]))
    counts = np.tile(small.counts, times)[:height, :width]
    return Mosaic(counts, "RGGB", small.black_level, small.white_level, small.camera_from_xyz, small.as_shot_neutral)


def make_raws(folder: Path, files: int, broken: int, width: int, height: int) -> list[Path]:
    """Fill a tree of folders with raws, some of them broken in several ways; return the broken ones."""
    damaged = []
    for i in range(files):
        path = folder / f"card{i % 3}" / f"IMG_{i:04}.dng"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_cfa_dng(path, frame(i, width, height))
        if i * broken // files != (i + 1) * broken // files:
            whole = path.read_bytes()
            path.write_bytes((whole[: len(whole) // 2], b"", b"no raw at all " * 99, whole[:100])[len(damaged) % 4])
            damaged.append(path)
    return damaged


def tiny_model(folder: Path) -> Path:
    """Write weights of a small network, so that the batch is timed and not the network."""
    torch.manual_seed(0)
    config = NetworkConfig(widths=(8, 8, 8))
    path = folder / "tiny.safetensors"
    save_weights(path, config, SveNet(config).state_dict(), {})
    return path


def finished(out: Path) -> int:
    """Return how many outputs there are."""
    return sum(name.endswith(".exr") for *_, names in os.walk(out) for name in names)  # work folders come and go


def lines_of(report: Path) -> list[dict[str, object]]:
    """Return the lines of a report."""
    return [json.loads(line) for line in report.read_text().splitlines()]


def crash(folder: Path, arguments: argparse.Namespace) -> None:
    """Kill runs at random moments, let the last one end, and check all that it says and leaves."""
    raws, out, report, model = folder / "raws", folder / "out", folder / "run.jsonl", tiny_model(folder)
    broken = make_raws(raws, arguments.files, arguments.broken, arguments.width, arguments.height)
    good = arguments.files - len(broken)
    command = [*BATCH, str(raws), "-o", str(out), "--model", str(model), "--workers", str(arguments.workers), "--plain"]
    draw, made = random.Random(arguments.seed), 0
    for kill in range(arguments.kills):
        aim = finished(out) + draw.randint(1, max(1, good // (arguments.kills + 1)))
        run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        while finished(out) < aim and run.poll() is None:
            time.sleep(0.02)
        time.sleep(draw.random() * 0.3)
        whole_group = bool(kill % 2)  # the main process alone, or its workers with it
        os.killpg(run.pid, signal.SIGKILL) if whole_group else run.kill()
        _, log = run.communicate()
        made += log.count(" -> ")
        print(f"killed {'all' if whole_group else 'the main process'} at {finished(out)} outputs")
    last = subprocess.run([*command, "--report", str(report)], capture_output=True, text=True, check=False)
    made += last.stderr.count(" -> ")
    results = lines_of(report)
    failed = {str(line["input"]) for line in results if line["outcome"] == "failed"}
    right, by_hand = 0, model_named(str(model))
    for raw in sorted(set(raws.rglob("*.dng")) - set(broken)):
        output = out / raw.relative_to(raws).with_suffix(".exr")
        convert_file(raw, folder / "again.exr", by_hand, ConvertOptions(device="cpu", overwrite=True))
        right += output.exists() and np.array_equal(read_hdr(output), read_hdr(folder / "again.exr"))
    temporary = [path for path in out.rglob("*") if ".partial" in path.name]
    temporary += list((out / ".sve2hdr" / "work").iterdir())
    print(
        f"{arguments.files} raws of {arguments.width} x {arguments.height}, {len(broken)} broken, killed "
        f"{arguments.kills} times: exit code {last.returncode}, {right} of {good} whole and right, {len(failed)} "
        f"reported, {len(results)} lines, {len(temporary)} temporary files, {made} conversions told for {good} files"
    )
    if (right, failed, len(temporary), last.returncode, len(results)) != (
        good, {str(path) for path in broken}, 0, int(bool(broken)), arguments.files,
    ):  # fmt: skip
        raise SystemExit(last.stderr)


def timed(folder: Path, raws: Path, name: str, *options: str) -> tuple[float, list[dict[str, object]]]:
    """Return the seconds of a run, from its first file's start on, and its report."""
    out, report = folder / f"out-{name}", folder / f"{name}.jsonl"
    started = time.perf_counter()
    subprocess.run([*BATCH, str(raws), "-o", str(out), "--report", str(report), "-q", *options], check=True)
    return time.perf_counter() - started, lines_of(report)


def workers(folder: Path, arguments: argparse.Namespace) -> None:
    """Time one worker with all cores against two with half of them each."""
    raws = folder / "raws"
    make_raws(raws, arguments.files, 0, arguments.width, arguments.height)
    megapixels, rates = arguments.files * arguments.width * arguments.height / 1e6, []
    for count in (1, 2):
        seconds, results = timed(folder, raws, str(count), "--workers", str(count), *arguments.options.split())
        rates.append(megapixels / seconds)
        peak = max(float(str(line["peak_mb"])) for line in results)
        print(f"{count} worker(s): {seconds:.1f} s, {rates[-1]:.2f} MP/s, {peak:.0f} MB each")
    print(
        f"{arguments.files} raws of {arguments.width} x {arguments.height}: two workers {rates[1] / rates[0]:.2f} x one"
    )


def memory(folder: Path, arguments: argparse.Namespace) -> None:
    """See whether a worker's peak memory stays where it was after the first 20 files."""
    raws, model = folder / "raws", tiny_model(folder)
    make_raws(raws, arguments.files, 0, arguments.width, arguments.height)
    seconds, results = timed(folder, raws, "flat", "--workers", "1", "--model", str(model), "--preview")
    peaks = [float(str(line["peak_mb"])) for line in results]
    first = max(peaks[: min(20, len(peaks) // 2)])
    print(
        f"{arguments.files} raws of {arguments.width} x {arguments.height} in {seconds:.0f} s: peak {first:.1f} MB "
        f"in the first 20, {max(peaks[20:] or peaks):.1f} MB after ({max(peaks[20:] or peaks) / first - 1:+.1%})"
    )


def model(folder: Path, arguments: argparse.Namespace) -> None:
    """Measure the model of workload.py: peaks over frame sizes with a small network, over tiles with the real one."""
    extra = ("--workers", "1", "--memory", "64G", *arguments.options.split())
    sizes, tiles = ([float(n) for n in text.split(",")] for text in (arguments.megapixels, arguments.tiles))
    small = ("--model", str(tiny_model(folder)), "--tile", "256")
    runs = [(f"{size:g}MP", size, small) for size in sizes]
    largest = max(tiles) ** 2 / 1e6
    runs += [(f"tile{tile:g}", largest, ("--tile", f"{tile:g}")) for tile in tiles]
    peaks = []
    for name, megapixels, options in runs:
        side = round((megapixels * 1e6) ** 0.5 / 4) * 4
        raws = folder / f"raws-{megapixels:g}"
        if not raws.exists():
            make_raws(raws, 1, 0, side, side)
        seconds, (line,) = timed(folder, raws, name, *options, *extra)
        peaks.append(float(str(line["peak_mb"])))
        print(f"{name}, {megapixels:g} MP: {peaks[-1]:.0f} MB, {seconds:.1f} s", flush=True)
    per_mp, base = np.polyfit(sizes, peaks[: len(sizes)], 1)
    beyond = np.array(peaks[len(sizes) :]) - base - per_mp * largest
    per_tile = float((beyond / (np.array(tiles) ** 2 / 1e6)).max())
    print(f"{base:.0f} MB + {per_mp:.1f} MB/MP + at most {per_tile:.0f} MB per MP of tile")


MEASURES = {"crash": crash, "workers": workers, "memory": memory, "model": model}
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("measure", choices=MEASURES)
parser.add_argument("--files", type=int, default=100)
parser.add_argument("--broken", type=int, default=5)
parser.add_argument("--kills", type=int, default=5)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--width", type=int, default=128)
parser.add_argument("--height", type=int, default=96)
parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--megapixels", default="3,12,24,48")
parser.add_argument("--tiles", default="256,512,1024")
parser.add_argument("--options", default="", help="for batch, such as '--format exr --format dng'")
if __name__ == "__main__":
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        MEASURES[chosen.measure](Path(folder), chosen)
    print(machine())
