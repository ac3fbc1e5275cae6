"""Running a bundle's hooks: programs of the host that get the container's state on their standard input. Owns their processes until they have ended.

Used by the commands and by the container's first process, which may import nothing from the file system it stands in: only the os module's calls
are used here. Source: the OCI runtime specification, config.md ("POSIX-platform Hooks").
"""

from __future__ import annotations

import os
import select
import signal

from runtime.errors import StartFailed
from runtime.oci.values import Hook

ERRORS_MAX_BYTES = 4096
NOT_EXECUTED = 127


def run_all(name: str, hooks: tuple[Hook, ...], state: bytes, root: int = -1) -> None:
    """One after the other. `root`: descriptor of a folder to make the root first, -1 for none. Raises StartFailed for the first that fails."""
    for index, hook in enumerate(hooks):
        status, said = _run(hook, state, root)
        if status:
            words = f": {said.decode('utf-8', 'replace').strip()}" if said.strip() else ""
            raise StartFailed(f"error running {name} hook #{index}: {hook.path}: {status}{words}")


def _run(hook: Hook, state: bytes, root: int) -> tuple[str, bytes]:
    """What went wrong (empty: nothing), and the end of what the hook wrote on standard error."""
    stdin_reader, stdin = os.pipe()
    errors, errors_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(hook, stdin_reader, errors_writer, root)
    os.close(stdin_reader)
    os.close(errors_writer)
    pidfd = os.pidfd_open(pid)
    try:
        said, late = _converse(hook, pidfd, stdin, errors, state)
        if late:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        waited = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    finally:
        os.close(pidfd)
        os.close(errors)
    if late:
        return f"timed out after {hook.timeout_s} s", said
    if waited is None or waited.si_status == 0:
        return "", said
    return (f"exit status {waited.si_status}" if waited.si_code == os.CLD_EXITED else f"signal {waited.si_status}"), said


def _converse(hook: Hook, pidfd: int, stdin: int, errors: int, state: bytes) -> tuple[bytes, bool]:
    """Feeds the state and keeps what comes on standard error until the hook ends or its time is over (then: True)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(errors, select.POLLIN)
    poll.register(stdin, select.POLLOUT)
    os.set_blocking(stdin, False)
    rest, said, open_stdin = state, b"", True
    try:
        while True:
            ready = poll.poll(hook.timeout_s * 1000 if hook.timeout_s else None)
            if not ready:
                return said, True
            numbers = {number for number, _ in ready}
            if errors in numbers:
                data = os.read(errors, ERRORS_MAX_BYTES)
                said = (said + data)[-ERRORS_MAX_BYTES:]
                if not data:
                    poll.unregister(errors)
            if open_stdin and stdin in numbers:
                try:
                    rest = rest[os.write(stdin, rest) :] if rest else rest
                except BrokenPipeError:
                    rest = b""
                if not rest:
                    poll.unregister(stdin)
                    os.close(stdin)
                    open_stdin = False
            if pidfd in numbers:
                return said, False
    finally:
        if open_stdin:
            os.close(stdin)


def _become(hook: Hook, stdin: int, errors: int, root: int) -> None:
    try:
        if root >= 0:
            os.fchdir(root)
            os.chroot(".")
        os.dup2(stdin, 0)
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(hook.path, list(hook.argv), dict(entry.split("=", 1) for entry in hook.env if "=" in entry))  # noqa: S606 - a hook is a program
    except OSError as error:
        os.write(2, f"{error.strerror}".encode())
    finally:
        os._exit(NOT_EXECUTED)
