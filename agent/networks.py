"""The node's networks as one: local ones, the cluster's tables, the containers' sandboxes. The only module that talks to the fabric.

Decides nothing about the kernel (netfabric/plan.py does): it keeps the View and asks the fabric to reconcile. The cluster's tables are kept on disk,
so that a restarted node serves the overlays of its running tasks before any manager has answered.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent import naming
from agent.local_networks import INGRESS_SANDBOX_HOST, LocalNetworks
from agent.name_service import NameService
from agent.records import Attachment, LocalNetwork, Record
from agent.view import EMPTY_TABLES, ClusterTables, fold, interface_order, overlays
from cluster.model.assignments import BalancerItem, EndpointItem, Item, NetworkItem, TaskItem
from cluster.model.errors import InvalidArgument, NotFound, PermissionDenied
from cluster.model.ids import NetworkId
from netfabric import view
from netfabric.errors import FabricError

if TYPE_CHECKING:
    from netfabric.apply import Fabric
    from runtime.client import Supervisor

log = logging.getLogger("festoon.networks")
_ITEMS = msgspec.msgpack.Decoder(tuple[TaskItem | NetworkItem | EndpointItem | BalancerItem, ...])


@dataclass(frozen=True, slots=True)
class Wanted:
    """A network that a container asks for: an overlay's id with the address that the cluster gave, or a local network's name."""

    network: str
    address: str = ""  # CIDR for overlays; plain or empty for local ones
    aliases: tuple[str, ...] = ()


def mac_of(address: str) -> str:
    """02:42 and the four bytes of an IPv4 address: Docker's MAC of an interface."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.partition("/")[0].split("."))


