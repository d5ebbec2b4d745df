"""Training and evaluation as commands: the paper's workflow from raw stacks to an image, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open

from sve2hdr.commands import cli
from sve2hdr.evaluation import evaluate
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.mosaic import Capture, ExposurePattern
from sve2hdr.network import LARGE, LAYOUTS, SveNet
from sve2hdr.paper import PaperConfig
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate
from sve2hdr.system.signals import STOP_SIGNALS
from sve2hdr.training.checkpoint import Run
from sve2hdr.training.synthetic import synthetic_scene
from sve2hdr.weights import load_weights, weights_path

torch.set_num_threads(1)
ONE = ExposurePattern(np.ones((1, 1), np.float32))
SMALL = ("--batch", 1, "--patch", 32, "--device", "cpu")
NARROW = ("--architecture", "paper", "--width", 4, "--blocks", 1)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object, code: int) -> str:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    return result.stderr.splitlines()[-1]


def write_stack(folder: Path, seed: int) -> None:
    """Write raws of one scene as a camera takes them: five exposures, 1 EV apart, ISO 800."""
    scene = synthetic_scene(seed, 256)
    scene = scene / np.percentile(scene, 90) * np.float32(0.06 * NEUTRAL)
    folder.mkdir(parents=True)
    for shot in range(5):
        frame = simulate(scene * np.float32(2**shot), "RGGB", ONE, Sensor(full_well_e=8_000), seed=10 * seed + shot)
        capture = Capture("Maker", "Camera", exposure_time_s=2.0 ** (shot - 8), f_number=8.0, iso=800.0)
        write_cfa_dng(folder / f"IMG_{shot}.DNG", replace(frame, capture=capture))


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder: training/ with two stacks, held-out/ with one."""
    folder = tmp_path_factory.mktemp("stacks")
    for name, seed in (("training/a", 1), ("training/b", 2), ("held-out/c", 3)):
        write_stack(folder / name, seed)
    return folder


@pytest.fixture(scope="module")
def shards(stacks: Path) -> Path:
    assert "2 scenes" in done("dataset", stacks / "training", "-o", stacks / "shards")
    return stacks / "shards"


