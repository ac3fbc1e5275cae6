"""Which items a node is told, and that the fold of its deltas is always the full set."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.model.assignments import Backend, BalancerItem, ConfigItem, EndpointItem, Item, NetworkItem, PortSettings, SecretItem, TaskItem
from cluster.model.changes import Change, Kind, Object, created, deleted, status_of, updated
from cluster.model.ids import ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId
from cluster.model.objects import (
    Config,
    Endpoint,
    Network,
    Node,
    NodeAttachment,
    NodeState,
    NodeStatus,
    Secret,
    Service,
    Task,
    TaskNetwork,
    TaskStatus,
    VirtualIp,
)
from cluster.model.specs import (
    ContainerSpec,
    DependencyFile,
    DependencySpec,
    NetworkAttachmentConfig,
    NetworkSpec,
    NodeSpec,
    PortConfig,
    ServiceSpec,
    TaskSpec,
)
from cluster.model.task_state import TaskState
from manager.dispatcher.assignments import DATA_PER_MESSAGE_BYTES, Board, data_bytes
from manager.dispatcher.desk import complete_messages
from manager.store import Store

INGRESS, NET = NetworkId("ingress"), NetworkId("net")
NODES = tuple(NodeId(f"node{i}") for i in range(3))
SPEC = TaskSpec(ContainerSpec("busybox"), networks=(NetworkAttachmentConfig(NET, ("alias",)),))


def network(network_id: NetworkId = NET, *, ingress: bool = False) -> Network:
    subnet = "10.0.0.0/24" if ingress else "10.0.1.0/24"
    return Network(network_id, NetworkSpec(network_id, ingress=ingress), vni=4097, subnet=subnet)


def node(number: int, address: str | None = None, attached: tuple[NetworkId, ...] = (INGRESS, NET)) -> Node:
    lb = {INGRESS: f"10.0.0.{100 + number}/24", NET: f"10.0.1.{100 + number}/24"}
    where = f"192.0.2.{number + 1}" if address is None else address
    return Node(
        NODES[number],
        NodeSpec(),
        status=NodeStatus(NodeState.READY, address=where),
        attachments=tuple(NodeAttachment(n, lb[n]) for n in attached),
    )


def task(number: int, where: int, state: TaskState = TaskState.RUNNING, desired: TaskState = TaskState.RUNNING) -> Task:
    return Task(
        TaskId(f"task{number}"),
        ServiceId("svc"),
        SPEC,
        service_name="web",
        slot=number,
        node_id=NODES[where],
        status=TaskStatus(state),
        desired_state=desired,
        networks=(TaskNetwork(NET, f"10.0.1.{number + 2}/24"),),
    )


def service() -> Service:
    ports = (PortConfig(target_port=80, published_port=8080),)
    vips = (VirtualIp(INGRESS, "10.0.0.5/24", 256), VirtualIp(NET, "10.0.1.200/24", 257))
    return Service(ServiceId("svc"), ServiceSpec("web", SPEC), endpoint=Endpoint(ports, vips))


class World:
    """A store, a board that follows it, and what each open session has been told."""

    def __init__(self, *objects: Object) -> None:
        self.store = Store()
        self.store.apply(1, tuple(created(o) for o in objects))
        self.board = Board(o for kind in Kind for o in self.store.all(kind))
        self.told: dict[NodeId, dict[str, Item]] = {}
        self.version: dict[NodeId, int] = {}

    def open(self, number: int) -> dict[str, Item]:
        node_id = NODES[number]
        self.told[node_id] = {item.key: item for item in self.board.open(node_id)}
        self.board.opened(node_id, 1)
        self.version[node_id] = 1
        return self.told[node_id]

    def apply(self, *changes: Change) -> dict[NodeId, tuple[tuple[Item, ...], tuple[str, ...]]]:
        batch = self.store.apply(self.store.index + 1, changes)
        return self.send(self.board.feed(batch.events))

    def send(self, nodes: Iterable[NodeId]) -> dict[NodeId, tuple[tuple[Item, ...], tuple[str, ...]]]:
        deltas = {}
        for node_id in nodes:
            delta = self.board.take(node_id)
            for key in delta.removals:
                self.told[node_id].pop(key, None)
            self.told[node_id].update({item.key: item for item in delta.upserts})
            deltas[node_id] = (delta.upserts, delta.removals)
            self.version[node_id] += 1
        return deltas

    def acknowledge(self, number: int) -> dict[NodeId, tuple[tuple[Item, ...], tuple[str, ...]]]:
        return self.send(self.board.acknowledge(NODES[number], self.version[NODES[number]]))

    def desired(self, number: int, where: int) -> TaskState:
        """What the agent of node `where` believes that the task shall do."""
        item = self.told[NODES[where]][f"task/task{number}"]
        assert isinstance(item, TaskItem)
        return item.task.desired_state

    def update(self, item: Object, **what: object) -> Change:
        current = self.store.get(Kind[type(item).__name__.upper()], item.id)
        assert current is not None
        return updated(msgspec.structs.replace(current, **what))


def keys(items: dict[str, Item], kind: type[Item]) -> set[str]:
    return {key for key, item in items.items() if isinstance(item, kind)}


def test_a_node_gets_its_own_tasks_only() -> None:
    world = World(node(0), node(1), network(), task(1, 0), task(2, 1), task(3, 0, TaskState.FAILED))
    assert keys(world.open(0), TaskItem) == {"task/task1", "task/task3"}


def test_a_task_that_still_waits_for_its_node_is_not_told() -> None:
    """A global service's task belongs to its node while that is paused, or its port taken."""
    waiting = task(1, 0, TaskState.PENDING)
    world = World(node(0), network(), waiting)
    assert keys(world.open(0), TaskItem) == set()
    world.apply(world.update(waiting, status=TaskStatus(TaskState.ASSIGNED)))
    assert keys(world.told[NODES[0]], TaskItem) == {"task/task1"}
    world.apply(created(task(2, 0, TaskState.PENDING)))
    assert keys(world.told[NODES[0]], TaskItem) == {"task/task1"}


