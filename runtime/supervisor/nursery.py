"""The process that forks: `python -I -m runtime.supervisor.nursery --run DIR --channel FD`, a child of the supervisor whose
children become the supervisor's. Owns nothing but the moment of a birth; a child waits on its own channel for lists.

Lean on purpose (neither typing nor socket is imported): what is resident here is copied with every birth. The supervisor, ten times
as large, would pay a copy of each page that it touches afterwards as well; and no container's child ever holds what the supervisor
knows of the others. It ends when its channel closes. Source: clone(2) (CLONE_PARENT), setns(2), unix(7).
"""

from __future__ import annotations

import _socket
import gc
import marshal
import mmap
import os
import signal
import struct
import sys

from runtime.kernel.interpreter import hide
from runtime.kernel.libc import address_of, call
from runtime.kernel.processes import children_in, children_in_new_pid_namespace, fork
from runtime.kernel.rights import received
from runtime.kernel.running import run
from runtime.kernel.syscalls import Call
from runtime.supervisor.becoming import REPORT, become

TYPE_CHECKING = False  # see libc.py
if TYPE_CHECKING:
    from typing import NoReturn

HELLO = struct.Struct("=Q")
"""Where every child has its room."""
WISH = struct.Struct("=I??")
"""Number; whether a cgroup comes after the child's channel among the descriptors, and whether, last, a process whose pid
namespace it is born in (else it is the first of a new one)."""
BIRTH = struct.Struct("=Ii")
"""Number of the wish; pid, or a negative error number."""
TAIL = struct.Struct("=QII?")
"""At the end of a list: where it takes the room to be, the length of its strings, that of its steps, whether it is the child's last. One for
another nursery's room is passed over: the right one follows."""

CHANNEL = 3
FIRST = CHANNEL + 1
"""The number of the first descriptor that comes with a list; the others follow."""
DESCRIPTORS_MAX = 64
LIST_MAX_BYTES = 128 * 1024
_EBADF = 9
_ANCILLARY_BYTES = _socket.CMSG_SPACE(DESCRIPTORS_MAX * struct.calcsize("i"))


def main(arguments: list[str]) -> int:
    """Until nobody wishes for children any more (0)."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    hide("festoon-nursery")
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    channel = _socket.socket(fileno=int(options["--channel"]))
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    room = mmap.mmap(-1, LIST_MAX_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    gc.collect()
    gc.freeze()
    try:
        channel.send(HELLO.pack(address_of(room)))
        while True:
            data, control, _, _ = channel.recvmsg(WISH.size, _ANCILLARY_BYTES, _socket.MSG_CMSG_CLOEXEC)
            if not data:
                return 0
            number, grouped, entered = WISH.unpack(data)
            descriptors = received(control)
            group = descriptors[1] if grouped else -1
            enter = descriptors[-1] if entered else -1
            channel.send(BIRTH.pack(number, _bear(descriptors[0], group, enter, home, room)))
            for descriptor in descriptors:
                os.close(descriptor)
    except (BrokenPipeError, ConnectionResetError):
        return 0


def _bear(channel: int, group: int, enter: int, home: int, room: mmap.mmap) -> int:
    """The pid, or a negative error number. The child does not return."""
    try:
        if enter >= 0:
            children_in(enter)
        else:
            children_in_new_pid_namespace()
        try:
            pid = fork(group, sibling=True)
            if pid == 0:
                _live(channel, room)
        finally:
            children_in(home)
    except OSError as error:
        return -(error.errno or 1)
    return pid


def _live(channel: int, room: mmap.mmap) -> NoReturn:
    """Lets go of everything that the nursery has open, runs what comes, the last list as the container's own."""
    try:
        gc.disable()
        os.dup2(channel, CHANNEL)
        call(Call.CLOSE_RANGE, FIRST, 0xFFFF_FFFF, 0)
        receiver, place = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, CHANNEL), address_of(room)
        while True:
            size, control, _, _ = receiver.recvmsg_into([room], _ANCILLARY_BYTES, _socket.MSG_CMSG_CLOEXEC)
            if not size:
                os._exit(0)
            base, strings, steps, last = TAIL.unpack_from(room, size - TAIL.size)
            descriptors = received(control)
            if base != place:
                call(Call.CLOSE_RANGE, FIRST, 0xFFFF_FFFF, 0)
                continue
            lowered, registers, fork_at, title = marshal.loads(room[strings : strings + steps])  # noqa: S302  (from the supervisor, over a socket that only it has)
            if descriptors != list(range(FIRST, FIRST + len(descriptors))):
                os.write(descriptors[-1], REPORT.pack(0, _EBADF))
                os._exit(1)
            if last:
                become(lowered, registers, fork_at, title, descriptors[-1])
            if run(lowered, 0, len(lowered), registers) is not None:
                os._exit(1)
            call(Call.CLOSE_RANGE, FIRST, 0xFFFF_FFFF, 0)
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
