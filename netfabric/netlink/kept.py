"""What is kept open of namespaces from pass to pass: sockets, nftables contexts. Owns them, and a descriptor of each one's namespace."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    def close(self) -> None: ...


One = TypeVar("One", bound=Closable)


class Kept(Generic[One]):
    """By the name of their namespace; of more than `most` those go that have not been used for longest. A name that has come to mean another namespace
    gets a new one.
    """

    def __init__(self, make: Callable[[int], One], most: int) -> None:
        """`make` opens one in the namespace behind a descriptor, which stays open as long as that."""
        self._make = make
        self._most = most
        self._kept: dict[str, tuple[int, int, One]] = {}  # name -> (inode, our descriptor, what is kept), the last used last

    def of(self, name: str, namespace: int) -> One:
        """The one of the namespace behind the descriptor, which stays the caller's. Raises OSError."""
        inode = os.fstat(namespace).st_ino
        if name in self._kept and self._kept[name][0] != inode:
            self.drop(name)
        if name in self._kept:
            self._kept[name] = self._kept.pop(name)
        else:
            own = os.dup(namespace)
            try:
                self._kept[name] = (inode, own, self._make(own))
            except OSError:
                os.close(own)
                raise
            if len(self._kept) > self._most:
                self.drop(next(iter(self._kept)))
        return self._kept[name][2]

    def drop(self, name: str) -> None:
        """Lets go of a namespace, which can't end before; one that is not kept is no error."""
        if name in self._kept:
            _, own, one = self._kept.pop(name)
            one.close()
            os.close(own)

    def close(self) -> None:
        for name in tuple(self._kept):
            self.drop(name)
