"""One job: what it writes, recognises, refuses and reports. In this process; tests/test_batch.py has the others."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
import torch
from frames import PAIRS, SINGLE, write_frame

from sve2hdr import convert, pipeline
from sve2hdr.commands.batchcommand import POLICIES
from sve2hdr.convert import convert_file
from sve2hdr.errors import UnwritableOutput
from sve2hdr.folders import classify, jobfiles, manifest
from sve2hdr.folders.batchdisplay import report_line
from sve2hdr.folders.filejob import run_job
from sve2hdr.folders.joblist import Job
from sve2hdr.folders.jobstate import BatchOptions, FileResult, Order, Tools, finished_before, shared_before
from sve2hdr.folders.manifest import Manifest
from sve2hdr.formats.dngfile import write_cfa_dng
from sve2hdr.levels import Levels
from sve2hdr.models import Model
from sve2hdr.mosaic import ExposurePattern
from sve2hdr.network import NetworkConfig, SveNet
from sve2hdr.parameters import LEAD_EV
from sve2hdr.pipeline import ConvertOptions
from sve2hdr.rawfile import read_raw
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate
from sve2hdr.system.files import file_sha256
from sve2hdr.whitebalance import parse_white_balance

torch.set_num_threads(1)


class Bench:
    """A folder with photo.dng (SVE) and plain.dng (one exposure), and the tools to do jobs on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        write_frame(folder / "photo.dng")
        write_frame(folder / "plain.dng", pattern=SINGLE)
        torch.manual_seed(0)
        network = SveNet(NetworkConfig(widths=(8, 8, 8))).eval()
        manifest = Manifest(self.out)
        manifest.create()
        self.tools = Tools(manifest, manifest.claims(), Model({"tiny": network}))
        self.options = BatchOptions(str(self.out), "tiny", convert=ConvertOptions(device="cpu"))

    def job(self, name: str = "photo.dng", *outputs: str) -> Job:
        stem = name.partition(".")[0]
        return Job(str(self.folder / name), f"sub/{name}", outputs or (f"sub/{stem}.exr",))

    def run(self, job: Job | None = None, found: dict[str, object] | None = None, **changed: object) -> FileResult:
        return run_job(Order(job or self.job(), found, leads=True), replace(self.options, **changed), self.tools)  # type: ignore[arg-type]

    def files(self) -> set[str]:
        """Return what a user sees in OUT, and what was left behind in work."""
        done = self.out / ".sve2hdr" / "done"
        paths = (path for path in self.out.rglob("*") if path.is_file() and not path.is_relative_to(done))
        return {path.relative_to(self.out).as_posix() for path in paths} - {".sve2hdr/lock"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_raw_becomes_what_convert_makes_of_it_and_is_not_done_twice(bench: Bench) -> None:
    result = bench.run()
    assert (result.outcome, result.error, result.good) == ("converted", "", True)
    assert result.outputs == (str(bench.out / "sub/photo.exr"),)
    assert result.sha256 == file_sha256(bench.folder / "photo.dng")
    assert result.found["ratio_ev"] == pytest.approx(3, abs=0.05)
    assert result.peak_mb > 10
    options = ConvertOptions(device="cpu")
    convert_file(bench.folder / "photo.dng", bench.folder / "by-hand.exr", bench.tools.model, options)
    assert (bench.out / "sub/photo.exr").read_bytes() == (bench.folder / "by-hand.exr").read_bytes()
    assert bench.files() == {"sub/photo.exr"}
    again = bench.run()
    assert again.outcome == "unchanged"
    assert again.found == json.loads(json.dumps(result.found))
    assert finished_before(bench.job(), bench.options, bench.tools.manifest) is not None
    assert pickle.loads(pickle.dumps(bench.options)).recipes(bench.job(), None) == bench.options.recipes(
        bench.job(), None
    )


def test_files_that_were_put_back_with_other_times_are_not_read_again_and_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    true = manifest.file_sha256
    monkeypatch.setattr(manifest, "file_sha256", lambda path: read.append(path.name) or true(path))
    job = bench.job("photo.dng", "p.exr", "p.tif")
    assert bench.run(job).outcome == "converted"
    for path in (bench.folder / "photo.dng", bench.out / "p.exr", bench.out / "p.tif"):
        os.utime(path, (1, 1))
    read.clear()
    assert finished_before(job, bench.options, bench.tools.manifest) is None
    assert read == []  # the client of a batch reads no file
    assert bench.run(job, look_only=True).outcome == "unchanged"
    for _ in range(2):
        read.clear()
        assert bench.run(job).outcome == "unchanged"
    assert read == []
    known = finished_before(job, bench.options, bench.tools.manifest)
    assert known == replace(bench.run(job), seconds=0, peak_mb=0)
    assert bench.files() == {"p.exr", "p.tif"}


def test_several_outputs_of_one_reconstruction(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    true = pipeline.reconstruct
    monkeypatch.setattr(pipeline, "reconstruct", lambda *a, **k: runs.append(1) or true(*a, **k))
    names = ("p.exr", "p.dng", "p.tif", "p.hdr", "p.preview.jpg")
    job = replace(bench.job("photo.dng", *names), preview=True)
    assert bench.run(job).outcome == "converted"
    assert len(runs) == 1
    assert bench.files() == set(names)
    starts = {name: (bench.out / name).read_bytes()[:3] for name in names}
    assert starts["p.exr"] == b"\x76\x2f\x31"
    assert starts["p.dng"] == starts["p.tif"] == b"II*"
    assert starts["p.preview.jpg"] == b"\xff\xd8\xff"
    before = {name: (bench.out / name).stat().st_mtime_ns for name in names}
    (bench.out / "p.tif").unlink()  # only what is missing is made
    assert bench.run(job).outputs == (str(bench.out / "p.tif"),)
    after = {name: (bench.out / name).stat().st_mtime_ns for name in names}
    assert [name for name in names if before[name] != after[name]] == ["p.tif"]
    (bench.out / "p.preview.jpg").unlink()
    assert bench.run(job).outputs == (str(bench.out / "p.preview.jpg"),)


def test_notes_name_the_outputs_by_their_final_names(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    true = convert.write_hdr
    monkeypatch.setattr(convert, "write_hdr", lambda path, *a, **k: f"{true(path, *a, **k)}{path}: a note")
    assert bench.run().notes == (f"{bench.out / 'sub/photo.exr'}: a note",)


def test_other_options_weights_and_raws(bench: Bench) -> None:
    assert bench.run().outcome == "converted"
    brighter = replace(bench.options.convert, exposure_ev=1.0)
    assert bench.run(convert=replace(bench.options.convert, tile_px=64)).outcome == "unchanged"  # the same pixels
    assert bench.run(convert=brighter).outcome == "converted"
    assert bench.run(convert=brighter).outcome == "unchanged"
    assert bench.run(convert=brighter, model_digest="other").outcome == "converted"
    assert bench.run(if_not_sve="copy").outcome == "converted"  # back to the first options
    assert bench.run(if_not_sve="fail").outcome == "unchanged"
    (bench.folder / "photo.dng").unlink()
    write_frame(bench.folder / "photo.dng", seed=5)  # a card used again, with the old names
    refused = bench.run()
    assert refused.outcome == "failed"
    assert "another raw" in refused.error
    assert "--overwrite" in refused.error
    assert bench.run(overwrite=True).outcome == "converted"
    assert bench.run().outcome == "unchanged"


def test_files_of_others_are_never_replaced_unasked(bench: Bench) -> None:
    (bench.out / "sub").mkdir()
    output = bench.out / "sub/photo.exr"
    output.write_bytes(b"somebody's")
    refused = bench.run()
    assert refused.outcome == "failed"
    assert refused.error.startswith(str(output))
    assert output.read_bytes() == b"somebody's"
    assert bench.run(overwrite=True).outcome == "converted"
    output.write_bytes(b"edited by hand")
    assert "changed since" in bench.run().error
    assert output.read_bytes() == b"edited by hand"


def test_ordinary_raws(bench: Bench) -> None:
    job = bench.job("plain.dng")
    skipped = bench.run(job)
    assert (skipped.outcome, skipped.outputs) == ("skipped", ())
    assert "exposure" in skipped.found["reason"]
    assert bench.run(job).outcome == "unchanged"  # it is not looked at again
    failed = bench.run(job, if_not_sve="fail")
    assert failed.outcome == "failed"
    assert "no exposure pattern" in failed.error
    copied = bench.run(job, if_not_sve="copy")
    assert copied.outputs == (str(bench.out / "sub/plain.dng"),)
    assert (bench.out / "sub/plain.dng").read_bytes() == (bench.folder / "plain.dng").read_bytes()
    assert bench.run(job, if_not_sve="copy").outcome == "unchanged"
    assert bench.files() == {"sub/plain.dng"}
    (bench.out / "sub/plain.dng").write_bytes(b"another")
    assert bench.run(job, if_not_sve="copy").outcome == "failed"
    assert (bench.out / "sub/plain.dng").read_bytes() == b"another"


@pytest.mark.skipif(os.name == "nt", reason="modes tell Windows of the right to write alone")
def test_a_raw_that_is_private_stays_so_as_a_copy(bench: Bench) -> None:
    (bench.folder / "plain.dng").chmod(0o600)
    assert bench.run(bench.job("plain.dng"), if_not_sve="copy").outcome == "copied"
    assert stat.S_IMODE((bench.out / "sub/plain.dng").stat().st_mode) == 0o600


def test_a_raw_that_is_read_only_is_copied_with_its_time(bench: Bench) -> None:
    """As cards in their locked state have them; the copy is synced, which takes the right to write."""
    plain, copy = bench.folder / "plain.dng", bench.out / "sub/plain.dng"
    os.utime(plain, ns=(1, 1_500_000_000_123_456_700))
    plain.chmod(0o444)
    assert bench.run(bench.job("plain.dng"), if_not_sve="copy").outcome == "copied"
    assert copy.stat().st_mtime_ns == 1_500_000_000_123_456_700
    assert copy.stat().st_mode & 0o200


def test_ratings_beside_a_raw_go_with_its_copy_and_replace_none(bench: Bench) -> None:
    of_another = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
        <r:Description xmlns:p="http://ns.adobe.com/photoshop/1.0/" p:SidecarForExtension="NEF"/></r:RDF></x:xmpmeta>"""
    for name, content in {"plain.xmp": of_another, "plain.dng.xmp": b"rated", "other.xmp": b""}.items():
        (bench.folder / name).write_bytes(content)
    os.utime(bench.folder / "plain.dng.xmp", ns=(1, 1_500_000_000_000_000_000))
    (bench.folder / "plain.dng.xmp").chmod(0o444)
    job = bench.job("plain.dng")
    copied = bench.run(job, if_not_sve="copy")
    assert (copied.outcome, copied.outputs, copied.notes) == ("copied", (str(bench.out / "sub/plain.dng"),), ())
    assert bench.files() == {"sub/plain.dng", "sub/plain.dng.xmp"}
    rated = bench.out / "sub/plain.dng.xmp"
    assert rated.read_bytes() == b"rated"
    assert (rated.stat().st_mtime_ns, rated.stat().st_mode & 0o200) == (1_500_000_000_000_000_000, 0o200)
    rated.write_bytes(b"rated again")
    (bench.out / "sub/plain.dng").unlink()
    assert bench.run(job, if_not_sve="copy", overwrite=True).outcome == "copied"
    assert rated.read_bytes() == b"rated again"
    assert (bench.folder / "plain.dng.xmp").read_bytes() == b"rated"


def test_a_sidecar_that_cannot_be_copied_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path, path: Path, may_replace: bool) -> None:
        raise UnwritableOutput(f"{path}: cannot be written")

    (bench.folder / "plain.xmp").write_bytes(b"rated")
    monkeypatch.setattr(jobfiles, "put_in_place", full)
    copied = bench.run(bench.job("plain.dng"), if_not_sve="copy")
    assert copied.outcome == "copied"
    beside = bench.out / "sub/plain.xmp"
    assert copied.notes == (f"{bench.folder / 'plain.xmp'}: is not copied ({beside}: cannot be written)",)


def test_a_sidecar_that_cannot_be_read_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed_or(do: Any, path: Path, *rest: Any, **more: Any) -> Any:
        if path.suffix == ".xmp":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return do(path, *rest, **more)

    (bench.folder / "plain.xmp").write_bytes(b"rated")
    opened, copyfile = Path.open, shutil.copyfile
    monkeypatch.setattr(Path, "open", lambda path, *rest, **more: closed_or(opened, path, *rest, **more))
    monkeypatch.setattr(shutil, "copyfile", lambda path, *rest: closed_or(copyfile, path, *rest))
    copied = bench.run(bench.job("plain.dng"), if_not_sve="copy")
    assert copied.outcome == "copied"
    (note,) = copied.notes
    assert note.startswith(f"{bench.folder / 'plain.xmp'}: is not copied (")
    assert "Permission denied" in note
    assert bench.files() == {"sub/plain.dng"}


def test_a_sidecar_that_another_raw_shares_is_there_for_both(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def late(staged: Path, target: Path, may_replace: bool) -> None:
        target.write_bytes(b"rated")  # by the other raw's job, just now
        put_in_place(staged, target, may_replace)

    (bench.folder / "plain.xmp").write_bytes(b"rated")
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "publish", full)
        assert bench.run(bench.job("plain.dng"), if_not_sve="copy").outcome == "failed"
    assert bench.files() == {"sub/plain.xmp"}
    (bench.out / "sub/plain.xmp").unlink()
    put_in_place = jobfiles.put_in_place
    monkeypatch.setattr(jobfiles, "put_in_place", late)
    copied = bench.run(bench.job("plain.dng"), if_not_sve="copy")
    assert (copied.outcome, copied.notes) == ("copied", ())
    assert bench.files() == {"sub/plain.dng", "sub/plain.xmp"}


def test_sidecars_are_made_where_what_killed_jobs_leave_is_removed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    true = jobfiles.put_in_place

    def seen(staged: Path, target: Path, may_replace: bool) -> None:
        made.append(staged)
        true(staged, target, may_replace)

    for name in ("plain.xmp", "plain.dng.xmp"):
        (bench.folder / name).write_bytes(name.encode())
    monkeypatch.setattr(jobfiles, "put_in_place", seen)
    assert bench.run(bench.job("plain.dng"), if_not_sve="copy").outcome == "copied"
    assert [path.parent.parent for path in made] == [bench.tools.manifest.work] * 2
    assert [(bench.out / "sub" / name).read_text() for name in ("plain.xmp", "plain.dng.xmp")] == [
        "plain.xmp", "plain.dng.xmp",
    ]  # fmt: skip


def test_a_disk_without_times_and_modes_takes_copies(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT by FUSE, or files that all are another user's."""

    def refuse(*_: object, **_more: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    (bench.folder / "plain.xmp").write_bytes(b"rated")
    monkeypatch.setattr("os.utime", refuse)
    monkeypatch.setattr("os.chmod", refuse)
    copied = bench.run(bench.job("plain.dng"), if_not_sve="copy")
    assert (copied.outcome, copied.notes, copied.error) == ("copied", (), "")
    assert bench.files() == {"sub/plain.dng", "sub/plain.xmp"}


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_ratings_go_with_a_copy_to_another_disk(bench: Bench) -> None:
    (bench.folder / "plain.xmp").write_bytes(b"rated")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (bench.out / "sub").symlink_to(other)
        copied = bench.run(bench.job("plain.dng"), if_not_sve="copy")
        assert (copied.outcome, copied.notes) == ("copied", ())
        assert sorted(entry.name for entry in Path(other).iterdir()) == ["plain.dng", "plain.xmp"]


def test_a_copy_takes_no_place_that_is_not_its_own(bench: Bench) -> None:
    job = replace(bench.job("plain.dng"), no_copy="its copy would replace a raw file")
    for look_only in (True, False):
        refused = bench.run(job, if_not_sve="copy", overwrite=True, look_only=look_only)
        assert (refused.outcome, refused.error) == ("failed", job.no_copy)
    assert bench.files() == set()
    assert bench.run(job).outcome == "skipped"
    assert bench.run(replace(bench.job(), no_copy=job.no_copy), if_not_sve="copy").outcome == "converted"
    (bench.out / "sub/plain.dng").write_bytes(b"another")
    for look_only in (True, False):
        differs = bench.run(bench.job("plain.dng"), if_not_sve="copy", look_only=look_only)
        assert "differs" in differs.error


def test_a_copy_in_its_place_is_no_output(bench: Bench) -> None:
    job = Job(str(bench.out / "plain.dng"), "plain.dng", ("plain.exr",))
    (bench.folder / "plain.dng").rename(job.raw)
    copied = bench.run(job, if_not_sve="copy", overwrite=True)
    assert (copied.outcome, copied.outputs) == ("copied", (job.raw,))
    assert bench.run(job, if_not_sve="copy").outcome == "unchanged"
    assert [record.file for record in bench.tools.manifest.records().values()] == [""]


def test_a_file_that_appears_where_a_copy_goes_is_not_replaced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.run(bench.job("photo.dng", "sub/a.exr")).outcome == "converted"
    (bench.folder / "photo.dng").unlink()
    job, copy = bench.job("plain.dng", "sub/a.exr"), bench.out / "sub/plain.dng"
    true = jobfiles.copied_to

    def late(*rest: object) -> object:
        target = true(*rest)  # type: ignore[arg-type]
        copy.write_bytes(b"somebody's")
        return target

    monkeypatch.setattr(jobfiles, "copied_to", late)
    refused = run_job(Order(job, again=True), replace(bench.options, if_not_sve="copy"), bench.tools)
    assert "exists already" in refused.error
    assert copy.read_bytes() == b"somebody's"


def test_a_file_that_appears_where_an_image_goes_is_not_replaced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    true, output = jobfiles.convert_file, bench.out / "photo.exr"

    def late(*rest: object) -> object:
        output.write_bytes(b"somebody's")
        return true(*rest)  # type: ignore[arg-type]

    monkeypatch.setattr(jobfiles, "convert_file", late)
    assert "exists already" in bench.run(bench.job("photo.dng", "photo.exr")).error
    assert output.read_bytes() == b"somebody's"


def test_a_job_that_was_killed_between_its_outputs_is_finished(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job, true = bench.job("photo.dng", "a.exr", "a.dng"), manifest.put_in_place

    def killed(*rest: object) -> None:
        true(*rest)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "put_in_place", killed)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            bench.run(job)
    assert (bench.run(job).outcome, bench.files()) == ("unchanged", {"a.exr", "a.dng"})


def test_copies_and_images_that_were_edited_are_kept(bench: Bench) -> None:
    """A rating in its metadata makes a file no failure, and nothing but --overwrite loses it."""
    plain, sve = bench.job("plain.dng", "sub/plain.exr"), bench.job("photo.dng", "p.dng", "p.exr")
    for job in (plain, sve):
        bench.run(job, if_not_sve="copy")
    before = {}
    for name in ("sub/plain.dng", "p.dng"):
        with (bench.out / name).open("ab") as file:
            file.write(b"rated")
        before[name] = (bench.out / name).read_bytes()
    for job in (plain, sve):
        kept = bench.run(job, if_not_sve="copy")
        assert (kept.outcome, kept.error) == ("edited", "")
        assert json.loads(report_line(kept))["outcome"] == "edited"
        refused = bench.run(job, if_not_sve="copy", model_digest="other")
        assert refused.outcome == "failed"
        name = "p.dng" if job is sve else "sub/plain.dng"  # the file that is there
        assert refused.error.startswith(f"{bench.out / name}: was changed since it was written; another -o keeps it")
    (bench.out / "p.exr").unlink()  # only what is missing is made
    made = bench.run(sve, if_not_sve="copy")
    assert (made.outcome, made.outputs) == ("converted", (str(bench.out / "p.exr"),))
    assert {name: (bench.out / name).read_bytes() for name in before} == before
    assert bench.run(sve, overwrite=True).outcome == "converted"
    assert bench.run(sve).outcome == "unchanged"


def test_what_is_somebody_elses_is_not_replaced_when_a_watched_raw_changes(bench: Bench) -> None:
    output = bench.out / "sub/photo.exr"
    assert bench.run().outcome == "converted"
    (bench.folder / "photo.dng").unlink()
    write_frame(bench.folder / "photo.dng", seed=5)
    assert run_job(Order(bench.job(), again=True), bench.options, bench.tools).outcome == "converted"
    with output.open("ab") as file:
        file.write(b"rated")
    (bench.folder / "photo.dng").unlink()
    write_frame(bench.folder / "photo.dng", seed=6)
    refused = run_job(Order(bench.job(), again=True), bench.options, bench.tools)
    assert (refused.outcome, "was changed since it was written" in refused.error) == ("failed", True)
    assert output.read_bytes().endswith(b"rated")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("look_only", [False, True])
def test_doubtful_raws_are_never_taken_for_ordinary_ones(bench: Bench, policy: str, look_only: bool) -> None:
    fog = np.float32(0.01 * np.exp2(np.arange(128) / 128))[:, None, None] * np.ones((1, 128, 1)) * NEUTRAL
    write_cfa_dng(bench.folder / "fog.dng", simulate(np.float32(fog), "RGGB", PAIRS, Sensor(), seed=0))
    result = bench.run(bench.job("fog.dng"), if_not_sve=policy, look_only=look_only)
    assert (result.outcome, result.good) == ("failed", False)
    assert result.error.startswith("doubtful exposure pattern: row pairs differ by 3.0")
    assert "--pattern rows:0.12" in result.error
    assert bench.files() == set()


def test_ordinary_raws_are_developed(bench: Bench) -> None:
    job = replace(bench.job("plain.dng", "plain.exr", "plain.preview.jpg"), preview=True)
    assert bench.run(job).outcome == "skipped"
    developed = bench.run(job, if_not_sve="develop")
    assert (developed.outcome, developed.error) == ("developed", "")
    assert bench.files() == {"plain.exr", "plain.preview.jpg"}
    by_hand = replace(bench.options.convert, if_not_sve="develop")
    convert_file(bench.folder / "plain.dng", bench.folder / "by-hand.exr", bench.tools.model, by_hand)
    assert (bench.out / "plain.exr").read_bytes() == (bench.folder / "by-hand.exr").read_bytes()
    assert bench.run(job, if_not_sve="develop").outcome == "unchanged"
    assert bench.run(if_not_sve="develop").outcome == "converted"  # a photo with two exposures, as ever


def test_broken_raws_and_failures_to_write_leave_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (bench.folder / "photo.dng").read_bytes()
    for i, content in enumerate((b"", b"text", whole[:9000], whole[:100])):
        name = f"broken{i}.dng"
        (bench.folder / name).write_bytes(content)
        result = bench.run(bench.job(name))
        assert result.outcome == "failed"
        assert result.error
        assert name not in result.error  # said beside it
        assert not result.hopeless
    missing = "cannot be read (No such file" if os.name == "posix" else "cannot be read ("  # as the system words it
    assert missing in bench.run(bench.job("none.dng")).error

    def full(*_: object, **__: object) -> None:
        raise UnwritableOutput(f"{_[0]}: cannot be written (full)") from OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(convert, "write_hdr", full)
    result = bench.run()
    assert result.hopeless
    assert result.error.startswith(str(bench.out / "sub/photo.exr"))  # and not where it was being made
    monkeypatch.setattr(convert, "read_raw", lambda path: (_ for _ in ()).throw(MemoryError()))
    short = bench.run()
    assert "not enough memory" in short.error
    assert short.spent
    assert not result.spent
    failure = RuntimeError("CUDA error: unspecified launch failure")  # so does all else that this process does there
    monkeypatch.setattr(convert, "read_raw", lambda path: (_ for _ in ()).throw(failure))
    assert bench.run().spent
    assert bench.files() == set()


@pytest.mark.parametrize("folder", [False, True])
def test_a_name_that_a_disk_does_not_take_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch, folder: bool) -> None:
    """exFAT and NTFS take no `?`, which disks of Linux do."""
    name = "a?/b.exr" if folder else "a?.exr"

    def choosy(do: Any, *paths: Path, **more: Any) -> Any:
        if "?" in str(paths[-1]):
            raise OSError(errno.EINVAL, "Invalid argument", str(paths[0]), None, str(paths[-1]))
        return do(*paths, **more)

    for owner, function in ((os, "link"), (Path, "replace"), (Path, "mkdir")):
        true = getattr(owner, function)
        monkeypatch.setattr(owner, function, lambda *paths, true=true, **more: choosy(true, *paths, **more))
    failed = bench.run(bench.job("photo.dng", name))
    place = bench.out / ("a?" if folder else "a?.exr")
    assert failed.error == f"{place}: cannot be written (Invalid argument); choose another --name, or another place"
    assert not failed.hopeless
    assert bench.files() == set()


def test_a_raw_that_changes_while_it_is_read_is_not_taken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    true = jobfiles.convert_file

    def slow_card(raw: Path, *rest: object) -> object:
        converted = true(raw, *rest)  # type: ignore[arg-type]
        with raw.open("ab") as file:
            file.write(b"more")
        return converted

    monkeypatch.setattr(jobfiles, "convert_file", slow_card)
    assert bench.run().outcome == "moving"
    assert bench.files() == set()


def test_frames_of_a_sequence_share_their_parameters(bench: Bench) -> None:
    write_frame(bench.folder / "next.dng", seed=3)

    def clip(*names: str) -> Job:
        return replace(bench.job(*names), sequence="clip")

    first = bench.run(clip())
    alone = bench.run(bench.job("next.dng", "alone.exr"))
    shared = bench.run(clip("next.dng", "shared.exr"), found=first.found)
    assert alone.found["exposure"] != first.found["exposure"]
    assert shared.found["exposure"] == first.found["exposure"]
    header = OpenEXR.File(str(bench.out / "shared.exr")).header()
    lead = OpenEXR.File(str(bench.out / "sub/photo.exr")).header()
    for name in ("pattern", "white_level", "neutral"):
        assert header[f"sve2hdr:{name}"] == lead[f"sve2hdr:{name}"]
    blacks = [[float(level) for level in told["sve2hdr:black_level"].split()] for told in (header, lead)]
    assert blacks[0] == pytest.approx(blacks[1], abs=5)  # a frame of noise, whose black no fit can be sure of
    assert shared.found["neutral"] == pytest.approx(first.found["neutral"])
    stored = bench.tools.manifest.get(bench.options.sequence_record(clip()))
    assert stored is not None
    for name in ("next.dng", "shared.exr"), ("photo.dng", "sub/photo.exr"):
        assert bench.run(clip(*name), found=stored.found).outcome == "unchanged"
    assert bench.run(clip("next.dng", "other.exr")).found["exposure"] == first.found["exposure"]
    anew = bench.run(clip("next.dng", "shared.exr"), overwrite=True)
    assert anew.found["exposure"] == alone.found["exposure"]
    assert bench.run(clip("plain.dng", "plain.exr"), found=first.found).outcome == "skipped"  # not torn into an SVE
    refused = bench.run(clip("plain.dng", "plain.exr"), found=first.found, if_not_sve="fail")
    assert "--lock none" in refused.error


def write_dark(path: Path, light: float) -> None:
    y, x = np.mgrid[:256, :256] / 20
    grey = light * np.exp2(-4 + 3 * np.sin(x) * np.cos(y)).astype(np.float32)
    write_cfa_dng(path, simulate(grey[..., None] * np.float32(NEUTRAL), "RGGB", PAIRS, Sensor("gain"), seed=0))


@pytest.mark.parametrize(("light", "told"), [(1.0, True), (1e-3, False), (0.0, False)])
def test_a_frame_that_tells_little_decides_for_no_sequence_unasked(bench: Bench, light: float, told: bool) -> None:
    write_dark(bench.folder / "dark.dng", light)
    clip = replace(bench.job("dark.dng"), sequence="clip")
    for look_only in (True, False):
        options = replace(bench.options, look_only=look_only)
        first = run_job(Order(clip), options, bench.tools)
        assert first.outcome == ("converted" if told else "unsure")
        if not told:
            assert first.found["doubt_ev"] > LEAD_EV
            assert bench.files() == set()
    plain = replace(bench.job("plain.dng"), sequence="clip")
    assert run_job(Order(plain), bench.options, bench.tools).outcome == "skipped"  # that is sure
    if not told:  # a dry run foretells that it is converted, once another frame leads
        write_dark(bench.folder / "lit.dng", 1.0)
        looking = replace(bench.options, look_only=True)
        lit = run_job(Order(replace(bench.job("lit.dng"), sequence="clip"), leads=True), looking, bench.tools)
        assert run_job(Order(clip, lit.found), looking, bench.tools).outcome == "converted"
    if light:
        led = run_job(Order(clip, leads=True), bench.options, bench.tools)
        assert led.outcome == ("unchanged" if told else "converted")
        assert any("too dark or featureless to tell its exposure ratio" in note for note in led.notes) == (not told)
    else:
        lit = bench.run(replace(bench.job("lit.dng"), sequence="clip"))
        assert bench.run(clip, found=lit.found).outcome == "converted"  # black as it is


def test_looking_foretells_what_a_sequence_takes_and_refuses(bench: Bench) -> None:
    options = replace(bench.options, look_only=True)
    first = run_job(Order(replace(bench.job(), sequence="clip"), leads=True), options, bench.tools)
    write_frame(bench.folder / "next.dng", seed=3)
    shared = run_job(Order(replace(bench.job("next.dng"), sequence="clip"), first.found), options, bench.tools)
    assert shared.found["pattern"] == first.found["pattern"]
    other = ExposurePattern(np.array([[1 / 3], [1 / 3], [1], [1]], np.float32))
    write_frame(bench.folder / "other.dng", pattern=other)
    refused = run_job(Order(replace(bench.job("other.dng"), sequence="clip"), first.found), options, bench.tools)
    assert refused.outcome == "failed"
    assert "where its sequence has 3.0" in refused.error
    assert "folders of their own" in refused.error
    turned = ExposurePattern(np.roll(PAIRS.exposure, 2, axis=0))
    write_frame(bench.folder / "turned.dng", pattern=turned)
    refused = run_job(Order(replace(bench.job("turned.dng"), sequence="clip"), first.found), options, bench.tools)
    assert "its bright and dark sites lie the other way round than those of its sequence; put shots" in refused.error


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            {"sensor": Sensor(bit_depth=12, black_level=256, white_level=4000)},
            "white level 4000, far from the 16000 of its sequence: another bit depth",
        ),
        ({"rows": 128}, "128 x 128 sites, but its sequence is for 128 x 96"),
        ({"cfa": "BGGR"}, "colours BGGR, but its sequence is for RGGB"),
    ],
    ids=["bit depth", "shape", "colours"],
)
def test_looking_foretells_that_files_of_another_kind_are_refused(
    bench: Bench, kind: dict[str, Any], told: str
) -> None:
    looking = replace(bench.options, look_only=True)
    write_frame(bench.folder / "other.dng", **kind)
    first, other = (replace(bench.job(name), sequence="clip") for name in ("photo.dng", "other.dng"))
    looked, done = (
        run_job(Order(first, leads=True), options, bench.tools).found for options in (looking, bench.options)
    )
    refused = run_job(Order(other, done), bench.options, bench.tools).error
    assert f"{told}; put shots into" in refused
    for found in (looked, done):
        assert run_job(Order(other, found), looking, bench.tools).error == refused


