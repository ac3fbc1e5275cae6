"""Processes that join a running container, terminals, attached streams."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from runtime.client import Supervisor
from runtime.errors import RuntimeFault, StartFailed
from runtime.spec import User


async def read_all(descriptor: int) -> bytes:
    """Until the end (for a terminal EIO), closing it."""
    os.set_blocking(descriptor, False)
    data = b""
    try:
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            try:
                chunk = os.read(descriptor, 65536)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return data
            if not chunk:
                return data
            data += chunk
    finally:
        os.close(descriptor)


async def read_until(descriptor: int, text: bytes) -> bytes:
    data = b""
    while text not in data:
        await trio.lowlevel.wait_readable(descriptor)
        data += os.read(descriptor, 65536)
    return data


def test_exec_gives_output_and_status(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000", hostname="inner")
        await machine.started(supervisor, spec)
        call = machine.exec_spec(spec, "sh", "-c", "hostname; pwd; id -u; cat; echo oops >&2; exit 7", open_stdin=True, cwd="/tmp", user=User(5, 5))
        started = await supervisor.exec(call)
        assert started.tty == -1
        os.write(started.stdin, b"given\n")
        os.close(started.stdin)
        assert await read_all(started.stdout) == b"inner\n/tmp\n5\ngiven\n"
        assert await read_all(started.stderr) == b"oops\n"
        assert (await supervisor.exec_wait(spec.id, call.exec_id)).status == 7
        assert (await supervisor.exec_wait(spec.id, call.exec_id)).status == 7

    machine.run(body)


def test_exec_shares_namespaces_and_cgroups(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000")
        pid = await machine.started(supervisor, spec)
        call = machine.exec_spec(spec, "sh", "-c", "for n in mnt uts ipc pid net cgroup; do readlink /proc/self/ns/$n; done; sleep 1000")
        started = await supervisor.exec(call)
        data = await read_until(started.stdout, b"cgroup:")
        expected = [os.readlink(f"/proc/{pid}/ns/{name}") for name in ("mnt", "uts", "ipc", "pid", "net", "cgroup")]
        assert data.decode().split() == expected
        with open(f"/proc/{started.pid}/cgroup") as ours, open(f"/proc/{pid}/cgroup") as init:
            assert ours.read() == init.read()
        await supervisor.exec_signal(spec.id, call.exec_id, 9)
        assert (await supervisor.exec_wait(spec.id, call.exec_id)).status == 137
        os.close(started.stdout)
        os.close(started.stderr)

    machine.run(body)


def test_exec_of_nothing(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000")
        await machine.started(supervisor, spec)
        for argv, message, status in (
            ("nosuch", 'exec: "nosuch": executable file not found in $PATH', 127),
            ("/etc/passwd", 'exec: "/etc/passwd": permission denied', 126),
        ):
            with pytest.raises(StartFailed) as caught:
                await supervisor.exec(machine.exec_spec(spec, argv))
            assert (str(caught.value), caught.value.exit_status) == (message, status)
        await supervisor.signal(spec.id, 9)
        await supervisor.wait(spec.id)
        with pytest.raises(RuntimeFault, match="is not running"):
            await supervisor.exec(machine.exec_spec(spec, "true"))

    machine.run(body)


def test_exec_with_a_terminal(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000")
        await machine.started(supervisor, spec)
        call = machine.exec_spec(spec, "sh", tty=True, open_stdin=True, rows=24, columns=80)
        started = await supervisor.exec(call)
        os.write(started.tty, b"tty; stty size; test -t 0 && echo is-'a'-tty\n")
        data = await read_until(started.tty, b"is-a-tty\r\n")
        assert b"/dev/pts/0\r\n" in data
        assert b"24 80\r\n" in data
        await supervisor.exec_resize(spec.id, call.exec_id, 50, 132)
        os.write(started.tty, b"stty size\n")
        await read_until(started.tty, b"50 132\r\n")
        os.write(started.tty, b"exit 9\n")
        assert (await supervisor.exec_wait(spec.id, call.exec_id)).status == 9
        await read_all(started.tty)

    machine.run(body)


def test_container_with_a_terminal(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", tty=True, open_stdin=True)
        await supervisor.create(spec)
        attached = await supervisor.attach(spec.id)
        await supervisor.start(spec.id)
        await supervisor.resize(spec.id, (1 << 16) + 33, 111)  # a size has two bytes
        os.write(attached.stdin, b"tty; stty size; test -c /dev/console && echo has-'a'-console\n")
        data = await read_until(attached.stdout, b"has-a-console\r\n")
        assert b"/dev/pts/0\r\n" in data
        assert b"33 111\r\n" in data
        os.write(attached.stdin, b"exit 6\n")
        assert (await supervisor.wait(spec.id)).status == 6
        await read_all(attached.stdout)
        os.close(attached.stdin)
        assert "33 111" in machine.output(spec)

    machine.run(body)


def test_a_request_that_fails_by_a_bug_ends_that_one_only(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000")
        await machine.started(supervisor, spec)
        before = machine.pid_of("runtime.supervisor")
        nobody = machine.exec_spec(spec, "true", user=User(uid=1 << 40))  # nobody asks for it: the engine knows what an id is
        with pytest.raises(RuntimeFault, match="internal error: OverflowError"):
            await supervisor.exec(nobody)
        started = await supervisor.exec(machine.exec_spec(spec, "true"))
        for descriptor in (started.stdout, started.stderr):
            os.close(descriptor)
        assert machine.pid_of("runtime.supervisor") == before

    machine.run(body)
    journal = Path(machine.places.journal)
    assert "OverflowError" in journal.read_text()
    journal.write_text("")


def test_attached_input_ends_when_it_is_closed(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "cat; echo end >&2", open_stdin=True)
        await supervisor.create(spec)
        attached = await supervisor.attach(spec.id)
        await supervisor.start(spec.id)
        os.write(attached.stdin, b"one\n")
        assert await read_until(attached.stdout, b"one\n") == b"one\n"
        await supervisor.close_stdin(spec.id)
        os.write(attached.stdin, b"two\n")
        os.close(attached.stdin)
        assert (await supervisor.wait(spec.id)).status == 0
        assert await read_all(attached.stdout) == b"two\n"
        assert await read_all(attached.stderr) == b"end\n"

    machine.run(body)


def test_a_slow_reader_gets_everything(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "yes 0123456789 | head -c 3000000")
        await supervisor.create(spec)
        attached = await supervisor.attach(spec.id)
        await supervisor.start(spec.id)
        assert len(await read_all(attached.stdout)) == 3_000_000
        assert (await supervisor.wait(spec.id)).status == 0
        os.close(attached.stderr)
        assert len(machine.output(spec)) == 3_000_000

    machine.run(body)