def test_a_network_comes_with_an_unfinished_task_and_goes_with_the_last() -> None:
    world = World(node(0), node(1), network(), service(), task(2, 1))
    assert keys(world.open(0), NetworkItem) == set()
    world.apply(created(task(1, 0, TaskState.ASSIGNED)))
    told = world.told[NODES[0]]
    assert told["network/net"] == NetworkItem(world.store.all(Kind.NETWORK)[0], "10.0.1.100/24")
    assert "endpoint/net/10.0.1.4/24" in told
    assert "balancer/net/svc" in told
    world.apply(status_of("task1", TaskStatus(TaskState.FAILED, 5)))
    assert set(told) == {"task/task1"}


def test_of_a_network_that_each_node_makes_for_itself_only_the_network_is_told() -> None:
    own = Network(NET, NetworkSpec(NET, driver="bridge"))
    placed = msgspec.structs.replace(task(1, 0), networks=(TaskNetwork(NET, ""),))
    world = World(node(0, attached=()), node(1, attached=()), own, service(), placed)
    assert world.open(0)["network/net"] == NetworkItem(world.store.all(Kind.NETWORK)[0], "")
    assert set(world.told[NODES[0]]) == {"network/net", "task/task1"}
    assert world.open(1) == {}


def test_every_node_takes_part_in_the_ingress_network() -> None:
    world = World(node(0), node(1))
    assert world.open(1) == {}
    world.apply(created(network(INGRESS, ingress=True)), created(service()))
    told = world.told[NODES[1]]
    assert {"network/ingress", "endpoint/ingress/10.0.0.100/24", "endpoint/ingress/10.0.0.101/24"} <= set(told)
    item = told["balancer/ingress/svc"]
    assert isinstance(item, BalancerItem)
    assert (item.virtual_ip, item.mark, item.ports) == ("10.0.0.5", 256, (PortConfig(target_port=80, published_port=8080),))


def test_reserved_labels_say_how_a_port_is_balanced() -> None:
    said = (("festoon.port.8080.affinity", "client-ip"), ("festoon.port.53.source-ip", "masquerade"), ("festoon.port.53/udp.source-ip", "preserve"))
    ports = (PortConfig("tcp", 80, 8080), PortConfig("tcp", 53, 53), PortConfig("udp", 53, 53), PortConfig("udp", 69, 69), PortConfig("sctp", 90, 90))
    labelled = msgspec.structs.replace(
        service(), spec=ServiceSpec("web", SPEC, labels=said), endpoint=Endpoint(ports, (VirtualIp(INGRESS, "10.0.0.5/24", 256),))
    )
    world = World(node(0), network(INGRESS, ingress=True), labelled)
    item = world.open(0)["balancer/ingress/svc"]
    assert isinstance(item, BalancerItem)
    hidden = PortSettings(masquerade=True)
    assert item.settings == (PortSettings(affinity=True), hidden, PortSettings(), hidden, hidden)