@pytest.mark.parametrize("rows", [96, 128])
def test_looking_foretells_that_a_black_frame_of_another_kind_is_no_part_of_a_sequence(bench: Bench, rows: int) -> None:
    sensor = Sensor(full_well_e=1e9, read_noise_e=0)  # so dark that nothing tells
    black = simulate(np.zeros((rows, 128, 3), np.float32), "RGGB", PAIRS, sensor, seed=1)
    write_cfa_dng(bench.folder / "black.dng", black)
    first, other = (replace(bench.job(name), sequence="clip") for name in ("photo.dng", "black.dng"))
    found = run_job(Order(first, leads=True), bench.options, bench.tools).found
    looked = run_job(Order(other, found), replace(bench.options, look_only=True), bench.tools)
    assert looked.outcome == run_job(Order(other, found), bench.options, bench.tools).outcome
    assert looked.outcome == ("converted" if rows == 96 else "skipped")


def test_looking_foretells_that_exposures_in_the_middle_differ(bench: Bench) -> None:
    options = replace(bench.options, look_only=True)
    found = {"pattern": "grid:1,0.5;0.25,0.125", "ratio_ev": 3.0, "confidence": 1.0, "megapixels": 0.1}
    found |= {"shape": [96, 128], "cfa": "RGGB", "stated_white": 16_000.0}
    for seen, refused in (("grid:1,0.5;0.25,0.125", False), ("grid:1,0.25;0.5,0.125", True)):
        evidence = found | {"sve": True, "pattern": seen, "ratio_ev_error": 0.01}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("sve2hdr.folders.filejob.look", lambda *_, evidence=evidence: evidence)
            result = run_job(Order(replace(bench.job(), sequence="clip"), found), options, bench.tools)
        assert ("its exposures lie in another pattern than those of its sequence" in result.error) == refused


