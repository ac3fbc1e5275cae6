"""A container, or a process that joins one, as an ordered list of kernel operations. Pure: the same values give the
same list.

The order is the design (design/runtime-facts: "Start path", "Hardening list"); each step's own file says what it is
for.
"""

from __future__ import annotations

from typing import NamedTuple

from runtime.child import devices, execution, identity, masks, mounts, namespaces, rootfs
from runtime.child.host import Host, Joined, Opened
from runtime.kernel import constants as k
from runtime.kernel.operations import Filter, Operation, Register, Script
from runtime.kernel.syscalls import Call
from runtime.spec import ContainerSpec, ExecSpec, Mount

INIT = ("/sbin/docker-init", "--")
"""What Docker's --init calls itself, before the program's own arguments."""

TITLE_MAX_BYTES = 1024


class Compiled(NamedTuple):
    """`fork_at`: with spec.init the process forks before this operation; the parent stays as the reaping pid 1. -1:
    never. `title`: that parent's command line, as lists of processes show it."""

    operations: tuple[Operation, ...]
    fork_at: int = -1
    title: bytes = b""


def compile_container(spec: ContainerSpec, host: Host, opened: Opened) -> Compiled:
    """The list of a container's first process. Raises Refused for what the user asked wrongly."""
    script = Script()
    namespaces.guard(script)
    namespaces.enter_cgroups(script, opened.cgroups)
    shm = devices.open_shared_memory(script, spec, opened)
    namespaces.separate(script, spec, opened)
    sources = _open_sources(script, spec, opened)
    namespaces.new_session(script)
    _adjust_oom_score(script, spec.oom_score_adj)
    if spec.ids is not None:
        identity.make_files_as(script, spec.ids.base, spec.ids.base)
    _build_tree(script, spec, host, opened, shm, sources)
    if namespaces.owns_uts(spec):
        namespaces.set_hostname(script, spec.hostname or spec.id[:12])
    _connect(script, opened)
    execution.go_to(script, spec.cwd, create=True)
    if spec.rootfs.read_only:
        rootfs.make_root_read_only(script)
    identity.limit_resources(script, spec.rlimits)  # after what opens files: a low limit is the program's, not ours
    if opened.user >= 0:
        namespaces.enter_user(script, opened.user, namespaces.new_namespaces(spec) & k.CLONE_NEWCGROUP)
    _wait_at_gate(script, opened.gate)
    capabilities = identity.capabilities_of(spec.capabilities, spec.privileged, host)
    if not spec.no_new_privileges:
        load_seccomp(script, opened.filter)
    identity.drop_bounding_set(script, capabilities, host.last_capability)
    identity.become(script, spec.user, capabilities)
    if spec.no_new_privileges:
        identity.allow_no_new_privileges(script)
        load_seccomp(script, opened.filter)
    fork_at, title = (len(script.operations), _title(spec.argv)) if spec.init else (-1, b"")
    _leave_to(script, spec.argv, spec.env)
    return Compiled(tuple(script.operations), fork_at, title)


def compile_exec(exec_spec: ExecSpec, spec: ContainerSpec, host: Host, joined: Joined) -> Compiled:
    """The list of a process that joins `spec`'s running container. Raises Refused."""
    script = Script()
    namespaces.guard(script)
    namespaces.enter_cgroups(script, joined.cgroups)
    confined = spec.ids is not None
    if confined:
        identity.limit_resources(script, spec.rlimits)  # a user namespace has no right to raise them
    namespaces.join(script, spec, joined)
    namespaces.new_session(script)
    script.step = "umask"
    script.call(Call.UMASK, 0o022)
    _connect(script, joined)
    execution.go_to(script, exec_spec.cwd, create=False)
    if not confined:
        identity.limit_resources(script, spec.rlimits)
    _wait_at_gate(script, joined.gate)
    privileged = exec_spec.privileged or spec.privileged
    capabilities = identity.capabilities_of(spec.capabilities, privileged, host)
    if not spec.no_new_privileges:
        load_seccomp(script, joined.filter)
    identity.drop_bounding_set(script, capabilities, host.last_capability)
    identity.become(script, exec_spec.user, capabilities)
    if spec.no_new_privileges:
        identity.allow_no_new_privileges(script)
        load_seccomp(script, joined.filter)
    _leave_to(script, exec_spec.argv, exec_spec.env)
    return Compiled(tuple(script.operations))


