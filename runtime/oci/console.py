"""Terminals of bundles: made without any path inside the container, and handed over the caller's --console-socket. Owns a terminal until it is sent.

Source: runc's docs/terminals.md, unix(7) ("SCM_RIGHTS"); CVE-2025-52565.
"""

from __future__ import annotations

import os
import struct

from runtime.child.faults import Refused
from runtime.kernel import constants as k
from runtime.kernel.detached import TTY_GID, open_terminal, resize_terminal
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call
from runtime.kernel.userns import Mappings, outside
from runtime.oci.tree import shifted
from runtime.oci.values import Bundle, Process


def make(bundle: Bundle) -> tuple[int, int, int]:
    """(devpts or -1, master, slave). With a devpts of the bundle's own the terminal is one of it, else one of the host's."""
    mount = next((mount for mount in bundle.mounts if mount.kind == "devpts" and mount.destination == "/dev/pts"), None)
    if mount is None:
        master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        return -1, master, _slave(master, bundle)
    context = call(Call.FSOPEN, b"devpts", k.FSOPEN_CLOEXEC)
    try:
        call(Call.FSCONFIG, context, k.FSCONFIG_SET_STRING, b"source", b"devpts", 0)
        for key, value in shifted(mount.options.data, bundle.uids, bundle.gids):
            if value:
                call(Call.FSCONFIG, context, k.FSCONFIG_SET_STRING, key.encode(), value.encode(), 0)
            else:
                call(Call.FSCONFIG, context, k.FSCONFIG_SET_FLAG, key.encode(), 0, 0)
        call(Call.FSCONFIG, context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
        devpts = call(Call.FSMOUNT, context, k.FSMOUNT_CLOEXEC, mount.options.set & ~k.MOUNT_ATTR_RDONLY)
    finally:
        os.close(context)
    master = call(Call.OPENAT, devpts, b"ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return devpts, master, _slave(master, bundle)


def _slave(master: int, bundle: Bundle) -> int:
    slave = open_terminal(master)
    dress(master, slave, bundle.process, bundle.uids, bundle.gids)
    return slave


def dress(master: int, slave: int, process: Process, uids: Mappings, gids: Mappings) -> None:
    """The program's user owns its terminal; the size is the caller's, where told."""
    os.fchown(slave, outside(uids, process.uid) if uids else process.uid, outside(gids, TTY_GID) if gids else TTY_GID)
    if process.rows and process.columns:
        resize_terminal(master, process.rows, process.columns)


def send(path: str, master: int) -> None:
    """Hands the master to whoever listens on the socket. Raises OSError."""
    import socket  # here: only terminals need it

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", master))]
        connection.sendmsg([os.readlink(f"/proc/self/fd/{master}").encode() or b"/dev/ptmx"], rights)


def check(process: Process, console_socket: str, detached: bool) -> None:
    """Raises Refused, in runc's words."""
    if process.terminal and detached and not console_socket:
        raise Refused("cannot allocate tty if runc will detach without setting console socket".replace("runc", "festoon-oci"))
    if not process.terminal and console_socket:
        raise Refused("cannot use console socket if festoon-oci will not detach or allocate tty")
