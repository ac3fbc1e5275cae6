"""A volume whose options name a file system: mounted once, on the volume's folder, while containers use it, as Docker's local driver does.

Owns the meaning of `type`, `device` and `o`; never decides when. Source: mount(2), mount(8), moby's volume/local/local_linux.go.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.errors import StartFailed
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call

MNT_DETACH: Final = 2
REMOUNT: Final = 32
BIND: Final = 4096
RECURSIVE: Final = 16384
RECURSIVE_BIND: Final = BIND | RECURSIVE
NOT_FOUND: Final = 127
FAILED: Final = 125
_FLAGS: Final[Mapping[str, int]] = {
    "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "sync": 16, "dirsync": 128, "noatime": 1024, "nodiratime": 2048, "bind": BIND, "rbind": RECURSIVE_BIND,
    "relatime": 1 << 21, "strictatime": 1 << 24,
}  # fmt: skip
"""include/uapi/linux/mount.h"""

_PLAIN: Final = frozenset({"defaults", "rw", "suid", "dev", "exec", "async"})
_NETWORKED: Final = ("nfs", "nfs4", "cifs")


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What mount(2) takes. `data`: the options that are the file system's own."""

    kind: str
    device: str
    flags: int
    data: str


def file_system(options: Mapping[str, str]) -> FileSystem | None:
    """Of a volume's driver options; None when they name none. Pure."""
    if not options.get("device") or not options.get("type"):
        return None
    words = [word for word in options.get("o", "").split(",") if word and word not in _PLAIN]
    flags = 0
    for word in words:
        flags |= _FLAGS.get(word, 0)
    return FileSystem(options["type"], options["device"], flags, ",".join(word for word in words if word not in _FLAGS))


def attach(folder: Path, wanted: FileSystem) -> None:
    """Mount it there, unless it is. Raises StartFailed in Docker's words."""
    if is_mounted(folder):
        return
    try:
        data = _resolved(wanted)
        operands = (f"{text}\0".encode() for text in (wanted.device, str(folder), wanted.kind))
        source, target, kind = operands
        call(Call.MOUNT, source, target, kind, wanted.flags, f"{data}\0".encode())
        if wanted.flags & BIND and wanted.flags & ~RECURSIVE_BIND:  # a bind takes the flags of its source; its own need a second call
            call(Call.MOUNT, source, target, kind, wanted.flags & ~RECURSIVE | REMOUNT, b"\0")
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
        said = (f", flags: {wanted.flags:#x}" if wanted.flags else "") + (f", data: {wanted.data}" if wanted.data else "")
        what = f"failed to mount local volume: mount {wanted.device}:{folder}{said}: {reason}"
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else FAILED
        raise StartFailed(f"error while mounting volume '{folder}': {what}", status) from error


def detach(folder: Path) -> None:
    """Take it away; who still has it open keeps it. Nothing when nothing is mounted. Raises OSError."""
    while is_mounted(folder):
        call(Call.UMOUNT2, f"{folder}\0".encode(), MNT_DETACH)


def is_mounted(folder: Path) -> bool:
    """Whether something stands on the folder: by the kernel's list, for a bind of the same file system shows in no stat."""
    wanted = str(folder.resolve())
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        return any(_unescaped(line.split(" ", 5)[4]) == wanted for line in mounts)


def _unescaped(text: str) -> str:
    """proc(5) writes spaces, tabs, newlines and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _resolved(wanted: FileSystem) -> str:
    """The kernel wants addresses where users give names. Raises OSError."""
    words = wanted.data.split(",") if wanted.data else []
    if wanted.kind not in _NETWORKED:
        return wanted.data
    return ",".join(f"addr={socket.gethostbyname(word.partition('=')[2])}" if word.startswith("addr=") else word for word in words)
