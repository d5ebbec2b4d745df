"""What a batch shows while it runs, its report line by line, and the table at its end."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ..errors import Sve2HdrError, printable
from ..patterntext import certainty
from .batch import Events, Outcome
from .joblist import Job
from .jobstate import FileResult

OUTCOMES = {  # in the order of the table
    "converted": "converted",
    "developed": "developed: one exposure",
    "copied": "copied: one exposure",
    "skipped": "skipped: one exposure",
    "unchanged": "finished before",
    "edited": "kept, edited since",
    "failed": "failed",
}
WOULD = {"converted": "would convert", "developed": "would develop", "copied": "would copy", "skipped": "would skip"}


def report_line(result: FileResult) -> str:
    """Return a result as one JSON object: a line of `--report`."""
    found = result.found
    line: dict[str, Any] = {
        "input": result.input,
        "outcome": result.outcome,
        "outputs": list(result.outputs),
        "sha256": result.sha256 or None,
        "outputs_sha256": [digest or None for digest in result.outputs_sha256],
        **{name: found.get(name) for name in ("pattern", "ratio_ev", "confidence", "clipped", "megapixels", "device")},
        "seconds": result.seconds,
        "peak_mb": result.peak_mb,
        "notes": [*([found["reason"]] if found.get("reason") else []), *result.notes],
        "error": result.error or None,
    }
    return json.dumps(line)


def table(results: list[FileResult], seconds: float) -> list[str]:
    """Return the lines of the table at the end: how many of each outcome, then each failure with its reason."""
    counts = Counter(result.outcome for result in results)
    lines = [f"{counts[outcome]:>7}  {text}" for outcome, text in OUTCOMES.items() if counts[outcome]]
    megapixels = sum(r.found.get("megapixels", 0.0) for r in results if r.outcome == "converted")
    rate = f", {megapixels / seconds:.2f} MP/s" if megapixels else ""
    lines.append(f"{len(results):>7}  files in {duration(seconds)}{rate}")
    return lines + [f"  {r.input}: {r.error}" for r in results if not r.good]


def duration(seconds: float) -> str:
    """Return a time as people write it.

    >>> duration(7.25), duration(75), duration(7325)
    ('7.2 s', '1:15', '2:02:05')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


