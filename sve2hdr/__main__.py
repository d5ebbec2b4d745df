"""The program: python -m sve2hdr, and the command that is installed."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while its modules are still being read ends it with one line too."""
    try:
        from .cli import main as commands
    except KeyboardInterrupt:
        print("sve2hdr: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    commands()


if __name__ == "__main__":
    main()