def test_what_a_sequence_shares_does_not_depend_on_what_is_written(bench: Bench) -> None:
    def clip(*outputs: str) -> Job:
        return replace(bench.job("photo.dng", *outputs), sequence="clip", preview=outputs[-1].endswith(".jpg"))

    parameters = bench.run(clip("a.exr")).found["parameters"]
    assert json.loads(parameters)["look"]
    assert bench.run(clip("b.dng", "b.preview.jpg"), overwrite=True).found["parameters"] == parameters
    more = bench.run(clip("a.exr", "a.dng", "a.preview.jpg"))
    assert more.outputs == (str(bench.out / "a.dng"), str(bench.out / "a.preview.jpg"))


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({"exposure_ev": 1.0, "color_space": "acescg"}, True),
        ({"white_balance": parse_white_balance("daylight")}, False),
        ({"bad_pixels": False}, False),
        ({"bad_pixel_map": "bad.txt"}, False),
        ({"levels": Levels(black=1000)}, False),
    ],
)
def test_other_frames_of_a_sequence_take_what_it_shares_if_it_would_be_found_alike(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], kept: bool
) -> None:
    write_frame(bench.folder / "next.dng", seed=3)
    (bench.folder / "bad.txt").write_text("3 4")
    monkeypatch.chdir(bench.folder)
    first = bench.run(replace(bench.job(), sequence="clip"))
    options = replace(bench.options.convert, **changed)
    later = bench.run(replace(bench.job("next.dng"), sequence="clip"), convert=options)
    assert (later.found["exposure"] == first.found["exposure"]) == kept


