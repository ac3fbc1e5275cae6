"""One member's log in memory: entries after the last compaction, what of them is on disk, what is committed, what was
handed out to be applied.

Owns the arithmetic of indexes and nothing else; writes no file (manager/raft_storage does). Source: Ongaro and
Ousterhout, "In Search of an Understandable Consensus Algorithm", section 5.3, and the conflict hints of etcd's raft.

offset < ... <= applied <= committed <= last        stable: all up to here is on disk        written: all up to here
was handed out to be written
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from manager.raft import membership
from manager.raft.membership import History, Membership


class EntryKind(enum.IntEnum):
    """Numbers on disk and on the wire. Never renumber."""

    CHANGES = 0
    MEMBERSHIP = 1


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One entry. CHANGES with empty data is the entry with which a leader opens its term; the data of MEMBERSHIP is the
    whole new Membership.
    """

    index: int
    term: int
    data: bytes
    kind: EntryKind = EntryKind.CHANGES


class Log:
    """Entries `offset + 1` to `last`. The entry at `offset` itself is known by its term only: it is in the snapshot.

    `base` is the membership at `offset`.
    """

    def __init__(
        self,
        entries: Sequence[Entry] = (),
        offset: int = 0,
        offset_term: int = 0,
        committed: int = 0,
        base: Membership | None = None,
    ) -> None:
        assert not entries or entries[0].index == offset + 1, "the log starts after its offset"
        self.offset = offset
        self.offset_term = offset_term
        self.memberships = History(base or Membership(), offset)
        self._entries: list[Entry] = []
        self._extend(entries)
        self.committed = max(offset, min(committed, self.last))
        self.applied = offset
        self.stable = self.last
        self._written = self.last
        self._writes: deque[tuple[int, int]] = deque()

    @property
    def last(self) -> int:
        return self.offset + len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self.offset_term

    def term(self, index: int) -> int | None:
        """The term of the entry at `index`; None when that is compacted or not there yet."""
        if index == self.offset:
            return self.offset_term
        if self.offset < index <= self.last:
            return self._entries[index - self.offset - 1].term
        return None

    @property
    def membership(self) -> Membership:
        """The latest, committed or not: a membership holds as soon as it is in the log."""
        return self.memberships.latest

    def is_up_to_date(self, index: int, term: int) -> bool:
        """Whether a log that ends with (index, term) holds all that this one may have committed (5.4.1)."""
        return (term, index) >= (self.last_term, self.last)

    def between(self, first: int, last: int, limit_bytes: int | None = None) -> tuple[Entry, ...]:
        """Entries `first` to `last`, at most `limit_bytes` of data but at least one."""
        assert first > self.offset
        entries = self._entries[first - self.offset - 1 : last - self.offset]
        if limit_bytes is None or sum([len(entry.data) for entry in entries]) <= limit_bytes:
            return tuple(entries)
        size = 0
        for count, entry in enumerate(entries):
            size += len(entry.data)
            if size > limit_bytes and count:
                return tuple(entries[:count])
        return tuple(entries)

    def last_within(self, index: int, limit_bytes: int) -> int:
        """How many of the entries that end with `index` have at most `limit_bytes` of data together."""
        size = 0
        for number, entry in enumerate(reversed(self._entries[: max(0, index - self.offset)])):
            size += len(entry.data)
            if size > limit_bytes:
                return number
        return max(0, index - self.offset)

    def append(self, term: int, payloads: Iterable[bytes]) -> None:
        """As leader: new entries of `term` at the end."""
        start = self.last + 1
        self._entries.extend(Entry(start + place, term, data) for place, data in enumerate(payloads))

    def append_membership(self, term: int, new: Membership) -> None:
        """As leader: a new membership, which holds from now on."""
        self._extend((Entry(self.last + 1, term, membership.encode(new), EntryKind.MEMBERSHIP),))

    def _extend(self, entries: Sequence[Entry]) -> None:
        self._entries.extend(entries)
        for entry in entries:
            if entry.kind is EntryKind.MEMBERSHIP:
                self.memberships.put(entry.index, membership.decode(entry.data))

    def accept(self, before: int, before_term: int, entries: Sequence[Entry]) -> int | None:
        """As follower: take the leader's entries that follow (before, before_term); the index up to which the logs
        now agree.

        None when the entry before them is not here. A conflicting tail is cut off; entries that are here already
        stay.
        """
        if before < self.offset:
            entries = entries[self.offset - before :]
            before, before_term = self.offset, self.offset_term
        if self.term(before) != before_term:
            return None
        for place, entry in enumerate(entries):
            known = self.term(entry.index)
            if known != entry.term:
                if known is not None:
                    self._cut(entry.index)
                self._extend(entries[place:])
                break
        return before + len(entries)

    def _cut(self, index: int) -> None:
        """Drop the entries from `index` on. What is on its way to the disk no longer counts for them."""
        assert index > self.committed, "a committed entry is never cut"
        del self._entries[index - self.offset - 1 :]
        self.memberships.cut(index)
        self.stable = min(self.stable, index - 1)
        self._written = min(self._written, index - 1)
        self._writes = deque((number, min(last, index - 1)) for number, last in self._writes)

    def conflict_hint(self, index: int, term: int) -> tuple[int, int]:
        """The latest (index, term) here that a log whose entry at `index` has `term` may agree with: at most `index`,
        of at most `term`.
        """
        index = min(index, self.last)
        while index > self.offset and (self.term(index) or 0) > term:
            index -= 1
        return index, self.term(index) or 0

    @property
    def has_unwritten(self) -> bool:
        return self._written < self.last

    def take_unwritten(self, number: int) -> tuple[Entry, ...]:
        """Entries that have not been handed out to be written; write `number` will have done it."""
        entries = self.between(self._written + 1, self.last) if self.has_unwritten else ()
        self._written = self.last
        self._writes.append((number, self.last))
        return entries

    def wrote(self, number: int) -> None:
        """Writes up to `number` are durable."""
        while self._writes and self._writes[0][0] <= number:
            self.stable = self._writes.popleft()[1]

    def take_committed(self) -> tuple[Entry, ...]:
        """Entries that are committed, on this member's own disk, and have not been handed out to be applied."""
        last = min(self.committed, self.stable)
        if last <= self.applied:
            return ()
        entries = self.between(self.applied + 1, last)
        self.applied = last
        return entries

    def compact(self, index: int) -> None:
        """Forget the entries up to `index`, which a snapshot holds."""
        index = min(index, self.applied)
        if index <= self.offset:
            return
        term = self.term(index)
        assert term is not None
        del self._entries[: index - self.offset]
        self.offset, self.offset_term = index, term
        self.memberships.compact(index)

    def restore(self, index: int, term: int, base: Membership) -> None:
        """Begin anew after a leader's snapshot, which holds more than this log has committed."""
        assert index > self.committed, "a snapshot never takes back what is committed"
        self._entries.clear()
        self._writes.clear()
        self.memberships = History(base, index)
        self.offset = self.committed = self.applied = self.stable = self._written = index
        self.offset_term = term
