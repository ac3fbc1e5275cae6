"""A change of the store: what is proposed to Raft, replicated, applied and watched. One log entry carries a tuple of changes."""

from __future__ import annotations

import enum

import msgspec

from cluster.model.objects import Cluster, Network, Node, Service, Task

Object = Cluster | Node | Service | Task | Network


class Kind(enum.IntEnum):
    """Object kinds, as numbers on the wire and on disk. Never renumber."""

    CLUSTER = 1
    NODE = 2
    SERVICE = 3
    TASK = 4
    NETWORK = 5


class Op(enum.IntEnum):
    CREATE = 1
    UPDATE = 2
    DELETE = 3


KIND_TYPES: dict[Kind, type[Object]] = {Kind.CLUSTER: Cluster, Kind.NODE: Node, Kind.SERVICE: Service, Kind.TASK: Task, Kind.NETWORK: Network}
KIND_OF: dict[type[Object], Kind] = {t: k for k, t in KIND_TYPES.items()}


class Change(msgspec.Struct, frozen=True):
    """`before` is None for CREATE (and when not known to the proposer), `after` is None for DELETE (`before` names what goes).

    On the wire and on disk only (op, kind, id, after) travel; see cluster/wire/codec.py.
    """

    op: Op
    kind: Kind
    id: str
    after: Object | None


def created(obj: Object) -> Change:
    return Change(Op.CREATE, KIND_OF[type(obj)], obj.id, obj)


def updated(obj: Object) -> Change:
    return Change(Op.UPDATE, KIND_OF[type(obj)], obj.id, obj)


def deleted(obj: Object) -> Change:
    return Change(Op.DELETE, KIND_OF[type(obj)], obj.id, None)
