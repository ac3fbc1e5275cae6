"""Whatever is killed comes back right: containers live on, their output and their statuses are not lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trio

from runtime import logs
from runtime.client import Supervisor

ROUNDS = 4
LINES = 1_000_000
KILLS = 6


def test_supervisor_killed(machine: Any, killed: Callable[[int], None]) -> None:
    async def body(supervisor: Supervisor) -> None:
        script = "while ! test -e /tmp/go; do sleep 0.05; echo tick; done; echo last words; exit 5"
        spec = machine.spec("sh", "-c", script)
        pid = await machine.started(supervisor, spec)
        async with supervisor.subscribed() as events:
            killed(machine.pid_of("runtime.supervisor"))
            (state,) = await supervisor.list()
            assert (state.phase, state.pid) == ("running", pid)
            started = await supervisor.exec(machine.exec_spec(spec, "touch", "/tmp/go"))
            os.close(started.stdout)
            os.close(started.stderr)
            exited = await supervisor.wait(spec.id)
            assert (exited.status, exited.known) == (5, True)
            event = await events.receive()
            assert (event.kind, event.container_id, event.exited) == ("exited", spec.id, exited)
        assert machine.output(spec).splitlines()[-1] == "last words"

    machine.run(body)


def test_container_that_ends_while_no_supervisor_runs(machine: Any, killed: Callable[[int], None]) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "echo before; while ! test -e /tmp/go; do sleep 0.05; done; echo after; exit 6")
        pid = await machine.started(supervisor, spec)
        pidfd = os.pidfd_open(pid)
        stem = machine.pid_of("runtime.stem")
        os.kill(stem, signal.SIGSTOP)  # nobody starts the next supervisor for now
        killed(machine.pid_of("runtime.supervisor"))
        with open(f"/proc/{pid}/root/tmp/go", "w"):
            pass
        await trio.lowlevel.wait_readable(pidfd)
        os.close(pidfd)
        os.kill(stem, signal.SIGCONT)
        exited = await supervisor.wait(spec.id)
        assert (exited.status, exited.known) == (6, True)
        assert machine.output(spec) == "before\nafter\n"

    machine.run(body)


def test_terminal_survives_the_supervisor(machine: Any, killed: Callable[[int], None]) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", tty=True, open_stdin=True)
        await machine.started(supervisor, spec)
        killed(machine.pid_of("runtime.supervisor"))
        attached = await supervisor.attach(spec.id)
        os.write(attached.stdin, b"exit 8\n")
        assert (await supervisor.wait(spec.id)).status == 8
        os.close(attached.stdin)
        os.close(attached.stdout)

    machine.run(body)


def test_exec_status_survives_the_supervisor(machine: Any, killed: Callable[[int], None]) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000")
        await machine.started(supervisor, spec)
        call = machine.exec_spec(spec, "sh", "-c", "read line; exit 11", open_stdin=True)
        started = await supervisor.exec(call)
        killed(machine.pid_of("runtime.supervisor"))
        await supervisor.list()
        os.close(started.stdin)
        assert (await supervisor.exec_wait(spec.id, call.exec_id)).status == 11
        os.close(started.stdout)
        os.close(started.stderr)

    machine.run(body)


def test_a_killed_stem_is_replaced_by_the_supervisor(machine: Any, killed: Callable[[int], None]) -> None:
    """The containers' parent stays: whatever dies next, their statuses are known."""

    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "echo one; while ! test -e /tmp/go; do sleep 0.05; done; echo two; exit 5")
        shell = machine.spec("sh", tty=True, open_stdin=True)
        pid = await machine.started(supervisor, spec)
        await machine.started(supervisor, shell)
        parent = machine.pid_of("runtime.supervisor")
        await stem_replaced(machine, killed)
        assert parent_of(pid) == parent == machine.pid_of("runtime.stem")
        killed(machine.pid_of("runtime.supervisor"))
        assert {state.phase for state in await supervisor.list()} == {"running"}
        assert parent_of(pid) == parent == machine.pid_of("runtime.stem") == parent_of(machine.pid_of("runtime.supervisor"))
        attached = await supervisor.attach(shell.id)
        os.write(attached.stdin, b"exit 8\n")
        assert (await supervisor.wait(shell.id)).status == 8
        os.close(attached.stdin)
        os.close(attached.stdout)
        with open(f"/proc/{pid}/root/tmp/go", "w"):
            pass
        exited = await supervisor.wait(spec.id)
        assert (exited.status, exited.known) == (5, True)
        assert machine.output(spec) == "one\ntwo\n"

    machine.run(body)