class Networks:
    """State: local networks, the cluster's tables, one sandbox and its host ports per running container, the node's VTEP."""

    def __init__(self, root: Path, fabric: Fabric, supervisor: Supervisor) -> None:
        self.locals = LocalNetworks(root / "networks.json", time.time_ns())
        self.names = NameService(supervisor, self.locals, self.namespace)
        self._fabric = fabric
        self._tables_path = root / "node" / "tables"
        self._tables = EMPTY_TABLES
        self._overlays: tuple[view.Overlay, ...] = ()
        self._sandboxes: dict[str, view.Sandbox] = {}
        self._host_ports: dict[str, tuple[view.HostPort, ...]] = {}
        self._bridge_users: dict[str, set[str]] = {}
        self._doomed: set[NetworkId] = set()
        self.node_id = ""
        self.vtep = ""
        self.vxlan_port = 4789

    # -- what the engine shows ------------------------------------------------------------------------------------

    def local(self) -> tuple[LocalNetwork, ...]:
        return self.locals.all()

    def find(self, reference: str) -> LocalNetwork:
        return self.locals.find(reference)

    def assigned(self) -> tuple[NetworkItem, ...]:
        return tuple(self._tables.networks.values())

    def assigned_to(self, reference: str) -> NetworkItem:
        """A swarm network that this node takes part in, by id, name or id prefix. Raises NotFound."""
        for item in self._tables.networks.values():
            if reference in {item.network.id, item.network.spec.name}:
                return item
        for item in self._tables.networks.values():
            if reference and item.network.id.startswith(reference):
                return item
        raise NotFound(f"network {reference} not found")

    async def create(self, name: str, *, subnet: str = "", gateway: str = "", labels: tuple[tuple[str, str], ...] = (),
                     options: tuple[tuple[str, str], ...] = (), internal: bool = False, attachable: bool = False) -> LocalNetwork:  # fmt: skip
        return self.locals.create(
            name, time.time_ns(), subnet=subnet, gateway=gateway, labels=labels, options=options, internal=internal, attachable=attachable
        )

    async def remove(self, network_id: str) -> None:
        """Forget a user's local network and take its bridge down. Raises PermissionDenied while containers use it."""
        network = self.locals.find(network_id)
        if self._bridge_users.get(network.id):
            raise PermissionDenied(f"error while removing network: network {network.name} id {network.id} has active endpoints")
        self.locals.remove(network.id)
        await self.reconcile()

    # -- the cluster's side ---------------------------------------------------------------------------------------

    def restore(self, node_id: str, vtep: str, vxlan_port: int) -> None:
        """Take the tables of the last run up again, before any manager answers."""
        self.enter_swarm(node_id, vtep, vxlan_port)
        if self._tables_path.exists():
            try:
                items = _ITEMS.decode(self._tables_path.read_bytes())
            except msgspec.DecodeError:
                items = ()  # half-written by a power loss: the manager sends them again
            self._use(fold(EMPTY_TABLES, items, (), complete=True))
            self.names.publish(self._tables)

    def enter_swarm(self, node_id: str, vtep: str, vxlan_port: int) -> None:
        self.node_id, self.vtep, self.vxlan_port = node_id, vtep, vxlan_port
        self.locals.ensure_gateway_bridge(time.time_ns())

    async def leave_swarm(self) -> None:
        """Drop every overlay. The caller has removed the tasks' containers."""
        self.node_id = self.vtep = ""
        self._use(EMPTY_TABLES)
        self.names.publish(self._tables)
        self._tables_path.unlink(missing_ok=True)
        await self.reconcile()

    async def assign(self, upserts: tuple[Item, ...], removals: tuple[str, ...], *, complete: bool) -> None:
        """Take over one message of the session and bring names and kernel to it: a name goes before its address does, and comes after it."""
        tables = self._keep_used(fold(self._tables, upserts, removals, complete=complete))
        if tables == self._tables:
            return
        self._use(tables)
        self.names.retract(tables)
        items = (*tables.networks.values(), *tables.endpoints.values(), *tables.balancers.values())
        self._tables_path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._tables_path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.msgpack.encode(items))
        temporary.replace(self._tables_path)
        try:
            await self.reconcile()
        finally:  # cancelled, the kernel is brought there all the same
            self.names.publish(tables)

    def _keep_used(self, tables: ClusterTables) -> ClusterTables:
        """A network that the managers no longer assign stays while a container here is still attached to it."""
        used = {i.network for s in self._sandboxes.values() for i in s.interfaces}
        kept = {n: item for n, item in self._tables.networks.items() if n in used and n not in tables.networks}
        self._doomed = set(kept)
        return ClusterTables(tables.networks | kept, tables.endpoints, tables.balancers) if kept else tables

    def _drop_doomed(self) -> None:
        used = {i.network for s in self._sandboxes.values() for i in s.interfaces}
        if gone := self._doomed - used:
            self._doomed -= gone
            networks = {n: item for n, item in self._tables.networks.items() if n not in gone}
            self._use(ClusterTables(networks, self._tables.endpoints, self._tables.balancers))
            self.names.publish(self._tables)

    def _use(self, tables: ClusterTables) -> None:
        self._tables = tables
        self._overlays = overlays(tables, self.node_id)

    # -- containers -----------------------------------------------------------------------------------------------

    async def attach(self, container_id: str, wanted: tuple[Wanted, ...], *, ingress_ports: tuple[view.PublishedPort, ...] = (),
                     sysctls: tuple[tuple[str, str], ...] = (), namespace: int = -1) -> tuple[Attachment, ...]:  # fmt: skip
        """Lease the addresses, build the container's namespace and wire it. Returns its attachments in interface order. `namespace`: a descriptor of
        the one to use instead of a new one.

        Raises NotFound for an unknown network, Conflict when addresses have run out, FabricError when the kernel refuses. Nothing stays leased after a failure.
        """
        attachments = self._lease(wanted)
        try:
            self._install(container_id, attachments, ingress_ports, (), sysctls)
            with self._fabric.offering(container_id[:12], namespace):
                await self._reconcile(container_id)
        except BaseException:
            self._uninstall(container_id, attachments)
            raise
        return attachments

    async def publish(self, container_id: str, host_ports: tuple[view.HostPort, ...]) -> None:
        """Forward ports of the node to an attached container."""
        self._host_ports[container_id] = host_ports
        await self._reconcile(container_id)

    def adopt(self, record: Record, ingress_ports: tuple[view.PublishedPort, ...], host_ports: tuple[view.HostPort, ...]) -> None:
        """A running container found at start: take its leases over without touching the kernel yet."""
        for attachment in record.attachments:
            if self._is_local(attachment.network_id):
                self.locals.lease(self.locals.find(attachment.network_id), attachment.address.partition("/")[0])
        self._install(record.id, record.attachments, ingress_ports, host_ports, record.host.sysctls)

    async def detach(self, record: Record) -> None:
        """Take the container's names away, its namespace down, and give its addresses back."""
        self.names.close(record.id)
        if record.id in self._sandboxes:
            self._uninstall(record.id, record.attachments)
            await self.reconcile()

    async def wait_quiet(self, container_id: str, service_id: str) -> None:
        """Until the last connection that the mesh has led to the container is over. At once when its service is balanced by nobody (any more)."""
        if not any(balancer.service_id == service_id for balancer in self._tables.balancers.values()):
            return
        try:
            await self._fabric.wait_quiet(container_id[:12])
        except OSError as error:
            log.warning("open connections can't be told", extra={"fields": {"container": container_id[:12], "error": str(error)}})

    def namespace(self, container_id: str) -> str:
        return self._fabric.sandbox_path(container_id[:12])

    async def reconcile(self) -> None:
        """Bring the kernel to what is wanted now; concurrent calls coalesce in the fabric. What can't be made is logged: the next change tries again."""
        await self._reconcile("")

    async def _reconcile(self, container_id: str) -> None:
        """Raises FabricError when this container's own sandbox (or a shared part of the node) could not be made."""
        try:
            await self._fabric.reconcile(self.desired())
        except FabricError as error:
            log.warning("part of the network could not be made", extra={"fields": {"error": str(error)}})
            own = tuple(f for f in error.failures if f.namespace == container_id[:12])
            if container_id and own:
                raise FabricError(own) from error

    def desired(self) -> view.View:
        """What the fabric has to serve now."""
        gateway = self.locals.gateway_bridge() if self.vtep else None
        bridges = tuple(self.locals.bridge(n) for n in self.locals.all() if self._bridge_users.get(n.id) and n != gateway)
        sandbox_address = "172.18.0.2/16"
        if gateway is not None:
            prefix = gateway.subnet.partition("/")[2]
            base = gateway.gateway.rpartition(".")[0]
            sandbox_address = f"{base}.{INGRESS_SANDBOX_HOST}/{prefix}"
        return view.View(
            vtep=self.vtep, vxlan_port=self.vxlan_port, gateway_bridge=self.locals.bridge(gateway) if gateway else None, bridges=bridges,
            overlays=self._overlays, sandboxes=tuple(self._sandboxes.values()),
            host_ports=tuple(p for ports in self._host_ports.values() for p in ports), ingress_sandbox_address=sandbox_address,
        )  # fmt: skip

    def _is_local(self, network_id: str) -> bool:
        return len(network_id) == 64

    def _lease(self, wanted: tuple[Wanted, ...]) -> tuple[Attachment, ...]:
        by_id: dict[str, tuple[Wanted, LocalNetwork | NetworkItem]] = {}
        for want in wanted:
            item = self._tables.networks.get(NetworkId(want.network))
            found = item if item is not None else self.locals.find(want.network)
            by_id[found.network.id if isinstance(found, NetworkItem) else found.id] = (want, found)
        swarm = [(i, f.network.spec.ingress) for i, (_, f) in by_id.items() if isinstance(f, NetworkItem)]
        local = [(i, False) for i, (_, f) in by_id.items() if isinstance(f, LocalNetwork)]
        gateway = self.locals.gateway_bridge() if swarm and not local else None
        leased: list[Attachment] = []
        try:
            for index, network_id in enumerate(interface_order(swarm + local, gateway is not None)):
                if not network_id:
                    assert gateway is not None
                    leased.append(self._lease_local(gateway, Wanted(gateway.id), index, default=True, hidden=True))
                    continue
                want, found = by_id[network_id]
                if isinstance(found, LocalNetwork):
                    leased.append(self._lease_local(found, want, index, default=not any(a.gateway for a in leased)))
                else:
                    if not want.address:
                        raise InvalidArgument(f"network {found.network.spec.name} gives addresses to tasks only; use a service")
                    leased.append(_attachment(found, want, index))
        except BaseException:
            self._release(leased)
            raise
        return tuple(leased)

    def _lease_local(self, network: LocalNetwork, want: Wanted, index: int, *, default: bool, hidden: bool = False) -> Attachment:
        if network.driver != "bridge":
            return Attachment(network_id=network.id, network_name=network.name, interface="", address="", hidden=hidden)
        address = self.locals.lease(network, want.address)
        return Attachment(network_id=network.id, network_name=network.name, interface=f"eth{index}", address=address, mac=mac_of(address),
                          gateway=network.gateway if default and not network.internal else "", aliases=want.aliases, endpoint_id=os.urandom(32).hex(),
                          hidden=hidden)  # fmt: skip

    def _install(self, container_id: str, attachments: tuple[Attachment, ...], ingress_ports: tuple[view.PublishedPort, ...],
                 host_ports: tuple[view.HostPort, ...], sysctls: tuple[tuple[str, str], ...]) -> None:  # fmt: skip
        interfaces = []
        for attachment in attachments:
            if not attachment.interface:
                continue
            network = attachment.network_id
            if self._is_local(network):
                self._bridge_users.setdefault(network, set()).add(container_id)
                network = self.locals.find(network).interface
            interfaces.append(view.Interface(attachment.interface, network, attachment.address, attachment.gateway))
        self._sandboxes[container_id] = view.Sandbox(container_id[:12], tuple(interfaces), ingress_ports, sysctls, naming.resolves(attachments))
        if host_ports:
            self._host_ports[container_id] = host_ports

    def _uninstall(self, container_id: str, attachments: tuple[Attachment, ...]) -> None:
        self._sandboxes.pop(container_id, None)
        self._host_ports.pop(container_id, None)
        for users in self._bridge_users.values():
            users.discard(container_id)
        self._release(attachments)
        if self._doomed:
            self._drop_doomed()

    def _release(self, attachments: tuple[Attachment, ...] | list[Attachment]) -> None:
        for attachment in attachments:
            if attachment.address and self._is_local(attachment.network_id):
                self.locals.release(attachment.network_id, attachment.address)


def _attachment(item: NetworkItem, want: Wanted, index: int) -> Attachment:
    return Attachment(
        network_id=item.network.id, network_name=item.network.spec.name, interface=f"eth{index}", address=want.address, mac=mac_of(want.address),
        aliases=want.aliases, endpoint_id=os.urandom(32).hex(),
    )  # fmt: skip
