"""Magic Lantern video: every frame comes out site by site, and what is wrong with a clip is said."""

from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from cr2container import lossless_jpeg
from mlvcontainer import GUID, Shot, block, camera_blocks, file_header, packed, raw_block, video_block, write_mlv

from sve2hdr.errors import UnreadableRaw
from sve2hdr.lights import D65, xyz_from_xy
from sve2hdr.mosaic import BAYER_ORDERS
from sve2hdr.rawfile import read_raw
from sve2hdr.simulation.simulate import CAMERA_FROM_XYZ, NEUTRAL
from sve2hdr.video.mlv import open_clip
from sve2hdr.video.mlvframe import read_frame, unpacked


def frames(count: int = 3, bits: int = 14, shape: tuple[int, int] = (66, 98), seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 1 << bits, shape).astype(np.uint16) for _ in range(count)]


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("compressed", [False, True])
def test_counts_come_out_as_they_went_in(tmp_path: Path, bits: int, compressed: bool) -> None:
    if compressed and bits == 16:
        pytest.skip("cameras compress 14 bits at most")
    wanted, path = frames(bits=bits), tmp_path / "a.MLV"
    write_mlv(path, wanted, Shot(bits, compressed, black=100, white=(1 << bits) - 1))
    clip = open_clip(path)
    assert [frame.number for frame in clip.frames] == [0, 1, 2]
    for frame, counts in zip(clip.frames, wanted, strict=True):
        mosaic = read_frame(clip, frame)
        np.testing.assert_array_equal(mosaic.counts, counts)
        black = {10: 99.546875, 12: 99.6875, 14: 100.75, 16: 103}[bits]  # as below
        assert (mosaic.cfa, mosaic.black_level.tolist(), mosaic.white_level) == ("RGGB", [[black]], (1 << bits) - 1)
    assert (clip.losses, clip.missing) == ((), 0)
    assert clip.dual_iso


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_the_mean_of_no_light_is_black_however_it_is_stated(tmp_path: Path, bits: int) -> None:
    """Cameras cut decimals off the means of both exposures, and off theirs; they drop the lowest bits, and round it."""
    scale, off = 2 ** (14 - bits), []
    for means in np.random.default_rng(6).uniform(2040, 2056, (100, 2)):
        stated = (int(sum(map(int, means)) / 2) + scale // 2) // scale
        write_mlv(tmp_path / "a.MLV", frames(1, bits=bits), Shot(bits, black=stated, white=(1 << bits) - 1))
        clip = open_clip(tmp_path / "a.MLV")
        counted = (means.mean() - (scale - 1) / 2) / scale  # of counts, whose lowest bits are any
        off.append(float(read_frame(clip, clip.frames[0]).black_level[0, 0]) - counted)
    assert abs(np.mean(off)) < 0.15 / scale
    assert np.std(off) < 0.3 + 0.1 / scale


def test_a_black_level_of_0_stays(tmp_path: Path) -> None:
    write_mlv(tmp_path / "a.MLV", frames(1, bits=10), Shot(10, black=0, white=1023))
    clip = open_clip(tmp_path / "a.MLV")
    assert read_frame(clip, clip.frames[0]).black_level.tolist() == [[0]]


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 1001])
def test_any_number_of_any_bits_is_unpacked(bits: int, count: int) -> None:
    numbers = np.random.default_rng(bits).integers(0, 1 << bits, count).astype(np.uint16)
    stored = packed(numbers, bits)
    np.testing.assert_array_equal(unpacked(stored, bits, count), numbers)
    np.testing.assert_array_equal(unpacked(stored + b"\xff\xff\xff", bits, count), numbers)
    with pytest.raises(ValueError, match="too few"):
        unpacked(stored[:-1], bits, count)


