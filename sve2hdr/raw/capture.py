"""What a raw file says of its shot: camera, lens, exposure, date, orientation, whose it is."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..formats import tifftags
from ..formats.exif import CAMERA_OWNER, CARRIED, LENS_SPECIFICATION, unique_camera_model
from ..formats.tifftags import DEFAULT_SCALE, FRAME_RATE, TIME_CODES, Ifd, number, numbers, text
from ..formats.tiffwrite import ASCII, RATIONAL, SHORT, SRATIONAL
from ..mosaic import Capture, Position
from .xmpread import MOST_ALTITUDE_M, position_in, read_xmp

# From LibRaw's bits (1 mirrors, 2 flips, 4 transposes) to EXIF Orientation.
ORIENTATION_OF_FLIP = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
TOO_LARGE_ISO = 65535  # what EXIF's 16-bit tag holds for any greater ISO
MOST_ASPECT = 16.0  # of a pixel, to either side
# of FocalPlaneResolutionUnit; 4 and 5 are not EXIF's, but known
MM_OF_UNIT: dict[float, float] = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
DNG_VERSION, UNIQUE_MODEL, LENS_INFO = 50706, 50708, 50736  # DNG's; the last is EXIF's LensSpecification
LENS_MODEL, BODY_SERIAL_NUMBER = 42036, 42033  # new in EXIF 2.3
CANON_SETTINGS, CANON_OWNER, CANON_SERIAL_NUMBER, CANON_LENS = 1, 9, 12, 149  # of Canon's maker note
CANON_FOCAL_LENGTHS = slice(23, 26)  # of the settings: the longest, the shortest, and how many of them are a millimetre
RANGE_OF = {SHORT: (0, 65535), RATIONAL: (0, 2**32 - 1), SRATIONAL: (-1000, 1000)}  # of what goes along
SAME_PLACE_DEG = 1e-4  # 11 m, to which programs round
PIXELS_PER_MM = 20.0, 2000.0  # 50 to 0.5 micrometres a pixel: some cameras write the 72 dpi of a screen
CIFF_MAKE_MODEL = re.compile(rb"Canon\0(Canon [ -~]{2,40})\0")


def read_capture(path: Path, ifds: list[tuple[str, Ifd]], raw: Any) -> Capture:
    """Return what a raw file says of its shot: EXIF tags first, then what LibRaw (`raw`, a rawpy.RawPy) found; and XMP.

    Damaged or absurd values count as missing; nothing raises.
    """
    tags: Ifd = {}
    for _, ifd in (e for kind in (tifftags.EXIF, tifftags.ROOT) for e in ifds if e[0] == kind):
        tags = ifd | tags
    tags = _told_by_canon(path, tags) | tags
    make, model = text(tags, 271), text(tags, 272)
    if not model:
        make, model = _ciff_make_model(path)
    unique_model = text(tags, UNIQUE_MODEL)
    if unique_model == unique_camera_model(Capture(make, model)):
        unique_model = ""  # says no more
    xmp = read_xmp(path, ifds)
    stored = next((place for kind, ifd in ifds if kind == tifftags.GPS and (place := _position(ifd))), None)
    iso, lens, shot = number(tags, 34855), raw.lens, _libraw_shot(raw)
    return Capture(
        make=make,
        model=model or unique_model,
        lens=text(tags, LENS_MODEL) or lens.model.strip(),
        exposure_time_s=_positive(number(tags, 33434)) or _positive(shot.get("shutter_speed")),
        f_number=_positive(number(tags, 33437)) or _positive(shot.get("aperture")),
        iso=_positive(iso if iso != TOO_LARGE_ISO else None) or _positive(shot.get("iso_speed")),
        focal_length_mm=_positive(number(tags, 37386)) or _positive(shot.get("focal_length")),
        focal_length_35mm=_positive(number(tags, 41989)),
        pixels_per_mm=_pixels_per_mm(tags),
        unique_model=unique_model,
        exif=_carried({LENS_SPECIFICATION: tags.get(LENS_INFO, ()), **tags}),
        taken=_date(text(tags, 36867)) or shot.get("taken", ""),
        orientation=ORIENTATION_OF_FLIP.get(raw.sizes.flip, 1),
        pixel_aspect=next((aspect for _, ifd in ifds if (aspect := _pixel_aspect(numbers(ifd, DEFAULT_SCALE)))), 1.0),
        frame_rate=true_frame_rate(number(tags, FRAME_RATE)),
        time_code=_time_code(numbers(tags, TIME_CODES)),
        artist=text(tags, 315),
        copyright=text(tags, 33432),
        serial_number=text(tags, BODY_SERIAL_NUMBER) or text(tags, 50735),  # a DNG's CameraSerialNumber
        utc_offset=_matching(r"[+-]\d\d:\d\d", text(tags, 36881) or text(tags, 36880)),
        subseconds=_matching(r"\d{1,9}", text(tags, 37521)),
        xmp=xmp,
        position=_newer(stored, position_in(xmp)),
    )


def _told_by_canon(path: Path, tags: Ifd) -> Ifd:
    """Return lens, its range, serial number and owner as EXIF has them, where Canon's maker note alone tells them.

    It does in bodies older than EXIF 2.3: 5D Mark II, 7D, 50D, 500D, 550D. Its offsets count from the start of the CR2;
    those of notes that went along into DNGs lead nowhere.
    """
    if text(tags, 271) != "Canon" or DNG_VERSION in tags:
        return {}
    note = tifftags.read_ifd_at(path, number(tags, tifftags.MAKER_NOTE) or 0)
    serial_number = number(note, CANON_SERIAL_NUMBER) or 0
    *lengths, unit = numbers(note, CANON_SETTINGS)[CANON_FOCAL_LENGTHS] or (0,)
    return {
        LENS_SPECIFICATION: (*(length / unit for length in reversed(lengths)), 0, 0) if unit else (),
        LENS_MODEL: text(note, CANON_LENS),
        BODY_SERIAL_NUMBER: f"{serial_number:010.0f}" if 0 < serial_number < 2**32 else "",
        CAMERA_OWNER: text(note, CANON_OWNER),
    }


def _carried(tags: Ifd) -> dict[int, tuple[float, ...] | str]:
    found: dict[int, tuple[float, ...] | str] = {}
    for tag, (kind, count, _) in CARRIED.items():
        if kind == ASCII:
            told = text(tags, tag)
            found |= {tag: told} if told else {}
            continue
        values, (least, most) = numbers(tags, tag), RANGE_OF[kind]
        unknown = kind == RATIONAL and not any(values)
        if len(values) == count and all(least <= value <= most for value in values) and not unknown:
            found[tag] = tuple(map(int, values)) if kind == SHORT else values
    return found


def _libraw_shot(raw: Any) -> dict[str, Any]:
    try:
        shot = raw.other
    except (ValueError, OverflowError, OSError):  # a time stamp that is no date
        return {}
    found: dict[str, Any] = shot._asdict()
    if shot.timestamp.year > 1971:
        found["taken"] = shot.timestamp.strftime("%Y:%m:%d %H:%M:%S")
    return found


def _positive(value: float | None) -> float | None:
    return float(value) if value is not None and 1e-6 <= value <= 1e9 else None  # what EXIF's fractions can hold


def _pixel_aspect(scale: tuple[float, ...]) -> float | None:
    across, down = scale if len(scale) == 2 else (0.0, 0.0)
    return across / down if across > 0 and down > 0 and 1 / MOST_ASPECT <= across / down <= MOST_ASPECT else None


def _pixels_per_mm(tags: Ifd) -> float | None:
    density = (number(tags, 41486) or 0.0) / MM_OF_UNIT.get(number(tags, 41488) or 2, math.inf)
    return density if PIXELS_PER_MM[0] <= density <= PIXELS_PER_MM[1] else None


def _position(gps: Ifd) -> Position | None:
    """Return the place that a GPS IFD tells (EXIF 2.31, 4.6.6); None where the receiver had none, or it is damaged."""
    angles = []
    for tag, (positive, negative), most in ((1, "NS", 90.0), (3, "EW", 180.0)):
        parts, letter = numbers(gps, tag + 1), text(gps, tag)[:1].upper()
        angle = sum(part / 60**k for k, part in enumerate(parts))
        if len(parts) != 3 or not 0 <= angle <= most or letter not in (positive, negative):
            return None
        angles.append(-angle if letter == negative else angle)
    altitude, below = number(gps, 6), number(gps, 5) == 1
    if altitude is not None and not 0 <= altitude < MOST_ALTITUDE_M:
        altitude = None
    if text(gps, 9) == "V" or angles == [0, 0]:  # a measurement that was interrupted; 0/0, where there was none
        return None
    direction = number(gps, 17)
    if direction is not None and not 0 <= direction <= 360:
        direction = None
    return Position(
        angles[0],
        angles[1],
        -altitude if altitude and below else altitude,
        _utc(text(gps, 29), numbers(gps, 7)),
        direction,
        magnetic=direction is not None and text(gps, 16)[:1].upper() == "M",
    )


def _newer(stored: Position | None, told: Position | None) -> Position | None:
    """Return the place that people have told of a raw, or the receiver's where it is the same, which tells more.

    An altitude that the receiver did not know is taken all the same.
    """
    if stored is None or told is None:
        return stored or told
    apart = max(abs(stored.latitude_deg - told.latitude_deg), abs(stored.longitude_deg - told.longitude_deg))
    if apart > SAME_PLACE_DEG:
        return told
    return replace(stored, altitude_m=told.altitude_m) if stored.altitude_m is None else stored


def _utc(date: str, clock: tuple[float, ...]) -> str:
    """Return date and time of a GPS IFD as `Position` has them; "" where one of them is missing, or is none."""
    if len(clock) != 3 or not all(0 <= part < most for part, most in zip(clock, (24, 60, 61), strict=True)):
        return ""
    # hours and minutes may have decimals; a second before midnight that is rounded up is still of that day
    micros = min(round(1e6 * (3600 * clock[0] + 60 * clock[1] + clock[2])), 86_400_000_000 - 1)
    minutes, micros = divmod(micros, 60_000_000)
    told = f"{date} {minutes // 60:02}:{minutes % 60:02}:{micros / 1e6:09.6f}"
    return _matching(r"(?!0000)\d{4}:\d\d:\d\d \d\d:\d\d:\d\d(\.\d*[1-9])?", told.rstrip("0").removesuffix("."))


def true_frame_rate(stored: float | None) -> float | None:
    """Return a rate as stored, or what it was rounded from: 23.976, 23.98 and 29.97 are 24 and 30 over 1.001."""
    if stored is None or not 0.01 <= stored <= 100_000:
        return None
    whole, ntsc = round(stored), round(stored) * 1000 / 1001
    return ntsc if abs(stored - ntsc) < abs(stored - whole) / 4 else stored


def _time_code(stored: tuple[float, ...]) -> tuple[int, ...]:
    first = stored[:8]
    return tuple(int(byte) for byte in first) if len(first) == 8 and set(first) <= set(range(256)) else ()


def _date(stored: str) -> str:
    return _matching(r"(?!0000)\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", stored)


def _matching(pattern: str, stored: str) -> str:
    return stored if re.fullmatch(pattern, stored, re.ASCII) else ""


def _ciff_make_model(path: Path) -> tuple[str, str]:
    """Return make and model of a CRW, whose text block lies near the end of the file, or empty strings."""
    with path.open("rb") as file:
        start = file.read(14)
        if start[6:14] != b"HEAPCCDR":
            return "", ""
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        found = CIFF_MAKE_MODEL.search(file.read())
    return ("Canon", found[1].decode("ascii")) if found else ("", "")