class Report:
    """A JSON object a line, each on the disk as soon as its file is over. A new run begins it anew."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        if path.is_file() and not overwrite and not _is_report(path):  # no pipe: what is read from it never ends
            raise Sve2HdrError(f"{path}: exists already and is not a report; give --overwrite or another name")
        try:
            self._file: TextIO = path.open("w", encoding="utf-8")
        except OSError as error:
            raise Sve2HdrError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
        self._path, self.complete = path, True  # complete: a line for each file so far

    def add(self, result: FileResult) -> None:
        """Write a line; raise Sve2HdrError the first time that one cannot be: then the report ends there."""
        if self._file.closed:
            return
        try:
            self._file.write(report_line(result) + "\n")
            self._file.flush()
        except OSError as error:
            self.complete = False
            self.close()
            raise Sve2HdrError(
                f"{self._path}: cannot be written ({error.strerror}) and ends here; the conversion goes on"
            ) from error

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # of what could not be written before
            self._file.close()


def _is_report(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline()
        return not first or "input" in json.loads(first)
    except (OSError, ValueError, TypeError, RecursionError):
        return False


class Display(Events):
    """Shows a batch: `bar` for people, `plain` lines for logs, `quiet`: failures alone. All of it goes to stderr."""

    def __init__(self, mode: str, total: int | None, report: Report | None = None, look_only: bool = False) -> None:
        self.mode, self.total, self.report, self.look_only = mode, total, report, look_only
        self.results: list[FileResult] = []
        self._place: dict[str, int] = {}  # of each raw's result, which that of its next state replaces
        self._failed = 0  # of the results
        self._notes: Counter[str] = Counter()  # by what they say of any file
        self._began, self._worked, self._megapixels = time.monotonic(), 0, 0.0
        self._begun_at: float | None = None  # the first file that needed work
        self._rows: dict[str, TaskID] = {}
        columns = (TextColumn("{task.description}", markup=False), BarColumn(24), TextColumn("{task.fields[says]}"))
        console = Console(stderr=True, emoji=False)
        self._bars = Progress(*columns, console=console, transient=True, disable=mode != "bar", refresh_per_second=4)
        self._all = self._bars.add_task("all", total=total, says="")

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.mode == "bar":  # rich before 14.3 prints an empty line for bars that never were
            self._bars.stop()
        if self.report is not None:
            self.report.close()

    @property
    def seconds(self) -> float:
        """Since the display was made."""
        return time.monotonic() - self._began

    @property
    def left_out(self) -> int:
        """How many notes were not shown, because others said the same of other files."""
        return self._notes.total() - len(self._notes) if self.mode == "bar" else 0

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        text = printable(text)
        if self.mode == "bar":
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            try:
                print(text, file=sys.stderr, flush=True)
            except OSError as error:  # a log on a full disk ends no batch
                if error.errno == errno.EPIPE:
                    raise

    def started(self, job: Job) -> None:
        """Show a file in work."""
        self._begun_at = self._begun_at or time.monotonic()
        if job.raw not in self._rows:
            self._rows[job.raw] = self._bars.add_task(f"  {printable(Path(job.raw).name)}", total=1.0, says="")

    def progress(self, job: Job, share: float) -> None:
        """Show how far it is."""
        if job.raw in self._rows:
            self._bars.update(self._rows[job.raw], completed=share)

    def finished(self, job: Job, result: FileResult) -> None:
        """Count a file, write its line of the report, and say what went wrong."""
        if job.raw in self._rows:
            self._bars.remove_task(self._rows.pop(job.raw))
        self._worked += result.outcome not in ("unchanged", "edited")
        self._megapixels += result.found.get("megapixels", 0.0) if result.outcome == "converted" else 0.0
        self.add(result)

    def add(self, result: FileResult) -> None:
        """Take a result, of a job or of a file that is none."""
        place = self._place.setdefault(result.input, len(self.results))
        self._failed += (not result.good) - sum(not earlier.good for earlier in self.results[place : place + 1])
        self.results[place : place + 1] = [result]
        self._tell(result)

    def failed(self, path: str) -> bool:
        """Return whether the last that became of a file is that it failed."""
        place = self._place.get(path)
        return place is not None and not self.results[place].good

    def _tell(self, result: FileResult) -> None:
        if self.report is not None:
            try:
                self.report.add(result)
            except Sve2HdrError as error:
                self.notice(str(error))
        if not result.good:
            self.say(f"sve2hdr: {result.input}: {result.error}")
        elif self.look_only and self.mode != "quiet":
            print(printable(_would(result)))  # here, this is what the user asks for
        elif self.mode == "plain" and result.outcome != "unchanged":
            self.say(f"[{len(self.results)}{f'/{self.total}' if self.total else ''}] {_line(result)}")
        for note in result.notes if self.mode != "quiet" else ():
            kind = _kind(note)
            self._notes[kind] += 1
            if self.mode == "plain" or self._notes[kind] == 1:
                self.say(f"sve2hdr: {note}")
        self._bars.update(self._all, completed=len(self.results), says=self._rate())

    def tick(self) -> None:
        """Keep the time running."""
        self._bars.update(self._all, says=self._rate())

    def notice(self, text: str) -> None:
        """Say something that the user should know."""
        self.say(f"sve2hdr: {text}")

    def stopping(self, in_work: int) -> None:
        """Say what Ctrl-C does."""
        if in_work:
            self.say(f"sve2hdr: finishing {in_work} file(s) in progress; press Ctrl-C again to drop them")

    def _rate(self) -> str:
        said = f"{len(self.results)}" + (f" of {self.total}" if self.total else "")
        said += f", {self._failed} failed" if self._failed else ""
        if not self._worked or self._begun_at is None:
            return said
        seconds = max(time.monotonic() - self._begun_at, 1e-3)
        said += f", {60 * self._worked / seconds:.1f} files/min, {self._megapixels / seconds:.2f} MP/s"
        if self.total:
            said += f", {duration((self.total - len(self.results)) * seconds / self._worked)} left"
        return said


def _kind(note: str) -> str:
    """Return a note without what differs from file to file.

    >>> _kind("IMG_1.CR2: as-shot is of a light of 1512 K") == _kind("IMG_20.CR2: as-shot is of a light of 983 K")
    True
    """
    return re.sub(r"[-+]?\d[\d.]*", "0", note.partition(": ")[2] or note)


def _line(result: FileResult) -> str:
    found = result.found
    if result.outcome == "skipped":
        return f"{result.input}: skipped, {found.get('reason', 'one exposure')}"
    if result.outcome == "edited":
        return f"{result.input} -> {', '.join(result.outputs)} ({OUTCOMES['edited']})"
    what = certainty(found["ratio_ev"], found["confidence"]) if found.get("pattern") else OUTCOMES[result.outcome]
    return f"{result.input} -> {', '.join(result.outputs)} ({what}, {result.seconds:.1f} s)"


def _would(result: FileResult) -> str:
    if result.outcome in ("unchanged", "edited"):
        return f"{result.input}: {OUTCOMES[result.outcome]}"
    to = f" -> {', '.join(result.outputs)}" if result.outputs else ""
    why = result.found.get("reason") or f"{result.found['pattern']}, {result.found['ratio_ev']:.2f} EV"
    shared = "; frames of a sequence share what its first one has" if result.found.get("sequence") else ""
    return f"{result.input}: {WOULD[result.outcome]}{to} ({why}{shared})"


def ending(outcome: Outcome, display: Display) -> list[str]:
    """Return what is to be said after the last file: the table, and how to go on with what is left."""
    lines = [] if display.look_only else table(display.results, display.seconds)
    if display.left_out:
        where = "each is in the report" if display.report else "--report or --plain shows each as it is converted"
        lines.append(f"{display.left_out:>7}  more notes like those above; {where}")
    if outcome.hopeless:
        lines.append(f"given up, {outcome.not_begun} file(s) not started: {outcome.hopeless}")
    elif outcome.interrupted:
        lines.append(f"interrupted, {outcome.not_begun} file(s) left: give the same command again to go on")
    return lines
