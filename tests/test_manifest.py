"""Outputs appear whole or not at all, and what is finished is known again: whenever a process ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from sve2hdr.errors import UnwritableOutput
from sve2hdr.folders import manifest as manifest_module
from sve2hdr.folders.manifest import STATE, Manifest
from sve2hdr.folders.record import Record, Stamp, recipe_of
from sve2hdr.system.claims import key_of
from sve2hdr.system.files import file_sha256


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may handle it."""


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw.dng"
    path.write_bytes(b"counts")
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    manifest = Manifest(tmp_path / "out")
    manifest.create()
    return manifest


def record(raw: Path, output: str = "a/1.exr", recipe: str = "r") -> Record:
    return Record(
        output, output, "converted", recipe, str(raw), file_sha256(raw), Stamp.of(raw), found={"ratio_ev": 3.0}
    )


def publish(manifest: Manifest, raw: Path, *outputs: str, content: bytes = b"image", may_replace: bool = False) -> None:
    with manifest.staged(outputs[0]) as folder:
        for i, output in enumerate(outputs):
            (folder / f"{i}.exr").write_bytes(content + output.encode())
        manifest.publish(folder, [(record(raw, o), f"{i}.exr", may_replace) for i, o in enumerate(outputs)])


def files(manifest: Manifest) -> dict[str, bytes]:
    """Return all that lies in OUT, records and lock left out: what a user sees, and what was left behind."""
    paths = [path for path in manifest.out.rglob("*") if path.is_file()]
    kept = {manifest.folder / "lock", *(manifest.folder / "done").rglob("*")}
    return {path.relative_to(manifest.out).as_posix(): path.read_bytes() for path in paths if path not in kept}


def test_what_is_published_is_known_again(manifest: Manifest, raw: Path) -> None:
    assert manifest.state("a/1.exr", raw, ["r"]) == ("new", "", None, False)
    publish(manifest, raw, "a/1.exr", "a/1.dng")
    assert files(manifest) == {"a/1.exr": b"imagea/1.exr", "a/1.dng": b"imagea/1.dng"}
    assert manifest.state("a/1.exr", raw, ["other", "r"]) == ("done", "", manifest.get("a/1.exr"), False)
    assert manifest.state("a/1.exr", raw, ["other"])[0] == "stale"
    assert manifest.records().keys() == {"a/1.exr", "a/1.dng"}
    stored = manifest.get("a/1.exr")
    assert stored is not None
    assert stored.sha256 == file_sha256(manifest.out / "a/1.exr")
    assert stored.found == {"ratio_ev": 3.0}
    assert Record.from_json(stored.as_json()) == stored


def test_moved_copied_and_touched_files_are_known_by_their_content(manifest: Manifest, raw: Path) -> None:
    publish(manifest, raw, "a/1.exr")
    os.utime(manifest.out / "a/1.exr", (1, 1))
    os.utime(raw, (2, 2))
    assert manifest.state("a/1.exr", raw, ["r"])[0] == "done"
    elsewhere = raw.with_name("renamed.dng")
    raw.rename(elsewhere)
    assert manifest.state("a/1.exr", elsewhere, ["r"])[0] == "done"
    copied = Manifest(Path(shutil.copytree(manifest.out, manifest.out.parent / "copy")))
    assert copied.state("a/1.exr", elsewhere, ["r"])[0] == "done"


def test_what_is_not_ours_any_more_is_foreign(manifest: Manifest, raw: Path) -> None:
    publish(manifest, raw, "a/1.exr")
    output = manifest.out / "a/1.exr"
    other = raw.with_name("other.dng")
    other.write_bytes(b"COUNTS")
    state, why, *_ = manifest.state("a/1.exr", other, ["r"])
    assert (state, why) == ("outdated", f"{output}: was made of another raw ({raw})")
    output.unlink()
    assert manifest.state("a/1.exr", raw, ["r"])[0] == "new"
    (manifest.out / "2.exr").symlink_to("nowhere")
    assert manifest.state("2.exr", raw, ["r"])[0] == "foreign"


