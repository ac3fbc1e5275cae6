"""The container's /dev: a tmpfs with the default nodes, links, pts, shm, mqueue; the host's nodes for privileged
ones. Pure: appends operations.

Source: the OCI runtime specification, "Default Devices"; Docker's default mounts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from runtime.child.host import Opened
from runtime.child.mounts import PLAIN_FOLDER, attach, attach_at, mount_new
from runtime.child.namespaces import NONE
from runtime.kernel import constants as k
from runtime.kernel.operations import Register, Script
from runtime.kernel.syscalls import Call

if TYPE_CHECKING:
    from runtime.spec import ContainerSpec

NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)  # fmt: skip
CORE = ("core", "/proc/kcore")
"""Where the kernel has that file."""

_PRIVATE = k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC
_TTY_GID = 5
_DEVPTS = (("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"))


class SharedMemory(NamedTuple):
    """`tree`: somebody else's /dev/shm, opened; else one of its own of `size_bytes`, or none at all when that is 0."""

    tree: Register | None
    size_bytes: int

    @property
    def there(self) -> bool:
        return self.tree is not None or self.size_bytes > 0


def open_shared_memory(script: Script, spec: ContainerSpec, opened: Opened) -> Register | None:
    """The /dev/shm that goes with a joined ipc namespace: the host's, or that of the process `opened.ipc`, out of its mount namespace and back.
    Before any namespace is left for good. No link in there is followed."""
    if spec.ipc_mode in ("", NONE):
        return None
    script.step = "shared memory"
    flags = k.OPEN_TREE_CLONE | k.O_CLOEXEC
    if opened.ipc < 0:
        return script.keep(Call.OPEN_TREE, k.AT_FDCWD, b"/dev/shm", flags)
    home = script.keep(Call.OPENAT, k.AT_FDCWD, b"/proc/self/ns/mnt", k.O_RDONLY | k.O_CLOEXEC)
    script.call(Call.SETNS, opened.ipc, k.CLONE_NEWNS)
    folder = script.keep(Call.OPENAT2, k.AT_FDCWD, b"/dev/shm", PLAIN_FOLDER, len(PLAIN_FOLDER))
    tree = script.keep(Call.OPEN_TREE, folder, b"", flags | k.AT_EMPTY_PATH)
    script.call(Call.CLOSE, folder)
    script.call(Call.SETNS, home, k.CLONE_NEWNS)
    script.call(Call.CLOSE, home)
    return tree


def make_dev(script: Script, root: Register, opened: Opened, memory: SharedMemory, first_id: int = 0, *, core: bool = False) -> Register:
    """Mounts /dev and everything in it; the register is its mount's descriptor, which stays open. `first_id`: the host's number of the container's
    user 0."""
    script.step = "mount of /dev"
    dev = mount_new(script, "tmpfs", k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_STRICTATIME, (("mode", "755"), ("size", "64m")))
    attach_at(script, dev, root, "dev")
    script.step = "nodes of /dev"
    script.call(Call.UMASK, 0)
    for name in ("pts", "shm", "mqueue") if memory.there else ("pts", "mqueue"):
        script.call(Call.MKDIRAT, dev, name.encode(), 0o755)
    given = {device.path for device in opened.devices}
    for name, major, minor in NODES:
        if name in given:  # the one that was asked for stands there
            continue
        script.call(Call.MKNODAT, dev, name.encode(), k.S_IFCHR | 0o666, device_number(major, minor))
    for name, target in (*LINKS, *((CORE,) if core else ())):
        script.call(Call.SYMLINKAT, target.encode(), dev, name.encode())
    _add_host_devices(script, dev, opened, first_id)
    script.call(Call.UMASK, 0o022)
    _mount_inside(script, dev, opened, memory, first_id)
    return dev


def _mount_inside(script: Script, dev: Register, opened: Opened, memory: SharedMemory, first_id: int) -> None:
    script.step = "mount of /dev/pts"
    if opened.devpts >= 0:
        attach_at(script, opened.devpts, dev, "pts")
    else:
        pts = mount_new(script, "devpts", k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NOEXEC, (*_DEVPTS, ("gid", str(first_id + _TTY_GID))))
        attach_at(script, pts, dev, "pts")
        script.call(Call.CLOSE, pts)
    script.step = "mount of /dev/shm"
    if memory.there:
        shm = memory.tree or mount_new(script, "tmpfs", _PRIVATE, (("mode", "1777"), ("size", str(memory.size_bytes))), "shm")
        attach_at(script, shm, dev, "shm")
        script.call(Call.CLOSE, shm)
    script.step = "mount of /dev/mqueue"
    mqueue = mount_new(script, "mqueue", _PRIVATE)
    attach_at(script, mqueue, dev, "mqueue")
    script.call(Call.CLOSE, mqueue)
    if opened.terminal >= 0:
        script.step = "/dev/console"
        console = script.keep(Call.OPENAT, dev, b"console", k.O_CREAT | k.O_RDONLY | k.O_CLOEXEC, 0o600)
        flags = k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.O_CLOEXEC
        terminal = script.keep(Call.OPEN_TREE, opened.terminal, b"", flags)
        attach(script, terminal, console)
        script.call(Call.CLOSE, terminal)
        script.call(Call.CLOSE, console)


def _add_host_devices(script: Script, dev: Register, opened: Opened, first_id: int) -> None:
    made: set[str] = set()
    for device in opened.devices:
        folder = device.path.rpartition("/")[0]
        parts = folder.split("/") if folder else []
        for count in range(1, len(parts) + 1):
            name = "/".join(parts[:count])
            if name not in made:
                made.add(name)
                script.call(Call.MKDIRAT, dev, name.encode(), 0o755, tolerate=(k.EEXIST,))
        number = device_number(device.major, device.minor)
        script.call(Call.MKNODAT, dev, device.path.encode(), device.mode, number, tolerate=(k.EEXIST,))
        if device.uid or device.gid:
            script.call(Call.FCHOWNAT, dev, device.path.encode(), first_id + device.uid, first_id + device.gid, k.AT_SYMLINK_NOFOLLOW)


def device_number(major: int, minor: int) -> int:
    """As the kernel's new_encode_dev."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
