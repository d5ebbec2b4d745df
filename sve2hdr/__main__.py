"""The program: python -m sve2hdr, and the command that is installed."""

import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C while its modules are still being read ends it with one line too."""
    _have_streams()
    _take_any_text()
    try:
        from .cli import main as commands
    except KeyboardInterrupt:
        print("sve2hdr: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    commands()


def _have_streams() -> None:
    """Have what is said go nowhere, rather than end the run, where a daemon or a window has closed a stream."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # to the end of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _take_any_text() -> None:
    """Have what an encoding lacks, such as a name in another script, written as \\u5199 rather than end the run."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