async def stem_replaced(machine: Any, killed: Callable[[int], None]) -> None:
    """Kills the stem; returns when there are a stem and a supervisor again."""
    stem = machine.pid_of("runtime.stem")
    killed(stem)
    with trio.fail_after(20):
        while stem in machine.daemons() or not {"runtime.stem", "runtime.supervisor"} <= machine.programs():
            await trio.sleep(0.01)


def parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def test_nothing_fails_while_stems_are_killed_under_load(machine: Any, killed: Callable[[int], None]) -> None:
    """Starts, execs and their ends in flight: each is answered, with its status."""

    async def body(supervisor: Supervisor) -> None:
        busy = machine.spec("sleep", "1000")
        await machine.started(supervisor, busy)
        running = True

        async def live(status: int) -> None:
            while running:
                spec = machine.spec("sh", "-c", f"echo {status}; exit {status}")
                exited = await machine.ran(supervisor, spec)
                assert (exited.status, exited.known) == (status, True)
                assert machine.output(spec) == f"{status}\n"
                await supervisor.remove(spec.id)

        async def enter(status: int) -> None:
            while running:
                call = machine.exec_spec(busy, "sh", "-c", f"exit {status}")
                started = await supervisor.exec(call)
                os.close(started.stdout)
                os.close(started.stderr)
                exited = await supervisor.exec_wait(busy.id, call.exec_id)
                assert (exited.status, exited.known) == (status, True)

        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(live, number)
                nursery.start_soon(enter, number + 2)
            for _ in range(ROUNDS):
                await supervisor.list()
                await trio.sleep(0.2)
                await stem_replaced(machine, killed)
            running = False

    machine.run(body)


def test_stem_killed_and_then_the_supervisor(machine: Any, killed: Callable[[int], None]) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "while ! test -e /tmp/go; do sleep 0.05; done; exit 5")
        pid = await machine.started(supervisor, spec)
        killed(machine.pid_of("runtime.stem"))
        assert (await machine.ran(supervisor, machine.spec("sh", "-c", "exit 2"))).status == 2
        killed(machine.pid_of("runtime.supervisor"))
        states = {state.id: state for state in await supervisor.list()}
        assert (states[spec.id].phase, states[spec.id].pid) == ("running", pid)
        assert machine.pid_of("runtime.stem")
        with open(f"/proc/{pid}/root/tmp/go", "w"):
            pass
        exited = await supervisor.wait(spec.id)
        # nobody of ours is its parent any more: its remains tell, or the kernel (6.15)
        assert (exited.status, exited.known) in ((5, True), (255, False))

    machine.run(body)


def test_stem_and_supervisor_killed_while_containers_start(machine: Any, killed: Callable[[int], None]) -> None:
    """Nobody is left to open the gates of the children on their way: they must end, not hold the supervisor's sockets."""

    async def body(supervisor: Supervisor) -> None:
        for round_ in range(ROUNDS):
            specs = [machine.spec("sleep", "1000") for _ in range(8)]
            async with trio.open_nursery() as nursery:
                for spec in specs:
                    nursery.start_soon(machine.started, supervisor, spec)
                known = len(machine.cgroup_folders())
                while len(machine.cgroup_folders()) < known + 1 + round_ % 5:  # the last one is about to be forked, or just was
                    await trio.lowlevel.checkpoint()
                both = machine.pid_of("runtime.stem"), machine.pid_of("runtime.supervisor")
                for pid in both:
                    killed(pid)
            phases = {state.id: state.phase for state in await supervisor.list()}
            assert {phases[spec.id] for spec in specs} == {"running"}
            for spec in specs:
                await supervisor.remove(spec.id)

    machine.run(body)


