"""Packets of a container and of a bridge, as a pcap file that a reader of the format understands."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest
import trio

from netfabric.capture import Limits, capture, open_socket
from tests.node.test_name_server import world

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


def packets(data: bytes) -> list[bytes]:
    magic, major, minor, _, _, _, kind = struct.unpack_from("=IHHiIII", data)
    assert (magic, major, minor, kind) == (0xA1B2C3D4, 2, 4, 1)
    found, at = [], 24
    while at < len(data):
        seconds, _, kept, whole = struct.unpack_from("=IIII", data, at)
        assert seconds > 1_600_000_000
        assert kept <= whole
        found.append(data[at + 16 : at + 16 + kept])
        at += 16 + kept
    assert at == len(data)
    return found


def test_packets_of_a_container_are_written_until_the_count(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as w:
            sock = open_socket(w.path, "")
            with w.socket(socket.SOCK_DGRAM) as sender:
                for number in range(10):
                    await sender.sendto(b"packet %d" % number, ("127.0.0.1", 9))
            with trio.fail_after(20):
                data = b"".join([piece async for piece in capture(sock, Limits(count=4))])
            seen = packets(data)
            assert len(seen) == 4
            assert any(b"packet 0" in one for one in seen)

    trio.run(main)


def test_a_capture_ends_with_its_time_and_keeps_what_it_was_asked_to(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as w:
            sock = open_socket(w.path, "lo")
            with w.socket(socket.SOCK_DGRAM) as sender:
                await sender.sendto(b"x" * 500, ("127.0.0.1", 9))
            with trio.fail_after(20):
                data = b"".join([piece async for piece in capture(sock, Limits(duration_s=0.2, snap_octets=60))])
            assert {len(one) for one in packets(data)} == {60}

    trio.run(main)


def test_a_link_that_is_not_there_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as w:
            with pytest.raises(OSError, match="No such device"):
                open_socket(w.path, "eth9")

    trio.run(main)
