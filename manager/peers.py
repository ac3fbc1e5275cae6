"""The connections between managers: every member asks every other one for what that has to say to it, and passes what
comes to the driver.

Owns the connections of this side and the call raft.follow of the other; decides nothing. A connection that is lost is
opened again. Whoever speaks is who its certificate says: messages in another member's name are an error.
"""

from __future__ import annotations

import logging
import os
import random
from functools import partial
from typing import Final

import msgspec
import trio

from cluster.identity.contexts import Contexts
from cluster.model.errors import ClusterError, Conflict, FailedPrecondition, InvalidArgument, PermissionDenied
from cluster.wire import versions
from cluster.wire.calls import Follow, JoinedManagers, JoinManagers, RaftFrame
from cluster.wire.peer import Caller, Items, connect, split_address
from manager.clones import Places, home
from manager.dispatcher.liveness import KEEPALIVE_S
from manager.raft.driver import Driver
from manager.raft.membership import Member, Membership
from manager.raft.messages import Message, MessageKind
from manager.raft.outboxes import SnapshotToSend
from manager.raft_storage import snapshots
from manager.raft_storage.snapshots import Snapshot

FRAME_BYTES: Final = 1024 * 1024
"""Entries in one frame of messages (more only for one message that is larger), and one piece of a snapshot."""

MAX_SNAPSHOT_BYTES: Final = 1024 * 1024 * 1024  # packed
DIAL_TIMEOUT_S: Final = 1.0  # the kernel's own second try comes later: after a partition it would be waited for
RETRY_FIRST_S: Final = 0.05
RETRY_LAST_S: Final = 1.0

CLONED: Final = "a cloned machine has to leave the swarm and join it anew"

log = logging.getLogger("festoon.raft")


