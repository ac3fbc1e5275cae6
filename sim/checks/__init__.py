"""All that is looked at while a world runs. Owns which checks there are; each has its own file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manager.raft.effects import Effect
from manager.raft.messages import Message
from manager.raft_storage.records import Record
from sim.checks.raft import RaftChecks
from sim.checks.watches import WatchChecks

if TYPE_CHECKING:
    from sim.manager import Manager


class Checks:
    """`exact` compares whole stores now and then, which large worlds cannot afford."""

    def __init__(self, *, exact: bool) -> None:
        self.raft = RaftChecks(digests=exact)
        self.watches = WatchChecks(exact=exact)

    def started(self, manager: Manager) -> None:
        self.raft.started(manager)
        self.watches.started(manager)

    def ended(self, manager: Manager) -> None:
        self.watches.ended(manager)

    def sent(self, manager: Manager, message: Message) -> None:
        self.raft.sent(manager, message)

    def wrote(self, manager: Manager, record: Record) -> None:
        self.raft.wrote(manager, record)

    def stepped(self, manager: Manager, effects: list[Effect]) -> None:
        self.raft.stepped(manager)
        self.watches.stepped(manager)
