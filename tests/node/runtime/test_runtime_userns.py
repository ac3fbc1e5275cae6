"""Containers in user namespaces: who they are outside, whose files they make, what they can't reach; every way out of test_runtime_escapes.py again,
and those that stay closed when the defence of that test is missing, because the user namespace closes them too."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from runtime.cgroups.groups import read_layout
from runtime.client import Supervisor
from runtime.errors import StartFailed
from runtime.kernel import constants as k
from runtime.kernel import overlay, userns
from runtime.kernel.operations import Operation
from runtime.kernel.syscalls import Call
from runtime.spec import DEFAULT_CAPABILITIES, DeviceNode, IdRange, Mount, Rlimit, User
from tests.node.runtime.attempts import attempt, folder_with_secret, without
from tests.node.runtime.test_runtime_escapes import CASES, UNCONFINED, Case

IDS = IdRange(1_234_567, 65_536)
BASE = IDS.base
CLOSED_TWICE = ("a sysctl of the host", "a setting in sysfs", "a device node")
"""What the user namespace keeps closed by itself."""


@pytest.fixture(autouse=True)
def _user_namespaces() -> None:
    if os.geteuid() == 0:
        try:
            made = userns.new_user_namespace((userns.Mapping(0, BASE, 1),), (userns.Mapping(0, BASE, 1),))
        except OSError as error:
            pytest.skip(f"needs user namespaces: {error}")
        for descriptor in made.values():
            os.close(descriptor)


def is_entering(operation: Operation) -> bool:
    return operation.step == "user namespace" and operation.call is Call.SETNS


def ids_of(pid: int) -> tuple[str, str]:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return lines["Uid"].split()[0], lines["Gid"].split()[0]


def test_root_inside_is_nobody_special_outside_and_files_keep_the_owners_that_it_sees(machine: Any, tmp_path: Path) -> None:
    volume, foreign = tmp_path / "volume", tmp_path / "foreign"
    volume.mkdir()
    foreign.mkdir(mode=0o700)
    (volume / "mine").write_text("of 33\n")
    os.chown(volume / "mine", 33, 34)
    (foreign / "secret").write_text("of the host's root\n")
    (foreign / "secret").chmod(0o600)
    tmp_path.chmod(0o755)
    script = """
        stat -c '%u:%g' / /bin /dev /dev/null /dev/shm /tmp /volume/mine /foreign
        touch /tmp/new /volume/new && busybox chown 5:6 /volume/new && stat -c '%u:%g' /tmp/new /volume/new
        cat /foreign/secret || echo closed; touch /foreign/new || echo closed; busybox chown 0 /foreign || echo closed
        cat /proc/self/uid_map; echo done; sleep 1000"""
    mounts = (Mount("bind", "/volume", str(volume), shifted=True), Mount("bind", "/foreign", str(foreign)))
    spec = machine.spec("sh", "-c", script, ids=IDS, mounts=mounts)

    async def body(supervisor: Supervisor) -> None:
        pid = await machine.started(supervisor, spec)
        assert ids_of(pid) == (str(BASE), str(BASE))
        while "done" not in machine.output(spec):
            assert Path(f"/proc/{pid}").exists(), machine.output(spec)
        lines = [line for line in machine.output(spec).split("\n") if ": " not in line]  # standard error may come anywhere
        assert lines[:8] == ["0:0", "0:0", "0:0", "0:0", "0:0", "0:0", "33:34", "65534:65534"]
        assert lines[8:10] == ["0:0", "5:6"]
        assert lines.count("closed") == 3
        assert f"{BASE} {IDS.count}" in " ".join(machine.output(spec).split())
        await supervisor.remove(spec.id)

    machine.run(body)
    upper = Path(spec.rootfs.upper)
    assert ((upper / "tmp/new").stat().st_uid, (volume / "new").stat().st_uid, (volume / "new").stat().st_gid) == (0, 5, 6)
    assert os.listdir(foreign) == ["secret"]


def test_users_exec_terminals_limits_devices_and_shared_namespaces(machine: Any) -> None:
    options: dict[str, Any] = {"ids": IDS, "capabilities": (*DEFAULT_CAPABILITIES, "SYS_ADMIN", "NET_ADMIN"), **UNCONFINED}
    script = "stat -c %u /dev/pts/0 /dev/mine; id -u; hostname other && mount -t tmpfs none /tmp && ip link set lo mtu 1400 && echo able; sleep 1000"
    spec = machine.spec(
        "sh", "-c", script, tty=True, user=User(0, 0), devices=(DeviceNode("/dev/null", "/dev/mine"),), rlimits=(Rlimit("nofile", 2000, 3000),), **options
    )
    second = machine.spec("sh", "-c", "ip link show lo; ps; sleep 1000", network_namespace=f"container:{spec.id}", pid_mode=spec.id, ids=IDS)
    plain = machine.spec("sleep", "1000")
    wrong = machine.spec("true", network_namespace=f"container:{plain.id}", ids=IDS)
    from_host = machine.spec("ip", "link", "show", "lo", network_namespace=f"container:{spec.id}")

    async def body(supervisor: Supervisor) -> None:
        pid = await machine.started(supervisor, spec)
        while "able" not in machine.output(spec):
            assert Path(f"/proc/{pid}").exists(), machine.output(spec)
        assert machine.output(spec).split()[:4] == ["0", "0", "0", "able"], machine.output(spec)
        started = await supervisor.exec(machine.exec_spec(spec, "sh", "-c", "id -u; ulimit -n; echo x > /dev/stdout; sleep 1000", user=User(1000, 1000)))
        assert ids_of(started.pid)[0] == str(BASE + 1000)
        assert os.readlink(f"/proc/{started.pid}/ns/user") == os.readlink(f"/proc/{pid}/ns/user")
        said = b""
        os.set_blocking(started.stdout, True)
        while said.count(b"\n") < 3 and (piece := os.read(started.stdout, 4096)):
            said += piece
        assert said.split() == [b"1000", b"2000", b"x"]
        for descriptor in (started.stdin, started.stdout, started.stderr):
            if descriptor >= 0:
                os.close(descriptor)
        other = await machine.started(supervisor, second)
        assert os.readlink(f"/proc/{other}/ns/user") == os.readlink(f"/proc/{pid}/ns/user")
        await machine.started(supervisor, plain)
        await supervisor.create(wrong)
        with pytest.raises(StartFailed, match="not in a user namespace"):
            await supervisor.start(wrong.id)
        assert (await machine.ran(supervisor, from_host)).status == 0
        assert "mtu 1400" in machine.output(from_host)
        for each in (second, spec, plain):
            await supervisor.remove(each.id)

    machine.run(body)


def test_a_network_that_was_made_for_it_belongs_to_its_user_namespace(machine: Any, tmp_path: Path) -> None:
    async def body(supervisor: Supervisor) -> None:
        network = await supervisor.new_network(IDS)
        name = f"/proc/{os.getpid()}/fd/{network}"
        spec = machine.spec("sleep", "1000", network_namespace=name, ids=IDS)
        pid = await machine.started(supervisor, spec)
        owner = userns.owner_of(network)
        assert os.fstat(owner).st_ino == os.stat(f"/proc/{pid}/ns/user").st_ino
        assert os.fstat(network).st_ino == os.stat(f"/proc/{pid}/ns/net").st_ino
        os.close(owner)
        await supervisor.remove(spec.id)
        os.close(network)

    machine.run(body)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_way_out_stays_closed_and_some_even_without_its_own_defence(machine: Any, case: Case) -> None:
    if "a device node" in case.name and (read_layout().unified or not os.path.exists("/dev/loop-control")):
        pytest.skip("needs the devices controller of cgroup v1 and /dev/loop-control")
    options = {"env": ("PATH=/bin", f"HOST_IPC={os.readlink('/proc/self/ns/ipc')}"), **case.options, "ids": IDS}
    closed = attempt(machine, case.script, **options)
    assert not closed.succeeded, closed
    assert closed.failed_step == "", closed
    if case.name.startswith(CLOSED_TWICE):
        assert not attempt(machine, case.script, case.defence, **options).succeeded


def test_files_of_the_hosts_root_are_out_of_reach_of_one_who_may_override_permissions(machine: Any, tmp_path: Path) -> None:
    outside = folder_with_secret(tmp_path)
    for path in (outside, outside / "secret"):
        path.chmod(stat.S_IRWXU if path.is_dir() else stat.S_IRUSR)
    options: dict[str, Any] = {"mounts": (Mount("bind", "/outside", str(outside)),), "capabilities": ("DAC_OVERRIDE",), **UNCONFINED}
    script = "cat /outside/secret"
    assert not attempt(machine, script, ids=IDS, **options).succeeded
    assert attempt(machine, script, without(is_entering), ids=IDS, **options).succeeded


@pytest.mark.parametrize("by_descriptor", [True, False])
def test_both_ways_to_an_overlay_of_shifted_layers_give_the_same(machine: Any, monkeypatch: pytest.MonkeyPatch, by_descriptor: bool) -> None:
    """False: the way on kernels before 6.13, which newer ones can go as well."""
    if not by_descriptor:
        monkeypatch.setattr(overlay, "_takes_descriptors", lambda: False)
    second = machine.base / "second, of: three\\"
    second.mkdir()
    (second / "of-7").touch()
    os.chown(second / "of-7", 7, 8)
    script = "stat -c %u:%g / /of-7 /bin/busybox; busybox chown 9 /of-7; busybox rm /bin/yes; echo new > /tmp/new; busybox stat -c %u:%g /of-7 /tmp/new"
    done = attempt(machine, script, ids=IDS, layers=(str(second),))
    assert done.output.split() == ["0:0", "7:8", "0:0", "9:8", "0:0"], done
    upper = Path(machine.specs[-1].rootfs.upper)
    assert [((upper / name).lstat().st_uid, (upper / name).lstat().st_gid) for name in ("of-7", "tmp/new", "bin/yes")] == [(9, 8), (0, 0), (0, 0)]
    assert str(machine.base) not in Path("/proc/self/mountinfo").read_text()  # neither a layer that is covered nor the overlay, whose options name them
    ids = (userns.Mapping(0, BASE, IDS.count),)
    user = userns.new_user_namespace(ids, ids)[k.CLONE_NEWUSER]
    with pytest.raises(FileNotFoundError):
        overlay.mount_overlay((str(second),), str(upper), str(upper.parent / "nowhere"), overlay.Shift(user, BASE))
    os.close(user)


def test_masks_and_read_only_paths_can_not_be_taken_away_by_its_root(machine: Any) -> None:
    """Every mount is locked: that is what the second mount namespace is for."""
    options: dict[str, Any] = {"capabilities": ("ALL",), "ids": IDS, **UNCONFINED}
    script = "busybox umount /proc/interrupts && head -c 1 /proc/interrupts || busybox mount -o remount,bind,rw /proc/sys"

    def not_copied(operation: Operation) -> Operation:
        return operation._replace(arguments=(k.CLONE_NEWCGROUP,)) if operation.step == "user namespace" and operation.call is Call.UNSHARE else operation

    assert not attempt(machine, script, **options).succeeded
    assert not attempt(machine, script, not_copied, **options).succeeded, "it has no rights over a mount namespace of the host's at all"
