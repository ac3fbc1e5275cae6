"""Every call that crosses processes on the managers' port (2377): one table. Name, request, answer, who may call, whether the answer is a stream.

Owns the names and shapes only; cluster/wire/rpc.py frames them, cluster/wire/peer.py carries them, manager/ and agent/ serve them.
A request that needs no argument takes `Nothing`. Roles are those of the caller's certificate: ANYONE may come without one.
A connection is symmetric: calls marked `to_agent` are made by the manager over the session that the agent opened.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from itertools import chain
from typing import Final

import msgspec

from cluster.model.assignments import SessionMessage
from cluster.model.changes import Kind
from cluster.model.objects import Cluster, Config, Network, Node, NodeDescription, Secret, Service, Task, TaskStatus
from cluster.model.specs import ClusterSpec, DependencySpec, NetworkSpec, NodeSpec, Pairs, ServiceSpec
from cluster.wire import versions

UNKNOWN_CALL: Final = "unknown call {}"
"""What the other side says, as InvalidArgument, when its version has no such call."""


class Body(msgspec.Struct, array_like=True, frozen=True):
    """Base of requests and answers."""


class Caller(enum.Enum):
    ANYONE = "anyone"
    NODE = "node"  # any certificate of this cluster
    MANAGER = "manager"  # OU=swarm-manager


class Nothing(Body, frozen=True):
    pass


class Text(Body, frozen=True):
    text: str


# -- identity -------------------------------------------------------------------------------------------------------


class IssueCertificate(Body, frozen=True):
    """Ask for a node certificate: with a join token (new node, no certificate) or over the node's own certificate (renewal, token empty)."""

    csr_pem: str
    token: str = ""
    availability: str = "active"
    hostname: str = ""
    labels: Pairs = ()  # that the new node begins with


class IssuedCertificate(Body, frozen=True):
    node_id: str
    cluster_id: str
    role: str
    certificate_pem: str
    root_ca_pem: str


class InUse(Body, frozen=True):
    """What the calling node uses now, beside the certificate that it calls with."""

    root: str  # digest of what it trusts, hex


# -- managers among themselves ------------------------------------------------------------------------------------------


class Follow(Body, frozen=True):
    """A manager asks another for all that it has to say to it. The answer is a stream that lasts as long as the connection."""

    raft_id: int  # of the one that asks
    protocol: int = versions.FIRST  # that it speaks


class RaftFrame(Body, frozen=True):
    """Messages as manager/raft/messages.py encodes them, or a piece of a snapshot; the message that a snapshot's last piece comes with speaks of it."""

    messages: bytes = b""
    snapshot: bytes = b""
    snapshot_ends: bool = False


class JoinManagers(Body, frozen=True):
    """A node with a manager's certificate asks to become a member of the Raft group. `address`: host:port of its port."""

    address: str
    protocol: int = versions.FIRST


class JoinedManagers(Body, frozen=True):
    """`members`: (Raft id, node id, host:port) of those that are there already, from whom the new one hears the rest."""

    raft_id: int
    members: tuple[tuple[int, str, str], ...]


class RaftPeer(Body, frozen=True):
    """A member as the leader knows it. `state`: leader, probe, replicate, snapshot or unknown, of one without a vote after `learner, `."""

    raft_id: int
    node_id: str
    address: str
    state: str
    reachable: bool
    match: int  # last entry that is known to be there
    next: int  # first entry to send


class RaftStatus(Body, frozen=True):
    """The leader's own log and writes (the latest `writes` of them, pwrite and fdatasync together), and its followers."""

    raft_id: int
    term: int
    first: int
    last: int
    committed: int
    applied: int
    log_bytes: int
    snapshot: int  # the last entry in it; 0 without one
    snapshot_bytes: int
    writes: int
    write_p50_ns: int
    write_p99_ns: int
    peers: tuple[RaftPeer, ...] = ()


class AskRaftLog(Body, frozen=True):
    tail: int  # so many of the newest entries


class LoggedEntry(Body, frozen=True):
    """`kind`: term (with which a leader opens its own), membership, changes. `changes`: (op, kind, id, what it is afterwards, encoded; empty for DELETE),
    without secrets. `members`: (Raft id, node id, host:port, learner)."""

    index: int
    term: int
    size_bytes: int
    kind: str
    changes: tuple[tuple[int, int, str, bytes], ...] = ()
    members: tuple[tuple[int, str, str, bool], ...] = ()


class RaftLog(Body, frozen=True):
    committed: int
    entries: tuple[LoggedEntry, ...]


