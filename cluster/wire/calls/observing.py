"""What goes on in containers and networks: log lines, one packet's way, captures."""

from __future__ import annotations

from cluster.wire.calls.body import Body


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
    """`missing`: nodes that could not be asked, and why. `obstacles`: what on the nodes that were asked drops such packets, where it was not answered."""

    title: str
    outcome: str
    hops: tuple[TraceHop, ...] = ()
    missing: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()


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
    """`lost`: it was not answered."""

    id: str
    key: int
    lost: bool = False


class TraceHops(Body, frozen=True):
    """`obstacles`: of a lost packet, what on this node may have dropped it where nobody sees it, a sentence each."""

    hops: tuple[TraceHop, ...] = ()
    obstacles: tuple[str, ...] = ()


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