@pytest.mark.parametrize(
    ("raw", "output", "old", "kept"),
    [
        ("same", "gone", False, True),
        ("gone", "there", False, True),
        ("gone", "gone", False, False),
        ("gone", "gone", True, True),
        ("other", "there", False, False),
        ("other", "there", True, True),
    ],
)
def test_a_sequence_in_the_place_of_another_shares_nothing_with_it(
    bench: Bench, raw: str, output: str, old: bool, kept: bool
) -> None:
    """`old`: whether a frame was converted before that is still what it was, such as when the first one was culled."""
    write_frame(bench.folder / "old.dng", seed=4)
    lead, later, other = (replace(bench.job(name), sequence="clip") for name in ("photo.dng", "next.dng", "old.dng"))
    assert bench.run(lead).outcome == "converted"
    if old:
        assert bench.run(other).outcome == "converted"
    if output == "gone":
        (bench.out / lead.outputs[0]).unlink()
    if raw != "same":
        Path(lead.raw).unlink()
    if raw == "other":
        write_frame(Path(lead.raw), seed=5)
    assert (shared_before(later, bench.options, bench.tools.manifest, others=[other]) is not None) == kept


@pytest.mark.parametrize(
    ("claimed", "policy"), [("sub/photo.exr", "skip"), ("sub/photo.dng", "copy"), ("the sequence", "skip")]
)
def test_what_another_process_has_is_busy(bench: Bench, claimed: str, policy: str) -> None:
    job = bench.job()
    if claimed == "the sequence":
        job = replace(job, sequence="clip")
        claimed = bench.options.sequence_record(job)
    with another_process_holds(bench, claimed):
        assert bench.run(job, if_not_sve=policy).outcome == "busy"
    assert bench.run(job).outcome == "converted"


