"""Crops of the worst regions: the right ones, side by side, as files that another library reads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sve2hdr.errors import UnwritableOutput
from sve2hdr.evaluation.evaluate import Condition, Scene
from sve2hdr.evaluation.pictures import (
    CROP_PX,
    ENLARGED,
    GAP_PX,
    check_folder,
    comparison,
    worst_regions,
    write_pictures,
)
from sve2hdr.simulation.simulate import NEUTRAL

TRUTH = np.full((200, 260, 3), 0.1, np.float32) * np.float32(NEUTRAL)
WHOLE = (slice(0, CROP_PX), slice(0, CROP_PX))


def wrong_at(*places: tuple[int, int, float]) -> np.ndarray:
    image = TRUTH.copy()
    for y, x, factor in places:
        image[y : y + 10, x : x + 10] *= np.float32(factor)
    return image


def test_the_worst_region_comes_first_and_none_overlap() -> None:
    regions = worst_regions(wrong_at((150, 200, 3.0), (40, 40, 1.5)), TRUTH)
    assert len(regions) > 1
    for region, (y, x) in zip(regions, [(150, 200), (40, 40)], strict=False):
        assert region[0].start <= y < region[0].stop
        assert region[1].start <= x < region[1].stop
    starts = [(r[0].start, r[1].start) for r in regions]
    assert all(max(abs(a - c), abs(b - d)) >= CROP_PX for i, (a, b) in enumerate(starts) for c, d in starts[:i])


def test_the_border_is_not_looked_at_and_a_small_image_is_one_region() -> None:
    image = wrong_at((0, 0, 1.0))
    image[:8] = 1
    assert worst_regions(image, TRUTH)[0][0].start >= 8
    small = worst_regions(TRUTH[:40, :50], TRUTH[:40, :50])
    assert len(small) == 1
    assert TRUTH[:40, :50][small[0]].shape == (40, 50, 3)


def test_a_comparison_shows_truth_results_and_errors() -> None:
    images = {"good": TRUTH, "bad": wrong_at((20, 20, 2.0))}
    shown = comparison(images, TRUTH, WHOLE)
    side = CROP_PX * ENLARGED
    assert shown.shape == (2 * side + GAP_PX, 3 * side + 2 * GAP_PX, 3)
    cells = [shown[top : top + side, left : left + side] for top in (0, side + GAP_PX)
             for left in range(0, 3 * side, side + GAP_PX)]  # fmt: skip
    truth, good, bad, none, good_error, bad_error = cells
    assert set(truth.ravel()) == {118}  # the median is middle grey, 18 %, and balanced
    assert (good == truth).all()
    assert bad[20 * ENLARGED, 20 * ENLARGED].min() > 118
    assert none.max() == good_error.max() == 0
    assert bad_error[20 * ENLARGED + 2, 20 * ENLARGED + 2].min() > 0
    assert bad_error[: 20 * ENLARGED].max() == 0


def test_what_is_saturated_is_shown_white_in_truth_and_result() -> None:
    bright = TRUTH * np.float32(30)
    shown = comparison({"clipped": np.minimum(bright, 1)}, bright, WHOLE)[: CROP_PX * ENLARGED]
    truth, clipped = shown[:, : CROP_PX * ENLARGED], shown[:, CROP_PX * ENLARGED + GAP_PX :]
    assert len(set(truth.ravel())) == 1
    assert (clipped == truth).all()


def test_pictures_are_files_with_safe_names(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "pictures"
    check_folder(folder)
    scene, condition = Scene("a/b c", TRUTH), Condition(black_error=-2)
    images = {"mine": wrong_at((150, 200, 3.0))}
    paths = write_pictures(folder, scene, condition, images)
    assert sorted(folder.iterdir()) == sorted(paths)
    assert paths[0].name == "a-b-c-exposure-3-EV,-black--2-1.png"
    with Image.open(paths[0]) as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture).shape == comparison(images, TRUTH, WHOLE).shape
    with pytest.raises(UnwritableOutput, match="not empty"):
        check_folder(folder)
    with pytest.raises(UnwritableOutput, match="exists"):
        write_pictures(folder, scene, condition, images)
    check_folder(folder, overwrite=True)
    assert write_pictures(folder, scene, condition, images, overwrite=True) == paths


@pytest.mark.parametrize("letter", ["n", "\u5199"])
def test_pictures_of_long_names_are_written_and_told_apart(tmp_path: Path, letter: str) -> None:
    scene = Scene(letter * 240, TRUTH)
    names = [letter * 240 + end for end in ("a", "b")]
    images = {"mine": TRUTH}
    paths = [path for name in names for path in write_pictures(tmp_path, Scene(name, TRUTH), Condition(), images)]
    assert sorted(tmp_path.iterdir()) == sorted(set(paths))
    assert len(set(paths)) == len(paths) == 2 * len(write_pictures(tmp_path, Scene("a", TRUTH), Condition(), images))
    ends = "-exposure-3-EV-1.png"
    assert paths[0].name.endswith(ends)
    assert all(len(path.name.encode()) <= 100 + len(ends) for path in paths)
    own = Condition(layout=f"grid:{';'.join([','.join(['0.123456'] * 4)] * 3)};1,1,1,1", cfa="GRBG")
    paths = [path for c in (own, replace(own, cfa="BGGR")) for path in write_pictures(tmp_path, scene, c, images)]
    assert len(set(paths)) == len(paths)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableOutput, match="file"):
        check_folder(tmp_path / "file")
