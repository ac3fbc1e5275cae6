"""A folder whose files are only in memory and only root's: a tmpfs for what must never be on a disk. Owns the mount; what is in it is others'.

Source: tmpfs(5), mount(2).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call

MNT_DETACH: Final = 2
_NOSUID_NODEV_NOEXEC: Final = 2 | 4 | 8
_DATA: Final = b"mode=0700,nr_inodes=0\0"


def open_(folder: Path) -> None:
    """Nothing happens where it is already. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not folder.is_mount():
        call(Call.MOUNT, b"tmpfs\0", os.fsencode(folder) + b"\0", b"tmpfs\0", _NOSUID_NODEV_NOEXEC, _DATA)


def close(folder: Path) -> None:
    """With all that is in it; who has a file of it mounted keeps that. Nothing happens where there is none. Raises OSError."""
    if folder.is_mount():
        call(Call.UMOUNT2, os.fsencode(folder) + b"\0", MNT_DETACH)
    if folder.exists():
        folder.rmdir()
