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

from cli.failures import CliFailure
from cli.multiplex import STDERR, BadFrame, Demultiplexer

PIECE_BYTES: Final = 64 * 1024
Resize = Callable[[int, int], None]
"""Told the rows and columns of our terminal."""


def attached(connected: socket.socket, early: bytes, *, tty: bool, interactive: bool, resize: Resize | None) -> None:
    """Copy both ways until the other side has said all. With `tty` our terminal is raw meanwhile and its changes of
    size are passed on. Raises CliFailure when the stream breaks."""
    with _raw(enabled=tty and interactive), _size_watched(resize if tty else None) as resized:
        _Copy(connected, tty=tty, interactive=interactive, resized=resized, resize=resize).run(early)


class _Copy:
    def __init__(
        self, connected: socket.socket, *, tty: bool, interactive: bool, resized: int, resize: Resize | None
    ) -> None:
        self._connected = connected
        self._frames = None if tty else Demultiplexer()
        self._inputs = [connected.fileno(), resized] + ([0] if interactive else [])
        self._resized = resized
        self._resize = resize
        if not interactive:
            self._half_close()

    def run(self, early: bytes) -> None:
        self._show(early)
        while True:
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
                    return
                if not data:
                    return
                self._show(data)

    def _read_input(self) -> None:
        data = os.read(0, PIECE_BYTES)
        if not data:
            self._inputs.remove(0)
            self._half_close()
            return
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
    try:
        tty_modes.setraw(0, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)


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
