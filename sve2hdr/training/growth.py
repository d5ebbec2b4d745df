"""Growing a trained network, or moving it to another layout of exposures, so that training can go on."""

from __future__ import annotations

import torch

from ..network import NetworkConfig, SveNet


def grown(network: SveNet, config: NetworkConfig) -> SveNet:
    """Return a network of another configuration that starts out doing what the trained one does.

    Added blocks start as the identity, and added channels are not read at first (Chen, Goodfellow and Shlens,
    "Net2Net", ICLR 2016). Where a level has fewer blocks, its last ones are dropped. The colours and exposures may
    be laid out differently, but the network still has to learn it; with another CFA also its base image, and with
    another cell size its stem. Raises ValueError for places of another size, other strides or narrower levels.
    """
    old = network.config
    if (config.place, config.strides) != (old.place, old.strides):
        raise ValueError("a network grows in widths and blocks; the size of its places and its strides stay")
    if any(new < known for new, known in zip(config.widths, old.widths, strict=True)):
        raise ValueError(
            f"a network of widths {old.widths} cannot become one of {config.widths}, which has narrower ones"
        )
    larger = SveNet(config)
    state, known = larger.state_dict(), network.state_dict()
    other_base, other_stem = config.cfa != old.cfa, config.cell != old.cell
    for name, tensor in state.items():
        if (other_base and name == "base.log_weight") or (other_stem and name.startswith("stem.")):
            continue
        if name in known:
            there = tuple(map(slice, known[name].shape))
            if tensor.ndim == 4:
                tensor[: known[name].shape[0], known[name].shape[1] :] = 0
            tensor[there] = known[name]
            if name.endswith("spatial.weight"):  # channels that the old block passed through still pass through
                width = known[name.replace("spatial", "first")].shape[1]
                passed = torch.arange(known[name].shape[0], min(tensor.shape[0], width))
                tensor[passed] = 0
                tensor[passed, passed, 1, 1] = 1
            elif name.endswith("spatial.bias"):
                tensor[known[name].shape[0] :] = 0
        elif name.endswith(("second.weight", "second.bias")):
            tensor.zero_()
    larger.load_state_dict(state)
    return larger