@contextlib.contextmanager
def another_process_holds(bench: Bench, claimed: str) -> Iterator[None]:
    script = (
        "import sys; from sve2hdr.system.claims import *\n"
        "claims = Claims(Path(sys.argv[1])); print(claims.take([key_of(sys.argv[2])])); input()"
    )
    command = [sys.executable, "-c", script, str(bench.out / ".sve2hdr/lock"), claimed]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield
        other.communicate("\n")


@pytest.mark.parametrize("policy", ["skip", "copy", "develop"])
def test_an_ordinary_photo_among_frames_that_share_is_not_done_again(bench: Bench, policy: str) -> None:
    photo, plain = (replace(bench.job(name), sequence="folder") for name in ("photo.dng", "plain.dng"))
    shared = bench.run(photo).found
    done = bench.run(plain, shared, if_not_sve=policy)
    assert done.outcome in ("skipped", "copied", "developed")
    assert bench.run(plain, shared, if_not_sve=policy).outcome == "unchanged"
    options = replace(bench.options, if_not_sve=policy)
    assert finished_before(plain, options, bench.tools.manifest, shared) is not None


@pytest.mark.parametrize("look_only", [False, True])
@pytest.mark.parametrize("about", [{}, {"sequence": "clip"}, {"sequence": "clip", "only_ordinary": True}])
def test_an_ordinary_photo_is_decoded_once_to_be_skipped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, about: dict[str, Any], look_only: bool
) -> None:
    decoded: list[Path] = []
    for module in (classify, convert):
        monkeypatch.setattr(module, "read_raw", lambda path: decoded.append(path) or read_raw(path))
    order = Order(
        replace(bench.job("plain.dng"), sequence=about.get("sequence", "")), only_ordinary="only_ordinary" in about
    )
    result = run_job(order, replace(bench.options, look_only=look_only), bench.tools)
    assert (result.outcome, len(decoded)) == ("skipped", 1)
    assert result.found.items() <= classify.look(bench.folder / "plain.dng", bench.options.convert, None).items()


