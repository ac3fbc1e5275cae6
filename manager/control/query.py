"""What users read: objects of one kind, by id, reference, service or node. Pure and synchronous, hence one consistent
view.

Never answers with the root CA's key or with a secret's data: nobody who asks needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from cluster.model.changes import Kind, Object
from cluster.model.errors import InvalidArgument
from cluster.model.objects import Cluster, Config, ManagerStatus, Network, Node, Secret, Service, Task
from cluster.wire.calls import Objects, Query
from cluster.wire.codec import encode
from manager.store import Store

PIECE_BYTES: Final = 256 * 1024
"""Of one part of a long answer, at most; an object that is larger has one of its own."""

Managers = Mapping[str, ManagerStatus]
"""What the leader knows of the managers now, by node: who leads and who is heard is in no log."""


def query(store: Store, request: Query, managers: Managers) -> Objects:
    """The objects that `request` selects. Raises NotFound or InvalidArgument (ambiguous) for `reference`."""
    return _objects([shown(item, managers) for item in _selected(store, request)], managers)


def pieces(store: Store, request: Query, managers: Managers) -> Iterator[Objects]:
    """The same as they are now, in parts of at most PIECE_BYTES, at least one; what changes meanwhile is in none. Raises as `query`, before the first."""
    piece: list[Object] = []
    size = 0
    for item in _selected(store, request):
        one = shown(item, managers)
        length = len(encode(one))
        if piece and size + length > PIECE_BYTES:
            yield _objects(piece, managers)
            piece, size = [], 0
        piece.append(one)
        size += length
    yield _objects(piece, managers)


def _objects(found: Sequence[Object], managers: Managers) -> Objects:
    return Objects(
        clusters=tuple(o for o in found if isinstance(o, Cluster)),
        nodes=tuple(o for o in found if isinstance(o, Node)),
        services=tuple(o for o in found if isinstance(o, Service)),
        tasks=tuple(o for o in found if isinstance(o, Task)),
        networks=tuple(o for o in found if isinstance(o, Network)),
        secrets=tuple(o for o in found if isinstance(o, Secret)),
        configs=tuple(o for o in found if isinstance(o, Config)),
        leader=next((status.address for status in managers.values() if status.leader), ""),
    )


def shown(item: Object, managers: Managers) -> Object:
    """`item` as it leaves the manager: the cluster without its keys, a secret without its data, a manager's node with its status as of now."""
    if isinstance(item, Cluster):
        rotation = msgspec.structs.replace(item.rotation, root_key_pem="") if item.rotation is not None else None
        return msgspec.structs.replace(item, root_key_pem="", network_keys=(), rotation=rotation)
    if isinstance(item, Node) and item.manager is not None:
        return msgspec.structs.replace(item, manager=managers.get(item.id, item.manager))
    if isinstance(item, Secret):
        return msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, data=b""))
    return item


def _selected(store: Store, request: Query) -> Iterable[Object]:
    if request.reference:
        return (store.find(request.kind, request.reference),)
    if request.ids:
        return [item for item in (store.get(request.kind, wanted) for wanted in request.ids) if item is not None]
    if not request.services and not request.nodes:
        return store.all(request.kind)
    if request.kind is not Kind.TASK:
        raise InvalidArgument("only tasks can be asked for by service or node")
    return _tasks(store, request)


def _tasks(store: Store, request: Query) -> Iterable[Task]:
    if request.services:
        nodes = set(request.nodes)
        tasks = (t for service_id in request.services for t in store.tasks_of_service(service_id))
        return [t for t in tasks if not nodes or t.node_id in nodes]
    return [t for node_id in request.nodes for t in store.tasks_of_node(node_id)]
