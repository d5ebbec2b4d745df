"""Shards: what goes in comes out, and every place of a scene can be drawn, those with detail more often."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lights import light
from numpy.testing import assert_allclose
from safetensors.numpy import save_file

from sve2hdr.errors import UnreadableWeights, UnwritableOutput
from sve2hdr.training.shards import PERCENTILES, SLANTED_SCALE, Scenes, pack_scenes

torch.set_num_threads(1)
CPU = torch.device("cpu")


def test_scenes_go_through_shards_unchanged_but_for_their_scale(tmp_path: Path) -> None:
    images = {f"scene {n}": light(n) for n in range(5)}
    notes: list[str] = []
    assert pack_scenes(images.items(), tmp_path, 0.09, notes.append) == 5  # 38,880 bytes each: two in a shard
    assert len(notes) == 5
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == [f"scenes-{n:03d}.safetensors" for n in range(3)]
    for stored, image in zip(Scenes(tmp_path, CPU).images, images.values(), strict=True):
        assert stored.dtype == torch.float16
        scaled = image * (64 / np.percentile(image[..., 1], 99.95))
        assert_allclose(stored.float().numpy(), scaled.transpose(2, 0, 1), rtol=1e-3, atol=1e-6)


def test_shards_are_read_by_whoever_may_read_files_here(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    assert all(path.stat().st_mode == (tmp_path / "usual").stat().st_mode for path in shards.iterdir())


@pytest.mark.parametrize("wrong", [np.zeros((8, 8, 3)), np.full((8, 8, 3), np.nan), np.full((8, 8, 3), np.inf)])
def test_scenes_without_light_or_with_nonsense_are_left_out(tmp_path: Path, wrong: np.ndarray) -> None:
    notes: list[str] = []
    packed = pack_scenes([("wrong", wrong.astype(np.float32)), ("good", light(0))], tmp_path, 60, notes.append)
    assert packed == 1
    assert notes[0].startswith("wrong: left out")
    left_out: list[str] = []
    assert pack_scenes([("wrong", np.float32(wrong))], tmp_path / "none", 60, pytest.fail, left_out.append) == 0
    assert left_out == notes[:1]
    assert len(Scenes(tmp_path, CPU).images) == 1


def test_no_scene_gives_no_shard(tmp_path: Path) -> None:
    assert pack_scenes([], tmp_path / "new", 60, lambda note: None) == 0
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnwritableOutput, match="file"):
        pack_scenes([("a", light(0))], tmp_path / "file", 60, lambda note: None)


def test_a_full_disk_leaves_no_partial_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwritableOutput, match="No space left") as refusal:
        pack_scenes([("a", light(0))], tmp_path, 60, lambda note: None)
    assert str(refusal.value).startswith(f"{tmp_path / 'scenes-000.safetensors'}: ")  # no folder that is gone
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), UnwritableOutput("full"), MemoryError()])
def test_shards_appear_all_or_none(tmp_path: Path, failure: BaseException) -> None:
    def stopped() -> Iterator[tuple[str, np.ndarray]]:
        yield from ((str(n), light(n)) for n in range(3))
        raise failure

    with pytest.raises(type(failure)):
        pack_scenes(stopped(), tmp_path, 0.04, lambda note: None)  # a shard each
    assert list(tmp_path.iterdir()) == []


def test_shards_that_cannot_all_be_moved_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.rename

    def full(path: Path, target: Path) -> Path:
        if path.name == "scenes-001.safetensors":
            raise OSError(28, "No space left on device")
        return whole(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        pack_scenes([(str(n), light(n)) for n in range(3)], tmp_path, 0.04, lambda note: None)
    assert list(tmp_path.iterdir()) == []


def test_shards_of_another_run_are_not_mixed_with(tmp_path: Path) -> None:
    other = tmp_path / "scenes-007.safetensors"

    def slower() -> Iterator[tuple[str, np.ndarray]]:
        yield "a", light(0)
        other.write_bytes(b"theirs")

    for scenes in (slower(), iter([("a", light(0))])):
        with pytest.raises(UnwritableOutput, match="holds shards already"):
            pack_scenes(scenes, tmp_path, 60, lambda note: None)
        assert list(tmp_path.iterdir()) == [other]


def test_a_name_that_is_no_unicode_is_packed(tmp_path: Path) -> None:
    assert pack_scenes([("a\udcff", light(0)), ("a\udcfe", light(1))], tmp_path, 60, lambda note: None) == 2
    assert len(Scenes(tmp_path, CPU).images) == 2


def test_foreign_damaged_and_missing_shards_are_refused(tmp_path: Path, shards: Path) -> None:
    with pytest.raises(UnreadableWeights, match="no shards here"):
        Scenes(tmp_path, CPU)
    with pytest.raises(UnreadableWeights, match="no shards here"):
        Scenes(tmp_path / "missing", CPU)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": np.zeros((3, 8, 8), np.float16)}, foreign)
    with pytest.raises(UnreadableWeights, match=r"foreign\.safetensors: not a shard"):
        Scenes(tmp_path, CPU)
    whole = next(shards.iterdir()).read_bytes()
    for part in (whole[:100], whole[:-100], b"", b"no shard at all"):
        foreign.write_bytes(part)
        with pytest.raises(UnreadableWeights, match="cannot be read") as refusal:
            Scenes(tmp_path, CPU)
        assert "\n" not in str(refusal.value)


def test_levels_are_percentiles_of_green(scenes: Scenes) -> None:
    assert scenes.levels.shape == (3, len(PERCENTILES))
    assert (np.diff(scenes.levels, axis=1) >= 0).all()
    assert scenes.probability.sum() == pytest.approx(1)
    assert scenes.probability[2] < scenes.probability[0] == scenes.probability[1]


@pytest.mark.parametrize("index", range(3))
def test_crops_have_the_size_even_of_smaller_scenes(scenes: Scenes, index: int) -> None:
    rng = np.random.default_rng(0)
    known = scenes.images[index].float()
    for _ in range(20):
        crop = scenes.crop(index, 32, rng)
        assert crop.shape == (3, 32, 32)
        assert crop.dtype == torch.float32
        assert known.min() <= crop.min() <= crop.max() <= known.max()


def half_plain(tmp_path: Path) -> Scenes:
    """Return a scene whose left half is plain and whose right half is noise."""
    image = np.full((64, 160, 3), 0.3, np.float32)
    image[:, 80:] = np.random.default_rng(0).uniform(0.05, 1, (64, 80, 3))
    pack_scenes([("a", image)], tmp_path, 60, lambda note: None)
    return Scenes(tmp_path, CPU)


def test_parts_with_detail_are_drawn_more_often_and_others_still_are(tmp_path: Path) -> None:
    scenes, rng = half_plain(tmp_path), np.random.default_rng(1)

    def plain(by_detail: float) -> float:
        crops = [scenes.crop(0, 32, rng, by_detail) for _ in range(400)]
        return float(np.mean([float(crop.std()) < 1e-3 * float(crop.mean()) for crop in crops]))

    assert plain(by_detail=0) == pytest.approx(49 / 129, abs=0.1)
    assert 0.05 < plain(by_detail=1) < 0.25


def test_slanted_parts_are_turned_by_any_angle_and_made_smaller(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(1, 401, dtype=np.float32)[None, :, None], (300, 400, 3))
    pack_scenes([("a", np.ascontiguousarray(ramp))], tmp_path, 60, lambda note: None)
    scenes, rng = Scenes(tmp_path, CPU), np.random.default_rng(0)
    slope = float(scenes.images[0][0].float().diff(dim=1).mean())
    scales, angles = [], []
    for _ in range(50):
        part = scenes.crop(0, 48, rng, slanted=1)[0] / slope
        down, across = float(part.diff(dim=0).mean()), float(part.diff(dim=1).mean())
        y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
        assert torch.allclose(part, part[0, 0] + down * y + across * x, atol=0.3)  # a plane: half floats, no seam
        scales.append(np.hypot(down, across))
        angles.append(np.arctan2(down, across))
    assert min(scales) == pytest.approx(SLANTED_SCALE[0], abs=0.1)
    assert max(scales) == pytest.approx(SLANTED_SCALE[1], abs=0.1)
    assert np.abs(np.exp(1j * np.array(angles)).mean()) < 0.4  # every way


@pytest.mark.parametrize("size", [8, 32, 96])
def test_slanted_parts_of_small_scenes_hold_light_of_the_scene(scenes: Scenes, size: int) -> None:
    rng = np.random.default_rng(0)
    for index, image in enumerate(scenes.images):
        part = scenes.crop(index, size, rng, slanted=1)
        assert part.shape == (3, size, size)
        assert 0.999 * image.float().min() <= part.min() <= part.max() <= 1.001 * image.float().max()


def test_every_place_of_a_scene_can_be_drawn(tmp_path: Path) -> None:
    ramp = np.arange(1, 50 * 70 + 1, dtype=np.float32).reshape(50, 70, 1).repeat(3, 2)
    pack_scenes([("a", ramp)], tmp_path, 60, lambda note: None)
    scenes, rng = Scenes(tmp_path, CPU), np.random.default_rng(0)
    seen = torch.cat([scenes.crop(0, 24, rng).flatten() for _ in range(400)])
    assert seen.min() == scenes.images[0].min()
    assert seen.max() == scenes.images[0].max()


def test_a_scene_without_any_detail_is_drawn_from_everywhere(tmp_path: Path) -> None:
    pack_scenes([("a", np.ones((64, 64, 3), np.float32))], tmp_path, 60, lambda note: None)
    scenes, rng = Scenes(tmp_path, CPU), np.random.default_rng(0)
    places = {scenes._detailed_place(0, 32, rng) for _ in range(200)}
    assert {min(top for top, _ in places), max(top for top, _ in places)} == {0, 32}


def test_scenes_that_are_too_small_are_left_out(tmp_path: Path) -> None:
    notes: list[str] = []
    assert pack_scenes([("dot", light(0)[:15]), ("good", light(0))], tmp_path, 60, notes.append) == 1
    assert "below 16 a side" in notes[0]


def test_a_digest_tells_scenes_from_others(shards: Path, scenes: Scenes, tmp_path: Path) -> None:
    assert Scenes(shards, CPU).digest == scenes.digest
    pack_scenes([("wide", light(0)), ("tall", light(1, 90, 72)), ("small", light(3, 24, 18))], tmp_path, 60, str)
    assert Scenes(tmp_path, CPU).digest != scenes.digest
