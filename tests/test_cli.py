"""The commands as a user runs them: what they write, print and exit with."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
import OpenEXR
import pytest
import tifffile
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from PIL import Image

from sve2hdr import Sve2HdrError, __main__, __version__, convert, pipeline
from sve2hdr.color import COLOR_SPACES
from sve2hdr.commands import cli, evaluatecommand, imageoptions, options, terminal
from sve2hdr.commands.options import Command
from sve2hdr.evaluation import evaluate, methods
from sve2hdr.evaluation.metrics import psnr_mu
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.exrwrite import EXR_COMPRESSIONS
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.hdrfile import write_hdr
from sve2hdr.mosaic import Capture
from sve2hdr.rawfile import read_raw
from sve2hdr.system import signals
from sve2hdr.system.signals import STOP_SIGNALS, stopping
from sve2hdr.training import scenes
from sve2hdr.weights import weights_path

COMMANDS = ("batch", "convert", "dataset", "detect", "evaluate", "simulate", "train", "unpack")
PATTERN = "rows:0.125,0.125,1,1"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


def done(*arguments: object) -> Result:
    """Run a command that must succeed."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: object, code: int = 1) -> str:
    """Run a command that must fail with one line, and return the line."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    if code == 1:
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("sve2hdr: ")
    return lines[-1]


@pytest.fixture(scope="module")
def made(scene_exr: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with raw.dng, a Dual ISO frame, truth.exr beside it, and plain.dng, which has one exposure."""
    folder = tmp_path_factory.mktemp("made")
    done("simulate", scene_exr, "-o", folder / "raw.dng", "--mode", "gain", "--truth", folder / "truth.exr")
    done("simulate", scene_exr, "-o", folder / "plain.dng", "--pattern", "rows:1,1")
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, the current one, in which only the outputs of a command lie."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def one_scene(scene_exr: Path, work: Path) -> None:
    """Put a small part of a scene into the folder `scenes`: enough for `evaluate`."""
    (work / "scenes").mkdir()
    with OpenEXR.File(str(scene_exr)) as exr:
        part = np.ascontiguousarray(exr.channels()["RGB"].pixels[:64, :80])
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": part}).write("scenes/a.exr")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# What is written ------------------------------------------------------------------------------------------------------


def test_simulated_raw_converts_to_its_truth(made: Path, work: Path) -> None:
    result = done("convert", made / "raw.dng", "-o", "out.exr", "--color-space", "camera", "--float")
    assert "160 x 128" in result.stdout
    assert re.search(r"rows:\S+, (2\.9|3\.0)\d EV", result.stdout)
    image, truth = read_hdr(work / "out.exr"), read_hdr(made / "truth.exr")
    held = truth.max(axis=2) < 7.5  # of 8: not clipped in all exposures
    error = np.median(np.abs(image - truth)[held] / (truth[held] + 0.02))
    assert error < 0.1
    assert image.max() > 2  # what only the less exposed sites hold


def test_every_format_is_what_its_name_says(made: Path, work: Path) -> None:
    for output in ("out.exr", "out.hdr", "out.tif"):
        done("convert", made / "raw.dng", "-o", output)
    assert (work / "out.exr").read_bytes()[:4] == b"\x76\x2f\x31\x01"
    assert (work / "out.hdr").read_bytes().startswith(b"#?RADIANCE\n")
    assert tifffile.imread(work / "out.tif").dtype == np.float32
    header = OpenEXR.File("out.exr").header()
    assert header["sve2hdr:pattern"].startswith("rows:")
    assert header["sve2hdr:model"] == "standard"
    assert header["cameraModel"] == "simulated SVE sensor"
    exr, tif = read_hdr(work / "out.exr"), read_hdr(work / "out.tif")
    np.testing.assert_allclose(exr, tif, rtol=2**-11, atol=1e-6)  # half against float
    np.testing.assert_allclose(read_hdr(work / "out.hdr"), np.maximum(tif, 0), atol=tif.max() / 200)


def test_preview_auto_lies_beside_the_output_and_is_upright_8_bit(made: Path, work: Path) -> None:
    result = done("convert", made / "raw.dng", "-o", "out.v2.exr", "--preview", "auto")
    assert "out.v2.preview.jpg" in result.stdout
    assert names(work) == {"out.v2.exr", "out.v2.preview.jpg"}
    with Image.open("out.v2.preview.jpg") as picture:
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (160, 128), "RGB")
    done("convert", made / "raw.dng", "--preview", "-o", "out3.exr", "--model", "classical")  # as batch has it
    assert (work / "out3.preview.jpg").exists()
    done("convert", made / "raw.dng", "-o", "out.exr", "--preview", "named.png")
    with Image.open("named.png") as picture:
        assert picture.format == "PNG"
    darker = ("--preview", "darker.png", "--preview-exposure", -1)
    done("convert", made / "raw.dng", "-o", "out2.exr", *darker)
    with Image.open("named.png") as usual, Image.open("darker.png") as picture:
        assert np.asarray(picture).mean() < 0.85 * np.asarray(usual).mean()


def test_exposure_is_an_exact_factor(made: Path, work: Path) -> None:
    done("convert", made / "raw.dng", "-o", "zero.tif")
    done("convert", made / "raw.dng", "-o", "down.tif", "--exposure", "-3")
    np.testing.assert_array_equal(tifffile.imread("down.tif"), tifffile.imread("zero.tif") / np.float32(8))


def test_color_spaces_are_named_and_differ(made: Path, work: Path) -> None:
    images, chromaticities = {}, {}
    for space in ("camera", "rec709", "acescg"):
        done("convert", made / "raw.dng", "-o", f"{space}.exr", "--color-space", space, "--float")
        images[space] = read_hdr(work / f"{space}.exr")
        chromaticities[space] = OpenEXR.File(f"{space}.exr").header().get("chromaticities")
    assert chromaticities["camera"] is None
    assert chromaticities["rec709"] == pytest.approx((0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329), abs=1e-4)
    assert len({image.tobytes() for image in images.values()}) == len(images)


CHANGE = {
    "--pattern": "rows:1/4,1/4,1,1", "--ev": 2.5, "--black": 1000, "--white": 15_000, "--wb": "3200K", "--exposure": 1,
    "--color-space": "rec2020", "--bad-pixel-map": "bad.txt", "--no-bad-pixels": None, "--model": "classical",
    "--ensemble": None, "--precision": "bfloat16", "--float": None, "--compression": "b44",
}  # fmt: skip
CHANGE_NOTHING = (
    "--output --overwrite --preview --preview-exposure --preview-size --ultra-hdr --lock-params --if-not-sve --tile "
    "--device"
)


def test_every_option_that_shall_change_the_image_does(made: Path, work: Path, weights: Path) -> None:
    """One that leads nowhere, on its way from the command line to the pixels, would go unseen."""
    options = [option for option in cli.main.commands["convert"].params if isinstance(option, click.Option)]
    assert {max(option.opts, key=len) for option in options} == {*CHANGE, *CHANGE_NOTHING.split()}
    raw = read_raw(made / "raw.dng")
    counts = raw.counts.copy()
    counts[60, 60] = 16_000  # a hot site
    write_cfa_dng(work / "hot.dng", replace(raw, counts=counts))
    (work / "bad.txt").write_text("31 40\n")

    def converted(changed: dict[str, object]) -> bytes:
        given = {"--model": weights, "--precision": "float32"} | changed
        words = [word for pair in given.items() for word in pair if word is not None]
        done("convert", "hot.dng", "-o", "a.exr", "--overwrite", "--device", "cpu", *words)
        return read_hdr(work / "a.exr").tobytes()

    usual = converted({})
    assert converted({}) == usual
    assert [name for name, value in CHANGE.items() if converted({name: value}) == usual] == []


