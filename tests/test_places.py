"""Raws and outputs at URLs: in memory, and in S3 as moto's server on loopback has it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import fsspec
import pytest
import torch
from frames import SINGLE, write_frame

from sve2hdr.errors import Sve2HdrError, UnwritableOutput
from sve2hdr.folders.filejob import run_job
from sve2hdr.folders.inputs import Inputs
from sve2hdr.folders.joblist import Job, Naming, collect
from sve2hdr.folders.jobstate import BatchOptions, FileResult, Order, Tools, finished_before
from sve2hdr.folders.record import Record, Stamp
from sve2hdr.folders.remotemanifest import RemoteManifest, manifest_of
from sve2hdr.folders.workload import megapixels_of
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.models import model_named
from sve2hdr.pipeline import ConvertOptions
from sve2hdr.system.files import file_sha256
from sve2hdr.system.places import Reals, RemotePath, fixed_part, place, real, without_file_url

torch.set_num_threads(1)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemotePath]:
    """Return an empty folder in memory; what shall lie on this machine meanwhile lies in a folder of the test."""
    (tmp_path / "machine").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "machine"))
    name = f"bucket{secrets.token_hex(4)}"
    yield RemotePath(f"memory://{name}")
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


class Bench:
    """A batch of one raw at a time, in this process."""

    def __init__(self, out: RemotePath | Path, weights: Path, **changed: object) -> None:
        self.options = BatchOptions(
            str(out), str(weights), **{"convert": ConvertOptions(device="cpu"), **changed}  # type: ignore[arg-type]
        )  # fmt: skip
        self.manifest = manifest_of(str(out))
        self.manifest.create()
        claims = None if self.options.look_only else self.manifest.claims()
        self.tools = Tools(self.manifest, claims, model_named(str(weights)))

    def __call__(self, job: Job) -> FileResult:
        return run_job(Order(job, leads=True), self.options, self.tools)


def names(folder: RemotePath) -> set[str]:
    return {url.removeprefix(f"{folder}/") for url in folder.files() if "/.sve2hdr/" not in url}


@contextlib.contextmanager
def failing(name: str, on: str = "") -> Iterator[None]:
    """Let a method of remote paths fail, during the block, where their URL holds `on`."""

    def fail(self: RemotePath, *arguments: object) -> object:
        if on in self.url:
            raise OSError(errno.EIO, "timed out", self.url)
        return true(self, *arguments)

    true = getattr(RemotePath, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RemotePath, name, fail)
        yield


def left_here(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "machine").rglob("*") if path.is_file() and path.name != "lock"]


# Paths ----------------------------------------------------------------------------------------------------------------


def test_a_file_at_a_url_is_written_read_and_known_again(bucket: RemotePath, tmp_path: Path) -> None:
    file = bucket / "a/b.dng"
    assert (file.name, file.suffix, str(file.parent)) == ("b.dng", ".dng", f"{bucket}/a")
    assert not file.exists()
    file.write_bytes(b"0123456789")
    before = Stamp.of(file)
    assert (before.size, file.read_start(4), file.read_bytes()) == (10, b"0123", b"0123456789")
    with file.open() as opened:
        assert opened.read() == b"0123456789"
    assert Stamp.of(file) == before
    (tmp_path / "new").write_bytes(b"9876543210")
    file.put(tmp_path / "new")
    assert Stamp.of(file) != before
    file.fetch(tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"9876543210"
    assert not (bucket / "a").exists()  # a folder is no file
    file.unlink()
    file.unlink()
    assert not file.exists()


def test_the_fixed_part_of_patterns_of_windows() -> None:
    shoot = PureWindowsPath(r"\\?\C:\shoot")
    for pattern, fixed in (
        (shoot / "*.CR2", shoot),
        (shoot / "a" / "*" / "b?.CR2", shoot / "a"),
        (PureWindowsPath(r"\\?\C:\*.CR2"), PureWindowsPath("\\\\?\\C:\\")),
        (PureWindowsPath(r"C:\shoot\*.CR2"), PureWindowsPath(r"C:\shoot")),
        (PureWindowsPath(r"\\server\sh*re\a.CR2"), PureWindowsPath("\\\\server\\sh*re\\")),
    ):
        assert fixed_part(pattern) == fixed  # type: ignore[type-var]


def test_file_urls_become_paths() -> None:
    for url, windows, path in (
        ("file:///C:/card", True, "C:/card"),
        ("FILE:///c:/card", True, "c:/card"),
        ("file:///mnt/card", True, "/mnt/card"),
        ("file:///C:/card", False, "/C:/card"),
        ("file://nas/card", True, "//nas/card"),
        ("s3://bucket/a", True, "s3://bucket/a"),
    ):
        assert without_file_url(url, windows) == path


def test_what_cannot_be_reached_says_what_to_install() -> None:
    with pytest.raises(Sve2HdrError, match=r"nowhere://a/b: cannot be reached .*sve2hdr\[cluster\]"):
        RemotePath("nowhere://a/b").exists()


def test_foreign_errors_become_oserrors(bucket: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no credentials")

    with monkeypatch.context() as patch:
        patch.setattr(type(fsspec.filesystem("memory")), "info", refuse)
        with pytest.raises(OSError, match="no credentials"):
            bucket.stat()
    (bucket / "a.dng").write_bytes(b"raw")
    with monkeypatch.context() as patch:
        patch.setattr("fsspec.implementations.memory.MemoryFile.getbuffer", refuse)  # it is read so
        with pytest.raises(OSError, match="no credentials"):  # also where the connection is lost while a file is read
            file_sha256(bucket / "a.dng")


# Lists ----------------------------------------------------------------------------------------------------------------


def test_folders_files_and_patterns_at_a_url_are_mirrored(bucket: RemotePath) -> None:
    for name in ("a10.dng", "a9.dng", "deep/b.CR2", "note.txt", ".hidden.dng", "out/a9.exr", "output/c.dng"):
        (bucket / "in" / name).write_bytes(b"raw")
    out = bucket / "in" / "out"
    (out / ".sve2hdr/done/x.dng").write_bytes(b"record")

    def relatives(*paths: str, **more: object) -> list[str]:
        found = collect(Inputs(paths, **more), out, Naming())  # type: ignore[arg-type]
        return [job.relative for job in found.jobs]

    assert relatives(f"{bucket}/in") == ["a9.dng", "a10.dng", "deep/b.CR2", "output/c.dng"]
    assert relatives(f"{bucket}/in", exclude=("a9*", "c.*"), base=str(bucket)) == ["in/a10.dng", "in/deep/b.CR2"]
    assert relatives(f"{bucket}/in/**/*.CR2") == ["deep/b.CR2"]
    assert relatives(f"{bucket}/in/a9.dng", f"{bucket}/in/a9.dng") == ["a9.dng"]
    ignored = collect(Inputs((f"{bucket}/in",)), out, Naming()).ignored
    assert ignored == [(f"{bucket}/in/.hidden.dng", "hidden"), (f"{bucket}/in/note.txt", "not a raw file, by its name")]
    assert collect(Inputs((str(out),)), out, Naming()).ignored == [(f"{out}/a9.exr", "not a raw file, by its name")]
    for missing in (f"{bucket}/none", f"{bucket}/in/*.nef"):
        with pytest.raises(Sve2HdrError, match="nothing is there"):
            relatives(missing)
    with pytest.raises(Sve2HdrError, match="does not lie below"):
        relatives(f"{bucket}/in", base="memory://other")
    onto = collect(Inputs((f"{bucket}/in/a9.dng",)), bucket / "in", Naming(("dng",)))
    assert [why for _, why in onto.refused] == ["its output would replace a raw file, a9.dng; choose another folder"]


def test_brackets_in_urls_are_names_first_and_patterns_take_folders(bucket: RemotePath) -> None:
    for name in ("shoot [1]/a.dng", "shoot [1]/b [2].dng", "card1/x/a.dng", "card2/b.dng", "card3.dng", "other/c.dng"):
        (bucket / name).write_bytes(b"raw")

    def relatives(path: str) -> list[str]:
        return [job.relative for job in collect(Inputs((f"{bucket}/{path}",)), bucket / "out", Naming()).jobs]

    assert relatives("shoot [1]") == ["a.dng", "b [2].dng"]
    assert relatives("shoot [1]/b [2].dng") == ["b [2].dng"]
    assert relatives("card*") == ["card1/x/a.dng", "card2/b.dng", "card3.dng"]
    assert relatives("car*/**") == ["card1/x/a.dng", "card2/b.dng"]


def test_what_is_watched_may_be_empty_and_must_be_allowed(bucket: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (f"{bucket}/none", f"{bucket}/in/*.nef", f"{bucket}/1.dng"):
        assert collect(Inputs((path,), watched=True), bucket / "out", Naming()).jobs == []

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", refuse)
    with pytest.raises(Sve2HdrError, match="check the address and your rights"):
        collect(Inputs((str(bucket),), watched=True), bucket / "out", Naming())


def test_a_url_is_as_large_as_its_bytes_allow(bucket: RemotePath) -> None:
    (bucket / "a.dng").write_bytes(bytes(3_000_000))
    assert megapixels_of(bucket / "a.dng") == 3


def test_folders_that_are_resolved_once_give_the_same_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card/a").mkdir(parents=True)
    for name in ("card/1.dng", "card/a/2.dng"):
        (tmp_path / name).touch()
    Path("link").symlink_to("card")
    Path("card/other.dng").symlink_to("a/2.dng")
    Path("card/gone.dng").symlink_to("nowhere")
    names = ["1.dng", "a/2.dng", "other.dng", "gone.dng", "new.dng", "a", "a/", "a/..", "a/../1.dng", "."]
    paths = [f"{top}{name}" for top in ("card/", "link/", f"{tmp_path}/link/") for name in names]
    reals = Reals()
    for path in [*paths, "link", "", ".", "s3://bucket/a/../b"] * 2:
        assert reals(path) == real(path)


# Jobs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remote", ["raw", "out", "both"])
def test_convert_resume_redo_and_refuse(remote: str, bucket: RemotePath, tmp_path: Path, weights: Path) -> None:
    content, out = write_frame(tmp_path / "1.dng"), tmp_path / "out" if remote == "raw" else bucket / "out"
    (bucket / "in/1.dng").write_bytes(content)
    raw = str(tmp_path / "1.dng") if remote == "out" else f"{bucket}/in/1.dng"
    job = Job(raw, "a/1.dng", ("a/1.exr", "a/1.preview.jpg"), preview=True)

    dry = Bench(out, weights, look_only=True)(job)
    assert (dry.outcome, dry.outputs[0]) == ("converted", str(out / "a/1.exr")), dry.error
    first = Bench(out, weights)(job)
    made = tuple(str(out / name) for name in ("a/1.exr", "a/1.preview.jpg"))
    assert (first.outcome, first.outputs) == ("converted", made), first.error
    written = place(f"{out}/a/1.exr")
    (tmp_path / "seen.exr").write_bytes(written.read_bytes())
    assert read_hdr(tmp_path / "seen.exr").shape == (96, 128, 3)

    again = Bench(out, weights)
    assert again(job).outcome == "unchanged"
    known = finished_before(job, again.options, again.manifest)
    assert known is not None
    assert (known.outcome, known.outputs, known.sha256) == ("unchanged", first.outputs, first.sha256)

    edited = written.read_bytes() + b"rated"
    written.write_bytes(edited)
    assert finished_before(job, again.options, again.manifest) is None  # who claims the job finds out
    for look_only in (True, False):
        kept = Bench(out, weights, look_only=look_only)(job)
        assert (kept.outcome, kept.good, kept.outputs, kept.error) == ("edited", True, first.outputs, "")
    other = {"convert": ConvertOptions(device="cpu", exposure_ev=1.0)}
    for changed, there in (({}, edited[:100]), (other, edited)):
        written.write_bytes(there)
        refused = Bench(out, weights, **changed)(job)
        assert refused.outcome == "failed"
        assert refused.error.startswith(f"{written}: was changed since it was written")
        assert written.read_bytes() == there
    assert Bench(out, weights, overwrite=True)(job).outcome == "converted"
    assert written.read_bytes() + b"rated" == edited
    assert left_here(tmp_path) == []


def test_what_cannot_be_read_is_named_by_its_url(bucket: RemotePath, tmp_path: Path, weights: Path) -> None:
    (bucket / "in/1.dng").write_bytes(b"no raw")
    for name, said in (("1.dng", "damaged or truncated"), ("none.dng", "cannot be read (No such file or directory)")):
        result = Bench(bucket / "out", weights)(Job(f"{bucket}/in/{name}", name, ("1.exr",)))
        assert (result.input, result.outcome) == (f"{bucket}/in/{name}", "failed")
        assert said in result.error
        assert str(tmp_path) not in result.error
    assert names(bucket / "out") == set()


@pytest.mark.parametrize("look_only", [False, True])
def test_a_full_temporary_folder_is_named(
    bucket: RemotePath, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, look_only: bool
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    job = Job(f"{bucket}/in/1.dng", "1.dng", ("1.exr",))
    (bucket / "in/1.dng").write_bytes(b"raw")
    said = f"{platform.node()}: the temporary folder {tmp_path / 'machine'} is full; make room there, or set TMPDIR"
    remote = Bench(bucket / "out", weights, look_only=look_only)
    local = Bench(tmp_path / "out", weights, look_only=look_only)
    monkeypatch.setattr(RemotePath, "fetch", full)
    result = remote(job)
    assert (result.error, result.hopeless) == (said, True)
    result = local(job)
    assert result.hopeless
    assert result.error == said if look_only else result.error.startswith(f"{tmp_path / 'out'}: cannot be written")
    monkeypatch.setattr(Path, "mkdir", full)
    if not look_only:
        assert remote(job).error == said


def test_a_full_store_is_not_taken_for_a_full_temporary_folder(
    bucket: RemotePath, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_frame(tmp_path / "1.dng")
    monkeypatch.setattr(RemotePath, "put", full)
    result = Bench(bucket / "out", weights)(Job(str(tmp_path / "1.dng"), "1.dng", ("1.exr",)))
    assert result.error.startswith(f"{bucket}/out: cannot be written (No space left on device)")
    assert (result.hopeless, result.full_here) == (True, False)


def test_a_raw_that_fails_is_fetched_once(bucket: RemotePath, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bucket / "in/1.dng").write_bytes(b"no raw")
    opened = []
    memory = type(fsspec.filesystem("memory"))
    true = memory.open
    monkeypatch.setattr(memory, "open", lambda self, path, *a, **k: opened.append(path) or true(self, path, *a, **k))
    assert Bench(bucket / "out", weights)(Job(f"{bucket}/in/1.dng", "1.dng", ("1.exr",))).outcome == "failed"
    assert len([path for path in opened if path.endswith("in/1.dng")]) == 1


def test_a_kind_of_url_that_is_not_installed_fails_the_job_alone(tmp_path: Path, weights: Path) -> None:
    result = Bench(tmp_path / "out", weights)(Job("nowhere://a/1.dng", "1.dng", ("1.exr",)))
    assert result.outcome == "failed"
    assert "cannot be reached" in result.error


def test_a_store_that_fails_once_makes_nothing_foreign(bucket: RemotePath, tmp_path: Path, weights: Path) -> None:
    write_frame(tmp_path / "1.dng")
    job = Job(str(tmp_path / "1.dng"), "1.dng", ("1.exr",))
    assert Bench(bucket / "out", weights)(job).outcome == "converted"
    for name, on in (("read_bytes", "/done/"), ("stat", "1.exr")):
        bench = Bench(bucket / "out", weights)
        with failing(name, on):
            result = bench(job)
            assert result.outcome == "failed"
            assert "timed out" in result.error
            with pytest.raises(OSError, match="timed out"):
                finished_before(job, bench.options, bench.manifest)
        assert bench(job).outcome == "unchanged"


@pytest.mark.parametrize("policy", ["copy", "skip"])
def test_ordinary_raws(policy: str, bucket: RemotePath, tmp_path: Path, weights: Path) -> None:
    content = write_frame(tmp_path / "1.dng", pattern=SINGLE)
    (bucket / "in/1.dng").write_bytes(content)
    job = Job(f"{bucket}/in/1.dng", "1.dng", ("1.exr",))
    bench = Bench(bucket / "out", weights, if_not_sve=policy)
    assert bench(job).outcome == {"copy": "copied", "skip": "skipped"}[policy]
    assert bench(job).outcome == "unchanged"
    assert names(bucket / "out") == ({"1.dng"} if policy == "copy" else set())
    if policy == "copy":
        assert (bucket / "out/1.dng").read_bytes() == content


def test_a_raw_that_changes_meanwhile_is_put_off(
    bucket: RemotePath, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = bucket / "in/1.dng"
    raw.write_bytes(write_frame(tmp_path / "1.dng"))
    true = RemotePath.fetch

    def fetch(self: RemotePath, to: Path) -> None:
        true(self, to)
        raw.write_bytes(b"more of it")

    monkeypatch.setattr(RemotePath, "fetch", fetch)
    assert Bench(bucket / "out", weights)(Job(str(raw), "1.dng", ("1.exr",))).outcome == "moving"
    assert names(bucket / "out") == set()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_lost_worker_has_finished_counts_as_done_in_its_run(
    bucket: RemotePath, tmp_path: Path, weights: Path, overwrite: bool
) -> None:
    write_frame(tmp_path / "1.dng")
    job = Job(str(tmp_path / "1.dng"), "1.dng", ("1.exr",))
    run = {"overwrite": overwrite, "run": "today"}
    assert Bench(bucket / "out", weights, **run)(job).outcome == "converted"
    before = Stamp.of(bucket / "out/1.exr")
    second = Bench(bucket / "out", weights, **run)(job)  # its result was lost
    assert (second.outcome, second.outputs) == ("converted", (f"{bucket}/out/1.exr",))
    assert Stamp.of(bucket / "out/1.exr") == before
    later = Bench(bucket / "out", weights, overwrite=overwrite, run="tomorrow")(job)
    assert later.outcome == ("converted" if overwrite else "unchanged")


# Interrupted on the way -----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Ends a process here, as kill -9 does: no handler for errors sees it."""


