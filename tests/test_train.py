"""Training: it learns, it is interrupted and goes on as if it had not been, and it says what it refuses."""

import errno
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from sve2hdr.architecture import ArchitectureConfig
from sve2hdr.errors import Sve2HdrError, UnreadableWeights, UnwritableOutput
from sve2hdr.network import NetworkConfig, SveNet
from sve2hdr.paper import PaperConfig, PaperNet
from sve2hdr.system.signals import ONE_WISH_S, STOP_SIGNALS, handling
from sve2hdr.training.dataset import SimulationRanges, batches
from sve2hdr.training.shards import Scenes, pack_scenes
from sve2hdr.training.synthetic import synthetic_scene
from sve2hdr.training.train import (
    DEFAULT_OPTIONS,
    Interrupted,
    TrainingOptions,
    ahead,
    learning_rate,
    loss_of,
    train,
)
from sve2hdr.weights import load_weights

torch.set_num_threads(1)
TINY = NetworkConfig(widths=(8, 8, 8))
PAPER = PaperConfig(width=4, blocks=2)
OPTIONS = TrainingOptions(steps=8, patch_px=32, batch=2, warmup_steps=2, log_every=2, checkpoint_every=4)
CPU = torch.device("cpu")

Record = dict[str, float]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    pack_scenes(((str(n), synthetic_scene(n, 96)) for n in range(3)), folder, 60, lambda note: None)
    return folder


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 8 steps, not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    train(shards, folder, TINY, OPTIONS, CPU)
    return folder


def log_of(folder: Path) -> list[Record]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def state_of(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = load_weights(folder / "weights.safetensors").state_dict()
    return state


def assert_same_weights(first: Path, second: Path) -> None:
    states = state_of(first), state_of(second)
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def at_step(step: int, act: Callable[[], object]) -> Callable[[Record], None]:
    def report(record: Record) -> None:
        if record["step"] == step:
            act()

    return report


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in STOP_SIGNALS]


# Learning


def test_it_learns(shards: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, steps=150, learning_rate=2e-3)
    weights = train(shards, tmp_path, TINY, options, CPU)
    later = itertools.islice(batches(Scenes(shards, CPU), TINY, options.ranges, 32, 2, options.seed, 1000), 6)
    planes, truth = (torch.cat(parts) for parts in zip(*later, strict=True))
    torch.manual_seed(options.seed)
    with torch.no_grad():
        before, after = (
            float(loss_of(network, planes, truth, options)) for network in (SveNet(TINY), load_weights(weights))
        )
    assert after < 0.95 * before


def test_the_papers_network_learns_by_its_own_loss(shards: Path, tmp_path: Path) -> None:
    defaults = DEFAULT_OPTIONS["paper"]
    options = replace(OPTIONS, steps=40, learning_rate=2e-3, clip_norm=defaults.clip_norm, loss=defaults.loss)
    weights = train(shards, tmp_path, PAPER, options, CPU)
    later = itertools.islice(batches(Scenes(shards, CPU), PAPER, options.ranges, 32, 2, options.seed, 1000), 6)
    planes, truth = (torch.cat(parts) for parts in zip(*later, strict=True))
    torch.manual_seed(options.seed)
    network = load_weights(weights)
    assert isinstance(network, PaperNet)
    with torch.no_grad():
        before, after = (float(loss_of(each, planes, truth, options)) for each in (PAPER.build(), network))
    assert after < 0.7 * before