def test_what_was_edited_since_is_still_what_is_wanted(manifest: Manifest, raw: Path) -> None:
    publish(manifest, raw, "a/1.exr")
    output, changed = manifest.out / "a/1.exr", f"{manifest.out / 'a/1.exr'}: was changed since it was written"
    whole = output.read_bytes()
    output.write_bytes(whole + b", rated")
    assert manifest.state("a/1.exr", raw, ["other", "r"])[:2] == ("edited", "")
    assert manifest.state("a/1.exr", raw, ["other"])[:2] == ("foreign", changed)
    other = raw.with_name("other.dng")
    other.write_bytes(b"COUNTS")
    assert manifest.state("a/1.exr", other, ["r"])[:2] == ("foreign", changed)
    half = whole[: len(whole) // 2]
    for broken in (whole[:-1], b"", half + bytes(len(whole) - len(half))):  # as a crash or half a copy leaves it
        output.write_bytes(broken)
        state, why, *_ = manifest.state("a/1.exr", raw, ["r"])
        assert (state, "it may be damaged" in why) == ("foreign", True)
    output.unlink()
    output.symlink_to("nowhere")
    assert manifest.state("a/1.exr", raw, ["r"])[0] == "foreign"


def test_a_damaged_record_is_no_record(manifest: Manifest, raw: Path) -> None:
    publish(manifest, raw, "1.exr")
    (path,) = (manifest.folder / "done").rglob("*.json")
    for content in (b"", b"{", b"[]", b'{"output": 3}', b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        assert manifest.get("1.exr") is None
        assert manifest.records() == {}
        assert manifest.state("1.exr", raw, ["r"])[0] == "foreign"


def test_records_are_read_again_where_they_change_alone(
    manifest: Manifest, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    true = Path.read_bytes
    publish(manifest, raw, "1.exr", "2.exr")
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self) or true(self))
    assert manifest.records().keys() == {"1.exr", "2.exr"}
    assert (manifest.records().keys(), len(read)) == ({"1.exr", "2.exr"}, 2)
    manifest._record_path("1.exr").unlink()
    manifest._record_path("2.exr").write_text(record(raw, "2.exr", recipe="another").as_json())
    read.clear()
    assert {output: found.recipe for output, found in manifest.records().items()} == {"2.exr": "another"}
    assert len(read) == 1


def test_a_record_that_cannot_be_read_is_not_taken_for_none(manifest: Manifest, raw: Path) -> None:
    publish(manifest, raw, "1.exr")
    (path,) = (manifest.folder / "done").rglob("*.json")
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=path.name):
        manifest.state("1.exr", raw, ["r"])
    assert manifest.records() == {}


def test_a_record_that_lacks_something_is_none(raw: Path) -> None:
    stored = json.loads(record(raw).as_json())
    assert Record.from_json(json.dumps(stored)) == record(raw)
    del stored["raw"]
    with pytest.raises(LookupError):
        Record.from_json(json.dumps(stored))


@pytest.mark.parametrize(
    "change",
    [{"file": name} for name in (5, None, "a\0b", "/etc/x", "../x", "a/../../x")]
    + [{"file": "\ud800"}] * (os.name != "nt")
    + [{"stamp": {"size": "x", "mtime_ns": 1}}, {"raw": 1}, {"found": []}],
)
def test_a_record_that_holds_what_none_does_is_damaged(
    manifest: Manifest, raw: Path, change: dict[str, object]
) -> None:
    publish(manifest, raw, "1.exr")
    (path,) = (manifest.folder / "done").rglob("*.json")
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    assert manifest.get("1.exr") is None
    assert manifest.records() == {}
    assert manifest.state("1.exr", raw, ["r"])[0] == "foreign"


def journal(manifest: Manifest, raw: Path, file: str, name: str) -> Path:
    """Leave the journal of a job in OUT, as a batch that was killed does; return the job's folder."""
    folder = manifest.work / f"{key_of('1.exr')}-0123abcd"
    folder.mkdir()
    (folder / "0.exr").write_bytes(b"theirs")
    (folder / "journal.json").write_text(json.dumps([(asdict(replace(record(raw), file=file)), name, True)]))
    return folder


def recover(manifest: Manifest) -> None:
    with manifest.claims() as claims:
        manifest.recover(claims)


@pytest.mark.parametrize(
    ("file", "name"), [("../private", "0.exr"), ("shared", "../../../../private"), ("linked/private", "0.exr")]
)
def test_a_journal_of_somebody_else_moves_nothing_in_or_out(
    manifest: Manifest, raw: Path, file: str, name: str
) -> None:
    private = manifest.out.parent / "private"
    private.write_bytes(b"mine")
    (manifest.out / "linked").symlink_to("..")
    journal(manifest, raw, file, name)
    recover(manifest)
    assert private.read_bytes() == b"mine"
    assert os.listdir(manifest.work) == []
    assert manifest.records() == {}
    assert not (manifest.out / "shared").exists()


