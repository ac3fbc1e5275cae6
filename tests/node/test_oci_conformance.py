"""What the OCI runtime specification asks of every runtime, tried in turn with festoon-oci and with Debian's runc as the peer: the cases of the
runtime-tools' validation programs (each named in its case), written anew as bundles. What runc does, festoon-oci does.

The programs themselves are not in Debian's binary packages: golang-github-opencontainers-runtime-tools-dev has the libraries only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.cgroups.groups import read_layout
from tests.driver import until
from tests.node import oci_bundles

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not Path(oci_bundles.BUSYBOX).exists(), reason="needs root and busybox")
NEW = [{"type": kind} for kind in ("mount", "network", "uts", "pid", "ipc", "cgroup")]
PRIVATE = ["nosuid", "noexec", "nodev"]


@pytest.fixture(params=["festoon-oci", "runc"])
def oci(request: pytest.FixtureRequest) -> Iterator[Any]:
    program = oci_bundles.PROGRAM if request.param == "festoon-oci" else shutil.which("runc")
    if program is None:
        pytest.skip("needs runc, the peer")
    with oci_bundles.oci(program) as made:
        yield made


def edit(oci: Any, change: Callable[[dict[str, Any]], object]) -> None:
    path = oci.bundle / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def process(**members: object) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["process"].update(members)


def linux(**members: object) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["linux"].update(members)


def mounted(*mounts: dict[str, object]) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["mounts"].extend(mounts)


def nothing(_config: dict[str, Any]) -> None:
    return


def disk() -> tuple[int, int]:
    """Numbers of a whole block device of this host."""
    text = next(iter(Path("/sys/block").glob("*/dev"))).read_text()
    major, minor = text.split(":")
    return int(major), int(minor)


V1 = not read_layout().unified
ROOT_MOUNT = "awk '$5 == \"/\"' /proc/self/mountinfo | "
DISK = disk()


PROGRAMS: list[tuple[str, Callable[[dict[str, Any]], object], str, str]] = [
    ("default: proc, sys, dev and the default devices", nothing,
     "for n in null zero full random urandom tty ptmx fd stdin stdout stderr; do test -e /dev/$n || echo no $n; done; ls -d /proc/1 /sys/class",
     "/proc/1 /sys/class"),
    ("hostname", lambda c: c.update(hostname="other"), "hostname", "other"),
    ("linux_masked_paths: a file, a folder, one that is missing", linux(maskedPaths=["/masked/file", "/masked/dir", "/no/such"]),
     "cat /masked/file; ls /masked/dir; echo end", "end"),
    ("linux_readonly_paths: a file, a folder, one that is missing", linux(readonlyPaths=["/masked/file", "/masked/dir", "/no/such"]),
     "echo x > /masked/file || echo file; touch /masked/dir/new || echo dir", "file dir"),
    ("linux_ns_nopath: what is not listed is the host's", lambda c: (c["linux"].update(namespaces=[{"type": "mount"}]), c.update(hostname="")),
     "readlink /proc/self/ns/net", os.readlink("/proc/self/ns/net")),
    ("linux_process_apparmor: none", process(apparmorProfile=""), "echo ok", "ok"),
    ("linux_seccomp: errno for one call", linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
     "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}), "mkdir /x || echo refused", "refused"),
    ("linux_sysctl", linux(sysctl={"net.ipv4.ip_forward": "1"}), "cat /proc/sys/net/ipv4/ip_forward", "1"),
    ("mounts: in the listed order, with their options", mounted(
        {"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "mode=700"]},
        {"destination": "/m/deep", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}),
     "stat -c %a /m; touch /m/deep/x || echo ro", "700 ro"),
    ("process: cwd, environment, arguments", process(cwd="/masked/dir", env=["PATH=/bin", "WORD=a b"]), 'pwd; echo "$WORD"', "/masked/dir a b"),
    ("process_user: ids, further groups, umask", process(user={"uid": 10, "gid": 11, "additionalGids": [5, 6], "umask": 0o027}),
     "id -u; id -g; id -G; umask", "10 11 11 5 6 0027"),
    ("process_capabilities", process(capabilities={name: ["CAP_CHOWN"] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")}),
     "grep -h Cap /proc/self/status | cut -f2 | sort -u", "0000000000000001"),
    ("process_oom_score_adj", process(oomScoreAdj=100), "cat /proc/self/oom_score_adj", "100"),
    ("process_rlimits", process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]),
     "ulimit -n; ulimit -Hn; ulimit -c", "100 200 0"),
    ("process: no new privileges", process(noNewPrivileges=True), "grep -h NoNewPrivs /proc/self/status | cut -f2", "1"),
    ("root_readonly_true", lambda c: c["root"].update(readonly=True), "touch /x || echo ro", "ro"),
    ("linux_devices", linux(devices=[{"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4}]),
     "stat -c '%a %u %g %t:%T' /dev/mine", "640 3 4 1:5"),
    ("misc_props: unknown members are passed over", lambda c: c.update(unknown={"x": 1}, annotations={"org.x": "y"}), "echo ok", "ok"),
    ("linux_cgroups_memory", linux(resources={"memory": {"limit": 50 << 20}}),
     "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max", str(50 << 20)),
    ("linux_cgroups_pids", linux(resources={"pids": {"limit": 33}}), "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max", "33"),
    ("linux_cgroups_cpus", linux(resources={"cpu": {"shares": 512, "quota": 20000, "period": 100000}}),
     "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us || cut -d' ' -f1 /sys/fs/cgroup/cpu.max", "20000"),
    ("linux_cgroups_devices: what is not allowed can't be opened", linux(
        devices=[{"path": "/dev/mine", "type": "c", "major": 10, "minor": 237}], resources={"devices": [{"allow": False, "access": "rwm"}]}),
     "exec 3< /dev/mine", ""),
    ("linux_uid_mappings", linux(uidMappings=[{"containerID": 0, "hostID": 3000, "size": 1000}],
     gidMappings=[{"containerID": 0, "hostID": 3000, "size": 1000}], namespaces=[*NEW, {"type": "user"}]),
     "cat /proc/self/uid_map /proc/self/gid_map", "0 3000 1000 0 3000 1000"),
    ("linux_rootfs_propagation: slave", linux(rootfsPropagation="slave"), ROOT_MOUNT + "grep -c shared:", "0"),
    ("linux_rootfs_propagation: private", linux(rootfsPropagation="private"), ROOT_MOUNT + "grep -c -e shared: -e master:", "0"),
    ("linux_cgroups_blkio", linux(resources={"blockIO": {"throttleReadBpsDevice": [{"major": DISK[0], "minor": DISK[1], "rate": 102400}]}}),
     "cat /sys/fs/cgroup/blkio/blkio.throttle.read_bps_device || cut -d' ' -f1,2 /sys/fs/cgroup/io.max",
     f"{DISK[0]}:{DISK[1]} {'102400' if V1 else 'rbps=102400'}"),
    ("linux_cgroups_cpus: cpuset", linux(resources={"cpu": {"cpus": "0", "mems": "0"}}), "grep -h s_allowed_list /proc/self/status | cut -f2", "0 0"),
    ("mounts_recursive: read-only down to the last", mounted({"destination": "/m", "type": "bind", "source": "tree", "options": ["rbind", "rro"]}),
     "touch /m/x || echo ro; touch /m/deep/x || echo ro; ls /m/deep", "ro ro inner"),
    ("mounts: a file on a file", mounted({"destination": "/masked/file", "type": "bind", "source": "tree/file", "options": ["bind", "ro"]}),
     "cat /masked/file; echo x > /masked/file || echo ro", "other ro"),
    ("root_readonly_false", lambda c: c["root"].update(readonly=False), "touch /x && echo rw", "rw"),
    ("process: a program that is looked for along PATH", process(args=["hostname"], env=["PATH=/no/such:/bin"]), "", "bundle"),
]  # fmt: skip


@contextmanager
def tmpfs_in(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    (folder / "inner").touch()
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(("change", "script", "expected"), [case[1:] for case in PROGRAMS], ids=[case[0] for case in PROGRAMS])
def test_what_a_program_finds(oci: Any, change: Callable[[dict[str, Any]], object], script: str, expected: str) -> None:
    (oci.bundle / "rootfs/masked/dir").mkdir(parents=True)
    (oci.bundle / "rootfs/masked/dir/inner").touch()
    (oci.bundle / "rootfs/masked/file").write_text("seen\n")
    (oci.bundle / "tree/deep").mkdir(parents=True)
    (oci.bundle / "tree/file").write_text("other\n")
    oci.write("sh", "-c", script, namespaces=NEW)
    edit(oci, mounted({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*PRIVATE, "ro"]}))
    edit(oci, change)
    if "uidMappings" in (oci.bundle / "config.json").read_text():
        subprocess.run(["chown", "-hR", "3000:3000", str(oci.bundle / "rootfs")], check=True)
        oci.base.chmod(0o755)
    with tmpfs_in(oci.bundle / "tree/deep"):
        done = oci("run", "one")
    assert done.stdout.split() == expected.split(), done.stderr


def test_the_states_and_what_each_refuses(oci: Any) -> None:
    """create, start, state, kill, killsig, kill_no_effect, delete, delete_resources."""
    oci.write("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done", namespaces=NEW)
    assert oci("state", "one").returncode != 0
    assert oci("start", "one").returncode != 0
    assert oci("create").returncode != 0
    assert oci("create", "one").returncode == 0
    assert oci("create", "one").returncode != 0, "the id is taken"
    assert oci.status("one") == "created"
    found = json.loads(oci("state", "one").stdout)
    assert (found["id"], found["bundle"], found["ociVersion"].split(".")[0]) == ("one", str(oci.bundle), "1")
    assert oci("start", "one").returncode == 0
    assert oci("start", "one").returncode != 0
    assert oci.status("one") == "running"
    assert oci("delete", "one").returncode != 0, "it runs"
    assert oci.status("one") == "running"
    assert oci("kill", "one", "TERM").returncode == 0
    assert until(lambda: oci.status("one") == "stopped" or oci("kill", "one", "TERM").returncode)
    assert until(lambda: oci.status("one") == "stopped")
    assert oci("kill", "one", "TERM").returncode != 0
    assert oci("start", "one").returncode != 0
    assert oci("delete", "one").returncode == 0
    assert oci("delete", "one").returncode != 0
    assert oci("kill", "one", "TERM").returncode != 0
    assert not list(Path("/sys/fs/cgroup").glob("*/one")), "nothing that was made for it is left"


@pytest.mark.parametrize("signal", ["TERM", "SIGHUP", "int", "10", "SIGUSR2"])
def test_a_signal_by_any_of_its_names_reaches_the_first_process(oci: Any, signal: str) -> None:
    """killsig."""
    if signal == "int" and oci.program != oci_bundles.PROGRAM:
        signal = "INT"
    script = "for s in TERM HUP INT USR1 USR2; do trap \"echo $s > /got; exit\" $s; done; touch /ready; while :; do sleep 0.05; done"
    oci.write("sh", "-c", script, namespaces=NEW)
    assert oci("run", "-d", "one", ignored="HUP INT TERM USR1 USR2").returncode == 0
    assert until((oci.bundle / "rootfs/ready").exists)
    assert oci("kill", "one", "NO_SUCH").returncode != 0
    assert oci("kill", "one", signal).returncode == 0
    assert until(lambda: oci.status("one") == "stopped")
    expected = {"10": "USR1"}.get(signal, signal.upper().removeprefix("SIG"))
    assert (oci.bundle / "rootfs/got").read_text() == f"{expected}\n"
    assert oci("delete", "one").returncode == 0


def test_kill_without_a_signal_is_term_and_reaches_one_that_was_only_created(oci: Any) -> None:
    """kill."""
    oci.write("sleep", "1000", namespaces=NEW)
    assert oci("create", "one").returncode == 0
    assert oci("kill", "one", "KILL").returncode == 0
    assert until(lambda: oci.status("one") == "stopped")
    assert oci("delete", "one").returncode == 0
    oci.write("sh", "-c", "trap 'echo term > /got; exit' TERM; touch /ready; while :; do sleep 0.05; done", namespaces=NEW)
    assert oci("run", "-d", "two").returncode == 0
    assert until((oci.bundle / "rootfs/ready").exists)
    assert oci("kill", "two").returncode == 0
    assert until(lambda: oci.status("two") == "stopped")
    assert (oci.bundle / "rootfs/got").read_text() == "term\n"
    assert oci("delete", "two").returncode == 0


@pytest.mark.parametrize("path", ["festoon-relative/deep/one", "/festoon-absolute/one"])
def test_groups_are_where_they_were_wished_and_only_its_own_are_removed(oci: Any, path: str) -> None:
    """linux_cgroups_relative_*, linux_cgroups_*, delete_only_create_resources."""
    oci.write("sleep", "1000", namespaces=NEW, cgroupsPath=path, resources={"pids": {"limit": 33}})
    name = path.strip("/")
    assert oci("create", "one").returncode == 0
    pid = json.loads(oci("state", "one").stdout)["pid"]
    groups = [line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    assert [group for group in groups if group.endswith(f"/{name}")], groups
    pids = found("pids.max", name)
    assert [file.read_text() for file in pids] == ["33\n"]
    other = pids[0].parent.parent / "other"
    other.mkdir()
    try:
        assert oci("delete", "--force", "one").returncode == 0
        assert not pids[0].parent.exists()
        assert other.exists()
    finally:
        other.rmdir()
        for folder in {file.parent for file in found("cgroup.procs", str(Path(name).parent))}:
            subprocess.run(["rmdir", "-p", "--ignore-fail-on-non-empty", Path(name).parent], cwd=str(folder)[: -len(str(Path(name).parent))], check=False)


def found(file: str, group: str) -> list[Path]:
    return [path for path in Path("/sys/fs/cgroup").rglob(file) if str(path.parent).endswith(f"/{group}")]


@pytest.mark.parametrize(
    "change",
    [
        process(rlimits=[{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]),  # process_rlimits_fail
        process(cwd="relative"),
        process(args=[]),
        process(args=["/no/such/program"]),
        lambda c: c["root"].update(path="no-such-folder"),
        linux(namespaces=[{"type": "mount"}, {"type": "no-such"}]),
        linux(sysctl={"kernel.no.such": "1"}),
        mounted({"destination": "/m", "type": "no-such-type", "source": "none"}),
        lambda c: c.pop("process"),
    ],
    ids=["rlimit", "cwd", "no arguments", "no program", "no root", "namespace", "sysctl", "mount", "no process"],
)  # fmt: skip
def test_what_can_not_be_is_an_error_of_create_or_start_and_leaves_nothing(oci: Any, change: Callable[[dict[str, Any]], object]) -> None:
    oci.write("true", namespaces=NEW)
    edit(oci, change)
    failed = oci("create", "one").returncode or oci("start", "one").returncode
    assert failed != 0
    oci("delete", "--force", "one")
    assert oci("state", "one").returncode != 0
    assert not list(Path("/sys/fs/cgroup").glob("*/one"))


@pytest.mark.parametrize(("propagation", "shown"), [("shared", "shared:"), ("unbindable", "unbindable")])
def test_the_root_may_be_shared_or_unbindable(oci: Any, propagation: str, shown: str) -> None:
    """linux_rootfs_propagation: runc 1.1 leaves the first private and fails with the second, as it binds its root again."""
    oci.write("sh", "-c", ROOT_MOUNT + f"grep -o {shown}", namespaces=NEW)
    edit(oci, linux(rootfsPropagation=propagation))
    assert (oci("run", "one").stdout == f"{shown}\n") is (oci.program == oci_bundles.PROGRAM)


def test_a_capability_that_does_not_exist_is_an_error(oci: Any) -> None:
    """process_capabilities_fail, which the specification asked for up to 1.0; runc 1.1 passes over it."""
    sets = {name: ["CAP_CHOWN", "TEST_CAP"] for name in ("bounding", "effective", "permitted")}
    oci.write("true", namespaces=NEW)
    edit(oci, process(capabilities=sets))
    assert (oci("run", "one").returncode != 0) is (oci.program == oci_bundles.PROGRAM)


def test_hooks_of_one_kind_come_in_their_order_and_those_inside_run_inside(oci: Any) -> None:
    """hooks, with startContainer, environment and time limit."""
    log = oci.base / "log"
    log.touch(mode=0o666)
    oci.write("sh", "-c", "cat /inside", namespaces=NEW)

    def hook(script: str, **members: object) -> dict[str, object]:
        return {"path": "/bin/sh", "args": ["sh", "-c", script], **members}

    outside = [hook(f"echo {number} $WORD >> {log}", env=["PATH=/bin:/usr/bin", f"WORD=w{number}"], timeout=20) for number in range(3)]
    inside = [hook("test -e /bundle-only || echo inside $(hostname) > /inside")]
    edit(oci, lambda config: config.update(hooks={"createRuntime": outside, "startContainer": inside}))
    done = oci("run", "one")
    assert done.stdout == "inside bundle\n", done.stderr
    assert log.read_text().splitlines() == ["0 w0", "1 w1", "2 w2"]
    oci.write("true", namespaces=NEW)
    edit(oci, lambda config: config.update(hooks={"createRuntime": [hook("exec sleep 1000", timeout=1)]}))
    assert oci("run", "two").returncode != 0


def test_a_hook_that_fails_after_the_start_is_said_and_the_program_goes_on(oci: Any) -> None:
    """poststart_fail. runc 1.1 ends the container, as later versions of the specification let it."""
    oci.write("sh", "-c", "touch /ran; sleep 1000", namespaces=NEW)
    hooks(oci, poststart="exit 1")
    done = oci("run", "-d", "one")
    if oci.program == oci_bundles.PROGRAM:
        assert done.returncode == 0
        assert "poststart" in done.stderr
        assert until((oci.bundle / "rootfs/ran").exists)
        assert oci.status("one") == "running"
    else:
        assert done.returncode != 0


def test_configuration_is_that_of_create(oci: Any) -> None:
    """config_updates_without_affect."""
    oci.write("sh", "-c", "echo first > /out", namespaces=NEW)
    assert oci("create", "one").returncode == 0
    oci.write("sh", "-c", "echo second > /out", namespaces=NEW)
    assert oci("start", "one").returncode == 0
    assert until(lambda: oci.status("one") == "stopped")
    assert (oci.bundle / "rootfs/out").read_text() == "first\n"
    oci("delete", "one")


def test_namespaces_that_exist_are_joined_and_others_are_no_such_thing(oci: Any) -> None:
    """linux_ns_path, linux_ns_path_type, linux_ns_itype."""
    with subprocess.Popen(["unshare", "-n", "-i", "sleep", "1000"]) as holder:
        try:
            home = os.readlink("/proc/self/ns/net")
            net = until(lambda: (link := os.readlink(f"/proc/{holder.pid}/ns/net")) != home and link)
            joined = [{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": f"/proc/{holder.pid}/ns/net"}]
            oci.write("sh", "-c", "readlink /proc/self/ns/net; readlink /proc/self/ns/uts", namespaces=joined)
            done = oci("run", "one")
            assert done.stdout.split()[:1] == [net], done.stderr
            assert done.stdout.split()[1:] != [os.readlink("/proc/self/ns/uts")]
            joined[2] = {"type": "network", "path": f"/proc/{holder.pid}/ns/ipc"}
            oci.write("true", namespaces=joined)
            assert oci("run", "two").returncode != 0
        finally:
            holder.kill()


def hooks(oci: Any, **scripts: str) -> None:
    named = {name: [{"path": "/bin/sh", "args": ["sh", "-c", script]}] for name, script in scripts.items()}
    edit(oci, lambda config: config.update(hooks=named))


def test_hooks_come_in_their_order_and_read_the_state(oci: Any) -> None:
    """hooks, hooks_stdin, prestart, poststart, poststop."""
    log = oci.base / "log"
    oci.write("sh", "-c", "echo program > /started; sleep 1000", namespaces=NEW)
    say = f"echo NAME $(cat | tr -d ' \\n' | grep -o '\"status\":\"[a-z]*\"' | cut -d'\"' -f4) >> {log}"
    names = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    hooks(oci, **{name: say.replace("NAME", name) for name in names})
    assert oci("create", "one").returncode == 0
    before = [line.split()[0] for line in log.read_text().splitlines()]
    assert before[:3] == ["prestart", "createRuntime", "createContainer"]
    assert before[3:] == ([] if oci.program == oci_bundles.PROGRAM else ["poststart"]), "runc 1.1 runs poststart hooks at create"
    assert not (oci.bundle / "rootfs/started").exists()
    assert oci("start", "one").returncode == 0
    after = log.read_text().splitlines()
    assert after[-1].split()[0] == "poststart"
    assert oci.program != oci_bundles.PROGRAM or after[-1] == "poststart running"
    assert oci("delete", "--force", "one").returncode == 0
    assert log.read_text().splitlines()[-1] == "poststop stopped"


@pytest.mark.parametrize("name", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_before_the_start_ends_the_container(oci: Any, name: str) -> None:
    """prestart_fail."""
    oci.write("sh", "-c", "echo ran > /ran", namespaces=NEW)
    hooks(oci, **{name: "exit 1"})
    assert oci("run", "one").returncode != 0
    assert not (oci.bundle / "rootfs/ran").exists()
    assert oci("state", "one").returncode != 0


def test_a_hook_that_fails_after_the_end_does_no_harm(oci: Any) -> None:
    """poststop_fail."""
    oci.write("true", namespaces=NEW)
    hooks(oci, poststop="exit 1")
    assert oci("run", "one").returncode == 0
    assert oci("state", "one").returncode != 0


def test_the_pid_file(oci: Any) -> None:
    """pidfile."""
    oci.write("sleep", "1000", namespaces=NEW)
    assert oci("create", "--pid-file", str(oci.base / "pid"), "one").returncode == 0
    assert int((oci.base / "pid").read_text()) == json.loads(oci("state", "one").stdout)["pid"]
    oci("delete", "--force", "one")
