"""A cluster made anew from a saved snapshot (`festoon raft snapshot restore`), after all its managers were lost.

Owns the first steps of its one manager: the snapshot becomes the beginning of a log in which nobody else has a vote, and this node,
under a new id, its manager. Everything else is as it was saved: services, networks, join tokens, the root, hence the certificates of
nodes that live on. Ids of members are never used again, so a manager of before is none of this log's.
"""

from __future__ import annotations

from pathlib import Path
from random import SystemRandom
from time import time_ns

from cluster.identity import certificates, keys, unlock_key
from cluster.identity.folder import Credentials
from cluster.model.changes import Kind
from cluster.model.errors import InvalidArgument
from cluster.model.ids import ID_RANDOM_BYTES, make_id
from cluster.wire.peer import split_address
from manager import member_file
from manager.ca import authority
from manager.identity_files import Identity
from manager.member_file import Seat
from manager.options import Options
from manager.raft.driver import Driver
from manager.raft.membership import Member
from manager.raft_storage import directory, key, saved, snapshots
from manager.store import Store


def place(options: Options) -> Member:
    """Begin this manager's raft directory with the snapshot; who it is in it. Raises InvalidArgument for a file that cannot be used, StorageFault."""
    assert options.bootstrap is not None
    try:
        data = Path(options.bootstrap.restore).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"the snapshot cannot be read: {error.strerror}") from error
    snapshot = saved.read(data, unlock_key.parse(options.bootstrap.restore_key)).snapshot
    members = snapshot.membership
    me = Member((members.last_id if members else 0) + 1, make_id(SystemRandom().randbytes(ID_RANDOM_BYTES)), options.advertise)
    with directory.locked(options.state):
        snapshots.save(options.state, key.open_keys(options.state).current, snapshot)
    member_file.save(options.state, Seat(me.raft_id))
    return me


async def enter(options: Options, driver: Driver, store: Store, me: Member) -> tuple[Identity, Credentials]:
    """Make this node a manager of the cluster that the store holds. Raises what the driver's propose raises."""
    assert options.bootstrap is not None
    wanted, key_pem = options.bootstrap, keys.new_key()
    cluster = store.all(Kind.CLUSTER)[0]
    made = authority.manager_node(
        cluster,
        me.node_id,
        csr_pem=certificates.make_csr(key_pem),
        hostname=wanted.hostname,
        routes=wanted.routes,
        advertise=me.address,
        raft_id=me.raft_id,
        availability=wanted.availability,
        now_ns=time_ns(),
    )
    await driver.propose(made.changes)
    identity = Identity(
        node_id=me.node_id,
        cluster_id=cluster.id,
        managers=(me.address,),
        advertise_address=split_address(me.address)[0],
        listen_address=options.listen,
    )
    return identity, Credentials(made.answer.certificate_pem, key_pem, cluster.root_ca_pem)
