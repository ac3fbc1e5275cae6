"""Which of the kernel's words reach a listener at all."""

from __future__ import annotations

import socket
import struct

import pytest

from netfabric.netlink.listener import WORTH_HEARING
from netfabric.netlink.messages import attribute
from netfabric.netlink.socket_filter import assembled, attach


def said(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def route(protocol: int, table: int = 254, type_: int = 1) -> bytes:
    return struct.pack("=BBBBBBBBI", socket.AF_INET, 24, 0, 0, table, protocol, 0, type_, 0)


def setting(link: int) -> bytes:
    return struct.pack("=B3x", socket.AF_INET) + attribute(1, struct.pack("=i", link)) + attribute(2, struct.pack("=i", 1))


def address(family: int, scope: int) -> bytes:
    return struct.pack("=BBBBi", family, 64, 0, scope, 5)


@pytest.mark.parametrize(
    ("word", "passes"),
    [
        (said(16, bytes(100)), True),  # a link
        (said(17, bytes(100)), True),
        (said(28, bytes(100)), True),  # a neighbour
        (said(33, bytes(100)), True),  # a rule
        (said(24, route(4)), True),
        (said(25, route(4)), True),
        (said(24, route(3)), True),  # who types `ip route add`
        (said(25, route(3)), True),
        (said(24, route(186, table=52)), True),  # a routing daemon's
        (said(24, route(2)), True),  # the kernel's own, to a subnet
        (said(25, route(2)), True),
        (said(24, route(2, table=255, type_=2)), False),  # and to an address of this machine
        (said(25, route(2, table=255, type_=3)), False),
        (said(80, setting(-1)), True),  # of all links
        (said(80, setting(-2)), False),
        (said(80, setting(5)), False),
        (said(20, address(socket.AF_INET, 0)), True),
        (said(21, address(socket.AF_INET, 253)), True),
        (said(21, address(socket.AF_INET6, 0)), True),
        (said(20, address(socket.AF_INET6, 253)), False),
    ],
)
def test_what_can_be_no_deviation_is_not_heard(word: bytes, passes: bool) -> None:
    """The kernel itself runs the program, on a pair of sockets that carry the words as datagrams."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        attach(there.setsockopt, assembled(WORTH_HEARING))
        there.setblocking(False)
        try:
            here.send(word)
            got = there.recv(2000) == word
        except OSError:  # refused at once, or never there
            got = False
        assert got is passes
