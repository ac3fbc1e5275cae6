"""The chunk of output that is on its way to a log: not lost and not written twice when the supervisor is killed in the middle.
Owns the pipe that holds the chunk, and the note of where it goes.

The stem holds a duplicate of the pipe; the note is a mapped file. A chunk moves from the container's FIFO into the pipe in one
step, is copied from there to the log, and leaves the pipe in one step. So while the pipe is empty every log is whole; what a
dead supervisor left in it is written anew by the next one, after the log has been set back to where the note says it began.
Source: splice(2), tee(2); pipe_read and splice_pipe_to_pipe of the kernel are not interrupted half-way.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
import termios

from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call
from runtime.supervisor.keeper import Keeper
from runtime.supervisor.logfile import LogWriter, set_back

CHUNK_BYTES = 64 * 1024
KEPT_AS = "chunk"
_NOTE = struct.Struct("=64sBQQ")
_SPLICE_F_NONBLOCK = 2


class Chunks:
    """One chunk at a time, of whichever container: the supervisor has one thread."""

    def __init__(self, keeper: Keeper, path: str) -> None:
        """`path`: the note's. Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _NOTE.size)
            self._note = mmap.mmap(descriptor, _NOTE.size)
        finally:
            os.close(descriptor)
        self._copy, self._copied = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._pipe = keeper.claim(KEPT_AS)
        if self._pipe < 0:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            self._pipe = os.open(f"/proc/self/fd/{reader}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            os.close(reader)
            os.close(writer)
            keeper.keep({KEPT_AS: self._pipe})

    def take(self, source: int, container_id: str, stream: int, log: LogWriter) -> bytes:
        """The next chunk; `settle` when it is in the log. Raises what reading the source raises, BlockingIOError when nothing
        is there."""
        self._note[:] = _NOTE.pack(container_id.encode(), stream, *log.position)
        try:
            os.splice(source, self._pipe, CHUNK_BYTES, flags=_SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno == errno.EINVAL:  # a terminal, before kernel 6.5
                return os.read(source, CHUNK_BYTES)
            raise
        return self._look()

    def settle(self) -> None:
        """The chunk is in its log."""
        try:
            os.read(self._pipe, CHUNK_BYTES)
        except BlockingIOError:
            return

    def left_for(self, container_id: str, log_path: str) -> tuple[int, bytes]:
        """(stream, chunk) that an earlier supervisor did not bring to its end, the log set back to before it; no bytes when
        there is none. `settle` when it is in the log."""
        noted, stream, inode, size = _NOTE.unpack(self._note[:])
        if not self._pending() or noted.decode() != container_id:
            return 0, b""
        set_back(log_path, inode, size)
        return stream, self._look()

    def _pending(self) -> int:
        return int(struct.unpack("i", fcntl.ioctl(self._pipe, termios.FIONREAD, b"\0" * 4))[0])

    def _look(self) -> bytes:
        """What is in the pipe, which keeps it."""
        call(Call.TEE, self._pipe, self._copied, CHUNK_BYTES, _SPLICE_F_NONBLOCK)
        return os.read(self._copy, CHUNK_BYTES)
