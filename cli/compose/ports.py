"""The short form of a published port in a Compose file: `80`, `8080:80`, `9090-9091:8080-8081/udp`, `127.0.0.1:80:80`. Pure.

Source: docker/go-connections' nat.ParsePortSpec, which docker's client reads them with.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final, NamedTuple

MAX_PORT: Final = 65535
_PROTOCOLS: Final = frozenset({"tcp", "udp", "sctp"})


class Published(NamedTuple):
    """`address`: what stood before the port and is not honoured, as a swarm's port is every node's."""

    ports: tuple[dict[str, Any], ...]
    address: str


def parse_port(text: str) -> Published:
    """The long forms of one text, by target. Raises ValueError."""
    head, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise ValueError(f"Invalid proto: {protocol}")
    rest, _, target = head.rpartition(":")
    address, _, published = rest.rpartition(":")
    if address:
        ip_address(address.removeprefix("[").removesuffix("]"))
    first, last = _range(target, "containerPort")
    if not published:
        return Published(tuple(_long(port, 0, protocol) for port in range(first, last + 1)), address)
    low, high = _range(published, "hostPort")
    if high - low == last - first:
        return Published(tuple(_long(first + n, low + n, protocol) for n in range(high - low + 1)), address)
    if first != last:
        raise ValueError(f"Invalid ranges specified for container and host Ports: {target} and {published}")
    return Published(tuple(_long(first, port, protocol) for port in range(low, high + 1)), address)


def _long(target: int, published: int, protocol: str) -> dict[str, Any]:
    made: dict[str, Any] = {"mode": "ingress", "target": target}
    return made | ({"published": published} if published else {}) | {"protocol": protocol}


def _range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    ends = (first, last) if dash else (first, first)
    if not all(end.isascii() and end.isdigit() and int(end) <= MAX_PORT for end in ends) or int(ends[0]) > int(ends[1]):
        raise ValueError(f"Invalid {what}: {text}")
    return int(ends[0]), int(ends[1])
