"""A runtime that containers can't overwrite: the interpreter is executed again from a read-only mount that nobody else has.

A container's program may be /proc/self/exe, or a script whose interpreter is: then this very binary runs inside, and its file could be opened for
writing there (CVE-2019-5736). From a detached read-only bind that is EROFS. Source: open_tree(2), mount_setattr(2), execveat(2).
"""

from __future__ import annotations

import os
import struct
import sys

from runtime.kernel import constants as k
from runtime.kernel.libc import address_of, call
from runtime.kernel.syscalls import Call

_READ_ONLY = struct.pack("=4Q", k.MOUNT_ATTR_RDONLY, 0, 0, 0)
_PROGRAM = "import sys; sys.path[:0] = sys.argv.pop(1).split('|'); from runtime.oci.__main__ import main; sys.exit(main(sealed=True))"


def execute_again(arguments: list[str]) -> None:
    """Does not return. Raises OSError."""
    folders = [path for path in sys.path if path and os.path.isdir(os.path.join(path, "runtime", "oci"))][:1]
    folders += [os.path.dirname(os.path.abspath(_backend()))]
    tree = call(Call.OPEN_TREE, k.AT_FDCWD, os.fsencode(os.path.realpath("/proc/self/exe")), k.OPEN_TREE_CLONE | k.O_CLOEXEC)
    call(Call.MOUNT_SETATTR, tree, b"", k.AT_EMPTY_PATH, _READ_ONLY, k.MOUNT_ATTR_SIZE_BYTES)
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM, "|".join(dict.fromkeys(folders)), *arguments]
    environment = [key + b"=" + value for key, value in os.environb.items()]
    kept: list[bytes] = []
    call(Call.EXECVEAT, tree, b"", _pointers([os.fsencode(word) for word in argv], kept), _pointers(environment, kept), k.AT_EMPTY_PATH)


def _backend() -> str:
    import _cffi_backend

    path: str = _cffi_backend.__file__
    return path


def _pointers(words: list[bytes], kept: list[bytes]) -> bytes:
    """A NULL-terminated array; what it points to lives in `kept`."""
    kept += words
    return struct.pack(f"={len(words) + 1}Q", *(address_of(word) for word in words), 0)
