"""The example scripts, each run as a reader would run it."""

from __future__ import annotations

import contextlib
import io
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from images import write
from PIL import Image

from sve2hdr import Capture, detect_pattern
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.imageread import read_hdr, read_scene
from sve2hdr.mosaic import QUAD_BAYER
from sve2hdr.patterntext import parse_pattern
from sve2hdr.rawfile import read_raw
from sve2hdr.simulation.simulate import Sensor, camera_scene, simulate
from sve2hdr.weights import load_weights, save_weights

# enough to see that a script runs; its own defaults take minutes
BENCHMARKS = {
    "bench_convert.py": (["--width", "256", "--height", "192", "--runs", "1"], "MP/s, peak memory"),
    "bench_detect.py": (["--files", "4", "--megapixels", "0.1"], "false alarms: 0 of"),
    "bench_levels.py": (["--files", "2", "--margins", "--megapixels", "0.1"], "decided right: 2 of 2"),
    "bench_network.py": (["--size", "128", "--paper-size", "16", "--runs", "1"], "kMAC/px"),
}
TESTED_ELSEWHERE = {
    "bench_batch.py",  # by the tests of batches
    "compare_networks.py",  # by its own
}
SHOWN = {
    "average_weights.py",
    "cost.py",
    "halve_weights.py",
    "join_logs.py",
    "machine.py",
    "make_example.py",
    "make_picture.py",
    "monochrome.py",
    "use_from_python.py",
}


