"""A cluster for the planner's tests: the real store, the real planner, and agents that do as they are told.

Time stands still until a test moves it. Nothing here is random but the ids, which come from one seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec

from cluster.model import schedule
from cluster.model.changes import Change, Kind, Object, created, deleted, status_of, updated
from cluster.model.ids import ClusterId, NetworkId, NodeId, ServiceId
from cluster.model.objects import (
    Cluster,
    Meta,
    Network,
    Node,
    NodeDescription,
    NodeState,
    NodeStatus,
    Service,
    Task,
    TaskStatus,
)
from cluster.model.specs import (
    Availability,
    ClusterSpec,
    ContainerSpec,
    EndpointSpec,
    GenericResource,
    NetworkAttachmentConfig,
    NetworkSpec,
    NodeSpec,
    Platform,
    PortConfig,
    Resources,
    ServiceMode,
    ServiceModeKind,
    ServiceSpec,
    TaskSpec,
)
from cluster.model.task_state import TaskState, is_final, is_wished
from manager.draft import Why
from manager.index import Index
from manager.planner import Plan, plan
from manager.store import Event, Store
from sim.checks.soundness import check_index, check_state
from sim.checks.tasks import check_planned

GENERIC = (GenericResource("gpu", 2), *(GenericResource("card", 1, name) for name in "abc"))
SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000 * SECOND_NS
PLANS_AT_MOST = 200
STEPS = (
    TaskState.ASSIGNED,
    TaskState.ACCEPTED,
    TaskState.PREPARING,
    TaskState.READY,
    TaskState.STARTING,
    TaskState.RUNNING,
)


class World:
    checks = True  # whether invariants are checked at every step

    def __init__(self, *, nodes: int = 3, ingress: bool = False, seed: int = 1, cluster: Cluster | None = None) -> None:
        self.store = Store()
        self.rng = random.Random(seed)
        self.now_ns = START_NS
        self.index = Index.build(())
        self.reasons: dict[str, Why] = {}
        self.last = Plan((), {}, None)
        self.plans = 0
        self.counter = 0
        self._events: list[Event] = []
        self.commit(created(cluster or Cluster(ClusterId("c"), ClusterSpec())))
        if ingress:
            self.network("ingress", ingress=True)
        for i in range(nodes):
            self.node(f"n{i + 1}")
        self.settle()

    # -- writing -------------------------------------------------------------------------------------------------

    def commit(self, *changes: Change) -> None:
        batch = self.store.apply(self.store.index + 1, changes)
        self._events.extend(batch.events)

    def change(self, obj: Object, **fields: object) -> None:
        self.commit(updated(msgspec.structs.replace(obj, **fields)))

    def node(self, name: str, **fields: object) -> NodeId:
        self.counter += 1
        values: dict[str, object] = {
            "spec": NodeSpec(),
            "meta": Meta(created_at_ns=self.now_ns + self.counter),
            "description": NodeDescription(name, Platform("x86_64", "linux"), Resources(4_000_000_000, 8 << 30, generic=GENERIC)),
            "status": NodeStatus(NodeState.READY, "", f"192.168.200.{9 + self.counter}"),
        }
        self.commit(created(Node(NodeId(name), **{**values, **fields})))  # type: ignore[arg-type]
        return NodeId(name)

    def network(self, name: str, **fields: object) -> NetworkId:
        spec = NetworkSpec(name, **fields)  # type: ignore[arg-type]
        self.commit(created(Network(NetworkId(name), spec, Meta(created_at_ns=self.now_ns))))
        return NetworkId(name)

    def service(self, name: str, **fields: object) -> ServiceId:
        spec = service_spec(name, **fields)  # type: ignore[arg-type]
        service = Service(ServiceId(name), spec, Meta(created_at_ns=self.now_ns))
        if spec.mode.kind.is_job:
            service = msgspec.structs.replace(service, job_iteration=0 if schedule.of(spec.labels) else 1, job_begun_at_ns=self.later())
        self.commit(created(service))
        return ServiceId(name)

    def later(self) -> int:
        """A time after that of every node so far, which the counter moves though the clock stands."""
        self.counter += 1
        return self.now_ns + self.counter

    def update(self, name: str, **fields: object) -> None:
        """As control does it: the new spec, the old one as the previous, no status of an earlier update."""
        service = self.get_service(name)
        spec = service_spec(name, **fields)  # type: ignore[arg-type]
        again = {"job_iteration": service.job_iteration + 1, "job_begun_at_ns": self.later()} if spec.mode.kind.is_job else {}
        self.change(service, spec=spec, previous_spec=service.spec, update_status=None, **again)

    def scale(self, name: str, replicas: int) -> None:
        service = self.get_service(name)
        mode = ServiceMode(ServiceModeKind.REPLICATED, replicas)
        spec = msgspec.structs.replace(service.spec, mode=mode)
        self.change(service, spec=spec, previous_spec=service.spec, update_status=None)

    def remove(self, name: str) -> None:
        self.commit(deleted(self.get_service(name)))

    def remove_node(self, name: str) -> None:
        self.commit(deleted(self.get_node(name)))

    def set_state(self, name: str, state: NodeState) -> None:
        node = self.get_node(name)
        self.change(node, status=msgspec.structs.replace(node.status, state=state))

    def set_availability(self, name: str, availability: Availability) -> None:
        node = self.get_node(name)
        self.change(node, spec=msgspec.structs.replace(node.spec, availability=availability))

    def label(self, name: str, **labels: str) -> None:
        node = self.get_node(name)
        self.change(node, spec=msgspec.structs.replace(node.spec, labels=tuple(labels.items())))

    # -- reading -------------------------------------------------------------------------------------------------

    def get_service(self, name: str) -> Service:
        found = self.store.get(Kind.SERVICE, name)
        assert found is not None
        return found

    def get_node(self, name: str) -> Node:
        found = self.store.get(Kind.NODE, name)
        assert found is not None
        return found

    def get_network(self, name: str) -> Network:
        found = self.store.get(Kind.NETWORK, name)
        assert found is not None
        return found

    def get_task(self, id_: str) -> Task:
        found = self.store.get(Kind.TASK, id_)
        assert found is not None
        return found

    def tasks(self, service: str | None = None) -> list[Task]:
        found = self.store.all(Kind.TASK) if service is None else self.store.tasks_of_service(service)
        return sorted(found, key=lambda t: (t.service_id, t.slot, t.node_id, t.meta.created_at_ns, t.meta.version))

    def live(self, service: str | None = None) -> list[Task]:
        return [t for t in self.tasks(service) if is_wished(t.desired_state)]

    def running(self, service: str | None = None) -> list[Task]:
        return [t for t in self.live(service) if t.status.state is TaskState.RUNNING]

    def objects(self) -> list[Object]:
        return [obj for kind in Kind for obj in self.store.all(kind)]

    # -- time and planning -----------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """One plan, not yet committed. Every plan is made twice, and must leave no trace in the index."""
        events, self._events = tuple(self._events), []
        seed = self.rng.getstate()
        self.last = plan(self.index, events, self.now_ns, self.rng)
        if self.checks:
            after = self.rng.getstate()
            self.rng.setstate(seed)
            again = plan(self.index, (), self.now_ns, self.rng)
            assert again.changes == self.last.changes, "the same plan, made twice, differs"
            self.rng.setstate(after)
            check_index(self.store, self.index)
        self.plans += 1
        self.reasons.update(self.last.reasons)
        return self.last

    def settle(self) -> None:
        """Plan and commit until there is nothing to do at this moment."""
        for _ in range(PLANS_AT_MOST):
            planned = self.plan()
            if not planned.changes:
                return
            self.commit_plan(planned)
        raise AssertionError(f"no end after {PLANS_AT_MOST} plans: {planned.changes}")

    def commit_plan(self, planned: Plan) -> None:
        """What the leader does with a plan."""
        since = len(self._events)
        self.commit(*planned.changes)
        if self.checks:
            check_planned(self.store, self._events[since:], self.now_ns)
            check_state(self.store)

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline on the way."""
        until_ns = self.now_ns + int(seconds * SECOND_NS)
        self.settle()
        while self.last.deadline_ns is not None and self.last.deadline_ns <= until_ns:
            self.now_ns = max(self.now_ns, self.last.deadline_ns)
            self.settle()
        self.now_ns = until_ns
        self.settle()

    # -- agents ----------------------------------------------------------------------------------------------------

    def report(self, task: Task, state: TaskState, **fields: object) -> None:
        self.commit(status_of(task.id, TaskStatus(state, self.now_ns, **fields)))  # type: ignore[arg-type]

    def fail(self, task: Task, code: int = 1) -> None:
        self.report(task, TaskState.FAILED, err=f"task: non-zero exit ({code})", exit_code=code)

    def step_agents(self, only: Iterable[str] | None = None) -> bool:
        """Every task on a reachable node goes one step towards what is wished. Whether one did."""
        moved = False
        for task in self.store.all(Kind.TASK):
            node = self.store.get(Kind.NODE, task.node_id) if task.node_id else None
            if node is None or node.status.state is not NodeState.READY or (only is not None and node.id not in only):
                continue
            after = next_state(task)
            if after is not None:
                self.report(task, after)
                moved = True
        return moved

    def run(self) -> None:
        """Let planner and agents work until nothing moves at this moment."""
        self.settle()
        for _ in range(PLANS_AT_MOST):
            if not self.step_agents():
                return
            self.settle()
        raise AssertionError("agents and planner never come to rest")


