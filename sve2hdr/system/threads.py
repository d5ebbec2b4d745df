"""Parts of an image, worked on by as many threads as the network has, up to a limit; and how threads wait."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

MOST_THREADS = 16  # each takes memory for a part, and more gain little

Part = TypeVar("Part")
Result = TypeVar("Result")


def in_threads(work: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
    """Yield what `work` makes of each part, in their order. NumPy and codecs let other threads go on meanwhile.

    >>> list(in_threads(len, ["a", "bc"]))
    [1, 2]
    """
    from concurrent.futures import ThreadPoolExecutor  # here, as commands that make no image start without both

    import torch

    with ThreadPoolExecutor(min(torch.get_num_threads(), MOST_THREADS)) as pool:
        yield from pool.map(work, parts)


def wait_politely() -> None:
    """Have threads that wait for each other sleep soon: where other programs use the cores, they would spin in vain.

    By default GNU's OpenMP, which PyTorch has on Linux, goes round 300,000 times. It is told by the environment, before
    PyTorch is read, here or in a process that is started. What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
