"""The namespaces of this node's running containers as the fabric is to make them: interfaces, published ports, who uses which bridge.

Owns that state only: addresses are leased in agent/leases.py, the kernel is the fabric's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agent import naming
from agent.leases import mac_of
from agent.local_networks import DEFAULT_BRIDGE, LocalNetworks
from agent.records import Attachment, LocalNetwork, Record
from netfabric import view

LINK_LOCAL_PREFIX: Final = 16
LINK_LOCAL_PREFIX6: Final = 64


class Sandboxes:
    """State: per running container its sandbox, its ports on the host and the last number of an interface; per bridge the containers on it."""

    def __init__(self, locals_: LocalNetworks) -> None:
        self._locals = locals_
        self._made: dict[str, view.Sandbox] = {}
        self._host_ports: dict[str, tuple[view.HostPort, ...]] = {}
        self._bridge_users: dict[str, set[str]] = {}
        self._last_interface: dict[str, int] = {}
        self._default_bridge_stands = False

    def all(self) -> tuple[view.Sandbox, ...]:
        return tuple(self._made.values())

    def get(self, container_id: str) -> view.Sandbox | None:
        return self._made.get(container_id)

    def host_ports(self) -> tuple[view.HostPort, ...]:
        return tuple(p for ports in self._host_ports.values() for p in ports)

    def networks(self) -> set[str]:
        """The ids of overlays, and the links of bridges, that containers are on."""
        return {i.network for s in self._made.values() for i in s.interfaces}

    def uses(self, network_id: str) -> bool:
        """Whether a container is on this local network."""
        return bool(self._bridge_users.get(network_id))

    def stands(self, network: LocalNetwork) -> bool:
        """The default bridge stays after its last container, as Docker's does: making and removing it takes longer than all else of a short run's network."""
        return self.uses(network.id) or (network.name == DEFAULT_BRIDGE and self._default_bridge_stands)

    def note_made(self, attachments: Sequence[Attachment]) -> None:
        """The fabric has made these."""
        self._default_bridge_stands = self._default_bridge_stands or any(a.network_name == DEFAULT_BRIDGE for a in attachments)

    # -- changes --------------------------------------------------------------------------------------------------

    def begin(self, container_id: str) -> view.Sandbox:
        """The sandbox, an empty one if there is none yet."""
        return self._made.setdefault(container_id, view.Sandbox(container_id[:12], ()))

    def put(self, container_id: str, attachments: Sequence[Attachment], ingress_ports: tuple[view.PublishedPort, ...],
            host_ports: tuple[view.HostPort, ...], sysctls: tuple[tuple[str, str], ...]) -> None:  # fmt: skip
        interfaces = tuple(self._interface(container_id, a) for a in attachments if a.interface)
        self._made[container_id] = view.Sandbox(container_id[:12], interfaces, ingress_ports, sysctls, naming.resolves(attachments))
        if host_ports:
            self._host_ports[container_id] = host_ports

    def rewire(self, container_id: str, attachments: Sequence[Attachment], before: view.Sandbox) -> None:
        """The same sandbox with other attachments."""
        self._leave_bridges(container_id)
        self.put(container_id, attachments, before.ingress_ports, self._host_ports.get(container_id, ()), before.sysctls)

    def publish(self, container_id: str, host_ports: tuple[view.HostPort, ...]) -> None:
        self._host_ports[container_id] = host_ports

    def drop(self, container_id: str) -> None:
        self._made.pop(container_id, None)
        self._host_ports.pop(container_id, None)
        self._last_interface.pop(container_id, None)
        self._leave_bridges(container_id)

    def _leave_bridges(self, container_id: str) -> None:
        for users in self._bridge_users.values():
            users.discard(container_id)

    def _interface(self, container_id: str, a: Attachment) -> view.Interface:
        network = a.network_id
        if self._locals.gives(network):
            self._bridge_users.setdefault(network, set()).add(container_id)
            network = self._locals.find(network).interface
        gateways = (a.gateway, a.gateway6) if a.default_route else ("", "")
        further = tuple(f"{address}/{LINK_LOCAL_PREFIX6 if ':' in address else LINK_LOCAL_PREFIX}" for address in (a.asked.link_local if a.asked else ()))
        mac = "" if a.mac == mac_of(a.address) else a.mac
        return view.Interface(a.interface, network, a.address, gateways[0], a.address6, gateways[1], mac, further)

    # -- numbers of interfaces ------------------------------------------------------------------------------------

    def next_interface(self, record: Record) -> int:
        """Numbers go on for as long as the container runs: one that was somebody's comes back with the next start only."""
        self.note_interfaces(record)
        self._last_interface[record.id] += 1
        return self._last_interface[record.id]

    def note_interfaces(self, record: Record) -> None:
        used = [int(a.interface.removeprefix("eth")) for a in record.attachments if a.interface]
        self._last_interface[record.id] = max((*used, self._last_interface.get(record.id, -1)))

    def last_interface(self, container_id: str) -> int | None:
        return self._last_interface.get(container_id)

    def set_last_interface(self, container_id: str, number: int | None) -> None:
        """As `last_interface` has told before."""
        if number is not None:
            self._last_interface[container_id] = number
        else:
            self._last_interface.pop(container_id, None)
