"""A bundle as an ordered list of kernel operations, built of the same pieces as the node's own containers (runtime/child). Pure.

What differs from those is what the specification hands to the caller: each mount is listed, each namespace is chosen, and the list has three pauses,
where the parent or the child itself runs hooks. The tree is built in a chroot of the new root, before pivot_root, so that createContainer hooks
find the mounts there and still see the host's files. Source: the OCI runtime specification, runtime.md ("Lifecycle").
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from runtime.child import execution, identity, namespaces, rootfs
from runtime.child.capabilities import mask_of
from runtime.child.host import CgroupView
from runtime.kernel import constants as k
from runtime.kernel.operations import Filter, Operation, Register, Script
from runtime.kernel.syscalls import Call
from runtime.kernel.userns import Mappings, outside
from runtime.oci import tree
from runtime.oci.options import PROPAGATIONS
from runtime.oci.values import Bundle, CapabilitySets, Process

FLAGS = {
    "pid": k.CLONE_NEWPID, "network": k.CLONE_NEWNET, "mount": k.CLONE_NEWNS, "ipc": k.CLONE_NEWIPC, "uts": k.CLONE_NEWUTS, "cgroup": k.CLONE_NEWCGROUP,
    "user": k.CLONE_NEWUSER,
}  # fmt: skip
OWNED = ("network", "ipc", "uts")
"""Those that are made in the user namespace, where there is one, and arrive as descriptors."""
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT_RAISE = 2
MS_MOVE = 0x2000
DEFAULT_UMASK = 0o022
FIRST_DESCRIPTOR = 3


class Seccomp(NamedTuple):
    """A compiled filter: struct sock_filter array and the flags of seccomp(2)."""

    program: bytes
    flags: int


class Opened(NamedTuple):
    """What the parent opened or found out before the fork; -1 and empty where there is none."""

    last_capability: int
    held: int = (1 << 64) - 1  # capabilities that the command itself has: no other can be given, and the specification wants no failure for them
    cgroups: tuple[int, ...] = ()  # cgroup.procs files
    joined: tuple[tuple[str, int], ...] = ()  # namespaces to join by kind; pid's is entered by the parent
    terminal: int = -1
    devpts: int = -1  # detached devpts that the terminal belongs to
    views: tuple[CgroupView, ...] = ()
    folders: frozenset[str] = frozenset()  # those bind sources that are folders
    hidden_folders: frozenset[str] = frozenset()  # those masked paths that are folders
    preserved: int = 0  # descriptors after standard error that the program keeps
    new_keyring: bool = True
    pivot: bool = True
    seccomp: Seccomp | None = None
    apparmor: str = ""  # profile to change to at the exec
    uids: Mappings = ()  # of the user namespace
    gids: Mappings = ()
    filled: tuple[tuple[int, int], ...] = ()  # tmpfs that have been filled, by the number of their mount
    shifting: tuple[tuple[int, int], ...] = ()  # user namespaces that shift the owners of a bind, by the number of its mount

    @property
    def user(self) -> int:
        """The user namespace to end up in; -1 without."""
        return dict(self.joined).get("user", -1)


class Staged(NamedTuple):
    """The list and its pauses: after `separated` prestart and createRuntime hooks run, after `built` createContainer's, and at `ready` the child waits
    for `start`."""

    operations: tuple[Operation, ...]
    separated: int
    built: int
    ready: int


def compile_bundle(bundle: Bundle, opened: Opened) -> Staged:
    """The list of a container's first process. Raises Refused."""
    script = Script()
    process = bundle.process
    namespaces.guard(script)
    namespaces.enter_cgroups(script, opened.cgroups)
    _adjust_oom_score(script, process.oom_score_adj)
    _separate(script, bundle, opened)
    _new_session(script, opened.new_keyring)
    profile = _open_profile(script, opened.apparmor)
    if opened.user >= 0:
        _limit_resources(script, process)  # in there nobody has the right to raise them
    separated = len(script.operations)
    if opened.user >= 0:
        identity.make_files_as(script, outside(opened.uids, 0), outside(opened.gids, 0))
    place = tree.build(script, bundle, opened)
    if bundle.hostname:
        namespaces.set_hostname(script, bundle.hostname)
    if bundle.domainname:
        script.step = "domain name"
        script.call(Call.SETDOMAINNAME, bundle.domainname.encode(), len(bundle.domainname.encode()))
    built = len(script.operations)
    _enter_root(script, bundle, opened, place)
    _connect(script, opened.terminal)
    if opened.user >= 0:
        _enter_user(script, bundle, opened.user)
    if opened.user < 0:
        _limit_resources(script, process)
    ready = _become(script, process, opened)
    _leave(script, process, opened, profile)
    return Staged(tuple(script.operations), separated, built, ready)


