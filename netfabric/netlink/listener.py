"""What the kernel tells of changes in all namespaces of a node, through one socket per family: links, addresses, routes, neighbours, nftables, IPsec.

A namespace is heard when it has a number in the node's namespace, which `follow` gives it. Owns the sockets; what the words mean is
netfabric/deviation.py's. What nobody here ever asks for (the kernel's own routes to single addresses, single links' settings but
rp_filter, link-local addresses) the kernel keeps for itself; of a new address and of a link that comes up it tells before the route to their subnet is
there, and then of that too. Sources: netlink(7) NETLINK_LISTEN_ALL_NSID,
linux/net_namespace.h, linux/rtnetlink.h RTNLGRP_*.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Final

import trio

from netfabric.netlink.messages import (
    ALL_LINKS,
    CHANGE,
    NETCONF_RP_FILTER,
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NETLINK_XFRM,
    RT_SCOPE_LINK,
    RT_TABLE_MAIN,
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWNETCONF,
    RTM_NEWROUTE,
    RTN_UNICAST,
    RTPROT_KERNEL,
    Message,
    attributes,
    u32,
)
from netfabric.netlink.socket import READ_BYTES, NetlinkSocket, subscribe
from netfabric.netlink.socket_filter import EQUAL, EVERYTHING, LD_BYTE, LD_WORD, RETURN, Instruction, assembled, attach

_SOL_NETLINK, _LISTEN_ALL_NSID = 270, 8
_RTM_NEWNSID, _RTM_GETNSID = 88, 90
_NSID, _NSID_FD = 1, 3
_LINK, _NEIGHBOURS, _ADDRESSES, _ROUTES, _RULES, _ADDRESSES6, _ROUTES6, _NETCONF, _NETCONF6 = 1, 3, 5, 7, 8, 9, 11, 24, 25
_ROUTE_GROUPS: Final = (_LINK, _NEIGHBOURS, _ADDRESSES, _ROUTES, _RULES, _ADDRESSES6, _ROUTES6, _NETCONF, _NETCONF6)
_NFTABLES_GROUPS: Final = (7,)
_IPSEC_GROUPS: Final = (3, 4)  # XFRMNLGRP_SA, XFRMNLGRP_POLICY
WORDS_MAX: Final = 20_000
"""Messages that are taken at once; with more nothing is known, and everything has to be looked at."""


_KIND: Final = 4 if sys.byteorder == "little" else 5  # where the low byte of a message's kind is
_ROUTE_TABLE, _ROUTE_PROTOCOL, _ROUTE_TYPE, _NETCONF_LINK, _ADDRESS_FAMILY, _ADDRESS_SCOPE = 20, 21, 23, 24, 16, 19
_NETCONF_SETTING: Final = 30 if sys.byteorder == "little" else 31  # the low byte of what the attribute after the link says; of a new link not rp_filter
WORTH_HEARING: Final[tuple[Instruction, ...]] = (
    (LD_BYTE, 0, 0, _KIND),
    (EQUAL, 5, 0, RTM_NEWROUTE),
    (EQUAL, 4, 0, RTM_DELROUTE),
    (EQUAL, 9, 0, RTM_NEWNETCONF),
    (EQUAL, 12, 0, RTM_NEWADDR),
    (EQUAL, 11, 0, RTM_DELADDR),
    (RETURN, 0, 0, EVERYTHING),
    (LD_BYTE, 0, 0, _ROUTE_PROTOCOL),
    (EQUAL, 0, 13, RTPROT_KERNEL),
    (LD_BYTE, 0, 0, _ROUTE_TABLE),
    (EQUAL, 0, 10, RT_TABLE_MAIN),
    (LD_BYTE, 0, 0, _ROUTE_TYPE),
    (EQUAL, 9, 8, RTN_UNICAST),
    (LD_WORD, 0, 0, _NETCONF_LINK),
    (EQUAL, 7, 0, ALL_LINKS & 0xFFFFFFFF),
    (LD_BYTE, 0, 0, _NETCONF_SETTING),
    (EQUAL, 5, 4, NETCONF_RP_FILTER),
    (LD_BYTE, 0, 0, _ADDRESS_FAMILY),
    (EQUAL, 0, 3, socket.AF_INET6),
    (LD_BYTE, 0, 0, _ADDRESS_SCOPE),
    (EQUAL, 0, 1, RT_SCOPE_LINK),
    (RETURN, 0, 0, 0),
    (RETURN, 0, 0, EVERYTHING),
)
"""The kernel says of each thing in a message of its own."""


class Missed(Exception):
    """More was said than could be heard."""


class Listener:
    """Of the node whose namespace is behind the descriptor."""

    def __init__(self, node: int) -> None:
        """Raises OSError."""
        self._node = node
        self._names: dict[int, str] = {}
        self._drained = trio.Event()
        self._sockets = {NETLINK_ROUTE: subscribe(node, NETLINK_ROUTE, _ROUTE_GROUPS)}
        try:
            self._sockets[NETLINK_NETFILTER] = subscribe(node, NETLINK_NETFILTER, _NFTABLES_GROUPS)
            with contextlib.suppress(OSError):  # a kernel without IPsec, where nothing is encrypted
                self._sockets[NETLINK_XFRM] = subscribe(node, NETLINK_XFRM, _IPSEC_GROUPS)
            for one in self._sockets.values():
                one.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
            attach(self._sockets[NETLINK_ROUTE].setsockopt, assembled(WORTH_HEARING))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()

    def names(self) -> frozenset[str]:
        """Whom we follow."""
        return frozenset(self._names.values())

    async def follow(self, route: NetlinkSocket, name: str, descriptor: int) -> None:
        """Hear of the namespace behind `descriptor` as `name`. `route`: a socket of the node's namespace. Raises OSError."""
        self.forget(name)
        body = struct.pack("=B3x", socket.AF_UNSPEC) + u32(_NSID_FD, descriptor)
        unchosen = struct.pack("=Hhi", 8, _NSID, -1)
        numbering = Message(_RTM_NEWNSID, CHANGE, body + unchosen, f"number namespace {name}")
        _, answer = await route.request(numbering, Message(_RTM_GETNSID, CHANGE, body, f"ask the number of namespace {name}"), tolerate={errno.EEXIST})
        for _, payload in answer:
            (number,) = struct.unpack("=i", dict(attributes(payload, 4))[_NSID])
            self._names[number] = name

    def forget(self, name: str) -> None:
        self._names = {number: known for number, known in self._names.items() if known != name}

    async def run(self, heard: Callable[[], None]) -> None:
        """Calls `heard` whenever there is something to drain, until cancelled."""
        async with trio.open_nursery() as nursery:
            for one in self._sockets.values():
                nursery.start_soon(self._wait, one, heard)

    async def _wait(self, one: trio.socket.SocketType, heard: Callable[[], None]) -> None:
        while True:
            await trio.lowlevel.wait_readable(one.fileno())
            drained = self._drained
            heard()
            await drained.wait()

    def drain(self, node: str) -> Iterator[tuple[str, int, int, bytes]]:
        """(namespace, protocol, kind, payload) of all that has been said since the last time; the node's own namespace is `node`. Raises Missed."""
        drained, self._drained = self._drained, trio.Event()
        drained.set()
        count = 0
        for protocol, one in self._sockets.items():
            raw = socket.socket(fileno=one.fileno())
            try:
                while True:
                    try:
                        data, control, flags, _ = raw.recvmsg(READ_BYTES, socket.CMSG_SPACE(4))
                    except BlockingIOError:
                        break
                    except OSError as error:
                        if error.errno == errno.ENOBUFS:
                            raise Missed from error
                        raise
                    if flags & socket.MSG_TRUNC:
                        raise Missed
                    number = next((struct.unpack("=i", value)[0] for level, kind, value in control if (level, kind) == (_SOL_NETLINK, _LISTEN_ALL_NSID)), -1)
                    name = node if number < 0 else self._names.get(number)
                    if name is None:
                        continue
                    for kind, payload in _split(data):
                        count += 1
                        if count > WORDS_MAX:
                            raise Missed
                        yield name, protocol, kind, payload
            finally:
                raw.detach()


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _, _, _ = struct.unpack_from("=IHHII", data, offset)
        if length < 16:
            return
        yield kind, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


