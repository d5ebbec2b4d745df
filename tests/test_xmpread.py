"""What people have written of a raw comes out in the files made of it, and nothing in a damaged packet raises."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from frames import PAIRS, write_frame
from hypothesis import given
from hypothesis import strategies as st
from images import write

from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.lineardng import write_linear_dng
from sve2hdr.hdrfile import encoded_preview
from sve2hdr.mosaic import Capture, Position
from sve2hdr.raw.xmpread import MOST_KEPT_BYTES, read_xmp, sidecars
from sve2hdr.rawfile import read_raw
from sve2hdr.simulation.simulate import Sensor, simulate

NAMES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "xmpDM": "http://ns.adobe.com/xmp/1.0/DynamicMedia/",
    "darktable": "http://darktable.sf.net/",
}
DECLARED = " ".join(f'xmlns:{prefix}="{namespace}"' for prefix, namespace in NAMES.items())
KEYWORDS = "<dc:subject><rdf:Bag><rdf:li>pond</rdf:li><rdf:li>R&amp;D</rdf:li></rdf:Bag></dc:subject>"
TITLE = '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Gärten</rdf:li></rdf:Alt></dc:title>'


def packet(attributes: str = "", elements: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f"<rdf:RDF {DECLARED}>"
        f'<rdf:Description rdf:about="" {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>'
        f'<?xpacket end="w"?>{" " * 50}'
    ).encode()


def properties(xmp: str) -> dict[str, str]:
    """Return the properties with their prefixes; of a list, its items in a row."""
    return told(ElementTree.fromstring(f"<all>{xmp}</all>"))


def told(elements: Element) -> dict[str, str]:
    prefix_of = {f"{{{namespace}}}": f"{prefix}:" for prefix, namespace in NAMES.items()}
    return {
        re.sub(r"{.*}", lambda found: prefix_of[found[0]], element.tag): "+".join(
            text.strip() for text in element.itertext() if text.strip()
        )
        for element in elements
    }


def in_raw(stored: bytes, path: Path = Path("none.cr2")) -> str:
    return read_xmp(path, [("root", {}), ("root", {700: stored})])


@pytest.mark.parametrize("stored", [packet('xmp:Rating="3"'), packet(elements="<xmp:Rating>3</xmp:Rating>")])
def test_both_forms_of_a_simple_property_are_read(stored: bytes) -> None:
    assert properties(in_raw(stored)) == {"xmp:Rating": "3"}
    as_bytes = read_xmp(Path("none.cr2"), [("root", {700: tuple(stored)})])  # how TIFF's BYTE is read
    assert properties(as_bytes) == {"xmp:Rating": "3"}


@pytest.mark.parametrize("order", ["le", "be"])
def test_a_packet_in_16_bits_is_read(order: str) -> None:
    text = "\ufeff<?xml version='1.0' encoding='UTF-16'?>" + packet("", TITLE).decode().partition("?>")[2]
    assert properties(in_raw(text.encode(f"utf-16-{order}"))) == {"dc:title": "Gärten"}


def test_what_is_about_the_picture_is_kept_and_what_is_about_the_raw_is_not() -> None:
    kept = 'xmp:Label="Red" photoshop:City="Wien" Iptc4xmpCore:Location="here"'
    kept += ' xmpDM:pick="1" photoshop:LabelColor="red" exif:GPSLatitude="48,12.0N" exif:GPSLongitude="16,18.0E"'
    left = (
        'crs:Exposure2012="+2" xmp:CreatorTool="x" exif:ISOSpeed="100" photoshop:ICCProfile="sRGB" dc:format="image/x"'
        ' darktable:xmp_version="5"'
    )
    labels = "<darktable:colorlabels><rdf:Seq><rdf:li>0</rdf:li><rdf:li>3</rdf:li></rdf:Seq></darktable:colorlabels>"
    found = properties(in_raw(packet(f"{kept} {left}", KEYWORDS + TITLE + labels + "<crs:Look><rdf:Bag/></crs:Look>")))
    assert found == {
        "xmp:Label": "Red",
        "xmpDM:pick": "1",
        "darktable:colorlabels": "0+3",
        "photoshop:LabelColor": "red",
        "photoshop:City": "Wien",
        "exif:GPSLatitude": "48,12.0N",
        "exif:GPSLongitude": "16,18.0E",
        "Iptc4xmpCore:Location": "here",
        "dc:subject": "pond+R&D",
        "dc:title": "Gärten",
    }


@pytest.mark.parametrize("names", [("a.xmp", "a.CR2.xmp"), ("a.XMP", "a.CR2.XMP")])
def test_what_lies_beside_a_raw_is_newer_than_what_is_in_it(tmp_path: Path, names: tuple[str, str]) -> None:
    raw = tmp_path / "a.CR2"
    stored = packet('xmp:Rating="1" xmp:Label="Red" photoshop:City="Wien"')
    assert properties(in_raw(stored, raw))["xmp:Rating"] == "1"
    (tmp_path / names[0]).write_bytes(packet('xmp:Rating="2" xmp:Label="Blue"'))
    (tmp_path / "b.xmp").write_bytes(packet('xmp:Rating="5"'))
    assert properties(in_raw(stored, raw)) == {"xmp:Rating": "2", "xmp:Label": "Blue", "photoshop:City": "Wien"}
    (tmp_path / names[1]).write_bytes(packet('xmp:Rating="3"'))
    assert properties(in_raw(stored, raw))["xmp:Rating"] == "3"


@pytest.mark.parametrize(("extension", "known"), [("CR2", True), ("cr2", True), ("DNG", False)])
def test_a_file_that_was_made_for_another_raw_of_the_name_is_not_taken(
    tmp_path: Path, extension: str, known: bool
) -> None:
    (tmp_path / "a.xmp").write_bytes(packet(f'xmp:Rating="2" photoshop:SidecarForExtension="{extension}"'))
    assert bool(read_xmp(tmp_path / "a.CR2", [])) == known


def test_a_raw_is_told_by_its_own_packet_whatever_file_that_was_copied_from() -> None:
    """DNGs made of CR2s have what lay beside these, such as by exiftool -tagsfromfile a.xmp -all:all."""
    assert in_raw(packet('xmp:Rating="2" photoshop:SidecarForExtension="CR2"'), Path("a.dng"))


def test_a_raw_of_a_name_that_leaves_no_room_for_one_beside_it_is_read(tmp_path: Path) -> None:
    assert read_xmp(tmp_path / f"{'a' * 251}.CR2", []) == ""


def test_a_file_beside_a_raw_that_cannot_be_read_lies_there_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path, *_: object, **_more: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "a.xmp").write_bytes(packet('xmp:Rating="2"'))
    monkeypatch.setattr(Path, "open", closed)
    assert sidecars(tmp_path / "a.CR2") == [tmp_path / "a.xmp"]
    assert read_xmp(tmp_path / "a.CR2", []) == ""


WHOLE = packet('xmp:Rating="3"', KEYWORDS)
LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]>'


@given(st.integers(0, len(WHOLE)), st.binary(max_size=4))
def test_a_damaged_packet_raises_nothing(at: int, wrong: bytes) -> None:
    properties(in_raw(WHOLE[:at] + wrong + WHOLE[at + len(wrong) :]))
    properties(in_raw(WHOLE[:at]))


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\xff\xfe\0",
        LAUGHS.encode() + packet('xmp:Rating="3"', "<dc:rights>&c;</dc:rights>")[57:],
        packet(elements=f"<dc:rights>{'<rdf:li>' * 50_000}{'</rdf:li>' * 50_000}</dc:rights>"),
    ],
    ids=["empty", "other-encoding", "entities", "deep"],
)
def test_what_is_no_sound_packet_counts_as_missing(stored: bytes) -> None:
    assert in_raw(stored) == ""
    assert read_xmp(Path("none.cr2"), [("root", {700: (1.5, 1e9)})]) == ""


def test_too_many_keywords_leave_room_for_the_rest() -> None:
    keywords = "".join(f"<rdf:li>keyword {n}</rdf:li>" for n in range(5000))
    found = in_raw(packet('xmp:Rating="3"', f"<dc:subject><rdf:Bag>{keywords}</rdf:Bag></dc:subject>{TITLE}"))
    assert len(found.encode()) <= MOST_KEPT_BYTES
    assert properties(found) == {"xmp:Rating": "3", "dc:title": "Gärten"}


@pytest.mark.parametrize(
    ("told", "place"),
    [
        (("48,12.5N", "16,18,30E", "171/2", "0"), Position(48 + 12.5 / 60, 16 + 18 / 60 + 30 / 3600, 85.5)),
        (("0,30.0S", "179,59.25W", "12", "1"), Position(-0.5, -179.9875, -12.0)),
        (("48,12.5N", "16,18.0E", "171/0", ""), Position(48 + 12.5 / 60, 16.3, None)),
        (("48,12.5N", "0,0.0E", "1715000000/10000000", "0"), Position(48 + 12.5 / 60, 0.0, 171.5)),
        (("48,12.5N", "16,18.0E", "9999999999/1", ""), Position(48 + 12.5 / 60, 16.3, None)),
        (("0,0.0N", "0,0.0E", "", ""), None),
        (("48.2", "16.3", "", ""), None),
        (("98,0.0N", "16,18.0E", "", ""), None),
        (("48,12.5N", "", "", ""), None),
    ],
)
def test_the_place_is_told_to_formats_without_xmp_too(
    tmp_path: Path, told: tuple[str, ...], place: Position | None
) -> None:
    names = ("GPSLatitude", "GPSLongitude", "GPSAltitude", "GPSAltitudeRef")
    stored = packet(" ".join(f'exif:{name}="{value}"' for name, value in zip(names, told, strict=True)))
    write_frame(tmp_path / "a.dng")
    (tmp_path / "a.xmp").write_bytes(stored)
    position = read_raw(tmp_path / "a.dng").capture.position
    if place is None or position is None:
        assert position is place
        return
    found, wanted = ((p.latitude_deg, p.longitude_deg) for p in (position, place))
    assert (found, position.altitude_m) == (pytest.approx(wanted), place.altitude_m)


@pytest.mark.parametrize(("told", "moved"), [("48,12.001N", False), ("48,13.0N", True), ("0,0.0N", False)])
def test_a_place_that_people_have_moved_is_the_newer_one(tmp_path: Path, told: str, moved: bool) -> None:
    """What the receiver tells besides is kept where they have not."""
    receiver = Position(48.2, 16.3, 171.0, direction_deg=90.0)
    mosaic = simulate(np.ones((64, 64, 3), np.float32), "RGGB", PAIRS, Sensor(), seed=0)
    write_cfa_dng(tmp_path / "a.dng", replace(mosaic, capture=Capture(position=receiver)))
    longitude = "0,0.0E" if told == "0,0.0N" else "16,18.0E"  # 0/0 is no place
    (tmp_path / "a.xmp").write_bytes(packet(f'exif:GPSLatitude="{told}" exif:GPSLongitude="{longitude}"'))
    position = read_raw(tmp_path / "a.dng").capture.position
    assert position is not None
    assert position.latitude_deg == pytest.approx(48 + 13 / 60 if moved else 48.2)
    assert position.direction_deg == (None if moved else 90)


def placed(latitude: str, longitude: str, more: str = "") -> bytes:
    return packet(f'exif:GPSLatitude="{latitude}" exif:GPSLongitude="{longitude}" {more}')


@pytest.mark.parametrize("newer", [("20,30.0S", "160,18.0E"), ("0,0.0N", "0,0.0E")])
def test_of_two_places_that_sidecars_tell_one_is_taken_whole(tmp_path: Path, newer: tuple[str, str]) -> None:
    """The altitude of one is not the other's, and 0/0 is none."""
    write_frame(tmp_path / "a.dng")
    (tmp_path / "a.xmp").write_bytes(placed("48,12.0N", "16,18.0E", 'exif:GPSAltitude="171/1" xmp:Rating="2"'))
    (tmp_path / "a.dng.xmp").write_bytes(placed(*newer, 'xmp:Label="Red"'))
    capture = read_raw(tmp_path / "a.dng").capture
    older = {"exif:GPSLatitude": "48,12.0N", "exif:GPSLongitude": "16,18.0E", "exif:GPSAltitude": "171/1"}
    moved = {"exif:GPSLatitude": "20,30.0S", "exif:GPSLongitude": "160,18.0E"}
    told, place = (older, (48.2, 171)) if newer[0] == "0,0.0N" else (moved, (-20.5, None))
    assert properties(capture.xmp) == {"xmp:Rating": "2", "xmp:Label": "Red", **told}
    assert capture.position is not None
    assert (capture.position.latitude_deg, capture.position.altitude_m) == (pytest.approx(place[0]), place[1])


