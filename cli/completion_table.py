"""What may stand where on a command line, for shells that complete: which nouns a command's operands are of, and the values that flags take. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FILE: Final = "file"
"""Stands among the nouns where a file may."""

_OF_CONTAINERS: Final = ("diff", "export", "logs", "restart", "rm", "update", "wait")
_OF_IMAGES: Final = ("create", "history", "push", "rmi", "run", "save", "tag")
_RUNNING: Final = ("attach", "exec", "kill", "pause", "port", "stats", "stop", "top")
_MAKING: Final = frozenset({"create", "ls", "prune", "build", "import", "load", "up", "down"})
_ALL: Final = "container image network volume service node secret config"
_NO_NOUN: Final = frozenset({"raft", "sim", "swarm", "system", "completion", "lab"})

_OPERANDS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(_RUNNING, ("running",)),
    **{f"container {name}": ("running",) for name in _RUNNING},
    "start": ("stopped",), "container start": ("stopped",), "unpause": ("paused",), "container unpause": ("paused",),
    "container run": ("image",), "container create": ("image",),
    "inspect": (_ALL,), "cp": ("container file",), "container cp": ("container file",), "import": (FILE,), "image import": (FILE,),
    "secret create": ("", FILE), "config create": ("", FILE), "context import": ("", FILE), "context export": ("context", FILE),
    "system certs": (FILE,), "raft snapshot save": (FILE,), "raft snapshot inspect": (FILE,), "raft snapshot restore": (FILE,), "sim replay": (FILE,),
    "commit": ("container", "image"), "container commit": ("container", "image"), "rename": ("container", ""), "container rename": ("container", ""),
    "network connect": ("network", "container"), "network disconnect": ("network", "container"),
    "network capture": ("task container network",), "network path": ("",), "why": ("service task",),
    "service logs": ("service",), "image search": ("",), "image pull": ("",), "service scale": ("service",),
    "lab exec": ("machine",), "lab shell": ("machine",), "lab logs": ("machine",),
}  # fmt: skip
"""By the command's path, for each operand the nouns that it may be of; the last counts for all that follow."""
NAMED_BY: Final = {
    "network": "network", "network-add": "network", "network-rm": "network", "config-from": "network", "volumes-from": "container", "link": "container",
    "context": "context", "from": "context",
}  # fmt: skip
"""Flags whose values are names, of which nouns."""
NAMED_BY_SERVICES: Final = {f"{noun}{verb}": noun for noun in ("secret", "config") for verb in ("", "-add", "-rm")}
OF_FILES: Final = frozenset(
    "ca-cert ca-key cidfile compose-file config env-file file input invariant key-file label-file mount output policy svg tlscacert tlscert tlskey trace"
    " volume".split()
)
"""Flags whose values are files."""

OF_FLAGS: Final = {("lab", "name"): "lab"}
"""The same by the command's first word."""
_SIGNALS: Final = ("SIGHUP", "SIGINT", "SIGKILL", "SIGQUIT", "SIGSTOP", "SIGTERM", "SIGUSR1", "SIGUSR2")
_CAPABILITIES: Final = tuple(
    "ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL"
    " LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYS_ADMIN"
    " SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG SYSLOG WAKE_ALARM".split()
)
FIXED: Final[Mapping[str, tuple[str, ...]]] = {
    "signal": _SIGNALS, "stop-signal": _SIGNALS, "restart": ("always", "no", "on-failure", "unless-stopped"), "format": ("json", "table"),
    "cap-add": _CAPABILITIES, "cap-drop": _CAPABILITIES, "log-driver": ("json-file", "local", "none"), "platform": ("linux/amd64", "linux/arm64"),
    "type": ("config", "container", "image", "network", "node", "secret", "service", "task", "volume"), "cgroupns": ("host", "private"),
    "ipc": ("host", "none", "private", "shareable"), "pid": ("host",), "uts": ("host",), "userns": ("host",), "endpoint-mode": ("dnsrr", "vip"),
    "driver": ("bridge", "overlay"), "scope": ("local", "swarm"), "log-level": ("debug", "error", "fatal", "info", "warn"),
}  # fmt: skip
"""Values of flags whose help does not list them."""


def nouns_of(path: tuple[str, ...]) -> tuple[str, ...]:
    """For each operand of the command the nouns, by spaces, that it may be of."""
    found = _OPERANDS.get(" ".join(path))
    if found is not None or not path:
        return found or ()
    if len(path) > 1:
        return () if path[-1] in _MAKING or path[0] in _NO_NOUN else (path[0],)
    return ("container",) if path[0] in _OF_CONTAINERS else ("image",) if path[0] in _OF_IMAGES else ()
