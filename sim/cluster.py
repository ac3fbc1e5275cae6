"""A whole cluster in one world: its managers, network, clients and agents, and who may do what to them.

Owns the parts and their names; each fault and operation of a scenario is a method of faults.py or operations.py on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from manager.raft.member import SETTLED_AT_ONCE
from manager.raft.membership import Member, Membership
from manager.raft.ready import MAX_APPEND_BYTES, MAX_INFLIGHT_APPENDS
from manager.raft.votes import quorum
from manager.raft_storage.wal import STATE_RESERVE_BYTES
from sim.checks import Checks
from sim.clients import Client
from sim.control_plane import ControlPlane
from sim.draws import Draws
from sim.manager import Manager
from sim.network import SILENCE_NS, Network
from sim.parts import Parts
from sim.properties import Properties
from sim.scenario import Shape
from sim.traps import Traps
from sim.world import World

SMALL_SEGMENT_BYTES: Final = 512 * 1024
SMALL_GROUP_BYTES: Final = 64 * 1024
TINY_SEGMENT_BYTES: Final = STATE_RESERVE_BYTES + 12 * 1024
TINY_GROUP_BYTES: Final = 4 * 1024
TINY_SETTLED_AT_ONCE: Final = 1
SMALL_DISK_BYTES: Final = 64 * 1024 * 1024
MANY_AGENTS: Final = 500
"""Worlds with more agents use the product's own sizes, and compare no whole stores."""


@dataclass(frozen=True)
class Options:
    """The sizes that the product has as constants; small ones meet their limits more often."""

    segment_bytes: int = SMALL_SEGMENT_BYTES
    group_bytes: int = SMALL_GROUP_BYTES
    disk_bytes: int = SMALL_DISK_BYTES
    inflight_appends: int = 4
    append_bytes: int = 200
    snapshot_interval: int = 200
    settled_at_once: int = SETTLED_AT_ONCE


LARGE: Final = Options(16 * 1024 * 1024, 4 * 1024 * 1024, 1 << 40, MAX_INFLIGHT_APPENDS, MAX_APPEND_BYTES, 10_000)


def _small(seed: int, *, agents: bool) -> Options:
    """Each seed has its own sizes of messages, windows, segments and snapshots: one entry in each, or all that there are."""
    draws = Draws(seed).fork("options")
    made = Options(
        inflight_appends=draws.choice((1, 4, MAX_INFLIGHT_APPENDS)),
        append_bytes=draws.choice((1, 1, 200, MAX_APPEND_BYTES)),
        snapshot_interval=draws.choice((200, 40, 6)),
    )
    tiny = draws.chance(500) and not agents  # a plan for agents needs more room
    sizes = {"segment_bytes": TINY_SEGMENT_BYTES, "group_bytes": TINY_GROUP_BYTES, "settled_at_once": TINY_SETTLED_AT_ONCE}
    return replace(made, **sizes) if tiny else made


class SimCluster:
    """Everything. `start` lets it live."""

    def __init__(self, seed: int, shape: Shape, parts: Parts, properties: Properties, *, keep: bool = True) -> None:
        large = self.is_large = shape.agents > MANY_AGENTS
        self.shape = shape
        self.parts = parts
        self.options = LARGE if large else _small(seed, agents=shape.agents > 0)
        self.world = World(seed, keep=keep)
        self.network = Network(self.world)
        self.traps = Traps(self.world)
        self.checks = Checks(properties, exact=not large)
        members = tuple(Member(number, f"m{number}", f"m{number}:2377") for number in range(1, shape.managers + 1))
        founded = Membership(members, shape.managers)
        self.managers = [Manager(self, member.node_id, member.raft_id, founded) for member in members]
        self.clients = [Client(self, f"c{number}") for number in range(1, shape.clients + 1)]
        self.control = ControlPlane(self)
        self._by_id = {manager.raft_id: manager for manager in self.managers}

    def start(self) -> None:
        for manager in self.managers:
            manager.start()
        self.control.start()

    # -- who is who

    def by_raft_id(self, raft_id: int) -> Manager | None:
        return self._by_id.get(raft_id)

    def named(self, name: str) -> Manager | None:
        return next((manager for manager in self.managers if manager.name == name), None)

    def leader(self) -> Manager | None:
        """Who leads with the highest term, if anybody does."""
        leading = [manager for manager in self.managers if manager.leads and not manager.process.paused]
        return max(leading, key=lambda manager: manager.member.raft.term if manager.member else 0, default=None)

    def may_lose(self, manager: Manager, *, removed: bool = False) -> bool:
        """Whether a majority of the voters has its state when this one loses its own, or is removed: of those that are committed, and
        of those that are about to be. Nobody survives the loss of more.
        """
        leader = self.leader()
        if leader is None or leader.member is None:
            return False
        kept = [known.raft_id for known in self.managers if known is not manager and not known.lost]
        log = leader.member.raft.log
        for group in (group for known in (log.membership, log.memberships.at(log.committed)) for group in (known.voters, known.ids)):
            needed = quorum(sum(not removed or raft_id != manager.raft_id for raft_id in group))
            if sum(raft_id in kept for raft_id in group) < needed:
                return False
        return True

    def join(self, name: str, raft_id: int) -> None:
        """The manager `name`, new or with an empty disk, becomes the member `raft_id`."""
        known = self.named(name)
        if known is None:
            known = Manager(self, name, raft_id, Membership())
            self.managers.append(known)
        else:
            self._by_id.pop(known.raft_id, None)
            known.raft_id, known.founded, known.wiped = raft_id, Membership(), False
            known.suspect, known.damage = False, ""
        self._by_id[raft_id] = known
        known.start()

    def hung_up(self, manager: Manager, *, killed: bool) -> None:
        """Its process has ended. The others hear of it at once from its kernel, or by silence when its machine is gone."""
        for other in self.managers:
            if other is not manager and not self.network.is_cut(manager.name, other.name):
                other.process.later(self.network.delay() if killed else SILENCE_NS, other.lose, manager.raft_id)

    # -- what managers tell

    def changed(self, manager: Manager) -> None:
        """Leadership, membership or removal of this manager is not as it was."""
        self.control.changed(manager)

    def follow(self, manager: Manager) -> None:
        """This manager has done something: its store may have moved."""
        self.control.follow(manager)

    def lost_leadership(self, manager: Manager) -> None:
        self.control.changed(manager)
