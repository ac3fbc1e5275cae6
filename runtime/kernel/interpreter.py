"""This process's own executable, out of everybody's reach for writing (CVE-2019-5736). Owns nothing.

A container can get hold of the executable of a process that enters it or is its pid 1 (/proc/<pid>/exe), keep it open and write to it later. So stem
and supervisor, and with them every child that they fork, run from a detached bind of the interpreter that is read-only: writing through any
descriptor of it fails with EROFS, for every user. Source: open_tree(2), mount_setattr(2), proc(5).
"""

from __future__ import annotations

import os
import struct
import sys

from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call

TYPE_CHECKING = False  # not from typing, which is a megabyte of the nursery (supervisor/nursery.py)
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

NAME_MAX_BYTES = 15


def is_sealed() -> bool:
    """The mount that this process's executable was started from is read-only."""
    return bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)


def execute_sealed(arguments: Sequence[str]) -> NoReturn:
    """Becomes the interpreter anew with these arguments. Its environment is found through argv[0], as ever. Raises OSError."""
    tree = call(Call.OPEN_TREE, k.AT_FDCWD, os.fsencode(os.path.realpath(sys.executable)), k.OPEN_TREE_CLONE | k.O_CLOEXEC)
    attributes = struct.pack("=4Q", k.MOUNT_ATTR_RDONLY, 0, 0, 0)
    call(Call.MOUNT_SETATTR, tree, b"", k.AT_EMPTY_PATH, attributes, k.MOUNT_ATTR_SIZE_BYTES)
    os.execv(f"/proc/self/fd/{tree}", [sys.executable, *arguments])  # noqa: S606  (our own interpreter)


def hide(name: str) -> None:
    """Nobody but the host's root may trace this process or what it forks, from the first moment of their lives; and a name for lists of processes,
    which show the descriptor's number otherwise."""
    call(Call.PRCTL, k.PR_SET_DUMPABLE, 0)
    call(Call.PRCTL, k.PR_SET_NAME, name.encode()[:NAME_MAX_BYTES])
