"""Joining a client's connection to a program's descriptors: both directions, half-close, a client that leaves, detaching."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from agent.engine.framing import content_type, frame
from agent.engine.streams import LINGER_S, Joint, Wires, attach_wires, exec_wires
from runtime.client import Attached, ExecStarted


def run(body: Callable[[trio.Nursery], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                await body(nursery)

    trio.run(main)


async def _ended() -> None:
    await trio.lowlevel.checkpoint()


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_both_directions_with_half_close_and_frames() -> None:
    async def body(background: trio.Nursery) -> None:
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe(), os.pipe()
        joint = Joint(exec_wires(ExecStarted(1, in_write, out_read, err_read), stdin=True, stdout=True, stderr=True, raw=False))
        client, server = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(joint.join, server, _ended, background)
            await client.send_all(b"hello")
            await client.send_eof()
            program = trio.lowlevel.FdStream(in_read)
            assert [piece async for piece in program] == [b"hello"]  # ends: the half-close arrived
            os.write(out_write, b"out")
            assert await client.receive_some() == frame(1, b"out")
            os.write(err_write, b"err")
            assert await client.receive_some() == frame(2, b"err")
            os.close(out_write)
            os.close(err_write)
            assert await client.receive_some() == b""
        await trio.testing.wait_all_tasks_blocked()
        assert not any(is_open(fd) for fd in (in_write, out_read, err_read))
        await program.aclose()

    run(body)


@pytest.mark.parametrize("first", [1, 2])
def test_what_waits_in_both_streams_comes_in_the_order_in_which_it_came(first: int) -> None:
    async def body(background: trio.Nursery) -> None:
        (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
        joint = Joint(exec_wires(ExecStarted(1, -1, out_read, err_read), stdin=False, stdout=True, stderr=True, raw=False))
        client, server = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(joint.join, server, _ended, background)
            await trio.testing.wait_all_tasks_blocked()
            for number in (first, 3 - first):
                os.write(out_write if number == 1 else err_write, b"x")
            os.close(out_write)
            os.close(err_write)
            assert b"".join([piece async for piece in client]) == frame(first, b"x") + frame(3 - first, b"x")

    run(body)


def test_the_connection_ends_only_when_the_exit_status_is_known() -> None:
    async def body(background: trio.Nursery) -> None:
        out_read, out_write = os.pipe()
        known = trio.Event()
        joint = Joint(Wires(-1, ((1, out_read),)))
        client, server = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(joint.join, server, known.wait, background)
            os.close(out_write)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0) as impatience:
                await client.receive_some()
            assert impatience.cancelled_caught
            known.set()
            assert await client.receive_some() == b""

    run(body)


def test_who_outlives_the_program_does_not_hold_the_client_and_may_go_on_writing() -> None:
    async def body() -> None:
        (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
        ended = trio.Event()
        client, server = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as background:
            background.start_soon(Joint(Wires(-1, ((1, out_read), (2, err_read)))).join, server, ended.wait, background)
            await trio.testing.wait_all_tasks_blocked()
            ended.set()
            await trio.sleep(LINGER_S / 2)
            os.write(out_write, b"late")
            assert await client.receive_some() == frame(1, b"late")
            assert await client.receive_some() == b""
            os.write(err_write, b"later")  # would raise BrokenPipeError
            for descriptor in (out_write, err_write):
                os.close(descriptor)
        assert not is_open(out_read)
        assert not is_open(err_read)

    trio.run(body, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_client_that_leaves_does_not_break_the_programs_pipe() -> None:
    async def body(background: trio.Nursery) -> None:
        out_read, out_write = os.pipe()
        joint = Joint(Wires(-1, ((1, out_read),)))
        client, server = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(joint.join, server, _ended, background)
            await client.aclose()
            os.write(out_write, b"x")
        os.write(out_write, b"y" * 1000)  # would raise BrokenPipeError
        await trio.testing.wait_all_tasks_blocked()
        assert is_open(out_read)
        os.close(out_write)
        await trio.testing.wait_all_tasks_blocked()
        assert not is_open(out_read)

    run(body)


def test_a_client_that_has_gone_is_not_held_by_a_program_that_does_not_read() -> None:
    async def body() -> None:
        (in_read, in_write), (out_read, out_write) = os.pipe(), os.pipe()
        client, server = trio.testing.memory_stream_pair()
        gone = trio.Event()
        async with trio.open_nursery() as background:
            joint = Joint(Wires(in_write, ((1, out_read),), copies=True))
            background.start_soon(joint.join, server, None, background, gone.wait)
            await client.send_all(b"x" * (1 << 20))
            await trio.testing.wait_all_tasks_blocked()
            gone.set()
        assert not is_open(in_write)
        assert not is_open(out_read)
        os.close(in_read)
        os.close(out_write)

    trio.run(body, clock=trio.testing.MockClock(autojump_threshold=0))


def test_what_the_client_did_not_ask_for_is_read_and_dropped() -> None:
    async def body(background: trio.Nursery) -> None:
        (in_read, in_write), (out_read, out_write) = os.pipe(), os.pipe()
        wires = attach_wires(Attached(in_write, out_read), stdin=False, stdout=False, stderr=True, raw=False)
        assert (wires.ignored, wires.spare) == ((out_read,), (in_write,))
        joint = Joint(wires)
        assert not is_open(in_write)
        os.write(out_write, b"x")
        os.close(out_write)
        await joint.discard()
        assert not is_open(out_read)
        os.close(in_read)
        await trio.lowlevel.checkpoint()

    run(body)


def test_who_only_feeds_is_joined_until_the_half_close() -> None:
    async def body(background: trio.Nursery) -> None:
        (in_read, in_write), (out_read, out_write) = os.pipe(), os.pipe()
        joint = Joint(attach_wires(Attached(in_write, out_read), stdin=True, stdout=False, stderr=False, raw=False))
        client, server = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(joint.join, server, None, background)
            await trio.testing.wait_all_tasks_blocked()
            await client.send_all(b"late")
            program = trio.lowlevel.FdStream(in_read)
            assert await program.receive_some() == b"late"
            await client.send_eof()
            assert await client.receive_some() == b""
            assert await program.receive_some() == b""
        await trio.testing.wait_all_tasks_blocked()
        assert not any(is_open(fd) for fd in (in_write, out_read))
        os.close(out_write)
        await program.aclose()

    run(body)


def test_a_terminal_is_raw_and_detach_keys_leave_it_open() -> None:
    async def body(background: trio.Nursery) -> None:
        master, slave = os.openpty()
        wires = exec_wires(ExecStarted(1, tty=master), stdin=True, stdout=True, stderr=False, raw=True, keys=b"\x10\x11")
        joint = Joint(wires)
        client, server = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(joint.join, server, _ended, background)
            os.write(slave, b"$ ")
            assert await client.receive_some() == b"$ "
            await client.send_all(b"\x10\x11")
            assert await client.receive_some() == b""
        assert is_open(master)
        os.close(slave)
        await trio.testing.wait_all_tasks_blocked()
        assert not is_open(master)

    run(body)


@pytest.mark.parametrize(
    ("version", "tty", "expected"),
    [((1, 41), False, "raw-stream"), ((1, 42), False, "multiplexed-stream"), ((1, 51), True, "raw-stream")],
)
def test_the_streams_name_depends_on_version_and_terminal(version: tuple[int, int], tty: bool, expected: str) -> None:
    assert content_type(version, tty=tty) == f"application/vnd.docker.{expected}"
