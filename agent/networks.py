"""The node's networks as one: local ones, the cluster's tables, the containers' sandboxes. The only module that talks to the fabric.

Decides nothing about the kernel (netfabric/plan.py does): it keeps the View and asks the fabric to reconcile. The cluster's tables are kept on disk,
so that a restarted node serves the overlays of its running tasks before any manager has answered.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Set
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import trio

from agent import addresses, naming
from agent.leases import Leases, Wanted, is_local, mac_of
from agent.local_networks import DEFAULT_BRIDGE, GATEWAY_BRIDGE, INGRESS_SANDBOX_HOST, LocalNetworks
from agent.name_service import NameService
from agent.records import Attachment, LocalNetwork, NetworkWish, Record
from agent.view import EMPTY_TABLES, ClusterTables, fold, overlays
from cluster.durable import write_atomically
from cluster.model.assignments import BalancerItem, EndpointItem, Item, NetworkItem, TaskItem
from cluster.model.errors import Internal, NotFound, PermissionDenied
from cluster.model.ids import ID_RANDOM_BYTES, NetworkId, make_id
from cluster.model.objects import Network, NetworkKey
from cluster.model.specs import NetworkSpec
from cluster.wire.calls import Attach, Attached
from netfabric import view
from netfabric.errors import FabricError
from netfabric.netlink.nftables import NftablesError
from netfabric.plan import OVERLAY_BRIDGE, overlay_namespace

if TYPE_CHECKING:
    from netfabric.apply import Fabric
    from runtime.client import Supervisor

LINK_LOCAL_PREFIX: Final = 16
LINK_LOCAL_PREFIX6: Final = 64
_MADE_WHEN_USED: Final = (DEFAULT_BRIDGE, GATEWAY_BRIDGE)  # names that another program on the node may own
log = logging.getLogger("festoon.networks")
_ITEMS = msgspec.msgpack.Decoder(tuple[TaskItem | NetworkItem | EndpointItem | BalancerItem, ...])


class Attacher(Protocol):
    """The cluster, which gives containers of one's own their addresses on attachable overlays."""

    async def attach(self, request: Attach) -> Attached: ...

    def detach(self, attachment_id: str) -> None: ...


