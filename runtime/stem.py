"""The stem: parent of the supervisor, heir of its children. `python -I -m runtime.stem --run DIR --state DIR`

Owns: the listening socket (so that clients can connect while the supervisor restarts), duplicates of descriptors that
must survive it, the exit records of processes that it inherited. Never: knows containers, reads requests. Imports next
to nothing: it must not fail.

The command returns 0 as soon as a supervisor answers (also when one did before); the stem itself goes on in a session
of its own. When the stem dies, the supervisor becomes the stem: it executes this program in its own place, as parent
of its containers, with `--listen`, `--lock` and `--kept` for what it hands over (supervisor/succession.py).
Source: prctl(2) PR_SET_CHILD_SUBREAPER, waitid(2), unix(7), execve(2).
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import socket
import sys
import time

from runtime.kernel.interpreter import execute_sealed, hide, is_sealed
from runtime.kernel.processes import become_subreaper, exit_status_of, heed_signals, start_time
from runtime.supervisor.places import Places

FAILURES_MAX = 5
"""Supervisors in a row that died before they were ready; then the stem gives up."""
KEPT_AT_ONCE = 4
"""Descriptors in one message."""
KEPT_MAX = 16_384
"""Descriptors kept for the supervisor."""
LISTEN_BACKLOG = 128
MESSAGE_BYTES = 4096
WORD_BYTES = 1024  # of a supervisor's last words
JOURNAL_MAX_BYTES = 1024 * 1024

READY, KEEP, DROP, FOUND, END = b"R", b"K", b"D", b"F", b"."
"""On the control socket. From the supervisor: ready; keep <names>, one a line, with a descriptor for each; drop <names>. To a new one:
found <name> (with a descriptor) for each that is kept, then end."""


class Stem:
    """The running stem. Its loop has two sources: SIGCHLD and the supervisor's control socket."""

    def __init__(self, places: Places, ready: int, listener: socket.socket, kept: dict[bytes, int]) -> None:
        self._places = places
        self._ready = ready
        self._kept = kept
        self._failures = 0
        self._was_ready = False
        self._supervisor = -1
        self._control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)[0]
        self._listener = listener
        self._woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        become_subreaper()

    def run(self) -> int:
        """Until the supervisor ends on purpose (0) or can't be started (1)."""
        self._spawn()
        while True:
            status = self._reap()
            if status is not None and not self._restart(status):
                return 0 if status == 0 else 1
            poll = select.poll()
            poll.register(self._woken, select.POLLIN)
            if self._control.fileno() >= 0:
                poll.register(self._control, select.POLLIN)
            for descriptor, _ in poll.poll():
                if descriptor == self._woken:
                    os.read(self._woken, MESSAGE_BYTES)
                else:
                    self._listen_to_supervisor()

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.close()
        self._control, self._was_ready = ours, False
        command = ["-I", "-m", "runtime.supervisor", "--run", self._places.run, "--state", self._places.state]
        command += ["--listen", str(self._listener.fileno()), "--control", str(theirs.fileno())]
        self._supervisor = os.fork()
        if self._supervisor == 0:
            try:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.set_inheritable(self._listener.fileno(), True)
                os.set_inheritable(theirs.fileno(), True)
                execute_sealed(command)
            finally:
                os._exit(127)
        theirs.close()
        try:
            for name, descriptor in self._kept.items():
                socket.send_fds(ours, [FOUND + name], [descriptor])
            ours.send(END)
        except (BrokenPipeError, ConnectionResetError):
            return  # it died at once: its death is the next thing that the loop sees

    def _listen_to_supervisor(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, KEPT_AT_ONCE)
        except ConnectionResetError:
            message, descriptors = b"", []
        kind, names = message[:1], message[1:].split(b"\n")
        if not message:
            self._control.close()
        elif kind == READY:
            self._was_ready, self._failures = True, 0
            self._tell(b"ready")
        elif kind == KEEP and len(descriptors) == len(names) and len(self._kept) + len(names) <= KEPT_MAX:
            for name in names:
                self._forget(name)
                self._kept[name] = descriptors.pop(0)
                os.set_inheritable(self._kept[name], False)
        elif kind == DROP:
            for name in names:
                self._forget(name)
        for descriptor in descriptors:
            os.close(descriptor)

    def _forget(self, name: bytes) -> None:
        descriptor = self._kept.pop(name, -1)
        if descriptor >= 0:
            os.close(descriptor)

    def _tell(self, word: bytes) -> None:
        """Answers the command that started this stem, once."""
        if self._ready >= 0:
            os.write(self._ready, word)
            os.close(self._ready)
            self._ready = -1

    def _reap(self) -> int | None:
        """Takes all dead children. Each inherited one gets its record before it is reaped; the supervisor's status
        is returned."""
        status: int | None = None
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return status
            if dead is None:
                return status
            if dead.si_pid == self._supervisor:
                status = exit_status_of(dead)
            else:
                write_exit(self._places.exits, dead.si_pid, start_time(dead.si_pid), exit_status_of(dead))
            os.waitid(os.P_PID, dead.si_pid, os.WEXITED)

    def _restart(self, status: int) -> bool:
        """False when there is to be no other supervisor."""
        if status == 0:
            return False
        self._failures = 0 if self._was_ready else self._failures + 1
        if self._failures >= FAILURES_MAX:
            words = b"the supervisor ended with status %d before it was ready; see %b" % (status, os.fsencode(self._places.journal))
            self._tell(words + _last_line(self._places.journal))
            return False
        self._spawn()
        return True


