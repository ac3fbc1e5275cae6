"""Two agents with one identity: a virtual machine that was cloned. Found when the second one comes, and not let in while the first lives.

Owns the question and the words. A session that comes from another process than the one that is open belongs to an agent that was
started anew, or to a clone: the one that is there is asked, and whoever answers is alive.
"""

from __future__ import annotations

from typing import Final

import trio

from cluster.model.errors import ClusterError, Unavailable
from cluster.wire.calls import Nothing
from cluster.wire.peer import Peer

ANSWER_S: Final = 2.0
"""How long the agent that is there has for its answer; the other one waits."""


async def is_alive(peer: Peer) -> bool:
    """Whether the agent at the other end answers. One of an earlier version does not know the call, and says so: it lives, too."""
    with trio.move_on_after(ANSWER_S):
        try:
            await peer.call("node.present", Nothing())
        except Unavailable:
            return False
        except ClusterError:
            return True
        return True
    return False


def words(here: str, there: str) -> str:
    """What the second agent is told, and everybody else; `here`: where the first one is, `there`: the second."""
    return f"two agents have this node's identity: the one at {here} has its session, another is at {there}; a cloned machine has to leave and join anew"
