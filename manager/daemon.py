"""The manager process: opens its state (or makes a new cluster's, or joins), and serves every call of
cluster/wire/calls/table.py that is a manager's. Owns what belongs together while it runs and in which order it comes and
goes; decides nothing.

A new cluster becomes valid with its identity.json, written after the first entry of the log is durable and the port is
bound: whatever a bootstrap left that was interrupted or failed before that is taken away.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from functools import partial
from time import time_ns
from typing import Final

import trio

from cluster.identity import folder
from cluster.model.changes import Kind
from cluster.model.errors import FailedPrecondition, NotLeader, Unavailable
from cluster.wire.calls import CALLS, Call, Nothing, RaftStatus, Text
from cluster.wire.peer import Caller, Handler, serve, split_address
from manager import admission, bootstrap, collector, entrance, identity_files, member_file, metrics, raft_view, restoring, seal_server
from manager.autolock import Autolock
from manager.dispatcher.liveness import KEEPALIVE_S
from manager.entrance import Entrance
from manager.identity_files import Identity
from manager.member_file import Seat
from manager.options import Options
from manager.own_identity import OwnIdentity
from manager.peers import Peers
from manager.raft.driver import Driver, open_driver
from manager.raft.membership import Member
from manager.raft_storage import key
from manager.reign import Reigns
from manager.store import Store

GOODBYE_S: Final = 1.0  # how long the process waits for those who listen to it to have gone elsewhere
LOCKING: Final = "control.cluster_update"
REMOVED: Final = "this manager was removed from the swarm"
WENT_BACK: Final = (
    "this manager's log lacks what it had acknowledged, as after a virtual machine was set back to a snapshot: "
    "it takes no part with it any more, throws it away and joins the other managers anew"
)

log = logging.getLogger("festoon.manager")


async def run(options: Options) -> None:
    """Serve until SIGTERM or control.stop. Raises (in groups) ClusterError for what the user can mend, StorageFault for
    a log that cannot be used, OSError for a port that cannot be bound. Cancellation ends it as SIGTERM does."""
    how = entrance.choose(options)
    began, seat = False, Seat()
    if how is not Entrance.FOUND:
        identity = identity_files.load(options.identity)
        seat = member_file.load(options.state) or await entrance.join(options, identity, identity_files.credentials(options.identity))
    store = metrics.MeasuredStore()
    only = Member(seat.raft_id, identity.node_id, options.advertise) if options.bootstrap is not None and how is Entrance.RESUME else None
    restores = options.bootstrap is not None and options.bootstrap.restores and how is Entrance.FOUND
    try:
        if restores:
            only = await trio.to_thread.run_sync(restoring.place, options)
            seat = Seat(only.raft_id)
        async with open_driver(options.state, store, raft_id=seat.raft_id, only=only, unlocking=options.unlocking) as driver:
            if driver.membership.voters == (driver.raft_id,):
                await driver.wait_leader()
            if restores and only is not None:
                identity, credentials = await restoring.enter(options, driver, store, only)
            elif how is Entrance.FOUND:
                identity, credentials = await bootstrap.make_cluster(options, driver)
            autolock = Autolock(options.state, options.identity, store, driver, options.unlocking if key.is_locked(options.state) else None)
            if how is not Entrance.FOUND:
                credentials = identity_files.credentials(options.identity, autolock.sealing())
            _check_state(options, identity, store)
            own = OwnIdentity(options.identity, store, identity.node_id, credentials, time_ns, autolock.sealing)
            manager = _Manager(store, driver, options, own, autolock, seat, Member(seat.raft_id, identity.node_id, options.advertise))
            collector.calm()
            async with trio.open_nursery() as nursery:
                await manager.start(nursery)
                if how is Entrance.FOUND:
                    identity_files.save(options.identity, identity, credentials, autolock.sealing() if autolock.is_on else None)
                began = True
                if how is not Entrance.JOIN or await manager.wait_vote():
                    _say_ready(options.ready_fd, identity)
                log.info("serving", extra={"fields": {"listen": options.listen, "node": identity.node_id, "raft_id": seat.raft_id}})
                await manager.wait_stop()
                nursery.cancel_scope.cancel()
            over = _over(driver)
            if over:  # what opens the node's key goes with the log
                await trio.to_thread.run_sync(partial(folder.keep_sealed, options.identity, autolock.sealing(), closed=False))
    finally:
        if how is Entrance.FOUND and not began:
            identity_files.forget(options.identity)
            shutil.rmtree(options.state, ignore_errors=True)
    if over:
        member_file.forget(options.state)
        raise Unavailable(over)
    log.info("stopped")


def _over(driver: Driver) -> str:
    """Why this member, as it is, is none any more: it throws its log away, and joins anew if it still is to be a manager. Empty while it is one."""
    if driver.went_back:
        return WENT_BACK
    return REMOVED if driver.removed else ""


def _check_state(options: Options, identity: Identity, store: Store) -> None:
    """The state on disk, if there is any yet, is that of this identity. Raises FailedPrecondition."""
    clusters = store.all(Kind.CLUSTER)
    if clusters and clusters[0].id != identity.cluster_id:
        raise FailedPrecondition(f"the state in {options.state} is not that of the cluster {identity.cluster_id}")


def _say_ready(descriptor: int, identity: Identity) -> None:
    line = json.dumps({"node_id": identity.node_id, "cluster_id": identity.cluster_id}) + "\n"
    with os.fdopen(descriptor, "w") as ready:
        ready.write(line)


class _Manager:
    """Everything that runs while this manager does, whoever leads."""

    def __init__(
        self, store: metrics.MeasuredStore, driver: Driver, options: Options, own: OwnIdentity, autolock: Autolock, seat: Seat, me: Member
    ) -> None:
        self._store = store
        self._driver = driver
        self._listen, self._state = options.listen, options.state
        self._own, self._autolock = own, autolock
        self._peers = Peers(driver, own.contexts, seat.known, options.speak)
        self._reigns = Reigns(store, driver, self._peers, me, options.speak)
        self._stop = trio.Event()
        self._stopper: Caller | None = None

    async def start(self, nursery: trio.Nursery) -> None:
        """Start everything in the nursery and return when the port is served. Raises OSError when it cannot be
        bound."""
        host, port = split_address(self._listen)
        handlers: dict[str, Handler] = {
            "ca.root": self._root,
            "raft.follow": self._peers.follow,
            "control.metrics": self._metrics,
            "control.raft_own": self._raft_own,
            "control.stop": self._stop_now,
            **self._reigns.handlers(),
        }
        handlers[LOCKING] = self._autolock.after(handlers[LOCKING])
        assert set(handlers) == {name for name, call in CALLS.items() if not call.to_agent}
        await nursery.start(self._own.run)
        await nursery.start(self._autolock.run)
        await nursery.start(seal_server.run, self._state, self._autolock.sealing)
        nursery.start_soon(self._peers.run)
        nursery.start_soon(self._reigns.run)
        nursery.start_soon(self._signals)
        nursery.start_soon(self._watch_removal)
        await nursery.start(partial(serve, host, port, self._own.contexts.server, handlers, admit=self._admit, keepalive_s=KEEPALIVE_S))

    async def wait_vote(self) -> bool:
        """Until this member has caught up and got its vote (True), or is stopped before."""
        while self._driver.raft_id not in self._driver.membership.voters and not self._stop.is_set():
            await self._peers.wait_change()
        return not self._stop.is_set()

    async def wait_stop(self) -> None:
        """Until somebody stops this manager, another one leads, and all who listened have heard of both."""
        await self._stop.wait()
        audience = self._reigns.audience() | ({self._stopper.peer} if self._stopper is not None else set())
        if self._driver.leader and len(self._driver.membership.voters) > 1:
            try:
                handed = await self._driver.hand_over()
            except NotLeader:
                handed = True
            log.info("handed over" if handed else "nobody took over", extra={"fields": {"leader": self._peers.leader_address}})
        elif self._stopper is None:
            return
        with trio.move_on_after(GOODBYE_S):
            for peer in audience:
                await peer.closed.wait()

    async def _signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            async for number in received:
                log.info("stopping", extra={"fields": {"signal": signal.Signals(number).name}})
                self._stop_soon()

    async def _watch_removal(self) -> None:
        while not (over := _over(self._driver)):
            await self._driver.wait_change()
        log.warning(over)
        self._stop_soon()

    def _stop_soon(self) -> None:
        self._stop.set()
        self._peers.note_change()

    def _admit(self, caller: Caller, contract: Call) -> None:
        admission.admit(self._store, None if self._driver.leader else self._peers.leader_address, caller, contract)

    # -- calls that need no leader ----------------------------------------------------------------------------------

    async def _root(self, caller: Caller, request: Nothing) -> Text:
        """ca.root. Raises NotLeader while this member knows nothing yet."""
        clusters = self._store.all(Kind.CLUSTER)
        if not clusters:
            raise NotLeader(self._peers.leader_address)
        return Text(clusters[0].root_ca_pem)

    async def _metrics(self, caller: Caller, request: Nothing) -> Text:
        return Text(metrics.exposition(self._store, self._driver, self._reigns.scheduling_delays))

    async def _raft_own(self, caller: Caller, request: Nothing) -> RaftStatus:
        return raft_view.status(self._store, self._driver, self._peers.hears)

    async def _stop_now(self, caller: Caller, request: Nothing) -> Nothing:
        log.info("stopping", extra={"fields": {"by": caller.node_id}})
        self._stopper = caller
        self._stop_soon()
        return Nothing()
