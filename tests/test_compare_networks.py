"""The comparison of variants: each can be trained as it says, and one is, evaluated and told."""

from __future__ import annotations

import sys
from pathlib import Path

import compare_networks as compare
import numpy as np
import pytest
import torch
from cost import macs_per_pixel
from images import write

from sve2hdr.architecture import Network
from sve2hdr.training.shards import pack_scenes

torch.set_num_threads(1)


def light(side: int) -> np.ndarray:
    return np.random.default_rng(side).lognormal(0, 1, (side, side, 3)).astype(np.float32)


def test_every_variant_takes_its_patches() -> None:
    assert set(compare.OWN_OPTIONS) <= set(compare.VARIANTS)
    for name in compare.VARIANTS:
        network, options = compare.built(name), compare.options_of(name, bfloat16=False)
        assert isinstance(network, Network)
        assert all(options.patch_px % n == 0 for n in network.alignment)
        if network.config.architecture == "sve2hdr":
            assert macs_per_pixel(network, network.alignment) < 70_000  # of about equal cost


def test_a_variant_is_timed(tmp_path: Path) -> None:
    pack_scenes([("a", light(96))], tmp_path, 60, lambda note: None)
    options = compare.replace(compare.options_of(next(iter(compare.VARIANTS)), bfloat16=True), patch_px=32, batch=1)
    network = compare.built(next(iter(compare.VARIANTS)))
    assert 0 < compare.seconds_per_step(network, compare.Scenes(tmp_path, torch.device("cpu")), options, steps=2) < 60


def test_the_papers_network_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_scenes([("a", light(96))], tmp_path / "shards", 60, lambda note: None)
    (tmp_path / "val").mkdir()
    scene = light(64)
    write(tmp_path / "val" / "a.hdr", scene)
    name = "the paper's, narrow: 16, 16 blocks"
    monkeypatch.setattr(compare, "seconds_per_step", lambda *_: 1.0)
    folders = (str(tmp_path / "shards"), str(tmp_path / "val"), "-o", str(tmp_path / "runs"))
    monkeypatch.setattr(sys, "argv", ["compare_networks.py", *folders, "--seconds", "1", "--only", name])
    for _ in range(2):  # the second time it finds the first one's weights
        compare.main()
        row = capsys.readouterr().out.splitlines()[-1]
        assert row.startswith(name)
        assert row.removeprefix(name).split()[:3] == ["117.9", "1000", "1"]