@pytest.mark.parametrize("look_only", [False, True])
def test_only_frames_that_decide_nothing_are_done_beside_others_of_their_sequence(
    bench: Bench, look_only: bool
) -> None:
    options = replace(bench.options, look_only=look_only)
    photo, plain = (replace(bench.job(name), sequence="clip") for name in ("photo.dng", "plain.dng"))
    beside = Order(plain, only_ordinary=True)
    with another_process_holds(bench, options.sequence_record(plain)):
        assert run_job(beside, options, bench.tools).outcome == "skipped"
        assert run_job(replace(beside, job=photo), options, bench.tools).outcome == "leads"
    assert not (bench.out / "sub").exists()


def test_looking_writes_nothing(bench: Bench) -> None:
    tools = Tools(Manifest(bench.folder / "new"), None, bench.tools.model)
    options = replace(bench.options, out=str(bench.folder / "new"), look_only=True)
    before = set(os.listdir(bench.folder))
    looked = run_job(Order(bench.job()), options, tools)
    assert (looked.outcome, looked.outputs) == ("converted", (str(bench.folder / "new/sub/photo.exr"),))
    assert run_job(Order(bench.job("plain.dng")), options, tools).outcome == "skipped"
    assert run_job(Order(bench.job("plain.dng")), replace(options, if_not_sve="fail"), tools).outcome == "failed"
    copied = run_job(Order(bench.job("plain.dng")), replace(options, if_not_sve="copy"), tools)
    assert copied.outputs == (str(bench.folder / "new/sub/plain.dng"),)
    assert set(os.listdir(bench.folder)) == before
    given = replace(options, convert=replace(options.convert, levels=Levels(ratio_ev=2.5)))
    found = run_job(Order(bench.job()), given, tools).found
    assert (found["ratio_ev"], found["ratio_ev_error"]) == (2.5, 0)


