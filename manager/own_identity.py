"""The certificate that this manager shows: read from the node's folder, again whenever the agent says that it has a new one (SIGHUP),
and made anew by the manager itself once it has expired.

In ordinary life the agent renews it long before. A manager that slept past its expiry (a suspended machine) could neither be
asked nor ask anybody; but it has the authority's key in its store, so it issues itself one for the key that it has. Owns the
contexts of this process; decides nothing about others. A clock that jumps is noticed within LOOK_S.
"""

from __future__ import annotations

import datetime as dt
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from cluster.identity import certificates, folder
from cluster.identity.contexts import Contexts
from cluster.identity.folder import Credentials
from cluster.model.changes import Kind
from cluster.model.errors import ClusterError
from cluster.model.objects import Node
from manager.ca import authority
from manager.store import Store

LOOK_S: Final = 30.0

log = logging.getLogger("festoon.identity")


class OwnIdentity:
    """`store` must hold the cluster and this node by now. `sealing`: what opens the node's key where it is sealed."""

    def __init__(
        self, where: Path, store: Store, node_id: str, credentials: Credentials, wall_ns: Callable[[], int], sealing: Callable[[], bytes]
    ) -> None:
        self._where, self._store, self._node_id, self._wall_ns, self._sealing = where, store, node_id, wall_ns, sealing
        self.contexts = Contexts(credentials)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the contexts as they should be, until cancelled. What has expired has been replaced when this reports."""
        self.renew_expired()
        with trio.open_signal_receiver(signal.SIGHUP) as told:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look)
                task_status.started()
                async for _ in told:
                    self._read_again()
                    self.renew_expired()

    async def _look(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            self.renew_expired()

    def renew_expired(self) -> None:
        """Issue this manager's next certificate if the present one has expired."""
        if not self._expired(self.contexts.credentials):
            return
        self._read_again()
        node = self._store.get(Kind.NODE, self._node_id)
        known = self.contexts.credentials
        if not self._expired(known) or not isinstance(node, Node):
            return
        certificate_pem = authority.reissue(self._store.all(Kind.CLUSTER)[0], node, known.key_pem, self._wall_ns())
        self.contexts.take(folder.take(self._where, certificate_pem, known.root_pem, self._sealing()))
        log.warning("this manager's certificate had expired; it has issued itself a new one", extra={"fields": {"node": self._node_id}})

    def _read_again(self) -> None:
        try:
            self.contexts.take(folder.load(self._where, self._sealing()))
        except (FileNotFoundError, ClusterError) as error:
            log.error("the node's certificate cannot be read", extra={"fields": {"error": str(error)}})

    def _expired(self, credentials: Credentials) -> bool:
        now = dt.datetime.fromtimestamp(self._wall_ns() // 1_000_000_000, dt.UTC)
        return now >= certificates.validity(credentials.certificate_pem)[1]
