"""What an agent says over its session, and what it asks for its node's own containers."""

from __future__ import annotations

from cluster.model.objects import NodeDescription, TaskStatus
from cluster.wire import versions
from cluster.wire.calls.body import Body


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
