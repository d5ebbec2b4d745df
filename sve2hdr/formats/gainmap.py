"""A JPEG and its gain map -> one Ultra HDR JPEG: the usual picture anywhere, an HDR one on screens that can show it.

After ISO 21496-1 and Google's Ultra HDR Image Format 1.1. Readers look for different things, so the metadata are stored
twice, as ISO's payload and as XMP (Adobe's hdrgm), and the second image is announced twice, by CIPA DC-007 (MPF) and by
XMP (Google's Container).
"""

from __future__ import annotations

import struct

from .tiffwrite import LONG, UNDEFINED, Ifd, entry, tiff_bytes

APP1, APP2 = 0xE1, 0xE2
XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
ISO_START = b"urn:iso:std:iso:ts:21496:-1\0"
MPF_START = b"MPF\0"
OFFSET = 1e-7  # added to light before computing gains, as in libultrahdr: negligible, but not 0
UNIT = 10_000_000  # denominator of the payload's fractions: OFFSET is one of them
BASE_IMAGE, OTHER_IMAGE = 0x030000, 0  # of an MPF: "baseline MP primary image", and one of undefined type

_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"{}'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)
_CONTAINER = (
    ' xmlns:Container="http://ns.google.com/photos/1.0/container/"'
    ' xmlns:Item="http://ns.google.com/photos/1.0/container/item/"><Container:Directory><rdf:Seq>'
    '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li>'
    '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg"'
    ' Item:Length="{}"/></rdf:li></rdf:Seq></Container:Directory>{}'
)
_GAINS = (
    ' hdrgm:GainMapMin="0" hdrgm:GainMapMax="{0:g}" hdrgm:Gamma="1" hdrgm:OffsetSDR="{1:g}" hdrgm:OffsetHDR="{1:g}"'
    ' hdrgm:HDRCapacityMin="0" hdrgm:HDRCapacityMax="{2:g}" hdrgm:BaseRenditionIsHDR="False">'
)


def ultra_hdr(base: bytes, gain_map: bytes, most_ev: float, headroom_ev: float, written: str = "") -> bytes:
    """Return an Ultra HDR JPEG of an sRGB JPEG and an RGB JPEG of gains, of any size.

    A gain map's values 0 to 255 stand for 0 to `most_ev` by which the light of each channel of `base` is raised if the
    screen can be at least `headroom_ev` brighter than its white; with less headroom, by a part of that. `written`:
    further XMP, such as `Capture.xmp`. Raises ValueError for bytes that are not a JPEG.
    """
    xmp = _xmp(_GAINS.format(most_ev, OFFSET, headroom_ev))
    gains = _with_segments(gain_map, [(APP1, XMP_START + xmp), (APP2, ISO_START + _iso(most_ev, headroom_ev))])
    described = [(APP1, XMP_START + _xmp(_CONTAINER.format(len(gains), written))), (APP2, ISO_START + bytes(4))]
    # offsets in an MPF count from after its marker; its length does not depend on its values
    length = len(_with_segments(base, [*described, (APP2, MPF_START + _mpf(0, 0, 0))]))
    before = _end_of_application_data(base) + sum(4 + len(content) for _, content in described) + 4 + len(MPF_START)
    return _with_segments(base, [*described, (APP2, MPF_START + _mpf(length, len(gains), length - before))]) + gains


def _xmp(text: str) -> bytes:
    return _XMP.format(text).encode()


def _iso(most_ev: float, headroom_ev: float) -> bytes:
    """Return the payload: versions, flags, headroom without and with gains, and the meaning of each channel's gains."""
    most, headroom, offset = (round(value * UNIT) for value in (most_ev, headroom_ev, OFFSET))
    several_channels, base_colours = 0x80, 0x40
    head = struct.pack(">HHB4I", 0, 0, several_channels | base_colours, 0, UNIT, headroom, UNIT)
    channel = struct.pack(">iIiIIIiIiI", 0, UNIT, most, UNIT, UNIT, UNIT, offset, UNIT, offset, UNIT)
    return head + 3 * channel


def _mpf(base_bytes: int, gain_bytes: int, gain_offset: int) -> bytes:
    images = struct.pack("<3I2H", BASE_IMAGE, base_bytes, 0, 0, 0)
    images += struct.pack("<3I2H", OTHER_IMAGE, gain_bytes, gain_offset, 0, 0)
    entries = (entry(0xB000, UNDEFINED, b"0100"), entry(0xB001, LONG, [2]), entry(0xB002, UNDEFINED, images))
    return tiff_bytes(Ifd(entries))


def _end_of_application_data(jpeg: bytes) -> int:
    """Return the offset of the first segment that is not an APPn."""
    if jpeg[:2] != b"\xff\xd8":
        raise ValueError("not a JPEG")
    at = 2
    while jpeg[at] == 0xFF and 0xE0 <= jpeg[at + 1] <= 0xEF:
        at += 2 + struct.unpack_from(">H", jpeg, at + 2)[0]
    return at


def _with_segments(jpeg: bytes, segments: list[tuple[int, bytes]]) -> bytes:
    at = _end_of_application_data(jpeg)
    added = b"".join(struct.pack(">BBH", 0xFF, kind, 2 + len(content)) + content for kind, content in segments)
    return jpeg[:at] + added + jpeg[at:]
