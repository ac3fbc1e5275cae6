"""Which TCP connections a namespace's servers have open, and word of each one that ends.

Dumps by sock_diag; the kernel says by multicast that a socket is gone, so nothing is asked twice without cause. Sources:
sock_diag(7), linux/inet_diag.h, net/core/sock_diag.c.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from netfabric.netlink.exchange import Answer
from netfabric.netlink.messages import NLM_F_DUMP, NLM_F_REQUEST, Message
from netfabric.netlink.socket import READ_BYTES, NetlinkSocket, subscribe

NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_TCP_DESTROYED = (1, 3)  # multicast groups: IPv4, IPv6
_ESTABLISHED, _SYN_RECEIVED, _CLOSE_WAIT, _LISTEN = 1, 3, 8, 10
_FIN_WAIT1, _LAST_ACK, _CLOSING = 4, 9, 11
"""The server has closed it, perhaps it has ended itself; not all that it said has arrived."""
_ASKED_FOR = sum(1 << state for state in (_ESTABLISHED, _SYN_RECEIVED, _CLOSE_WAIT, _LISTEN, _FIN_WAIT1, _LAST_ACK, _CLOSING))
_SOCKET_ID_BYTES = 48


async def wait_quiet(namespace: int) -> None:
    """Return when no connection that a server in the namespace (a descriptor) has taken is open, or has something to deliver.

    Connections over the loopback count too, those that the namespace itself has made elsewhere do not. Raises OSError
    where the kernel has no sock_diag. Cancellation leaves nothing behind.
    """
    with subscribe(namespace, NETLINK_SOCK_DIAG, _TCP_DESTROYED) as endings, NetlinkSocket(namespace, NETLINK_SOCK_DIAG) as asked:
        while _served([*await asked.request(_dump(socket.AF_INET)), *await asked.request(_dump(socket.AF_INET6))]):
            await endings.recv(READ_BYTES)


def _dump(family: int) -> Message:
    body = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, _ASKED_FOR) + bytes(_SOCKET_ID_BYTES)
    return Message(_SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, body, "list TCP sockets")


def _served(answers: list[Answer]) -> bool:
    """Whether one of the connections is at a port that is listened on."""
    seen = tuple(_ports(answers))
    listening = {port for state, port in seen if state == _LISTEN}
    return any(state != _LISTEN and port in listening for state, port in seen)


def _ports(answers: list[Answer]) -> Iterator[tuple[int, int]]:
    for answer in answers:
        for _, payload in answer:
            _, state, _, _, port = struct.unpack_from("!BBBBH", payload)
            yield state, port
