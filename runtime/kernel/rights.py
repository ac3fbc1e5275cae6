"""Descriptors that came with a message. Pure. Source: unix(7), SCM_RIGHTS."""

from __future__ import annotations

import _socket
import struct

TYPE_CHECKING = False  # see libc.py
if TYPE_CHECKING:
    from collections.abc import Sequence


def received(control: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """Those of what recvmsg gave."""
    size = struct.calcsize("=i")
    return [
        number
        for level, kind, data in control
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
        for (number,) in struct.iter_unpack("=i", data[: len(data) - len(data) % size])
    ]
