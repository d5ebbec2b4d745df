"""Simulated raws as files: what was simulated is what raw developers read, with its truth beside it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import rawpy
import tifffile
from frames import PAIRS, read_noise_profile
from images import write_scene
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.errors import UnreadableImage, UnwritableOutput
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.mosaic import ExposurePattern
from sve2hdr.patterntext import with_ratio
from sve2hdr.rawfile import read_raw
from sve2hdr.simulation import simulated
from sve2hdr.simulation.simulate import Sensor, camera_scene, simulate
from sve2hdr.simulation.simulated import Shot, SimulatedFile, from_image, is_image

SHOT = Shot(PAIRS)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    image = np.random.default_rng(0).lognormal(0, 1, (80, 96, 3)).astype(np.float32)
    return write_scene(tmp_path / "scene.exr", image)


@pytest.mark.parametrize("mode", ["exposure", "gain"])
def test_the_file_holds_what_was_simulated(tmp_path: Path, scene: Path, mode: str) -> None:
    sensor = Sensor(mode)  # type: ignore[arg-type]
    target = SimulatedFile(tmp_path / "a.dng", tmp_path / "a.truth.exr")
    line = from_image(scene, target, Shot(with_ratio(PAIRS, 2.0), "GBRG", sensor, 95, seed=4))
    pattern = ExposurePattern(np.array([[1 / 4], [1 / 4], [1], [1]], np.float32))
    camera = camera_scene(read_hdr(scene), 95)
    wanted = simulate(camera, "GBRG", pattern, sensor, seed=4)
    found = read_raw(tmp_path / "a.dng")
    assert_array_equal(found.counts, wanted.counts)
    assert found.cfa == "GBRG"
    assert found.white_level == 16_000
    assert (found.black_level == 1024).all()
    assert_allclose(read_hdr(tmp_path / "a.truth.exr"), camera * 4, rtol=1e-6)  # 1.0 = the most exposed sites
    assert "rows:0.25,0.25,1,1" in line
    assert "2.00 EV" in line


def test_other_eyes_read_the_file(tmp_path: Path, scene: Path) -> None:
    from_image(scene, SimulatedFile(tmp_path / "a.dng"), SHOT)
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        assert raw.raw_image_visible.shape == (80, 96)
        assert raw.white_level == 16_000
        developed = raw.postprocess(half_size=True, use_camera_wb=True, no_auto_bright=True)
    assert developed.shape == (40, 48, 3)


def test_the_noise_profile_says_the_noise_where_one_fits_all_sites(tmp_path: Path, scene: Path) -> None:
    from_image(scene, SimulatedFile(tmp_path / "a.dng"), SHOT)
    profile = read_noise_profile(tmp_path / "a.dng")
    assert profile is not None
    assert_allclose(profile[0], [1 / 30_000, (4 / 30_000) ** 2], rtol=1e-3)
    from_image(scene, SimulatedFile(tmp_path / "b.dng"), Shot(PAIRS, sensor=Sensor("gain")))
    assert read_noise_profile(tmp_path / "b.dng") is None


def test_the_truth_says_how_it_was_made(tmp_path: Path, scene: Path) -> None:
    target = SimulatedFile(tmp_path / "a.dng", tmp_path / "a.exr")
    from_image(scene, target, Shot(PAIRS, seed=12))
    header = OpenEXR.File(str(tmp_path / "a.exr")).header()
    assert header["sve2hdr:seed"] == "12"
    assert header["sve2hdr:pattern"] == "rows:0.125,0.125,1,1"
    about = (tmp_path / "a.dng").read_bytes()
    start = about.index(b'{"pattern"')
    assert json.loads(about[start : about.index(b"}", start) + 1])["seed"] == 12


@pytest.mark.parametrize("name", ["a.tif", "a", "missing/a.dng"])
def test_a_mosaic_goes_into_a_dng(tmp_path: Path, scene: Path, name: str) -> None:
    with pytest.raises(UnwritableOutput, match="a"):
        from_image(scene, SimulatedFile(tmp_path / name), SHOT)
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.exr"]


def test_existing_files_and_the_source_are_kept(tmp_path: Path, scene: Path) -> None:
    (tmp_path / "a.dng").write_bytes(b"kept")
    before = scene.read_bytes()
    for target in (SimulatedFile(tmp_path / "a.dng"), SimulatedFile(tmp_path / "b.dng", scene, overwrite=True)):
        with pytest.raises(UnwritableOutput):
            from_image(scene, target, SHOT)
    assert (tmp_path / "a.dng").read_bytes() == b"kept"
    assert scene.read_bytes() == before
    assert not (tmp_path / "b.dng").exists()


def test_a_black_scene_is_refused(tmp_path: Path) -> None:
    black = write_scene(tmp_path / "black.exr", np.zeros((80, 80, 3), np.float32))
    with pytest.raises(UnreadableImage, match=r"black\.exr: .*--percentile") as refusal:
        from_image(black, SimulatedFile(tmp_path / "a.dng"), SHOT)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "a.dng").exists()


@pytest.mark.parametrize(("name", "image"), [("a.EXR", True), ("a.hdr", True), ("a.tif", True), ("a.CR2", False)])
def test_images_are_told_from_raws_by_name(name: str, image: bool) -> None:
    assert is_image(Path(name)) == image


def test_a_mosaic_that_cannot_be_written_leaves_no_truth(
    tmp_path: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise UnwritableOutput("a.dng: no space left; free some")

    monkeypatch.setattr(simulated, "write_cfa_dng", full)
    with pytest.raises(UnwritableOutput, match="no space"):
        from_image(scene, SimulatedFile(tmp_path / "a.dng", tmp_path / "t.exr"), SHOT)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.exr"]


def test_one_exposure_holds_for_several_frames(tmp_path: Path, scene: Path) -> None:
    shot = Shot(PAIRS, percentile=90, seed=1)
    from_image(scene, SimulatedFile(tmp_path / "a.dng", tmp_path / "a.exr"), shot)
    told = float(OpenEXR.File(str(tmp_path / "a.exr")).header()["sve2hdr:saturation"])
    assert told == pytest.approx(np.percentile(read_hdr(scene)[..., 1], 90))
    brighter = write_scene(tmp_path / "brighter.exr", read_hdr(scene) * 2)
    target = SimulatedFile(tmp_path / "b.dng", tmp_path / "b.exr")
    from_image(brighter, target, replace(shot, saturation=told))
    assert_allclose(read_hdr(tmp_path / "b.exr"), 2 * read_hdr(tmp_path / "a.exr"), rtol=1e-5)


def test_what_a_scene_leaves_open_is_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((80, 80, 3), 30_000, np.uint16), photometric="rgb")
    lines = from_image(tmp_path / "a.tif", SimulatedFile(tmp_path / "a.dng"), SHOT)
    assert "taken as linear light" in lines.splitlines()[1]
