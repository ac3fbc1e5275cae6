"""A node's fabric: makes the kernel look as a View says, and keeps doing so.

Owns the last applied state, the held ports and the folder <run>/netns, in which every file is a namespace of ours:
one that no view mentions is removed. The first view after a start is compared with the kernel itself, later ones
with what was applied. What failed is tried again with the next view. Nothing here outlives its process but what is
in the kernel: a start after kill -9 finds that again. The node's own namespace is the one of the thread that opens
the fabric.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import trio

from netfabric import modules, trace
from netfabric.anatomy.balancer import Balancing
from netfabric.audit import AUDIT_S, audited, with_servers
from netfabric.diff import Operations, Put, diff
from netfabric.errors import BackendUnavailable, FabricError, Failure
from netfabric.firewall import foreign
from netfabric.handles import Handles
from netfabric.netlink import ipvs, netns, sysctls, xfrm
from netfabric.netlink.exchange import NetlinkError
from netfabric.netlink.listener import Listener
from netfabric.netlink.messages import NETLINK_XFRM
from netfabric.netlink.nftables import NftablesError
from netfabric.netlink.socket import NetlinkSocket
from netfabric.netlink.sockets import wait_quiet
from netfabric.observe import observe
from netfabric.perform import Failed, Kernel, perform
from netfabric.plan import Plan, plan
from netfabric.probe.watcher import Probe, Watcher
from netfabric.state import NODE, Association, HeldPort, Link, LinkKind, State, Sysctl
from netfabric.trace import Hop
from netfabric.view import View
from netfabric.watch import Watch

log = logging.getLogger("netfabric")

NAMESPACES = "netns"
ATTEMPTS = 2
"""How often a view is tried: once against what is remembered, once against what is there."""


class Fabric:
    """Made by open_fabric()."""

    def __init__(self, node: int, folder: str, balancing: Balancing, kernel: Kernel, watch: Watch, *, bridge_netfilter: bool, esp: bool = False) -> None:
        self._node = node
        self._folder = folder
        self._balancing = balancing
        self._bridge_netfilter = bridge_netfilter
        self.encrypts = esp
        self._kernel = kernel
        self._watch = watch
        self._applied: State | None = None
        self._wanted: Plan | None = None
        self._obstacles: tuple[str, ...] = ()
        self._asked = 0
        self._finished = 0
        self._ended = False
        self._failures: tuple[Failure, ...] = ()
        self._wake = trio.Event()
        self._round = trio.Event()
        self._viewed = trio.Event()
        self._stirred = trio.Event()

    @property
    def backend(self) -> str:
        """What balances virtual services: "ipvs" or "nft"."""
        return self._balancing.value

    def sandbox_path(self, sandbox_id: str) -> str:
        """Where the namespace of a container is bound (or will be)."""
        return os.path.join(self._folder, sandbox_id)

    def adopt(self, sandbox_id: str, pid: int) -> None:
        """Takes the network namespace of a running process over as the sandbox's. Raises OSError."""
        netns.name_of_process(self.sandbox_path(sandbox_id), pid)

    async def wait_quiet(self, sandbox_id: str) -> None:
        """Returns when no connection to a TCP server in the sandbox is open or has something to deliver, at once when there is no such sandbox.
        Raises OSError where the kernel can't tell.
        """
        try:
            namespace = netns.open_named(self.sandbox_path(sandbox_id))
        except FileNotFoundError:
            return
        try:
            await wait_quiet(namespace)
        finally:
            os.close(namespace)

    @contextlib.contextmanager
    def offering(self, sandbox_id: str, namespace: int) -> Iterator[None]:
        """While the block lasts, a sandbox of this id that has no namespace yet gets the one behind the descriptor (-1: a
        new one); it may belong to a user namespace. The descriptor stays the caller's.
        """
        if namespace >= 0:
            self._kernel.offered[sandbox_id] = namespace
        try:
            yield
        finally:
            self._kernel.offered.pop(sandbox_id, None)

    async def reconcile(self, view: View) -> None:
        """Returns when this view, or one that was given later, is applied. The view has to name every sandbox that
        shall live.

        Raises UnknownNetwork when an interface's network is not in the view (nothing is changed then), FabricError
        when some of it could not be made or the fabric ends. Cancelled, it stops waiting; the view is applied all the same.
        """
        self._wanted = self._plan(view, self._wanted)
        await self._until_applied()

    async def _until_applied(self) -> None:
        self._asked += 1
        mine = self._asked
        self._wake.set()
        self._viewed.set()
        self._viewed = trio.Event()
        while self._finished < mine:
            if self._ended:
                raise FabricError((Failure(NODE, "the fabric has ended"),))
            await self._round.wait()
        if self._failures:
            raise FabricError(self._failures)

    async def difference(self, view: View) -> Operations:
        """What reconcile() would do if it looked at the kernel again. Raises OSError when the kernel can't be asked."""
        desired = self._plan(view, None).state
        spare = Kernel(ipvs_family=self._kernel.ipvs_family)
        with Handles(self._node, self._folder) as handles:
            return diff(desired, await self._observe(handles, spare, desired))

    async def path(self, view: View, port: int) -> tuple[Hop, ...]:
        """The hops of a packet to a published port of this node, read from the kernel; empty when the view
        publishes no such port.
        """
        with Handles(self._node, self._folder) as handles:
            return await trace.path(handles, view, port, self._balancing, self._kernel.ipvs_family)

    def watcher(self, probe: Probe, vxlan_port: int) -> Watcher:
        """Eyes on one probe in every namespace of this node; the caller closes them. Raises OSError."""
        return Watcher(Handles(self._node, self._folder), probe, vxlan_port)

    @property
    def ipvs_family(self) -> int:
        """0 where IPVS does not balance."""
        return self._kernel.ipvs_family

    def obstacles(self, view: View) -> tuple[str, ...]:
        """What in the host's own firewall drops the packets of this view, one sentence each, said in the log when it is
        new; and which ports of the mesh this node can't hold. Raises OSError, NftablesError when the kernel can't be asked.
        """
        bridges = tuple(bridge.name for bridge in (view.gateway_bridge, *view.bridges) if bridge is not None)
        with Handles(self._node, self._folder) as handles:
            ruleset = handles.nftables(NODE).run_json("list ruleset")
        encrypted = self.encrypts and any(overlay.encrypted for overlay in view.overlays)
        found = foreign.drops(ruleset, bridges, view.vxlan_port if view.overlays else 0, esp=encrypted)
        for sentence in found:
            if sentence not in self._obstacles:
                log.warning("%s", sentence)
        self._obstacles = found
        return (*found, *self._kernel.unheld.values())

    def _plan(self, view: View, previous: Plan | None) -> Plan:
        return plan(view, self._balancing, previous, bridge_netfilter=self._bridge_netfilter, esp=self.encrypts)

    async def run(self) -> None:
        """Applies what is wanted, one view at a time, until it is cancelled. Nobody waits for it any longer than it lives, not even shielded."""
        audit_at = trio.current_time() + AUDIT_S
        try:
            while True:
                with trio.move_on_at(audit_at):
                    await self._wake.wait()
                self._wake = trio.Event()
                if due := trio.current_time() >= audit_at:
                    audit_at = trio.current_time() + AUDIT_S
                asked, wanted = self._asked, self._wanted
                if wanted is None or (asked == self._finished and not (await self._deviates(wanted.state) or (due and await self._deviates_silently()))):
                    continue
                self._failures = await self._apply(wanted.state)
                self._finished = asked
                self._round.set()
                self._round = trio.Event()
        finally:
            self._ended = True
            self._round.set()

    async def _deviates(self, desired: State) -> bool:
        """Whether others have changed something; what was applied is then no longer known."""
        changed = self._watch.heard(desired)
        if changed:
            log.warning("the network of %s was changed by others and is repaired", ", ".join(sorted(name or "the node" for name in changed)))
            self._applied = None
            await self._watch.pause(self._viewed)
        return bool(changed)

    async def _deviates_silently(self) -> bool:
        """Whether others have changed something of which the kernel tells nobody."""
        applied = self._applied
        if applied is None:
            return False
        try:
            with Handles(self._node, self._folder, self._kernel.lasting) as handles:
                now = await audited(handles, applied, self._kernel.ipvs_family)
        except OSError as error:  # a namespace went meanwhile
            log.debug("not all can be audited: %s", error)
            return False
        if now is applied or self._applied is not applied:
            return False
        self._applied = now
        changed = [name or "the node" for name, namespace in now.items() if namespace is not applied[name]]
        log.warning("settings or balancing of %s were changed by others and are repaired", ", ".join(sorted(changed)))
        return True

    async def repair(self) -> None:
        """Compare with the kernel itself and make good what deviates, also what the kernel tells nobody of. Raises FabricError."""
        self._applied = None
        if self._wanted is not None:
            await self._until_applied()

    def recheck(self) -> None:
        """The next pass compares with the kernel itself, and comes soon: for moments at which what the kernel tells nobody of is worth a look."""
        self._applied = None
        self._asked += 1
        self._wake.set()

    def stir(self) -> None:
        """The kernel has said something."""
        self._wake.set()
        self._stirred.set()
        self._stirred = trio.Event()

    async def wait_stirred(self) -> None:
        """Until the kernel says something of any network here."""
        await self._stirred.wait()

    async def _apply(self, desired: State) -> tuple[Failure, ...]:
        failures: tuple[Failure, ...] = ()
        for _ in range(ATTEMPTS):
            before, self._applied = self._applied, None  # cancelled or failed in the middle, nothing is known
            try:
                with Handles(self._node, self._folder, self._kernel.lasting) as handles:
                    if before is None:
                        before = await self._observe(handles, self._kernel, desired)
                        operations = diff(desired, before)
                    else:
                        operations = diff(desired, before)
                        there = await with_servers(handles, before, operations, self._kernel.ipvs_family)
                        operations = diff(desired, there) if there is not before else operations
                    failed = await perform(self._kernel, handles, operations)
                    if await self._watch.follow(handles, operations, desired):
                        self._wake.set()
            except (OSError, NftablesError) as error:
                failures = (Failure(NODE, str(error)),)
                continue
            failures = tuple(Failure(_concerns(one), one.message) for one in failed)
            if all(_stands_alone(one) for one in failed):
                self._applied = _without(desired, failed)
                break
        for failure in failures:
            log.warning("network of %s: %s", failure.namespace or "the node", failure.message)
        return failures

    async def _observe(self, handles: Handles, kernel: Kernel, desired: State) -> State:
        held = self._kernel.held
        return await observe(handles, kernel.indexes, desired, held=held, ipvs_family=kernel.ipvs_family)


