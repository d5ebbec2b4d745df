"""A frame of Magic Lantern video -> Mosaic: its packed counts, and what the camera's blocks say of them."""

from __future__ import annotations

import datetime
import math
import struct
from dataclasses import replace
from typing import Any, NamedTuple

import imagecodecs
import numpy as np

from ..cameracolor import neutral_of_light
from ..errors import UnreadableRaw
from ..lights import xy_of_kelvin
from ..mosaic import BAYER_ORDERS, MIN_SIDE_PX, Capture, Mosaic
from ..raw.capture import PIXELS_PER_MM
from ..raw.maskedrows import as_margins_show
from ..raw.rawcolor import REC709_FROM_XYZ, of_a_camera
from ..whitebalance import MOST_APART, looks_wrong
from .mlv import VIDEO_FRAME, Clip, Frame
from .timecode import smpte_time_code

# RAWI: width and height of the frames; of the sensor's buffer version, address, height, width, pitch, bytes, bits,
# black and white; crop; active area (top, left, bottom, right); exposure bias; CFA, illuminant, matrix, dynamic range
RAW_INFO = struct.Struct("<HH II 7i 4i 4i 2i I i 18i i")
EXPOSURE = struct.Struct("<IIIIQ")  # EXPO: mode, ISO, analog ISO, digital gain, microseconds
LENS = struct.Struct("<HHHBBII32s")  # LENS: focal length in mm, distance, f-number x 100, modes, flags, id, name
CAMERA = struct.Struct("<32sI32s")  # IDNT: name, model, serial number
CLOCK = struct.Struct("<6H")  # RTCI: second, minute, hour, day, month from 0, year from 1900
WHITE_BALANCE = struct.Struct("<II3I")  # WBAL: mode, kelvin, red, green and blue of a custom one x 1024
# RAWC: columns and rows of the sensor, crop factor x 100, -; columns binned, skipped, rows binned, skipped
SAMPLING = struct.Struct("<4H4B")

BAYER_OF_CODE = {int.from_bytes(bytes("RGB".index(letter) for letter in cfa), "little"): cfa for cfa in BAYER_ORDERS}
BAYER_OF_CODE[0] = "RGGB"  # what first versions left out
SENSOR_BITS = 14
CUT_OFF = 0.75  # counts of 14 bits: the decimals of two means, half a count, and those of their mean, 0 or a half
CUSTOM, IN_KELVIN = 6, 9  # modes of white balance
FULL_FRAME_MM = 36.0, 24.0  # that crop factors and 35 mm focal lengths are of
KELVIN_OF_MODE = {1: 5200, 2: 6000, 3: 3200, 4: 4000, 5: 6000, 8: 7000}  # sun to shade, by Canon's manuals


class RawInfo(NamedTuple):
    """What the RAWI block says that is asked for."""

    shape: tuple[int, int]  # of the frames
    sensor_shape: tuple[int, int]  # of all that the camera reads out in this mode
    bits: int
    black_level: int
    white_level: int
    active_area: tuple[int, int, int, int]  # of the sensor: top, left, bottom, right
    cfa: int
    camera_from_xyz: np.ndarray  # (3, 3) float64; nan where the camera says nothing


def raw_info(clip: Clip, frame: Frame) -> RawInfo:
    """Return size, levels and colours of a frame. Raises UnreadableRaw where their block is cut off."""
    content = frame.told[b"RAWI"].content
    if len(content) < RAW_INFO.size:
        raise UnreadableRaw(f"{clip.path}: damaged where it tells the size of its frames; copy it again from the card")
    width, height, _, _, rows, columns, _, _, bits, black, white, *more = RAW_INFO.unpack_from(content)
    fractions = np.array(more[12:30], np.float64).reshape(3, 3, 2)
    matrix = fractions[..., 0] / np.where(fractions[..., 1] == 0, np.nan, fractions[..., 1])
    top, left, bottom, right = more[4:8]
    return RawInfo((height, width), (rows, columns), bits, black, white, (top, left, bottom, right), more[10], matrix)


def kept_area(clip: Clip, frame: Frame) -> tuple[slice, slice]:
    """Return the rows and columns that a frame keeps.

    Frames of the whole sensor lose their masked margins. Where the camera moved its window, frames lose
    `clip.lost_rows`, so that bright and dark rows stay in their places.
    """
    info = raw_info(clip, frame)
    (height, width), (top, left, bottom, right) = info.shape, info.active_area
    top, left = top + top % 2, left + left % 2  # in whole cells, so that the CFA is as it was
    inside = (
        0 <= top <= bottom - MIN_SIDE_PX and bottom <= height and 0 <= left <= right - MIN_SIDE_PX and right <= width
    )
    if inside and info.shape == info.sensor_shape:
        return slice(top, bottom), slice(left, right)
    above = clip.rows_above(frame)
    return slice(above, height - clip.lost_rows + above), slice(0, width)


