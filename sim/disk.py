"""A disk that loses what was not synced: the second implementation of manager/raft_storage/disk.py.

Owns the files of one manager, twice: as the process sees them, and as they would be after a loss of power. A crash
keeps a prefix of what the directory was asked since its last sync, and of each unsynced write any of its sectors. It
can be told to crash at its n-th operation from now, to fail syncs, to be full, and to flip a bit at rest.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from manager.raft_storage.disk import TEMPORARY
from sim.draws import Draws

SECTOR_BYTES: Final = 512
NEVER: Final = -1


class Crashed(BaseException):
    """The machine lost power in the middle of a system call. No code of the product may catch it."""


class _File:
    """`data` as the process sees it; `durable` as it is on the platter; `pending`: (offset, data) in order."""

    __slots__ = ("data", "durable", "durable_size", "fresh", "pending", "size")

    def __init__(self) -> None:
        self.data = bytearray()
        self.size = 0
        self.durable = bytearray()
        self.durable_size = 0
        self.pending: list[tuple[int, bytes]] = []
        self.fresh = (0, 0)  # what the last sync made durable: damage there looks like an unfinished write

    def write(self, offset: int, data: bytes) -> None:
        _put(self.data, offset, data)
        self.size = max(self.size, offset + len(data))
        self.pending.append((offset, data))

    def truncate(self, size: int) -> None:
        del self.data[size:]
        self.size = size

    def sync(self) -> None:
        if self.pending:
            self.fresh = (min(offset for offset, _ in self.pending), max(offset + len(data) for offset, data in self.pending))
        for offset, data in self.pending:
            _put(self.durable, offset, data)
        del self.durable[self.size :]
        self.durable_size = self.size
        self.pending.clear()

    def lose(self, draws: Draws, occurred: Counter[str]) -> None:
        """Power is lost: of what was not synced, any sectors may be there."""
        size = self.size if self.pending and draws.chance(500) else self.durable_size
        for offset, data in self.pending:
            if draws.chance(300):
                occurred["lost write"] += 1
                continue
            whole = draws.chance(300)
            pieces = _sectors(offset, data)
            kept = [piece for piece in pieces if whole or draws.chance(600)]
            for start, piece in kept:
                _put(self.durable, start, piece)
            occurred["torn write"] += 0 < len(kept) < len(pieces)
        self.pending.clear()
        self.size = self.durable_size = max(size, len(self.durable)) if self.durable else size
        self.data = bytearray(self.durable)

    def forget_pending(self, draws: Draws) -> None:
        """A failed sync: the kernel calls these pages clean now, whatever is on the platter."""
        for offset, data in self.pending:
            if draws.chance(500):
                _put(self.durable, offset, data)
        self.pending.clear()


def _sectors(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    """The write as the disk's sectors take it: (offset, bytes) of each."""
    pieces, start = [], 0
    while start < len(data):
        end = start + SECTOR_BYTES - (offset + start) % SECTOR_BYTES
        pieces.append((offset + start, data[start:end]))
        start = end
    return pieces


def _put(buffer: bytearray, offset: int, data: bytes) -> None:
    if len(buffer) < offset:
        buffer.extend(bytes(offset - len(buffer)))
    buffer[offset : offset + len(data)] = data


