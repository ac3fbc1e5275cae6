"""Carries operations out on the kernel, in the order in which netfabric/diff.py put them.

Consecutive messages to one namespace travel together. One that fails does not stop the others: what failed is told
with its operation, and the caller decides what to look at again. Deleting links waits for the kernel's readers
(tens of milliseconds): it happens in a thread, all links of a namespace at once.
"""

from __future__ import annotations

import errno
import itertools
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from netfabric import encode, encryption, ports
from netfabric.diff import Change, CreateNamespace, Drop, Operation, Put, RemoveNamespace, Transact
from netfabric.firewall import resolver
from netfabric.firewall.nftables import Table, whole
from netfabric.firewall.rules import TABLE
from netfabric.handles import Handles, Lasting
from netfabric.indexes import LOOPBACK_INDEX, Indexes
from netfabric.links.seen import seen_link
from netfabric.links.vxlan import new_vxlan
from netfabric.missing import LINKS, Part, explained
from netfabric.netlink import messages, netns, sysctls, xfrm
from netfabric.netlink.conntrack import count_connections, deletions, dump_connections, seen_count
from netfabric.netlink.exchange import NetlinkError
from netfabric.netlink.messages import Message
from netfabric.netlink.nfmessages import PICKED_MAX, begin, end, picking
from netfabric.netlink.nftables import NftablesError
from netfabric.netlink.recorded import carry_out, recorded
from netfabric.netlink.socket import SyncNetlink
from netfabric.relay import Relay
from netfabric.state import (
    NODE,
    Address,
    Association,
    Guard,
    HeldPort,
    Link,
    LinkKind,
    Policy,
    RealServer,
    ReturnPath,
    Route,
    Sysctl,
    Target,
    Timeouts,
    VirtualService,
)

log = logging.getLogger("netfabric")

DOOMED_GROUP = 0xFE58
"""Links on their way out: a whole group is deleted at the price of one link."""

ALWAYS_THE_SAME = frozenset({whole(Table(TABLE, resolver.CHAINS))})
"""Transactions that are worth recording: what every container with a resolver has."""

_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL})


@dataclass(frozen=True, slots=True)
class Failed:
    operation: Operation
    message: str


@dataclass(slots=True)
class Kernel:
    """What the fabric keeps of the kernel between passes: numbers of links, the sockets of held ports and what relays
    them (in `nursery`; None: ports are held only), the IPVS family (0: none).
    """

    indexes: Indexes = field(default_factory=Indexes)
    held: dict[HeldPort, socket.socket] = field(default_factory=dict)
    unheld: dict[HeldPort, str] = field(default_factory=dict)
    """Of ports of the mesh, which are served all the same: why nothing keeps them from others."""
    ipvs_family: int = 0
    offered: dict[str, int] = field(default_factory=dict)
    """Namespaces that somebody else has made, to be named instead of a new one: descriptors, which stay theirs."""
    relays: dict[HeldPort, Relay] = field(default_factory=dict)
    nursery: trio.Nursery | None = None
    lasting: Lasting = field(default_factory=Lasting)

    def let_go(self, port: HeldPort) -> None:
        """Frees a held port; one that is not held is no error."""
        self.unheld.pop(port, None)
        if port in self.relays:
            self.relays.pop(port).close()
        if port in self.held:
            self.held.pop(port).close()

    def close(self) -> None:
        """Lets go of the held ports. Namespaces, links and rules stay."""
        for port in tuple(self.held):
            self.let_go(port)
        self.lasting.close()


async def perform(kernel: Kernel, handles: Handles, operations: Sequence[Operation]) -> tuple[Failed, ...]:
    """Carries out everything that can be, and returns what could not. Cancelled between two batches, it leaves the
    rest undone.
    """
    failed: list[Failed] = []
    for (manner, namespace), group in itertools.groupby(operations, key=_manner):
        batch = list(group)
        try:
            failed += await _MANNERS[manner](kernel, handles, namespace, batch)
        except OSError as error:  # the namespace can't be entered or asked
            failed += [Failed(operation, str(error)) for operation in batch]
    return tuple(failed)


