"""What people have written of a raw, such as a rating, keywords and a title: from its XMP, and from files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ..formats.tifftags import ROOT, Ifd
from ..formats.xmp import RDF, XMP_TAG

# By prefix: the namespace, and those of its properties that are about the picture, not the file or its developing; none
# named: all. The names are those of ISO 16684-1, the IPTC Photo Metadata Standard and the programs themselves.
KEPT: dict[str, tuple[str, str]] = {
    "xmp": ("http://ns.adobe.com/xap/1.0/", "Rating Label"),
    "dc": ("http://purl.org/dc/elements/1.1/", "title description subject creator rights"),
    "photoshop": (
        "http://ns.adobe.com/photoshop/1.0/",
        "Headline Instructions City State Country Credit Source AuthorsPosition CaptionWriter Category"
        " SupplementalCategories TransmissionReference Urgency",
    ),
    "exif": (
        "http://ns.adobe.com/exif/1.0/",  # of geotagging programs, which leave the raw's own EXIF alone
        "GPSLatitude GPSLongitude GPSAltitude GPSAltitudeRef GPSImgDirection GPSImgDirectionRef GPSMapDatum",
    ),
    "xmpRights": ("http://ns.adobe.com/xap/1.0/rights/", ""),
    "Iptc4xmpCore": ("http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/", ""),
    "Iptc4xmpExt": ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", ""),
    "lr": ("http://ns.adobe.com/lightroom/1.0/", "hierarchicalSubject weightedFlatSubject"),
    "digiKam": ("http://www.digikam.org/ns/1.0/", "TagsList PickLabel ColorLabel"),
    "photomechanic": ("http://ns.camerabits.com/photomechanic/1.0/", "ColorClass Tagged Prefs"),
}
MADE_FOR = f"{{{KEPT['photoshop'][0]}}}SidecarForExtension"
MOST_BYTES = 1 << 22  # of a file beside a raw, which may hold masks
MOST_KEPT_BYTES = 1 << 15  # together: half of what a JPEG has room for

for _prefix, (_namespace, _) in KEPT.items():
    ElementTree.register_namespace(_prefix, _namespace)


def read_xmp(path: Path, ifds: list[tuple[str, Ifd]]) -> str:
    """Return the properties of KEPT that a raw file's XMP and the files beside it hold, as XML elements; "" for none.

    What lies beside a raw is newer than what is in it: `photo.xmp` (Adobe's and most others' name), and above it
    `photo.cr2.xmp` (that of darktable and digiKam). What is damaged, too large, or of another raw counts as missing;
    nothing raises.
    """
    found: dict[str, str] = {}
    for packet in _packets(path, ifds):
        found |= _properties(packet, path.suffix)
    kept = ""
    for stored in found.values():
        if len((kept + stored).encode()) <= MOST_KEPT_BYTES:
            kept += stored
    return kept


def _packets(path: Path, ifds: list[tuple[str, Ifd]]) -> Iterator[bytes]:
    stored = next((ifd[XMP_TAG] for kind, ifd in ifds if kind == ROOT and XMP_TAG in ifd), b"")
    with suppress(TypeError, ValueError):  # a tag of numbers that are no bytes
        yield stored.encode() if isinstance(stored, str) else bytes(stored)  # type: ignore[arg-type]
    for name in (path.stem, path.name):
        for beside in (path.with_name(name + ending) for ending in (".XMP", ".xmp")):
            if beside.is_file():
                with suppress(OSError), beside.open("rb") as file:
                    yield file.read(MOST_BYTES)


def _properties(packet: bytes, extension: str) -> dict[str, str]:
    """Return the properties of a packet by name, each as an XML element; {} for what is none, or of another file."""
    try:
        text = packet.decode("utf-8-sig").strip("\0 \t\r\n")
        if "<!DOCTYPE" in text:  # XMP has none, and what it declares may grow beyond all bounds
            return {}
        tree = ElementTree.fromstring(text)
        descriptions = [d for rdf in tree.iter(f"{{{RDF}}}RDF") for d in rdf.findall(f"{{{RDF}}}Description")]
        found = {element.tag: element for d in descriptions for element in (*_from_attributes(d), *d)}
        made_for = found.get(MADE_FOR)
        if made_for is not None and (made_for.text or "").lower() != extension.lower().removeprefix("."):
            return {}
        return {tag: _as_text(element) for tag, element in found.items() if tag in _NAMES or _namespace_of(tag) in _ALL}
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError, RecursionError):
        return {}


_NAMES = {f"{{{namespace}}}{name}" for namespace, names in KEPT.values() for name in names.split()}
_ALL = {namespace for namespace, names in KEPT.values() if not names}


def _namespace_of(tag: str) -> str:
    return tag.partition("}")[0].removeprefix("{")


def _from_attributes(description: Element) -> Iterator[Element]:
    """Yield the simple properties, which may be attributes, as the elements that they may be as well."""
    for tag, value in description.attrib.items():
        element = Element(tag)
        element.text = value
        yield element


def _as_text(element: Element) -> str:
    element.tail = None
    return ElementTree.tostring(element, encoding="unicode")
