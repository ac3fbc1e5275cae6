"""The first state of a new cluster: what the authority makes (root, tokens, settings, first node) and the ingress
network.

`first_state` decides what it is; `make_cluster` proposes it. Nothing here touches the disk except through the driver.
"""

from __future__ import annotations

from random import Random, SystemRandom
from time import time_ns
from typing import Final

from cluster.identity import certificates, keys
from cluster.identity.folder import Credentials
from cluster.model.changes import Change, created
from cluster.model.ids import ID_RANDOM_BYTES, NetworkId, make_id
from cluster.model.objects import Meta, Network
from cluster.model.specs import NetworkSpec
from cluster.wire.peer import split_address
from manager.ca import authority
from manager.identity_files import Identity
from manager.options import BootstrapOptions, Options
from manager.raft.driver import Driver

INGRESS: Final = "ingress"


def first_state(options: Options, wanted: BootstrapOptions, now_ns: int, entropy: Random) -> tuple[tuple[Change, ...], Identity, Credentials]:
    """What the first log entry holds, and who this node then is. `entropy` must be the system's."""
    key_pem = keys.new_key()
    made = authority.new_cluster(
        csr_pem=certificates.make_csr(key_pem),
        hostname=wanted.hostname,
        routes=wanted.routes,
        advertise=options.advertise,
        now_ns=now_ns,
        rng=entropy,
        spec=wanted.cluster_spec,
        availability=wanted.availability,
        default_address_pool=wanted.default_address_pool,
        subnet_size=wanted.subnet_size,
        data_path_port=wanted.data_path_port,
    )
    network_id = NetworkId(make_id(entropy.randbytes(ID_RANDOM_BYTES)))
    meta = Meta(created_at_ns=now_ns, updated_at_ns=now_ns)
    ingress = Network(network_id, NetworkSpec(INGRESS, ingress=True), meta)
    identity = Identity(
        node_id=made.node.id,
        cluster_id=made.cluster.id,
        managers=(options.advertise,),
        advertise_address=split_address(options.advertise)[0],
        listen_address=options.listen,
    )
    credentials = Credentials(made.certificate_pem, key_pem, made.cluster.root_ca_pem)
    return (*made.changes, created(ingress)), identity, credentials


async def make_cluster(options: Options, driver: Driver) -> tuple[Identity, Credentials]:
    """Make the cluster durable. Raises what the driver's propose raises."""
    assert options.bootstrap is not None
    changes, identity, credentials = first_state(options, options.bootstrap, time_ns(), SystemRandom())
    await driver.propose(changes)
    return identity, credentials