def _manner(operation: Operation) -> tuple[str, str]:
    match operation:
        case CreateNamespace():
            return "create", operation.namespace
        case RemoveNamespace():
            return "remove", operation.namespace
        case Transact():
            return "transact", operation.namespace
        case Put(item=Sysctl()):
            return "sysctl", operation.namespace
        case Put(item=Link(kind=LinkKind.VXLAN)):
            return "tunnel", operation.namespace
        case Drop(item=Link()):
            return "delete links", ""
        case Put(item=Guard()) | Change(item=Guard()) | Drop(item=Guard()):
            return "guard", operation.namespace
        case Put(item=Association() | Policy()) | Drop(item=Association() | Policy()):
            return "encrypt", operation.namespace
        case Put(item=HeldPort()) | Drop(item=HeldPort()):
            return "hold", operation.namespace
        case Drop(item=Target()):
            return "forget", operation.namespace
        case Put(item=item) | Change(item=item) | Drop(item=item) if isinstance(item, VirtualService | RealServer | Timeouts):
            return "balance", operation.namespace
    return "configure", operation.namespace


async def _create(kernel: Kernel, handles: Handles, namespace: str, batch: list[Operation]) -> list[Failed]:
    (operation,) = batch
    assert isinstance(operation, CreateNamespace)
    handles.create(namespace, kernel.offered.get(namespace, -1))
    (answer,) = await handles.route(namespace).request(messages.dump_links())  # tunnel modules put links into every namespace
    links = [seen_link(payload) for _, payload in answer]
    loopback = {link.name: link.index for link in links if link.index == LOOPBACK_INDEX}
    kernel.indexes.learn(namespace, loopback, max(link.index for link in links))
    for name in operation.links:
        kernel.indexes.assign(namespace, name)
    return []


async def _remove(kernel: Kernel, handles: Handles, namespace: str, batch: list[Operation]) -> list[Failed]:
    handles.remove(namespace)
    kernel.indexes.forget(namespace)
    return []


async def _transact(kernel: Kernel, handles: Handles, namespace: str, batch: list[Operation]) -> list[Failed]:
    failed = []
    for operation in batch:
        assert isinstance(operation, Transact)
        if _by_messages(handles, operation):
            continue
        try:
            handles.nftables(namespace).run(operation.commands)
        except NftablesError as error:
            failed.append(Failed(operation, str(error)))
    return failed


def _by_messages(handles: Handles, operation: Transact) -> bool:
    """Carries out what is done often without libnftables. Where it could not be, nothing of it is done: a table of that name is there, or is not."""
    namespace = operation.namespace
    try:
        if operation.commands in ALWAYS_THE_SAME and (messages := recorded(operation.commands)):
            carry_out(handles.descriptor(namespace), messages)
            return True
        picks = {chain.name: (chain.pick.addresses, chain.pick.seed) for chain in operation.repicked if chain.pick is not None}
        if picks and sum(len(addresses) for addresses, _ in picks.values()) <= PICKED_MAX:
            handles.netfilter(namespace).transact(begin(), picking(operation.family, TABLE, picks), end())
            return True
    except (NetlinkError, NftablesError):
        return False
    return False


async def _sysctl(kernel: Kernel, handles: Handles, namespace: str, batch: list[Operation]) -> list[Failed]:
    failed = []
    with netns.in_namespace(handles.descriptor(namespace)):
        for operation in batch:
            assert isinstance(operation, Put)
            sysctl = operation.item
            assert isinstance(sysctl, Sysctl)
            try:
                sysctls.write(sysctl.key, sysctl.value)
            except OSError as error:
                if not (sysctl.optional and isinstance(error, FileNotFoundError)):
                    what = "open" if isinstance(error, FileNotFoundError) else "write"
                    failed.append(Failed(operation, f"{what} {sysctls.path_of(sysctl.key)}: {(error.strerror or '').lower()}"))
    return failed