class SimDisk:
    """One manager's disk. All files are in one directory, whatever path is given."""

    def __init__(self, draws: Draws, capacity_bytes: int) -> None:
        self._draws = draws
        self.capacity_bytes = capacity_bytes
        self.full = False
        self.fail_syncs = False
        self.operations = 0
        self.occurred: Counter[str] = Counter()  # faults that did something, by name
        self._crash_in = NEVER
        self._files: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        self._unsynced: list[Callable[[dict[str, _File]], None]] = []
        self._open: dict[int, _File] = {}
        self._next_descriptor = 3

    # -- faults

    def crash_in(self, operations: int) -> None:
        """Crash at that operation from now, 0 being the next one; NEVER takes it back."""
        self._crash_in = operations

    def crash(self) -> None:
        """Power is lost now."""
        self._crash_in = NEVER
        kept = self._draws.between(0, len(self._unsynced))
        self.occurred["lost name"] += len(self._unsynced) - kept
        for change in self._unsynced[:kept]:
            change(self._durable_names)
        self._unsynced.clear()
        self._files = dict(self._durable_names)
        for name in sorted(self._files):
            self._files[name].lose(self._draws, self.occurred)
        self._open.clear()

    def kill(self) -> None:
        """Only the process ended: the kernel still writes what it was given."""
        self._crash_in = NEVER
        self._open.clear()

    def flip_bit(self) -> str:
        """Flip one bit at rest, in what was synced before the last write; what was hit, empty when nothing could be."""
        places = []
        for name in sorted(self._files):
            file = self._files[name]
            end = min(file.fresh[0] if file.fresh[1] >= len(file.durable) else len(file.durable), len(file.durable))
            if end > 0:
                places.append((name, file, end))
        if not places:
            return ""
        name, file, end = self._draws.choice(places)
        offset, bit = self._draws.below(end), 1 << self._draws.below(8)
        self.occurred["bit flip at rest"] += 1
        file.durable[offset] ^= bit
        if offset < len(file.data):
            file.data[offset] ^= bit
        return f"{name} at byte {offset}"

    def unsafe(self, prefix: str) -> str:
        """The first file of this prefix that holds what a loss of power would take; empty when there is none."""
        for name in self.names(Path(), prefix):
            seen = bytes(self._files[name].data).rstrip(b"\0")
            platter = self._durable_names.get(name)
            if platter is None or platter.durable[: len(seen)] != seen:
                return name
        return ""

    def wipe(self) -> None:
        """A new, empty disk."""
        self._files.clear()
        self._durable_names.clear()
        self._unsynced.clear()
        self._open.clear()

    # -- the system calls

    def names(self, directory: Path, prefix: str) -> list[str]:
        return sorted(name for name in self._files if name.startswith(prefix) and not name.endswith(TEMPORARY))

    def read(self, path: Path) -> bytes:
        file = self._files[path.name]
        return bytes(file.data) + bytes(file.size - len(file.data))

    def size(self, path: Path) -> int:
        return self._files[path.name].size

    def create(self, path: Path) -> int:
        self._operate()
        file, name = _File(), path.name
        self._files[name] = file
        self._unsynced.append(lambda names: names.__setitem__(name, file))
        return self._descriptor(file)

    def open(self, path: Path) -> int:
        return self._descriptor(self._files[path.name])

    def allocate(self, descriptor: int, size_bytes: int) -> None:
        self._operate()
        file = self._open[descriptor]
        if self.full or sum(f.size for f in self._files.values()) + size_bytes - file.size > self.capacity_bytes:
            self.occurred["full disk"] += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        file.size = max(file.size, size_bytes)

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        self._operate()
        file = self._open[descriptor]
        if self.full and offset + len(data) > file.size:
            self.occurred["full disk"] += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        file.write(offset, bytes(data))
        return len(data)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        self._operate()
        self._open[descriptor].truncate(size_bytes)

    def sync(self, descriptor: int) -> None:
        self._operate()
        file = self._open[descriptor]
        if self.fail_syncs:
            file.forget_pending(self._draws)
            self.occurred["failed sync"] += 1
            raise OSError(errno.EIO, "Input/output error")
        file.sync()

    def sync_data(self, descriptor: int) -> None:
        self.sync(descriptor)

    def close(self, descriptor: int) -> None:
        del self._open[descriptor]

    def rename(self, old: Path, new: Path) -> None:
        self._operate()
        before, after = old.name, new.name
        file = self._files[after] = self._files.pop(before)

        def change(names: dict[str, _File]) -> None:
            names.pop(before, None)
            names[after] = file

        self._unsynced.append(change)

    def remove(self, path: Path) -> None:
        self._operate()
        name = path.name
        self._files.pop(name, None)

        def change(names: dict[str, _File]) -> None:
            names.pop(name, None)

        self._unsynced.append(change)

    def sync_directory(self, path: Path) -> None:
        self._operate()
        if self.fail_syncs:
            raise OSError(errno.EIO, "Input/output error")
        for change in self._unsynced:
            change(self._durable_names)
        self._unsynced.clear()

    def random(self, count: int) -> bytes:
        return self._draws.randbytes(count)

    def clear_unfinished(self) -> None:
        """What manager/raft_storage/directory.locked does at a start."""
        for name in [name for name in self._files if name.endswith(TEMPORARY)]:
            self.remove(Path(name))

    def _operate(self) -> None:
        self.operations += 1
        if self._crash_in == NEVER:
            return
        if self._crash_in == 0:
            raise Crashed
        self._crash_in -= 1

    def _descriptor(self, file: _File) -> int:
        self._next_descriptor += 1
        self._open[self._next_descriptor] = file
        return self._next_descriptor
