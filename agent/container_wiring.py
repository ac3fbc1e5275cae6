"""A container's way to its networks: what it asked for, the namespace it gets, the node's ports that lead to it, and the files in /etc that say so.

Changes no record: it returns what the record becomes. Decides nothing about the kernel (agent/networks.py and the fabric do).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from agent import container_spec, links, naming, port_bindings
from agent.container_store import ContainerStore
from agent.local_networks import PREDEFINED
from agent.networks import Networks, own_names
from agent.records import Attachment, HostConfig, NetworkWish, PortBinding, Record
from cluster.model.errors import Conflict, Internal, InvalidArgument, NotFound
from netfabric.errors import FabricError
from netfabric.firewall.resolver import ADDRESS
from netfabric.missing import PROTOCOLS as PARTS
from netfabric.missing import explained
from netfabric.ports import PROTOCOLS
from runtime.errors import StartFailed

HOST_RESOLV_CONF: Final = Path("/etc/resolv.conf")
RESOLVED_CONF: Final = Path("/run/systemd/resolve/resolv.conf")
"""Where systemd-resolved, as on Ubuntu, has the servers behind its stub, which a container does not reach. Source: moby's resolvconf.Path."""
HOST_HOSTS: Final = Path("/etc/hosts")
CONTAINER: Final = "container:"
replace = msgspec.structs.replace


