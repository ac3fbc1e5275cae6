"""The manager process of this node: started in a session of its own, taken over when it outlived us, started again when it dies.

Owns the process's life and its pid file (`<run>/manager.json`); never speaks its protocol (agent/session.py does).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import trio

from cluster.model.errors import Internal
from cluster.wire import versions

READY_BYTES: Final = 64 * 1024
WORDS_BYTES: Final = 4096  # of the log's end
FAILED: Final = 1  # the exit status after one sentence
START_TIMEOUT_S: Final = 120  # a machine that is very slow needs most of a minute
STOP_TIMEOUT_S: Final = 10


class Ready(msgspec.Struct, frozen=True):
    """The line that the manager writes when it serves."""

    node_id: str
    cluster_id: str


class ManagerFailed(Internal):
    """It did not come up; the message is the last line that it printed."""


class _Pid(msgspec.Struct, frozen=True):
    pid: int
    started: str  # field 22 of /proc/PID/stat


def _start_time(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


class ManagerProcess:
    """One manager per node. `descriptor` is a pidfd while it lives."""

    def __init__(self, root: Path, run: Path, speak: int = versions.VERSION) -> None:
        self._speak = speak
        self._root, self._pid_path, self._log_path = root, run / "manager.json", run / "manager.log"
        self._descriptor: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def adopt(self) -> bool:
        """Take over the manager that an earlier node process started, if it still runs; whether there is one."""
        if self._descriptor is not None:
            return True
        try:
            noted = msgspec.json.decode(self._pid_path.read_bytes(), type=_Pid)
            descriptor = os.pidfd_open(noted.pid)
        except (FileNotFoundError, msgspec.DecodeError, ProcessLookupError):
            return False
        if _start_time(noted.pid) != noted.started:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    async def start(self, listen: str, advertise: str, bootstrap: bytes | None = None, unlocking: str = "") -> Ready:
        """Start it and wait until it serves; with `bootstrap` (JSON options) it makes a new cluster, with `unlocking` it opens its state by the
        swarm's unlock key. Raises ManagerFailed.

        Cancellation leaves no process behind.
        """
        read, write = os.pipe2(os.O_CLOEXEC)
        argv = [sys.executable, "-I", "-m", "manager", "--state", str(self._root / "raft"), "--identity", str(self._root / "node"),
                "--listen", listen, "--advertise", advertise, "--ready-fd", str(write), "--speak", str(self._speak)]  # fmt: skip
        told = bootstrap if bootstrap is not None else f"{unlocking}\n".encode() if unlocking else None
        argv += ["--bootstrap"] if bootstrap is not None else ["--unlock"] if unlocking else []
        try:
            with self._log_path.open("ab") as log:
                position = log.tell()
                child = subprocess.Popen(  # noqa: ASYNC220  fork and exec take a millisecond; its life is watched by a pidfd
                    argv, stdin=subprocess.PIPE if told is not None else subprocess.DEVNULL, stdout=log, stderr=log,
                    pass_fds=(write,), start_new_session=True, cwd="/",
                )  # fmt: skip
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        self._child = child
        self._descriptor = os.pidfd_open(child.pid)
        self._pid_path.write_bytes(msgspec.json.encode(_Pid(child.pid, _start_time(child.pid))))
        if told is not None and child.stdin is not None:
            with suppress(BrokenPipeError), child.stdin:  # it has ended already: its last words say why
                child.stdin.write(told)
        line = await self._read_line(read)
        if not line:
            await self.kill()
            raise ManagerFailed(self._last_words(position))
        return msgspec.json.decode(line, type=Ready)

    def reload(self) -> None:
        """Tell it that the node has a new certificate (SIGHUP); it must have said that it serves, or have been taken over."""
        if self._descriptor is not None:
            self._signal(signal.SIGHUP)

    async def wait_dead(self) -> str:
        """Return when the process has ended, at once when there is none: its last words, where it ended by itself and they say why (of one that was
        taken over nobody hears how it ended)."""
        if self._descriptor is None:
            return ""
        await trio.lowlevel.wait_readable(self._descriptor)
        child = self._child
        self._reap()
        if child is None or child.returncode != FAILED:
            return ""
        return self._last_words(max(0, self._log_path.stat().st_size - WORDS_BYTES))

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after STOP_TIMEOUT_S."""
        if self._descriptor is None:
            return
        self._signal(signal.SIGTERM)
        with trio.move_on_after(STOP_TIMEOUT_S) as patience:
            await trio.lowlevel.wait_readable(self._descriptor)
        if patience.cancelled_caught:
            await self.kill()
        else:
            self._reap()

    async def kill(self) -> None:
        if self._descriptor is None:
            return
        self._signal(signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await trio.lowlevel.wait_readable(self._descriptor)
        self._reap()

    def _signal(self, number: signal.Signals) -> None:
        assert self._descriptor is not None
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            pass  # it has just ended by itself

    def _reap(self) -> None:
        if self._child is not None:
            self._child.wait()
            self._child = None
        if self._descriptor is not None:
            trio.lowlevel.notify_closing(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
        self._pid_path.unlink(missing_ok=True)

    async def _read_line(self, descriptor: int) -> bytes:
        os.set_blocking(descriptor, False)
        async with trio.lowlevel.FdStream(descriptor) as stream:
            data = b""
            with trio.move_on_after(START_TIMEOUT_S):
                while not data.endswith(b"\n") and len(data) < READY_BYTES:
                    more = await stream.receive_some()
                    if not more:
                        break
                    data += more
        return data if data.endswith(b"\n") else b""

    def _last_words(self, position: int) -> str:
        with self._log_path.open("rb") as log:
            log.seek(position)
            lines = log.read(READY_BYTES).decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"the manager process ended, or did not start within {START_TIMEOUT_S} s, without a word"
