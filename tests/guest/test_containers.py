"""Containers on pure cgroup v2, with Debian's kernel: each limit as the kernel keeps it and as it is felt, device rules by eBPF, the freezer, the end of
groups; user namespaces on an overlayfs that takes no layers by descriptor."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from runtime.cgroups import usage
from runtime.client import Supervisor
from runtime.spec import ContainerSpec, DeviceNode, IdRange, Limits, Mount
from tests.node.runtime.machine import Machine, machine_in

MIB = 1 << 20
IDS = IdRange(1_234_567, 65_536)
DISK_MIB = 96


@pytest.fixture(scope="session")
def disk() -> Iterator[Path]:
    """An ext4 of the guest's own: its tmpfs has neither id-mapped mounts on this kernel nor a block device to limit."""
    image, folder = Path("/var/tmp/disk.img"), Path("/var/tmp/disk")
    with image.open("wb") as file:
        file.truncate(DISK_MIB * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=True)
    subprocess.run(["modprobe", "loop"], check=True)
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="session")
def machine(disk: Path) -> Iterator[Machine]:
    """One for all: a supervisor takes seconds to start here."""
    with machine_in(disk / "machine", "/bin/busybox") as made:
        yield made


async def said(machine: Machine, spec: ContainerSpec, word: str) -> None:
    while word not in machine.output(spec):
        await trio.sleep(0.05)


def kept(folder: str, *names: str) -> list[str]:
    return [Path(folder, name).read_text().strip() for name in names]


def test_each_limit_is_in_its_file_and_can_be_changed_while_it_runs(machine: Machine, disk: Path) -> None:
    major, minor = os.major(disk.stat().st_dev), os.minor(disk.stat().st_dev)
    limits = Limits(
        memory_bytes=64 * MIB, memory_swap_bytes=96 * MIB, memory_reservation_bytes=32 * MIB, cpu_quota_us=50_000, cpu_period_us=100_000, cpu_shares=512,
        cpuset_cpus="0", cpuset_mems="0", pids=20, throttles=(("write_bps", f"{major}:{minor}", 8 * MIB),),
    )  # fmt: skip
    files = ("memory.max", "memory.swap.max", "memory.low", "cpu.max", "cpu.weight", "cpuset.cpus", "cpuset.mems", "pids.max", "io.max")

    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000", limits=limits)
        await machine.started(supervisor, spec)
        group = (await supervisor.groups(spec.id)).unified
        assert kept(group, *files) == [
            str(64 * MIB), str(32 * MIB), str(32 * MIB), "50000 100000", "20", "0", "0", "20", f"{major}:{minor} rbps=max wbps={8 * MIB} riops=max wiops=max",
        ]  # fmt: skip
        await supervisor.update(spec.id, Limits(memory_bytes=48 * MIB, memory_swap_bytes=-1, nano_cpus=1_500_000_000, cpuset_cpus="0-1", pids=-1))
        assert kept(group, "memory.max", "memory.swap.max", "cpu.max", "cpuset.cpus", "pids.max") == [str(48 * MIB), "max", "150000 100000", "0-1", "max"]
        await supervisor.remove(spec.id)
        assert not Path(group).exists()

    machine.run(body)


def test_each_limit_is_felt_and_counted(machine: Machine, disk: Path) -> None:
    device = f"{os.major(disk.stat().st_dev)}:{os.minor(disk.stat().st_dev)}"
    per_second, written = MIB // 2, MIB
    busy = "grep Cpus_allowed_list /proc/self/status; n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); done; echo counted; sleep 1000"
    many = machine.spec("sh", "-c", "for n in 1 2 3 4 5 6 7 8; do sleep 1000 & done", limits=Limits(pids=5))
    slow = machine.spec("sh", "-c", busy, limits=Limits(cpuset_cpus="1", cpu_quota_us=5_000, cpu_period_us=50_000, memory_bytes=64 * MIB))
    writer = machine.spec(
        "sh", "-c", f"dd if=/dev/zero of=/file bs=64k count={written // 65536} oflag=direct; sleep 1000",
        limits=Limits(throttles=(("write_bps", device, per_second),)),
    )  # fmt: skip

    async def body(supervisor: Supervisor) -> None:
        assert (await machine.ran(supervisor, many)).status == 2
        assert "can't fork" in machine.output(many)
        await machine.started(supervisor, slow)
        await said(machine, slow, "counted")
        assert "Cpus_allowed_list:\t1\n" in machine.output(slow)
        used = usage.read(await supervisor.groups(slow.id))
        assert used.throttled_periods > 0
        assert used.throttled_ns > 0
        assert used.cpu_total_ns >= max(used.cpu_user_ns, used.cpu_kernel_ns) > 0
        assert 0 < used.memory_bytes < used.memory_limit_bytes == 64 * MIB
        assert used.pids == 1
        began = trio.current_time()
        await machine.started(supervisor, writer)
        await said(machine, writer, "records out")
        assert trio.current_time() - began >= written / per_second / 2, "the kernel lets the first half second's worth through at once"
        moved = usage.read(await supervisor.groups(writer.id)).io_bytes
        assert sum(each.value for each in moved if each.operation == "write" and f"{each.major}:{each.minor}" == device) >= written
        for spec in (slow, writer):
            await supervisor.remove(spec.id)

    machine.run(body)


