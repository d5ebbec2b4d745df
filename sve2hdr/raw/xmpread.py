"""What people have written of a raw, such as a rating, keywords and a title: from its XMP, and from files beside it."""

from __future__ import annotations

import math
import os
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ..formats.tifftags import ROOT, Ifd
from ..formats.xmp import RDF, XMP_TAG
from ..mosaic import Position

# By prefix: the namespace, and those of its properties that are about the picture, not the file or its developing; none
# named: all. The names are those of ISO 16684-1, the IPTC Photo Metadata Standard and the programs themselves.
KEPT: dict[str, tuple[str, str]] = {
    "xmp": ("http://ns.adobe.com/xap/1.0/", "Rating Label"),
    "dc": ("http://purl.org/dc/elements/1.1/", "title description subject creator rights"),
    "photoshop": (
        "http://ns.adobe.com/photoshop/1.0/",
        "Headline Instructions City State Country Credit Source AuthorsPosition CaptionWriter Category LabelColor"
        " SupplementalCategories TransmissionReference Urgency",
    ),
    "exif": (
        "http://ns.adobe.com/exif/1.0/",  # of geotagging programs, which leave the raw's own EXIF alone
        "GPSLatitude GPSLongitude GPSAltitude GPSAltitudeRef GPSImgDirection GPSImgDirectionRef GPSMapDatum",
    ),
    "xmpDM": ("http://ns.adobe.com/xmp/1.0/DynamicMedia/", "pick good"),  # Lightroom's flags
    "xmpRights": ("http://ns.adobe.com/xap/1.0/rights/", ""),
    "Iptc4xmpCore": ("http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/", ""),
    "Iptc4xmpExt": ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", ""),
    "lr": ("http://ns.adobe.com/lightroom/1.0/", "hierarchicalSubject weightedFlatSubject"),
    "digiKam": ("http://www.digikam.org/ns/1.0/", "TagsList PickLabel ColorLabel"),
    "darktable": ("http://darktable.sf.net/", "colorlabels"),
    "photomechanic": ("http://ns.camerabits.com/photomechanic/1.0/", "ColorClass Tagged Prefs"),
}
KEPT_NAMES = {f"{{{namespace}}}{name}" for namespace, names in KEPT.values() for name in names.split()}
KEPT_WHOLE = {namespace for namespace, names in KEPT.values() if not names}
EXIF = f"{{{KEPT['exif'][0]}}}"
MADE_FOR = f"{{{KEPT['photoshop'][0]}}}SidecarForExtension"
MOST_ALTITUDE_M = 100_000  # of people's and of receivers': what is beyond is damage
MOST_BYTES = 1 << 22  # of a file beside a raw, which may hold masks
MOST_KEPT_BYTES = 1 << 15  # together: half of what a JPEG has room for

for _prefix, (_namespace, _) in KEPT.items():
    ElementTree.register_namespace(_prefix, _namespace)


def read_xmp(path: Path, ifds: list[tuple[str, Ifd]]) -> str:
    """Return the properties of KEPT that a raw file's XMP and the files beside it hold, as XML elements; "" for none.

    What lies beside a raw is newer than what is in it: `photo.xmp` (Adobe's and most others' name), and above it
    `photo.cr2.xmp` (that of darktable and digiKam). A place comes whole from the newest that tells one. What is
    damaged, too large, or of another raw counts as missing; nothing raises.
    """
    found: dict[str, Element] = {}
    for packet in _packets(path, ifds):
        told = {tag: element for tag, element in packet.items() if _is_kept(tag)}
        if EXIF + "GPSLatitude" in told:  # no altitude of another place shall be left, and 0/0 is none
            without_place = found if _position(told) else told
            for tag in [tag for tag in without_place if tag.startswith(EXIF)]:
                del without_place[tag]
        found |= told
    kept = ""
    for element in found.values():
        stored = _as_text(element)
        if len((kept + stored).encode()) <= MOST_KEPT_BYTES:
            kept += stored
    return kept


def position_in(xmp: str) -> Position | None:
    """Return the place that properties of `read_xmp` tell (ISO 16684-2: "48,12.5N"); None where they tell none.

    >>> position_in('<e:GPSLatitude xmlns:e="http://ns.adobe.com/exif/1.0/">48,12.5N</e:GPSLatitude>') is None
    True
    """
    return _position({element.tag: element for element in ElementTree.fromstring(f"<all>{xmp}</all>")})