def test_tiles_and_overrides_that_say_the_truth_change_nothing(made: Path, work: Path) -> None:
    levels = ("--black", 1024, "--white", 16128)
    done("convert", made / "raw.dng", "-o", "plain.tif", "--pattern", PATTERN, *levels)
    done("convert", made / "raw.dng", "-o", "told.tif", "--pattern", "rows:1,1,4,4", "--ev", 3, *levels)
    done("convert", made / "raw.dng", "-o", "tiled.tif", "--pattern", PATTERN, "--tile", 48, *levels)
    np.testing.assert_array_equal(tifffile.imread("told.tif"), tifffile.imread("plain.tif"))
    np.testing.assert_allclose(tifffile.imread("tiled.tif"), tifffile.imread("plain.tif"), rtol=1e-5, atol=1e-5)
    done("convert", made / "raw.dng", "-o", "other.tif", "--ev", 2.5)
    assert np.abs(tifffile.imread("other.tif") - tifffile.imread("plain.tif")).max() > 0.05


def test_overwrite(made: Path, work: Path) -> None:
    Path("out.exr").write_text("mine")
    assert "--overwrite" in refused("convert", made / "raw.dng", "-o", "out.exr")
    assert Path("out.exr").read_text() == "mine"
    done("convert", made / "raw.dng", "-o", "out.exr", "--overwrite")
    assert read_hdr(work / "out.exr").shape == (128, 160, 3)


def test_the_raw_itself_is_never_replaced(scene_exr: Path, made: Path, work: Path) -> None:
    raw = work / "raw.tif"  # a DNG by any name
    raw.write_bytes((made / "raw.dng").read_bytes())
    assert "the raw file itself" in refused("convert", raw, "-o", "raw.tif", "--overwrite")
    scene = work / "scene.exr"
    scene.write_bytes(scene_exr.read_bytes())
    assert "the source itself" in refused("simulate", scene, "-o", "a.dng", "--truth", "scene.exr", "--overwrite")
    assert raw.read_bytes() == (made / "raw.dng").read_bytes()
    assert names(work) == {"raw.tif", "scene.exr"}


def test_luminance_of_locked_frames_is_that_of_their_light(scene_exr: Path, work: Path) -> None:
    for name, saturation in (("bright", 4), ("dim", 8)):
        done("simulate", scene_exr, "-o", f"{name}.dng", "--saturation", saturation, "--mode", "gain")
        xyz = ("--color-space", "xyz", "--float", "--lock-params", "session.json")
        done("convert", f"{name}.dng", "-o", f"{name}.exr", *xyz)
    truth = read_hdr(scene_exr) @ np.array([0.2126, 0.7152, 0.0722])
    bright, dim = (read_hdr(work / f"{name}.exr")[..., 1] for name in ("bright", "dim"))
    lit = (truth > 0.05) & (truth < 2)
    assert np.median(bright[lit] / dim[lit]) == pytest.approx(2, rel=0.01)
    off = np.abs(np.log2(bright[lit] / truth[lit] / np.median(bright[lit] / truth[lit])))
    assert np.median(off) < 0.1  # EV
    share = truth > np.median(truth[lit])
    of_halves = [np.median(bright[lit & half] / truth[lit & half]) for half in (share, ~share)]
    assert of_halves[0] == pytest.approx(of_halves[1], rel=0.03)  # proportional


# What is found --------------------------------------------------------------------------------------------------------


def test_detect_prints_and_exits_with_what_it_found(made: Path) -> None:
    line = done("detect", made / "raw.dng").stdout
    assert line.startswith(f"{made / 'raw.dng'}: rows:")
    assert "confidence" in line
    assert "RGGB" in done("detect", "--verbose", made / "raw.dng").stdout
    assert "no exposure pattern" in refused("detect", made / "plain.dng")


def test_detect_json_has_a_line_for_each_file_and_goes_on_past_bad_ones(made: Path, work: Path) -> None:
    (work / "text.cr2").write_text("no raw file" * 100)
    result = run("detect", "--json", made / "raw.dng", "text.cr2", "missing.nef", made / "plain.dng")
    assert result.exit_code == 1
    assert result.stderr == ""
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["sve"] for record in records] == [True, False, False, False]
    for record in records:
        assert {"file", "sve", "exposure", "ratio_ev", "confidence", "cfa", "reason"} <= set(record)
    assert records[0]["ratio_ev"] == pytest.approx(3, abs=0.05)
    np.testing.assert_allclose(np.ravel(records[0]["exposure"]), [1 / 8, 1 / 8, 1, 1], rtol=0.04)
    assert records[0]["cfa"] == "RGGB"
    assert records[1]["file"] == "text.cr2"
    assert "no such file" in records[2]["reason"]
    assert [record.get("error") for record in records] == [None, *(r["reason"] for r in records[1:3]), None]


