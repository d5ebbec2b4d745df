"""Everything the program says no with: one line for the user, which names the file, the finding and the next step."""


class Sve2HdrError(Exception):
    """A file or an option that cannot be used; the command line prints it as one line and exits with 1."""


class UnreadableRaw(Sve2HdrError):
    """Not a raw file, a damaged one, or one that holds no Bayer mosaic."""


class PatternNotFound(Sve2HdrError):
    """The pixels show no exposure pattern, or the pattern given does not fit the file."""


class UnreadableImage(Sve2HdrError):
    """An HDR image or scene that cannot be read."""


class UnreadableWeights(Sve2HdrError):
    """A weights file, checkpoint or data shard that is damaged or not ours."""


class UnwritableOutput(Sve2HdrError):
    """An output that exists, lies in a missing folder, cannot be written, or has an unknown extension."""


class UnusableStack(Sve2HdrError):
    """Raw files that are no exposure stack of one static scene."""
