"""Bundles made of busybox, and festoon-oci driven as containerd would; everything is gone afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import leftovers

BUSYBOX = "/bin/busybox"
PROGRAM = str(Path(sys.executable).parent / "festoon-oci")
TIMEOUT_S = 60
CAPABILITIES = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_SYS_CHROOT", "CAP_MKNOD"]


def config(*argv: str, **changes: object) -> dict[str, object]:
    """A bundle's configuration as Docker writes it; `changes` replace members of linux, process or the top."""
    process: dict[str, object] = {
        "user": {"uid": 0, "gid": 0},
        "args": list(argv),
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
    }
    private = ["nosuid", "noexec", "nodev"]
    linux: dict[str, object] = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 64}},
        "namespaces": [{"type": kind} for kind in ("mount", "network", "uts", "pid", "ipc")],
        "maskedPaths": ["/proc/keys", "/sys/firmware"],
        "readonlyPaths": ["/proc/sys"],
    }
    top: dict[str, object] = {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "hostname": "bundle",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": private},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*private, "ro"]},
        ],
    }
    for name, value in changes.items():
        target = process if name in ("user", "cwd", "noNewPrivileges", "rlimits", "terminal") else linux if name in LINUX else top
        target[name] = value
    return {**top, "process": process, "linux": linux}


LINUX = ("resources", "namespaces", "sysctl", "seccomp", "cgroupsPath", "devices", "maskedPaths", "readonlyPaths")


class Oci:
    """One state folder and one bundle."""

    def __init__(self, base: Path, program: str = PROGRAM) -> None:
        self.program = program
        self.base, self.bundle, self.root = base, base / "bundle", base / "state"
        programs = self.bundle / "rootfs" / "bin"
        programs.mkdir(parents=True)
        shutil.copy(BUSYBOX, programs / "busybox")
        for name in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
            if name != "busybox":
                (programs / name).symlink_to("busybox")

    def write(self, *argv: str, **changes: object) -> None:
        (self.bundle / "config.json").write_text(json.dumps(config(*argv, **changes)))

    def __call__(self, *arguments: str, ignored: str = "") -> subprocess.CompletedProcess[str]:
        """`ignored`: signals that whoever starts the runtime ignores ("HUP INT"). Output goes to files: a container that stays must not hold a pipe that
        somebody reads to its end."""
        ignoring = ("sh", "-c", f'trap "" {ignored}; exec "$@"', "sh") if ignored else ()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(
                [*ignoring, self.program, "--root", str(self.root), *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                cwd=self.bundle, timeout=TIMEOUT_S, check=False,
            )  # fmt: skip
            out.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, out.read(), errors.read())

    def status(self, name: str) -> str:
        found: str = json.loads(self("state", name).stdout)["status"]
        return found


@contextmanager
def oci(program: str = PROGRAM) -> Iterator[Oci]:
    """As root only; the containers that a failed test left are deleted. `program`: another runtime of the same command line."""
    base = Path(tempfile.mkdtemp(prefix="festoon-oci-"))
    leftovers.note_folder(base)
    made = Oci(base, program)
    try:
        yield made
    finally:
        for name in os.listdir(made.root) if made.root.exists() else ():
            made("delete", "--force", name)
        subprocess.run(["rm", "-rf", "--one-file-system", str(base)], check=True)
