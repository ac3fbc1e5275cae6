"""When a member saves its store, and what its log may forget then. Owns one snapshot under way at a time.

The limits are the cluster's (`swarm update --snapshot-interval`, `--max-snapshots`). Without room on the disk the log
just stays.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import trio

from cluster.model.changes import Kind
from cluster.model.specs import ClusterSpec
from manager.raft.log import Log
from manager.raft_storage import snapshots
from manager.raft_storage.faults import LogFull
from manager.raft_storage.snapshots import Snapshot
from manager.store import Store

SNAPSHOT_LOG_BYTES: Final = 256 * 1024 * 1024
"""A snapshot is due when this much has been logged since the last one, however few the entries."""

_log: Final = logging.getLogger("festoon.raft")


class Snapshotting:
    """What is known of the last snapshot, at `index`."""

    def __init__(self, path: Path, key: bytes, store: Store, index: int) -> None:
        self._path = path
        self._key = key
        self._store = store
        self._index = index
        self._bytes_since = 0
        self._busy = False

    def applied(self, size_bytes: int) -> None:
        """An entry of this size was applied."""
        self._bytes_since += size_bytes

    def restored(self, index: int) -> None:
        """A leader's snapshot has taken the place of what was here."""
        self._index, self._bytes_since = index, 0

    def take(self, log: Log) -> Snapshot | None:
        """The snapshot that is due now; `write` is to be called with it."""
        if self._busy or not self._is_due(log.applied):
            return None
        index = self._index = log.applied
        self._bytes_since = 0
        term = log.term(index)
        assert term is not None
        self._busy = True
        return Snapshot(index, term, self._store.save(), log.memberships.at(index))

    def _is_due(self, applied: int) -> bool:
        return applied - self._index >= self._spec().snapshot_interval or self._bytes_since >= SNAPSHOT_LOG_BYTES

    async def write(self, snapshot: Snapshot) -> int | None:
        """Make it durable; the index up to which the log may forget, None when there was no room."""
        spec = self._spec()
        try:
            await trio.to_thread.run_sync(snapshots.save, self._path, self._key, snapshot, spec.keep_old_snapshots)
        except LogFull as error:
            _log.warning("no snapshot at entry %d: %s", snapshot.index, error)
            return None
        finally:
            self._busy = False
        return snapshot.index - spec.log_entries_for_slow_followers

    def save(self, snapshot: Snapshot) -> None:
        """A leader's snapshot, in the caller's thread. Raises LogFull, StorageFault."""
        snapshots.save(self._path, self._key, snapshot, 0)

    async def load(self) -> Snapshot | None:
        """The newest on disk. Raises Damaged, StorageFault."""
        return await trio.to_thread.run_sync(snapshots.latest, self._path, self._key)

    def _spec(self) -> ClusterSpec:
        clusters = self._store.all(Kind.CLUSTER)
        return clusters[0].spec if clusters else ClusterSpec()
