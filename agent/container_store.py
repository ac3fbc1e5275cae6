"""The containers' folders on disk: `containers/<id>/` with the record, the log and what runtime/storage/overlay.py keeps
there; the files bound into /etc are in the run folder, because they are made anew at each start.

Owns the folders' layout. A record is written to a new file each time, and the one before the last is removed: no rename over an existing file, which would
make ext4 flush it (mount option auto_da_alloc, ext4(5)) and cost more than the start of a container. After a power loss the newest whole record counts.
A folder without a readable record is what a crash left half-made and is removed at start.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from agent.dependency_files import DependencyFiles
from agent.records import Record
from runtime.spec import RootFs
from runtime.storage import overlay

_RECORD: Final = re.compile(r"record\.(\d+)\.json")
GIVEN: Final = ".given"
"""Ending of the copy that says what was written last, beside each of the files bound into /etc."""
ETC_FILE_MAX_BYTES: Final = 1 << 20
"""A file in /etc that its container has made larger is its own."""


class ContainerStore:
    """State: the number of each container's newest record file. `dependency_files`: what of a container must not be on a disk."""

    def __init__(self, root: Path, run: Path) -> None:
        self._root, self._run = root, run
        self._numbers: dict[str, int] = {}
        self.dependency_files = DependencyFiles(run.parent / "dependencies")
        root.mkdir(parents=True, exist_ok=True, mode=0o710)
        run.mkdir(parents=True, exist_ok=True, mode=0o710)
        self._init = overlay.init_layer(root.parent / "init-layer")

    @property
    def mount_point(self) -> Path:
        """A folder that others may mount on in namespaces of their own."""
        return self._run

    def folder(self, container_id: str) -> Path:
        return self._root / container_id

    def files(self, container_id: str) -> Path:
        """Where the files bound into /etc are."""
        return self._run / container_id

    def load(self) -> tuple[Record, ...]:
        """Every container, oldest first; half-made folders are removed."""
        records = []
        for folder in self._root.iterdir():
            record = self._read(folder)
            if record is None:
                with suppress(OSError):  # the next start tries again
                    overlay.remove(folder)
            else:
                records.append(record)
        self.dependency_files.keep(record.id for record in records)
        return tuple(sorted(records, key=lambda r: (r.created_at_ns, r.id)))

    def create(self, record: Record) -> None:
        """Make the folder and write the record last: until it is there, the container does not exist."""
        folder = self.folder(record.id)
        folder.mkdir(mode=0o710)
        overlay.prepare(folder, ())
        self.save(record)

    def save(self, record: Record) -> None:
        folder = self.folder(record.id)
        number = self._numbers.get(record.id, 0) + 1
        (folder / f"record.{number}.json").write_bytes(msgspec.json.encode(record))
        self._numbers[record.id] = number
        (folder / f"record.{number - 2}.json").unlink(missing_ok=True)

    def remove(self, container_id: str) -> None:
        """Remove the records first, then the rest: an interrupted removal is finished at the next start."""
        folder = self.folder(container_id)
        number = self._numbers.pop(container_id, 0)
        for name in (number, number - 1):
            (folder / f"record.{name}.json").unlink(missing_ok=True)
        with suppress(OSError):  # the next start tries again
            overlay.remove(folder)
        shutil.rmtree(self.files(container_id), ignore_errors=True)
        self.dependency_files.remove(container_id)

    def rootfs(self, container_id: str, lower: tuple[str, ...], *, read_only: bool) -> RootFs:
        """What the supervisor mounts: the image's layers, and below them the one of the mount points."""
        return overlay.prepare(self.folder(container_id), self.with_init(lower), read_only=read_only)

    def with_init(self, lower: tuple[str, ...]) -> tuple[str, ...]:
        return (*lower, self._init)

    def upper(self, container_id: str) -> Path:
        return overlay.upper(self.folder(container_id))

    def size_bytes(self, container_id: str) -> int:
        """What the container has written."""
        return overlay.size_bytes(self.folder(container_id))

    @contextmanager
    def scratch(self, container_id: str) -> Iterator[str]:
        """A second work folder, for whoever mounts the container's root beside its own runtime."""
        folder = self.folder(container_id) / f"work-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        try:
            yield str(folder)
        finally:
            overlay.remove(folder)

    def log_path(self, container_id: str) -> str:
        return str(self.folder(container_id) / "log")

    def write_files(self, container_id: str, files: dict[str, str]) -> None:
        """The files bound into /etc, readable by everybody. Written in place: the bind mount follows the inode."""
        folder = self.files(container_id)
        folder.mkdir(mode=0o755, exist_ok=True)
        for name, text in files.items():
            path = folder / name
            path.write_text(text)
            path.chmod(0o644)
            (folder / f"{name}{GIVEN}").write_text(text)

    def change_files(self, container_id: str, files: dict[str, str]) -> None:
        """The same for a container that runs: lines that have been added to /etc/hosts meanwhile stay, and so does any other file that was changed."""
        folder = self.files(container_id)
        for name, text in files.items():
            path, given = folder / name, folder / f"{name}{GIVEN}"
            now, before = _beginning(path), _beginning(given)
            if len(now) == ETC_FILE_MAX_BYTES:
                continue
            if name == "hosts":
                path.write_text(edited(now, before, text), encoding="latin-1")
            elif now in ("", before):
                path.write_text(text)
            given.write_text(text)

    def _read(self, folder: Path) -> Record | None:
        """The newest whole record."""
        try:
            numbers = sorted((int(m[1]) for f in folder.iterdir() if (m := _RECORD.fullmatch(f.name))), reverse=True)
        except NotADirectoryError:
            return None
        for number in numbers:
            try:
                record = msgspec.json.decode((folder / f"record.{number}.json").read_bytes(), type=Record)
            except msgspec.DecodeError:
                continue  # a power loss came before its data
            self._numbers[record.id] = numbers[0]
            return record
        return None


def edited(now: str, before: str, after: str) -> str:
    """A file that was given as `before` and is `now`, with what makes it `after`: lines of somebody else's stay."""
    old, new = before.splitlines(), after.splitlines()
    kept = [line for line in now.splitlines() if line not in old or line in new]
    return "".join(f"{line}\n" for line in (*kept, *(line for line in new if line not in old)))


def _beginning(path: Path) -> str:
    """At most ETC_FILE_MAX_BYTES of it; empty when there is none."""
    try:
        with path.open("rb") as file:
            return file.read(ETC_FILE_MAX_BYTES).decode("latin-1")
    except FileNotFoundError:
        return ""
