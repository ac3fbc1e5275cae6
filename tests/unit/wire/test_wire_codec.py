"""Objects to bytes and back; bytes that aren't what they claim."""

from __future__ import annotations

import pytest

from cluster.model.assignments import Assignments, SessionMessage, SessionState
from cluster.model.changes import Change, Kind, Op, created, deleted, status_of, updated
from cluster.model.ids import NodeId, ServiceId, TaskId
from cluster.model.objects import Node, Service, Task, TaskStatus
from cluster.model.specs import ContainerSpec, NodeSpec, ServiceSpec, TaskSpec
from cluster.model.task_state import TaskState
from cluster.wire import codec
from cluster.wire.codec import BadMessage

SPEC = TaskSpec(ContainerSpec("busybox:latest", args=("sleep", "1"), labels=(("a", "b"),)))
TASK = Task(TaskId("t1"), ServiceId("s1"), SPEC, service_name="web", slot=1)
SERVICE = Service(ServiceId("s1"), ServiceSpec("web", SPEC))


def test_every_kind_of_change_comes_back_as_it_was() -> None:
    changes = (
        created(TASK),
        updated(SERVICE),
        created(Node(NodeId("n1"), NodeSpec(labels=(("disk", "ssd"),)))),
        deleted(TASK),
        status_of("t1", TaskStatus(TaskState.RUNNING, 12, "started", container_id="c")),
    )
    assert codec.decode_changes(codec.encode_changes(changes)) == changes


def test_a_union_of_tagged_messages_decodes_to_the_right_one() -> None:
    for message in (SessionState(NodeId("n"), ("m:2377",), 5), Assignments(True, 0, 7, removals=("task/x",))):
        assert codec.decode(codec.encode(message), SessionMessage) == message


def test_a_newer_peers_extra_field_is_skipped() -> None:
    longer = codec.encode([*([1, 2, "m", "e", "c", 3, 4, []]), "from the future"])
    with pytest.raises(BadMessage):
        codec.decode(longer, TaskStatus)  # state 1 is none
    longer = codec.encode([512, 2, "m", "e", "c", 3, 4, [], "from the future"])
    assert codec.decode(longer, TaskStatus).exit_code == 4


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01", b"\xa5hello", codec.encode([9, 4, "t", b""])])
def test_what_is_not_a_list_of_changes_is_a_bad_message(data: bytes) -> None:
    with pytest.raises(BadMessage):
        codec.decode_changes(data)


@pytest.mark.parametrize(
    ("op", "kind", "body"),
    [(9, 4, b""), (1, 99, b""), (3, 4, b"x"), (4, 1, codec.encode(TaskStatus())), (1, 4, b"\xc0"), (4, 4, b"")],
)
def test_a_row_that_does_not_fit_its_operation_is_refused(op: int, kind: int, body: bytes) -> None:
    with pytest.raises(BadMessage):
        codec.decode_changes(codec.encode([(op, kind, "id", body)]))


def test_rows_say_what_changes_say() -> None:
    change = Change(Op.UPDATE, Kind.TASK, "t1", TASK)
    assert codec.change_of(codec.row_of(change)) == change
