"""The authority: what a new cluster consists of, who may join as what, and whose certificate is renewed."""

from __future__ import annotations

import datetime as dt
from random import Random
from typing import Any

import msgspec
import pytest

from cluster.identity import certificates, keys, tokens
from cluster.model.errors import InvalidArgument, PermissionDenied
from cluster.model.objects import Cluster, Node
from cluster.model.reserved_labels import CERT_GRACE
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
    issued = authority.join(cluster, IssueCertificate(csr(), token, "drain", "w1", (("zone", "a"),)), NOW_NS, Random(2))
    (change,) = issued.changes
    node = change.after
    assert isinstance(node, Node)
    assert (node.role, node.spec.role, node.spec.availability) == (role, role, Availability.DRAIN)
    assert node.spec.labels == (("zone", "a"),)
    assert (node.description.hostname, node.certificate_pem) == ("w1", issued.answer.certificate_pem)
    assert certificates.subject_of(issued.answer.certificate_pem).role is role
    assert issued.answer.root_ca_pem == cluster.root_ca_pem


def test_a_join_without_a_token_of_this_cluster_is_refused() -> None:
    cluster = a_cluster().cluster
    strange = tokens.make(certificates.root_digest(cluster.root_ca_pem), b"x" * tokens.SECRET_BYTES)
    for token in ("", "SWMTKN-1-nonsense", strange, cluster.join_tokens.worker[:-1]):
        with pytest.raises(PermissionDenied, match=r"^A valid join token is necessary to join this cluster$"):
            authority.join(cluster, IssueCertificate(csr(), token), NOW_NS, Random(2))


MANY = tuple((f"label{number}", "") for number in range(authority.LABELS_MAX + 1))


@pytest.mark.parametrize(("request_pem", "availability", "labels"), [("no request", "active", ()), (None, "sometimes", ()), (None, "active", MANY)])
def test_a_join_that_makes_no_sense_is_refused(request_pem: str | None, availability: str, labels: tuple[tuple[str, str], ...]) -> None:
    cluster = a_cluster().cluster
    request = IssueCertificate(request_pem or csr(), cluster.join_tokens.worker, availability, labels=labels)
    with pytest.raises(InvalidArgument):
        authority.join(cluster, request, NOW_NS, Random(2))


def test_a_renewal_keeps_the_node_and_takes_the_role_that_it_has_now() -> None:
    made = a_cluster()
    demoted = msgspec.structs.replace(made.node, role=Role.WORKER)
    issued = authority.renew(made.cluster, demoted, IssueCertificate(csr()), made.certificate_pem, NOW_NS)
    who = certificates.subject_of(issued.answer.certificate_pem)
    assert (who.node_id, who.role) == (made.node.id, Role.WORKER)
    assert issued.changes[0].after == msgspec.structs.replace(
        demoted,
        certificate_pem=issued.answer.certificate_pem,
        meta=msgspec.structs.replace(demoted.meta, updated_at_ns=NOW_NS),
    )


def test_a_node_that_was_removed_gets_no_certificate() -> None:
    made = a_cluster()
    with pytest.raises(PermissionDenied):
        authority.renew(made.cluster, None, IssueCertificate(csr()), made.certificate_pem, NOW_NS)


def after_days(days: float) -> int:
    return NOW_NS + int(days * 86400) * 10**9


def with_grace(cluster: Cluster, seconds: int) -> Cluster:
    spec = msgspec.structs.replace(cluster.spec, labels=((CERT_GRACE, str(seconds)),))
    return msgspec.structs.replace(cluster, spec=spec)


def test_a_certificate_that_expired_is_renewed_for_ninety_days_and_no_longer() -> None:
    made = a_cluster()  # its certificate holds for 90 days
    for days in (89, 91, 179.9):
        issued = authority.renew(made.cluster, made.node, IssueCertificate(csr()), made.certificate_pem, after_days(days))
        begin, _ = certificates.validity(issued.answer.certificate_pem)
        assert begin + certificates.BACKDATED == dt.datetime.fromtimestamp(after_days(days) // 10**9, dt.UTC)
    with pytest.raises(PermissionDenied, match="too long ago to be renewed"):
        authority.renew(made.cluster, made.node, IssueCertificate(csr()), made.certificate_pem, after_days(180.1))


def test_the_grace_is_the_swarms_to_choose_and_zero_turns_it_off() -> None:
    made = a_cluster()
    for seconds, days, good in ((0, 89.9, True), (0, 90.1, False), (86400, 90.9, True), (86400, 91.1, False)):
        cluster = with_grace(made.cluster, seconds)
        if good:
            authority.renew(cluster, made.node, IssueCertificate(csr()), made.certificate_pem, after_days(days))
            continue
        with pytest.raises(PermissionDenied, match="too long ago"):
            authority.renew(cluster, made.node, IssueCertificate(csr()), made.certificate_pem, after_days(days))


def test_only_the_last_key_that_was_certified_counts() -> None:
    made = a_cluster()
    second = authority.renew(made.cluster, made.node, IssueCertificate(csr()), made.certificate_pem, NOW_NS).changes[0].after
    assert isinstance(second, Node)
    with pytest.raises(PermissionDenied, match="another key has been certified"):
        authority.renew(made.cluster, second, IssueCertificate(csr()), made.certificate_pem, NOW_NS)


def test_a_node_whose_answer_was_lost_asks_again_with_the_same_key() -> None:
    made, again = a_cluster(), csr()
    second = authority.renew(made.cluster, made.node, IssueCertificate(again), made.certificate_pem, NOW_NS).changes[0].after
    assert isinstance(second, Node)
    third = authority.renew(made.cluster, second, IssueCertificate(again), made.certificate_pem, after_days(100))
    assert certificates.public_key_of(third.answer.certificate_pem) == certificates.requested_key(again)


def test_rotation_changes_the_named_token_only_and_makes_the_old_one_worthless() -> None:
    cluster = a_cluster().cluster
    rotated = authority.rotated_tokens(cluster, Random(3), worker=True)
    assert rotated.manager == cluster.join_tokens.manager
    after = msgspec.structs.replace(cluster, join_tokens=rotated)
    assert authority.role_of_token(after, rotated.worker) is Role.WORKER
    with pytest.raises(PermissionDenied):
        authority.role_of_token(after, cluster.join_tokens.worker)
