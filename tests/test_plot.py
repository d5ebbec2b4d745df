"""The training curve as a picture, and logs of several stages as one."""

import json
from pathlib import Path

import numpy as np
import pytest
from join_logs import join_logs
from PIL import Image

from sve2hdr.errors import Sve2HdrError
from sve2hdr.training.plot import MARGIN, SIZE, plot_log


def write_log(folder: Path, losses: list[float]) -> Path:
    log = folder / "log.jsonl"
    records = [{"step": 200 * (i + 1), "loss": loss, "seconds": 60.0 * i} for i, loss in enumerate(losses)]
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    return log


def blue(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == SIZE
        red, _, other = np.moveaxis(np.asarray(image).astype(int), 2, 0)
    return other - red > 100


@pytest.mark.parametrize("losses", [[0.03, 0.02, 0.015, 0.012], [0.5], [0.1, 0.1]])
def test_the_curve_lies_within_its_frame(tmp_path: Path, losses: list[float]) -> None:
    curve = plot_log(write_log(tmp_path, losses))
    assert curve == tmp_path / "curve.png"
    y, x = np.nonzero(blue(curve))
    assert len(losses) == 1 or len(y) > 100
    if len(y):
        assert MARGIN[0] <= x.min() <= x.max() <= SIZE[0] - MARGIN[2]
        assert MARGIN[1] <= y.min() <= y.max() <= SIZE[1] - MARGIN[3]


def test_a_falling_loss_falls(tmp_path: Path) -> None:
    line = blue(plot_log(write_log(tmp_path, [0.04, 0.03, 0.02, 0.01])))
    columns = np.nonzero(line.any(0))[0]
    first, last = (np.nonzero(line[:, x])[0].mean() for x in (columns[0], columns[-1]))
    assert last > first + 200  # rows count downwards


def test_a_stop_is_no_dip(tmp_path: Path) -> None:
    log = write_log(tmp_path, [0.04, 0.035, 0.03])
    smooth = blue(plot_log(log))
    first, *others = log.read_text().splitlines()
    stopped = json.dumps({"step": 201, "loss": 0.001, "seconds": 1.0})
    log.write_text("\n".join([first, stopped, *others]) + "\n")
    assert (blue(plot_log(log)) == smooth).all()


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Sve2HdrError, match=r"log\.jsonl: holds no record"):
        plot_log(write_log(tmp_path, []))


def test_stages_are_joined_and_told_apart(tmp_path: Path) -> None:
    logs = []
    for name, losses in (("first", [0.04, 0.03]), ("second", [0.035, 0.02, 0.018])):
        (tmp_path / name).mkdir()
        logs.append(write_log(tmp_path / name, losses))
    joined = tmp_path / "mine.log.jsonl"
    joined.write_text(join_logs(logs))
    records = [json.loads(line) for line in joined.read_text().splitlines()]
    assert [(r["stage"], r["step"], r["seconds"]) for r in records] == [
        (1, 200, 0.0), (1, 400, 60.0), (2, 600, 60.0), (2, 800, 120.0), (2, 1000, 180.0),
    ]  # fmt: skip
    assert [r["loss"] for r in records] == [0.04, 0.03, 0.035, 0.02, 0.018]
    joined.write_text(join_logs([joined, logs[0]]))
    assert [json.loads(line)["stage"] for line in joined.read_text().splitlines()] == [1, 1, 2, 2, 2, 3, 3]
    curve = plot_log(joined)
    assert curve == tmp_path / "mine.curve.png"
    with Image.open(curve) as image:
        grey = (np.asarray(image) == 0x80).all(2)[MARGIN[1] + 20 : SIZE[1] - MARGIN[3] - 20]
    assert (grey.mean(0) > 0.9).sum() == 2  # a line across for each further stage


def test_an_empty_log_is_not_joined(tmp_path: Path) -> None:
    with pytest.raises(Sve2HdrError, match=r"log\.jsonl: holds no record"):
        join_logs([write_log(tmp_path, [])])
