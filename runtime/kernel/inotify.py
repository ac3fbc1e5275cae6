"""Watches on folders and files. Owns the shape of inotify's events; whoever opened the descriptor closes it.
Source: inotify(7)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call

READ_BYTES = 64 * 1024


class Change(NamedTuple):
    mask: int
    name: str
    watch: int


def open_watches() -> int:
    """A non-blocking inotify descriptor without watches. A user has 128 of them at most, unless the machine says otherwise."""
    return call(Call.INOTIFY_INIT1, os.O_CLOEXEC | os.O_NONBLOCK)


def add(descriptor: int, path: str, mask: int) -> int:
    """The watch's number, the same for one folder or file under whatever name. Raises FileNotFoundError when the path is gone."""
    return call(Call.INOTIFY_ADD_WATCH, descriptor, os.fsencode(path), mask)


def drop(descriptor: int, watch: int) -> None:
    """A watch whose folder has gone is dropped already."""
    with suppress(OSError):
        call(Call.INOTIFY_RM_WATCH, descriptor, watch)


def open_watch(path: str, mask: int) -> int:
    """A descriptor with one watch. Raises FileNotFoundError when the path is gone."""
    descriptor = open_watches()
    try:
        add(descriptor, path, mask)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_changes(descriptor: int) -> Iterator[Change]:
    """All that is queued, empty when nothing is."""
    try:
        block = os.read(descriptor, READ_BYTES)
    except BlockingIOError:
        return
    offset = 0
    while offset < len(block):
        watch, mask, _, length = struct.unpack_from("=iIII", block, offset)
        name = block[offset + 16 : offset + 16 + length].rstrip(b"\0")
        yield Change(mask, os.fsdecode(name), watch)
        offset += 16 + length
