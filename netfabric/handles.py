"""Descriptors, sockets and nftables contexts of namespaces, opened when they are first needed and closed together.

One Handles serves one pass over the kernel (an application, an observation, a trace), so that a node with hundreds
of sandboxes holds few descriptors for them between passes (those of Lasting). Owns nothing in the kernel.
"""

from __future__ import annotations

import os
from functools import partial
from types import TracebackType
from typing import Self

from netfabric.netlink import netns
from netfabric.netlink.kept import Kept
from netfabric.netlink.messages import NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM
from netfabric.netlink.nftables import Nftables
from netfabric.netlink.socket import NetlinkSocket, SyncNetlink
from netfabric.state import NODE

CONTEXTS_KEPT = 256
"""Two descriptors and some 100 KB each."""
SOCKETS_KEPT = 64
"""Two descriptors each."""


class Lasting:
    """What outlives a pass. The kernel makes who closes a netfilter socket right after a transaction wait until what that replaced is destroyed (15 ms);
    the node's own namespace is spoken to with every container that comes or goes. An overlay's is not held: somebody who takes its name away ends it.
    """

    def __init__(self) -> None:
        self.contexts = Kept(Nftables, CONTEXTS_KEPT)
        self.routes = Kept(NetlinkSocket, 1)
        self.netfilter = Kept(partial(SyncNetlink, protocol=NETLINK_NETFILTER), SOCKETS_KEPT)

    def drop(self, namespace: str) -> None:
        self.contexts.drop(namespace)
        self.netfilter.drop(namespace)

    def close(self) -> None:
        self.contexts.close()
        self.routes.close()
        self.netfilter.close()


class Handles:
    """`node` is a descriptor of the node's own namespace, which stays the caller's; `folder` holds the named ones."""

    def __init__(self, node: int, folder: str, lasting: Lasting | None = None) -> None:
        """`lasting` outlives these handles; without any, their own is closed with them."""
        self.folder = folder
        self._node = node
        self._descriptors: dict[str, int] = {}
        self._sockets: dict[tuple[str, int], NetlinkSocket] = {}
        self._owns_lasting = lasting is None
        self._lasting = lasting or Lasting()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._owns_lasting:
            self._lasting.close()
        for socket in self._sockets.values():
            socket.close()
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def path(self, namespace: str) -> str:
        return os.path.join(self.folder, namespace)

    def names(self) -> tuple[str, ...]:
        """The files in the folder, whether or not they are namespaces."""
        return netns.names(self.folder)

    def create(self, namespace: str, made: int = -1) -> None:
        """Makes a namespace, or names the one behind the descriptor `made`; a file that a crash left under its name, bound to nothing, goes first.
        Raises OSError.
        """
        try:
            self._descriptors[namespace] = netns.create(self.path(namespace), made)
        except FileExistsError:
            if self.there(namespace):
                return
            netns.remove(self.path(namespace))
            self._descriptors[namespace] = netns.create(self.path(namespace), made)

    def remove(self, namespace: str) -> None:
        """Takes the namespace's name away and lets go of it. Raises OSError."""
        for key in [key for key in self._sockets if key[0] == namespace]:
            self._sockets.pop(key).close()
        self._lasting.drop(namespace)
        if namespace in self._descriptors:
            os.close(self._descriptors.pop(namespace))
        netns.remove(self.path(namespace))

    def there(self, namespace: str) -> bool:
        try:
            self.descriptor(namespace)
        except FileNotFoundError:
            return False
        return True

    def descriptor(self, namespace: str) -> int:
        """Raises FileNotFoundError when there is no such namespace."""
        if namespace == NODE:
            return self._node
        if namespace not in self._descriptors:
            self._descriptors[namespace] = netns.open_named(self.path(namespace))
        return self._descriptors[namespace]

    def route(self, namespace: str) -> NetlinkSocket:
        """The namespace's rtnetlink socket. Raises OSError."""
        if namespace != NODE:
            return self._socket(namespace, NETLINK_ROUTE)
        kept = self._lasting.routes.of(namespace, self.descriptor(namespace))
        if not kept.broken:
            return kept
        self._lasting.routes.drop(namespace)
        return self._lasting.routes.of(namespace, self.descriptor(namespace))

    def generic(self, namespace: str) -> NetlinkSocket:
        """The namespace's generic netlink socket. Raises OSError."""
        return self._socket(namespace, NETLINK_GENERIC)

    def conntrack(self, namespace: str) -> NetlinkSocket:
        """The namespace's netfilter netlink socket. Raises OSError."""
        return self._socket(namespace, NETLINK_NETFILTER)

    def xfrm(self, namespace: str) -> NetlinkSocket:
        """The namespace's IPsec netlink socket. Raises OSError, also where the kernel has no IPsec."""
        return self._socket(namespace, NETLINK_XFRM)

    def netfilter(self, namespace: str) -> SyncNetlink:
        """The namespace's netfilter socket, for transactions of nftables and tracked connections. Raises OSError."""
        return self._lasting.netfilter.of(namespace, self.descriptor(namespace))

    def nftables(self, namespace: str) -> Nftables:
        """Raises OSError."""
        return self._lasting.contexts.of(namespace, self.descriptor(namespace))

    def _socket(self, namespace: str, protocol: int) -> NetlinkSocket:
        key = (namespace, protocol)
        if key not in self._sockets:
            self._sockets[key] = NetlinkSocket(self.descriptor(namespace), protocol)
        return self._sockets[key]