class SaveSnapshot(Body, frozen=True):
    """The managers' whole state, to be kept elsewhere. The answer is the file in pieces, sealed under a key that this one opens."""

    key: bytes


class FilePiece(Body, frozen=True):
    data: bytes


class FindImage(Body, frozen=True):
    """An image that a task of the calling node needs, by the reference in the task's specification."""

    reference: str


class FoundImage(Body, frozen=True):
    """`image_id`: its identity, the digest of its configuration (`config_bytes` long), which names its layers by their content; `layers`: (digest, bytes) of
    the layers' files as they are kept where it was found, lowest first."""

    node_id: str
    image_id: str
    config_bytes: int
    layers: tuple[tuple[str, int], ...]


class ReadImage(Body, frozen=True):
    """Of the image that was found there the file of this digest, from byte `start` on."""

    reference: str
    node_id: str
    image_id: str
    digest: str
    start: int = 0


# -- agents ---------------------------------------------------------------------------------------------------------


class OpenSession(Body, frozen=True):
    """The agent's hello. The answer is a stream of SessionMessage that lasts as long as the session."""

    description: NodeDescription
    advertise_address: str = ""  # where this node's VTEP is; empty: the address that the connection comes from
    protocol: int = versions.VERSION
    process: str = ""  # drawn by each process for itself: another one with the same identity is known by it
    stream: str = ""  # what the agent has of earlier sessions: SessionState.stream
    version: int = 0  # and the last version of it


class Describe(Body, frozen=True):
    """The calling node's machine has changed since it opened its session."""

    description: NodeDescription


class UpdateStatuses(Body, frozen=True):
    updates: tuple[tuple[str, TaskStatus], ...]  # (task id, status)


class Applied(Body, frozen=True):
    """The node's networks are as of this version (`results_in`) of its session's assignments."""

    version: int


# -- control --------------------------------------------------------------------------------------------------------


class Query(Body, frozen=True):
    """Which objects: by kind, then by full ids, or by service, or by node (empty tuples do not restrict). Exact matches only;
    names and prefixes are resolved with `reference` (full id, then exact name, then unique id prefix)."""

    kind: Kind
    ids: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    reference: str = ""


class Objects(Body, frozen=True):
    """Only the field of the asked kind is filled; the objects come in no particular order. A stream of them says `leader` in its first."""

    clusters: tuple[Cluster, ...] = ()
    nodes: tuple[Node, ...] = ()
    services: tuple[Service, ...] = ()
    tasks: tuple[Task, ...] = ()
    networks: tuple[Network, ...] = ()
    leader: str = ""
    secrets: tuple[Secret, ...] = ()
    configs: tuple[Config, ...] = ()


def joined(pieces: Sequence[Objects]) -> Objects:
    """One answer of the parts of a stream."""
    lists = {name: tuple(chain.from_iterable(getattr(piece, name) for piece in pieces)) for name in Objects.__struct_fields__ if name != "leader"}
    return Objects(**lists, leader=next((piece.leader for piece in pieces), ""))


class ServiceWrite(Body, frozen=True):
    spec: ServiceSpec
    id: str = ""  # update only
    version: int = 0  # update only: the version that the caller saw
    rollback: bool = False  # update only: take the previous spec instead of `spec`


class NetworkWrite(Body, frozen=True):
    spec: NetworkSpec


class DependencyWrite(Body, frozen=True):
    spec: DependencySpec
    id: str = ""  # update only
    version: int = 0  # update only


class NodeWrite(Body, frozen=True):
    id: str
    version: int
    spec: NodeSpec


class ClusterWrite(Body, frozen=True):
    version: int
    spec: ClusterSpec
    rotate_worker_token: bool = False
    rotate_manager_token: bool = False
    rotate_unlock_key: bool = False
    signing_ca_pem: str = ""  # a root of the user's own to rotate to, with its key
    signing_key_pem: str = ""


class Remove(Body, frozen=True):
    id: str
    force: bool = False


class Ids(Body, frozen=True):
    """Ids of what was written; `warnings` are sentences for the user."""

    id: str
    warnings: tuple[str, ...] = ()


class Attach(Body, frozen=True):
    """A container of a node's own (none of a task) that shall be on an attachable overlay of the cluster's."""

    id: str  # of the attachment: the node's own choice
    container_id: str
    network: str  # id, name or id prefix
    address: str = ""  # plain; empty: any
    names: tuple[str, ...] = ()
    address6: str = ""  # plain; empty: any


class KeepAttachments(Body, frozen=True):
    """The attachments that the calling node still has or wants: the others of it are over."""

    ids: tuple[str, ...]


