"""Ordinary raws: developed by the network for SVE frames, by filters, and by the classical method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sve2hdr.convert import convert_file
from sve2hdr.develop import develop, feigned_pattern
from sve2hdr.errors import PatternNotFound
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.interpolate import interpolate
from sve2hdr.layout import placements
from sve2hdr.models import Model
from sve2hdr.mosaic import BAYER_ORDERS, ONE_EXPOSURE, Mosaic, repeated
from sve2hdr.network import BLOCKS, NetworkConfig, SveNet
from sve2hdr.pipeline import ConvertOptions
from sve2hdr.radiance import NoiseModel
from sve2hdr.reconstruct import NetworkOptions
from sve2hdr.sensor.noise import estimate_noise
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate
from sve2hdr.weights import load_weights, weights_path


@pytest.fixture(scope="module")
def network() -> SveNet:
    return load_weights(weights_path("standard"))


def scene(shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    light = np.exp2(4 * x / shape[1] - 4.5) * (1 + 0.6 * np.sign(np.sin((x + 2 * y) / 5) + np.sin((3 * x - y) / 11)))
    tint = np.stack([1 + 0.3 * np.sin(y / 23), np.ones_like(x), 1 + 0.3 * np.cos(x / 31)], axis=2)
    return np.float32(light[..., None] * tint * NEUTRAL)


def error(image: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((image - truth)[8:-8, 8:-8] ** 2)))


@pytest.mark.parametrize("config", [NetworkConfig(), BLOCKS])
@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_the_feigned_pattern_is_one_that_the_network_knows(cfa: str, config: NetworkConfig) -> None:
    pattern = feigned_pattern(cfa, config)
    assert pattern is not None
    frame = Mosaic(np.full((65, 66), 9, np.uint16), cfa, np.zeros((1, 1), np.float32), 16.0, np.eye(3))
    placements(frame, pattern, config)  # raises where it does not


def test_a_cfa_that_the_network_does_not_know_has_none() -> None:
    assert feigned_pattern("GGBBGGBBRRGGRRGG", NetworkConfig()) is None


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_the_network_beats_filters_and_interpolation(network: SveNet, cfa: str) -> None:
    truth = scene()
    frame = simulate(truth, cfa, ONE_EXPOSURE, Sensor(black_level=2048, white_level=15_488), seed=3)
    noise = estimate_noise(frame, ONE_EXPOSURE)
    wanted = np.minimum(truth, 1)
    learned, filtered = (error(np.minimum(develop(frame, noise, way), 1), wanted) for way in (network, None))
    assert learned < filtered < error(interpolate(frame, ONE_EXPOSURE), wanted)


@pytest.mark.parametrize("way", ["network", "filters"])
@pytest.mark.parametrize(("black", "white"), [(0, 1023), (64, 1023), (2048, 15_488), (512, 65_535)])
def test_grey_stays_where_it_is_and_saturation_is_one(network: SveNet, way: str, black: int, white: int) -> None:
    """Whatever the levels and however many the bits, of every site on its own."""
    noise = NoiseModel(np.full((1, 1), 1e-3, np.float32), np.full((1, 1), 0.2, np.float32))
    levels = repeated(np.float32([[black, black + 2], [black + 3, black]]), (2, 2))
    for share in (0.25, 1.0):
        counts = np.rint(levels + share * (white - levels)).astype(np.uint16)
        frame = Mosaic(repeated(counts, (64, 64)), "GRBG", levels, float(white), np.eye(3))
        image = develop(frame, noise, network if way == "network" else None)
        assert image.dtype == np.float32
        np.testing.assert_allclose(image.mean((0, 1)), share, rtol=0.02)


def test_progress_is_told(network: SveNet) -> None:
    frame = simulate(scene(), "BGGR", ONE_EXPOSURE, Sensor(), seed=3)
    noise = estimate_noise(frame, ONE_EXPOSURE)
    for way in (network, None):
        told: list[float] = []
        develop(frame, noise, way, progress=told.append)
        assert told[-1] == 1.0


def test_four_by_four_filters_are_developed(network: SveNet) -> None:
    truth, cfa = scene((48, 48)), "GGBBGGBBRRGGRRGG"
    frame = simulate(truth, cfa, ONE_EXPOSURE, Sensor(), seed=3)
    image = develop(frame, estimate_noise(frame, ONE_EXPOSURE), network)
    assert error(image, truth) < error(interpolate(frame, ONE_EXPOSURE), truth)


def test_the_precision_is_that_of_the_network(network: SveNet) -> None:
    frame = simulate(scene(), "RGGB", ONE_EXPOSURE, Sensor(), seed=3)
    noise = estimate_noise(frame, ONE_EXPOSURE)
    in_full, in_half = NetworkOptions(precision="float32"), NetworkOptions(precision="bfloat16")
    exact, halved = (develop(frame, noise, network, options) for options in (in_full, in_half))
    assert 0 < np.abs(exact - halved).max() < 0.05


def test_the_frame_is_left_as_it_is(network: SveNet) -> None:
    frame = simulate(scene(), "RGGB", ONE_EXPOSURE, Sensor(), seed=3)
    before = frame.counts.copy()
    for way in (network, None):
        develop(frame, estimate_noise(frame, ONE_EXPOSURE), way)
    np.testing.assert_array_equal(frame.counts, before)


# As a file ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Return a DNG of one exposure with a hot site."""
    frame = simulate(scene(), "RGGB", ONE_EXPOSURE, Sensor(black_level=2048, white_level=15_488), seed=3)
    counts = frame.counts.copy()
    counts[40, 10] = 15_000
    write_cfa_dng(tmp_path / "plain.dng", replace(frame, counts=counts))
    return tmp_path / "plain.dng"


def test_an_ordinary_raw_is_refused_unless_asked_for(tmp_path: Path, plain: Path, network: SveNet) -> None:
    with pytest.raises(PatternNotFound, match="no exposure pattern"):
        convert_file(plain, tmp_path / "a.exr", Model({"standard": network}))
    assert not (tmp_path / "a.exr").exists()
    options = ConvertOptions(color_space="camera", if_not_sve="develop")
    converted = convert_file(plain, tmp_path / "a.exr", Model({"standard": network}), options)
    assert converted.pattern.ratio == 1
    assert "developed as a photo of one exposure" in converted.notes[0]
    image = read_hdr(tmp_path / "a.exr")
    assert error(np.minimum(image, 1), np.minimum(scene(), 1)) < 0.02


def test_a_pattern_that_is_given_is_taken(tmp_path: Path, plain: Path, network: SveNet) -> None:
    options = ConvertOptions(if_not_sve="develop")
    options = replace(options, levels=replace(options.levels, pattern=feigned_pattern("RGGB", network.config)))
    assert convert_file(plain, tmp_path / "a.exr", Model({"standard": network}), options).pattern.ratio > 1


def test_bad_pixels_are_repaired_unless_told_otherwise(tmp_path: Path, plain: Path, network: SveNet) -> None:
    options = ConvertOptions(color_space="camera", if_not_sve="develop")
    seen = []
    for bad_pixels in (True, False):
        output = tmp_path / f"{bad_pixels}.exr"
        made = convert_file(plain, output, Model({"standard": network}), replace(options, bad_pixels=bad_pixels))
        assert ("bad sites replaced: " in made.summary()) is bad_pixels
        around = np.s_[36:45, 6:15]
        seen.append(np.abs(read_hdr(output)[around] - scene()[around]).max())
    assert seen[0] < 0.9 * seen[1]  # the network takes a part of it for what it is
