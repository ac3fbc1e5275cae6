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
IsFree = Callable[[PortBinding], bool]


def wanted(host: HostConfig, exposed: Iterable[str]) -> tuple[PortBinding, ...]:
    """What was bound by hand and, with --publish-all, every other exposed port on any port of the node; in the ports' order."""
    bindings = list(host.port_bindings)
    if host.publish_all:
        bound = {(b.container_port, b.protocol) for b in bindings}
        for text in exposed:
            number, _, protocol = text.partition("/")
            if (int(number), protocol or "tcp") not in bound:
                bindings.append(PortBinding(container_port=int(number), protocol=protocol or "tcp"))
    return tuple(sorted(bindings, key=lambda b: (b.container_port, b.protocol)))


def check_address(binding: PortBinding) -> None:
    """Raises InvalidArgument for an address that this node can't publish on."""
    if binding.host_ip:
        try:
            version = ipaddress.ip_address(binding.host_ip).version
        except ValueError:
            raise InvalidArgument(f"invalid IP address: {binding.host_ip}") from None
        if version != 4:
            raise InvalidArgument(f"ports are published on IPv4 addresses only: {binding.host_ip} is none")


def allocate(bindings: Iterable[PortBinding], taken: Iterable[PortBinding], is_free: IsFree) -> tuple[PortBinding, ...]:
    """Each with the port that it gets. `taken`: by other containers; `is_free`: whether nothing else on the node listens there.

    Raises Internal in Docker's words when there is none.
    """
    used = list(taken)
    chosen = []
    for binding in bindings:
        found = _choose(binding, used, is_free)
        used.append(found)
        chosen.append(found)
    return tuple(chosen)


def _choose(binding: PortBinding, used: list[PortBinding], is_free: IsFree) -> PortBinding:
    first = binding.host_port or FREE_FIRST
    last = binding.host_port_last or (binding.host_port or FREE_LAST)
    for number in range(first, last + 1):
        candidate = msgspec.structs.replace(binding, host_port=number, host_port_last=0)
        if not any(overlap(candidate, other) for other in used):
            if is_free(candidate):
                return candidate
            if first == last:
                address = binding.host_ip or ANY_ADDRESS
                raise Internal(f"listen {binding.protocol}4 {address}:{number}: bind: address already in use")
    if first == last:
        raise Internal(f"Bind for {binding.host_ip or ANY_ADDRESS}:{first} failed: port is already allocated")
    raise Internal("all ports are allocated")


def overlap(one: PortBinding, other: PortBinding) -> bool:
    """Whether both can't be bound."""
    same = one.host_port == other.host_port and one.protocol == other.protocol
    return same and (one.host_ip == other.host_ip or any(b.host_ip in ("", ANY_ADDRESS) for b in (one, other)))
