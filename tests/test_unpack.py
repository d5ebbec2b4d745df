"""unpack: a clip of Magic Lantern video becomes frames that batch converts, and nothing is written twice."""

from __future__ import annotations

import os
import struct
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from click.testing import CliRunner
from mlvcontainer import Shot, block, camera_blocks, file_header, raw_block, sound_block, video_block, write_mlv
from workers import Here

from sve2hdr.commands.cli import main
from sve2hdr.folders.inputs import Inputs
from sve2hdr.folders.joblist import Naming, collect
from sve2hdr.mosaic import ExposurePattern
from sve2hdr.pattern import detect_pattern
from sve2hdr.rawfile import read_raw
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate
from sve2hdr.video import unpack

PATTERN = ExposurePattern(np.float32([[1], [1 / 8], [1 / 8], [1]]))


def clip(path: Path, count: int = 3, compressed: bool = True) -> list[np.ndarray]:
    """Write a clip of Dual ISO frames over which the light moves, and return their counts."""
    y, x = np.mgrid[:96, :128].astype(np.float32)
    frames = []
    for i in range(count):
        light = np.exp2(6 * x / 128 - 5.5 + 0.6 * np.sin((y + 3 * i) / 9) + 0.4 * np.sign(np.sin((x + 2 * y) / 13)))
        scene = np.float32(light[..., None] * NEUTRAL)
        frames.append(simulate(scene, "RGGB", PATTERN, Sensor("gain", 14, 2047, 15_000), seed=i).counts)
    rng = np.random.default_rng(0)
    sound = [rng.integers(-9000, 9000, (2000, 2)).astype(np.int16) for _ in range(count)]
    write_mlv(path, frames, Shot(compressed=compressed), sound)
    return frames


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("compressed", [False, True])
def test_frames_sound_and_colours_come_out(tmp_path: Path, compressed: bool) -> None:
    counts = clip(tmp_path / "M01-1234.MLV", compressed=compressed)
    code, out, err = run("unpack", tmp_path / "M01-1234.MLV", "-o", tmp_path / "clips")
    folder = tmp_path / "clips" / "M01-1234"
    assert (code, err) == (0, "")
    assert out == f"{folder}: 3 frames of 128 x 96 px, 23.976 frames a second, Dual ISO, with sound\n"
    names = [f"M01-1234_{i:06d}.dng" for i in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == ["M01-1234.wav", *names]
    for name, frame in zip(names, counts, strict=True):
        mosaic = read_raw(folder / name)
        np.testing.assert_array_equal(mosaic.counts, frame)
        assert (mosaic.black_level.tolist(), mosaic.white_level, mosaic.cfa) == ([[2047.75]], 15_000, "RGGB")
        assert mosaic.as_shot_neutral is not None
        assert mosaic.capture.frame_rate == pytest.approx(24000 / 1001)
        assert len(mosaic.capture.time_code) == 8
        assert mosaic.capture.model == "Canon EOS 5D Mark III"
    with wave.open(str(folder / "M01-1234.wav")) as sound:
        assert sound.getparams()[:4] == (2, 2, 48_000, 6000)
        samples = np.frombuffer(sound.readframes(6000), "<i2").reshape(3, 2000, 2)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(samples, [rng.integers(-9000, 9000, (2000, 2)) for _ in range(3)])


def test_no_more_cores_are_taken_than_may_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip(tmp_path / "A.MLV")
    taken: list[int | None] = []
    pool = unpack.ThreadPoolExecutor
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    monkeypatch.setattr(unpack, "ThreadPoolExecutor", lambda threads: taken.append(threads) or pool(threads))
    assert run("unpack", tmp_path / "A.MLV", "-o", tmp_path)[0] == 0
    assert taken == [3]


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    clip(tmp_path / "A.MLV")
    run("unpack", tmp_path / "A.MLV", "-o", tmp_path)
    kept, wav = tmp_path / "A" / "A_000001.dng", tmp_path / "A" / "A.wav"
    kept.write_bytes(kept.read_bytes()[:5000])
    wav.write_bytes(b"mine")
    (tmp_path / "A" / "A_000002.dng").unlink()
    code, out, err = run("unpack", tmp_path / "A.MLV", "-o", tmp_path)
    assert (code, out.split(": ")[1].split(" of ")[0]) == (0, "1 frames")
    assert "2 kept from before" in out
    assert err == f"sve2hdr: {wav}: kept, but the clip's sound has another length; --overwrite replaces it\n"
    assert (kept.stat().st_size, wav.read_bytes()) == (5000, b"mine")
    assert read_raw(tmp_path / "A" / "A_000002.dng").shape == (96, 128)
    code, out, err = run("unpack", tmp_path / "A.MLV", "-o", tmp_path, "--overwrite")
    assert (code, "were there" in out, err) == (0, False, "")
    assert read_raw(kept).shape == (96, 128)
    assert wav.read_bytes()[:4] == b"RIFF"
    assert run("unpack", tmp_path / "A.MLV", "-o", tmp_path)[2] == ""


def test_clips_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    """Cameras name clips by day and minute, so names come again."""
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        clip(tmp_path / str(number) / "M01-1200.MLV", 1)
    other = tmp_path / "2" / "M01-1200.MLV"
    other.write_bytes(other.read_bytes()[:16] + b"\1\2\3" + other.read_bytes()[19:])  # its GUID
    code, _, err = run("unpack", tmp_path / "1" / "M01-1200.MLV", other, "-o", tmp_path / "o")
    assert (code, "have one name" in err) == (2, True)
    assert not (tmp_path / "o").exists()
    assert run("unpack", tmp_path / "1" / "M01-1200.MLV", "-o", tmp_path / "o")[0] == 0
    before = (tmp_path / "o" / "M01-1200" / "M01-1200_000000.dng").read_bytes()
    for more in ((), ("--overwrite",)):
        code, _, err = run("unpack", other, "-o", tmp_path / "o", *more)
        assert (code, "another clip of this name" in err) == (1, True)
    assert (tmp_path / "o" / "M01-1200" / "M01-1200_000000.dng").read_bytes() == before


def test_folders_stand_for_the_clips_in_them(tmp_path: Path) -> None:
    card, out = tmp_path / "card", tmp_path / "card" / "out"
    for name in ("DCIM/100EOS5D/M10-1.MLV", "DCIM/100EOS5D/M9-1.mlv", "DCIM/101EOS5D/M9-1.MLV", "M9-1.MLV"):
        (card / name).parent.mkdir(parents=True, exist_ok=True)
        clip(card / name, 1)
    for ignored in ("DCIM/100EOS5D/._M9-1.MLV", ".Trashes/M8-1.MLV", "DCIM/M7-1.M00", "DCIM/IMG_1.CR2"):
        (card / ignored).parent.mkdir(exist_ok=True)
        (card / ignored).write_bytes(b"no clip")
    code, said, err = run("unpack", card, "-o", out)
    folders = ["DCIM/100EOS5D/M9-1", "DCIM/100EOS5D/M10-1", "DCIM/101EOS5D/M9-1", "M9-1"]
    assert (code, err) == (0, "")
    assert [line.partition(": ")[0] for line in said.splitlines()] == [str(out / folder) for folder in folders]
    frames = [path.relative_to(out).as_posix() for path in sorted(out.rglob("*.dng"))]
    assert frames == sorted(f"{folder}/{folder.rsplit('/', 1)[-1]}_000000.dng" for folder in folders)

    other = tmp_path / "other"
    other.mkdir()
    clip(other / "M9-1.MLV", 1)
    code, _, err = run("unpack", card, other, "-o", tmp_path / "both")  # which would both be both/M9-1
    assert (code, f"{other / 'M9-1.MLV'} have one name" in err) == (2, True)
    assert not (tmp_path / "both").exists()
    code, said, _ = run("unpack", other, other / "M9-1.MLV", "-o", tmp_path / "one")
    assert (code, len(said.splitlines())) == (0, 1)
    assert run("unpack", card / "DCIM", other, "-o", tmp_path / "both")[0] == 0
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["100EOS5D", "101EOS5D", "M9-1"]


def test_a_folder_without_clips_or_with_broken_links_is_told(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "._A.MLV").write_bytes(b"")
    code, out, err = run("unpack", tmp_path / "card", "-o", tmp_path / "out")
    assert (code, out, err) == (
        1,
        "",
        f"sve2hdr: {tmp_path / 'card'}: no .MLV files in this folder; name another one\n",
    )
    clip(tmp_path / "card" / "B.MLV", 1)
    (tmp_path / "card" / "C.MLV").symlink_to("nowhere")
    code, out, err = run("unpack", tmp_path / "card", "-o", tmp_path / "out")
    assert (code, out.count(": 1 frames"), "C.MLV: a link to nothing" in err) == (1, 1, True)


SAMPLES = np.arange(1, 6001, dtype=np.int16).reshape(3, 1000, 2)


@pytest.mark.parametrize(
    ("numbers", "first_us", "expected"),
    [
        ((0, 1, 2), 1000, [SAMPLES.reshape(-1, 2)]),
        ((0, 1, 2), 1000 + 10_000, [np.zeros((480, 2)), SAMPLES.reshape(-1, 2)]),
        ((0, 1, 2), 1000 - 500, [SAMPLES.reshape(-1, 2)[24:]]),
        ((0, 1, 2), 1000 - 30_000 + 2**32, [SAMPLES.reshape(-1, 2)]),
        ((0, 1, 2), 1000 + 59_000_000, [np.zeros((2_832_000, 2)), SAMPLES.reshape(-1, 2)]),
        ((0, 1, 2), 2**40, [SAMPLES.reshape(-1, 2)]),
        ((4, 5, 7), 1000, [SAMPLES[0], SAMPLES[1], np.zeros((1000, 2)), SAMPLES[2]]),
        ((4, 5, 10**6), 1000, [SAMPLES.reshape(-1, 2)]),
    ],
    ids=["as it is", "late", "early", "much too late", "a minute late", "damaged time", "lost block", "damaged number"],
)
def test_sound_begins_with_the_picture(
    tmp_path: Path, numbers: tuple[int, ...], first_us: int, expected: list[np.ndarray]
) -> None:
    write_mlv(tmp_path / "A.MLV", [np.full((64, 64), 5000, np.uint16)])
    with (tmp_path / "A.MLV").open("ab") as file:
        for k, number in enumerate(numbers):
            file.write(sound_block(number, first_us + 20_833 * k, SAMPLES[k]))
    assert run("unpack", tmp_path / "A.MLV", "-o", tmp_path)[0] == 0
    with wave.open(str(tmp_path / "A" / "A.wav")) as sound:
        stored = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").reshape(-1, 2)
    np.testing.assert_array_equal(stored, np.concatenate(expected))


@pytest.mark.parametrize("rate", [(23_976, 1000), (25_000, 1000), (29_970, 1000), (0, 0)])
def test_sound_has_the_time_code_of_the_first_frame(tmp_path: Path, rate: tuple[int, int]) -> None:
    """Editors count samples from midnight on, and time codes in frames as long as their rate has them."""
    counts = np.full((64, 64), 5000, np.uint16)
    write_mlv(tmp_path / "A.MLV", [counts], Shot(rate=rate), [SAMPLES[0]])
    assert run("unpack", tmp_path / "A.MLV", "-o", tmp_path)[0] == 0
    wav = (tmp_path / "A" / "A.wav").read_bytes()
    riff, riff_bytes, form, name, size = struct.unpack_from("<4sI4s4sI", wav)
    assert (riff, riff_bytes, form, name, size) == (b"RIFF", len(wav) - 8, b"WAVE", b"bext", 602)
    date, time, since_midnight, version = struct.unpack_from("<10s8sQH", wav, 20 + 320)
    assert (date, time, version) == (b"2025-12-31", b"23:59:58", 1)
    if rate == (0, 0):
        assert since_midnight == (24 * 3600 - 2) * 48_000
        return
    capture = read_raw(tmp_path / "A" / "A_000000.dng").capture
    frame, *units = (int(f"{byte:x}") for byte in capture.time_code[:4])
    assert capture.frame_rate is not None
    frames = frame + round(capture.frame_rate) * sum(n * 60**k for k, n in enumerate(units))
    assert since_midnight == round(frames / capture.frame_rate * 48_000)


@pytest.mark.parametrize(("channels", "bits", "padding"), [(1, 24, 1), (2, 24, 0), (1, 16, 0), (2, 32, 0)])
def test_sound_of_any_width_is_a_whole_file(tmp_path: Path, channels: int, bits: int, padding: int) -> None:
    rng, samples = np.random.default_rng(0), 1001
    stored = rng.integers(0, 256, samples * channels * bits // 8).astype(np.uint8).tobytes()
    write_mlv(tmp_path / "A.MLV", [np.full((64, 64), 5000, np.uint16)])
    whole = (tmp_path / "A.MLV").read_bytes()
    form, at = struct.pack("<HHIIHH", 1, channels, 48_000, 0, 0, bits), whole.index(b"WAVI") + 16
    whole = whole[:at] + form + whole[at + len(form) :]
    (tmp_path / "A.MLV").write_bytes(whole + block(b"AUDF", 1000, struct.pack("<II", 0, 0) + stored))
    assert run("unpack", tmp_path / "A.MLV", "-o", tmp_path)[0] == 0
    with wave.open(str(tmp_path / "A" / "A.wav")) as sound:
        assert sound.getparams()[:4] == (channels, bits // 8, 48_000, samples)
        assert sound.readframes(samples) == stored
    wav = (tmp_path / "A" / "A.wav").read_bytes()
    assert (wav[len(wav) - padding :], len(wav) % 2) == (bytes(padding), 0)
    assert run("unpack", tmp_path / "A.MLV", "-o", tmp_path)[2] == ""  # of the length that is expected


def test_sound_from_long_before_the_picture_is_cut_off(tmp_path: Path) -> None:
    """Over more than a block: recording with a buffer begins before the button."""
    shot, counts = Shot(), np.full((64, 64), 5000, np.uint16)
    blocks = [raw_block(shot, counts.shape), *camera_blocks(shot), video_block(shot, 0, 1_030_000, counts)]
    blocks += [sound_block(k, 1_000_000 + 20_833 * k, SAMPLES[k]) for k in range(3)]
    (tmp_path / "A.MLV").write_bytes(file_header(shot) + b"".join(blocks))
    assert run("unpack", tmp_path / "A.MLV", "-o", tmp_path)[0] == 0
    with wave.open(str(tmp_path / "A" / "A.wav")) as sound:
        stored = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").reshape(-1, 2)
        assert sound.getnframes() == len(stored)
    np.testing.assert_array_equal(stored, SAMPLES.reshape(-1, 2)[1440:])


def test_what_is_lost_is_told_and_fails(tmp_path: Path) -> None:
    path, counts = tmp_path / "A.MLV", np.full((64, 64), 5000, np.uint16)
    shot = Shot(dual_iso=False, sampling=(1, 0, 1, 2))
    write_mlv(path, [counts], shot)
    with path.open("ab") as file:
        file.write(video_block(shot, 3, 200_000, counts))
    code, _, err = run("unpack", path, "-o", tmp_path)
    stretched, dropped = err.splitlines()
    assert (code, stretched.split(": ", 2)[2]) == (
        0, "its pixels are 0.333 times as wide as high, as its frames say",
    )  # fmt: skip
    capture = read_raw(tmp_path / "A" / "A_000000.dng").capture
    assert (capture.pixel_aspect, capture.pixels_per_mm) == pytest.approx((1 / 3, 5796 / 36))
    diagonal_mm = np.hypot(64, 3 * 64) / capture.pixels_per_mm
    assert capture.focal_length_35mm == round(35 * np.hypot(36, 24) / diagonal_mm)
    assert "2 frames are missing between the others" in dropped
    path.write_bytes(path.read_bytes()[:-100])
    code, out, err = run("unpack", path, "-o", tmp_path / "cut")
    assert (code, out.split(": ")[1].split(" of ")[0]) == (1, "1 frames")
    assert f"{path}: A.MLV is cut off or damaged at byte" in err


def test_a_window_that_moved_is_told(tmp_path: Path) -> None:
    shot, counts = Shot(), np.full((66, 64), 5000, np.uint16)
    video = [video_block(shot, number, 1000 * number, counts, row) for number, row in enumerate((4, 6))]
    (tmp_path / "A.MLV").write_bytes(file_header(shot) + raw_block(shot, counts.shape) + b"".join(video))
    code, out, err = run("unpack", tmp_path / "A.MLV", "-o", tmp_path)
    assert (code, "2 frames of 64 x 64 px" in out, "frames lose 2 rows" in err) == (0, True, True)
    assert {read_raw(path).shape for path in (tmp_path / "A").glob("*.dng")} == {(64, 64)}


def test_a_bad_frame_or_clip_does_not_stop_the_rest(tmp_path: Path) -> None:
    counts = clip(tmp_path / "A.MLV")
    whole = (tmp_path / "A.MLV").read_bytes()
    middle = video_block(Shot(compressed=True), 1, 1000 + 41_667, counts[1])
    at = whole.index(middle) + 64  # where its JPEG begins
    (tmp_path / "A.MLV").write_bytes(whole[:at] + bytes(200) + whole[at + 200 :])
    (tmp_path / "B.MLV").write_bytes(b"nothing")
    clip(tmp_path / "C.MLV", 1)
    code, out, err = run("unpack", *(tmp_path / f"{name}.MLV" for name in "ABC"), "-o", tmp_path / "out")
    assert code == 1
    assert [Path(line.split(" of ")[0]).name for line in out.splitlines()] == ["A: 2 frames", "C: 1 frames"]
    damaged, foreign = err.splitlines()
    assert damaged.startswith(f"sve2hdr: {tmp_path / 'A.MLV'}: frame 1 is damaged")
    assert foreign.startswith(f"sve2hdr: {tmp_path / 'B.MLV'}: not Magic Lantern video")
    assert not (tmp_path / "out" / "A" / "A_000001.dng").exists()
    assert not (tmp_path / "out" / "B").exists()


def test_a_clip_without_sound_or_dual_iso(tmp_path: Path) -> None:
    write_mlv(tmp_path / "A.MLV", [np.full((64, 64), 5000, np.uint16)], Shot(dual_iso=False, rate=(0, 0)))
    code, out, _ = run("unpack", tmp_path / "A.MLV", "-o", tmp_path)
    assert (code, out) == (0, f"{tmp_path / 'A'}: 1 frames of 64 x 64 px\n")
    assert [path.name for path in (tmp_path / "A").iterdir()] == ["A_000000.dng"]
    (tmp_path / "b").write_bytes(b"")
    code, _, err = run("unpack", tmp_path / "A.MLV", "-o", tmp_path / "b" / "c")
    assert code == 1
    assert "no folder can be made" in err


def test_batch_takes_the_frames_for_one_clip(tmp_path: Path) -> None:
    for name in "AB":
        clip(tmp_path / f"{name}.MLV", 2)
    run("unpack", tmp_path / "A.MLV", tmp_path / "B.MLV", "-o", tmp_path / "clips")
    found = collect(Inputs((str(tmp_path / "clips"),)), tmp_path / "hdr", Naming())
    sequences = [job.sequence for job in found.jobs]
    assert len(sequences) == 4
    assert all(sequences)
    assert sequences[0] == sequences[1] != sequences[2] == sequences[3]
    assert {why for _, why in found.ignored} == {"not a raw file, by its name"}  # the sound
    assert detect_pattern(read_raw(Path(found.jobs[0].raw))).pattern is not None


def test_a_clip_becomes_a_sequence_of_exrs_that_editors_take(
    tmp_path: Path, weights: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "M01-1234.MLV")
    assert run("unpack", "M01-1234.MLV", "-o", "clips")[0] == 0
    converted = ("batch", "clips", "-o", "hdr", "--color-space", "acescg", "--model", weights, "--device", "cpu")
    code, out, _ = run(*converted, "--workers", "1")
    assert (code, "3  converted" in out) == (0, True)
    headers = [OpenEXR.File(f"hdr/M01-1234/M01-1234_{i:06d}.exr").header() for i in range(3)]
    assert {header["framesPerSecond"] for header in headers} == {Fraction(24000, 1001)}
    codes = [header["timeCode"] for header in headers]
    assert [(code.hours, code.minutes, code.seconds, code.frame) for code in codes] == [
        (23, 59, 58, i) for i in range(3)
    ]
    for shared in ("pattern", "ratio_ev", "white_level", "neutral"):
        assert len({header[f"sve2hdr:{shared}"] for header in headers}) == 1
    np.testing.assert_allclose(headers[0]["chromaticities"][:2], (0.713, 0.293), atol=1e-4)  # red of ACEScg


def test_of_frames_of_the_whole_sensor_it_tells_the_size_that_they_keep(tmp_path: Path) -> None:
    shot = Shot(sensor=(128, 160), active=(28, 40, 128, 160))
    write_mlv(tmp_path / "A.MLV", [np.full((128, 160), 5000, np.uint16)], shot)
    code, out, _ = run("unpack", tmp_path / "A.MLV", "-o", tmp_path)
    assert (code, "1 frames of 120 x 100 px" in out) == (0, True)
    assert read_raw(tmp_path / "A" / "A_000000.dng").shape == (100, 120)
