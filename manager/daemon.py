"""The manager process: opens its state (or makes a new cluster's), and serves every call of cluster/wire/calls.py
that is a manager's. Owns what belongs together while it runs and in which order it comes and goes; decides nothing.

A new cluster becomes valid with its identity.json, written after the first entry of the log is durable and the port is
bound: whatever a bootstrap left that was interrupted or failed before that is taken away.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import signal
from functools import partial
from random import Random, SystemRandom
from time import time_ns
from typing import Final

import msgspec
import trio

from cluster.model.changes import Change, Kind, updated
from cluster.model.errors import FailedPrecondition
from cluster.model.ids import NodeId
from cluster.model.objects import Cluster
from cluster.wire.calls import CALLS, Ids, IssueCertificate, IssuedCertificate, Nothing, Text, Why, WhyAnswer
from cluster.wire.peer import Caller, Handler, serve, split_address
from manager import admission, bootstrap, explain, identity_files
from manager.control import joining
from manager.control.server import Control
from manager.dispatcher.liveness import KEEPALIVE_S
from manager.dispatcher.server import Dispatcher
from manager.identity_files import Identity
from manager.leader import Leader
from manager.log_broker import LogBroker
from manager.options import Options
from manager.own_identity import OwnIdentity
from manager.peers import Peers
from manager.raft.driver import Driver, open_driver
from manager.store import Store

GOODBYE_S: Final = 1.0  # how long the process waits for the one who stopped it to read the answer

log = logging.getLogger("festoon.manager")


async def run(options: Options) -> None:
    """Serve until SIGTERM or control.stop. Raises (in groups) ClusterError for what the user can mend, StorageFault for
    a log that cannot be used, OSError for a port that cannot be bound. Cancellation ends it as SIGTERM does."""
    fresh = _prepare(options)
    began = False
    if not fresh:
        identity, credentials = identity_files.load(options.identity)
    store = Store()
    try:
        async with open_driver(options.state, store) as driver:
            await driver.wait_leader()
            if fresh:
                identity, credentials = await bootstrap.make_cluster(options, driver)
            else:
                await _check_member(options, identity, store, driver)
            own = OwnIdentity(options.identity, store, identity.node_id, credentials, time_ns)
            manager = _Manager(store, driver, identity)
            gc.collect()
            gc.freeze()  # what has been read in stays: collections need not look at it again
            async with trio.open_nursery() as nursery:
                await manager.start(nursery, options, own)
                if fresh:
                    identity_files.save(options.identity, identity, credentials)
                began = True
                _say_ready(options.ready_fd, identity)
                log.info("serving", extra={"fields": {"listen": options.listen, "node": identity.node_id}})
                await manager.wait_stop()
                nursery.cancel_scope.cancel()
    finally:
        if fresh and not began:
            identity_files.forget(options.identity)
            shutil.rmtree(options.state, ignore_errors=True)
    log.info("stopped")


def _prepare(options: Options) -> bool:
    """Whether a new cluster is to be made; clears away what an interrupted bootstrap left. Raises
    FailedPrecondition."""
    member = identity_files.is_member(options.identity)
    if options.bootstrap is None:
        return False
    if member and options.bootstrap.force_new_cluster:
        return False
    if member:
        raise FailedPrecondition('This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.')
    identity_files.forget(options.identity)
    shutil.rmtree(options.state, ignore_errors=True)
    return True


async def _check_member(options: Options, identity: Identity, store: Store, driver: Driver) -> None:
    """The state on disk is that of this identity; the address of this manager is the one it advertises now."""
    clusters = store.all(Kind.CLUSTER)
    if not clusters or clusters[0].id != identity.cluster_id:
        raise FailedPrecondition(f"the state in {options.state} is not that of the cluster {identity.cluster_id}")
    node = store.get(Kind.NODE, identity.node_id)
    if node is None or node.manager is None:
        raise FailedPrecondition(f"node {identity.node_id} is no manager of the cluster {identity.cluster_id}")
    if node.manager.address != options.advertise:
        status = msgspec.structs.replace(node.manager, address=options.advertise)
        await driver.propose((updated(msgspec.structs.replace(node, manager=status)),))


def _say_ready(descriptor: int, identity: Identity) -> None:
    line = json.dumps({"node_id": identity.node_id, "cluster_id": identity.cluster_id}) + "\n"
    with os.fdopen(descriptor, "w") as ready:
        ready.write(line)


class _Manager:
    """Everything that runs while this manager leads."""

    def __init__(self, store: Store, driver: Driver, identity: Identity) -> None:
        self._store = store
        self._driver = driver
        self._node_id = NodeId(identity.node_id)
        self._entropy = SystemRandom()
        self._dispatcher = Dispatcher(store, driver, time_ns)
        self._control = Control(store, driver, time_ns, self._entropy)
        self._leader = Leader(store, driver, time_ns, Random(os.urandom(32)))  # noqa: S311  seeded by the system
        self._broker = LogBroker(store, self._dispatcher.session_of)
        self._stop = trio.Event()
        self._stopper: Caller | None = None

    async def start(self, nursery: trio.Nursery, options: Options, own: OwnIdentity) -> None:
        """Start everything in the nursery and return when the port is served. Raises OSError when it cannot be
        bound."""
        peers = Peers(self._driver, own.contexts)
        host, port = split_address(options.listen)
        handlers = {"raft.follow": peers.follow, "raft.join": peers.join, **self._handlers()}
        assert set(handlers) == {name for name, call in CALLS.items() if not call.to_agent}
        await nursery.start(own.run)
        await nursery.start(self._dispatcher.run)
        await nursery.start(self._broker.run)
        await nursery.start(self._leader.run)
        nursery.start_soon(self._control.run)
        nursery.start_soon(peers.run)
        nursery.start_soon(self._signals)
        admit = partial(admission.admit, self._store)
        await nursery.start(partial(serve, host, port, own.contexts.server, handlers, admit=admit, keepalive_s=KEEPALIVE_S))

    async def wait_stop(self) -> None:
        """Until somebody stops this manager, and has had the time to hear that it did."""
        await self._stop.wait()
        if self._stopper is not None:
            with trio.move_on_after(GOODBYE_S):
                await self._stopper.peer.closed.wait()

    async def _signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            async for number in received:
                log.info("stopping", extra={"fields": {"signal": signal.Signals(number).name}})
                self._stop.set()

    # -- calls ------------------------------------------------------------------------------------------------------

    def _handlers(self) -> dict[str, Handler]:
        return {
            "ca.root": self._root,
            "ca.issue": self._issue,
            "agent.session": self._dispatcher.session,
            "agent.statuses": self._dispatcher.statuses,
            "agent.applied": self._dispatcher.applied,
            "agent.attach": self._dispatcher.attach,
            "agent.detach": self._dispatcher.detach,
            "agent.keep_attachments": self._dispatcher.keep_attachments,
            "agent.heartbeat": self._dispatcher.heartbeat,
            "agent.leave": self._dispatcher.leave,
            "control.why": self._why,
            "control.logs": self._broker.logs,
            "control.stop": self._stop_now,
            **self._control.handlers(),
        }

    def _cluster(self) -> Cluster:
        return self._store.all(Kind.CLUSTER)[0]

    async def _root(self, caller: Caller, request: Nothing) -> Text:
        return Text(self._cluster().root_ca_pem)

    async def _issue(self, caller: Caller, request: IssueCertificate) -> IssuedCertificate:
        """ca.issue: a new node's first certificate, by its join token; or the next one of a node that has one."""
        issued: list[IssuedCertificate] = []
        shown_pem = caller.peer.certificate_pem()

        def decide(store: Store, asked: IssueCertificate, now_ns: int, entropy: Random) -> tuple[tuple[Change, ...], Ids]:
            made = joining.issue(store, asked, caller.node_id, shown_pem, now_ns, entropy)
            issued.append(made.answer)
            return made.changes, Ids(made.answer.node_id)

        await self._control.submit(decide, request)
        log.info("certificate issued", extra={"fields": {"node": issued[0].node_id, "address": caller.address}})
        return issued[0]

    async def _why(self, caller: Caller, request: Why) -> WhyAnswer:
        return explain.why(self._store, self._leader.reasons, request.reference)

    async def _stop_now(self, caller: Caller, request: Nothing) -> Nothing:
        log.info("stopping", extra={"fields": {"by": caller.node_id}})
        self._stopper = caller
        self._stop.set()
        return Nothing()
