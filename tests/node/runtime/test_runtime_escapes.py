"""Every known way out of a container is tried, and fails; with the one defence left out of the list it works, so each test can fail.

One test or case for each row of docs/security.md. Scripts end with 0 when they got what they wanted.
"""

from __future__ import annotations

import os
import select
import shutil
import stat
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runtime.child.compile import compile_exec
from runtime.child.execution import MADE_CWD_STEP
from runtime.child.host import Joined
from runtime.client import Supervisor
from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.operations import Operation
from runtime.kernel.syscalls import Call
from runtime.spec import DEFAULT_CAPABILITIES, Mount, User
from runtime.supervisor.probe import probe_host
from runtime.supervisor.spawn import spawn
from tests.node.runtime.attempts import Change, attempt, folder_with_secret, isolated, nothing, resolving_anything, start, without

UNCONFINED = {"seccomp": "unconfined"}


def is_prctl(operation: Operation, option: int) -> bool:
    return operation.call is Call.PRCTL and operation.arguments[0] == option


def writable_sysfs(operation: Operation) -> Operation:
    if operation.call is not Call.FSMOUNT or operation.step != "mount of /sys":
        return operation
    context, flags, attributes = operation.arguments
    assert isinstance(attributes, int)
    return operation._replace(arguments=(context, flags, attributes & ~k.MOUNT_ATTR_RDONLY))


def sharing(flag: int) -> Change:
    def change(operation: Operation) -> Operation:
        if operation.call is not Call.UNSHARE:
            return operation
        (flags,) = operation.arguments
        assert isinstance(flags, int)
        return operation._replace(arguments=(flags & ~flag,))

    return change


@dataclass(frozen=True)
class Case:
    name: str
    script: str
    defence: Change
    options: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("a user namespace, full of capabilities, by clone or unshare", "busybox unshare -U true", without(lambda o: o.call is Call.SECCOMP)),
    Case(
        "a mount by root of the container",
        "mount -t tmpfs none /tmp",
        without(lambda o: o.call is Call.CAPSET or is_prctl(o, k.PR_CAPBSET_DROP)),
        UNCONFINED,
    ),
    Case(
        "more capabilities than the bounding set by executing a program",
        "grep -q 'CapBnd:.*1ff' /proc/self/status",
        without(lambda o: is_prctl(o, k.PR_CAPBSET_DROP)),
        UNCONFINED,
    ),
    Case(
        "privileges by a set-user-id program in spite of no-new-privileges",
        "grep -q 'NoNewPrivs:.0' /proc/self/status",
        without(lambda o: is_prctl(o, k.PR_SET_NO_NEW_PRIVS)),
        {"no_new_privileges": True, **UNCONFINED},
    ),
    Case("reading of a masked file", 'test -n "$(head -c 1 /proc/interrupts)"', without(lambda o: o.step.startswith("mask "))),
    Case("a sysctl of the host", ": >> /proc/sys/kernel/panic", without(lambda o: o.step == "read-only /proc/sys")),
    Case("a setting in sysfs", ": >> /sys/kernel/rcu_expedited", writable_sysfs),
    Case(
        "a cgroup of its own, the first step to release_agent (CVE-2022-0492)",
        "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/mine 2>/dev/null && busybox rmdir $d/mine && exit 0; done; exit 1",
        without(lambda o: o.step == "view of the cgroups" and o.call is Call.MOUNT_SETATTR),
    ),
    Case("the host's cgroup tree", "grep -q festoon-attempts /proc/self/cgroup", sharing(k.CLONE_NEWCGROUP)),
    Case("a device node of its own making", "mknod /tmp/node c 10 237 && exec 3< /tmp/node", without(lambda o: o.step == "cgroups")),
    Case("the shared memory and queues of the host", "test $(readlink /proc/self/ns/ipc) = $HOST_IPC", sharing(k.CLONE_NEWIPC)),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_way_is_closed_and_open_without_its_defence(machine: Any, case: Case) -> None:
    if "a device node" in case.name and not os.path.exists("/dev/loop-control"):
        pytest.skip("needs /dev/loop-control")
    options = {"env": ("PATH=/bin", f"HOST_IPC={os.readlink('/proc/self/ns/ipc')}"), **case.options}
    closed = attempt(machine, case.script, **options)
    assert not closed.succeeded, closed
    assert closed.failed_step == "", "the container did not even start"
    opened = attempt(machine, case.script, case.defence, **options)
    assert opened.succeeded, opened