@pytest.mark.parametrize("sampling", [(3, 0, 3, 0), (1, 2, 1, 2)])
def test_what_the_camera_wrote_goes_along(tmp_path: Path, sampling: tuple[int, int, int, int]) -> None:
    path = tmp_path / "a.MLV"
    write_mlv(path, frames(30), Shot(sampling=sampling))
    clip = open_clip(path)
    first, later = (read_frame(clip, clip.frames[i]).capture for i in (0, 29))
    assert (first.make, first.model, first.serial_number) == ("Canon", "Canon EOS 5D Mark III", "0123456789")
    assert (first.lens, first.focal_length_mm, first.f_number) == ("EF24-70mm f/2.8L II USM", 35, 2.8)
    assert (first.iso, first.exposure_time_s) == (400, 0.020833)
    density = 5796 / 36 / 3  # three columns of a full frame are one, or one of three is read
    assert first.pixels_per_mm == pytest.approx(density)
    diagonal_mm = np.hypot(*read_frame(clip, clip.frames[0]).shape) / density
    assert first.focal_length_35mm == pytest.approx(35 * np.hypot(36, 24) / diagonal_mm)
    assert first.frame_rate == pytest.approx(24000 / 1001, abs=1e-9)
    assert (first.taken, first.subseconds) == ("2025:12:31 23:59:58", "000")
    assert (later.taken, later.subseconds) == ("2025:12:31 23:59:59", "208")  # 29 frames of 41.667 ms
    assert first.time_code[:4] == (0x00, 0x58, 0x59, 0x23)
    assert later.time_code[:4] == (0x05, 0x59, 0x59, 0x23)
    np.testing.assert_allclose(read_frame(clip, clip.frames[0]).camera_from_xyz, CAMERA_FROM_XYZ, atol=1e-4)


def test_settings_hold_from_their_time_on(tmp_path: Path) -> None:
    """Blocks lie in any order; the last one before a frame counts, and the first one before its own time, too."""
    path, shot, (counts, *_) = tmp_path / "a.MLV", Shot(), frames()
    exposures = [block(b"EXPO", time, struct.pack("<IIIIQ", 0, iso, iso, 0, 1000)) for time, iso in
                 ((1500, 200), (2500, 800))]  # fmt: skip
    video = [video_block(shot, number, 1000 * (number + 1), counts) for number in range(3)]
    path.write_bytes(file_header(shot) + b"".join([*video[::-1], *exposures[::-1], raw_block(shot, counts.shape)]))
    clip = open_clip(path)
    assert [read_frame(clip, frame).capture.iso for frame in clip.frames] == [200, 200, 800]
    assert read_frame(clip, clip.frames[0]).capture.taken == ""


def test_times_run_on_though_clocks_tell_whole_seconds(tmp_path: Path) -> None:
    path, shot, (counts, *_) = tmp_path / "a.MLV", Shot(), frames()
    clocks = [block(b"RTCI", time, struct.pack("<10H8s", second, 59, 23, 31, 11, 125, 3, 364, 0, 0, b""))
              for second, time in ((10, 0), (10, 950_000))]  # fmt: skip
    video = [video_block(shot, number, 500_000 * number, counts) for number in range(4)]
    path.write_bytes(file_header(shot) + raw_block(shot, counts.shape) + b"".join([*clocks, *video]))
    clip = open_clip(path)
    taken = [read_frame(clip, frame).capture for frame in clip.frames]
    assert [(c.taken[-2:], c.subseconds) for c in taken] == [("10", "000"), ("10", "500"), ("11", "000"), ("11", "500")]
    assert open_clip(path).frames[0].block.time_us == 0


@pytest.mark.parametrize(
    ("rate", "told"), [((30, 1), True), ((30_000, 1001), True), ((50, 1), False), ((60, 1), False)]
)
def test_time_codes_go_up_to_30_frames_a_second(tmp_path: Path, rate: tuple[int, int], told: bool) -> None:
    write_mlv(tmp_path / "a.MLV", frames(1), Shot(rate=rate))
    clip = open_clip(tmp_path / "a.MLV")
    assert bool(read_frame(clip, clip.frames[0]).capture.time_code) == told


