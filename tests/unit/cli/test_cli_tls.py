"""TLS to a daemon on tcp://: verified by its CA, unverified only where that was asked for, refused otherwise."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cli.api import Api
from cli.failures import CliFailure
from cli.tls import TlsWish, wish_of

FLAGS: dict[str, object] = {"tls": None, "tlsverify": None, "tlscacert": "", "tlscert": "", "tlskey": ""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that vouches for itself, as docker names its files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "daemon")])
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - hour, now + hour)
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    for file in ("ca.pem", "cert.pem"):
        (tmp_path / file).write_bytes(pem)
    no_password = serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password))
    return tmp_path


@pytest.fixture
def daemon(folder: Path) -> Iterator[str]:
    """The address of something that speaks TLS and answers every request with 200."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    listener = create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            with raw:
                try:
                    with context.wrap_socket(raw, server_side=True) as connected:
                        connected.recv(65536)
                        connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
                except OSError:
                    continue  # a client that does not trust us

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(2)
    listener.close()
    thread.join()


def test_a_daemon_that_the_ca_vouches_for_is_spoken_to(folder: Path, daemon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    assert wish_of(FLAGS, folder) is None
    wish = wish_of({**FLAGS, "tlsverify": True}, folder)
    assert wish == TlsWish(True, str(folder / "ca.pem"), str(folder / "cert.pem"), str(folder / "key.pem"))
    assert Api(daemon, tls=wish.context).get("/info") == {}


def test_one_that_nobody_vouches_for_is_not_unless_that_was_asked_for(daemon: str) -> None:
    with pytest.raises(CliFailure, match=r'/v1.51/info": tls: failed to verify certificate: x509: certificate signed by unknown authority'):
        Api(daemon, tls=TlsWish(True, "", "", "").context).get("/info")
    assert Api(daemon, tls=TlsWish(False, "", "", "").context).get("/info") == {}


def test_without_the_ca_s_file_no_daemon_is_asked(tmp_path: Path) -> None:
    """The system's own authorities vouch for many that are no daemon of ours."""
    wish = wish_of({**FLAGS, "tlsverify": True}, tmp_path)
    assert wish is not None
    assert wish.trouble() == f"Failed to initialize: unable to resolve docker endpoint: open {tmp_path}/ca.pem: no such file or directory"


def test_files_that_can_not_be_used_are_said(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    ca, cert, key = (str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    other = tmp_path_factory.mktemp("other")
    bad = other / "bad.pem"
    bad.write_text("garbage")
    strange = ec.generate_private_key(ec.SECP256R1())
    (other / "key.pem").write_bytes(strange.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    for wish, said in (
        (TlsWish(True, str(folder / "nosuch"), "", ""), "no such file or directory"),
        (TlsWish(True, str(bad), cert, key), "bad.pem seems invalid"),
        (TlsWish(True, ca, str(bad), key), "tls: failed to find a certificate and its key in the PEM data"),
        (TlsWish(True, ca, cert, str(other / "key.pem")), "tls: private key does not match public key"),
    ):
        with pytest.raises(CliFailure) as failed:
            wish.context()
        assert failed.value.message == f"Failed to initialize: failed to retrieve context tls info: {said}"