@pytest.mark.parametrize(("known", "altitude"), [(None, 151.0), (171.0, 171.0)])
def test_an_altitude_that_the_receiver_did_not_know_is_taken(
    tmp_path: Path, known: float | None, altitude: float
) -> None:
    receiver = Position(48.2, 16.3, known, direction_deg=90.0)
    mosaic = simulate(np.ones((64, 64, 3), np.float32), "RGGB", PAIRS, Sensor(), seed=0)
    write_cfa_dng(tmp_path / "a.dng", replace(mosaic, capture=Capture(position=receiver)))
    told = 'exif:GPSLatitude="48,12.0N" exif:GPSLongitude="16,18.0E" exif:GPSAltitude="151/1"'
    (tmp_path / "a.xmp").write_bytes(packet(told))
    position = read_raw(tmp_path / "a.dng").capture.position
    assert position is not None
    assert (position.altitude_m, position.direction_deg) == (altitude, 90)


def test_a_raw_is_read_with_what_lies_beside_it(tmp_path: Path) -> None:
    write_frame(tmp_path / "a.dng")
    assert read_raw(tmp_path / "a.dng").capture.xmp == ""
    (tmp_path / "a.xmp").write_bytes(packet('xmp:Rating="4"', KEYWORDS))
    assert properties(read_raw(tmp_path / "a.dng").capture.xmp) == {"xmp:Rating": "4", "dc:subject": "pond+R&D"}


