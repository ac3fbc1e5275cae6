"""Whatever users do and whatever fails: every step of the planner keeps the invariants, and when the faults stop, what
was asked for runs. Through the real store, with agents that do as they are told."""

from __future__ import annotations

import contextlib

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from cluster.model.changes import Kind
from cluster.model.errors import ClusterError
from cluster.model.objects import NodeState, Service, Task, UpdateState
from cluster.model.schedule import LABEL
from cluster.model.specs import (
    Availability,
    FailureAction,
    GenericResource,
    Placement,
    PublishMode,
    Resources,
    RestartCondition,
    RestartPolicy,
    ServiceMode,
    ServiceModeKind,
    UpdateConfig,
    UpdateOrder,
)
from cluster.model.task_state import TaskState, is_final, is_wished
from manager.orchestrator import constraints
from manager.orchestrator.jobs import totals
from tests.unit.planner.world import SECOND_NS, World, port

NAMES = ("a", "b", "c", "d")
NODES_AT_MOST = 5
JOBS = ("j", "k")
CONVERGENCE_S = 400

job_modes = st.one_of(
    st.builds(ServiceMode, st.just(ServiceModeKind.REPLICATED_JOB), st.integers(0, 6), st.integers(0, 4)),
    st.just(ServiceMode(ServiceModeKind.GLOBAL_JOB)),
)
job_specs = st.fixed_dictionaries(
    {"image": st.sampled_from(("one", "two"))},
    optional={
        "networks": st.just(["net1"]),
        "labels": st.just(((LABEL, "*/2 * * * *"),)),
        "placement": st.just(Placement(("node.labels.disk!=old",))),
        "restart": st.builds(
            RestartPolicy, st.sampled_from(RestartCondition), st.sampled_from((0, SECOND_NS)), st.sampled_from((None, 1))
        ),
    },
)

