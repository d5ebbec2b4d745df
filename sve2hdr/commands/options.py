"""What the commands share: types of arguments, options, and errors as one line."""

from __future__ import annotations

import errno
import glob
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from click.shell_completion import CompletionItem

from ..errors import one_line, printable
from ..mosaic import BAYER_ORDERS, QUAD_BAYERS
from ..patterntext import MAX_EV, MIN_EV, parse_pattern
from ..system.signals import stopping
from ..whitebalance import parse_white_balance
from .terminal import note

if TYPE_CHECKING:
    from ..levels import Levels
    from ..mosaic import ExposurePattern


class FileType(click.Path):
    """The path of a file; a folder is refused, and `instead` says what to use for it, with `{}` for its path."""

    def __init__(self, instead: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.instead = instead

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail as a usage error."""
        if os.path.isdir(value):
            self.fail(f"{value} is a folder; {self.instead.format(str(value).rstrip('/'))}", param, ctx)
        return super().convert(value, param, ctx)


class Files(click.Argument):
    """Several files; expands patterns where the shell does not."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the files, each converted to the argument's type."""
        expands = NO_SHELL_EXPANDS and isinstance(value, list | tuple)
        return super().type_cast_value(ctx, expanded(value) if expands else value)


def expanded(given: Iterable[str]) -> list[str]:
    """Return the files that match patterns, sorted; names that exist literally, or match nothing, stay as they are."""
    found = ((text, [] if os.path.lexists(text) else sorted(glob.glob(text, recursive=True))) for text in given)
    return [file for text, files in found for file in files or [text]]


def complete_path(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a path for a value that may also be a name or a URL."""
    return [CompletionItem(incomplete, type="file")]


NO_SHELL_EXPANDS = os.name == "nt"
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
FOLDER.name = "folder"  # the word used everywhere else
SEED = click.IntRange(0, 2**63 - 1)
CFA = click.Choice([*BAYER_ORDERS, *QUAD_BAYERS])
CFA_HELP = (
    "Colours of the top left 2 x 2 sites, such as GBRG, or of 4 x 4 for quad-Bayer at any phase, such as "
    "GRRGBGGBBGGBGRRG."
)


class Parsed(click.ParamType):  # type: ignore[type-arg]  # older releases of click have no argument here
    """A value that a function makes of text; it raises ValueError for what it does not understand."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name, self.parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text as converted by `parse`, or fail with a usage error."""
        try:
            return self.parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


PATTERN = Parsed("pattern", parse_pattern)
WHITE_BALANCE = Parsed("wb", parse_white_balance)


class LevelType(click.ParamType):  # type: ignore[type-arg]
    """Counts: one number, or several with commas (and semicolons between rows of a period, for black levels)."""

    def __init__(self, rows: bool) -> None:
        self.rows, self.name = rows, "counts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a float, a tuple of floats, or with `rows` a tuple of rows; or fail with a usage error."""
        if not isinstance(value, str):
            return value
        number = Number(0, 65535)
        lines = value.split(";") if self.rows else [value]
        period = tuple(tuple(float(number.convert(n, param, ctx)) for n in line.split(",")) for line in lines)
        if len({len(row) for row in period}) != 1:
            self.fail(f"{value!r} has rows of different lengths.", param, ctx)
        if len(period) == len(period[0]) == 1:
            return period[0][0]
        return period if self.rows else period[0]


class Number(click.FloatRange):
    """A range of numbers that refuses infinities and NaN, which passes the checks against limits."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or fail as a usage error."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


FOR_MEMORY = {  # by command: how to make it take less
    "batch": "use a smaller --tile",
    "convert": "use a smaller --tile",
    "train": "use a smaller --batch or --patch",
    "evaluate": "use smaller scenes or --device cpu",
}


class Command(click.Command):
    """Refuses what click silently accepts: repeated options that take one value, and an option as a value.

    `headings` are those of its help, each by the name of the first option below it.
    """

    def __init__(self, *args: Any, headings: Mapping[str, str] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.headings = headings or {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options below their headings; options with the same heading are joined."""
        heading = "Options"
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and (record := option.get_help_record(ctx)) is not None:
                heading = self.headings.get(str(option.name), heading)
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, or fail with a usage error."""
        values, _, given = self.make_parser(ctx).parse_args(list(args))
        names = {name for option in self.get_params(ctx) if isinstance(option, click.Option) for name in option.opts}
        for option in given if not ctx.resilient_parsing else ():
            if not isinstance(option, click.Option):
                continue
            said, shown = values[str(option.name)], max(option.opts, key=len)
            if given.count(option) > 1 and not (option.multiple or option.is_flag or option.count):
                raise click.UsageError(f"{shown}: takes one value; give it once", ctx)
            for value in said if option.multiple else [said]:
                if (taken := str(value).partition("=")[0]) in names:  # `-o --dry-run` would be no dry run
                    raise click.UsageError(f"{shown}: needs a value, and {taken} is an option", ctx)
        return super().parse_args(ctx, args)


class Commands(click.Group):
    """Prints every error as one line and exits with 1; usage errors exit with 2, as usual in click."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names in the order in which they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; signals to terminate interrupt it like Ctrl-C."""
        try:
            with stopping(at_once=True):
                return super().invoke(ctx)
        except click.ClickException as error:
            error.message = "\n".join(map(printable, error.message.split("\n")))  # type: ignore[misc]  # "final"
            raise
        except (click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("sve2hdr: interrupted", err=True)
            ctx.exit(130)
        except Exception as error:
            if os.environ.get("SVE2HDR_TRACEBACK") or getattr(error, "errno", None) == errno.EPIPE:
                raise  # click ends silently when the reader of a pipe has gone
            advice = FOR_MEMORY.get(ctx.invoked_subcommand or "", "use smaller files")
            note(one_line(error, for_memory=advice))
            ctx.exit(1)


def options_of(*decorators: Callable[..., Any]) -> Callable[..., Any]:
    """Return one decorator for several options."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


level_options = options_of(
    click.option(
        "--pattern", type=PATTERN, help="Relative exposures of one period, such as rows:1/8,1/8,1,1.  [default: found]"
    ),
    click.option(
        "--ev",
        type=Number(MIN_EV, MAX_EV),
        help="Exposure ratio of the most to the least exposed sites, in EV.  [default: measured]",
    ),
    click.option(
        "--black",
        type=LevelType(rows=True),
        help="Black level in counts: one number, or one period in quotes, with ; between rows and , between columns.  "
        "[default: measured]",
    ),
    click.option(
        "--white",
        type=LevelType(rows=False),
        help="White level in counts: one number, or one for each exposure, the least exposed first: W1,W2.  "
        "[default: measured]",
    ),
)
sensor_options = options_of(  # bounds as simulate.Sensor has them
    click.option(
        "--full-well",
        type=Number(1, 1e12),
        default=30_000.0,
        show_default=True,
        help="Electrons at which the least exposed sites saturate.",
    ),
    click.option(
        "--read-noise",
        type=Number(0, 1e6),
        default=4.0,
        show_default=True,
        help="Read noise of the least exposed sites in electrons.",
    ),
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace outputs that exist; otherwise they are left alone."
)
model_option = click.option(
    "--model",
    default="auto",
    show_default=True,
    shell_complete=complete_path,
    help="auto: the published network that knows the pattern, or classical if none does. Or the name of a network, "
    "such as large; a weights file of your own; or classical: nothing learned, any pattern, slower.",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where networks run; auto: CUDA or MPS if there is one, else the CPU.",
)


Counts = float | tuple[float, ...] | tuple[tuple[float, ...], ...] | None  # as LevelType has them


def levels_of(pattern: ExposurePattern | None, ev: float | None, black: Counts, white: Counts) -> Levels:
    """Return the overrides as the library's `Levels`."""
    from ..levels import Levels

    refuse_one_exposure(pattern)
    period = black if black is None or isinstance(black, float) else np.array(black, np.float32)
    return Levels(pattern, ev, period, white)  # type: ignore[arg-type]  # LevelType without rows gives no rows


def refuse_one_exposure(pattern: ExposurePattern | None) -> None:
    """Refuse a `--pattern` with a single exposure, which leaves nothing to merge."""
    if pattern is not None and pattern.ratio == 1:
        raise click.UsageError(f"--pattern {pattern}: has one exposure; there is nothing to merge")


def refuse_given(names: Sequence[str], why: str) -> None:
    """Refuse options that have no meaning here."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} {why}")
