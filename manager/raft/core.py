"""Raft as a value machine: tick, step and propose go in, Ready comes out and says what must be on disk before what is
sent.

Owns one member's role, term and vote, and decides elections, replication and commitment. Never touches a clock (time
comes as ticks), a socket, a disk or the randomness of the machine (a generator comes in). Source: Ongaro and
Ousterhout's paper; pre-vote, check-quorum and leases as in Ongaro's thesis, sections 6.2 and 9.6; the interface in
the shape of etcd's raft.

    FOLLOWER --timeout--> PRE_CANDIDATE --majority would vote--> CANDIDATE --majority votes--> LEADER
    any --higher term--> FOLLOWER        LEADER --no majority heard for an election timeout--> FOLLOWER

Storage is asynchronous: any number of Readys may be under way, and `persisted(number)` says that all up to that one
are durable. A member alone in its cluster is its own majority: it leads as soon as it starts, and an entry is
committed when it is on its disk.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from random import Random

from cluster.model.errors import NotLeader
from manager.raft.log import Entry, Log
from manager.raft.messages import Message, MessageKind
from manager.raft.progress import Mode, Progress
from manager.raft.ready import NOBODY, Config, HardState, Ready
from manager.raft.votes import Outcome, Votes, majority_index, quorum


class Role(enum.Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Raft:
    """One member."""

    def __init__(self, config: Config, hard_state: HardState, log: Log, rng: Random) -> None:
        assert config.id in config.members
        self.config = config
        self.log = log
        self.term, self.vote = hard_state
        self.role = Role.FOLLOWER
        self.leader = NOBODY
        self._rng = rng
        self._saved = hard_state
        self._ready_number = 0
        self._outbox: list[Message] = []
        self._outbox_after: list[Message] = []
        self._progress: dict[int, Progress] = {}
        self._votes = Votes(())
        self._elapsed_ticks = 0
        self._heartbeat_elapsed_ticks = 0
        self._timeout_ticks = 0
        self._draw_timeout()

    # -- what the shell calls

    def start(self) -> None:
        """Begin. A member that is alone leads at once; others wait for a leader or a timeout."""
        if self.config.members == (self.config.id,):
            self.campaign()

    def tick(self) -> None:
        """One tick of time has passed."""
        self._elapsed_ticks += 1
        if self.role is Role.LEADER:
            self._tick_leader()
        elif self._elapsed_ticks >= self._timeout_ticks:
            self.campaign()

    def campaign(self) -> None:
        """Stand for election: first ask whether a majority would vote, so that a member that was cut off disturbs no
        one.
        """
        if self.role is Role.LEADER:
            return
        self._reset(self.term, NOBODY)
        if len(self.config.members) == 1:
            self._become_candidate()
            return
        self.role = Role.PRE_CANDIDATE
        self._votes = Votes(self.config.members)
        self._votes.record(self.config.id, True)
        for member in self._others():
            self._outbox.append(self._vote_request(MessageKind.PRE_VOTE, member, self.term + 1))

    def propose(self, payloads: Sequence[bytes]) -> int:
        """Append one entry for each payload; the index of the first. Its fate is known when the entry at that index
        is committed.

        Raises NotLeader.
        """
        assert all(payloads), "an empty entry is the leader's own"
        if self.role is not Role.LEADER:
            raise NotLeader("")
        first = self.log.last + 1
        self.log.append(self.term, payloads)
        self._send_appends()
        return first

    def persisted(self, number: int) -> None:
        """All that Readys up to `number` asked to write is durable."""
        self.log.wrote(number)
        if self.role is Role.LEADER:
            self._commit()

    def ready(self) -> Ready | None:
        """What there is to do since the last call, None when nothing is."""
        hard_state = HardState(self.term, self.vote)
        changed = hard_state if hard_state != self._saved else None
        committed = self.log.take_committed()
        if not (changed or committed or self.log.has_unwritten or self._outbox or self._outbox_after):
            return None
        self._ready_number += 1
        number = self._ready_number
        entries = self.log.take_unwritten(number)
        messages, messages_after = tuple(self._outbox), tuple(self._outbox_after)
        self._saved = hard_state
        self._outbox.clear()
        self._outbox_after.clear()
        return Ready(number, messages, changed, entries, self.log.committed, messages_after, committed)

    def step(self, message: Message) -> None:
        """A message came in. One of a stranger is ignored."""
        if message.sender not in self._others() or message.to != self.config.id:
            return
        if message.term > self.term:
            if not self._meet_higher_term(message):
                return
        elif message.term < self.term:
            self._answer_old_term(message)
            return
        match message.kind:
            case MessageKind.PRE_VOTE | MessageKind.VOTE:
                self._on_vote_request(message)
            case MessageKind.PRE_VOTE_REPLY | MessageKind.VOTE_REPLY:
                self._on_vote_reply(message)
            case MessageKind.APPEND | MessageKind.HEARTBEAT:
                self._follow(message)
            case MessageKind.APPEND_REPLY | MessageKind.HEARTBEAT_REPLY:
                self._on_follower_reply(message)

    # -- terms and roles

    def _meet_higher_term(self, message: Message) -> bool:
        """Deal with a term above ours; whether the message is to be looked at further."""
        kind = message.kind
        if kind in (MessageKind.PRE_VOTE, MessageKind.VOTE):
            in_lease = self.leader != NOBODY and self._elapsed_ticks < self.config.election_ticks
            if in_lease:
                return False  # a leader lives: whoever asks was cut off from it
        if kind is MessageKind.PRE_VOTE or (kind is MessageKind.PRE_VOTE_REPLY and not message.reject):
            return True  # these speak of a term that has not begun
        leader = message.sender if kind in (MessageKind.APPEND, MessageKind.HEARTBEAT) else NOBODY
        self._become_follower(message.term, leader)
        return True

    def _answer_old_term(self, message: Message) -> None:
        if message.kind in (MessageKind.APPEND, MessageKind.HEARTBEAT):
            self._reply(message, MessageKind.APPEND_REPLY)  # its leader learns that its term is over
        elif message.kind is MessageKind.PRE_VOTE:
            self._reply(message, MessageKind.PRE_VOTE_REPLY, reject=True)

    def _become_follower(self, term: int, leader: int) -> None:
        self._reset(term, leader)
        self.role = Role.FOLLOWER

    def _become_candidate(self) -> None:
        self._reset(self.term + 1, NOBODY)
        self.role = Role.CANDIDATE
        self.vote = self.config.id
        self._votes = Votes(self.config.members)
        if self._votes.record(self.config.id, True) is Outcome.WON:
            self._become_leader()
            return
        for member in self._others():
            self._outbox_after.append(self._vote_request(MessageKind.VOTE, member, self.term))

    def _become_leader(self) -> None:
        self._reset(self.term, self.config.id)
        self.role = Role.LEADER
        window = self.config.max_inflight_appends
        self._progress = {member: Progress(self.log.last + 1, window) for member in self._others()}
        self.log.append(self.term, (b"",))  # entries of earlier terms commit with this one only (5.4.2)
        self._send_appends()

    def _reset(self, term: int, leader: int) -> None:
        if term != self.term:
            self.term, self.vote = term, NOBODY
        self.leader = leader
        self._progress = {}
        self._elapsed_ticks = self._heartbeat_elapsed_ticks = 0
        self._draw_timeout()

    def _draw_timeout(self) -> None:
        ticks = self.config.election_ticks
        self._timeout_ticks = ticks + self._rng.randrange(ticks)

    def _tick_leader(self) -> None:
        self._heartbeat_elapsed_ticks += 1
        if self._elapsed_ticks >= self.config.election_ticks:
            self._elapsed_ticks = 0
            active = 1 + sum(progress.recently_active for progress in self._progress.values())
            if active < quorum(len(self.config.members)):
                self._become_follower(self.term, NOBODY)
                return
            for progress in self._progress.values():
                progress.recently_active = False
        if self._heartbeat_elapsed_ticks >= self.config.heartbeat_ticks:
            self._heartbeat_elapsed_ticks = 0
            for member, progress in self._progress.items():
                commit = min(progress.match, self.log.committed)
                self._outbox.append(self._message(MessageKind.HEARTBEAT, member, commit=commit))

    # -- elections

    def _vote_request(self, kind: MessageKind, to: int, term: int) -> Message:
        return Message(kind, self.config.id, to, term, index=self.log.last, log_term=self.log.last_term)

    def _on_vote_request(self, message: Message) -> None:
        pre = message.kind is MessageKind.PRE_VOTE
        free = self.vote == message.sender or (self.vote == NOBODY and self.leader == NOBODY)
        free = free or (pre and message.term > self.term)
        granted = free and self.log.is_up_to_date(message.index, message.log_term)
        if pre:
            term = message.term if granted else self.term
            self._outbox_after.append(
                Message(MessageKind.PRE_VOTE_REPLY, self.config.id, message.sender, term, reject=not granted)
            )
            return
        if granted:
            self.vote = message.sender
            self._elapsed_ticks = 0
        self._reply(message, MessageKind.VOTE_REPLY, reject=not granted)

    def _on_vote_reply(self, message: Message) -> None:
        expected = {Role.PRE_CANDIDATE: MessageKind.PRE_VOTE_REPLY, Role.CANDIDATE: MessageKind.VOTE_REPLY}
        if message.kind is not expected.get(self.role):
            return
        if self.role is Role.PRE_CANDIDATE and not message.reject and message.term != self.term + 1:
            return  # an answer to an earlier question
        outcome = self._votes.record(message.sender, not message.reject)
        if outcome is Outcome.LOST:
            self._become_follower(self.term, NOBODY)
        elif outcome is Outcome.WON and self.role is Role.PRE_CANDIDATE:
            self._become_candidate()
        elif outcome is Outcome.WON:
            self._become_leader()

    # -- replication, as follower

    def _follow(self, message: Message) -> None:
        assert self.role is not Role.LEADER, "two leaders in one term"
        if self.role is not Role.FOLLOWER:
            self._become_follower(self.term, message.sender)
        self.leader = message.sender
        self._elapsed_ticks = 0
        if message.kind is MessageKind.HEARTBEAT:
            self._advance_commit(message.commit)
            self._reply(message, MessageKind.HEARTBEAT_REPLY)
            return
        agreed = self.log.accept(message.index, message.log_term, message.entries)
        if agreed is None:
            hint, term = self.log.conflict_hint(message.index, message.log_term)
            self._reply(message, MessageKind.APPEND_REPLY, index=message.index, reject=True, hint=hint, log_term=term)
            return
        self._advance_commit(min(message.commit, agreed))
        self._reply(message, MessageKind.APPEND_REPLY, index=agreed)

    def _advance_commit(self, commit: int) -> None:
        self.log.committed = max(self.log.committed, min(commit, self.log.last))

    # -- replication, as leader

    def _on_follower_reply(self, message: Message) -> None:
        if self.role is not Role.LEADER:
            return
        member = message.sender
        progress = self._progress[member]
        progress.recently_active = True
        if message.kind is MessageKind.HEARTBEAT_REPLY:
            progress.answered_heartbeat()
            if progress.match < self.log.last:
                self._send_append(member)
            return
        if message.reject:
            hint, _ = self.log.conflict_hint(message.hint, message.log_term)
            if progress.rejected(message.index, hint):
                self._send_append(member)
            return
        was_paused = progress.paused
        if progress.acknowledged(message.index):
            self._commit()
        if was_paused or progress.next <= self.log.last:
            self._send_append(member, even_empty=False)

    def _commit(self) -> None:
        """Commit what a majority has, if it is of this term, and tell the followers."""
        index = majority_index([self.log.stable, *(progress.match for progress in self._progress.values())])
        if index > self.log.committed and self.log.term(index) == self.term:
            self.log.committed = index
            for member in self._progress:
                self._send_append(member)

    def _send_appends(self) -> None:
        for member in self._progress:
            self._send_append(member)

    def _send_append(self, member: int, *, even_empty: bool = True) -> None:
        """Send the follower what it lacks, in as many appends as its window lets; an empty one carries the commit
        index only.

        A follower that lacks entries which are compacted here is not sent any: it needs a snapshot.
        """
        progress = self._progress[member]
        while not progress.paused:
            before = progress.next - 1
            before_term = self.log.term(before)
            if before_term is None:
                return
            entries: tuple[Entry, ...] = ()
            if progress.next <= self.log.last:
                entries = self.log.between(progress.next, self.log.last, self.config.max_append_bytes)
            elif not even_empty:
                return
            commit = self.log.committed
            self._outbox.append(
                self._message(
                    MessageKind.APPEND, member, index=before, log_term=before_term, entries=entries, commit=commit
                )
            )
            progress.sent(before + len(entries), len(entries))
            even_empty = False
            if progress.mode is Mode.PROBE:
                return

    # -- messages

    def _others(self) -> tuple[int, ...]:
        return tuple(member for member in self.config.members if member != self.config.id)

    def _message(
        self,
        kind: MessageKind,
        to: int,
        *,
        index: int = 0,
        log_term: int = 0,
        entries: tuple[Entry, ...] = (),
        commit: int = 0,
        reject: bool = False,
        hint: int = 0,
    ) -> Message:
        return Message(kind, self.config.id, to, self.term, index, log_term, entries, commit, reject, hint)

    def _reply(
        self,
        message: Message,
        kind: MessageKind,
        *,
        index: int = 0,
        log_term: int = 0,
        reject: bool = False,
        hint: int = 0,
    ) -> None:
        """Answer, once what the answer promises is on disk."""
        self._outbox_after.append(
            self._message(kind, message.sender, index=index, log_term=log_term, reject=reject, hint=hint)
        )
