"""What a bundle asks for, as values. Owns the shapes only; `bundle.py` reads them from config.json.

Plain named tuples, not msgspec structs: each command of festoon-oci is a process of its own, and its start is most of what it costs.
"""

from __future__ import annotations

from typing import NamedTuple

from runtime.kernel.userns import Mappings
from runtime.oci.options import MountOptions

Json = dict[str, object]


class Namespace(NamedTuple):
    """`kind` as in the specification: pid, network, mount, ipc, uts, cgroup, user. `path`: one to join, empty for a new one."""

    kind: str
    path: str


class BundleMount(NamedTuple):
    """`kind` bind, or a file system's name; cgroup stands for the container's own groups."""

    destination: str
    kind: str
    source: str
    options: MountOptions
    uids: Mappings = ()  # of an id-mapped bind: from the file system's owners to those that are seen
    gids: Mappings = ()


class CapabilitySets(NamedTuple):
    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class ResourceLimit(NamedTuple):
    name: str
    soft: int
    hard: int


class Process(NamedTuple):
    """The program and who it is. `oom_score_adj` None: inherited; `umask` None: 022; `capabilities` None: none at all."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    terminal: bool = False
    rows: int = 0
    columns: int = 0
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    umask: int | None = None
    capabilities: CapabilitySets = CapabilitySets()
    rlimits: tuple[ResourceLimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""


class Hook(NamedTuple):
    """`timeout_s` 0: no limit."""

    path: str
    argv: tuple[str, ...]
    env: tuple[str, ...]
    timeout_s: int


class BundleDevice(NamedTuple):
    """`mode` with the file's type."""

    path: str
    mode: int
    major: int
    minor: int
    uid: int
    gid: int


class Bundle(NamedTuple):
    """One checked config.json. `root` is absolute; `resources` and `seccomp` are still the file's own objects."""

    version: str
    root: str
    read_only: bool
    process: Process
    hostname: str
    domainname: str
    namespaces: tuple[Namespace, ...]
    mounts: tuple[BundleMount, ...]
    devices: tuple[BundleDevice, ...]
    masked: tuple[str, ...]
    read_only_paths: tuple[str, ...]
    sysctls: tuple[tuple[str, str], ...]
    root_propagation: str
    cgroups_path: str
    resources: Json
    seccomp: Json
    hooks: dict[str, tuple[Hook, ...]]
    annotations: dict[str, str]
    uids: Mappings = ()
    gids: Mappings = ()

    def namespace(self, kind: str) -> Namespace | None:
        """None: the container stays in the host's."""
        return next((namespace for namespace in self.namespaces if namespace.kind == kind), None)
