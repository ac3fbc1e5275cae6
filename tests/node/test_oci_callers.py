"""festoon-oci under Debian's containerd (ctr) and podman: run, exec, a terminal, pause, metrics, processes, kill; nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driver import until

PROGRAM = str(Path(sys.executable).parent / "festoon-oci")
BUSYBOX = "/bin/busybox"
COMMAND_S = 90

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not Path(BUSYBOX).exists(), reason="needs root and busybox")


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder with a root file system made of busybox; what the callers mounted in it is taken away."""
    made = Path(tempfile.mkdtemp(prefix="oci-callers-"))
    (made / "root/bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, made / "root/bin/busybox")
    (made / "root/bin/sh").symlink_to("busybox")
    try:
        yield made
    finally:
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if line.split()[1].startswith(str(made)):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", str(made)], check=False)


def ok(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.skipif(not shutil.which("containerd") or not shutil.which("ctr"), reason="needs containerd")
def test_containerds_shim(base: Path) -> None:
    (base / "config.toml").write_text(
        f'version = 2\nroot = "{base}/lib"\nstate = "{base}/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{base}/s"\n'
    )
    with (base / "log").open("wb") as log, subprocess.Popen(["containerd", "-c", str(base / "config.toml")], stdout=log, stderr=log) as daemon:
        try:
            if not until((base / "s").exists):
                pytest.skip(f"containerd does not start on this machine: {(base / 'log').read_text()[-300:]}")
            ctr = ("ctr", "-a", f"{base}/s")
            with_ours = ("--runc-binary", PROGRAM, "--rootfs", str(base / "root"))
            assert ok(*ctr, "run", "--rm", *with_ours, "one", BUSYBOX, "echo", "hello") == "hello\n"
            ok(*ctr, "run", "-d", *with_ours, "two", BUSYBOX, "sleep", "1000")
            assert ok(*ctr, "tasks", "exec", "--exec-id", "e", "two", BUSYBOX, "echo", "in") == "in\n"
            ok(*ctr, "tasks", "pause", "two")
            assert "PAUSED" in ok(*ctr, "tasks", "ls")
            ok(*ctr, "tasks", "resume", "two")
            assert "memory" in ok(*ctr, "tasks", "metrics", "two")
            assert len(ok(*ctr, "tasks", "ps", "two").splitlines()) == 2
            ok(*ctr, "tasks", "kill", "-s", "KILL", "two")
            assert until(lambda: "STOPPED" in ok(*ctr, "tasks", "ls"))
            subprocess.run([*ctr, "tasks", "rm", "two"], capture_output=True, timeout=COMMAND_S, check=False)  # ends with the task's own status
            ok(*ctr, "containers", "rm", "two")
            assert "two" not in ok(*ctr, "tasks", "ls")
        finally:
            daemon.terminate()


@pytest.mark.skipif(not shutil.which("podman"), reason="needs podman")
def test_podman(base: Path) -> None:
    podman = ("podman", "--root", f"{base}/lib", "--runroot", f"{base}/run", "--tmpdir", f"{base}/tmp", "--storage-driver", "vfs", "--cgroup-manager",
              "cgroupfs", "--events-backend", "file", "--runtime", PROGRAM)  # fmt: skip
    limits = ("--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000", "--network", "none", "--rootfs", str(base / "root"))
    assert ok(*podman, "run", "--rm", *limits, BUSYBOX, "echo", "hello") == "hello\n"
    ok(*podman, "run", "-d", "--name", "two", *limits, BUSYBOX, "sleep", "1000")
    try:
        assert ok(*podman, "exec", "two", BUSYBOX, "id", "-u") == "0\n"
        assert ok(*podman, "exec", "-t", "two", BUSYBOX, "tty").strip() == "/dev/pts/0"
        ok(*podman, "pause", "two")
        assert "paused" in ok(*podman, "inspect", "-f", "{{.State.Status}}", "two")
        ok(*podman, "unpause", "two")
        assert "sleep 1000" in ok(*podman, "top", "two")
        assert ok(*podman, "stats", "--no-stream", "--format", "{{.PIDs}}", "two") == "1\n"
    finally:
        ok(*podman, "rm", "-f", "-t", "0", "two")