def test_of_frames_of_one_number_the_first_is_taken(tmp_path: Path) -> None:
    path, shot, (first, second, _) = tmp_path / "a.MLV", Shot(), frames()
    video = [video_block(shot, 0, 1000, first), video_block(shot, 0, 2000, second)]
    path.write_bytes(file_header(shot) + raw_block(shot, first.shape) + b"".join(video))
    clip = open_clip(path)
    assert len(clip.frames) == 1
    np.testing.assert_array_equal(read_frame(clip, clip.frames[0]).counts, first)


def test_files_that_continue_a_clip_are_found(tmp_path: Path) -> None:
    shot, wanted = Shot(files=3), frames(6)
    video = [video_block(shot, number, 1000 * (number + 1), counts) for number, counts in enumerate(wanted)]
    parts = {"A.MLV": [0, 3], "A.M00": [1, 4], "A.m01": [2, 5]}
    for number, (name, members) in enumerate(parts.items()):
        head = [raw_block(shot, wanted[0].shape), *camera_blocks(shot)] if number == 0 else []
        (tmp_path / name).write_bytes(file_header(shot, number) + b"".join([*head, *(video[i] for i in members)]))
    clip = open_clip(tmp_path / "A.MLV")
    assert clip.losses == ()
    for frame, counts in zip(clip.frames, wanted, strict=True):
        np.testing.assert_array_equal(read_frame(clip, frame).counts, counts)

    for content in (file_header(shot, 1, GUID + 1) + video[1], b"", bytes(4000)):
        (tmp_path / "A.M00").write_bytes(content)
        clip = open_clip(tmp_path / "A.MLV")
        assert [frame.number for frame in clip.frames] == [0, 2, 3, 5]
        assert [loss.split(" ")[0] for loss in clip.losses] == ["A.M00", "only"]
        assert clip.missing == 2
    (tmp_path / "A.M00").unlink()
    assert open_clip(tmp_path / "A.MLV").losses == ("only 2 of its 3 files are here; copy the others beside the first",)


def test_a_file_missing_between_others_is_told_where_the_camera_counted_none(tmp_path: Path) -> None:
    """As mlv_lite writes them: the number of files is 0 in all of them."""
    shot, wanted = Shot(files=0), frames(3)
    for number, (name, counts) in enumerate(zip(("A.MLV", "A.M00", "A.M01"), wanted, strict=True)):
        video = video_block(shot, number, 1000 * (number + 1), counts)
        (tmp_path / name).write_bytes(file_header(shot, number) + raw_block(shot, counts.shape) + video)
    assert open_clip(tmp_path / "A.MLV").losses == ()
    (tmp_path / "A.M00").unlink()
    assert open_clip(tmp_path / "A.MLV").losses == ("only 2 of its 3 files are here; copy the others beside the first",)


def test_a_clip_that_ends_early_keeps_its_whole_frames(tmp_path: Path) -> None:
    path, wanted = tmp_path / "a.MLV", frames(4)
    write_mlv(path, wanted)
    whole = path.read_bytes()
    path.write_bytes(whole[: -wanted[0].size])
    clip = open_clip(path)
    assert len(clip.frames) == 3
    assert f"of {len(whole) - wanted[0].size}" in clip.losses[0]
    assert "cut off" in clip.losses[0]
    path.write_bytes(whole + bytes(3000))
    assert len(open_clip(path).frames) == 4
    assert f"at byte {len(whole)}" in open_clip(path).losses[0]


def test_dropped_frames_are_counted(tmp_path: Path) -> None:
    path, shot, (counts, *_) = tmp_path / "a.MLV", Shot(), frames()
    video = [video_block(shot, number, 1000 * number, counts) for number in (2, 3, 7)]
    path.write_bytes(file_header(shot) + raw_block(shot, counts.shape) + b"".join(video))
    assert (open_clip(path).missing, open_clip(path).losses) == (3, ())


