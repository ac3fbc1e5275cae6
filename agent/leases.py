"""Who gets which address and interface when a container is put on networks: the leases of local networks, and what follows from them.

Owns the rules (Docker's interface names, way out, gateway bridge); the addresses themselves are agent/local_networks.py's and, on overlays, the cluster's.
Sources: moby's daemon/container_operations.go, libnetwork's sandbox.go (which endpoint gives the default route) and default_gateway.go.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from agent.local_networks import DEFAULT_BRIDGE, PREDEFINED, LocalNetworks
from agent.records import Attachment, LocalNetwork, NetworkWish
from agent.view import interface_order
from cluster.model.assignments import NetworkItem
from cluster.model.errors import InvalidArgument
from cluster.model.twins import twin

Found = LocalNetwork | NetworkItem
replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class Wanted:
    """A network that was found, and how it is wanted. `task_id`: the attachment that the cluster has made for it."""

    wish: NetworkWish
    network: Found
    task_id: str = ""
    given: str = ""  # the address that came with it, CIDR


def id_of(found: Found) -> str:
    return found.network.id if isinstance(found, NetworkItem) else found.id


def mac_of(address: str) -> str:
    """02:42 and the four bytes of an IPv4 address: Docker's MAC of an interface."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.partition("/")[0].split("."))


class Leases:
    """No state of its own: the pools are the local networks'."""

    def __init__(self, locals_: LocalNetworks) -> None:
        self._locals = locals_

    def take(self, wanted: Sequence[Wanted]) -> tuple[Attachment, ...]:
        """Everything that a container needs at its start, in interface order. Raises InvalidArgument, Conflict; nothing stays leased then."""
        by_id = {id_of(one.network): one for one in wanted}
        swarm = [(i, w.network.network.spec.ingress) for i, w in by_id.items() if isinstance(w.network, NetworkItem)]
        local = [(i, False) for i, w in by_id.items() if isinstance(w.network, LocalNetwork)]
        local.sort(key=lambda one: self._locals.find(one[0]).name != DEFAULT_BRIDGE)
        gateway = self._locals.gateway_bridge() if self._needs_gateway(w.network for w in wanted) else None
        leased: list[Attachment] = []
        try:
            for index, network_id in enumerate(interface_order(local + swarm, gateway is not None)):
                if network_id:
                    leased.append(self.one(by_id[network_id], index))
                elif gateway is not None:
                    leased.append(self._gateway(gateway, index))
        except BaseException:
            self.give_back(leased)
            raise
        return with_way_out(leased)

    def one(self, wanted: Wanted, index: int) -> Attachment:
        """One more network, as eth`index`. Raises InvalidArgument, Conflict."""
        wish, network = wanted.wish, wanted.network
        if isinstance(network, NetworkItem):
            address = wanted.given or wish.address
            address6 = twin(network.network, address)
            return Attachment(
                network_id=network.network.id, network_name=network.network.spec.name, interface=f"eth{index}", address=address, address6=address6,
                mac=mac_of(address), aliases=wish.aliases, endpoint_id=os.urandom(32).hex(), asked=wish, task_id=wanted.task_id,
            )  # fmt: skip
        if network.driver != "bridge":
            return Attachment(network_id=network.id, network_name=network.name, interface="", address="", endpoint_id=os.urandom(32).hex(), asked=wish)
        self.check(network, wish)
        address = self._locals.lease(network, wish.address)
        try:
            address6 = self._locals.lease(network, wish.address6, 6) if network.subnet6 else ""
        except BaseException:
            self._locals.release(network.id, address)
            raise
        gateway, gateway6 = ("", "") if network.internal else (network.gateway, network.gateway6)
        return Attachment(
            network_id=network.id, network_name=network.name, interface=f"eth{index}", address=address, mac=wish.mac or mac_of(address), gateway=gateway,
            aliases=wish.aliases, endpoint_id=os.urandom(32).hex(), address6=address6, gateway6=gateway6, asked=wish, task_id=wanted.task_id,
        )  # fmt: skip

    def check(self, network: LocalNetwork, wish: NetworkWish) -> None:
        """Raises InvalidArgument in Docker's words where no address may be asked for."""
        for family, address in ((4, wish.address), (6, wish.address6)):
            if address and network.name in PREDEFINED:
                raise InvalidArgument("user specified IP address is supported on user defined networks only")
            if address and not self._locals.has_own_subnet(network, family):
                raise InvalidArgument("user specified IP address is supported only when connecting to networks with user configured subnets")
        for address in wish.link_local:
            if not ipaddress.ip_address(address).is_link_local:
                raise InvalidArgument(f"invalid link local IP address: {address}")

    def settled(self, attachments: Sequence[Attachment], networks: Iterable[Found], number: Callable[[], int]) -> tuple[Attachment, ...]:
        """After a change: with the gateway bridge (as the interface of the next `number`) where an overlay needs one, without where another leads out."""
        gateway = self._locals.gateway_bridge() if self._needs_gateway(networks) else None
        if gateway is None:
            self.give_back(a for a in attachments if a.hidden)
            return with_way_out([a for a in attachments if not a.hidden])
        if any(a.hidden for a in attachments):
            return with_way_out(attachments)
        return with_way_out([*attachments, self._gateway(gateway, number())])

    def give_back(self, attachments: Iterable[Attachment]) -> None:
        """Release the leases on local networks."""
        for attachment in attachments:
            if self._locals.gives(attachment.network_id):
                for address in (attachment.address, attachment.address6):
                    self._locals.release(attachment.network_id, address)

    def again(self, attachment: Attachment) -> None:
        """Take the leases of a container over that runs already. Raises NotFound, Conflict."""
        network = self._locals.find(attachment.network_id)
        for family, address in ((4, attachment.address), (6, attachment.address6)):
            if address:
                self._locals.lease(network, address.partition("/")[0], family)

    def _gateway(self, gateway: LocalNetwork, index: int) -> Attachment:
        return replace(self.one(Wanted(NetworkWish(network=gateway.id), gateway), index), hidden=True, asked=None)

    def _needs_gateway(self, networks: Iterable[Found]) -> bool:
        """An overlay that is not internal leads nowhere by itself; a bridge beside it does."""
        found = tuple(networks)
        overlay = any(isinstance(n, NetworkItem) and not n.network.spec.internal for n in found)
        return overlay and not any(isinstance(n, LocalNetwork) and n.driver == "bridge" and not n.internal for n in found)


def with_way_out(attachments: Sequence[Attachment]) -> tuple[Attachment, ...]:
    """One of them has the default route: the highest priority first; of equals the gateway bridge last, a network with both families first, then by name."""
    candidates = [a for a in attachments if a.gateway]
    best = min(candidates, key=lambda a: (-a.asked.gateway_priority if a.asked else 0, a.hidden, not a.gateway6, a.network_name), default=None)
    return tuple(replace(a, default_route=a is best) for a in attachments)
