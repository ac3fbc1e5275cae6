"""Messages on a SOCK_SEQPACKET socket: small ones in the datagram, large ones in a sealed memfd; descriptors beside
them. Pure but for memfd.

The first byte says which: 0 the message follows, 1 it is in the first descriptor. Whoever receives closes what it does
not keep. Source: unix(7), memfd_create(2), fcntl(2) "File Sealing".
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
from collections.abc import Sequence

from runtime.kernel.rights import received

INLINE_MAX_BYTES = 64 * 1024
MESSAGE_MAX_BYTES = 16 * 1024 * 1024
DESCRIPTORS_MAX = 8
RECEIVE_BYTES = INLINE_MAX_BYTES + 1
ANCILLARY_BYTES = socket.CMSG_SPACE(DESCRIPTORS_MAX * array.array("i").itemsize)
RECEIVE_FLAGS = socket.MSG_CMSG_CLOEXEC

_INLINE, _MEMFD = b"\0", b"\1"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class BadDatagram(ValueError):
    """Cut off, too large, or not sealed."""


def pack(message: bytes) -> tuple[bytes, int]:
    """(datagram, memfd): the memfd is -1 for small messages; else it goes first among the descriptors and the
    caller closes it."""
    assert len(message) <= MESSAGE_MAX_BYTES
    if len(message) <= INLINE_MAX_BYTES:
        return _INLINE + message, -1
    memfd = os.memfd_create("festoon-message", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    written = 0
    while written < len(message):
        written += os.write(memfd, memoryview(message)[written:])
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, _SEALS)
    return _MEMFD, memfd


def ancillary(descriptors: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """The control message that carries descriptors, as sendmsg takes it."""
    if not descriptors:
        return []
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())]


def unpack(datagram: bytes, control: Sequence[tuple[int, int, bytes]], flags: int) -> tuple[bytes, list[int]]:
    """What recvmsg gave as (message, descriptors). Raises BadDatagram with all descriptors closed."""
    descriptors = received(control)
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise BadDatagram("a message was cut off")
        if datagram[:1] == _INLINE:
            return datagram[1:], descriptors
        if datagram[:1] != _MEMFD or not descriptors:
            raise BadDatagram("a message of an unknown form")
        memfd = descriptors[0]
        message = _read_sealed(memfd)
    except (BadDatagram, OSError) as error:
        for descriptor in descriptors:
            os.close(descriptor)
        raise BadDatagram(str(error)) from error
    os.close(memfd)
    return message, descriptors[1:]


def _read_sealed(memfd: int) -> bytes:
    if fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise BadDatagram("a message that is not sealed")
    size = os.fstat(memfd).st_size
    if size > MESSAGE_MAX_BYTES:
        raise BadDatagram("a message that is too large")
    return os.pread(memfd, size, 0)
