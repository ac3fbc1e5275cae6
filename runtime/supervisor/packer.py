"""Compresses rotated log files, in a process of its own, one at a time on a node: the supervisor's loop never waits for it, and a file for which no
hand is free stays as it is.

Owns the child and its program; which file, and where the result goes, is the log's (supervisor/logfile.py). Source: RFC 1952 (gzip); the header's
name is the inode number of the file that was compressed, by which its followers find the next one (runtime/log_files.py).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from runtime.kernel import constants as k
from runtime.kernel.interpreter import execute_sealed
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call
from runtime.spec import Exited
from runtime.supervisor.reaper import Reaper

LEVEL = 1  # of 1..9: logs shrink to a tenth at once, and the processor belongs to the containers
PIECE_BYTES = 256 * 1024
_NICE = 10


class Packer:
    """`free`: whether it takes a file now."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self.free = True

    def pack(self, source: int, target: int, done: Callable[[bool], None]) -> None:
        """From descriptor to descriptor, which stay the caller's. `done` is told whether the target is whole and on the disk."""
        try:
            pid = os.fork()
        except OSError:
            done(False)
            return
        if pid == 0:
            try:
                call(Call.PRCTL, k.PR_SET_PDEATHSIG, signal.SIGKILL)
                for descriptor in (source, target):
                    os.set_inheritable(descriptor, True)
                execute_sealed(["-I", "-m", "runtime.supervisor.packer", str(source), str(target)])
            finally:
                os._exit(127)
        self.free = False

        def ended(exited: Exited) -> None:
            self.free = True
            done(exited.status == 0)

        self._reaper.watch_child(pid, ended)


def main(source: int, target: int) -> None:
    """The child's program."""
    import gzip  # noqa: PLC0415  (what is resident in the supervisor is copied at every fork)

    os.nice(_NICE)
    with (
        open(source, "rb", buffering=0) as plain,
        open(target, "wb", buffering=0) as packed,
        gzip.GzipFile(str(os.fstat(source).st_ino), "wb", LEVEL, packed, mtime=0) as stream,
    ):
        while piece := plain.read(PIECE_BYTES):
            stream.write(piece)
        stream.close()
        os.fsync(target)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
