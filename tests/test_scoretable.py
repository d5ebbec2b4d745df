"""Tables: means and gains by hand, and every format read back."""

import json
from dataclasses import replace

from sve2hdr.evaluation.evaluate import Result
from sve2hdr.evaluation.scoretable import as_json, as_markdown, as_text, condition_rows, scene_rows

SENSOR = (3.0, "rows", 30_000.0, 4.0, "RGGB", 14)
RESULTS = [
    Result("linear", "a", "exposure 3 EV", "exposure", 1.0, *SENSOR, psnr_mu=30.0, pu21_ssim=0.9),
    Result("mine", "a", "exposure 3 EV", "exposure", 2.0, *SENSOR, psnr_mu=33.0, pu21_ssim=0.95),
    Result("linear", "b", "exposure 3 EV", "exposure", 1.0, *SENSOR, psnr_mu=20.0, pu21_ssim=0.7),
    Result("mine", "b", "exposure 3 EV", "exposure", 2.0, *SENSOR, psnr_mu=25.5, pu21_ssim=0.75),
    Result("linear", "zone plates", "exposure 3 EV", "exposure", 1.0, *SENSOR, aliasing=0.125),
    Result("mine", "zone plates", "exposure 3 EV", "exposure", 1.0, *SENSOR, aliasing=0.01),
]


def test_scenes_have_a_column_for_each_method_and_means_with_their_gain() -> None:
    assert scene_rows(RESULTS) == [
        ["scene", "condition", "linear", "mine"],
        ["a", "exposure 3 EV", "30.00", "33.00"],
        ["b", "exposure 3 EV", "20.00", "25.50"],
        ["mean", "exposure 3 EV", "25.00", "29.25 (+4.25)"],
    ]


def test_another_metric_has_its_own_decimals_and_those_scenes_alone_that_have_it() -> None:
    results = [replace(RESULTS[0], cvvdp_jod=9.5), replace(RESULTS[1], cvvdp_jod=9.75), *RESULTS[2:]]
    assert scene_rows(results, "cvvdp_jod") == [
        ["scene", "condition", "linear", "mine"],
        ["a", "exposure 3 EV", "9.500", "9.750"],
        ["mean", "exposure 3 EV", "9.500", "9.750 (+0.250)"],
    ]


def test_conditions_have_the_means_of_what_was_measured() -> None:
    assert condition_rows(RESULTS) == [
        ["condition", "method", "PSNR-mu dB", "PU21-SSIM", "aliasing %", "s"],
        ["exposure 3 EV", "linear", "25.00", "0.8000", "-", "1.0"],
        ["exposure 3 EV", "mine", "29.25", "0.8500", "-", "2.0"],
        ["zone plates, exposure 3 EV", "linear", "-", "-", "12.50", "1.0"],
        ["zone plates, exposure 3 EV", "mine", "-", "-", "1.00", "1.0"],
    ]


def test_every_line_of_a_table_has_its_columns() -> None:
    rows = scene_rows(RESULTS)
    lines = as_text(rows).splitlines()
    assert len(lines) == len(rows)
    assert lines[1].index("30.00") + 5 == lines[0].index("linear") + 6  # to the right
    assert all(line.count("|") == 5 for line in as_markdown(rows).splitlines())
    assert as_markdown(rows).splitlines()[1] == "|---|---|---:|---:|"


def test_json_lines_are_json_even_for_a_perfect_score() -> None:
    perfect = Result("a", "b", "c", "gain", 0.5, *SENSOR, psnr_mu=float("inf"), chroma=0.25)
    lines = [json.loads(as_json(result, {"mine": "ab12"})) for result in [*RESULTS, perfect]]
    assert len(lines) == 7
    assert lines[0]["psnr_mu"] == 30
    assert lines[0]["mode"] == "exposure"
    assert (lines[0]["full_well_e"], lines[0]["read_noise_e"]) == (30_000, 4)
    assert (lines[0]["weights_sha256"], lines[1]["weights_sha256"]) == (None, "ab12")
    assert lines[-1]["psnr_mu"] is None
    assert lines[-1]["chroma"] == 0.25
    assert "Infinity" not in as_json(perfect, {})
    seen = [as_json(replace(perfect, cvvdp_jod=jod), {}, "a metric on a display") for jod in (9.5, None)]
    assert [json.loads(line)["cvvdp"] for line in seen] == ["a metric on a display", None]
