"""A bundle's file system tree: root, mounts in their listed order, devices, masks, sysctls. Pure: appends operations.

Binds are cloned while the host's paths are visible; then the process is in a chroot of the new root, so that no link of the image leads to the host
when folders are made, and every mount goes from descriptor to descriptor. Last the chroot is left again.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from runtime.child import devices, masks
from runtime.child.execution import make_folders
from runtime.child.mounts import FOLDER, PLAIN_FOLDER, attach, attach_at, mount_new
from runtime.kernel import constants as k
from runtime.kernel.operations import Register, Script
from runtime.kernel.syscalls import Call
from runtime.kernel.userns import Mappings, outside
from runtime.oci.options import ATTR_ATIME, PROPAGATIONS
from runtime.oci.values import Bundle, BundleDevice, BundleMount

if TYPE_CHECKING:
    from runtime.oci.compile import Opened

AT_SYMLINK_NOFOLLOW = 0x100
UNCHANGED = 2**32 - 1
_FILE = struct.pack("=3Q", k.O_RDONLY | k.O_CREAT | k.O_NONBLOCK | k.O_NOCTTY | k.O_CLOEXEC, 0o755, k.IN_ROOT)
_ANYTHING = struct.pack("=3Q", k.O_PATH | k.O_CLOEXEC, 0, k.IN_ROOT)
_SYSCTL_FILE = struct.pack("=3Q", k.O_WRONLY | k.O_CLOEXEC, 0, k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS | k.RESOLVE_NO_MAGICLINKS)
_TREE = k.OPEN_TREE_CLONE | k.O_CLOEXEC | k.AT_RECURSIVE
_WHOLE = k.AT_EMPTY_PATH | k.AT_RECURSIVE
_CGROUP_PRIVATE = k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC


class Place(NamedTuple):
    """`root`: the new root's mount, open."""

    root: Register


def build(script: Script, bundle: Bundle, opened: Opened) -> Place:
    """Everything that is mounted. Afterwards the process sees the host's files again, the tree is attached at the bundle's root path."""
    shifting = dict(opened.shifting)
    binds = {index: _clone(script, mount, shifting.get(index, -1)) for index, mount in enumerate(bundle.mounts) if mount.kind == "bind"}
    views = _clone_views(script, bundle, opened)
    script.step = "root file system"
    null = script.keep(Call.OPENAT, k.AT_FDCWD, b"/dev/null", k.O_PATH | k.O_CLOEXEC)
    host = script.keep(Call.OPENAT, k.AT_FDCWD, b"/", k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC)
    root = _attach_root(script, bundle)
    script.call(Call.FCHDIR, root)
    script.call(Call.CHROOT, b".")
    bases = _mount_all(script, bundle, opened, binds, views, root)
    if not any(mount.kind == "bind" and mount.destination == "/dev" for mount in bundle.mounts):
        _make_devices(script, bundle.devices, root, opened)
    if opened.terminal >= 0:
        _attach_console(script, opened.terminal, root)
    _set_sysctls(script, bundle, bases)
    _hide(script, bundle, opened, bases, null, root)
    script.step = "root file system"
    script.call(Call.FCHDIR, host)
    script.call(Call.CHROOT, b".")
    return Place(root)


def _attributes(attributes: int, cleared: int, propagation: int) -> bytes:
    """struct mount_attr. Clearing the access time's field is one unit for the kernel."""
    return struct.pack("=4Q", attributes, cleared | (ATTR_ATIME if attributes & ATTR_ATIME else 0), propagation, 0)


def _set(script: Script, mount: Register, how: int, attributes: bytes) -> None:
    script.call(Call.MOUNT_SETATTR, mount, b"", how, attributes, k.MOUNT_ATTR_SIZE_BYTES)


