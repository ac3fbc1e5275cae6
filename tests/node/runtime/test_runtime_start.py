"""Containers start as their specification says, end with Docker's statuses, and see only what they should."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runtime.cgroups.groups import read_layout
from runtime.client import Supervisor
from runtime.errors import NoSuchContainer, RuntimeFault, StartFailed
from runtime.spec import ContainerState, Limits, Mount, Rlimit, User
from tests.driver import until


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$; sleep 9", 143), ("exit 255", 255)])
def test_exit_status(machine: Any, script: str, status: int) -> None:
    async def body(supervisor: Supervisor) -> None:
        # with an init, so that the shell is not pid 1, which ignores signals without a handler
        spec = machine.spec("sh", "-c", script, init=True)
        exited = await machine.ran(supervisor, spec)
        assert (exited.status, exited.known, exited.oom_killed) == (status, True, False)
        assert exited.finished_at_ns > 0

    machine.run(body)


def test_signal_ends_pid_1_with_128_plus_n(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000")
        pid = await machine.started(supervisor, spec)
        assert os.path.exists(f"/proc/{pid}")
        (state,) = await supervisor.list()
        assert (state.phase, state.pid) == ("running", pid)
        await supervisor.signal(spec.id, 9)
        assert (await supervisor.wait(spec.id)).status == 137
        (state,) = await supervisor.list()
        assert isinstance(state, ContainerState)
        assert (state.phase, state.pid) == ("exited", 0)

    machine.run(body)


@pytest.mark.parametrize(
    ("argv", "message", "status"),
    [
        (("nosuch",), 'exec: "nosuch": executable file not found in $PATH', 127),
        (("/nosuch",), 'exec: "/nosuch": stat /nosuch: no such file or directory', 127),
        (("/etc/passwd",), 'exec: "/etc/passwd": permission denied', 126),
        (("/etc",), 'exec: "/etc": permission denied', 126),
    ],
)
def test_what_can_not_be_executed(machine: Any, argv: tuple[str, ...], message: str, status: int) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec(*argv)
        await supervisor.create(spec)
        with pytest.raises(StartFailed) as caught:
            await supervisor.start(spec.id)
        assert (str(caught.value), caught.value.exit_status) == (message, status)
        assert [state.phase for state in await supervisor.list()] == ["created"]

    machine.run(body)


def test_unknown_container(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        with pytest.raises(NoSuchContainer, match="No such container: abc"):
            await supervisor.start("abc")
        await supervisor.remove("abc")

    machine.run(body)


def test_create_is_idempotent_but_not_for_another_specification(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        import msgspec

        spec = machine.spec("true")
        await supervisor.create(spec)
        await supervisor.create(spec)
        await supervisor.create(msgspec.structs.replace(spec, argv=("sleep", "1000")))  # it has not been started: the last word counts
        await supervisor.start(spec.id)
        with pytest.raises(RuntimeFault, match="already in use"):
            await supervisor.create(msgspec.structs.replace(spec, argv=("false",)))

    machine.run(body)


def test_user_environment_cwd_and_hostname(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec(
            "sh", "-c", "id -u; id -g; id -G; pwd; hostname; echo $GREETING",
            user=User(1000, 1001, (1001, 7)), cwd="/made/for/it", hostname="web", env=("PATH=/bin", "GREETING=hello"),
        )  # fmt: skip
        await machine.ran(supervisor, spec)
        assert machine.output(spec).splitlines() == ["1000", "1001", "1001 7", "/made/for/it", "web", "hello"]

    machine.run(body)


def test_namespaces_are_its_own(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        names = ("mnt", "uts", "ipc", "pid", "net", "cgroup")
        spec = machine.spec("sh", "-c", "for n in mnt uts ipc pid net cgroup; do readlink /proc/self/ns/$n; done; echo $$; ls /sys/class/net; ip link")
        await machine.ran(supervisor, spec)
        lines = machine.output(spec).splitlines()
        assert not set(lines[:6]) & {os.readlink(f"/proc/self/ns/{name}") for name in names}
        assert lines[6:8] == ["1", "lo"]
        assert "LOWER_UP" in lines[8]

    machine.run(body)


def test_capabilities_of_root_and_of_a_user(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        for user, effective in ((User(), "00000000a80425fb"), (User(1000, 1000), "0000000000000000")):
            spec = machine.spec("grep", "Cap", "/proc/self/status", user=user)
            await machine.ran(supervisor, spec)
            found = dict(line.split(":\t") for line in machine.output(spec).splitlines())
            assert found == {
                "CapInh": "0" * 16, "CapPrm": effective, "CapEff": effective, "CapBnd": "00000000a80425fb", "CapAmb": "0" * 16,
            }  # fmt: skip

    machine.run(body)


def test_masked_and_read_only_paths(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec(
            "sh", "-c",
            "cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l;"
            "echo 1 > /proc/sys/kernel/panic; echo $?; mkdir /sys/fs/cgroup/pids/x; echo $?; echo x > /proc/sys/net/ipv4/ip_forward; echo $?",
        )  # fmt: skip
        await machine.ran(supervisor, spec)
        lines = [line for line in machine.output(spec).splitlines() if line.isdigit()]
        assert lines == ["0", "0", "1", "1", "1"]

    machine.run(body)


def test_default_devices_and_no_others(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec(
            "sh", "-c",
            "ls /dev; echo lost > /dev/null; head -c 4 /dev/zero | wc -c; mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk; echo $?",
        )  # fmt: skip
        await machine.ran(supervisor, spec)
        output = machine.output(spec)
        core = "core " if os.path.exists("/proc/kcore") else ""
        names = core + "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
        assert " ".join(output.split()).startswith(names)
        assert output.splitlines()[-1] != "0", "a block device that the rules deny was readable"
        assert "4" in output.splitlines()

    machine.run(body)


def test_binds_of_files_folders_and_tmpfs(machine: Any, tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        hosts, data = tmp_path / "hosts", tmp_path / "data"
        hosts.write_text("10.0.0.1 web\n")
        data.mkdir()
        (machine.layer / "etc/resolv.conf").symlink_to("../run/resolv.conf")
        (machine.layer / "run").mkdir()
        spec = machine.spec(
            "sh", "-c",
            "cat /etc/hosts /etc/resolv.conf; echo new > /data/new; echo x > /ro/x || echo refused; mount | grep -c ' /scratch type tmpfs'",
            mounts=(
                Mount("bind", "/etc/hosts", str(hosts)),
                Mount("bind", "/etc/resolv.conf", str(hosts)),
                Mount("bind", "/data", str(data)),
                Mount("bind", "/ro", str(data), read_only=True),
                Mount("tmpfs", "/scratch", options=(("size", "1m"),)),
            ),
        )  # fmt: skip
        assert (await machine.ran(supervisor, spec)).status == 0
        lines = [line for line in machine.output(spec).splitlines() if not line.startswith("sh: ")]  # standard error may come anywhere
        assert lines[:2] == ["10.0.0.1 web"] * 2
        assert "refused" in lines
        assert "1" in lines
        assert (data / "new").read_text() == "new\n"
        assert (Path(spec.rootfs.upper) / "etc/hosts").exists()

    machine.run(body)


def test_what_is_mounted_below_the_source_of_a_bind(machine: Any, tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        mounts = (
            Mount("bind", "/alike", str(tmp_path), read_only=True),
            Mount("bind", "/writable", str(tmp_path), read_only=True, writable_below=True),
            Mount("bind", "/alone", str(tmp_path), alone=True),
        )
        spec = machine.spec("sh", "-c", "for f in alike writable alone; do touch /$f/below/$f /$f/$f; ls /$f/below; done 2>/dev/null", mounts=mounts)
        await machine.ran(supervisor, spec)
        assert machine.output(spec).splitlines() == ["writable", "alone"]
        assert sorted(path.name for path in (tmp_path / "below").iterdir()) == ["writable"]

    below = tmp_path / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", below], check=True)
    try:
        machine.run(body)
    finally:
        subprocess.run(["umount", below], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "below"]


def test_a_link_in_the_image_does_not_lead_out_of_the_root(machine: Any, tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        (tmp_path / "outside").mkdir()
        (machine.layer / "way").symlink_to(tmp_path / "outside")
        source = tmp_path / "source"
        source.write_text("in\n")
        spec = machine.spec("true", mounts=(Mount("bind", "/way/file", str(source)),))
        await supervisor.create(spec)
        with pytest.raises(StartFailed, match="/way/file"):
            await supervisor.start(spec.id)
        assert list((tmp_path / "outside").iterdir()) == []

    machine.run(body)


def test_missing_bind_source(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("true", mounts=(Mount("bind", "/x", "/no/such/source"),))
        await supervisor.create(spec)
        with pytest.raises(StartFailed, match="bind source path does not exist: /no/such/source"):
            await supervisor.start(spec.id)
        assert until(lambda: machine.idle_groups() == [])

    machine.run(body)


def test_read_only_root_rlimits_and_sysctls(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec(
            "sh", "-c", "touch /x || echo refused; ulimit -n; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
            read_only=True, rlimits=(Rlimit("nofile", 123, 456),), sysctls=(("net.ipv4.ip_unprivileged_port_start", "0"),),
        )  # fmt: skip
        await machine.ran(supervisor, spec)
        assert machine.output(spec).splitlines()[-3:] == ["refused", "123", "0"]

    machine.run(body)


NESTED_GROUPS = """
group=/sys/fs/cgroup/pids; test -d $group || group=/sys/fs/cgroup
mkdir -p $group/one/two 2>/dev/null && echo 1 > $group/one/two/cgroup.procs && grep -c /one/two /proc/1/cgroup || echo refused
"""


@pytest.mark.parametrize(("privileged", "words"), [(True, ["1"]), (False, ["refused"])])
def test_who_is_privileged_makes_groups_of_its_own_and_they_go_with_it(machine: Any, privileged: bool, words: list[str]) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", NESTED_GROUPS, privileged=privileged)
        await machine.ran(supervisor, spec)
        assert machine.output(spec).splitlines()[:1] == words
        assert until(lambda: machine.idle_groups() == [])

    machine.run(body)


def test_few_open_files_are_the_programs_limit_and_not_ours(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "ulimit -n; exec sleep 1000", cwd="/tmp", rlimits=(Rlimit("nofile", 5, 10),))
        await machine.started(supervisor, spec)
        call = machine.exec_spec(spec, "sh", "-c", "test $(ulimit -n) = 5", cwd="/tmp")
        await supervisor.exec(call)
        assert (await supervisor.exec_wait(spec.id, call.exec_id)).status == 0

    machine.run(body)


def test_a_sysctl_of_the_host_is_refused(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("true", sysctls=(("kernel.panic", "1"),))
        await supervisor.create(spec)
        with pytest.raises(StartFailed, match="not in a separate kernel namespace"):
            await supervisor.start(spec.id)

    machine.run(body)


def test_limits_are_written(machine: Any) -> None:
    if read_layout().unified:
        pytest.skip("cgroup v1 is not mounted here")

    async def body(supervisor: Supervisor) -> None:
        limits = Limits(memory_bytes=64 << 20, nano_cpus=500_000_000, cpu_shares=512, pids=50, cpuset_cpus="0")
        spec = machine.spec("sleep", "1000", limits=limits)
        pid = await machine.started(supervisor, spec)
        values = {}
        for folder in machine.groups_of(pid):
            for name in ("memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.shares", "pids.max", "cpuset.cpus"):
                path = Path(folder, name)
                if path.exists():
                    values[name] = path.read_text().strip()
        assert values == {
            "memory.limit_in_bytes": str(64 << 20), "cpu.cfs_quota_us": "50000", "cpu.shares": "512", "pids.max": "50", "cpuset.cpus": "0",
        }  # fmt: skip

    machine.run(body)


def test_memory_limit_kills_and_says_so(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done", limits=Limits(memory_bytes=8 << 20))
        async with supervisor.subscribed() as events:
            exited = await machine.ran(supervisor, spec)
            assert (exited.status, exited.oom_killed) == (137, True)
            kinds = [(await events.receive()).kind for _ in range(2)]
            assert kinds == ["oom", "exited"]

    machine.run(body)


def test_joins_a_network_namespace_by_path(machine: Any, tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link add eth7 type bridge; echo ready; exec sleep 1000"], stdout=subprocess.PIPE)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            spec = machine.spec("ls", "/sys/class/net", network_namespace=f"/proc/{holder.pid}/ns/net")
            await machine.ran(supervisor, spec)
            assert "eth7" in machine.output(spec).split()
        finally:
            holder.kill()
            holder.wait()
            assert holder.stdout is not None
            holder.stdout.close()

    machine.run(body)


def test_init_reaps_orphans(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        script = "(sleep 0 &) ; (sleep 0 & ) ; sleep 1; ps | grep -c '\\[sleep\\]'; cat /proc/1/comm; tr '\\0' ' ' < /proc/1/cmdline | cut -c1-25"
        spec = machine.spec("sh", "-c", script, init=True)
        await machine.ran(supervisor, spec)
        assert machine.output(spec).splitlines() == ["0", "docker-init", "/sbin/docker-init -- sh -"]

    machine.run(body)


def test_starts_again_after_its_end(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "echo once more; exit 4")
        for _ in range(3):
            assert (await machine.ran(supervisor, spec)).status == 4
        assert machine.output(spec).splitlines() == ["once more"] * 3

    machine.run(body)


def test_remove_kills_and_leaves_nothing(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "sleep 1000 & sleep 1000 & wait")
        pid = await machine.started(supervisor, spec)
        groups = machine.groups_of(pid)
        assert groups
        await supervisor.remove(spec.id)
        assert not os.path.exists(f"/proc/{pid}")
        assert not [folder for folder in groups if os.path.exists(folder)]
        assert not os.path.exists(machine.places.container(spec.id))
        assert await supervisor.list() == ()

    machine.run(body)


def test_a_specification_larger_than_a_datagram(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        environment = ("PATH=/bin", *(f"V{number}={'x' * 1000}" for number in range(200)))
        spec = machine.spec("sh", "-c", "env | wc -c", env=environment)
        assert (await machine.ran(supervisor, spec)).status == 0
        assert int(machine.output(spec)) > 200_000

    machine.run(body)