def test_a_network_waits_for_the_nodes_own_address() -> None:
    world = World(node(0, attached=()), network(), task(1, 0))
    assert set(world.open(0)) == {"task/task1"}
    world.apply(world.update(node(0), attachments=(NodeAttachment(NET, "10.0.1.100/24"),)))
    assert "network/net" in world.told[NODES[0]]


def test_backends_run_drain_and_go() -> None:
    world = World(node(0), node(1), network(), service(), task(1, 0), task(2, 1, TaskState.STARTING))
    told = world.open(0)

    def live() -> tuple[Backend, ...]:
        item = told["balancer/net/svc"]
        assert isinstance(item, BalancerItem)
        return item.backends

    first = Backend("10.0.1.3", 1, TaskId("task1"))
    assert live() == (first,)
    world.apply(status_of("task2", TaskStatus(TaskState.RUNNING, 5)))
    assert live() == (first, Backend("10.0.1.4", 1, TaskId("task2")))
    world.apply(world.update(task(2, 1), desired_state=TaskState.SHUTDOWN))
    assert live() == (first, Backend("10.0.1.4", 0, TaskId("task2")))
    assert "endpoint/net/10.0.1.4/24" in told
    world.apply(status_of("task2", TaskStatus(TaskState.SHUTDOWN, 6)))
    assert live() == (first,)
    assert "endpoint/net/10.0.1.4/24" not in told


def balanced() -> World:
    """Two tasks behind one service, on nodes that have sessions; a third node has nothing to do with them."""
    world = World(node(0), node(1), node(2), network(), service(), task(1, 0), task(2, 1))
    for number in range(3):
        world.open(number)
    return world


def test_a_task_is_stopped_when_every_node_has_acknowledged_that_it_drains() -> None:
    world = balanced()
    assert set(world.apply(world.update(task(2, 1), desired_state=TaskState.SHUTDOWN))) == {NODES[0], NODES[1]}
    assert world.board.newly_held() == ("task2",)
    assert world.desired(2, 1) is TaskState.RUNNING
    assert world.acknowledge(1) == {}
    assert world.acknowledge(2) == {}
    assert list(world.acknowledge(0)) == [NODES[1]]
    assert world.desired(2, 1) is TaskState.SHUTDOWN


def test_an_acknowledgement_of_an_older_version_does_not_count() -> None:
    world = balanced()
    world.apply(world.update(task(2, 1), desired_state=TaskState.SHUTDOWN))
    for number in (0, 1):
        assert world.board.acknowledge(NODES[number], 1) == ()
    assert world.desired(2, 1) is TaskState.RUNNING


def test_a_node_that_goes_is_not_waited_for_and_a_silent_one_not_for_ever() -> None:
    world = balanced()
    world.apply(world.update(task(2, 1), desired_state=TaskState.SHUTDOWN), world.update(task(1, 0), desired_state=TaskState.SHUTDOWN))
    world.acknowledge(1)
    world.send(world.board.give_up(TaskId("task1")))
    assert (world.desired(1, 0), world.desired(2, 1)) == (TaskState.SHUTDOWN, TaskState.RUNNING)
    world.send(world.board.close(NODES[0]))
    assert world.desired(2, 1) is TaskState.SHUTDOWN
    assert world.board.give_up(TaskId("task2")) == ()


def test_a_held_task_that_ends_by_itself_is_told_at_once() -> None:
    world = balanced()
    world.apply(world.update(task(2, 1), desired_state=TaskState.SHUTDOWN))
    world.apply(status_of("task2", TaskStatus(TaskState.FAILED, 5)))
    assert world.desired(2, 1) is TaskState.SHUTDOWN


def test_a_task_that_nobody_balances_to_is_stopped_at_once() -> None:
    world = World(node(0), node(1), network(), task(1, 0), task(2, 1))
    world.open(1)
    world.apply(world.update(task(2, 1), desired_state=TaskState.SHUTDOWN))
    assert world.desired(2, 1) is TaskState.SHUTDOWN


def test_an_agent_that_comes_back_hears_of_a_held_task_as_running() -> None:
    world = balanced()
    world.apply(world.update(task(2, 1), desired_state=TaskState.SHUTDOWN))
    world.board.close(NODES[1])
    world.open(1)
    assert world.desired(2, 1) is TaskState.RUNNING
    world.acknowledge(0)
    assert world.desired(2, 1) is TaskState.SHUTDOWN


