"""Classic BPF on sockets: the instructions that programs here use, and how a program gets onto a socket.

What a program looks for is its owner's business (probe/frames.py, netlink/listener.py). Sources: socket(7) SO_ATTACH_FILTER, linux/filter.h, the kernel's
Documentation/networking/filter.rst.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final

Instruction = tuple[int, int, int, int]
"""(code, instructions to skip when true, when false, operand)."""
LD_BYTE, LD_HALF, LD_WORD, LD_BYTE_X, LD_HALF_X, LDX_HEADER = 0x30, 0x28, 0x20, 0x50, 0x48, 0xB1
EQUAL, AND, RETURN = 0x15, 0x54, 0x06
EVERYTHING: Final = 0xFFFFFFFF
"""So many octets of a packet are let through."""
_SO_ATTACH_FILTER = 26


def assembled(program: Sequence[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *one) for one in program)


def attach(set_option: Callable[[int, int, bytes], None], program: bytes) -> None:
    """From now on the socket whose setsockopt this is gets only what the program lets through. Raises OSError."""
    held = ctypes.create_string_buffer(program, len(program))
    set_option(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(held)))