class Wiring:
    """No state of its own: networks and files keep it."""

    def __init__(self, networks: Networks, store: ContainerStore, find: Callable[[str], Record], records: Callable[[], Iterable[Record]]) -> None:
        self._networks, self._store, self._find, self._records = networks, store, find, records

    def requested(self, host: HostConfig, wishes: tuple[NetworkWish, ...]) -> tuple[Attachment, ...]:
        """The attachments that a new container asks for; a network that is not there is missed at the start, as by Docker."""
        mode = host.network_mode
        if mode.startswith(CONTAINER):
            return ()
        for wish in wishes:
            if "/" not in wish.address:
                check_addresses(wish, "invalid", "")
            if wish.aliases and wish.network in PREDEFINED:
                raise InvalidArgument("network-scoped alias is supported only for containers in user defined networks")
        return tuple(self.wished(wish) for wish in wishes or (NetworkWish(network="bridge" if mode in {"default", ""} else mode),))

    def wished(self, wish: NetworkWish) -> Attachment:
        """One of them, not leased yet."""
        cluster = self._networks.assigned.find_whole(wish.network)
        found: tuple[str, str] | None = (cluster.network.id, cluster.network.spec.name) if cluster is not None else None
        if "/" not in wish.address:  # else a task's overlay: the cluster gave the address
            with contextlib.suppress(NotFound):
                local = self._networks.locals.find(wish.network, whole=bool(self._networks.assigned.node_id))
                found = (local.id, local.name)
        address = wish.address if "/" in wish.address else ""
        network_id, name = found or (wish.network if address else "", wish.network)
        return Attachment(network_id=network_id, network_name=name, interface="", address=address, aliases=wish.aliases, asked=wish)

    def _wish(self, attachment: Attachment) -> NetworkWish:
        """How an attachment is asked for at a start: on the network that it had, by its id; one of a swarm that the node has left by its name."""
        asked = attachment.asked or NetworkWish(network=attachment.network_id, aliases=attachment.aliases)
        lost = not self._networks.assigned.node_id and not self._networks.locals.gives(attachment.network_id)
        return replace(asked, network=(not lost and attachment.network_id) or attachment.network_name, address=attachment.address or asked.address)

    async def attach(self, record: Record, namespace: int = -1) -> Record:
        """The record with its addresses and ports, once its namespace is wired (`namespace`: a descriptor of one that has been made for it). Raises
        Conflict, Internal, FabricError; nothing stays leased then."""
        for attachment in record.attachments:
            if attachment.asked is not None:
                self._networks.check_wish(attachment.asked)
        linked = links.of(record, self._get)
        links.check_live(record, linked)
        record = replace(record, link_env=links.environment(linked))
        if not container_spec.wired(record):
            return replace(record, attachments=tuple(replace(a, endpoint_id=os.urandom(32).hex()) for a in record.attachments))
        wanted = tuple(self._wish(a) for a in record.attachments if not a.hidden)
        sysctls = tuple((k, v) for k, v in record.host.sysctls if k.startswith("net."))
        try:
            attachments = await self._networks.attach(record.id, wanted, ingress_ports=container_spec.mesh_ports(record), sysctls=sysctls,
                                                      namespace=namespace, names=own_names(record))  # fmt: skip
        except FabricError as error:
            refused = next((f.message for f in error.failures if f.message.partition(" ")[2].startswith("/proc/sys/")), "")
            if sysctls and refused:
                raise StartFailed(f"error during container init: {refused}") from error
            raise
        attached = replace(record, attachments=attachments)
        try:
            attached = replace(attached, ports=self.ports(attached))
            if host_ports := container_spec.host_ports(attached):
                await self._networks.publish(record.id, host_ports)
        except BaseException:
            await self._networks.detach(attached)
            raise
        self._networks.names.open(attached)
        return attached

    def ports(self, record: Record) -> tuple[PortBinding, ...]:
        """The ports of the node that lead to it: those that it has, else newly allocated; none without a way out. Raises Internal and InvalidArgument."""
        publishing = container_spec.publishing(record)
        if publishing is None or record.ports:
            return record.ports if publishing is not None else ()
        default = self._networks.locals.host_address(publishing.network_id)
        bindings = port_bindings.wanted(record.host, record.config.exposed_ports, default)
        for binding in bindings:
            port_bindings.check_address(binding)
        taken = [b for other in self._records() if other.id != record.id for b in other.ports]
        try:
            return port_bindings.allocate(bindings, taken, listening_refused, ipv6=has_ipv6())
        except Internal as error:
            text = f"driver failed programming external connectivity on endpoint {record.name} ({publishing.endpoint_id}): {error.message}"
            raise Internal(text) from error

    def detached(self, record: Record) -> Record:
        """The record with the leased addresses of local networks dropped; the hidden gateway bridge is asked for again at the next start."""

        def plain(a: Attachment) -> Attachment:
            address = "" if self._networks.locals.gives(a.network_id) or a.task_id else a.address
            return replace(a, address=address, gateway="", mac="", address6="", gateway6="", endpoint_id="", task_id="", interface="")

        return replace(record, attachments=tuple(plain(a) for a in record.attachments if not a.hidden), ports=())

    def namespace(self, record: Record) -> str:
        """As runtime.spec's network_namespace. Raises Conflict when it is that of a container that does not run."""
        mode = record.host.network_mode
        if mode.startswith(CONTAINER):
            if self._find(mode.removeprefix(CONTAINER)).id == record.id:
                raise InvalidArgument("cannot join own network")
            return CONTAINER + self.running(mode, "cannot join network of a non running container: {}").id
        wired = container_spec.wired(record)
        if mode == "host" and not wired:
            return "host"
        return self._networks.namespace(record.id) if wired else ""

    def running(self, mode: str, otherwise: str) -> Record:
        """The container that `container:X` names. Raises Conflict with `otherwise` when it does not run."""
        other = self._find(mode.removeprefix(CONTAINER))
        if other.state.status not in {"running", "paused"}:
            raise Conflict(otherwise.format(other.id))
        return other

    def ipc(self, mode: str) -> str:
        """As `mode`; Raises Internal when the other container does not share it."""
        joined = self.mode(mode, "can't join IPC of container {0}: container {0} is not running")
        if mode.startswith(CONTAINER):
            other = self._find(joined)
            if other.host.ipc_mode not in ("shareable", "host") and not other.host.ipc_mode.startswith(CONTAINER):
                hint = "(hint: use IpcMode:shareable for the donor container)"
                raise Internal(f"can't join IPC of container {other.id}: non-shareable IPC {hint}")
        return joined

    def mode(self, mode: str, otherwise: str = "container {} is not running") -> str:
        """A namespace's mode as runtime.spec has it: empty, host, none, or another container's id. Raises Conflict with `otherwise`."""
        if mode.startswith(CONTAINER):
            return self.running(mode, otherwise).id
        return mode if mode in {"host", "none"} else ""

    def files(self, record: Record) -> str:
        """The folder of the files bound into /etc: its own, or that of the container whose network it shares, which may be another's in turn."""
        return str(self._store.files(links.carrier(record, self._find).id))

    def write_files(self, record: Record) -> None:
        """Nothing for a container that shares another's."""
        if not record.host.network_mode.startswith(CONTAINER):
            self._store.write_files(record.id, {"hostname": record.config.hostname + "\n", "hosts": self._hosts(record), "resolv.conf": self._resolv(record)})

    def change_files(self, record: Record) -> None:
        """While it runs: what its programs have changed in them stays."""
        if not record.host.network_mode.startswith(CONTAINER):
            self._store.change_files(record.id, {"hosts": self._hosts(record), "resolv.conf": self._resolv(record)})

    def _hosts(self, record: Record) -> str:
        gateway = self._networks.locals.find("bridge").gateway
        if record.host.network_mode == "host" and not container_spec.wired(record):
            extra = "".join(f"{container_spec.extra_host_line(e, gateway)}\n" for e in record.host.extra_hosts)
            return _text(HOST_HOSTS) + extra
        addresses = [cidr for a in record.attachments if not a.hidden and a.interface for cidr in (a.address, a.address6)]
        return container_spec.hosts_file(record.config, addresses, record.host.extra_hosts, gateway, links.hosts_lines(links.of(record, self._get)))

    def tell_parents(self, child: Record) -> None:
        """Those that are linked to it find it where it is now."""
        for record in self._records():
            if record.state.status in links.LIVE and any(link.child.id == child.id for link in links.of(record, self._get)):
                self.change_files(record)

    def _get(self, container_id: str) -> Record | None:
        return next((record for record in self._records() if record.id == container_id), None)

    def _resolv(self, record: Record) -> str:
        text = _text(HOST_RESOLV_CONF)
        if container_spec.names_stub_only(text):
            text = _text(RESOLVED_CONF) or text
        own = record.host.dns or record.host.dns_search or record.host.dns_options
        if record.host.network_mode == "host" and not own:
            return text
        return container_spec.resolv_file(text, record.host, ADDRESS if naming.resolves(record.attachments) else "")


