"""Which format a log's file has, told by its first byte, so that readers need not know: frames or Docker's JSON lines.
Owns only the choice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType

from runtime.supervisor import frames as binary
from runtime.supervisor import jsonlines
from runtime.supervisor.frames import Frame


def _of(descriptor: int) -> ModuleType:
    return jsonlines if os.pread(descriptor, 1, 0) == jsonlines.FIRST_BYTE else binary


def frames(descriptor: int, offset: int) -> Iterator[tuple[Frame, int]]:
    """(frame, offset after it) from `offset` on, up to the end or one that is not whole (yet)."""
    yield from _of(descriptor).frames(descriptor, offset)


def frames_backwards(descriptor: int, end: int) -> Iterator[Frame]:
    """From the frame that ends at `end` to the first."""
    yield from _of(descriptor).frames_backwards(descriptor, end)


def whole_size(descriptor: int) -> int:
    """Where the last whole frame ends."""
    size: int = _of(descriptor).whole_size(descriptor)
    return size