def test_the_rate_warms_up_stays_and_falls_to_nothing() -> None:
    options = TrainingOptions(steps=1000, warmup_steps=100, decay_share=0.3, learning_rate=2.0)
    rates = [learning_rate(options, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[99:700] == [2.0] * 601
    assert all(a > b for a, b in itertools.pairwise(rates[700:]))
    assert rates[-1] < 1e-3
    assert learning_rate(replace(options, warmup_steps=0), 0) == 2.0
    assert learning_rate(replace(options, decay_share=0), 999) == 2.0


# What a run leaves


def test_the_log_has_a_record_at_every_interval_and_the_end(shards: Path, tmp_path: Path) -> None:
    told: list[Record] = []
    result = train(shards, tmp_path, TINY, replace(OPTIONS, steps=5), CPU, told.append)
    assert result == tmp_path / "weights.safetensors"
    assert log_of(tmp_path) == told
    assert [record["step"] for record in told] == [2, 4, 5]
    assert all(math.isfinite(record["loss"]) and record["loss"] > 0 for record in told)
    assert told[-1]["megapixels"] == pytest.approx(5 * 2 * 32 * 32 / 1e6)
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == [".lock", "checkpoint.pt", "log.jsonl", "weights.safetensors"]


def test_the_weights_are_the_moving_average(shards: Path, tmp_path: Path) -> None:
    folder, steps, averages = tmp_path / "run", [], []
    for last in range(1, 5):
        train(shards, folder, TINY, replace(OPTIONS, steps=last, decay_share=0, checkpoint_every=1), CPU)
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        steps.append(state["network"]["head.weight"])
        averages.append(state["average"]["head.weight"])
    for n in range(1, 4):
        decay = min(OPTIONS.ema, (2 + n) / (11 + n))
        assert_close(averages[n], decay * averages[n - 1] + (1 - decay) * steps[n])
    assert torch.equal(state_of(folder)["head.weight"], averages[-1])


# Interruption


@pytest.mark.parametrize("stop", STOP_SIGNALS)
def test_stopped_and_resumed_is_as_if_never_stopped(
    shards: Path, whole: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    before = handlers()
    with pytest.raises(Interrupted, match=r"stopped after step [3-7] of 8; run the same command again") as refusal:
        train(shards, tmp_path, TINY, OPTIONS, CPU, at_step(2, lambda: signal.raise_signal(stop)))
    assert "\n" not in str(refusal.value)
    assert handlers() == before
    stopped = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"]
    assert stopped == log_of(tmp_path)[-1]["step"] == 3
    train(shards, tmp_path, TINY, OPTIONS, CPU)
    assert_same_weights(tmp_path, whole)
    assert [record["step"] for record in log_of(tmp_path)] == [2, 3, 4, 6, 8]
    assert handlers() == before


@pytest.mark.parametrize("config", [TINY, PAPER], ids=["ours", "paper"])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_every_architecture_and_precision_is_resumed_exactly(
    shards: Path, tmp_path: Path, config: ArchitectureConfig, bfloat16: bool
) -> None:
    options = replace(OPTIONS, steps=4, checkpoint_every=2, bfloat16=bfloat16, decay_share=0.0)
    train(shards, tmp_path / "whole", config, options, CPU)
    train(shards, tmp_path / "parts", config, replace(options, steps=2), CPU)
    train(shards, tmp_path / "parts", config, options, CPU)
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")
    assert all(tensor.dtype == torch.float32 for tensor in state_of(tmp_path / "whole").values())


def test_bfloat16_is_used_and_changes_little(shards: Path, whole: Path, tmp_path: Path) -> None:
    train(shards, tmp_path, TINY, replace(OPTIONS, bfloat16=True), CPU)
    full, half = log_of(whole), log_of(tmp_path)
    assert [record["loss"] for record in half] != [record["loss"] for record in full]
    for a, b in zip(full, half, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=0.05)


def test_checkpoints_are_written_by_time_as_well(shards: Path, tmp_path: Path) -> None:
    seen: list[bool] = []
    options = replace(OPTIONS, log_every=1, checkpoint_every=1000)
    for minutes in (1e-9, 1000.0):
        folder = tmp_path / str(minutes)
        checkpoint = folder / "checkpoint.pt"
        train(
            shards, folder, TINY, replace(options, steps=3, checkpoint_minutes=minutes), CPU,
            at_step(2, lambda path=checkpoint: seen.append(path.exists())),  # type: ignore[misc]
        )  # fmt: skip
    assert seen == [True, False]
    assert_same_weights(tmp_path / "1e-09", tmp_path / "1000.0")


def test_killed_and_resumed_is_as_if_never_killed(shards: Path, whole: Path, tmp_path: Path) -> None:
    def die() -> None:
        raise ZeroDivisionError  # as a power cut: nothing more is written

    with pytest.raises(ZeroDivisionError):
        train(shards, tmp_path, TINY, OPTIONS, CPU, at_step(6, die))
    assert [record["step"] for record in log_of(tmp_path)] == [2, 4, 6]
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 8, "lo')
    train(shards, tmp_path, TINY, OPTIONS, CPU)
    assert_same_weights(tmp_path, whole)
    assert [record["step"] for record in log_of(tmp_path)] == [2, 4, 6, 8]  # 6 once, though it was done twice
    assert not [entry for entry in tmp_path.iterdir() if "partial" in entry.name]


TORN = {
    "zeros": b"\0" * 40,
    "zeros in a line": b"\0" * 40 + b"\n",
    "a beginning": b'{"st\n',
    "an end": b"8}\n",
    "no text": b"\xff\xfe\n",
    "another value": b"[1]\n",
    "no step": b'{"loss": 1}\n',
}


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN.keys())
def test_a_torn_log_does_not_keep_a_run_from_going_on(shards: Path, whole: Path, tmp_path: Path, torn: bytes) -> None:
    train(shards, tmp_path, TINY, replace(OPTIONS, steps=4, decay_share=0), CPU)
    with (tmp_path / "log.jsonl").open("ab") as log:
        log.write(torn)
    train(shards, tmp_path, TINY, replace(OPTIONS, steps=6), CPU)
    assert [record["step"] for record in log_of(tmp_path)] == [2, 4, 6]
    assert b"\0" not in (tmp_path / "log.jsonl").read_bytes()


HOLD = """
import sys
import time
from pathlib import Path
from sve2hdr.system.claims import Claims
claims = Claims(Path(sys.argv[1]) / ".lock")
print(claims.take(["train"]), flush=True)
sys.stdin.read()
"""


def test_a_run_is_of_one_process_until_that_ends(shards: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, steps=2)
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "True\n"
            with pytest.raises(Sve2HdrError, match="another process trains here") as refusal:
                train(shards, tmp_path, TINY, options, CPU)
        finally:
            other.kill()
    assert "\n" not in str(refusal.value)
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]
    train(shards, tmp_path, TINY, options, CPU)


def test_a_run_is_held_while_it_trains(shards: Path, tmp_path: Path) -> None:
    taken: list[str] = []

    def ask() -> None:
        command = [sys.executable, "-c", HOLD, str(tmp_path)]
        taken.append(subprocess.run(command, input="", capture_output=True, text=True, timeout=600, check=True).stdout)

    train(shards, tmp_path, TINY, replace(OPTIONS, steps=2), CPU, at_step(2, ask))
    ask()
    assert taken == ["False\n", "True\n"]


def test_killed_before_the_first_checkpoint_it_starts_anew(shards: Path, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 2, "loss": 1}\n')
    train(shards, tmp_path, TINY, OPTIONS, CPU)
    assert_same_weights(tmp_path, whole)
    assert [record["step"] for record in log_of(tmp_path)] == [2, 4, 6, 8]


def test_a_finished_run_is_left_as_it_is(shards: Path, tmp_path: Path) -> None:
    result = train(shards, tmp_path, TINY, replace(OPTIONS, steps=2), CPU)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    assert train(shards, tmp_path, TINY, replace(OPTIONS, steps=2), CPU) == result
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_a_trained_network_is_refined_and_itself_left_alone(shards: Path, whole: Path, tmp_path: Path) -> None:
    start = load_weights(whole / "weights.safetensors")
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    train(shards, tmp_path, start, replace(OPTIONS, steps=1, learning_rate=1e-6), CPU)
    assert all(torch.equal(start.state_dict()[name], tensor) for name, tensor in before.items())
    for name, tensor in state_of(tmp_path).items():
        assert_close(tensor, before[name], rtol=0, atol=1e-5)  # one small step away, where a new network is far off
    assert not all(torch.equal(tensor, before[name]) for name, tensor in state_of(tmp_path).items())


def test_a_second_ctrl_c_ends_it_at_once(shards: Path, tmp_path: Path) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)  # to this thread; another one might take them late, and both for one
        time.sleep(ONE_WISH_S + 0.1)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path, TINY, OPTIONS, CPU, at_step(2, twice))
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("others", [[signal.SIGINT, signal.SIGINT], STOP_SIGNALS[1:]])
def test_signals_that_come_with_ctrl_c_leave_it_its_checkpoint(
    shards: Path, tmp_path: Path, others: list[signal.Signals]
) -> None:
    """`timeout` passes Ctrl-C on to its child and to its group; a terminal may be closed while a step still runs."""

    def stop() -> None:
        for number in (signal.SIGINT, *others):
            signal.raise_signal(number)

    with pytest.raises(Interrupted):
        train(shards, tmp_path, TINY, OPTIONS, CPU, at_step(2, stop))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 3


