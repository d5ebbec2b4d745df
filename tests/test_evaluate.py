"""Scores: of the scenes, in the stated conditions, the same again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from images import write_scene
from numpy.testing import assert_array_equal

from sve2hdr.errors import Sve2HdrError
from sve2hdr.evaluation.evaluate import (
    CLEAN,
    ISO_6400,
    LAYOUTS,
    Condition,
    Result,
    Scene,
    chart_scenes,
    full_conditions,
    measure,
    photographs,
    quick_conditions,
    scene_files,
)
from sve2hdr.evaluation.metrics import psnr_mu, pu21_psnr
from sve2hdr.interpolate import interpolate
from sve2hdr.mosaic import BAYER_ORDERS, QUAD_BAYER, ExposurePattern, Mosaic
from sve2hdr.simulation.lens import aberrated
from sve2hdr.simulation.simulate import NEUTRAL, Sensor

torch.set_num_threads(1)
LINEAR = {"linear": interpolate}


def smooth(height: int = 64, width: int = 72) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 24
    return np.stack([2 + np.sin(x), 2 + np.sin(x + y), 2 + np.cos(y)], axis=-1).astype(np.float32)


def scene() -> Scene:
    return Scene("smooth", np.float32(smooth() / 4 * NEUTRAL))


def score(condition: Condition) -> float:
    found = next(measure(LINEAR, [scene()], [condition])).psnr_mu
    assert found is not None
    return found


def test_every_method_scene_and_condition_is_scored_and_the_same_again(tmp_path: Path) -> None:
    paths = [write_scene(tmp_path / f"{name}.exr", smooth()) for name in "ab"]
    methods = {"linear": interpolate, "twice": lambda mosaic, pattern: 2 * interpolate(mosaic, pattern)}
    told: list[Result] = []
    seen: list[tuple[str, str, list[str]]] = []
    results = list(
        measure(
            methods,
            photographs(paths, pytest.fail, pytest.fail),
            quick_conditions(),
            told.append,
            lambda s, c, i: seen.append((s.name, str(c), [*i])),
        )
    )
    assert told == results
    assert [(r.scene, r.mode, r.method) for r in results] == [
        (s, m, n) for s in "ab" for m in ("exposure", "gain") for n in ("linear", "twice")
    ]
    assert seen == [(s, f"{m} 3 EV", ["linear", "twice"]) for s in "ab" for m in ("exposure", "gain")]
    again = measure(methods, photographs(paths, pytest.fail, pytest.fail), quick_conditions())
    assert [replace(r, seconds=0) for r in again] == [replace(r, seconds=0) for r in results]
    assert all(
        (one.psnr_mu or 0) > 30 > (other.psnr_mu or 0) for one, other in zip(results[::2], results[1::2], strict=True)
    )


def test_metrics_are_those_of_the_image_and_the_truth() -> None:
    pictures: list[np.ndarray] = []
    truth = scene().truth
    (result,) = measure(LINEAR, [scene()], [Condition()], seen=lambda s, c, i: pictures.append(i["linear"]))
    assert result.psnr_mu == psnr_mu(pictures[0], truth, 8)
    neutral = np.float32(NEUTRAL)
    assert result.pu21_psnr == pu21_psnr(pictures[0] / neutral, truth / neutral, 8)
    assert 0.9 < (result.pu21_ssim or 0) < 1
    assert 0 < (result.angle_deg or 0) < 3
    assert result.aliasing is result.chroma is None


def test_a_method_that_knew_the_truth_is_perfect() -> None:
    def knowing(mosaic: Mosaic, pattern: ExposurePattern) -> np.ndarray:
        return scene().truth * np.float32(pattern.ratio)

    (result,) = measure({"knowing": knowing}, [scene()], [Condition()])
    assert result.psnr_mu == result.psnr_linear == result.psnr_log == result.pu21_psnr == float("inf")
    assert result.pu21_ssim == pytest.approx(1)
    assert result.angle_deg == pytest.approx(0, abs=1e-3)


def test_noise_and_wrong_levels_cost_and_layouts_do_not() -> None:
    right = score(Condition())
    assert score(Condition(sensor=CLEAN)) > right > score(Condition(sensor=ISO_6400)) + 5
    for wrong in (Condition(ratio_error_ev=0.3), Condition(ratio_error_ev=-0.3), Condition(black_error=100)):
        assert score(wrong) < right - 0.5
    for other in [*(Condition(phase=p) for p in (1, 2, 3)), *(Condition(cfa=c) for c in BAYER_ORDERS)]:
        assert score(other) == pytest.approx(right, abs=0.6)  # a small scene's noise


def test_each_layout_has_its_exposures_and_a_way_to_be_reconstructed() -> None:
    seen: list[ExposurePattern] = []

    def method(mosaic: Mosaic, pattern: ExposurePattern) -> np.ndarray:
        seen.append(pattern)
        return interpolate(mosaic, pattern)

    scores = {}
    for layout in LAYOUTS:
        (scores[layout],) = measure({"m": method}, [scene()], quick_conditions(layout=layout)[:1])
    assert [str(pattern) for pattern in seen[:2]] == ["rows:0.125,0.125,1,1", "columns:0.125,0.125,1,1"]
    assert str(seen[2]) == "rows:0.125,0.125,0.125,0.125,1,1,1,1"
    assert sorted(np.log2(np.unique(seen[3].exposure)).tolist()) == pytest.approx([-3, -2, -1, 0], abs=1e-6)
    assert [pattern.exposure.shape for pattern in seen[3:]] == [(4, 4)] * 2 + [(2, 2)] * 3
    assert [np.unique(pattern.exposure).size for pattern in seen] == [2, 2, 2, 4, 2, 2, 3, 4]
    assert all(score.psnr_mu is not None and score.psnr_mu > 20 for score in scores.values())
    assert scores["columns"].condition == "exposure 3 EV, columns"


def test_a_pattern_of_ones_own_is_scored_as_the_layout_that_it_is() -> None:
    for layout in LAYOUTS:
        (preset, _) = quick_conditions(layout=layout)
        own = replace(preset, layout=str(preset.pattern))
        np.testing.assert_allclose(own.pattern.exposure, preset.pattern.exposure, rtol=1e-5)
        assert str(own.pattern) == own.layout
    as_preset, as_own = (
        next(measure(LINEAR, [scene()], quick_conditions(layout=layout))) for layout in ("rows", "rows:1/8,1/8,1,1")
    )
    assert as_own.condition == "exposure 3 EV, rows:1/8,1/8,1,1"
    same = {"seconds": 0, "condition": "", "layout": ""}
    assert replace(as_own, **same) == replace(as_preset, **same)  # type: ignore[arg-type]


def test_what_is_simulated_is_the_sensor_that_is_asked_for() -> None:
    given: list[tuple[Mosaic, ExposurePattern]] = []

    def noting(mosaic: Mosaic, pattern: ExposurePattern) -> np.ndarray:
        given.append((mosaic, pattern))
        return interpolate(mosaic, pattern)

    sensor = Sensor(bit_depth=10, black_level=64, white_level=1000, full_well_e=5000, read_noise_e=2)
    (result, _) = measure({"m": noting}, [scene()], quick_conditions(1.5, sensor, "grid:1,1/2;1/4,1/8", QUAD_BAYER))
    mosaic, pattern = given[0]
    assert (mosaic.cfa, mosaic.white_level, float(mosaic.black_level.max())) == (QUAD_BAYER, 1000, 64)
    np.testing.assert_allclose(np.log2(pattern.exposure), [[0, -0.5], [-1, -1.5]], atol=1e-6)
    assert (result.ratio_ev, result.cfa, result.bit_depth) == (1.5, QUAD_BAYER, 10)
    assert (result.full_well_e, result.read_noise_e, result.layout) == (5000, 2, "grid:1,1/2;1/4,1/8")


def test_what_a_method_is_told_is_wrong_as_stated() -> None:
    given: list[tuple[Mosaic, ExposurePattern]] = []

    def noting(mosaic: Mosaic, pattern: ExposurePattern) -> np.ndarray:
        given.append((mosaic, pattern))
        return interpolate(mosaic, pattern)

    condition = Condition(ratio_ev=2, phase=1, cfa="GRBG", ratio_error_ev=0.05, black_error=2)
    list(measure({"noting": noting}, [scene()], [condition, Condition(ratio_ev=2, phase=1, cfa="GRBG")]))
    (wrong, wrong_pattern), (right, right_pattern) = given
    assert (wrong.counts == right.counts).all()
    assert (wrong.black_level - right.black_level == 2).all()
    assert wrong_pattern.ratio_ev == pytest.approx(2.05)
    assert right_pattern.exposure.ravel().tolist() == [0.25, 1, 1, 0.25]
    assert right.cfa == "GRBG"


@pytest.mark.parametrize("layout", ["quad", "blocks", "columns", "fours"])
def test_the_full_set_of_other_layouts_is_of_them(layout: str) -> None:
    rows, others = full_conditions(), full_conditions(layout)
    assert {c.layout for c in others} == {layout}
    assert {len(c.cfa) for c in others} == {16 if layout == "quad" else 4}
    assert {"GRRGGRRGBGGBBGGB", "GGBBRRGGRRGGGGBB", "BGGBGRRGGRRGBGGB"} <= {c.cfa for c in others} or layout != "quad"
    assert {c.phase for c in others} == set(range(len(LAYOUTS[layout])))
    phases = len(LAYOUTS[layout]) + 3 * (layout == "quad")
    assert len({str(c) for c in others}) == len(others) == len(rows) - 4 + phases


def test_the_full_set_holds_what_it_promises() -> None:
    conditions = full_conditions()
    assert len({str(c) for c in conditions}) == len(conditions)
    assert {(c.ratio_ev, c.mode) for c in conditions} == {(ev, m) for ev in (2, 3, 4) for m in ("exposure", "gain")}
    assert {c.noise for c in conditions} == {"clean", "normal", "ISO 6400"}
    assert {c.cfa for c in conditions} == set(BAYER_ORDERS)
    assert {c.phase for c in conditions} == {0, 1, 2, 3}
    assert {c.ratio_error_ev for c in conditions} == {0, -0.05, 0.05}
    assert {c.black_error for c in conditions} == {0, -2, 2}
    assert {c.aberration_px for c in conditions} == {0, 1}


def test_a_lens_displaces_the_truth_as_what_the_sensor_sees() -> None:
    (sharp,) = measure(LINEAR, [scene()], [Condition()])
    shown: list[np.ndarray] = []
    (lens,) = measure(LINEAR, [scene()], [Condition(aberration_px=2)], seen=lambda s, c, i: shown.append(s.truth))
    assert_array_equal(shown[0], aberrated(scene().truth, 2))
    # linear interpolation takes each colour by itself, so that nothing is lost to it
    assert lens.psnr_mu == pytest.approx(sharp.psnr_mu, abs=0.5)
    assert lens.condition == "exposure 3 EV, aberration 2 px"


def test_charts_are_scored_by_what_they_are_for() -> None:
    results = list(measure(LINEAR, chart_scenes(), [Condition()]))
    assert [r.scene for r in results] == ["zone plates", "fine lines", "flat grey", "pure colours", "coloured stripes"]
    assert all((r.aliasing or 0) > 0.1 and r.chroma is None for r in results[:2])
    assert 0.01 < (results[2].chroma or 0) < 0.2
    assert 1e-4 < (results[3].colour or 0) < 0.01
    assert 0.2 < (results[4].stripes or 0) < 0.9
    assert all(r.psnr_mu is None for r in results)


def test_scene_files_are_images_by_name(tmp_path: Path) -> None:
    for name in ("b.exr", "a.hdr", ".hidden.exr", "c.TIF", "notes.txt", "d.dng"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in scene_files(tmp_path)] == ["a.hdr", "b.exr", "c.TIF"]


def test_scenes_that_cannot_be_used_are_named_and_left_out(tmp_path: Path) -> None:
    good, black, small, wrong = (tmp_path / f"{name}.exr" for name in ("good", "black", "small", "wrong"))
    write_scene(good, smooth())
    write_scene(black, np.zeros((32, 32, 3), np.float32))
    write_scene(small, smooth()[:26])
    wrong.write_bytes(b"no image")
    notes: list[str] = []
    assert [scene.name for scene in photographs([black, small, good, wrong], notes.append, pytest.fail)] == ["good"]
    assert [f"{name}.exr" in note for name, note in zip(("black", "small", "wrong"), notes, strict=True)] == [True] * 3
    assert "scores need 27 a side" in notes[1]


def test_where_a_method_fails_no_method_has_a_score(tmp_path: Path) -> None:
    calls: list[Mosaic] = []

    def failing(mosaic: Mosaic, pattern: ExposurePattern) -> np.ndarray:
        calls.append(mosaic)
        if len(calls) % 2 == 0:  # by gain
            raise Sve2HdrError("program: failed")
        return interpolate(mosaic, pattern)

    notes: list[str] = []
    methods = {"linear": interpolate, "failing": failing}
    results = list(measure(methods, [scene()], quick_conditions(), note=notes.append))
    assert [(r.method, r.mode) for r in results] == [("linear", "exposure"), ("failing", "exposure")]
    assert notes == [f"left out: {scene().name}, gain 3 EV: program: failed"]
    with pytest.raises(Sve2HdrError, match="program: failed"):
        list(measure(methods, [scene()], quick_conditions()))


def test_scenes_are_told_apart(tmp_path: Path) -> None:
    paths = [write_scene(tmp_path / name, smooth()) for name in ("a.exr", "a.tif", "b.exr")]
    assert [s.name for s in photographs(paths, pytest.fail, pytest.fail)] == ["a.exr", "a.tif", "b"]
    alike = [replace(scene(), name=name) for name in ("a b", "a-b", "a-b (2)", "A b")]
    names = [r.scene for r in measure(LINEAR, alike, [Condition()])]
    assert names == ["a b", "a-b (2)", "a-b (2) (2)", "A b (3)"]
    photo = replace(scene(), name="fine lines")
    charts = [s.name for s in chart_scenes()]
    assert next(measure(LINEAR, [photo], [Condition()])).scene == "fine lines (2)"
    assert charts == [r.scene for r in measure(LINEAR, chart_scenes(), [Condition()])]


def test_what_is_done_is_there_before_the_rest(tmp_path: Path) -> None:
    calls: list[Mosaic] = []

    def failing(mosaic: Mosaic, pattern: ExposurePattern) -> np.ndarray:
        calls.append(mosaic)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return interpolate(mosaic, pattern)

    scored = measure({"failing": failing}, [scene()], quick_conditions())
    assert next(scored).mode == "exposure"
    with pytest.raises(KeyboardInterrupt):
        next(scored)


def test_what_a_file_leaves_open_is_noted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((40, 40, 3), 30_000, np.uint16), photometric="rgb")
    notes: list[str] = []
    assert [s.name for s in photographs([tmp_path / "a.tif"], pytest.fail, notes.append)] == ["a"]
    assert "taken as linear light" in notes[0]
