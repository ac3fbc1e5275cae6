"""The files that containers see of secrets and configs: on a tmpfs of the node's, a folder per container, bound into it one by one.

Owns the files; never knows what they are of, and never writes to a disk. The tmpfs is there while it has anything in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime.storage import memory_folder


@dataclass(frozen=True, slots=True)
class File:
    """`name` in the container's folder; owners are the host's."""

    name: str
    data: bytes
    uid: int
    gid: int
    mode: int


class DependencyFiles:
    """State: the tmpfs at `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, container_id: str, name: str) -> str:
        return str(self._folder / container_id / name)

    def write(self, container_id: str, files: Iterable[File]) -> None:
        """All of a container's, anew. Raises OSError."""
        memory_folder.open_(self._folder)
        folder = self._folder / container_id
        folder.mkdir(mode=0o700, exist_ok=True)
        for file in files:
            path = folder / file.name
            path.unlink(missing_ok=True)  # who still has the one before mounted keeps it as it was
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as out:
                out.write(file.data)
                os.fchown(out.fileno(), file.uid, file.gid)
                os.fchmod(out.fileno(), file.mode)

    def remove(self, container_id: str) -> None:
        """Nothing happens where it has none."""
        if (folder := self._folder / container_id).is_dir():
            shutil.rmtree(folder)
            self._close_empty()

    def keep(self, container_ids: Iterable[str]) -> None:
        """Those of other containers go: their removal was interrupted."""
        if self._folder.is_dir():
            known = set(container_ids)
            for folder in list(self._folder.iterdir()):
                if folder.name not in known:
                    shutil.rmtree(folder)
            self._close_empty()

    def _close_empty(self) -> None:
        if not any(self._folder.iterdir()):
            memory_folder.close(self._folder)
