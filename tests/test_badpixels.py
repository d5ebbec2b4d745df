"""Lists of bad sites: text, frames without light, and what conversion makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from frames import PAIRS
from numpy.testing import assert_array_equal
from workers import Here

from sve2hdr.commands.cli import main
from sve2hdr.errors import Sve2HdrError
from sve2hdr.folders.record import recipe_of
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.mosaic import Mosaic
from sve2hdr.pipeline import ConvertOptions
from sve2hdr.sensor.badpixels import BadPixelMap, off_in_the_dark
from sve2hdr.sensor.defects import repair_defects
from sve2hdr.sensor.noise import estimate_noise
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate

SHAPE = (128, 192)
GROUP, COLUMN = (slice(40, 43), slice(60, 63)), (slice(70, None), 131)  # no single sites, and no whole column


@pytest.fixture(scope="module")
def photo() -> Mosaic:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / 40
    grey = (0.05 + 0.04 * np.sin(x) * np.cos(y)).astype(np.float32)
    return simulate(grey[..., None] * np.float32(NEUTRAL), "RGGB", PAIRS, Sensor("gain"), seed=3)


@pytest.fixture(scope="module")
def dark() -> Mosaic:
    return simulate(np.zeros((*SHAPE, 3), np.float32), "RGGB", PAIRS, Sensor("gain"), seed=4)


@pytest.fixture(scope="module")
def large_dark() -> Mosaic:
    return simulate(np.zeros((512, 640, 3), np.float32), "RGGB", PAIRS, Sensor("gain"), seed=5)


def hot(mosaic: Mosaic, counts: int = 1500) -> Mosaic:
    hotter = mosaic.counts.copy()
    for sites in (GROUP, COLUMN):
        hotter[sites] += np.uint16(counts)
    return replace(mosaic, counts=hotter)


def the_bad() -> np.ndarray:
    bad = np.zeros(SHAPE, bool)
    bad[GROUP], bad[COLUMN] = True, True
    return bad


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_a_dark_frame_shows_what_is_off_and_nothing_else(dark: Mosaic) -> None:
    found = off_in_the_dark(hot(dark), Path("dark.dng"))
    assert found[the_bad()].all()
    found[:, 131] = False
    found[GROUP] = False
    assert found.sum() <= 1


def test_a_glow_of_the_amplifier_is_no_defect(large_dark: Mosaic) -> None:
    glow = 200 * np.exp(-(((np.arange(640) - 640) / 300) ** 2))
    found = off_in_the_dark(replace(large_dark, counts=(large_dark.counts + glow).astype(np.uint16)), Path("dark.dng"))
    assert found.mean() < 3e-3


def test_a_column_that_is_off_by_less_than_its_noise_is_found(large_dark: Mosaic) -> None:
    counts = large_dark.counts.copy()
    counts[:, 77] += np.uint16(0.9 * counts[2::4].std())  # of the brighter rows, which are noisier
    found = off_in_the_dark(replace(large_dark, counts=counts), Path("dark.dng"))
    assert found[:, 77].all()
    found[:, 77] = False
    assert found.sum() <= 1


def test_a_column_that_is_off_by_little_is_kept_however_sure_that_is(dark: Mosaic) -> None:
    counts = np.random.default_rng(8).normal(1024, 20, (2048, 96))
    counts[:, 77] += 8  # more than six standard errors
    assert not off_in_the_dark(replace(dark, counts=counts.astype(np.uint16)), Path("dark.dng"))[:, 77].all()


def test_a_photo_is_no_dark_frame(photo: Mosaic, dark: Mosaic) -> None:
    with pytest.raises(Sve2HdrError, match=r"photo\.dng: half of its sites lie above 5% of the range; take the frame"):
        off_in_the_dark(replace(photo, counts=photo.counts + np.uint16(2000)), Path("photo.dng"))
    stars = dark.counts.copy()
    stars[::3, ::4] += np.uint16(1000)
    with pytest.raises(Sve2HdrError, match=r"night\.dng: \d+% of its sites stand out; take the frame with the lens"):
        off_in_the_dark(replace(dark, counts=stars), Path("night.dng"))


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("3 4\nfive 6", "line 2 is not the 'column row'"),
        ("7", "line 1 is not the 'column row'"),
        ("-1 2", "line 1 is not the 'column row'"),
        ("# a\n\n192 0", "line 3 is outside of the 192 x 128 sites"),
        ("0 128 0", "line 1 is outside of the 192 x 128 sites"),
        ("* *", "lists 100% of the photo's sites; list fewer"),
    ],
)
def test_a_list_that_is_none_is_refused_by_line(tmp_path: Path, text: str, finding: str) -> None:
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(Sve2HdrError, match=f"bad.txt: {finding}"):
        BadPixelMap.of(tmp_path / "bad.txt").sites(SHAPE)


def test_a_batch_says_at_once_that_a_list_is_none(tmp_path: Path, photo: Mosaic) -> None:
    write_cfa_dng(tmp_path / "photo.dng", photo)
    (tmp_path / "bad.txt").write_text("3,4")
    batch = ("batch", tmp_path / "photo.dng", "-o", tmp_path / "out", "--bad-pixel-map", tmp_path / "bad.txt")
    code, said = run(*batch, "--dry-run")
    assert code == 1
    assert "bad.txt: line 1 is not the 'column row'" in said


@pytest.mark.parametrize("column", [0, 3, 77, 636, 639])
def test_a_hot_column_is_found_wherever_it_is(large_dark: Mosaic, column: int) -> None:
    counts = large_dark.counts.copy()
    counts[:, column] += np.uint16(3 * counts[2::4].std())
    assert off_in_the_dark(replace(large_dark, counts=counts), Path("dark.dng"))[:, column].all()


def test_columns_that_differ_as_all_do_are_kept(large_dark: Mosaic) -> None:
    noise = np.random.default_rng(7).normal(0, 0.3 * large_dark.counts[2::4].std(), 640)
    counts = np.rint(large_dark.counts + noise).astype(np.uint16)
    assert off_in_the_dark(replace(large_dark, counts=counts), Path("dark.dng")).mean() < 0.003


def test_a_dark_frame_whose_camera_cuts_off_below_black(large_dark: Mosaic) -> None:
    counts = np.maximum(large_dark.counts, 1024).astype(np.uint16)
    counts[40:43, 60:63] += np.uint16(400)
    found = off_in_the_dark(replace(large_dark, counts=counts), Path("dark.dng"))
    assert found[40:43, 60:63].all()
    assert found.sum() <= 9 + 5


@pytest.mark.parametrize(
    "sites",
    [
        (slice(40, 60), slice(60, 80)), (slice(None), slice(80, 100)), (slice(None), slice(1, 4)),
        (slice(1, 4), slice(None)), (slice(1, 9), slice(1, 9)),
    ],
)  # fmt: skip
def test_large_groups_are_filled_from_their_rim(photo: Mosaic, sites: tuple[slice, slice]) -> None:
    bad = np.zeros(SHAPE, bool)
    bad[sites] = True
    counts = photo.counts.copy()
    counts[sites] = 16_000
    noise = estimate_noise(photo, PAIRS)
    filled, defects = repair_defects(replace(photo, counts=counts), PAIRS, noise, listed=bad, search=False)
    assert defects.count == bad.sum()
    wanted, signal = (mosaic.counts[sites] - photo.black_level.mean() for mosaic in (photo, filled))
    assert np.median(np.abs(signal - wanted) / wanted) < 0.1
    assert (np.abs(signal - wanted) < 0.5 * wanted + 60).mean() > 0.97


def test_lists_as_windows_writes_them(tmp_path: Path) -> None:
    named = tmp_path / "bad.txt"
    named.write_bytes("3 4\r\n5 *\r\n".encode("utf-8-sig"))
    assert_array_equal(np.argwhere(BadPixelMap.of(named).sites((6, 6)))[:, 1], [5, 5, 5, 5, 3, 5, 5])
    named.write_bytes("3 4\r\n".encode("utf-16"))
    with pytest.raises(Sve2HdrError, match=r"bad\.txt: is UTF-16; save the list as UTF-8"):
        BadPixelMap.of(named).sites((6, 6))


def error(image: Path, truth: Path) -> np.ndarray:
    """Return how far an image lies from what it would be without bad sites, EV, (H, W)."""
    made, wanted = read_hdr(image), read_hdr(truth)
    return np.asarray(np.abs(np.log2(np.maximum(made, 1e-4) / np.maximum(wanted, 1e-4))).max(axis=2))


@pytest.mark.parametrize("kind", ["dark frame", "list"])
def test_groups_and_parts_of_columns_go_by_a_map(tmp_path: Path, photo: Mosaic, dark: Mosaic, kind: str) -> None:
    write_cfa_dng(tmp_path / "clean.dng", photo)
    write_cfa_dng(tmp_path / "photo.dng", hot(photo))
    if kind == "list":
        lines = [f"{x} {y} 0" for y, x in np.argwhere(the_bad())]
        named = tmp_path / "bad.txt"
        named.write_text("\n".join(["# FPM", *lines]))
    else:
        named = tmp_path / "dark.dng"
        write_cfa_dng(named, hot(dark, 400))  # of a cooler sensor
    common = (
        "--pattern",
        "rows:1/8,1/8,1,1",
        "--device",
        "cpu",
        "--float",
        "--wb",
        "daylight",
        "--color-space",
        "camera",
    )
    for raw, name, options in (
        ("clean.dng", "clean", ()),
        ("photo.dng", "found", ()),
        ("photo.dng", "mapped", ("--bad-pixel-map", named)),
        ("photo.dng", "only", ("--bad-pixel-map", named, "--no-bad-pixels")),
    ):
        code, said = run("convert", tmp_path / raw, "-o", tmp_path / f"{name}.exr", *common, *options)
        assert code == 0, said
    if kind == "list":
        assert f"bad sites replaced: {the_bad().sum()};" in said
    without = error(tmp_path / "found.exr", tmp_path / "clean.exr")[the_bad()]
    assert np.mean(without > 0.3) > 0.5  # they are not found by themselves
    for name in ("mapped", "only"):
        left = error(tmp_path / f"{name}.exr", tmp_path / "clean.exr")
        assert np.median(left[the_bad()]) < 0.1
        assert np.mean(left[the_bad()] > 0.3) < 0.05
        assert np.median(left) < 0.01


def test_a_map_of_another_camera_and_one_that_is_missing_are_refused(
    tmp_path: Path, photo: Mosaic, dark: Mosaic
) -> None:
    write_cfa_dng(tmp_path / "photo.dng", photo)
    write_cfa_dng(tmp_path / "dark.dng", replace(dark, counts=dark.counts[:96]))
    convert = ("convert", tmp_path / "photo.dng", "-o", tmp_path / "out.exr", "--bad-pixel-map")
    code, said = run(*convert, tmp_path / "dark.dng")
    assert (code, said.count("\n")) == (1, 1)
    assert "dark.dng: has 192 x 96 sites, the photo 192 x 128; take it by the same camera and mode" in said
    code, said = run(*convert, tmp_path / "missing.txt")
    assert code == 1
    assert "missing.txt: cannot be read (No such file or directory); check the path" in said
    assert not (tmp_path / "out.exr").exists()


def test_a_batch_makes_anew_what_another_map_changes_but_not_one_that_moved(
    tmp_path: Path, photo: Mosaic, here: type[Here]
) -> None:
    (tmp_path / "card").mkdir()
    write_cfa_dng(tmp_path / "card" / "photo.dng", photo)
    for name, text in (("a.txt", "3 4"), ("same.txt", "3 4"), ("other.txt", "3 5")):
        (tmp_path / name).write_text(text)
    recipes = [
        recipe_of(ConvertOptions(bad_pixel_map=BadPixelMap.of(tmp_path / name)))
        for name in ("a.txt", "same.txt", "other.txt")
    ]
    assert recipes[0] == recipes[1] != recipes[2]
    assert recipe_of(ConvertOptions()) not in recipes
    batch = ("batch", tmp_path / "card", "-o", tmp_path / "out", "--plain", "--workers", "1", "--bad-pixel-map")
    for name, outcome in (("a.txt", "1  converted"), ("same.txt", "1  finished before"), ("other.txt", "1  converted")):
        code, said = run(*batch, tmp_path / name)
        assert code == 0, said
        assert outcome in said
