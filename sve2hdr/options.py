"""What the commands share: types of arguments, options, errors as one line, the progress bar."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import Sve2HdrError
from .pattern import parse_pattern
from .whitebalance import parse_white_balance

if TYPE_CHECKING:
    from .levels import Levels
    from .mosaic import ExposurePattern

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class PatternType(click.ParamType):  # type: ignore[type-arg]  # older releases of click have no argument here
    """`rows:1/8,1/8,1,1`, `columns:...` or `grid:a,b;c,d`."""

    name = "pattern"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the ExposurePattern, or fail as a usage error."""
        try:
            return parse_pattern(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


class WhiteBalanceType(click.ParamType):  # type: ignore[type-arg]
    """`as-shot`, `auto`, `daylight`, multipliers `R,G,B` or a colour temperature such as `5500K`."""

    name = "wb"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the WhiteBalance, or fail as a usage error."""
        try:
            return parse_white_balance(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Number(click.FloatRange):
    """A range of floats; NaN, which is neither below nor above any limit, and infinities are not in it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or fail as a usage error."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Commands(click.Group):
    """Prints every error as one line and exits with 1; usage errors exit with 2, as click has it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("sve2hdr: interrupted", err=True)
            ctx.exit(130)
        except Exception as error:
            if os.environ.get("SVE2HDR_TRACEBACK") or getattr(error, "errno", None) == errno.EPIPE:
                raise  # click ends without a word when the reader of a pipe has gone
            click.echo(f"sve2hdr: {one_line(error)}", err=True)
            ctx.exit(1)


def one_line(error: Exception) -> str:
    """Return what happened and what to do.

    >>> one_line(Sve2HdrError("a.dng: truncated; copy it again")), one_line(MemoryError())
    ('a.dng: truncated; copy it again', 'not enough memory; use a smaller --tile, or close other programs')
    """
    text = " ".join(str(error).split())
    if isinstance(error, Sve2HdrError):
        return text
    # torch raises a RuntimeError for want of memory
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "not enough memory; use a smaller --tile, or close other programs"
    if isinstance(error, OSError):
        return f"{text}; check the path and the free space"
    return f"unexpected {type(error).__name__}: {text}; please report it with what SVE2HDR_TRACEBACK=1 makes it show"


def keep_freed_memory() -> None:
    """Let the C library keep the memory of one tile for the next, instead of returning it and asking for it anew.

    Without this, each of a network's large tensors costs fresh pages, which takes time on CPUs. Only glibc
    has the setting (mallopt(3): M_MMAP_THRESHOLD, M_TRIM_THRESHOLD); elsewhere nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for parameter in (-3, -1):
        mallopt(parameter, 1 << 30)


def options_of(*decorators: Callable[..., Any]) -> Callable[..., Any]:
    """Return one decorator for several options."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


level_options = options_of(
    click.option("--pattern", type=PatternType(), help="Exposure pattern, e.g. rows:1/8,1/8,1,1.  [default: found]"),
    click.option("--ev", type=Number(0, 20, min_open=True), help="Exposure ratio in EV.  [default: measured]"),
    click.option("--black", type=Number(0, 65535), help="Black level in counts.  [default: from the file]"),
    click.option("--white", type=Number(0, 65535), help="White level in counts.  [default: from the file]"),
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
model_option = click.option(
    "--model",
    default="standard",
    show_default=True,
    help="A published network, a weights file of your own, or classical: nothing learned, all patterns, slower.",
)
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True
)


def levels_of(pattern: ExposurePattern | None, ev: float | None, black: float | None, white: float | None) -> Levels:
    """Return the overrides as the library takes them."""
    from .levels import Levels

    if pattern is not None and pattern.ratio == 1:
        raise click.UsageError(f"--pattern {pattern}: has one exposure; there is nothing to merge")
    return Levels(pattern, ev, black, white)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """Yield a callable that shows a share, 0 to 1, as a bar on stderr; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)
