"""What `festoon raft status` and `raft log` show: where this member and its followers are, and what the log's entries say. Reads only.

Secrets of the log never leave: keys and join tokens of the cluster, certificates of nodes and registry credentials of services are blanked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from cluster.model.changes import Change, Kind, Object
from cluster.model.objects import Cluster, Config, JoinTokens, Node, Secret, Service, Task
from cluster.model.specs import ServiceSpec, TaskSpec
from cluster.wire.calls import AskRaftLog, LoggedEntry, RaftLog, RaftPeer, RaftStatus
from cluster.wire.codec import decode_changes, encode
from manager.raft import membership
from manager.raft.core import Role
from manager.raft.driver import Driver
from manager.raft.log import Entry, EntryKind
from manager.raft.membership import Member
from manager.store import Store

MAX_ENTRIES: Final = 1000
MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Entries in one answer: the newest that fit."""


def status(store: Store, driver: Driver, hears: Callable[[Member], bool]) -> RaftStatus:
    """As this member knows it now: where the others are only a leader does. `hears`: whether a member is connected in both directions."""
    log, disk = driver.raft.log, driver.disk_usage()
    writes = sorted(driver.write_times_ns)
    names = {str(node.id): node.description.hostname for node in store.all(Kind.NODE)}
    peers = tuple(_peer(driver, member, hears, names.get(member.node_id, "")) for member in driver.membership.members)
    return RaftStatus(
        raft_id=driver.raft_id,
        term=driver.term,
        first=log.offset + 1,
        last=log.last,
        committed=log.committed,
        applied=log.applied,
        log_bytes=disk.log_bytes,
        snapshot=disk.snapshot,
        snapshot_bytes=disk.snapshot_bytes,
        writes=len(writes),
        write_p50_ns=_percentile(writes, 50),
        write_p99_ns=_percentile(writes, 99),
        peers=peers,
    )


def _peer(driver: Driver, member: Member, hears: Callable[[Member], bool], hostname: str) -> RaftPeer:
    progress = driver.raft.progress.get(member.raft_id) if driver.raft.role is Role.LEADER else None
    if member.raft_id == driver.raft_id:
        state, heard, match, following = driver.raft.role.value, True, driver.raft.log.stable, driver.raft.log.last + 1
    elif progress is None:
        state, heard, match, following = "unknown", hears(member), 0, 0
    else:
        state, heard, match, following = progress.mode.value, hears(member), progress.match, progress.next
    return RaftPeer(member.raft_id, member.node_id, member.address, ("learner, " if member.learner else "") + state, heard, match, following, hostname)


def _percentile(ordered: list[int], percent: int) -> int:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0


def log(driver: Driver, request: AskRaftLog) -> RaftLog:
    """The newest entries that are in memory, oldest first: at most `tail`, and no more than fit into an answer."""
    known = driver.raft.log
    count = min(request.tail, MAX_ENTRIES, known.last - known.offset)
    entries = known.between(known.last - count + 1, known.last, MAX_ENTRIES * MAX_ANSWER_BYTES) if count > 0 else ()
    shown: list[LoggedEntry] = []
    size = 0
    for entry in reversed(entries):
        size += len(entry.data)
        if shown and size > MAX_ANSWER_BYTES:
            break
        shown.append(_shown(entry))
    return RaftLog(known.committed, tuple(reversed(shown)))


def _shown(entry: Entry) -> LoggedEntry:
    if entry.kind is EntryKind.MEMBERSHIP:
        members = membership.decode(entry.data).members
        return LoggedEntry(entry.index, entry.term, len(entry.data), "membership", members=tuple((m.raft_id, m.node_id, m.address, m.learner) for m in members))
    if not entry.data:
        return LoggedEntry(entry.index, entry.term, 0, "term")
    changes = tuple(_change(change) for change in decode_changes(entry.data))
    return LoggedEntry(entry.index, entry.term, len(entry.data), "changes", changes)


def _change(change: Change) -> tuple[int, int, str, bytes]:
    after = change.after
    if after is None:
        return (change.op, change.kind, change.id, b"")
    return (change.op, change.kind, change.id, encode(blanked(after) if isinstance(after, Object) else after))


def blanked(value: Object) -> Object:
    """The object without what only managers, or nobody, may read."""
    replace = msgspec.structs.replace
    if isinstance(value, Cluster):
        return replace(value, root_key_pem="", join_tokens=JoinTokens(), unlock_key="", network_keys=())
    if isinstance(value, Node):
        return replace(value, certificate_pem="")
    if isinstance(value, Service):
        previous = _without_credentials(value.previous_spec) if value.previous_spec else None
        return replace(value, spec=_without_credentials(value.spec), previous_spec=previous)
    if isinstance(value, (Secret, Config)):
        return replace(value, spec=replace(value.spec, data=b""))
    if isinstance(value, Task):
        return replace(value, spec=_task_without_credentials(value.spec))
    return value


def _without_credentials(spec: ServiceSpec) -> ServiceSpec:
    return msgspec.structs.replace(spec, task=_task_without_credentials(spec.task))


def _task_without_credentials(spec: TaskSpec) -> TaskSpec:
    return msgspec.structs.replace(spec, container=msgspec.structs.replace(spec.container, registry_auth=""))
