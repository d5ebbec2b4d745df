"""A GPU that does not work, or not as the CPU does, is left out with a note, or refused in one line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from sve2hdr import network, trial
from sve2hdr.errors import Sve2HdrError
from sve2hdr.network import SveNet
from sve2hdr.system import devices
from sve2hdr.trial import tried_device

NO_KERNEL = "CUDA error: no kernel image is available for execution on the device\nSearch for `cudaErrorNoKernelImage'"
OLD_DRIVER = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update"
TRUE = trial._computed


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Forget, before and after, what devices of other tests are like."""
    for known in (trial._fault, devices.cuda_refusal):
        known.cache_clear()
    yield
    for known in (trial._fault, devices.cuda_refusal):
        known.cache_clear()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Tensor], Tensor]], None]:
    """Have a GPU which makes something else of what the CPU computes."""

    def of(made: Callable[[Tensor], Tensor]) -> None:
        def computed(network: SveNet, planes: Tensor, kind: str, half: bool) -> Tensor:
            image = TRUE(network, planes, "cpu", half)
            return image if kind == "cpu" else made(image)

        monkeypatch.setattr(trial, "_computed", computed)
        monkeypatch.setattr(trial, "has_bfloat16", lambda kind: True)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    return of


def broken(image: Tensor) -> Tensor:
    raise RuntimeError(NO_KERNEL)


def test_one_that_computes_as_the_cpu_does_is_taken(
    gpu: Callable[[Callable[[Tensor], Tensor]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu(lambda image: image)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("its random numbers are not ours"))
    state = torch.get_rng_state()
    assert tried_device("auto") == tried_device("cuda") == (torch.device("cuda"), "")
    assert tried_device("cpu") == (torch.device("cpu"), "")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (broken, "CUDA error: no kernel image is available for execution on the device"),
        (lambda image: image + 0.01, "its results differ from those of the CPU"),
        (lambda image: image * torch.nan, "its results differ from those of the CPU"),
    ],
)
def test_one_that_does_not_is_left_out_or_refused(
    gpu: Callable[[Callable[[Tensor], Tensor]], None], made: Callable[[Tensor], Tensor], fault: str
) -> None:
    gpu(made)
    assert tried_device("auto") == (torch.device("cpu"), f"the GPU (cuda) does not work ({fault}): the CPU was used")
    with pytest.raises(Sve2HdrError, match=r"device cuda: does not work here .* or use --device cpu$") as refusal:
        tried_device("cuda")
    assert fault in str(refusal.value)


def test_a_driver_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [OLD_DRIVER]  # as torch does: once

    def is_available() -> bool:
        if told:
            warnings.warn(told.pop(), stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    fault = "The NVIDIA driver on your system is too old (found version 11040)"
    for _ in range(2):
        assert tried_device("auto") == (torch.device("cpu"), f"the GPU cannot be used ({fault}): the CPU was used")
        assert tried_device("cpu") == (torch.device("cpu"), "")
        with pytest.raises(Sve2HdrError) as refusal:
            tried_device("cuda")
        assert str(refusal.value) == f"device cuda: torch finds none here ({fault}); use --device auto or cpu"


def test_other_pixels_than_were_meant_are_noticed(
    gpu: Callable[[Callable[[Tensor], Tensor]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by MPS before torch 2.13: every block's convolution reads parts of tensors as if these were packed."""
    gpu(lambda image: image)
    of_cpu, true = trial._computed, network.packed

    def misread(part: Tensor) -> Tensor:
        _, c, h, w = part.shape
        return true(part.as_strided(part.shape, (h * w * c, 1, w * c, c)))

    def computed(net: SveNet, planes: Tensor, kind: str, half: bool) -> Tensor:
        monkeypatch.setattr(network, "packed", true if kind == "cpu" else misread)
        return of_cpu(net, planes, kind, half)

    monkeypatch.setattr(trial, "_computed", computed)
    assert "differ" in tried_device("auto")[1]