async def _tunnel(kernel: Kernel, handles: Handles, namespace: str, batch: list[Operation]) -> list[Failed]:
    """A VXLAN link is made from the node's namespace, where its UDP socket stays, and set up where it lives."""
    failed = []
    for operation in batch:
        assert isinstance(operation, Put)
        link = operation.item
        assert isinstance(link, Link)
        index = kernel.indexes.assign(namespace, link.name)
        target = handles.descriptor(namespace)
        making = new_vxlan(link.name, link.vni, target, port=link.port, index=index, mtu=link.mtu)
        (error,) = await handles.route(NODE).attempt(making)
        errors = [error]
        if error is None:
            configuring = encode.changed(kernel.indexes, namespace, link)
            errors += await handles.route(namespace).attempt(*configuring)
        failed += [Failed(operation, explained(str(refused), refused, LINKS[link.kind])) for refused in errors if refused is not None][:1]
    return failed


async def _delete_links(kernel: Kernel, handles: Handles, _: str, batch: list[Operation]) -> list[Failed]:
    """Every namespace in a thread of its own: most of the time is waiting for readers, and that overlaps."""
    failed: list[Failed] = []

    async def delete(namespace: str, some: list[Operation]) -> None:
        try:
            await trio.to_thread.run_sync(_delete_group, handles.descriptor(namespace), _forgotten(kernel, some))
        except OSError as error:
            failed.extend(Failed(operation, str(error)) for operation in some)

    async with trio.open_nursery() as nursery:
        for namespace, some in itertools.groupby(batch, key=lambda operation: operation.namespace):
            nursery.start_soon(delete, namespace, list(some))
    return failed


def _forgotten(kernel: Kernel, operations: Sequence[Operation]) -> list[int]:
    """The numbers of links that are about to go, which are then no longer known."""
    numbers = []
    for operation in operations:
        assert isinstance(operation, Drop)
        assert isinstance(operation.item, Link)
        numbers.append(kernel.indexes.of(operation.namespace, operation.item.name))
        kernel.indexes.drop(operation.namespace, operation.item.name)
    return [number for number in numbers if number]


def _delete_group(namespace: int, numbers: Sequence[int]) -> None:
    with SyncNetlink(namespace) as netlink:
        doomed = (messages.set_link(number, group=DOOMED_GROUP) for number in numbers)
        netlink.request(*doomed, messages.delete_group(DOOMED_GROUP), tolerate=_GONE)


async def _hold(kernel: Kernel, handles: Handles, namespace: str, batch: list[Operation]) -> list[Failed]:
    failed = []
    for operation in batch:
        assert isinstance(operation, Put | Drop)
        port = operation.item
        assert isinstance(port, HeldPort)
        if isinstance(operation, Drop):
            kernel.let_go(port)
            continue
        try:
            with netns.in_namespace(handles.descriptor(namespace)):
                kernel.held[port] = held = ports.hold(port)
            kernel.unheld.pop(port, None)
            if port.target is not None and kernel.nursery is not None:
                held.setblocking(False)
                kernel.relays[port] = Relay(port, held.dup(), handles.descriptor(NODE))
                kernel.nursery.start_soon(kernel.relays[port].run)
        except OSError as error:
            message = ports.refusal(port, error)
            if port.required:
                failed.append(Failed(operation, message))
            else:
                sentence = f"a published port of the mesh can't be held: {message}"
                if kernel.unheld.get(port) != sentence:
                    log.warning("%s", sentence)
                kernel.unheld[port] = sentence
    return failed


async def _guard(kernel: Kernel, handles: Handles, namespace: str, batch: list[Operation]) -> list[Failed]:
    failed = []
    for operation in batch:
        wanted = operation.item if isinstance(operation, Put | Change) and isinstance(operation.item, Guard) else None
        try:
            handles.nftables(namespace).run(encryption.commands(wanted))
        except NftablesError as error:
            failed.append(Failed(operation, str(error)))
    return failed


