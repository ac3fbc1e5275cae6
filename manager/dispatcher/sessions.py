"""The open sessions of agents: at most one per node, the newest wins. Owns who has to be woken and why.

Knows nothing of what is sent: server.py asks the board.
"""

from __future__ import annotations

import trio

from cluster.model.errors import ClusterError, Unavailable
from cluster.model.ids import NodeId
from cluster.wire.peer import Peer


class Session:
    """One open session. `state_changed`: what SessionState says has to be looked at again."""

    __slots__ = ("_ended", "_wake", "node_id", "peer", "process", "state_changed")

    def __init__(self, node_id: NodeId, peer: Peer, process: str = "") -> None:
        self.node_id = node_id
        self.peer = peer
        self.process = process  # that the agent is; empty for one that does not say so
        self.state_changed = False
        self._wake = trio.Event()
        self._ended: ClusterError | None = None

    async def wait(self) -> None:
        """Return when there may be something to send. Raises the ClusterError that the session was ended with.

        Cancellation loses nothing: the next call returns at once.
        """
        await self._wake.wait()
        self._wake = trio.Event()
        if self._ended is not None:
            raise self._ended

    def wake(self) -> None:
        self._wake.set()

    def take_look(self) -> bool:
        """Whether its SessionState has to be looked at, once."""
        look, self.state_changed = self.state_changed, False
        return look

    def end(self, reason: ClusterError) -> None:
        """Let the session's stream end with this error; the first reason counts."""
        self._ended = self._ended or reason
        self._wake.set()


class Sessions:
    """All open sessions, by node."""

    def __init__(self) -> None:
        self._open: dict[NodeId, Session] = {}

    def of_another(self, node_id: NodeId, process: str) -> Session | None:
        """The node's session, if it is another process's than this one."""
        session = self._open.get(node_id)
        return session if session is not None and session.process != process else None

    def open(self, node_id: NodeId, peer: Peer, process: str = "") -> Session:
        """A new session; one that the node still had ends."""
        self.end(node_id, Unavailable("the node has opened another session"))
        session = self._open[node_id] = Session(node_id, peer, process)
        return session

    def close(self, session: Session) -> bool:
        """The session's stream is over. False when it was not the node's current one any more."""
        if self._open.get(session.node_id) is not session:
            return False
        del self._open[session.node_id]
        return True

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._open

    def get(self, node_id: NodeId) -> Session | None:
        return self._open.get(node_id)

    def end(self, node_id: NodeId, reason: ClusterError) -> None:
        session = self._open.get(node_id)
        if session is not None:
            session.end(reason)

    def end_all(self, reason: ClusterError) -> None:
        for session in self._open.values():
            session.end(reason)

    def wake(self, node_id: NodeId, *, state_changed: bool = False) -> None:
        session = self._open.get(node_id)
        if session is not None:
            session.state_changed = session.state_changed or state_changed
            session.wake()

    def wake_all(self) -> None:
        """Let every session look at its SessionState again."""
        for node_id in self._open:
            self.wake(node_id, state_changed=True)
