"""From a container's record to what the runtime runs: pure. Docker's defaults live here, once.

Also the three files that Docker binds into every container: /etc/hostname, /etc/hosts and /etc/resolv.conf.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from agent import log_settings, security_options
from agent.records import Attachment, Config, ExecConfig, HostConfig, PortBinding, Record
from cluster.model.errors import InvalidArgument
from cluster.model.specs import HealthCheck, Pairs
from netfabric.view import HostPort, PublishedPort
from runtime.images.config import ImageConfig
from runtime.spec import DEFAULT_CAPABILITIES, ContainerSpec, DeviceNode, ExecSpec, IdRange, Limits, Mount, Rlimit, RootFs, User

HOST_GATEWAY: Final = "host-gateway"
ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104
MAX_SIGNAL_NUMBER: Final = (1 << 31) - 1
LAST_SIGNAL: Final = 64
DEFAULT_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RESOLVED_STUB: Final = "127.0.0.53"
PUBLIC_RESOLVERS: Final = ("8.8.8.8", "8.8.4.4")
ALL_CAPABILITIES: Final = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE",
    "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN",
    "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE",
    "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
UNPRIVILEGED: Final[Pairs] = (("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647"))
"""Docker's default in a network namespace of the container's own: the fabric's are set by netfabric/plan.py."""

SIGNALS: Final[Mapping[str, int]] = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "IOT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13,
    "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25,
    "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29, "POLL": 29, "PWR": 30, "SYS": 31, "CLD": 17, "RTMIN": 34, "RTMAX": 64,
}  # fmt: skip
REAL_TIME: Final = re.compile(r"RTMIN\+([1-9]|1[0-5])|RTMAX-([1-9]|1[0-4])")
"""The others of the real-time signals: systemd stops at RTMIN+3."""


def signal_number(text: str) -> int:
    """`TERM`, `SIGTERM` or `15` -> 15. Raises InvalidArgument `Invalid signal: X`. A number may be none that the kernel has: sending it says so."""
    if text.isascii() and text.isdigit() and 0 < int(text) <= MAX_SIGNAL_NUMBER:
        return int(text)
    name = text.upper().removeprefix("SIG")
    if (match := REAL_TIME.fullmatch(name)) is not None:
        return SIGNALS["RTMIN"] + int(match[1]) if match[1] else SIGNALS["RTMAX"] - int(match[2])
    number = SIGNALS.get(name)
    if number is None:
        raise InvalidArgument(f"Invalid signal: {text}")
    return number


def merge_environment(image_env: Iterable[str], asked: Iterable[str]) -> tuple[str, ...]:
    """The user's variables, then those of the image that the user did not name; a bare `NAME` stays, and keeps one out (`environment`)."""
    merged = {entry.partition("=")[0]: entry for entry in asked}
    for entry in image_env:
        merged.setdefault(entry.partition("=")[0], entry)
    return tuple(merged.values())


def _replaced(base: Iterable[str], asked: Iterable[str]) -> tuple[str, ...]:
    """The container's variables, changed in their places; new ones after them."""
    merged = {entry.partition("=")[0]: entry for entry in (*base, *asked)}
    return tuple(merged.values())


def capabilities(add: Iterable[str], drop: Iterable[str], *, privileged: bool) -> tuple[str, ...]:
    """Docker's default set changed by --cap-add and --cap-drop; ALL means all. Raises InvalidArgument for an unknown name."""
    adds, drops = [_capability(c, "CapAdd") for c in add], [_capability(c, "CapDrop") for c in drop]
    chosen = set(ALL_CAPABILITIES if privileged or "ALL" in adds else () if "ALL" in drops else DEFAULT_CAPABILITIES)
    chosen -= set(drops)
    chosen |= set(adds) - {"ALL"}
    return tuple(c for c in ALL_CAPABILITIES if c in chosen)


def _capability(name: str, field: str) -> str:
    bare = name.upper().removeprefix("CAP_")
    if bare != "ALL" and bare not in ALL_CAPABILITIES:
        raise InvalidArgument(f'invalid {field} capability: "CAP_{bare}"')
    return bare


def hosts_file(config: Config, addresses: Iterable[str], extra: Iterable[str], gateway: str = "", linked: Iterable[str] = ()) -> str:
    """/etc/hosts: the loopback names, what the user added (`name:address`; host-gateway stands for `gateway`), `linked` lines, the container's own name."""
    hostname = f"{config.hostname}.{config.domainname}" if config.domainname else config.hostname
    if "." in hostname:
        hostname = f"{hostname} {hostname.partition('.')[0]}"
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", "fe00::0\tip6-localnet", "ff00::0\tip6-mcastprefix",
             "ff02::1\tip6-allnodes", "ff02::2\tip6-allrouters"]  # fmt: skip
    lines += [*(extra_host_line(entry, gateway) for entry in extra), *linked]
    lines += [f"{address.partition('/')[0]}\t{hostname}" for address in addresses if address]
    return "\n".join(lines) + "\n"


