"""Who comes back gets what it missed, and everything where that is not known any more."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.model.assignments import Assignments, Item, SessionMessage, SessionState, TaskItem
from cluster.model.changes import Change, created, deleted, updated
from cluster.model.errors import PermissionDenied
from cluster.model.ids import ClusterId, NodeId, ServiceId, TaskId
from cluster.model.objects import Cluster, Node, NodeState, NodeStatus, Task, TaskStatus
from cluster.model.specs import ClusterSpec, ContainerSpec, NodeSpec, TaskSpec
from cluster.model.task_state import TaskState
from manager.dispatcher import desk
from manager.dispatcher.desk import Desk, Telling
from manager.dispatcher.replay import MAX_DELTAS, MAX_KEPT_ITEMS, Delta, Replay
from manager.store import Store

HERE, THERE = NodeId("here"), NodeId("there")


def task(number: int, where: NodeId = HERE, desired: TaskState = TaskState.RUNNING) -> Task:
    spec = TaskSpec(ContainerSpec("busybox"))
    return Task(TaskId(f"t{number}"), ServiceId("svc"), spec, node_id=where, status=TaskStatus(TaskState.RUNNING), desired_state=desired)


class World:
    """One manager's desk with two nodes, and the agent of one of them: what it has, and of which stream."""

    def __init__(self, name: str = "1") -> None:
        self.store = Store()
        nodes = tuple(Node(n, NodeSpec(), status=NodeStatus(NodeState.READY, address="192.0.2.1")) for n in (HERE, THERE))
        self.store.apply(1, (created(Cluster(ClusterId("c"), ClusterSpec())), *map(created, nodes)))
        self.desk = Desk(self.store, lambda: "192.0.2.1:2377", name)
        self.desk.begin((), 0)
        self.telling = Telling(self.desk, HERE)
        self.stream, self.version = "", 0
        self.has: dict[str, Item] = {}

    def apply(self, *changes: Change) -> None:
        self.desk.feed((self.store.apply(self.store.index + 1, changes),))

    def open(self) -> tuple[SessionMessage, ...]:
        """The agent opens a session, as it is: what it is told first."""
        self.telling = Telling(self.desk, HERE)
        return self.telling.first(self.stream, self.version)

    def more(self) -> tuple[SessionMessage, ...]:
        return self.telling.more(look=False)

    def take(self, messages: tuple[SessionMessage, ...]) -> None:
        """The agent takes these in, as agent/session.py does."""
        for message in messages:
            if isinstance(message, SessionState):
                self.stream = message.stream
                continue
            assert message.complete or message.applies_to == self.version
            if message.complete:
                self.has = {}
            for key in message.removals:
                self.has.pop(key, None)
            self.has.update({item.key: item for item in message.upserts})
            self.version = message.results_in

    def close(self) -> None:
        self.desk.closed(HERE, 0, 0)

    def tasks(self) -> set[str]:
        return {item.task.id for item in self.has.values() if isinstance(item, TaskItem)}


def began(*messages: Assignments) -> World:
    """With a session that is cut, behind one task."""
    world = World()
    world.apply(created(task(1)))
    world.take(world.open())
    assert world.tasks() == {"t1"}
    return world


def assignments(messages: tuple[SessionMessage, ...]) -> tuple[Assignments, ...]:
    return tuple(message for message in messages if isinstance(message, Assignments))


def test_a_node_that_missed_nothing_is_told_nothing() -> None:
    world = began()
    world.close()
    state, *rest = world.open()
    assert isinstance(state, SessionState)
    assert state.stream == world.stream
    assert rest == [Assignments(False, 1, 1)]
    assert isinstance(rest[0], Assignments)
    assert rest[0].begins


def test_what_happened_while_a_node_was_away_follows_as_a_delta() -> None:
    world = began()
    world.close()
    world.apply(created(task(2)))
    world.apply(deleted(task(1)))
    world.take(world.open())
    (delta,) = assignments(world.more())
    assert (delta.applies_to, delta.results_in, delta.removals) == (1, 2, ("task/t1",))
    world.take((delta,))
    assert world.tasks() == {"t2"}


