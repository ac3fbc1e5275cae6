"""A node's identity on disk: wherever a renewal is interrupted, key and certificate belong together and the node can go on."""

from __future__ import annotations

import datetime as dt
import shutil
import stat
from pathlib import Path

import pytest

from cluster.identity import certificates, folder, keys
from cluster.identity.folder import Credentials
from cluster.model.errors import FailedPrecondition
from cluster.model.specs import Role

NOW = dt.datetime(2030, 5, 1, 12, tzinfo=dt.UTC)
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
