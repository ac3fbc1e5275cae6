"""The cluster's certificate authority: who becomes a node, with which role, and for how long its certificate holds.

Owns the decisions; the cryptography is cluster/identity's. Takes objects and the time, returns changes and answers;
proposes nothing, keeps nothing. Pure but for the keys and serial numbers that the cryptography library draws. Source:
SwarmKit's ca package: a join token is the right to one role, a certificate's subject is CN = node id, OU = role, O =
cluster id.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from cluster.identity import certificates, seal, tokens, unlock_key
from cluster.model import reserved_labels
from cluster.model.changes import Change, created, updated
from cluster.model.errors import InvalidArgument, PermissionDenied
from cluster.model.ids import ID_RANDOM_BYTES, ClusterId, NodeId, make_id
from cluster.model.objects import Cluster, JoinTokens, ManagerStatus, Meta, Node, NodeDescription
from cluster.model.specs import Availability, ClusterSpec, NodeSpec, Role
from cluster.wire.calls import IssueCertificate, IssuedCertificate
from manager.ca import rotation

FIRST_RAFT_ID: Final = 1
LABELS_MAX: Final = 100
"""Of a node that joins: whoever has the token sends them."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What the store has to take, and then what the node is told. Nothing is told before the changes are committed."""

    changes: tuple[Change, ...]
    answer: IssuedCertificate


@dataclass(frozen=True, slots=True)
class NewCluster:
    """The first objects of a cluster, and the certificate of its first manager."""

    cluster: Cluster
    node: Node
    certificate_pem: str

    @property
    def changes(self) -> tuple[Change, ...]:
        return created(self.cluster), created(self.node)


def new_cluster(
    *,
    csr_pem: str,
    hostname: str,
    advertise: str,
    now_ns: int,
    rng: Random,
    spec: ClusterSpec | None = None,
    availability: Availability = Availability.ACTIVE,
    default_address_pool: tuple[str, ...] = (),
    subnet_size: int = 0,
    data_path_port: int = 0,
    routes: tuple[str, ...] = (),
) -> NewCluster:
    """A cluster with a root of its own and one manager, whose key made `csr_pem`. `advertise` is the manager's
    host:port.

    An empty pool and zeros mean the defaults. `rng` gives the ids and the tokens' secrets, so it has to be the
    system's. Raises InvalidArgument for a bad request.
    """
    root_pem, root_key_pem = certificates.new_root(_time(now_ns))
    meta = Meta(created_at_ns=now_ns, updated_at_ns=now_ns)
    cluster = Cluster(
        ClusterId(_new_id(rng)),
        spec or ClusterSpec(),
        meta,
        root_ca_pem=root_pem,
        root_key_pem=root_key_pem,
        join_tokens=JoinTokens(_new_token(root_pem, rng), _new_token(root_pem, rng)),
        unlock_key=unlock_key.text_of(rng.randbytes(seal.KEY_BYTES)) if spec is not None and spec.autolock else "",
    )
    asked = {
        "default_address_pool": default_address_pool, "subnet_size": subnet_size, "data_path_port": data_path_port,
    }  # fmt: skip
    cluster = msgspec.structs.replace(cluster, **{name: value for name, value in asked.items() if value})
    node, certificate_pem = _manager(
        cluster, _new_id(rng), csr_pem, NodeDescription(hostname=hostname, routes=routes), ManagerStatus(FIRST_RAFT_ID, advertise), availability, now_ns
    )
    return NewCluster(cluster, node, certificate_pem)


def manager_node(
    cluster: Cluster,
    node_id: str,
    *,
    csr_pem: str,
    hostname: str,
    advertise: str,
    raft_id: int,
    now_ns: int,
    availability: Availability = Availability.ACTIVE,
    routes: tuple[str, ...] = (),
) -> Issued:
    """The manager of a cluster that was made anew from a saved snapshot: nobody is there who could ask it for a token. Raises
    InvalidArgument for a bad request.
    """
    described = NodeDescription(hostname=hostname, routes=routes)
    node, certificate_pem = _manager(cluster, node_id, csr_pem, described, ManagerStatus(raft_id, advertise), availability, now_ns)
    return Issued((created(node),), _answer(cluster, node, certificate_pem))


def _manager(
    cluster: Cluster, node_id: str, csr_pem: str, description: NodeDescription, status: ManagerStatus, availability: Availability, now_ns: int
) -> tuple[Node, str]:
    """The object of a node that is a manager from its beginning, and its certificate."""
    certificate_pem = _certificate(cluster, csr_pem, node_id, Role.MANAGER, now_ns)
    node = Node(
        NodeId(node_id),
        NodeSpec(role=Role.MANAGER, availability=availability),
        Meta(created_at_ns=now_ns, updated_at_ns=now_ns),
        description,
        manager=status,
        role=Role.MANAGER,
        certificate_pem=certificate_pem,
    )
    return node, certificate_pem


