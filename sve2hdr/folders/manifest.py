"""What a batch has finished in its output folder, and how an output gets its name: whole, or not at all.

OUT/.sve2hdr holds `done/`, a record for each finished output; `work/`, a folder for each job in work; and `lock`.
A job's files are made in its folder of `work`, which no other process has, even if claims fail: its name is the job's
key and a random number. A journal there says what shall take which name; from then on the job is finished whatever
happens, by its own process or by whoever comes next (`Manifest.recover`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Generic, Literal, NamedTuple

from ..errors import UnwritableOutput
from ..system.claims import Claims, key_of
from ..system.files import FULL, file_sha256, replacing, take_name
from ..system.places import At, Place, Status, lies_at, place
from .record import DAMAGED, Record, Stamp

STATE = ".sve2hdr"
JOURNAL = "journal.json"
State = Literal["new", "done", "edited", "stale", "outdated", "foreign"]


class Standing(NamedTuple):
    """What is there for an output: a word, and where a file that is there may be in the way, its name and why."""

    state: State
    why: str = ""
    record: Record | None = None  # of what is ours, with sizes and times as they are now
    moved: bool = False  # these are not as they were recorded: the files had to be read to know them again


class Records(ABC, Generic[At]):
    """What an output folder has, here or at a URL. OUT/.sve2hdr/done holds the records, JSON each, in both."""

    def __init__(self, out: At) -> None:
        self.out: At = out
        self.folder: At = out / STATE
        self._read: dict[str, tuple[Stamp | Status, Record]] = {}  # what `records` has read, by path or URL

    @abstractmethod
    def create(self) -> None:
        """Make what a batch needs; raise UnwritableOutput where that cannot be."""

    @abstractmethod
    def claims(self) -> Claims:
        """Return this process's claims on jobs of this folder: one in a process."""

    @abstractmethod
    def exact_case(self) -> bool:
        """Return whether `lock` and `LOCK` are two files here."""

    def records(self) -> dict[str, Record]:
        """Return all records by output; asked again, it reads those alone that are new or changed."""
        listed = self._listed()
        self._read = {path: read for path, read in self._read.items() if listed.get(path) == read[0]}
        for path in listed.keys() - self._read.keys():
            with contextlib.suppress(OSError, *DAMAGED):
                self._read[path] = listed[path], Record.from_json(place(path).read_bytes())
        return {record.output: record for _, record in self._read.values()}

    @abstractmethod
    def _listed(self) -> Mapping[str, Stamp | Status]:
        """Return the files of records, as they are now."""

    @property
    @abstractmethod
    def work(self) -> Path:
        """The folder of this machine that holds those in which jobs are at work."""

    @abstractmethod
    def unwritable(self, error: OSError) -> UnwritableOutput:
        """Return what to tell of an OUT that cannot be written."""

    @contextlib.contextmanager
    def staged(self, output: str) -> Iterator[Path]:
        """Yield an empty folder to make a job's files in, `output` being its first one; removed at the end."""
        folder = self.work / f"{key_of(output)}-{secrets.token_hex(4)}"
        try:
            folder.mkdir()
            yield folder
        except OSError as error:
            raise self.unwritable(error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @abstractmethod
    def publish(self, folder: Path, made: Sequence[tuple[Record, str, bool]]) -> list[Record]:
        """Let files of a job's folder become outputs, and record them; return the records with what they are.

        `made`: a record, the name of its file in `folder` ("": none), and whether it may replace a file. Raises
        UnwritableOutput where another program has taken a name meanwhile, and OSError as the system does.
        """

    def recover(self, claims: Claims, names: Iterable[str] | None = None) -> None:
        """Finish or remove what processes have left that are gone: of jobs with these first outputs, or of all.

        Raises OSError where that cannot be done now; what is left stays for another time.
        """
        for key in self._left() if names is None else map(key_of, names):
            if claims.take([key]):
                try:
                    self._recover(key)
                finally:
                    claims.release([key])

    @abstractmethod
    def _left(self) -> Iterable[str]:
        """Return the keys of all jobs of which something is left, also of those that are in work."""

    @abstractmethod
    def _recover(self, key: str) -> None:
        """Finish or remove what is left of a job, if anything is; nobody works on it."""

    def get(self, output: str) -> Record | None:
        """Return the record of an output, or None where there is none; raise OSError where that is not known."""
        try:
            return Record.from_json(self._record_path(output).read_bytes())
        except (FileNotFoundError, *DAMAGED):
            return None

    def state(self, output: str, raw: Place, recipes: Sequence[str]) -> Standing:
        """Return what is there for an output that shall be made of `raw`, after one of `recipes`.

        new: nothing. done: what is wanted, as its record says. edited: what was wanted, and somebody has added to it
        since, as who rates photos does. stale: ours, made of the same raw after another recipe. outdated: ours, made of
        another raw. foreign: a file that we did not write, that was changed and is not what is wanted, or is broken.
        Only who has claimed the job and recovered it knows that no other process is changing the file.
        Raises OSError where that cannot be found out.
        """
        record = self.get(output)
        if record is None or (record.file and not lies_at(self.out / record.file)):
            foreign = f"{self.out / output}: exists already, and is not from this batch"
            return Standing("foreign", foreign) if lies_at(self.out / output) else Standing("new")
        file, of_raw = self.out / record.file, known_again(raw, record.raw_stamp, record.raw_sha256)
        as_is = known_again(file, record.stamp, record.sha256) if record.file else record.stamp
        wanted = record.recipe in recipes
        if as_is is None:
            changed, grown = f"{file}: was changed since it was written", _has_grown(file, record.stamp.size)
            if grown and of_raw and wanted:
                return Standing("edited", "", record)
            damaged = ", without growing, so it may be damaged"
            return Standing("foreign", changed if grown else changed + damaged)
        if of_raw is None:
            another = f"{file}: was made of another raw ({record.raw})"
            return Standing("outdated", another) if record.file else Standing("new")
        now = replace(record, raw_stamp=of_raw, stamp=as_is)
        return Standing("done" if wanted else "stale", "", now, moved=now != record)

    def done_by_stamps(self, record: Record, raw: Stamp, recipes: Sequence[str]) -> bool:
        """Return whether sizes and times alone show that an output is what is wanted of a raw; raise OSError."""
        if record.raw_stamp != raw or record.recipe not in recipes:
            return False
        return not record.file or Stamp.of(self.out / record.file) == record.stamp

    def _record_path(self, output: str) -> At:
        key = key_of(output)
        return self.folder / "done" / key[:2] / f"{key}.json"


class Manifest(Records[Path]):
    """The records of one output folder."""

    @property
    def work(self) -> Path:
        """The folder beside the records: on the outputs' disk, so that a rename puts a file in place."""
        return self.folder / "work"

    def unwritable(self, error: OSError) -> UnwritableOutput:
        """Return what to tell of a full or broken disk, or of a name that a disk does not take."""
        named = Path(str(error.filename2 or error.filename or self.folder))
        if error.errno not in FULL and named.is_relative_to(self.out) and not named.is_relative_to(self.folder):
            finding = f"{named}: cannot be written ({error.strerror})"
            return UnwritableOutput(f"{finding}; choose another --name, or another place")
        return UnwritableOutput(f"{self.out}: cannot be written ({error.strerror}); make room or choose another place")

    def create(self) -> None:
        """Make the folders; raise UnwritableOutput where that cannot be."""
        try:
            done, work, lock = (self.folder / name for name in ("done", "work", "lock"))
            for path in (done, work, lock):  # in a folder of somebody else they could lead out of it
                if path.is_symlink():
                    raise UnwritableOutput(f"{path}: a link, which no batch makes; remove it")
            for path in (done, work):
                path.mkdir(parents=True, exist_ok=True)
            Claims(lock).close()
        except OSError as error:
            raise UnwritableOutput(
                f"{self.out}: cannot be written ({error.strerror}); choose another folder"
            ) from error

    def claims(self) -> Claims:
        """Return this process's claims on jobs of this folder: one in a process."""
        return Claims(self.folder / "lock")

    def exact_case(self) -> bool:
        """Return whether this file system tells `lock` from `LOCK`; True where nothing is written yet."""
        return not ((self.folder / "LOCK").exists() and (self.folder / "lock").exists())

    def _listed(self) -> dict[str, Stamp | Status]:
        found: dict[str, Stamp | Status] = {}
        for path in (self.folder / "done").glob("??/*.json"):
            with contextlib.suppress(OSError):
                found[str(path)] = Stamp.of(path)
        return found

    # From a job's folder to the outputs

    def publish(self, folder: Path, made: Sequence[tuple[Record, str, bool]]) -> list[Record]:
        """Let files of a job's folder take their names, and record them, as `Records.publish` has it."""
        complete = []
        for record, name, may_replace in made:
            if name:
                _sync(folder / name)
                record = replace(record, stamp=Stamp.of(folder / name), sha256=file_sha256(folder / name))
            complete.append((record, name, may_replace))
        _write(folder / JOURNAL, json.dumps([(asdict(record), *rest) for record, *rest in complete]))
        _sync_folder(folder)
        for record, name, may_replace in complete:
            self._finish(folder, record, name, may_replace)
        return [record for record, *_ in complete]

    def _left(self) -> set[str]:
        return {key_in(folder) for folder in folders_in(self.work)}

    def _recover(self, key: str) -> None:
        for folder in folders_in(self.work, key):
            self._recover_in(folder)

    def _recover_in(self, folder: Path) -> None:
        with contextlib.suppress(OSError, *DAMAGED, UnwritableOutput):
            for stored, name, may_replace in json.loads((folder / JOURNAL).read_bytes()):
                record = Record.from_json(json.dumps(stored))
                staged, target = folder / name, self.out / record.file
                to_move = bool(name) and staged.is_file() and not known_again(target, record.stamp, record.sha256)
                if name != Path(name).name or (to_move and (staged.is_symlink() or not self._holds(target))):
                    continue
                if not name or to_move or target.exists():
                    self._finish(folder, record, name if to_move else "", may_replace)
        shutil.rmtree(folder, ignore_errors=True)

    def _holds(self, target: Path) -> bool:
        """Return whether a file lies in OUT, whatever links lead to it.

        A batch goes through the links of its user; a journal, which may be another's, does not: the job is done anew.
        """
        return Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(self.out))

    def _finish(self, folder: Path, record: Record, name: str, may_replace: bool) -> None:
        path = self._record_path(record.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = folder / "record.json"
        written.unlink(missing_ok=True)  # whatever a killed process has left, or somebody's link
        _write(written, record.as_json())  # first, as a full disk may not take it: a file without one is foreign
        if name:
            target = self.out / record.file
            target.parent.mkdir(parents=True, exist_ok=True)
            put_in_place(folder / name, target, may_replace)
            _sync_folder(target.parent)
        take_name(written, path, overwrite=True)
        _sync_folder(path.parent)


def known_again(path: Place, stamp: Stamp, sha256: str) -> Stamp | None:
    """Return the size and time that the file of a record has now, None where it is another one, or gone.

    It is read only where size and time do not settle it.
    """
    try:
        now = Stamp.of(path)
        return now if now == stamp or (now.size == stamp.size and file_sha256(path) == sha256) else None
    except FileNotFoundError:
        return None


def _has_grown(path: Place, size: int) -> bool:
    """Return whether a file is longer than the `size` written, as crashes and half copies leave none."""
    try:
        return Stamp.of(path).size > size
    except (FileNotFoundError, IsADirectoryError):  # a link to nothing, or a folder
        return False


def folders_in(work: Path, key: str = "[0-9a-f]{32}") -> list[Path]:
    """Return the folders of jobs, all or of one key; what else lies there is none of ours."""
    return [path for path in work.iterdir() if re.fullmatch(f"{key}(-[0-9a-f]{{8}})?", path.name)]


def key_in(folder: Path) -> str:
    """Return the key of the job that has a folder."""
    return folder.name.partition("-")[0]


def put_in_place(staged: Path, target: Path, may_replace: bool) -> None:
    """Let a file of a job's folder take its name; raise UnwritableOutput where another one has that, and OSError."""
    try:
        if not take_name(staged, target, may_replace):
            raise UnwritableOutput(f"{target}: exists already; give --overwrite or another --name")
    except OSError as error:
        if error.errno != errno.EXDEV:  # a folder of OUT lies on another file system
            raise
        with replacing(target, overwrite=may_replace) as partial:
            shutil.copyfile(staged, partial)
            with contextlib.suppress(OSError):  # a disk without times and modes
                shutil.copystat(staged, partial)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Make names last a power cut, where a system can sync folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