def test_after_a_managers_start_draining_goes_on_where_it_was() -> None:
    world = balanced()
    world.apply(world.update(task(2, 1), desired_state=TaskState.SHUTDOWN))
    world.board = Board(o for kind in Kind for o in world.store.all(kind))
    assert world.board.newly_held() == ("task2",)
    world.open(1)
    assert world.desired(2, 1) is TaskState.RUNNING
    world.acknowledge(1)
    world.open(0)
    world.acknowledge(0)
    assert world.desired(2, 1) is TaskState.SHUTDOWN


def test_an_agent_does_not_hear_its_own_reports() -> None:
    world = World(node(0), task(1, 0, TaskState.ASSIGNED))
    world.open(0)
    assert world.apply(status_of("task1", TaskStatus(TaskState.RUNNING, 5, container_id="c"))) == {}
    assert list(world.apply(world.update(task(1, 0), desired_state=TaskState.SHUTDOWN))) == [NODES[0]]


def test_an_agent_hears_that_its_task_was_orphaned() -> None:
    world = World(node(0), task(1, 0))
    world.open(0)
    assert list(world.apply(status_of("task1", TaskStatus(TaskState.ORPHANED, 5)))) == [NODES[0]]


def test_a_change_reaches_only_those_whom_it_concerns() -> None:
    world = World(node(0), node(1), node(2), network(), service(), task(1, 0), task(2, 1))
    for number in range(3):
        world.open(number)
    deltas = world.apply(created(task(3, 1, TaskState.ASSIGNED)))
    assert list(deltas) == [NODES[0], NODES[1]]
    assert deltas[NODES[0]] == ((EndpointItem(NET, "10.0.1.5/24", NODES[1], "192.0.2.2", TaskId("task3")),), ())


def test_a_node_that_moves_takes_its_endpoints_along() -> None:
    world = World(node(0), node(1), network(), task(1, 0), task(2, 1))
    told = world.open(0)
    world.apply(world.update(node(1), status=NodeStatus(NodeState.READY, address="198.51.100.9")))
    moved = {i.address for i in told.values() if isinstance(i, EndpointItem) and i.node_address == "198.51.100.9"}
    assert moved == {"10.0.1.4/24", "10.0.1.101/24"}


def test_an_address_that_changes_owner_in_one_entry_stays() -> None:
    world = World(node(0), network(), task(1, 0))
    told = world.open(0)
    heir = msgspec.structs.replace(task(9, 0), networks=task(1, 0).networks)
    world.apply(created(heir), deleted(task(1, 0)))
    item = told["endpoint/net/10.0.1.3/24"]
    assert isinstance(item, EndpointItem)
    assert item.task_id == "task9"
    assert "task/task1" not in told


def test_history_stays_with_the_managers() -> None:
    world = World(node(0), task(1, 0, TaskState.ASSIGNED))
    world.apply(status_of("task1", TaskStatus(TaskState.RUNNING, 5)))
    item = world.open(0)["task/task1"]
    assert isinstance(item, TaskItem)
    assert item.task.history == ()


# -- secrets and configs ----------------------------------------------------------------------------------------------


def secret(name: str, size: int = 1) -> Secret:
    return Secret(SecretId(name), DependencySpec(name, data=b"x" * size))


def using(item: Task, *names: str) -> Task:
    files = tuple(DependencyFile(name, name, name) for name in names)
    return msgspec.structs.replace(item, spec=TaskSpec(ContainerSpec("busybox", secrets=files, configs=(DependencyFile("c", "c", "c"),))), networks=())


def test_a_node_knows_the_secrets_of_its_live_tasks_alone() -> None:
    world = World(node(0), node(1), secret("a"), secret("b"), Config(ConfigId("c"), DependencySpec("c", data=b"c")), using(task(1, 0), "a"))
    told, other = world.open(0), world.open(1)
    assert keys(told, SecretItem) == {"secret/a"}
    assert keys(told, ConfigItem) == {"config/c"}
    assert other == {}
    deltas = world.apply(created(using(task(2, 1, TaskState.ASSIGNED), "a", "b")))
    assert list(deltas) == [NODES[1]]
    assert [type(item) for item in deltas[NODES[1]][0]] == [SecretItem, SecretItem, ConfigItem, TaskItem], "before the task that needs them"
    world.apply(created(using(task(3, 0), "a")))
    world.apply(status_of("task1", TaskStatus(TaskState.FAILED, 5)))
    assert keys(told, SecretItem) == {"secret/a"}, "another task still uses it"
    world.apply(status_of("task3", TaskStatus(TaskState.SHUTDOWN, 5)))
    assert keys(told, SecretItem) | keys(told, ConfigItem) == set()
    world.apply(deleted(world.store.all(Kind.SECRET)[0]))
    assert "secret/a" not in other