CHESS = ExposurePattern(np.float32([[1, 1 / 8], [1 / 8, 1]]))


def test_the_report_tells_the_digest_of_each_output(bench: Bench) -> None:
    job = bench.job("photo.dng", "p.exr", "p.dng")
    jobs = [
        (job, "converted"),
        (job, "unchanged"),
        (bench.job("plain.dng"), "copied"),
        (bench.job("plain.dng"), "unchanged"),
    ]
    for job, outcome in jobs:
        line = json.loads(report_line(bench.run(job, if_not_sve="copy")))
        assert line["outcome"] == outcome
        assert line["outputs_sha256"] == [file_sha256(Path(output)) for output in line["outputs"]] != []
    with (bench.out / "p.dng").open("ab") as file:
        file.write(b"rated")
    line = json.loads(report_line(bench.run(jobs[0][0])))
    assert (line["outcome"], line["outputs_sha256"]) == ("edited", [file_sha256(bench.out / "p.exr"), None])


@pytest.mark.parametrize("look_only", [False, True])
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"levels": Levels(CHESS)}, "use --model classical"),
        ({"levels": Levels(white=1000)}, "change --white or --black"),
        ({"white_balance": parse_white_balance("grey:0,0,1,9999")}, "lies outside of the image"),
    ],
)
def test_what_does_not_fit_the_raw_is_refused(bench: Bench, asked: dict[str, Any], said: str, look_only: bool) -> None:
    refused = bench.run(look_only=look_only, convert=replace(bench.options.convert, **asked))
    assert (refused.outcome, said in refused.error) == ("failed", True)


