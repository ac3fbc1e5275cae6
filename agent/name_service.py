"""The names that this node's containers can ask for: one zone per network, one resolver per container.

Owns the zones and the resolvers' sockets, which the supervisor keeps while this process is away. What a name means is netfabric/dns/zone.py's, who gives
which is agent/naming.py's. Names go before their addresses do, and come after them: `retract` before the kernel is changed, `publish` after.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import trio

from agent import naming
from agent.records import Record
from agent.view import EMPTY_TABLES, ClusterTables
from cluster.model.assignments import NetworkItem
from cluster.model.ids import NetworkId
from cluster.model.objects import Network
from netfabric.dns.server import Client, NameServer
from netfabric.dns.upstream import HostResolvers, Servers
from netfabric.dns.zone import Asker, Contribution, Zone
from runtime.errors import RuntimeFault

if TYPE_CHECKING:
    from agent.local_networks import LocalNetworks
    from runtime.client import Supervisor

log = logging.getLogger("festoon.names")
SHELF: Final = "resolver/"
"""Prefix of the names under which the supervisor keeps sockets."""
NOTHING: Final = Contribution()


class NameService:
    """State: a zone per network, the records of the containers that are served, the tables that the zones were made from."""

    def __init__(self, supervisor: Supervisor, locals_: LocalNetworks, namespace: Callable[[str], str]) -> None:
        self._supervisor, self._locals, self._namespace = supervisor, locals_, namespace
        self._server = NameServer()
        self._host_resolvers = HostResolvers()
        self._zones: dict[str, Zone] = {}
        self._served: dict[str, Record] = {}
        self._tables = EMPTY_TABLES
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._server.run)
            task_status.started()

    # -- the cluster's tables -------------------------------------------------------------------------------------

    @property
    def tables(self) -> ClusterTables:
        """Those that were published last."""
        return self._tables

    def retract(self, tables: ClusterTables) -> None:
        """Take away what these tables no longer say; nothing new is added yet."""
        for network_id, source, now in self._changes(tables):
            zone = self._zone(network_id)
            zone.put(source, zone.given(source).common(now))

    def publish(self, tables: ClusterTables) -> None:
        """The names are those of these tables from now on."""
        before = self._tables
        for network_id, source, now in self._changes(tables):
            self._zone(network_id).put(source, now)
        self._tables = tables
        for network_id, item in tables.networks.items():
            if item.network.spec.driver == "overlay":
                self._zone(network_id).describe(item.network.spec.name, item.network.subnets)
        if before.networks.keys() != tables.networks.keys():
            self._forget_zones()
            for container_id, record in self._served.items():
                self._server.change(container_id, self._client(record))

    def _changes(self, tables: ClusterTables) -> Iterator[tuple[str, str, Contribution]]:
        """(network, source, what it gives now) of all that is not as it was."""
        before = self._tables
        for key, was, endpoint in tables.endpoints.since(before.endpoints):
            if endpoint is not None:
                yield endpoint.network_id, key, naming.of_endpoint(endpoint, _network(tables, endpoint.network_id))
            elif was is not None:
                yield was.network_id, key, NOTHING
        for key, known, balancer in tables.balancers.since(before.balancers):
            if balancer is not None:
                yield balancer.network_id, key, naming.of_service(balancer, _network(tables, balancer.network_id))
            elif known is not None:
                yield known.network_id, key, NOTHING

    # -- containers -----------------------------------------------------------------------------------------------

    def open(self, record: Record) -> None:
        """Serve a container whose namespace is wired, and let the others find it. Again after its networks or its name have changed."""
        self._introduce(record)
        if not naming.resolves(record.attachments) or self._server.change(record.id, self._client(record)):
            return
        self._serve(record, None)

    async def adopt(self, records: tuple[Record, ...]) -> None:
        """Containers that run already, at start: on the sockets that were kept. Those of containers that are gone are let go.

        All are introduced before the first is served: a question may have waited in its socket's buffer for this moment, about any other."""
        kept = set(await self._supervisor.kept())
        for record in records:
            self._introduce(record)
        for record in records:
            if naming.resolves(record.attachments):
                name = SHELF + record.id
                found = await self._supervisor.take(name) if name in kept else ()
                self._serve(record, (found[0], found[1]) if len(found) == 2 else None)
                kept.discard(name)
        for name in kept:
            if name.startswith(SHELF):
                await self._supervisor.drop(name)

    def close(self, container_id: str) -> None:
        """Its names go, and its resolver. One that is not served is no error."""
        record = self._served.pop(container_id, None)
        if record is None:
            return
        for attachment in record.attachments:
            if (zone := self._zones.get(attachment.network_id)) is not None:
                zone.put(_source(record), NOTHING)
        self._server.close(container_id)
        self._later(self._drop, container_id)
        self._forget_zones()

    def _introduce(self, record: Record) -> None:
        before = self._served.get(record.id)
        for attachment in before.attachments if before is not None else ():
            if attachment.network_id in self._zones:
                self._zones[attachment.network_id].put(_source(record), NOTHING)
        self._served[record.id] = record
        for attachment in record.attachments:
            if attachment.interface and not attachment.hidden and attachment.network_name != naming.DEFAULT_BRIDGE:
                zone = self._zone(attachment.network_id)
                if not record.service_id:  # a service's task is found when the cluster says that it runs
                    zone.put(_source(record), naming.of_container(record, attachment))

    def _serve(self, record: Record, kept: tuple[int, int] | None) -> None:
        try:
            descriptors = self._server.open(record.id, self._namespace(record.id), self._client(record), kept)
        except OSError as error:
            log.warning("a container has no resolver", extra={"fields": {"container": record.id, "error": str(error)}})
            return
        if kept is None:
            self._later(self._keep, record.id, descriptors)

    def _later(self, act: Callable[..., object], *arguments: object) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(act, *arguments)  # type: ignore[arg-type]

    async def _keep(self, container_id: str, descriptors: tuple[int, int]) -> None:
        duplicates = tuple(os.dup(d) for d in descriptors)
        try:
            await self._supervisor.keep(SHELF + container_id, duplicates)
        except RuntimeFault as error:
            log.warning("a resolver's sockets can't be kept", extra={"fields": {"container": container_id, "error": str(error)}})
        finally:
            for duplicate in duplicates:
                os.close(duplicate)
        if container_id not in self._served:
            await self._drop(container_id)  # it ended meanwhile

    async def _drop(self, container_id: str) -> None:
        try:
            await self._supervisor.drop(SHELF + container_id)
        except RuntimeFault as error:
            log.debug("kept sockets can't be dropped: %s", error)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _client(self, record: Record) -> Client:
        """The zones in Docker's order: overlays, ingress, networks of this node. Nothing is asked elsewhere from networks that are internal."""
        ranked = sorted(
            (self._rank(a.network_id), number, a.network_id)
            for number, a in enumerate(record.attachments)
            if a.interface and not a.hidden and a.network_name != naming.DEFAULT_BRIDGE
        )
        zones = tuple(self._zone(network_id) for _, _, network_id in ranked)
        linked = tuple((self._zone(network_id), alias, name) for network_id, alias, name in naming.links(record.attachments))
        asker = Asker(zones, naming.stays_dotless(record.host), linked)
        if all(self._is_internal(a.network_id) for a in record.attachments if a.interface and not a.hidden):
            return Client(asker)
        if not record.host.dns:
            return Client(asker, self._host_resolvers)
        own = Servers(record.host.dns, self._namespace(record.id))
        return Client(asker, lambda: own)

    def _rank(self, network_id: str) -> int:
        item = self._overlay(network_id)
        return 2 if item is None or item.network.spec.driver != "overlay" else int(item.network.spec.ingress)

    def _is_internal(self, network_id: str) -> bool:
        item = self._overlay(network_id)
        if item is not None:
            return item.network.spec.internal
        return any(n.internal for n in self._locals.all() if n.id == network_id)

    def _overlay(self, network_id: str) -> NetworkItem | None:
        return self._tables.networks.get(NetworkId(network_id))

    def _zone(self, network_id: str) -> Zone:
        zone = self._zones.get(network_id)
        if zone is None:
            zone = self._zones[network_id] = Zone()
            for network in self._locals.all():
                if network.id == network_id:
                    zone.describe(network.name, tuple(subnet for subnet in (network.subnet, network.subnet6) if subnet))
        return zone

    def _forget_zones(self) -> None:
        """Those of networks that neither the cluster nor a container here speaks of."""
        used = {a.network_id for r in self._served.values() for a in r.attachments} | set(self._tables.networks)
        for network_id in [n for n, zone in self._zones.items() if n not in used and zone.empty]:
            del self._zones[network_id]


def _network(tables: ClusterTables, network_id: NetworkId) -> Network | None:
    item = tables.networks.get(network_id)
    return item.network if item is not None else None


def _source(record: Record) -> str:
    return f"container/{record.id}"
