"""A training log as a curve."""

from __future__ import annotations

import json
import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .errors import Sve2HdrError

SIZE, MARGIN = (900, 480), (70, 30, 20, 45)  # px; left, top, right, bottom


def plot_log(log: Path) -> Path:
    """Draw loss, logarithmic, over steps of a *log.jsonl, as *curve.png beside it; return its path.

    Where `stage` changes, as in what join_logs makes, a line is drawn across. A loss that is the mean of a few steps
    only, as training was stopped there, is left out. Raises Sve2HdrError where the log holds no record.
    """
    records = [json.loads(line) for line in log.read_text().splitlines() if line]
    if not records:
        raise Sve2HdrError(f"{log}: holds no record yet; train for more steps")
    steps = [record["step"] for record in records]
    of_steps = [step - before for step, before in zip(steps, [0, *steps], strict=False)]  # that a loss is the mean of
    records = [record for record, n in zip(records, of_steps, strict=True) if n >= max(of_steps) / 4]
    points = [(record["step"], math.log10(record["loss"])) for record in records]
    image = Image.new("RGB", SIZE, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=13)
    left, top, right, bottom = MARGIN[0], MARGIN[1], SIZE[0] - MARGIN[2], SIZE[1] - MARGIN[3]
    x0, x1, (y0, y1) = 0, points[-1][0], _range([loss for _, loss in points])

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (x - x0) / (x1 - x0) * (right - left), bottom - (y - y0) / (y1 - y0) * (bottom - top)

    for i in range(5):
        x, y = x0 + (x1 - x0) * i / 4, y0 + (y1 - y0) * i / 4
        draw.line([place(x, y0), place(x, y1)], fill="#e0e0e0")
        draw.line([place(x0, y), place(x1, y)], fill="#e0e0e0")
        draw.text((place(x, y0)[0], bottom + 8), f"{x:,.0f}", fill="black", font=font, anchor="ma" if i < 4 else "ra")
        draw.text((left - 6, place(x0, y)[1]), f"{10**y:.4f}", fill="black", font=font, anchor="rm")
    stages = [record.get("stage", 1) for record in records]
    for i in range(1, len(stages)):
        if stages[i] != stages[i - 1]:
            draw.line([place(points[i - 1][0], y0), place(points[i - 1][0], y1)], fill="#808080")
    draw.line([place(x, y) for x, y in points], fill="#1f5fbf", width=2)
    title = f"training loss over steps, {records[-1]['seconds'] / 3600:.2f} h"
    title += f", {len(set(stages))} stages" if len(set(stages)) > 1 else ""
    draw.text((left, 8), title, fill="black", font=font)
    path = log.with_name(log.name.removesuffix("log.jsonl") + "curve.png")
    image.save(path)
    return path


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(0.05 * (high - low), 0.01)
    return low - room, high + room


def join_logs(logs: list[Path]) -> str:
    """Return the lines of logs of one network that was trained in stages, the next from the weights of the last.

    Steps, megapixels and seconds go on counting, and `stage` counts from 1. A log that was joined before has several.
    Raises Sve2HdrError where a log holds no record.
    """
    lines: list[str] = []
    done = {"stage": 0, "step": 0, "megapixels": 0.0, "seconds": 0.0}  # in the logs before
    for log in logs:
        records = [{"stage": 1} | json.loads(line) for line in log.read_text().splitlines() if line]
        if not records:
            raise Sve2HdrError(f"{log}: holds no record")
        for record in records:
            record.update({name: record[name] + count for name, count in done.items() if name in record})
            lines.append(json.dumps(record) + "\n")
        done = {name: records[-1].get(name, count) for name, count in done.items()}
    return "".join(lines)
