"""A scene-linear space, or sRGB -> its ICC profile, which tells programs the colours of TIFFs and previews."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from ..color import COLOR_SPACES, ColorSpace, rgb_from_xyz
from ..lights import adaptation

D50_XYZ = (0.9642, 1.0, 0.8249)  # of the profile connection space, as ICC.1 rounds it
MADE = (2026, 1, 1, 0, 0, 0)  # fixed, so that the same image gives the same file


def icc_profile(space: ColorSpace) -> bytes:
    """Return the ICC profile of a scene-linear space: its primaries, and no curve.

    The space's neutral is white. Raises ValueError for camera RGB, which no profile of this kind can describe.
    """
    return _profile(f"scene-linear {space.name}", space, b"curv" + bytes(8))  # a curve without entries is the identity


def srgb_profile() -> bytes:
    """Return the ICC profile of sRGB, for programs that manage colours only of tagged images."""
    curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1: (a v + b) ** g, or c v below d
    return _profile("sRGB", COLOR_SPACES["rec709"], b"para" + bytes(4) + struct.pack(">2H", 3, 0) + _fixed(curve))


def _profile(name: str, space: ColorSpace, curve: bytes) -> bytes:
    """Return a profile of version 4.3 (ICC.1:2010) with a space's primaries and this curve for each channel."""
    x, y, z = D50_XYZ
    d50_from_neutral = adaptation(space.neutral, (x / (x + y + z), y / (x + y + z)))
    d50_from_rgb = d50_from_neutral @ np.linalg.inv(rgb_from_xyz(space))
    tags = {
        b"desc": _text(name),
        b"cprt": _text("CC0"),
        b"wtpt": _numbers(b"XYZ ", D50_XYZ),
        b"chad": _numbers(b"sf32", d50_from_neutral.ravel().tolist()),
        **{key: _numbers(b"XYZ ", d50_from_rgb[:, i].tolist()) for i, key in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for key, value in tags.items():
        table += struct.pack(">4sII", key, start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    header = struct.pack(
        ">I4sI4s4s4s6H4s4sIIIQI12s4s44x",
        start + len(data), bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ", *MADE, b"acsp", bytes(4), 0, 0, 0, 0,
        1,  # intent: media-relative colorimetric
        _fixed(D50_XYZ), bytes(4),
    )  # fmt: skip
    return header + struct.pack(">I", len(tags)) + table + data


def _fixed(values: Sequence[float]) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(65536 * value) for value in values))  # s15Fixed16Number


def _numbers(kind: bytes, values: Sequence[float]) -> bytes:
    return kind + bytes(4) + _fixed(values)


def _text(text: str) -> bytes:
    stored = text.encode("utf-16-be")
    return struct.pack(">4s4xII2s2sII", b"mluc", 1, 12, b"en", b"US", len(stored), 28) + stored