@pytest.mark.parametrize("linked", ["0.exr", "record.json"])
def test_links_in_the_folder_of_a_job_are_not_followed(manifest: Manifest, raw: Path, linked: str) -> None:
    private = manifest.out.parent / "private"
    private.write_bytes(b"mine")
    folder = journal(manifest, raw, "1.exr", "0.exr")
    (folder / linked).unlink(missing_ok=True)
    (folder / linked).symlink_to(private)
    recover(manifest)
    assert private.read_bytes() == b"mine"
    assert not private.samefile(manifest.out / "1.exr") if linked == "record.json" else files(manifest) == {}


def test_what_an_older_version_has_left_is_finished(manifest: Manifest, raw: Path) -> None:
    folder = journal(manifest, raw, "1.exr", "0.exr")
    folder.rename(manifest.work / key_of("1.exr"))
    recover(manifest)
    assert files(manifest) == {"1.exr": b"theirs"}


def test_what_is_no_folder_of_a_job_is_left_alone(manifest: Manifest) -> None:
    (manifest.work / "photos").mkdir()
    recover(manifest)
    assert (manifest.work / "photos").exists()


@pytest.mark.parametrize("name", ["done", "work", "lock"])
@pytest.mark.parametrize("exists", [True, False])
def test_links_in_the_place_of_our_own_files_are_refused(manifest: Manifest, name: str, exists: bool) -> None:
    linked, elsewhere = manifest.folder / name, manifest.out.parent / "elsewhere"
    linked.rename(elsewhere) if exists else linked.rename(manifest.out / "gone")
    linked.symlink_to(elsewhere)
    with pytest.raises(UnwritableOutput, match=f"{name}: a link, which no batch makes; remove it"):
        manifest.create()
    assert elsewhere.exists() == exists


def test_a_file_that_a_killed_process_has_put_through_a_link_is_done(
    manifest: Manifest, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users link folders of OUT to other disks."""
    (tmp_path / "disk").mkdir()
    (manifest.out / "a").symlink_to(tmp_path / "disk")
    true = manifest_module.put_in_place

    def put_and_die(staged: Path, target: Path, may_replace: bool) -> None:
        true(staged, target, may_replace)
        raise Killed

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(manifest_module, "put_in_place", put_and_die)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        publish(manifest, raw, "a/1.exr")
    assert (tmp_path / "disk" / "1.exr").exists()
    assert not manifest._record_path("a/1.exr").exists()
    recover(manifest)
    assert manifest.state("a/1.exr", raw, ["r"])[0] == "done"


def test_a_name_taken_meanwhile_is_kept(manifest: Manifest, raw: Path) -> None:
    manifest.out.joinpath("1.exr").write_bytes(b"somebody's")
    with pytest.raises(UnwritableOutput, match="--overwrite"):
        publish(manifest, raw, "1.exr")
    assert files(manifest) == {"1.exr": b"somebody's"}
    publish(manifest, raw, "1.exr", may_replace=True)
    assert files(manifest) == {"1.exr": b"image1.exr"}


def test_a_failure_leaves_nothing(manifest: Manifest, raw: Path) -> None:
    def fail() -> None:
        with manifest.staged("1.exr") as folder:
            (folder / "0.exr").write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert files(manifest) == {}


def test_what_a_full_disk_keeps_no_record_of_takes_no_name(
    manifest: Manifest, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = manifest_module._write

    def full(path: Path, text: str) -> None:
        if path.name == "record.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        true(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(manifest_module, "_write", full)
        with pytest.raises(UnwritableOutput, match="No space left"):
            publish(manifest, raw, "1.exr")
    assert files(manifest) == {}
    assert manifest.state("1.exr", raw, ["r"])[0] == "new"  # and not foreign, for good


def killing(monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[], int]:
    """Let the process "die" before its `at`-th change of the file system, and after it no clean-up happen either."""
    count, dead = 0, False

    def wrap(module: object, name: str) -> None:
        true = getattr(module, name)

        def step(*arguments: object, **named: object) -> object:
            nonlocal count, dead
            count += 1
            dead = dead or count == at
            if dead:
                raise Killed
            return true(*arguments, **named)

        monkeypatch.setattr(module, name, step)

    for name in ("fsync", "link"):
        wrap(os, name)
    for name in ("replace", "mkdir"):
        wrap(Path, name)
    wrap(shutil, "rmtree")
    return lambda: count


def part_the_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the folders of OUT lie on another file system than the records."""
    true = Path.replace

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def move(staged: Path, target: Path) -> Path:
        return refuse() if (STATE in staged.parts) != (STATE in target.parts) else true(staged, target)

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "replace", move)


