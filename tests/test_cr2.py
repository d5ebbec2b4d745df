"""Real CR2 containers with Dual ISO in them: what read_raw and detection make of margins, levels, phases and tags."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import rawpy
from cr2container import EOS_5D_MARK_III, EOS_D30, Flaws, lossless_jpeg, sensor_frame, write_cr2

from sve2hdr.convert import convert_file
from sve2hdr.errors import UnreadableRaw
from sve2hdr.formats.exif import CAMERA_OWNER, LENS_SPECIFICATION
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.formats.tiffwrite import ASCII, LONG, SHORT, entry
from sve2hdr.levels import estimate_levels
from sve2hdr.models import Model
from sve2hdr.mosaic import ExposurePattern, Mosaic
from sve2hdr.network import NetworkConfig, SveNet
from sve2hdr.pattern import detect_pattern
from sve2hdr.pipeline import ConvertOptions
from sve2hdr.radiance import NoiseModel
from sve2hdr.rawfile import read_raw
from sve2hdr.sensor.banding import remove_banding
from sve2hdr.sensor.defects import repair_defects
from sve2hdr.sensor.noise import estimate_noise
from sve2hdr.simulation.simulate import Sensor, simulate
from sve2hdr.whitebalance import WhiteBalance

PHASES = np.array([[2032.0], [2032], [2063], [2063]])  # the black levels of the two amplifications
READ_NOISE = np.array([[5.0], [5], [17], [17]])
PATTERN = ExposurePattern(np.float32([[1 / 8], [1 / 8], [1], [1]]))
FLAWS = Flaws(black=PHASES, read_noise=READ_NOISE, banding=3.0, drift=1.0, hot=0.0002, bad_columns=(20, 700))

DualIso = tuple[Path, np.ndarray, np.ndarray, np.ndarray]


def scene(shape: tuple[int, int]) -> np.ndarray:
    """Return camera RGB with dark, bright, smooth and detailed parts, 1.0 = saturation of the least exposed sites."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    light = np.exp2(9 * x / shape[1] - 8.5 + 0.7 * np.sin(y / 31) + 0.5 * np.sign(np.sin((x + 3 * y) / 17)))
    return np.float32(light[..., None] * [0.5, 1.0, 0.64])


@pytest.fixture(scope="session")
def dual_iso(tmp_path_factory: pytest.TempPathFactory) -> DualIso:
    """Return a CR2 with Dual ISO, ratio 3 EV, all of its sites, its rows' offsets, and which visible sites are hot."""
    shape = tuple(s.stop - s.start for s in EOS_D30.visible)
    sensor = Sensor(mode="gain", black_level=0, white_level=13_300, read_noise_e=0, preamp_noise_e=0)
    light = simulate(scene((shape[0], shape[1])), "RGGB", PATTERN, sensor, seed=4)
    sites, rows, hot = sensor_frame(EOS_D30, light.counts.astype(np.float32), 15_300, 5, FLAWS)
    path = tmp_path_factory.mktemp("cr2") / "IMG_0001.CR2"
    write_cr2(path, sites, EOS_D30, iso=100, orientation=6)
    return path, sites, rows[EOS_D30.visible[0]], hot[EOS_D30.visible]


@pytest.fixture(scope="session")
def mosaic(dual_iso: DualIso) -> Mosaic:
    return read_raw(dual_iso[0])


def test_the_visible_area_is_read_site_by_site_but_for_banding(dual_iso: DualIso, mosaic: Mosaic) -> None:
    taken = dual_iso[1][EOS_D30.visible].astype(int) - mosaic.counts
    of_rows = np.median(taken, axis=1, keepdims=True)
    assert ((taken == of_rows) | (taken == 0)).all()  # nothing from what is saturated
    assert mosaic.cfa == "RGGB"


def test_libraw_sees_the_margins_that_were_written(dual_iso: DualIso) -> None:
    path, sites = dual_iso[:2]
    with rawpy.imread(str(path)) as raw:
        np.testing.assert_array_equal(raw.raw_image, sites)
        assert (raw.sizes.top_margin, raw.sizes.left_margin) == (EOS_D30.top, EOS_D30.left)


def test_black_of_each_row_phase_comes_from_the_margins(mosaic: Mosaic) -> None:
    """Within what banding of 3 counts leaves of a mean over a hundred rows, in spite of bad columns and drift."""
    rows = np.resize(mosaic.black_level.mean(axis=1), 8)
    np.testing.assert_allclose(rows - rows.mean(), np.resize(PHASES - PHASES.mean(), 8), atol=1.5)
    assert abs(rows.mean() - PHASES.mean()) < 1.5


def test_the_tags_are_read(mosaic: Mosaic) -> None:
    capture = mosaic.capture
    assert (capture.make, capture.model, capture.iso) == ("Canon", "Canon EOS D30", 100)
    assert capture.exposure_time_s == pytest.approx(1 / 125)
    assert (capture.f_number, capture.focal_length_mm, capture.taken) == (8.0, 50.0, "2024:05:06 07:08:09")
    assert capture.pixels_per_mm == pytest.approx(2160 / 0.894 / 25.4)
    assert capture.orientation == 6
    np.testing.assert_allclose(mosaic.as_shot_neutral, [0.5, 1.0, 0.64], atol=1e-6)