def next_state(task: Task) -> TaskState | None:
    """What an agent reports next of a healthy task; None when it is where it should be."""
    state = task.status.state
    if is_final(state) or state < TaskState.ASSIGNED:
        return None
    if not is_wished(task.desired_state):
        return TaskState.SHUTDOWN
    if task.desired_state is TaskState.COMPLETE and state is TaskState.RUNNING:
        return TaskState.COMPLETE
    target = min(task.desired_state, TaskState.RUNNING)
    return STEPS[STEPS.index(state) + 1] if state < target else None


def service_spec(
    name: str, *, replicas: int | None = 1, image: str = "busybox", global_: bool = False, mode: ServiceMode | None = None, **fields: object
) -> ServiceSpec:
    """A service's spec. `networks`, `ports` and the task's own fields may be given flat."""
    task: dict[str, object] = {"container": ContainerSpec(image)}
    rest: dict[str, object] = {}
    for key, value in fields.items():
        if key == "networks":
            task["networks"] = tuple(NetworkAttachmentConfig(n) for n in value)  # type: ignore[attr-defined]
        elif key == "ports":
            rest["endpoint"] = EndpointSpec(ports=tuple(value))  # type: ignore[arg-type]
        elif key in ("limits", "reservations", "restart", "placement", "container"):
            task[key] = value
        else:
            rest[key] = value
    mode = mode or (ServiceMode(ServiceModeKind.GLOBAL) if global_ else ServiceMode(ServiceModeKind.REPLICATED, replicas))
    return ServiceSpec(name, TaskSpec(**task), mode=mode, **rest)  # type: ignore[arg-type]


def port(target: int, published: int = 0, **fields: object) -> PortConfig:
    return PortConfig("tcp", target, published, **fields)  # type: ignore[arg-type]
