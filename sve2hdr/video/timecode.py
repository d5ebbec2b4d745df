"""The time codes of a clip's frames, by the camera's time of day."""

from __future__ import annotations

from datetime import datetime


def frames_since_midnight(start: datetime, frame_rate: float) -> int:
    """Return how many frames of a rate, made a whole number, a time of day is: what its time code counts.

    >>> frames_since_midnight(datetime(2026, 1, 1, 0, 0, 10), 24000 / 1001)
    240
    """
    since_midnight_s = 3600 * start.hour + 60 * start.minute + start.second + start.microsecond / 1e6
    return round(since_midnight_s * round(frame_rate))


def smpte_time_code(start: datetime | None, frame_rate: float | None, frames_later: int) -> tuple[int, ...]:
    """Return the time code of a frame of a clip that began at `start`, the time of day: 8 bytes of SMPTE ST 331.

    Frames are counted as if there were a whole number a second, none is dropped. Empty without a start, and for rates
    that a time code has no room for: below 1 and above 30 a second.

    >>> smpte_time_code(datetime(2026, 1, 1, 23, 59, 59), 25.0, 26)[:4]
    (1, 0, 0, 0)
    """
    whole = round(frame_rate or 0)
    if start is None or not frame_rate or not 1 <= whole <= 30:
        return ()
    seconds, frame = divmod(frames_since_midnight(start, frame_rate) + frames_later, whole)
    parts = (frame, seconds % 60, seconds // 60 % 60, seconds // 3600 % 24)
    return (*(n // 10 << 4 | n % 10 for n in parts), 0, 0, 0, 0)
