"""The program: python -m sve2hdr, and the installed command."""

import os
import sys

from .system.threads import wait_politely


def main() -> None:
    """Run the command line; Ctrl-C while its modules are being imported also ends it with one line."""
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
    """Return the arguments as typed: on Windows click would expand patterns, whose folder trees `batch` mirrors.

    There, a `~` at the start becomes the home folder, as in shells elsewhere.
    """
    if not windows:
        return sys.argv[1:]
    return [os.path.expanduser(text) if text[:2] in ("~", "~/", "~\\") else text for text in sys.argv[1:]]


def _have_streams() -> None:
    """Replace streams closed by a daemon or a window with the null device, so that printing does not end the run.

    This includes the descriptors, also for processes that `batch` starts, or files opened next would get their numbers.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _take_any_text() -> None:
    """Write characters that the encoding lacks, such as a name in another script, as \\u5199 instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
