"""How this process comes to its place in the group of managers: it makes a cluster, takes its place up again, or joins.

Owns what is asked of the others before the log is opened, and what an interrupted attempt left. Serves nothing.
"""

from __future__ import annotations

import enum
import logging
import shutil

from cluster.identity.contexts import Contexts
from cluster.identity.folder import Credentials
from cluster.model.errors import FailedPrecondition
from cluster.wire.calls import JoinedManagers, JoinManagers
from cluster.wire.peer import connect
from cluster.wire.redirect import ask_leader
from manager import identity_files, member_file
from manager.identity_files import Identity
from manager.member_file import Seat
from manager.options import Options
from manager.raft.membership import Member

log = logging.getLogger("festoon.manager")


class Entrance(enum.Enum):
    FOUND = "found"
    RESUME = "resume"
    JOIN = "join"


def choose(options: Options) -> Entrance:
    """What this start is; clears away what an interrupted founding left. Raises FailedPrecondition, Damaged."""
    member = identity_files.is_member(options.identity)
    if options.bootstrap is None or (member and options.bootstrap.force_new_cluster):
        return Entrance.RESUME if member_file.load(options.state) is not None else Entrance.JOIN
    if member:
        raise FailedPrecondition('This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.')
    identity_files.forget(options.identity)
    shutil.rmtree(options.state, ignore_errors=True)
    return Entrance.FOUND


async def join(options: Options, identity: Identity, credentials: Credentials) -> Seat:
    """Become a learner of the group that the known managers are of. Raises what they answer, Unavailable when none does.

    What happened to the answer of an interrupted attempt does not matter: asked again, the leader gives a new id.
    """
    context = Contexts(credentials).client

    async def ask(address: str) -> JoinedManagers:
        async with connect(address, context) as peer:
            joined: JoinedManagers = await peer.call("raft.join", JoinManagers(options.advertise, options.speak))
        return joined

    joined = await ask_leader([known for known in identity.managers if known != options.advertise], ask)
    seat = Seat(joined.raft_id, tuple(Member(*member) for member in joined.members))
    member_file.save(options.state, seat)
    log.info("joined the managers", extra={"fields": {"raft_id": seat.raft_id, "members": len(seat.known)}})
    return seat
