"""Shards and batches: what goes in comes out, seeds and steps decide, every site sees its own colour."""

import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file
from torch import Tensor

from sve2hdr.dataset import PERCENTILES, SLANTED_SCALE, Scenes, SimulationRanges, batches, pack_scenes
from sve2hdr.errors import UnreadableWeights, UnwritableOutput
from sve2hdr.network import BLOCKS, LAYOUTS, ROWS, NetworkConfig

torch.set_num_threads(1)
CPU = torch.device("cpu")
# nothing between light and planes but rounding to 60,000 counts
EXACT = SimulationRanges(
    ratio_ev=(3.0, 3.0),
    full_well_e=(1e10, 1.0001e10),
    usual_full_well_e=(1e10, 1.0001e10),
    read_noise_e=(1e-3, 1.1e-3),
    spans=(60_000.0,),
    black_error=0,
    ratio_error_ev=0,
    defective=0,
    noise_error_ev=0,
    row_noise=0,
    shadows=0,
)


def light(seed: int, height: int = 72, width: int = 90) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.lognormal(0, 1.5, (height // 6, width // 6, 3)), np.ones((6, 6, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    scenes = [("wide", light(0)), ("tall", light(1, 90, 72)), ("small", light(2, 24, 18))]
    pack_scenes(scenes, folder, 60, lambda note: None)
    return folder


@pytest.fixture(scope="module")
def scenes(shards: Path) -> Scenes:
    return Scenes(shards, CPU)


def some(
    scenes: Scenes, steps: int, config: NetworkConfig = ROWS, ranges: SimulationRanges | None = None, first: int = 0
) -> list[tuple[Tensor, Tensor]]:
    source = batches(scenes, config, ranges or SimulationRanges(), 32, 4, seed=5, first_step=first)
    return list(itertools.islice(source, steps))


# Shards


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
    with pytest.raises(UnwritableOutput, match="No space left"):
        pack_scenes([("a", light(0))], tmp_path, 60, lambda note: None)
    assert list(tmp_path.iterdir()) == []


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


# Batches


def test_a_batch_depends_on_seed_and_step_only(scenes: Scenes) -> None:
    ahead = some(scenes, 4)
    for step in (3, 0, 2):
        planes, truth = some(scenes, 1, first=step)[0]
        assert torch.equal(planes, ahead[step][0])
        assert torch.equal(truth, ahead[step][1])
    assert not torch.equal(ahead[0][0], ahead[1][0])
    other = next(batches(scenes, ROWS, SimulationRanges(), 32, 4, seed=6, first_step=0))
    assert not torch.equal(other[0], ahead[0][0])


@pytest.mark.parametrize("config", LAYOUTS.values(), ids=LAYOUTS)
def test_planes_are_what_the_network_reads(scenes: Scenes, config: NetworkConfig) -> None:
    rank = torch.tensor(config.exposure_rank).repeat(32 // config.cell[0], 32 // config.cell[1])
    for planes, truth in some(scenes, 12, config):
        radiance, exposure, usable, noise = planes.unbind(1)
        assert planes.shape == (4, 4, 32, 32)
        assert truth.shape == (4, 3, 32, 32)
        assert planes.dtype == truth.dtype == torch.float32
        assert planes.isfinite().all()
        assert truth.min() >= 0
        assert truth.max() <= 1
        assert radiance.min() > -0.1
        assert radiance.max() < 1.1
        assert usable.min() >= 0
        assert usable.max() <= 1
        assert noise.min() > 0
        for patch in exposure:
            levels = [patch[rank == r] for r in range(int(rank.max()) + 1)]
            assert all(level.min() == level.max() for level in levels)
            if not config.any_exposures:
                assert all(a[0] < b[0] for a, b in itertools.pairwise(levels))
            assert patch.max() == 1
            assert 2**-6.2 < patch.min() < 2**-0.8


def test_a_network_for_any_exposures_is_shown_two_to_four_in_every_order(scenes: Scenes) -> None:
    rank = torch.tensor(BLOCKS.exposure_rank)
    first = [divmod(int((rank == group).flatten().nonzero()[0]), 4) for group in range(4)]
    seen = [
        tuple(float(patch[at]) for at in first) for planes, _ in some(scenes, 150, BLOCKS) for patch in planes[:, 1]
    ]
    assert {len(set(exposures)) for exposures in seen} == {2, 3, 4}
    orders = {tuple(np.argsort(exposures)) for exposures in seen if len(set(exposures)) == 4}
    assert len(orders) > 20  # of 24
    thirds = [sorted(np.log2(exposures) / np.log2(min(exposures))) for exposures in seen if len(set(exposures)) == 4]
    assert np.median(thirds, 0)[1:3] == pytest.approx([1 / 3, 2 / 3], abs=0.1)
    assert np.ptp(thirds, 0)[1:3].min() > 0.2  # even steps and others


@pytest.mark.parametrize("config", LAYOUTS.values(), ids=LAYOUTS)
def test_without_noise_every_site_is_the_truth_of_its_colour(scenes: Scenes, config: NetworkConfig) -> None:
    compared = 0
    letters = np.array([list(row) for row in config.cfa])
    for planes, truth in some(scenes, 8, config, EXACT):
        for y, x in np.ndindex(letters.shape):
            sites = (..., slice(y, None, config.cell[0]), slice(x, None, config.cell[1]))
            seen = planes[:, 0][sites]
            wanted, usable = truth[:, "RGB".index(letters[y, x])][sites], planes[:, 2][sites] == 1
            assert_allclose(seen[usable], wanted[usable], rtol=1e-4, atol=3e-5)
            assert (wanted[~usable] * 8 > 0.9 * 8 * 2.0 ** (-3)).all()  # not usable: too light for its exposure
            compared += int(usable.sum())
    assert compared > 8 * 4 * 32 * 32 / 3


def test_defects_are_as_many_as_asked_for(scenes: Scenes) -> None:
    for share in (0.002, 0.02):
        broken = replace(EXACT, defective=1, defects=(share, share * 1.001))
        differ = total = 0
        for (planes, truth), (whole, same) in zip(
            some(scenes, 8, ROWS, broken), some(scenes, 8, ROWS, replace(EXACT, defective=0)), strict=True
        ):
            assert_array_equal(truth, same)
            differ += int((planes[:, 0] - whole[:, 0]).abs().gt(1e-3).sum())
            total += planes[:, 0].numel()
        assert 0.4 * share < differ / total < 1.2 * share  # some are broken in a way that shows nowhere


def test_vivid_patches_have_black_channels_and_the_light_of_the_others(tmp_path: Path) -> None:
    colours = light(3)
    pack_scenes([("pale", colours.mean(2, keepdims=True) + colours)], tmp_path, 60, lambda note: None)
    pale = Scenes(tmp_path, CPU)
    vivid, muted = (
        torch.cat([truth for _, truth in some(pale, 8, ROWS, replace(EXACT, vivid=share))]) for share in (1.0, 0.0)
    )
    inside = (vivid > 0).all(1, keepdim=True) & (vivid < 1).all(1, keepdim=True) & (muted < 1).all(1, keepdim=True)
    spread = [image.std(1, keepdim=True)[inside].mean() for image in (vivid, muted)]
    assert spread[0] > 1.1 * spread[1]
    black = (vivid == 0).any(1).float().mean((1, 2))  # share of each patch; where the camera's channels overlap, none
    assert black.max() < SimulationRanges.vivid_black + 0.04  # squares of colour are 0.035 of a patch
    assert black[black > 0].mean() > SimulationRanges.vivid_black / 3
    assert (muted > 0).all()


def test_vivid_patches_without_colour_stay_as_they_are(tmp_path: Path) -> None:
    grey = light(3).mean(2, keepdims=True).repeat(3, 2)
    pack_scenes([("grey", grey)], tmp_path, 60, lambda note: None)
    vivid, muted = (some(Scenes(tmp_path, CPU), 2, ROWS, replace(EXACT, vivid=share))[1][1] for share in (1.0, 0.0))
    assert_allclose(vivid, muted, rtol=1e-4)


def test_noise_is_as_strong_as_its_plane_says(scenes: Scenes) -> None:
    exact = {
        name: getattr(EXACT, name)
        for name in ("ratio_ev", "black_error", "ratio_error_ev", "noise_error_ev", "defective")
    }
    noisy = SimulationRanges(**exact, row_noise=0)
    colour = torch.tensor([["RGB".index(c) for c in row] for row in ROWS.cfa]).repeat(8, 16)
    scores = []
    for planes, truth in some(scenes, 24, ROWS, noisy):
        wanted = truth.gather(1, colour.expand(4, 1, -1, -1))[:, 0]
        good = (planes[:, 2] == 1) & (wanted < 0.9)
        scores.append(((planes[:, 0] - wanted) / planes[:, 3])[good])
    score = torch.cat(scores)
    assert abs(float(score.mean())) < 0.05
    assert 0.9 < float(score.std()) < 1.15


def test_half_of_the_patches_are_of_a_low_iso(scenes: Scenes) -> None:
    exact = replace(EXACT, full_well_e=(300.0, 301.0), usual_full_well_e=(3e6, 3.01e6))
    low = total = 0
    for planes, _ in some(scenes, 24, ROWS, exact):
        radiance, _, usable, noise = planes.unbind(1)
        for r, good, n in zip(radiance, (usable == 1) & (radiance > 0.01), noise, strict=True):
            electrons = (r[good] / n[good] ** 2).median()  # at 1.0, as shot noise has it
            assert electrons < 3e3 or electrons > 2e6
            low += int(electrons > 2e6)
            total += 1
    assert 0.35 < low / total < 0.65


def test_deep_shadows_are_3_to_8_ev_darker(scenes: Scenes) -> None:
    (_, dark), (_, usual) = (next(iter(some(scenes, 1, ROWS, replace(EXACT, shadows=share)))) for share in (1.0, 0.0))
    for a, b in zip(dark, usual, strict=True):
        inside = (b > 0.01) & (b < 1)
        steps = -(a[inside] / b[inside]).log2()
        assert steps.min() > 2.99
        assert steps.max() < 8.01
        assert steps.max() - steps.min() < 0.01


def test_scenes_that_are_too_small_are_left_out(tmp_path: Path) -> None:
    notes: list[str] = []
    assert pack_scenes([("dot", light(0)[:15]), ("good", light(0))], tmp_path, 60, notes.append) == 1
    assert "below 16 a side" in notes[0]


def test_a_digest_tells_scenes_from_others(shards: Path, scenes: Scenes, tmp_path: Path) -> None:
    assert Scenes(shards, CPU).digest == scenes.digest
    pack_scenes([("wide", light(0)), ("tall", light(1, 90, 72)), ("small", light(3, 24, 18))], tmp_path, 60, str)
    assert Scenes(tmp_path, CPU).digest != scenes.digest