async def _encrypt(kernel: Kernel, handles: Handles, namespace: str, batch: list[Operation]) -> list[Failed]:
    errors = await handles.xfrm(namespace).attempt(*(_encrypting(operation) for operation in batch))
    return [
        Failed(operation, str(error))
        for operation, error in zip(batch, errors, strict=True)
        if error is not None and not (isinstance(operation, Drop) and error.errno in _GONE) and not (isinstance(operation, Put) and error.errno == errno.EEXIST)
    ]


def _encrypting(operation: Operation) -> Message:
    match operation:
        case Put(item=Association() as one):
            return xfrm.new_association(one)
        case Drop(item=Association() as one):
            return xfrm.delete_association(one)
        case Put(item=Policy() as policy):
            return xfrm.put_policy(policy)
        case Drop(item=Policy() as policy):
            return xfrm.delete_policy(policy)
    raise AssertionError(operation)


async def _balance(kernel: Kernel, handles: Handles, namespace: str, batch: list[Operation]) -> list[Failed]:
    sent = [(operation, encode.balancing(kernel.ipvs_family, operation)) for operation in batch]
    errors = await handles.generic(namespace).attempt(*(message for _, message in sent))
    return [
        Failed(operation, str(error))
        for (operation, _), error in zip(sent, errors, strict=True)
        if error is not None and not (isinstance(operation, Drop) and error.errno in _GONE)
    ]


async def _forget(kernel: Kernel, handles: Handles, namespace: str, batch: list[Operation]) -> list[Failed]:
    """Tracked connections to servers that are gone; in a thread, where there are any connections at all."""
    items = (operation.item for operation in batch if isinstance(operation, Drop))
    servers = frozenset(item.address for item in items if isinstance(item, Target))
    netfilter = handles.netfilter(namespace)
    (answer,) = netfilter.request(count_connections())
    if seen_count(answer):
        await trio.to_thread.run_sync(_forget_connections, netfilter, servers)
    return []


def _forget_connections(netfilter: SyncNetlink, servers: frozenset[str]) -> None:
    (answer,) = netfilter.request(dump_connections())
    netfilter.request(*deletions(answer, servers), tolerate=_GONE)


async def _configure(kernel: Kernel, handles: Handles, namespace: str, batch: list[Operation]) -> list[Failed]:
    sent: list[tuple[Operation, Message]] = []
    failed = []
    for operation in batch:
        try:
            sent += ((operation, message) for message in encode.configuring(kernel.indexes, handles.descriptor, operation))
        except FileNotFoundError as error:  # the namespace of a pair's other end could not be made
            failed.append(Failed(operation, str(error)))
    errors = await handles.route(namespace).attempt(*(message for _, message in sent))
    for (operation, _), refused in zip(sent, errors, strict=True):
        if refused is not None and not _harmless(operation, refused.errno):
            failed.append(Failed(operation, explained(str(refused), refused, _part_of(operation))))
    return failed


def _part_of(operation: Operation) -> Part | None:
    """What of the kernel makes it."""
    return LINKS.get(operation.item.kind) if isinstance(operation, Put) and isinstance(operation.item, Link) else None


def _harmless(operation: Operation, code: int | None) -> bool:
    if isinstance(operation, Drop):
        return code in _GONE
    return isinstance(operation, Put) and isinstance(operation.item, Address | Route | ReturnPath) and code == errno.EEXIST


_MANNERS = {
    "create": _create,
    "remove": _remove,
    "transact": _transact,
    "sysctl": _sysctl,
    "tunnel": _tunnel,
    "delete links": _delete_links,
    "hold": _hold,
    "forget": _forget,
    "balance": _balance,
    "guard": _guard,
    "encrypt": _encrypt,
    "configure": _configure,
}
