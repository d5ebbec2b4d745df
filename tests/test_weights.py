"""Weights files: they rebuild their network, and nothing else passes for one."""

import json
from pathlib import Path

import pytest
import torch
from cost import macs_per_pixel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from sve2hdr import weights
from sve2hdr.errors import UnreadableWeights, UnwritableOutput
from sve2hdr.network import NetworkConfig, SveNet
from sve2hdr.paper import PaperConfig, PaperNet
from sve2hdr.system.files import file_sha256
from sve2hdr.weights import PUBLISHED, WEIGHTS_FORMAT, load_weights, save_weights, weights_path

torch.set_num_threads(1)
TINY = NetworkConfig(widths=(8, 8, 8))


@pytest.fixture
def network() -> SveNet:
    torch.manual_seed(0)
    return SveNet(TINY)


@pytest.fixture
def saved(tmp_path: Path, network: SveNet) -> Path:
    save_weights(tmp_path / "ours.safetensors", TINY, network.state_dict(), {"steps": "3", "licence": "Apache-2.0"})
    return tmp_path / "ours.safetensors"


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as stored:
        return dict(stored.metadata())


def test_a_network_comes_back(saved: Path, network: SveNet) -> None:
    loaded = load_weights(saved)
    assert loaded.config == TINY
    assert not loaded.training
    planes = torch.rand(1, 4, 16, 16) * 0.01 + 0.1
    with torch.no_grad():
        assert torch.equal(loaded(planes), network(planes))


def test_the_papers_network_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path, config = tmp_path / "paper.safetensors", PaperConfig(width=4, blocks=2)
    network = config.build()
    save_weights(path, config, network.state_dict(), {})
    assert metadata_of(path)["architecture"] == "paper"
    loaded, planes = load_weights(path), torch.rand(1, 4, 16, 16)
    assert isinstance(loaded, PaperNet)
    assert loaded.config == config
    with torch.no_grad():
        assert torch.equal(loaded(planes), network(planes))


def test_an_architecture_of_the_future_is_refused(tmp_path: Path, network: SveNet) -> None:
    metadata = {"format": WEIGHTS_FORMAT, "config": TINY.to_json(), "architecture": "next"}
    save_file(network.state_dict(), tmp_path / "a.safetensors", metadata)
    with pytest.raises(UnreadableWeights, match=r"a\.safetensors: architecture 'next' is not known here"):
        load_weights(tmp_path / "a.safetensors")


def test_the_header_says_what_it_is(saved: Path) -> None:
    metadata = metadata_of(saved)
    assert metadata["format"] == WEIGHTS_FORMAT
    assert metadata["architecture"] == "sve2hdr"
    assert metadata["licence"] == "Apache-2.0"
    assert json.loads(metadata["config"])["widths"] == [8, 8, 8]
    assert int.from_bytes(saved.read_bytes()[:8], "little") < 10_000  # safetensors begins with its header's length


def test_the_file_has_the_usual_permissions(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    assert saved.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_folder_that_is_missing_is_said(tmp_path: Path, network: SveNet) -> None:
    with pytest.raises(UnwritableOutput, match="no folder"):
        save_weights(tmp_path / "missing" / "a.safetensors", TINY, network.state_dict(), {})


@pytest.mark.parametrize("part", [0, 7, 100, 0.5, 0.999])
def test_damaged_files_are_refused(saved: Path, part: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(part * len(whole)) if 0 < part < 1 else int(part)])
    with pytest.raises(UnreadableWeights, match=r"ours\.safetensors: cannot be read as weights") as refusal:
        load_weights(saved)
    assert "\n" not in str(refusal.value)


