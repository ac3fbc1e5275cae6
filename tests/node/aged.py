"""Identities as they are after a long sleep: certificates that were issued in the past, by the cluster's own authority, of a
manager that does not run. Nothing is faked but the time that they were issued at."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import msgspec
import trio

from cluster.identity import certificates, folder
from cluster.model.changes import Kind, updated
from manager.raft.driver import open_driver
from manager.store import Store

EXPIRY = dt.timedelta(days=90)


def age(state: Path, nodes: dict[str, Path], issued_days_ago: float) -> None:
    """Give each node (by its id, with its identity's folder) the certificate for its present key that it would have got so many
    days ago. `state`: the Raft folder of the cluster's only manager."""

    async def main() -> None:
        store = Store()
        async with open_driver(state, store) as driver:
            with trio.fail_after(20):
                await driver.wait_leader()
            cluster = store.all(Kind.CLUSTER)[0]
            then = dt.datetime.fromtimestamp(time.time(), dt.UTC) - dt.timedelta(days=issued_days_ago)
            for node_id, where in nodes.items():
                known, node = folder.load(where), store.get(Kind.NODE, node_id)
                assert node is not None
                csr = certificates.make_csr(known.key_pem)
                pem = certificates.issue(cluster.root_ca_pem, cluster.root_key_pem, csr, node_id, node.role, cluster.id, then, EXPIRY)
                folder.take(where, pem, known.root_pem)
                await driver.propose((updated(msgspec.structs.replace(node, certificate_pem=pem)),))

    trio.run(main)