def _position(elements: Mapping[str, Element]) -> Position | None:
    told = {tag: element.text or "" for tag, element in elements.items()}
    latitude, longitude = (
        _angle(told.get(EXIF + name, ""), *limits)
        for name, limits in (("GPSLatitude", ("NS", 90)), ("GPSLongitude", ("EW", 180)))
    )
    if latitude is None or longitude is None or latitude == longitude == 0:  # told where there is none
        return None
    height = re.fullmatch(r"([0-9]{1,10})(?:/0*([1-9][0-9]{0,9}))?", told.get(EXIF + "GPSAltitude", ""))
    altitude = int(height[1]) / int(height[2] or 1) if height else math.inf
    if altitude >= MOST_ALTITUDE_M:
        return Position(latitude, longitude)
    below = told.get(EXIF + "GPSAltitudeRef") == "1"
    return Position(latitude, longitude, -altitude if altitude and below else altitude)


def _angle(told: str, letters: str, most: float) -> float | None:
    """Return an angle told as "48,12.5N" or "48,12,30N", degrees; None for none, or one beyond `most`."""
    parts = re.fullmatch(rf"([0-9]{{1,3}}),([0-9]{{1,2}}(?:\.[0-9]+)?)(?:,([0-9]{{1,2}}))?([{letters}])", told)
    if parts is None:
        return None
    angle = int(parts[1]) + float(parts[2]) / 60 + int(parts[3] or 0) / 3600
    return None if angle > most else -angle if parts[4] == letters[1] else angle


def _packets(path: Path, ifds: list[tuple[str, Ifd]]) -> Iterator[dict[str, Element]]:
    """Yield the properties by name of the raw's own packet, and of the files beside it, the newest last."""
    stored = next((ifd[XMP_TAG] for kind, ifd in ifds if kind == ROOT and XMP_TAG in ifd), b"")
    with suppress(TypeError, ValueError):  # a tag of numbers that are no bytes
        yield _properties(stored.encode() if isinstance(stored, str) else bytes(stored))  # type: ignore[arg-type]
    yield from (beside for _, beside in _beside(path))


def sidecars(path: Path) -> list[Path]:
    """Return the XMP files that lie beside a raw and are not of another one, also those that cannot be read."""
    return [file for file, _ in _beside(path)]


def _beside(path: Path) -> Iterator[tuple[Path, dict[str, Element]]]:
    """Yield the XMP files beside a raw, the newest last, with their properties by name."""
    for name in (path.stem, path.name):
        for file in (path.with_name(name + ending) for ending in (".xmp", ".XMP")):
            if os.path.isfile(file):  # False where its name would be too long
                beside = _properties(_content(file))
                made_for = beside.get(MADE_FOR)
                if made_for is None or (made_for.text or "").lower() == path.suffix.lower()[1:]:
                    yield file, beside
                break  # on many systems both names are one file's


def _content(path: Path) -> bytes:
    """Return how a file begins, b"" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except OSError:
        return b""


def _properties(packet: bytes) -> dict[str, Element]:
    """Return the properties of a packet by name; {} for what is none."""
    try:
        has_utf16 = packet.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
        text = packet.decode("utf-16" if has_utf16 else "utf-8-sig").strip("\0 \t\r\n")
        if "<!DOCTYPE" in text:  # XMP has none, and what it declares may grow beyond all bounds
            return {}
        tree = ElementTree.fromstring(text)
        descriptions = [d for rdf in tree.iter(f"{{{RDF}}}RDF") for d in rdf.findall(f"{{{RDF}}}Description")]
        return {element.tag: element for d in descriptions for element in (*_from_attributes(d), *d)}
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError):
        return {}


def _is_kept(tag: str) -> bool:
    return tag in KEPT_NAMES or tag.partition("}")[0].removeprefix("{") in KEPT_WHOLE


def _from_attributes(description: Element) -> Iterator[Element]:
    """Yield the simple properties, which may be attributes, as the elements that they may be as well."""
    for tag, value in description.attrib.items():
        element = Element(tag)
        element.text = value
        yield element


def _as_text(element: Element) -> str:
    element.tail = None
    try:
        return ElementTree.tostring(element, encoding="unicode")
    except RecursionError:  # it is nested as no program nests it
        return ""
