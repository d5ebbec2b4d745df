"""A file is written whole or not at all, and what could not be written is refused before."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sve2hdr.errors import Sve2HdrError, UnwritableOutput
from sve2hdr.system import files
from sve2hdr.system.files import check_writable, file_sha256, mode_of, replacing, same_file


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# A whole file or no file


def test_replacing_gives_the_name_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    with replacing(path) as partial:
        partial.write_bytes(b"whole")
        assert partial.parent == tmp_path
        assert partial.suffix == path.suffix
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names_in(tmp_path) == ["out.bin"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ZeroDivisionError(), SystemExit(1)])
def test_an_interrupted_block_leaves_the_old_file(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with replacing(path, overwrite=True) as partial:
            partial.write_bytes(b"half")
            raise failure

    with pytest.raises(type(failure)):
        interrupted()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.bin"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    path = tmp_path / "out.bin"

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def raced() -> None:
        with replacing(path) as partial:
            partial.write_bytes(b"ours")
            path.write_bytes(b"theirs")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(UnwritableOutput, match="--overwrite"):
        raced()
    assert path.read_bytes() == b"theirs"
    assert names_in(tmp_path) == ["out.bin"]


def test_without_hard_links_the_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    with replacing(tmp_path / "out.bin") as partial:
        partial.write_bytes(b"ours")
    assert names_in(tmp_path) == ["out.bin"]


@pytest.mark.skipif(os.name == "nt", reason="another error there")
def test_what_cannot_be_seen_is_not_taken_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive without hard links that does not answer for a moment: a file there is not replaced unasked."""

    def lost(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "a.exr").write_bytes(b"somebody's")
    with monkeypatch.context() as patch:
        patch.setattr("os.link", lost)
        patch.setattr("os.lstat", lost)
        with pytest.raises(OSError, match="output error"):
            files.take_name(tmp_path / "new", tmp_path / "a.exr", overwrite=False)
    assert (tmp_path / "a.exr").read_bytes() == b"somebody's"


@pytest.mark.skipif(os.name == "nt", reason="Windows tells of it in other ways")
def test_what_lies_at_a_path_is_told_or_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert [stat.S_IFMT(mode_of(path)) for path in (tmp_path, tmp_path / "a")] == [stat.S_IFDIR, stat.S_IFREG]
    assert mode_of(tmp_path / "none") == mode_of(tmp_path / "a" / "none") == 0
    assert [same_file(tmp_path / "a", tmp_path / name) for name in ("b", "none")] == [True, False]
    too_long = tmp_path / ("n" * 300)
    assert not same_file(too_long, tmp_path / "a")
    with pytest.raises(Sve2HdrError, match=r"nnn: cannot be read \(.*name too long\); check the path"):
        mode_of(too_long)


def test_a_file_that_a_program_has_open_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def written() -> None:
        with path.open("rb"), replacing(path, overwrite=True) as partial:
            partial.write_bytes(b"new")

    if os.name != "nt":  # which refuses by itself
        monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UnwritableOutput, match=r"cannot be written \(.*close programs that have it open"):
        written()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.bin"]


def test_a_file_that_a_scanner_has_open_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, attempts = {name: getattr(Path, name) for name in ("replace", "unlink")}, []

    def at_last(name: str) -> Callable[..., Any]:
        def attempt(path: Path, *arguments: Any, **named: Any) -> Any:
            attempts.append(name)
            if attempts.count(name) < 3:
                raise PermissionError(errno.EACCES, "held")
            return true[name](path, *arguments, **named)

        return attempt

    for name in true:
        monkeypatch.setattr(Path, name, at_last(name))
    monkeypatch.setattr(files, "BUSY_WAITS_S", (0, 0))
    with replacing(tmp_path / "out.bin", overwrite=True) as partial:
        partial.write_bytes(b"ours")
    with pytest.raises(RuntimeError), replacing(tmp_path / "other.bin"):
        raise RuntimeError
    assert names_in(tmp_path) == ["out.bin"]
    assert (tmp_path / "out.bin").read_bytes() == b"ours"


def test_permissions_are_the_usual_ones(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    with replacing(tmp_path / "ours") as partial:
        partial.write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


# Refusals before long work


def test_what_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "there.exr").write_bytes(b"x")
    (tmp_path / "folder.exr").mkdir()
    with pytest.raises(UnwritableOutput, match="--overwrite"):
        check_writable(tmp_path / "there.exr")
    with pytest.raises(UnwritableOutput, match="no folder"):
        check_writable(tmp_path / "missing" / "a.exr")
    with pytest.raises(UnwritableOutput, match="is a folder"):
        check_writable(tmp_path / "folder.exr", overwrite=True)
    with pytest.raises(UnwritableOutput, match=r"'\.bmp'; use one of \.jpg"):
        check_writable(tmp_path / "a.bmp", extensions=(".jpg", ".png"))
    check_writable(tmp_path / "there.exr", overwrite=True)
    check_writable(tmp_path / "A.JPG", extensions=(".jpg", ".png"))
    assert names_in(tmp_path) == ["folder.exr", "there.exr"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_that_leads_nowhere_is_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a.exr").symlink_to(tmp_path / "gone.exr")
    with pytest.raises(UnwritableOutput, match="exists already"):
        check_writable(tmp_path / "a.exr")
    check_writable(tmp_path / "a.exr", overwrite=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows tells of it in other ways")
def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwritableOutput, match=r"name too long.*choose another"):
        check_writable(tmp_path / ("n" * 300 + ".exr"))
    with pytest.raises(UnwritableOutput, match=r"name too long.*choose another"):
        check_writable(tmp_path / ("n" * 300) / "a.exr")


@pytest.mark.skipif(os.name != "nt", reason="elsewhere a name may hold it")
def test_a_name_that_windows_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwritableOutput, match=r"cannot be written.*choose another name"):
        check_writable(tmp_path / "what?.exr")


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere; modes mean little to Windows"
)
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UnwritableOutput, match="not writable"):
            check_writable(tmp_path / "a.exr")
    finally:
        tmp_path.chmod(0o700)


def test_the_digest_is_that_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-4
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
