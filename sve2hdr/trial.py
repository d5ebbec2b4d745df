"""Whether a GPU computes what the CPU does: tried once in a process, with a small network, before photos go there."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .errors import Sve2HdrError
from .network import NetworkConfig, SveNet
from .system.devices import choose_device, cuda_refusal, has_bfloat16

CONFIG = NetworkConfig(widths=(8, 8, 8))
# Mean error, of the mu-law of radiance, by whether convolutions are in bfloat16, which comes to 6e-4. NVIDIA's TF32
# comes to 5e-5, and what MPS before torch 2.13 made of parts of tensors to 6e-3.
MOST_ERROR = {False: 1e-3, True: 5e-3}


def tried_device(name: str) -> tuple[torch.device, str]:
    """Return the device for `--device`, and what is to be told where `auto` leaves out a GPU that does not work.

    Raises Sve2HdrError where there is no such device, or it is named and does not work.
    """
    device = choose_device(name)
    if device.type != "cpu" and (fault := _fault(device.type)):
        if name != "auto":
            raise Sve2HdrError(
                f"device {name}: does not work here ({fault}); update its driver, install a PyTorch that is made for "
                "it, or use --device cpu"
            )
        return torch.device("cpu"), f"the GPU ({device.type}) does not work ({fault}): the CPU was used"
    if name == "auto" and device.type == "cpu" and (fault := cuda_refusal()):
        return device, f"the GPU cannot be used ({fault}): the CPU was used"
    return device, ""


@cache
def _fault(kind: str) -> str:
    """Return what is wrong with a kind of device; "" where nothing is."""
    with torch.random.fork_rng(devices=()):  # the application's random numbers stay as they were
        torch.default_generator.manual_seed(0)  # `torch.manual_seed` is for all devices
        network = SveNet(CONFIG).eval()
        network.head.weight.data *= 10  # what layers before it get wrong counts for more
        rows, columns = (8 * side for side in network.alignment)
        rank = torch.tensor(CONFIG.exposure_rank).repeat(rows // CONFIG.cell[0], columns // CONFIG.cell[1])
        radiance, usable = torch.rand(2, 2, rows, columns)
    exposure = (0.125 ** (1 - rank)).expand(2, -1, -1)
    planes = torch.stack([radiance, exposure, usable, torch.full_like(usable, 0.01)], 1)
    try:
        expected = _computed(network, planes, "cpu", half=False)
        for half in {False, has_bfloat16(kind)}:
            error = float((_computed(network, planes, kind, half) - expected).abs().mean())
            if not error < MOST_ERROR[half]:
                return "its results differ from those of the CPU"
    except RuntimeError as error:  # what torch raises for a device: no kernels for it, no memory, a broken driver
        return str(error).strip().partition("\n")[0]
    return ""


@torch.inference_mode()
def _computed(network: SveNet, planes: Tensor, kind: str, half: bool) -> Tensor:
    """Return what a network makes of planes on a kind of device, in the compressed domain, on the CPU."""
    network.to(kind, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    with torch.autocast(kind, torch.bfloat16, enabled=half):
        return network.compressed(planes.to(kind)).float().cpu()
