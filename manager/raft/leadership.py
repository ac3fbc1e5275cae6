"""What a leader does with its term: replication, commitment, reads, changes of the membership, and handing over.

Owns what only a leader has: the progress of every member, rounds of reads, the member it hands over to. Made when an
election is won and dropped when the term ends; core.py decides both. Source: the Raft paper, section 5.3; Ongaro's
thesis, 3.10 (transfer), 4 (membership), 6.4 (reads).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from cluster.model.errors import FailedPrecondition, NotLeader
from manager.raft.log import Entry, Log
from manager.raft.membership import Membership, is_single_change
from manager.raft.messages import Message, MessageKind
from manager.raft.progress import Mode, Progress
from manager.raft.ready import NOBODY, Config
from manager.raft.votes import majority_index, quorum
from manager.raft.witness import Held

Send = Callable[[Message], None]


class Leadership:
    """One term of one leader. `send` takes messages that may leave at once."""

    def __init__(self, config: Config, term: int, log: Log, send: Send) -> None:
        self._config = config
        self._term = term
        self._log = log
        self._send = send
        self._elapsed_ticks = self._heartbeat_elapsed_ticks = 0
        self.progress: dict[int, Progress] = {}
        self.transferee = NOBODY
        self.snapshots_wanted: list[int] = []
        self.reads_ready: list[tuple[int, int]] = []
        self._reads_new: list[int] = []
        self._reads_asked: deque[tuple[int, int, int]] = deque()  # (round, request, index)
        self._read_round = 0
        self._read_heard: dict[int, int] = {}  # highest round that each voter has confirmed
        log.append(term, (b"",))  # entries of earlier terms commit with this one only (5.4.2)
        self._opened_at = log.last
        self._follow_membership()
        self._send_appends()

    # -- time

    def tick(self) -> bool:
        """One tick; False when no majority was heard for an election timeout: the term is to be given up."""
        self._elapsed_ticks += 1
        self._heartbeat_elapsed_ticks += 1
        if self._elapsed_ticks >= self._config.election_ticks:
            self._elapsed_ticks = 0
            self.transferee = NOBODY  # whoever it was did not manage in time
            if not self.has_quorum(self._log.membership):
                return False
            for progress in self.progress.values():
                progress.recently_active = False
        if self._heartbeat_elapsed_ticks >= self._config.heartbeat_ticks:
            self._heartbeats()
        for member, progress in self.progress.items():
            if progress.told < self._log.committed:
                self._send_append(member)
        return True

    def has_quorum(self, membership: Membership) -> bool:
        """Whether a majority of these voters was heard lately."""
        voters = membership.voters
        return sum(self._is_active(voter) for voter in voters) >= quorum(len(voters))

    def _is_active(self, member: int) -> bool:
        if member == self._config.id:
            return True
        return member in self.progress and self.progress[member].recently_active

    def _heartbeats(self) -> None:
        self._heartbeat_elapsed_ticks = 0
        held = self.held()
        for member, progress in self.progress.items():
            commit = min(progress.match, self._log.committed)
            progress.told = max(progress.told, commit)
            self._send(self._message(MessageKind.HEARTBEAT, member, commit=commit, read=self._read_round, held=held))

    def held(self) -> tuple[Held, ...]:
        """What each member's own log is known to hold of what is committed, as far as this log still has it."""
        reach = {self._config.id: self._log.stable, **{member: progress.match for member, progress in self.progress.items()}}
        indexes = {member: min(index, self._log.committed) for member, index in reach.items()}
        return tuple(Held(member, index, self._log.term(index) or 0) for member, index in indexes.items())

    # -- what the shell asks for

    def propose(self, payloads: Sequence[bytes]) -> int:
        """The index of the first. Raises NotLeader while the leadership is on its way to another member."""
        if self.transferee != NOBODY:
            raise NotLeader("")
        first = self._log.last + 1
        self._log.append(self._term, payloads)
        self._send_appends()
        return first

    def propose_membership(self, new: Membership) -> int:
        """The index of the entry. Raises FailedPrecondition when another change is under way, NotLeader during a
        transfer.
        """
        if self.transferee != NOBODY:
            raise NotLeader("")
        old = self._log.membership
        assert is_single_change(old, new), "one vote at a time"
        if self._log.memberships.changed_at > self._log.committed or self._log.committed < self._opened_at:
            raise FailedPrecondition("another change of the managers is under way; try again")
        if len(new.voters) > len(old.voters):
            added = next(voter for voter in new.voters if voter not in old.voters)
            if not self.has_caught_up(added):
                raise FailedPrecondition("the new manager has not caught up with the log yet; try again")
        if not new.voters or (len(new.voters) < len(old.voters) and not self.has_quorum(new)):
            raise FailedPrecondition(
                "raft: member cannot be removed, because removing it may result in loss of quorum"
            )
        self._log.append_membership(self._term, new)
        self._follow_membership()
        self._send_appends()
        return self._log.last

    def has_caught_up(self, member: int) -> bool:
        """Whether a learner is so close to the commit index that its vote would hold nothing up."""
        progress = self.progress.get(member)
        if progress is None or progress.mode is not Mode.REPLICATE:
            return False
        return progress.match + self._config.max_promotion_lag_entries >= self._log.committed

    def read(self, request: int) -> None:
        """A read that must see all that was acknowledged before it. All that come before the next Ready share one
        round.
        """
        self._reads_new.append(request)

    def transfer(self, to: int) -> int:
        """Hand over to `to`, or (NOBODY) to the voter that is furthest; whom, NOBODY when there is none."""
        voters = [voter for voter in self._log.membership.voters if voter in self.progress]
        active = [voter for voter in voters if self.progress[voter].recently_active]
        if to == NOBODY and active:
            to = max(active, key=lambda voter: (self.progress[voter].match, -voter))
        if to not in voters:
            return NOBODY
        self.transferee = to
        self._elapsed_ticks = 0
        self._hand_over()
        return to

    def _hand_over(self) -> None:
        """Once the other has the whole log, it need not wait for a timeout."""
        if self.transferee != NOBODY and self.progress[self.transferee].match == self._log.last:
            self._send(self._message(MessageKind.CAMPAIGN_NOW, self.transferee))

    # -- reads

    def start_round(self) -> None:
        """Ask who still follows, for the reads that have come since the last round."""
        if not self._reads_new or self._log.committed < self._opened_at:
            return  # what was acknowledged in earlier terms is known when the entry of this term is committed
        self._read_round += 1
        index = self._log.committed
        self._reads_asked.extend((self._read_round, request, index) for request in self._reads_new)
        self._reads_new.clear()
        self._heartbeats()
        self._finish_reads()

    def _finish_reads(self) -> None:
        heard = [
            self._read_round if voter == self._config.id else self._read_heard.get(voter, 0)
            for voter in self._log.membership.voters
        ]
        confirmed = majority_index(heard) if heard else 0
        while self._reads_asked and self._reads_asked[0][0] <= confirmed:
            _, request, index = self._reads_asked.popleft()
            self.reads_ready.append((request, index))

    # -- answers

    def on_heartbeat_reply(self, message: Message) -> None:
        progress = self.progress[message.sender]
        progress.answered_heartbeat()
        self._read_heard[message.sender] = max(message.read, self._read_heard.get(message.sender, 0))
        self._finish_reads()
        if progress.match < self._log.last:
            self._send_append(message.sender)

    def on_append_reply(self, message: Message) -> None:
        member = message.sender
        progress = self.progress[member]
        progress.recently_active = True
        if message.reject:
            hint, _ = self._log.conflict_hint(message.hint, message.log_term)
            if progress.rejected(message.index, hint):
                self._send_append(member)
            return
        was_paused = progress.paused
        if progress.acknowledged(message.index):
            self.commit()
            if member == self.transferee:
                self._hand_over()
        if member in self.progress and (was_paused or progress.next <= self._log.last):
            self._send_append(member, even_empty=False)

    def snapshot_ended(self, member: int, index: int | None) -> None:
        """The member was handed a snapshot up to `index`; None when that failed."""
        if member in self.progress:
            self.progress[member].snapshot_ended(index)

    # -- commitment and membership

    def commit(self) -> None:
        """Commit what a majority has, if it is of this term. The others hear of it with the next entries or at the next tick, because nobody asks them:
        a message for each commit, with its answer, costs as much again as the entry. What decides who leads they hear at once.
        """
        voters = self._log.membership.voters
        indexes = [self._log.stable if voter == self._config.id else self.progress[voter].match for voter in voters]
        index = majority_index(indexes)
        if index > self._log.committed and self._log.term(index) == self._term:
            rare = max(self._opened_at, self._log.memberships.changed_at)
            tells = self._log.committed < rare <= index
            self._log.committed = index
            if tells:
                self._send_appends()
            self._follow_membership()

    def _follow_membership(self) -> None:
        """Have a progress for every other member. Who was removed is told so when its removal is committed."""
        membership = self._log.membership
        for member in membership.ids:
            if member != self._config.id and member not in self.progress:
                self.progress[member] = Progress(self._log.last + 1, self._config.max_inflight_appends)
        if self._log.committed < self._log.memberships.changed_at:
            return
        for member in [known for known in self.progress if known not in membership.ids]:
            del self.progress[member]
            self._send(self._message(MessageKind.REMOVED, member))
            if member == self.transferee:
                self.transferee = NOBODY

    # -- replication

    def _send_appends(self) -> None:
        for member in self.progress:
            self._send_append(member)

    def _send_append(self, member: int, *, even_empty: bool = True) -> None:
        """Send the member what it lacks, in as many appends as its window lets; an empty one carries the commit index
        only. One that lacks entries which are compacted here needs a snapshot.
        """
        progress = self.progress[member]
        while not progress.paused:
            before = progress.next - 1
            before_term = self._log.term(before)
            if before_term is None:
                progress.lacks_compacted()
                self.snapshots_wanted.append(member)
                return
            entries: tuple[Entry, ...] = ()
            if progress.next <= self._log.last:
                entries = self._log.between(progress.next, self._log.last, self._config.max_append_bytes)
            elif not even_empty:
                return
            self._send(
                self._message(
                    MessageKind.APPEND,
                    member,
                    index=before,
                    log_term=before_term,
                    entries=entries,
                    commit=self._log.committed,
                )
            )
            progress.sent(before + len(entries), len(entries))
            progress.told = self._log.committed
            even_empty = False
            if progress.mode is Mode.PROBE:
                return

    def _message(
        self,
        kind: MessageKind,
        to: int,
        *,
        index: int = 0,
        log_term: int = 0,
        entries: tuple[Entry, ...] = (),
        commit: int = 0,
        read: int = 0,
        held: tuple[Held, ...] = (),
    ) -> Message:
        return Message(kind, self._config.id, to, self._term, index, log_term, entries, commit, read=read, held=held)