def test_stem_killed_and_another_client_comes(machine: Any, killed: Callable[[int], None]) -> None:
    spec = machine.spec("sleep", "1000")

    async def first(supervisor: Supervisor) -> None:
        await machine.started(supervisor, spec)
        killed(machine.pid_of("runtime.stem"))

    async def second(supervisor: Supervisor) -> None:
        assert [state.phase for state in await supervisor.list()] == ["running"]
        await supervisor.signal(spec.id, 9)
        exited = await supervisor.wait(spec.id)
        assert (exited.status, exited.known) == (137, True)

    machine.run(first)
    machine.run(second)


CLIENT = """
import sys, trio
from runtime.client import open_supervisor
async def main():
    async with open_supervisor(sys.argv[1], sys.argv[2]) as supervisor:
        print("ready", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


def test_client_that_started_the_stem_is_killed(machine: Any) -> None:
    command = [sys.executable, "-I", "-c", CLIENT, machine.places.run, machine.places.state]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    stem = machine.pid_of("runtime.stem")
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    client.stdout.close()

    async def body(supervisor: Supervisor) -> None:
        assert (await machine.ran(supervisor, machine.spec("sh", "-c", "exit 2"))).status == 2
        assert machine.pid_of("runtime.stem") == stem

    machine.run(body)


def test_two_clients_start_one_stem(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        assert await supervisor.list() == ()

    async def both() -> None:
        from runtime.client import open_supervisor

        async def one() -> None:
            async with open_supervisor(machine.places.run, machine.places.state) as supervisor:
                await body(supervisor)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(one)

    trio.run(both)
    assert len(machine.daemons()) == 3


def test_log_is_followed_until_the_end(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        script = "i=0; while test $i -lt 3000; do echo line $i; i=$((i+1)); done; printf tail"
        spec = machine.spec("sh", "-c", script, log_max_bytes=8 * 1024, log_max_files=200)
        await supervisor.create(spec)
        found: list[bytes] = []

        async def follow() -> None:
            async with contextlib.aclosing(logs.follow(spec.log_path)) as batches:
                found.extend([record.data async for batch in batches for record in batch])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await supervisor.start(spec.id)
        assert found == [b"line %d\n" % number for number in range(3000)] + [b"tail"]
        assert os.path.exists(spec.log_path + ".1")
        assert [record.data for record in logs.read(spec.log_path, tail=2)] == [b"line 2999\n", b"tail"]

    machine.run(body)


def test_many_requests_at_once(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        specs = [machine.spec("sh", "-c", f"echo {number}; exit {number}") for number in range(20)]

        async def one(number: int) -> None:
            assert (await machine.ran(supervisor, specs[number])).status == number
            assert machine.output(specs[number]) == f"{number}\n"
            await supervisor.remove(specs[number].id)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)
        assert await supervisor.list() == ()

    machine.run(body)


@pytest.mark.parametrize("driver", ["local", "json-file"])
@pytest.mark.parametrize("victim", ["supervisor", "stem"])
def test_no_line_is_lost_and_none_comes_twice_when_the_reader_is_killed(machine: Any, killed: Callable[[int], None], driver: str, victim: str) -> None:
    """The container writes as fast as it can: the supervisor is killed with a chunk in its hands."""

    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", f"seq {LINES}; printf tail", log_driver=driver, log_max_bytes=200_000_000)
        await machine.started(supervisor, spec)
        for _ in range(KILLS):
            await supervisor.list()
            if victim == "stem":
                await stem_replaced(machine, killed)
            else:
                killed(machine.pid_of("runtime.supervisor"))
        assert (await supervisor.wait(spec.id)).known
        found = b"".join(record.data for record in logs.read(spec.log_path)).decode()
        assert found == "".join(f"{number}\n" for number in range(1, LINES + 1)) + "tail"

    machine.run(body)
