"""Damaged lossless JPEG: whatever was overwritten is seen, and no whole stream is taken for damaged."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from cr2container import lossless_jpeg

from sve2hdr.raw.losslessjpeg import is_damaged


def samples(bits: int, shape: tuple[int, ...] = (150, 240), seed: int = 1) -> np.ndarray:
    """Return light that changes from site to site, with saturated and black parts, (H, W) uint16 of some bits."""
    rng, (y, x) = np.random.default_rng(seed), np.indices(shape[:2])
    light = 2.0 ** (bits * x / shape[1]) * (1.2 + np.sin(y / 9)) + rng.normal(0, 2.0 ** (bits - 9), shape[:2])
    return np.clip(np.rint(light), 0, 2**bits - 1).astype(np.uint16)


@pytest.mark.parametrize("components", [1, 2, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15])
def test_whole_streams_are_whole(bits: int, components: int) -> None:
    counts = samples(bits)
    noise = np.random.default_rng(bits).choice(np.array([0, 1, 2**bits - 1]), counts.shape).astype(np.uint16)
    for stored in (counts, noise, np.full_like(counts, 2**bits - 1)):
        stream = lossless_jpeg(stored, bits, components)
        assert not is_damaged(stream)
        assert not is_damaged(stream[:-2] + b"\xff" * 3 + stream[-2:])  # filled up before the end marker
        assert not is_damaged(stream[:-2] + bytes(500) + stream[-2:])  # padded
        assert not is_damaged(stream + b"what was there before\xff\xd9")
        assert not is_damaged(stream[:-2])  # an encoder that leaves the end marker out


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("components", [1, 2])
def test_whole_streams_of_libjpeg_are_whole(components: int, predictor: int) -> None:
    """It makes tables of its own, has 16 bits a sample, and differences of 16 bits."""
    counts = np.random.default_rng(2).integers(0, 1 << 16, (50, 60, components)).astype(np.uint16)
    for stored in (counts, samples(14).reshape(150, -1, components)):
        assert not is_damaged(libjpeg(stored, predictor))
    damaged = bytearray(libjpeg(stored, predictor))
    damaged[-5000:-1000] = bytes(4000)
    assert is_damaged(bytes(damaged))


def libjpeg(stored: np.ndarray, predictor: int) -> bytes:
    space = {"colorspace": "unknown", "outcolorspace": "unknown"}
    return bytes(imagecodecs.jpeg8_encode(stored, lossless=True, predictor=predictor, bitspersample=16, **space))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_whole_streams_as_video_converters_write_them_are_whole(bits: int) -> None:
    """They have liblj92, and predictor 6."""
    for seed, shape in enumerate([(33, 64), (64, 32), (150, 240), (3, 6)]):
        rng = np.random.default_rng(seed)
        for stored in (samples(min(bits, 14), shape, seed), rng.integers(0, 1 << bits, shape).astype(np.uint16)):
            stream = bytes(imagecodecs.ljpeg_encode(stored, bitspersample=bits))
            assert not is_damaged(stream)
    whole = bytes(imagecodecs.ljpeg_encode(samples(14), bitspersample=14))
    assert is_damaged(whole[:9000] + bytes(4096) + whole[13_096:])


@pytest.mark.parametrize(("fill", "least"), [("zeros", 40), ("ones", 40), ("random", 40), ("elsewhere", 30)])
def test_a_block_that_is_overwritten_is_seen(fill: str, least: int) -> None:
    """Of data from another place, which may be as long by chance, most."""
    whole, rng, length = lossless_jpeg(samples(14, (300, 400)), 14, 2), np.random.default_rng(3), 4096
    seen = 0
    for at in rng.integers(300, len(whole) - 3 * length, 40):
        other = whole[at + 2 * length : at + 3 * length]
        block = {"zeros": bytes(length), "ones": b"\xff" * length, "random": rng.bytes(length), "elsewhere": other}[
            fill
        ]
        seen += is_damaged(whole[:at] + block + whole[at + length :])
    assert seen >= least


def test_a_stream_that_ends_early_is_seen() -> None:
    whole = lossless_jpeg(samples(14), 14, 2)
    for share in (0.2, 0.5, 0.99):
        kept = whole[: int(share * len(whole))]
        assert is_damaged(kept + bytes(len(whole) - len(kept)))
        assert is_damaged(kept + b"\xff\xd9")
    assert is_damaged(bytes(len(whole)))
    assert is_damaged(b"")


def test_of_other_streams_nothing_is_said() -> None:
    counts = samples(14)
    lossy = imagecodecs.jpeg8_encode((counts >> 6).astype(np.uint8))
    for stream in (lossy, lossless_jpeg(counts, 14)[:30], b"\xff\xd8"):
        assert not is_damaged(bytes(stream))


def scan(names: bytes) -> bytes:
    return b"\xff\xda" + bytes([0, 6 + 2 * len(names), len(names)]) + b"".join(bytes([n, 0]) for n in names) + b"\1\0\0"


def test_of_several_scans_and_of_subsampling_nothing_is_said() -> None:
    counts = samples(14)
    whole = lossless_jpeg(counts, 14, 2)
    alone = [lossless_jpeg(np.ascontiguousarray(counts[:, n::2]), 14) for n in (0, 1)]
    data = [stream[stream.index(scan(b"\1")) + len(scan(b"\1")) : -2] for stream in alone]
    apart = whole[: whole.index(scan(b"\1\2"))] + scan(b"\1") + data[0] + scan(b"\2") + data[1] + whole[-2:]
    assert not is_damaged(apart)
    three = lossless_jpeg(counts, 14, 3)  # of which Canon's sRAW has one for two sites
    at = three.index(b"\xff\xc3") + 11
    assert not is_damaged(three[:at] + b"\x21" + three[at + 1 :])


@pytest.mark.parametrize("bits", [12, 14])
def test_of_a_whole_stream_without_an_end_marker_the_end_may_be_blank(bits: int) -> None:
    """Of a Leica M10, the length leaves the marker out now and then: the end is that of the picture."""
    blown = samples(bits)
    blown[100:] = blown.max()
    for stored in (samples(bits), blown):
        whole = lossless_jpeg(stored, bits, 2)[:-2]
        for end in (b"", b"\xff", bytes(600), b"\xff" * 600):
            assert not is_damaged(whole + end)
        assert not is_damaged(whole[:-10])
        for fill in (b"\0", b"\xff"):
            assert is_damaged(whole[: len(whole) // 3].ljust(len(whole), fill))


def test_the_last_byte_may_lack() -> None:
    """Decoders take what lacks for 0."""
    for seed in range(40):
        whole = lossless_jpeg(samples(14, (8, 12), seed), 14, 2)
        assert not is_damaged(whole[:-3] + whole[-2:])


def test_a_head_that_names_more_samples_than_it_has_data_is_not_decoded() -> None:
    """Some kB must not take gigabytes: four times 65535 x 65535 samples of 16 bits would take 34 GB."""
    stream = lossless_jpeg(samples(14), 14, 1)
    at = stream.index(b"\xff\xc3") + 5
    assert is_damaged(stream[:at] + b"\xff\xff\xff\xff" + stream[at + 4 :])
