"""festoon-oci on real bundles: the lifecycle's commands, exit statuses, what the program sees, and that nothing is left."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_SPEC = importlib.util.spec_from_file_location("oci_bundles", Path(__file__).with_name("oci_bundles.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
bundles: Any = importlib.util.module_from_spec(_SPEC)
sys.modules["oci_bundles"] = bundles
_SPEC.loader.exec_module(bundles)

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not Path(bundles.BUSYBOX).exists(), reason="needs root and busybox")


@pytest.fixture
def oci() -> Iterator[Any]:
    with bundles.oci() as made:
        yield made


def wait_end(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    os.set_blocking(pidfd, True)
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(30_000)
    os.close(pidfd)


def test_run_ends_with_the_programs_status_and_leaves_nothing(oci: Any) -> None:
    oci.write("sh", "-c", "echo $(hostname) $(id -u); exit 7")
    done = oci("run", "one")
    assert (done.returncode, done.stdout.split()) == (7, ["bundle", "0"])
    assert os.listdir(oci.root) == []
    assert not list(Path("/sys/fs/cgroup").glob("*/festoon-oci/one"))


def test_a_killed_program_ends_with_128_and_the_signal(oci: Any) -> None:
    oci.write("sh", "-c", "kill -9 $$", namespaces=[{"type": "mount"}], hostname="")
    assert oci("run", "one").returncode == 137


def test_the_lifecycle(oci: Any) -> None:
    oci.write("sleep", "1000")
    assert oci("create", "--pid-file", str(oci.base / "pid"), "one").returncode == 0
    pid = int((oci.base / "pid").read_text())
    state = json.loads(oci("state", "one").stdout)
    assert (state["status"], state["pid"], state["id"], state["bundle"]) == ("created", pid, "one", str(oci.bundle))
    assert "exists" in oci("create", "one").stderr
    assert oci("start", "one").returncode == 0
    assert oci.status("one") == "running"
    assert "already running" in oci("start", "one").stderr
    assert oci("delete", "one").returncode == 1
    assert oci("kill", "one", "KILL").returncode == 0
    wait_end(pid)
    assert oci.status("one") == "stopped"
    assert "container not running" in oci("kill", "one", "TERM").stderr
    assert oci("delete", "one").returncode == 0
    assert "does not exist" in oci("state", "one").stderr


def test_exec_joins_and_ends_with_its_own_status(oci: Any) -> None:
    oci.write("sleep", "1000")
    assert oci("run", "-d", "one").returncode == 0
    done = oci("exec", "-e", "WORD=hello", "one", "sh", "-c", "echo $WORD $(hostname); exit 5")
    assert (done.returncode, done.stdout) == (5, "hello bundle\n")
    missing = oci("exec", "one", "nope")
    assert missing.returncode == 1
    assert 'exec: "nope": executable file not found in $PATH' in missing.stderr
    assert len(json.loads(oci("ps", "-f", "json", "one").stdout)) == 1


def test_pause_and_resume(oci: Any) -> None:
    oci.write("sleep", "1000")
    assert oci("run", "-d", "one").returncode == 0
    assert oci("pause", "one").returncode == 0
    assert oci.status("one") == "paused"
    assert "paused" in oci("exec", "one", "true").stderr
    assert oci("resume", "one").returncode == 0
    assert oci.status("one") == "running"


def test_a_missing_program_is_said_at_create_and_leaves_nothing(oci: Any) -> None:
    oci.write("nope")
    log = oci.base / "log"
    done = oci("--log", str(log), "--log-format", "json", "create", "one")
    assert done.returncode == 1
    assert 'exec: "nope": executable file not found in $PATH' in json.loads(log.read_text())["msg"]
    assert os.listdir(oci.root) == []


def test_hooks_run_in_their_order_with_the_state_on_standard_input(oci: Any) -> None:
    trace = oci.base / "trace"
    script = oci.base / "hook"
    script.write_text(f"#!/bin/sh\necho $1 $(cat | tr -d ' ' | tr ',' '\\n' | grep status) >>{trace}\n")
    script.chmod(0o755)
    names = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    oci.write("true", hooks={name: [{"path": str(script), "args": ["hook", name]}] for name in names})
    assert oci("run", "one").returncode == 0
    words = [line.split() for line in trace.read_text().splitlines()]
    assert [word[0] for word in words] == list(names)
    assert [word[1].split(":")[1].strip('"}') for word in words] == ["creating", "creating", "creating", "running", "stopped"]


def test_a_failing_hook_ends_the_create_and_leaves_nothing(oci: Any) -> None:
    oci.write("true", hooks={"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo broken >&2; exit 3"]}]})
    done = oci("create", "one")
    assert done.returncode == 1
    assert "createRuntime hook #0: /bin/sh: exit status 3: broken" in done.stderr
    assert os.listdir(oci.root) == []


def test_what_the_program_may_and_sees(oci: Any) -> None:
    oci.write(
        "sh", "-c", "grep -E 'CapEff|CapBnd|NoNewPrivs|Umask|Groups' /proc/self/status; ls /sys/firmware | wc -l; "
        "echo 1 > /proc/sys/kernel/panic || echo refused; echo $(wc -c </proc/keys) $(pwd) $(ulimit -n); touch /x || echo ro",
        user={"uid": 12, "gid": 34, "additionalGids": [5, 6], "umask": 0o77}, noNewPrivileges=True, cwd="/made/here", root={"path": "rootfs", "readonly": True},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}],
    )  # fmt: skip
    lines = oci("run", "one").stdout.splitlines()
    assert lines[0].split() == ["Umask:", "0077"]
    assert lines[1].split() == ["Groups:", "5", "6"]
    assert lines[2].split()[1] == f"{0:016x}"
    assert lines[4].split() == ["NoNewPrivs:", "1"]
    assert lines[5:] == ["0", "refused", "0 /made/here 77", "ro"]


def test_seccomp_is_the_bundles(oci: Any) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    oci.write("mkdir", "/there", seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    done = oci("run", "one")
    assert done.returncode == 1
    assert "not supported" in done.stderr


def test_a_container_in_the_hosts_mount_namespace_is_refused(oci: Any) -> None:
    oci.write("true", namespaces=[{"type": "pid"}], hostname="")
    assert "mount namespace is refused" in oci("create", "one").stderr
    oci.write("true", hostname="", namespaces=[{"type": "pid"}, {"type": "mount", "path": "/proc/self/ns/mnt"}])
    assert "mount namespace is refused" in oci("create", "two").stderr
    assert not oci.root.exists() or os.listdir(oci.root) == []


def test_systemd_cgroups_are_refused_clearly(oci: Any) -> None:
    oci.write("true")
    assert "--systemd-cgroup is not supported" in oci("--systemd-cgroup", "run", "one").stderr


def test_the_runtimes_own_executable_can_not_be_overwritten(oci: Any) -> None:
    """CVE-2019-5736: the container's program is the runtime's own binary, held open from outside while it runs inside."""
    oci.write("sleep", "1000")
    assert oci("create", "--pid-file", str(oci.base / "pid"), "one").returncode == 0
    pid = int((oci.base / "pid").read_text())
    held = os.open(f"/proc/{pid}/exe", os.O_PATH)
    flags = os.fstatvfs(held).f_flag
    os.close(held)
    assert flags & os.ST_RDONLY, "the interpreter's file can be reached on a writable mount"


def test_a_terminal_is_handed_over_the_console_socket(oci: Any) -> None:
    import socket

    oci.write("sh", "-c", "tty; exit 4", terminal=True)
    path = str(oci.base / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert oci("create", "--console-socket", path, "one").returncode == 0
        connection = listener.accept()[0]
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
    assert oci("start", "one").returncode == 0
    data = b""
    try:
        while piece := os.read(descriptors[0], 4096):
            data += piece
    except OSError:  # EIO: the program has ended
        assert data.decode().strip() == "/dev/pts/0"
    os.close(descriptors[0])


def test_kill_all_reaches_every_process(oci: Any) -> None:
    oci.write("sh", "-c", "sleep 1000 & sleep 1001 & wait")
    assert oci("run", "-d", "--pid-file", str(oci.base / "pid"), "one").returncode == 0
    assert oci("kill", "--all", "one", str(int(signal.SIGKILL))).returncode == 0
    wait_end(int((oci.base / "pid").read_text()))
    assert oci("delete", "one").returncode == 0


def test_features_are_json(oci: Any) -> None:
    found = json.loads(oci("features").stdout)
    assert "mount" in found["linux"]["namespaces"]
    assert "rbind" in found["mountOptions"]


def test_events_follow_the_container_to_its_end(oci: Any) -> None:
    """Readings at the interval, the memory that ran out, and then it is over."""
    oci.write("sh", "-c", "read x < /gate; tail /dev/zero", resources={"memory": {"limit": 16 << 20, "swap": 16 << 20}})
    os.mkfifo(oci.bundle / "rootfs/gate")
    assert oci("run", "-d", "one").returncode == 0
    with subprocess.Popen([bundles.PROGRAM, "--root", str(oci.root), "events", "--interval", "100ms", "one"], stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        first = json.loads(follower.stdout.readline())
        assert (first["type"], first["id"], first["data"]["pids"]["current"]) == ("stats", "one", 1)
        (oci.bundle / "rootfs/gate").write_text("go\n")
        rest = [json.loads(line) for line in follower.stdout]
        assert follower.wait(30) == 0
    assert "oom" in {event["type"] for event in rest}
    wrong = oci("events", "--interval", "soon", "one")
    assert wrong.returncode == 1