def test_no_descriptor_of_the_host_is_left_in_the_program(machine: Any, tmp_path: Path) -> None:
    folder = os.open(folder_with_secret(tmp_path), os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        script = f"ls /proc/self/fd; cat /proc/self/fd/{folder}/secret"
        closed = attempt(machine, script)
        assert not closed.succeeded
        assert closed.output.split()[:4] == ["0", "1", "2", "3"], "3 is the folder that ls reads"
        assert "not for containers" not in closed.output
        assert len([word for word in closed.output.split() if word.isdigit()]) == 4
        assert attempt(machine, script, without(lambda o: o.call is Call.CLOSE_RANGE)).succeeded
    finally:
        os.close(folder)


def test_a_working_folder_does_not_lead_out(machine: Any, tmp_path: Path) -> None:
    """CVE-2024-21626."""
    folder = os.open(folder_with_secret(tmp_path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        cwd = f"/proc/self/fd/{folder}"
        closed = attempt(machine, "cat secret", cwd=cwd)
        assert (closed.failed_step, closed.output) == (MADE_CWD_STEP, "")
        assert attempt(machine, "cat secret", resolving_anything(MADE_CWD_STEP), cwd=cwd).succeeded
        (machine.layer / "way").symlink_to(cwd)
        assert attempt(machine, "cat secret", cwd="/way").failed_step == MADE_CWD_STEP
        assert attempt(machine, "cat secret", resolving_anything(MADE_CWD_STEP), cwd="/way").succeeded
    finally:
        os.close(folder)


@pytest.mark.parametrize("options", [{"cwd": "/way/made"}, {"mounts": (Mount("tmpfs", "/way/made"),)}], ids=["cwd", "mount"])
def test_folders_are_not_made_outside_through_a_link_of_the_image(machine: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    outside = folder_with_secret(tmp_path)
    folder = os.open(outside, os.O_RDONLY | os.O_CLOEXEC)
    try:
        (machine.layer / "way").symlink_to(f"/proc/self/fd/{folder}")
        assert not attempt(machine, "true", **options).succeeded
        assert os.listdir(outside) == ["secret"]
        attempt(machine, "true", resolving_anything(MADE_CWD_STEP if "cwd" in options else "tmpfs"), **options)
        assert sorted(os.listdir(outside)) == ["made", "secret"]
    finally:
        os.close(folder)


def test_a_file_mount_does_not_lead_out(machine: Any, tmp_path: Path) -> None:
    outside = folder_with_secret(tmp_path)
    source = tmp_path / "source"
    source.write_text("in\n")
    folder = os.open(outside, os.O_RDONLY | os.O_CLOEXEC)
    try:
        (machine.layer / "way").symlink_to(f"/proc/self/fd/{folder}/planted")
        mounts = (Mount("bind", "/way", str(source)),)
        assert not attempt(machine, "true", mounts=mounts).succeeded
        assert os.listdir(outside) == ["secret"]
        attempt(machine, "true", resolving_anything("bind"), mounts=mounts)
        assert sorted(os.listdir(outside)) == ["planted", "secret"]
    finally:
        os.close(folder)


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_of_an_image_that_are_links_are_refused(machine: Any, name: str) -> None:
    """CVE-2025-52881: a proc elsewhere would leave masks and sysctls to a tree of the image."""
    (machine.layer / name).rmdir()
    (machine.layer / name).symlink_to("/tmp")
    assert attempt(machine, "true").failed_step == f"mount of /{name}"
    assert attempt(machine, "true", resolving_anything(f"mount of /{name}")).succeeded


def test_masks_do_not_use_the_images_null(machine: Any) -> None:
    """CVE-2025-31133: an image whose /dev/null is a link to what should be masked."""
    (machine.layer / "dev/null").symlink_to("/proc/sys/kernel/panic")
    for script in ('test -n "$(head -c 1 /proc/interrupts)"', ": >> /proc/sys/kernel/panic", "test -L /dev/null"):
        assert not attempt(machine, script).succeeded, script
    for path in ("/proc/interrupts", "/proc/keys"):
        found = attempt(machine, f"stat -c %t:%T {path}")
        assert found.output.strip() in ("1:3", ""), "what covers it is the null device of the container"
    (machine.layer / "planted").symlink_to("/proc/sys/kernel/panic")
    assert attempt(machine, 'test -n "$(head -c 1 /proc/interrupts)"', covering_with(b"/planted")).succeeded


def covering_with(path: bytes) -> Change:
    """Masks of files with what stands at a path of the image."""

    def change(operation: Operation) -> Operation:
        if operation.step != "masks" or operation.call is not Call.OPENAT:
            return operation
        return operation._replace(arguments=(k.AT_FDCWD, path, *operation.arguments[2:]))

    return change


def test_a_device_of_the_image_can_not_be_opened(machine: Any) -> None:
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("needs /dev/loop-control")
    os.mknod(machine.layer / "node", 0o666 | stat.S_IFCHR, os.makedev(10, 237))
    assert not attempt(machine, "exec 3< /node").succeeded
    assert attempt(machine, "exec 3< /node", without(lambda o: o.step == "cgroups")).succeeded


def test_a_set_user_id_program_raises_nobody_where_privileges_may_not_grow(machine: Any) -> None:
    for name in ("lib", "lib64"):
        (machine.layer / name).symlink_to(f"usr/{name}")
    (machine.layer / "usr").mkdir()
    shutil.copy("/usr/bin/cat", machine.layer / "bin/raised")
    (machine.layer / "bin/raised").chmod(0o4755)
    (machine.layer / "secret").write_text("of root\n")
    (machine.layer / "secret").chmod(0o600)
    options: dict[str, Any] = {"user": User(1000, 1000), "no_new_privileges": True, "mounts": (Mount("bind", "/usr", "/usr", read_only=True),)}
    assert not attempt(machine, "raised /secret", **options).succeeded
    assert attempt(machine, "raised /secret", without(lambda o: is_prctl(o, k.PR_SET_NO_NEW_PRIVS)), **{**options, **UNCONFINED}).output == "of root\n"


def test_mounts_inside_do_not_come_back_to_the_host(machine: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    options: dict[str, Any] = {"mounts": (Mount("bind", "/data", str(data)),), "capabilities": (*DEFAULT_CAPABILITIES, "SYS_ADMIN")}

    def comes_back(change: Change | None) -> bool:
        call(Call.MOUNT, os.fsencode(data), os.fsencode(data), 0, 4096, 0)  # MS_BIND
        call(Call.MOUNT, 0, os.fsencode(data), 0, 1 << 20, 0)  # MS_SHARED
        home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        running = start(machine, machine.spec("sh", "-c", "mount -t tmpfs none /data && echo mounted && read x", **options), change, home=home)
        while os.pread(running.output.fileno(), 100, 0) != b"mounted\n":
            assert os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == str(data)]
        os.write(running.stdin, b"\n")
        running.wait()
        return len(found) > 1

    assert not isolated(lambda: comes_back(None))
    assert isolated(lambda: comes_back(without(lambda o: o.call is Call.MOUNT or (o.step.startswith("bind of") and o.call is Call.MOUNT_SETATTR))))


def test_the_session_keyring_is_its_own(machine: Any) -> None:
    for name in ("lib", "lib64", "usr"):
        (machine.layer / name).symlink_to(f"usr/{name}") if name != "usr" else (machine.layer / name).mkdir()
    ours = attempt_keyring(machine, without(lambda o: o.call is Call.KEYCTL))
    assert ours == str(call(Call.KEYCTL, 0, -3, 0))
    theirs = attempt_keyring(machine, None)
    assert theirs.isdigit()
    assert theirs != ours
    blocked = attempt(machine, KEYRING, mounts=(Mount("bind", "/usr", "/usr", read_only=True),))
    assert blocked.output.strip() == "-1", "the default policy has no keyctl at all"


KEYRING = "/usr/bin/python3 -I -c 'import ctypes; print(ctypes.CDLL(None).syscall(250, 0, -3, 0))'"


def attempt_keyring(machine: Any, change: Change | None) -> str:
    return attempt(machine, KEYRING, change, mounts=(Mount("bind", "/usr", "/usr", read_only=True),), **UNCONFINED).output.strip()


@pytest.mark.parametrize("guarded", [True, False])
def test_a_process_that_enters_can_not_be_looked_into(machine: Any, guarded: bool) -> None:
    """The joining child still has the host's memory; the container's root reaches for /proc/<pid>/mem and exe."""
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    script = "read x; (exec 3< /proc/2/mem && readlink /proc/2/exe) > /tmp/got && s=0 || s=1; echo tried; read x; exit $s"
    running = start(machine, machine.spec("sh", "-c", script), home=home)
    with ExitStack() as stack:
        stack.callback(os.close, home)
        pidfd = os.pidfd_open(running.pid)
        stack.callback(os.close, pidfd)
        while Path(f"/proc/{running.pid}/comm").read_text() != "sh\n":
            assert os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        reader, gate = os.pipe2(os.O_CLOEXEC)
        report, errors = os.pipe2(os.O_CLOEXEC)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for descriptor in (reader, report, errors, null):
            stack.callback(os.close, descriptor)
        spec = machine.specs[-1]
        compiled = compile_exec(machine.exec_spec(spec, "true"), spec, probe_host(), Joined(pidfd, (), reader, null, null, null))
        compiled = compiled._replace(operations=waiting_before_the_exec(compiled.operations, guarded))
        child = spawn(compiled, errors, home=home, enter=pidfd, drop=(gate,))
        while "CapPrm:\t00000000a80425fb" not in Path(f"/proc/{child}/status").read_text():
            assert os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        os.write(running.stdin, b"\n")
        while b"tried" not in os.pread(running.output.fileno(), 4096, 0):
            assert os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        os.close(gate)
        os.waitpid(child, 0)
        os.write(running.stdin, b"\n")
        outcome = running.wait()
    assert outcome.succeeded is not guarded, outcome


def waiting_before_the_exec(operations: tuple[Operation, ...], guarded: bool) -> tuple[Operation, ...]:
    """The gate moved to where the child has the container's capabilities already and the host's memory still."""
    gate = next(operation for operation in operations if operation.call is Call.READ)
    kept = [nothing(o) if o is gate or (not guarded and is_prctl(o, k.PR_SET_DUMPABLE)) else o for o in operations]
    place = next(number for number, operation in enumerate(kept) if operation.call is Call.EXECVE)
    return (*kept[:place], gate, *kept[place:])


def test_supervisor_and_stem_run_sealed_and_hidden_and_so_does_an_init(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "sleep 1000", init=True, capabilities=(*DEFAULT_CAPABILITIES, "SYS_PTRACE"))
        pid = await machine.started(supervisor, spec)
        for process in (pid, machine.pid_of("runtime.stem"), machine.pid_of("runtime.supervisor")):
            assert os.statvfs(f"/proc/{process}/exe").f_flag & os.ST_RDONLY
        started = await supervisor.exec(machine.exec_spec(spec, "sh", "-c", ": > /proc/1/exe"))
        os.set_blocking(started.stderr, True)
        message = b""
        while select.select([started.stderr], [], [], 30)[0] and (piece := os.read(started.stderr, 4096)):
            message += piece
        assert b"Read-only file system" in message
        for descriptor in (started.stdin, started.stdout, started.stderr):
            if descriptor >= 0:
                os.close(descriptor)
        await supervisor.remove(spec.id)

    machine.run(body)


INTERPRETER = """
import sys
sys.path[:0] = {path!r}
from runtime.kernel.interpreter import execute_sealed, is_sealed
if {sealed} and not is_sealed():
    execute_sealed(["-I", "-c", {again!r}])
print("up", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("sealed", [True, False])
def test_the_interpreter_can_not_be_overwritten(tmp_path: Path, sealed: bool) -> None:
    """CVE-2019-5736, on a copy of the interpreter: its descriptor is kept until it no longer runs, then written through."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a detached bind")
    interpreter = tmp_path / "python3"
    shutil.copy(os.path.realpath(sys.executable), interpreter)
    size = interpreter.stat().st_size
    again = "import sys; print('up', flush=True); sys.stdin.read()"
    program = INTERPRETER.format(path=[entry for entry in (str(Path(__file__).parents[3]), *sys.path) if entry], sealed=sealed, again=again)
    with subprocess.Popen([interpreter, "-I", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        held = os.open(f"/proc/{process.pid}/exe", os.O_PATH)
        process.communicate()
    try:
        if sealed:
            with pytest.raises(OSError, match="Read-only file system"):
                os.open(f"/proc/self/fd/{held}", os.O_WRONLY | os.O_TRUNC)
            assert interpreter.stat().st_size == size
        else:
            os.close(os.open(f"/proc/self/fd/{held}", os.O_WRONLY | os.O_TRUNC))
            assert interpreter.stat().st_size == 0
    finally:
        os.close(held)
