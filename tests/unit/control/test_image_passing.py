"""Who is given an image of another node's: only one whose own live task names it."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from cluster.model.changes import created
from cluster.model.errors import NotFound, PermissionDenied, Unavailable
from cluster.model.ids import NodeId, ServiceId, TaskId
from cluster.model.objects import Node, Task, TaskStatus
from cluster.model.specs import ContainerSpec, NodeSpec, TaskSpec
from cluster.model.task_state import TaskState
from cluster.wire.calls import FindImage, FoundImage, ReadImage
from manager.image_passing import ImagePassing
from manager.store import Store

IMAGE = FoundImage("", "sha256:" + "a" * 64, 10, ())


class Peer:
    """Of a node that has the image, or not."""

    def __init__(self, has: bool) -> None:
        self.has, self.asked = has, 0

    async def call(self, name: str, request: FindImage) -> FoundImage:
        self.asked += 1
        if not self.has:
            raise NotFound(f"No such image: {request.reference}")
        return IMAGE


def passing(state: TaskState = TaskState.PREPARING, desired: TaskState = TaskState.RUNNING, **peers: Peer) -> ImagePassing:
    store = Store()
    spec, running = TaskSpec(ContainerSpec(image="mine:1")), TaskState.RUNNING
    tasks = (
        Task(TaskId("t1"), ServiceId("s"), spec, slot=1, node_id=NodeId("n1"), status=TaskStatus(state), desired_state=desired),
        Task(TaskId("t2"), ServiceId("s"), spec, slot=2, node_id=NodeId("n3"), status=TaskStatus(running), desired_state=running),
    )
    store.apply(1, tuple(created(one) for one in (*(Node(NodeId(n), NodeSpec()) for n in ("n1", "n2", "n3")), *tasks)))
    sessions = {name: SimpleNamespace(node_id=NodeId(name), peer=peer) for name, peer in peers.items()}
    return ImagePassing(store, cast(Any, sessions.get), Random(0))


def find(parts: ImagePassing, node: str, reference: str = "mine:1") -> FoundImage:
    return trio.run(parts.find, cast(Any, SimpleNamespace(node_id=node)), FindImage(reference))


def test_the_node_that_runs_the_service_already_is_asked_first() -> None:
    both = {"n2": Peer(True), "n3": Peer(True)}
    assert find(passing(**both), "n1").node_id in ("n2", "n3")
    one = {"n2": Peer(False), "n3": Peer(True)}
    assert find(passing(**one), "n1").node_id == "n3"
    with pytest.raises(NotFound, match="no node has the image mine:1"):
        find(passing(n2=Peer(False)), "n1")


@pytest.mark.parametrize(
    ("node", "reference", "state", "desired"),
    [
        ("n2", "mine:1", TaskState.PREPARING, TaskState.RUNNING),  # no task there
        ("n1", "other:1", TaskState.PREPARING, TaskState.RUNNING),
        ("n1", "mine:1", TaskState.FAILED, TaskState.RUNNING),
        ("n1", "mine:1", TaskState.PREPARING, TaskState.SHUTDOWN),
    ],
)
def test_nobody_else_is_given_anything(node: str, reference: str, state: TaskState, desired: TaskState) -> None:
    peer = Peer(True)
    parts = passing(state, desired, n3=peer)
    with pytest.raises(PermissionDenied, match="is to run the image"):
        find(parts, node, reference)
    assert peer.asked == 0
    with pytest.raises(PermissionDenied):
        trio.run(read_once, parts, node, reference)


def test_a_node_that_has_gone_is_said() -> None:
    with pytest.raises(Unavailable, match="node n9 is not available"):
        trio.run(read_once, passing(), "n1", "mine:1")


async def read_once(parts: ImagePassing, node: str, reference: str) -> None:
    async for _ in parts.read(cast(Any, SimpleNamespace(node_id=node)), ReadImage(reference, "n9", IMAGE.image_id, IMAGE.image_id)):
        raise AssertionError("something came")
