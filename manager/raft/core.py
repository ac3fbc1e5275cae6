"""Raft as a value machine: tick, step and propose go in, Ready comes out and says what must be on disk before what is
sent.

Owns one member's role, term and vote, decides elections, and follows; what a leader does is in leadership.py. Never
touches a clock (time comes as ticks), a socket, a disk or the randomness of the machine (a generator comes in).
Source: Ongaro and Ousterhout's paper; pre-vote, check-quorum and leases as in Ongaro's thesis, sections 6.2 and 9.6;
the interface in the shape of etcd's raft.

    FOLLOWER --timeout--> PRE_CANDIDATE --majority would vote--> CANDIDATE --majority votes--> LEADER
    any --higher term--> FOLLOWER        LEADER --no majority heard for an election timeout--> FOLLOWER

Storage is asynchronous: any number of Readys may be under way, and `persisted(number)` says that all up to that one
are durable. A member alone in its cluster is its own majority: it leads as soon as its vote is on its disk, and an entry is
committed when it is there. A learner follows and never stands; a member whose removal is committed is told so
by any other (`removed`), and does nothing any more. Nor does one that hears that it has held what it does not hold
(`went_back`): its disk is not what it was, and its vote or acknowledgement could cost what is committed.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from random import Random

from cluster.model.errors import NotLeader
from manager.raft.leadership import Leadership
from manager.raft.log import Log
from manager.raft.membership import Membership
from manager.raft.messages import Message, MessageKind
from manager.raft.progress import Progress
from manager.raft.ready import NOBODY, Config, HardState, Ready, SnapshotPoint
from manager.raft.votes import Outcome, Votes
from manager.raft.witness import Held, Witness

_FROM_LEADER = (MessageKind.APPEND, MessageKind.HEARTBEAT, MessageKind.SNAPSHOT)


class Role(enum.Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Raft:
    """One member."""

    def __init__(self, config: Config, hard_state: HardState, log: Log, rng: Random) -> None:
        self.config = config
        self.log = log
        self.term, self.vote = hard_state
        self.role = Role.FOLLOWER
        self.leader = NOBODY
        self.removed = log.memberships.at(log.committed).was_removed(config.id)
        self.went_back = False
        self._rng = rng
        self._saved = hard_state
        self._ready_number = 0
        self._outbox: list[Message] = []
        self._outbox_after: list[Message] = []
        self._snapshot: SnapshotPoint | None = None
        self._leadership: Leadership | None = None
        self._witness = Witness()
        self._votes = Votes(())
        self._own_vote_in = 0  # the Ready that makes a candidate's vote for itself durable; 0: none does
        self._elapsed_ticks = 0
        self._timeout_ticks = 0
        self._draw_timeout()

    @property
    def membership(self) -> Membership:
        """The latest that is in the log, committed or not."""
        return self.log.membership

    @property
    def progress(self) -> dict[int, Progress]:
        """What the leader knows of the others; empty on who does not lead."""
        return self._leadership.progress if self._leadership else {}

    # -- what the shell calls

    def start(self) -> None:
        """Begin. A member that is alone stands at once; others wait for a leader or a timeout."""
        if self.membership.voters == (self.config.id,):
            self.campaign()

    def tick(self) -> bool:
        """One tick of time has passed. False when nothing follows from it."""
        self._elapsed_ticks += 1
        if self._leadership is not None:
            if not self._leadership.tick():
                self._become_follower(self.term, NOBODY)
                return True
            return bool(self._outbox)
        if self._elapsed_ticks < self._timeout_ticks:
            return False
        self.campaign()
        return True

    def lost(self, member: int) -> None:
        """The connection to a member broke. If that one leads, its process may have died: nobody is told any more to wait for
        it, and the voters stand one after the other, soon. Where it lives, those who hear it refuse their votes.
        """
        if self.role is not Role.FOLLOWER or member != self.leader:
            return
        self.leader = NOBODY
        rank = sum(voter < self.config.id for voter in self.membership.voters if voter != member)
        self._elapsed_ticks = max(self._elapsed_ticks, self._timeout_ticks - 1 - rank * self.config.heartbeat_ticks)

    def campaign(self) -> None:
        """Stand for election: first ask whether a majority would vote, so that a member that was cut off disturbs no
        one. Who has no vote does not stand: it only asks. All members are asked, because any may know of a removal.
        """
        if self.role is Role.LEADER or self.removed or self.went_back:
            return
        self._reset(self.term, NOBODY)
        if self.membership.voters == (self.config.id,):
            self._become_candidate()
            return
        for member in self.membership.ids:
            if member != self.config.id:
                self._outbox.append(self._vote_request(MessageKind.PRE_VOTE, member, self.term + 1))
        if self._may_stand():
            self.role = Role.PRE_CANDIDATE
            self._votes = Votes(self.membership.voters)
            self._votes.record(self.config.id, True)

    def propose(self, payloads: Sequence[bytes]) -> int:
        """Append one entry for each payload; the index of the first. Its fate is known when the entry at that index
        is committed.

        Raises NotLeader.
        """
        assert all(payloads), "an empty entry is the leader's own"
        return self._leading().propose(payloads)

    def propose_membership(self, new: Membership) -> int:
        """Append a membership that differs from the last in at most one vote; the index of its entry.

        Raises NotLeader; FailedPrecondition when another change is under way, the new voter lags behind, or too few
        voters would be left alive.
        """
        return self._leading().propose_membership(new)

    def read(self, request: int) -> None:
        """Ask for the index that a store must have reached to answer a linearizable read; it comes with a Ready.
        Requests are forgotten when the leadership ends. Raises NotLeader.
        """
        self._leading().read(request)

    def transfer(self, to: int = NOBODY) -> int:
        """Hand the leadership to a voter (NOBODY: the most suitable); to whom, NOBODY when there is no such voter.
        Until it is done, for at most one election timeout, nothing can be proposed. Raises NotLeader.
        """
        return self._leading().transfer(to)

    def has_caught_up(self, member: int) -> bool:
        """Whether a learner may be given its vote. Raises NotLeader."""
        return self._leading().has_caught_up(member)

    def persisted(self, number: int) -> None:
        """All that Readys up to `number` asked to write is durable. A candidate's own vote counts from here on: one that is its own majority would
        otherwise send entries of a term that a crash makes it forget, and begin the same term again.
        """
        self.log.wrote(number)
        if self.role is Role.CANDIDATE and 0 < self._own_vote_in <= number:
            self._own_vote_in = 0
            self._count_vote(self.config.id, True)
        if self._leadership is not None:
            self._leadership.commit()
            self._after_commit()

    def snapshot_message(self, to: int, point: SnapshotPoint) -> Message:
        """What follows the contents of a snapshot on their way to a member. Raises NotLeader."""
        self._leading()
        here, kind = self.config.id, MessageKind.SNAPSHOT
        return Message(kind, here, to, self.term, point.index, point.term, membership=point.membership)

    def snapshot_ended(self, member: int, index: int | None) -> None:
        """The member was handed the snapshot up to `index`, or (None) that failed."""
        if self._leadership is not None:
            self._leadership.snapshot_ended(member, index)

    def held_by(self, member: int) -> Message | None:
        """What a member is to be told first when it comes back: what it is known to hold. None when nothing is known."""
        if self._leadership is not None:
            self._witness.note(self._leadership.held())
        held = self._witness.of(member)
        if held is None or not held.entry:
            return None
        return Message(MessageKind.HELD, self.config.id, member, self.term, held.entry, held.term)

    def ready(self) -> Ready | None:
        """What there is to do since the last call, None when nothing is."""
        reads: tuple[tuple[int, int], ...] = ()
        wanted: tuple[int, ...] = ()
        leading = self._leadership
        if leading is not None:
            leading.start_round()
            if leading.reads_ready or leading.snapshots_wanted:
                reads, wanted = tuple(leading.reads_ready), tuple(leading.snapshots_wanted)
                leading.reads_ready.clear()
                leading.snapshots_wanted.clear()
        changed = HardState(self.term, self.vote) if (self.term, self.vote) != self._saved else None
        committed = self.log.take_committed()
        has_messages = self._outbox or self._outbox_after
        if not (changed or committed or self.log.has_unwritten or has_messages or self._snapshot or reads or wanted):
            return None
        self._ready_number += 1
        number = self._ready_number
        if self.role is Role.CANDIDATE and changed is not None:
            self._own_vote_in = number
        entries = self.log.take_unwritten(number)
        messages, messages_after = tuple(self._outbox), tuple(self._outbox_after)
        snapshot, self._snapshot = self._snapshot, None
        if changed is not None:
            self._saved = changed
        self._outbox.clear()
        self._outbox_after.clear()
        commit = self.log.committed
        return Ready(number, messages, changed, entries, commit, messages_after, committed, snapshot, reads, wanted)

    def step(self, message: Message) -> None:
        """A message came in. Who was removed is told so; a member that is newer than this log is heard."""
        if message.to != self.config.id or message.sender == self.config.id or self.removed or self.went_back:
            return
        if message.kind is MessageKind.REMOVED:
            self._on_removed(message)
            return
        if self.log.memberships.at(self.log.committed).was_removed(message.sender):
            self._outbox.append(Message(MessageKind.REMOVED, self.config.id, message.sender, self.term))
            return
        if message.kind is MessageKind.HELD:
            self._look_back(Held(message.to, message.index, message.log_term))
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
            case MessageKind.APPEND | MessageKind.HEARTBEAT | MessageKind.SNAPSHOT:
                self._follow(message)
            case MessageKind.APPEND_REPLY | MessageKind.HEARTBEAT_REPLY:
                self._on_follower_reply(message)
            case MessageKind.CAMPAIGN_NOW:
                if self.role is Role.FOLLOWER and self._may_stand():
                    self._become_candidate(transfer=True)

    def _look_back(self, held: Held) -> None:
        """This member is known to have held an entry. One below the log is in a snapshot here, or was never missed."""
        here = self.log.term(held.entry)
        if held.entry > self.log.offset and (here is None or held.term not in (here, 0)):
            self._become_follower(self.term, NOBODY)
            self.went_back = True

    # -- terms and roles

    def _leading(self) -> Leadership:
        if self._leadership is None:
            raise NotLeader("")
        return self._leadership

    def _may_stand(self) -> bool:
        """Voters stand, and so does one whose removal is in its log but not known to be committed: it may hold the
        only complete log (thesis, 4.2.2).
        """
        settled = self.log.memberships.at(self.log.committed)
        return not self.removed and self.config.id in {*self.membership.voters, *settled.voters}

    def _meet_higher_term(self, message: Message) -> bool:
        """Deal with a term above ours; whether the message is to be looked at further."""
        kind = message.kind
        if kind in (MessageKind.PRE_VOTE, MessageKind.VOTE) and not message.transfer:
            in_lease = self.leader != NOBODY and self._elapsed_ticks < self.config.election_ticks
            if in_lease or self.role is Role.LEADER:
                return False  # a leader lives: whoever asks was cut off from it
        if kind is MessageKind.PRE_VOTE or (kind is MessageKind.PRE_VOTE_REPLY and not message.reject):
            return True  # these speak of a term that has not begun
        self._become_follower(message.term, message.sender if kind in _FROM_LEADER else NOBODY)
        return True

    def _answer_old_term(self, message: Message) -> None:
        if message.kind in _FROM_LEADER:
            self._reply(message, MessageKind.APPEND_REPLY)  # its leader learns that its term is over
        elif message.kind is MessageKind.PRE_VOTE:
            self._reply(message, MessageKind.PRE_VOTE_REPLY, reject=True)

    def _become_follower(self, term: int, leader: int) -> None:
        self._reset(term, leader)
        self.role = Role.FOLLOWER

    def _become_candidate(self, *, transfer: bool = False) -> None:
        self._reset(self.term + 1, NOBODY)
        self.role = Role.CANDIDATE
        self.vote = self.config.id
        self._votes = Votes(self.membership.voters)
        for member in self.membership.voters:
            if member != self.config.id:
                self._outbox_after.append(self._vote_request(MessageKind.VOTE, member, self.term, transfer=transfer))

    def _become_leader(self) -> None:
        self._reset(self.term, self.config.id)
        self.role = Role.LEADER
        self._leadership = Leadership(self.config, self.term, self.log, self._outbox.append)

    def _reset(self, term: int, leader: int) -> None:
        if term != self.term:
            self.term, self.vote = term, NOBODY
        self.leader = leader
        if self._leadership is not None:
            self._witness.note(self._leadership.held())
        self._leadership = None
        self._own_vote_in = 0
        self._elapsed_ticks = 0
        self._draw_timeout()

    def _draw_timeout(self) -> None:
        ticks = self.config.election_ticks
        self._timeout_ticks = ticks + self._rng.randrange(ticks)

    def _on_removed(self, message: Message) -> None:
        """A member says that this one is none any more. Ids are never used again, so it stays true."""
        if message.sender in self.membership.ids or not self.membership.ids:
            self._become_follower(self.term, NOBODY)
            self.removed = True

    def _after_commit(self) -> None:
        """Who was removed takes part until that is committed, also as leader, and no longer."""
        known = self.log.memberships.at(self.log.committed)
        if known.was_removed(self.config.id):
            self._become_follower(self.term, NOBODY)
            self.removed = True
        elif known.was_removed(self.leader):
            self.leader = NOBODY  # nobody waits for it to come back

    # -- elections

    def _vote_request(self, kind: MessageKind, to: int, term: int, *, transfer: bool = False) -> Message:
        last, last_term = self.log.last, self.log.last_term
        return Message(kind, self.config.id, to, term, index=last, log_term=last_term, transfer=transfer)

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
        self._count_vote(message.sender, not message.reject)

    def _count_vote(self, member: int, granted: bool) -> None:
        outcome = self._votes.record(member, granted)
        if outcome is Outcome.LOST:
            self._become_follower(self.term, NOBODY)
        elif outcome is Outcome.WON and self.role is Role.PRE_CANDIDATE:
            self._become_candidate()
        elif outcome is Outcome.WON:
            self._become_leader()

    # -- following

    def _follow(self, message: Message) -> None:
        assert self.role is not Role.LEADER, "two leaders in one term"
        if self.role is not Role.FOLLOWER:
            self._become_follower(self.term, message.sender)
        self.leader = message.sender
        self._elapsed_ticks = 0
        match message.kind:
            case MessageKind.HEARTBEAT:
                self._witness.note(message.held)
                if (held := self._witness.of(self.config.id)) is not None:
                    self._look_back(held)
                if self.went_back:
                    return
                self._advance_commit(message.commit)
                self._reply(message, MessageKind.HEARTBEAT_REPLY, read=message.read)
            case MessageKind.SNAPSHOT:
                self._on_snapshot(message)
            case _:
                self._on_append(message)

    def _on_append(self, message: Message) -> None:
        agreed = self.log.accept(message.index, message.log_term, message.entries)
        if agreed is None:
            hint, term = self.log.conflict_hint(message.index, message.log_term)
            self._reply(message, MessageKind.APPEND_REPLY, index=message.index, reject=True, hint=hint, log_term=term)
            return
        self._advance_commit(min(message.commit, agreed))
        self._reply(message, MessageKind.APPEND_REPLY, index=agreed)

    def _on_snapshot(self, message: Message) -> None:
        """The log begins anew behind the snapshot, unless it holds as much by itself."""
        assert message.membership is not None
        if message.index > self.log.committed:
            if self.log.term(message.index) == message.log_term:
                self._advance_commit(message.index)
            else:
                self.log.restore(message.index, message.log_term, message.membership)
                self._snapshot = SnapshotPoint(message.index, message.log_term, message.membership)
                self._after_commit()
        self._reply(message, MessageKind.APPEND_REPLY, index=self.log.committed)

    def _advance_commit(self, commit: int) -> None:
        self.log.committed = max(self.log.committed, min(commit, self.log.last))
        self._after_commit()

    # -- leading

    def _on_follower_reply(self, message: Message) -> None:
        if self._leadership is None or message.sender not in self._leadership.progress:
            return
        if message.kind is MessageKind.HEARTBEAT_REPLY:
            self._leadership.on_heartbeat_reply(message)
        else:
            self._leadership.on_append_reply(message)
            self._after_commit()

    # -- messages

    def _reply(
        self,
        message: Message,
        kind: MessageKind,
        *,
        index: int = 0,
        log_term: int = 0,
        reject: bool = False,
        hint: int = 0,
        read: int = 0,
    ) -> None:
        """Answer, once what the answer promises is on disk."""
        self._outbox_after.append(
            Message(
                kind, self.config.id, message.sender, self.term, index, log_term, reject=reject, hint=hint, read=read
            )
        )
