"""`plan`: what would be placed, stopped and left over is what comes of the same requests when they are made."""

from __future__ import annotations

import random

import msgspec
import pytest

from cluster.model.changes import Kind
from cluster.model.errors import Conflict
from cluster.model.specs import Availability, NetworkSpec, Placement, Resources, ServiceMode, ServiceModeKind, UpdateConfig
from cluster.wire.calls import Preview, PreviewAnswer, ServiceWrite
from manager.control import services
from manager.preview import preview
from manager.store import Store
from tests.unit.planner.world import World, service_spec


def planned(world: World, *writes: ServiceWrite, networks: tuple[NetworkSpec, ...] = ()) -> PreviewAnswer:
    digest = world.store.digest()
    copy = Store.of(world.store.index, tuple(obj for kind in Kind for obj in world.store.all(kind)))
    assert copy.digest() == digest
    answer = preview(copy, Preview(networks, writes), world.now_ns, random.Random(5))
    assert world.store.digest() == digest
    return answer


def test_a_new_service_goes_where_it_would_really_go() -> None:
    world = World(nodes=3)
    world.service("old", replicas=2)
    world.run()
    spec = service_spec("new", replicas=4)
    (made,) = planned(world, ServiceWrite(spec)).services
    assert (made.name, len(made.placed), made.stopped, made.waiting, made.kept) == ("new", 4, (), (), 0)
    changes, _ = services.create(world.store, ServiceWrite(spec), world.now_ns, world.rng)
    world.commit(*changes)
    world.run()
    really = sorted((task.slot, task.node_id) for task in world.tasks(world.store.find(Kind.SERVICE, "new").id))
    assert [(int(task.name.rpartition(".")[2]), task.node) for task in made.placed] == really


def test_an_update_is_followed_to_its_end() -> None:
    world = World(nodes=2)
    world.service("a", replicas=4)
    world.service("b")
    world.run()
    service = world.get_service("a")
    update = UpdateConfig(parallelism=1, delay_ns=10_000_000_000)
    write = ServiceWrite(service_spec("a", replicas=4, image="other", update=update), service.id, service.meta.version)
    answer = planned(world, write)
    (made,) = answer.services
    assert answer.settled
    assert (len(made.placed), len(made.stopped), made.kept) == (4, 4, 0)
    assert all(task.why for task in made.stopped)


def test_scaling_keeps_what_runs() -> None:
    world = World(nodes=2)
    world.service("a", replicas=2)
    world.run()
    service = world.get_service("a")
    (made,) = planned(world, ServiceWrite(service_spec("a", replicas=3), service.id, service.meta.version)).services
    assert (len(made.placed), made.stopped, made.kept) == (1, (), 2)
    (made,) = planned(world, ServiceWrite(service_spec("a", replicas=1), service.id, service.meta.version)).services
    assert (made.placed, [(task.name, task.why) for task in made.stopped], made.kept) == ((), [("a.2", "scaled down")], 1)


def test_what_finds_no_place_says_why_node_by_node() -> None:
    world = World(nodes=2)
    world.set_availability("n2", Availability.DRAIN)
    world.settle()
    greedy = service_spec("greedy", replicas=2, reservations=Resources(3_000_000_000, 0))
    picky = service_spec("picky", placement=Placement(("node.labels.disk==ssd",)))
    one, other = planned(world, ServiceWrite(greedy), ServiceWrite(picky)).services
    assert [task.node for task in one.placed] == ["n1"]
    assert [task.why for task in one.waiting] == ["no suitable node (1 node not available for new tasks; insufficient resources on 1 node)"]
    assert len(other.waiting) == 1
    assert [host for host, _ in other.waiting[0].nodes] == ["n1", "n2"]


def test_networks_that_are_not_there_yet_and_dependencies_are_planned_with() -> None:
    world = World(nodes=1)
    web = service_spec("web", networks=("front",), labels=(("festoon.depends-on", "db=started"),))
    web_answer, db_answer = planned(world, ServiceWrite(web), ServiceWrite(service_spec("db")), networks=(NetworkSpec("front"),)).services
    assert (len(web_answer.placed), len(db_answer.placed)) == (1, 1)
    assert world.store.all(Kind.NETWORK) == ()


def test_a_request_that_would_be_refused_is_refused() -> None:
    world = World(nodes=1)
    world.service("a")
    world.run()
    with pytest.raises(Conflict, match="service a already exists"):
        planned(world, ServiceWrite(service_spec("a")))




def test_a_job_is_followed_to_its_end_and_its_times_are_not_waited_for() -> None:
    world = World(nodes=2)
    mode = ServiceMode(ServiceModeKind.REPLICATED_JOB, 5, max_concurrent=2)
    spec = msgspec.structs.replace(service_spec("job", labels=(("festoon.schedule", "*/5 * * * *"),)), mode=mode)
    answer = planned(world, ServiceWrite(spec))
    assert answer.settled
    (made,) = answer.services
    assert (made.name, len(made.stopped), len(made.waiting)) == ("job", 0, 0)
    at_once = msgspec.structs.replace(service_spec("job"), mode=mode)
    (made,) = planned(world, ServiceWrite(at_once)).services
    assert len({task.name for task in made.placed}) == 5
