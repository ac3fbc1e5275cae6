"""`/festoon/raft/…`: the managers' replicated log, as its leader sees it: where every member is, and what the newest entries say. Without a leader, as this
node's own manager does."""

from __future__ import annotations

from typing import Final

from agent.engine.answers import json_answer
from agent.engine.call import Call
from agent.engine.convert import Json, time_text
from agent.engine.extras import object_json
from cluster.model.changes import KIND_TYPES, Kind, Op
from cluster.model.errors import InvalidArgument, NotLeader, Unavailable
from cluster.model.objects import TaskStatus
from cluster.wire.calls import AskRaftLog, LoggedEntry, RaftLog, RaftStatus
from cluster.wire.codec import decode
from cluster.wire.http import Response

DEFAULT_TAIL: Final = 20


async def status(call: Call) -> Response:
    """As the leader says; where there is none, as this node's own manager does: that is when somebody has to know."""
    found: RaftStatus
    try:
        found = await call.node.swarm.call("control.raft_status")
    except (NotLeader, Unavailable):
        found = await call.node.swarm.call_own_manager("control.raft_own")
    return json_answer({
        "raft_id": found.raft_id, "term": found.term, "first": found.first, "last": found.last, "committed": found.committed, "applied": found.applied,
        "log_bytes": found.log_bytes, "snapshot": found.snapshot, "snapshot_bytes": found.snapshot_bytes,
        "writes": found.writes, "write_p50_ns": found.write_p50_ns, "write_p99_ns": found.write_p99_ns,
        "peers": [
            {
                "raft_id": peer.raft_id, "node_id": peer.node_id, "hostname": peer.hostname, "address": peer.address, "state": peer.state,
                "reachable": peer.reachable, "match": peer.match, "next": peer.next,
            }
            for peer in found.peers
        ],
    })  # fmt: skip


async def log(call: Call) -> Response:
    """The newest entries, oldest first: {"committed", "entries": [{"index", "term", "bytes", "kind", "changes"|"members"}]}."""
    tail = call.integer("tail", DEFAULT_TAIL)
    if tail < 1:
        raise InvalidArgument(f"invalid number of entries: {tail}")
    found: RaftLog = await call.node.swarm.call("control.raft_log", AskRaftLog(tail))
    return json_answer({"committed": found.committed, "entries": [entry_json(entry) for entry in found.entries]})


def entry_json(entry: LoggedEntry) -> Json:
    """Pure."""
    out: Json = {"index": entry.index, "term": entry.term, "bytes": entry.size_bytes, "kind": entry.kind}
    if entry.kind == "membership":
        out["members"] = [{"raft_id": number, "node_id": node, "address": address, "learner": learner} for number, node, address, learner in entry.members]
    elif entry.kind == "changes":
        out["changes"] = [_change_json(*change) for change in entry.changes]
    return out


def _change_json(op: int, kind: int, identifier: str, encoded: bytes) -> Json:
    shown: Json | None = None
    if encoded:
        shown = _status_json(decode(encoded, TaskStatus)) if op == Op.STATUS else object_json(decode(encoded, KIND_TYPES[Kind(kind)]))
    return {"op": Op(op).name.lower(), "kind": Kind(kind).name.lower(), "id": identifier, "object": shown}


def _status_json(status: TaskStatus) -> Json:
    return {"State": status.state.name.lower(), "Timestamp": time_text(status.timestamp_ns), "Message": status.message, "Err": status.err}