def test_a_terminal_that_is_closed_tells_of_it_twice_and_takes_no_report_but_there_is_a_checkpoint(
    shards: Path, tmp_path: Path
) -> None:
    def closed(record: Record) -> None:
        if record["step"] == 2:
            signal.raise_signal(STOP_SIGNALS[-1])
            signal.raise_signal(STOP_SIGNALS[-1])
        else:
            raise OSError(errno.EIO, "Input/output error")

    def at_once(_number: int, _frame: object) -> None:
        raise AssertionError("ended before its checkpoint")

    with handling(STOP_SIGNALS[1:], at_once), pytest.raises(OSError, match="Input/output"):
        train(shards, tmp_path, TINY, OPTIONS, CPU, closed)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 3


def test_a_signal_that_is_ignored_from_the_start_stays_so(shards: Path, tmp_path: Path) -> None:
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background
    try:
        train(shards, tmp_path, TINY, OPTIONS, CPU, at_step(2, lambda: signal.raise_signal(signal.SIGINT)))
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert log_of(tmp_path)[-1]["step"] == OPTIONS.steps
    finally:
        signal.signal(signal.SIGINT, usual)


def test_it_trains_in_another_thread_as_well(shards: Path, whole: Path, tmp_path: Path) -> None:
    thread = threading.Thread(target=train, args=(shards, tmp_path, TINY, OPTIONS, CPU))
    thread.start()
    thread.join(600)
    assert_same_weights(tmp_path, whole)


