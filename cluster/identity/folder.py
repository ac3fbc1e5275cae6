"""A node's key, certificate and trusted root on disk, as its agent and its manager both read and write them.

    node.key       the private key (0600)
    node.key.next  the key of a certificate that has been asked for, kept until the answer is here (0600)
    node.crt       the certificate, perhaps followed by those that lead to an older root
    root.crt       the roots that are trusted
    identity.lock  held while the two above change (flock(2))

The two keys of a locked manager's node are sealed (sealed_key.py): every function below takes `sealing`, by which they open, and what is
written is sealed where the node's key is. Raises KeySealed where that does not fit.

A new certificate becomes valid with node.crt: which of the two keys fits it is the node's key, so a crash between any
two steps leaves a node with a key and a certificate that belong together. A request that was answered to nobody is made
again with the same key: the authority knows it as the last one that it certified.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from cluster.durable import sync_folder, write_atomically
from cluster.identity import certificates, keys, sealed_key
from cluster.identity.seal import SALT_BYTES
from cluster.model.errors import FailedPrecondition, InvalidArgument

KEY: Final = "node.key"
NEXT_KEY: Final = "node.key.next"
CERTIFICATE: Final = "node.crt"
ROOT: Final = "root.crt"
LOCK: Final = "identity.lock"
KEY_MODE: Final = 0o600


class Credentials(msgspec.Struct, frozen=True):
    """PEM texts: who the node is, by which key it proves it, and whom it trusts."""

    certificate_pem: str
    key_pem: str
    root_pem: str


def load(folder: Path, sealing: bytes | None = None) -> Credentials:
    """What the node is now. Raises FileNotFoundError where a file is missing, FailedPrecondition when none of the keys fits the certificate."""
    with locked(folder):
        return _read(folder, sealing)


def _read(folder: Path, sealing: bytes | None) -> Credentials:
    certificate_pem, root_pem = (folder / CERTIFICATE).read_text(), (folder / ROOT).read_text()
    key_pem = _read_key(folder / KEY, sealing)
    if not _fits(key_pem, certificate_pem):
        key_pem = _read_key(folder / NEXT_KEY, sealing)
        if not _fits(key_pem, certificate_pem):
            raise FailedPrecondition(f"the key in {folder} is not that of the certificate beside it")
    return Credentials(certificate_pem, key_pem, root_pem)


def save(folder: Path, credentials: Credentials, sealing: bytes | None = None) -> None:
    """Write a first identity durably, its key sealed where `sealing` is given; what makes it valid is the caller's to write, afterwards."""
    _write_key(folder / KEY, credentials.key_pem, sealing)
    write_atomically(folder / CERTIFICATE, credentials.certificate_pem.encode())
    write_atomically(folder / ROOT, credentials.root_pem.encode())


def next_key(folder: Path, sealing: bytes | None = None) -> str:
    """The key, PEM, for the next certificate: the one that was made for a request without an answer, or a new one, which is durable then."""
    with locked(folder):
        _read_key(folder / KEY, sealing)
        _settle(folder, sealing)
        key_pem = _read_key(folder / NEXT_KEY, sealing)
        if not key_pem:
            key_pem = keys.new_key()
            _write_key(folder / NEXT_KEY, key_pem, sealing if is_sealed(folder) else None)
    return key_pem


def take(folder: Path, certificate_pem: str, root_pem: str, sealing: bytes | None = None) -> Credentials:
    """A certificate was issued for `next_key`, or anew for the present key: the node's identity from now on. Raises
    FailedPrecondition when it fits neither."""
    with locked(folder):
        if not any(_fits(_read_key(folder / name, sealing), certificate_pem) for name in (NEXT_KEY, KEY)):
            raise FailedPrecondition("the certificate that was issued is not for this node's key")
        write_atomically(folder / ROOT, root_pem.encode())
        write_atomically(folder / CERTIFICATE, certificate_pem.encode())
        _settle(folder, sealing)
        return _read(folder, sealing)


def trust(folder: Path, root_pem: str, sealing: bytes | None = None) -> Credentials:
    """Other roots are trusted from now on."""
    with locked(folder):
        write_atomically(folder / ROOT, root_pem.encode())
        return _read(folder, sealing)


def is_sealed(folder: Path) -> bool:
    """Whether the node's key does not lie open. Raises FileNotFoundError."""
    return sealed_key.is_sealed((folder / KEY).read_text())


def keep_sealed(folder: Path, sealing: bytes, *, closed: bool) -> None:
    """Seal the keys that lie open (`closed`), or open those that are sealed, durably; what is as it shall be is left alone."""
    if not folder.exists():
        return
    with locked(folder):
        for path in (folder / NEXT_KEY, folder / KEY):
            text = path.read_text() if path.exists() else ""
            if text and sealed_key.is_sealed(text) != closed:
                _write_key(path, sealed_key.opened(text, sealing), sealing if closed else None)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else changes or reads the identity meanwhile: certificate and key belong together. Not to be nested."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, KEY_MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _settle(folder: Path, sealing: bytes | None) -> None:
    """The key that waited for its certificate becomes the node's, if that has come."""
    key_pem = _read_key(folder / NEXT_KEY, sealing)
    if key_pem and _fits(key_pem, (folder / CERTIFICATE).read_text()):
        (folder / NEXT_KEY).replace(folder / KEY)
        sync_folder(folder)


def _read_key(path: Path, sealing: bytes | None) -> str:
    """The key, PEM; empty where there is no next one."""
    try:
        return sealed_key.opened(path.read_text(), sealing)
    except FileNotFoundError:
        if path.name != NEXT_KEY:
            raise
        return ""


def _write_key(path: Path, key_pem: str, sealing: bytes | None) -> None:
    text = key_pem if sealing is None else sealed_key.close(key_pem, sealing, os.urandom(SALT_BYTES))
    write_atomically(path, text.encode(), KEY_MODE)


def _fits(key_pem: str, certificate_pem: str) -> bool:
    try:
        return certificates.public_key_of(certificate_pem) == keys.public_key(key_pem)
    except InvalidArgument:
        return False