def load_seccomp(script: Script, code: bytes) -> None:
    """The system call filter, empty for none. Last with no_new_privileges; without it before the capabilities go, as
    loading needs SYS_ADMIN then."""
    if code:
        script.step = "seccomp"
        script.call(Call.SECCOMP, k.SECCOMP_SET_MODE_FILTER, 0, Filter(code))


def _open_sources(script: Script, spec: ContainerSpec, opened: Opened) -> dict[Mount, Register]:
    """The trees of the binds, cloned while the host's are visible: the shared ones as peers of the host's, the others when those are so no more."""
    for mount in spec.mounts:
        mounts.check_target(mount)
    binds = [mount for mount in spec.mounts if mount.kind == "bind"]
    sources = {mount: _open_source(script, mount, opened) for mount in binds if mounts.is_shared(mount)}
    namespaces.hide_mounts(script)
    return sources | {mount: _open_source(script, mount, opened) for mount in binds if mount not in sources}


def _open_source(script: Script, mount: Mount, opened: Opened) -> Register:
    return mounts.open_bind(script, mount, opened.user if mount.shifted else -1)


def _build_tree(
    script: Script, spec: ContainerSpec, host: Host, opened: Opened, shm: Register | None, sources: dict[Mount, Register]
) -> None:
    """Everything that is mounted: the root, then what stands in it."""
    ordered = mounts.depth_first_order(spec.mounts)
    views = rootfs.open_views(script, opened.views, spec.privileged)
    root = rootfs.pivot(script, opened)
    proc = rootfs.mount_proc(script, root)
    memory = devices.SharedMemory(shm, 0 if spec.ipc_mode == namespaces.NONE else spec.shm_size_bytes)
    dev = devices.make_dev(script, root, opened, memory, spec.outside(0), core=any(path == "proc/kcore" for path, _ in host.masked))
    sysfs = rootfs.mount_sys(script, root, views, spec.privileged)
    namespaces.set_sysctls(script, spec, proc)
    for mount in ordered:
        if mount.kind == "bind":
            mounts.attach_bind(script, mount, sources[mount], root, mount.source in opened.folders)
        else:
            mounts.mount_tmpfs(script, mount, root, spec.outside(0))
    if not spec.privileged and not spec.paths_open:
        bases = {"proc": proc, "sys": sysfs}
        script.step = "masks"
        null = script.keep(Call.OPENAT, dev, b"null", k.O_PATH | k.O_CLOEXEC)
        masks.mask(script, bases, null, host.masked)
        masks.make_read_only(script, bases, host.read_only)


def _adjust_oom_score(script: Script, adjustment: int) -> None:
    if not adjustment:
        return
    script.step = f"oom_score_adj {adjustment}"
    text = b"%d" % adjustment
    file = script.keep(Call.OPENAT, k.AT_FDCWD, b"/proc/self/oom_score_adj", k.O_WRONLY | k.O_CLOEXEC)
    script.call(Call.WRITE, file, text, len(text), expect=len(text))
    script.call(Call.CLOSE, file)


def _connect(script: Script, opened: Opened | Joined) -> None:
    """Standard input, output and error; a terminal becomes the session's own."""
    script.step = "standard streams"
    if opened.terminal >= 0:
        script.call(Call.IOCTL, opened.terminal, k.TIOCSCTTY, 0)
        for number in range(3):
            script.call(Call.DUP3, opened.terminal, number, 0)
        return
    stdin: int | Register = opened.stdin
    if opened.stdin < 0:
        stdin = script.keep(Call.OPENAT, k.AT_FDCWD, b"/dev/null", k.O_RDWR | k.O_CLOEXEC)
    for number, descriptor in enumerate((stdin, opened.stdout, opened.stderr)):
        script.call(Call.DUP3, descriptor, number, 0)


def _wait_at_gate(script: Script, gate: int) -> None:
    """Until the supervisor has written the state to disk. Its death closes the gate, and then nothing is executed."""
    script.step = "gate"
    script.call(Call.READ, gate, bytes(1), 1, expect=1)


def _title(argv: tuple[str, ...]) -> bytes:
    return "\0".join((*INIT, *argv)).encode(errors="surrogateescape")[:TITLE_MAX_BYTES]


def _leave_to(script: Script, argv: tuple[str, ...], env: tuple[str, ...]) -> None:
    identity.reset_signals(script)
    script.step = "descriptors"
    script.call(Call.CLOSE_RANGE, 3, 0xFFFF_FFFF, k.CLOSE_RANGE_CLOEXEC)
    execution.execute(script, argv, env)
