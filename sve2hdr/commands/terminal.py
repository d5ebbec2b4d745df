"""What commands say: lines for people on stdout and stderr, and the progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..errors import printable

if TYPE_CHECKING:
    import torch


def tell(*lines: str, err: bool = False) -> None:
    """Print lines for people; control codes in them, from names and files, are shown, not sent to the terminal."""
    for line in lines:
        click.echo(printable(line), err=err)


def note(text: str) -> None:
    """Tell the user something on stderr, in one line."""
    tell(f"sve2hdr: {text}", err=True)


def tried_device(name: str) -> torch.device:
    """Return the device for `--device`; print a note if a GPU is left out because it does not work.

    Raises Sve2HdrError if there is no such device, or it was named and does not work.
    """
    from .. import trial

    device, fault = trial.tried_device(name)
    if fault:
        note(fault)
    return device


def draws_bars() -> bool:
    """Return whether stderr is a terminal that can show bars; not with TERM=dumb, which screen readers use."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """Yield a callable that shows a share, 0 to 1, as a bar on stderr; it is silent if none can be drawn."""
    if not draws_bars():
        yield lambda share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(title), total=1.0)
        yield lambda share: bar.update(task, completed=share)