def test_time_codes_count_from_the_first_frame_that_is_there(tmp_path: Path) -> None:
    path, shot, (counts, *_) = tmp_path / "a.MLV", Shot(), frames()
    head = [raw_block(shot, counts.shape), *camera_blocks(shot)]
    video = [video_block(shot, number, 1000 * number, counts) for number in (7, 9)]
    path.write_bytes(file_header(shot) + b"".join([*head, *video]))
    clip = open_clip(path)
    assert [read_frame(clip, frame).capture.time_code[0] for frame in clip.frames] == [0, 2]


@pytest.mark.parametrize("compressed", [False, True])
def test_bright_rows_stay_in_their_places_where_the_window_moves(tmp_path: Path, compressed: bool) -> None:
    """As it does by two rows, half of what Dual ISO repeats, where a camera pans while it records."""
    path, shot, rows = tmp_path / "a.MLV", Shot(compressed=compressed), (2, 4, 6, 8, 13, 10)
    (sensor,) = frames(1, shape=(90, 98))
    video = [video_block(shot, n, 1000 * n, sensor[row & ~1 :][:66], row) for n, row in enumerate(rows)]
    path.write_bytes(file_header(shot) + raw_block(shot, (66, 98)) + b"".join(video))
    clip = open_clip(path)
    assert clip.lost_rows == 2
    for frame, first in zip(clip.frames, (2, 6, 6, 10, 14, 10), strict=True):
        mosaic = read_frame(clip, frame)
        np.testing.assert_array_equal(mosaic.counts, sensor[first:][:64])
        assert mosaic.cfa == "RGGB"


@pytest.mark.parametrize("order", BAYER_ORDERS)
def test_the_order_of_colours_is_heeded(tmp_path: Path, order: str) -> None:
    path, code = tmp_path / "a.MLV", int.from_bytes(bytes("RGB".index(letter) for letter in order), "little")
    write_mlv(path, frames(1), Shot(cfa=code))
    clip = open_clip(path)
    assert read_frame(clip, clip.frames[0]).cfa == order


@pytest.mark.parametrize(
    "active", [(28, 40, 230, 298), (27, 39, 230, 298), (0, 0, 0, 0), (28, 40, 231, 298), (28, 40, 60, 298)]
)
def test_frames_of_the_whole_sensor_lose_their_margins(tmp_path: Path, active: tuple[int, int, int, int]) -> None:
    """Black of both exposures is measured in the masked columns; the first site stays a red one."""
    rng, path = np.random.default_rng(1), tmp_path / "a.MLV"
    black = np.resize([2040, 2040, 2056, 2056], 230)[:, None]
    counts = np.rint(black + rng.normal(0, 4, (230, 298)))
    counts[28:230, 40:298] += rng.uniform(0, 9000, (202, 258))
    write_mlv(path, [counts.astype(np.uint16)], Shot(sensor=(230, 298), active=active, black=2047))
    clip = open_clip(path)
    mosaic = read_frame(clip, clip.frames[0])
    if active[2] != 230:  # no area, or not one of this sensor
        assert (mosaic.shape, mosaic.black_level.tolist()) == ((230, 298), [[2047.75]])
        return
    np.testing.assert_array_equal(mosaic.counts, counts[28:, 40:].astype(np.uint16))
    assert mosaic.cfa == "RGGB"
    np.testing.assert_allclose(mosaic.black_level[:, 0], [2040, 2040, 2056, 2056], atol=0.5)