def test_bodies_older_than_exif_2_3_tell_lens_serial_number_and_owner_in_their_maker_note(tmp_path: Path) -> None:
    noted = [
        entry(0x01, SHORT, [*[0] * 23, 105, 24, 1]),
        entry(0x09, ASCII, b"Ann Otto".ljust(32, b"\0")),
        entry(0x0C, LONG, [430_123_456]),
        entry(0x95, ASCII, b"EF24-105mm f/4L IS USM".ljust(70, b"\0")),
    ]
    sites = np.full(EOS_D30.shape, 2048, np.uint16)
    write_cr2(tmp_path / "a.cr2", sites, EOS_D30, noted=noted)
    capture = read_raw(tmp_path / "a.cr2").capture
    assert (capture.lens, capture.serial_number) == ("EF24-105mm f/4L IS USM", "0430123456")
    assert capture.exif == {CAMERA_OWNER: "Ann Otto", LENS_SPECIFICATION: (24, 105, 0, 0)}
    stored = (tmp_path / "a.cr2").read_bytes()
    (tmp_path / "b.cr2").write_bytes(stored.replace(b"Canon\0", b"Nanon\0", 1))  # whose notes have other tags
    capture = read_raw(tmp_path / "b.cr2").capture
    assert (capture.lens, capture.serial_number, capture.exif) == ("", "", {})


def test_the_pattern_is_found(mosaic: Mosaic) -> None:
    found = detect_pattern(mosaic).pattern
    assert found is not None
    assert (found.exposure.ravel() < 1).tolist() == [True, True, False, False]
    assert found.ratio_ev == pytest.approx(3.0, abs=0.03)


def test_banding_is_taken_off_as_the_masked_columns_show_it(dual_iso: DualIso, mosaic: Mosaic) -> None:
    rows = dual_iso[2]
    noise = NoiseModel(np.full((1, 1), 0.5, np.float32), np.float32(READ_NOISE))
    result, spread = remove_banding(mosaic, PATTERN, noise)
    np.testing.assert_array_equal(result.counts, mosaic.counts)  # once, when it was read
    taken = np.median(dual_iso[1][EOS_D30.visible].astype(float) - mosaic.counts, axis=1)
    assert spread == pytest.approx(rows.std(), rel=0.2)
    dark = np.arange(len(rows)) % 4 < 2  # the bright rows are three times as noisy, masked ones too
    assert (rows - taken)[dark].std() < 0.35 * rows.std()
    assert (rows - taken)[~dark].std() < 0.85 * rows.std()


def test_the_ratio_is_right_where_black_drifts_along_with_the_light(tmp_path: Path) -> None:
    """As from a dim sky to the ground: of a drift of 10 counts the ratio would be 0.1 EV off."""
    shape = EOS_D30.visible_shape
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    light = 0.004 * (1.3 - 0.8 * y / shape[0]) * (1 + 0.03 * np.sin(x / 40))
    sensor = Sensor(mode="gain", black_level=0, white_level=13_300, read_noise_e=0, preamp_noise_e=0)
    signal = simulate(np.float32(light[..., None] * [0.5, 1.0, 0.64]), "RGGB", PATTERN, sensor, seed=4).counts
    flaws = Flaws(black=PHASES, read_noise=READ_NOISE)
    sites, _, _ = sensor_frame(EOS_D30, signal.astype(np.float32), 15_300, 5, flaws)
    drift = np.linspace(-5, 5, EOS_D30.shape[0])[:, None]
    write_cr2(tmp_path / "a.cr2", np.rint(sites + drift).astype(np.uint16), EOS_D30)
    found = estimate_levels(read_raw(tmp_path / "a.cr2"), "a.cr2")
    assert found.pattern.ratio_ev == pytest.approx(3.0, abs=0.02)


def test_hot_sites_are_repaired(dual_iso: DualIso, mosaic: Mosaic) -> None:
    hot = dual_iso[3].copy()
    hot[:, 1100:] = False  # where even the less exposed sites are bright
    result, defects = repair_defects(mosaic, PATTERN, estimate_noise(mosaic, PATTERN))
    changed = result.counts != mosaic.counts
    assert (changed & hot).sum() > 0.5 * hot.sum()
    assert defects.count < 1.5 * dual_iso[3].sum()


def test_without_white_balance_none_is_read(tmp_path: Path) -> None:
    light = np.random.default_rng(1).uniform(0, 9000, EOS_D30.shape)[EOS_D30.visible]
    sites, _, _ = sensor_frame(EOS_D30, light, 15_300, 5)
    write_cr2(tmp_path / "a.cr2", sites, EOS_D30, balance="")
    assert read_raw(tmp_path / "a.cr2").as_shot_neutral is None


