"""Which ports of the node a container gets when it starts: what was asked for, and free ones where any will do. Pure: what is taken comes in.

Source: moby's libnetwork portallocator and the words of its bridge driver; ip_local_port_range for the ports that are given freely.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from agent.records import HostConfig, PortBinding
from cluster.model.errors import Internal, InvalidArgument

FREE_FIRST: Final = 32768
FREE_LAST: Final = 60999
ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104
ANY_ADDRESS6: Final = "::"
Refused = Callable[[PortBinding], str]


def wanted(host: HostConfig, exposed: Iterable[str], default_address: str = "") -> tuple[PortBinding, ...]:
    """What was bound by hand and, with --publish-all, every other exposed port on any port of the node; in the order of the container's ports, and
    of several ports of the node that lead to one the highest first. `default_address`: where ports are bound that name no address; empty: on every address
    of both families."""
    bindings = list(host.port_bindings)
    if host.publish_all:
        bound = {(b.container_port, b.protocol) for b in bindings}
        for text in exposed:
            number, _, protocol = text.partition("/")
            if (int(number), protocol or "tcp") not in bound:
                bindings.append(PortBinding(container_port=int(number), protocol=protocol or "tcp"))
    bindings = [b if b.host_ip else msgspec.structs.replace(b, host_ip=default_address) for b in bindings]
    return tuple(sorted(bindings, key=lambda b: (b.container_port, b.protocol, -b.host_port)))


def check_address(binding: PortBinding) -> None:
    """Raises InvalidArgument for an address that is none."""
    if binding.host_ip:
        try:
            ipaddress.ip_address(binding.host_ip)
        except ValueError:
            raise InvalidArgument(f"invalid IP address: {binding.host_ip}") from None


def allocate(bindings: Iterable[PortBinding], taken: Iterable[PortBinding], refused: Refused, *, ipv6: bool = True) -> tuple[PortBinding, ...]:
    """Each with the port that it gets, and an address: one without becomes two, of either family (without `ipv6` one), with the same port.

    `taken`: by other containers; `refused`: why nothing can listen there, empty when it can. Raises Internal in Docker's words when there is none.
    """
    used = list(taken)
    chosen: list[PortBinding] = []
    for binding in bindings:
        addresses = (binding.host_ip,) if binding.host_ip else (ANY_ADDRESS, ANY_ADDRESS6) if ipv6 else (ANY_ADDRESS,)
        found = _choose(tuple(msgspec.structs.replace(binding, host_ip=address) for address in addresses), used, refused)
        used += found
        chosen += found
    return tuple(chosen)


def _choose(wishes: tuple[PortBinding, ...], used: list[PortBinding], refused: Refused) -> tuple[PortBinding, ...]:
    one = wishes[0]
    first = one.host_port or FREE_FIRST
    last = one.host_port_last or (one.host_port or FREE_LAST)
    for number in range(first, last + 1):
        candidates = tuple(msgspec.structs.replace(wish, host_port=number, host_port_last=0) for wish in wishes)
        why = next((text for text in (_why_not(candidate, used, refused) for candidate in candidates) if text), "")
        if not why:
            return candidates
        if first == last:
            raise Internal(why)
    raise Internal("all ports are allocated")


def _why_not(candidate: PortBinding, used: list[PortBinding], refused: Refused) -> str:
    """Empty when the candidate can be had."""
    where = f"[{candidate.host_ip}]:{candidate.host_port}" if ":" in candidate.host_ip else f"{candidate.host_ip}:{candidate.host_port}"
    others = [other for other in used if overlap(candidate, other)]
    if any(other.host_ip == candidate.host_ip for other in others):
        return f"Bind for {candidate.host_ip}:{candidate.host_port} failed: port is already allocated"
    why = "address already in use" if others else refused(candidate)
    family = 6 if ":" in candidate.host_ip else 4
    return f"Error starting userland proxy: listen {candidate.protocol}{family} {where}: bind: {why}" if why else ""


def overlap(one: PortBinding, other: PortBinding) -> bool:
    """Whether both can't be bound: the same port, and the same address or all of one family."""
    if (one.host_port, one.protocol) != (other.host_port, other.protocol):
        return False
    ours, theirs = (b.host_ip or ANY_ADDRESS for b in (one, other))
    same_family = (":" in ours) == (":" in theirs)
    return same_family and (ours == theirs or bool({ours, theirs} & {ANY_ADDRESS, ANY_ADDRESS6}))