def _clone(script: Script, mount: BundleMount, user: int) -> Register:
    """The source's tree, with its attributes; a shared one stays a peer of the host's, that is what its user asked for."""
    options = mount.options
    script.step = f"bind of {mount.source} on {mount.destination}"
    tree = script.keep(Call.OPEN_TREE, k.AT_FDCWD, mount.source.encode(), _TREE if options.recursive else _TREE & ~k.AT_RECURSIVE)
    if user >= 0:
        script.call(Call.MOUNT_SETATTR, tree, b"", k.AT_EMPTY_PATH, struct.pack("=4Q", k.MOUNT_ATTR_IDMAP, 0, 0, user), k.MOUNT_ATTR_SIZE_BYTES)
    if options.tree_set or options.tree_clear:
        _set(script, tree, _WHOLE, _attributes(options.tree_set, options.tree_clear, 0))
    if options.set or options.clear:
        _set(script, tree, k.AT_EMPTY_PATH, _attributes(options.set, options.clear, 0))
    how = k.AT_EMPTY_PATH | (k.AT_RECURSIVE if options.propagate_tree or not options.propagation else 0)
    _set(script, tree, how, _attributes(0, 0, options.propagation or k.MS_SLAVE))
    return tree


def _clone_views(script: Script, bundle: Bundle, opened: Opened) -> list[Register]:
    """The container's own groups, with the attributes of the bundle's cgroup mount."""
    mount = next((mount for mount in bundle.mounts if mount.kind in ("cgroup", "cgroup2")), None)
    if mount is None:
        return []
    script.step = "view of the cgroups"
    trees: list[Register] = []
    for view in opened.views:
        tree = script.keep(Call.OPEN_TREE, k.AT_FDCWD, view.path.encode(), k.OPEN_TREE_CLONE | k.O_CLOEXEC)
        _set(script, tree, k.AT_EMPTY_PATH, _attributes(mount.options.set | _CGROUP_PRIVATE, mount.options.clear & ~_CGROUP_PRIVATE, k.MS_PRIVATE))
        trees.append(tree)
    return trees


def _attach_root(script: Script, bundle: Bundle) -> Register:
    """A clone of the root's tree over itself; nothing that is mounted here comes back to the host."""
    script.step = "root file system"
    propagation = PROPAGATIONS.get(bundle.root_propagation, (k.MS_SLAVE, True))[0]
    script.call(Call.MOUNT, 0, b"/", 0, (k.MS_PRIVATE if propagation == k.MS_PRIVATE else k.MS_SLAVE) | k.MS_REC, 0)
    tree = script.keep(Call.OPEN_TREE, k.AT_FDCWD, bundle.root.encode(), _TREE)
    _set(script, tree, k.AT_EMPTY_PATH, _attributes(0, 0, k.MS_PRIVATE))
    script.call(Call.MOVE_MOUNT, tree, b"", k.AT_FDCWD, bundle.root.encode(), k.MOVE_MOUNT_F_EMPTY_PATH)
    return tree


def _mount_all(
    script: Script, bundle: Bundle, opened: Opened, binds: dict[int, Register], views: list[Register], root: Register
) -> dict[str, Register]:
    """In the listed order. Returns the mounts of /proc and /sys by name. What is read-only becomes it when all the targets were made."""
    bases: dict[str, Register] = {}
    late: list[tuple[str, Register]] = []
    for index, mount in enumerate(bundle.mounts):
        script.step = f"mount of {mount.kind} on {mount.destination}"
        if mount.kind == "bind":
            _attach_bind(script, mount, binds[index], root, mount.source in opened.folders)
            continue
        make_folders(script, mount.destination)
        if mount.kind in ("cgroup", "cgroup2"):
            _attach_views(script, mount, opened, views, root)
            continue
        if mount.kind == "devpts" and mount.destination == "/dev/pts" and opened.devpts >= 0:
            attach_at(script, opened.devpts, root, "dev/pts")
            continue
        options = mount.options
        filled = dict(opened.filled).get(index)
        if filled is not None:
            created = script.keep(Call.OPEN_TREE, filled, b"", k.AT_EMPTY_PATH | k.O_CLOEXEC)
        else:
            created = mount_new(script, mount.kind, options.set & ~k.MOUNT_ATTR_RDONLY, shifted(_data(mount), opened.uids, opened.gids))
        plain = mount.kind in ("proc", "sysfs")
        attach_at(script, created, root, mount.destination.lstrip("/") or ".", PLAIN_FOLDER if plain else FOLDER)
        if options.propagation and options.propagation != k.MS_PRIVATE:
            _set(script, created, k.AT_EMPTY_PATH, _attributes(0, 0, options.propagation))
        if options.set & k.MOUNT_ATTR_RDONLY:
            late.append((script.step, created))
        if (mount.kind, mount.destination) in (("proc", "/proc"), ("sysfs", "/sys")):
            bases[mount.destination[1:]] = created
    for step, created in late:
        script.step = step
        _set(script, created, k.AT_EMPTY_PATH, _attributes(k.MOUNT_ATTR_RDONLY, 0, 0))
    return bases


