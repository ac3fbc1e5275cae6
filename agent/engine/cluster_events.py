"""What happens in the cluster, as events of each manager's node: nodes, services, networks, secrets and configs come, change and go.

Owns what is told of a change, and what of the cluster it has to remember for that; `run` lets the managers tell it. Never decides anything. A step that does
not show in the API is no event. Source: moby's `daemon/events.go`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from agent.engine import lookup
from agent.engine.extras import object_json
from agent.events import Event
from cluster.model.changes import KIND_OF, KIND_TYPES, Kind, Object
from cluster.model.errors import ClusterError, NotLeader
from cluster.model.objects import Config, Network, Node, Secret, Service
from cluster.model.specs import Pairs, ServiceModeKind
from cluster.wire.calls import Query, Watched, WatchKinds
from cluster.wire.codec import decode

if TYPE_CHECKING:
    from agent.node import Node as ThisNode

KINDS: Final = (Kind.NODE, Kind.SERVICE, Kind.NETWORK, Kind.SECRET, Kind.CONFIG)
RETRY_S: Final = 1.0
"""After a refusal, until the managers are asked again."""

_PASSING: Final = ("Version", "UpdatedAt")

class Remembered(msgspec.Struct, frozen=True):
    """What is kept of an object: `told` is what an update says of old and new, `shown` stands for all that the API shows."""

    name: str
    told: Pairs
    shown: int


class Known:
    """The cluster as it was told so far."""

    def __init__(self) -> None:
        self.version = 0
        self._objects: dict[tuple[Kind, str], Remembered] | None = None

    def everything(self, objects: Iterable[Object]) -> list[Event]:
        """The whole cluster, as it is now: at first nothing of it is news."""
        before, self._objects = self._objects, {}
        now: dict[tuple[Kind, str], Object] = {(KIND_OF[type(obj)], obj.id): obj for obj in objects}
        if before is None:
            self._objects = {key: remembered(obj) for key, obj in now.items()}
            return []
        self._objects = before
        gone = [key for key in before if key not in now]
        return [event for key in (*gone, *now) for event in self.change(*key, now.get(key))]

    def change(self, kind: Kind, identifier: str, after: Object | None) -> list[Event]:
        """One object's step: at most one event."""
        objects = self._objects = self._objects if self._objects is not None else {}
        before = objects.pop((kind, identifier), None)
        if after is None:
            return [_event(kind, "remove", identifier, before.name, (), 0)] if before is not None else []
        has = objects[kind, identifier] = remembered(after)
        if before is None:
            return [_event(kind, "create", identifier, has.name, (), after.meta.created_at_ns)]
        if before.shown == has.shown:
            return []
        return [_event(kind, "update", identifier, has.name, changed(before.told, has.told), after.meta.updated_at_ns)]


def remembered(obj: Object) -> Remembered:
    """Pure."""
    shown = {name: value for name, value in object_json(obj).items() if name not in _PASSING}
    attached = obj.attachments if isinstance(obj, Node) else ()  # Docker tells of an address for a node's load balancer, though it does not show it
    return Remembered(_name(obj), _told(obj), hash((msgspec.json.encode(shown), attached)))


def changed(before: Pairs, after: Pairs) -> Pairs:
    """`word.old` and `word.new` of what differs and is told both times; where one of them is empty (an update begins) without that one. Pure."""
    had = dict(before)
    differing = [(word, had[word], value) for word, value in after if word in had and had[word] != value]
    return tuple(pair for word, old, new in differing if new for pair in ((f"{word}.new", new), (f"{word}.old", old)) if pair[1])


def _name(obj: Object) -> str:
    match obj:
        case Node():
            return obj.spec.name or obj.description.hostname
        case Service() | Network() | Secret() | Config():
            return obj.spec.name
        case _:
            return ""


def _told(obj: Object) -> Pairs:
    if isinstance(obj, Node):
        pairs = [("availability", str(obj.spec.availability)), ("role", str(obj.role)), ("state", str(obj.status.state))]
        if obj.manager is not None:
            pairs += [("leader", str(obj.manager.leader).lower()), ("reachability", "reachable" if obj.manager.reachable else "unreachable")]
        return tuple(pairs)
    if isinstance(obj, Service):
        pairs = [("image", obj.spec.task.container.image)]
        if obj.spec.mode.kind is ServiceModeKind.REPLICATED:
            pairs.append(("replicas", str(1 if obj.spec.mode.replicas is None else obj.spec.mode.replicas)))
        return (*pairs, ("updatestate", str(obj.update_status.state) if obj.update_status is not None else ""))
    return ()


def _event(kind: Kind, action: str, identifier: str, name: str, attributes: Pairs, at_ns: int) -> Event:
    return Event(kind.name.lower(), action, identifier, (("name", name), *attributes), "swarm", at_ns or time.time_ns())


async def run(node: ThisNode) -> None:
    """Publish them as long as this node is a manager, whenever it is one."""
    while True:
        await node.swarm.wait_managing()
        known, cluster = Known(), node.swarm.cluster_id
        while node.swarm.is_manager and node.swarm.cluster_id == cluster:
            try:
                async with node.swarm.stream("control.watch", WatchKinds(KINDS, known.version)) as commits:
                    async for commit in commits:
                        for event in await _of(node, known, commit):
                            node.events.publish(event)
            except NotLeader:
                await node.swarm.wait_managing()
            except ClusterError:
                await trio.sleep(RETRY_S)


async def _of(node: ThisNode, known: Known, commit: Watched) -> list[Event]:
    """What this commit is to its readers. One without changes says from where on nothing is missed."""
    if not commit.changes and commit.version != known.version:
        objects: list[Object] = []
        for kind in KINDS:
            found = await lookup.query(node, Query(kind))
            objects += (*found.nodes, *found.services, *found.networks, *found.secrets, *found.configs)
        known.version = commit.version  # now that it is read: a manager that is lost in between leaves it to be read again
        return known.everything(objects)
    known.version = commit.version
    told: list[Event] = []
    for _, number, identifier, encoded in commit.changes:
        told += known.change(Kind(number), identifier, decode(encoded, KIND_TYPES[Kind(number)]) if encoded else None)
    return told
