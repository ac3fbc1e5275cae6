"""Every call that crosses processes on the managers' port (2377): one table. Name, request, answer, who may call, whether the answer is a stream.

Owns the names; the shapes are in the modules beside it. cluster/wire/rpc.py frames them, cluster/wire/peer.py carries them, manager/ and agent/ serve them.
A request that needs no argument takes `Nothing`. Roles are those of the caller's certificate: ANYONE may come without one.
A connection is symmetric: calls marked `to_agent` are made by the manager over the session that the agent opened.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from cluster.model.assignments import SessionMessage
from cluster.wire.calls.agents import Applied, Attach, Attached, Describe, KeepAttachments, OpenSession, UpdateStatuses
from cluster.wire.calls.body import Nothing, Text
from cluster.wire.calls.control import ClusterWrite, DependencyWrite, Ids, NetworkWrite, NodeWrite, Objects, Query, Remove, ServiceWrite, Watched, WatchKinds
from cluster.wire.calls.explaining import Preview, PreviewAnswer, Why, WhyAnswer
from cluster.wire.calls.identity import InUse, IssueCertificate, IssuedCertificate
from cluster.wire.calls.images import FindImage, FoundImage, ReadImage
from cluster.wire.calls.managers import AskRaftLog, FilePiece, Follow, JoinedManagers, JoinManagers, RaftFrame, RaftLog, RaftStatus, SaveSnapshot
from cluster.wire.calls.observing import Capture, CapturePiece, LogLine, LogsOf, Trace, TraceAnswer, TraceFinish, TraceHops, TraceSend, TraceSent, TraceStart

UNKNOWN_CALL: Final = "unknown call {}"
"""What the other side says, as InvalidArgument, when its version has no such call."""


class Caller(enum.Enum):
    ANYONE = "anyone"
    NODE = "node"  # any certificate of this cluster
    MANAGER = "manager"  # OU=swarm-manager


class Call(msgspec.Struct, frozen=True):
    name: str
    request: type
    answer: object  # a type, or a union for streams
    caller: Caller
    stream: bool = False
    to_agent: bool = False


_C = Caller
CALLS: Final[dict[str, Call]] = {
    c.name: c
    for c in (
        Call("ca.root", Nothing, Text, _C.ANYONE),
        Call("ca.issue", IssueCertificate, IssuedCertificate, _C.ANYONE),
        Call("ca.in_use", InUse, Nothing, _C.NODE),
        Call("raft.follow", Follow, RaftFrame, _C.MANAGER, stream=True),
        Call("raft.join", JoinManagers, JoinedManagers, _C.MANAGER),
        Call("agent.session", OpenSession, SessionMessage, _C.NODE, stream=True),
        Call("agent.statuses", UpdateStatuses, Nothing, _C.NODE),
        Call("agent.applied", Applied, Nothing, _C.NODE),
        Call("agent.attach", Attach, Attached, _C.NODE),
        Call("agent.detach", Text, Nothing, _C.NODE),
        Call("agent.keep_attachments", KeepAttachments, Nothing, _C.NODE),
        Call("agent.describe", Describe, Nothing, _C.NODE),
        Call("agent.heartbeat", Nothing, Nothing, _C.NODE),
        Call("agent.leave", Nothing, Nothing, _C.NODE),
        Call("node.present", Nothing, Nothing, _C.MANAGER, to_agent=True),
        Call("node.logs", LogsOf, LogLine, _C.MANAGER, stream=True, to_agent=True),
        Call("node.trace_start", TraceStart, Nothing, _C.MANAGER, to_agent=True),
        Call("node.trace_send", TraceSend, TraceSent, _C.MANAGER, to_agent=True),
        Call("node.trace_finish", TraceFinish, TraceHops, _C.MANAGER, to_agent=True),
        Call("image.find", FindImage, FoundImage, _C.NODE),
        Call("image.read", ReadImage, FilePiece, _C.NODE, stream=True),
        Call("node.image_find", FindImage, FoundImage, _C.MANAGER, to_agent=True),
        Call("node.image_read", ReadImage, FilePiece, _C.MANAGER, stream=True, to_agent=True),
        Call("node.capture", Capture, CapturePiece, _C.MANAGER, stream=True, to_agent=True),
        Call("control.capture", Capture, CapturePiece, _C.MANAGER, stream=True),
        Call("control.trace", Trace, TraceAnswer, _C.MANAGER),
        Call("control.query", Query, Objects, _C.MANAGER),
        Call("control.list", Query, Objects, _C.MANAGER, stream=True),
        Call("control.service_create", ServiceWrite, Ids, _C.MANAGER),
        Call("control.service_update", ServiceWrite, Ids, _C.MANAGER),
        Call("control.service_remove", Remove, Ids, _C.MANAGER),
        Call("control.network_create", NetworkWrite, Ids, _C.MANAGER),
        Call("control.network_remove", Remove, Ids, _C.MANAGER),
        Call("control.secret_create", DependencyWrite, Ids, _C.MANAGER),
        Call("control.secret_update", DependencyWrite, Ids, _C.MANAGER),
        Call("control.secret_remove", Remove, Ids, _C.MANAGER),
        Call("control.config_create", DependencyWrite, Ids, _C.MANAGER),
        Call("control.config_update", DependencyWrite, Ids, _C.MANAGER),
        Call("control.config_remove", Remove, Ids, _C.MANAGER),
        Call("control.node_update", NodeWrite, Ids, _C.MANAGER),
        Call("control.node_remove", Remove, Ids, _C.MANAGER),
        Call("control.cluster_update", ClusterWrite, Ids, _C.MANAGER),
        Call("control.why", Why, WhyAnswer, _C.MANAGER),
        Call("control.preview", Preview, PreviewAnswer, _C.MANAGER),
        Call("control.raft_status", Nothing, RaftStatus, _C.MANAGER),
        Call("control.raft_log", AskRaftLog, RaftLog, _C.MANAGER),
        Call("control.raft_snapshot", SaveSnapshot, FilePiece, _C.MANAGER, stream=True),
        Call("control.logs", LogsOf, LogLine, _C.MANAGER, stream=True),
        Call("control.watch", WatchKinds, Watched, _C.MANAGER, stream=True),
        Call("control.metrics", Nothing, Text, _C.MANAGER),
        Call("control.raft_own", Nothing, RaftStatus, _C.MANAGER),
        Call("control.stop", Nothing, Nothing, _C.MANAGER),
    )
}