class Attached(Body, frozen=True):
    """What the cluster gave: the task that holds it, and the address in CIDR form."""

    task_id: str
    network_id: str
    address: str


class Why(Body, frozen=True):
    reference: str  # a task or service: id, prefix or name (`test`, `test.1`, `test.1.<id>`)


class WhyTask(Body, frozen=True):
    """One task explained. `nodes`: (hostname, verdict in words: the filters that turned it down, or its rank). `story`: (time ns, sentence)."""

    id: str
    name: str
    state: str
    desired: str
    node: str
    summary: str
    nodes: tuple[tuple[str, str], ...] = ()
    story: tuple[tuple[int, str], ...] = ()


class WhyAnswer(Body, frozen=True):
    kind: str  # service, task
    name: str
    id: str
    tasks: tuple[WhyTask, ...] = ()


class Preview(Body, frozen=True):
    """Requests that are not made: networks to be, then services to be made (without id) or updated."""

    networks: tuple[NetworkSpec, ...] = ()
    services: tuple[ServiceWrite, ...] = ()


class PreviewTask(Body, frozen=True):
    """`node`: its hostname, empty where there is none. `why`: in words; `nodes`: of a task that finds no place, each node's verdict."""

    name: str
    node: str
    why: str
    nodes: tuple[tuple[str, str], ...] = ()


class PreviewService(Body, frozen=True):
    """What would become of one service's tasks. `kept`: how many go on as they are."""

    name: str
    id: str
    placed: tuple[PreviewTask, ...]
    stopped: tuple[PreviewTask, ...]
    waiting: tuple[PreviewTask, ...]
    kept: int


class PreviewAnswer(Body, frozen=True):
    """`settled`: whether the cluster came to rest within what a preview may take."""

    services: tuple[PreviewService, ...]
    settled: bool


class Trace(Body, frozen=True):
    """One real packet from `source` to `target` (containers, tasks, services; the target also an address), or to the published `port` of the asking node."""

    source: str = ""
    target: str = ""
    port: int = 0
    node_id: str = ""


class TraceHop(Body, frozen=True):
    """A packet's stay in one namespace of one node; `details` in the order of events."""

    time_ns: int
    where: str
    what: str
    details: tuple[str, ...] = ()


class TraceAnswer(Body, frozen=True):
    """`missing`: nodes that could not be asked, and why."""

    title: str
    outcome: str
    hops: tuple[TraceHop, ...] = ()
    missing: tuple[str, ...] = ()


class TraceStart(Body, frozen=True):
    """Watch for echo requests with this key, or for connections to these ports."""

    id: str
    key: int = 0
    ports: tuple[int, ...] = ()


class TraceSend(Body, frozen=True):
    """Send it: from a container (empty: the node itself), an echo request (port 0) or a connection."""

    id: str
    container_id: str
    address: str
    port: int = 0
    key: int = 0


class TraceSent(Body, frozen=True):
    """`key`: by which the packet is known everywhere. `problem`: empty when it was answered."""

    key: int
    microseconds: int
    problem: str = ""


class TraceFinish(Body, frozen=True):
    id: str
    key: int


class TraceHops(Body, frozen=True):
    hops: tuple[TraceHop, ...] = ()


class Capture(Body, frozen=True):
    """Packets of a container, task or network, as a user names it. 0: as netfabric/capture.py bounds it."""

    reference: str
    count: int = 0
    duration_ms: int = 0
    snap_octets: int = 0


class CapturePiece(Body, frozen=True):
    """Of a pcap file, in order."""

    data: bytes


class LogsOf(Body, frozen=True):
    """Log lines of a service's or task's containers. Asked of the manager (services/tasks) and passed on to agents (tasks only)."""

    services: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    follow: bool = False
    tail: int = -1  # lines per task; -1 all
    since_ns: int = 0
    until_ns: int = 0
    stdout: bool = True
    stderr: bool = True


class LogLine(Body, frozen=True):
    task_id: str
    service_id: str
    node_id: str
    stream: int  # 1 stdout, 2 stderr
    timestamp_ns: int
    data: bytes  # with its newline where it had one


class WatchKinds(Body, frozen=True):
    """`since`: the last version that is known already, of this manager or another; 0 for nothing."""

    kinds: tuple[Kind, ...]
    since: int = 0


class Watched(Body, frozen=True):
    """One commit's changes of the watched kinds: (op, kind, id, object encoded as in the store; empty for DELETE)."""

    version: int
    changes: tuple[tuple[int, int, str, bytes], ...]


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
        Call("control.stop", Nothing, Nothing, _C.MANAGER),
    )
}
