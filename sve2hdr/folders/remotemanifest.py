"""What a batch has finished in an output folder at a URL, and how an output gets there: whole, or not at all.

Object stores have no locks and no renaming, but a put is whole. OUT/.sve2hdr has the same records as a folder's, and in
`work/` a journal for each job whose outputs are on their way: written before them, removed after their records.
A job's files are made on this machine, in a folder of its own for each OUT.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ..errors import RefusedByStore, UnwritableOutput
from ..system.claims import Claims, key_of
from ..system.files import file_sha256
from ..system.places import RemotePath, Status, place
from .manifest import Manifest, Records, folders_in, key_in
from .record import DAMAGED, Record, Stamp

README = b"Records of `sve2hdr batch`, by which it knows what is finished. Without them all is done anew.\n"


class RemoteManifest(Records[RemotePath]):
    """The records of one output folder at a URL.

    Claims hold among the processes of one machine: between machines, one batch at a time hands out the jobs of an OUT.
    """

    def __init__(self, out: RemotePath) -> None:
        super().__init__(out)
        self.scratch = Path(tempfile.gettempdir()) / f"sve2hdr-{_user()}-{key_of(out.url)[:12]}"

    @property
    def work(self) -> Path:
        """A folder among this machine's temporary ones."""
        return self.scratch / "work"

    def unwritable(self, error: OSError) -> UnwritableOutput:
        """Return what to tell of a store that does not take a file."""
        return UnwritableOutput(f"{self.out}: cannot be written ({error.strerror}); check the address, rights and room")

    def create(self) -> None:
        """See that OUT can be written; raise UnwritableOutput where not."""
        try:
            (self.folder / "readme.txt").write_bytes(README)
        except OSError as error:
            raise self.unwritable(error) from error

    def claims(self) -> Claims:
        """Return this process's claims on jobs, among those of this machine; what killed ones left here is removed.

        Raises UnwritableOutput where the folder for them is somebody else's: all users share the temporary ones.
        """
        for folder in (self.scratch, self.work):
            with contextlib.suppress(FileExistsError):  # no folder
                folder.mkdir(mode=0o700, exist_ok=True)
            if not _is_ours(folder):
                raise UnwritableOutput(
                    f"{folder}: belongs to somebody else, or is no folder; remove it, or set TMPDIR to a folder of "
                    "your own"
                )
            if folder.stat().st_mode & 0o022:  # made by an older version, or opened since
                folder.chmod(0o700)
        lock = self.scratch / "lock"
        if lock.is_symlink():  # planted while the folder was open to others
            lock.unlink()
        claims = Claims(lock)
        for folder in folders_in(self.work):
            if claims.take([key_in(folder)]):
                shutil.rmtree(folder, ignore_errors=True)
                claims.release([key_in(folder)])
        return claims

    def exact_case(self) -> bool:
        """Return True: object stores tell `lock` from `LOCK`."""
        return True

    def _listed(self) -> dict[str, Status]:
        return (self.folder / "done").statuses()

    def publish(self, folder: Path, made: Sequence[tuple[Record, str, bool]]) -> list[Record]:
        """Send files of a job's folder to their place, and record them, as `Records.publish` has it."""
        complete = []
        for record, name, may_replace in made:
            earlier = _size(self.out / record.file) if record.file else None
            if name:
                if earlier is not None and not may_replace:
                    raise UnwritableOutput(
                        f"{self.out / record.file}: exists already; give --overwrite or another --name"
                    )
                record = replace(record, sha256=file_sha256(folder / name), stamp=Stamp.of(folder / name))
            complete.append((record, name, earlier))
        journal = self._journal(key_in(folder))
        try:
            journal.write_bytes(json.dumps([(asdict(record), earlier) for record, _, earlier in complete]).encode())
            for record, name, _ in complete:
                if name:
                    (self.out / record.file).put(folder / name)
                self._keep(record)
            journal.unlink()
        except OSError as error:
            raise RefusedByStore(str(self.unwritable(error))) from error
        return [record for record, *_ in complete]

    def _keep(self, record: Record) -> None:
        if record.file:
            record = replace(record, stamp=Stamp.of(self.out / record.file))
        self._record_path(record.output).write_bytes(record.as_json().encode())

    def _journal(self, key: str) -> RemotePath:
        return self.folder / "work" / f"{key}.json"

    def _left(self) -> list[str]:
        return [RemotePath(url).name.removesuffix(".json") for url in (self.folder / "work").files()]

    def _recover(self, key: str) -> None:
        journal = self._journal(key)
        try:
            stored = journal.read_bytes()
        except FileNotFoundError:
            return
        with contextlib.suppress(*DAMAGED):
            for about, earlier in json.loads(stored):
                record = Record.from_json(json.dumps(about))
                if not record.file or self._arrived(record, earlier):
                    self._keep(record)
        journal.unlink()

    def _arrived(self, record: Record, earlier: int | None) -> bool:
        """Return whether a file is there as its journal says; `earlier`: the size of the one it was to replace.

        Half of it, where puts are not whole, is removed: what is shorter, and not as long as the earlier one.
        """
        file, whole = self.out / record.file, record.stamp.size
        size = _size(file)
        if size == whole and file_sha256(file) == record.sha256:
            return True
        if size is not None and size < whole and size != earlier:
            file.unlink()
        return False


AnyManifest = Manifest | RemoteManifest


def manifest_of(out: str) -> AnyManifest:
    """Return the manifest of an output folder here or at a URL."""
    where = place(out)
    return RemoteManifest(where) if isinstance(where, RemotePath) else Manifest(where)


def _size(file: RemotePath) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _is_ours(folder: Path) -> bool:
    """Return whether this is a folder, and no link to one, and this user's."""
    status = folder.lstat()
    if sys.platform == "win32":  # where each user has temporary folders of his own
        return stat.S_ISDIR(status.st_mode)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _user() -> str:
    try:
        return key_of(getpass.getuser())[:8]
    except (OSError, KeyError, ImportError):  # a user id without a name, as containers have
        return "nobody"
