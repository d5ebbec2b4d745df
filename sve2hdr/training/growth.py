"""A trained network made larger, or for another layout of exposures: where training goes on."""

from __future__ import annotations

import torch

from ..network import NetworkConfig, SveNet


def grown(network: SveNet, config: NetworkConfig) -> SveNet:
    """Return a network of another configuration that does what a trained one does: to make it larger, and train on.

    Further blocks start as the identity, and what further channels hold is not read at first (Chen, Goodfellow and
    Shlens, "Net2Net", ICLR 2016). Where a level has fewer blocks, its last ones are left out. Colours and exposures may
    lie otherwise: the network has still to learn that, and, for other colours, its base image, and to read a cell of
    another size. Raises ValueError for places of another size, other strides or narrower levels.
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
            if name.endswith("spatial.weight"):  # a block goes on to pass on what it passed on before
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
