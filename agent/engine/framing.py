"""The two forms of an output stream: raw (a terminal) and multiplexed (8 bytes of header, then the payload). Pure.

Source: the Engine API's "Attach to a container", stream format.
"""

from __future__ import annotations

import struct
from typing import Final

STDOUT: Final = 1
STDERR: Final = 2
RAW: Final = "application/vnd.docker.raw-stream"
MULTIPLEXED: Final = "application/vnd.docker.multiplexed-stream"
_MULTIPLEXED_SINCE: Final = (1, 42)  # before, clients expect the other name for the same bytes


def frame(stream: int, payload: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(payload)) + payload


def content_type(version: tuple[int, int], *, tty: bool) -> str:
    return RAW if tty or version < _MULTIPLEXED_SINCE else MULTIPLEXED
