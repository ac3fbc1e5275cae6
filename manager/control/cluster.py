"""The cluster's own settings and its join tokens. Pure.

Source: SwarmKit controlapi/cluster.go.
"""

from __future__ import annotations

from random import Random

import msgspec

from cluster.model.changes import Change, Kind, updated
from cluster.model.errors import FailedPrecondition, NotFound, OutOfSequence
from cluster.wire.calls import ClusterWrite, Ids
from manager.ca import authority
from manager.control import validate
from manager.store import Store


def update(store: Store, request: ClusterWrite, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
    """The cluster with a new spec and, where asked for, new join tokens: an old token is of no use from then on.

    Raises NotFound, OutOfSequence, InvalidArgument, FailedPrecondition (no unlock key in this version).
    """
    clusters = store.all(Kind.CLUSTER)
    if not clusters:
        raise NotFound("cluster not found")
    cluster = clusters[0]
    if request.version != cluster.meta.version:
        raise OutOfSequence
    validate.cluster_spec(request.spec)
    if request.rotate_unlock_key:
        raise FailedPrecondition(validate.NO_AUTOLOCK)
    join_tokens = authority.rotated_tokens(cluster, rng, worker=request.rotate_worker_token, manager=request.rotate_manager_token)
    meta = msgspec.structs.replace(cluster.meta, updated_at_ns=now_ns)
    after = msgspec.structs.replace(cluster, spec=request.spec, join_tokens=join_tokens, meta=meta)
    return (updated(after),), Ids(cluster.id)
