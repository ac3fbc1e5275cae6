"""The numbers of links: which one each of our links has, and which one the next may have.

Giving a new link its number ourselves saves asking for it. In the node's namespace numbers start high, out of the
way of those that the kernel gives to other people's links. Pure bookkeeping; netfabric/observe.py fills it from the
kernel.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from netfabric.state import NODE

NODE_FIRST_INDEX = 1_000_000
FIRST_INDEX = 2
LOOPBACK_INDEX = 1


def is_foreign(link: str) -> bool:
    """Whether the node's link of that name is somebody else's."""
    try:
        return socket.if_nametoindex(link) < NODE_FIRST_INDEX
    except OSError:
        return False


class Indexes:
    """Per namespace: names to numbers of our links, and the highest number in use."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {}
        self._next: dict[str, int] = {}

    def learn(self, namespace: str, numbers: Mapping[str, int], highest: int) -> None:
        """Takes over what was seen; `highest` is the highest number of any link there that is below what the kernel
        gives.
        """
        self._numbers[namespace] = dict(numbers)
        self._next[namespace] = max(NODE_FIRST_INDEX if namespace == NODE else FIRST_INDEX, highest + 1)

    def forget(self, namespace: str) -> None:
        self._numbers.pop(namespace, None)
        self._next.pop(namespace, None)

    def assign(self, namespace: str, link: str) -> int:
        """The number for a link that is about to be made."""
        number = self._next.get(namespace, NODE_FIRST_INDEX if namespace == NODE else FIRST_INDEX)
        self._next[namespace] = number + 1
        self._numbers.setdefault(namespace, {})[link] = number
        return number

    def drop(self, namespace: str, link: str) -> None:
        self._numbers.get(namespace, {}).pop(link, None)

    def all_of(self, namespace: str) -> Mapping[str, int]:
        return self._numbers.get(namespace, {})

    def of(self, namespace: str, link: str) -> int:
        """The number of one of our links. 0 when it is not known: the kernel then answers that there is no such
        device.
        """
        return self._numbers.get(namespace, {}).get(link, 0)