def test_a_5d_mark_iii_has_its_own_margins_levels_and_matrix(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    block = rng.normal(2048, 6, (158, 5920))
    block[:, 122:] += rng.uniform(0, 11_000, 5798)
    sites = np.tile(np.clip(block, 0, 15_300).astype(np.uint16), (25, 1))
    path = tmp_path / "a.cr2"
    write_cr2(path, sites, EOS_5D_MARK_III, orientation=8)
    mosaic = read_raw(path)
    np.testing.assert_array_equal(mosaic.counts, sites[EOS_5D_MARK_III.visible])
    assert mosaic.cfa == "RGGB"
    assert mosaic.white_level == 15_488
    np.testing.assert_allclose(mosaic.black_level, 2047.5, atol=1)
    np.testing.assert_allclose(mosaic.camera_from_xyz[0], [0.6722, -0.0635, -0.0963], atol=1e-4)
    assert mosaic.capture.orientation == 8
    if shutil.which("dcraw"):
        said = subprocess.run(["dcraw", "-i", "-v", path], capture_output=True, text=True, check=True).stdout
        assert "Canon EOS 5D Mark III" in said
        assert "5796 x 3870" in said
    if shutil.which("exiftool"):
        arguments = ["exiftool", "-json", "-SensorWidth", "-SensorTopBorder", "-Model", "-Warning", path]
        tags = json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)[0]
        del tags["SourceFile"]
        assert tags == {"SensorWidth": 5920, "SensorTopBorder": 80, "Model": "Canon EOS 5D Mark III"}


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_cr2_is_refused(tmp_path: Path, dual_iso: DualIso, keep: float) -> None:
    stored = dual_iso[0].read_bytes()
    path = tmp_path / "a.cr2"
    path.write_bytes(stored[: int(len(stored) * keep)])
    with pytest.raises(UnreadableRaw, match="copy it again"):
        read_raw(path)


@pytest.mark.parametrize("fill", [bytes(65536), np.random.default_rng(6).bytes(512)], ids=["zeros", "random"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_cr2_with_a_damaged_block_is_refused(tmp_path: Path, dual_iso: DualIso, share: float, fill: bytes) -> None:
    """LibRaw decodes most of these without a word, all rows below the block wrong."""
    stored = bytearray(dual_iso[0].read_bytes())
    at = int(len(stored) * share)
    stored[at : at + len(fill)] = fill
    path = tmp_path / "a.cr2"
    path.write_bytes(stored)
    with pytest.raises(UnreadableRaw, match=r"damaged.*; copy it again"):
        read_raw(path)


def test_a_cr2_whose_end_was_never_written_is_refused(tmp_path: Path, dual_iso: DualIso) -> None:
    stored = dual_iso[0].read_bytes()
    path = tmp_path / "a.cr2"
    path.write_bytes(stored[: len(stored) * 7 // 10].ljust(len(stored), b"\0"))
    with pytest.raises(UnreadableRaw, match="damaged"):
        read_raw(path)


@pytest.mark.parametrize("components", [1, 2])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_the_lossless_jpeg_holds_every_difference(bits: int, components: int) -> None:
    """The container is only as good as its encoder: another decoder gives back the largest steps and the smallest."""
    rng = np.random.default_rng(bits)
    sites = rng.choice(np.array([0, 1, 255, 2 ** (bits - 1), 2**bits - 1]), (37, 64)).astype(np.uint16)
    decoded = imagecodecs.ljpeg_decode(lossless_jpeg(sites, bits, components))
    np.testing.assert_array_equal(np.asarray(decoded).reshape(sites.shape), sites)


def test_what_clips_in_all_exposures_is_neutral_whatever_the_network_guesses(tmp_path: Path) -> None:
    """Lamps, in a body that clips far below what the file names."""
    shape, top = EOS_D30.visible_shape, 12_100
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = scene(shape)
    light[(y % 181 < 60) & (x % 131 < 50)] = 9
    sensor = Sensor("gain", 14, 0, top - 2048, read_noise_e=0, preamp_noise_e=0)
    signal = simulate(light, "RGGB", PATTERN, sensor, seed=6).counts.astype(np.float32)
    sites, _, _ = sensor_frame(EOS_D30, np.where(signal >= sensor.white_level, 20_000, signal), top, 7, FLAWS)
    raw, output = tmp_path / "a.cr2", tmp_path / "a.exr"
    write_cr2(raw, sites, EOS_D30)
    network = SveNet(NetworkConfig(widths=(4, 4, 4), blocks=(1, 1, 1)))
    options = ConvertOptions(white_balance=WhiteBalance("as-shot"), bad_pixels=False, tile_px=512)
    found = convert_file(raw, output, Model({"untrained": network}), options)
    image = read_hdr(output)
    inside = (abs(y % 181 - 30) < 22) & (abs(x % 131 - 25) < 20) & (y < 1440)
    assert (image[inside] == image[inside][:1, :1]).all()
    assert image[inside].min() >= found.pattern.ratio