@pytest.mark.parametrize("disks", [1, 2])
@pytest.mark.parametrize("replacing", [False, True])
def test_killed_at_any_step_nothing_is_half_or_lost(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch, replacing: bool, disks: int
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # which take long
    if disks > 1:
        part_the_disks(monkeypatch)
    at = 0
    while True:
        at += 1
        manifest = Manifest(tmp_path / f"out{at}")
        manifest.create()
        if replacing:
            publish(manifest, raw, "1.exr", "1.dng", content=b"old")
        with monkeypatch.context() as patch:
            steps = killing(patch, at)
            with contextlib.suppress(Killed):
                publish(manifest, raw, "1.exr", "1.dng", may_replace=replacing)
            taken = steps()
        with manifest.claims() as claims:
            manifest.recover(claims)
        now = files(manifest)
        assert set(now) <= {"1.exr", "1.dng"}, at
        assert set(now.values()) <= {b"image1.exr", b"image1.dng", b"old1.exr", b"old1.dng"}
        states = {output: manifest.state(output, raw, ["r"])[0] for output in ("1.exr", "1.dng")}
        assert set(states.values()) <= {"new", "done"}, at  # never foreign: the next run can always go on
        assert [state == "done" for state in states.values()] == [output in now for output in states]
        if taken < at:
            break
    assert at > 8
    assert set(now.values()) == {b"image1.exr", b"image1.dng"}


def test_what_another_process_has_in_work_is_left_alone(manifest: Manifest, raw: Path) -> None:
    with manifest.staged("1.exr") as folder:
        (folder / "0.exr").write_bytes(b"half")

        class Others:
            def take(self, keys: list[str]) -> bool:
                return False

        manifest.recover(Others())  # type: ignore[arg-type]
        assert (folder / "0.exr").exists()


def test_without_locks_nothing_of_two_processes_at_one_job_is_half(manifest: Manifest, raw: Path) -> None:
    """As of two machines, on a network drive that does not pass on locks: each takes what the other has for left."""
    with manifest.staged("1.exr") as first:
        (first / "0.exr").write_bytes(b"whole")
        recover(manifest)
        with manifest.staged("1.exr") as second:
            (second / "0.exr").write_bytes(b"ha")
            with pytest.raises(OSError, match="No such file"):
                manifest.publish(first, [(record(raw, "1.exr"), "0.exr", False)])
            assert files(manifest) == {(second / "0.exr").relative_to(manifest.out).as_posix(): b"ha"}
            (second / "0.exr").write_bytes(b"whole")
            manifest.publish(second, [(record(raw, "1.exr"), "0.exr", False)])
    assert files(manifest) == {"1.exr": b"whole"}


def test_no_name_is_to_blame_for_a_disk_that_names_none() -> None:
    told = Manifest(Path()).unwritable(OSError(errno.EIO, "Input/output error"))
    assert str(told) == ".: cannot be written (Input/output error); make room or choose another place"


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableOutput, match="choose another"):
        Manifest(tmp_path / "file" / "out").create()


@dataclass(frozen=True, eq=False)
class Inner:
    period: np.ndarray | None = None
    gain: float = 1.0


@dataclass(frozen=True, eq=False)
class Outer:
    size: int
    inner: Inner = field(default_factory=Inner)
    path: Path | None = None


def test_recipes_tell_what_changes_the_result() -> None:
    plain = Outer(3)
    assert recipe_of(plain) == recipe_of(Outer(3, Inner(None, 1.0)))
    different = [
        plain,
        Outer(4),
        Outer(3, Inner(np.float32([[0.1]]))),
        Outer(3, Inner(np.float32([[0.2]]))),
        Outer(3, Inner(gain=2.0)),
        replace(plain, path=Path("x")),
    ]
    assert len({recipe_of(options) for options in different}) == len(different)
    assert recipe_of(plain, "model") != recipe_of(plain)
    assert json.loads(json.dumps(recipe_of(plain))) == recipe_of(plain)