# Refusals


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 9},
        {"learning_rate": 1e-4},
        {"decay_share": 0.5},
        {"log_every": 1},
        {"checkpoint_every": 3},
        {"checkpoint_minutes": 1},
    ],
)
def test_some_options_may_change_on_resuming(
    shards: Path, whole: Path, tmp_path: Path, changed: dict[str, float]
) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for entry in whole.iterdir():
        (copy / entry.name).write_bytes(entry.read_bytes())
    train(shards, copy, TINY, replace(OPTIONS, **{"steps": 9, **changed}), CPU)  # type: ignore[arg-type]
    assert log_of(copy)[-1]["step"] == 9


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 2}, {"batch": 4}, {"patch_px": 40}, {"ema": 0.9}, {"bfloat16": True}, {"loss": "radiance"},
        {"ranges": SimulationRanges((2, 3))},
    ],
)  # fmt: skip
def test_the_others_may_not(shards: Path, whole: Path, changed: dict[str, object]) -> None:
    before = {entry.name: entry.read_bytes() for entry in whole.iterdir()}
    name = next(iter(changed))
    with pytest.raises(UnreadableWeights, match=rf"checkpoint\.pt: begun with {name} ") as refusal:
        train(shards, whole, TINY, replace(OPTIONS, **changed), CPU)  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)
    assert {entry.name: entry.read_bytes() for entry in whole.iterdir()} == before


def test_a_checkpoint_of_another_network_is_refused(shards: Path, whole: Path) -> None:
    for other in (NetworkConfig(widths=(8, 8, 16)), PAPER):
        with pytest.raises(UnreadableWeights, match="of another network"):
            train(shards, whole, other, OPTIONS, CPU)


