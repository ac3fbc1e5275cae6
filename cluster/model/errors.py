"""Errors that cross processes. One class per kind of fault; the message is the sentence that the user reads, in Docker's words where it has them.

`code` travels on the wire (cluster/wire/rpc.py); `status` is the HTTP status that the Engine API answers.
"""

from __future__ import annotations

from typing import ClassVar, Final


class ClusterError(Exception):
    """Base: something that the user or the world did. Never our own bug."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidArgument(ClusterError):
    code = "invalid_argument"
    status = 400


class PermissionDenied(ClusterError):
    code = "permission_denied"
    status = 403


class NodeRemoved(PermissionDenied):
    """The node that calls is none of this swarm: it was removed, for ever."""

    code = "node_removed"


class NoManager(PermissionDenied):
    """The node that calls is to be a worker, whatever its certificate says."""

    code = "no_manager"


class NotFound(ClusterError):
    code = "not_found"
    status = 404


class Conflict(ClusterError):
    """A name taken, an object in use."""

    code = "conflict"
    status = 409


class Unavailable(ClusterError):
    """No manager, no leader, not in a swarm, log full."""

    code = "unavailable"
    status = 503


class FailedPrecondition(ClusterError):
    """The request is right, but the state does not allow it (for Docker mostly status 400 or 500; the engine maps it)."""

    code = "failed_precondition"
    status = 400


class NotModified(ClusterError):
    """Nothing to do: the start of a running container, the stop of a stopped one."""

    code = "not_modified"
    status = 304


class Unsupported(ClusterError):
    """What is asked of has no such thing: the logs of a container whose driver keeps none."""

    code = "unsupported"
    status = 501


class OutOfSequence(ClusterError):
    code = "out_of_sequence"
    status = 500

    def __init__(self, message: str = "update out of sequence") -> None:
        super().__init__(message)


class NotLeader(Unavailable):
    """The called manager is not the leader; the message is the leader's host:port, empty when none is known."""

    code = "not_leader"


NO_LEADER: Final = (
    "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online."
)
"""What a user is told when nobody leads."""


class Internal(ClusterError):
    code = "internal"
    status = 500


BY_CODE: dict[str, type[ClusterError]] = {
    c.code: c
    for c in (
        InvalidArgument, PermissionDenied, NodeRemoved, NoManager, NotFound, Conflict, Unavailable, FailedPrecondition, NotModified, NotLeader, Unsupported,
        Internal,
    )
}  # fmt: skip


def from_wire(code: str, message: str) -> ClusterError:
    """The error that a peer sent. An unknown code is Internal."""
    if code == OutOfSequence.code:
        return OutOfSequence(message)
    return BY_CODE.get(code, Internal)(message)