def test_frames_of_the_whole_sensor_lose_what_their_margins_show_of_rows(tmp_path: Path) -> None:
    """Without margins, nobody could tell black that drifts from light that does."""
    rng, path = np.random.default_rng(2), tmp_path / "a.MLV"
    drift = np.linspace(-10, 10, 430)[:, None]
    counts = np.rint(2048 + drift + rng.normal(0, 4, (430, 298)))
    counts[28:, 40:] += 100
    write_mlv(path, [counts.astype(np.uint16)], Shot(sensor=(430, 298), active=(28, 40, 430, 298), black=2048))
    clip = open_clip(path)
    mosaic = read_frame(clip, clip.frames[0])
    left = mosaic.counts.mean(axis=1) - np.resize(mosaic.black_level.mean(axis=1), 402) - 100
    assert np.abs(left[:400].reshape(-1, 16).mean(axis=1)).max() < 1.5


GREY_CARD = tuple(round(1024 * n) for n in NEUTRAL)  # as the sensor sees it
WHITE_BALANCES = [
    ((9, 5600, 0, 0, 0), "kelvin"), ((1, 0, 0, 0, 0), "sun"), ((3, 5600, 0, 0, 0), "tungsten"),
    ((6, 5600, *GREY_CARD), "custom"), ((6, 5600, *(1024 * 1024 // n for n in GREY_CARD)), "custom"),
    ((0, 5600, *GREY_CARD), "none"), ((6, 0, 0, 1024, 0), "none"), ((9, 0, 0, 0, 0), "none"),
    ((6, 0, 6826, 1024, 922), "infrared"), ((6, 0, 65_535, 1, 65_535), "none"), ((6, 0, 1, 2**32 - 1, 1), "none"),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "meant"), WHITE_BALANCES)
def test_white_balance_is_as_it_was_set(tmp_path: Path, stored: tuple[int, int, int, int, int], meant: str) -> None:
    path = tmp_path / "a.MLV"
    write_mlv(path, frames(1), Shot(white_balance=stored))
    clip = open_clip(path)
    neutral = read_frame(clip, clip.frames[0]).as_shot_neutral
    daylight = CAMERA_FROM_XYZ @ xyz_from_xy(D65)
    daylight /= daylight[1]
    if meant == "none":
        assert neutral is None
        return
    assert neutral is not None
    if meant == "custom":
        np.testing.assert_allclose(neutral, NEUTRAL, rtol=2e-3)  # however it is told: magenta lights are not believed
    elif meant == "infrared":
        np.testing.assert_allclose(neutral, np.array(stored[2:]) / 1024)  # as Canon tells it; no reading is believable
    else:  # warmer than D65, tungsten by far
        red = neutral[0] / daylight[0]
        assert 1.4 < red < 2.2 if meant == "tungsten" else 1 < red < 1.2
        assert neutral[2] < daylight[2]


@pytest.mark.parametrize(
    ("preset", "kelvin"),
    {"sun": 5200, "clouds": 6000, "tungsten": 3200, "fluorescent": 4000, "flash": 6000, "shade": 7000}.items(),
)
def test_presets_of_white_balance_are_what_the_manuals_say(tmp_path: Path, preset: str, kelvin: int) -> None:
    mode = {"sun": 1, "clouds": 2, "tungsten": 3, "fluorescent": 4, "flash": 5, "shade": 8}[preset]
    neutrals = []
    for stored in ((mode, 0, 0, 0, 0), (9, kelvin, 0, 0, 0)):
        write_mlv(tmp_path / "a.MLV", frames(1), Shot(white_balance=stored))
        clip = open_clip(tmp_path / "a.MLV")
        neutrals.append(read_frame(clip, clip.frames[0]).as_shot_neutral)
    np.testing.assert_array_equal(*neutrals)


def test_most_lost_sectors_of_a_compressed_frame_are_noticed(tmp_path: Path) -> None:
    """Decoders go on with what they find, which soon has more bits than the frame."""
    path, rng = tmp_path / "a.MLV", np.random.default_rng(4)
    y, x = np.mgrid[:270, :480]
    counts = np.rint(6000 + 3000 * np.sin(x / 40) * np.cos(y / 30) + rng.normal(0, 40, (270, 480))).astype(np.uint16)
    write_mlv(path, [counts], Shot(compressed=True))
    whole, noticed = path.read_bytes(), 0
    start = open_clip(path).frames[0].block.start
    for _ in range(20):
        at = int(rng.integers(start + 2000, start + 100_000))
        path.write_bytes(whole[:at] + bytes(512) + whole[at + 512 :])
        clip = open_clip(path)
        try:
            read_frame(clip, clip.frames[0])
        except UnreadableRaw:
            noticed += 1
    assert noticed >= 12


def test_a_matrix_of_zeros_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.MLV"
    write_mlv(path, frames(1), Shot(matrix=(0,) * 9))
    clip = open_clip(path)
    assert np.linalg.det(read_frame(clip, clip.frames[0]).camera_from_xyz) > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [({"video_class": 0x81}, "class 0x81"), ({"version": b"v3.0"}, "v3.0"), ({"cfa": 0x01010101}, "colour filters"),
     ({"black": 9000, "white": 8000}, "damaged levels"), ({"bits": 7}, "7 bits")],
)  # fmt: skip
def test_what_is_no_raw_video_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "a.MLV"
    write_mlv(path, frames(1, bits=7), replace(Shot(), **change))  # type: ignore[arg-type]
    with pytest.raises(UnreadableRaw, match=message):  # noqa: PT012 - which of both it is depends on the change
        clip = open_clip(path)
        read_frame(clip, clip.frames[0])


@pytest.mark.parametrize("content", [b"", b"MLVI", b"\xff\xd8\xff" * 100, file_header(Shot())])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.MLV"
    path.write_bytes(content)
    with pytest.raises(UnreadableRaw, match=re.escape(str(path))):
        open_clip(path)
    with pytest.raises(UnreadableRaw, match="begins"):
        open_clip(path.with_suffix(".M00"))
    with pytest.raises(UnreadableRaw, match="no such file"):
        open_clip(tmp_path / "b.MLV")


def test_damaged_clips_end_in_our_errors(tmp_path: Path) -> None:
    """Whatever is wrong with a clip, it is read, or one of our errors says so."""
    path, rng = tmp_path / "a.MLV", np.random.default_rng(5)
    write_mlv(path, frames(2), Shot(compressed=True))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(300):
        damaged = whole.copy()
        places = rng.integers(0, rng.choice([60, 700, whole.size]), rng.integers(1, 9))
        damaged[places] = rng.integers(0, 256, places.size)
        path.write_bytes(damaged.tobytes())
        with contextlib.suppress(UnreadableRaw):
            clip = open_clip(path)
            for frame in clip.frames:
                read_frame(clip, frame)


@pytest.mark.parametrize("side", [40_000, 64])
def test_a_few_bytes_take_no_memory(tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG that claims to be huge, in a frame that says so too, or is small, is refused before it is decoded."""
    path, shot = tmp_path / "a.MLV", Shot(compressed=True)
    stored = bytearray(lossless_jpeg(frames(1)[0], 14, 2))
    at = stored.index(b"\xff\xc3") + 5
    stored[at : at + 4] = struct.pack(">HH", 40_000, 20_000)
    video = block(b"VIDF", 1000, struct.pack("<IHHHHI", 0, 0, 0, 0, 0, 0) + stored)
    path.write_bytes(file_header(shot) + raw_block(shot, (side, side)) + video)
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", lambda stored: pytest.fail("was decoded"))
    clip = open_clip(path)
    with pytest.raises(UnreadableRaw, match="is damaged"):
        read_frame(clip, clip.frames[0])


def test_convert_names_the_command_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a.MLV"
    write_mlv(path, frames(1))
    with pytest.raises(UnreadableRaw, match="sve2hdr unpack"):
        read_raw(path)