@pytest.mark.parametrize("part", [0, 10, 0.5, 0.99])
def test_a_damaged_checkpoint_is_refused(shards: Path, whole: Path, tmp_path: Path, part: float) -> None:
    data = (whole / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(data[: int(part * len(data)) if part < 1 else int(part)])
    with pytest.raises(UnreadableWeights, match=r"checkpoint\.pt: cannot be read .*remove it") as refusal:
        train(shards, tmp_path, TINY, OPTIONS, CPU)
    assert "\n" not in str(refusal.value)
    assert "()" not in str(refusal.value)


@pytest.mark.skipif(os.name == "nt", reason="Windows tells of it in other ways")
def test_a_checkpoint_that_cannot_be_seen_is_not_taken_for_none(shards: Path, tmp_path: Path) -> None:
    """As on a drive that does not answer: training must not begin anew, and replace it."""
    (tmp_path / "checkpoint.pt").symlink_to("checkpoint.pt")
    with pytest.raises(Sve2HdrError, match=r"checkpoint\.pt: cannot be read .*check the path"):
        train(shards, tmp_path, TINY, OPTIONS, CPU)


@pytest.mark.parametrize("name", ["network", "optimizers", "average", "step", "options"])
def test_a_checkpoint_of_other_values_is_refused(shards: Path, whole: Path, tmp_path: Path, name: str) -> None:
    state = torch.load(whole / "checkpoint.pt", weights_only=True)
    damage = {"optimizers": [5] * len(state["optimizers"]), "step": math.inf}.get(name, 5)
    torch.save(state | {name: damage}, tmp_path / "checkpoint.pt")
    with pytest.raises(UnreadableWeights, match=r"checkpoint\.pt: cannot be read "):
        train(shards, tmp_path, TINY, OPTIONS, CPU)


def test_a_foreign_checkpoint_is_refused(shards: Path, tmp_path: Path) -> None:
    for foreign in ([1, 2], {"step": 3}, {"config": "{}", "options": "{}"}):
        torch.save(foreign, tmp_path / "checkpoint.pt")
        with pytest.raises(UnreadableWeights):
            train(shards, tmp_path, TINY, OPTIONS, CPU)


def test_a_loss_that_is_no_number_ends_it_without_a_checkpoint(shards: Path, tmp_path: Path) -> None:
    wild = replace(OPTIONS, learning_rate=1e30, clip_norm=1e30, warmup_steps=0)
    with pytest.raises(Sve2HdrError, match="lower the learning rate"):
        train(shards, tmp_path, TINY, wild, CPU)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_folders_that_cannot_be_are_refused(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnwritableOutput):
        train(shards, tmp_path / "file", TINY, OPTIONS, CPU)
    with pytest.raises(UnreadableWeights, match="no shards"):
        train(tmp_path / "none", tmp_path / "run", TINY, OPTIONS, CPU)
    assert not (tmp_path / "run").exists()


def test_a_patch_the_network_cannot_take_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of"):
        train(shards, tmp_path, TINY, replace(OPTIONS, patch_px=36), CPU)


# Batches ahead


def test_batches_ahead_are_the_same_batches() -> None:
    numbers = [(torch.tensor(n), torch.tensor(-n)) for n in range(10)]

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        yield from itertools.cycle(numbers)

    source = ahead(endless())
    assert [next(source) for _ in range(25)] == [numbers[n % 10] for n in range(25)]
    before = threading.active_count()
    source.close()
    assert threading.active_count() == before - 1


def test_an_error_in_making_a_batch_is_raised_where_it_is_asked_for() -> None:
    def failing() -> Iterator[tuple[Tensor, Tensor]]:
        yield torch.zeros(1), torch.zeros(1)
        raise MemoryError("too large")

    source = ahead(failing())
    next(source)
    with pytest.raises(MemoryError, match="too large"):
        next(source)


# Where little is installed


LEAN = """
import sys
import time
for name in ("rawpy", "OpenEXR", "imagecodecs", "imageio", "tifffile"):
    sys.modules[name] = None  # whoever imports it meets an ImportError
import sve2hdr.training.train
from sve2hdr.commands.cli import main
main(sys.argv[1:])
"""


def test_it_trains_without_what_reads_and_writes_images(shards: Path, tmp_path: Path) -> None:
    options = ("--steps", "1", "--batch", "1", "--patch", "32", "--device", "cpu")
    narrow = ("--architecture", "paper", "--width", "4", "--blocks", "1")
    command = [sys.executable, "-c", LEAN, "train", str(shards), "-o", str(tmp_path / "run"), *options, *narrow]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert isinstance(load_weights(tmp_path / "run" / "weights.safetensors"), PaperNet)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("config", [TINY, PAPER], ids=["ours", "paper"])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_gpu_trains_as_the_cpu_does(shards: Path, tmp_path: Path, config: ArchitectureConfig, bfloat16: bool) -> None:
    options, cuda = replace(OPTIONS, bfloat16=bfloat16), torch.device("cuda")
    train(shards, tmp_path, config, replace(options, steps=4), cuda)
    train(shards, tmp_path, config, options, cuda)  # resumed there
    assert [record["step"] for record in log_of(tmp_path)][-1] == 8
    assert all(math.isfinite(record["loss"]) for record in log_of(tmp_path))
    load_weights(tmp_path / "weights.safetensors")


def test_a_run_goes_on_from_its_own_start_and_scenes_alone(shards: Path, whole: Path, tmp_path: Path) -> None:
    network = load_weights(whole / "weights.safetensors")
    options = replace(OPTIONS, steps=2)
    train(shards, tmp_path / "new", TINY, options, CPU)
    train(shards, tmp_path / "refined", network, options, CPU)
    pack_scenes([("other", synthetic_scene(9, 96))], tmp_path / "others", 60, lambda note: None)
    for folder, scenes, start, finding in (
        ("new", shards, network, "from another --start"),
        ("refined", shards, TINY, "from another --start"),
        ("refined", tmp_path / "others", network, "on other shards"),
    ):
        with pytest.raises(UnreadableWeights, match=f"begun {finding}") as refusal:
            train(scenes, tmp_path / folder, start, OPTIONS, CPU)
        assert "\n" not in str(refusal.value)
    train(shards, tmp_path / "refined", load_weights(whole / "weights.safetensors"), OPTIONS, CPU)
