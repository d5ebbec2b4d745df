"""Sources of scenes: images, folders of them, raw stacks, synthesis; what cannot be used is said and left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from images import write
from numpy.testing import assert_allclose, assert_array_equal
from test_rawfile import write_dng

from sve2hdr.color import COLOR_SPACES
from sve2hdr.errors import Sve2HdrError
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.mosaic import ONE_EXPOSURE, Capture, ExposurePattern
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate
from sve2hdr.training import scenes as scenes_module
from sve2hdr.training.scenes import collect_scenes
from sve2hdr.training.synthetic import synthetic_scene


def write_scene(path: Path, level: float) -> None:
    image = np.full((8, 10, 3), level, np.float32)
    write(path, image)


def collected(*sources: Path, synthetic: int = 0, seed: int = 0) -> tuple[dict[str, np.ndarray], list[str]]:
    notes: list[str] = []
    return dict(collect_scenes(sources, synthetic, seed, notes.append)), notes


def test_images_are_found_in_folders_and_named_alone(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    write_scene(tmp_path / "alone.exr", 1)
    write_scene(tmp_path / "folder" / "b.exr", 2)
    write_scene(tmp_path / "folder" / "a.hdr", 3)
    write_scene(tmp_path / "folder" / "inner" / "c.tif", -4)
    write_scene(tmp_path / "folder" / ".hidden.exr", 5)
    (tmp_path / "folder" / "notes.txt").write_text("no scene")
    scenes, notes = collected(tmp_path / "alone.exr", tmp_path / "folder")
    assert {name: float(scene[0, 0, 0]) for name, scene in scenes.items()} == {"alone": 1, "a": 3, "b": 2, "c": 0}
    assert list(scenes) == ["alone", "a", "b", "c"]
    assert notes == []


def test_what_cannot_be_read_is_noted_and_left_out(tmp_path: Path) -> None:
    write_scene(tmp_path / "good.exr", 1)
    (tmp_path / "bad.exr").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    scenes, notes = collected(tmp_path)
    assert list(scenes) == ["good"]
    assert len(notes) == 2
    assert all(note.startswith("left out: ") and "\n" not in note for note in notes)
    assert any("bad.exr" in note for note in notes)


def test_a_damaged_raw_costs_its_folder_alone(tmp_path: Path) -> None:
    write_scene(tmp_path / "good.exr", 1)
    for name, tags in (("a", {}), ("b", {33421: (11, (np.inf,))})):
        (tmp_path / "stack").mkdir(exist_ok=True)
        write_dng(tmp_path / "stack" / f"{name}.dng", np.full((64, 64), 900, np.uint16), tags=tags)
    scenes, notes = collected(tmp_path)
    assert list(scenes) == ["good"]
    assert len(notes) == 1
    assert "b.dng" in notes[0]


def test_a_missing_source_ends_it(tmp_path: Path) -> None:
    with pytest.raises(Sve2HdrError, match="nowhere: no such file"):
        collected(tmp_path / "nowhere")


def test_a_missing_source_ends_it_before_any_work(tmp_path: Path) -> None:
    write_scene(tmp_path / "good.exr", 1)
    with pytest.raises(Sve2HdrError, match="nowhere: no such file"):
        collect_scenes((tmp_path / "good.exr", tmp_path / "nowhere"), 0, 0, pytest.fail)  # no scene is asked for


def test_a_broken_link_in_a_folder_is_left_out(tmp_path: Path) -> None:
    write_scene(tmp_path / "good.exr", 1)
    (tmp_path / "gone.exr").symlink_to(tmp_path / "nowhere.exr")
    scenes, notes = collected(tmp_path)
    assert list(scenes) == ["good"]
    assert "gone.exr: no such file" in notes[0]


def test_synthetic_scenes_have_the_seeds_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes_module, "synthetic_scene", lambda seed: synthetic_scene(seed, size=32))
    scenes, _ = collected(synthetic=2, seed=7)
    assert list(scenes) == ["synthetic-7", "synthetic-8"]
    assert_array_equal(scenes["synthetic-7"], synthetic_scene(7, size=32))


def test_a_folder_of_raws_is_one_white_balanced_scene(tmp_path: Path) -> None:
    y, x = np.mgrid[:160, :192] / 32
    light = (0.25 + 0.2 * np.sin(x) * np.cos(y)).astype(np.float32)
    light += 0.05 * (np.random.default_rng(0).random((20, 24)) > 0.5).repeat(8, 0).repeat(8, 1)
    one, stack = ExposurePattern(np.ones((1, 1), np.float32)), tmp_path / "stack"
    stack.mkdir()
    for number, stops in enumerate((0, 2)):
        scene = light[..., None] * np.float32(NEUTRAL * 2.0**stops)
        frame = simulate(scene, "RGGB", one, Sensor(), seed=number)
        capture = Capture("make", "model", exposure_time_s=0.01 * 2**stops, f_number=8, iso=100)
        tagged = type(frame)(**{**vars(frame), "capture": capture})
        write_cfa_dng(stack / f"{number}.dng", tagged)
    scenes, notes = collected(stack)
    assert notes == []
    assert list(scenes) == ["stack"]
    scene = scenes["stack"]
    assert scene.shape == (80, 96, 3)
    assert scene.dtype == np.float32
    medians = np.median(scene, axis=(0, 1))
    assert_allclose(medians / medians[1], 1, rtol=0.02)
    green = light[::2, 1::2]
    assert_allclose(scene[..., 1] / scene[..., 1].mean(), green / green.mean(), atol=0.1)


def test_what_is_known_of_a_stack_is_told(tmp_path: Path) -> None:
    flat, stack = np.full((160, 192, 3), 0.2 * NEUTRAL, np.float32), tmp_path / "stack"
    stack.mkdir()
    for stops in range(2):
        frame = simulate(flat * np.float32(2**stops), "RGGB", ONE_EXPOSURE, Sensor(), seed=stops)
        capture = Capture("make", "model", exposure_time_s=0.01 * 2**stops, f_number=8, iso=100)
        write_cfa_dng(stack / f"{stops}.dng", replace(frame, capture=capture))
    scenes, notes = collected(stack)
    assert list(scenes) == ["stack"]
    assert notes == [f"{stack / '0.dng'}: too little texture to tell whether the camera moved"]


def test_folders_named_as_images_are_folders(tmp_path: Path) -> None:
    (tmp_path / "a.exr").mkdir()
    write_scene(tmp_path / "a.exr" / "b.tif", 1)
    scenes = [name for name, _ in collect_scenes((tmp_path,), 0, 0, pytest.fail)]
    assert scenes == ["b"]


def test_a_source_that_is_given_twice_is_taken_once(tmp_path: Path) -> None:
    write_scene(tmp_path / "a.exr", 1)
    notes: list[str] = []
    sources = (tmp_path / "a.exr", tmp_path / "." / "a.exr")
    assert [name for name, _ in collect_scenes(sources, 0, 0, notes.append)] == ["a"]
    assert "once" in notes[0]


def test_a_folder_that_holds_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no scene")
    scenes, notes = collected(tmp_path)
    assert scenes == {}
    assert "empty: holds no HDR images and no raws" in notes[0]


def test_raws_beside_images_are_not_left_out_silently(tmp_path: Path) -> None:
    write_scene(tmp_path / "truth.exr", 1)
    (tmp_path / "1.CR2").write_bytes(b"")
    scenes, notes = collected(tmp_path)
    assert list(scenes) == ["truth"]
    assert "1 raw(s) beside images or folders left out" in notes[0]


def test_other_colours_are_converted(tmp_path: Path) -> None:
    space = COLOR_SPACES["acescg"]
    write(tmp_path / "a.exr", np.full((8, 10, 3), (1, 0, 0), np.float32), color_space=space)
    scenes, _ = collected(tmp_path)
    assert scenes["a"][0, 0, 0] > 1.5  # Rec. 709 has no such red: more of it, and green and blue below 0
    assert (scenes["a"][0, 0, 1:] == 0).all()
