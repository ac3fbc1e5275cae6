"""Published ports and firewall marks: which are taken, and which a service gets.

Owns the claims and the rules of choice; never writes a service. Ports published through the ingress are unique per
protocol in the whole cluster; without a number of the user's choice they come from 30000-32767 (SwarmKit's
allocator), and a port that did not change keeps its number. Marks are unique per network, from 256 (libnetwork).
Ports in host mode belong to their node: the scheduler looks after them.
"""

from __future__ import annotations

from typing import Final

from cluster.model.ids import NetworkId, ServiceId
from cluster.model.objects import Endpoint, Service
from cluster.model.specs import PortConfig, PublishMode
from manager.scheduler.usage import HostPort

DYNAMIC_FIRST: Final = 30_000
DYNAMIC_LAST: Final = 32_767
FIRST_MARK: Final = 256
LAST_MARK: Final = 65_535


class PortBook:
    """Claims on ingress ports and marks. Owned by the index."""

    def __init__(self) -> None:
        self.ports: dict[HostPort, dict[ServiceId, None]] = {}
        self.marks: dict[NetworkId, dict[int, ServiceId]] = {}

    def add(self, service_id: ServiceId, endpoint: Endpoint) -> None:
        for port in endpoint.ports:
            if port.publish_mode is PublishMode.INGRESS and port.published_port:
                self.ports.setdefault((port.protocol, port.published_port), {})[service_id] = None
        for vip in endpoint.virtual_ips:
            if vip.mark:
                self.marks.setdefault(vip.network_id, {})[vip.mark] = service_id

    def remove(self, service_id: ServiceId, endpoint: Endpoint) -> None:
        for port in endpoint.ports:
            if port.publish_mode is PublishMode.INGRESS and port.published_port:
                key = (port.protocol, port.published_port)
                holders = self.ports[key]
                holders.pop(service_id, None)
                if not holders:
                    del self.ports[key]
        for vip in endpoint.virtual_ips:
            if vip.mark:
                marks = self.marks[vip.network_id]
                del marks[vip.mark]
                if not marks:
                    del self.marks[vip.network_id]

    def next_mark(self, network_id: NetworkId) -> int | None:
        """The lowest free mark of the network; None when all are taken."""
        taken = self.marks.get(network_id, {})
        return next((mark for mark in range(FIRST_MARK, LAST_MARK + 1) if mark not in taken), None)

    def holder(self, service_id: ServiceId, protocol: str, number: int) -> ServiceId | None:
        """Another service that has this ingress port."""
        return next((other for other in self.ports.get((protocol, number), {}) if other != service_id), None)

    def next_port(self, protocol: str, taken: set[HostPort]) -> int | None:
        """The lowest free dynamic port, `taken` left out too; None when there is none."""
        for number in range(DYNAMIC_FIRST, DYNAMIC_LAST + 1):
            if (protocol, number) not in self.ports and (protocol, number) not in taken:
                return number
        return None


def _kept(port: PortConfig, before: list[PortConfig]) -> int:
    """The number that this port had without being asked for, when it has not changed; takes it out of `before`."""
    for i, old in enumerate(before):
        same = (old.protocol, old.target_port, old.publish_mode, old.name)
        if same == (port.protocol, port.target_port, port.publish_mode, port.name):
            return before.pop(i).published_port
    return 0


def choose_ports(book: PortBook, service: Service) -> tuple[PortConfig, ...] | str:
    """The service's ports with their numbers filled in, or the reason why it cannot have them."""
    spec = service.spec.endpoint
    if spec is None or not spec.ports:
        return ()
    ingress = [p for p in spec.ports if p.publish_mode is PublishMode.INGRESS]
    asked = {(p.protocol, p.published_port) for p in ingress if p.published_port}
    for protocol, number in sorted(asked):
        if (other := book.holder(service.id, protocol, number)) is not None:
            return f"port '{number}' is already in use by service {other} as an ingress port"
    before = [p for p in (service.endpoint.ports if service.endpoint else ()) if p.publish_mode is PublishMode.INGRESS]
    before = [p for p in before if (p.protocol, p.published_port) not in asked]
    before = [p for p in before if DYNAMIC_FIRST <= p.published_port <= DYNAMIC_LAST]
    taken, chosen = set(asked), []
    # those that keep their number first, so that a new port never takes one away
    numbers: dict[int, int] = {
        i: _kept(p, before)
        for i, p in enumerate(spec.ports)
        if p.publish_mode is PublishMode.INGRESS and not p.published_port
    }
    taken.update((spec.ports[i].protocol, number) for i, number in numbers.items() if number)
    for i, port in enumerate(spec.ports):
        number = numbers.get(i, -1)
        if number == 0:
            free = book.next_port(port.protocol, taken)
            if free is None:
                return f"no dynamic {port.protocol} port is free ({DYNAMIC_FIRST}-{DYNAMIC_LAST})"
            number = free
            taken.add((port.protocol, number))
        chosen.append(
            port if number < 0 else PortConfig(port.protocol, port.target_port, number, port.publish_mode, port.name)
        )
    return tuple(chosen)
