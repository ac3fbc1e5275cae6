"""The containers' folders on disk: `containers/<id>/` with record.json, the overlay's upper and work folders, the bound files and the log.

Owns the folders' layout; a record is replaced by rename, so a reader or a restart sees the old or the new one. A folder without a readable record is what a
crash left half-made and is removed at start.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import msgspec

from agent.records import Record
from runtime.spec import RootFs

_RECORD: Final = "record.json"


class ContainerStore:
    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o710)

    def folder(self, container_id: str) -> Path:
        return self._root / container_id

    def load(self) -> tuple[Record, ...]:
        """Every container, oldest first; half-made folders are removed."""
        records = []
        for folder in self._root.iterdir():
            try:
                records.append(msgspec.json.decode((folder / _RECORD).read_bytes(), type=Record))
            except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
                shutil.rmtree(folder, ignore_errors=True)
        return tuple(sorted(records, key=lambda r: (r.created_at_ns, r.id)))

    def create(self, record: Record) -> None:
        """Make the folder and write the record last: until it is there, the container does not exist."""
        folder = self.folder(record.id)
        folder.mkdir(mode=0o710)
        (folder / "upper").mkdir(mode=0o755)
        (folder / "work").mkdir(mode=0o700)
        self.save(record)

    def save(self, record: Record) -> None:
        folder = self.folder(record.id)
        temporary = folder / (_RECORD + ".tmp")
        temporary.write_bytes(msgspec.json.encode(record))
        temporary.replace(folder / _RECORD)

    def remove(self, container_id: str) -> None:
        """Remove the record first, then the rest: an interrupted removal is finished at the next start."""
        folder = self.folder(container_id)
        (folder / _RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def rootfs(self, container_id: str, lower: tuple[str, ...], *, read_only: bool) -> RootFs:
        folder = self.folder(container_id)
        return RootFs(lower, str(folder / "upper"), str(folder / "work"), read_only)

    def log_path(self, container_id: str) -> str:
        return str(self.folder(container_id) / "log")

    def write_file(self, container_id: str, name: str, text: str) -> None:
        """One of the files bound into /etc. Written in place: the bind mount follows the inode."""
        path = self.folder(container_id) / name
        path.write_text(text)
        path.chmod(0o644)
