"""Clients that write and read registers through whichever manager leads, and remember what they were told.

A register is a network's label in the real store: a write is a proposal with an optimistic version, a read goes by the
read index. Owns the history; judges nothing (checks/linearizability.py does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cluster.model.changes import Kind, created, updated
from cluster.model.errors import ClusterError, Conflict, NotLeader, OutOfSequence
from cluster.model.ids import NetworkId
from cluster.model.objects import Meta, Network
from cluster.model.specs import NetworkSpec
from manager.raft.effects import Answer
from sim.checks.linearizability import Call, Outcome
from sim.process import Process
from sim.world import MS, SECOND

if TYPE_CHECKING:
    from sim.cluster import SimCluster
    from sim.manager import Manager

RETRY_NS: Final = 60 * MS
PATIENCE_NS: Final = 2 * SECOND
LABEL: Final = "value"


class Client:
    """One at a time; what comes while it is busy is not done."""

    def __init__(self, cluster: SimCluster, name: str) -> None:
        self._cluster = cluster
        self.process = Process(cluster.world, name)
        self.process.begin()
        self._turn = 0
        self._attempt = 0
        self._call: Call | None = None
        self.history: list[Call] = []
        self._arrived: set[int] = set()  # attempts

    @property
    def name(self) -> str:
        return self.process.name

    def write(self, key: str, value: int) -> None:
        self._begin(key, value)

    def read(self, key: str) -> None:
        self._begin(key, None)

    def _begin(self, key: str, value: int | None) -> None:
        if self._call is not None:
            return
        call = self._call = Call(self.name, key, value, self._cluster.world.now_ns)
        self.history.append(call)
        what = f"reads {key}" if value is None else f"writes {key} = {value}"
        self._cluster.world.note(self.name, what)
        self._ask(call)
        self.process.later(PATIENCE_NS, self._give_up, call)

    def _ask(self, call: Call) -> None:
        if self._call is not call:
            return
        self._attempt += 1
        managers = self._cluster.managers
        manager = managers[self._turn % len(managers)]
        self._cluster.network.datagram(self.name, manager.process, serve, manager, self, call, self._attempt)
        self.process.later(PATIENCE_NS // 8, self._unheard, call, self._attempt)

    def _unheard(self, call: Call, attempt: int) -> None:
        """No answer: what was asked may have happened, so it is not asked again. A read may be."""
        if self._call is call and self._attempt == attempt and call.value is None:
            self._turn += 1
            self._ask(call)

    def arrives(self, attempt: int) -> bool:
        """Whether this request reaches a manager for the first time: what a connection carries comes late, or never, but not twice."""
        first = attempt not in self._arrived
        self._arrived.add(attempt)
        return first

    def hear(self, call: Call, attempt: int, answer: int | ClusterError | None) -> None:
        """The manager's answer to the latest attempt; an error that says that nothing was done is tried again elsewhere."""
        if self._call is not call or self._attempt != attempt:
            return
        if isinstance(answer, (NotLeader, OutOfSequence, Conflict)):
            self._attempt += 1  # the same answer may come again
            if isinstance(answer, NotLeader):
                self._turn += 1
            self.process.later(RETRY_NS, self._ask, call)
        elif isinstance(answer, ClusterError):
            self._end(call, Outcome.UNKNOWN, None)
        else:
            self._end(call, Outcome.DONE, answer)

    def _give_up(self, call: Call) -> None:
        if self._call is call:
            self._end(call, Outcome.UNKNOWN, None)

    def _end(self, call: Call, outcome: Outcome, answer: int | None) -> None:
        self._call = None
        call.outcome = outcome
        call.returned_ns = self._cluster.world.now_ns
        if call.value is None:
            call.read = answer
        self._cluster.world.note(self.name, f"{outcome.value}: {call}")


def serve(manager: Manager, client: Client, call: Call, attempt: int) -> None:
    """At the manager: what a control call does, for a register."""

    def tell(answer: int | ClusterError | None) -> None:
        manager.cluster.network.datagram(manager.name, client.process, client.hear, call, attempt, answer)

    def wrote(answer: Answer) -> None:
        tell(answer if isinstance(answer, ClusterError) else call.value)

    def may_read(answer: Answer) -> None:
        tell(answer if isinstance(answer, ClusterError) else value_of(manager, call.key))

    if not client.arrives(attempt):
        return
    if not manager.leads:
        tell(NotLeader(""))
    elif call.value is None:
        manager.read(may_read)
    else:
        known = manager.store.get(Kind.NETWORK, call.key)
        spec = NetworkSpec(call.key, labels=((LABEL, str(call.value)),), driver="bridge")
        if known is None:
            manager.propose((created(Network(NetworkId(call.key), spec, Meta(created_at_ns=manager.wall_ns()))),), wrote)
        else:
            manager.propose((updated(Network(known.id, spec, known.meta, known.vni, known.subnet, known.gateway)),), wrote)


def value_of(manager: Manager, key: str) -> int | None:
    """What the register holds in this manager's store; None when nobody has written it."""
    known = manager.store.get(Kind.NETWORK, key)
    return int(dict(known.spec.labels)[LABEL]) if known is not None else None
