"""When a member saves its store, and what its log may forget then. Owns what is known of the last snapshot; one is
under way at a time. Writes no file (manager/raft_storage/snapshots.py does).

The limits are the cluster's (`swarm update --snapshot-interval`, `--max-snapshots`). Beside them sizes count: a large store is not
saved again before the log has grown by half of it, so that saving costs a small share of the writing, however large the store is; and
however few the entries are, the log takes no more than that. Without room on the disk the log just stays.
"""

from __future__ import annotations

from typing import Final

from cluster.model.changes import Kind
from cluster.model.specs import ClusterSpec
from manager.raft.log import Log
from manager.raft_storage.snapshots import Snapshot
from manager.store import Store

SNAPSHOT_LOG_BYTES: Final = 16 * 1024 * 1024
"""A snapshot is due when this much has been logged since the last one, however few the entries; of a large store when half its size has."""

SMALL_STORE_BYTES: Final = 1024 * 1024
"""A store up to this size is saved whenever the cluster's interval says so."""

KEPT_LOG_BYTES: Final = 4 * 1024 * 1024
"""Of entries that are kept for slow followers, fewer than the cluster says when they are large."""


class Snapshotting:
    """What is known of the last snapshot, at `index`."""

    def __init__(self, store: Store, index: int) -> None:
        self._store = store
        self._index = index
        self._bytes_since = 0
        self._store_bytes = 0  # of the last snapshot
        self._looked = index  # what was applied when it was last asked whether one is due
        self._busy = False
        self._asked = False

    @property
    def keep_old(self) -> int:
        """How many snapshots stay beside the newest."""
        return self._spec().keep_old_snapshots

    def ask(self) -> None:
        """One is due now, whatever happened since the last."""
        self._asked = True

    def applied(self, size_bytes: int) -> None:
        """An entry of this size was applied."""
        self._bytes_since += size_bytes

    def restored(self, index: int) -> None:
        """A leader's snapshot has taken the place of what was here."""
        self._index, self._bytes_since = index, 0

    def take(self, log: Log) -> Snapshot | None:
        """The snapshot that is due now; `ended` is to be called with it."""
        if self._busy or (log.applied == self._looked and not self._asked):
            return None
        self._looked = log.applied
        if not self._is_due(log.applied):
            return None
        self._index, self._bytes_since = log.applied, 0
        self._busy, self._asked = True, False
        return self.of_now(log)

    def of_now(self, log: Log) -> Snapshot:
        """The store as it is; its bytes are made by who needs them."""
        term = log.term(log.applied)
        assert term is not None
        return Snapshot(log.applied, term, self._store.freeze(), log.memberships.at(log.applied))

    def ended(self, snapshot: Snapshot, store_bytes: int | None, log: Log) -> int | None:
        """The index up to which the log may forget; None when there was no room for the snapshot. `store_bytes`: as RaftMember.saved."""
        self._busy = False
        if store_bytes is None:
            return None
        self._store_bytes = store_bytes
        forget = snapshot.index - self._spec().log_entries_for_slow_followers
        return max(forget, snapshot.index - log.last_within(snapshot.index, KEPT_LOG_BYTES))

    def _is_due(self, applied: int) -> bool:
        if self._asked:
            return True
        if self._store_bytes > SMALL_STORE_BYTES and self._bytes_since < self._store_bytes // 2:
            return False
        interval = self._spec().snapshot_interval  # 0: no number of entries makes one due
        return 0 < interval <= applied - self._index or self._bytes_since >= SNAPSHOT_LOG_BYTES

    def _spec(self) -> ClusterSpec:
        clusters = self._store.all(Kind.CLUSTER)
        return clusters[0].spec if clusters else ClusterSpec()
