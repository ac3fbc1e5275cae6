"""The authority: what a new cluster consists of, who may join as what, and whose certificate is renewed."""

from __future__ import annotations

import datetime as dt
from random import Random
from typing import Any

import msgspec
import pytest

from cluster.identity import certificates, keys, tokens
from cluster.model.errors import InvalidArgument, PermissionDenied
from cluster.model.objects import Node
from cluster.model.specs import Availability, ClusterSpec, Role
from cluster.wire.calls import IssueCertificate
from manager.ca import authority
from manager.store import Store

NOW_NS = 1_700_000_000_000_000_000


def csr() -> str:
    return certificates.make_csr(keys.new_key())


def a_cluster(**options: Any) -> authority.NewCluster:
    return authority.new_cluster(
        csr_pem=csr(), hostname="m1", advertise="10.1.1.1:2377", now_ns=NOW_NS, rng=Random(1), **options
    )


def test_a_new_cluster_has_a_root_tokens_and_one_manager_with_a_certificate_of_that_root() -> None:
    made = a_cluster()
    who = certificates.subject_of(made.certificate_pem)
    assert (who.node_id, who.role, who.cluster_id) == (made.node.id, Role.MANAGER, made.cluster.id)
    assert certificates.is_issued_by(made.certificate_pem, made.cluster.root_ca_pem)
    assert made.node.role is made.node.spec.role is Role.MANAGER
    assert made.node.manager is not None
    assert made.node.manager.address == "10.1.1.1:2377"
    digest = certificates.root_digest(made.cluster.root_ca_pem)
    both = made.cluster.join_tokens
    assert {tokens.parse(both.worker).digest, tokens.parse(both.manager).digest} == {digest}
    assert both.worker != both.manager


def test_a_new_clusters_changes_are_what_the_store_takes() -> None:
    made, store = a_cluster(), Store()
    store.apply(1, made.changes)
    assert store.digest() != Store().digest()


def test_settings_that_were_not_asked_for_keep_their_defaults() -> None:
    made = a_cluster(default_address_pool=("10.20.0.0/16",), data_path_port=5789)
    assert made.cluster.default_address_pool == ("10.20.0.0/16",)
    assert (made.cluster.subnet_size, made.cluster.data_path_port) == (24, 5789)


def test_a_certificate_holds_from_an_hour_ago_for_as_long_as_the_spec_says() -> None:
    made = a_cluster(spec=ClusterSpec(node_cert_expiry_ns=7200 * 10**9))
    begin, end = certificates.validity(made.certificate_pem)
    now = dt.datetime.fromtimestamp(NOW_NS // 10**9, dt.UTC)
    assert (begin, end) == (now - dt.timedelta(hours=1), now + dt.timedelta(hours=2))


@pytest.mark.parametrize("role", [Role.WORKER, Role.MANAGER])
def test_a_join_token_gives_its_role(role: Role) -> None:
    cluster = a_cluster().cluster
    token = getattr(cluster.join_tokens, role.value)
    issued = authority.join(cluster, IssueCertificate(csr(), token, "drain", "w1"), NOW_NS, Random(2))
    (change,) = issued.changes
    node = change.after
    assert isinstance(node, Node)
    assert (node.role, node.spec.role, node.spec.availability) == (role, role, Availability.DRAIN)
    assert (node.description.hostname, node.certificate_pem) == ("w1", issued.answer.certificate_pem)
    assert certificates.subject_of(issued.answer.certificate_pem).role is role
    assert issued.answer.root_ca_pem == cluster.root_ca_pem


def test_a_join_without_a_token_of_this_cluster_is_refused() -> None:
    cluster = a_cluster().cluster
    strange = tokens.make(certificates.root_digest(cluster.root_ca_pem), b"x" * tokens.SECRET_BYTES)
    for token in ("", "SWMTKN-1-nonsense", strange, cluster.join_tokens.worker[:-1]):
        with pytest.raises(PermissionDenied, match=r"^A valid join token is necessary to join this cluster$"):
            authority.join(cluster, IssueCertificate(csr(), token), NOW_NS, Random(2))


@pytest.mark.parametrize(("request_pem", "availability"), [("no request", "active"), (None, "sometimes")])
def test_a_join_that_makes_no_sense_is_refused(request_pem: str | None, availability: str) -> None:
    cluster = a_cluster().cluster
    request = IssueCertificate(request_pem or csr(), cluster.join_tokens.worker, availability)
    with pytest.raises(InvalidArgument):
        authority.join(cluster, request, NOW_NS, Random(2))


def test_a_renewal_keeps_the_node_and_takes_the_role_that_it_has_now() -> None:
    made = a_cluster()
    demoted = msgspec.structs.replace(made.node, role=Role.WORKER)
    issued = authority.renew(made.cluster, demoted, IssueCertificate(csr()), NOW_NS)
    who = certificates.subject_of(issued.answer.certificate_pem)
    assert (who.node_id, who.role) == (made.node.id, Role.WORKER)
    assert issued.changes[0].after == msgspec.structs.replace(
        demoted,
        certificate_pem=issued.answer.certificate_pem,
        meta=msgspec.structs.replace(demoted.meta, updated_at_ns=NOW_NS),
    )


def test_a_node_that_was_removed_gets_no_certificate() -> None:
    with pytest.raises(PermissionDenied):
        authority.renew(a_cluster().cluster, None, IssueCertificate(csr()), NOW_NS)


def test_rotation_changes_the_named_token_only_and_makes_the_old_one_worthless() -> None:
    cluster = a_cluster().cluster
    rotated = authority.rotated_tokens(cluster, Random(3), worker=True)
    assert rotated.manager == cluster.join_tokens.manager
    after = msgspec.structs.replace(cluster, join_tokens=rotated)
    assert authority.role_of_token(after, rotated.worker) is Role.WORKER
    with pytest.raises(PermissionDenied):
        authority.role_of_token(after, cluster.join_tokens.worker)