def test_the_papers_workflow_from_raw_stacks_to_an_image(
    stacks: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done("train", shards, "-o", "run", "--steps", 3, *SMALL, *NARROW)
    weights = Path("run/weights.safetensors")
    assert load_weights(weights).config == PaperConfig(width=4, blocks=1)
    scores = done("evaluate", stacks / "held-out", "--model", weights, "--format", "json").splitlines()
    assert {(record["scene"], record["method"]) for record in map(json.loads, scores)} == {
        ("c", "linear"),
        ("c", str(weights)),
    }
    shots = sorted((stacks / "held-out" / "c").glob("*.DNG"))
    sampled = ("--pattern", "rows:1/8,1/8,1,1", "-o", "sve.dng", "--truth", "truth.exr")
    assert "rows:" in done("simulate", *shots, *sampled)
    done("convert", "sve.dng", "-o", "paper.exr", "--model", weights, "--color-space", "camera")
    image, truth = read_hdr(Path("paper.exr")), read_hdr(Path("truth.exr"))
    assert image.shape == truth.shape == (256, 256, 3)
    assert np.isfinite(image).all()
    done("convert", "sve.dng", "-o", "ours.exr", "--color-space", "camera")
    error = np.median(np.abs(read_hdr(Path("ours.exr")) - truth) / (truth + 0.02))
    assert error < 0.15  # what was sampled from the stack is what its truth tells


def test_a_stack_alone_is_evaluated_as_well(stacks: Path) -> None:
    table = done("evaluate", stacks / "held-out" / "c", "--model", "linear")
    assert [line.split()[0] for line in table.splitlines()[-2:]] == ["mean", "mean"]


def test_a_stack_that_is_left_out_shows_in_the_exit_code(stacks: Path, tmp_path: Path) -> None:
    shutil.copytree(stacks / "held-out" / "c", tmp_path / "c")
    (tmp_path / "other").mkdir()
    result = run("evaluate", tmp_path, "--model", "linear")
    assert result.exit_code == 1
    assert "left out: " in result.stderr
    assert "mean" in result.stdout


def test_a_folder_without_usable_stacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no raw")
    result = run("evaluate", tmp_path, "--model", "linear")
    assert result.exit_code == 1
    assert "left out: " in result.stderr
    assert "no scene is left to score" in result.stderr.splitlines()[-1]


def test_a_short_run_has_a_curve_and_may_be_prolonged(shards: Path, tmp_path: Path) -> None:
    for steps in (40, 44):
        done("train", shards, "-o", tmp_path, "--steps", steps, *SMALL, *NARROW)
    told = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert told == list(range(2, 45, 2))


@pytest.mark.parametrize("stop", STOP_SIGNALS)
def test_a_run_that_is_stopped_has_a_checkpoint_and_says_so(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: signal.Signals
) -> None:
    whole = Run.save

    def save(run: Run) -> None:
        whole(run)
        if run.step == 1:
            signal.raise_signal(stop)

    monkeypatch.setattr(Run, "save", save)
    asked = ("train", shards, "-o", tmp_path, "--steps", 9, *SMALL, *NARROW, "--checkpoint-minutes", 1e-9)
    said = f"sve2hdr: {tmp_path}: stopped after step 2 of 9; run the same command again to go on"
    assert refused(*asked, code=130) == said
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2


def test_options_reach_the_run_and_its_weights_file(shards: Path, tmp_path: Path) -> None:
    options = ("--bfloat16", "--checkpoint-minutes", 5, "--loss", "l1", "--learning-rate", 1e-4, "--seed", 7)
    options += ("--decay-share", 0.5)
    done("train", shards, "-o", tmp_path / "run", "--steps", 1, *SMALL, *NARROW, *options)
    with safe_open(tmp_path / "run" / "weights.safetensors", framework="pt") as stored:
        told = json.loads(stored.metadata()["options"])
    wanted = {
        "bfloat16": True,
        "checkpoint_minutes": 5,
        "loss": "l1",
        "learning_rate": 1e-4,
        "seed": 7,
        "decay_share": 0.5,
    }
    assert {name: told[name] for name in wanted} == wanted


def test_a_trained_network_is_made_deeper_and_refined(shards: Path, tmp_path: Path) -> None:
    done("train", shards, "-o", tmp_path, "--steps", 1, *SMALL, "--start", "standard", "--blocks", "3,2,1")
    deeper = load_weights(tmp_path / "weights.safetensors")
    assert isinstance(deeper, SveNet)
    assert deeper.config.blocks == (3, 2, 1)


def test_a_large_network_costs_more(shards: Path, tmp_path: Path) -> None:
    for name, start in (("new", ()), ("grown", ("--start", "standard"))):
        done("train", shards, "-o", tmp_path / name, "--steps", 1, *SMALL, "--large", "--blocks", "2,1,1", *start)
        assert load_weights(tmp_path / name / "weights.safetensors").config == replace(LARGE, blocks=(2, 1, 1))


def test_a_seed_decides_how_a_network_grows(shards: Path, tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate((5, 5, 6)):
        torch.manual_seed(number)  # what ran before decides nothing
        options = ("--start", "standard", "--large", "--blocks", "1,1,1", "--seed", seed)
        done("train", shards, "-o", tmp_path / str(number), "--steps", 1, *SMALL, *options)
        state = load_weights(tmp_path / str(number) / "weights.safetensors").state_dict()
        found.append(torch.cat([tensor.flatten() for tensor in state.values()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_network_goes_on_for_another_layout(shards: Path, tmp_path: Path) -> None:
    options = ("--steps", 1, *SMALL, "--start")
    for start, layout in (("blocks", "blocks"), ("blocks", "quad"), ("standard", "fours")):
        done("train", shards, "-o", tmp_path / layout, *options, start, "--layout", layout)
        made = load_weights(tmp_path / layout / "weights.safetensors")
        known = load_weights(weights_path(start))
        asked = LAYOUTS[layout]
        assert made.config == replace(known.config, cfa=asked.cfa, exposure_rank=asked.exposure_rank, parts=asked.parts)
        a, b = (torch.cat([weight.detach().flatten() for weight in net.inner_weights()]) for net in (made, known))
        assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.9


def test_each_architecture_has_its_own_defaults(shards: Path, tmp_path: Path) -> None:
    found = []
    for number, architecture in enumerate((("--layout", "rows"), (*NARROW, "--layout", "blocks"))):
        folder = tmp_path / str(number)
        done("train", shards, "-o", folder, "--steps", 1, *SMALL, *architecture)
        with safe_open(folder / "weights.safetensors", framework="pt") as stored:
            options = json.loads(stored.metadata()["options"])
        found.append(
            (options["loss"], options["learning_rate"], options["muon"], load_weights(folder / "weights.safetensors"))
        )
    assert [values[:3] for values in found] == [("rms", 8e-4, 2.5), ("radiance", 2e-4, 0)]
    assert [network.config.cell for *_, network in found] == [(4, 2), (4, 4)]


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        (("--width", 8), "--width is only for --architecture paper"),
        (("--large", "--layout", "blocks"), "--large is only for --architecture sve2hdr and --layout rows"),
        (("--large", "--architecture", "paper"), "--large is only for --architecture sve2hdr and --layout rows"),
        (
            ("--layout", "quad", "--start", "standard"),
            "standard cannot become a quad network; start from one for blocks or quad",
        ),
        (
            ("--layout", "fours", "--start", "blocks"),
            "blocks cannot become a fours network; start from one for rows or fours",
        ),
        (("--layout", "rows", "--start", "quad"), "quad cannot become a rows network; start from one for rows"),
        (("--large", "--start", "blocks"), "blocks cannot become a large network; start from one for rows"),
        (("--blocks", "1,1"), "--blocks needs 3 numbers, such as 2,1,4"),
        (("--large", "--start", "paper"), "cannot change the paper's network"),
        (("--blocks", 2), "--blocks needs 3 numbers, such as 2,1,4"),
        (("--blocks", "2,x"), "2,x is not numbers of blocks"),
        (("--start", "standard", "--blocks", "2,1"), "--blocks needs 3 numbers, such as 2,1,4"),
        (("--architecture", "paper", "--blocks", "2,1"), "one number for --architecture paper"),
        (("--architecture", "paper", "--width", 7), "an even width"),
        (
            ("--start", "standard", "--architecture", "paper"),
            "--architecture is set by the network that --start names",
        ),
        (("--start", "standard", "--width", 8), "--width is set by the network that --start names"),
        (("--checkpoint-minutes", 0), "--checkpoint-minutes"),
        (("--loss", "other"), "--loss"),
        (("--decay-share", 1.5), "--decay-share"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, options: tuple[object, ...], finding: str) -> None:
    assert finding in refused("train", tmp_path, "-o", tmp_path / "run", *options, code=2)
    assert list(tmp_path.iterdir()) == []


def test_the_layouts_that_are_offered_are_those_there_are() -> None:
    for command, layouts in ((cli.train, LAYOUTS), (cli.evaluate, evaluate.LAYOUTS)):
        option = next(option for option in command.params if option.name == "layout")
        assert tuple(option.type.choices) == tuple(layouts)  # type: ignore[attr-defined]  # a choice
