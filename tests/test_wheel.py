"""The wheel holds all that is needed: installed elsewhere, it converts. The source distribution holds the tests too."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from sve2hdr import __version__
from sve2hdr.formats.imageread import read_hdr

pytestmark = pytest.mark.slow
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "sve2hdr", "weights")
OF_THE_PROJECT = ("MANIFEST.in", "CHANGELOG.md", "Makefile", "constraints.txt", "examples", "tests")


def run(*command: object, folder: Path, environment: dict[str, str] | None = None) -> str:
    ran = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def copied(repository: Path, names: tuple[str, ...], folder: Path) -> Path:
    for name in names:
        source = repository / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel built from a copy, so that nothing of an older build gets in and nothing is left behind."""
    folder = copied(repository, SOURCES, tmp_path_factory.mktemp("build"))
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", "dist", ".", folder=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


def test_wheel_holds_weights_licence_and_types(wheel: Path, repository: Path) -> None:
    assert wheel.name == f"sve2hdr-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for path in (repository / "weights").glob("*.safetensors"):
            stored = archive.read(f"sve2hdr/pretrained/{path.name}")
            assert hashlib.sha256(stored).digest() == hashlib.sha256(path.read_bytes()).digest()
    assert {path.relative_to(repository).as_posix() for path in (repository / "sve2hdr").rglob("*.py")} <= names
    assert {"sve2hdr/py.typed", f"sve2hdr-{__version__}.dist-info/licenses/LICENSE"} <= names
    assert not any("test" in Path(name).name for name in names)


def test_installed_wheel_converts_from_any_folder(wheel: Path, example_raw: Path, tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--no-deps", "--no-index", "--target", installed, wheel, folder=elsewhere)
    environment = {**os.environ, "PYTHONPATH": str(installed)}  # found before this checkout
    where = run(
        sys.executable, "-c", "import sve2hdr; print(sve2hdr.__file__)", folder=elsewhere, environment=environment
    )
    assert Path(where.strip()).is_relative_to(installed)
    script = next((installed / "bin").glob("sve2hdr*"))
    convert = ("convert", example_raw, "-o", "out.exr", "--preview", "auto")
    assert "EV" in run(sys.executable, script, *convert, folder=elsewhere, environment=environment)
    assert read_hdr(elsewhere / "out.exr").shape == (384, 768, 3)
    assert {path.name for path in elsewhere.iterdir()} == {"out.exr", "out.preview.jpg"}


def test_source_distribution_holds_what_the_tests_need(repository: Path, tmp_path: Path) -> None:
    folder = copied(repository, (*SOURCES, *OF_THE_PROJECT), tmp_path)
    build = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    name = run(sys.executable, "-c", build, folder=folder).split()[-1]
    with tarfile.open(folder / "dist" / name) as archive:
        held = {Path(*Path(member.name).parts[1:]) for member in archive.getmembers() if member.isfile()}
    for part in (*SOURCES, *OF_THE_PROJECT):
        files = [path for path in (folder / part).rglob("*") if path.is_file()] or [folder / part]
        assert {path.relative_to(folder) for path in files} <= held, part
