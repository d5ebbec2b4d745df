"""Charts: their frequencies, their brightness, their quarters."""

import numpy as np
from numpy.testing import assert_allclose

from sve2hdr.evaluation.charts import (
    BRIGHTNESS,
    CONTRAST,
    coloured_stripes,
    fine_lines,
    flat_grey,
    pure_colours,
    quarter_slices,
    zone_plate,
)


def test_quarters_are_one_chart_at_falling_brightness() -> None:
    for chart in (zone_plate(128), fine_lines(128)):
        assert chart.shape == (128, 128)
        assert chart.dtype == np.float32
        first, *others = (chart[q] / light for q, light in zip(quarter_slices(128), BRIGHTNESS, strict=True))
        for other in others:
            assert_allclose(other, first, rtol=1e-6)
        assert first.max() == 1
        assert_allclose(first.min(), (1 - CONTRAST) / (1 + CONTRAST), rtol=1e-5)
    assert BRIGHTNESS[0] > 1 / 8 > BRIGHTNESS[2]  # at ratio 8 some saturate the brighter exposure, some do not


def test_a_zone_plate_reaches_the_sampling_limit_and_goes_no_further() -> None:
    row = zone_plate(256)[64, :128]  # through the middle of the first plate
    signs = np.sign(row - row.mean())
    assert (signs[1:6] != signs[2:7]).all()  # near the edge: half a cycle a pixel
    assert (signs[58:70] == 1).all()  # the middle is flat
    assert_allclose(row[1:64], row[:64:-1], rtol=1e-5)


def test_lines_run_level_upright_and_slanting() -> None:
    plate = fine_lines(384)[:192, :192]
    upright, level, slanting = plate[:64], plate[64:128], plate[128:]
    down, right = ([np.abs(np.diff(p, axis=axis)).mean() for p in (upright, level, slanting)] for axis in (0, 1))
    assert down[0] < right[0] / 3
    assert right[1] < down[1] / 3
    assert_allclose(down[2], right[2], rtol=0.1)


def test_colours_are_flat_patches_at_two_levels() -> None:
    chart = pure_colours(64)
    patches = chart.reshape(4, 16, 4, 16, 3)
    assert (patches == patches[:, :1, :, :1]).all()
    colours = patches[:, 0, :, 0].reshape(2, 8, 3)
    assert_allclose(colours.max(2), np.float32([[0.5] * 8, [0.1] * 8]))
    assert_allclose(colours[0] / 0.5, colours[1] / 0.1, rtol=1e-6)
    assert_allclose(colours.min(2) / colours.max(2), 0.01, rtol=1e-5)
    assert len(np.unique(colours[0].round(4), axis=0)) == 8


def test_stripes_differ_in_colour_alone() -> None:
    fields = coloured_stripes(256).reshape(4, 64, 4, 64, 3).swapaxes(1, 2)
    assert_allclose(np.ptp(fields.mean(4), axis=(2, 3)), 0, atol=1e-6)
    assert (np.ptp(fields, axis=(2, 3)).max(2) > 0.03).all()
    assert_allclose(fields[0] / 0.5, fields[1] / 0.1, rtol=1e-5)
    edges = np.abs(np.diff(fields[..., 1], axis=2)).mean((2, 3))  # down the columns
    assert_allclose(edges[2], edges[0] * 6 / 4, rtol=0.1)


def test_grey_is_ten_stops_down() -> None:
    assert set(flat_grey(4).ravel()) == {np.float32(1 / 1024)}
