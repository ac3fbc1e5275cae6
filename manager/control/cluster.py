"""The cluster's own settings and its join tokens. Pure.

Source: SwarmKit controlapi/cluster.go.
"""

from __future__ import annotations

import datetime as dt
from random import Random

import msgspec

from cluster.identity import seal, unlock_key
from cluster.model.changes import Change, Kind, updated
from cluster.model.errors import NotFound, OutOfSequence
from cluster.model.objects import Cluster, RootRotation
from cluster.wire.calls import ClusterWrite, Ids
from manager.ca import authority, rotation
from manager.control import validate
from manager.store import Store


def update(store: Store, request: ClusterWrite, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
    """The cluster with a new spec and, where asked for, new join tokens (an old one is of no use from then on), another unlock
    key, or a root that is to come.

    Raises NotFound, OutOfSequence, InvalidArgument.
    """
    clusters = store.all(Kind.CLUSTER)
    if not clusters:
        raise NotFound("cluster not found")
    cluster = clusters[0]
    if request.version != cluster.meta.version:
        raise OutOfSequence
    validate.cluster_spec(request.spec)
    join_tokens = authority.rotated_tokens(cluster, rng, worker=request.rotate_worker_token, manager=request.rotate_manager_token)
    meta = msgspec.structs.replace(cluster.meta, updated_at_ns=now_ns)
    unlocking = _unlock_key(cluster, request, rng)
    rotating = _rotation(cluster, request, now_ns)
    after = msgspec.structs.replace(cluster, spec=request.spec, join_tokens=join_tokens, unlock_key=unlocking, rotation=rotating, meta=meta)
    return (updated(after),), Ids(cluster.id)


def _unlock_key(cluster: Cluster, request: ClusterWrite, rng: Random) -> str:
    """None without autolock; a new one when that is turned on, or when asked for."""
    if not request.spec.autolock:
        return ""
    if cluster.unlock_key and not request.rotate_unlock_key:
        return cluster.unlock_key
    return unlock_key.text_of(rng.randbytes(seal.KEY_BYTES))


def _rotation(cluster: Cluster, request: ClusterWrite, now_ns: int) -> RootRotation | None:
    """The rotation that is under way, or the one that is asked for: by another number, or by a root of the user's own."""
    own = request.signing_ca_pem or request.signing_key_pem
    if not own and request.spec.force_rotate == cluster.spec.force_rotate:
        return cluster.rotation
    if own and request.signing_ca_pem.strip() == cluster.root_ca_pem.strip() and cluster.rotation is None:
        return None  # it is the root already
    now = dt.datetime.fromtimestamp(now_ns // 1_000_000_000, dt.UTC)
    return rotation.begun(cluster, request.signing_ca_pem, request.signing_key_pem, now)