def test_another_label_of_a_secret_is_told_to_nobody() -> None:
    world = World(node(0), secret("a"), using(task(1, 0), "a"))
    world.open(0)
    assert world.apply(world.update(secret("a"), spec=DependencySpec("a", (("k", "v"),), b"x"))) == {}


def test_no_message_is_larger_than_the_wire_takes() -> None:
    names = [f"s{n}" for n in range(9)]
    world = World(node(0), *(secret(name, 500_000) for name in names))
    world.open(0)
    node_id, item = NODES[0], using(task(1, 0, TaskState.ASSIGNED), *names)
    world.board.feed(world.store.apply(world.store.index + 1, (created(item),)).events)
    sizes, seen = [], set()
    while any(delta := world.board.take(node_id)):
        sizes.append(sum(data_bytes(item) for item in delta.upserts))
        seen |= {item.key for item in delta.upserts}
    assert max(sizes) <= DATA_PER_MESSAGE_BYTES
    assert seen == {"task/task1", *(f"secret/{name}" for name in names)}
    messages = complete_messages(world.board.open(node_id))
    assert [(m.complete, m.applies_to, m.results_in) for m in messages] == [(True, 0, 1), (False, 1, 2), (False, 2, 3)]
    assert max(sum(data_bytes(item) for item in m.upserts) for m in messages) <= DATA_PER_MESSAGE_BYTES
    assert any(isinstance(item, TaskItem) for item in messages[0].upserts), "a task that a complete message leaves out is gone"


# -- the fold of the deltas is the full set ---------------------------------------------------------------------------

STATES = [s for s in TaskState if s is not TaskState.REMOVE]


def one_step(world: World, rng: Random) -> Change | None:
    """A random change that the store takes."""
    store = world.store
    tasks, nodes = store.all(Kind.TASK), store.all(Kind.NODE)
    match rng.randrange(9):
        case 0 | 1 if nodes:
            number = rng.randrange(20)
            if store.get(Kind.TASK, f"task{number}") is None:
                return created(task(number, rng.randrange(3), TaskState.ASSIGNED))
        case 2 | 3 | 4 if tasks:
            picked = rng.choice(tasks)
            state = rng.choice([s for s in STATES if s >= picked.status.state])
            return status_of(picked.id, TaskStatus(state, store.index))
        case 5 if tasks:
            return world.update(rng.choice(tasks), desired_state=rng.choice([TaskState.RUNNING, TaskState.SHUTDOWN]))
        case 6 if tasks:
            return deleted(rng.choice(tasks))
        case 7:
            number = rng.randrange(3)
            known = store.get(Kind.NODE, NODES[number])
            if known is None:
                return created(node(number))
            if rng.random() < 0.2:
                return deleted(known)
            other = node(number, rng.choice(["", "198.51.100.1", "192.0.2.7"]), rng.choice([(), (NET,), (INGRESS, NET)]))
            return updated(msgspec.structs.replace(other, meta=known.meta))
        case 8:
            some: list[Object] = [service(), network(), network(INGRESS, ingress=True)]
            item = rng.choice(some)
            present = store.get(Kind[type(item).__name__.upper()], item.id)
            return created(item) if present is None else deleted(present)
    return None


def as_told(item: Item) -> Item:
    """Without what an agent is not told again: its own reports, and versions that these have moved on."""
    if not isinstance(item, TaskItem):
        return item
    bare = Task(TaskId(""), ServiceId(""), SPEC)
    return TaskItem(msgspec.structs.replace(item.task, status=bare.status, meta=bare.meta, history=()))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_the_fold_of_the_deltas_is_the_full_set(seed: int, steps: int) -> None:
    rng = Random(seed)
    world = World(*(node(i) for i in range(3)), network(), network(INGRESS, ingress=True), service())
    for number in range(3):
        world.open(number)
    for _ in range(steps):
        change = one_step(world, rng)
        if change is not None:
            world.apply(change)
            if rng.random() < 0.5:
                world.acknowledge(rng.randrange(3))
    fresh = Board(o for kind in Kind for o in world.store.all(kind))
    for task_id in (*fresh.newly_held(), *world.board.newly_held()):
        fresh.give_up(task_id)
        world.send(world.board.give_up(task_id))
    for node_id in NODES:
        full = {item.key: as_told(item) for item in fresh.open(node_id)}
        assert {key: as_told(item) for key, item in world.told[node_id].items()} == full
