"""An OCI bundle with what Docker would write for a container without options: the same hardening as ours, for crun and runc."""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from typing import Any

from runtime.child.masks import MASKED, READ_ONLY
from runtime.seccomp.numbers import NATIVE
from runtime.seccomp.policy import ALLOW, DATA_MASK, ERRNO, WHOLE, Compare, Condition
from runtime.seccomp.profile import default_policy
from runtime.spec import DEFAULT_CAPABILITIES

UNIFIED = "/sys/fs/cgroup/unified"
_CLONE_NEWNS, _MS_REC_PRIVATE, _MNT_DETACH = 0x20000, 0x44000, 2


def hide_unified() -> None:
    """This process gets a mount namespace of its own without the unified hierarchy of a hybrid host."""
    if not os.path.ismount(UNIFIED):
        return
    library = ctypes.CDLL(None, use_errno=True)
    for call, arguments in (
        (library.unshare, (_CLONE_NEWNS,)),
        (library.mount, (None, b"/", None, _MS_REC_PRIVATE, None)),
        (library.umount2, (UNIFIED.encode(), _MNT_DETACH)),
    ):
        if call(*arguments):
            raise OSError(ctypes.get_errno(), f"{call.__name__}: {os.strerror(ctypes.get_errno())}")


def write_bundle(folder: Path, root: Path, argv: tuple[str, ...], cgroup: str, seccomp: dict[str, Any] | None = None) -> None:
    """config.json in `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"CAP_{name}" for name in DEFAULT_CAPABILITIES]
    linux: dict[str, Any] = {
        "cgroupsPath": cgroup,
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": [f"/{path}" for path in MASKED if os.path.exists(f"/{path}")],
        "readonlyPaths": [f"/{path}" for path in READ_ONLY if os.path.exists(f"/{path}")],
        "resources": {"devices": _devices()},
    }
    if seccomp is not None:
        linux["seccomp"] = seccomp
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": list(argv), "env": ["PATH=/bin"], "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), names),
        },
        "root": {"path": str(root)},
        "hostname": "bench",
        "mounts": _mounts(),
        "linux": linux,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def docker_seccomp() -> dict[str, Any]:
    """Docker's default policy as the runtime has it, in the words of config.json."""
    policy = default_policy(frozenset(DEFAULT_CAPABILITIES), NATIVE[os.uname().machine])
    calls: list[dict[str, Any]] = []
    for rule in policy.rules:
        call: dict[str, Any] = {"names": list(rule.names), "action": "SCMP_ACT_ALLOW"}
        if rule.action & ERRNO == ERRNO and rule.action != ALLOW:
            call |= {"action": "SCMP_ACT_ERRNO", "errnoRet": rule.action & DATA_MASK}
        if rule.conditions:
            call["args"] = [_argument(condition) for condition in rule.conditions]
        calls.append(call)
    architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": architectures, "syscalls": calls}


def _argument(condition: Condition) -> dict[str, Any]:
    if condition.compare is Compare.EQUAL and condition.mask != WHOLE:
        return {"index": condition.argument, "op": "SCMP_CMP_MASKED_EQ", "value": condition.mask, "valueTwo": condition.value}
    operator = {Compare.EQUAL: "SCMP_CMP_EQ", Compare.NOT_EQUAL: "SCMP_CMP_NE"}[condition.compare]
    return {"index": condition.argument, "op": operator, "value": condition.value}


def _devices() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "access": "m"}, {"allow": True, "type": "b", "access": "m"}]
    for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)):
        rules.append({"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"})
    return [*rules, {"allow": True, "type": "c", "major": 136, "access": "rwm"}]


def _mounts() -> list[dict[str, Any]]:
    private = ["nosuid", "noexec", "nodev"]
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": private},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*private, "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*private, "ro"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": private},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*private, "mode=1777", "size=65536k"]},
    ]
