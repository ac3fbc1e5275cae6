"""A node's identity on disk: wherever a renewal is interrupted, key and certificate belong together and the node can go on."""

from __future__ import annotations

import datetime as dt
import shutil
import stat
from pathlib import Path

import pytest

from cluster.identity import certificates, folder, keys, sealed_key
from cluster.identity.folder import Credentials
from cluster.identity.sealed_key import KeySealed
from cluster.model.errors import FailedPrecondition
from cluster.model.specs import Role

NOW = dt.datetime(2030, 5, 1, 12, tzinfo=dt.UTC)
SEALING = bytes(range(32))
ROOT, ROOT_KEY = certificates.new_root(NOW)


def certified(key_pem: str) -> str:
    return certificates.issue(ROOT, ROOT_KEY, certificates.make_csr(key_pem), "n1", Role.WORKER, "c1", NOW, dt.timedelta(days=90))


@pytest.fixture
def node(tmp_path: Path) -> Path:
    key = keys.new_key()
    folder.save(tmp_path, Credentials(certified(key), key, ROOT))
    return tmp_path


def test_a_renewal_gives_the_node_a_new_key(node: Path) -> None:
    before = folder.load(node)
    key = folder.next_key(node)
    after = folder.take(node, certified(key), "another root")
    assert (after.key_pem, after.root_pem) == (key, "another root")
    assert after == folder.load(node)
    assert before.key_pem != key
    assert not (node / folder.NEXT_KEY).exists()
    assert stat.S_IMODE((node / folder.KEY).stat().st_mode) == 0o600


def test_a_request_without_an_answer_is_made_again_with_the_same_key(node: Path) -> None:
    first = folder.next_key(node)
    assert folder.next_key(node) == first
    assert folder.load(node).key_pem != first


def test_a_crash_between_certificate_and_key_leaves_a_whole_identity(node: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    key = folder.next_key(node)
    certificate = certified(key)
    (node / folder.CERTIFICATE).write_text(certificate)  # and here the power went
    assert folder.load(node) == Credentials(certificate, key, ROOT)
    copy = tmp_path_factory.mktemp("copy") / "node"
    shutil.copytree(node, copy)
    following = folder.next_key(copy)
    assert following != key
    assert folder.load(copy).key_pem == (copy / folder.KEY).read_text() == key


def test_a_certificate_for_a_strangers_key_is_not_taken(node: Path) -> None:
    before = folder.load(node)
    with pytest.raises(FailedPrecondition, match="not for this node's key"):
        folder.take(node, certified(keys.new_key()), ROOT)
    assert folder.load(node) == before


def test_a_key_that_fits_nothing_is_said_so(node: Path) -> None:
    (node / folder.KEY).write_text(keys.new_key())
    with pytest.raises(FailedPrecondition, match="is not that of the certificate"):
        folder.load(node)


def test_a_sealed_key_is_never_in_the_open_on_disk_and_renewals_go_on(node: Path) -> None:
    before = folder.load(node)
    waiting = folder.next_key(node)
    folder.keep_sealed(node, SEALING, closed=True)
    assert folder.is_sealed(node)
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in node.iterdir())
    for sealing in (None, bytes(32)):
        for act in (folder.load, folder.next_key):
            with pytest.raises(KeySealed, match="Swarm is encrypted and needs to be unlocked"):
                act(node, sealing)
    assert folder.load(node, SEALING) == before
    assert folder.next_key(node, SEALING) == waiting
    assert folder.take(node, certified(waiting), ROOT, SEALING).key_pem == waiting
    following = folder.next_key(node, SEALING)
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in node.iterdir())
    folder.keep_sealed(node, SEALING, closed=False)
    assert folder.load(node).key_pem == waiting
    assert folder.next_key(node) == following


@pytest.mark.parametrize("text", ["", "AAAA\n", "not base64\n", "A" * 64 + "\n"])
def test_a_damaged_seal_is_a_locked_one(node: Path, text: str) -> None:
    (node / folder.KEY).write_text(f"{sealed_key.BEGIN}\n{text}{sealed_key.END}\n")
    with pytest.raises(KeySealed):
        folder.load(node, SEALING)