def run(script: Path, *arguments: object, folder: Path) -> str:
    """Return what a script prints in a process of its own, as a reader runs it."""
    command = [sys.executable, str(script), *map(str, arguments)]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def run_here(script: Path, *arguments: object, folder: Path) -> str:
    """Return what a script prints in this process, where all that it imports is there already."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")
    return printed.getvalue()


def test_every_script_is_known_here(repository: Path) -> None:
    scripts = {path.name for path in (repository / "examples").glob("*.py")}
    assert scripts - TESTED_ELSEWHERE == SHOWN | set(BENCHMARKS)


def test_example_raw_is_what_the_readme_says(example_raw: Path) -> None:
    assert example_raw.stat().st_size <= 900_000
    detection = detect_pattern(read_raw(example_raw))
    assert detection.pattern is not None
    assert detection.pattern.exposure.shape == (4, 1)
    assert detection.ratio_ev == pytest.approx(3, abs=0.01)
    assert detection.confidence > 0.95


def test_join_logs(repository: Path, tmp_path: Path) -> None:
    logs = [repository / "weights" / f"{name}.log.jsonl" for name in ("paper", "standard")]
    printed = run_here(
        repository / "examples" / "join_logs.py", *logs, "-o", tmp_path / "both.log.jsonl", folder=tmp_path
    )
    first, *stages, curve_line = printed.splitlines()
    assert first.startswith("stage 1: 5,872 steps, 48 MP, 1.04 h, loss 0.0")
    steps = [line.split(": ")[1].split(" steps")[0] for line in stages]
    assert steps == ["18,000", "26,000", "27,000", "26,000", "20,000", "20,000", "12,000", "12,000", "3,000"]
    assert curve_line == str(tmp_path / "both.curve.png")
    lines = sum(len(log.read_text().splitlines()) for log in logs)
    assert len((tmp_path / "both.log.jsonl").read_text().splitlines()) == lines
    with Image.open(tmp_path / "both.curve.png") as curve:
        assert curve.format == "PNG"


def test_use_from_python(repository: Path, tmp_path: Path) -> None:
    printed = run(repository / "examples" / "use_from_python.py", folder=tmp_path)
    assert "rows:0.125" in printed
    assert "confidence 1.00; standard" in printed
    image = read_hdr(tmp_path / "example.exr")
    assert image.shape == (384, 768, 3)
    assert image.max() > 4  # the sun, three EV above what the most exposed sites hold
    with Image.open(tmp_path / "example.jpg") as preview:
        shades = np.asarray(preview.convert("L"))
    assert 70 < shades.mean() < 180
    assert ((shades < 3) | (shades > 252)).mean() < 0.1


def test_monochrome(repository: Path, tmp_path: Path) -> None:
    printed = run_here(repository / "examples" / "monochrome.py", folder=tmp_path)
    assert float(printed.split()[-2]) > 40  # dB
    image = read_hdr(tmp_path / "example.monochrome.exr")
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize(
    ("pattern", "cfa", "network"),
    [
        ("grid:1,1,1/2,1/2;1,1,1/2,1/2;1/4,1/4,1/8,1/8;1/4,1/4,1/8,1/8", "RGGB", "blocks"),
        ("grid:1/8,1;1,1/8", QUAD_BAYER, "quad"),
    ],
)
def test_use_from_python_with_other_sensors(
    repository: Path, tmp_path: Path, scene_exr: Path, pattern: str, cfa: str, network: str
) -> None:
    scene, _ = read_scene(scene_exr)
    mosaic = simulate(camera_scene(scene.repeat(2, 0).repeat(2, 1), 98), cfa, parse_pattern(pattern), Sensor(), seed=0)
    write_cfa_dng(tmp_path / "own.dng", replace(mosaic, capture=Capture(orientation=6)))
    printed = run_here(repository / "examples" / "use_from_python.py", tmp_path / "own.dng", folder=tmp_path)
    assert f"confidence 1.00; {network}\n" in printed
    assert read_hdr(tmp_path / "own.exr").shape == (320, 256, 3)


def test_use_from_python_tells_in_a_line_that_there_is_no_pattern(
    repository: Path, tmp_path: Path, scene_exr: Path
) -> None:
    scene, _ = read_scene(scene_exr)
    plain = simulate(camera_scene(scene, 98), "RGGB", parse_pattern("rows:1,1"), Sensor(), seed=0)
    write_cfa_dng(tmp_path / "plain.dng", plain)
    with pytest.raises(SystemExit, match=r"^mosaic: no exposure pattern.*\Z"):
        run_here(repository / "examples" / "use_from_python.py", tmp_path / "plain.dng", folder=tmp_path)


def test_make_example(repository: Path, tmp_path: Path) -> None:
    light = np.random.default_rng(0).uniform(0.05, 1, (512, 1024, 3)).astype(np.float32)
    write(tmp_path / "panorama.hdr", light)
    run_here(repository / "examples" / "make_example.py", "panorama.hdr", "-o", "made.dng", folder=tmp_path)
    assert read_raw(tmp_path / "made.dng").shape == (384, 768)


def test_make_picture(repository: Path, tmp_path: Path) -> None:
    run_here(repository / "examples" / "make_picture.py", "-o", "picture.jpg", folder=tmp_path)
    assert (tmp_path / "picture.jpg").stat().st_size < 300_000
    with Image.open(tmp_path / "picture.jpg") as picture:
        assert picture.width > 1000


def test_halved_weights_give_almost_the_same(repository: Path, tmp_path: Path) -> None:
    whole = repository / "weights" / "standard.safetensors"
    printed = run_here(repository / "examples" / "halve_weights.py", whole, "-o", "half.safetensors", folder=tmp_path)
    assert float(printed.split()[-2]) < -60  # dB
    half = tmp_path / "half.safetensors"
    assert half.stat().st_size < 0.52 * whole.stat().st_size
    before, after = load_weights(whole).state_dict(), load_weights(half).state_dict()
    assert all(after[name].dtype == before[name].dtype for name in before)
    off = (((after[name] - weight) / weight.abs().clamp_min(1)).abs().max() for name, weight in before.items())
    assert max(map(float, off)) < 1e-3


def test_averaged_weights_lie_between(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script, kept = repository / "examples" / "average_weights.py", repository / "weights" / "standard.safetensors"
    network = load_weights(kept)
    moved = {name: tensor + 1 for name, tensor in network.state_dict().items()}
    save_weights(tmp_path / "moved.safetensors", network.config, moved, {})
    run_here(script, kept, "moved.safetensors", "-o", "mean.safetensors", folder=tmp_path)
    mean = load_weights(tmp_path / "mean.safetensors").state_dict()
    assert all(torch.allclose(mean[name], tensor + 0.5, atol=1e-6) for name, tensor in network.state_dict().items())
    with pytest.raises(SystemExit, match="2"):
        run_here(script, kept, repository / "weights" / "blocks.safetensors", "-o", "no", folder=tmp_path)
    assert "differ in their configuration" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("script", BENCHMARKS)
def test_benchmarks_tell_the_machine_and_what_they_measured(repository: Path, tmp_path: Path, script: str) -> None:
    arguments, measured = BENCHMARKS[script]
    printed = run(repository / "examples" / script, *arguments, folder=tmp_path)
    assert "cores" in printed
    assert measured in printed
