"""What Raft promises, looked at after every step of every manager: figure 3 of the paper, and what is built on it.

Owns what was seen so far: leaders and votes by term, entries by index and term, what was committed. Looks at each new
entry once; log matching follows by induction, because an entry is known together with the term of the one before it.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from manager.raft.core import Raft, Role
from manager.raft.log import Entry
from manager.raft.membership import Membership
from manager.raft.messages import Message, MessageKind
from manager.raft.votes import quorum
from manager.raft_storage.records import Record
from manager.raft_storage.snapshots import Snapshot
from sim.failure import Broken

if TYPE_CHECKING:
    from sim.manager import Manager

DIGEST_EVERY: Final = 64
"""Stores are compared whenever one has applied an entry whose index is a multiple of this."""

PROMISES: Final = frozenset({
    MessageKind.VOTE, MessageKind.VOTE_REPLY, MessageKind.APPEND, MessageKind.APPEND_REPLY, MessageKind.HEARTBEAT, MessageKind.HEARTBEAT_REPLY,
})  # fmt: skip
"""Messages whose sender must remember their term for ever."""


class Known(NamedTuple):
    """What an entry is: its content, and the term of the one before it (None: not known)."""

    content: int
    before: int | None


def content_of(entry: Entry) -> int:
    return zlib.crc32(entry.data, entry.kind)


class RaftChecks:
    """One for all managers of a world."""

    def __init__(self, *, digests: bool = True) -> None:
        self._digests_wanted = digests
        self._leaders: dict[int, str] = {}
        self._votes: dict[tuple[int, int], int] = {}  # (voter, term): candidate
        self._entries: dict[tuple[int, int], Known] = {}
        self.committed: dict[int, tuple[int, int]] = {}  # index: (term, content)
        self.last_committed = 0
        self._terms: dict[int, int] = {}
        self._applied: dict[str, int] = {}
        self._durable: dict[int, tuple[int, int]] = {}  # voter: (index, term) of its log's durable end
        self._digests: dict[int, tuple[str, str]] = {}
        self._memberships: dict[str, Membership] = {}  # of who leads, when it had done something last

    # -- events

    def started(self, manager: Manager) -> None:
        raft = _raft(manager)
        self._applied[manager.name] = raft.log.offset
        self._durable[manager.raft_id] = (raft.log.stable, raft.log.term(raft.log.stable) or 0)
        if unsafe := manager.disk.unsafe("log-"):
            raise Broken(f"{manager.name} starts from what is not on its disk: {unsafe}")
        promised = self._terms.get(manager.raft_id, 0)
        if raft.term < promised:
            raise Broken(f"{manager.name} was in term {promised} and came back in term {raft.term}")

    def forget(self, manager: Manager) -> None:
        """It begins anew, with another id."""
        self._applied.pop(manager.name, None)

    def sent(self, manager: Manager, message: Message) -> None:
        """A promise leaves."""
        if message.kind in PROMISES:
            self._terms[message.sender] = max(self._terms.get(message.sender, 0), message.term)
        if message.kind is MessageKind.VOTE_REPLY and not message.reject:
            self._vote(message.sender, message.term, message.to)
        elif message.kind is MessageKind.VOTE:
            self._vote(message.sender, message.term, message.sender)

    def wrote(self, manager: Manager, record: Record) -> None:
        """A record is durable."""
        raft = _raft(manager)
        self._durable[manager.raft_id] = (raft.log.stable, raft.log.term(raft.log.stable) or 0)
        before: int | None = None
        for entry in record.entries:
            if before is None:
                before = raft.log.term(entry.index - 1) if raft.log.term(entry.index) == entry.term else None
            key, content = (entry.index, entry.term), content_of(entry)
            known = self._entries.setdefault(key, Known(content, before))
            if known.content != content:
                raise Broken(f"two entries {entry.index} of term {entry.term}")
            if None not in (known.before, before) and known.before != before:
                raise Broken(f"entry {entry.index} of term {entry.term} follows terms {known.before} and {before}")
            before = entry.term

    def saves(self, manager: Manager, snapshot: Snapshot) -> None:
        """A snapshot of its own store is about to be written: it holds only what is in the log on this disk."""
        durable, _ = self._durable[manager.raft_id]
        if snapshot.index > durable:
            raise Broken(f"{manager.name}'s snapshot of entry {snapshot.index} overtakes its log, which ends at entry {durable} on its disk")

    def stepped(self, manager: Manager) -> None:
        """A manager has done something."""
        raft = _raft(manager)
        if raft.went_back:
            raise Broken(f"{manager.name} is told of an entry that it has held and lacks")
        if raft.role is Role.LEADER:
            self._leads(manager)
        else:
            self._memberships.pop(manager.name, None)
        self._applies(manager)

    # -- promises

    def _vote(self, voter: int, term: int, candidate: int) -> None:
        known = self._votes.setdefault((voter, term), candidate)
        if known != candidate:
            raise Broken(f"m{voter} voted twice in term {term}: for m{known} and for m{candidate}")

    def _leads(self, manager: Manager) -> None:
        raft = _raft(manager)
        known = self._leaders.get(raft.term)
        if known is None:
            self._leaders[raft.term] = manager.name
            self._is_complete(manager)
        elif known != manager.name:
            raise Broken(f"term {raft.term} has two leaders: {known} and {manager.name}")
        if raft.log.committed > self.last_committed:
            self._has_quorum(manager)
        if raft.membership is not self._memberships.get(manager.name):
            self._changes_once(manager)
            self._memberships[manager.name] = raft.membership

    def _changes_once(self, manager: Manager) -> None:
        """One change of the members at a time: of two, the majorities before and after may have nobody in common."""
        log = _raft(manager).log
        if (under_way := log.memberships.after(log.committed)) > 1:
            raise Broken(f"{manager.name} has {under_way} changes of the managers under way at once")

    def _is_complete(self, manager: Manager) -> None:
        """Leader completeness: it holds the last entry that was committed, hence all before it (log matching)."""
        log, last = _raft(manager).log, self.last_committed
        if not last or log.offset >= last:
            return
        term = self.committed[last][0]
        if log.term(last) != term:
            raise Broken(f"{manager.name} leads term {_raft(manager).term} without the committed entry {last} of term {term}")

    def _has_quorum(self, manager: Manager) -> None:
        """What a leader commits is on the disks of a majority: of the members that it has now, or of those that it had before this step, in which it may
        have committed first and changed the membership then."""
        raft = _raft(manager)
        index = raft.log.committed
        if not any(self._is_held(manager, index, members.voters) for members in (raft.membership, self._memberships.get(manager.name, raft.membership))):
            voters = raft.membership.voters
            held = f"{self._holding(manager, index, voters)} of {len(voters)} hold"
            raise Broken(f"{manager.name} commits entry {index} of term {raft.log.term(index)}, which {held}")

    def _is_held(self, manager: Manager, index: int, voters: tuple[int, ...]) -> bool:
        return self._holding(manager, index, voters) >= quorum(len(voters))

    def _holding(self, manager: Manager, index: int, voters: tuple[int, ...]) -> int:
        raft = _raft(manager)
        return sum((self._durable.get(voter, (0, 0)) >= (index, 0)) or (voter == raft.config.id and raft.log.stable >= index) for voter in voters)

    def _applies(self, manager: Manager) -> None:
        log = _raft(manager).log
        done = self._applied[manager.name]
        if log.applied <= done:
            return
        first = max(done, log.offset) + 1
        for entry in log.between(first, log.applied) if first <= log.applied else ():
            this = (entry.term, content_of(entry))
            known = self.committed.setdefault(entry.index, this)
            if known != this:
                raise Broken(f"{manager.name} applied another entry {entry.index}: of term {entry.term}, not of term {known[0]}")
            self.last_committed = max(self.last_committed, entry.index)
        self._applied[manager.name] = log.applied
        if self._digests_wanted and log.applied // DIGEST_EVERY != done // DIGEST_EVERY:
            self.compare(manager)

    def compare(self, manager: Manager) -> None:
        """Stores that have seen the same entries are equal."""
        digest = manager.store.digest()
        other, known = self._digests.setdefault(manager.store.index, (manager.name, digest))
        if known != digest:
            raise Broken(f"the stores of {other} and {manager.name} differ at entry {manager.store.index}")


def _raft(manager: Manager) -> Raft:
    assert manager.member is not None
    return manager.member.raft
