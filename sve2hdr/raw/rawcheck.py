"""What the tags of a TIFF-based raw file tell before it is decoded: which image is the raw one, and why it is none."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

from ..errors import UnreadableRaw
from ..formats import tifftags
from ..formats.tifftags import JPEG, PHOTOMETRIC_CFA, PHOTOMETRIC_LINEAR, Ifd, number, numbers
from ..formats.tiffwrite import STRIP_TAGS, TILE_TAGS
from .losslessjpeg import is_damaged

CR2_SLICES = 50752

# What cameras write; a folder's other files (sidecars, pictures, films) are left alone. TIFFs are not taken unasked.
RAW_EXTENSIONS = {
    ".3fr", ".arw", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc",
    ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".ori", ".pef", ".ptx", ".raf", ".raw", ".rw2", ".rwl", ".sr2",
    ".srf", ".srw", ".x3f",
}  # fmt: skip


def refuse_by_tags(path: Path, ifds: list[tuple[str, Ifd]]) -> None:
    """Refuse, before LibRaw guesses, what the tags of the raw image tell."""
    frames = [ifd for _, ifd in ifds if is_raw_image(ifd)]
    for ifd in frames:
        if number(ifd, 254) not in (0, None):  # not the full image, but made of it
            continue
        if number(ifd, 262) == PHOTOMETRIC_LINEAR and (number(ifd, 277) or 3) >= 3:
            raise UnreadableRaw(f"{path}: already demosaiced (a linear DNG); give the camera's own raw file")
        if number(ifd, 339) == 3:
            raise UnreadableRaw(f"{path}: holds floating-point data, not sensor counts; give the camera's own raw file")
    size = path.stat().st_size if frames else 0
    for ifd in frames:
        for offsets, lengths in (STRIP_TAGS, TILE_TAGS):
            ends = [o + n for o, n in zip(numbers(ifd, offsets), numbers(ifd, lengths), strict=False)]
            if max(ends, default=0) > size:
                message = f"truncated: its image data end at byte {max(ends):.0f}, the file at {size}; copy it again"
                raise UnreadableRaw(f"{path}: {message}")
        if not dng_tags(ifds):
            continue  # other makers' sizes are not always those of what is stored
        sites = (number(ifd, 256) or 0) * (number(ifd, 257) or 0)
        stored = sum(numbers(ifd, 279)) + sum(numbers(ifd, 325))
        if len(numbers(ifd, 279)) == 1:  # DJI and picamera2 told too few bytes of one strip, which is whole
            stored = max(stored, size - max(numbers(ifd, 273), default=0))
        bits_per_site = {1.0: number(ifd, 258) or 1, 7.0: 1.0}.get(number(ifd, 259) or 0.0, 0.0)  # lossless JPEG: >= 1
        if 0 < 8 * stored < sites * bits_per_site * 0.99:
            raise UnreadableRaw(f"{path}: holds {stored:.0f} bytes for {sites:.0f} sites, too few; copy it again")


def refuse_damaged_data(path: Path, ifds: list[tuple[str, Ifd]]) -> None:
    """Refuse a CR2 or DNG whose compressed data are damaged, such as by a bad card, which LibRaw often does not see."""
    mosaic, dng = next((ifd for _, ifd in ifds if CR2_SLICES in ifd and is_raw_image(ifd)), {}), dng_tags(ifds)
    if dng:
        mosaic = _mosaic(ifds)
        # Before DNG 1.1, differences of 16 bits had bits behind their code, unlike in the JPEG standard.
        if number(mosaic, 259) != JPEG or numbers(dng, 50706) < (1, 1):
            return
    places = [p for o, n in (STRIP_TAGS, TILE_TAGS) for p in zip(numbers(mosaic, o), numbers(mosaic, n), strict=False)]
    size = path.stat().st_size
    starts = sorted(offset for offset, _ in places)
    ends = [*starts[1:], size]
    lengths = [n or ends[bisect_right(starts, o) - 1] - o for o, n in places]  # LibRaw asks for none: some tell 0
    if sum(lengths) > size:
        return  # they overlap: as often as they say, the same bytes might be decoded for hours
    with path.open("rb") as file:
        for (offset, _), length in zip(places, lengths, strict=True):
            file.seek(int(offset))
            if is_damaged(file.read(int(length))):
                what = "damaged (its compressed data do not fit its size)"
                raise UnreadableRaw(f"{path}: {what}; copy it again from the card")


def is_raw_image(ifd: Ifd) -> bool:
    """Return whether an IFD describes sensor data, not a preview."""
    photometric = number(ifd, 262)
    # The raw image of a CR2 has no photometric interpretation; its previews have one, or use other tags.
    return photometric in (PHOTOMETRIC_CFA, PHOTOMETRIC_LINEAR) or (photometric is None and CR2_SLICES in ifd)


def dng_tags(ifds: list[tuple[str, Ifd]]) -> Ifd:
    """Return the tags of a DNG's raw image over those of its first IFD; an empty dict for other files."""
    first = next((ifd for kind, ifd in ifds if kind == tifftags.ROOT), {})
    if 50706 not in first:
        return {}
    mosaic = _mosaic(ifds)
    return first | mosaic if mosaic else {}


def _mosaic(ifds: list[tuple[str, Ifd]]) -> Ifd:
    mosaics = [ifd for _, ifd in ifds if number(ifd, 262) == PHOTOMETRIC_CFA]
    return min(mosaics, key=lambda ifd: number(ifd, 254) or 0, default={})  # NewSubfileType 0: the full image
