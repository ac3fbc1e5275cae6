"""SwarmKit's mistakes as properties: each holds of our planner, and fails on a copy of the mistake (planner_mutants.py)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cluster.model.changes import Kind
from cluster.model.errors import ClusterError
from cluster.model.objects import Task
from cluster.model.placement_labels import PRIORITY, wish_of
from cluster.model.specs import Availability, GenericResource, IpamConfig, Placement, Resources
from cluster.model.task_state import TaskState, is_final
from manager.scheduler.usage import NodeUse, holds_node
from sim.checks.soundness import check_state
from sim.failure import Broken
from tests.property.planner_mutants import MUTANTS, Mutant
from tests.unit.planner.world import World, port

GIB = 1 << 30
NODE_GIB = 8


def host_port_stays_with_its_other_holders(numbers: list[int]) -> None:
    use, held = NodeUse(), list[tuple[str, int]]()
    for number in numbers:
        taken = ("tcp", 8000 + number % 2)
        if number % 3 == 0 and taken in held:
            held.remove(taken)
            use.claim(Resources(), [taken], -1)
        else:
            held.append(taken)
            use.claim(Resources(), [taken], 1)
        assert set(use.ports) == set(held)


def drained_node_gets_nothing(numbers: list[int]) -> None:
    world = World(nodes=2)
    world.service("a", replicas=1 + numbers[0] % 5)
    planned = world.plan()
    world.set_availability("n1", Availability.DRAIN)
    with contextlib.suppress(ClusterError):
        world.commit_plan(planned)
    assert not [t for t in world.tasks() if t.node_id == "n1" and t.status.state is TaskState.ASSIGNED]


def refused_plan_is_made_again(numbers: list[int]) -> None:
    world = World(nodes=2)
    world.service("a", replicas=4)
    world.run()
    world.scale("a", numbers[0] % 4)
    world.plan()  # and nobody proposes it
    world.settle()
    assert len(world.live("a")) == numbers[0] % 4


def what_may_run_is_not_deleted(numbers: list[int]) -> None:
    world = World(nodes=2)
    world.service("a", replicas=4)
    world.run()
    running = {t.id for t in world.running("a")}
    world.scale("a", numbers[0] % 4)
    world.settle()
    assert running <= {t.id for t in world.tasks()}


def every_violator_leaves(numbers: list[int]) -> None:
    world = World(nodes=2)
    world.label("n1", disk="ssd")
    world.service("a", replicas=2 + numbers[0] % 3, placement=Placement(("node.labels.disk==ssd",)))
    world.run()
    world.label("n1", disk="old")
    world.settle()
    assert all(t.desired_state > TaskState.RUNNING for t in world.tasks("a") if holds_node(t))


def status_never_goes_back(numbers: list[int]) -> None:
    world = World(nodes=1)
    world.service("a")
    world.settle()
    (task,) = world.tasks("a")
    seen = task.status.state
    states = (TaskState.PREPARING, TaskState.STARTING, TaskState.RUNNING, TaskState.ACCEPTED)
    for number in numbers:
        world.report(task, states[number % 4])
        now = world.get_task(task.id).status.state
        assert now >= seen
        seen = now


def unchanged_ports_keep_their_numbers(numbers: list[int]) -> None:
    world = World(nodes=1, ingress=True)
    world.service("a", ports=[port(80), port(81)])
    world.settle()
    had = {p.target_port: p.published_port for p in world.get_service("a").endpoint.ports}  # type: ignore[union-attr]
    world.update("a", ports=[port(70 + numbers[0] % 10), port(81), port(80)])
    world.settle()
    now = {p.target_port: p.published_port for p in world.get_service("a").endpoint.ports}  # type: ignore[union-attr]
    assert {target: now[target] for target in had} == had


def failed_allocation_changes_nothing(numbers: list[int]) -> None:
    world = World(nodes=1, ingress=True)
    world.service("other", ports=[port(80, 8080)])
    world.service("a", ports=[port(80, 9000 + numbers[0] % 10)])
    world.run()
    had = world.get_service("a").endpoint
    world.update("a", ports=[port(80, 8080)])
    world.settle()
    assert world.get_service("a").endpoint == had


def every_filter_is_told(numbers: list[int]) -> None:
    world = World(nodes=1)
    world.set_availability("n1", Availability.PAUSE)
    world.service("a", reservations=Resources(0, (NODE_GIB + 1 + numbers[0]) * GIB), placement=Placement(("node.labels.x==y",)))
    world.settle()
    ((_, words),) = world.reasons[world.tasks()[0].id].nodes
    assert all(part in words for part in ("node is paused", "insufficient resources", "constraint node.labels.x==y"))


def who_waits_says_why(numbers: list[int]) -> None:
    world = World(nodes=1)
    tiny = world.network("tiny", ipam=(IpamConfig("10.9.0.0/30"),))
    world.service("a", replicas=2 + numbers[0] % 3, networks=[tiny])
    world.settle()
    assert all(t.status.err for t in world.live("a") if t.status.state < TaskState.ASSIGNED)


def evictions_are_strictly_lower_and_needed(numbers: list[int]) -> None:
    world = World(nodes=2)
    for place, number in enumerate(numbers):
        before = {t.id: t for t in world.tasks()}
        priority = (0, 1, 5)[number % 3]
        name = f"s{place}"
        world.service(name, reservations=Resources(0, (1 + number % 6) * GIB), labels=((PRIORITY, str(priority)),))
        world.settle()
        ran = {id_ for id_, task in before.items() if task.desired_state is TaskState.RUNNING}
        victims = [t for t in world.tasks() if t.stop_cause.startswith(f"preempted by {name}.") and t.id in ran]
        assert all(_priority(world, victim) < priority for victim in victims)
        room = NODE_GIB - sum(_gib(t) for t in world.live() if victims and t.node_id == victims[0].node_id and not is_final(t.status.state))
        assert all(room - _gib(victim) < 1 + number % 6 for victim in victims), "one of them could have stayed"
        world.run()


def generic_resources_are_summed_and_given_once(numbers: list[int]) -> None:
    world = World(nodes=2)
    for place, number in enumerate(numbers):
        kind = ("gpu", "card")[number % 2]
        asked = (GenericResource(kind), GenericResource(kind, number % 3 // 2))
        world.service(f"s{place}", reservations=Resources(generic=asked))
        world.run()
        check_state(world.store)
        if number > 8 and f"s{place - 1}" in {s.id for s in world.store.all(Kind.SERVICE)}:
            world.remove(f"s{place - 1}")


def _gib(task: Task) -> int:
    return task.spec.reservations.memory_bytes // GIB if task.spec.reservations else 0


def _priority(world: World, task: Task) -> int:
    return wish_of(world.get_service(task.service_id).spec.labels).priority


CAUGHT_BY: dict[str, Callable[[list[int]], None]] = {
    "one holder's end frees a host port for all": host_port_stays_with_its_other_holders,
    "a node that was drained meanwhile gets the task": drained_node_gets_nothing,
    "what a refused plan was to do is lost": refused_plan_is_made_again,
    "tasks on their way out are deleted while they run": what_may_run_is_not_deleted,
    "the constraint enforcer stops after the first violator": every_violator_leaves,
    "a later, lower status overwrites a higher one": status_never_goes_back,
    "a new port renumbers the others": unchanged_ports_keep_their_numbers,
    "a failed update of ports frees those that it had": failed_allocation_changes_nothing,
    "only the first filter is told": every_filter_is_told,
    "nobody says why a task is still new": who_waits_says_why,
    "more is evicted than needed": evictions_are_strictly_lower_and_needed,
    "generic resources are checked entry by entry": generic_resources_are_summed_and_given_once,
    "a name that is in use is given again": generic_resources_are_summed_and_given_once,
    "equals are evicted": evictions_are_strictly_lower_and_needed,
}


def examined(check: Callable[[list[int]], None]) -> None:
    """The property on drawn numbers."""
    numbers = st.lists(st.integers(0, 11), min_size=3, max_size=10)
    settings(max_examples=40, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])(given(numbers)(check))()


@contextlib.contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    right = getattr(mutant.module, mutant.name)
    setattr(mutant.module, mutant.name, mutant.mistake)
    try:
        yield
    finally:
        setattr(mutant.module, mutant.name, right)


@pytest.mark.parametrize("check", dict.fromkeys(CAUGHT_BY.values()), ids=lambda check: check.__name__)
def test_the_property_holds(check: Callable[[list[int]], None]) -> None:
    examined(check)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mistake_is_caught(name: str) -> None:
    with planted(MUTANTS[name]), pytest.raises((AssertionError, Broken)):
        examined(CAUGHT_BY[name])
