"""What the cluster has told this node of its networks: the tables, the port of the overlays and the keys of encrypted ones. Owns their files.

They are kept on disk, so that a restarted node serves the overlays of its running tasks before any manager has answered. Never touches the kernel: what
follows from the tables for the fabric is agent/view.py's.
"""

from __future__ import annotations

import logging
from collections.abc import Set
from pathlib import Path
from typing import Final

import msgspec
import trio

from agent.events import Event, EventBus
from agent.kept_tables import KeptTables
from agent.local_networks import SHORT_ID_LENGTH
from agent.view import EMPTY_TABLES, NOTHING_SERVED, ClusterTables, fold, serve
from cluster.durable import write_atomically
from cluster.model.assignments import Item, NetworkItem
from cluster.model.errors import NotFound
from cluster.model.ids import NetworkId
from cluster.model.objects import NetworkKey
from netfabric import view

VXLAN_PORT: Final = 4789  # where a swarm does not say otherwise
log = logging.getLogger("festoon.networks")
_SETTINGS = msgspec.msgpack.Decoder(tuple[int, tuple[NetworkKey, ...]])


class AssignedNetworks:
    """State: the tables with what they mean for the fabric, and the overlays' settings. Changed by its own methods only."""

    def __init__(self, folder: Path, events: EventBus) -> None:
        self._events = events
        self._kept, self._settings_path = KeptTables(folder / "tables"), folder / "network-keys"
        self._doomed: set[NetworkId] = set()
        self._changed = trio.Event()
        self._served = NOTHING_SERVED
        self.node_id = ""
        self.tables = EMPTY_TABLES
        self.vxlan_port = VXLAN_PORT
        self.keys: tuple[NetworkKey, ...] = ()

    @property
    def overlays(self) -> tuple[view.Overlay, ...]:
        return self._served.overlays

    # -- looking --------------------------------------------------------------------------------------------------

    def all(self) -> tuple[NetworkItem, ...]:
        return tuple(self.tables.networks.values())

    def get(self, network_id: str) -> NetworkItem | None:
        return self.tables.networks.get(NetworkId(network_id))

    def find(self, reference: str) -> NetworkItem:
        """A network that this node takes part in, by id, name or id prefix. Raises NotFound. One that the cluster has removed, and that containers here
        are still leaving, has no name any more: another one may have it."""
        for item in self.all():
            if reference == item.network.id or (reference == item.network.spec.name and item.network.id not in self._doomed):
                return item
        for item in self.all():
            if reference and item.network.id.startswith(reference):
                return item
        raise NotFound(f"network {reference} not found")

    def find_or_none(self, reference: str) -> NetworkItem | None:
        try:
            return self.find(reference)
        except NotFound:
            return None

    def find_whole(self, reference: str) -> NetworkItem | None:
        """The same, but not by a part of an id that could be the name of a network that is not known here."""
        item = self.find_or_none(reference)
        named = item is not None and (reference in (item.network.id, item.network.spec.name) or len(reference) >= SHORT_ID_LENGTH)
        return item if named else None

    async def wait(self, network_id: str) -> NetworkItem:
        """The network, as soon as it is told of; without a limit of its own. Raises NotFound when the node leaves its swarm."""
        while (item := self.get(network_id)) is None:
            if not self.node_id:
                raise NotFound(f"network {network_id} not found")
            await self._changed.wait()
        return item

    def balances(self, service_id: str) -> bool:
        """Whether this node leads connections to that service."""
        return any(balancer.service_id == service_id for balancer in self.tables.balancers.values())

    # -- the tables -----------------------------------------------------------------------------------------------

    def restore(self, node_id: str, vxlan_port: int) -> None:
        """As the last run has left it; what can't be read comes again with the next session."""
        self.node_id, self.vxlan_port = node_id, vxlan_port
        try:
            self.vxlan_port, self.keys = _SETTINGS.decode(self._settings_path.read_bytes())
        except FileNotFoundError:
            pass
        except msgspec.DecodeError:
            log.warning("the kept keys can't be read: the next session brings them")
        self._set(self._kept.load())

    def take(self, upserts: tuple[Item, ...], removals: tuple[str, ...], used: Set[str], *, complete: bool) -> bool:
        """Take one message of the session in; whether it says anything new. A network that the managers no longer assign stays while it is `used` by a
        container here."""
        told = fold(self._without(self._doomed), upserts, removals, complete=complete)
        kept = {n: item for n, item in self.tables.networks.items() if n in used and n not in told.networks}
        self._doomed = set(kept)
        tables = ClusterTables(told.networks | kept, told.endpoints, told.balancers) if kept else told
        if tables == self.tables:
            return False
        self._use(tables)
        return True

    def save(self) -> None:
        """Raises OSError."""
        self._kept.save(self.tables)

    def drop_unused(self, used: Set[str]) -> bool:
        """Let go of the networks that only containers here have kept; whether there was one."""
        gone = self._doomed - used
        if gone:
            self._doomed -= gone
            self._use(self._without(gone))
        return bool(gone)

    def expect_nothing(self) -> None:
        """The managers tell no more."""
        self.node_id = ""
        self._changed.set()
        self._changed = trio.Event()

    def forget(self) -> None:
        """The node has left its swarm."""
        self.node_id, self.keys = "", ()
        self._doomed.clear()
        self._use(EMPTY_TABLES)
        self._kept.forget()
        self._settings_path.unlink(missing_ok=True)

    def _without(self, gone: Set[NetworkId]) -> ClusterTables:
        networks = {n: item for n, item in self.tables.networks.items() if n not in gone}
        return ClusterTables(networks, self.tables.endpoints, self.tables.balancers)

    def _use(self, tables: ClusterTables) -> None:
        """As `_set`, and tell which networks come and go here."""
        had, has = self.tables.networks, tables.networks
        for action, items in (("destroy", [had[n] for n in had if n not in has]), ("create", [has[n] for n in has if n not in had])):
            for item in items:
                self._events.publish(Event("network", action, item.network.id, (("name", item.network.spec.name), ("type", item.network.spec.driver))))
        self._set(tables)

    def _set(self, tables: ClusterTables) -> None:
        self.tables = tables
        self._served = serve(tables, self.node_id, self._served)
        self._changed.set()
        self._changed = trio.Event()

    # -- the settings ---------------------------------------------------------------------------------------------

    async def use_settings(self, vxlan_port: int, keys: tuple[NetworkKey, ...]) -> bool:
        """The cluster's port for overlays (0: as before) and the keys of its encrypted ones; whether they are new."""
        if (vxlan_port or self.vxlan_port, keys) == (self.vxlan_port, self.keys):
            return False
        self.vxlan_port, self.keys = vxlan_port or self.vxlan_port, keys
        self._settings_path.parent.mkdir(parents=True, exist_ok=True)
        await trio.to_thread.run_sync(write_atomically, self._settings_path, msgspec.msgpack.encode((self.vxlan_port, keys)), 0o600)
        return True