def compile_joining(process: Process, opened: Opened, init: int, flags: int) -> Staged:
    """The list of a process that joins a running container through `init`, the pidfd of its first process. Raises Refused."""
    script = Script()
    namespaces.guard(script)
    namespaces.enter_cgroups(script, opened.cgroups)
    _adjust_oom_score(script, process.oom_score_adj)
    profile = _open_profile(script, opened.apparmor)
    if flags & k.CLONE_NEWUSER:
        _limit_resources(script, process)
    script.step = "join of the container's namespaces"
    script.call(Call.SETNS, init, flags)
    _new_session(script, opened.new_keyring)
    _connect(script, opened.terminal)
    if not flags & k.CLONE_NEWUSER:
        _limit_resources(script, process)
    ready = _become(script, process, opened)
    _leave(script, process, opened, profile)
    return Staged(tuple(script.operations), 0, 0, ready)


def _adjust_oom_score(script: Script, adjustment: int | None) -> None:
    if adjustment is None:
        return
    script.step = f"oom_score_adj {adjustment}"
    text = b"%d" % adjustment
    file = script.keep(Call.OPENAT, k.AT_FDCWD, b"/proc/self/oom_score_adj", k.O_WRONLY | k.O_CLOEXEC)
    script.call(Call.WRITE, file, text, len(text), expect=len(text))
    script.call(Call.CLOSE, file)


def _separate(script: Script, bundle: Bundle, opened: Opened) -> None:
    """Joins those that exist, makes the others; the cgroup namespace after the groups were entered, the mount namespace last of the joins."""
    ordered = sorted(opened.joined, key=lambda entry: entry[0] == "mount")
    for kind, descriptor in ordered:
        if kind not in ("pid", "user"):
            script.step = f"join of the {kind} namespace"
            script.call(Call.SETNS, descriptor, FLAGS[kind])
    script.step = "namespaces"
    fresh = [namespace.kind for namespace in bundle.namespaces if not namespace.path and namespace.kind != "pid"]
    if opened.user >= 0:
        if "network" in fresh:
            namespaces.raise_loopback(script)
        fresh = ["mount"] if "mount" in fresh else []
    if fresh:
        script.call(Call.UNSHARE, sum(FLAGS[kind] for kind in fresh))
    if "network" in fresh:
        namespaces.raise_loopback(script)


def _enter_user(script: Script, bundle: Bundle, user: int) -> None:
    fresh = {namespace.kind for namespace in bundle.namespaces if not namespace.path}
    if "mount" in fresh:
        namespaces.enter_user(script, user, k.CLONE_NEWCGROUP if "cgroup" in fresh else 0)
    else:
        script.step = "user namespace"
        script.call(Call.SETNS, user, k.CLONE_NEWUSER)


def _new_session(script: Script, keyring: bool) -> None:
    if keyring:
        namespaces.new_session(script)
        return
    script.step = "session"
    script.call(Call.SETSID)


def _open_profile(script: Script, profile: str) -> Register | None:
    """The file that takes the AppArmor profile, opened while the host's /proc is visible."""
    if not profile:
        return None
    script.step = f"AppArmor profile {profile}"
    return script.keep(Call.OPENAT, k.AT_FDCWD, b"/proc/self/attr/exec", k.O_WRONLY | k.O_CLOEXEC)


def _enter_root(script: Script, bundle: Bundle, opened: Opened, place: tree.Place) -> None:
    """The tree becomes the root, the host's is let go."""
    script.step = "root file system"
    script.call(Call.FCHDIR, place.root)
    if opened.pivot:
        script.call(Call.PIVOT_ROOT, b".", b".")
        script.call(Call.UMOUNT2, b".", k.MNT_DETACH)
    else:
        script.call(Call.MOUNT, b".", b"/", 0, MS_MOVE, 0)
        script.call(Call.CHROOT, b".")
    script.call(Call.CHDIR, b"/")
    script.step = execution.CWD_STEP
    execution.make_folders(script, bundle.process.cwd)
    if bundle.read_only:
        rootfs.make_root_read_only(script)
    propagation, recursive = PROPAGATIONS.get(bundle.root_propagation, (0, False))
    if propagation not in (0, k.MS_PRIVATE, k.MS_SLAVE):
        script.step = f"root propagation {bundle.root_propagation}"
        script.call(Call.MOUNT, 0, b"/", 0, propagation | (k.MS_REC if recursive and propagation == k.MS_SHARED else 0), 0)


