"""What files record as XMP: how they were made, and what people wrote about the picture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from .. import __version__
from .exif import SOFTWARE

XMP_TAG = 700  # of TIFF and DNG: bytes
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACE = "http://ns.sve2hdr.org/1.0/"  # the name that XMP requires, not a web page
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{}">\n'
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:sve2hdr="{}"{}>{}</rdf:Description>\n'
    '</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
)
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML 1.0 lacks


def xmp_packet(attributes: Mapping[str, str], written: str = "") -> bytes:
    """Return attributes, whose names begin with "sve2hdr:", as an XMP packet (ISO 16684-1), with the program's name.

    `written`: further properties, such as `Capture.xmp`. Characters of attributes that XML cannot hold, such as control
    characters, become "?".

    >>> b' sve2hdr:model="large &amp; mine"' in xmp_packet({"sve2hdr:model": "large & mine"})
    True
    """
    told = {"xmp:CreatorTool": f"{SOFTWARE} {__version__}", **attributes}
    properties = "".join(f"\n {name}={quoteattr(_NO_XML.sub('?', value))}" for name, value in told.items())
    return _PACKET.format(RDF, NAMESPACE, properties, written).encode()