def read_frame(clip: Clip, frame: Frame) -> Mosaic:
    """Return what a frame keeps of its counts, with levels, colours, and what the camera wrote of the shot.

    Where it loses masked margins, black levels of the row phases are those that these show, and so is the banding that
    is taken off. White balance is as set, in kelvin, as a preset or a custom one; `as_shot_neutral` is None where the
    camera chose it.

    Raises UnreadableRaw for a frame that is cut off, damaged, or not Bayer.
    """
    name, info = f"{clip.path}: frame {frame.number}", raw_info(clip, frame)
    (height, width), cfa = info.shape, BAYER_OF_CODE.get(info.cfa)
    if not 8 <= info.bits <= 16 or min(info.shape) < MIN_SIDE_PX:
        raise UnreadableRaw(
            f"{name}: {width} x {height} px of {info.bits} bits, damaged or too small; give another clip"
        )
    if cfa is None:
        raise UnreadableRaw(f"{name}: colour filters {info.cfa:#x}, no Bayer order; give another clip")
    if not 0 <= info.black_level < info.white_level <= 65535:
        raise UnreadableRaw(f"{name}: damaged levels (black {info.black_level}, white {info.white_level})")
    sites, (rows, columns) = _sites(clip, frame, info), kept_area(clip, frame)
    black = np.full((1, 1), _black_level(info), np.float32)
    matrix = info.camera_from_xyz if of_a_camera(info.camera_from_xyz) else REC709_FROM_XYZ.copy()
    counts = sites[rows, columns].copy()
    mosaic = Mosaic(counts, cfa, black, float(info.white_level), matrix, capture=_capture(clip, frame, counts.shape))
    mosaic = as_margins_show(mosaic, sites, rows.start, columns.start)
    return replace(mosaic, as_shot_neutral=_neutral(frame, mosaic))


# Counts ---------------------------------------------------------------------------------------------------------------


def _sites(clip: Clip, frame: Frame, info: RawInfo) -> np.ndarray:
    """Return all sites of a frame, (H, W) uint16."""
    count = info.shape[0] * info.shape[1]
    try:
        stored = frame.block.payload(VIDEO_FRAME)
        if clip.compressed:
            # Each site has a bit or more; of others, the decoder would take whatever memory a few bytes ask for. Rows
            # and components of the JPEG mean nothing: sites follow each other in the order of the frame.
            if not _jpeg_samples(stored) == count <= 8 * len(stored):
                raise ValueError(f"no JPEG of {count} sites")
            sites = np.asarray(imagecodecs.jpeg8_decode(stored), np.uint16).ravel()
        else:
            sites = unpacked(stored, info.bits, count)
        if sites.max(initial=0) >> info.bits:  # decoders fill in what is damaged, and seldom say so
            raise ValueError(f"counts of more than {info.bits} bits")
        return sites.reshape(info.shape)
    except (imagecodecs.Jpeg8Error, ValueError, OSError) as error:
        raise UnreadableRaw(f"{clip.path}: frame {frame.number} is damaged ({error}); copy the clip again") from error


def _black_level(info: RawInfo) -> float:
    """Return the black level of counts: the mean one of clips that state the same.

    Magic Lantern takes it from masked rows of both exposures, as the mean of two means, and cuts off the decimals of
    all three. With cameras from the 60D on it then states 2047 for what comes within 64 of that; Canon's own notes have
    2047 and 2048, so that is as near. Counts of fewer bits than 14 lack the lowest ones, too, but their black level is
    rounded: it is half a step too high. Shadows would be magenta, or green. Where none was measured, it is 0.
    """
    if info.black_level == 0:
        return 0.0
    rounded = 0.5 if info.bits < SENSOR_BITS else 0.0
    return max(0.0, info.black_level + CUT_OFF * 2.0 ** (info.bits - SENSOR_BITS) - rounded)


def _jpeg_samples(stored: bytes) -> int:
    """Return rows x columns x components as the frame header of a JPEG has them (ITU-T T.81, B.2); 0: it has none."""
    at = 2
    while at + 10 <= len(stored):
        marker, length, _, rows, columns, components = struct.unpack_from(">HHBHHB", stored, at)
        if marker == 0xFFC3:  # SOF3: lossless, Huffman codes
            return int(rows * columns * components)
        if not (0xFFC0 <= marker <= 0xFFFE and not 0xFFD0 <= marker <= 0xFFDA):  # no segment, or the scan's
            break
        at += 2 + length
    return 0


