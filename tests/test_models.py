"""What --model names, and which network a pattern decides."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sve2hdr import weights
from sve2hdr.errors import PatternNotFound, UnknownLayout, UnreadableWeights
from sve2hdr.models import AUTO, CLASSICAL, Model, is_file, model_digest, model_named
from sve2hdr.mosaic import QUAD_BAYER, ExposurePattern, Mosaic
from sve2hdr.network import LARGE, NetworkConfig
from sve2hdr.paper import PaperConfig
from sve2hdr.weights import save_weights

torch.set_num_threads(1)
RAW = Path("photo.dng")
ROWS = ExposurePattern(np.float32([[1 / 8], [1 / 8], [1], [1]]))
BLOCKS = ExposurePattern(np.kron(np.float32([[1, 1 / 2], [1 / 4, 1 / 8]]), np.ones((2, 2), np.float32)))
CHESS = ExposurePattern(np.kron(np.float32([[1, 1 / 8], [1 / 8, 1]]), np.ones((2, 2), np.float32)))
THREE_BLOCKS = ExposurePattern(np.kron(np.float32([[1, 1 / 8], [1 / 4, 1 / 4]]), np.ones((2, 2), np.float32)))
FOURS = ExposurePattern(ROWS.exposure.repeat(2, 0))
SINGLE_ROWS = ExposurePattern(np.float32([[1 / 8], [1]]))
DIAGONALS = ExposurePattern(np.float32([[1, 1 / 8], [1 / 8, 1]]))
FOUR_OF_A_COLOUR = ExposurePattern(np.float32([[1, 1 / 2], [1 / 4, 1 / 8]]))


def frame(side: int = 16, cfa: str = "RGGB") -> Mosaic:
    return Mosaic(np.full((side, side), 5000, np.uint16), cfa, np.zeros((1, 1), np.float32), 16000.0, np.eye(3))


@pytest.mark.parametrize(
    ("pattern", "cfa", "name"),
    [
        (ROWS, "RGGB", "standard"),
        (ExposurePattern(ROWS.exposure.T), "RGGB", "standard"),
        (BLOCKS, "RGGB", "blocks"),
        (CHESS, "GRBG", "blocks"),
        (THREE_BLOCKS, "RGGB", "blocks"),
        (SINGLE_ROWS, "RGGB", "classical"),
        (FOURS, "RGGB", "fours"),
        (ExposurePattern(np.roll(FOURS.exposure, 3, 0).T.copy()), "GBRG", "fours"),
        (DIAGONALS, QUAD_BAYER, "quad"),
        (ExposurePattern(DIAGONALS.exposure[::-1].copy()), "GGBBGGBBRRGGRRGG", "quad"),
        (FOUR_OF_A_COLOUR, QUAD_BAYER, "quad"),
        (SINGLE_ROWS, QUAD_BAYER, "quad"),
    ],
)
def test_the_pattern_decides(pattern: ExposurePattern, cfa: str, name: str) -> None:
    found, network = model_named(AUTO).for_pattern(RAW, frame(cfa=cfa), pattern)
    assert found == name
    assert (network is None) == (name == CLASSICAL)


@pytest.mark.parametrize(("pattern", "name"), [(BLOCKS, "blocks"), (SINGLE_ROWS, "classical")], ids=["blocks", "none"])
def test_a_network_that_does_not_know_a_pattern_names_the_model_that_does(pattern: ExposurePattern, name: str) -> None:
    with pytest.raises(UnknownLayout, match=rf"^photo\.dng: .*; use --model {name}$"):
        model_named("standard").for_pattern(RAW, frame(), pattern)


def test_a_frame_smaller_than_a_cell_is_refused_by_name() -> None:
    with pytest.raises(PatternNotFound, match=r"^photo\.dng: .* give a larger frame"):
        model_named(AUTO).for_pattern(RAW, frame(2), ROWS)


def test_one_name_is_one_candidate() -> None:
    assert list(model_named("blocks").candidates) == ["blocks"]
    assert model_named(CLASSICAL).candidates == {CLASSICAL: None}
    assert model_named(CLASSICAL).for_pattern(RAW, frame(), CHESS) == (CLASSICAL, None)
    assert model_named("standard").for_one_exposure()[0] == model_named(AUTO).for_one_exposure()[0] == "standard"
    with pytest.raises(UnreadableWeights, match=r"none: no such weights file; .* one of: auto, classical, blocks"):
        model_named("none")


def test_networks_to_compare_with_and_slow_ones_are_not_chosen() -> None:
    assert list(model_named(AUTO).candidates) == ["standard", "blocks", "quad", "fours", CLASSICAL]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], Path]:
    """Return what publishes a tiny network."""
    monkeypatch.setattr(weights, "PUBLISHED", tmp_path)
    config = NetworkConfig(widths=(4, 4, 4))

    def publish(name: str, seed: int) -> Path:
        torch.manual_seed(seed)
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, config, config.build().state_dict(), {})
        return path

    return publish


def test_a_digest_is_of_the_weights_that_may_be_taken(tiny: Callable[[str, int], Path]) -> None:
    path = tiny("standard", 1)
    tiny("blocks", 2)
    with pytest.raises(UnreadableWeights, match="lacks the networks quad, fours; install"):
        model_digest(AUTO)
    tiny("quad", 2)
    tiny("fours", 2)
    tiny("paper", 3)
    first = model_digest(AUTO)
    assert len({first, model_digest("standard"), model_digest("blocks")}) == 3
    assert model_digest(str(path)) == model_digest("standard")
    assert model_digest(CLASSICAL) == ""
    tiny("paper", 4)
    assert model_digest(AUTO) == first
    tiny("blocks", 5)
    assert model_digest(AUTO) != first


def test_automatic_is_not_the_classical_method_for_want_of_weights(tiny: Callable[[str, int], Path]) -> None:
    with pytest.raises(UnreadableWeights, match="lacks the networks standard, blocks, quad, fours; install"):
        model_named(AUTO)


def test_a_weights_file_is_named_by_text_or_path_and_leaves_random_numbers_alone(
    tiny: Callable[[str, int], Path],
) -> None:
    path, before = tiny("mine", 1), torch.get_rng_state()
    assert list(model_named(path).candidates) == list(model_named(str(path)).candidates) == [str(path)]
    assert torch.equal(torch.get_rng_state(), before)


def test_files_of_the_user_lie_at_one_place(tiny: Callable[[str, int], Path]) -> None:
    path = tiny("standard", 1)
    assert [is_file(name) for name in (AUTO, CLASSICAL, "standard", str(path), "other")] == [False] * 3 + [True] * 2


def test_memory_goes_with_the_widest_network() -> None:
    assert model_named(CLASSICAL).features_per_px == 0
    assert model_named("standard").features_per_px == 96 / 8 * 4 / 3
    assert model_named(AUTO).features_per_px == 96 / 8 * 4 / 3  # blocks: 128 / 16 * 4 / 3
    assert Model({"a": LARGE.build(), "b": PaperConfig(width=16).build()}).features_per_px == 160 / 8 * 4 / 3
    assert NetworkConfig(widths=(8, 64, 8)).features_per_px == 64 / 16 * 4 / 3
