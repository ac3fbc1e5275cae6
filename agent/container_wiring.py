"""A container's way to its networks: what it asked for, the namespace it gets, the node's ports that lead to it, and the files in /etc that say so.

Changes no record: it returns what the record becomes. Decides nothing about the kernel (agent/networks.py and the fabric do).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from agent import container_spec, naming, port_bindings
from agent.container_store import ContainerStore
from agent.networks import Networks, Wanted
from agent.records import Attachment, HostConfig, PortBinding, Record
from cluster.model.errors import Conflict, Internal, InvalidArgument
from netfabric.firewall.resolver import ADDRESS

HOST_RESOLV_CONF: Final = Path("/etc/resolv.conf")
HOST_HOSTS: Final = Path("/etc/hosts")
CONTAINER: Final = "container:"
LOCAL_ID_LENGTH: Final = 64  # ids of this node's own networks; the cluster's are shorter
NetworkWish = tuple[str, tuple[str, ...], str]
replace = msgspec.structs.replace


class Wiring:
    """No state of its own: networks and files keep it."""

    def __init__(self, networks: Networks, store: ContainerStore, find: Callable[[str], Record], records: Callable[[], Iterable[Record]]) -> None:
        self._networks, self._store, self._find, self._records = networks, store, find, records

    def requested(self, host: HostConfig, networks: tuple[NetworkWish, ...]) -> tuple[Attachment, ...]:
        """The attachments that a new container asks for. Raises NotFound for a network or container that is not there."""
        mode = host.network_mode
        if mode.startswith(CONTAINER) or mode == "none" or (mode == "host" and not networks):
            return ()
        asked = networks or ((("bridge" if mode in {"default", ""} else mode), (), ""),)
        requested = []
        for reference, aliases, address in asked:
            if address and "/" in address:  # a task's overlay: the cluster gave the address
                requested.append(Attachment(network_id=reference, network_name="", interface="", address=address, aliases=aliases))
                continue
            network = self._networks.find(reference)
            if address and network.name == "bridge":
                raise InvalidArgument("user specified IP address is supported on user defined networks only")
            if network.driver == "bridge":
                requested.append(Attachment(network_id=network.id, network_name=network.name, interface="", address=address, aliases=aliases))
        return tuple(requested)

    async def attach(self, record: Record, namespace: int = -1) -> Record:
        """The record with its addresses and ports, once its namespace is wired (`namespace`: a descriptor of one that has been made for it). Raises
        Conflict, Internal, FabricError; nothing stays leased then."""
        if not record.attachments:
            return record
        wanted = tuple(Wanted(a.network_id, a.address, a.aliases) for a in record.attachments if not a.hidden)
        sysctls = tuple((k, v) for k, v in record.host.sysctls if k.startswith("net."))
        attachments = await self._networks.attach(record.id, wanted, ingress_ports=container_spec.mesh_ports(record), sysctls=sysctls, namespace=namespace)
        attached = replace(record, attachments=attachments)
        try:
            attached = replace(attached, ports=self._allocate(attached))
            if host_ports := container_spec.host_ports(attached):
                await self._networks.publish(record.id, host_ports)
        except BaseException:
            await self._networks.detach(attached)
            raise
        self._networks.names.open(attached)
        return attached

    def _allocate(self, record: Record) -> tuple[PortBinding, ...]:
        if not any(len(a.network_id) == LOCAL_ID_LENGTH and a.address for a in record.attachments):
            return ()
        bindings = port_bindings.wanted(record.host, record.config.exposed_ports)
        for binding in bindings:
            port_bindings.check_address(binding)
        taken = [b for other in self._records() if other.id != record.id for b in other.ports]
        try:
            return port_bindings.allocate(bindings, taken, can_listen)
        except Internal as error:
            endpoint = next(a.endpoint_id for a in record.attachments if a.endpoint_id)
            text = f"driver failed programming external connectivity on endpoint {record.name} ({endpoint}): {error.message}"
            raise Internal(text) from error

    def detached(self, record: Record) -> Record:
        """The record with the leased addresses of local networks dropped; the hidden gateway bridge is asked for again at the next start."""
        asked = {a.network_id: a.address for a in record.attachments if len(a.network_id) != LOCAL_ID_LENGTH}
        kept = tuple(replace(a, address=asked.get(a.network_id, ""), gateway="", mac="") for a in record.attachments if not a.hidden)
        return replace(record, attachments=kept, ports=())

    def namespace(self, record: Record) -> str:
        """As runtime.spec's network_namespace. Raises Conflict when it is that of a container that does not run."""
        mode = record.host.network_mode
        if mode.startswith(CONTAINER):
            return CONTAINER + self.running(mode, "cannot join network of a non running container: {}").id
        if mode == "host" and not record.attachments:
            return "host"
        return self._networks.namespace(record.id) if record.attachments else ""

    def running(self, mode: str, otherwise: str) -> Record:
        """The container that `container:X` names. Raises Conflict with `otherwise` when it does not run."""
        other = self._find(mode.removeprefix(CONTAINER))
        if other.state.status not in {"running", "paused"}:
            raise Conflict(otherwise.format(other.id))
        return other

    def ipc(self, mode: str) -> str:
        """As `mode`; Raises Internal when the other container does not share it."""
        if mode.startswith(CONTAINER):
            other = self._find(mode.removeprefix(CONTAINER))
            if other.host.ipc_mode not in ("shareable", "host") and not other.host.ipc_mode.startswith(CONTAINER):
                hint = "(hint: use IpcMode:shareable for the donor container)"
                raise Internal(f"can't join IPC of container {other.id}: non-shareable IPC {hint}")
        return self.mode(mode)

    def mode(self, mode: str) -> str:
        """A namespace's mode as runtime.spec has it: empty, host, none, or another container's id. Raises Conflict."""
        if mode.startswith(CONTAINER):
            return self.running(mode, "container {} is not running").id
        return mode if mode in {"host", "none"} else ""

    def files(self, record: Record) -> str:
        """The folder of the files bound into /etc: its own, or that of the container whose network it shares."""
        mode = record.host.network_mode
        owner = self._find(mode.removeprefix(CONTAINER)) if mode.startswith(CONTAINER) else record
        return str(self._store.files(owner.id))

    def write_files(self, record: Record) -> None:
        """Nothing for a container that shares another's."""
        if record.host.network_mode.startswith(CONTAINER):
            return
        self._store.write_files(record.id, {"hostname": record.config.hostname + "\n", "hosts": self._hosts(record), "resolv.conf": self._resolv(record)})

    def _hosts(self, record: Record) -> str:
        gateway = self._networks.find("bridge").gateway
        if record.host.network_mode == "host" and not record.attachments:
            extra = "".join(f"{container_spec.extra_host_line(e, gateway)}\n" for e in record.host.extra_hosts)
            return _text(HOST_HOSTS) + extra
        addresses = [a.address for a in record.attachments if not a.hidden and a.interface]
        return container_spec.hosts_file(record.config, addresses, record.host.extra_hosts, gateway)

    def _resolv(self, record: Record) -> str:
        text = _text(HOST_RESOLV_CONF)
        own = record.host.dns or record.host.dns_search or record.host.dns_options
        if record.host.network_mode == "host" and not own:
            return text
        return container_spec.resolv_file(text, record.host, ADDRESS if naming.resolves(record.attachments) else "")


def can_listen(binding: PortBinding) -> bool:
    """Whether no program of this node has the port: bound for a moment."""
    kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}.get(binding.protocol)
    if kind is None:
        return True
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((binding.host_ip or port_bindings.ANY_ADDRESS, binding.host_port))
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