def shifted(data: tuple[tuple[str, str], ...], uids: Mappings, gids: Mappings) -> tuple[tuple[str, str], ...]:
    """With owners, who are meant as the container sees them, as they are outside."""
    maps = {"uid": uids, "gid": gids}
    return tuple((key, str(outside(maps[key], int(value))) if maps.get(key) and value.isdigit() else value) for key, value in data)


def _data(mount: BundleMount) -> tuple[tuple[str, str], ...]:
    """A block device's or network file system's source is its data too."""
    data = tuple(pair for pair in mount.options.data if pair[0] != "source")
    return data if mount.source in ("", mount.kind) or not mount.source.startswith("/") else (("source", mount.source), *data)


def _attach_bind(script: Script, mount: BundleMount, tree: Register, root: Register, folder: bool) -> None:
    make_folders(script, mount.destination if folder else mount.destination.rpartition("/")[0])
    attach_at(script, tree, root, mount.destination.lstrip("/") or ".", FOLDER if folder else _FILE)
    script.call(Call.CLOSE, tree)


def _attach_views(script: Script, mount: BundleMount, opened: Opened, views: list[Register], root: Register) -> None:
    """cgroup v2: the group itself. v1: a folder for each hierarchy."""
    place = mount.destination.lstrip("/")
    if len(views) == 1 and not opened.views[0].name:
        attach_at(script, views[0], root, place)
        return
    folder = mount_new(script, "tmpfs", _CGROUP_PRIVATE, (("mode", "755"), ("size", "64k")))
    attach_at(script, folder, root, place)
    for view, tree in zip(opened.views, views, strict=True):
        script.call(Call.MKDIRAT, folder, view.name.encode(), 0o755)
        attach_at(script, tree, folder, view.name, FOLDER)
    _set(script, folder, k.AT_EMPTY_PATH, _attributes(k.MOUNT_ATTR_RDONLY, 0, 0))
    script.call(Call.CLOSE, folder)


def _make_devices(script: Script, extra: tuple[BundleDevice, ...], root: Register, opened: Opened) -> None:
    """The specification's default devices and links, then the bundle's own."""
    script.step = "devices"
    script.call(Call.UMASK, 0)
    script.call(Call.MKDIRAT, k.AT_FDCWD, b"/dev", 0o755, tolerate=(k.EEXIST,))
    dev = script.keep(Call.OPENAT2, root, b"dev", FOLDER, len(FOLDER))
    for name, major, minor in devices.NODES:
        number = devices.device_number(major, minor)
        script.call(Call.MKNODAT, dev, name.encode(), k.S_IFCHR | 0o666, number, tolerate=(k.EEXIST,))
    for name, target in devices.LINKS:
        script.call(Call.SYMLINKAT, target.encode(), dev, name.encode(), tolerate=(k.EEXIST,))
    for device in extra:
        script.step = f"device {device.path}"
        folder, _, name = device.path.rpartition("/")
        make_folders(script, folder)
        parent = script.keep(Call.OPENAT2, root, folder.lstrip("/").encode() or b".", FOLDER, len(FOLDER))
        number = devices.device_number(device.major, device.minor)
        script.call(Call.MKNODAT, parent, name.encode(), device.mode, number, tolerate=(k.EEXIST,))
        owner = outside(opened.uids, device.uid) if opened.uids else device.uid
        group = outside(opened.gids, device.gid) if opened.gids else device.gid
        script.call(Call.FCHOWNAT, parent, name.encode(), owner & UNCHANGED, group & UNCHANGED, AT_SYMLINK_NOFOLLOW)
        script.call(Call.CLOSE, parent)
    script.call(Call.UMASK, 0o022)


