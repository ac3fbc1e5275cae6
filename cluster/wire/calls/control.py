"""Reading and writing the cluster's objects as users do, and hearing of what others write."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from cluster.model.changes import Kind
from cluster.model.objects import Cluster, Config, Network, Node, Secret, Service, Task
from cluster.model.specs import ClusterSpec, DependencySpec, NetworkSpec, NodeSpec, ServiceSpec
from cluster.wire.calls.body import Body


class Query(Body, frozen=True):
    """Which objects: by kind, then by full ids, or by service, or by node (empty tuples do not restrict). Exact matches only;
    names and prefixes are resolved with `reference` (full id, then exact name, then unique id prefix)."""

    kind: Kind
    ids: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    reference: str = ""


class Objects(Body, frozen=True):
    """Only the field of the asked kind is filled; the objects come in no particular order. A stream of them says `leader` in its first."""

    clusters: tuple[Cluster, ...] = ()
    nodes: tuple[Node, ...] = ()
    services: tuple[Service, ...] = ()
    tasks: tuple[Task, ...] = ()
    networks: tuple[Network, ...] = ()
    leader: str = ""
    secrets: tuple[Secret, ...] = ()
    configs: tuple[Config, ...] = ()


def joined(pieces: Sequence[Objects]) -> Objects:
    """One answer of the parts of a stream."""
    lists = {name: tuple(chain.from_iterable(getattr(piece, name) for piece in pieces)) for name in Objects.__struct_fields__ if name != "leader"}
    return Objects(**lists, leader=next((piece.leader for piece in pieces), ""))


class ServiceWrite(Body, frozen=True):
    spec: ServiceSpec
    id: str = ""  # update only
    version: int = 0  # update only: the version that the caller saw
    rollback: bool = False  # update only: take the previous spec instead of `spec`


class NetworkWrite(Body, frozen=True):
    spec: NetworkSpec


class DependencyWrite(Body, frozen=True):
    spec: DependencySpec
    id: str = ""  # update only
    version: int = 0  # update only


class NodeWrite(Body, frozen=True):
    id: str
    version: int
    spec: NodeSpec


class ClusterWrite(Body, frozen=True):
    version: int
    spec: ClusterSpec
    rotate_worker_token: bool = False
    rotate_manager_token: bool = False
    rotate_unlock_key: bool = False
    signing_ca_pem: str = ""  # a root of the user's own to rotate to, with its key
    signing_key_pem: str = ""


class Remove(Body, frozen=True):
    id: str
    force: bool = False


class Ids(Body, frozen=True):
    """Ids of what was written; `warnings` are sentences for the user."""

    id: str
    warnings: tuple[str, ...] = ()


class WatchKinds(Body, frozen=True):
    """`since`: the last version that is known already, of this manager or another; 0 for nothing."""

    kinds: tuple[Kind, ...]
    since: int = 0


class Watched(Body, frozen=True):
    """One commit's changes of the watched kinds: (op, kind, id, object encoded as in the store; empty for DELETE)."""

    version: int
    changes: tuple[tuple[int, int, str, bytes], ...]