def own_names(record: Record) -> tuple[str, ...]:
    """What a container answers to on overlays beside its aliases."""
    return (record.name, record.id[:12], *((record.config.hostname,) if record.config.hostname else ()))


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
        self._default_bridge_stands = False
        self._doomed: set[NetworkId] = set()
        self._leases = Leases(self.locals)
        self._last_interface: dict[str, int] = {}
        self._assigned = trio.Event()
        self._underlay_mtu = addresses.ETHERNET_MTU_BYTES
        self._held: set[str] = set()
        self._keys: tuple[NetworkKey, ...] = ()
        self._keys_path = root / "node" / "network-keys"
        self.cluster: Attacher | None = None
        self._looked_for_obstacles = False
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

    def check_wish(self, wish: NetworkWish) -> None:
        """Raises InvalidArgument in Docker's words where a local network gives no address of one's own; what is not known yet is checked at the start."""
        try:
            network = self.locals.find(wish.network)
        except NotFound:
            return
        self._leases.check(network, wish)

    def assigned_or_none(self, reference: str) -> Network | None:
        try:
            return self.assigned_to(reference).network
        except NotFound:
            return None

    async def create(self, spec: NetworkSpec, *, config_only: bool = False, config_from: str = "") -> LocalNetwork:
        """A user's local network, with its bridge. Raises Conflict, PermissionDenied, InvalidArgument, or Internal when the kernel refuses; nothing stays."""
        network = self.locals.create(spec, time.time_ns(), addresses.routes(), config_only=config_only, config_from=config_from)
        try:
            await self._fabric.reconcile(self.desired())
        except FabricError as error:
            concerning = [f.message for f in error.failures if network.interface and network.interface in f.message]
            if concerning:
                self.locals.remove(network.id)
                await self.reconcile()
                raise Internal(f"Failed to create network {spec.name}: {concerning[0]}") from error
        return network

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
        self._restore_settings()
        if self._tables_path.exists():
            try:
                items = _ITEMS.decode(self._tables_path.read_bytes())
            except msgspec.DecodeError:
                items = ()  # half-written by a power loss: the manager sends them again
            self._use(fold(EMPTY_TABLES, items, (), complete=True))
            self.names.publish(self._tables)

    def enter_swarm(self, node_id: str, vtep: str, vxlan_port: int) -> None:
        self.node_id, self.vtep, self.vxlan_port = node_id, vtep, vxlan_port
        self._underlay_mtu = addresses.mtu_toward(vtep)
        self.locals.ensure_gateway_bridge(time.time_ns(), addresses.routes())

    async def use_settings(self, vxlan_port: int, keys: tuple[NetworkKey, ...]) -> None:
        """The cluster's port for overlays and the keys of its encrypted ones; kept for a start without managers."""
        if (vxlan_port or self.vxlan_port, keys) == (self.vxlan_port, self._keys):
            return
        self.vxlan_port, self._keys = vxlan_port or self.vxlan_port, keys
        self._keys_path.parent.mkdir(parents=True, exist_ok=True)
        await trio.to_thread.run_sync(write_atomically, self._keys_path, msgspec.msgpack.encode((self.vxlan_port, keys)), 0o600)
        await self.reconcile()

    def _restore_settings(self) -> None:
        try:
            self.vxlan_port, self._keys = msgspec.msgpack.decode(self._keys_path.read_bytes(), type=tuple[int, tuple[NetworkKey, ...]])
        except FileNotFoundError:
            return
        except msgspec.DecodeError:
            log.warning("the kept keys can't be read: the next session brings them")

    async def leave_swarm(self) -> None:
        """Drop every overlay. The caller has removed the tasks' containers."""
        self.node_id = self.vtep = ""
        self._use(EMPTY_TABLES)
        self.names.publish(self._tables)
        self._tables_path.unlink(missing_ok=True)
        self._keys_path.unlink(missing_ok=True)
        self._keys = ()
        await self.reconcile()

    async def assign(self, upserts: tuple[Item, ...], removals: tuple[str, ...], *, complete: bool, begins: bool = False) -> None:
        """Take over one message of the session and bring names and kernel to it: a name goes before its address does, and comes after it."""
        if complete or begins:  # weights, sysctls and the like may have been changed while nobody looked, and the kernel tells nobody of those
            self._fabric.recheck()
        tables = self._keep_used(fold(self._without(self._doomed), upserts, removals, complete=complete))
        if tables == self._tables:
            return
        self._use(tables)
        self.names.retract(tables)
        self._assigned.set()
        self._assigned = trio.Event()
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
            self._use(self._without(gone))
            self.names.publish(self._tables)

    def _without(self, gone: Set[NetworkId]) -> ClusterTables:
        networks = {n: item for n, item in self._tables.networks.items() if n not in gone}
        return ClusterTables(networks, self._tables.endpoints, self._tables.balancers)

    def _use(self, tables: ClusterTables) -> None:
        self._tables = tables
        self._overlays = overlays(tables, self.node_id)

    # -- containers -----------------------------------------------------------------------------------------------

    async def attach(self, container_id: str, wishes: tuple[NetworkWish, ...], *, ingress_ports: tuple[view.PublishedPort, ...] = (),
                     sysctls: tuple[tuple[str, str], ...] = (), namespace: int = -1,
                     names: tuple[str, ...] = ()) -> tuple[Attachment, ...]:  # fmt: skip
        """Lease the addresses, build the container's namespace and wire it. Returns its attachments in interface order. `namespace`: a descriptor of
        the one to use instead of a new one; `names`: what it answers to on overlays, beside its aliases.

        Raises NotFound for an unknown network, Conflict when addresses have run out, FabricError when the kernel refuses. Nothing stays leased after a failure.
        """
        wanted = await self._find_all(container_id, names, wishes)
        attachments: tuple[Attachment, ...] = ()
        try:
            attachments = self._leases.take(wanted)
            self._install(container_id, attachments, ingress_ports, (), sysctls)
            with self._fabric.offering(container_id[:12], namespace):
                await self._reconcile(container_id)
            self._default_bridge_stands = self._default_bridge_stands or any(a.network_name == DEFAULT_BRIDGE for a in attachments)
        except BaseException:
            self._uninstall(container_id, attachments)
            self._give_up(one.task_id for one in wanted)
            raise
        return attachments

    async def connect(self, record: Record, wish: NetworkWish) -> tuple[Attachment, ...]:
        """Put a running container on one more network. Returns all its attachments. Raises as `attach`; everything is as before then."""
        before, last_interface = self._sandboxes.get(record.id), self._last_interface.get(record.id)
        if before is None:
            self._fabric.adopt(record.id[:12], record.state.pid)
            before = self._sandboxes[record.id] = view.Sandbox(record.id[:12], ())
        (wanted,) = await self._find_all(record.id, own_names(record), (wish,))
        added: tuple[Attachment, ...] = ()
        try:
            added = (self._leases.one(wanted, self._next_interface(record)),)
            attachments = self._settled(record, (*record.attachments, *added))
            self._rewire(record.id, attachments, before)
            await self._reconcile(record.id)
        except BaseException:
            self._leases.give_back(added)
            if last_interface is not None:
                self._last_interface[record.id] = last_interface
            else:
                self._last_interface.pop(record.id, None)
            self._rewire(record.id, record.attachments, before)
            with trio.CancelScope(shield=True):
                await self.reconcile()
            self._give_up((wanted.task_id,))
            raise
        return attachments

    async def disconnect(self, record: Record, network_id: str) -> tuple[Attachment, ...]:
        """Take a running container off a network. Returns the attachments that it has left."""
        self._note_interfaces(record)
        gone = tuple(a for a in record.attachments if a.network_id == network_id)
        attachments = self._settled(record, tuple(a for a in record.attachments if a.network_id != network_id))
        self._leases.give_back(gone)
        if (before := self._sandboxes.get(record.id)) is not None:
            self._rewire(record.id, attachments, before)
        if self._doomed:
            self._drop_doomed()
        await self.reconcile()
        self._give_up(a.task_id for a in gone)
        return attachments

    def _rewire(self, container_id: str, attachments: tuple[Attachment, ...], before: view.Sandbox) -> None:
        for users in self._bridge_users.values():
            users.discard(container_id)
        self._install(container_id, attachments, before.ingress_ports, self._host_ports.get(container_id, ()), before.sysctls)

    def _settled(self, record: Record, attachments: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
        networks = tuple(self._known(a.network_id) for a in attachments if not a.hidden)
        return self._leases.settled(attachments, networks, lambda: self._next_interface(record))

    def _next_interface(self, record: Record) -> int:
        """Numbers go on for as long as the container runs: one that was somebody's comes back with the next start only."""
        self._note_interfaces(record)
        self._last_interface[record.id] += 1
        return self._last_interface[record.id]

    def _note_interfaces(self, record: Record) -> None:
        used = [int(a.interface.removeprefix("eth")) for a in record.attachments if a.interface]
        self._last_interface[record.id] = max((*used, self._last_interface.get(record.id, -1)))

    async def _find_all(self, container_id: str, names: tuple[str, ...], wishes: tuple[NetworkWish, ...]) -> tuple[Wanted, ...]:
        """The networks asked for; on an overlay without an address of the cluster's, one is asked for. Raises NotFound, what the cluster says."""
        found: list[Wanted] = []
        try:
            for wish in wishes:
                found += [await self._find_one(container_id, names, wish)]
        except BaseException:
            self._give_up(one.task_id for one in found)
            raise
        return tuple(found)

    async def _find_one(self, container_id: str, names: tuple[str, ...], wish: NetworkWish) -> Wanted:
        item = self._tables.networks.get(NetworkId(wish.network))
        if item is not None and "/" in wish.address:
            return Wanted(wish, item)
        try:
            local = self.locals.find(wish.network)
            if local.config_only:
                raise PermissionDenied("cannot create endpoint on configuration-only network")
            return Wanted(wish, local)
        except NotFound:
            if self.cluster is None or not self.node_id:
                raise
        attachment_id = make_id(os.urandom(ID_RANDOM_BYTES))
        self._held.add(attachment_id)
        try:
            aliases = tuple(dict.fromkeys((*names, *wish.aliases)))
            asked = Attach(attachment_id, container_id, wish.network, wish.address.partition("/")[0], aliases, wish.address6)
            given = await self.cluster.attach(asked)
            while (item := self._tables.networks.get(NetworkId(given.network_id))) is None:
                await self._assigned.wait()
        except BaseException:
            self._give_up((attachment_id,))
            raise
        return Wanted(wish, item, attachment_id, given.address)

    def _give_up(self, attachment_ids: Iterable[str]) -> None:
        """These attachments are over; the cluster is told now, or when the next session begins."""
        for attachment_id in attachment_ids:
            if attachment_id in self._held:
                self._held.discard(attachment_id)
                if self.cluster is not None:
                    self.cluster.detach(attachment_id)

    def held_attachments(self) -> tuple[str, ...]:
        """The attachments of the cluster's that containers of users here have, or wait for."""
        return tuple(self._held)

    def _known(self, network_id: str) -> LocalNetwork | NetworkItem:
        """Raises NotFound."""
        return self._tables.networks.get(NetworkId(network_id)) or self.locals.find(network_id)

    async def publish(self, container_id: str, host_ports: tuple[view.HostPort, ...]) -> None:
        """Forward ports of the node to an attached container."""
        self._host_ports[container_id] = host_ports
        await self._reconcile(container_id)

    def adopt(self, record: Record, ingress_ports: tuple[view.PublishedPort, ...], host_ports: tuple[view.HostPort, ...]) -> None:
        """A running container found at start: take its leases over without touching the kernel yet."""
        for attachment in record.attachments:
            if is_local(attachment.network_id):
                self._leases.again(attachment)
            if attachment.task_id:
                self._held.add(attachment.task_id)
        if record.attachments or os.path.exists(self.namespace(record.id)):
            self._install(record.id, record.attachments, ingress_ports, host_ports, record.host.sysctls)

    async def detach(self, record: Record) -> None:
        """Take the container's names away, its namespace down, and give its addresses back."""
        self.names.close(record.id)
        if record.id in self._sandboxes:
            self._uninstall(record.id, record.attachments)
            await self.reconcile()
            self._give_up(a.task_id for a in record.attachments)

    async def wait_quiet(self, container_id: str, service_id: str) -> None:
        """Until the last connection that the mesh has led to the container is over. At once when its service is balanced by nobody (any more)."""
        if not any(balancer.service_id == service_id for balancer in self._tables.balancers.values()):
            return
        try:
            await self._fabric.wait_quiet(container_id[:12])
        except OSError as error:
            log.warning("open connections can't be told", extra={"fields": {"container": container_id[:12], "error": str(error)}})

    def where(self, reference: str) -> tuple[str, str]:
        """(path of the namespace or "" for the node's, link) where a network's packets pass on this node. Raises NotFound."""
        try:
            item = self.assigned_to(reference)
        except NotFound:
            network = self.locals.find(reference)
            if not network.interface:
                raise NotFound(f"network {network.name} has no packets of its own") from None
            return "", network.interface
        return self._fabric.sandbox_path(overlay_namespace(item.network.id)), OVERLAY_BRIDGE

    def namespace(self, container_id: str) -> str:
        return self._fabric.sandbox_path(container_id[:12])

    async def reconcile(self) -> None:
        """Bring the kernel to what is wanted now; concurrent calls coalesce in the fabric. What can't be made is logged: the next change tries again."""
        await self._reconcile("")

    async def _reconcile(self, container_id: str) -> None:
        """Raises FabricError when this container's own sandbox (or a shared part of the node) could not be made."""
        try:
            await self._fabric.reconcile(self.desired())
            if self._overlays and not self._looked_for_obstacles:
                self._looked_for_obstacles = True
                self.obstacles()  # for the log
        except FabricError as error:
            log.warning("part of the network could not be made", extra={"fields": {"error": str(error)}})
            own = tuple(f for f in error.failures if f.namespace == container_id[:12])
            if container_id and own:
                raise FabricError(own) from error

    async def wait_routes(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """Where this node's own routes lead, once that is not `known` any more."""
        while (now := addresses.routes()) == known:
            await self._fabric.wait_stirred()
        return now

    def obstacles(self) -> tuple[str, ...]:
        """Where the host's own firewall drops what is served here, and what its kernel can't encrypt, a sentence each; none when it can't be asked."""
        sealed = () if self._fabric.encrypts else tuple(o.name for o in self._overlays if o.encrypted)
        text = "encrypted network {} does not leave this node: its kernel has no ESP with rfc4106(gcm(aes)) (modules esp4, xfrm_user)"
        try:
            return (*(text.format(name) for name in sealed), *self._fabric.obstacles(self.desired()))
        except (OSError, NftablesError) as error:
            log.warning("the host's firewall can't be looked at", extra={"fields": {"error": str(error)}})
            return ()

    def desired(self) -> view.View:
        """What the fabric has to serve now."""
        gateway = self.locals.gateway_bridge() if self.vtep else None
        standing = (n for n in self.locals.all() if n.interface and (n.name not in _MADE_WHEN_USED or self._stands(n)))
        bridges = tuple(self.locals.bridge(n) for n in standing if gateway is None or n.id != gateway.id)
        sandbox_address = "172.18.0.2/16"
        if gateway is not None:
            prefix = gateway.subnet.partition("/")[2]
            base = gateway.gateway.rpartition(".")[0]
            sandbox_address = f"{base}.{INGRESS_SANDBOX_HOST}/{prefix}"
        return view.View(
            vtep=self.vtep, underlay_mtu=self._underlay_mtu, vxlan_port=self.vxlan_port,
            gateway_bridge=self.locals.bridge(gateway) if gateway else None, bridges=bridges,
            overlays=self._overlays, sandboxes=tuple(self._sandboxes.values()),
            host_ports=tuple(p for ports in self._host_ports.values() for p in ports), ingress_sandbox_address=sandbox_address,
            keys=tuple(view.Key(key.tag, key.secret) for key in self._keys),
        )  # fmt: skip

    def _stands(self, network: LocalNetwork) -> bool:
        """The default bridge stays after its last container, as Docker's does: making and removing it takes longer than all else of a short run's network."""
        return bool(self._bridge_users.get(network.id)) or (network.name == DEFAULT_BRIDGE and self._default_bridge_stands)

    def _install(self, container_id: str, attachments: tuple[Attachment, ...], ingress_ports: tuple[view.PublishedPort, ...],
                 host_ports: tuple[view.HostPort, ...], sysctls: tuple[tuple[str, str], ...]) -> None:  # fmt: skip
        interfaces = []
        for a in attachments:
            if not a.interface:
                continue
            network = a.network_id
            if is_local(network):
                self._bridge_users.setdefault(network, set()).add(container_id)
                network = self.locals.find(network).interface
            gateways = (a.gateway, a.gateway6) if a.default_route else ("", "")
            further = tuple(f"{address}/{LINK_LOCAL_PREFIX6 if ':' in address else LINK_LOCAL_PREFIX}" for address in (a.asked.link_local if a.asked else ()))
            mac = "" if a.mac == mac_of(a.address) else a.mac
            interfaces.append(view.Interface(a.interface, network, a.address, gateways[0], a.address6, gateways[1], mac, further))
        self._sandboxes[container_id] = view.Sandbox(container_id[:12], tuple(interfaces), ingress_ports, sysctls, naming.resolves(attachments))
        if host_ports:
            self._host_ports[container_id] = host_ports

    def _uninstall(self, container_id: str, attachments: tuple[Attachment, ...]) -> None:
        self._sandboxes.pop(container_id, None)
        self._host_ports.pop(container_id, None)
        self._last_interface.pop(container_id, None)
        for users in self._bridge_users.values():
            users.discard(container_id)
        self._leases.give_back(attachments)
        if self._doomed:
            self._drop_doomed()
