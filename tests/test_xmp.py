"""xmp_packet, read back with an XML parser and, where installed, exiftool."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sve2hdr import __version__
from sve2hdr.formats.xmp import NAMESPACE, xmp_packet

RDF, XMP = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}", "{http://ns.adobe.com/xap/1.0/}"


def properties(packet: bytes) -> dict[str, str]:
    (description,) = ElementTree.fromstring(packet).iter(f"{RDF}Description")
    assert description.attrib.pop(f"{RDF}about") == ""
    return description.attrib


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")))
def test_any_text_comes_back(text: str) -> None:
    packet = xmp_packet({"sve2hdr:model": text, "sve2hdr:ev": "3\n\t4"})
    told = {f"{XMP}CreatorTool": f"sve2hdr {__version__}", f"{{{NAMESPACE}}}model": text}
    assert properties(packet) == {**told, f"{{{NAMESPACE}}}ev": "3\n\t4"}


@given(st.text(st.characters()))
def test_what_xml_cannot_hold_does_not_spoil_the_rest(text: str) -> None:
    told = properties(xmp_packet({"sve2hdr:model": text, "sve2hdr:ev": "3"}))
    assert len(told[f"{{{NAMESPACE}}}model"]) == len(text)
    assert told[f"{{{NAMESPACE}}}ev"] == "3"


def test_control_characters_and_halves_of_surrogates_become_question_marks() -> None:
    assert properties(xmp_packet({"sve2hdr:model": "a\0b\x1b\udcff"}))[f"{{{NAMESPACE}}}model"] == "a?b??"


def test_the_packet_has_its_wrapper() -> None:
    packet = xmp_packet({})
    assert packet.startswith(b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert packet.endswith(b'<?xpacket end="w"?>')


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed: untested")
def test_exiftool_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.xmp").write_bytes(xmp_packet({"sve2hdr:model": "<'ü'> & \"b\""}))
    command = ["exiftool", "-j", "-G1", "-validate", "-warning", "-XMP:all", str(tmp_path / "a.xmp")]
    (told,) = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    told.pop("SourceFile")
    assert told == {
        "ExifTool:Validate": "OK",
        "XMP-xmp:CreatorTool": f"sve2hdr {__version__}",
        "XMP-sve2hdr:Model": "<'ü'> & \"b\"",
    }
