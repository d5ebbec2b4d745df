"""The middle on one page: one scene, one image, whatever the phase, the colours' order and the direction."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

import sve2hdr.reconstruct as module
from sve2hdr.errors import PatternNotFound
from sve2hdr.mosaic import BAYER_ORDERS, ExposurePattern, Mosaic, cfa_period, repeated
from sve2hdr.network import NetworkConfig, SveNet, compress
from sve2hdr.paper import PaperConfig
from sve2hdr.radiance import NoiseModel
from sve2hdr.reconstruct import SURROUNDINGS_PX, NetworkOptions, reconstruct
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate
from sve2hdr.training.synthetic import synthetic_scene
from sve2hdr.weights import load_weights, weights_path

torch.set_num_threads(1)
TINY = NetworkConfig(widths=(8, 8, 8))
NOISE = NoiseModel(np.full((1, 1), 0.5, np.float32), np.full((1, 1), 3, np.float32))
PAIRS = np.array([[1 / 8], [1 / 8], [1], [1]], np.float32)
NOISELESS = Sensor(full_well_e=1e9, read_noise_e=0, bit_depth=16, black_level=1000, white_level=65_000)


@pytest.fixture(scope="module")
def random_network() -> SveNet:
    torch.manual_seed(0)
    return SveNet(TINY)


@pytest.fixture(scope="module")
def base_network() -> SveNet:
    network = SveNet(TINY)
    nn.init.zeros_(network.head.weight)
    return network


def smooth_scene(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 60
    return np.stack([0.3 + 0.2 * np.sin(x + y), 0.4 + 0.2 * np.cos(x), 0.3 + 0.2 * np.sin(y)], -1).astype(np.float32)


def noise_frame(shape: tuple[int, int], cfa: str = "RGGB", seed: int = 0) -> Mosaic:
    counts = np.random.default_rng(seed).integers(500, 16_000, shape).astype(np.uint16)
    return Mosaic(counts, cfa, np.full((2, 2), 512, np.float32), 15_000.0, np.eye(3))


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("phase", range(4))
def test_every_layout_of_a_scene_gives_the_scene(base_network: SveNet, cfa: str, columns: bool, phase: int) -> None:
    exposure = np.roll(PAIRS, phase, 0)
    pattern = ExposurePattern(exposure.T.copy() if columns else exposure)
    scene = smooth_scene(45, 54)
    image = reconstruct(simulate(scene, cfa, pattern, NOISELESS, 0), pattern, NOISE, base_network)
    assert image.dtype == np.float32
    inner = np.s_[8:-8, 8:-8]
    assert_allclose(image[inner], scene[inner] * 8, atol=0.04)  # 1.0 = saturation of the most exposed sites


@pytest.mark.parametrize(("top", "left", "cfa"), [(4, 2, "RGGB"), (1, 0, "GBRG"), (2, 1, "GRBG"), (3, 3, "BGGR")])
def test_a_part_of_a_frame_gives_that_part_of_its_image(base_network: SveNet, top: int, left: int, cfa: str) -> None:
    mosaic = noise_frame((48, 40))
    part = Mosaic(mosaic.counts[top:, left:].copy(), cfa, mosaic.black_level, mosaic.white_level, np.eye(3))
    whole = reconstruct(mosaic, ExposurePattern(PAIRS), NOISE, base_network)[top:, left:]
    image = reconstruct(part, ExposurePattern(np.roll(PAIRS, -top, 0)), NOISE, base_network)
    assert_allclose(image[8:-8, 8:-8], whole[8:-8, 8:-8], rtol=1e-4, atol=1e-5)


def test_what_lies_beyond_the_halo_does_not_matter(random_network: SveNet) -> None:
    mosaic, (rows, columns) = noise_frame((208, 192)), random_network.halo
    part = Mosaic(mosaic.counts[8:, 8:].copy(), "RGGB", mosaic.black_level, mosaic.white_level, np.eye(3))
    whole = reconstruct(mosaic, ExposurePattern(PAIRS), NOISE, random_network)[8:, 8:]
    image = reconstruct(part, ExposurePattern(PAIRS), NOISE, random_network)
    assert_allclose(image[rows:, columns:], whole[rows:, columns:], rtol=0, atol=1e-5 * float(np.ptp(whole)))


def test_few_surroundings_are_as_good_as_a_whole_halo(monkeypatch: pytest.MonkeyPatch) -> None:
    network, pattern = load_weights(weights_path("standard")).eval(), ExposurePattern(PAIRS)
    sensor = Sensor()
    edges = np.ones((160, 160), bool)
    edges[32:-32, 32:-32] = False
    errors: dict[int, list[float]] = {SURROUNDINGS_PX: [], max(network.halo): []}
    for seed in range(3):
        scene = synthetic_scene(seed, 160) * np.float32(NEUTRAL)
        scene /= np.quantile(scene, 0.99)
        mosaic = simulate(scene, "RGGB", pattern, sensor, seed)
        for surroundings_px, squares in errors.items():
            monkeypatch.setattr(module, "SURROUNDINGS_PX", surroundings_px)
            image = reconstruct(mosaic, pattern, sensor.noise_model(pattern), network) / np.float32(pattern.ratio)
            off = compress(torch.from_numpy(image.clip(0, 1))) - compress(torch.from_numpy(scene.clip(0, 1)))
            squares.append(float(off.numpy()[edges].astype(float).var()))
    few, whole = map(np.array, errors.values())
    assert (few < 1.01 * whole).all(), few / whole


@pytest.mark.parametrize("shape", [(48, 40), (37, 43)])
def test_a_transposed_frame_gives_the_transposed_image(random_network: SveNet, shape: tuple[int, int]) -> None:
    mosaic = noise_frame(shape, "GRBG")
    turned = Mosaic(mosaic.counts.T.copy(), "GBRG", mosaic.black_level, mosaic.white_level, np.eye(3))
    image = reconstruct(mosaic, ExposurePattern(PAIRS), NOISE, random_network)
    again = reconstruct(turned, ExposurePattern(PAIRS.T.copy()), NOISE, random_network)
    assert_array_equal(again, image.swapaxes(0, 1))


@pytest.mark.parametrize(("rows", "columns"), [(True, False), (False, True), (True, True)])
def test_a_flipped_frame_gives_the_flipped_image(base_network: SveNet, rows: bool, columns: bool) -> None:
    turn = np.s_[:: -1 if rows else 1, :: -1 if columns else 1]
    mosaic = simulate(smooth_scene(48, 40), "RGGB", ExposurePattern(PAIRS), NOISELESS, 0)
    cfa = "".join(np.array([["R", "G"], ["G", "B"]])[turn].ravel())
    turned = Mosaic(mosaic.counts[turn].copy(), cfa, mosaic.black_level, mosaic.white_level, np.eye(3))
    image = reconstruct(mosaic, ExposurePattern(PAIRS), NOISE, base_network)
    again = reconstruct(turned, ExposurePattern(PAIRS[turn[:1]].copy()), NOISE, base_network)
    assert_allclose(again[8:-8, 8:-8], image[turn][8:-8, 8:-8], rtol=1e-3)


@pytest.mark.parametrize(("shape", "axis"), [((56, 40), 1), ((56, 43), 1), ((40, 56), 0), ((43, 56), 0)])
def test_an_ensemble_is_the_mean_of_the_frame_and_its_mirror_image(
    random_network: SveNet, shape: tuple[int, int], axis: int
) -> None:
    frame, pattern = noise_frame(shape), ExposurePattern(PAIRS if axis == 1 else PAIRS.T.copy())
    cfa = "".join(np.flip(repeated(cfa_period(frame.cfa), shape), axis)[:2, :2].ravel())
    mirrored = replace(frame, counts=np.flip(frame.counts, axis).copy(), cfa=cfa)
    image = reconstruct(frame, pattern, NOISE, random_network)
    other = np.flip(reconstruct(mirrored, pattern, NOISE, random_network), axis)
    assert not np.allclose(image, other, rtol=1e-2)
    ensemble = reconstruct(frame, pattern, NOISE, random_network, NetworkOptions(ensemble=True))
    assert_allclose(ensemble, (image + other) / 2, rtol=1e-4, atol=1e-5)


def test_progress_of_an_ensemble_rises_to_the_end(random_network: SveNet) -> None:
    shares: list[float] = []
    options = NetworkOptions(tile_px=64, ensemble=True)
    reconstruct(noise_frame((240, 240)), ExposurePattern(PAIRS), NOISE, random_network, options, shares.append)
    assert shares == sorted(shares)
    assert (len(shares), shares[-1]) == (2 * 4, 1)  # of four tiles


def test_levels_follow_their_sites(base_network: SveNet) -> None:
    """A black level or a noise model of its own for each phase is looked up at the sites, not at the layout's."""
    black = np.arange(16, dtype=np.float32).reshape(4, 4) * 50
    pattern = ExposurePattern(np.roll(PAIRS, 1, 0).T.copy())
    counts = (np.tile(black, (12, 12)) + 1000 * pattern.over((48, 48))).astype(np.uint16)
    mosaic = Mosaic(counts, "GBRG", black, 15_000.0, np.eye(3))
    image = reconstruct(mosaic, pattern, NOISE, base_network)
    assert_allclose(image, 1000 / (15_000 - 375), rtol=0.06)  # the span differs by the black level, up to 5 %


