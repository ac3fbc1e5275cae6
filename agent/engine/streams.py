"""A hijacked connection joined to a process's descriptors: input one way, framed or raw output the other. Owns the
descriptors that it is given.

The client's half-close ends the program's input while output goes on; the end of all output ends the connection. A
client that goes away, or detaches, leaves the program running: what an executed one still writes is read and thrown
away, so that it neither blocks nor dies of a broken pipe; of a container's output the client had a copy, which is closed.
So do the children that outlive a program which was executed: the client waits for its exit status, and for them only a
moment.
"""

from __future__ import annotations

import os
import select
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio

from agent.engine.detach import Detacher
from agent.engine.framing import STDERR, STDOUT, frame
from cluster.wire.http import Stream
from runtime.client import Attached, ExecStarted

EndInput = Callable[[], Awaitable[object]]
Gone = Callable[[], Awaitable[None]]
PIECE_BYTES: Final = 32 * 1024
LINGER_S: Final = 2.0
"""How long what others still write after the program's end is waited for, as in Docker (`> >(tee log)` ends a little later); and how long a program may
take to read what a client said before it went."""
_LOST = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


@dataclass(frozen=True, slots=True)
class Wires:
    """`input`: where the client's bytes go; -1 where there is none. `outputs`: (stream number, descriptor) that the
    client gets; `ignored`: outputs that it does not; `spare`: descriptors to close at once. `raw`: a terminal, no
    frames. `close_input`: when the client half-closes. `copies`: the outputs are made for this client, and nobody minds when they are closed."""

    input: int
    outputs: tuple[tuple[int, int], ...]
    ignored: tuple[int, ...] = ()
    spare: tuple[int, ...] = ()
    raw: bool = False
    close_input: bool = True
    detach_keys: bytes = b""
    copies: bool = False


def exec_wires(started: ExecStarted, *, stdin: bool, stdout: bool, stderr: bool, raw: bool, keys: bytes = b"") -> Wires:
    """With a terminal there is one descriptor for both ways. Whether there are frames is for the client to say, who may not know which program it starts."""
    if started.tty >= 0:
        return Wires(started.tty if stdin else -1, ((STDOUT, started.tty),), raw=raw, close_input=False, detach_keys=keys)
    outputs, ignored = _split(started.stdout, started.stderr, stdout=stdout, stderr=stderr)
    spare = () if stdin or started.stdin < 0 else (started.stdin,)
    return Wires(started.stdin if stdin else -1, outputs, ignored, spare, raw)


def attach_wires(attached: Attached, *, stdin: bool, stdout: bool, stderr: bool, raw: bool, keys: bytes = b"") -> Wires:
    """With a terminal all output comes on stdout and the input is never closed."""
    outputs, ignored = _split(attached.stdout, attached.stderr, stdout=stdout, stderr=stderr)
    spare = () if stdin or attached.stdin < 0 else (attached.stdin,)
    return Wires(attached.stdin if stdin else -1, outputs, ignored, spare, raw, not raw, keys, copies=True)


def _split(out: int, err: int, *, stdout: bool, stderr: bool) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    given = [(number, fd, wanted) for number, fd, wanted in ((STDOUT, out, stdout), (STDERR, err, stderr)) if fd >= 0]
    return tuple((n, fd) for n, fd, wanted in given if wanted), tuple(fd for _, fd, wanted in given if not wanted)


