"""The program: python -m sve2hdr, and the command that is installed."""

import os
import sys

from .system.threads import wait_politely


def main() -> None:
    """Run the command line; Ctrl-C while its modules are still being read ends it with one line too."""
    _have_streams()
    _take_any_text()
    wait_politely()
    try:
        from .commands.cli import main as commands
        from .system.quiet import mute_libraries
    except KeyboardInterrupt:
        print("sve2hdr: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    mute_libraries()
    commands(_arguments())


def _arguments(windows: bool = os.name == "nt") -> list[str]:
    """Return what is typed, patterns as they are, which click would expand on Windows: `batch` mirrors their trees.

    A `~` at the start is the home folder there, as shells elsewhere have it.
    """
    if not windows:
        return sys.argv[1:]
    return [os.path.expanduser(text) if text[:2] in ("~", "~/", "~\\") else text for text in sys.argv[1:]]


def _have_streams() -> None:
    """Have what is said go nowhere, rather than end the run, where a daemon or a window has closed a stream.

    The descriptors too, and for the processes that `batch` starts: what is opened next would take their numbers.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _take_any_text() -> None:
    """Have what an encoding lacks, such as a name in another script, written as \\u5199 rather than end the run."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
