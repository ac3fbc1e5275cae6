"""What start and exec through the supervisor keep: the filter, consoles, working folders, descriptors. Beside test_runtime_escapes.py."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.client import Supervisor
from runtime.errors import StartFailed
from runtime.kernel.detached import open_container_ptmx
from runtime.spec import Mount
from runtime.supervisor import datagrams, messages

UNCONFINED = {"seccomp": "unconfined"}
NOBODY = 65534


def test_a_console_is_not_looked_for_along_the_images_paths(machine: Any, tmp_path: Path) -> None:
    """CVE-2025-52565: the place of the terminals is covered with links to the host's."""
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "ptmx").symlink_to("/planted")
    (machine.layer / "planted").write_text("not a terminal")

    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000", mounts=(Mount("bind", "/dev/pts", str(fake)),))
        pid = await machine.started(supervisor, spec)
        with pytest.raises(OSError, match=r"levels of symbolic links|not a devpts"):
            open_container_ptmx(pid)
        naive = os.open(f"/proc/{pid}/root/dev/pts/ptmx".replace("ptmx", os.readlink(fake / "ptmx").join(("../..", ""))), os.O_RDWR)
        assert os.read(naive, 100) == b"not a terminal", "without the check the planted file would be taken"
        os.close(naive)
        with pytest.raises(StartFailed):
            await supervisor.exec(machine.exec_spec(spec, "true", tty=True))
        await supervisor.remove(spec.id)

    machine.run(body)


@pytest.mark.parametrize(
    ("options", "mode"), [({}, b"2"), ({"init": True}, b"2"), ({"no_new_privileges": True}, b"2"), (UNCONFINED, b"0")]
)
def test_program_and_exec_run_under_the_filter(machine: Any, options: dict[str, Any], mode: bytes) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "grep -w Seccomp /proc/self/status; read x", open_stdin=True, **options)
        pid = await machine.started(supervisor, spec)
        assert (b"Seccomp:\t" + mode + b"\n") in Path(f"/proc/{pid}/status").read_bytes()
        joined = machine.exec_spec(spec, "grep", "-w", "Seccomp", "/proc/self/status")
        started = await supervisor.exec(joined)
        await supervisor.exec_wait(spec.id, joined.exec_id)
        assert os.read(started.stdout, 100) == b"Seccomp:\t" + mode + b"\n"
        for descriptor in (started.stdin, started.stdout, started.stderr):
            if descriptor >= 0:
                os.close(descriptor)
        await supervisor.remove(spec.id)

    machine.run(body)


def test_a_profile_of_the_user_is_loaded_and_a_wrong_one_refused(machine: Any) -> None:
    profile = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}'

    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "mkdir /tmp/x 2>&1; touch /tmp/y && echo fine", seccomp=profile)
        await machine.ran(supervisor, spec)
        assert machine.output(spec).split("\n")[:2] == ["mkdir: can't create directory '/tmp/x': No space left on device", "fine"]
        wrong = machine.spec("true", seccomp='{"defaultAction": "SCMP_ACT_NOSUCH"}')
        await supervisor.create(wrong)
        with pytest.raises(StartFailed, match="is not a valid action for seccomp"):
            await supervisor.start(wrong.id)

    machine.run(body)


def test_a_working_folder_of_an_exec_does_not_lead_out(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000")
        await machine.started(supervisor, spec)
        for number in range(3, 40):
            with pytest.raises(StartFailed):
                await supervisor.exec(machine.exec_spec(spec, "ls", cwd=f"/proc/self/fd/{number}"))
        await supervisor.remove(spec.id)

    machine.run(body)


@pytest.mark.parametrize("tty", [False, True])
def test_an_exec_has_its_three_descriptors_only(machine: Any, tty: bool) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000")
        await machine.started(supervisor, spec)
        joined = machine.exec_spec(spec, "ls", "/proc/self/fd", tty=tty)
        started = await supervisor.exec(joined)
        await supervisor.exec_wait(spec.id, joined.exec_id)
        reader = started.tty if tty else started.stdout
        output = b""
        try:
            while piece := os.read(reader, 4096):
                output += piece
        except OSError as error:
            assert error.errno == 5, "the end of a terminal"  # noqa: PT017
        assert output.split() == [b"0", b"1", b"2", b"3"]
        for descriptor in (started.stdin, started.stdout, started.stderr, started.tty):
            if descriptor >= 0:
                os.close(descriptor)
        await supervisor.remove(spec.id)

    machine.run(body)


def test_the_supervisors_socket_is_roots_only_three_times_over(machine: Any) -> None:
    """The folder, the socket's mode, and who asks: each is looked at with those before it taken away."""
    words, _ = datagrams.pack(msgspec.msgpack.encode(messages.Request(1, messages.Hello())))

    def asked_by(user: int) -> str:
        pid = os.fork()
        if pid == 0:
            status = 9
            try:
                os.setresuid(user, user, user)
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
                    door.connect(machine.places.socket)
                    door.send(words)
                    status = 0 if door.recv(4096) else 2
            except PermissionError:
                status = 1
            except (BrokenPipeError, ConnectionResetError):
                status = 2
            finally:
                os._exit(status)
        return {0: "answered", 1: "closed", 2: "hung up"}[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]

    async def body(supervisor: Supervisor) -> None:
        folder = Path(machine.places.socket).parent
        machine.base.chmod(0o711)
        assert asked_by(0) == "answered"
        assert asked_by(NOBODY) == "closed"
        folder.chmod(0o711)
        assert asked_by(NOBODY) == "closed"
        os.chmod(machine.places.socket, 0o666)
        assert asked_by(NOBODY) == "hung up"

    machine.run(body)
