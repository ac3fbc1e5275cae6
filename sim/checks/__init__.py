"""All that is looked at while a world runs. Owns which checks there are, and one watch of each manager's store that they
share; each check has its own file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from manager.raft.messages import Message
from manager.raft_storage.records import Record
from manager.store import Watch, WatchLagged
from sim.checks.cluster import ClusterChecks
from sim.checks.raft import RaftChecks
from sim.checks.watches import WatchChecks
from sim.properties import Properties
from sim.world import MS, SECOND

if TYPE_CHECKING:
    from sim.manager import Manager

LOOK_EVERY_NS: Final = 200 * MS
LOOK_SELDOM_NS: Final = 120 * SECOND


class Checks:
    """`exact` compares whole stores now and then, which large worlds cannot afford."""

    def __init__(self, properties: Properties, *, exact: bool) -> None:
        self.raft = RaftChecks(digests=exact)
        self.watches = WatchChecks(exact=exact)
        self.cluster = ClusterChecks(properties, every_ns=LOOK_EVERY_NS if exact else LOOK_SELDOM_NS)
        self._watches: dict[str, Watch] = {}

    def started(self, manager: Manager) -> None:
        self.raft.started(manager)
        self._watches[manager.name] = manager.store.watch()
        self.watches.refill(manager)

    def ended(self, manager: Manager) -> None:
        self._watches.pop(manager.name, None)

    def sent(self, manager: Manager, message: Message) -> None:
        self.raft.sent(manager, message)

    def wrote(self, manager: Manager, record: Record) -> None:
        self.raft.wrote(manager, record)

    def stepped(self, manager: Manager) -> None:
        """A manager has done something."""
        self.raft.stepped(manager)
        try:
            batches = self._watches[manager.name].take()
        except WatchLagged:
            self.watches.refill(manager)
            return
        if batches:
            self.watches.feed(manager, batches)
            self.cluster.feed(manager.store, batches, manager.world.now_ns)
