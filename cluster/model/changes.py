"""A change of the store: what is proposed to Raft, replicated, applied and watched. One log entry carries a tuple of changes."""

from __future__ import annotations

import enum

import msgspec

from cluster.model.objects import Cluster, Config, Network, Node, Secret, Service, Task, TaskStatus

Object = Cluster | Node | Service | Task | Network | Secret | Config


class Kind(enum.IntEnum):
    """Object kinds, as numbers on the wire and on disk. Never renumber."""

    CLUSTER = 1
    NODE = 2
    SERVICE = 3
    TASK = 4
    NETWORK = 5
    SECRET = 6
    CONFIG = 7

    __hash__ = int.__hash__  # the enumeration's own is written in Python and kinds are looked up for every change


class Op(enum.IntEnum):
    CREATE = 1
    UPDATE = 2
    DELETE = 3
    STATUS = 4  # of a task: merged monotonically at apply, so that reports never conflict with plans


KIND_TYPES: dict[Kind, type[Object]] = {
    Kind.CLUSTER: Cluster, Kind.NODE: Node, Kind.SERVICE: Service, Kind.TASK: Task, Kind.NETWORK: Network, Kind.SECRET: Secret, Kind.CONFIG: Config,
}  # fmt: skip
KIND_OF: dict[type[Object], Kind] = {t: k for k, t in KIND_TYPES.items()}
_CREATE, _UPDATE, _DELETE, _STATUS, _TASK = Op.CREATE, Op.UPDATE, Op.DELETE, Op.STATUS, Kind.TASK  # once, as in cluster/model/task_state.py


class Change(msgspec.Struct, frozen=True, gc=False):
    """`after` is the whole object for CREATE and UPDATE, a TaskStatus for STATUS, None for DELETE.

    An UPDATE's `after.meta.version` is the version that its proposer saw: the store refuses it (update out of sequence) when the object has moved on,
    and sets the new version itself, so that every replica decides alike.
    """

    op: Op
    kind: Kind
    id: str
    after: Object | TaskStatus | None


def created(obj: Object) -> Change:
    return Change(_CREATE, KIND_OF[type(obj)], obj.id, obj)


def updated(obj: Object) -> Change:
    return Change(_UPDATE, KIND_OF[type(obj)], obj.id, obj)


def deleted(obj: Object) -> Change:
    return Change(_DELETE, KIND_OF[type(obj)], obj.id, None)


def status_of(task_id: str, status: TaskStatus) -> Change:
    return Change(_STATUS, _TASK, task_id, status)
