"""Batches: seeds and steps decide, every site sees its own colour."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lights import light
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor

from sve2hdr.network import BLOCKS, LAYOUTS, ROWS, NetworkConfig
from sve2hdr.training.dataset import SimulationRanges, batches
from sve2hdr.training.shards import Scenes, pack_scenes

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


def some(
    scenes: Scenes, steps: int, config: NetworkConfig = ROWS, ranges: SimulationRanges | None = None, first: int = 0
) -> list[tuple[Tensor, Tensor]]:
    source = batches(scenes, config, ranges or SimulationRanges(), 32, 4, seed=5, first_step=first)
    return list(itertools.islice(source, steps))


def test_a_batch_depends_on_seed_and_step_only(scenes: Scenes) -> None:
    ahead = some(scenes, 4)
    for step in (3, 0, 2):
        planes, truth = some(scenes, 1, first=step)[0]
        assert torch.equal(planes, ahead[step][0])
        assert torch.equal(truth, ahead[step][1])
    assert not torch.equal(ahead[0][0], ahead[1][0])
    other = next(batches(scenes, ROWS, SimulationRanges(), 32, 4, seed=6, first_step=0))
    assert not torch.equal(other[0], ahead[0][0])


def test_lenses_displace_red_and_blue_of_the_share_of_patches_asked_for(scenes: Scenes) -> None:
    moved, still = (
        torch.cat([truth for _, truth in some(scenes, 12, ranges=replace(EXACT, aberration=share))])
        for share in (0.5, 0.0)
    )
    red, green, blue = (moved != still).flatten(2).any(2).unbind(1)
    assert not green.any()
    assert torch.equal(red, blue)
    assert 0.2 < red.float().mean() < 0.8


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


@pytest.mark.parametrize("rounded", [False, True])
def test_noise_is_as_strong_as_its_plane_says(scenes: Scenes, rounded: bool) -> None:
    exact = {
        name: getattr(EXACT, name)
        for name in ("ratio_ev", "black_error", "ratio_error_ev", "noise_error_ev", "defective")
    }
    noisy = replace(EXACT, spans=(500.0,)) if rounded else SimulationRanges(**exact, row_noise=0)
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
