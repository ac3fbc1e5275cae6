"""Every call that crosses processes on the managers' port (2377). This is the room's door: others import these names from here."""

from cluster.wire.calls.agents import Applied, Attach, Attached, Describe, KeepAttachments, OpenSession, UpdateStatuses
from cluster.wire.calls.body import Body, Nothing, Text
from cluster.wire.calls.control import (
    ClusterWrite,
    DependencyWrite,
    Ids,
    NetworkWrite,
    NodeWrite,
    Objects,
    Query,
    Remove,
    ServiceWrite,
    Watched,
    WatchKinds,
    joined,
)
from cluster.wire.calls.explaining import Preview, PreviewAnswer, PreviewService, PreviewTask, Why, WhyAnswer, WhyTask
from cluster.wire.calls.identity import InUse, IssueCertificate, IssuedCertificate
from cluster.wire.calls.images import FindImage, FoundImage, ReadImage
from cluster.wire.calls.managers import (
    AskRaftLog,
    FilePiece,
    Follow,
    JoinedManagers,
    JoinManagers,
    LoggedEntry,
    RaftFrame,
    RaftLog,
    RaftPeer,
    RaftStatus,
    SaveSnapshot,
)
from cluster.wire.calls.observing import (
    Capture,
    CapturePiece,
    LogLine,
    LogsOf,
    Trace,
    TraceAnswer,
    TraceFinish,
    TraceHop,
    TraceHops,
    TraceSend,
    TraceSent,
    TraceStart,
)
from cluster.wire.calls.table import CALLS, UNKNOWN_CALL, Call, Caller

__all__ = [
    "CALLS", "UNKNOWN_CALL", "Applied", "AskRaftLog", "Attach", "Attached", "Body", "Call", "Caller", "Capture", "CapturePiece", "ClusterWrite",
    "DependencyWrite", "Describe", "FilePiece", "FindImage", "Follow", "FoundImage", "Ids", "InUse", "IssueCertificate", "IssuedCertificate", "JoinManagers",
    "JoinedManagers", "KeepAttachments", "LogLine", "LoggedEntry", "LogsOf", "NetworkWrite", "NodeWrite", "Nothing", "Objects", "OpenSession", "Preview",
    "PreviewAnswer", "PreviewService", "PreviewTask", "Query", "RaftFrame", "RaftLog", "RaftPeer", "RaftStatus", "ReadImage", "Remove", "SaveSnapshot",
    "ServiceWrite", "Text", "Trace", "TraceAnswer", "TraceFinish", "TraceHop", "TraceHops", "TraceSend", "TraceSent", "TraceStart", "UpdateStatuses",
    "WatchKinds", "Watched", "Why", "WhyAnswer", "WhyTask", "joined",
]  # fmt: skip
