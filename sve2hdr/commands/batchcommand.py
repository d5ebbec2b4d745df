"""The command for folders and long runs: parses, calls, prints. Exit codes: 0 all good, 1 some failed, 130 stopped."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ..errors import Sve2HdrError
from ..folders.workload import DEFAULT_SHARE, Load, Plan, megapixels_of, parse_size, plan, too_large
from ..memory import available_bytes, usable_cores
from ..system.places import is_url, place, without_file_url
from .imageoptions import IMAGE_HEADINGS, check_ensemble, check_formats, check_preview, convert_options, image_options
from .options import FILE, FOLDER, Command, Number, Parsed, complete_path, overwrite_option, refuse_given
from .terminal import draws_bars, tell

if TYPE_CHECKING:
    from ..folders.batch import Crew, Outcome
    from ..folders.batchdisplay import Display
    from ..folders.inputs import Inputs
    from ..folders.joblist import Job, JobList, Naming
    from ..folders.jobstate import BatchOptions
    from ..folders.remotemanifest import AnyManifest
FORMATS, POLICIES = ("exr", "hdr", "tif", "dng"), ("skip", "copy", "develop", "fail")


class PlaceType(click.ParamType):  # type: ignore[type-arg]  # older releases of click have no argument here
    """A local folder, or one at any URL that fsspec supports."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return its path or URL as text; fail with a usage error if it is a file."""
        text = without_file_url(value)
        if not text:
            self.fail("the path is empty; name a folder", param, ctx)
        return text if is_url(text) else str(FOLDER.convert(text, param, ctx))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Have the shell complete a folder."""
        return FOLDER.shell_complete(ctx, param, incomplete)


def scheduler_address(text: str) -> str:
    """Return the address of a Dask scheduler; raise ValueError for other text.

    >>> scheduler_address("tcp://host:8786"), scheduler_address("[::1]:8786")
    ('tcp://host:8786', '[::1]:8786')
    """
    found = re.fullmatch(r"(?:\w+://)?(?:[^\s:/\[\]]+|\[[\da-fA-F:.]+\]):(\d{1,5})", text)
    if not found or not 0 < int(found[1]) < 65536:
        raise ValueError(f"{text!r} is no address of a scheduler; write tcp://host:8786")
    return text


@click.command(cls=Command, headings={"lists": "Inputs", "formats": "Outputs", "workers": "Run", **IMAGE_HEADINGS})
@click.argument("inputs", metavar="IN...", nargs=-1, shell_complete=complete_path)
@click.option(
    "-o",
    "--output",
    type=PlaceType(),
    required=True,
    help="Output folder, or its URL.",
)
@click.option(
    "--list",
    "lists",
    type=click.File("rb"),
    multiple=True,
    help="Also take the paths in this UTF-8 file, one per line.",
)
@click.option(
    "--include", multiple=True, metavar="PATTERN", help="Take only files whose name or path matches, such as '*.CR2'."
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out files whose name, path or folder matches.")
@click.option("--base", type=PlaceType(), help="Mirror the tree below this folder.  [default: below each IN]")
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    help="Format of the outputs; can be given several times.  [default: exr]",
)
@click.option("--preview", is_flag=True, help="Also write a tone-mapped preview, as .preview.jpg.")
@click.option(
    "--name",
    "template",
    default="{stem}.{ext}",
    show_default=True,
    help="Names of the outputs, made of {stem}, {name} (with extension), {source} (the folder IN), {model} and {ext}.",
)
@click.option(
    "--if-not-sve",
    type=click.Choice(POLICIES),
    default="skip",
    show_default=True,
    help="What to do with ordinary raws, which have one exposure; those in doubt always fail.",
)
@click.option(
    "--lock",
    type=click.Choice(["auto", "folder", "none"]),
    default="auto",
    show_default=True,
    help="Which frames share levels, scale, white balance and brightness: those of each CinemaDNG clip (auto), those "
    "of each folder, or none.",
)
@click.option(
    "--lock-params",
    type=FILE,
    help="All frames share what is in this file, which `convert --lock-params` has written, for example from a chart.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="How many files to convert at a time.  [default: as many as cores and memory allow]",
)
@click.option(
    "--memory",
    type=Parsed("size", parse_size),
    help="Memory that all workers may take together, such as 4G.  [default: 75% of what is available]",
)
@click.option(
    "--timeout",
    type=Number(1),
    default=300.0,
    show_default=True,
    help="Give up a file after this many seconds without progress.",
)
@click.option(
    "--dask",
    type=Parsed("address", scheduler_address),
    help="Spread the files over the Dask cluster of this scheduler, such as tcp://host:8786.",
)
@click.option("--report", type=FILE, help="Write a JSON object for each file, one per line.")
@click.option("--dry-run", is_flag=True, help="Convert nothing; say what would happen to each file.")
@click.option("--watch", is_flag=True, help="Keep converting what arrives in IN, until Ctrl-C or --idle.")
@click.option(
    "--idle", type=Number(1), help="End --watch after this many seconds with nothing to do.  [default: never]"
)
@click.option(
    "--plain",
    is_flag=True,
    help="Print lines for a log instead of progress bars. Set automatically if stderr is no terminal or TERM is dumb.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only failures.")
@image_options
@overwrite_option
def batch(
    inputs: tuple[str, ...],
    output: str,
    lists: tuple[Any, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    base: str | None,
    formats: tuple[str, ...],
    preview: bool,
    template: str,
    if_not_sve: str,
    lock: str,
    lock_params: Path | None,
    workers: int | None,
    memory: int | None,
    timeout: float,
    dask: str | None,
    report: Path | None,
    dry_run: bool,
    watch: bool,
    idle: float | None,
    plain: bool,
    quiet: bool,
    model: str,
    overwrite: bool,
    **chosen: Any,
) -> None:
    """Convert the raws of folders, files or patterns IN, unattended.

    The tree of IN is mirrored in the output folder; both may also be URLs, such as s3://bucket/shoot. Finished files
    are not converted again: after a stop, or a power cut, give the same command to continue. A file that fails does
    not stop the others; the exit code is then 1.
    """
    from ..folders.batch import Batch, RunOptions
    from ..folders.batchdisplay import Display, Report
    from ..folders.inputs import Inputs, read_list
    from ..folders.jobfiles import found_in_parameters
    from ..folders.joblist import Naming
    from ..folders.jobstate import BatchOptions
    from ..folders.remotemanifest import manifest_of
    from ..folders.watch import Watch
    from ..models import is_file, model_digest, model_named

    named = tuple(map(without_file_url, inputs))
    lines = (path for file in lists for path in read_list(file.read(), getattr(file, "name", "--list")))
    listed = tuple(map(without_file_url, lines))
    if "" in named + listed:  # which would be the working folder
        raise click.UsageError("an input has an empty path; name folders, files or patterns")
    if not named + listed:
        raise click.UsageError("nothing to convert; name folders, files or patterns, or a --list of them")
    _refuse_contradictions(**click.get_current_context().params)
    if dask:  # other machines have other working folders
        named, listed = tuple(map(_absolute, named)), tuple(map(_absolute, listed))
        output, base = _absolute(output), base and _absolute(base)
    try:
        naming = Naming(tuple(dict.fromkeys(formats)) or ("exr",), preview, template, model)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    options = BatchOptions(
        out=output,
        model=os.path.abspath(model) if is_file(model) else model,
        model_digest=model_digest(model),
        convert=convert_options(**chosen),
        if_not_sve=if_not_sve,
        overwrite=overwrite,
        look_only=dry_run,
        shared=None if lock_params is None else found_in_parameters(lock_params),
        run=secrets.token_hex(8),
    )
    locked = lock if lock_params is None else "all"
    where = Inputs(named, include, exclude, base or "", locked, watch, if_not_sve == "copy", listed)
    manifest = manifest_of(output)
    if not dry_run:
        manifest.create()
    found = _collected(where, manifest, naming)
    limit = None if dask else memory if memory is not None else int(DEFAULT_SHARE * available_bytes())
    load = _load(found, manifest, model_named(model).features_per_px, limit, chosen["tile"], watch)
    run = RunOptions(timeout_s=timeout)
    if limit is not None:
        planned = _planned(options, load, limit, workers, chosen["tile"], None if watch else len(found.jobs))
        options = replace(options, convert=replace(options.convert, tile_px=planned.tile_px))
        run = RunOptions(planned.workers, planned.threads, 0 if dry_run else planned.worker_mb, timeout)
    mode = "quiet" if quiet else "bar" if draws_bars() and not (plain or dry_run) else "plain"
    total = None if watch else len(found.jobs) + len(found.refused)
    reporter = Report(report, overwrite) if report else None
    with Display(mode, total, reporter, dry_run) as display:
        _tell_ignored(found, display, dry_run)
        crew = _cluster(dask, options, timeout, load, chosen["tile"], display) if dask else None
        if watch:
            collect, refused = partial(_collected, where, manifest, naming), partial(_refused, display)
            unfit = partial(_unfit, limit, load.features_per_px, options.convert.tile_px)
            feed = Watch(collect, refused, display.notice, idle, unfit=unfit, failed=display.failed)
            outcome = Batch(options, run, display, feed, crew).run()
        else:
            for refusal in found.refused:
                _refused(display, *refusal)
            outcome = Batch(options, run, display, crew=crew).run(found.jobs)
    _end(outcome, display, quiet, watch)


def _refuse_contradictions(
    *, idle: float | None, watch: bool, dry_run: bool, report: Path | None, dask: str | None, workers: int | None,
    memory: int | None, preview: bool, formats: tuple[str, ...], ensemble: bool, model: str, lock_params: Path | None,
    **_: Any,
) -> None:  # fmt: skip
    """Refuse options that contradict each other."""
    if idle is not None and not watch:
        raise click.UsageError("--idle needs --watch")
    if lock_params is not None:
        refuse_given(("lock", "pattern", "ev", "black", "white"), "is in the --lock-params file; leave one of them out")
    check_ensemble(ensemble, model)
    check_formats([f".{name}" for name in formats or ("exr",)])
    check_preview(preview)
    if watch and dry_run:
        raise click.UsageError("--dry-run looks once; leave --watch out")
    if dry_run and report and report.is_file() and report.stat().st_size:  # perhaps the last run's
        raise click.UsageError(f"{report}: exists already; name another --report for --dry-run")
    if dask and (workers or memory):
        raise click.UsageError(
            "with --dask, leave --workers and --memory out; `dask worker` has --nthreads and --memory-limit instead"
        )


def _end(outcome: Outcome, display: Display, quiet: bool, watch: bool) -> None:
    """Print the outcome of a batch, and exit with its code."""
    from ..folders.batchdisplay import ending

    for line in ending(outcome, display):
        if not quiet or outcome.hopeless or outcome.interrupted:
            tell(line, err=quiet)
    if outcome.interrupted and not watch:
        raise click.exceptions.Exit(130)
    good = outcome.good or (watch and not outcome.hopeless)
    if not good or not all(r.good for r in display.results) or (display.report and not display.report.complete):
        raise click.exceptions.Exit(1)


def _collected(where: Inputs, manifest: AnyManifest, naming: Naming) -> JobList:
    """Return all jobs that can be found now."""
    from ..folders.joblist import collect

    known = {record.file: record.raw for record in manifest.records().values() if record.file}
    return collect(where, manifest.out, naming, known, manifest.exact_case())


def _planned(
    options: BatchOptions, load: Load, limit: int, workers: int | None, tile: int | None, files: int | None
) -> Plan:
    """Return the plan of workers: no more of them than files; on a GPU a few, which feed it in turn."""
    from ..system.devices import choose_device

    most = usable_cores() if files is None else max(1, files)
    if files is not None and workers is not None:
        workers = min(workers, most)
    if choose_device(options.convert.device).type != "cpu":
        most = min(most, 4)
    return plan(limit, load, usable_cores(), workers, tile, most)


def _load(
    found: JobList, manifest: AnyManifest, features_per_px: float, limit: int | None, tile: int | None, watch: bool
) -> Load:
    """Return the load of the largest raw, or of one that may arrive later; refuse raws too large for the limit.

    Raws that a record knows are not opened.
    """
    from ..folders.record import Stamp

    known = {record.raw: record for record in manifest.records().values()}

    def megapixels(raw: str) -> float:
        with contextlib.suppress(OSError, KeyError):
            said = known[raw].found["megapixels"]
            if isinstance(said, float) and 0 < said < 1000 and Stamp.of(place(raw)) == known[raw].raw_stamp:
                return said
        return megapixels_of(place(raw))

    loads = {job.raw: Load(megapixels(job.raw), features_per_px) for job in found.jobs}
    if limit is not None:
        unfit = {raw: why for raw, load in loads.items() if (why := too_large(limit, load, tile))}
        found.refused.extend(unfit.items())
        found.jobs = [job for job in found.jobs if job.raw not in unfit]
    sizes = [loads[job.raw].megapixels for job in found.jobs]
    return Load(max([*sizes, 50.0] if watch else sizes, default=0.0), features_per_px)


def _unfit(limit: int | None, features_per_px: float, tile: int, job: Job) -> str:
    """Return why a newly arrived file would take more memory than there is, or ""."""
    return too_large(limit, Load(megapixels_of(place(job.raw)), features_per_px), tile) if limit is not None else ""


def _absolute(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)


def _cluster(
    address: str, options: BatchOptions, timeout: float, load: Load, tile: int | None, display: Display
) -> Crew:
    try:
        from ..folders.cluster import Cluster
        from ..folders.clustertask import TaskOptions
    except ModuleNotFoundError as error:
        raise Sve2HdrError(f"--dask needs {error.name}; pip install 'sve2hdr[cluster]'") from error
    return Cluster(address, TaskOptions(options, timeout, load, tile), display)


def _refused(display: Display, path: str, why: str) -> None:
    from ..folders.jobstate import FileResult

    display.add(FileResult(path, "failed", error=why))


def _tell_ignored(found: JobList, display: Display, each: bool) -> None:
    """Say which files are left out: in a dry run one by one, else in one line; if quiet, not at all."""
    from ..folders.inputs import VIDEO

    if display.mode == "quiet":
        return
    if each:
        for path, why in found.ignored:
            tell(f"{path}: left alone, {why}")
    elif found.ignored:
        display.say(f"sve2hdr: {len(found.ignored)} other file(s) left alone; --dry-run names them")
    if clips := sum(why == VIDEO for _, why in found.ignored):
        display.say(f"sve2hdr: {clips} Magic Lantern clip(s): sve2hdr unpack makes DNG frames of them")
    if not (found.jobs or found.refused):
        display.say("sve2hdr: no raw files found")