def unpacked(stored: bytes, bits: int, count: int) -> np.ndarray:
    """Return the first `count` numbers of 8 to 16 bits as Magic Lantern packs them, (count,) uint16.

    They follow each other without gaps, the highest bit first, in words of 16 bits, which are little-endian.
    Raises ValueError where there are fewer.

    >>> unpacked(bytes([0x04, 0x00, 0x20, 0x00]), 14, 2).tolist()
    [1, 2]
    """
    words = -(-count * bits // 16)
    if len(stored) < 2 * words:
        raise ValueError(f"{len(stored)} bytes, too few for {count} sites of {bits} bits")
    groups = -(-count // 8)  # 8 numbers fill whole bytes
    stream = np.zeros(groups * bits + 3, np.uint8)  # and some that no number needs
    stream[: 2 * words] = np.frombuffer(stored, "<u2", words).byteswap().view(np.uint8)[: stream.size]
    out = np.empty((groups, 8), np.uint16)
    for i in range(8):
        first, shift = divmod(i * bits, 8)
        high, middle, low = (stream[first + k :: bits][:groups].astype(np.uint32) for k in range(3))
        out[:, i] = (high << 16 | middle << 8 | low) >> (24 - shift - bits) & ((1 << bits) - 1)
    return out.ravel()[:count]


# What the camera says -------------------------------------------------------------------------------------------------


def pixel_aspect(frame: Frame) -> float:
    """Return how many times as far apart the columns of a frame stand as its rows: cameras bin and skip some."""
    *_, binned_columns, skipped_columns, binned_rows, skipped_rows = _told(frame, b"RAWC", SAMPLING) or (1, 0, 1, 0)
    return (binned_columns + skipped_columns) / max(binned_rows + skipped_rows, 1) or 1.0


def _pixels_per_mm(frame: Frame) -> float | None:
    """Return how many columns of a frame the sensor has on a millimetre; None: the camera does not say."""
    columns, _, hundred_crop, _, binned, skipped, *_ = _told(frame, b"RAWC", SAMPLING) or (0,) * 8
    density = columns * hundred_crop / 100 / FULL_FRAME_MM[0] / max(binned + skipped, 1)
    return density if PIXELS_PER_MM[0] <= density <= PIXELS_PER_MM[1] else None


def _told(frame: Frame, name: bytes, form: struct.Struct) -> tuple[Any, ...]:
    block = frame.told.get(name)
    return form.unpack_from(block.content) if block is not None and len(block.content) >= form.size else ()


def _text(stored: bytes) -> str:
    return stored.split(b"\0")[0].decode("utf-8", "replace").strip()


def _capture(clip: Clip, frame: Frame, shape: tuple[int, ...]) -> Capture:
    """Return what the camera says of a frame that keeps so many rows and columns of what it sees."""
    model, _, serial_number = _told(frame, b"IDNT", CAMERA) or (b"", 0, b"")
    _, iso, _, _, exposure_us = _told(frame, b"EXPO", EXPOSURE) or (0,) * 5
    focal_length, _, hundred_f, *_, lens = _told(frame, b"LENS", LENS) or (*(0,) * 7, b"")
    taken, first = taken_at(frame), taken_at(clip.frames[0])
    density, aspect, of_full_frame = _pixels_per_mm(frame), pixel_aspect(frame), None
    if density is not None and focal_length:
        diagonal_mm = math.hypot(shape[0] / aspect, shape[1]) / density
        of_full_frame = focal_length * math.hypot(*FULL_FRAME_MM) / diagonal_mm
    return Capture(
        make=_text(model).split(" ")[0],
        model=_text(model),
        serial_number=_text(serial_number),
        lens=_text(lens),
        exposure_time_s=exposure_us / 1e6 or None,
        f_number=hundred_f / 100 or None,
        iso=iso or None,
        focal_length_mm=focal_length or None,
        focal_length_35mm=of_full_frame,
        pixels_per_mm=density,
        pixel_aspect=aspect,
        taken=taken.strftime("%Y:%m:%d %H:%M:%S") if taken else "",
        subseconds=f"{taken.microsecond // 1000:03d}" if taken else "",
        frame_rate=clip.frame_rate,
        time_code=smpte_time_code(first, clip.frame_rate, frame.number - clip.frames[0].number),
    )


def taken_at(frame: Frame) -> datetime.datetime | None:
    """Return when a frame was taken, by the camera's clock; None: there is none, or it was never set."""
    try:
        second, minute, hour, day, month, year = _told(frame, b"RTCI", CLOCK)
        told = datetime.datetime(1900 + year, 1 + month, day, hour, minute, second)
        return told + datetime.timedelta(microseconds=frame.block.time_us - frame.told[b"RTCI"].time_us)
    except (ValueError, OverflowError):
        return None


def _neutral(frame: Frame, mosaic: Mosaic) -> np.ndarray | None:
    mode, kelvin, *custom = _told(frame, b"WBAL", WHITE_BALANCE) or (0,) * 5
    if mode == CUSTOM:
        # A grey card's colour, as Canon has it and Magic Lantern's own converter takes it, or the multipliers that undo
        # it, as the format's description has it: of both, no more than one stands for a light there is; in infrared
        # and under water, none does.
        grey: np.ndarray = np.array(custom, np.float64) / max(custom[1], 1)
        if not 0 < grey.max() <= MOST_APART * grey.min():
            return None  # which no camera has measured
        undoing: np.ndarray = 1 / grey
        return undoing if looks_wrong(grey, mosaic) and not looks_wrong(undoing, mosaic) else grey
    try:
        return neutral_of_light(xy_of_kelvin(kelvin if mode == IN_KELVIN else KELVIN_OF_MODE.get(mode, 0)), mosaic)
    except ValueError:  # the camera chose it, or the matrix has no neutral there
        return None
