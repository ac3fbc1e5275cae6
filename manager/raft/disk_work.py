"""The disk of one member: its log and its snapshots, and the keys under which they are sealed. Owns who touches them (one thread writes the log, in the
order in which it was asked) and how long that takes.

What was asked for comes back as an event in the loop. Decides nothing: manager/raft/driver.py asks, for manager/raft/member.py.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Final

import trio

from cluster.metrics import Histogram
from cluster.model.errors import Unavailable
from manager.raft.effects import Save, Write
from manager.raft_storage import directory, snapshots
from manager.raft_storage.faults import LogFull
from manager.raft_storage.key import DataKeys
from manager.raft_storage.snapshots import Snapshot
from manager.raft_storage.wal import Wal
from manager.raft_storage.writer import Writer

TIMED_WRITES: Final = 1024
"""Writes to the log whose time is kept, the latest."""

_log: Final = logging.getLogger("festoon.raft")


class DiskWork:
    """`run` must be running. `released` happens when the log's beginning went, or would have and there was no room for the snapshot."""

    def __init__(self, wal: Wal, path: Path, keys: DataKeys) -> None:
        self.keys = keys
        self.released = trio.Event()
        self.snapshot_times = Histogram()  # of those that reached the disk
        self.write_times_ns: deque[int] = deque(maxlen=TIMED_WRITES)  # each with its fdatasync
        self._wal = wal
        self._path = path
        self._writer = Writer()

    async def run(self) -> None:
        """Until `stop`. Raises StorageFault when the disk fails: nothing is written any more."""
        await self._writer.run()

    def stop(self) -> None:
        self._writer.stop()

    # -- the log

    @property
    def room_bytes(self) -> int:
        """What can be appended without asking for room; to be read between two writes."""
        return self._wal.room_bytes

    @property
    def uses_older_key(self) -> bool:
        return self._wal.uses_older_key

    def usage(self) -> directory.Usage:
        """Raises OSError."""
        return directory.usage(self._path)

    def write(self, effect: Write, written: Callable[[], None]) -> None:
        took_ns = 0

        def write() -> None:
            nonlocal took_ns
            if effect.snapshot is not None:
                snapshots.save(self._path, self.keys.current, effect.snapshot)
            began_ns = perf_counter_ns()
            self._wal.append(effect.record)
            took_ns = perf_counter_ns() - began_ns

        def done() -> None:
            self.write_times_ns.append(took_ns)
            written()

        self._writer.submit(write, done)

    def reserve(self, size_bytes: int, reserved: Callable[[LogFull | None], None]) -> None:
        """`reserved` is told why, where there is no room."""

        def done(full: LogFull | None) -> None:
            if full is not None:
                _log.error("refusing proposals: %s", full)
            reserved(full)

        self._try(lambda: self._wal.reserve(size_bytes), done)

    def release(self, up_to: int) -> None:
        """The log may forget what is at or below this index."""
        self._writer.submit(lambda: self._wal.release(up_to), self._note_released)

    async def use_keys(self, keys: DataKeys) -> None:
        """Seal all that is written from here on under the current one of these. Raises Unavailable when there is no room; it may be called again then."""
        if keys.current != self.keys.current:
            done = trio.Event()
            problem: LogFull | None = None

            def used(full: LogFull | None) -> None:
                nonlocal problem
                problem = full
                done.set()

            self._try(lambda: self._wal.use_key(keys.current), used)
            await done.wait()
            if problem is not None:
                raise Unavailable(str(problem))
        self.keys = keys

    def _try(self, job: Callable[[], None], done: Callable[[LogFull | None], None]) -> None:
        """Have the writer's thread do what may lack room, between two writes."""
        full: LogFull | None = None

        def attempt() -> None:
            nonlocal full
            try:
                job()
            except LogFull as error:
                full = error

        self._writer.submit(attempt, lambda: done(full))

    # -- snapshots

    async def save(self, effect: Save) -> int | None:
        """How large its store is; None when there was no room."""
        began_s, keep_old = perf_counter(), 0 if self.keys.older else effect.keep_old
        try:
            store_bytes = await trio.to_thread.run_sync(snapshots.save, self._path, self.keys.current, effect.snapshot, keep_old)
        except LogFull as error:
            _log.warning("no snapshot at entry %d: %s", effect.snapshot.index, error)
            self._note_released()
            return None
        self.snapshot_times.observe(perf_counter() - began_s)
        return store_bytes

    async def latest_snapshot(self) -> tuple[Snapshot, bytes] | None:
        """The newest on disk, as it is and packed for another member. Raises Damaged."""

        def read() -> tuple[Snapshot, bytes] | None:
            snapshot = snapshots.latest(self._path, self.keys.current, older=self.keys.older)
            return None if snapshot is None else (snapshot, snapshots.pack(snapshot))

        return await trio.to_thread.run_sync(read)

    def _note_released(self) -> None:
        self.released.set()
        self.released = trio.Event()