def extra_host_line(entry: str, gateway: str) -> str:
    """`name:address` as a line of /etc/hosts."""
    name, _, address = entry.partition(":")
    return f"{gateway if address == HOST_GATEWAY else address.strip('[]')}\t{name}"


def resolv_file(host_text: str, host: HostConfig, resolver: str = "") -> str:
    """/etc/resolv.conf: the container's own `resolver` if it has one, else the user's servers, the host's that a container can reach, or public ones
    (Docker's rule)."""
    kept: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in host_text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] in kept:
            kept[words[0]] += words[1:2] if words[0] == "nameserver" else words[1:]
    servers = [resolver] if resolver else list(host.dns) or [s for s in kept["nameserver"] if not _is_loopback(s)] or list(PUBLIC_RESOLVERS)
    search = list(host.dns_search) or kept["search"]
    options = list(host.dns_options) or kept["options"]
    if resolver and not any(option.startswith("ndots:") for option in options):
        options.append("ndots:0")
    lines = [f"nameserver {server}" for server in servers]
    if search and search != ["."]:
        lines.insert(0, "search " + " ".join(search))
    if options:
        lines.append("options " + " ".join(options))
    return "\n".join(lines) + "\n"


def names_stub_only(host_text: str) -> bool:
    """Whether the host's only server is systemd-resolved's stub."""
    servers = [words[1] for line in host_text.splitlines() if len(words := line.split()) > 1 and words[0] == "nameserver"]
    return servers == [RESOLVED_STUB]


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True


def argv_of(config: Config) -> tuple[str, ...]:
    """Entrypoint and command together. Raises InvalidArgument `No command specified`."""
    argv = (config.entrypoint or ()) + (config.cmd or ())
    if not argv:
        raise InvalidArgument("No command specified")
    return argv


def environment(config: Config, home: str, linked: Iterable[str] = ()) -> tuple[str, ...]:
    """The process's environment as Docker orders it: PATH, HOSTNAME, TERM with a terminal, what its links give, the rest, HOME. A bare `NAME`
    takes the one before it away."""
    first = (DEFAULT_PATH, f"HOSTNAME={config.hostname}", *(("TERM=xterm",) if config.tty else ()))
    merged = {entry.partition("=")[0]: entry for entry in (*first, *linked, *config.env)}
    found = {name: entry for name, entry in merged.items() if "=" in entry and entry != "HOME="}
    found.setdefault("HOME", f"HOME={home}")
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Namespaces:
    """As runtime.spec has them: `network` a netns path, host, container:<id> or empty; the others empty, host, none or a container's id."""

    network: str = ""
    pid: str = ""
    ipc: str = ""
    uts: str = ""


def compile_container(record: Record, rootfs: RootFs, user: User, home: str, *, files: str, log_path: str, namespaces: Namespaces,
                      mounts: tuple[Mount, ...], numbers: Mapping[str, str] = {}, ids: IdRange | None = None) -> ContainerSpec:  # fmt: skip
    """The runtime's spec. The folder `files` holds the three files; `numbers` as for `limits_of`; `ids`: of its user
    namespace."""
    config, host = record.config, record.host
    security = security_options.parse(host.security_options)
    bound = tuple(Mount("bind", f"/etc/{n}", f"{files}/{n}", host.read_only, shifted=True) for n in ("hostname", "hosts", "resolv.conf"))
    return ContainerSpec(
        id=record.id, argv=argv_of(config), env=environment(config, home, record.link_env),
        rootfs=rootfs, cwd=config.working_dir or "/", user=user, hostname=config.hostname,
        network_namespace=namespaces.network, mounts=bound + mounts, tty=config.tty, open_stdin=config.open_stdin, init=bool(host.init),
        capabilities=capabilities(host.cap_add, host.cap_drop, privileged=host.privileged), privileged=host.privileged,
        sysctls=_own_sysctls(record, namespaces, ids),
        rlimits=tuple(Rlimit(u.name, u.soft, u.hard) for u in host.ulimits), limits=limits_of(host, numbers),
        log_path="" if host.log_driver == "none" else log_path, log_driver=host.log_driver, log_max_bytes=log_settings.max_bytes(host),
        log_max_files=log_settings.max_files(host), log_compress=log_settings.compresses(host),
        shm_size_bytes=host.shm_size_bytes, oom_score_adj=host.oom_score_adj,
        stop_signal=signal_number(config.stop_signal or "TERM"), no_new_privileges=security.no_new_privileges, seccomp=security.seccomp,
        cgroup_parent=host.cgroup_parent.strip("/"), pid_mode=namespaces.pid, ipc_mode=namespaces.ipc, uts_mode=namespaces.uts,
        cgroup_mode="host" if host.cgroup_mode == "host" else "", devices=tuple(DeviceNode(d.path, d.target, d.permissions) for d in host.devices),
        device_rules=host.device_rules, paths_open=security.paths_open or host.system_paths_open, ids=ids,
        rows=host.console_size[0], columns=host.console_size[1],
    )  # fmt: skip