def test_patterns_are_expanded_where_no_shell_does(made: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "NO_SHELL_EXPANDS", True)
    for name in ("shot1.dng", "shot[1].dng", "shoot/a/2.dng"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("no raw")

    def detected(*given: str) -> list[str]:
        return [json.loads(line)["file"] for line in run("detect", "--json", *given).stdout.splitlines()]

    assert detected("shot[1].dng") == ["shot[1].dng"]  # what is there by its very name
    assert detected("shot?.dng", "*.dng") == ["shot1.dng", "shot1.dng", "shot[1].dng"]
    assert [Path(file) for file in detected("shoot/**/*.dng")] == [Path("shoot/a/2.dng")]
    assert detected("*.CR2", "none.CR2") == ["*.CR2", "none.CR2"]  # nothing fits: an error that names it
    assert refused("detect", code=2).startswith("Error: Missing argument")
    assert "shoot is a folder" in refused("detect", "sh*t", code=2)
    assert "one too many" in refused("convert", "shot*.dng", "-o", "*.exr", code=2)


def test_patterns_reach_commands_as_they_are_typed(muted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Click would expand them on Windows, also those of options; a ~ is the home folder there."""
    typed = ["batch", "*", "--include", "*.dng", "-o", "~/hdr", "~1.dng"]
    monkeypatch.setattr(sys, "argv", ["sve2hdr", *typed])
    home = os.path.expanduser("~")
    assert __main__._arguments(windows=True) == [*typed[:5], f"{home}/hdr", "~1.dng"]
    assert __main__._arguments(windows=False) == typed
    seen: list[object] = []
    monkeypatch.setattr(cli, "main", lambda *arguments: seen.extend(arguments))
    __main__.main()
    assert seen == [__main__._arguments()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there PyTorch has GNU's OpenMP")
@pytest.mark.parametrize(
    ("asked", "rounds"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "30000000000")],
)
def test_threads_that_wait_leave_the_cores_to_others_unless_asked(asked: dict[str, str], rounds: str) -> None:
    script = "import sys, sve2hdr.__main__ as m\ntry: m.main()\nexcept SystemExit: import torch"
    free = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    ran = subprocess.run(
        [sys.executable, "-c", script, "--version"],
        env=free | {"OMP_DISPLAY_ENV": "verbose"} | asked,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", ran.stderr) == [rounds]


def test_detect_tells_levels_and_ratio_given_to_it(made: Path) -> None:
    given = json.loads(done("detect", "--json", "--pattern", "columns:1,1,1/4,1/4", made / "plain.dng").stdout)
    assert given["exposure"] == [[1, 1, 0.25, 0.25]]
    assert given["ratio_ev"] == 2
    assert given["confidence"] is None
    other = json.loads(done("detect", "--json", "--ev", 2, made / "raw.dng").stdout)
    assert other["ratio_ev"] == 2
    assert "the pixels show rows:" in other["note"]
    told = done("detect", "--pattern", "rows:1,1,1/8,1/8", made / "raw.dng")
    assert "the pixels show rows:" in told.stderr
    assert "as given" in told.stdout
    assert "white level" in refused("detect", "--black", 20000, made / "raw.dng")


def test_detect_tells_each_level_and_where_it_is_from(made: Path) -> None:
    record = json.loads(done("detect", "--json", made / "raw.dng").stdout)
    for name in ("black", "white", "read_noise", "gain"):
        assert np.shape(record[name]) == (4, 2)
    assert record["ratio_ev_error"] < 0.05
    assert set(record["sources"]) == {"pattern", "ratio_ev", "black", "white", "read_noise", "gain"}
    told = done("detect", "-v", made / "raw.dng").stdout
    assert "  black 10" in told
    assert "black: file + fit" in told
    levels = ("--black", "1024;1025;1026;1027", "--white", "16000,15000")
    given = json.loads(done("detect", "--json", *levels, made / "raw.dng").stdout)
    assert [row[0] for row in given["black"]] == [1024, 1025, 1026, 1027]
    assert {row[0] for row in given["white"]} == {16000, 15000}
    assert given["sources"]["black"] == given["sources"]["white"] == "given"
    assert "white levels for 2 exposures" in refused("detect", "--white", "16000,15000,14000", made / "raw.dng")
    for wrong in (("--black", "1,2;3"), ("--black", "dark"), ("--white", "1;2"), ("--white", "nan")):
        refused("detect", *wrong, made / "raw.dng", code=2)


def test_parameters_are_locked_for_the_next_frame(made: Path, work: Path) -> None:
    command = ("convert", made / "raw.dng", "--lock-params", "levels.json", "--model", "classical")
    done(*command, "-o", "a.tif")
    locked = (work / "levels.json").read_bytes()
    done(*command, "-o", "b.tif")
    assert (work / "levels.json").read_bytes() == locked
    np.testing.assert_array_equal(tifffile.imread(work / "a.tif"), tifffile.imread(work / "b.tif"))
    assert "leave out --pattern" in refused(*command, "-o", "c.tif", "--black", 1024)
    assert not (work / "c.tif").exists()


@pytest.mark.parametrize("pattern", ["rows:1/8,1/8,1,1", "rows:1,1/4,1/4,1", "columns:1,1,1/8,1/8"])
def test_simulate_writes_what_detect_finds(scene_exr: Path, work: Path, pattern: str) -> None:
    done("simulate", scene_exr, "-o", "raw.dng", "--pattern", pattern, "--cfa", "GBRG", "--bits", 12, "--compress")
    mosaic = read_raw(work / "raw.dng")
    assert (mosaic.cfa, mosaic.white_level, mosaic.black_level.max()) == ("GBRG", 4032, 256)
    found = json.loads(done("detect", "--json", "raw.dng").stdout)
    np.testing.assert_allclose(found["exposure"], options.parse_pattern(pattern).exposure, rtol=0.05)


def test_simulate_tells_of_a_pattern_in_which_colours_lack_exposures(scene_exr: Path, work: Path) -> None:
    singles, cells = "grid:1,1/2;1/4,1/8", "grid:1,1,0.5,0.5;1,1,0.5,0.5;0.25,0.25,0.125,0.125;0.25,0.25,0.125,0.125"
    said = (
        "sve2hdr: a.dng: in this pattern the saturation of red and green comes 3.0 EV early; highlights above it have "
        f"false colours; if rows and columns go in pairs, write {cells}\n"
    )
    assert done("simulate", scene_exr, "-o", "a.dng", "--pattern", singles).stderr == said
    assert read_raw(work / "a.dng").shape == (128, 160)
    assert done("simulate", scene_exr, "-o", "b.dng", "--pattern", cells).stderr == ""
    assert done("simulate", scene_exr, "-o", "c.dng", "--pattern", singles, "--cfa", "RRGGRRGGGGBBGGBB").stderr == ""


def test_simulate_takes_a_tiff_of_an_array(scene_exr: Path, work: Path) -> None:
    scene = read_hdr(scene_exr)
    for name, array in (("a", scene), ("b", scene.astype(np.float64))):
        tifffile.imwrite(work / f"{name}.tif", array, photometric="rgb")
        done("simulate", f"{name}.tif", "-o", f"{name}.dng")
    done("simulate", scene_exr, "-o", "c.dng")
    a, b, c = (read_raw(work / f"{name}.dng").counts for name in "abc")
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(b, c)


def test_simulate_is_told_by_its_seed(scene_exr: Path, work: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done("simulate", scene_exr, "-o", f"{name}.dng", "--seed", seed)
    a, b, c = (read_raw(work / f"{name}.dng").counts for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert (a != c).mean() > 0.5


def test_every_option_of_a_simulated_sensor_changes_the_raw(scene_exr: Path, work: Path) -> None:
    change = {
        "--pattern": "columns:1,1,1/8,1/8", "--ev": 2, "--cfa": "GBRG", "--mode": "exposure", "--percentile": 90,
        "--saturation": 2, "--bits": 12, "--black": 900, "--white": 15_000, "--full-well": 5000, "--read-noise": 9,
        "--preamp-noise": 4, "--seed": 1,
    }  # fmt: skip
    options = [option for option in cli.main.commands["simulate"].params if isinstance(option, click.Option)]
    of_files = {"--output", "--overwrite", "--truth", "--compress"}
    assert {max(option.opts, key=len) for option in options} == {*change} | of_files

    def simulated(changed: dict[str, object]) -> bytes:
        words = [word for pair in ({"--mode": "gain"} | changed).items() for word in pair]
        done("simulate", scene_exr, "-o", "a.dng", "--overwrite", *words)
        return read_raw(work / "a.dng").counts.tobytes()

    usual = simulated({})
    assert simulated({}) == usual
    assert [name for name, value in change.items() if simulated({name: value}) == usual] == []


def test_simulate_takes_one_exposure_for_several_frames(scene_exr: Path, work: Path) -> None:
    done("simulate", scene_exr, "-o", "a.dng", "--percentile", 90)
    told = float(np.percentile(read_hdr(scene_exr)[..., 1], 90))
    done("simulate", scene_exr, "-o", "b.dng", "--saturation", told)
    np.testing.assert_array_equal(read_raw(work / "a.dng").counts, read_raw(work / "b.dng").counts)
    refused("simulate", scene_exr, "-o", "no.dng", "--percentile", 90, "--saturation", 2, code=2)
    for name, noise in (("c", 0), ("d", 4)):
        gain = ("--mode", "gain", "--saturation", 1e6, "--read-noise", 4, "--preamp-noise", noise)
        done("simulate", scene_exr, "-o", f"{name}.dng", *gain)
    quiet, noisy = (read_raw(work / f"{name}.dng").counts[2::4].std() for name in "cd")
    assert noisy > 5 * quiet  # what is there before the amplifier is amplified, eightfold


def test_simulate_takes_a_stack_of_raws(scene_exr: Path, work: Path) -> None:
    for number, percentile in enumerate((99.9, 90)):
        frame = ("--pattern", "rows:1,1", "--percentile", percentile, "--seed", number)
        done("simulate", scene_exr, "-o", f"{number}.dng", *frame)
    levels = [np.median(read_raw(work / f"{n}.dng").counts.astype(float) - 1024) for n in (0, 1)]
    step = float(np.log2(levels[1] / levels[0]))
    if os.name == "posix":  # a name that is no Unicode
        os.rename(b"1.dng", b"1\xff.dng")
    stack = (
        "0.dng",
        next(work.glob("1*.dng")),
        "--ev",
        f"0,{step:.3f}",
        "--pattern",
        f"rows:1,1,{2**step:.4f},{2**step:.4f}",
    )
    told = done("simulate", *stack, "-o", "sve.dng", "--truth", "truth.exr")
    assert "EV" in told.stdout
    assert told.stderr == ""
    told = done("simulate", *stack[:-1], f"rows:1,{2**step:.4f}", "-o", "single.dng")
    assert told.stderr.startswith("sve2hdr: single.dng: in this pattern the saturation of ")
    assert "write rows:" in told.stderr
    assert read_hdr(work / "truth.exr").shape == (128, 160, 3)
    refused("simulate", *stack, "-o", "no.dng", "--cfa", "BGGR", code=2)  # the stack's own, not to be chosen


def test_dataset_train_evaluate_convert(one_scene: None, made: Path, work: Path) -> None:
    (work / "scenes" / "broken.exr").write_bytes(b"no image")
    packed = run("dataset", "scenes", "-o", "shards", "--synthetic", 1)
    assert packed.exit_code == 1  # as not all could be packed
    assert "2 scenes" in packed.stdout
    assert "broken.exr" in packed.stderr
    assert "holds shards already" in refused("dataset", "scenes", "-o", "shards")
    for again in (False, True):
        ended = done("train", "shards", "-o", "mine", "--steps", 1, "--batch", 1, "--patch", 32, "--device", "cpu")
        assert ("trained to the end already" in ended.stderr) is again
    assert {"weights.safetensors", "log.jsonl", "curve.png"} <= names(work / "mine")
    refine = ("train", "shards", "-o", "refined", "--steps", 1, "--batch", 1, "--patch", 32, "--device", "cpu")
    done(*refine, "--start", "mine/weights.safetensors")
    assert "start from one for blocks or quad" in refused(*refine, "--start", "standard", "--layout", "quad", code=2)
    (work / "scenes" / "broken.exr").unlink()
    table = done("evaluate", "scenes", "--model", "mine/weights.safetensors")
    assert [line.split()[:2] for line in table.stdout.splitlines()[-2:]] == [["mean", "exposure"], ["mean", "gain"]]
    done("convert", made / "raw.dng", "-o", "mine.exr", "--model", "mine/weights.safetensors")


def test_evaluate_compares_methods_in_the_asked_form(one_scene: None, work: Path) -> None:
    asked = ("evaluate", "scenes", "--model", "classical", "--ev", 2)
    lines = [json.loads(line) for line in done(*asked, "--format", "json").stdout.splitlines()]
    assert {line["method"] for line in lines} == {"linear", "classical"}
    assert "| mean |" in done(*asked, "--format", "markdown", "--pictures", "shown").stdout
    assert names(work / "shown")
    assert "shown" in refused(*asked, "--pictures", "shown")
    assert "--ev cannot be given with --full" in refused("evaluate", "scenes", "--full", "--ev", 2, code=2)


def test_evaluate_adds_what_people_see_where_it_is_asked_for(one_scene: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Seeing:
        described = "a metric on a display"

        def __init__(self, device: str) -> None:
            assert device == "cpu"

        def __call__(self, image: np.ndarray, truth: np.ndarray, border_px: int) -> float:
            return 10 - float(np.abs(image - truth)[border_px:-border_px, border_px:-border_px].max() > 0) / 8

    asked = ("evaluate", "scenes", "--model", "linear", "--device", "cpu")
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    assert "pip install 'sve2hdr[cvvdp]'" in refused(*asked, "--cvvdp")
    monkeypatch.setattr("sve2hdr.evaluation.colorvideovdp.ColorVideoVdp", Seeing)
    assert all(json.loads(line)["cvvdp_jod"] is None for line in done(*asked, "--format", "json").stdout.splitlines())
    told = done(*asked, "--cvvdp", "--format", "json").stdout.splitlines()
    assert {json.loads(line)["cvvdp"] for line in told} == {Seeing.described}
    lines = done(*asked, "--cvvdp").stdout.splitlines()
    at = lines.index(Seeing.described)
    assert lines[at + 1].startswith("CVVDP, JOD; row pairs, 3 EV")
    assert lines[-1].split() == ["mean", "gain", "3", "EV", "9.875"]
    assert lines[at - 2].startswith("mean")
    assert "9.875" not in lines[at - 2]
    full = done(*asked, "--cvvdp", "--full").stdout.splitlines()
    assert Seeing.described in full
    assert any("CVVDP JOD" in line for line in full)


def test_evaluate_shows_each_network_and_its_ensemble(one_scene: None) -> None:
    asked = ("evaluate", "scenes", "--model", "classical", "--model", "standard", "--ensemble", "--format", "json")
    scores = {
        (line["method"], line["mode"]): line["psnr_mu"] for line in map(json.loads, done(*asked).stdout.splitlines())
    }
    assert {method for method, _ in scores} == {"linear", "classical", "standard", "standard ensemble"}
    assert all(scores["standard ensemble", mode] > scores["standard", mode] for mode in ("exposure", "gain"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_evaluate_scores_other_programs_and_leaves_out_what_they_fail_at(one_scene: None, work: Path) -> None:
    Path("gives the scene.sh").write_text('cp scenes/a.exr "$2"')
    asked = ("evaluate", "scenes", "--model", "linear", "--format", "json", "--timeout", 600, "--external")
    scores = [json.loads(line) for line in done(*asked, "sh 'gives the scene.sh' {input} {output}").stdout.splitlines()]
    of = {(score["method"], score["mode"]): score["psnr_mu"] for score in scores}
    assert {method for method, _ in of} == {"linear", "sh"}
    assert all(of["sh", mode] > of["linear", mode] + 10 for mode in ("exposure", "gain"))  # but for its scale perfect
    failed = run(*asked, "false {input} {output}")
    assert failed.exit_code == 1
    assert "false: failed with code 1" in failed.stderr


def test_evaluate_in_full_goes_through_conditions_and_charts(one_scene: None) -> None:
    table = done("evaluate", "scenes", "--full", "--model", "linear").stdout
    for told in ("gain 4 EV", "clean noise", "ISO 6400", "phase 3", "BGGR", "black +2", "zone plates", "flat grey"):
        assert told in table
    assert "classical" not in table
    table = done("evaluate", "scenes", "--full", "--layout", "quad", "--model", "linear").stdout
    for told in (
        "Quad-Bayer with diagonals",
        "gain 4 EV, quad",
        "GGBBGGBBRRGGRRGG phase 0",
        "pure colours, gain 3 EV, quad",
    ):
        assert told in table


def test_evaluate_takes_the_network_of_the_layout(one_scene: None) -> None:
    models = {
        "columns": "standard",
        "fours": "fours",
        "blocks": "blocks",
        "chessboard": "blocks",
        "quad": "quad",
        "quad3": "quad",
    }
    for layout, model in models.items():
        asked = ("evaluate", "scenes", "--layout", layout)
        lines = [json.loads(line) for line in done(*asked, "--format", "json").stdout.splitlines()]
        assert {line["method"] for line in lines} == {"linear", model}
    assert "  auto" in done(*asked, "--model", "auto").stdout
    assert run(*asked, "--model", "standard").stderr.endswith("use --model quad\n")


def test_evaluate_takes_a_sensor_of_ones_own(one_scene: None, work: Path) -> None:
    cells = "grid:1,1,1/2,1/2;1,1,1/2,1/2;1/4,1/4,1/8,1/8;1/4,1/4,1/8,1/8"
    told = cells.replace("1/2", "0.5").replace("1/4", "0.25").replace("1/8", "0.125")
    sensor = ("--cfa", "GBRG", "--bits", 10, "--full-well", 8000, "--read-noise", 2)
    asked = ("evaluate", "scenes", "--pattern", cells, *sensor)
    lines = [json.loads(line) for line in done(*asked, "--format", "json").stdout.splitlines()]
    assert {line["method"] for line in lines} == {"linear", "blocks"}
    names_of = ("layout", "ratio_ev", "cfa", "bit_depth", "full_well_e", "read_noise_e")
    assert {tuple(line[name] for name in names_of) for line in lines} == {(told, 3, "GBRG", 10, 8000, 2)}
    table = done(*asked, "--pictures", "shown").stdout.splitlines()
    assert table[0].endswith(hashlib.sha256(weights_path("blocks").read_bytes()).hexdigest())
    assert table[1] == f"PSNR-mu, dB; {told}, GBRG, 3 EV, 8000 e-, 2 e-, 10 bit"
    assert names(work / "shown")
    squeezed = done("evaluate", "scenes", "--pattern", "rows:1/8,1/8,1,1", "--ev", 2, "--model", "linear").stdout
    assert "PSNR-mu, dB; rows:0.25,0.25,1,1, RGGB, 2 EV, 30000 e-, 4 e-, 14 bit" in squeezed
    usual = done("evaluate", "scenes", "--model", "linear").stdout
    assert "PSNR-mu, dB; row pairs, 3 EV, 30000 e-, 4 e-, 14 bit" in usual


def test_evaluate_tells_of_patterns_that_no_network_knows(one_scene: None) -> None:
    asked = ("evaluate", "scenes", "--pattern", "rows:1,1/8", "--format", "json")
    result = done(*asked)
    assert {json.loads(line)["method"] for line in result.stdout.splitlines()} == {"linear", "classical"}
    assert result.stderr.startswith("sve2hdr: in this pattern the saturation of red comes 3.0 EV early; ")
    assert run(*asked, "--model", "standard").stderr.endswith("use --model classical\n")


@pytest.mark.parametrize(
    ("pattern", "cfa", "model"),
    [
        ("grid:1,1,1/2,1/2;1,1,1/2,1/2;1/4,1/4,1/8,1/8;1/4,1/4,1/8,1/8", "RGGB", "blocks"),
        ("grid:1,1,1/8,1/8;1,1,1/8,1/8;1/8,1/8,1,1;1/8,1/8,1,1", "GBRG", "blocks"),
        ("grid:1/8,1;1,1/8", "RRGGRRGGGGBBGGBB", "quad"),
        ("grid:1/8,1/4;1/2,1", "GRRGBGGBBGGBGRRG", "quad"),
        ("rows:1/8,1", "RGGB", "classical"),
    ],
)
def test_other_patterns_are_converted_by_the_model_that_knows_them(
    scene_exr: Path, work: Path, pattern: str, cfa: str, model: str
) -> None:
    done("simulate", scene_exr, "-o", "blocks.dng", "--pattern", pattern, "--cfa", cfa, "--truth", "truth.exr")
    given = ("convert", "blocks.dng", "-o", "a.exr", "--pattern", pattern, "--color-space", "camera", "--float")
    assert f"use --model {model}" in refused(*given, "--model", "standard")
    told = done(*given).stderr
    assert ("the classical method was used" in told) == (model == "classical")
    with OpenEXR.File("a.exr") as exr:
        assert exr.header()["sve2hdr:model"] == model
    image, truth = (read_hdr(work / f"{name}.exr") for name in ("a", "truth"))
    assert psnr_mu(image / 8, truth / 8, 8) > 28


# What is refused ------------------------------------------------------------------------------------------------------


def test_files_that_are_no_sve_raw_are_refused_in_a_line_that_names_them(made: Path, work: Path) -> None:
    (work / "text.cr2").write_text("no raw file" * 100)
    (work / "empty.dng").touch()
    whole = (made / "raw.dng").read_bytes()
    (work / "cut.dng").write_bytes(whole[: len(whole) // 2])
    before = names(work)
    for raw in ("text.cr2", "empty.dng", "cut.dng", "missing.cr2", made / "plain.dng", "."):
        result = run("convert", raw, "-o", "out.exr", "--preview", "auto")
        assert result.exit_code == (2 if raw == "." else 1)
        assert str(raw) in result.stderr
    assert "truncated" in refused("convert", "cut.dng", "-o", "out.exr")
    assert "--pattern" in refused("convert", made / "plain.dng", "-o", "out.exr")
    assert names(work) == before


def test_outputs_that_cannot_be_written_are_refused_before_the_work(
    made: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "read_raw", lambda path: pytest.fail("read before the outputs were looked at"))
    assert str(Path("no/out.exr")) in refused("convert", made / "raw.dng", "-o", "no/out.exr")
    if os.name != "nt":  # which tells of it in other ways
        assert "too long); choose another name" in refused("convert", made / "raw.dng", "-o", "n" * 300 + ".exr")
    assert ".exr" in refused("convert", made / "raw.dng", "-o", "out.png")
    assert ".jpg" in refused("convert", made / "raw.dng", "-o", "out.exr", "--preview", "preview.tif")
    for preview in ((), ("--preview", "preview.png")):
        asked = ("convert", made / "raw.dng", "-o", "out.exr", "--ultra-hdr", *preview)
        assert "add --preview auto" in refused(*asked, code=2)
    for option, value in {"--preview-size": 2048, "--preview-exposure": -1}.items():
        without = ("convert", made / "raw.dng", "-o", "out.exr", option, value)
        assert f"{option} needs --preview" in refused(*without, code=2)
    by_mean = ("convert", made / "raw.dng", "-o", "out.exr", "--ensemble", "--model", "classical")
    assert "--ensemble needs a network" in refused(*by_mean, code=2)
    assert "no folder" in refused("convert", made / "raw.dng", "-o", "out.exr", "--preview", "no/preview.jpg")
    assert ".dng" in refused("simulate", made / "truth.exr", "-o", "raw.exr")
    for more in ((), ("--bits", 12)):
        told = refused("simulate", "array.npy", "-o", "raw.dng", *more)
        assert told.startswith(
            "sve2hdr: array.npy: neither an HDR image (.exr, .hdr, .tif) nor a raw; to make one from an"
        )
    assert "1 raw file given" in refused("simulate", made / "raw.dng", "-o", "raw.dng")
    assert "no folder" in refused("simulate", made / "truth.exr", "-o", "raw.dng", "--truth", "no/truth.exr")
    assert names(work) == set()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_refused(made: Path, work: Path) -> None:
    (work / "locked").mkdir(mode=0o500)
    assert "not writable" in refused("convert", made / "raw.dng", "-o", "locked/out.exr")


def test_weights_that_are_not_ours_are_refused(made: Path, work: Path) -> None:
    import torch
    from safetensors.torch import save_file

    (work / "text.safetensors").write_text("no weights")
    save_file({"a": torch.zeros(2)}, "foreign.safetensors")
    for model, word in (("text.safetensors", "cannot be read"), ("foreign.safetensors", "not weights of sve2hdr"),
                        ("nix", "standard"), (made / "raw.dng", "cannot be read")):  # fmt: skip
        line = refused("convert", made / "raw.dng", "-o", "out.exr", "--model", model)
        assert str(model) in line
        assert word in line
    assert "out.exr" not in names(work)


def test_weights_that_diverged_are_refused(made: Path, work: Path) -> None:
    from sve2hdr.weights import load_weights, save_weights, weights_path

    network = load_weights(weights_path("standard"))
    state = {name: tensor * float("nan") for name, tensor in network.state_dict().items()}
    save_weights(work / "nan.safetensors", network.config, state, {})
    with np.errstate(invalid="ignore"):
        assert "not finite" in refused("convert", made / "raw.dng", "-o", "out.exr", "--model", "nan.safetensors")
    assert names(work) == {"nan.safetensors"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["convert"],
        ["convert", "raw.dng"],
        ["convert", "raw.dng", "-o", "a.exr", "--color-space", "srgb"],
        ["convert", "raw.dng", "-o", "a.exr", "--pattern", "zigzag:1,2"],
        ["convert", "raw.dng", "-o", "a.exr", "--pattern", "rows:1,0"],
        ["convert", "raw.dng", "-o", "a.exr", "--pattern", "rows:1,1"],
        ["convert", "raw.dng", "-o", "a.exr", "--ev", "0"],
        ["convert", "raw.dng", "-o", "a.exr", "--ev", "1e-9"],
        ["convert", "raw.dng", "-o", "a.exr", "--ev", "nan"],
        ["convert", "raw.dng", "-o", "a.exr", "--exposure", "inf"],
        ["convert", "raw.dng", "-o", "a.exr", "--tile", "0"],
        ["convert", "raw.dng", "-o", "a.hdr", "--float"],
        ["convert", "raw.dng", "-o", "a.TIF", "--compression", "zip"],
        ["convert", "raw.dng", "-o", "a.dng", "--compression", "piz"],
        ["convert", "raw.dng", "-o", "a.dng", "-o", "b.exr"],
        ["convert", "raw.dng", "-o", "a.dng", "--wb", "auto", "--wb", "camera"],
        ["detect"],
        ["detect", "--black", "-1", "raw.dng"],
        ["simulate", "a.exr", "-o", "a.dng", "--ev", "none"],
        ["simulate", "a.exr", "-o", "a.dng", "--ev", "0"],
        ["simulate", "a.exr", "-o", "a.dng", "--ev", "1,2"],
        ["simulate", "a.exr", "b.exr", "-o", "a.dng"],
        ["simulate", "a.exr", "-o", "a.dng", "--black", "20000"],
        ["simulate", "a.exr", "-o", "a.dng", "--full-well", "1e-300"],
        ["train", "shards", "-o", "run", "--patch", "100"],
        ["evaluate", "scenes", "--ev", "0"],
        ["evaluate", "scenes", "--timeout", "9"],
        ["evaluate", "scenes", "--overwrite"],
        ["evaluate", "scenes", "--model", "classical", "--ensemble"],
        ["evaluate", "scenes", "--bits", "7"],
        ["evaluate", "scenes", "--pattern", "rows:1,1"],
        ["evaluate", "scenes", "--pattern", "rows:1/8,1", "--layout", "rows"],
        ["evaluate", "scenes", "--pattern", "rows:1/8,1", "--full"],
        ["evaluate", "scenes", "--cfa", "GBRG", "--full"],
    ],
    ids=" ".join,
)
def test_usage_errors_exit_with_2(work: Path, arguments: list[str]) -> None:
    assert refused(*arguments, code=2).startswith("Error: ")
    assert names(work) == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["convert", "card"], "card is a folder; sve2hdr batch converts many"),
        (["convert", "card/", "-o", "a.exr"], "card/ is a folder; sve2hdr batch converts many"),
        (["convert", "-o", "a.exr"], "Missing argument 'RAW'."),
        (["convert", "--preview", "1.CR2", "-o", "a.exr"], "--preview has taken 1.CR2 for its name, put RAW before it"),
        (["convert", "1.CR2", "a.exr"], "Missing option '-o' / '--output'."),
        (["convert", "1.CR2", "-o", "a.exr", "2.CR2"], "2.CR2 is one too many; sve2hdr batch converts many"),
        (["convert", "1.CR2", "-o", "a.exr", "--output=b.dng"], "--output: takes one value; give it once"),
        (["convert", "1.CR2", "-o", "--model", "large"], "--output: needs a value, and --model is an option"),
        (["batch", "card", "-o", "--model=large"], "--output: needs a value, and --model is an option"),
        (["batch", "card", "-o", "--dry-run"], "--output: needs a value, and --dry-run is an option"),
        (["batch", "card", "-o", "hdr", "--exclude", "-q"], "--exclude: needs a value, and -q is an option"),
        (["detect", "1.CR2", "card/"], "card/ is a folder; name the files in it, such as card/*.CR2"),
    ],
)
def test_folders_and_many_files_are_pointed_to_what_takes_them(work: Path, arguments: list[str], said: str) -> None:
    (work / "card").mkdir()
    assert refused(*arguments, code=2).endswith(said)


def test_folders_without_what_is_needed_are_refused(work: Path) -> None:
    (work / "empty").mkdir()
    write_hdr(
        work / "tiny.exr", np.ones((63, 80, 3), np.float32), color_space=COLOR_SPACES["rec709"], capture=Capture()
    )
    assert "64 a side" in refused("simulate", "tiny.exr", "-o", "tiny.dng")
    assert "sve2hdr dataset" in refused("train", "empty", "-o", "run")
    assert run("dataset", "empty", "-o", "shards").exit_code == 1
    assert "no such file" in refused("dataset", "missing", "-o", "shards")
    assert "HDR images" in refused("evaluate", "empty")
    assert "HDR images" in refused("evaluate", "missing")


def test_evaluate_goes_on_past_what_it_cannot_use(scene_exr: Path, work: Path) -> None:
    scenes = work / "mixed"
    scenes.mkdir()
    (scenes / "broken.exr").write_text("no image")
    nothing = run("evaluate", "mixed")
    assert nothing.exit_code == 1
    assert "no scene is left" in nothing.stderr.splitlines()[-1]
    (scenes / "scene.exr").write_bytes(scene_exr.read_bytes())
    result = run("evaluate", "mixed", "--model", "linear", "--format", "json")
    assert result.exit_code == 1
    assert f"left out: {Path('mixed/broken.exr')}" in result.stderr
    assert {json.loads(line)["scene"] for line in result.stdout.splitlines()} == {"scene"}


def test_evaluate_that_is_stopped_tells_what_it_has(one_scene: None, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate.simulate
    calls: list[object] = []

    def stopped(*arguments: Any) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(evaluate, "simulate", stopped)
    for style in ("text", "json"):
        calls.clear()
        result = run("evaluate", "scenes", "--model", "linear", "--format", style)
        assert result.exit_code == 130
        assert "the scores are of what was done" in result.stderr
        assert "exposure 3 EV" in result.stdout
        assert "gain 3 EV" not in result.stdout


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "deleted"])
def test_evaluate_names_the_weights_that_were_scored(
    one_scene: None, weights: Path, work: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    mine = work / "mine.safetensors"
    mine.write_bytes(weights.read_bytes())
    whole = evaluate.simulate

    def meanwhile(*arguments: Any) -> object:
        mine.write_bytes(b"newer") if replaced else mine.unlink(missing_ok=True)
        return whole(*arguments)

    monkeypatch.setattr(evaluate, "simulate", meanwhile)
    table = done("evaluate", "scenes", "--model", "mine.safetensors").stdout.splitlines()
    assert table[0] == f"mine.safetensors, SHA-256 {hashlib.sha256(weights.read_bytes()).hexdigest()}"
    assert table[-1].startswith("mean")


def test_weights_that_change_while_they_are_read_are_read_again(
    weights: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, read = work / "mine.safetensors", list[bytes]()
    mine.write_bytes(weights.read_bytes())

    def replaced(*_: object) -> dict[str, Any]:
        read.append(mine.read_bytes())
        if len(read) == 1:
            mine.write_bytes(b"newer")
        return {}

    monkeypatch.setattr(methods, "methods_named", replaced)
    _, told = evaluatecommand._loaded(["linear", str(mine)], "cpu", False)
    assert told == {str(mine): (mine, hashlib.sha256(read[-1]).hexdigest())}
    assert read[-1] == b"newer"


def test_a_data_set_that_is_interrupted_leaves_no_shards(
    scene_exr: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "synthetic_scene", raising(KeyboardInterrupt()))
    asked = ("dataset", scene_exr, "-o", "shards", "--synthetic", 1, "--shard-mb", 1)
    assert run(*asked).exit_code == 130
    assert names(work / "shards") == set()
    assert "missing: no such file" in refused("dataset", scene_exr, "missing", "-o", "new")
    assert not (work / "new").exists()


def raising(error: BaseException) -> Callable[..., object]:
    def raise_it(*_arguments: object, **_options: object) -> object:
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (MemoryError(), "--tile"),
        (RuntimeError("CUDA out of memory. Tried to allocate\n2 GiB"), "--tile"),
        (RuntimeError("can't start new thread"), "--tile"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "--tile"),
        (
            RuntimeError("CUDA error: unspecified launch failure\nCompile with `TORCH_USE_CUDA_DSA`"),
            "the GPU failed (CUDA error: unspecified launch failure); update its driver, or use --device cpu",
        ),
        (OSError(28, "No space left on device"), "No space left on device"),
        (KeyError("surprise"), "please report"),
    ],
)
def test_any_error_while_converting_is_one_line(
    made: Path, work: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, word: str
) -> None:
    monkeypatch.setattr(pipeline, "reconstruct", raising(error))
    assert word in refused("convert", made / "raw.dng", "-o", "out.exr", "--preview", "auto")
    assert names(work) == set()


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (("train", "shards", "-o", "run"), "a smaller --batch or --patch"),
        (("evaluate", "scenes"), "smaller scenes or --device cpu"),
        (("dataset", "scenes", "-o", "shards"), "smaller files"),
        (("batch", "raws", "-o", "hdr"), "a smaller --tile"),
    ],
)
def test_what_takes_less_memory_is_what_the_command_has(
    work: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], advice: str
) -> None:
    monkeypatch.setattr(cli.main.commands[command[0]], "invoke", raising(MemoryError()))
    assert refused(*command) == f"sve2hdr: not enough memory; use {advice}, or close other programs"


def test_a_full_disk_leaves_nothing(made: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", raising(OSError(28, "No space left on device")))
    line = refused("convert", made / "raw.dng", "-o", "out.exr", "--preview", "auto")
    assert "No space left on device" in line
    assert names(work) == set()


@pytest.mark.parametrize("stop", STOP_SIGNALS)
def test_an_interruption_leaves_nothing_and_exits_with_130(
    made: Path, work: Path, monkeypatch: pytest.MonkeyPatch, stop: signal.Signals
) -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]

    def interrupted(_descriptor: int) -> None:
        signal.raise_signal(stop)

    monkeypatch.setattr(os, "fsync", interrupted)
    result = run("convert", made / "raw.dng", "-o", "out.exr", "--preview", "auto")
    assert (result.exit_code, result.stderr) == (130, "sve2hdr: interrupted\n")
    assert names(work) == set()
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


@pytest.mark.parametrize("first", STOP_SIGNALS)
@pytest.mark.parametrize("second", STOP_SIGNALS)
def test_a_wish_to_stop_that_is_told_twice_does_not_end_the_cleaning_up(
    first: signal.Signals, second: signal.Signals
) -> None:
    cleaned = []

    def interrupted() -> None:
        try:
            signal.raise_signal(first)
        finally:
            signal.raise_signal(second)
            cleaned.append(True)

    with stopping(at_once=True), pytest.raises(KeyboardInterrupt):
        interrupted()
    assert cleaned


def test_ctrl_c_a_while_later_ends_the_cleaning_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            monkeypatch.setattr(signals, "ONE_WISH_S", -1)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("was not ended")

    with stopping(at_once=True), pytest.raises(KeyboardInterrupt):
        interrupted()


def test_an_interruption_while_modules_are_read_is_one_line_too(work: Path) -> None:
    script = (
        "import sys, importlib.abc\n"
        "class Interrupted(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'numpy': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from sve2hdr.__main__ import main\n"
        "main()"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "sve2hdr: interrupted\n")


def test_a_fault_of_ours_shows_its_traceback_on_request(
    made: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "reconstruct", raising(KeyError("surprise")))
    monkeypatch.setenv("SVE2HDR_TRACEBACK", "1")
    assert isinstance(run("convert", made / "raw.dng", "-o", "out.exr").exception, KeyError)


def test_an_error_is_one_line_whatever_its_text_holds() -> None:
    assert options.one_line(Sve2HdrError("a\nb.dng: bad")) == "a b.dng: bad"


@pytest.mark.skipif(sys.platform == "win32", reason="such names are for other systems")
def test_names_and_contents_reach_no_terminal_as_commands(made: Path, work: Path) -> None:
    name, shown = "\x1b[31m\x07\x9b2J.dng", r"\x1b[31m\x07\x9b2J.dng"
    shutil.copy(made / "raw.dng", name)
    said = done("convert", name, "-o", f"{name}.hdr", "--model", "classical")
    assert said.stdout.startswith(f"{shown} -> {shown}.hdr\n")
    assert done("detect", "-v", name).stdout.startswith(f"{shown}: rows:")
    Path(name).write_bytes(b"no raw")
    assert refused("detect", name).startswith(f"sve2hdr: {shown}: ")
    assert refused("convert", name, "-o", "a.exr").startswith(f"sve2hdr: {shown}: ")
    assert f" {shown} " in refused("convert", "a.dng", name, "-o", "a.exr", code=2)
    channels = {"X\x1b[31m": np.ones((8, 8), np.float32), "Y": np.ones((8, 8), np.float32)}
    OpenEXR.File({"type": OpenEXR.scanlineimage}, channels).write("scene.exr")
    assert r"X\x1b[31m" in refused("simulate", "scene.exr", "-o", "a.dng")


# The program ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_describes_every_option(command: str) -> None:
    text = " ".join(done(command, "--help").stdout.split())
    for parameter in cli.main.commands[command].params:
        if isinstance(parameter, click.Option):
            assert max(parameter.opts, key=len) in text
            assert parameter.help
            assert not parameter.help.startswith(("[", "Of "))  # a default alone says nothing


@pytest.mark.parametrize("command", COMMANDS)
def test_headings_of_help_are_of_options_that_there_are_and_leave_none_out(command: str) -> None:
    of = cli.main.commands[command]
    assert isinstance(of, Command)
    assert set(of.headings) <= {parameter.name for parameter in of.params}
    text = done(command, "--help").stdout
    assert all(text.count(f"\n{heading}:\n") == 1 for heading in ("Options", *of.headings.values()))
    assert len(re.findall(r"^  -", text, re.MULTILINE)) == 1 + sum(isinstance(p, click.Option) for p in of.params)


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
def test_help_is_ascii_which_every_encoding_has(command: tuple[str, ...]) -> None:
    assert done(*command, "--help").stdout.isascii()


@pytest.mark.parametrize("encoding", ["cp1252", "cp932"])
def test_names_that_the_encoding_lacks_end_nothing(made: Path, work: Path, encoding: str) -> None:
    (work / "\u5199\u771f \u00e9.dng").write_bytes((made / "raw.dng").read_bytes())
    ran = subprocess.run(
        [sys.executable, "-m", "sve2hdr", "detect", "\u5199\u771f \u00e9.dng"],
        env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, timeout=600, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, b"")
    told = "\u5199\u771f \u00e9.dng: rows:".encode(encoding, "backslashreplace")
    assert ran.stdout.startswith(told)


def test_every_command_refuses_one_value_given_twice() -> None:
    assert {type(command) for command in cli.main.commands.values()} == {Command}


def test_completion_goes_on_past_a_value_given_twice() -> None:
    completion = ShellComplete(cli.main, {}, "sve2hdr", "_SVE2HDR_COMPLETE")
    found = completion.get_completions(["convert", "a.CR2", "-o", "x.exr", "-o", "y.exr"], "--prev")
    assert [item.value for item in found] == ["--preview", "--preview-exposure", "--preview-size"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["batch"], "file"),
        (["batch", "a", "-o"], "dir"),
        (["batch", "a", "--base"], "dir"),
        (["convert"], "file"),
        (["convert", "a.dng", "--model"], "file"),
        (["convert", "a.dng", "--preview"], "file"),
        (["evaluate", "scenes", "--model"], "file"),
        (["train", "shards", "--start"], "file"),
    ],
)
def test_completion_leaves_paths_to_the_shell(arguments: list[str], kind: str) -> None:
    completion = ShellComplete(cli.main, {}, "sve2hdr", "_SVE2HDR_COMPLETE")
    assert [(item.value, item.type) for item in completion.get_completions(arguments, "sh")] == [("sh", kind)]


def test_the_version_is_told_with_what_it_runs_on() -> None:
    first, second = done("--version").stdout.splitlines()
    assert first == f"sve2hdr, version {__version__}"
    assert all(f"{name} {version(name)}, " in second for name in ("torch", "rawpy", "numpy"))


def test_help_lists_every_command() -> None:
    assert set(cli.main.commands) == set(COMMANDS)
    text = done("--help").stdout
    assert text.index("\n  convert ") < text.index("\n  batch ") < text.index("\n  train ")  # not by the alphabet
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert "..." not in text.partition("Commands:")[2]  # click cuts first sentences that are too long


def test_names_given_to_the_command_line_are_those_of_the_library() -> None:
    assert set(imageoptions.COMPRESSIONS) == set(EXR_COMPRESSIONS)


def test_detect_imports_no_torch(made: Path) -> None:
    script = (
        "import sys; from sve2hdr.commands.cli import main\n"
        "try: main(['detect', sys.argv[1]])\n"
        "except SystemExit as end: code = end.code\n"
        "assert code == 0 and 'sve2hdr.pattern' in sys.modules, code\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in ('torch', 'rich', 'OpenEXR')))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, made / "raw.dng"], capture_output=True, text=True, timeout=600, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_python_m_sve2hdr_is_the_program(made: Path, work: Path) -> None:
    command = [sys.executable, "-m", "sve2hdr", "convert", str(made / "raw.dng"), "-o", "out.hdr"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert "out.hdr" in ran.stdout
    assert "\x1b" not in ran.stderr  # no progress bar where stderr is no terminal
    again = refused(*command[3:])
    assert again == "sve2hdr: out.hdr: exists already; give --overwrite or another name"


def test_progress_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, term, drawn in (
        (Terminal(), "xterm", True),
        (Terminal(), "dumb", False),
        (io.StringIO(), "xterm", False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", term)
        assert terminal.draws_bars() is drawn
        with terminal.progress_bar("[red]raw:boom:\x1b]0;\x07.dng") as progress:
            progress(0.5)
        assert bool(stream.getvalue()) is drawn
        assert (r"[red]raw:boom:\x1b]0;\x07.dng" in stream.getvalue()) is drawn


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_closed_streams_stop_nothing(made: Path, work: Path) -> None:
    command = [sys.executable, "-m", "sve2hdr", "convert", str(made / "raw.dng"), "-o", "a.exr"]
    ran = subprocess.run(["/bin/sh", "-c", 'exec "$0" "$@" >&- 2>&-', *command], cwd=work, timeout=600, check=False)
    assert ran.returncode == 0
    assert (work / "a.exr").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_closed_streams_stop_no_batch(made: Path, work: Path) -> None:
    command = [sys.executable, "-m", "sve2hdr", "batch", str(made / "raw.dng"), "-o", "out"]
    ran = subprocess.run(["/bin/sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', *command], cwd=work, timeout=600, check=False)
    assert ran.returncode == 0
    assert (work / "out" / "raw.exr").exists()
