"""What a probe's frame says, whatever it is wrapped in, and the filter that lets it through."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from netfabric.netlink.nftrace import Step, steps_of
from netfabric.netlink.socket_filter import attach
from netfabric.probe.frames import Passage, passage, socket_filter

PORT = 4789
KEY = 0x1122334455667788


def ethernet(kind: int, body: bytes) -> bytes:
    return bytes.fromhex("02420a000105") + bytes(6) + struct.pack("!H", kind) + body


def ip4(protocol: int, body: bytes, source: str = "10.0.1.8", target: str = "10.0.1.5") -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0, socket.inet_aton(source), socket.inet_aton(target))
    return ethernet(0x0800, head + body)


def ip6(body: bytes) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, "fd00::8") + socket.inet_pton(socket.AF_INET6, "fd00::5")
    return ethernet(0x86DD, struct.pack("!IHBB", 6 << 28, len(body), 58, 64) + addresses + body)


ECHO = struct.pack("!BBHHHQ", 8, 0, 0, 1, 1, KEY)
SYN = struct.pack("!HHIIBBHHH", 40000, 80, 77, 0, 5 << 4, 0x02, 1000, 0, 0)


def test_echo_requests_of_both_families_and_first_packets_of_connections_are_known() -> None:
    mac = "02:42:0a:00:01:05"
    assert passage(ip4(1, ECHO), PORT) == Passage("10.0.1.8", "10.0.1.5", mac, "echo request", KEY)
    assert passage(ip6(b"\x80" + ECHO[1:]), PORT) == Passage("fd00::8", "fd00::5", mac, "echo request", KEY)
    assert passage(ip4(6, SYN), PORT) == Passage("10.0.1.8", "10.0.1.5", mac, "tcp 40000 > 80 SYN", 77)
    assert passage(ip4(1, b"\0" + ECHO[1:]), PORT) is None  # a reply
    assert passage(ip4(6, SYN[:13] + b"\x12" + SYN[14:]), PORT) is None  # SYN and ACK


def test_a_frame_inside_vxlan_is_looked_into_once() -> None:
    inner = ip4(1, ECHO)
    wrapped = ip4(17, struct.pack("!HHHH", 5555, PORT, 0, 0) + struct.pack("!II", 1 << 27, 4097 << 8) + inner, "192.0.2.1", "192.0.2.2")
    found = passage(wrapped, PORT)
    assert found is not None
    assert (found.source, found.key, found.tunnel) == ("10.0.1.8", KEY, ("192.0.2.1", "192.0.2.2", 4097))
    twice = ip4(17, struct.pack("!HHHH", 5555, PORT, 0, 0) + struct.pack("!II", 1 << 27, 4097 << 8) + wrapped, "192.0.2.1", "192.0.2.2")
    assert passage(twice, PORT) is None


@given(st.binary(max_size=200))
def test_no_frame_is_too_broken(data: bytes) -> None:
    passage(data, PORT)
    passage(ip4(17, data), PORT)
    list(steps_of(data))


def test_the_kernel_s_filter_lets_through_what_is_read() -> None:
    """The kernel itself runs it, on a pair of sockets that carry the frames as datagrams."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        attach(there.setsockopt, socket_filter(PORT))
        there.setblocking(False)
        wrapped = ip4(17, struct.pack("!HHHH", 5555, PORT, 0, 0) + bytes(60))
        for frame, passes in (
            (ip4(1, ECHO), True), (ip6(b"\x80" + ECHO[1:]), True), (ip4(6, SYN), True), (wrapped, True),
            (ip4(6, SYN[:13] + b"\x12" + SYN[14:]), False), (ip4(17, bytes(60)), False), (ethernet(0x0806, bytes(60)), False),
        ):  # fmt: skip
            try:
                here.send(frame)
                got = there.recv(2000) == frame[:256]
            except OSError:  # refused at once, or never there
                got = False
            assert got is passes, frame


def test_a_verdict_is_read_as_the_kernel_tells_it() -> None:
    """Captured from `nft monitor trace`'s own socket on Linux 6.18."""
    data = bytes.fromhex(
        "98000000110a0000000000000000000001000000" "08000f000000000208000400000000030800060010635496" "0b0002006f75747075740000"
        "0600010074000000" "0c0003000000000000000005" "0c00050008000100ffffffff" "08000c0000000001" "06000d0003040000"
    )  # fmt: skip
    data = struct.pack("=I", len(data)) + data[4:]
    assert list(steps_of(data)) == [Step(0x10635496, "inet", "t", "output", 5, "continue")]