specs = st.fixed_dictionaries(
    {"image": st.sampled_from(("one", "two", "three"))},
    optional={
        "networks": st.sampled_from((["net1"], ["net1", "net2"])),
        "ports": st.sampled_from(
            ([port(80)], [port(80), port(81)], [port(80, publish_mode=PublishMode.HOST, published=8000)])
        ),
        "reservations": st.sampled_from((Resources(0, 1 << 30), Resources(500_000_000, 0), Resources(generic=(GenericResource("gpu", 1),)))),
        "labels": st.sampled_from(
            (
                (("festoon.priority", "5"),),
                (("festoon.rebalance", "auto"),),
                (("festoon.priority", "-3"),),
                (("festoon.placement-strategy", "pack"), ("festoon.priority", "1")),
            )
        ),
        "placement": st.sampled_from(
            (Placement(("node.labels.disk!=old",)), Placement(max_replicas=3), Placement(spread=("node.labels.disk",)))
        ),
        "restart": st.sampled_from((RestartPolicy(delay_ns=0), RestartPolicy(delay_ns=SECOND_NS))),
        "update": st.builds(
            UpdateConfig,
            parallelism=st.integers(0, 2),
            delay_ns=st.sampled_from((0, SECOND_NS)),
            failure_action=st.sampled_from(FailureAction),
            order=st.sampled_from(UpdateOrder),
        ),
    },
)


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(nodes=3, ingress=True)
        self.world.network("net1")
        self.world.network("net2")
        self.world.settle()

    def services(self) -> list[str]:
        return [s.id for s in self.world.store.all(Kind.SERVICE)]

    def long_lived(self) -> list[str]:
        return [name for name in self.services() if name not in JOBS]

    def nodes(self) -> list[str]:
        return [n.id for n in self.world.store.all(Kind.NODE)]

    # -- users -----------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(JOBS), mode=job_modes, spec=job_specs)
    def create_job_or_run_it_again(self, name: str, mode: ServiceMode, spec: dict[str, object]) -> None:
        if name not in self.services():
            self.world.service(name, mode=mode, **spec)
        elif self.world.get_service(name).spec.mode.kind is mode.kind:
            self.world.update(name, mode=mode, **spec)
        self.world.settle()

    @rule(name=st.sampled_from(NAMES), replicas=st.integers(0, 5), global_=st.booleans(), spec=specs)
    def create_or_update(self, name: str, replicas: int, global_: bool, spec: dict[str, object]) -> None:
        if name in self.services():
            kind = self.world.get_service(name).spec.mode.kind
            self.world.update(name, replicas=replicas, global_=kind is ServiceModeKind.GLOBAL, **spec)
        else:
            self.world.service(name, replicas=replicas, global_=global_, **spec)
        self.world.settle()

    @precondition(services)
    @rule(data=st.data(), replicas=st.integers(0, 6))
    def scale(self, data: st.DataObject, replicas: int) -> None:
        name = data.draw(st.sampled_from(self.services()))
        if self.world.get_service(name).spec.mode.kind is ServiceModeKind.REPLICATED:
            self.world.scale(name, replicas)
            self.world.settle()

    @precondition(services)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.world.remove(data.draw(st.sampled_from(self.services())))
        self.world.settle()

    @precondition(lambda self: self.long_lived())
    @rule(data=st.data(), replicas=st.integers(1, 4))
    def a_plan_comes_too_late(self, data: st.DataObject, replicas: int) -> None:
        name = data.draw(st.sampled_from(self.long_lived()))
        self.world.update(name, replicas=replicas, image="late", global_=self.is_global(name))
        planned = self.world.plan()
        self.world.update(name, replicas=replicas, image="later", global_=self.is_global(name))
        with contextlib.suppress(ClusterError):
            self.world.commit_plan(planned)
        self.world.settle()

    def is_global(self, name: str) -> bool:
        return self.world.get_service(name).spec.mode.kind is ServiceModeKind.GLOBAL

    # -- nodes -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.nodes()) < NODES_AT_MOST)
    @rule()
    def node_joins(self) -> None:
        self.world.node(f"n{self.world.counter + 1}")
        self.world.settle()

    @rule(data=st.data(), state=st.sampled_from((NodeState.DOWN, NodeState.READY, NodeState.UNKNOWN)))
    def node_state(self, data: st.DataObject, state: NodeState) -> None:
        if self.nodes():
            self.world.set_state(data.draw(st.sampled_from(self.nodes())), state)
            self.world.settle()

    @rule(data=st.data(), availability=st.sampled_from(Availability))
    def node_availability(self, data: st.DataObject, availability: Availability) -> None:
        if self.nodes():
            self.world.set_availability(data.draw(st.sampled_from(self.nodes())), availability)
            self.world.settle()

    @rule(data=st.data(), disk=st.sampled_from(("old", "new")))
    def node_label(self, data: st.DataObject, disk: str) -> None:
        if self.nodes():
            self.world.label(data.draw(st.sampled_from(self.nodes())), disk=disk)
            self.world.settle()

    @precondition(lambda self: len(self.nodes()) > 1)
    @rule(data=st.data())
    def node_removed(self, data: st.DataObject) -> None:
        self.world.remove_node(data.draw(st.sampled_from(self.nodes())))
        self.world.settle()

    # -- agents and time ---------------------------------------------------------------------------------------------

    @rule(steps=st.integers(1, 8))
    def agents_work(self, steps: int) -> None:
        for _ in range(steps):
            self.world.step_agents()
            self.world.settle()

    @rule(data=st.data(), state=st.sampled_from((TaskState.FAILED, TaskState.COMPLETE, TaskState.REJECTED)))
    def task_ends(self, data: st.DataObject, state: TaskState) -> None:
        tasks = [t for t in self.world.tasks() if TaskState.ASSIGNED <= t.status.state <= TaskState.RUNNING]
        if tasks:
            self.world.report(data.draw(st.sampled_from(tasks)), state, err="ended" if state.value > 600 else "")
            self.world.settle()

    @rule(seconds=st.sampled_from((0.5, 1, 5, 70)))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    # -- the end -----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """The faults stop. What was asked for must come to run, for ever, and nothing else be left."""
        world = self.world
        for id_ in self.nodes():
            world.set_state(id_, NodeState.READY)
            world.set_availability(id_, Availability.ACTIVE)
            world.label(id_, disk="new")
        until_ns = world.now_ns + CONVERGENCE_S * SECOND_NS
        world.run()
        while world.last.deadline_ns is not None and world.now_ns < until_ns:
            world.now_ns = max(world.now_ns, world.last.deadline_ns)
            world.run()
        finished: dict[object, int] = {}
        for task in world.tasks():
            assert task.desired_state < TaskState.REMOVE, "a task is still pending removal"
            if is_final(task.status.state) and task.status.state is not TaskState.COMPLETE:
                key = (task.service_id, task.slot or task.node_id)
                finished[key] = finished.get(key, 0) + 1
        assert all(count <= 5 for count in finished.values()), "too much history"
        for service in world.store.all(Kind.SERVICE):
            if service.spec.mode.kind.is_job:
                self.check_over(service)
            else:
                self.check_converged(service.id)

    def check_over(self, service: Service) -> None:
        """Each slot of the job's last run has completed, once, or was given up; nothing of an earlier run is left."""
        everything = self.world.tasks(service.id)
        assert all(is_final(t.status.state) for t in everything if t.job_iteration != service.job_iteration)
        tasks = [t for t in everything if t.job_iteration == service.job_iteration]
        if any("no suitable node" in t.status.err for t in tasks) or not service.job_iteration:
            return
        slots: dict[object, list[Task]] = {}
        for task in tasks:
            slots.setdefault(task.slot or task.node_id, []).append(task)
        policy = service.spec.task.restart or RestartPolicy()
        may_give_up = policy.condition is RestartCondition.NONE or bool(policy.max_attempts)
        for found in slots.values():
            assert all(is_final(t.status.state) for t in found)
            completions = sum(t.status.state is TaskState.COMPLETE for t in found)
            assert completions >= 1 or may_give_up
            if completions:
                assert not any(is_wished(t.desired_state) for t in found if t.status.state is not TaskState.COMPLETE)
        if service.spec.mode.kind is ServiceModeKind.REPLICATED_JOB:
            concurrent, total = totals(service)
            assert len(slots) == (total if concurrent else 0)

    def check_converged(self, name: str) -> None:
        world, service = self.world, self.world.get_service(name)
        running = world.running(name)
        placement = service.spec.task.placement or Placement()
        parsed = constraints.parse_all(placement.constraints)
        eligible = [n for n in world.store.all(Kind.NODE) if constraints.satisfied(parsed, n)]
        if service.spec.mode.kind is ServiceModeKind.GLOBAL:
            if self.fits_everywhere():
                assert {t.node_id for t in running} == {n.id for n in eligible}
            return
        if self.waits_for_its_own_room(service):
            return
        wanted = service.spec.mode.replicas or 0
        if placement.max_replicas:
            wanted = min(wanted, placement.max_replicas * len(eligible))
        if self.fits_everywhere():
            assert len(running) == wanted
        assert len({t.slot for t in running}) == len(running)

    def waits_for_its_own_room(self, service: Service) -> bool:
        """Whether an update that starts first has no place to start: the tasks that it is to replace fill the nodes up to the new limit per node."""
        starts_first = service.spec.update is not None and service.spec.update.order is UpdateOrder.START_FIRST
        under_way = service.update_status is not None and service.update_status.state is UpdateState.UPDATING
        return starts_first and under_way and any("max replicas per node" in t.status.err for t in self.world.live() if t.service_id == service.id)

    def fits_everywhere(self) -> bool:
        """Whether the nodes have room: no service publishes ports of its nodes, none asks for more than there is."""
        if any("insufficient resources" in t.status.err for t in self.world.live()):
            return False
        return not any(
            p.publish_mode is PublishMode.HOST
            for s in self.world.store.all(Kind.SERVICE)
            for p in (s.spec.endpoint.ports if s.spec.endpoint else ())
        )


TestCluster = Cluster.TestCase
TestCluster.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
