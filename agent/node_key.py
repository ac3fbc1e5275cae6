"""The node's identity on disk as this process reads and writes it: by what its own manager says where the node's key is sealed (autolock).

Owns what is known of that, in memory only. Every function blocks on the disk, and where the key is sealed perhaps on the manager: the loop
calls them in threads where that matters. Raises KeySealed while the manager waits for the unlock key.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cluster.identity import folder, seal_socket
from cluster.identity.folder import Credentials
from cluster.identity.sealed_key import KeySealed

T = TypeVar("T")


class NodeKey:
    """`root`: the node's folder on disk."""

    def __init__(self, root: Path) -> None:
        self._folder, self._state = root / "node", root / "raft"
        self._sealing: bytes | None = None

    def load(self) -> Credentials:
        return self._opened(lambda sealing: folder.load(self._folder, sealing))

    def next_key(self) -> str:
        return self._opened(lambda sealing: folder.next_key(self._folder, sealing))

    def take(self, certificate_pem: str, root_pem: str) -> Credentials:
        return self._opened(lambda sealing: folder.take(self._folder, certificate_pem, root_pem, sealing))

    def trust(self, root_pem: str) -> Credentials:
        return self._opened(lambda sealing: folder.trust(self._folder, root_pem, sealing))

    def lay_open(self) -> None:
        """The node is no manager any more: no unlock key is of use to it."""
        if folder.is_sealed(self._folder):
            self._opened(lambda sealing: folder.keep_sealed(self._folder, sealing or b"", closed=False))

    def _opened(self, read: Callable[[bytes | None], T]) -> T:
        try:
            return read(self._sealing)
        except KeySealed:
            self._sealing = seal_socket.ask(self._state)
            if self._sealing is None:
                raise
            return read(self._sealing)
