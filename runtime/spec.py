"""What the runtime is asked to run: one container, one exec. Pure values, sent as msgpack to the supervisor. No images, networks or clusters here.

The node has already resolved everything: the layers' folders, the files to bind, the user's numbers, the environment. `runtime/child` compiles a
ContainerSpec to an ordered list of kernel operations.
"""

from __future__ import annotations

import msgspec


class Spec(msgspec.Struct, frozen=True):
    """Base; encoded as maps (few per second, readable in the journal)."""


class User(Spec, frozen=True):
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


class Mount(Spec, frozen=True):
    """`kind` bind: `source` on the host (a file or folder); tmpfs: `source` ignored. `target` is resolved inside the root."""

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    options: tuple[tuple[str, str], ...] = ()  # tmpfs: size, mode; bind: propagation
    shifted: bool = False  # bind: in a user namespace the owners of its files are meant as the container sees them (ContainerSpec.ids)
    alone: bool = False  # bind: without what is mounted below its source
    writable_below: bool = False  # bind: `read_only` does not reach what is mounted below its source


class RootFs(Spec, frozen=True):
    """An overlay: lower folders top first; the supervisor mounts it detached. `upper` and `work` exist."""

    lower: tuple[str, ...]
    upper: str
    work: str
    read_only: bool = False


class Limits(Spec, frozen=True):
    """0 or "" mean no limit was asked for; -1 (swap, pids) says in so many words that there is none. CPU as `nano_cpus` or as quota over period."""

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    memory_reservation_bytes: int = 0
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    pids: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpuset_mems: str = ""
    blkio_weight: int = 0  # 10..1000
    swappiness: int = -1  # 0..100; -1: the host's
    oom_kill_disable: bool = False
    throttles: tuple[tuple[str, str, int], ...] = ()  # (read_bps | write_bps | read_iops | write_iops, "major:minor", rate per second)


class Rlimit(Spec, frozen=True):
    name: str  # nofile, nproc, core, ...
    soft: int
    hard: int


class IdRange(Spec, frozen=True):
    """`count` users and groups of the host from `base` on: what ids from 0 on in a user namespace are outside."""

    base: int
    count: int


DEFAULT_CAPABILITIES: tuple[str, ...] = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD",
    "AUDIT_WRITE", "SETFCAP",
)  # fmt: skip
"""Docker's 14 (mask 0xa80425fb)."""


class DeviceNode(Spec, frozen=True):
    """A device of the host (or a folder of them) to use in the container. `target` is below /dev."""

    path: str
    target: str
    permissions: str = "rwm"


class ContainerSpec(Spec, frozen=True):
    id: str  # 64 hex digits
    argv: tuple[str, ...]
    env: tuple[str, ...]
    rootfs: RootFs
    cwd: str = "/"
    user: User = User()
    hostname: str = ""
    network_namespace: str = ""  # path of a netns to join; "host": the supervisor's; "container:<id>"; empty: a new one with only lo
    mounts: tuple[Mount, ...] = ()
    tty: bool = False
    open_stdin: bool = False
    init: bool = False  # a reaping pid 1 in front of the program
    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    privileged: bool = False
    no_new_privileges: bool = False
    seccomp: str = "default"  # default | unconfined | the JSON text of a profile
    sysctls: tuple[tuple[str, str], ...] = ()
    rlimits: tuple[Rlimit, ...] = ()
    limits: Limits = Limits()
    cgroup_parent: str = ""  # below the supervisor's own group; empty: its default
    log_path: str = ""  # where the supervisor keeps the container's output; empty: discard
    log_max_bytes: int = 20 * 1024 * 1024
    log_max_files: int = 5
    log_compress: bool = False  # whether rotated files are compressed
    shm_size_bytes: int = 64 * 1024 * 1024
    oom_score_adj: int = 0
    stop_signal: int = 15
    pid_mode: str = ""  # this and the next two: empty: a namespace of its own; "host"; or the id of a running container whose namespace is joined
    ipc_mode: str = ""  # also "none": of its own and without /dev/shm
    uts_mode: str = ""
    cgroup_mode: str = ""  # empty or "host"
    devices: tuple[DeviceNode, ...] = ()
    device_rules: tuple[str, ...] = ()  # further ones of cgroup v1's form: "c 10:229 rwm"
    paths_open: bool = False  # nothing below /proc and /sys is masked or read-only
    rows: int = 0  # of its terminal, when it starts; 0: as the kernel makes it
    columns: int = 0
    log_driver: str = "local"  # json-file: Docker's JSON lines; all others: frames
    ids: IdRange | None = None  # a user namespace with these ids; without: the host's

    def outside(self, number: int) -> int:
        """The host's number of one of the container's users or groups."""
        return number if self.ids is None else self.ids.base + number


class ExecSpec(Spec, frozen=True):
    container_id: str
    exec_id: str
    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str = "/"
    user: User = User()
    tty: bool = False
    open_stdin: bool = False
    privileged: bool = False
    rows: int = 0
    columns: int = 0


class Exited(Spec, frozen=True):
    """How a process ended. `status` is 0..255, 128+n when signal n killed it. `known` is False when a crash of the supervisor lost the status."""

    status: int
    oom_killed: bool = False
    finished_at_ns: int = 0
    known: bool = True


class ContainerState(Spec, frozen=True):
    """A line of the supervisor's list. `phase`: created, running, exited."""

    id: str
    phase: str
    pid: int = 0
    started_at_ns: int = 0
    exited: Exited | None = None
    paused: bool = False
