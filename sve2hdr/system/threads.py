"""Parts of an image, worked on by as many threads as the network has, up to a limit."""

from __future__ import annotations

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
