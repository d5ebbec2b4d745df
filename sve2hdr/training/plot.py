"""A training log as a curve."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ..errors import Sve2HdrError

SIZE, MARGIN = (900, 480), (70, 30, 20, 45)  # px; left, top, right, bottom


def plot_log(log: Path) -> Path:
    """Draw loss, logarithmic, over steps of a *log.jsonl, as *curve.png beside it; return its path.

    Where `stage` changes, as in what examples/join_logs.py makes, a line is drawn across. A loss that is the mean
    of a few steps only, as training was stopped there, is left out. Raises Sve2HdrError where the log holds no record.
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
    last, (low, high) = points[-1][0], _range([loss for _, loss in points])

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / last * (right - left), bottom - (y - low) / (high - low) * (bottom - top)

    for i in range(5):
        x, y = last * i / 4, low + (high - low) * i / 4
        draw.line([place(x, low), place(x, high)], fill="#e0e0e0")
        draw.line([place(0, y), place(last, y)], fill="#e0e0e0")
        draw.text((place(x, low)[0], bottom + 8), f"{x:,.0f}", fill="black", font=font, anchor="ma" if i < 4 else "ra")
        draw.text((left - 6, place(0, y)[1]), f"{10**y:.4f}", fill="black", font=font, anchor="rm")
    title = f"training loss over steps, {records[-1]['seconds'] / 3600:.2f} h"
    if (stages := records[-1].get("stage", 1)) > 1:
        title += f", {stages} stages"
        for before, record in itertools.pairwise(records):
            if record["stage"] != before["stage"]:
                draw.line([place(before["step"], low), place(before["step"], high)], fill="#808080")
    draw.line([place(x, y) for x, y in points], fill="#1f5fbf", width=2)
    draw.text((left, 8), title, fill="black", font=font)
    path = log.with_name(log.name.removesuffix("log.jsonl") + "curve.png")
    image.save(path)
    return path


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(0.05 * (high - low), 0.01)
    return low - room, high + room
