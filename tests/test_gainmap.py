"""Ultra HDR: what other readers make of our files is what was put in."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from sve2hdr.formats.gainmap import MPF_START, XMP_START, ultra_hdr

HEIGHT, WIDTH = 48, 64
MOST_EV = 3.0


def jpeg(image: np.ndarray, **settings: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=95, subsampling=0, **settings)  # type: ignore[arg-type]
    return stream.getvalue()


def base_image() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([60 + 2 * x, 50 + 3 * y, 200 - x - y], 2).astype(np.uint8)


def gain_image() -> np.ndarray:
    y, x = np.mgrid[: HEIGHT // 2, : WIDTH // 2]
    return np.stack([4 * x, 5 * y, 255 - 2 * (x + y)], 2).astype(np.uint8)


def light(srgb: np.ndarray) -> np.ndarray:
    code = srgb / 255
    return np.asarray(np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4))


@pytest.fixture(params=[2.0, 3.0])
def headroom_ev(request: pytest.FixtureRequest) -> float:
    return float(request.param)


def test_libultrahdr_shows_what_was_meant(headroom_ev: float) -> None:
    made = ultra_hdr(jpeg(base_image()), jpeg(gain_image()), MOST_EV, headroom_ev)
    gain = np.asarray(Image.fromarray(gain_image()).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR), float)
    for boost_ev in (0.0, headroom_ev / 2, headroom_ev, headroom_ev + 1):
        shown = imagecodecs.ultrahdr_decode(made, boost=2**boost_ev).astype(float)[..., :3]
        weight = min(boost_ev / headroom_ev, 1)  # screens that reach only part of it show part of the gain
        meant = light(base_image().astype(float)) * 2 ** (weight * gain / 255 * MOST_EV)
        error_ev = np.log2(shown / meant)[2:-2, 2:-2]
        assert abs(error_ev.mean()) < 0.01
        assert np.abs(error_ev).max() < 0.25  # two JPEGs, and another interpolation of the gain


def test_other_readers_see_the_usual_picture() -> None:
    base = jpeg(base_image(), exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    with (
        Image.open(io.BytesIO(ultra_hdr(base, jpeg(gain_image()), MOST_EV, 2.0))) as made,
        Image.open(io.BytesIO(base)) as plain,
    ):
        assert made.tobytes() == plain.tobytes()
        assert made.info["exif"] == plain.info["exif"]


def test_the_second_image_is_where_both_announcements_say() -> None:
    made = ultra_hdr(jpeg(base_image()), jpeg(gain_image()), MOST_EV, 2.0)
    with Image.open(io.BytesIO(made)) as opened:
        first, second = opened._getmp()[0xB002]  # type: ignore[attr-defined]
        start = opened.info["mpoffset"] + second["DataOffset"]
        xmp = opened.info["xmp"].decode()
    assert opened.info["mpoffset"] == made.index(MPF_START) + len(MPF_START)
    assert first["Size"] == start
    assert made[start : start + 2] == b"\xff\xd8"
    assert start + second["Size"] == len(made)
    assert f'Item:Length="{second["Size"]}"' in xmp
    with Image.open(io.BytesIO(made[start:])) as gains:
        assert gains.size == (WIDTH // 2, HEIGHT // 2)
        assert np.abs(np.asarray(gains, int) - gain_image()).max() < 12
        assert 'hdrgm:GainMapMax="3"' in gains.info["xmp"].decode()


def test_xmp_is_well_formed() -> None:
    from xml.etree import ElementTree

    made = ultra_hdr(jpeg(base_image()), jpeg(gain_image()), MOST_EV, 2.0)
    parts = made.split(XMP_START)[1:]
    assert len(parts) == 2
    for part in parts:
        root = ElementTree.fromstring(part[: part.index(b"</x:xmpmeta>") + len(b"</x:xmpmeta>")])
        (description,) = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
        assert description.get("{http://ns.adobe.com/hdr-gain-map/1.0/}Version") == "1.0"


def test_what_is_no_jpeg_is_refused() -> None:
    with pytest.raises(ValueError, match="JPEG"):
        ultra_hdr(b"\x89PNG", jpeg(gain_image()), MOST_EV, 2.0)