def _concerns(failed: Failed) -> str:
    """Whose failure it is: the sandbox's, also where its link or its port is made from the node's side."""
    operation = failed.operation
    if isinstance(operation, Put) and isinstance(operation.item, Link) and operation.item.kind is LinkKind.VETH:
        assert operation.item.peer is not None
        return operation.item.peer.namespace
    if isinstance(operation, Put) and isinstance(operation.item, HeldPort):
        return operation.item.owner
    return operation.namespace


def _stands_alone(failed: Failed) -> bool:
    """Whether the failure leaves everything else as it was planned."""
    return isinstance(failed.operation, Put) and isinstance(failed.operation.item, Sysctl | HeldPort)


def _without(desired: State, failed: Sequence[Failed]) -> State:
    """What was applied, so that the next view tries what is missing again."""
    state = dict(desired)
    for one in failed:
        assert isinstance(one.operation, Put)
        name, item = one.operation.namespace, one.operation.item
        sysctls = tuple(sysctl for sysctl in state[name].sysctls if sysctl != item)
        ports = frozenset(port for port in state[name].ports if port != item)
        state[name] = dataclasses.replace(state[name], sysctls=sysctls, ports=ports)
    return state


@asynccontextmanager
async def open_fabric(run_dir: str, *, backend: str = "auto", namespace: int | None = None) -> AsyncIterator[Fabric]:
    """Opens the fabric of the node whose network namespace this thread is in, or of the one behind the descriptor
    `namespace`. `run_dir`/netns will hold its namespaces.

    `backend` is "auto", "ipvs" or "nft". Leaving the block lets go of held ports and leaves everything else as it
    is, so that containers keep their networks; only relayed connections end. Raises BackendUnavailable when IPVS is asked for and not there,
    OSError when the folder can't be made.
    """
    folder = os.path.join(run_dir, NAMESPACES)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    kernel = Kernel()
    stack = contextlib.ExitStack()
    node = netns.current() if namespace is None else os.dup(namespace)
    try:
        await modules.load()
        balancing = await _probe(node, folder, backend, kernel)
        async with trio.open_nursery() as nursery:
            listener = stack.enter_context(contextlib.closing(Listener(node)))
            watch = Watch(listener, kernel.indexes)
            fabric = Fabric(node, folder, balancing, kernel, watch, bridge_netfilter=_filters_bridges(node), esp=await _has_esp())
            kernel.nursery = nursery
            nursery.start_soon(fabric.run)
            nursery.start_soon(listener.run, fabric.stir)
            try:
                yield fabric
            finally:
                nursery.cancel_scope.cancel()
    finally:
        stack.close()
        kernel.close()
        os.close(node)


