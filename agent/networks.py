"""The node's networks as one: local ones, the cluster's tables, the containers' sandboxes. The only module that talks to the fabric.

Decides nothing about the kernel (netfabric/plan.py does): it keeps the parts of the View and asks the fabric to reconcile.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import os
import socket
import time
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from agent import addresses
from agent.assigned_networks import AssignedNetworks
from agent.attachments import Attachments
from agent.events import EventBus
from agent.leases import Leases, Wanted
from agent.local_networks import (
    BRIDGE_NAME,
    DEFAULT_BRIDGE,
    DOCKERS_NAMES,
    GATEWAY_BRIDGE,
    INGRESS_SANDBOX_HOST,
    TAKEN,
    BridgeNames,
    LocalNetworks,
)
from agent.name_service import NameService
from agent.records import Attachment, LocalNetwork, NetworkWish, Record
from agent.sandboxes import Sandboxes
from agent.view import ClusterTables
from cluster.model.assignments import Item, NetworkItem
from cluster.model.errors import Conflict, Internal, NotFound, PermissionDenied
from cluster.model.objects import NetworkKey
from cluster.model.specs import NetworkSpec
from netfabric import view
from netfabric.anatomy.overlay import OVERLAY_BRIDGE, overlay_namespace
from netfabric.errors import FabricError
from netfabric.indexes import is_foreign
from netfabric.netlink.nftables import NftablesError

if TYPE_CHECKING:
    from netfabric.apply import Fabric
    from runtime.client import Supervisor

_MADE_WHEN_USED: Final = (DEFAULT_BRIDGE, GATEWAY_BRIDGE)  # names that another program on the node may own
_NO_ESP: Final = "encrypted network {} does not leave this node: its kernel has no ESP with rfc4106(gcm(aes)) (modules esp4, xfrm_user)"
log = logging.getLogger("festoon.networks")


def _interfaces() -> tuple[str, ...]:
    return tuple(name for _, name in socket.if_nameindex())


def own_names(record: Record) -> tuple[str, ...]:
    """What a container answers to on overlays beside its aliases."""
    return (record.name, record.id[:12], *((record.config.hostname,) if record.config.hostname else ()))


class Networks:
    """State: the node's VTEP; its parts have theirs: `locals`, `assigned` (the cluster's), `sandboxes`, `attachments`, `names`."""

    def __init__(self, root: Path, fabric: Fabric, supervisor: Supervisor, interfaces: BridgeNames, events: EventBus) -> None:
        """Raises Conflict when an interface of that name is another program's."""
        self._foreign = frozenset(DOCKERS_NAMES) - frozenset(interfaces)
        self.locals = LocalNetworks(root / "networks.json", time.time_ns(), interfaces, _interfaces(), addresses.routes(interfaces, self._foreign))
        self.assigned = AssignedNetworks(root / "node", events)
        self.attachments = Attachments(self.locals, self.assigned)
        self.names = NameService(supervisor, self.locals, self.namespace)
        self._fabric = fabric
        self._sandboxes = Sandboxes(self.locals)
        self._leases = Leases(self.locals)
        self._underlay_mtu = addresses.ETHERNET_MTU_BYTES
        self._looked_for_obstacles = False
        self.vtep = ""

    # -- local networks -------------------------------------------------------------------------------------------

    def check_wish(self, wish: NetworkWish) -> None:
        """Raises InvalidArgument in Docker's words where a local network gives no address of one's own; what is not known yet is checked at the start."""
        try:
            network = self.locals.find(wish.network)
        except NotFound:
            return
        self._leases.check(network, wish)

    def driver(self, network_id: str) -> str:
        """Of a network that is known here; empty for another one."""
        if (network := self.locals.get(network_id)) is not None:
            return network.driver
        item = self.assigned.get(network_id)
        return item.network.spec.driver if item is not None else ""

    def ensure_own(self, wishes: tuple[NetworkWish, ...]) -> None:
        """This node's own of the swarm-scoped networks among them that each node makes for itself, before a container is on them. Raises as
        `LocalNetworks.create`."""
        for wish in wishes:
            if (item := self.assigned.get(wish.network)) is not None:
                self._own(Wanted(wish, item))

    async def create(self, spec: NetworkSpec, *, config_only: bool = False, config_from: str = "", default6: bool = False) -> LocalNetwork:
        """A user's local network, with its bridge. `default6`: IPv6 has a default pool. Raises Conflict, PermissionDenied, InvalidArgument, or Internal when
        the kernel refuses; nothing stays."""
        self._refuse_taken_link(dict(spec.driver_opts).get(BRIDGE_NAME, ""))
        network = self.locals.create(spec, time.time_ns(), self.routes(), config_only=config_only, config_from=config_from, default6=default6)
        try:
            await self._fabric.reconcile(self.desired())
        except FabricError as error:
            concerning = [f.message for f in error.failures if network.interface and network.interface in f.message]
            if concerning:
                self.locals.remove(network.id)
                await self.reconcile()
                raise Internal(f"Failed to create network {spec.name}: {concerning[0]}") from error
        return network

    def _refuse_taken_link(self, link: str) -> None:
        """Raises PermissionDenied for a bridge's name that somebody else's interface has."""
        if link and link not in self.locals.bridges() and is_foreign(link):
            bridge = os.path.isdir(f"/sys/class/net/{link}/bridge")
            raise PermissionDenied(f"the bridge {link} is there already and is not Festoon's" if bridge else f"existing interface {link} is not a bridge")

    async def remove(self, network_id: str) -> None:
        """Forget a user's local network and take its bridge down. Raises PermissionDenied for one that is to stay, and while containers use it."""
        network = self.locals.check_removable(self.locals.find(network_id).id)
        carries_mesh = bool(self.vtep) and network == self.locals.gateway_bridge()
        if carries_mesh or self._sandboxes.uses(network.id):
            raise PermissionDenied(f"error while removing network: network {network.name} id {network.id} has active endpoints")
        self.locals.remove(network.id)
        await self.reconcile()

    # -- the cluster's side ---------------------------------------------------------------------------------------

    def restore(self, node_id: str, vtep: str, vxlan_port: int) -> None:
        """Take the tables of the last run up again, before any manager answers."""
        self.enter_swarm(node_id, vtep, vxlan_port)
        self.assigned.restore(node_id, vxlan_port)
        self.names.publish(self.assigned.tables)

    def check_may_enter(self) -> None:
        """Raises Conflict when another program has the name of the gateway's bridge."""
        self.locals.check_gateway_bridge(_interfaces())

    def enter_swarm(self, node_id: str, vtep: str, vxlan_port: int) -> None:
        self.locals.ensure_gateway_bridge(time.time_ns(), self.routes())
        self.vtep, self.assigned.node_id, self.assigned.vxlan_port = vtep, node_id, vxlan_port
        self._underlay_mtu = addresses.mtu_toward(vtep)

    async def use_settings(self, vxlan_port: int, keys: tuple[NetworkKey, ...]) -> None:
        """The cluster's port for overlays and the keys of its encrypted ones; kept for a start without managers."""
        if await self.assigned.use_settings(vxlan_port, keys):
            await self.reconcile()

    async def leave_swarm(self) -> None:
        """Drop every overlay. The caller has removed the tasks' containers, and taken those of people off."""
        self.vtep = ""
        self.assigned.forget()
        self.locals.drop_of_swarm(self._sandboxes.uses)
        self.names.publish(self.assigned.tables)
        await self.reconcile()

    def hear(self, upserts: tuple[Item, ...], removals: tuple[str, ...], *, complete: bool, begins: bool = False) -> None:
        """Take in one message of the session. A name goes before its address does: at once, however busy the kernel is with the messages before."""
        if complete or begins:  # weights, sysctls and the like may have been changed while nobody looked, and the kernel tells nobody of those
            self._fabric.recheck()
            self._drop_unused()
        if self.assigned.take(upserts, removals, self._sandboxes.networks(), complete=complete):
            self.names.retract(self.assigned.tables)

    async def apply(self) -> None:
        """Bring the kernel, and then the names that have come, to all that was heard."""
        tables = self.assigned.tables
        if tables is self.names.tables:
            return
        try:
            await self.reconcile()
        finally:  # cancelled, the kernel is brought there all the same
            self._publish(tables)
            self.assigned.save()  # nobody waits for it: a start with older tables gets the whole from the managers

    def _publish(self, tables: ClusterTables) -> None:
        """Of these tables, of which the kernel is, what no message has taken away meanwhile."""
        self.names.publish(tables)
        if self.assigned.tables is not tables:
            self.names.retract(self.assigned.tables)

    def _drop_unused(self) -> None:
        self.locals.drop_of_swarm(self._sandboxes.uses)
        published = self.names.tables is self.assigned.tables
        if self.assigned.drop_unused(self._sandboxes.networks()):
            (self.names.publish if published else self.names.retract)(self.assigned.tables)

    # -- containers -----------------------------------------------------------------------------------------------

    async def attach(self, container_id: str, wishes: tuple[NetworkWish, ...], *, ingress_ports: tuple[view.PublishedPort, ...] = (),
                     sysctls: tuple[tuple[str, str], ...] = (), namespace: int = -1,
                     names: tuple[str, ...] = ()) -> tuple[Attachment, ...]:  # fmt: skip
        """Lease the addresses, build the container's namespace and wire it. Returns its attachments in interface order. `namespace`: a descriptor of
        the one to use instead of a new one; `names`: what it answers to on overlays, beside its aliases.

        Raises NotFound for an unknown network, Conflict when addresses have run out, FabricError when the kernel refuses. Nothing stays leased after a failure.
        """
        wanted = await self.attachments.find_all(container_id, names, wishes)
        attachments: tuple[Attachment, ...] = ()
        try:
            attachments = self._leases.take(tuple(self._own(one) for one in wanted))
            self._sandboxes.put(container_id, attachments, ingress_ports, (), sysctls)
            with self._fabric.offering(container_id[:12], namespace):
                await self._reconcile(container_id)
            self._sandboxes.note_made(attachments)
        except BaseException:
            self._uninstall(container_id, attachments)
            with trio.CancelScope(shield=True):
                await self.reconcile()
            self.attachments.give_up(one.task_id for one in wanted)
            raise
        return attachments

    async def connect(self, record: Record, wish: NetworkWish) -> tuple[Attachment, ...]:
        """Put a running container on one more network. Returns all its attachments. Raises as `attach`; everything is as before then."""
        before, last_interface = self._sandboxes.get(record.id), self._sandboxes.last_interface(record.id)
        if before is None:
            self._fabric.adopt(record.id[:12], record.state.pid)
            before = self._sandboxes.begin(record.id)
        (wanted,) = await self.attachments.find_all(record.id, own_names(record), (wish,))
        added: tuple[Attachment, ...] = ()
        try:
            added = (self._leases.one(self._own(wanted), self._sandboxes.next_interface(record)),)
            attachments = self._settled(record, (*record.attachments, *added))
            self._sandboxes.rewire(record.id, attachments, before)
            await self._reconcile(record.id)
        except BaseException:
            self._leases.give_back(added)
            self._sandboxes.set_last_interface(record.id, last_interface)
            self._sandboxes.rewire(record.id, record.attachments, before)
            self._drop_unused()
            with trio.CancelScope(shield=True):
                await self.reconcile()
            self.attachments.give_up((wanted.task_id,))
            raise
        return attachments

    async def disconnect(self, record: Record, network_ids: Set[str]) -> tuple[Attachment, ...]:
        """Take a running container off these networks. Returns the attachments that it has left."""
        self._sandboxes.note_interfaces(record)
        gone = tuple(a for a in record.attachments if a.network_id in network_ids)
        attachments = self._settled(record, tuple(a for a in record.attachments if a.network_id not in network_ids))
        self._leases.give_back(gone)
        if (before := self._sandboxes.get(record.id)) is not None:
            self._sandboxes.rewire(record.id, attachments, before)
        self._drop_unused()
        await self.reconcile()
        self.attachments.give_up(a.task_id for a in gone)
        return attachments

    def _settled(self, record: Record, attachments: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
        networks = tuple(self._known(a.network_id) for a in attachments if not a.hidden)
        return self._leases.settled(attachments, networks, lambda: self._sandboxes.next_interface(record))

    def _known(self, network_id: str) -> LocalNetwork | NetworkItem:
        """Raises NotFound."""
        return self.locals.get(network_id) or self.assigned.get(network_id) or self.locals.find(network_id)

    def _own(self, wanted: Wanted) -> Wanted:
        """A swarm-scoped network that each node makes for itself, as this node has it; made now where it is wanted first. Raises as `LocalNetworks.create`."""
        if not isinstance(wanted.network, NetworkItem) or wanted.network.network.spec.driver == "overlay":
            return wanted
        return dataclasses.replace(wanted, network=self.locals.ensure_of_swarm(wanted.network.network, time.time_ns(), self.routes()))

    async def publish(self, container_id: str, host_ports: tuple[view.HostPort, ...]) -> None:
        """Forward ports of the node to an attached container."""
        self._sandboxes.publish(container_id, host_ports)
        await self._reconcile(container_id)

    def adopt(self, record: Record, ingress_ports: tuple[view.PublishedPort, ...], host_ports: tuple[view.HostPort, ...]) -> None:
        """A running container found at start: take its leases over without touching the kernel yet."""
        for attachment in record.attachments:
            if self.locals.gives(attachment.network_id):
                self._leases.again(attachment)
            if attachment.task_id:
                self.attachments.hold(attachment.task_id)
        known = tuple(a for a in record.attachments if self.locals.gives(a.network_id) or self.assigned.get(a.network_id) is not None)
        if record.attachments or os.path.exists(self.namespace(record.id)):  # on others it is no more: the node was killed while it left its swarm
            self._sandboxes.put(record.id, known, ingress_ports, host_ports, record.host.sysctls)

    async def detach(self, record: Record) -> None:
        """Take the container's names away, its namespace down, and give its addresses back."""
        self.names.close(record.id)
        if self._sandboxes.get(record.id) is not None:
            self._uninstall(record.id, record.attachments)
            await self.reconcile()
            self.attachments.give_up(a.task_id for a in record.attachments)

    def _uninstall(self, container_id: str, attachments: tuple[Attachment, ...]) -> None:
        self._sandboxes.drop(container_id)
        self._leases.give_back(attachments)
        self._drop_unused()

    async def wait_quiet(self, container_id: str, service_id: str) -> None:
        """Until the last connection that the mesh has led to the container is over. At once when its service is balanced by nobody (any more)."""
        if not self.assigned.balances(service_id):
            return
        try:
            await self._fabric.wait_quiet(container_id[:12])
        except OSError as error:
            log.warning("open connections can't be told", extra={"fields": {"container": container_id[:12], "error": str(error)}})

    # -- the fabric ------------------------------------------------------------------------------------------------

    def where(self, reference: str) -> tuple[str, str]:
        """(path of the namespace or "" for the node's, link or "" for all) where a network's packets pass on this node. Raises NotFound, Conflict."""
        item = self.assigned.find_or_none(reference)
        if item is None or item.network.spec.driver != "overlay":
            network = self.locals.find(item.network.id if item is not None else reference)
            if network.driver == "null":
                raise Conflict(f"network {network.name} has no packets")
            return "", network.interface
        return self._fabric.sandbox_path(overlay_namespace(item.network.id)), OVERLAY_BRIDGE

    def namespace(self, container_id: str) -> str:
        return self._fabric.sandbox_path(container_id[:12])

    async def reconcile(self) -> None:
        """Bring the kernel to what is wanted now; concurrent calls coalesce in the fabric. What can't be made is logged: the next change tries again."""
        await self._reconcile("")

    async def _reconcile(self, container_id: str) -> None:
        """Raises FabricError when this container's own sandbox (or a shared part of the node) could not be made; Conflict when that is because
        another program has taken its bridge."""
        try:
            await self._fabric.reconcile(self.desired())
            if self.assigned.overlays and not self._looked_for_obstacles:
                self._looked_for_obstacles = True
                self.obstacles()  # for the log
        except FabricError as error:
            log.warning("part of the network could not be made", extra={"fields": {"error": str(error)}})
            own = tuple(f for f in error.failures if f.namespace == container_id[:12])
            if container_id and own:
                self._check_bridges(container_id)
                raise FabricError(own) from error

    def _check_bridges(self, container_id: str) -> None:
        sandbox = self._sandboxes.get(container_id)
        for interface in sandbox.interfaces if sandbox is not None else ():
            if interface.network in self.locals.bridges() and is_foreign(interface.network):
                raise Conflict(TAKEN.format(interface.network)) from None

    def routes(self) -> tuple[str, ...]:
        """Where this node's own routes lead (CIDR), its bridges' left out."""
        return addresses.routes(self.locals.bridges(), self._foreign)

    async def wait_routes(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """Where this node's own routes lead, once that is not `known` any more."""
        while (now := self.routes()) == known:
            await self._fabric.wait_stirred()
        return now

    def obstacles(self) -> tuple[str, ...]:
        """Where the host's own firewall drops what is served here, and what its kernel can't encrypt, a sentence each; none when it can't be asked."""
        sealed = () if self._fabric.encrypts else tuple(o.name for o in self.assigned.overlays if o.encrypted)
        try:
            return (*(_NO_ESP.format(name) for name in sealed), *self._fabric.obstacles(self.desired()))
        except (OSError, NftablesError) as error:
            log.warning("the host's firewall can't be looked at", extra={"fields": {"error": str(error)}})
            return ()

    def unreachable(self, address: str) -> str:
        """Why a container's address on an overlay can't be reached from here, as far as that is known; empty where nothing is known of it."""
        one = ipaddress.ip_address(address)
        if any(address in (i.address.partition("/")[0], i.address6.partition("/")[0]) for s in self._sandboxes.all() for i in s.interfaces):
            return ""
        for overlay in self.assigned.overlays if not self._fabric.encrypts else ():
            if overlay.encrypted and any(one in ipaddress.ip_network(subnet) for subnet in (*overlay.subnets, overlay.subnet6) if subnet):
                return _NO_ESP.format(overlay.name)
        return ""

    def desired(self) -> view.View:
        """What the fabric has to serve now."""
        gateway = self.locals.gateway_bridge() if self.vtep else None
        standing = (n for n in self.locals.all() if n.interface and (n.name not in _MADE_WHEN_USED or self._sandboxes.stands(n)))
        bridges = tuple(self.locals.bridge(n) for n in standing if gateway is None or n.id != gateway.id)
        sandbox_address = "172.18.0.2/16"
        if gateway is not None:
            prefix = gateway.subnet.partition("/")[2]
            base = gateway.gateway.rpartition(".")[0]
            sandbox_address = f"{base}.{INGRESS_SANDBOX_HOST}/{prefix}"
        return view.View(
            vtep=self.vtep, underlay_mtu=self._underlay_mtu, vxlan_port=self.assigned.vxlan_port,
            gateway_bridge=self.locals.bridge(gateway) if gateway else None, bridges=bridges,
            overlays=self.assigned.overlays, sandboxes=self._sandboxes.all(),
            host_ports=self._sandboxes.host_ports(), ingress_sandbox_address=sandbox_address,
            keys=tuple(view.Key(key.tag, key.secret) for key in self.assigned.keys),
        )  # fmt: skip