def _last_line(journal: str) -> bytes:
    """What the supervisor said last, as what follows a sentence; nothing when it said nothing."""
    with open(journal, "rb") as file:
        file.seek(max(0, os.path.getsize(journal) - WORD_BYTES))
        lines = file.read().strip().splitlines()
    return b": " + lines[-1] if lines else b""


def write_exit(folder: str, pid: int, started: int, status: int) -> None:
    """The record `<pid>.<start time>`: "status nanoseconds", durable before it appears under its name. Raises
    OSError."""
    path = os.path.join(folder, f"{pid}.{started}")
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, b"%d %d\n" % (status, time.time_ns()))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(f"{path}.new", path)


def listen(places: Places) -> socket.socket:
    """The supervisor's socket, in the place of one that a dead stem left."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = os.open(places.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    name = os.path.basename(places.socket)
    try:
        if os.path.lexists(places.socket):
            os.unlink(places.socket)
        listener.bind(f"/proc/self/fd/{folder}/{name}")
    finally:
        os.close(folder)
    os.chmod(places.socket, 0o600)
    listener.listen(LISTEN_BACKLOG)
    return listener


def close(places: Places) -> None:
    """Nobody connects any more."""
    if os.path.lexists(places.socket):
        os.unlink(places.socket)


def make_folders(places: Places) -> None:
    """All that stem and supervisor need to begin; private to their user."""
    for folder in (places.folder, places.state, places.exits, places.mount_point, places.streams):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    os.chmod(places.folder, 0o700)
    os.chmod(places.state, 0o700)


def lock(path: str, wait: bool) -> int:
    """A record lock: gone with this process, not shared with its children. Returns the descriptor, or -1 when it is
    held and `wait` is false."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return -1
    return descriptor


def detach(places: Places) -> None:
    """A session of its own, nothing open that belongs to whoever started us."""
    os.setsid()
    os.chdir("/")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    journal = os.open(places.journal, flags, 0o600)
    if os.fstat(journal).st_size > JOURNAL_MAX_BYTES:
        os.ftruncate(journal, 0)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(journal, 1)
    os.dup2(journal, 2)
    os.close(null)
    os.close(journal)


def main(arguments: list[str]) -> int:
    """The command."""
    if not is_sealed():
        execute_sealed(["-I", "-m", "runtime.stem", *arguments])
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    heed_signals()
    places = Places(options["--run"], options["--state"])
    if "--kept" in options:
        return _succeed(places, options)
    return _start(places)


def _succeed(places: Places, options: dict[str, str]) -> int:
    """This process was the supervisor. The lock stays held for as long as its descriptor is open."""
    for name in ("--listen", "--lock"):
        os.set_inheritable(int(options[name]), False)
    kept: dict[bytes, int] = {}
    with open(int(options["--kept"]), "rb") as file:
        for line in file:
            key, _, descriptor = line.rpartition(b" ")
            kept[key] = int(descriptor)
            os.set_inheritable(kept[key], False)
    return _serve(places, -1, socket.socket(fileno=int(options["--listen"])), kept)


def _serve(places: Places, ready: int, listener: socket.socket, kept: dict[bytes, int]) -> int:
    hide("festoon-stem")
    status = Stem(places, ready, listener, kept).run()
    close(places)
    return status


def _start(places: Places) -> int:
    """Two starts at once wait for each other; the second finds the first one's stem."""
    make_folders(places)
    starting = lock(places.stem_lock + ".start", wait=True)
    told, ready = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(ready)
        word = os.read(told, MESSAGE_BYTES)
        os.close(starting)
        if word == b"ready":
            return 0
        os.write(2, (word or b"the stem ended before it was ready") + b"\n")
        return 1
    os.close(told)
    os.close(starting)
    held = lock(places.stem_lock, wait=False)
    if held < 0:
        os.write(ready, b"ready")
        return 0
    detach(places)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return _serve(places, ready, listen(places), {})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
