"""Who is on which network, and the ends of their links on its bridge. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from netfabric.anatomy.addresses import mac
from netfabric.state import End, Link, LinkKind, port_name
from netfabric.view import INGRESS_SANDBOX, Interface, Sandbox

PORTS_KEPT = 4096
"""Links that are remembered: one more attachment costs what it adds, not what is there."""


class UnknownNetwork(ValueError):
    """An interface names a network that the view does not have: our own caller's mistake."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One interface of one sandbox, as its network sees it."""

    sandbox: str
    interface: Interface
    mac: str


Attached = Mapping[str, tuple[Sandbox, tuple[Attachment, ...]]]
"""By the sandbox's id."""


def attached_by_sandbox(sandboxes: Sequence[Sandbox], before: Attached) -> Attached:
    """The attachments of each, the same objects as in `before`, the last plan's, where the sandbox is."""
    found = {}
    for sandbox in sandboxes:
        known = before.get(sandbox.id)
        if known is None or not (known[0] is sandbox or known[0] == sandbox):
            known = sandbox, tuple(Attachment(sandbox.id, interface, mac(interface)) for interface in sandbox.interfaces)
        found[sandbox.id] = known
    return found


def by_network(attached: Attached, known: Container[str]) -> Mapping[str, Sequence[Attachment]]:
    found: defaultdict[str, list[Attachment]] = defaultdict(list)
    for _, some in attached.values():
        for one in some:
            found[one.interface.network].append(one)
    for network, (one, *_) in found.items():
        if network not in known:
            raise UnknownNetwork(f"interface {one.interface.name} of {one.sandbox} is on network {network}, which is not known")
    return found


def ports_of(attached: tuple[Attachment, ...], bridge: str, mtu: int, *, isolated: bool = False) -> tuple[Link, ...]:
    """The bridge's ends of the links of what is attached to it. `isolated`: the containers are kept from each other; the ingress sandbox is for all of
    them.
    """
    return tuple(_port(a.sandbox, a.interface.name, a.mac, bridge, mtu, isolated and a.sandbox != INGRESS_SANDBOX) for a in attached)


@lru_cache(maxsize=PORTS_KEPT)
def _port(sandbox: str, interface: str, hardware: str, bridge: str, mtu: int, isolated: bool) -> Link:
    end = End(sandbox, interface, hardware)
    return Link(port_name(sandbox, interface), LinkKind.VETH, mtu=mtu, master=bridge, peer=end, isolated=isolated)