@pytest.mark.parametrize("look_only", [False, True])
@pytest.mark.parametrize(("policy", "outcome"), [("skip", "skipped"), ("copy", "copied"), ("develop", "failed")])
@pytest.mark.parametrize("of", ["balance", "map"])
def test_what_does_not_fit_an_ordinary_raw_matters_only_where_it_is_developed(
    bench: Bench, of: str, policy: str, outcome: str, look_only: bool
) -> None:
    (bench.folder / "bad.txt").write_text("9999 0")
    asked, said = {
        "balance": ({"white_balance": parse_white_balance("grey:0,0,1,9999")}, "lies outside of the image"),
        "map": ({"bad_pixel_map": bench.folder / "bad.txt"}, "is outside of the"),
    }[of]
    options = replace(bench.options.convert, **asked)  # type: ignore[arg-type]  # of several types
    result = bench.run(bench.job("plain.dng"), convert=options, if_not_sve=policy, look_only=look_only)
    assert (result.outcome, said in result.error) == (outcome, outcome == "failed")


@pytest.mark.parametrize("look_only", [False, True])
def test_a_balance_that_is_not_the_sequences_has_to_fit(bench: Bench, look_only: bool) -> None:
    clip = replace(bench.job(), sequence="clip")
    first = bench.run(clip, convert=replace(bench.options.convert, white_balance=parse_white_balance("daylight")))
    assert "parameters" in first.found
    outside = replace(bench.options.convert, white_balance=parse_white_balance("grey:0,0,1,9999"))
    refused = bench.run(
        replace(clip, outputs=("b.exr",)), first.found, convert=outside, shared=first.found, look_only=look_only
    )
    assert "lies outside of the image" in refused.error


def test_the_report_is_json_with_what_was_promised(bench: Bench) -> None:
    line = json.loads(report_line(bench.run()))
    promised = "input outcome outputs sha256 outputs_sha256 pattern ratio_ev confidence seconds peak_mb error"
    assert set(promised.split()) <= set(line)
    assert line["pattern"].startswith("rows:")
    assert line["error"] is None
    assert json.loads(report_line(FileResult("a", "failed", error="why")))["error"] == "why"