def _read(descriptor: int) -> bytes | None:
    """Some output; nothing at its end; None when there is none for the moment."""
    try:
        return os.read(descriptor, PIECE_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""  # a terminal whose last user is gone answers EIO


class Joint:
    """The descriptors of one process as streams, from the moment they are given until the last is closed."""

    def __init__(self, wires: Wires, end_input: EndInput | None = None) -> None:
        """`end_input`: what else has to be done when the client's half-close has ended the input."""
        self._wires = wires
        self._end_input = end_input
        for descriptor in wires.spare:
            os.close(descriptor)
        numbers = {*(fd for _, fd in wires.outputs), *wires.ignored, *({wires.input} - {-1})}
        self._files = {fd: trio.lowlevel.FdStream(fd) for fd in numbers}
        self._unread = {fd for _, fd in wires.outputs} | set(wires.ignored)
        self._over = False
        self._fed = trio.Event()
        self._waiting = trio.CancelScope()

    async def join(
        self, client: Stream, ended: Callable[[], Awaitable[object]] | None, background: trio.Nursery, gone: Gone | None = None
    ) -> None:
        """Copy both ways until the outputs end (and `ended` has returned: the exit status is known) or LINGER_S after `ended`, the user detaches, or
        the client is gone. What is left then is discarded in `background`; so it is on cancellation. None: the outputs' end is the program's. `gone`
        returns when a client has closed both halves: a program that does not take what it said last must not hold its place."""
        over = trio.Event()
        try:
            async with trio.open_nursery() as everything:
                everything.start_soon(self._feed, client, everything.cancel_scope)
                if gone is not None:
                    everything.start_soon(self._let_go, gone, everything.cancel_scope)
                if self._wires.outputs:
                    for descriptor in self._wires.ignored:
                        everything.start_soon(self._throw_away, self._files[descriptor])
                if ended is not None:
                    everything.start_soon(self._cut_off, ended, over)
                async with trio.open_nursery() as outputs:
                    if not self._wires.outputs:  # the client only feeds: until it stops, or the program does
                        for descriptor in self._wires.ignored:
                            outputs.start_soon(self._throw_away, self._files[descriptor])
                    outputs.start_soon(self._copy, client, everything.cancel_scope)
                if ended is not None:
                    await over.wait()
                everything.cancel_scope.cancel()
        finally:
            background.start_soon(self.discard)
        with suppress(*_LOST):
            await client.send_eof()

    async def discard(self) -> None:
        """Read what nobody wants until it ends; then close everything. An input that nobody feeds is closed at once, and so are copies."""
        try:
            if self._wires.copies:
                self._unread.clear()
            for descriptor in set(self._files) - self._unread:
                await self._files[descriptor].aclose()
            async with trio.open_nursery() as nursery:
                for descriptor in self._unread:
                    nursery.start_soon(self._throw_away, self._files[descriptor])
        finally:
            with trio.CancelScope(shield=True):
                for file in self._files.values():
                    await file.aclose()

    async def _throw_away(self, source: trio.lowlevel.FdStream) -> None:
        with suppress(*_LOST):
            while await source.receive_some(PIECE_BYTES):
                pass

    async def _cut_off(self, ended: Callable[[], Awaitable[object]], over: trio.Event) -> None:
        """A while after the program's end what is in its pipes is the last of its output."""
        await ended()
        over.set()
        await trio.sleep(LINGER_S)
        self._over = True
        self._waiting.cancel()

    async def _copy(self, client: Stream, scope: trio.CancelScope) -> None:
        """The outputs until all have ended, or the program is over and nothing more is there. Of what several hold that comes first which began to wait
        first: the kernel's list of what is ready is in that order."""
        numbers = {descriptor: number for number, descriptor in self._wires.outputs}
        with select.epoll() as ready:
            for descriptor in numbers:
                ready.register(descriptor, select.EPOLLIN)
            while numbers:
                found = ready.poll(0)
                if not found and self._over:
                    return
                if not found:
                    with trio.CancelScope() as self._waiting:
                        await trio.lowlevel.wait_readable(ready.fileno())
                for descriptor, _ in found:
                    data = _read(descriptor)
                    if data == b"":
                        self._unread.discard(descriptor)
                        ready.unregister(descriptor)
                        del numbers[descriptor]
                    elif data:
                        try:
                            await client.send_all(data if self._wires.raw else frame(numbers[descriptor], data))
                        except _LOST:
                            scope.cancel()
                            return

    async def _let_go(self, gone: Gone, scope: trio.CancelScope) -> None:
        """What such a client has sent before is still for the program, if that reads it soon."""
        await gone()
        with trio.move_on_after(LINGER_S):
            await self._fed.wait()
        scope.cancel()

    async def _feed(self, client: Stream, scope: trio.CancelScope) -> None:
        """The client's bytes to the input; without an input only watch for a client that is gone (a half-close is not)."""
        wires = self._wires
        target = self._files.get(wires.input)
        detacher = Detacher(wires.detach_keys) if wires.detach_keys else None
        while True:
            try:
                data = bytes(await client.receive_some(PIECE_BYTES))
            except _LOST:
                scope.cancel()
                return
            if not data:
                break
            detached = False
            if detacher is not None:
                data, detached = detacher.feed(data)
            if target is not None:
                try:
                    await target.send_all(data)
                except _LOST:
                    target = None  # the program reads no more; its output goes on
            if detached:
                scope.cancel()
                return
        if target is not None and wires.close_input:
            await target.aclose()
        if self._end_input is not None:
            await self._end_input()
        if wires.copies and wires.input >= 0 and not wires.outputs:
            scope.cancel()  # who only fed has done so
        self._fed.set()
