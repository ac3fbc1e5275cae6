"""Leaderships and agents of a world: who reigns, what a new cluster begins with, and whether everything that was asked
for runs.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from cluster.model.assignments import Item, TaskItem
from cluster.model.changes import Change, Kind, created
from cluster.model.errors import ClusterError
from cluster.model.ids import ClusterId, NetworkId, SecretId
from cluster.model.objects import Cluster, Meta, Network, Node, NodeState, Secret, Service
from cluster.model.specs import ClusterSpec, DependencySpec, NetworkSpec, NodeSpec, ServiceModeKind
from cluster.model.task_state import ASSIGNED, TaskState, is_final
from cluster.wire.calls import OpenSession
from manager.dispatcher.assignments import Board, concerns_agent
from manager.orchestrator.jobs import totals
from manager.orchestrator.tasks import has_completed
from manager.raft.effects import Answer
from manager.store import Store
from sim.agents import Agent, secrets_of
from sim.network import Connection, Handler
from sim.reign import Reign

if TYPE_CHECKING:
    from cluster.model.ids import NodeId
    from sim.cluster import SimCluster
    from sim.manager import Manager

NODES_PER_ENTRY: Final = 1000
LOG_ENTRIES_KEPT: Final = 20
ZONES: Final = 3
SECRETS: Final = 4
"""secret1, secret2, ...: services use them (operations.py)."""

INGRESS_NODES: Final = 200
"""More nodes than that have no ingress network: its subnet has no addresses for them (Docker's has not, either)."""


class ControlPlane:
    """`start` lets the agents live; managers say when they lead."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self.agents = [Agent(cluster, f"n{number}", number) for number in range(1, cluster.shape.agents + 1)]
        self._by_name = {agent.name: agent for agent in self.agents}
        self._reigns: dict[str, Reign] = {}

    def start(self) -> None:
        for agent in self.agents:
            agent.start()

    def agent_names(self) -> list[str]:
        return list(self._by_name)

    def agent(self, name: str) -> Agent | None:
        return self._by_name.get(name)

    @property
    def work_ended(self) -> int:
        """How many tasks of jobs have come to their end."""
        return sum(agent.work_ended for agent in self.agents)

    # -- leaderships

    def changed(self, manager: Manager) -> None:
        """Whether this manager leads may not be as it was."""
        reign = self._reigns.get(manager.name)
        if not manager.leads:
            if reign is not None:
                del self._reigns[manager.name]
                reign.end()
        elif reign is None:
            self._begin(manager, 0)

    def follow(self, manager: Manager) -> None:
        if (reign := self._reigns.get(manager.name)) is not None:
            reign.follow()

    def _begin(self, manager: Manager, start: int) -> None:
        """The first leader makes the cluster before it reigns."""
        first = self._first_state(manager.wall_ns())
        if start >= len(first) or (start == 0 and manager.store.all(Kind.CLUSTER)):
            self._reigns[manager.name] = Reign(manager)
            return

        def answered(answer: Answer) -> None:
            if not isinstance(answer, ClusterError) and manager.leads and manager.name not in self._reigns:
                self._begin(manager, start + NODES_PER_ENTRY)

        manager.propose(first[start : start + NODES_PER_ENTRY], answered)

    def _first_state(self, now_ns: int) -> tuple[Change, ...]:
        interval = self._cluster.shape.snapshot_interval or self._cluster.options.snapshot_interval
        spec = ClusterSpec(snapshot_interval=interval, log_entries_for_slow_followers=LOG_ENTRIES_KEPT)
        made: list[Change] = [created(Cluster(ClusterId("c"), spec))]
        if 0 < len(self.agents) <= INGRESS_NODES:
            made.append(created(Network(NetworkId("ingress"), NetworkSpec("ingress", ingress=True), Meta(created_at_ns=now_ns))))
        if self.agents:
            names = [f"secret{number}" for number in range(1, SECRETS + 1)]
            made += [created(Secret(SecretId(name), DependencySpec(name, data=b"?"), Meta(created_at_ns=now_ns))) for name in names]
        for number, agent in enumerate(self.agents):
            node = NodeSpec(labels=(("zone", f"z{number % ZONES}"),))
            made.append(created(Node(agent.node_id, node, Meta(created_at_ns=now_ns + number))))
        return tuple(made)

    def at_manager(self, manager: Manager, node_id: NodeId) -> Handler:
        """What a manager does with an agent's connection: who does not lead hangs up."""

        def hear(connection: Connection, message: object) -> None:
            reign = self._reigns.get(manager.name)
            if message is None:
                if reign is not None:
                    reign.closed(connection, node_id)
            elif reign is None or (isinstance(message, OpenSession) and not self._by_name[node_id].certified):
                connection.close(1)
            else:
                reign.hear(connection, node_id, message)

        return hear

    # -- whether all is well

    def missing(self, leader: Manager) -> str:
        """What keeps the cluster from running what was asked for; empty when nothing does."""
        if not self.agents:
            return ""
        store = leader.store
        for node in store.all(Kind.NODE):
            if node.status.state is not NodeState.READY:
                return f"node {node.id} is {node.status.state.value}"
        counts: dict[str, int] = {}
        on_nodes: dict[str, set[str]] = {}
        to_know: dict[str, set[str]] = {}
        for task in store.all(Kind.TASK):
            if task.desired_state is TaskState.REMOVE:
                return f"task {task.id} is still to be removed"
            if task.desired_state is TaskState.SHUTDOWN and not is_final(task.status.state):
                return f"task {task.id} shall not run and is {task.status.state.name}"
            if ASSIGNED <= task.status.state <= TaskState.RUNNING:
                to_know.setdefault(task.node_id, set()).update(secrets_of(task))
            if task.status.state is TaskState.RUNNING:
                counts[task.service_id] = counts.get(task.service_id, 0) + 1
                on_nodes.setdefault(task.node_id, set()).add(task.id)
        for service in store.all(Kind.SERVICE):
            if lacks := _lacks(store, service, counts.get(service.id, 0)):
                return f"service {service.spec.name} has {lacks}"
        for agent in self.agents:
            if store.get(Kind.NODE, agent.name) is not None and set(agent.running) != on_nodes.get(agent.name, set()):
                return f"node {agent.name} runs other tasks than the managers believe"
            if (known := agent.secrets) != to_know.get(agent.name, set()) and store.get(Kind.NODE, agent.name) is not None:
                return f"node {agent.name} knows the secrets {sorted(known)}, and its live tasks need {sorted(to_know.get(agent.name, set()))}"
        return self._untold(store) or _too_many_kept(store)

    def _untold(self, store: Store) -> str:
        """The fold of what an agent was told is what it would be told now, all at once."""
        if self._cluster.is_large:
            return ""
        board = Board(item for kind in Kind for item in store.all(kind))
        for agent in self.agents:
            wanted = {item.key: item for item in board.open(agent.node_id)} if store.get(Kind.NODE, agent.name) is not None else agent.told.items
            told = agent.told.items
            if told.keys() != wanted.keys() or not all(_is_told(told[key], wanted[key]) for key in wanted):
                return f"node {agent.name} was told otherwise than it would be told now"
        return ""

    def check_plan(self, leader: Manager) -> None:
        """What the leader's planner keeps by change is right. Raises Broken."""
        if (reign := self._reigns.get(leader.name)) is not None:
            reign.check_index()


def _lacks(store: Store, service: Service, running: int) -> str:
    """What this service, of which so many tasks run, has that it should not have; empty when all is as it shall be. A job's tasks have done their work."""
    kind = service.spec.mode.kind
    if kind.is_job:
        own = store.tasks_of_service(service.id)  # two tasks of a slot may complete: one that was given up with its node did all the same
        done = len({task.slot or task.node_id for task in own if has_completed(task) and task.job_iteration == service.job_iteration})
        wanted = len(store.all(Kind.NODE)) if kind is ServiceModeKind.GLOBAL_JOB else totals(service)[1]
        return "" if (done, running) == (wanted, 0) else f"{done} completed slots of {wanted}, and {running} that run"
    wanted = len(store.all(Kind.NODE)) if kind is ServiceModeKind.GLOBAL else service.spec.mode.replicas or 0
    return "" if running == wanted else f"{running} running tasks of {wanted}"


def _is_told(told: Item, wanted: Item) -> bool:
    """What of a task's does not concern its agent is not told again."""
    if isinstance(told, TaskItem) and isinstance(wanted, TaskItem):
        return not concerns_agent(told.task, wanted.task)
    return told == wanted


def _too_many_kept(store: Store) -> str:
    """Of what has finished, at most so many tasks are kept for each slot, beside what a job's present run has come to."""
    limit = store.all(Kind.CLUSTER)[0].spec.task_history_limit
    runs = {service.id: service.job_iteration for service in store.all(Kind.SERVICE)}
    kept = Counter(
        (task.service_id, task.slot or task.node_id) for task in store.all(Kind.TASK)
        if is_final(task.status.state) and not (has_completed(task) and task.job_iteration == runs.get(task.service_id))
    )  # fmt: skip
    for (service_id, slot), count in kept.items():
        if count > limit:
            return f"slot {slot} of service {service_id} keeps {count} finished tasks"
    return ""
