"""Sockets that hold a node's published ports, so that nobody else takes them. Nothing is ever accepted on them (the
rules take packets before) but on those that netfabric/relay.py serves.
"""

from __future__ import annotations

import socket

from netfabric.missing import PROTOCOLS as PARTS
from netfabric.missing import explained
from netfabric.state import HeldPort

ANY_ADDRESS = "0.0.0.0"  # noqa: S104
LISTEN_BACKLOG = 1
RELAY_BACKLOG = 128
PROTOCOLS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


def hold(port: HeldPort) -> socket.socket:
    """Binds the port in the thread's network namespace. Raises OSError."""
    kind, protocol = PROTOCOLS[port.protocol]
    wide = ":" in port.address
    one = socket.socket(socket.AF_INET6 if wide else socket.AF_INET, kind | socket.SOCK_CLOEXEC, protocol)
    try:
        if wide:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((port.address or ANY_ADDRESS, port.port))
        if kind == socket.SOCK_STREAM:
            one.listen(RELAY_BACKLOG if port.target else LISTEN_BACKLOG)  # a port that is only bound can be taken by who reuses addresses
    except OSError:
        one.close()
        raise
    return one


def refusal(port: HeldPort, error: OSError) -> str:
    """Why a port could not be held, in Docker's words."""
    where = f"{port.protocol}6 [{port.address}]" if ":" in port.address else f"{port.protocol}4 {port.address or ANY_ADDRESS}"
    said = f"listen {where}:{port.port}: bind: {(error.strerror or '').lower()}"
    return explained(said, error, PARTS.get(port.protocol))