class Peers:
    """`run` must be running. `contexts` show this manager's certificate; `known` are the members that a new one was
    told of, whom it listens to while its own log says nothing yet.
    """

    def __init__(self, driver: Driver, contexts: Contexts, known: tuple[Member, ...] = (), speak: int = versions.VERSION) -> None:
        self._speak, self._process = speak, os.urandom(16).hex()
        self._known = known
        self._driver = driver
        self._contexts = contexts
        self._listening: dict[Member, trio.CancelScope] = {}
        self._heard: set[int] = set()  # members that a connection is open to
        self._places = Places()
        self._clone = ""  # what was said of one last
        self._changed = trio.Event()

    @property
    def leader_address(self) -> str:
        """host:port of the member that leads, if it is this one or one that this one hears; empty otherwise."""
        return self._driver.leader_address if self._driver.leader or self._driver.raft.leader in self._heard else ""

    def hears(self, member: Member) -> bool:
        """Whether the member can be reached, as far as connections tell, in both directions."""
        return member.raft_id in self._heard and self._driver.outboxes.is_open(member.raft_id)

    def note_change(self) -> None:
        """Wake who waits for a change."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait_change(self) -> None:
        """Wait until something of leadership, membership or connections changes."""
        await self._changed.wait()

    async def run(self) -> None:
        """Listen to all members but this one, as they come and go. Runs until cancelled. Raises Conflict (in a group) when another process is this member."""
        async with trio.open_nursery() as nursery:
            while True:
                members = self._driver.membership.members or self._known
                wanted = {member for member in members if member.raft_id != self._driver.raft_id and member.address}
                for member in [known for known in self._listening if known not in wanted]:
                    self._listening.pop(member).cancel()
                for member in wanted - self._listening.keys():
                    scope = self._listening[member] = trio.CancelScope()
                    nursery.start_soon(self._listen, member, scope)
                self.note_change()
                await self._driver.wait_change()

    # -- what others say to this member

    async def _listen(self, member: Member, scope: trio.CancelScope) -> None:
        delay, said = RETRY_FIRST_S, ""
        with scope:
            while True:
                began = trio.current_time()
                try:
                    async with connect(member.address, self._contexts.client, keepalive_s=KEEPALIVE_S, dial_timeout_s=DIAL_TIMEOUT_S) as peer:
                        if peer.caller.node_id != member.node_id:
                            raise PermissionDenied(f"{member.address} is node {peer.caller.node_id}, not {member.node_id}")
                        self._note_heard(member, True)
                        await peer.listen("raft.follow", Follow(self._driver.raft_id, self._speak, self._process), partial(self._take, member, bytearray()))
                except Conflict:
                    raise  # another process is this member
                except ClusterError as error:
                    if str(error) != said:  # a manager that stays away is no news
                        log.info("not connected to a manager", extra={"fields": {"manager": member.address, "error": str(error)}})
                    said = str(error)
                finally:
                    self._note_heard(member, False)
                if trio.current_time() - began > RETRY_LAST_S:
                    delay = RETRY_FIRST_S
                await trio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  jitter
                delay = min(delay * 2, RETRY_LAST_S)

    def _note_heard(self, member: Member, heard: bool) -> None:
        if heard:
            self._heard.add(member.raft_id)
        elif member.raft_id in self._heard:
            self._heard.discard(member.raft_id)
            self._driver.lost(member.raft_id)
        self.note_change()

    def _take(self, member: Member, packed: bytearray, frame: RaftFrame) -> None:
        """`packed`: the pieces of a snapshot that have come over this connection. Raises InvalidArgument for what no member says."""
        packed += frame.snapshot
        if len(packed) > MAX_SNAPSHOT_BYTES:
            raise InvalidArgument(f"a snapshot of more than {MAX_SNAPSHOT_BYTES} bytes")
        if not frame.messages:
            return
        try:
            messages = msgspec.msgpack.decode(frame.messages, type=tuple[Message, ...])
            snapshot = _unpacked(messages, packed) if frame.snapshot_ends else None
        except (msgspec.MsgspecError, ValueError) as error:
            raise InvalidArgument(f"not a message of a manager: {error}") from error
        if any(message.sender != member.raft_id for message in messages):
            raise InvalidArgument("a message in another member's name")
        self._driver.receive(messages, snapshot)

    # -- what this member says to others

    async def follow(self, caller: Caller, request: Follow, items: Items) -> None:
        """raft.follow: everything for that member, until it goes. Raises PermissionDenied for somebody else's id, Conflict for a clone of the member."""
        versions.check(self._speak, request.protocol, f"the manager of node {caller.node_id}")
        member = self._check(caller, request.raft_id)
        if self._driver.leader and self._driver.settled_membership.was_removed(request.raft_id):
            told = Message(MessageKind.REMOVED, self._driver.raft_id, request.raft_id, self._driver.term)
            items.put(RaftFrame(msgspec.msgpack.encode((told,))))  # it was away when that happened
            return
        try:
            async with self._places.taken(request.raft_id, request.process, caller, home(member.address) if member else ""):
                await self._say_all(request, items)
        except Conflict as refused:
            if refused.message != self._clone:  # which comes again and again
                self._clone = refused.message
                log.warning("two managers with one identity", extra={"fields": {"node": caller.node_id, "refused": caller.address, "error": refused.message}})
            raise

    async def _say_all(self, request: Follow, items: Items) -> None:
        if request.protocol >= versions.HELD and (held := self._driver.held_by(request.raft_id)) is not None:
            items.put(RaftFrame(msgspec.msgpack.encode((held,))))

        def push() -> None:
            while outbox.has_messages and items.has_room:
                items.put(RaftFrame(msgspec.msgpack.encode(outbox.take_messages(FRAME_BYTES))))

        outbox = self._driver.outboxes.open(request.raft_id, push)
        self.note_change()
        sending: SnapshotToSend | None = None
        try:
            while True:
                await outbox.wait()
                await items.wait_room()
                push()
                if (sending := outbox.take_snapshot()) is not None:
                    await _send_snapshot(sending, items)
                    self._driver.snapshot_sent(request.raft_id, sending.message.index)
                    sending = None
        finally:
            if sending is not None:
                self._driver.snapshot_sent(request.raft_id, None)
            self._driver.outboxes.close(request.raft_id, outbox)
            self.note_change()

    def _check(self, caller: Caller, raft_id: int) -> Member | None:
        """The member as this one knows it. Raises PermissionDenied when it is another node."""
        membership = self._driver.membership
        known = next((member for member in membership.members if member.raft_id == raft_id), None)
        if known is not None and known.node_id not in ("", caller.node_id):
            raise PermissionDenied(f"node {caller.node_id} is not the manager with the Raft id {raft_id}")
        return known

    def _replaced(self, caller: Caller, address: str) -> list[Member]:
        """The members that the one who joins was: as this node, or as an earlier one of its machine, whose identity went with its disk, so that it is heard
        at that address no more. Raises FailedPrecondition when one of them lives.
        """
        found: list[Member] = []
        for member in self._driver.membership.members:
            if member.node_id == caller.node_id:
                if self.hears(member) and not self._places.is_elsewhere(member.raft_id, caller.address, home(member.address)):
                    raise FailedPrecondition(f"node {caller.node_id} is a manager already, and heard at {member.address}: {CLONED}")
                found.append(member)
            elif member.address == address and caller.address == home(address) and not self.hears(member):
                found.append(member)
        return found

    async def join(self, caller: Caller, request: JoinManagers) -> JoinedManagers:
        """raft.join: the node that calls becomes a learner; this member must lead. One that is a member already has lost
        what it had, or the answer: it gets a new id, and its old one goes, if the others do without. Raises
        FailedPrecondition when they do not, or when the one that it was lives.
        """
        split_address(request.address)
        versions.check(self._speak, request.protocol, f"the manager of node {caller.node_id}")
        for old in self._replaced(caller, request.address):
            await self._driver.change_membership(partial(Membership.without, raft_id=old.raft_id))

        def with_caller(membership: Membership) -> Membership:
            return membership.with_learner(caller.node_id, request.address)

        joined = await self._driver.change_membership(with_caller)
        log.info("a manager joins", extra={"fields": {"node": caller.node_id, "address": request.address, "raft_id": joined.last_id}})
        members = tuple((member.raft_id, member.node_id, member.address) for member in joined.members)
        return JoinedManagers(joined.last_id, members)


def _unpacked(messages: tuple[Message, ...], packed: bytearray) -> Snapshot:
    """Raises ValueError. Not in a thread: the store that is made of it next takes far longer, and what comes behind it has to wait."""
    (message,) = messages
    contents = bytes(packed)
    packed.clear()
    return snapshots.unpack(message.index, message.log_term, contents)


async def _send_snapshot(sending: SnapshotToSend, items: Items) -> None:
    """The snapshot in pieces; what else there is to say goes between them, so that nobody is thought dead."""
    for start in range(0, len(sending.packed), FRAME_BYTES):
        await items.wait_room()
        items.put(RaftFrame(snapshot=sending.packed[start : start + FRAME_BYTES]))
        await trio.lowlevel.checkpoint()
    await items.wait_room()
    items.put(RaftFrame(msgspec.msgpack.encode((sending.message,)), snapshot_ends=True))