async def _probe(node: int, folder: str, backend: str, kernel: Kernel) -> Balancing:
    """Asks the kernel for IPVS, unless nftables is asked for."""
    if backend not in {"auto", *Balancing}:
        raise ValueError(f"unknown backend {backend!r}: it is one of auto, ipvs, nft")
    if backend == Balancing.NFT:
        return Balancing.NFT
    with Handles(node, folder) as handles:
        try:
            (answer,) = await handles.generic(NODE).request(ipvs.get_family())
        except NetlinkError as error:
            if backend == Balancing.IPVS:
                raise BackendUnavailable(str(error)) from error
            return Balancing.NFT
    kernel.ipvs_family = ipvs.family_of(answer)
    return Balancing.IPVS


async def _has_esp() -> bool:
    """Whether this kernel encrypts as encrypted overlays need it: tried in a namespace of its own."""
    namespace = netns.create_anonymous()
    try:
        socket = NetlinkSocket(namespace, NETLINK_XFRM)
        try:
            (error,) = await socket.attempt(xfrm.new_association(Association("192.0.2.1", "192.0.2.2", 256, bytes(16))))
        finally:
            socket.close()
    except OSError:
        return False
    finally:
        os.close(namespace)
    return error is None


def _filters_bridges(node: int) -> bool:
    """Whether bridged packets of the node pass its IP rules (br_netfilter is there and on)."""
    with netns.in_namespace(node):
        try:
            return sysctls.read("net.bridge.bridge-nf-call-iptables") == "1"
        except OSError:
            return False