def check_addresses(wish: NetworkWish, beginning: str, end: str) -> None:
    """Raises InvalidArgument for what is no address; how Docker's sentence begins and ends depends on the request."""
    for family, kind, address in ((4, ipaddress.IPv4Address, wish.address), (6, ipaddress.IPv6Address, wish.address6)):
        try:
            if address:
                kind(address)
        except ValueError:
            raise InvalidArgument(f"{beginning} IPv{family} address: {address}{end}") from None
    for address in wish.link_local:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise InvalidArgument(f"Invalid link-local IP address: [{' '.join(wish.link_local)}]") from None


def listening_refused(binding: PortBinding) -> str:
    """Why no program of this node could listen on the port (bound for a moment); empty when one could. Raises Internal for a protocol that its kernel lacks."""
    kind, protocol = PROTOCOLS[binding.protocol]
    wide = ":" in binding.host_ip
    try:
        opened = socket.socket(socket.AF_INET6 if wide else socket.AF_INET, kind, protocol)
    except OSError as error:
        said = f"Error starting userland proxy: {(error.strerror or str(error)).lower()}"
        raise Internal(explained(said, error, PARTS.get(binding.protocol))) from error
    with opened as probe:
        if wide:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((binding.host_ip or port_bindings.ANY_ADDRESS, binding.host_port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return ""


def has_ipv6() -> bool:
    """Whether a program of this node can listen on IPv6 addresses at all."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((port_bindings.ANY_ADDRESS6, 0))
    except OSError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def node_hostname() -> str:
    return os.uname().nodename