@pytest.mark.parametrize("step", range(7))
@pytest.mark.parametrize("before", [False, True])
def test_killed_at_any_step_the_next_run_completes_it(
    bucket: RemotePath, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, step: int, before: bool
) -> None:
    """Journal, first file, its record, second file, its record, journal removed; before and after each."""
    (tmp_path / "1.dng").write_bytes(b"raw")
    job = Job(str(tmp_path / "1.dng"), "1.dng", ("1.exr", "1.dng"))
    manifest = RemoteManifest(bucket / "out")
    recipe, raw = "r", Path(job.raw)

    def publish(text: bytes, recipe: str, replace: bool) -> None:
        with manifest.staged(job.outputs[0]) as folder:
            made = []
            for i, output in enumerate(job.outputs):
                (folder / str(i)).write_bytes(text + output.encode())
                record = Record(output, output, "converted", recipe, job.raw, "", Stamp.of(raw))
                made.append((record, str(i), replace))
            manifest.publish(folder, made)

    claims = manifest.claims()
    if before:
        publish(b"old", "old", False)
    left = step

    def dying(name: str) -> None:
        true = getattr(RemotePath, name)

        def call(self: RemotePath, *arguments: object) -> object:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return true(self, *arguments)

        patch.setattr(RemotePath, name, call)

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        for name in ("write_bytes", "put", "unlink"):
            dying(name)
        publish(b"new", recipe, before)
    manifest.recover(claims, job.outputs)
    states = [manifest.state(output, raw, [recipe])[0] for output in job.outputs]
    assert set(states) <= {"done", "stale" if before else "new"}
    assert states == sorted(states)  # the first is finished first
    assert (states == ["done", "done"]) == (step >= 4)
    for output, state in zip(job.outputs, states, strict=True):
        assert state == "new" or (bucket / "out" / output).read_bytes().startswith(
            b"new" if state == "done" else b"old"
        )
    assert (manifest.folder / "work").files() == [] if step != 0 else True
    claims.close()


