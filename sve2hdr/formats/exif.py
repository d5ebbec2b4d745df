"""What is known about a shot, as EXIF: entries for DNGs, and a whole block for JPEG, PNG and TIFF."""

from __future__ import annotations

from collections.abc import Sequence

from ..mosaic import Capture
from .tifftags import DEFAULT_SCALE, EXIF_IFD, FRAME_RATE, GPS_IFD, TIME_CODES
from .tiffwrite import (
    ASCII,
    BYTE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    Entry,
    Ifd,
    entry,
    nearest_rational,
    text_entry,
    tiff_bytes,
)

SOFTWARE = "sve2hdr"  # what all files name as the program that wrote them
EXIF_START = b"Exif\0\0"  # what APP1 begins with; the block follows
SRGB, UNCALIBRATED = 1, 65535  # ColorSpace
CENTIMETRE = 3  # FocalPlaneResolutionUnit
LARGEST_SHORT = 65535

SUBJECT_DISTANCE, LENS_SPECIFICATION, LENS_MAKE, LENS_SERIAL_NUMBER = 37382, 42034, 42035, 42037
CAMERA_OWNER = 42032
INFINITELY_FAR = 2.0**32 - 1  # a subject distance
CARRIED = {  # tags of EXIF 2.31 that are copied unchanged: type, number of values, name
    34850: (SHORT, 1, "ExposureProgram"),
    37380: (SRATIONAL, 1, "ExposureBiasValue"),
    SUBJECT_DISTANCE: (RATIONAL, 1, "SubjectDistance"),
    37383: (SHORT, 1, "MeteringMode"),
    37384: (SHORT, 1, "LightSource"),
    37385: (SHORT, 1, "Flash"),
    41986: (SHORT, 1, "ExposureMode"),
    41987: (SHORT, 1, "WhiteBalance"),  # chosen by the camera or its user
    41990: (SHORT, 1, "SceneCaptureType"),
    CAMERA_OWNER: (ASCII, 1, "CameraOwnerName"),
    LENS_SPECIFICATION: (RATIONAL, 4, "LensSpecification"),
    LENS_MAKE: (ASCII, 1, "LensMake"),
    LENS_SERIAL_NUMBER: (ASCII, 1, "LensSerialNumber"),
}

SOLD_AS = {  # Canons that run Magic Lantern: the name that colour profiles use, and others, in lower case
    "Canon EOS 100D": ("canon eos rebel sl1", "canon eos kiss x7"),
    "Canon EOS 200D": ("canon eos rebel sl2", "canon eos kiss x9"),
    "Canon EOS 500D": ("canon eos rebel t1i", "canon eos kiss x3"),
    "Canon EOS 550D": ("canon eos rebel t2i", "canon eos kiss x4"),
    "Canon EOS 600D": ("canon eos rebel t3i", "canon eos kiss x5"),
    "Canon EOS 650D": ("canon eos rebel t4i", "canon eos kiss x6i"),
    "Canon EOS 700D": ("canon eos rebel t5i", "canon eos kiss x7i"),
    "Canon EOS 1100D": ("canon eos rebel t3", "canon eos kiss x50"),
    "Canon EOS 1200D": ("canon eos rebel t5", "canon eos kiss x70", "canon eos hi"),
}


def _exif_entries(capture: Capture, color_space: int | None) -> list[Entry]:
    """Return the entries of an EXIF IFD (2.31): exposure, aperture, ISO, angle of view, date, lens, body, if known.

    An ISO above 65535, which its tag cannot hold, goes into RecommendedExposureIndex. `color_space` is SRGB or
    UNCALIBRATED for a developed image, for which EXIF requires it; None for raw data.
    """
    measured = ((33434, capture.exposure_time_s), (33437, capture.f_number), (37386, capture.focal_length_mm))
    entries = [entry(tag, RATIONAL, nearest_rational(value)) for tag, value in measured if value is not None]
    if capture.iso is not None:
        entries.append(entry(34855, SHORT, [min(LARGEST_SHORT, round(capture.iso))]))
    if capture.iso is not None and capture.iso > LARGEST_SHORT:
        entries += [entry(34864, SHORT, [2]), entry(34866, LONG, [round(capture.iso)])]
    if capture.focal_length_35mm is not None:
        entries.append(entry(41989, SHORT, [min(LARGEST_SHORT, round(capture.focal_length_35mm))]))
    if capture.pixels_per_mm is not None:
        across, down = (nearest_rational(10 * capture.pixels_per_mm * per_row) for per_row in (1, capture.pixel_aspect))
        entries += [entry(41486, RATIONAL, across), entry(41487, RATIONAL, down), entry(41488, SHORT, [CENTIMETRE])]
    entries += [
        entry(36864, UNDEFINED, b"0231"),  # ExifVersion
        text_entry(36867, capture.taken),  # DateTimeOriginal, and its
        text_entry(36881, capture.utc_offset),  # OffsetTimeOriginal
        text_entry(37521, capture.subseconds),  # SubSecTimeOriginal
        text_entry(42033, capture.serial_number),  # BodySerialNumber
        text_entry(42036, capture.lens),  # LensModel
    ]
    entries += [_carried_entry(tag, value) for tag, value in capture.exif.items()]
    if color_space is not None:
        entries += [entry(40960, UNDEFINED, b"0100"), entry(40961, SHORT, [color_space])]  # FlashpixVersion, ColorSpace
    return entries


