"""Radiance RGBE (.hdr, .pic): three 8-bit mantissas with one exponent, run-length encoded.

Source: Ward, "Real Pixels", Graphics Gems II, 1991; the header as in Radiance's picture format.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import imagecodecs
import numpy as np

from ..color import ColorSpace
from ..errors import UnreadableImage
from ..mosaic import Capture
from .exif import camera_name

STRIP_PX = 1 << 18  # pixels encoded at a time
READ_IN_PIECES = (127, 255)  # bytes at a time: OpenCV and others derived from Ward's rgbe.c, and FreeImage
CAMERA_RGB = "# camera RGB: no white balance, no matrix"


class Rgbe(NamedTuple):
    """A Radiance file as stored."""

    image: np.ndarray  # (H, W, 3) float32
    primaries: tuple[float, ...] = ()  # xy of red, green, blue and white; (): not stated
    camera_rgb: bool = False  # marked so by `write_rgbe`


def write_rgbe(
    stream: BinaryIO, image: np.ndarray, space: ColorSpace, capture: Capture, attributes: Mapping[str, str]
) -> None:
    """Write an image, (H, W, 3) float32, header and pixels; negative values, which RGBE cannot hold, as 0.

    The header states the primaries, even those of Rec. 709, because Radiance's programs would assume others, in which
    red has a quarter more luminance. It also has the capture and `attributes`.
    """
    lines = ["#?RADIANCE", "SOFTWARE=sve2hdr"]
    if space.chromaticities is None:
        lines.append(CAMERA_RGB)
    else:
        lines.append("PRIMARIES=" + " ".join(f"{v:.6g}" for xy in space.chromaticities for v in xy))
    if capture.pixel_aspect != 1:
        lines.append(f"PIXASPECT={1 / capture.pixel_aspect:.6g}")  # height over width
    if capture.taken:
        lines.append(f"CAPDATE={capture.taken}")
    measured = {
        "exposure time, s": capture.exposure_time_s,
        "f-number": capture.f_number,
        "ISO": capture.iso,
        "focal length, mm": capture.focal_length_mm,
        "focal length in 35 mm film, mm": capture.focal_length_35mm,
        "pixels per mm": capture.pixels_per_mm,
    }
    said = {
        "camera": camera_name(capture),
        "lens": capture.lens,
        **{name: f"{value:.6g}" for name, value in measured.items() if value is not None},
        "artist": capture.artist,
        "copyright": capture.copyright,
        "serial number": capture.serial_number,
        "UTC offset": capture.utc_offset,
    }
    lines += [f"# {name}: {value}" for name, value in (said | dict(attributes)).items() if value]
    height, width = image.shape[:2]
    stream.write(b"".join(_header_line(line) for line in lines))
    stream.write(f"FORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode())
    rows = max(1, STRIP_PX // width)
    for top in range(0, height, rows):
        strip = _rounded_to_rgbe(image[top : top + rows])
        room = 4 * strip.shape[0] + 8 * strip.shape[0] * width  # noise grows in this coding, beyond imagecodecs' guess
        stream.write(imagecodecs.rgbe_encode(strip, header=False, rle=True, out=room))


def _header_line(text: str) -> bytes:
    """Return a text as a line that no reader splits such that an empty line seems to end the header.

    Readers take long lines in pieces; at some lengths the last piece would be nothing but the line break.
    """
    line = " ".join(text.split()).encode()
    while any(len(line) % piece == 0 for piece in READ_IN_PIECES):
        line += b" "
    return line + b"\n"


def _rounded_to_rgbe(strip: np.ndarray) -> np.ndarray:
    # imagecodecs truncates mantissas, which darkens by half a step; values rounded beforehand pass unchanged.
    positive = np.clip(strip, 0, np.float32(2.0**127 * (255 / 256)))
    red, green, blue = (positive[..., channel, None] for channel in range(3))
    greatest = np.maximum(np.maximum(red, green), blue)  # NumPy's max is slow along a short axis
    mantissa, exponent = np.frexp(greatest)
    exponent += np.rint(mantissa * 256) == 256  # the greatest channel rounds up to the next power of two
    steps = np.rint(np.ldexp(positive, 8 - exponent))
    return np.asarray(np.ldexp(steps, exponent - 8), np.float32)


def read_rgbe(path: Path, stream: BinaryIO) -> Rgbe:
    """Read an open Radiance file, run-length encoded (new or old) or flat.

    Raises UnreadableImage, which names `path`, for other files, and for those damaged or stored in another direction.
    """
    exposure, camera_rgb = 1.0, False
    primaries: tuple[float, ...] = ()
    if not stream.readline(80).startswith(b"#?"):
        raise UnreadableImage(f"{path}: not a Radiance HDR image, which begins with #?; check the file")
    while line := stream.readline(1 << 16).strip():
        name, _, value = line.partition(b"=")
        camera_rgb |= line == CAMERA_RGB.encode()
        if name == b"PRIMARIES":
            primaries = _numbers(value)
        if name == b"FORMAT" and value.strip() != b"32-bit_rle_rgbe":
            raise UnreadableImage(f"{path}: has the format {value.decode(errors='replace')}; convert it to RGBE")
        if name == b"EXPOSURE":
            with contextlib.suppress(ValueError):
                exposure *= float(value)  # cumulative, and divided out to get the original values
    size = stream.readline(80).split()
    if len(size) != 4 or size[0] != b"-Y" or size[2] != b"+X" or not (size[1].isdigit() and size[3].isdigit()):
        raise UnreadableImage(f"{path}: is damaged, or not stored as -Y height +X width; convert it first")
    data, shape = stream.read(), (int(size[1]), int(size[3]), 3)
    if shape[0] * shape[1] > 1 << 15 and len(data) * 1000 < shape[0] * shape[1]:  # no encoding is as dense
        raise UnreadableImage(f"{path}: ends before its {shape[1]} x {shape[0]} pixels do; get a whole copy")
    try:
        if data[:2] == b"\2\2" and data[2:4] == shape[1].to_bytes(2, "big") and 8 <= shape[1] < 1 << 15:
            image = np.empty(shape, np.float32)
            imagecodecs.rgbe_decode(data, header=False, rle=True, out=image)
        elif data[:2] == b"\2\2" and data[2:3] < b"\x80" and len(data) != 4 * shape[0] * shape[1]:
            raise ValueError("scan lines of another width")  # no flat pixel: its greatest mantissa is above 127
        else:
            image = _unpacked(np.frombuffer(data, np.uint8), shape)
    except (imagecodecs.RgbeError, ValueError) as error:
        raise UnreadableImage(f"{path}: ends early or is damaged; get a whole copy") from error
    if 1e-38 < exposure < 3e38 and exposure != 1:  # others are damaged: no float32 holds them
        image /= np.float32(exposure)
    return Rgbe(image, primaries, camera_rgb)


def _numbers(text: bytes) -> tuple[float, ...]:
    """Return the eight numbers of a text, or () if it has not just these."""
    with contextlib.suppress(ValueError):
        numbers = tuple(float(value) for value in text.split())
        return numbers if len(numbers) == 8 else ()
    return ()


def _unpacked(data: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    # Flat pixels, or the old run lengths: 1, 1, 1, n repeats the pixel before it n times; consecutive runs are the
    # bytes of one n, lowest first.
    quads = data[: data.size // 4 * 4].reshape(-1, 4)
    runs = (quads[:, :3] == 1).all(axis=1)
    if runs.any():
        index = np.arange(len(quads))
        last_pixel = np.maximum.accumulate(np.where(runs, -1, index))
        if last_pixel[0] < 0:
            raise ValueError("a run before the first pixel")
        digit = np.minimum(index - last_pixel - 1, 3)  # at most four bytes of length
        repeats = np.where(runs, quads[:, 3].astype(np.int64) << (8 * digit), 1)
        if repeats.sum() < shape[0] * shape[1]:
            raise ValueError("too few pixels")
        ends = np.minimum(np.cumsum(repeats), shape[0] * shape[1])
        quads = np.repeat(quads[last_pixel], np.diff(ends, prepend=0), axis=0)
    pixels = quads[: shape[0] * shape[1]].reshape(*shape[:2], 4)  # ValueError where there are too few
    scale = np.ldexp(np.float32(1), pixels[..., 3].astype(np.int32) - 136)
    return np.asarray(pixels[..., :3] * scale[..., None])
