"""Which names the cluster's tables and this node's containers give to their networks: pure.

A service's name and aliases stand for its virtual address while one of its tasks is live, without a virtual address for the tasks themselves, and
`tasks.NAME` always for them. A task answers to its container's name, the container's short id and its hostname, a container on a network of this node
also to its aliases. What is no DNS name (RFC 1035's lengths) is left out. Source: moby libnetwork service_common.go, daemon/network.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agent.links import split
from agent.records import Attachment, HostConfig, Record
from cluster.model.assignments import BalancerItem, EndpointItem
from cluster.model.objects import Network
from cluster.model.twins import twin
from netfabric.dns.message import pack_name
from netfabric.dns.zone import TASKS, Contribution, Port

DEFAULT_BRIDGE: Final = "bridge"
SHORT_ID: Final = 12


def of_service(item: BalancerItem, network: Network | None = None) -> Contribution:
    """`network`: where the service is, for its IPv6 addresses."""
    live = _both((b.address for b in item.backends if b.weight > 0), network)
    own_address = _both((item.virtual_ip,), network)
    virtual = (own_address if live else ()) if item.virtual_ip else live
    own = usable((item.service_name, *item.aliases))
    names = tuple((name, virtual) for name in own) + tuple((TASKS + name, live) for name in own)
    reverse = tuple((address, own[0]) for address in own_address) if own else ()
    ports = tuple(Port(p.protocol, p.target_port, p.name) for p in item.declared)
    return Contribution(names, reverse, ports)


def of_endpoint(item: EndpointItem, network: Network | None = None) -> Contribution:
    return of_addresses(item.names, _both((_plain(item.address),), network))


def _both(addresses: Iterable[str], network: Network | None) -> tuple[str, ...]:
    """The addresses, each with its IPv6 twin where the network has those; without empty ones."""
    return tuple(one for a in addresses if a for one in (a, twin(network, a) if network is not None else "") if one)


def of_container(record: Record, attachment: Attachment) -> Contribution:
    """One of this node's own, on one network."""
    addresses = tuple(_plain(a) for a in (attachment.address, attachment.address6) if a)
    return of_addresses((record.name, *attachment.aliases, record.id[:SHORT_ID], record.config.hostname), addresses)


def of_addresses(names: Iterable[str], addresses: tuple[str, ...]) -> Contribution:
    own = usable(names)
    if not own or not addresses:
        return Contribution()
    return Contribution(tuple((name, addresses) for name in own), tuple((address, own[0]) for address in addresses))


def usable(names: Iterable[str]) -> tuple[str, ...]:
    """In lower case, each once, without those that no question can ask for."""
    return tuple(dict.fromkeys(name.lower() for name in names if name and _is_name(TASKS + name)))


def _is_name(name: str) -> bool:
    try:
        pack_name(name)
    except (ValueError, UnicodeEncodeError):
        return False
    return True


def resolves(attachments: Iterable[Attachment]) -> bool:
    """Whether a container on these networks has a resolver of its own: not on the default bridge alone, as Docker."""
    return any(a.interface and not a.hidden and a.network_name != DEFAULT_BRIDGE for a in attachments)


def links(attachments: Iterable[Attachment]) -> tuple[tuple[str, str, str], ...]:
    """(network's id, alias, name) of the containers that it is linked to on its users' networks."""
    asked = ((a.network_id, *split(text)) for a in attachments if a.asked is not None and a.network_name != DEFAULT_BRIDGE for text in a.asked.links)
    return tuple((network_id, alias.lower(), name.lower()) for network_id, name, alias in asked)


def stays_dotless(host: HostConfig) -> bool:
    """Whether the user has set ndots above 0: then single names that nobody knows here are not asked elsewhere."""
    return any(o.startswith("ndots:") and o != "ndots:0" for o in host.dns_options)


def _plain(address: str) -> str:
    return address.partition("/")[0]
