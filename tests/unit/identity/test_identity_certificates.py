"""Roots, node certificates, join tokens: what stands in them and what is refused."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509

from cluster.identity import certificates, keys, subject, tokens
from cluster.identity.subject import Identity
from cluster.model.errors import InvalidArgument, PermissionDenied
from cluster.model.specs import Role

NOW = dt.datetime(2030, 5, 1, 12, tzinfo=dt.UTC)
DAYS_90 = dt.timedelta(days=90)


def issued(root: tuple[str, str], role: Role = Role.WORKER) -> str:
    csr = certificates.make_csr(keys.new_key())
    return certificates.issue(*root, csr, "node1", role, "cluster1", NOW, DAYS_90)


def test_a_node_certificate_says_who_and_from_an_hour_ago_until_its_expiry() -> None:
    root = certificates.new_root(NOW)
    pem = issued(root, Role.MANAGER)
    assert certificates.subject_of(pem) == Identity("node1", Role.MANAGER, "cluster1")
    assert certificates.validity(pem) == (NOW - dt.timedelta(hours=1), NOW + DAYS_90)
    names = certificates.load_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["swarm-manager", "node1"]


def test_the_root_lasts_twenty_years_and_signs_only_its_own() -> None:
    root, other = certificates.new_root(NOW), certificates.new_root(NOW)
    assert certificates.validity(root[0])[1] - NOW == dt.timedelta(days=20 * 365)
    pem = issued(root)
    assert certificates.is_issued_by(pem, root[0])
    assert not certificates.is_issued_by(pem, other[0])


def test_a_request_with_another_kind_of_key_or_a_bent_signature_is_refused() -> None:
    root = certificates.new_root(NOW)
    for csr in ("", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "x" * 20000):
        with pytest.raises(InvalidArgument):
            certificates.issue(*root, csr, "n", Role.WORKER, "c", NOW, DAYS_90)
    with pytest.raises(InvalidArgument):
        keys.load_key("no key")


def test_the_digest_is_of_the_certificate_not_of_its_spelling() -> None:
    root, _ = certificates.new_root(NOW)
    assert certificates.root_digest(root) == certificates.root_digest("\n" + root.replace("\n", "\n") + "\n\n")
    assert len(certificates.root_digest(root)) == tokens.DIGEST_BYTES


def test_a_token_holds_digest_and_secret_in_swarms_form() -> None:
    digest = bytes(range(32))
    text = tokens.make(digest, b"\x01" * 16)
    assert text.startswith("SWMTKN-1-")
    assert [len(part) for part in text.split("-")] == [6, 1, 50, 25]
    assert tokens.parse(text).digest == digest
    assert tokens.make(b"\xff" * 32, b"\xff" * 16) != text
    assert tokens.parse(tokens.make(b"\xff" * 32, b"\xff" * 16)).digest == b"\xff" * 32


@pytest.mark.parametrize("text", ["foobaz", "SWMTKN-1-x", "SWMTKN-2-" + "a" * 50 + "-" + "b" * 25, "SWMTKN-1-" + "z" * 50 + "-" + "0" * 25])
def test_what_is_no_token_is_an_invalid_join_token(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^invalid join token$"):
        tokens.parse(text)


def test_without_a_token_one_is_asked_for() -> None:
    with pytest.raises(PermissionDenied, match=r"^A valid join token is necessary to join this cluster$"):
        tokens.parse("")


def test_tokens_match_only_themselves_and_nothing_matches_an_empty_one() -> None:
    assert tokens.matches("a", "a")
    assert not tokens.matches("a", "b")
    assert not tokens.matches("", "")


def test_a_stranger_or_an_unverified_certificate_is_nobody() -> None:
    assert subject.from_peer_certificate(None) is None
    assert subject.from_peer_certificate({}) is None
    stranger = {"subject": ((("commonName", "x"),), (("organizationalUnitName", "sales"),), (("organizationName", "o"),))}
    assert subject.from_peer_certificate(stranger) is None