def test_what_was_sent_and_lost_is_sent_again() -> None:
    world = began()
    world.apply(created(task(2)))
    lost = world.more()
    world.close()
    world.apply(created(task(3)))
    first = world.open()
    assert assignments(first) == (Assignments(False, 1, 1), *assignments(lost))
    world.take(first)
    world.take(world.more())
    assert world.tasks() == {"t1", "t2", "t3"}


def test_what_is_acknowledged_is_not_kept_and_an_agent_that_asks_for_it_gets_everything() -> None:
    world = began()
    world.apply(created(task(2)))
    world.more()
    world.desk.board.acknowledge(HERE, 2)
    world.close()
    (complete,) = assignments(world.open())
    assert complete.complete, "the agent says that it has version 1, and had said that it has 2"


@pytest.mark.parametrize("stream", ["", "1.7", "2.1"])
def test_another_stream_is_answered_with_everything(stream: str) -> None:
    world = began()
    world.close()
    world.stream = stream
    world.take(first := world.open())
    assert assignments(first)[0].complete
    assert world.tasks() == {"t1"}


def test_a_version_that_was_never_sent_is_answered_with_everything() -> None:
    world = began()
    world.close()
    world.version = 9
    assert assignments(world.open())[0].complete


def test_another_leader_knows_nothing_of_the_stream() -> None:
    world, other = began(), World("2")
    world.close()
    other.apply(created(task(1)))
    other.stream, other.version = world.stream, world.version
    assert assignments(other.open())[0].complete


def test_a_node_that_counted_as_down_gets_everything() -> None:
    world = began()
    world.close()
    node = world.desk.member(HERE)
    world.apply(updated(desk.down(node, "heartbeat failure", 1)))
    assert assignments(world.open())[0].complete


def test_a_node_that_was_removed_is_refused() -> None:
    world = began()
    world.close()
    world.apply(deleted(world.desk.member(HERE)))
    with pytest.raises(PermissionDenied):
        world.open()


def test_a_session_that_goes_on_while_the_old_one_still_seems_open_loses_nothing() -> None:
    world = began()
    world.apply(created(task(2)))
    world.more()
    world.apply(created(task(3)))
    world.take(world.open())
    world.take(world.more())
    assert world.tasks() == {"t1", "t2", "t3"}


def test_what_is_kept_for_one_session_is_bounded() -> None:
    replay = Replay("s")
    replay.begin(1)
    for _ in range(MAX_DELTAS + 5):
        replay.add(Delta((), ("task/t",)))
    assert replay.after("s", 5) is None
    assert len(replay.after("s", 6) or ()) == MAX_DELTAS
    replay.add(Delta((), ("task/t",) * (MAX_KEPT_ITEMS + 1)))
    assert replay.after("s", replay.version - 1) is None
    assert replay.after("s", replay.version) == ()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 32))
def test_however_often_the_connection_breaks_the_agent_has_what_a_full_set_says(seed: int) -> None:
    draw = Random(seed)  # noqa: S311
    world = World()
    open_now = False
    known: dict[int, Task] = {}
    for _ in range(60):
        match draw.randrange(6):
            case 0 | 1:
                number, where = draw.randrange(6), draw.choice((HERE, THERE))
                if number in known:
                    world.apply(deleted(known.pop(number)))
                else:
                    world.apply(created(task(number, where)))
                    known[number] = task(number, where)
            case 2 if open_now:
                world.take(world.more())
            case 3 if open_now:
                world.more()  # sent, and the connection breaks before it arrives
                world.close()
                open_now = False
            case 4 if open_now:
                world.desk.board.acknowledge(HERE, world.version)
            case _ if not open_now:
                world.take(world.open())
                open_now = True
            case _:
                pass
    world.take(world.more() if open_now else (*world.open(), *world.more()))
    wanted = {item.key: item for item in World.open(_fresh(world)) for item in getattr(item, "upserts", ())}
    assert {k: msgspec.structs.asdict(v) for k, v in world.has.items()} == {k: msgspec.structs.asdict(v) for k, v in wanted.items()}


def _fresh(world: World) -> World:
    """The same cluster, another desk."""
    other = World("other")
    other.store = world.store
    other.desk = Desk(world.store, lambda: "192.0.2.1:2377", "other")
    other.desk.begin((), 0)
    return other