def _connect(script: Script, terminal: int) -> None:
    """Standard streams are the caller's own, unless there is a terminal."""
    if terminal < 0:
        return
    script.step = "standard streams"
    script.call(Call.IOCTL, terminal, k.TIOCSCTTY, 0)
    for number in range(FIRST_DESCRIPTOR):
        script.call(Call.DUP3, terminal, number, 0)


def _become(script: Script, process: Process, opened: Opened) -> int:
    """User and capabilities. The pause comes right after; only a filter that no_new_privileges allows is loaded later."""
    execution.go_to(script, process.cwd, create=False)
    if opened.seccomp is not None and not process.no_new_privileges:
        _load_seccomp(script, opened.seccomp)
    _become_user(script, process, process.capabilities, opened)
    if process.no_new_privileges:
        identity.allow_no_new_privileges(script)
    return len(script.operations)


def _limit_resources(script: Script, process: Process) -> None:
    for limit in process.rlimits:
        script.step = f"{limit.name}={limit.soft}:{limit.hard}"
        pair = struct.pack("=2Q", limit.soft & (2**64 - 1), limit.hard & (2**64 - 1))
        script.call(Call.PRLIMIT64, 0, identity.RLIMITS[limit.name.lower().removeprefix("rlimit_")], pair, 0)


def _become_user(script: Script, process: Process, sets: CapabilitySets, opened: Opened) -> None:
    last = opened.last_capability
    identity.drop_bounding_set(script, mask_of(sets.bounding, last) & opened.held, last)
    script.step = "user"
    script.call(Call.UMASK, DEFAULT_UMASK if process.umask is None else process.umask)
    script.call(Call.PRCTL, PR_SET_KEEPCAPS, 1)
    script.call(Call.SETGROUPS, len(process.groups), struct.pack(f"={len(process.groups)}I", *process.groups))
    script.call(Call.SETRESGID, process.gid, process.gid, process.gid)
    script.call(Call.SETRESUID, process.uid, process.uid, process.uid)
    script.call(Call.PRCTL, PR_SET_KEEPCAPS, 0)
    script.step = "capabilities"
    effective, permitted, inheritable, ambient = (
        mask_of(names, last) & opened.held for names in (sets.effective, sets.permitted, sets.inheritable, sets.ambient)
    )
    halves = [mask >> shift & 0xFFFF_FFFF for shift in (0, 32) for mask in (effective, permitted, inheritable)]
    header = struct.pack("=Ii", k.LINUX_CAPABILITY_VERSION_3, 0)
    script.call(Call.PRCTL, k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL)
    script.call(Call.CAPSET, header, struct.pack("=6I", *halves))
    for number in range(last + 1):
        if ambient >> number & 1:  # one that is not both permitted and inheritable is left out, as runc does
            script.call(Call.PRCTL, k.PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, tolerate=(k.EPERM,))


def _load_seccomp(script: Script, seccomp: Seccomp) -> None:
    script.step = "seccomp"
    script.call(Call.SECCOMP, k.SECCOMP_SET_MODE_FILTER, seccomp.flags, Filter(seccomp.program))


def _leave(script: Script, process: Process, opened: Opened, profile: Register | None) -> None:
    if profile is not None:
        script.step = f"AppArmor profile {opened.apparmor}"
        text = f"exec {opened.apparmor}".encode()
        script.call(Call.WRITE, profile, text, len(text), expect=len(text))
    identity.reset_signals(script)
    script.step = "descriptors"
    script.call(Call.CLOSE_RANGE, FIRST_DESCRIPTOR + opened.preserved, 0xFFFF_FFFF, k.CLOSE_RANGE_CLOEXEC)
    if opened.seccomp is not None and process.no_new_privileges:
        _load_seccomp(script, opened.seccomp)
    execution.execute(script, process.argv, process.env)