def test_the_frame_is_left_as_it_was(random_network: SveNet) -> None:
    mosaic = noise_frame((40, 40))
    before = mosaic.counts.copy()
    mosaic.counts.setflags(write=False)
    first = reconstruct(mosaic, ExposurePattern(PAIRS), NOISE, random_network)
    assert_array_equal(mosaic.counts, before)
    assert_array_equal(reconstruct(mosaic, ExposurePattern(PAIRS), NOISE, random_network), first)


def test_a_pattern_of_another_kind_is_refused(random_network: SveNet) -> None:
    with pytest.raises(PatternNotFound):
        reconstruct(noise_frame((40, 40)), ExposurePattern(np.ones((1, 1), np.float32)), NOISE, random_network)


def test_bfloat16_is_taken_where_the_device_is_faster_at_it_and_the_network_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = load_weights(weights_path("standard"))
    pattern, frame = ExposurePattern(PAIRS), simulate(smooth_scene(64, 64), "RGGB", ExposurePattern(PAIRS), Sensor(), 0)
    in_full, halved = NetworkOptions(precision="float32"), NetworkOptions(precision="bfloat16")
    exact, short = (reconstruct(frame, pattern, NOISE, network, options) for options in (in_full, halved))
    assert_allclose(short, exact, rtol=0.01, atol=1e-3)
    assert not np.array_equal(short, exact)
    for faster, chosen in ((False, exact), (True, short)):
        monkeypatch.setattr(module, "has_bfloat16", lambda device, faster=faster: faster)
        assert_array_equal(reconstruct(frame, pattern, NOISE, network), chosen)
    paper = PaperConfig(width=4, blocks=1).build()
    assert_array_equal(  # which ends with a convolution: its light would have 8 bits
        reconstruct(frame, pattern, NOISE, paper), reconstruct(frame, pattern, NOISE, paper, in_full)
    )