def join(cluster: Cluster, request: IssueCertificate, now_ns: int, rng: Random) -> Issued:
    """A new node, with the role that its join token gives. Raises PermissionDenied for a token that is not this
    cluster's, InvalidArgument otherwise.
    """
    role = role_of_token(cluster, request.token)
    if len(request.labels) > LABELS_MAX:
        raise InvalidArgument(f"invalid labels: a node begins with {LABELS_MAX} at most")
    try:
        availability = Availability(request.availability)
    except ValueError as error:
        wrong = f"invalid availability {request.availability}, only active, pause and drain are supported"
        raise InvalidArgument(wrong) from error
    node_id = NodeId(_new_id(rng))
    certificate_pem = _certificate(cluster, request.csr_pem, node_id, role, now_ns)
    node = Node(
        node_id,
        NodeSpec(labels=request.labels, role=role, availability=availability),
        Meta(created_at_ns=now_ns, updated_at_ns=now_ns),
        NodeDescription(hostname=request.hostname),
        role=role,
        certificate_pem=certificate_pem,
    )
    return Issued((created(node),), _answer(cluster, node, certificate_pem))


def renew(cluster: Cluster, node: Node | None, request: IssueCertificate, shown_pem: str, now_ns: int) -> Issued:
    """A new certificate for the node that showed `shown_pem` in the TLS handshake, with the role that it has now. `node` is None
    when it is no longer in the store.

    Only the last key that was certified for the node counts: the one that was shown, or, when the answer to its last request
    was lost, the one that it asks for again. Raises PermissionDenied for a node that was removed, another key, or a
    certificate that expired longer ago than the swarm forgives; InvalidArgument for a bad request.
    """
    if node is None:
        raise PermissionDenied("this node was removed from the swarm")
    last = certificates.public_key_of(node.certificate_pem)
    if last not in (certificates.public_key_of(shown_pem), certificates.requested_key(request.csr_pem)):
        raise PermissionDenied("another key has been certified for this node since; leave the swarm and join it again")
    _refuse_too_late(cluster, certificates.validity(shown_pem)[1], now_ns)
    certificate_pem = _certificate(cluster, request.csr_pem, node.id, node.role, now_ns)
    meta = msgspec.structs.replace(node.meta, updated_at_ns=now_ns)
    after = msgspec.structs.replace(node, meta=meta, certificate_pem=certificate_pem)
    return Issued((updated(after),), _answer(cluster, after, certificate_pem))


def _refuse_too_late(cluster: Cluster, expired: dt.datetime, now_ns: int) -> None:
    if _time(now_ns) <= expired:
        return
    grace = dt.timedelta(seconds=reserved_labels.cert_grace_s(cluster.spec.labels))
    if _time(now_ns) > expired + grace:
        raise PermissionDenied(f"the node's certificate expired at {expired:%Y-%m-%dT%H:%M:%SZ}, too long ago to be renewed; leave the swarm and join it again")


def reissue(cluster: Cluster, node: Node, key_pem: str, now_ns: int) -> str:
    """A manager's next certificate for the key that it has, made by itself: for one that may not be reached, or listen, before it has one."""
    return _certificate(cluster, certificates.make_csr(key_pem), node.id, node.role, now_ns)


def role_of_token(cluster: Cluster, token: str) -> Role:
    """The role that a join token gives. Raises PermissionDenied when it is none of this cluster's."""
    if tokens.matches(token, cluster.join_tokens.manager):
        return Role.MANAGER
    if tokens.matches(token, cluster.join_tokens.worker):
        return Role.WORKER
    raise PermissionDenied(tokens.NECESSARY)


def rotated_tokens(cluster: Cluster, rng: Random, *, worker: bool = False, manager: bool = False) -> JoinTokens:
    """The cluster's join tokens with the named ones made anew; the old ones are worth nothing from then on."""
    known = cluster.join_tokens
    return JoinTokens(
        _new_token(cluster.root_ca_pem, rng) if worker else known.worker,
        _new_token(cluster.root_ca_pem, rng) if manager else known.manager,
    )


def _certificate(cluster: Cluster, csr_pem: str, node_id: str, role: Role, now_ns: int) -> str:
    expiry = dt.timedelta(microseconds=cluster.spec.node_cert_expiry_ns // 1000)
    by = rotation.signer(cluster)
    return certificates.issue(by.root_pem, by.key_pem, csr_pem, node_id, role, cluster.id, _time(now_ns), expiry) + by.chain_pem


def _answer(cluster: Cluster, node: Node, certificate_pem: str) -> IssuedCertificate:
    return IssuedCertificate(node.id, cluster.id, node.role.value, certificate_pem, cluster.root_ca_pem)


def _new_id(rng: Random) -> str:
    return make_id(rng.randbytes(ID_RANDOM_BYTES))


def _new_token(root_pem: str, rng: Random) -> str:
    return tokens.make(certificates.root_digest(root_pem), rng.randbytes(tokens.SECRET_BYTES))


def _time(now_ns: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(now_ns // 1_000_000_000, dt.UTC)
