"""A root that is exchanged: who signs meanwhile, whom old and new nodes believe, and when it is over."""

from __future__ import annotations

import datetime as dt
import ssl
from random import Random

import msgspec
import pytest

from cluster.identity import certificates, keys, tls, tokens
from cluster.model.errors import InvalidArgument
from cluster.model.objects import Cluster, Node
from cluster.wire.calls import IssueCertificate
from manager.ca import authority, rotation

NOW = dt.datetime.now(dt.UTC)
NOW_NS = int(NOW.timestamp()) * 10**9
OWN_KEY = keys.new_key()
MADE = authority.new_cluster(csr_pem=certificates.make_csr(OWN_KEY), hostname="m", advertise="192.0.2.1:2377", now_ns=NOW_NS, rng=Random(1))
OLD = MADE.cluster


def rotating(cluster: Cluster = OLD) -> Cluster:
    return msgspec.structs.replace(cluster, rotation=rotation.begun(cluster, "", "", NOW))


def renewed(cluster: Cluster) -> tuple[Node, str]:
    """The manager's node after its next renewal, and the key of its certificate."""
    key = keys.new_key()
    request = IssueCertificate(certificates.make_csr(key))
    after = authority.renew(cluster, MADE.node, request, MADE.certificate_pem, NOW_NS).changes[0].after
    assert isinstance(after, Node)
    return after, key


def shake(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """Whether both sides take each other's certificate."""
    pipes = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = server.wrap_bio(pipes[0], pipes[1], server_side=True), client.wrap_bio(pipes[1], pipes[0], server_hostname="swarm-manager")
    done: set[int] = set()
    for _ in range(6):
        for number, end in enumerate(ends):
            if number in done:
                continue
            try:
                end.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return False
    return len(done) == len(ends)


def test_everybody_believes_everybody_while_it_goes_on_and_the_old_are_refused_afterwards() -> None:
    cluster = rotating()
    assert cluster.rotation is not None
    node, key = renewed(cluster)
    old_root, new_root = OLD.root_ca_pem, cluster.rotation.root_ca_pem
    before, after = (MADE.certificate_pem, OWN_KEY), (node.certificate_pem, key)
    for one in (before, after):
        for other in (before, after):
            assert shake(tls.server_context(*one, old_root), tls.client_context(*other, old_root))
    assert shake(tls.server_context(*after, new_root), tls.client_context(*after, new_root))
    assert shake(tls.server_context(*after, new_root), tls.client_context(*after, old_root)), "who has not heard of the new root yet"
    assert not shake(tls.server_context(*after, new_root), tls.client_context(*before, old_root))
    assert not shake(tls.server_context(*before, old_root), tls.client_context(*after, new_root))


def test_it_is_over_when_every_node_says_that_it_uses_the_new_one() -> None:
    cluster = rotating()
    node, _ = renewed(cluster)
    assert rotation.ended(OLD, [node], NOW_NS, Random(2)) is None
    assert rotation.ended(cluster, [node], NOW_NS, Random(2)) is None, "issued is not yet used"
    stale = rotation.used(node, MADE.certificate_pem, "r")
    using = rotation.used(node, node.certificate_pem, "r")
    assert rotation.ended(cluster, [stale, using], NOW_NS, Random(2)) is None
    after = rotation.ended(cluster, [using, using], NOW_NS, Random(2))
    assert after is not None
    assert cluster.rotation is not None
    assert (after.root_ca_pem, after.root_key_pem, after.rotation) == (cluster.rotation.root_ca_pem, cluster.rotation.root_key_pem, None)
    digest = certificates.root_digest(after.root_ca_pem)
    assert {tokens.parse(token).digest for token in (after.join_tokens.worker, after.join_tokens.manager)} == {digest}
    assert after.join_tokens.worker != after.join_tokens.manager


def test_another_rotation_takes_the_place_of_the_one_under_way() -> None:
    first = rotating()
    second = rotating(first)
    assert first.rotation is not None
    assert second.rotation is not None
    node, key = renewed(second)
    assert certificates.issuer_id(node.certificate_pem) == second.rotation.issuer != first.rotation.issuer
    assert shake(tls.server_context(node.certificate_pem, key, OLD.root_ca_pem), tls.client_context(node.certificate_pem, key, OLD.root_ca_pem))


def test_a_root_of_ones_own_needs_its_key_and_has_to_be_a_root() -> None:
    root, key = certificates.new_root(NOW)
    begun = rotation.begun(OLD, f"\n{root}\n\n", key, NOW)
    assert begun.root_ca_pem == root
    other = certificates.new_root(NOW)
    old = certificates.new_root(NOW - dt.timedelta(days=21 * 365))
    cases = [
        ("", key, "the signing CA cert must also be provided"),
        (root, "", "its signing key must also be provided"),
        (root, other[1], "certificate key mismatch"),
        (MADE.certificate_pem, OWN_KEY, "not that of an authority"),
        (certificates.cross_sign(root, *other), key, "may sign no other"),
        (*old, "has expired"),
        ("nonsense", key, "invalid certificate"),
    ]
    for certificate, own_key, said in cases:
        with pytest.raises(InvalidArgument, match=said):
            rotation.begun(OLD, certificate, own_key, NOW)