def test_other_files_are_refused(tmp_path: Path, network: SveNet) -> None:
    with pytest.raises(UnreadableWeights, match="missing"):
        load_weights(tmp_path / "missing.safetensors")
    with pytest.raises(UnreadableWeights):
        load_weights(tmp_path)
    save_file({"a": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UnreadableWeights, match="not weights of sve2hdr"):
        load_weights(tmp_path / "foreign.safetensors")
    torch.save(network.state_dict(), tmp_path / "pickle.pt")
    with pytest.raises(UnreadableWeights):
        load_weights(tmp_path / "pickle.pt")


@pytest.mark.parametrize(
    "config",
    [
        None,
        "",
        "[]",
        "null",
        '{"widths": [16, 8, 8]}',
        '{"widths": [8, 8]}',
        '{"widths": "8"}',
        '{"widths": [8, 8, "8"]}',
        '{"widths": [8, 8, 8], "blocks": [1, 1, 1]}',
        '{"widths": [8, 8, 8], "blocks": [1, 1, 3]}',
        '{"widths": [8, 8, -8]}',
        '{"widths": [8, 8, 8], "cfa": ["XX"]}',
        '{"widths": [8, 8, 8], "more": 1}',
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path: Path, network: SveNet, config: str | None) -> None:
    path, metadata = tmp_path / "tampered.safetensors", {"format": WEIGHTS_FORMAT}
    save_file(network.state_dict(), path, metadata if config is None else {**metadata, "config": config})
    with pytest.raises(UnreadableWeights, match=r"tampered\.safetensors") as refusal:
        load_weights(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("sve2hdr", {"widths": [100_000] * 3}),
        ("sve2hdr", {"blocks": [1_000_000, 1, 1]}),
        ("sve2hdr", {"strides": [[1, 1_000_000], [1, 1]]}),
        ("sve2hdr", {"cfa": ["RG" * 500, "GB" * 500], "exposure_rank": [[0] * 1000, [1] * 1000]}),
        ("paper", {"width": 100_000}),
        ("paper", {"blocks": 1_000_000}),
    ],
)
def test_a_few_bytes_build_no_huge_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, config: dict[str, object]
) -> None:
    path, metadata = tmp_path / "a.safetensors", {"format": WEIGHTS_FORMAT, "architecture": architecture}
    save_file({"a": torch.zeros(1)}, path, {**metadata, "config": json.dumps(config)})
    for built in (NetworkConfig, PaperConfig):
        monkeypatch.setattr(built, "build", lambda self: pytest.fail("was built"))
    with pytest.raises(UnreadableWeights, match=r"at most|up to"):
        load_weights(path)


@pytest.mark.parametrize(
    ("architecture", "config"),
    [("sve2hdr", {"widths": [1024] * 3, "blocks": [100] * 3}), ("paper", {"width": 1024, "blocks": 300})],
)
def test_a_few_bytes_take_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, config: dict[str, object]
) -> None:
    """These would take 12 GiB and 32 GiB."""
    path, metadata = tmp_path / "a.safetensors", {"format": WEIGHTS_FORMAT, "architecture": architecture}
    save_file({"a": torch.zeros(1)}, path, {**metadata, "config": json.dumps(config)})
    monkeypatch.setattr(nn.Conv2d, "reset_parameters", lambda self: pytest.fail("was filled"))
    with pytest.raises(UnreadableWeights, match=r"a\.safetensors: .* a larger network than the file can hold"):
        load_weights(path)


def test_every_tensor_must_be_there_and_no_other(tmp_path: Path, network: SveNet) -> None:
    path, state = tmp_path / "a.safetensors", network.state_dict()
    less = {name: tensor for name, tensor in state.items() if name != "head.bias"}
    for wrong in (less, {**state, "more": torch.zeros(1)}, {**state, "head.bias": torch.zeros(5)}):
        save_weights(path, TINY, wrong, {})
        with pytest.raises(UnreadableWeights):
            load_weights(path)


def test_names_are_published_networks_or_files(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = tmp_path / "published"
    published.mkdir()
    (published / "standard.safetensors").write_bytes(saved.read_bytes())
    monkeypatch.setattr(weights, "PUBLISHED", published)
    assert weights_path("standard") == published / "standard.safetensors"
    assert weights_path(str(saved)) == saved
    for name in ("other", str(tmp_path / "standard"), "../standard", str(tmp_path)):
        with pytest.raises(UnreadableWeights, match="one of: standard"):
            weights_path(name)


def test_the_model_card_is_of_the_published_files() -> None:
    card = (PUBLISHED / "README.md").read_text()
    published = sorted(PUBLISHED.glob("*.safetensors"))
    assert published
    for path in published:
        assert f"`{path.name}`" in card
        assert file_sha256(path) in card
        assert path.stat().st_size < 10e6
        network = load_weights(path)
        assert f"{sum(p.numel() for p in network.parameters()):,} parameters" in card
        assert f"{macs_per_pixel(network, network.alignment) / 1000:.1f} kMAC/px" in card