def _carried_entry(tag: int, value: tuple[float, ...] | str) -> Entry:
    kind, _, _ = CARRIED[tag]
    if isinstance(value, str):
        return text_entry(tag, value)
    if kind == SHORT:
        return entry(tag, SHORT, value)
    # in distances and lens specifications 0 stands for unknown, which EXIF writes as 0/0
    unknown = kind == RATIONAL
    return entry(tag, kind, [n for v in value for n in ([0, 0] if unknown and v == 0 else nearest_rational(v))])


def camera_entries(capture: Capture) -> list[Entry]:
    """Return the entries of a main IFD that name the camera, artist and copyright, if known."""
    texts = ((271, capture.make), (272, capture.model), (315, capture.artist), (33432, capture.copyright))
    return [text_entry(tag, text) for tag, text in texts]


def camera_name(capture: Capture) -> str:
    """Return make and model, without repeating the make; "" if neither is known.

    >>> camera_name(Capture(make="Sony", model="ILCE-7M3"))
    'Sony ILCE-7M3'
    >>> camera_name(Capture(make="NIKON CORPORATION", model="NIKON D750"))
    'NIKON D750'
    """
    make = capture.make.split(" ")[0]
    named = capture.model.lower().startswith(make.lower())
    return capture.model if named else f"{make} {capture.model}".strip()


def unique_camera_model(capture: Capture) -> str:
    """Return the camera's name for DNG's UniqueCameraModel: never empty, and the one that colour profiles use.

    >>> unique_camera_model(Capture("Canon", "Canon EOS 350D DIGITAL", unique_model="Canon EOS 350D"))
    'Canon EOS 350D'
    >>> unique_camera_model(Capture("Canon", "Canon EOS REBEL T3i"))
    'Canon EOS 600D'
    """
    told = capture.unique_model or (camera_name(capture) if capture.model else SOFTWARE)
    return next((name for name, others in SOLD_AS.items() if told.lower() in others), told)


def footage_entries(capture: Capture) -> list[Entry]:
    """Return the entries of a main IFD that make a DNG a frame of footage (CinemaDNG 1.1), if known."""
    entries = [entry(TIME_CODES, BYTE, capture.time_code)]
    if capture.frame_rate is not None:
        entries.append(entry(FRAME_RATE, SRATIONAL, nearest_rational(capture.frame_rate)))
    return entries


def scale_entries(pixel_aspect: float) -> list[Entry]:
    """Return the entries of a DNG's raw IFD that make readers stretch non-square pixels, without losing any."""
    stretch = (max(pixel_aspect, 1.0), max(1 / pixel_aspect, 1.0))
    scale = [n for factor in stretch for n in nearest_rational(factor)]
    return [] if pixel_aspect == 1 else [entry(DEFAULT_SCALE, RATIONAL, scale)]


def ifds_of(capture: Capture, color_space: int | None = None, more: Sequence[Entry] = ()) -> dict[int, Ifd]:
    """Return by their pointer tags the EXIF IFD, which includes `more`, and the GPS IFD, if the position is known."""
    ifds = {EXIF_IFD: Ifd([*_exif_entries(capture, color_space), *more])}
    if capture.position is not None:
        place = capture.position
        entries = [entry(0, BYTE, [2, 3, 0, 0])]  # GPSVersionID
        for tag, degrees, letters in ((1, place.latitude_deg, "NS"), (3, place.longitude_deg, "EW")):
            second = 100_000  # in parts, 0.3 mm on the ground: some receivers are accurate to a centimetre
            angle = round(abs(degrees) * 3600 * second)
            parts = [angle // (3600 * second), 1, angle // (60 * second) % 60, 1, angle % (60 * second), second]
            entries += [text_entry(tag, letters[degrees < 0]), entry(tag + 1, RATIONAL, parts)]
        if place.altitude_m is not None:
            altitude = nearest_rational(abs(place.altitude_m))
            entries += [entry(5, BYTE, [int(place.altitude_m < 0)]), entry(6, RATIONAL, altitude)]
        if place.taken_utc:
            date, time = place.taken_utc.split()
            parts = [n for part in time.split(":") for n in nearest_rational(float(part))]
            entries += [entry(7, RATIONAL, parts), text_entry(29, date)]
        if place.direction_deg is not None:
            direction = nearest_rational(place.direction_deg)
            entries += [text_entry(16, "M" if place.magnetic else "T"), entry(17, RATIONAL, direction)]
        ifds[GPS_IFD] = Ifd(entries)
    return ifds


def exif_block(capture: Capture, shape: tuple[int, int]) -> bytes:
    """Return the EXIF of an sRGB image of `shape`, (rows, columns), as a TIFF structure of its own.

    JPEG holds it in APP1 after `EXIF_START`, PNG in eXIf without that. Orientation is 1 whatever the capture says,
    because the pixels are already upright. Besides the capture it has what EXIF 2.31 requires of a JPEG (resolution,
    ColorSpace, ...).

    >>> exif_block(Capture(model="EOS 5D"), (480, 640))[:8]
    b'II*\\x00\\x08\\x00\\x00\\x00'
    """
    main = [
        *camera_entries(capture),
        entry(274, SHORT, [1]),  # Orientation
        entry(282, RATIONAL, [72, 1]),  # XResolution: EXIF's default for an unknown one
        entry(283, RATIONAL, [72, 1]),
        entry(296, SHORT, [2]),  # ResolutionUnit: inch
        text_entry(305, SOFTWARE),
        entry(531, SHORT, [1]),  # YCbCrPositioning: centred
    ]
    image = [
        entry(37121, UNDEFINED, b"\1\2\3\0"),  # ComponentsConfiguration: Y Cb Cr
        entry(40962, LONG, [shape[1]]),
        entry(40963, LONG, [shape[0]]),
    ]
    return tiff_bytes(Ifd(main, below=ifds_of(capture, SRGB, image)))