def test_the_kernels_kill_for_want_of_memory_is_told_apart_and_published(machine: Machine) -> None:
    limits = Limits(memory_bytes=16 * MIB, memory_swap_bytes=16 * MIB)
    eater = machine.spec("tail", "/dev/zero", limits=limits)
    child = machine.spec("sh", "-c", "tail /dev/zero; echo outlived it; exit 5", limits=limits)
    killed = machine.spec("sh", "-c", "kill -9 $$; sleep 1000", init=True, limits=limits)

    async def body(supervisor: Supervisor) -> None:
        async with supervisor.subscribed() as events:
            ends = [await machine.ran(supervisor, spec) for spec in (eater, child, killed)]
            assert [(end.status, end.oom_killed) for end in ends] == [(137, True), (5, True), (137, False)]
            seen: list[tuple[str, str]] = []
            while ("exited", killed.id) not in seen:
                event = await events.receive()
                seen.append((event.kind, event.container_id))
            assert [spec for kind, spec in seen if kind == "oom"] == [eater.id, child.id]
            assert seen.index(("oom", eater.id)) < seen.index(("exited", eater.id))

    machine.run(body)


def test_paused_by_the_freezer_and_killed_while_paused(machine: Machine) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "while :; do echo tick; sleep 0.05; done")
        await machine.started(supervisor, spec)
        await said(machine, spec, "tick")
        group = (await supervisor.groups(spec.id)).unified
        await supervisor.pause(spec.id)
        assert kept(group, "cgroup.freeze") == ["1"]
        assert "frozen 1" in kept(group, "cgroup.events")[0]
        heard = machine.output(spec)
        assert [state.paused for state in await supervisor.list() if state.id == spec.id] == [True]
        assert machine.output(spec) == heard
        await supervisor.unpause(spec.id)
        while machine.output(spec) == heard:
            await trio.sleep(0.05)
        await supervisor.pause(spec.id)
        await supervisor.signal(spec.id, 9)
        assert (await supervisor.wait(spec.id)).status == 137
        await supervisor.remove(spec.id)
        assert not Path(group).exists()

    machine.run(body)


def test_the_end_of_the_first_process_ends_whoever_is_in_its_groups(machine: Machine) -> None:
    """With the host's pid namespace only cgroup.kill reaches the others; groups made below are removed as well."""

    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "sleep 1000 & sleep 1001 & echo $!; read x", pid_mode="host", open_stdin=True)
        await machine.started(supervisor, spec)
        await said(machine, spec, "\n")
        group = (await supervisor.groups(spec.id)).unified
        nested = Path(group, "a/b")
        nested.mkdir(parents=True)
        (nested / "cgroup.procs").write_text(machine.output(spec))
        await supervisor.close_stdin(spec.id)
        assert (await supervisor.wait(spec.id)).status == 1, "what read says at the end of its input"
        while Path(group).exists():
            await trio.sleep(0.05)
        while Path(f"/proc/{machine.output(spec).strip()}").exists():
            await trio.sleep(0.05)
        await supervisor.remove(spec.id)

    machine.run(body)


def test_devices_are_opened_as_the_program_on_the_group_allows(machine: Machine) -> None:
    opening = "mknod /tmp/d c 10 237 && exec 3< /tmp/d"

    async def body(supervisor: Supervisor) -> None:
        refused = machine.spec("sh", "-c", opening)
        assert (await machine.ran(supervisor, refused)).status != 0
        assert "Operation not permitted" in machine.output(refused)
        assert (await machine.ran(supervisor, machine.spec("sh", "-c", opening, device_rules=("c 10:237 r",)))).status == 0
        assert (await machine.ran(supervisor, machine.spec("sh", "-c", opening, privileged=True))).status == 0
        for permissions, answer in (("rwm", "read write"), ("r", "read")):
            script = "exec 3< /dev/control && printf 'read '; (exec 3> /dev/control) 2>/dev/null && printf write"
            spec = machine.spec("sh", "-c", script, devices=(DeviceNode("/dev/loop-control", "/dev/control", permissions),))
            await machine.ran(supervisor, spec)
            assert machine.output(spec).split() == answer.split()

    machine.run(body)


def test_user_namespaces_where_overlayfs_takes_no_layers_by_descriptor(machine: Machine, disk: Path) -> None:
    volume = disk / "volume"
    volume.mkdir()
    (volume / "mine").write_text("of 33\n")
    os.chown(volume / "mine", 33, 34)
    second = machine.base / "second"
    second.mkdir()
    (second / "of-7").touch()
    os.chown(second / "of-7", 7, 7)
    script = """
        stat -c '%u:%g' / /bin/busybox /dev/null /tmp /volume/mine /of-7
        touch /tmp/new /volume/new && busybox chown 5:6 /volume/new /tmp/new && busybox chown 1:1 /etc/passwd && busybox rm /bin/yes
        stat -c '%u:%g' /tmp/new /volume/new /etc/passwd; cat /proc/self/uid_map; echo done; sleep 1000"""
    spec = machine.spec("sh", "-c", script, ids=IDS, mounts=(Mount("bind", "/volume", str(volume), shifted=True),), layers=(str(second),))

    async def body(supervisor: Supervisor) -> None:
        pid = await machine.started(supervisor, spec)
        await said(machine, spec, "done")
        assert Path(f"/proc/{pid}").stat().st_uid == IDS.base
        lines = machine.output(spec).split("\n")
        assert lines[:9] == ["0:0", "0:0", "0:0", "0:0", "33:34", "7:7", "5:6", "5:6", "1:1"]
        assert lines[9].split() == ["0", str(IDS.base), str(IDS.count)]
        await supervisor.remove(spec.id)

    machine.run(body)
    upper = Path(spec.rootfs.upper)
    owners = [(path.lstat().st_uid, path.lstat().st_gid) for path in (upper / "tmp/new", volume / "new", upper / "etc/passwd", upper / "bin/yes")]
    assert owners == [(5, 6), (5, 6), (1, 1), (0, 0)], "on disk as the container sees them; the last is what hides the removed file"
