"""Patterns as users write them: read exactly, given another ratio, and refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sve2hdr.patterntext import parse_pattern, with_ratio


@pytest.mark.parametrize(
    ("text", "exposure"),
    [
        ("rows:1/8,1/8,1,1", [[0.125], [0.125], [1], [1]]),
        (" columns: 0.5, 1 ", [[0.5, 1]]),
        ("grid:1,4;4,16", [[1 / 16, 1 / 4], [1 / 4, 1]]),
        ("rows:100,800", [[0.125], [1]]),
        ("rows:1", [[1]]),
    ],
)
def test_parse_pattern(text: str, exposure: list[list[float]]) -> None:
    np.testing.assert_array_equal(parse_pattern(text).exposure, np.float32(exposure))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rows",
        "rows:",
        "lines:1,2",
        "rows:1;2",
        "rows:0,1",
        "rows:-1,1",
        "rows:1/0,1",
        "rows:nan,1",
        "rows:inf,1",
        "grid:1,2;3",
        "grid:",
        "rows:a,1",
        "rows:1,,1",
        "rows:1e-60,1",
        "rows:1,1,2e6,2e6",
        "columns:1e999,1",
    ],
)
def test_parse_pattern_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        parse_pattern(text)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=8), st.sampled_from(["rows", "columns"]))
def test_parse_pattern_scales_to_one(values: list[int], kind: str) -> None:
    exposure = parse_pattern(f"{kind}:{','.join(map(str, values))}").exposure
    assert exposure.max() == 1
    assert exposure.shape == ((len(values), 1) if kind == "rows" else (1, len(values)))
    np.testing.assert_allclose(exposure.ravel() * max(values), values, rtol=1e-6)


@given(st.floats(0.1, 8))
def test_with_ratio_keeps_the_layout(ratio_ev: float) -> None:
    pattern = parse_pattern("grid:1,2;8,64")
    changed = with_ratio(pattern, ratio_ev)
    assert changed.ratio_ev == pytest.approx(ratio_ev, abs=1e-4)
    ev, before = np.log2(changed.exposure), np.log2(pattern.exposure)
    np.testing.assert_allclose(ev * 6, before * ratio_ev, atol=1e-4)


@pytest.mark.parametrize("ratio_ev", [0, -1, 1e-9, 21, float("nan")])
def test_with_ratio_refuses(ratio_ev: float) -> None:
    with pytest.raises(ValueError, match="ratio"):
        with_ratio(parse_pattern("rows:1/8,1"), ratio_ev)
    with pytest.raises(ValueError, match="one exposure"):
        with_ratio(parse_pattern("rows:1"), 3)
