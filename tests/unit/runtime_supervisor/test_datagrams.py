"""Messages of any size, with descriptors, over one datagram socket."""

from __future__ import annotations

import os
import socket

import pytest

from runtime.supervisor import datagrams


def send_and_receive(message: bytes, descriptors: list[int]) -> tuple[bytes, list[int]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        datagram, memfd = datagrams.pack(message)
        along = [memfd, *descriptors] if memfd >= 0 else descriptors
        ours.sendmsg([datagram], datagrams.ancillary(along))
        if memfd >= 0:
            os.close(memfd)
        data, control, flags, _ = theirs.recvmsg(datagrams.RECEIVE_BYTES, datagrams.ANCILLARY_BYTES, datagrams.RECEIVE_FLAGS)
        return datagrams.unpack(data, control, flags)


@pytest.mark.parametrize("size", [0, 1, datagrams.INLINE_MAX_BYTES, datagrams.INLINE_MAX_BYTES + 1, 3_000_000])
def test_sizes(size: int) -> None:
    message = os.urandom(size)
    assert send_and_receive(message, []) == (message, [])


@pytest.mark.parametrize("size", [10, 100_000])
def test_descriptors_arrive_in_order(size: int) -> None:
    reader, writer = os.pipe()
    message, received = send_and_receive(bytes(size), [reader, writer])
    assert len(message) == size
    os.write(received[1], b"through")
    assert os.read(reader, 10) == b"through"
    assert not any(os.get_inheritable(descriptor) for descriptor in received)
    for descriptor in (reader, writer, *received):
        os.close(descriptor)


def test_a_memfd_that_is_not_sealed_is_refused_and_closed() -> None:
    memfd = os.memfd_create("loose")
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, memfd.to_bytes(4, "little"))]
    with pytest.raises(datagrams.BadDatagram):
        datagrams.unpack(b"\1", control, 0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(memfd)


@pytest.mark.parametrize(("data", "flags"), [(b"\0x", socket.MSG_TRUNC), (b"\7x", 0), (b"\1", 0), (b"", 0)])
def test_bad_datagrams(data: bytes, flags: int) -> None:
    with pytest.raises(datagrams.BadDatagram):
        datagrams.unpack(data, [], flags)
