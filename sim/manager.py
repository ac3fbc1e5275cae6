"""One manager of the world: the real member, store and log on a simulated disk. The sibling of manager/raft/driver.py.

Owns its life (start, crash, what a failing disk does to it) and performs the member's effects in simulated time. What a
manager does while it leads is control_plane.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster.model.changes import Change
from cluster.model.errors import ClusterError, FailedPrecondition, Unavailable
from manager.raft.core import Raft, Role
from manager.raft.effects import Answer, Changed, Effect, Release, Reserve, Resolve, Save, Send, SendSnapshot, Write
from manager.raft.member import RaftMember, prepare
from manager.raft.membership import Membership
from manager.raft.messages import Message, MessageKind
from manager.raft.ready import Config
from manager.raft.recovery import ELECTION_TICKS, HEARTBEAT_TICKS, TICK_S, overtaken, recover, with_record
from manager.raft_storage import snapshots
from manager.raft_storage.directory import sync_directory
from manager.raft_storage.faults import Damaged, LogFull, StorageFault
from manager.raft_storage.snapshots import Snapshot
from manager.raft_storage.wal import Wal
from manager.store import Store
from sim.disk import Crashed, SimDisk
from sim.failure import Broken
from sim.process import Process
from sim.traps import Moment
from sim.world import MS, START_NS

if TYPE_CHECKING:
    from sim.cluster import SimCluster

TICK_NS: Final = int(TICK_S * 1e9)
LOOP_NS: Final = 20_000
"""From an event to the loop's next round: what comes meanwhile is taken in together."""

SYNC_NS: Final = MS // 10
SNAPSHOT_NS: Final = 20 * MS
KEY: Final = bytes(range(32))

IDLE: Final = frozenset({MessageKind.HEARTBEAT, MessageKind.HEARTBEAT_REPLY})

Answered = Callable[[Answer], None]


