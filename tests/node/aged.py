"""Identities as they are after a long sleep: certificates that were issued in the past, by the cluster's own authority, of managers
that do not run. Nothing is faked but the time that they were issued at."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import trio

from cluster.identity import certificates, folder
from cluster.model.changes import Kind
from cluster.model.objects import Cluster, Node
from manager import member_file
from manager.raft.driver import open_driver
from manager.store import Store

EXPIRY = dt.timedelta(days=90)


def age(state: Path, nodes: dict[str, Path], issued_days_ago: float) -> None:
    """Give each node (by its id, with its identity's folder) the certificate for its present key that it would have got so many
    days ago. `state`: the Raft folder of a manager, of which the authority's key is read."""
    cluster, known = trio.run(_read, state, frozenset(nodes))
    then = dt.datetime.fromtimestamp(time.time(), dt.UTC) - dt.timedelta(days=issued_days_ago)
    for node_id, where in nodes.items():
        credentials = folder.load(where)
        csr = certificates.make_csr(credentials.key_pem)
        pem = certificates.issue(cluster.root_ca_pem, cluster.root_key_pem, csr, node_id, known[node_id].role, cluster.id, then, EXPIRY)
        folder.take(where, pem, credentials.root_pem)


async def _read(state: Path, wanted: frozenset[str]) -> tuple[Cluster, dict[str, Node]]:
    """The cluster and its nodes, as the log of one stopped manager has them."""
    store, seat = Store(), member_file.load(state)
    assert seat is not None
    async with open_driver(state, store, raft_id=seat.raft_id):
        with trio.fail_after(20):
            while not wanted <= {node.id for node in store.all(Kind.NODE)}:
                await trio.sleep(0.01)
        return store.all(Kind.CLUSTER)[0], {node.id: node for node in store.all(Kind.NODE)}
