"""Our standard streams joined to a container's: a raw terminal, its size, half-closed input, framed output.

Owns the terminal's mode (put back in any case); never decides what runs. Source: termios(3), tty_ioctl(4).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import termios
import tty as tty_modes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from agent.engine.detach import Detacher, keys_of
from cli.failures import CliFailure
from cli.multiplex import STDERR, BadFrame, Demultiplexer
from cluster.model.errors import InvalidArgument

PIECE_BYTES: Final = 64 * 1024
KILLED_BY: Final = 128
"""A shell's exit status of what a signal has ended, without the signal's number."""

Resize = Callable[[int, int], None]
"""Told the rows and columns of our terminal."""


def attached(
    connected: socket.socket, early: bytes, *, tty: bool, interactive: bool, resize: Resize | None, keys: str = "", redraw: bool = False
) -> bool:
    """Copy both ways until the other side has said all, or the user has typed the detach `keys`, which is the answer. With `tty` our terminal is raw
    meanwhile and its changes of size are passed on; `redraw`: first a wrong size, so that what runs already draws its screen. Raises CliFailure when the
    stream breaks."""
    detacher = _detacher(keys) if tty and interactive else None
    with _raw(enabled=tty and interactive), _size_watched(resize if tty else None) as resized:
        if tty and redraw and resize is not None and sys.stdout.isatty() and (size := window_size()) is not None:
            resize(size[0] + 1, size[1] + 1)
        return _Copy(connected, tty=tty, interactive=interactive, resized=resized, resize=resize, detacher=detacher).run(early)


def _detacher(keys: str) -> Detacher:
    try:
        return Detacher(keys_of(keys))
    except InvalidArgument as e:
        raise CliFailure(str(e)) from e


class _Copy:
    def __init__(
        self, connected: socket.socket, *, tty: bool, interactive: bool, resized: int, resize: Resize | None, detacher: Detacher | None
    ) -> None:
        self._connected = connected
        self._detacher = detacher
        self._detached = False
        self._frames = None if tty else Demultiplexer()
        self._inputs = [connected.fileno(), resized] + ([0] if interactive else [])
        self._resized = resized
        self._resize = resize
        if not interactive:
            self._half_close()

    def run(self, early: bytes) -> bool:
        """Whether the user has detached."""
        self._show(early)
        while not self._detached:
            ready, _, _ = select.select(self._inputs, [], [])
            if self._resized in ready:
                os.read(self._resized, PIECE_BYTES)
                self._tell_size()
            if 0 in ready:
                self._read_input()
            if self._connected.fileno() in ready:
                try:
                    data = self._connected.recv(PIECE_BYTES)
                except ConnectionResetError:
                    return False
                if not data:
                    return False
                self._show(data)
        return True

    def _read_input(self) -> None:
        data = os.read(0, PIECE_BYTES)
        if not data:
            self._inputs.remove(0)
            self._half_close()
            return
        if self._detacher is not None:
            data, self._detached = self._detacher.feed(data)
        try:
            self._connected.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._inputs.remove(0)

    def _half_close(self) -> None:
        with suppress(OSError):
            self._connected.shutdown(socket.SHUT_WR)

    def _show(self, data: bytes) -> None:
        if self._frames is None:
            _write_all(1, data)
            return
        try:
            for stream, payload in self._frames.feed(data):
                _write_all(2 if stream == STDERR else 1, payload)
        except BadFrame as e:
            raise CliFailure(str(e)) from e

    def _tell_size(self) -> None:
        size = window_size()
        if self._resize is not None and size is not None:
            with suppress(CliFailure):  # it has ended meanwhile
                self._resize(*size)


def window_size() -> tuple[int, int] | None:
    """Rows and columns of our terminal; None without one."""
    for fd in (1, 0, 2):
        with suppress(OSError):
            size = os.get_terminal_size(fd)
            return size.lines, size.columns
    return None


@contextmanager
def _raw(*, enabled: bool) -> Iterator[None]:
    if not enabled or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(0)
    ending = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in ending:
        signal.signal(number, _leave)
    try:
        tty_modes.setraw(0, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, _frame: object) -> None:
    """What would end us at once has to let the terminal be put back."""
    raise SystemExit(KILLED_BY + number)


@contextmanager
def _size_watched(resize: Resize | None) -> Iterator[int]:
    """A descriptor that becomes readable when the terminal has a new size."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before: object = None
    try:
        if resize is not None:
            before = signal.signal(signal.SIGWINCH, lambda *_: _notify(writer))
            _notify(writer)  # the size as it is now
        yield reader
    finally:
        if resize is not None:
            signal.signal(signal.SIGWINCH, before if callable(before) else signal.SIG_DFL)
        os.close(reader)
        os.close(writer)


def _notify(writer: int) -> None:
    with suppress(BlockingIOError):
        os.write(writer, b"\0")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