class Manager:
    """`raft_id` stays when the process starts again, unless the manager joins anew."""

    def __init__(self, cluster: SimCluster, name: str, raft_id: int, founded: Membership) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.name = name
        self.raft_id = raft_id
        self.founded = founded
        self.process = Process(self.world, name)
        self.draws = self.world.draws.fork(name)
        self.disk = SimDisk(self.draws.fork("disk"), cluster.options.disk_bytes)
        self.slow_ns = 0
        self.damage = ""
        self.wiped = False  # it has lost its disk and has not joined again
        self.suspect = False  # a bit of its disk has flipped
        self.store: Store = cluster.parts.store()
        self.member: RaftMember | None = None
        self._path = Path("/raft") / name
        self._waiting: dict[int, Answered] = {}
        self._woken = False
        self._jobs: list[Callable[[], None]] = []  # of the writer thread, in order
        self._busy = False
        self._begun = False  # the first of them is under way
        self._committed = 0  # what it had committed when it last did something

    # -- life

    def start(self) -> None:
        """From what is on the disk. A damaged disk, or one that fails at once, leaves it down."""
        if self.process.alive or self.wiped:
            return
        self.store = self.cluster.parts.store()
        self._woken, self._busy, self._begun = False, False, False
        self._waiting, self._jobs = {}, []
        self.process.begin()
        try:
            self.disk.clear_unfinished()
            sync_directory(self._path, self.disk)
            snapshot = snapshots.latest(self._path, KEY, self.disk)
            self._wal = Wal(self._path, KEY, self.disk, self.cluster.options.segment_bytes)
            if snapshot is not None:
                self.store.restore(snapshot.data)
            recovered = self._wal.recovered
            if (record := overtaken(recovered, snapshot)) is not None:
                self._wal.append(record)
                recovered = with_record(recovered, record)
            hard_state, log = recover(str(self._path), recovered, snapshot, self.founded)
        except Crashed:
            self.world.occurred["power loss in a start"] += 1
            self.crash("in the middle of its start")
            return
        except StorageFault as fault:
            self.damage = str(fault) if isinstance(fault, Damaged) else ""
            if self.damage and not self.suspect:
                raise Broken(f"{self.name} cannot read what it wrote: {fault}") from fault
            self._end(f"does not start: {fault}")
            self.disk.kill()
            return
        sizes = self.cluster.options
        config = Config(self.raft_id, ELECTION_TICKS, HEARTBEAT_TICKS, sizes.append_bytes, sizes.inflight_appends)
        raft = self.cluster.parts.raft(config, hard_state, log, self.draws)
        self.member = self.cluster.parts.member(self.store, raft, self._wal.room_bytes, self.cluster.options.group_bytes)
        self._committed = log.committed
        self.world.note(self.name, f"starts: term {raft.term}, vote {raft.vote}, log {log.offset}..{log.last}, commit {log.committed}")
        self.cluster.checks.started(self)
        self.member.start()
        self.process.later(self.draws.below(TICK_NS), self._tick)
        self.wake()

    def crash(self, how: str = "loses power") -> None:
        """Power is lost, perhaps in the middle of a write."""
        if not self.process.alive:
            return
        self.world.occurred["power loss"] += 1
        if self._begun:
            self._begun = False
            self.disk.crash_in(self.draws.below(4))
            try:
                self._jobs.pop(0)()
            except (Crashed, StorageFault):
                pass
            if not self.process.alive:
                return  # it had something to say yet, and went with that
        self.disk.crash()
        self._end(how, killed=False)

    def kill(self) -> None:
        """Only the process ends."""
        if self.process.alive:
            self.world.occurred["process killed"] += 1
            self.disk.kill()
            self._end("is killed")

    def _end(self, how: str, *, killed: bool = True) -> None:
        """`killed`: only the process ended, and its kernel tells the others."""
        self.world.note(self.name, how)
        self.process.end()
        self.member = None
        self.cluster.checks.ended(self)
        waiting, self._waiting = self._waiting, {}
        self.cluster.network.hang_up(self.process)
        self.cluster.hung_up(self, killed=killed)
        self.cluster.lost_leadership(self)
        for answered in waiting.values():
            answered(Unavailable("the manager has ended"))

    @property
    def lost(self) -> bool:
        """Whether its state cannot be relied on."""
        return self.wiped or self.suspect or bool(self.damage)

    @property
    def busy(self) -> bool:
        """Whether something is under way in it, or nothing can be."""
        return self._woken or self._busy or self.process.paused or bool(self.process.drift_permille) or bool(self.slow_ns)

    # -- what is asked for

    @property
    def leads(self) -> bool:
        return self.member is not None and self.member.leads

    @property
    def applied(self) -> int:
        return self.member.applied if self.member is not None else 0

    def wall_ns(self) -> int:
        return START_NS + self.world.now_ns + self.process.wall_skew_ns

    def propose(self, changes: tuple[Change, ...], answered: Answered) -> None:
        """`answered` is called in this process' life only with what the member says; at its end with Unavailable."""
        assert self.member is not None
        try:
            ticket = self.member.propose(prepare(changes))
        except ClusterError as error:
            answered(error)
            return
        self._waiting[ticket] = answered
        self.wake()

    def read(self, answered: Answered) -> None:
        assert self.member is not None
        try:
            ticket = self.member.read()
        except ClusterError as error:
            answered(error)
            return
        if ticket is None:
            answered(None)
            return
        self._waiting[ticket] = answered
        self.wake()

    def change_membership(self, new: Membership, answered: Answered) -> None:
        assert self.member is not None
        try:
            ticket = self.member.change_membership(new)
        except (ClusterError, FailedPrecondition) as error:
            answered(error)
            return
        self._waiting[ticket] = answered
        self.wake()

    def transfer(self, to: int) -> None:
        if self.leads and self.member is not None:
            self.member.transfer(to)
            self.wake()

    def receive(self, message: Message, snapshot: Snapshot | None) -> None:
        if self.member is None:
            return
        self.member.receive((message,), snapshot)
        if message.kind in IDLE and not self._woken:
            self._round()  # nothing would have come together with it
        else:
            self.wake()

    def lose(self, raft_id: int) -> None:
        """The connection to another manager broke."""
        if self.member is not None:
            self.world.occurred["connection between managers lost"] += 1
            self.member.lost(raft_id)
            self.wake()

    # -- the loop

    def wake(self) -> None:
        if not self._woken and self.process.alive:
            self._woken = True
            self.process.later(LOOP_NS, self._turn)

    def _tick(self) -> None:
        assert self.member is not None
        if self.member.tick() and not beat_calmly(self):
            self.wake()
        self.process.later(self.process.ticks(TICK_NS), self._tick)

    def _turn(self) -> None:
        self._woken = False
        self._round()

    def _round(self) -> None:
        member = self.member
        assert member is not None
        raft = member.raft
        role, term = raft.role, raft.term
        member.advance()
        member.settle(self.cluster.options.settled_at_once)
        if not member.is_settled:
            self.wake()
        if raft.role is not role or raft.term != term:
            self.world.note(self.name, f"is {raft.role.value} in term {raft.term}")
            if raft.role is Role.LEADER:
                self.cluster.traps.spring(self, Moment.ELECTED)
        self._perform()

    def _perform(self) -> None:
        member = self.member
        assert member is not None
        effects = member.take_effects()
        if self._has_committed(member.raft):
            self.cluster.checks.stepped(self)
            self.cluster.traps.spring(self, Moment.COMMIT)
            if self.member is not member:
                return
        for effect in effects:
            if isinstance(effect, Send):
                self._send(effect.message)
            elif isinstance(effect, Resolve):
                for ticket, answer in effect.answers:
                    if (answered := self._waiting.pop(ticket, None)) is not None:
                        answered(answer)
            else:
                self._begin(effect)
        self.cluster.checks.stepped(self)
        self.cluster.follow(self)

    def _has_committed(self, raft: Raft) -> bool:
        """Whether it has, as leader, since the last time."""
        before, self._committed = self._committed, raft.log.committed
        return raft.role is Role.LEADER and self._committed > before

    def _begin(self, effect: Effect) -> None:
        match effect:
            case Write():
                self._submit(lambda: self._write(effect), SYNC_NS)
            case Reserve():
                self._submit(lambda: self._reserve(effect.size_bytes), SYNC_NS)
            case Release():
                self._submit(lambda: self._wal.release(effect.up_to), SYNC_NS)
            case Save():
                self.process.later(SNAPSHOT_NS + self.slow_ns, self._guarded, lambda: self._save(effect))
            case SendSnapshot():
                self.process.later(SNAPSHOT_NS, self._guarded, lambda: self._send_snapshot(effect.member))
            case Changed():
                self.cluster.changed(self)

    # -- the network

    def _send(self, message: Message) -> None:
        to = self.cluster.by_raft_id(message.to)
        if message.kind not in IDLE and self.world.keep:
            self.world.note(self.name, said(message))
        self.cluster.checks.sent(self, message)
        if to is not None:
            self.cluster.network.datagram(self.name, to.process, to.receive, message, None)

    def _send_snapshot(self, raft_id: int) -> None:
        member, to = self.member, self.cluster.by_raft_id(raft_id)
        assert member is not None
        snapshot = snapshots.latest(self._path, KEY, self.disk)
        message = member.snapshot_message(raft_id, snapshot) if snapshot is not None else None
        if snapshot is None or message is None or to is None or self.cluster.network.is_cut(self.name, to.name):
            member.snapshot_sent(raft_id, None)
            return
        self.world.note(self.name, f"sends m{raft_id} its snapshot of entry {snapshot.index}")
        packed = snapshots.pack(snapshot)
        arrived = snapshots.unpack(snapshot.index, snapshot.term, packed)
        self.cluster.network.datagram(self.name, to.process, to.receive, message, arrived)
        member.snapshot_sent(raft_id, snapshot.index)
        self.wake()

    # -- the disk

    def _submit(self, job: Callable[[], None], cost_ns: int) -> None:
        self._jobs.append(job)
        if not self._busy:
            self._next_job(cost_ns)

    def _next_job(self, cost_ns: int) -> None:
        self._busy = self._begun = True
        self.world.occurred["slow write"] += self.slow_ns > 0
        self.process.later(cost_ns + self.draws.below(cost_ns) + self.slow_ns, self._run_job)

    def _run_job(self) -> None:
        self._begun = False
        if not self._guarded(self._jobs.pop(0)):
            return
        self._busy = False
        if self._jobs:
            self._next_job(SYNC_NS)

    def _guarded(self, job: Callable[[], None]) -> bool:
        """Do it; False when the disk has ended this process."""
        life = self.member
        try:
            job()
        except Crashed:
            self.world.occurred["power loss in a system call"] += 1
            self.crash(f"loses power in the middle of operation {self.disk.operations} of its disk")
        except StorageFault as fault:
            self.disk.kill()
            self._end(f"stops: {fault}")
        return self.member is life and life is not None

    def _write(self, effect: Write) -> None:
        member = self.member
        if effect.snapshot is not None:
            snapshots.save(self._path, KEY, effect.snapshot, disk=self.disk)
        self._wal.append(effect.record)
        if member is not None:
            member.wrote(self._wal.room_bytes)
            self.cluster.checks.wrote(self, effect.record)
            self._perform()
            self.wake()

    def _reserve(self, size_bytes: int) -> None:
        full: LogFull | None = None
        try:
            self._wal.reserve(size_bytes)
        except LogFull as error:
            full = error
            self.world.note(self.name, "refuses proposals: its disk is full")
        if self.member is not None:
            self.member.reserved(self._wal.room_bytes, full)
            self._perform()
            self.wake()

    def _save(self, effect: Save) -> None:
        store_bytes = None
        self.cluster.checks.raft.saves(self, effect.snapshot)
        with suppress(LogFull):
            store_bytes = snapshots.save(self._path, KEY, effect.snapshot, effect.keep_old, self.disk)
        self.world.note(self.name, f"snapshot of entry {effect.snapshot.index}{': no room' if store_bytes is None else ''}")
        if self.member is not None:
            self.member.saved(effect.snapshot, store_bytes)
            self.wake()


