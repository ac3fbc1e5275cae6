"""A child that was born before anybody asked for a container: it waits, already separated, for its list. Owns the
hand-over of descriptors and list.

The list is compiled as ever; what such a child has done already is left out of it (child.host.Opened.separated), and
its descriptors are numbered as they will arrive. When the supervisor dies the channel closes, and the child ends.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from runtime.cgroups.groups import Groups
from runtime.kernel import constants as k
from runtime.spec import Exited
from runtime.supervisor.births import send_list
from runtime.supervisor.reaper import Process


@dataclass(slots=True)
class Prepared:
    """`flags`: the namespaces that it has unshared already; `group`: the name of the `groups` that it is in. `room`: see
    births. `on_exit` is called at its end, whenever that is."""

    flags: int
    group: str
    groups: Groups
    process: Process
    channel: socket.socket
    room: int
    on_exit: Callable[[Exited], None]
    used: bool = False

    def hand_over(self, packed: bytes, descriptors: tuple[int, ...]) -> bool:
        """Sends the list and its descriptors, the error pipe last; the child runs it at once. False when the child has
        ended."""
        if not send_list(self.channel, packed, descriptors):
            return False
        self.close()
        self.used = True
        return True

    def close(self) -> None:
        """A child that has no list yet ends."""
        self.channel.close()


def namespaces_ahead(flags: int) -> int:
    """Those of `flags` that a child can unshare before its container is known. The mount namespace is a copy of the
    host's at its moment: it waits."""
    return flags & ~k.CLONE_NEWNS
