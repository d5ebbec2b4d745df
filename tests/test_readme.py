"""What the README shows runs, and nothing that runs is left out of it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from sve2hdr import cli
from sve2hdr.imageread import read_hdr


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    lines = [line for block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [words[1:] for line in lines if (words := shlex.split(line, comments=True)) and words[0] == "sve2hdr"]


def test_every_command_of_the_readme_parses(readme: str) -> None:
    shown = commands(readme)
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
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", re.sub(scripts, "", readme))) <= ours


def test_options_of_convert_are_in_the_readme(readme: str) -> None:
    for option in cli.main.commands["convert"].params:
        if isinstance(option, click.Option):
            assert max(option.opts, key=len) in readme or option.opts[0] in readme


def test_python_of_the_readme_runs(
    readme: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = blocks(readme, "python")
    (tmp_path / "examples").symlink_to(repository / "examples")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert read_hdr(tmp_path / "python.exr").shape == (384, 768, 3)


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