def test_half_a_file_of_ours_is_removed_and_anothers_is_kept(bucket: RemotePath, tmp_path: Path) -> None:
    manifest = RemoteManifest(bucket / "out")
    record = Record("1.exr", "1.exr", "converted", "r", "1.dng", "", Stamp(0, 0), "0" * 64, Stamp(8, 0))
    with manifest.claims() as claims:
        for earlier in (None, 5):
            (bucket / "out/1.exr").write_bytes(b"half")
            entry = (json.loads(record.as_json()), earlier)
            (bucket / "out/.sve2hdr/work/x.json").write_bytes(json.dumps([entry]).encode())
            manifest.recover(claims)
            assert names(bucket / "out") == set()
        (bucket / "out/1.exr").write_bytes(b"mine")
        with manifest.staged("1.exr") as folder:
            (folder / "0").write_bytes(b"new")
            with pytest.raises(UnwritableOutput, match="exists already"):
                manifest.publish(folder, [(record, "0", False)])
        assert (bucket / "out/1.exr").read_bytes() == b"mine"


def publish_one(manifest: RemoteManifest) -> None:
    """Let a file `whole file` become 1.exr, in place of any."""
    record = Record("1.exr", "1.exr", "converted", "r", "1.dng", "", Stamp(0, 0))
    with manifest.staged("1.exr") as folder:
        (folder / "0").write_bytes(b"whole file")
        manifest.publish(folder, [(record, "0", True)])


