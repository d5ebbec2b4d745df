"""What the README shows runs, and nothing that runs is left out of it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import OpenEXR
import pytest
from click.testing import CliRunner
from frames import PAIRS, SINGLE, write_frame
from numpy.testing import assert_array_equal

import sve2hdr
from sve2hdr import ConvertOptions
from sve2hdr.commands import cli
from sve2hdr.convert import convert_file
from sve2hdr.folders.batchdisplay import OUTCOMES, report_line
from sve2hdr.folders.jobstate import FileResult
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.rawfile import read_raw
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    lines = [line for block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [words[1:] for line in lines if (words := shlex.split(line, comments=True)) and words[0] == "sve2hdr"]


def test_every_command_of_the_readme_and_of_help_parses(readme: str) -> None:
    shown = commands(readme)
    shown += commands(f"```sh\n{re.sub('^ +', '', cli.EXAMPLES, flags=re.MULTILINE)}\n```")
    assert len(shown) > 10
    for words in shown:
        with click.Context(cli.main, info_name="sve2hdr") as context:
            if words[0].startswith("-"):
                assert words[0] in ("--help", "--version")
                continue
            command = cli.main.commands[words[0]]
            command.make_context(words[0], words[1:], parent=context)  # a usage error fails the test


def test_every_command_is_in_the_readme(readme: str) -> None:
    assert {words[0] for words in commands(readme)} >= set(cli.main.commands)


def test_every_option_that_the_readme_names_exists(readme: str, repository: Path) -> None:
    ours = {name for command in cli.main.commands.values() for option in command.params for name in option.opts}
    ours |= {"--help", "--version", "--nthreads", "--memory-limit"}  # the last two are of dask's worker
    scripts = r"`python (examples/\w+\.py)([^`]*)`"
    for script, arguments in re.findall(scripts, readme):
        code = (repository / script).read_text(encoding="utf-8")
        for option in re.findall(r"(?<![\w'-])--[a-z-]+", arguments):
            assert f'"{option}"' in code
    of_others = rf"{scripts}|`cr2hdr [^`]*`"
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", re.sub(of_others, "", readme))) <= ours


def test_options_of_convert_are_in_the_readme(readme: str) -> None:
    for option in cli.main.commands["convert"].params:
        if isinstance(option, click.Option):
            assert max(option.opts, key=len) in readme or option.opts[0] in readme


def test_each_key_of_a_report_is_in_the_readme(readme: str) -> None:
    table = readme.partition("`--report` has")[2].partition("\n\n### ")[0]
    assert set(re.findall(r"`([a-z0-9_]+)`", "\n".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE)))) == set(
        json.loads(report_line(FileResult("a.CR2", "failed")))
    )
    assert all(f"`{outcome}`" in table for outcome in OUTCOMES)


def test_each_key_of_detect_is_in_the_readme(readme: str, example_raw: Path, tmp_path: Path) -> None:
    table = readme.partition("`--json` prints one object")[2].partition("\n\n## ")[0]
    told = set(re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE))))
    fog = np.float32(0.01 * np.exp2(np.arange(128) / 128))[:, None, None] * np.ones((1, 128, 1)) * NEUTRAL
    write_cfa_dng(tmp_path / "fog.dng", simulate(np.float32(fog), "RGGB", PAIRS, Sensor(), seed=0))
    write_frame(tmp_path / "plain.dng", pattern=SINGLE)
    (tmp_path / "empty.dng").touch()
    raws = [example_raw, *(tmp_path / f"{name}.dng" for name in ("fog", "plain", "empty"))]
    keys = set[str]()
    for given in (raws, ["--ev", 2, example_raw]):
        printed = CliRunner().invoke(cli.main, ["detect", "--json", *map(str, given)]).stdout
        keys |= {key for line in printed.splitlines() for key in json.loads(line)}
    assert keys == told


def test_python_of_the_readme_writes_what_convert_writes_also_of_portraits(
    readme: str, example_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = blocks(readme, "python")
    (tmp_path / "examples").mkdir()
    monkeypatch.chdir(tmp_path)
    mosaic = read_raw(example_raw)
    portrait = replace(mosaic, capture=replace(mosaic.capture, orientation=6))
    write_cfa_dng("examples/example.dng", portrait)
    exec(compile(code, "README.md", "exec"), {})
    convert_file("examples/example.dng", "convert.exr", "auto", ConvertOptions(device="cpu"))
    assert read_hdr("python.exr").shape == (768, 384, 3)
    assert_array_equal(read_hdr("python.exr"), read_hdr("convert.exr"))
    python, convert = (set(OpenEXR.File(name).header()) for name in ("python.exr", "convert.exr"))
    assert convert - python == {"sve2hdr:exposure_ev", "sve2hdr:clipped_white"}


def test_public_names_are_there_and_listed() -> None:
    assert {name for name in sve2hdr.__all__ if hasattr(sve2hdr, name)} == set(sve2hdr.__all__) < set(dir(sve2hdr))
    script = "import sve2hdr, sys; dir(sve2hdr); print({'numpy', 'torch'} & set(sys.modules))"
    listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=True)
    assert listed.stdout == "set()\n"


def test_files_that_the_readme_links_to_exist(readme: str, repository: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", readme)
    assert links
    assert [link for link in links if not (repository / link).exists()] == []


def test_make_targets_of_the_readme_exist(readme: str, repository: Path) -> None:
    makefile = (repository / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", "\n".join(blocks(readme, "sh")), re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_changelog_has_the_version(repository: Path) -> None:
    from sve2hdr import __version__

    assert f"## {__version__}" in (repository / "CHANGELOG.md").read_text(encoding="utf-8")
