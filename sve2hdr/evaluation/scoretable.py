"""Results of `evaluate` as rows, and rows as text for a terminal, as Markdown and as JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from .evaluate import Result

METRICS = {  # field of Result -> heading and decimals; the means of what is a share are percentages
    "psnr_mu": ("PSNR-mu dB", 2, 1.0),
    "pu21_psnr": ("PU21-PSNR dB", 2, 1.0),
    "pu21_ssim": ("PU21-SSIM", 4, 1.0),
    "cvvdp_jod": ("CVVDP JOD", 3, 1.0),
    "psnr_linear": ("PSNR dB", 2, 1.0),
    "psnr_log": ("log-PSNR dB", 2, 1.0),
    "angle_deg": ("angle deg", 2, 1.0),
    "aliasing": ("aliasing %", 2, 100.0),
    "chroma": ("chroma %", 2, 100.0),
    "colour": ("colour %", 2, 100.0),
    "stripes": ("stripes %", 1, 100.0),
    "seconds": ("s", 1, 1.0),
}

Rows = list[list[str]]  # the first is the heading


def scene_rows(results: Sequence[Result], metric: str = "psnr_mu") -> Rows:
    """Return one score of each photograph and condition, a column for each method, and the means with their gain.

    The gain of a method is over the first one.
    """
    methods = list(dict.fromkeys(result.method for result in results))
    photos = [result for result in results if getattr(result, metric) is not None]
    rows = [["scene", "condition", *methods]]
    found = {(r.scene, r.condition, r.method): getattr(r, metric) for r in photos}
    for scene, condition in dict.fromkeys((r.scene, r.condition) for r in photos):
        rows.append([scene, condition, *(_number(found.get((scene, condition, m)), metric) for m in methods)])
    for condition in dict.fromkeys(r.condition for r in photos):
        of_condition = [r for r in photos if r.condition == condition]
        means = [_mean(getattr(r, metric) for r in of_condition if r.method == m) for m in methods]
        first = means[0]
        cells = [_number(first, metric)]
        for mean in means[1:]:
            gain = f" ({mean - first:+.{METRICS[metric][1]}f})" if mean is not None and first is not None else ""
            cells.append(_number(mean, metric) + gain)
        rows.append(["mean", condition, *cells])
    return rows


def condition_rows(results: Sequence[Result]) -> Rows:
    """Return the means of all metrics over the scenes, a row for each condition and method, then each chart's.

    Metrics that nothing has are left out.
    """
    used = [name for name in METRICS if any(getattr(result, name) is not None for result in results)]
    rows = [["condition", "method", *(METRICS[name][0] for name in used)]]
    photos = [result for result in results if result.psnr_mu is not None]
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in photos:
        groups.setdefault((result.condition, result.method), []).append(result)
    for result in results:
        if result.psnr_mu is None:
            groups.setdefault((f"{result.scene}, {result.condition}", result.method), []).append(result)
    for (condition, method), group in groups.items():
        rows.append([condition, method, *(_number(_mean(getattr(r, name) for r in group), name) for name in used)])
    return rows


def as_text(rows: Rows) -> str:
    """Return rows in columns: words to the left, numbers to the right.

    >>> print(as_text([["scene", "dB"], ["a", "31.20"], ["long name", "8.05"]]))
    scene         dB
    a          31.20
    long name   8.05
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = _words(rows)
    lines = []
    for row in rows:
        cells = zip(row, widths, words, strict=True)
        lines.append("  ".join(c.ljust(w) if word else c.rjust(w) for c, w, word in cells).rstrip())
    return "\n".join(lines)


def as_markdown(rows: Rows) -> str:
    """Return rows as a Markdown table.

    >>> print(as_markdown([["scene", "dB"], ["a|b", "31.20"]]))
    | scene | dB |
    |---|---:|
    | a\\|b | 31.20 |
    """
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("---" if word else "---:" for word in _words(rows)) + "|")
    return "\n".join(lines)


def as_json(result: Result, weights: Mapping[str, str], cvvdp: str | None = None) -> str:
    """Return a JSON object in one line; what was not measured, or is infinite, is null.

    `weights`: the SHA-256 of the weights of each method that has some. `cvvdp`: by what, and on which display, JOD are.
    """
    record = {name: _finite(value) for name, value in asdict(result).items()}
    told = {"weights_sha256": weights.get(result.method), "cvvdp": None if result.cvvdp_jod is None else cvvdp}
    return json.dumps(record | told)


def _words(rows: Rows) -> list[bool]:
    """Return which columns hold words: the two first, if there are more, else the first."""
    names = {"scene", "condition", "method"}
    return [heading in names and i < 2 for i, heading in enumerate(rows[0])]


def _number(value: float | None, metric: str) -> str:
    _, decimals, factor = METRICS[metric]
    return "-" if value is None else f"{value * factor:.{decimals}f}"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