def _attach_console(script: Script, terminal: int, root: Register) -> None:
    script.step = "/dev/console"
    console = script.keep(Call.OPENAT2, root, b"dev/console", _FILE, len(_FILE))
    clone = script.keep(Call.OPEN_TREE, terminal, b"", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.O_CLOEXEC)
    attach(script, clone, console)
    script.call(Call.CLOSE, clone)
    script.call(Call.CLOSE, console)


def _set_sysctls(script: Script, bundle: Bundle, bases: dict[str, Register]) -> None:
    """Through a procfs of the container's own (CVE-2025-52881); one is made for it where the bundle mounts none."""
    if not bundle.sysctls:
        return
    script.step = "sysctl"
    proc = bases["proc"] if "proc" in bases else mount_new(script, "proc", 0)
    for name, value in bundle.sysctls:
        script.step = f"sysctl {name}={value}"
        path = name if "/" in name else name.replace(".", "/")
        file = script.keep(Call.OPENAT2, proc, f"sys/{path}".encode(), _SYSCTL_FILE, len(_SYSCTL_FILE))
        data = value.encode()
        script.call(Call.WRITE, file, data, len(data), expect=len(data))
        script.call(Call.CLOSE, file)


def _hide(script: Script, bundle: Bundle, opened: Opened, bases: dict[str, Register], null: Register, root: Register) -> None:
    """Masked and read-only paths. Those of proc and sysfs are resolved on the fresh mounts themselves (CVE-2025-31133)."""
    fresh = tuple(path for path in bundle.masked if path.split("/")[1] in bases)
    masks.mask(script, bases, null, tuple((path[1:], path in opened.hidden_folders) for path in fresh))
    for path in bundle.masked:
        if path not in fresh:
            _cover(script, path, path in opened.hidden_folders, null, root)
    for path in bundle.read_only_paths:
        script.step = f"read-only {path}"
        first, _, rest = path[1:].partition("/")
        base, inner, how = (bases[first], rest, masks.RESOLVE) if first in bases and rest else (root, path[1:], _ANYTHING)
        target = script.keep(Call.OPENAT2, base, inner.encode() or b".", how, len(how), tolerate=(k.ENOENT, k.EACCES), skip=5)
        mount = script.keep(Call.OPEN_TREE, target, b"", k.OPEN_TREE_CLONE | _WHOLE | k.O_CLOEXEC)
        _set(script, mount, _WHOLE, _attributes(k.MOUNT_ATTR_RDONLY, 0, 0))
        attach(script, mount, target)
        script.call(Call.CLOSE, mount)
        script.call(Call.CLOSE, target)


def _cover(script: Script, path: str, folder: bool, null: Register, root: Register) -> None:
    """A masked path elsewhere in the tree; one that does not exist is left out."""
    script.step = f"mask {path}"
    target = script.keep(Call.OPENAT2, root, path[1:].encode(), _ANYTHING, len(_ANYTHING), tolerate=(k.ENOENT,))
    before = len(script.operations)
    if folder:
        cover = mount_new(script, "tmpfs", k.MOUNT_ATTR_RDONLY | _CGROUP_PRIVATE, (("size", "0"),))
    else:
        cover = script.keep(Call.OPEN_TREE, null, b"", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.O_CLOEXEC)
    attach(script, cover, target)
    script.call(Call.CLOSE, cover)
    script.call(Call.CLOSE, target)
    script.operations[before - 1] = script.operations[before - 1]._replace(skip=len(script.operations) - before)
