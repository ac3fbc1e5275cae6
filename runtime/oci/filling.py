"""tmpcopyup: a tmpfs that begins with what the root file system has at its place. Owns it until it is handed over, detached.

Source: runc's docs ("tmpcopyup"), fsopen(2).
"""

from __future__ import annotations

import os
import struct

from runtime.child.mounts import FOLDER
from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call
from runtime.kernel.userns import outside
from runtime.oci.tree import shifted
from runtime.oci.values import Bundle, BundleMount


def fill(bundle: Bundle, mount: BundleMount) -> int:
    """The tmpfs's descriptor. Its place is resolved in the root, without magic links; one that is not there leaves it empty. Raises OSError."""
    created = _make(bundle, mount)
    try:
        root = os.open(bundle.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            how = struct.pack("=3Q", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, struct.unpack("=3Q", FOLDER)[2])
            source = call(Call.OPENAT2, root, os.fsencode(mount.destination), how, len(how))
        except FileNotFoundError:
            return created
        finally:
            os.close(root)
        try:
            _copy(source, created)
        finally:
            os.close(source)
    except OSError:
        os.close(created)
        raise
    return created


def _make(bundle: Bundle, mount: BundleMount) -> int:
    data = shifted(mount.options.data, bundle.uids, bundle.gids)
    names = {key for key, _ in data}
    if bundle.uids:  # its folder belongs to the container's root
        data += tuple((key, str(outside(maps, 0))) for key, maps in (("uid", bundle.uids), ("gid", bundle.gids)) if key not in names)
    context = call(Call.FSOPEN, b"tmpfs", k.FSOPEN_CLOEXEC)
    try:
        for key, value in data:
            call(Call.FSCONFIG, context, k.FSCONFIG_SET_STRING if value else k.FSCONFIG_SET_FLAG, key.encode(), value.encode() if value else 0, 0)
        call(Call.FSCONFIG, context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
        return call(Call.FSMOUNT, context, k.FSMOUNT_CLOEXEC, mount.options.set & ~k.MOUNT_ATTR_RDONLY)
    finally:
        os.close(context)


def _copy(source: int, target: int) -> None:
    from runtime.storage.pack import copy_tree  # here: it is seldom wanted, and takes long to load

    writable = os.open(f"/proc/self/fd/{target}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        copy_tree(source, writable)
    finally:
        os.close(writable)
