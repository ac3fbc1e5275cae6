"""The folders of one container's root file system: an upper and a work folder beside the image's lower ones, and the
lowest layer of all, which has what the runtime mounts something on (so that no container's own layer shows it).

Owns `upper` and `work` in `<containers>/<id>`; never mounts (the supervisor does, detached) and never touches the image store. Removal
goes by folder descriptors and stops at mount points, so that a file system that is mounted in a tree being deleted is
never emptied. Source: kernel Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from runtime.spec import RootFs

MOUNT_FOLDERS = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
MOUNT_FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")
MTAB = ("etc/mtab", "/proc/mounts")
MAX_DEPTH = 128  # folders below each other, each of which costs removal a descriptor
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def upper(container: Path) -> Path:
    """What the container has written, in overlayfs form."""
    return container / "upper"


def prepare(container: Path, lower: Iterable[str], *, read_only: bool = False) -> RootFs:
    """Make the folders of a container (its own folder is made too); lower folders are top first. Calling it again finds
    what is there.
    """
    work = container / "work"
    container.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not upper(container).exists():
        upper(container).mkdir(mode=0o755)
        upper(container).chmod(0o755)  # the container's own `/` has this mode, whatever our umask is
    work.mkdir(mode=0o700, exist_ok=True)
    return RootFs(lower=tuple(lower), upper=str(upper(container)), work=str(work), read_only=read_only)


def init_layer(folder: Path) -> str:
    """The lowest layer of every container, as Docker's: empty files and folders at the places of the runtime's mounts. An
    image's own come before them. Calling it again finds or completes what is there.
    """
    for name in MOUNT_FOLDERS:
        (folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in MOUNT_FILES:
        (folder / name).touch(mode=0o755)
    if not (folder / MTAB[0]).is_symlink():
        (folder / MTAB[0]).symlink_to(MTAB[1])
    return str(folder)


def remove(container: Path) -> None:
    """Delete a container's whole folder; nothing when there is none. Raises OSError (EBUSY) when something is still
    mounted in it.
    """
    try:
        top = os.open(container, _FOLDER_FLAGS)
    except FileNotFoundError:
        return
    try:
        _Removal(top).run()
    finally:
        os.close(top)
    container.rmdir()


def size_bytes(container: Path) -> int:
    """What the container has written: the content of the regular files of its upper folder."""
    total = 0
    for folder, _, names in os.walk(upper(container)):
        for name in names:
            found = os.lstat(os.path.join(folder, name))
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


class _Removal:
    """Empties one folder. What lies too deep for our descriptors is first moved up into the folder itself."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._device = os.fstat(top).st_dev
        self._moved = 0

    def run(self) -> None:
        while names := os.listdir(self._top):
            for name in names:
                self._remove(self._top, name, depth=0)

    def _remove(self, parent: int, name: str, *, depth: int) -> None:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent)
            return
        if depth > MAX_DEPTH:
            self._moved += 1
            os.rename(name, f"{secrets.token_hex(8)}-{self._moved}", src_dir_fd=parent, dst_dir_fd=self._top)
            return
        if found.st_dev == self._device:  # else something is mounted here, and rmdir will say so (EBUSY)
            fd = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
            try:
                for child in os.listdir(fd):
                    self._remove(fd, child, depth=depth + 1)
            finally:
                os.close(fd)
        os.rmdir(name, dir_fd=parent)