def written(tmp_path: Path, name: str) -> bytes:
    """Return a file made of a shot with a rating, keywords and a title."""
    path, capture = tmp_path / name, Capture(xmp=in_raw(packet('xmp:Rating="4"', KEYWORDS + TITLE)))
    shown = np.full((64, 64, 3), 90, np.uint8)
    if name == "a.dng":
        plain = replace(simulate(np.ones((64, 64, 3), np.float32), "RGGB", PAIRS, Sensor(), seed=0), capture=capture)
        write_linear_dng(path, np.full((64, 64, 3), 0.5, np.float32), plain, 1.0)
    elif name == "a.tif":
        write(path, np.full((64, 64, 3), 0.5, np.float32), capture=capture)
    else:
        gain = shown[::2, ::2] if name == "ultra.jpg" else None
        path.write_bytes(encoded_preview(path, shown, capture, gain))
    return path.read_bytes()


FORMATS = ["a.dng", "a.tif", "a.jpg", "a.png", "ultra.jpg"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_that_has_xmp_tells_it_once(tmp_path: Path, name: str) -> None:
    stored = written(tmp_path, name)
    packets = [found for found in re.findall(rb"<x:xmpmeta.*?</x:xmpmeta>", stored, re.DOTALL) if b"Rating" in found]
    (description,) = [d for d in ElementTree.fromstring(packets[0]).iter(f"{{{NAMES['rdf']}}}Description")]
    elements = Element("all")
    elements.extend(element for element in description if "google" not in element.tag)
    assert len(packets) == 1
    assert told(elements) == {"xmp:Rating": "4", "dc:subject": "pond+R&D", "dc:title": "Gärten"}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed: untested")
def test_exiftool_reads_it(tmp_path: Path, name: str) -> None:
    written(tmp_path, name)
    command = ["exiftool", "-j", "-Rating", "-Subject", "-Title", str(tmp_path / name)]
    (found,) = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (found["Rating"], found["Subject"], found["Title"]) == (4, ["pond", "R&D"], "Gärten")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_previews_of_shots_without_it_have_no_xmp(name: str) -> None:
    assert b"xmpmeta" not in encoded_preview(Path(name), np.zeros((8, 8, 3), np.uint8), Capture(make="Canon"))