@pytest.mark.parametrize("earlier", [b"mine", b"my own long file", None])
def test_a_put_that_fails_costs_no_earlier_file(bucket: RemotePath, earlier: bytes | None) -> None:
    manifest, file = RemoteManifest(bucket / "out"), bucket / "out/1.exr"
    if earlier is not None:
        file.write_bytes(earlier)
    with manifest.claims() as claims:
        with failing("put"), pytest.raises(UnwritableOutput, match="timed out"):
            publish_one(manifest)
        manifest.recover(claims)
        assert (file.read_bytes() if file.exists() else None) == earlier
        assert (manifest.folder / "work").files() == []
        publish_one(manifest)
    assert file.read_bytes() == b"whole file"


def test_a_journal_stays_where_the_store_fails(bucket: RemotePath) -> None:
    manifest = RemoteManifest(bucket / "out")
    with manifest.claims() as claims:
        with failing("write_bytes", "/done/"), pytest.raises(UnwritableOutput, match="timed out"):
            publish_one(manifest)
        with failing("stat"), contextlib.suppress(OSError):
            manifest.recover(claims)
        assert manifest.get("1.exr") is None
        manifest.recover(claims)
        assert manifest.get("1.exr") is not None
        assert (manifest.folder / "work").files() == []


def test_records_are_read_again_where_they_change_alone(bucket: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = RemoteManifest(bucket / "out")
    records = {name: bucket / f"out/.sve2hdr/done/{name}.json" for name in "abc"}

    def write(name: str, raw: str) -> None:
        record = Record(f"{name}.exr", f"{name}.exr", "converted", "r", raw, "", Stamp(0, 0))
        records[name].write_bytes(record.as_json().encode())

    def raws() -> dict[str, str]:
        read.clear()
        return {output: record.raw for output, record in manifest.records().items()}

    read: list[str] = []
    true = RemotePath.read_bytes
    monkeypatch.setattr(RemotePath, "read_bytes", lambda self: read.append(self.url) or true(self))
    for name in "ab":
        write(name, "1.dng")
    assert (raws(), len(read)) == ({"a.exr": "1.dng", "b.exr": "1.dng"}, 2)
    assert (raws(), len(read)) == ({"a.exr": "1.dng", "b.exr": "1.dng"}, 0)
    write("b", "2.dng")
    write("c", "3.dng")
    records["a"].unlink()
    assert (raws(), len(read)) == ({"b.exr": "2.dng", "c.exr": "3.dng"}, 2)
    records["b"].write_bytes(b"damaged")
    assert raws() == {"c.exr": "3.dng"}


def test_what_killed_processes_left_on_this_machine_is_removed(bucket: RemotePath, tmp_path: Path) -> None:
    manifest = RemoteManifest(bucket / "out")
    manifest.claims().close()
    with contextlib.suppress(Killed), manifest.staged("1.exr") as folder:
        (folder / "raw.dng").write_bytes(b"half")
        shutil.copytree(folder, kept := tmp_path / "kept")
        raise Killed
    kept.rename(folder)
    manifest.claims().close()
    assert left_here(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="each user has temporary folders of his own")
@pytest.mark.parametrize("planted", ["link", "linked work", "another's", "file"])
def test_a_temporary_folder_that_others_have_made_is_refused(
    bucket: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    manifest = RemoteManifest(bucket / "out")
    mine = tmp_path / "mine" / ("0" * 32)
    mine.mkdir(parents=True)
    (mine / "photo.cr2").write_bytes(b"mine")
    if planted == "link":
        manifest.scratch.symlink_to(tmp_path)
        (tmp_path / "mine").rename(tmp_path / "work")
        mine = tmp_path / "work" / mine.name
    elif planted == "file":
        manifest.scratch.write_bytes(b"")
    else:
        manifest.scratch.mkdir(mode=0o700)
        if planted == "linked work":
            manifest.work.symlink_to(tmp_path / "mine")
        else:
            monkeypatch.setattr(os, "getuid", lambda: manifest.scratch.stat().st_uid + 1)
    with pytest.raises(UnwritableOutput, match="set TMPDIR"):
        manifest.claims()
    assert (mine / "photo.cr2").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="each user has temporary folders of his own")
def test_a_temporary_folder_that_is_open_to_others_is_made_ones_own(bucket: RemotePath, tmp_path: Path) -> None:
    manifest = RemoteManifest(bucket / "out")
    for folder in (manifest.scratch, manifest.work):
        folder.mkdir()
        folder.chmod(0o775)  # as an older version did where the umask is 002
    (manifest.scratch / "lock").symlink_to(tmp_path / "elsewhere")
    manifest.claims().close()
    assert [folder.stat().st_mode & 0o777 for folder in (manifest.scratch, manifest.work)] == [0o700, 0o700]
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("content", [b"5", b"[5]", pytest.param(b"[" * 100_000, id="deep"), b"\xff"])
def test_a_journal_that_is_none_is_removed(bucket: RemotePath, content: bytes) -> None:
    manifest = RemoteManifest(bucket / "out")
    (bucket / "out/.sve2hdr/work/x.json").write_bytes(content)
    with manifest.claims() as claims:
        manifest.recover(claims)
    assert (manifest.folder / "work").files() == []


# S3 -------------------------------------------------------------------------------------------------------------------

SERVER = """
import time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
time.sleep(600)
"""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Return the environment for an S3 on loopback, with one bucket."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            with urllib.request.urlopen(urllib.request.Request(f"{address}/shoot", method="PUT")):
                pass
            keys = {"AWS_ACCESS_KEY_ID": "us", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
            yield {**os.environ, **keys, "AWS_ENDPOINT_URL": address}
        finally:
            server.kill()


@pytest.mark.slow
def test_a_batch_from_s3_to_s3_and_again(s3: dict[str, str], tmp_path: Path, weights: Path) -> None:
    address, plain = s3["AWS_ENDPOINT_URL"], {"Content-Type": "application/octet-stream"}
    body = write_frame(tmp_path / "frame.dng")
    for name in ("in/a/1.dng", "in/2.dng"):
        with urllib.request.urlopen(urllib.request.Request(f"{address}/shoot/{name}", body, plain, method="PUT")):
            pass
    (tmp_path / "machine").mkdir()

    def batch(*more: object, code: int = 0) -> str:
        options = ("--model", weights, "--device", "cpu", "--workers", 1, "--plain", "--report", "run.jsonl", *more)
        command = (sys.executable, "-m", "sve2hdr", "batch", *options)
        environment = {**s3, "TMPDIR": str(tmp_path / "machine")}
        ran = subprocess.run(
            [*map(str, command)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    assert "2  converted" in batch("s3://shoot/in", "-o", "s3://shoot/out")
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert sorted(line["input"] for line in lines) == ["s3://shoot/in/2.dng", "s3://shoot/in/a/1.dng"]
    fetch = "from sve2hdr.system.places import *; RemotePath('s3://shoot/out/a/1.exr').fetch(Path('1.exr'))"
    subprocess.run([sys.executable, "-c", fetch], cwd=tmp_path, env=s3, check=True, timeout=600)
    assert read_hdr(tmp_path / "1.exr").shape == (96, 128, 3)
    assert "2  finished before" in batch("s3://shoot/in", "-o", "s3://shoot/out")
    assert left_here(tmp_path) == []
    refused = batch("s3://shoot/in", "-o", "s3://none/out", code=1)
    assert "s3://none/out: cannot be written" in refused
    assert "Traceback" not in refused
