"""Where networks run."""

from __future__ import annotations

import warnings
from functools import cache

import torch

from ..errors import Sve2HdrError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """Return the device for `--device`; auto is CUDA, else MPS, else the CPU. Raises Sve2HdrError if there is none."""
    refusal = cuda_refusal()  # asked before all else
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in there if there[device])
    if not there.get(name, False):
        why = f" ({refusal})" if name == "cuda" and refusal else ""
        raise Sve2HdrError(f"device {name}: torch finds none here{why}; use --device auto or cpu")
    return torch.device(name)


@cache
def cuda_refusal() -> str:
    """Return why torch does not use a GPU that is there, such as a driver that is too old; "" where it says nothing.

    It warns of that, and once only: hence this is asked before all else.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    reasons = [str(warning.message).partition(". ")[0] for warning in said]
    return "" if there or not reasons else reasons[0].removeprefix("CUDA initialization: ")


def has_bfloat16(device: torch.device | str) -> bool:
    """Return whether a device convolves faster in bfloat16 than in float32: its instructions, not an emulation."""
    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict[str, bool])()  # torch before 2.11 tells none
        return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))
    return False
