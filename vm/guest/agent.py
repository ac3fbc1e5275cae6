"""The host's hand in a guest: starts commands and carries their input, output and exit status over one virtio-serial port.

Runs as `python -I -S agent.py PORT`, as PID 1 in most guests, and imports next to nothing: each module costs 10 to 25 times
what it costs on the host. Also the one definition of the frames, which channel.py imports. It never decides anything.

A frame is 4 bytes of length of what follows the header, 1 byte of kind, 4 bytes of session, then the payload. Several
commands run at a time, a session each. A command's end is told when its process has ended and what its pipes held has been
read; what its descendants write later is read and thrown away. When the host hangs up, the guest ends.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import struct
import sys

HEADER = struct.Struct(">IBI")
MAX_PAYLOAD_BYTES = 1 << 16
READY, START, INPUT, TAKEN, SIGNAL, RESIZE, OUTPUT, ERROR, EXIT = range(9)
"""READY (guest: booted), START (host: JSON of argv, env, cwd, tty), INPUT (host; empty: end), TAKEN (guest: the command has
what INPUT carried; the host sends the next only now), SIGNAL (host: 1 byte, to the process group), RESIZE (host: rows,
columns), OUTPUT and ERROR (guest), EXIT (guest: 1 byte)."""

SIZE = struct.Struct(">HH")
NOT_EXECUTABLE_STATUS, NOT_FOUND_STATUS = 126, 127
_READ_BYTES = 1 << 15
_HUNG_UP = select.POLLHUP | select.POLLERR


def frame(kind: int, session: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(len(payload), kind, session) + payload


def parse(buffer: bytearray) -> list[tuple[int, int, bytes]]:
    """Whole frames, taken off `buffer`: (kind, session, payload). Raises ValueError on one that is too long."""
    found = []
    while len(buffer) >= HEADER.size:
        length, kind, session = HEADER.unpack_from(buffer)
        if length > MAX_PAYLOAD_BYTES:
            raise ValueError(f"a frame of {length} bytes")
        if len(buffer) < HEADER.size + length:
            break
        found.append((kind, session, bytes(buffer[HEADER.size : HEADER.size + length])))
        del buffer[: HEADER.size + length]
    return found


class _Session:
    """One command: its process, our ends of its pipes, what waits to be written to it."""

    def __init__(self, number: int, pid: int, feed: int, outputs: dict[int, int]) -> None:
        self.number, self.pid, self.feed, self.outputs = number, pid, feed, outputs
        self.pending = b""
        self.waiting = False  # for the command to take `pending`
        self.ended = False


class Agent:
    """The loop. Single-threaded, so that fork(2) is safe."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.poll = select.poll()
        self.sessions: dict[int, _Session] = {}
        self.readers: dict[int, tuple[_Session, int]] = {}
        self.writers: dict[int, _Session] = {}
        self.buffer = bytearray()

    def run(self) -> None:
        """Until the host hangs up."""
        awake, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(awake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poll.register(self.port, select.POLLIN)
        self.poll.register(awake, select.POLLIN)
        self._send(READY, 0)
        while True:
            for fd, events in self.poll.poll():
                if fd == self.port:
                    data = os.read(self.port, _READ_BYTES) if events & select.POLLIN else b""
                    if not data:
                        return
                    self.buffer += data
                    for kind, session, payload in parse(self.buffer):
                        self._take(kind, session, payload)
                elif fd == awake:
                    os.read(awake, _READ_BYTES)
                    self._reap()
                elif fd in self.readers:
                    self._read(fd)
                elif fd in self.writers:
                    self._feed(self.writers[fd])

    def _take(self, kind: int, number: int, payload: bytes) -> None:
        session = self.sessions.get(number)
        if kind == START:
            self._start(number, json.loads(payload))
        elif session is None:
            return
        elif kind == INPUT:
            self._input(session, payload)
        elif kind == SIGNAL and not session.ended:
            try:
                os.killpg(session.pid, payload[0])
            except ProcessLookupError:
                pass
        elif kind == RESIZE and session.feed >= 0:
            _resize(session.feed, *SIZE.unpack(payload))

    def _start(self, number: int, asked: dict[str, object]) -> None:
        tty = asked["tty"]
        if tty:
            feed, inside = os.openpty()
            _resize(feed, *tty)  # type: ignore[misc]
            theirs, outputs = (inside, inside, inside), {feed: OUTPUT}
        else:
            (stdin, feed), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
            theirs, outputs = (stdin, stdout, stderr), {out: OUTPUT, err: ERROR}
        pid = os.fork()
        if pid == 0:
            _become(asked, theirs)
        for fd in set(theirs):
            os.close(fd)
        session = _Session(number, pid, feed, outputs)
        self.sessions[number] = session
        for fd, kind in outputs.items():
            os.set_blocking(fd, False)
            self.readers[fd] = (session, kind)
            self.poll.register(fd, select.POLLIN)
        os.set_blocking(feed, False)

    def _input(self, session: _Session, payload: bytes) -> None:
        if session.feed < 0:
            self._send(TAKEN, session.number)
            return
        session.pending += payload
        if not payload and session.feed in session.outputs:
            session.pending += b"\x04"  # a terminal's end of file
        session.waiting = True
        if not payload and session.feed not in session.outputs:
            self._close_feed(session)
            self._send(TAKEN, session.number)
            return
        self._feed(session)

    def _feed(self, session: _Session) -> None:
        try:
            while session.pending:
                session.pending = session.pending[os.write(session.feed, session.pending) :]
        except BlockingIOError:
            if session.feed not in self.writers:
                self.writers[session.feed] = session
                self._watch(session.feed)
            return
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            session.pending = b""
        if self.writers.pop(session.feed, None):
            self._watch(session.feed)
        if session.waiting:
            session.waiting = False
            self._send(TAKEN, session.number)

    def _watch(self, fd: int) -> None:
        events = (select.POLLIN if fd in self.readers else 0) | (select.POLLOUT if fd in self.writers else 0)
        if events:
            self.poll.register(fd, events)
        else:
            self.poll.unregister(fd)

    def _close_feed(self, session: _Session) -> None:
        if session.feed >= 0 and session.feed not in session.outputs:
            if self.writers.pop(session.feed, None):
                self.poll.unregister(session.feed)
            os.close(session.feed)
            session.feed = -1

    def _read(self, fd: int) -> bool:
        """Pass on what a pipe holds. Whether there was anything."""
        session, kind = self.readers[fd]
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:  # a terminal whose last process has ended
            if error.errno != errno.EIO:
                raise
            data = b""
        if data:
            if not session.ended:
                self._send(kind, session.number, data)
            return True
        self._forget(fd, session)
        return False

    def _forget(self, fd: int, session: _Session) -> None:
        self.poll.unregister(fd)
        del self.readers[fd]
        self.writers.pop(fd, None)
        session.outputs.pop(fd, None)
        if session.feed == fd:
            session.feed = -1
        os.close(fd)

    def _reap(self) -> None:
        by_pid = {session.pid: session for session in self.sessions.values()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            session = by_pid.get(pid)
            if session is None:
                continue  # an orphan: PID 1 inherits them
            for fd in list(session.outputs):
                while fd in self.readers and self._read(fd):
                    pass
            session.ended = True
            self._close_feed(session)
            del self.sessions[session.number]
            code = os.waitstatus_to_exitcode(status)
            self._send(EXIT, session.number, bytes([code if code >= 0 else 128 - code]))

    def _send(self, kind: int, session: int, payload: bytes = b"") -> None:
        data = memoryview(frame(kind, session, payload))
        while data:
            data = data[os.write(self.port, data) :]


def _become(asked: dict[str, object], descriptors: tuple[int, int, int]) -> None:
    """In the child: the command, or a word on its stderr and 126 or 127."""
    status = NOT_EXECUTABLE_STATUS
    argv: list[str] = asked["argv"]  # type: ignore[assignment]
    try:
        os.setsid()
        for target, fd in enumerate(descriptors):
            os.dup2(fd, target)
        os.closerange(3, 1 << 16)
        if asked["tty"]:
            import fcntl
            import termios

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        cwd, environment = str(asked["cwd"]), dict(asked["env"])  # type: ignore[call-overload]
        os.chdir(cwd if os.path.isdir(cwd) else "/")
        os.execvpe(argv[0], argv, environment)  # noqa: S606 (to become it is the point)
    except FileNotFoundError:
        status = NOT_FOUND_STATUS
        os.write(2, f"{argv[0]}: executable file not found in $PATH\n".encode())
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(status)


def _resize(terminal: int, rows: int, columns: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def main() -> None:
    Agent(os.open(sys.argv[1], os.O_RDWR | os.O_CLOEXEC)).run()
    if os.getpid() == 1:
        with open("/proc/sysrq-trigger", "w", encoding="ascii") as trigger:
            trigger.write("b")  # QEMU was told to end instead of a reboot


if __name__ == "__main__":
    main()
