"""The local volumes of a node on disk: `<root>/<name>/_data`, and beside it what is known of the volume.

Owns the folders' layout; never mounts and knows no containers. A volume appears by one rename, after its record has
been synced, and goes by one; what a killed process left half-made or half-removed is swept when the store is opened.
Synchronous: callers use threads. Source: moby's volume/local (names, options and their words).
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import threading
from pathlib import Path
from typing import Final

import msgspec

from cluster.durable import sync_folder
from runtime.storage import overlay

NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)
MAX_NAME_BYTES: Final = 255
RECORD: Final = "volume.json"
DATA: Final = "_data"
_STAGED: Final = ".new-"  # no volume's name begins with a dot
_DOOMED: Final = ".gone-"

Pairs = tuple[tuple[str, str], ...]


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """One volume. `anonymous`: a container asked for it without a name. `options` are the local driver's."""

    name: str
    created_at_ns: int
    labels: Pairs = ()
    options: Pairs = ()
    anonymous: bool = False


class VolumeStore:
    """State: the volumes by name, as they are on disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mutex = threading.Lock()
        root.mkdir(parents=True, exist_ok=True, mode=0o701)
        self._volumes = {v.name: v for v in self._load()}

    def get(self, name: str) -> Volume | None:
        return self._volumes.get(name)

    def all(self) -> tuple[Volume, ...]:
        """By name."""
        return tuple(v for _, v in sorted(self._volumes.items()))

    def data(self, name: str) -> Path:
        """The folder that containers see."""
        return self._root / name / DATA

    def create(self, volume: Volume) -> Volume:
        """Make it, or find the one of that name. Raises OSError; nothing is left then."""
        assert NAME.fullmatch(volume.name)
        with self._mutex:
            if (known := self._volumes.get(volume.name)) is not None:
                return known
            staged = self._root / f"{_STAGED}{secrets.token_hex(8)}"
            try:
                self._write(staged, volume)
                os.rename(staged, self._root / volume.name)
            except OSError:
                overlay.remove(staged)
                raise
            sync_folder(self._root)
            self._volumes[volume.name] = volume
            return volume

    def remove(self, name: str) -> None:
        """Out of sight at once, then for good; nothing when there is none. Raises OSError (EBUSY) when something is
        mounted in it.
        """
        with self._mutex:
            if name not in self._volumes:
                return
            doomed = self._root / f"{_DOOMED}{secrets.token_hex(8)}"
            os.rename(self._root / name, doomed)
            sync_folder(self._root)
            del self._volumes[name]
        overlay.remove(doomed)

    def size_bytes(self, name: str) -> int:
        """The content of its files and the text of its links; one with several names counts once."""
        seen: set[tuple[int, int]] = set()
        total = 0
        for folder, folders, names in os.walk(self.data(name)):
            for entry in (*names, *folders):
                found = os.lstat(os.path.join(folder, entry))
                if not stat.S_ISDIR(found.st_mode) and (found.st_dev, found.st_ino) not in seen:
                    seen.add((found.st_dev, found.st_ino))
                    total += found.st_size
        return total

    def _write(self, folder: Path, volume: Volume) -> None:
        folder.mkdir(mode=0o701)
        (folder / DATA).mkdir(mode=0o755)
        (folder / DATA).chmod(0o755)
        fd = os.open(folder / RECORD, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(msgspec.json.encode(volume))
            file.flush()
            os.fsync(fd)
        sync_folder(folder)

    def _load(self) -> list[Volume]:
        found = []
        for folder in self._root.iterdir():
            if folder.name.startswith((_STAGED, _DOOMED)):
                overlay.remove(folder)
            elif folder.is_dir() and NAME.fullmatch(folder.name):
                found.append(self._read(folder))
        return found

    def _read(self, folder: Path) -> Volume:
        """The record; a folder without a readable one (restored from a backup) is a volume without labels."""
        try:
            record = msgspec.json.decode((folder / RECORD).read_bytes(), type=Volume)
        except (FileNotFoundError, msgspec.DecodeError, msgspec.ValidationError):
            record = Volume(name=folder.name, created_at_ns=folder.stat().st_mtime_ns)
        (folder / DATA).mkdir(mode=0o755, exist_ok=True)
        return msgspec.structs.replace(record, name=folder.name)
