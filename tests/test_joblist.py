"""Which files become jobs, under which names, and what is told of the others."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sve2hdr.errors import Sve2HdrError
from sve2hdr.folders import inputs, joblist
from sve2hdr.folders.inputs import Inputs, read_list
from sve2hdr.folders.joblist import Job, JobList, Naming
from sve2hdr.formats.tiffwrite import RATIONAL, Ifd, entry, write_tiff


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name, "utf-8")


NAMING = Naming()


def slashed(text: str) -> str:
    """Return a path with the separators that these tests are written with."""
    return text.replace(os.sep, "/")


def collect(
    inputs: Inputs, out: Path, naming: Naming, made: Mapping[str, str] | None = None, exact_case: bool = True
) -> JobList:
    made = {output: str(Path(raw)) for output, raw in (made or {}).items()}
    found = joblist.collect(inputs, out, naming, made, exact_case)
    of_jobs = [replace(job, raw=slashed(job.raw), no_copy=slashed(job.no_copy)) for job in found.jobs]
    refused, ignored = ([(slashed(p), slashed(w)) for p, w in told] for told in (found.refused, found.ignored))
    return JobList(of_jobs, refused, ignored)


def jobs(*paths: str, naming: Naming = NAMING, out: str = "out", **options: object) -> JobList:
    return collect(Inputs(paths, **options), Path(out), naming)  # type: ignore[arg-type]


def raws(found: JobList) -> list[str]:
    return [job.raw for job in found.jobs]


def why(found: list[tuple[str, str]], name: str) -> str:
    return next(reason for path, reason in found if path == name)


def test_a_tree_is_mirrored_and_other_files_are_left_alone(work: Path) -> None:
    touch("in/b/IMG_10.CR2", "in/b/IMG_9.CR2", "in/a.dng", "in/b/IMG_9.xmp", "in/b/IMG_9.JPG", "in/b/._IMG_9.CR2")
    touch("in/.cache/x.dng", "in/.DS_Store", "in/M01-0001.MLV")
    found = jobs("in", naming=Naming(("exr", "dng"), True))
    assert raws(found) == ["in/a.dng", "in/b/IMG_9.CR2", "in/b/IMG_10.CR2"]
    assert found.jobs[1].outputs == ("b/IMG_9.exr", "b/IMG_9.dng", "b/IMG_9.preview.jpg")
    others = {"in/b/IMG_9.JPG", "in/b/._IMG_9.CR2", "in/.cache", "in/M01-0001.MLV"}  # sidecars go along
    assert {path for path, _ in found.ignored} == others
    assert raws(jobs("in/b/*.*", include=("IMG_9.*",), exclude=("*.JPG",))) == ["in/b/IMG_9.CR2"]
    assert "unpack" in why(found.ignored, "in/M01-0001.MLV")
    assert not found.refused
    assert pickle.loads(pickle.dumps(found.jobs)) == found.jobs


def test_folders_that_windows_keeps_on_drives_are_hidden(work: Path) -> None:
    touch(
        "in/$RECYCLE.BIN/S-1/$R1.CR2", "in/System Volume Information/2.CR2", "in/DCIM/3.CR2", "in/a/$Recycle.Bin/4.CR2"
    )
    found = jobs("in")
    assert raws(found) == ["in/DCIM/3.CR2"]
    assert why(found.ignored, "in/$RECYCLE.BIN") == why(found.ignored, "in/a/$Recycle.Bin") == "hidden"
    assert raws(jobs("in/**/*.CR2")) == raws(jobs("in/*")) == ["in/DCIM/3.CR2"]


def test_paths_of_patterns_may_have_the_separators_of_windows() -> None:
    name = "100CANON/IMG_1.CR2"
    for pattern in ("100CANON\\*.CR2", "100canon\\"):
        assert inputs._matches(name, [pattern], windows=True)
        assert not inputs._matches(name, [pattern], windows=False)  # a name may hold it there


@pytest.mark.parametrize("given", ["in", "in/**", "in/*"])
def test_patterns_that_fit_folders_leave_out_what_is_excluded_and_tell_each_file_once(work: Path, given: str) -> None:
    touch("in/1.dng", "in/a/2.dng", "in/a/rejects/b/3.dng", "in/a/rejects/4.txt", "in/rejects/5.dng", "in/a/6.txt")
    Path("in/a/gone.dng").symlink_to("nowhere")
    found = jobs(given, exclude=("rejects",))
    assert raws(found) == ["in/1.dng", "in/a/2.dng"]
    left = ["in/a/6.txt", "in/a/rejects/4.txt", "in/a/rejects/b/3.dng", "in/rejects/5.dng"]
    assert sorted(path for path, _ in found.ignored) == left
    assert [path for path, _ in found.refused] == ["in/a/gone.dng"]
    assert raws(jobs("in/rejects*", exclude=("rejects",))) == []


def test_two_stars_enter_each_folder_once_whatever_links_lead_upwards(work: Path) -> None:
    touch("in/1.dng", "in/b/2.dng", "in/b/DCIM/3.dng", "in/.hidden/4.dng", "out/5.dng")
    for n in range(8):  # by which Python's glob finds 8 ** 40 paths
        Path(f"in/b/up{n}").symlink_to("..")
    Path("in/a").symlink_to("b")
    Path("in/far").symlink_to("../out")
    assert raws(jobs("in/**/*.dng", out="o")) == ["in/1.dng", "in/b/2.dng", "in/b/DCIM/3.dng", "in/far/5.dng"]
    assert raws(jobs("in/*/**/DCIM", out="o")) == raws(jobs("**/DCIM/**/*.dng", out="o")) == ["in/b/DCIM/3.dng"]


def test_files_patterns_and_lists(work: Path) -> None:
    touch("in/a/1.dng", "in/b/2.dng", "in/b/3.tif", "in/b/[4].dng")
    assert [job.relative for job in jobs("in/*/?.dng").jobs] == ["a/1.dng", "b/2.dng"]
    assert [job.relative for job in jobs("in/**").jobs] == ["a/1.dng", "b/2.dng", "b/[4].dng"]
    named = jobs("in/a/1.dng", "in/b/3.tif", "in/b/[4].dng")  # what is named is taken, whatever its extension
    assert [job.outputs for job in named.jobs] == [("1.exr",), ("3.exr",), ("[4].exr",)]
    assert [job.relative for job in jobs("in/a/1.dng", "in/b", base=".").jobs] == [
        "in/a/1.dng",
        "in/b/2.dng",
        "in/b/[4].dng",
    ]
    assert read_list(b"in/a\n# no\n\n x y.dng \n") == ("in/a", " x y.dng ")
    assert [job.relative for job in jobs(f"{work}/in/*/?.dng").jobs] == ["a/1.dng", "b/2.dng"]
    assert raws(jobs("in/*.cr3", watched=True)) == []  # they may come
    for missing in ("in/none.dng", "none", "in/*.cr3"):
        with pytest.raises(Sve2HdrError, match="check the"):
            jobs(missing)
    with pytest.raises(Sve2HdrError, match="--base"):
        jobs("in/a/1.dng", base="in/b")


def test_what_a_list_names_and_is_not_there_costs_no_other_file(work: Path) -> None:
    touch("in/a/1.dng", "in/b/2.dng")
    found = jobs("in/b", listed=("in/a/1.dng", "./none.dng", "in/*.cr3", "in/b/2.dng"))
    assert raws(found) == ["in/a/1.dng", "in/b/2.dng"]
    assert found.refused == [
        ("./none.dng", "no such file or folder; check the path"),
        ("in/*.cr3", "nothing matches; check the pattern"),
    ]
    outside = jobs(listed=("in/a/1.dng", "in/b/2.dng"), base="in/b")
    assert [path for path, _ in outside.refused] == ["in/a/1.dng"]
    with pytest.raises(Sve2HdrError, match="no such file"):  # it may come back
        jobs(listed=("none.dng",), watched=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows tells of it in other ways")
def test_what_cannot_be_looked_at_is_told_and_costs_no_other_file(work: Path) -> None:
    touch("in/a/1.dng")
    Path("in/loop").symlink_to("loop")
    with pytest.raises(Sve2HdrError, match=r"in/loop: cannot be read \(.*symbolic links\); check the path"):
        jobs("in/loop")
    for given in ("in/loop", "in/*"):
        found = jobs("in/a", listed=(given,))
        assert raws(found) == ["in/a/1.dng"]
        ((path, reason),) = found.refused
        assert (path, reason.partition(" (")[0]) == ("in/loop", "cannot be read")


def test_no_base_leads_out_of_out(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("card/1.dng", "here/a/2.dng")
    monkeypatch.chdir("here")
    for outside in ("../card", "../card/1.dng"):
        with pytest.raises(Sve2HdrError, match="does not lie below --base"):
            jobs(outside, base=".")
    assert [job.relative for job in jobs("../card", "../here/a", base="..").jobs] == ["card/1.dng", "here/a/2.dng"]
    assert [job.relative for job in jobs("a/../../here/a", base=".").jobs] == ["a/2.dng"]


def test_lists_of_other_systems_and_odd_names() -> None:
    names = ("in/\u5199.dng", "a\x85b.dng", "a\u2028b.dng", "a\x0cb.dng", "bad\udcff.dng")
    stored = "\r\n".join(names).encode("utf-8", "surrogateescape")
    assert read_list(stored) == read_list(b"\xef\xbb\xbf" + stored + b"\n") == names
    for encoding in ("utf-16", "utf-16-le"):
        with pytest.raises(Sve2HdrError, match=r"cards\.txt: is UTF-16 .* save the list as UTF-8"):
            read_list("in/1.dng\r\n".encode(encoding), "cards.txt")


def test_include_and_exclude(work: Path) -> None:
    touch("in/a/1.DNG", "in/a/2.cr2", "in/rejects/3.cr2", "in/a/4.tif")
    assert raws(jobs("in", include=("*.cr2",))) == ["in/a/2.cr2", "in/rejects/3.cr2"]
    assert raws(jobs("in", include=("*.dng", "*.tif"))) == ["in/a/1.DNG", "in/a/4.tif"]
    assert raws(jobs("in", exclude=("rejects",))) == ["in/a/1.DNG", "in/a/2.cr2"]
    assert raws(jobs("in", include=("a/*",), exclude=("*.TIF", "1*"))) == ["in/a/2.cr2"]


def test_each_real_file_once_and_no_endless_links(work: Path) -> None:
    touch("in/z/1.dng")
    Path("in/a").symlink_to(work / "in" / "z")
    assert raws(jobs("in")) == ["in/z/1.dng"]
    Path("in/z/up").symlink_to(work / "in")
    Path("in/link.dng").symlink_to(work / "in" / "z" / "1.dng")
    Path("in/gone.dng").symlink_to(work / "nothing")
    found = jobs("in", "in/z", "in/z/1.dng")
    assert len(found.jobs) == 1
    assert jobs("in/z/1.dng", "in/z/1.dng").ignored == []
    assert "link to nothing" in why(found.refused, "in/gone.dng")
    assert raws(jobs("in/a")) == ["in/a/1.dng"]


def test_a_link_to_itself_costs_no_other_file(work: Path) -> None:
    touch("in/1.dng", "in/z/2.dng")
    Path("in/self").symlink_to("self")
    found = jobs("in")
    assert raws(found) == ["in/1.dng", "in/z/2.dng"]
    assert "check its disk" in why(found.refused, "in/self")


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="root reads every folder, and Windows has other rights than modes"
)
def test_a_folder_that_cannot_be_read_is_reported(work: Path) -> None:
    touch("in/a/1.dng", "in/b/2.dng")
    Path("in/b").chmod(0)
    found = jobs("in")
    Path("in/b").chmod(0o700)
    assert raws(found) == ["in/a/1.dng"]
    assert "permissions" in why(found.refused, "in/b")


def test_a_pattern_in_a_folder_that_cannot_be_read_is_not_blamed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(folder: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", folder)

    touch("in/1.dng")
    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(Sve2HdrError, match=r"^in: cannot be read \(Permission denied\); check its permissions$"):
        jobs("in/*.dng")


def test_outputs_are_no_inputs(work: Path) -> None:
    touch("in/1.dng", "in/out/1.dng", "in/out/.sve2hdr/lock")
    assert raws(jobs("in", out="in/out")) == ["in/1.dng"]
    assert raws(jobs("in/**/*.dng", out="in/out")) == ["in/1.dng"]
    touch("in/2.dng", "in/2_hdr.dng")
    naming = Naming(("dng",), template="{stem}_hdr.{ext}")
    found = collect(Inputs(("in",)), Path("in"), naming, {"2_hdr.dng": "in/2.dng"})
    assert "in/2_hdr.dng" not in raws(found)
    assert why(found.ignored, "in/2_hdr.dng") == "an output of this folder"


def test_raws_that_lie_in_the_output_folder_alone_are_told_of(work: Path) -> None:
    touch("in/out/1.dng", "in/out/2.exr", "in/sub/x.txt")
    Path("in/again").symlink_to("sub")
    with pytest.raises(
        Sve2HdrError, match=r"in/out/1\.dng: lies in the output folder, in/out, .*name that folder as IN"
    ):
        jobs("in", out="in/out")
    with pytest.raises(Sve2HdrError, match=r"nothing matches outside the output folder"):
        jobs("in/**/*.dng", out="in/out")
    assert raws(jobs("in/out", out="in/out")) == ["in/out/1.dng"]
    for settled in ({"watched": True}, {"exclude": ("1*",)}):
        assert jobs("in", out="in/out", **settled).jobs == []
    made = collect(Inputs(("in",)), Path("in/out"), NAMING, {"1.dng": "in/1.dng"})
    assert made.jobs == []
    Path("in/gone.dng").symlink_to("nothing")
    assert [path for path, _ in jobs("in", out="in/out").refused] == ["in/gone.dng"]  # which is said instead


def test_a_raw_is_never_the_place_of_an_output(work: Path) -> None:
    touch("in/1.dng", "in/1.cr2", "in/3.cr2")
    found = jobs("in", out="in", naming=Naming(("dng",)))
    assert raws(found) == ["in/3.cr2"]
    assert "raw file" in why(found.refused, "in/1.cr2")


def test_names_that_differ_in_case_spare_raws_where_that_is_one_name(work: Path) -> None:
    touch("in/IMG_1.DNG", "in/2.cr2", "in/3_HDR.DNG")
    naming = Naming(("dng",))
    inputs, made = Inputs(("in",)), {"3_hdr.dng": "in/3.dng"}
    found = collect(inputs, Path("in"), naming, made, exact_case=False)
    assert raws(found) == ["in/2.cr2"]
    assert "raw file" in why(found.refused, "in/IMG_1.DNG")
    assert why(found.ignored, "in/3_HDR.DNG") == "an output of this folder"
    assert len(collect(inputs, Path("in"), naming, made).jobs) == 3


def no_copies(found: JobList) -> dict[str, str]:
    return {job.raw: job.no_copy for job in found.jobs if job.no_copy}


def test_copies_take_the_place_of_no_raw_and_of_no_other_copy(work: Path) -> None:
    touch("a/x.dng", "b/x.dng", "a/y.dng", "b/z.dng")
    apart = Naming(template="{source}_{stem}.{ext}")
    onto_raws = no_copies(jobs("a", "b", out="b", naming=apart, copied=True))
    assert list(onto_raws) == ["a/x.dng"]
    assert "would replace a raw file, x.dng" in onto_raws["a/x.dng"]
    clash = no_copies(jobs("a", "b", naming=apart, copied=True))
    assert list(clash) == ["b/x.dng"]
    assert clash["b/x.dng"].endswith("the same file as a/x.dng; give a --base above both")
    made = collect(Inputs(("a", "b"), copied=True), Path("out"), apart, {"x.dng": "b/x.dng"})  # it was there first
    assert list(no_copies(made)) == ["a/x.dng"]
    assert not no_copies(jobs("a", "b", base=".", naming=apart, copied=True))
    touch("c/p.dng", "c/p_m.dng")
    onto_output = no_copies(jobs("c", copied=True, naming=Naming(("dng",), template="{stem}_m.{ext}")))
    assert onto_output["c/p_m.dng"].endswith("the same file as c/p.dng; give another --name")
    touch("d/q.dng", "e/Q.dng")
    assert not no_copies(jobs("d", "e", naming=apart, copied=True))
    folded = collect(Inputs(("d", "e"), copied=True), Path("out"), apart, exact_case=False)
    assert list(no_copies(folded)) == ["e/Q.dng"]


def test_names_that_clash_are_refused_but_for_one(work: Path) -> None:
    touch("in/1.cr2", "in/1.dng", "in/2.dng")
    found = jobs("in")
    assert raws(found) == ["in/1.cr2", "in/2.dng"]
    advice = "add {name} or {source} to --name"
    assert why(found.refused, "in/1.dng").endswith(f"the same file as in/1.cr2; --exclude '*.dng', or {advice}")
    kept = collect(Inputs(("in",)), Path("out"), Naming(), {"1.exr": "in/1.dng"})  # it was there first
    assert raws(kept) == ["in/1.dng", "in/2.dng"]
    assert len(jobs("in", naming=Naming(template="{name}.{ext}")).jobs) == 3
    touch("x/card/4.dng", "y/card2/4.dng")
    found = jobs("x/card", "y/card2")
    assert len(found.jobs) == 1
    assert why(found.refused, "y/card2/4.dng").endswith(f"the same file as x/card/4.dng; {advice}")
    both = jobs("x/card", "y/card2", naming=Naming(template="{source}/{stem}.{ext}"))
    assert [job.outputs for job in both.jobs] == [("card/4.exr",), ("card2/4.exr",)]


def test_names_that_differ_in_how_accents_are_stored_are_one(work: Path) -> None:
    touch("in/\u00e9.dng", "in/e\u0301.dng")  # which a Mac has no two files for
    assert len(jobs("in").jobs) == 1


def test_names_that_differ_in_case_alone(work: Path) -> None:
    touch("in/a.dng", "in/A.dng")
    if len(list(Path("in").iterdir())) == 2:
        assert len(jobs("in").jobs) == 2
        assert len(collect(Inputs(("in",)), Path("out"), Naming(), exact_case=False).jobs) == 1


@pytest.mark.parametrize(
    "template",
    [
        "{stem}.exr",
        "{stem}",
        "{ext}",
        "x.{ext}",
        "{date}.{ext}",
        "{}.{ext}",
        "/{stem}.{ext}",
        "../{stem}.{ext}",
        "{stem}.{ext",
    ],
)
def test_names_that_cannot_be(template: str) -> None:
    with pytest.raises(ValueError, match="--name"):
        Naming(template=template)


def test_clips_are_sequences_and_photos_are_not(work: Path) -> None:
    Path("clip").mkdir()
    for name in ("A_000001.dng", "A_000002.dng", "B_000001.dng"):
        with Path("clip", name).open("wb") as file:
            write_tiff(file, Ifd([entry(51044, RATIONAL, [24, 1])]))  # FrameRate
    touch("clip/IMG_1.dng", "clip/IMG_2.dng")
    names = {Path(job.raw).name: job.sequence for job in jobs("clip").jobs}
    assert names["A_000001.dng"] == names["A_000002.dng"] != names["B_000001.dng"] != ""
    assert names["IMG_1.dng"] == names["IMG_2.dng"] == ""
    assert {job.sequence for job in jobs("clip", lock="folder").jobs} == {str(work.resolve() / "clip")}
    assert {job.sequence for job in jobs("clip", lock="none").jobs} == {""}
    assert isinstance(jobs("clip").jobs[0], Job)


def test_frames_of_a_clip_differ_in_the_last_number_of_their_names(work: Path) -> None:
    clips = ("A001_C001_{:06}", "A001_C002_{:06}", "sh010.{}.raw", "sh020.{}.raw", "M01_{:06}_raw", "frame{}")
    for frame in (1, 2, 1001):
        for clip in clips:
            with Path(f"{clip.format(frame)}.dng").open("wb") as file:
                write_tiff(file, Ifd([entry(51044, RATIONAL, [24, 1])]))
    found = {Path(job.raw).stem: job.sequence for job in jobs(".").jobs}
    of_clips = [{found[clip.format(frame)] for frame in (1, 2, 1001)} for clip in clips]
    assert [len(names) for names in of_clips] == [1] * len(clips)
    assert len(set.union(*of_clips)) == len(clips)


def test_a_frame_that_cannot_be_read_says_nothing_of_its_clip(work: Path) -> None:
    touch("clip/A_000000.dng", "plain/B_000000.dng")
    for name in ("clip/A_000001.dng", "clip/A_000002.dng"):
        with Path(name).open("wb") as file:
            write_tiff(file, Ifd([entry(51044, RATIONAL, [24, 1])]))
    with Path("plain/B_000001.dng").open("wb") as file:
        write_tiff(file, Ifd([entry(33434, RATIONAL, [1, 50])]))
    assert len({job.sequence for job in jobs("clip").jobs}) == 1
    assert all(job.sequence for job in jobs("clip").jobs)
    assert {job.sequence for job in jobs("plain").jobs} == {""}


def test_photos_beside_footage_are_no_frames_and_a_folder_is_one_however_it_is_named(work: Path) -> None:
    Path("clip").mkdir()
    for name in ("A_1.dng", "A_3.dng", "B_2.dng"):
        with Path("clip", name).open("wb") as file:
            write_tiff(file, Ifd([entry(51044, RATIONAL, [24, 1])]))
    touch("clip/A_2.CR2", "clip/B_1.CR2")
    Path("link").symlink_to("clip", target_is_directory=True)
    found = jobs("clip/A_1.dng", "link/A_3.dng", "clip/A_2.CR2", "clip/B_1.CR2", "clip/B_2.dng").jobs
    named = {Path(job.raw).name: job.sequence for job in found}
    assert named["A_1.dng"] == named["A_3.dng"] != ""
    assert named["B_2.dng"] not in ("", named["A_1.dng"])
    assert named["A_2.CR2"] == named["B_1.CR2"] == ""


@pytest.mark.parametrize("lock", ["auto", "folder"])
def test_frames_of_one_name_from_several_folders_are_several_clips(work: Path, lock: str) -> None:
    for folder in ("card1/A", "card2/B"):
        Path(folder).mkdir(parents=True)
        for name in ("frame_1.dng", "frame_2.dng"):
            with Path(folder, name).open("wb") as file:
                write_tiff(file, Ifd([entry(51044, RATIONAL, [24, 1])]))
    found = jobs("card1/A", "card2/B", lock=lock, naming=Naming(template="{source}/{stem}.{ext}")).jobs
    clips = {source: {job.sequence for job in found if source in job.raw} for source in ("card1", "card2")}
    assert all(len(names) == 1 for names in clips.values())
    assert clips["card1"] != clips["card2"]
