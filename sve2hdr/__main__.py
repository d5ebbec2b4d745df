"""python -m sve2hdr."""

from .cli import main

if __name__ == "__main__":
    main()