def _own_sysctls(record: Record, namespaces: Namespaces, ids: IdRange | None) -> Pairs:
    """Those of net.* belong to the network namespace: where there is one of the fabric's, the fabric sets them."""
    own = tuple((name, value) for name, value in record.host.sysctls if not (wired(record) and name.startswith("net.")))
    if not wired(record) and not namespaces.network and ids is None:
        own = tuple((dict(UNPRIVILEGED) | dict(own)).items())
    domain = record.config.domainname
    return (("kernel.domainname", domain), *own) if domain and not namespaces.uts else own


def limits_of(host: HostConfig, numbers: Mapping[str, str] = {}) -> Limits:
    """`numbers`: path of a block device -> its "major:minor", for the throttles; a device that is not in there is left out."""
    throttles = tuple((kind, numbers[path], rate) for kind, path, rate in host.throttles if path in numbers)
    return Limits(
        host.memory_bytes, host.memory_swap_bytes, host.memory_reservation_bytes, host.nano_cpus, host.cpu_shares, host.cpuset_cpus,
        host.pids_limit, host.cpu_period_us, host.cpu_quota_us, host.cpuset_mems, host.blkio_weight,
        -1 if host.memory_swappiness is None else host.memory_swappiness, host.oom_kill_disable, throttles,
    )  # fmt: skip


def compile_exec(record: Record, exec_id: str, config: ExecConfig, user: User, home: str, size: tuple[int, int] = (0, 0)) -> ExecSpec:
    """The runtime's spec of an exec: the container's environment and the exec's own, its folder or the container's."""
    base = record.config
    merged = Config(image="", hostname=base.hostname, tty=config.tty, env=_replaced(base.env, config.env))
    return ExecSpec(
        container_id=record.id, exec_id=exec_id, argv=config.cmd, env=environment(merged, home, record.link_env),
        cwd=config.working_dir or base.working_dir or "/", user=user,
        tty=config.tty, open_stdin=config.attach_stdin, privileged=config.privileged, rows=size[0], columns=size[1],
    )  # fmt: skip


def with_image(config: Config, image: ImageConfig, container_id: str) -> Config:
    """The user's configuration over the image's: an entrypoint of the user's own drops the image's command; an empty list drops the image's entrypoint,
    one empty string both."""
    entrypoint = (image.entrypoint or None) if config.entrypoint is None else config.entrypoint
    command = config.cmd if config.cmd or config.entrypoint else image.cmd or config.cmd
    if entrypoint == ("",):
        entrypoint = None
    labels = dict(image.labels) | dict(config.labels)
    return msgspec.structs.replace(
        config, hostname=config.hostname or container_id[:12], user=config.user or image.user, env=merge_environment(image.env, config.env),
        entrypoint=entrypoint, cmd=command,
        working_dir=_cleaned(config.working_dir or image.working_dir),
        labels=tuple(sorted(labels.items())), stop_signal=config.stop_signal or image.stop_signal, health=_with_image_health(config.health, _health(image)),
        exposed_ports=tuple(dict.fromkeys(config.exposed_ports + image.exposed_ports)), volumes=tuple(dict.fromkeys(config.volumes + image.volumes)),
    )  # fmt: skip


def _cleaned(folder: str) -> str:
    """As Docker keeps it: without `.`, `..` and doubled slashes."""
    return posixpath.normpath("/" + folder.lstrip("/")) if folder else ""


def _with_image_health(own: HealthCheck | None, image: HealthCheck | None) -> HealthCheck | None:
    """The image's probe with the user's own times; a probe of the user's own takes nothing from the image but what it leaves open."""
    if own is None or image is None:
        return own or image
    kept = {name: getattr(own, name) or getattr(image, name) for name in HealthCheck.__struct_fields__}
    return HealthCheck(**kept)


def _health(image: ImageConfig) -> HealthCheck | None:
    check = image.healthcheck
    return HealthCheck(check.test, check.interval_ns, check.timeout_ns, check.start_period_ns, check.retries) if check else None


def wired(record: Record) -> bool:
    """Whether the fabric makes its network namespace: not for the node's own network, for none, or for another container's."""
    return any(a.network_name not in ("host", "none") for a in record.attachments)


def mesh_ports(record: Record) -> tuple[PublishedPort, ...]:
    """The ports that it accepts on its ingress address."""
    return tuple(PublishedPort(p.protocol, p.host_port, p.container_port) for p in record.mesh_ports)


def publishing(record: Record) -> Attachment | None:
    """The attachment that the node's ports lead to: the one by which the container reaches the outside."""
    return next((a for a in record.attachments if a.gateway and a.default_route), None)


def host_ports(record: Record) -> tuple[HostPort, ...]:
    """The node's ports that are forwarded to its address on a local bridge; IPv6 ports to its IPv6 address where it has one."""
    bridged = publishing(record)
    if bridged is None:
        return ()
    address, address6 = (cidr.partition("/")[0] for cidr in (bridged.address, bridged.address6))

    def port(p: PortBinding) -> HostPort:
        own = (address6 or address) if ":" in p.host_ip else address
        return HostPort(p.protocol, p.host_port, own, p.container_port, "" if p.host_ip == ANY_ADDRESS else p.host_ip)

    return tuple(port(p) for p in record.ports if p.container_port)