def beat_calmly(manager: Manager) -> bool:
    """A round of heartbeats at once, without the network and the shells, when it can't matter: the weather is fine and
    nobody has anything to do or to learn. Such rounds are most of what a cluster at rest does. False: not now.
    """
    raft = manager.member.raft if manager.member is not None else None
    if raft is None or raft.role is not Role.LEADER or manager.busy or not manager.cluster.network.is_calm:
        return False
    log, peers = raft.log, [manager.cluster.by_raft_id(raft_id) for raft_id in raft.progress]
    if log.applied != log.last or any(progress.match != log.last or progress.paused for progress in raft.progress.values()):
        return False
    followers = [(peer.raft_id, peer.member.raft) for peer in peers if peer is not None and peer.member is not None and not peer.busy]
    if len(followers) != len(peers) or any(core.log.applied != log.last or core.leader != raft.config.id for _, core in followers):
        return False
    cores = dict(followers)
    beats = raft.ready()
    for beat in beats.messages if beats is not None else ():
        assert not beat.entries, "a heartbeat, or word of a commit that is known"
        follower = cores[beat.to]
        follower.step(beat)
        heard = follower.ready()
        assert heard is not None, "it answers"
        assert not heard.must_write, "it had nothing to learn"
        follower.persisted(heard.number)
        for reply in heard.messages_after:
            raft.step(reply)
    if beats is not None:
        raft.persisted(beats.number)
    return True


def said(message: Message) -> str:
    """The message in a few words."""
    kind = message.kind.name.lower().replace("_", " ")
    words = [f"{kind} to m{message.to}, term {message.term}"]
    match message.kind:
        case MessageKind.APPEND:
            words.append(f"after {message.index}/{message.log_term}: {len(message.entries)} entries, commit {message.commit}")
        case MessageKind.APPEND_REPLY:
            words.append(f"{'missing' if message.reject else 'up to'} {message.index}")
        case MessageKind.VOTE | MessageKind.PRE_VOTE:
            words.append(f"log ends {message.index}/{message.log_term}")
        case MessageKind.VOTE_REPLY | MessageKind.PRE_VOTE_REPLY:
            words.append("no" if message.reject else "yes")
        case MessageKind.SNAPSHOT:
            words.append(f"entry {message.index}/{message.log_term}")
    return ", ".join(words)
