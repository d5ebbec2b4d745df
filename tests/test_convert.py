"""Raw file to HDR file: formats, colours, orientation, preview, and nothing left behind by a failure."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import imageio.v3 as imageio
import numpy as np
import OpenEXR
import pytest
import rawpy
import tifffile
import torch
from frames import PAIRS
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr import convert, pipeline
from sve2hdr.color import COLOR_SPACES, linear_rgb
from sve2hdr.convert import Converted, convert_file
from sve2hdr.errors import PatternNotFound, Sve2HdrError, UnreadableRaw, UnreadableWeights, UnwritableOutput
from sve2hdr.evaluation.metrics import psnr_mu
from sve2hdr.formats import exrwrite
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.exrwrite import WriteOptions
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.highlights import complete_clipped, hold_clipped
from sve2hdr.levels import Levels
from sve2hdr.models import Model, model_named
from sve2hdr.mosaic import ONE_EXPOSURE, QUAD_BAYERS, Capture, ExposurePattern, Mosaic, upright
from sve2hdr.network import NetworkConfig, SveNet
from sve2hdr.parameters import load_parameters
from sve2hdr.patterntext import parse_pattern
from sve2hdr.pipeline import ConvertOptions, reconstruct_file, reconstruct_mosaic
from sve2hdr.preview import LUMINANCE_OF_RGB
from sve2hdr.raw.calibration import Calibrations
from sve2hdr.rawfile import read_raw
from sve2hdr.reconstruct import reconstruct
from sve2hdr.sensor.corrections import corrected
from sve2hdr.sensor.defects import Defects
from sve2hdr.sensor.noise import estimate_noise
from sve2hdr.simulation.simulate import NEUTRAL, Mode, Sensor, simulate
from sve2hdr.system.devices import choose_device, has_bfloat16
from sve2hdr.whitebalance import WhiteBalance, parse_white_balance

torch.set_num_threads(1)
CAPTURE = Capture("Canon", "EOS 5D Mark III", exposure_time_s=0.01, f_number=8, iso=100, taken="2020:01:02 03:04:05")
GIVEN = ConvertOptions(levels=Levels(pattern=PAIRS), device="cpu", write=WriteOptions(half=False))


@pytest.fixture(scope="module")
def network() -> SveNet:
    torch.manual_seed(0)
    return SveNet(NetworkConfig(widths=(8, 8, 8))).eval()


@pytest.fixture(scope="module")
def frame() -> Mosaic:
    y, x = np.mgrid[:66, :82] / 20
    grey = (0.4 + 0.35 * np.sin(x) * np.cos(y)).astype(np.float32)
    grey[5:20, 5:20] = 3.0  # clipped in all exposures
    scene = grey[..., None] * np.float32(NEUTRAL)
    return replace(simulate(scene, "RGGB", PAIRS, Sensor(full_well_e=1e6), seed=0), capture=CAPTURE)


@pytest.fixture(scope="module")
def raw(frame: Mosaic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "photo.dng"
    write_cfa_dng(path, frame)
    return path


@pytest.fixture(scope="module")
def camera_rgb(frame: Mosaic, network: SveNet) -> np.ndarray:
    image = reconstruct(frame, PAIRS, estimate_noise(frame, PAIRS), network)
    hold_clipped(image, frame, PAIRS)
    complete_clipped(image, frame, PAIRS, NEUTRAL)
    return image


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def run(raw: Path, output: Path | list[Path], network: SveNet, **changed: object) -> Converted:
    return convert_file(raw, output, Model({"tiny": network}), replace(GIVEN, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.exr", b"\x76\x2f\x31\x01"), ("a.hdr", b"#?RADIANCE\n"), ("a.tif", b"II*\0"), ("a.TIFF", b"II*\0")],
)
def test_the_extension_chooses_the_format(
    tmp_path: Path, raw: Path, network: SveNet, frame: Mosaic, camera_rgb: np.ndarray, name: str, start: bytes
) -> None:
    converted = run(raw, tmp_path / name, network)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert names_in(tmp_path) == [name]
    wanted = linear_rgb(camera_rgb, frame, COLOR_SPACES["rec709"], 8)
    if name.endswith("hdr"):
        wanted = np.maximum(wanted, 0)
    tolerance = wanted.max(axis=2, keepdims=True) / 200 if name.endswith("hdr") else 2e-3 * wanted.max()
    assert (np.abs(read_hdr(tmp_path / name) - wanted) <= tolerance).all()
    assert converted.outputs == (tmp_path / name,)
    assert converted.shape == (66, 82)
    assert 0 < converted.clipped < 0.2


def test_of_two_matrices_the_one_at_the_light_is_told(tmp_path: Path, frame: Mosaic, network: SveNet) -> None:
    warm = frame.camera_from_xyz * [[1.2], [1], [0.8]]
    two = Calibrations(np.stack([warm, frame.camera_from_xyz]), (17, 21))
    raw = tmp_path / "two.dng"
    write_cfa_dng(raw, replace(frame, calibrations=two))
    for balance, matrix in (("2856K", warm), ("daylight", frame.camera_from_xyz)):
        run(raw, tmp_path / "a.exr", network, white_balance=parse_white_balance(balance), overwrite=True)
        told = OpenEXR.File(str(tmp_path / "a.exr")).header()["sve2hdr:camera_from_xyz"]
        assert_allclose(np.array(told.split(), float).reshape(3, 3), matrix, atol=5e-3)


@pytest.mark.parametrize("space", COLOR_SPACES)
def test_color_spaces(
    tmp_path: Path, raw: Path, network: SveNet, frame: Mosaic, camera_rgb: np.ndarray, space: str
) -> None:
    run(raw, tmp_path / "a.exr", network, color_space=space)
    wanted = linear_rgb(camera_rgb, frame, COLOR_SPACES[space], 8)
    assert_allclose(read_hdr(tmp_path / "a.exr"), wanted, atol=2e-3 * float(wanted.max()))
    header = OpenEXR.File(str(tmp_path / "a.exr")).header()
    assert ("chromaticities" in header) == (space != "camera")
    told = {name: np.array(header[f"sve2hdr:{name}"].split(), float) for name in ("neutral", "camera_from_xyz")}
    assert_allclose(told["camera_from_xyz"].reshape(3, 3), frame.camera_from_xyz, atol=1e-5)
    assert_allclose(told["neutral"], NEUTRAL, atol=1e-3)
    if space == "camera":
        assert_allclose(read_hdr(tmp_path / "a.exr"), camera_rgb, atol=2e-3 * float(wanted.max()))


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"color_space": "srgb"}, "color_space must be one of rec709, rec2020, acescg, .*, not 'srgb'"),
        ({"if_not_sve": "devlop"}, "if_not_sve must be one of fail, develop, not 'devlop'"),
        ({"device": "gpu"}, "device must be one of auto, cpu, cuda, mps, not 'gpu'"),
        ({"precision": "half"}, "precision must be one of auto, float32, bfloat16, not 'half'"),
        ({"white_balance": "5500K"}, "white_balance must be of the class WhiteBalance, not '5500K'"),
        ({"levels": "rows:1/8,1"}, "levels must be of the class Levels, not 'rows:1/8,1'"),
        ({"tile_px": 0}, "tile_px must be a whole number from 1 on, not 0"),
        ({"preview_px": 0}, "preview_px must be a whole number from 1 on, not 0"),
        ({"tile_px": None}, "tile_px must be a whole number from 1 on, not None"),
        ({"tile_px": 99.5}, r"tile_px must be a whole number from 1 on, not 99\.5"),
        ({"exposure_ev": float("nan")}, "exposure_ev must be a number from -30 to 30, not nan"),
        ({"exposure_ev": "1"}, "exposure_ev must be a number from -30 to 30, not '1'"),
        ({"preview_exposure_ev": -31}, "preview_exposure_ev must be a number from -30 to 30, not -31"),
    ],
)
def test_options_that_there_are_not_are_refused_when_they_are_made(named: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        ConvertOptions(**named)


def test_paths_and_models_may_be_text(tmp_path: Path, raw: Path) -> None:
    listed = tmp_path / "bad.txt"
    listed.write_text("3 4\n")
    options = replace(GIVEN, preview=str(tmp_path / "a.png"), bad_pixel_map=str(listed), bad_pixels=False)
    options = replace(options, lock_parameters=str(tmp_path / "lock.json"))
    converted = convert_file(str(raw), str(tmp_path / "a.exr"), "classical", options)
    assert converted.raw == raw
    assert converted.outputs == (tmp_path / "a.exr", tmp_path / "a.png")
    assert converted.repaired == 1
    assert names_in(tmp_path) == ["a.exr", "a.png", "bad.txt", "lock.json"]
    with pytest.raises(UnreadableWeights, match="none: no such weights file"):
        reconstruct_file(raw, "none", GIVEN)


def test_arrays_in_memory_are_those_of_files(tmp_path: Path, frame: Mosaic) -> None:
    write_cfa_dng(tmp_path / "a.dng", replace(frame, capture=replace(CAPTURE, orientation=6)))
    made = reconstruct_file(tmp_path / "a.dng", "classical", GIVEN)
    assert made.linear_rgb().shape == (66, 82, 3)
    with pytest.raises(ValueError, match="color_space must be one of"):
        made.linear_rgb("srgb")
    assert not np.shares_memory(made.linear_rgb("camera"), made.camera_rgb)
    convert_file(tmp_path / "a.dng", tmp_path / "a.exr", "classical", GIVEN)
    assert_array_equal(read_hdr(tmp_path / "a.exr"), upright(made.linear_rgb(), made.mosaic.capture.orientation))


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_progress_that_raises_ends_the_work_before_the_network_starts(
    raw: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    monkeypatch.setattr(pipeline, "classical", lambda *_, **__: pytest.fail("it was started"))
    shares: list[float] = []

    def cancel(share: float) -> None:
        shares.append(share)
        if len(shares) == calls:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        reconstruct_file(raw, "classical", GIVEN, cancel)
    assert shares == [0.0] * calls


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        (WhiteBalance("kelvin", (1600.0,)), "no neutral at 1600K"),
        (WhiteBalance("grey", (120, 0, 9, 9)), "grey:120,0,9,9 lies outside"),
    ],
)
def test_a_balance_without_neutral_is_refused_before_the_long_work(
    tmp_path: Path, raw: Path, network: SveNet, monkeypatch: pytest.MonkeyPatch, choice: WhiteBalance, reason: str
) -> None:
    monkeypatch.setattr("sve2hdr.pipeline.estimate_levels", lambda *_: pytest.fail("levels were measured first"))
    with pytest.raises(Sve2HdrError, match=reason):
        run(raw, tmp_path / "a.exr", network, white_balance=choice)
    assert names_in(tmp_path) == []


def test_frames_of_a_sequence_share_what_a_grey_card_in_the_first_says(
    tmp_path: Path, raw: Path, network: SveNet
) -> None:
    for name, choice in (("card", WhiteBalance("grey", (30, 30, 20, 20))), ("next", WhiteBalance())):
        made = run(
            raw, tmp_path / f"{name}.exr", network, white_balance=choice, lock_parameters=tmp_path / "levels.json",
            levels=Levels(pattern=PAIRS) if name == "card" else Levels(),
        )  # fmt: skip
        card = read_hdr(tmp_path / f"{name}.exr")[30:50, 30:50].mean(axis=(0, 1))
        assert_allclose(card, card[1], rtol=1e-3)
        assert [note for note in made.notes if "is neutral now" in note] == [
            f"{raw}: grey:30,30,20,20 is neutral now; for other photos in this light, give --wb "
            + ",".join(f"{1 / channel:.4f}" for channel in made.neutral)
        ] * (name == "card")


def test_a_grey_card_that_is_not_the_sequences_is_measured(tmp_path: Path, frame: Mosaic, network: SveNet) -> None:
    card, lock = WhiteBalance("grey", (60, 30, 20, 20)), tmp_path / "levels.json"
    turned = replace(frame, capture=replace(frame.capture, orientation=6), as_shot_neutral=np.array([0.4, 1.0, 0.8]))
    write_cfa_dng(tmp_path / "upright.dng", replace(turned, capture=replace(frame.capture, orientation=1)))
    write_cfa_dng(tmp_path / "turned.dng", turned)

    def converted(name: str, choice: WhiteBalance, levels: Levels) -> Converted:
        outputs = {"lock_parameters": lock, "overwrite": True, "white_balance": choice, "levels": levels}
        return run(tmp_path / name, tmp_path / "a.exr", network, **outputs)

    as_shot = converted("upright.dng", WhiteBalance("as-shot"), Levels(pattern=PAIRS))
    measured = converted("upright.dng", card, Levels())
    assert any("is neutral now" in note for note in measured.notes)
    assert abs(measured.neutral[0] - as_shot.neutral[0]) > 0.05
    lock.unlink()
    first = converted("upright.dng", card, Levels(pattern=PAIRS))
    assert first.neutral == measured.neutral
    assert converted("turned.dng", card, Levels()).neutral == first.neutral  # there the place would lie outside
    with pytest.raises(Sve2HdrError, match="lies outside of the image, which has 66 x 82 px"):
        converted("turned.dng", WhiteBalance("grey", (61, 30, 20, 20)), Levels())


def test_highlights_and_negatives_are_kept_and_exposure_shifts_them(tmp_path: Path, raw: Path, network: SveNet) -> None:
    run(raw, tmp_path / "a.exr", network, color_space="camera")
    run(raw, tmp_path / "b.exr", network, color_space="camera", exposure_ev=-1.5)
    image, shifted = read_hdr(tmp_path / "a.exr"), read_hdr(tmp_path / "b.exr")
    assert image.max() > 4
    assert_allclose(shifted, image * 2**-1.5, rtol=1e-5)


@pytest.mark.parametrize("choice", ["as-shot", "auto", "grey:30,30,20,20"])
def test_the_frame_that_finds_out_what_all_share_comes_out_the_same_when_it_is_made_again(
    tmp_path: Path, frame: Mosaic, network: SveNet, choice: str
) -> None:
    write_cfa_dng(tmp_path / "a.raw.dng", replace(frame, as_shot_neutral=np.array([0.4567891, 1.0, 0.6543219])))
    for name, levels in (("first", Levels(pattern=PAIRS)), ("again", Levels())):
        run(
            tmp_path / "a.raw.dng", [tmp_path / f"{name}.{ending}" for ending in ("exr", "tif", "dng")], network,
            levels=levels, lock_parameters=tmp_path / "levels.json",
            white_balance=parse_white_balance(choice), preview=tmp_path / f"{name}.jpg",
        )  # fmt: skip
    for ending in ("exr", "tif", "dng", "jpg"):
        assert (tmp_path / f"first.{ending}").read_bytes() == (tmp_path / f"again.{ending}").read_bytes(), ending


@pytest.mark.parametrize("color_space", ["rec709", "acescg", "camera"])
@pytest.mark.parametrize("exposure_ev", [0.0, -2.5])
def test_files_tell_at_what_value_white_is_clipped(
    tmp_path: Path, network: SveNet, color_space: str, exposure_ev: float
) -> None:
    light = np.full((128, 128, 3), 0.3, np.float32)
    light[:, 64:] = 9.0  # beyond all exposures
    mosaic = simulate(light * np.float32(NEUTRAL), "RGGB", PAIRS, Sensor(), seed=1)
    write_cfa_dng(tmp_path / "a.raw.dng", mosaic)
    settings = {"levels": Levels(pattern=PAIRS), "color_space": color_space, "exposure_ev": exposure_ev}
    outputs = [tmp_path / f"a.{ending}" for ending in ("exr", "hdr", "tif", "dng")]
    run(tmp_path / "a.raw.dng", outputs, network, **settings)
    told = OpenEXR.File(str(outputs[0])).header()["sve2hdr:clipped_white"]
    assert_allclose(read_hdr(outputs[0])[40:-40, 90:-20], float(told), rtol=1e-3)
    found = [re.findall(rb"clipped_white\W+([0-9.]+)", output.read_bytes()) for output in outputs[1:]]
    assert found == [[told.encode()], [told.encode()], []]  # of a DNG it is the white level


def test_frames_of_a_sequence_share_scale_colour_and_brightness(tmp_path: Path, network: SveNet) -> None:
    y, x = np.mgrid[:128, :128] / 20
    scene = (0.4 + 0.35 * np.sin(x) * np.cos(y)).astype(np.float32)[..., None] * np.float32([0.6, 1, 0.5])
    light = {"dim": scene * np.float32(0.1), "bright": scene * np.float32([5, 6, 6])}
    # the sensor saturates below what its file says, which the first frame does not show
    for name, lit in light.items():
        taken = simulate(lit, "RGGB", PAIRS, Sensor(full_well_e=1e6, white_level=15_000), seed=1)
        stating = replace(taken, white_level=16_383.0, as_shot_neutral=None, capture=CAPTURE)
        write_cfa_dng(tmp_path / f"{name}.raw.dng", stating)
    lock, made = {"lock_parameters": tmp_path / "levels.json"}, {}
    for name, levels in (("dim", Levels(pattern=PAIRS)), ("bright", Levels())):
        options = replace(GIVEN, levels=levels, color_space="camera", preview=tmp_path / f"{name}.jpg", **lock)
        outputs = [tmp_path / f"{name}.exr", tmp_path / f"{name}.dng"]
        made[name] = convert_file(tmp_path / f"{name}.raw.dng", outputs, Model({"tiny": network}), options)
    assert load_parameters(lock["lock_parameters"]).iso == CAPTURE.iso
    assert made["bright"].neutral == pytest.approx(made["dim"].neutral, abs=1e-5)
    assert made["bright"].clipped > 0.05
    scale = (15_000 - 1024) / (16_383 - 1024)
    least = read_hdr(tmp_path / "bright.exr").min(axis=2)
    assert least.max() == pytest.approx(8 * scale, rel=0.002)
    assert (least > 0.999 * least.max()).mean() > 0.05
    baseline = {}
    for name in light:
        with tifffile.TiffFile(tmp_path / f"{name}.dng") as dng:
            over, below = dng.pages.first.tags[50730].value
            baseline[name] = over / below
    assert baseline["bright"] == pytest.approx(baseline["dim"] + np.log2(scale), abs=0.01)
    shown = {name: imageio.imread(tmp_path / f"{name}.jpg").mean() for name in light}
    assert shown["bright"] > shown["dim"] + 40  # not each as bright as it looks best


def test_frames_of_a_sequence_share_where_hot_sites_are(tmp_path: Path, network: SveNet) -> None:
    lock = tmp_path / "levels.json"
    for name, hot in (("first", True), ("second", False)):
        taken = simulate(np.full((96, 96, 3), 0.02, np.float32), "RGGB", PAIRS, Sensor("gain"), seed=1)
        counts = taken.counts.copy()
        counts[[40, 71], [31, 60]] += 6000 * hot
        write_cfa_dng(tmp_path / f"{name}.raw.dng", replace(taken, counts=counts))
    repaired = {}
    for name, bad_pixels in (("first", True), ("second", True), ("second", False)):
        levels = Levels() if lock.exists() else Levels(pattern=PAIRS)
        options = replace(GIVEN, levels=levels, lock_parameters=lock, bad_pixels=bad_pixels, overwrite=True)
        made = convert_file(tmp_path / f"{name}.raw.dng", tmp_path / f"{name}.exr", Model({"tiny": network}), options)
        repaired[name, bad_pixels] = made.repaired
    assert repaired == {("first", True): 2, ("second", True): 2, ("second", False): 0}


def test_what_another_conversion_shares_meanwhile_is_not_mixed_in(tmp_path: Path, raw: Path, network: SveNet) -> None:
    lock = tmp_path / "levels.json"

    @contextlib.contextmanager
    def turn() -> Iterator[None]:
        lock.write_text("of another conversion")
        yield

    options = replace(GIVEN, lock_parameters=lock)
    with pytest.raises(UnwritableOutput, match=r"levels\.json"):
        convert_file(raw, tmp_path / "a.exr", Model({"tiny": network}), options, turn=turn)
    assert names_in(tmp_path) == ["levels.json"]
    assert lock.read_text() == "of another conversion"


def test_a_conversion_that_cannot_be_written_shares_nothing(
    tmp_path: Path, raw: Path, network: SveNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise UnwritableOutput("a.exr: no space left")

    monkeypatch.setattr(convert, "write_hdr", full)
    with pytest.raises(UnwritableOutput, match="no space"):
        run(raw, tmp_path / "a.exr", network, lock_parameters=tmp_path / "levels.json")
    assert names_in(tmp_path) == []


def test_the_file_says_what_was_found(tmp_path: Path, raw: Path, network: SveNet) -> None:
    run(raw, tmp_path / "a.exr", network, exposure_ev=0.5)
    header = OpenEXR.File(str(tmp_path / "a.exr")).header()
    assert header["sve2hdr:pattern"] == "rows:0.125,0.125,1,1"
    assert header["sve2hdr:ratio_ev"] == "3.000"
    assert header["sve2hdr:model"] == "tiny"
    assert header["sve2hdr:white_level"] == "16000"
    assert header["sve2hdr:black_level"].split()[0] == "1024"
    assert header["sve2hdr:exposure_ev"] == "0.5"
    assert header["sve2hdr:white_balance"] == "as-shot"
    assert header["sve2hdr:version"]
    assert header["cameraModel"] == "EOS 5D Mark III"
    assert header["expTime"] == pytest.approx(0.01)
    assert header["isoSpeed"] == 100


def test_the_pattern_is_found_where_none_is_given(tmp_path: Path, network: SveNet) -> None:
    y, x = np.mgrid[:256, :256] / 30
    grey = np.exp2(-4 + 3 * np.sin(x) * np.cos(y)).astype(np.float32)
    exposure = ExposurePattern(np.roll(PAIRS.exposure, 1, axis=0))
    frame = simulate(grey[..., None] * np.float32(NEUTRAL), "GBRG", exposure, Sensor(), seed=1)
    write_cfa_dng(tmp_path / "photo.dng", replace(frame, capture=CAPTURE))
    converted = run(tmp_path / "photo.dng", tmp_path / "a.exr", network, levels=Levels())
    assert_allclose(converted.pattern.over((4, 4)), exposure.over((4, 4)), rtol=0.05)
    assert 0.5 <= converted.confidence <= 1
    lines = converted.summary().splitlines()
    assert len(lines) == 2
    assert str(tmp_path / "a.exr") in lines[0]
    assert "MP/s" in lines[1]


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_turned_upright(
    tmp_path: Path, frame: Mosaic, network: SveNet, camera_rgb: np.ndarray, orientation: int
) -> None:
    turned = replace(frame, capture=replace(CAPTURE, orientation=orientation))
    write_cfa_dng(tmp_path / "photo.dng", turned)
    run(tmp_path / "photo.dng", tmp_path / "a.exr", network, color_space="camera", preview=tmp_path / "a.png")
    image = read_hdr(tmp_path / "a.exr")
    # what EXIF says of rows and columns: the stored first row is the picture's ..., the first column its ...
    by_hand = {
        1: camera_rgb,
        2: np.fliplr(camera_rgb),
        3: np.rot90(camera_rgb, 2),
        4: np.flipud(camera_rgb),
        5: camera_rgb.swapaxes(0, 1),
        6: np.rot90(camera_rgb, -1),
        7: np.rot90(camera_rgb, 2).swapaxes(0, 1),
        8: np.rot90(camera_rgb),
    }[orientation]
    assert_allclose(image, by_hand, atol=2e-3 * float(camera_rgb.max()))
    assert imageio.imread(tmp_path / "a.png").shape == image.shape
    assert "orientation" not in {name.lower() for name in OpenEXR.File(str(tmp_path / "a.exr")).header()}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_a_view(orientation: int) -> None:
    image = np.arange(24).reshape(2, 4, 3)
    assert np.shares_memory(upright(image, orientation), image)


# Preview


@pytest.mark.parametrize(("name", "start"), [("p.jpg", b"\xff\xd8\xff"), ("p.png", b"\x89PNG")])
def test_a_preview_lies_beside(tmp_path: Path, raw: Path, network: SveNet, name: str, start: bytes) -> None:
    converted = run(raw, tmp_path / "a.exr", network, color_space="camera", preview=tmp_path / name)
    assert converted.outputs == (tmp_path / "a.exr", tmp_path / name)
    data = (tmp_path / name).read_bytes()
    assert data.startswith(start)
    shown = imageio.imread(data)
    assert shown.shape == (66, 82, 3)
    assert 60 < shown.mean() < 200
    greys = np.ptp(shown.astype(int), axis=2)[25:60, 25:75]  # of a grey scene, whatever the EXR's colours
    assert np.median(greys) < 30


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_ultra_hdr_preview_is_the_usual_one_with_brighter_highlights(
    tmp_path: Path, frame: Mosaic, network: SveNet, orientation: int
) -> None:
    raw = tmp_path / "photo.dng"
    write_cfa_dng(raw, replace(frame, capture=replace(CAPTURE, orientation=orientation)))
    shown = {}
    for hdr in (False, True):
        path = tmp_path / f"{hdr}.jpg"
        run(raw, tmp_path / f"{hdr}.exr", network, preview=path, ultra_hdr=hdr)
        assert b"21496" in path.read_bytes() if hdr else b"21496" not in path.read_bytes()
        shown[hdr] = imageio.imread(path)
    assert_array_equal(shown[True], shown[False])
    bright = imagecodecs.ultrahdr_decode((tmp_path / "True.jpg").read_bytes(), boost=8.0)[..., :3].astype(float)
    usual = imagecodecs.ultrahdr_decode((tmp_path / "True.jpg").read_bytes(), boost=1.0)[..., :3].astype(float)
    assert bright.shape == shown[True].shape
    clipped = upright(np.isin(np.arange(66), range(8, 17))[:, None] & np.isin(np.arange(82), range(8, 17)), orientation)
    assert np.median((bright / usual)[clipped]) > 1.3
    assert np.median(bright / usual) < 1.1


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_preview_is_no_larger_than_asked_for(
    tmp_path: Path, frame: Mosaic, network: SveNet, orientation: int
) -> None:
    """It keeps its gain map, which what makes other JPEGs smaller drops."""
    raw = tmp_path / "photo.dng"
    write_cfa_dng(raw, replace(frame, capture=replace(CAPTURE, orientation=orientation)))
    shown = {}
    for most in (None, 41):
        path = tmp_path / f"{most}.jpg"
        run(raw, tmp_path / f"{most}.exr", network, preview=path, ultra_hdr=True, preview_px=most)
        hdr = imagecodecs.ultrahdr_decode(path.read_bytes(), boost=8.0)[..., :3].astype(float)
        shown[most] = [imageio.imread(path).astype(float), hdr]
    assert shown[41][0].shape == shown[41][1].shape == ((33, 41, 3) if orientation == 1 else (41, 33, 3))
    for whole, small in zip(shown[None], shown[41], strict=True):
        means = whole.reshape(small.shape[0], 2, small.shape[1], 2, 3).mean(axis=(1, 3))
        assert np.median(np.abs(small - means) / means) < 0.05
    assert_array_equal(read_hdr(tmp_path / "41.exr"), read_hdr(tmp_path / "None.exr"))


def test_a_preview_alone_is_as_bright_as_asked_for(tmp_path: Path, raw: Path, network: SveNet) -> None:
    lock = tmp_path / "levels.json"
    run(raw, tmp_path / "first.exr", network, lock_parameters=lock)
    for name, hdr in (("a.jpg", False), ("b.png", False), ("c.jpg", True), ("d.png", False)):
        locked = {"lock_parameters": lock, "levels": Levels()} if name == "d.png" else {}
        means, written = [], []
        for ev in (0.0, 1.0, -1.0):
            preview = {"preview": tmp_path / name, "preview_exposure_ev": ev, "ultra_hdr": hdr, "overwrite": True}
            run(raw, [tmp_path / "a.exr", tmp_path / "a.dng"], network, **preview, **locked)
            written.append([(tmp_path / file).read_bytes() for file in ("a.exr", "a.dng", "levels.json")])
            means.append(imageio.imread(tmp_path / name).mean())
            if hdr:
                means[-1] = imagecodecs.ultrahdr_decode((tmp_path / name).read_bytes(), boost=8.0)[..., :3].mean()
        usual, brighter, darker = means
        assert darker < 0.85 * usual < usual < 0.9 * brighter
        assert written[0] == written[1] == written[2]


def at_night(path: Path, seed: int, mode: Mode = "gain") -> Mosaic:
    """Write a raw of a textured moon in a black sky."""
    y, x = np.mgrid[:160, :192]
    light = np.where(np.hypot(y - 60, x - 90) < 16, 0.3 * (1 + 0.3 * np.sin(x + y / 2)), 0)
    taken = simulate(np.float32(light[..., None] * NEUTRAL), "RGGB", PAIRS, Sensor(mode), seed)
    write_cfa_dng(path, taken)
    return taken


@pytest.mark.parametrize("mode", ["exposure", "gain"])
def test_the_noise_of_an_image_is_that_of_its_best_sites(tmp_path: Path, mode: Mode) -> None:
    taken = at_night(tmp_path / "night.dng", 1, mode)
    made = reconstruct_file(tmp_path / "night.dng", model_named("classical"), GIVEN)
    dark = (taken.counts.astype(np.float32) - 1024)[100:] / (16_000 - 1024)
    sites = np.stack([dark[2::4, ::2], dark[2::4, 1::2], dark[3::4, 1::2]], axis=2)  # R, G, B of bright rows
    luminance = linear_rgb(sites, made.mosaic, COLOR_SPACES["rec709"], 8) @ LUMINANCE_OF_RGB
    assert made.noise == pytest.approx(luminance.std(), rel=0.15)


def test_previews_of_black_skies_are_exposed_for_the_moon_in_sequences_too(tmp_path: Path) -> None:
    lock = tmp_path / "levels.json"
    for seed, levels in ((1, GIVEN.levels), (2, Levels())):
        at_night(tmp_path / f"{seed}.dng", seed)
        shown = []
        for shared in (None, lock):
            options = replace(GIVEN, levels=levels if shared else GIVEN.levels, preview=tmp_path / f"{seed}.png")
            options = replace(options, lock_parameters=shared, overwrite=True)
            convert_file(tmp_path / f"{seed}.dng", tmp_path / f"{seed}.out.dng", model_named("classical"), options)
            embedded = tifffile.imread(tmp_path / f"{seed}.out.dng", series=0)
            shown += [imageio.imread(tmp_path / f"{seed}.png"), embedded.repeat(2, 0).repeat(2, 1)]
        for rgb in shown:
            moon = rgb[52:68, 82:98]
            assert np.percentile(rgb[100:], 99) < 20
            assert 90 < np.median(moon) < 235
            assert moon.std() > 8


def test_skies_that_are_lost_are_white_in_every_preview(tmp_path: Path) -> None:
    grey = 0.26 * np.random.default_rng(0).lognormal(0, 0.2, (160, 192)).astype(np.float32)  # of the lost light
    grey[:32] = 3.0
    write_cfa_dng(
        tmp_path / "over.dng",
        simulate(grey[..., None] * np.float32(NEUTRAL) / min(NEUTRAL), "RGGB", PAIRS, Sensor(full_well_e=1e6), seed=0),
    )
    for name, options in (
        ("a.png", GIVEN),
        ("b.jpg", replace(GIVEN, ultra_hdr=True)),
        ("c.png", replace(GIVEN, lock_parameters=tmp_path / "levels.json")),
    ):
        options = replace(options, preview=tmp_path / name, overwrite=True)
        made = convert_file(tmp_path / "over.dng", tmp_path / f"{name}.dng", model_named("classical"), options)
        for rgb in (imageio.imread(made.outputs[1]), tifffile.imread(made.outputs[0], series=0)):
            assert np.percentile(rgb[: rgb.shape[0] // 6], 5) >= 245
            assert 100 < np.median(rgb[rgb.shape[0] // 2 :]) < 170


@pytest.mark.skipif(os.name == "nt", reason="Windows tells of it in other ways")
def test_places_that_cannot_be_looked_at_are_refused(tmp_path: Path, raw: Path, network: SveNet) -> None:
    """Such as in a folder that is closed to the user; these tests may run as root, to whom none is."""
    (tmp_path / "loop").symlink_to("loop")
    closed, said = tmp_path / "loop" / "a", r"cannot be \w+ \(.*symbolic links\); "
    with pytest.raises(UnwritableOutput, match=rf"a\.exr: {said}choose another name or place"):
        run(raw, closed.with_suffix(".exr"), network)
    with pytest.raises(UnwritableOutput, match=rf"a\.jpg: {said}choose another name or place"):
        run(raw, tmp_path / "b.exr", network, preview=closed.with_suffix(".jpg"))
    with pytest.raises(Sve2HdrError, match=rf"a\.json: {said}check the path"):
        run(raw, tmp_path / "b.exr", network, lock_parameters=closed.with_suffix(".json"))


@pytest.mark.parametrize("color_space", ["rec709", "acescg", "camera"])
def test_a_preview_changes_nothing_in_the_image(tmp_path: Path, raw: Path, network: SveNet, color_space: str) -> None:
    settings = {"color_space": color_space, "exposure_ev": 1.0}
    run(raw, tmp_path / "a.exr", network, **settings)
    run(raw, tmp_path / "b.exr", network, preview=tmp_path / "b.jpg", **settings)
    assert (tmp_path / "a.exr").read_bytes() == (tmp_path / "b.exr").read_bytes()


def test_images_of_several_kinds_and_a_preview_are_what_each_is_alone(
    tmp_path: Path, raw: Path, network: SveNet
) -> None:
    names = "a.dng", "a.exr", "a.hdr"
    for name in names:
        run(raw, tmp_path / name, network)
    run(raw, [tmp_path / name.replace("a", "b") for name in names], network, preview=tmp_path / "b.jpg")
    for name in names:
        assert (tmp_path / name).read_bytes() == (tmp_path / name.replace("a", "b")).read_bytes()


def test_a_pattern_in_which_colours_lack_the_least_exposure_is_told(tmp_path: Path, raw: Path) -> None:
    levels = Levels(parse_pattern("rows:1/8,1"))
    made = reconstruct_file(raw, model_named("classical"), ConvertOptions(device="cpu", levels=levels))
    assert any("saturation of blue comes 3.0 EV early" in note for note in made.notes)
    assert any(note.endswith("if rows and columns go in pairs, write rows:0.125,0.125,1,1") for note in made.notes)
    usual = Levels(PAIRS)
    made = reconstruct_file(raw, model_named("classical"), ConvertOptions(device="cpu", levels=usual))
    assert not any("early" in note for note in made.notes)


def test_a_mosaic_of_arrays_is_reconstructed_as_its_file_is(raw: Path, network: SveNet) -> None:
    mosaic, options = read_raw(raw), replace(GIVEN, levels=Levels(parse_pattern("rows:1/4,1/4,1,1")))
    before = mosaic.counts.copy()
    made = reconstruct_mosaic(mosaic, Model({"tiny": network}), options, name="sensor A")
    of_file = reconstruct_file(raw, Model({"tiny": network}), options)
    assert_array_equal(made.camera_rgb, of_file.camera_rgb)
    assert made.attributes == of_file.attributes
    assert made.notes == tuple(note.replace(str(raw), "sensor A") for note in of_file.notes) != ()
    assert_array_equal(mosaic.counts, before)  # the caller's own


def test_arrays_of_a_sequence_share_what_the_first_shows_as_files_do(tmp_path: Path, network: SveNet) -> None:
    scene = np.random.default_rng(0).uniform(0.05, 1, (12, 12, 3)).astype(np.float32).repeat(16, 0).repeat(16, 1)
    first, second = (simulate(light * scene, "RGGB", PAIRS, Sensor("gain"), seed=0) for light in np.float32([0.3, 2.4]))
    model, options = Model({"tiny": network}), replace(GIVEN, lock_parameters=tmp_path / "arrays.json")
    of_first = reconstruct_mosaic(first, model, options)
    of_second = reconstruct_mosaic(second, model, replace(options, levels=Levels()))
    assert of_second.estimate.pattern.exposure.tolist() == PAIRS.exposure.tolist()
    for made in (of_first, of_second):
        assert_array_equal(made.estimate.noise.gain, of_first.estimate.noise.gain)
        assert made.attributes["sve2hdr:neutral"] == of_first.attributes["sve2hdr:neutral"]
    with pytest.raises(PatternNotFound):  # alone it does not show it
        reconstruct_mosaic(second, model, replace(GIVEN, levels=Levels()))
    write_cfa_dng(tmp_path / "a.dng", first)
    in_files = replace(options, lock_parameters=tmp_path / "files.json")
    convert_file(tmp_path / "a.dng", tmp_path / "a.exr", model, in_files)
    assert (tmp_path / "arrays.json").read_bytes() == (tmp_path / "files.json").read_bytes()
    nowhere = replace(options, lock_parameters=tmp_path / "none" / "levels.json")
    with pytest.raises(UnwritableOutput, match="none"):
        reconstruct_mosaic(first, model, nowhere, progress=lambda share: pytest.fail("told too late"))


@pytest.mark.parametrize("phase", range(16))
def test_quad_bayer_is_found_and_reconstructed_in_every_phase(phase: int) -> None:
    """What a crop at an odd row or column leaves of quad-Bayer had stripes."""
    exposures = ("grid:1/8,1;1,1/8", "grid:1,1/4;1/4,1/8", "grid:1,1/2;1/8,1/4")[phase % 3]
    rng, pattern, cfa = np.random.default_rng(0), parse_pattern(exposures), QUAD_BAYERS[phase]
    scene = np.float32(NEUTRAL * rng.uniform(0.5, 1, (7, 9, 3)) * np.exp2(rng.uniform(-5, 0, (7, 9, 1))))
    scene = scene.repeat(24, 0).repeat(24, 1)
    mosaic = simulate(scene, cfa, pattern, Sensor(), 0)
    made = reconstruct_mosaic(mosaic, model_named("auto"), ConvertOptions(device="cpu"))
    assert made.model == "quad"
    assert np.abs(np.log2(made.estimate.pattern.exposure / pattern.over((4, 4)))).max() < 0.03
    assert psnr_mu(made.camera_rgb / 8, scene, 8) > 30


def test_a_mosaic_is_arrays_of_any_kind_and_what_is_wrong_names_it(frame: Mosaic, network: SveNet) -> None:
    alone = Mosaic(frame.counts, "RGGB", np.full((1, 1), 1024, np.float32), 16_000.0, np.eye(3))
    model = Model({"tiny": network})
    wide = np.zeros((66, 164), np.uint16)
    wide[:, ::2] = frame.counts
    wide.setflags(write=False)
    view = reconstruct_mosaic(replace(alone, counts=wide[:, ::2]), model, GIVEN)
    assert_array_equal(view.camera_rgb, reconstruct_mosaic(alone, model, GIVEN).camera_rgb)
    assert view.notes == ("mosaic: no as-shot white balance is stated; --wb auto is used",)
    with pytest.raises(PatternNotFound, match=r"^mosaic: .*the frame is too small to tell"):
        reconstruct_mosaic(replace(alone, counts=frame.counts[:8, :8]), model)
    with pytest.raises(PatternNotFound, match=r"^tiny: 3 x 3 sites do not hold one cell"):
        reconstruct_mosaic(replace(alone, counts=frame.counts[:3, :3]), model, GIVEN, name="tiny")


def test_an_ensemble_is_another_image_and_says_so(tmp_path: Path, raw: Path, network: SveNet) -> None:
    run(raw, tmp_path / "a.exr", network)
    run(raw, tmp_path / "b.exr", network, ensemble=True)
    image, mean = (read_hdr(tmp_path / name) for name in ("a.exr", "b.exr"))
    header, told = (OpenEXR.File(str(tmp_path / name)).header() for name in ("a.exr", "b.exr"))
    assert not np.array_equal(image, mean)
    assert np.median(np.abs(mean - image)) < 0.05 * np.median(image)
    assert told["sve2hdr:ensemble"] == "yes"
    assert "sve2hdr:ensemble" not in header


# Refusals


def test_progress_rises_to_the_end(tmp_path: Path, frame: Mosaic, network: SveNet) -> None:
    shares: list[float] = []
    write_cfa_dng(tmp_path / "a.dng", replace(frame, counts=np.tile(frame.counts[:64, :80], (4, 3))))
    options = replace(GIVEN, tile_px=32)
    convert_file(tmp_path / "a.dng", tmp_path / "a.exr", Model({"tiny": network}), options, shares.append)
    assert len(shares) > 4
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize("failing", ["a.exr", "a.jpg"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_to_write_leaves_nothing_and_the_old_files(
    tmp_path: Path, raw: Path, network: SveNet, monkeypatch: pytest.MonkeyPatch, failing: str, overwrite: bool
) -> None:
    if overwrite:
        (tmp_path / "a.exr").write_bytes(b"old image")
        (tmp_path / "a.jpg").write_bytes(b"old preview")
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    written = Path.write_bytes

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if failing == "a.exr":
        monkeypatch.setattr(exrwrite.OpenEXR, "File", full)
    else:
        monkeypatch.setattr(
            Path, "write_bytes", lambda path, data: full() if path.suffix == ".jpg" else written(path, data)
        )
    with pytest.raises(UnwritableOutput, match="No space left") as refusal:
        run(raw, tmp_path / "a.exr", network, preview=tmp_path / "a.jpg", overwrite=overwrite)
    assert str(tmp_path / failing) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_an_interruption_while_writing_leaves_nothing(
    tmp_path: Path, raw: Path, network: SveNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(raw, tmp_path / "a.exr", network, preview=tmp_path / "a.jpg")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("output", "preview"),
    [
        ("a.png", None),
        ("a", None),
        ("none/a.exr", None),
        ("a.exr", "a.exr"),
        ("a.exr", "none/a.jpg"),
        ("a.exr", "a.bmp"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_any_work(
    tmp_path: Path, network: SveNet, output: str, preview: str | None
) -> None:
    with pytest.raises(UnwritableOutput):  # and not UnreadableRaw: the raw is not there
        run(tmp_path / "no.dng", tmp_path / output, network, preview=None if preview is None else tmp_path / preview)
    assert names_in(tmp_path) == []


def test_existing_files_need_overwrite(tmp_path: Path, raw: Path, network: SveNet) -> None:
    (tmp_path / "a.exr").write_bytes(b"old")
    with pytest.raises(UnwritableOutput, match="--overwrite"):
        run(raw, tmp_path / "a.exr", network)
    assert (tmp_path / "a.exr").read_bytes() == b"old"
    run(raw, tmp_path / "a.exr", network, overwrite=True)
    assert read_hdr(tmp_path / "a.exr").shape == (66, 82, 3)


def test_the_raw_itself_is_never_replaced(tmp_path: Path, raw: Path, network: SveNet) -> None:
    source = tmp_path / "photo.tif"  # some cameras' raws are named so
    source.write_bytes(raw.read_bytes())
    (tmp_path / "link.tif").symlink_to(source)
    for output in (source, tmp_path / "link.tif"):
        for overwrite in (True, False):
            with pytest.raises(UnwritableOutput, match="raw file itself"):
                run(source, output, network, overwrite=overwrite)
    assert source.read_bytes() == raw.read_bytes()


def test_what_is_no_sve_raw_is_refused(tmp_path: Path, frame: Mosaic, raw: Path, network: SveNet) -> None:
    (tmp_path / "text.dng").write_text("no raw")
    with pytest.raises(UnreadableRaw, match=r"text\.dng"):
        run(tmp_path / "text.dng", tmp_path / "a.exr", network)
    flat = replace(frame, counts=np.full_like(frame.counts, 2000))
    write_cfa_dng(tmp_path / "flat.dng", flat)
    with pytest.raises(PatternNotFound, match=r"flat\.dng.*--pattern"):
        run(tmp_path / "flat.dng", tmp_path / "a.exr", network, levels=Levels())
    single = ExposurePattern(np.array([[0.125], [1]], np.float32))
    with pytest.raises(PatternNotFound, match=r"photo\.dng: .*--model"):
        run(raw, tmp_path / "a.exr", network, levels=Levels(pattern=single))
    with pytest.raises(Sve2HdrError, match="--white or --black"):
        run(raw, tmp_path / "a.exr", network, levels=Levels(pattern=PAIRS, black=20_000))
    fog = np.float32(0.01 * np.exp2(np.arange(128) / 128))[:, None, None] * np.ones((1, 128, 1)) * NEUTRAL
    write_cfa_dng(tmp_path / "fog.dng", simulate(np.float32(fog), "RGGB", PAIRS, Sensor(), seed=0))
    with pytest.raises(PatternNotFound, match=r"fog\.dng: doubtful .*--pattern rows:0\.12"):
        run(tmp_path / "fog.dng", tmp_path / "a.exr", network, levels=Levels(), if_not_sve="develop")
    assert names_in(tmp_path) == ["flat.dng", "fog.dng", "text.dng"]


def test_a_device_that_is_not_there_is_refused(tmp_path: Path, raw: Path, network: SveNet) -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    missing = next(name for name in ("cuda", "mps", "abacus") if name == "abacus" or not _has(name))
    with pytest.raises(Sve2HdrError, match=f"device {missing}"):
        run(raw, tmp_path / "a.exr", network, device=missing)


def test_ordinary_raws_are_developed_as_precisely_as_asked(frame: Mosaic, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    true = pipeline.develop
    monkeypatch.setattr(pipeline, "develop", lambda *a: asked.append(a[3].precision) or true(*a))
    options = ConvertOptions(if_not_sve="develop", precision="bfloat16", device="cpu")
    plain = simulate(
        np.full((96, 96, 3), 0.3, np.float32) * np.float32(NEUTRAL), "RGGB", ONE_EXPOSURE, Sensor(), seed=1
    )
    reconstruct_mosaic(plain, model_named("standard"), options)
    assert asked == ["bfloat16"]


def test_the_classical_method_runs_on_the_cpu_whatever_device_there_is(
    frame: Mosaic, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def turn() -> Iterator[None]:
        raise AssertionError("no device is used")
        yield

    monkeypatch.setattr(pipeline, "choose_device", lambda name: torch.device("cuda"))
    options = ConvertOptions(levels=Levels(pattern=PAIRS), if_not_sve="develop")
    plain = simulate(np.full((96, 96, 3), 0.3, np.float32), "RGGB", ONE_EXPOSURE, Sensor(), seed=1)
    for mosaic, asked in ((frame, options), (plain, replace(options, levels=Levels()))):
        assert reconstruct_mosaic(mosaic, model_named("classical"), asked, turn=turn).device == "cpu"


def test_a_gpu_that_does_not_work_is_told_of_where_a_network_was_to_run(
    frame: Mosaic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "tried_device", lambda name: (torch.device("cpu"), "the GPU does not work"))
    options = ConvertOptions(levels=Levels(pattern=PAIRS))
    for model, told in (("standard", True), ("classical", False)):
        made = reconstruct_mosaic(frame, model_named(model), options)
        assert made.device == "cpu"
        assert ("mosaic: the GPU does not work" in made.notes) is told


def test_what_a_sequence_knows_of_defects_is_left_where_none_are_looked_for(frame: Mosaic) -> None:
    noise = estimate_noise(frame, PAIRS)
    known, listed = Defects(np.array([30]), np.array([40])), np.zeros(frame.shape, bool)
    counts = {look: corrected(frame, PAIRS, noise, look, known, listed)[1].count for look in (True, False)}
    assert counts[True] >= 1
    assert counts[False] == 0


def test_a_torch_that_tells_no_capabilities_convolves_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before 2.11 do not."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bfloat16("cpu")


def _has(device: str) -> bool:
    return torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()


def test_the_same_raw_gives_the_same_file(tmp_path: Path, raw: Path, network: SveNet) -> None:
    before = raw.read_bytes()
    for name in ("a.exr", "b.exr"):
        run(raw, tmp_path / name, network, write=WriteOptions())
    assert (tmp_path / "a.exr").read_bytes() == (tmp_path / "b.exr").read_bytes()
    assert raw.read_bytes() == before
    assert_array_equal(read_hdr(tmp_path / "a.exr").shape, (66, 82, 3))


def test_white_balance_makes_its_neutral_neutral(tmp_path: Path, raw: Path, network: SveNet) -> None:
    run(raw, tmp_path / "shot.exr", network)
    run(raw, tmp_path / "same.exr", network, white_balance=WhiteBalance("multipliers", tuple(1 / NEUTRAL)))
    run(raw, tmp_path / "red.exr", network, white_balance=WhiteBalance("multipliers", (4.0, 1.0, 1.6)))
    shot, same, red = (read_hdr(tmp_path / f"{name}.exr") for name in ("shot", "same", "red"))
    assert_allclose(same, shot, atol=1e-4)
    unclipped = shot.max(axis=2) < 4
    assert (red[..., 0] - shot[..., 0])[unclipped & (shot[..., 1] > 0.1)].min() > 0


def test_unbelievable_as_shot_neutral_is_left_and_said(tmp_path: Path, frame: Mosaic, network: SveNet) -> None:
    write_cfa_dng(tmp_path / "a.dng", replace(frame, as_shot_neutral=np.array([1.5, 1.0, 1.5])))
    converted = run(tmp_path / "a.dng", tmp_path / "a.exr", network)
    assert "not plausible" in " ".join(converted.notes)
    asked = run(tmp_path / "a.dng", tmp_path / "b.exr", network, white_balance=WhiteBalance("as-shot"))
    assert "--wb auto may do better" in " ".join(asked.notes)  # done as told, and said


def test_linear_dng_opens_as_the_exr_shows_it(tmp_path: Path, raw: Path, network: SveNet) -> None:
    run(raw, tmp_path / "a.exr", network)
    run(raw, tmp_path / "a.dng", network)
    with rawpy.imread(str(tmp_path / "a.dng")) as developed:
        assert developed.raw_type == rawpy.RawType.Stack
        shown = developed.postprocess(
            gamma=(1, 1), no_auto_bright=True, use_camera_wb=True, output_bps=16, user_flip=0
        ).astype(np.float32)
    wanted = read_hdr(tmp_path / "a.exr")
    plain = (wanted.max(axis=2) < 4) & (wanted.min(axis=2) > 0.2)  # neither clipped nor dark
    ratio = shown[plain] / wanted[plain]
    assert np.abs(ratio / np.median(ratio) - 1).max() < 0.005
