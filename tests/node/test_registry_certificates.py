"""A registry with a certificate of its own making: refused, unless the node was given it; and what the registry asks of the node."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from runtime.errors import RegistryUnreachable
from runtime.images import registry
from runtime.images.auth import ANONYMOUS
from runtime.images.endpoints import Endpoint, Registries, endpoints

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def certificate(folder: Path, name: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")]
    subprocess.run(command, check=True, capture_output=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        return


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        return  # a client that does not trust it


@contextlib.contextmanager
def server(folder: Path, *, asks: bool = False) -> Iterator[str]:
    """Its HOST:PORT. `asks`: only who shows the certificate `user` gets in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "user.crt")
    with Server(("127.0.0.1", 0), Handler) as made:
        made.socket = context.wrap_socket(made.socket, server_side=True)
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{made.server_port}"
        finally:
            made.shutdown()
            thread.join()


def reach(host: str, certificates: Path) -> None:
    async def body() -> None:
        async with registry.connect(Endpoint(f"https://{host}", certificates=str(certificates)), "box", ANONYMOUS, ()):
            return

    trio.run(body)


def test_a_registry_is_trusted_by_the_certificate_that_the_node_was_given_for_it(tmp_path: Path) -> None:
    certificate(tmp_path, "server")
    own = tmp_path / "own"
    with server(tmp_path) as host:
        with pytest.raises(RegistryUnreachable, match="certificate"):
            reach(host, own)
        own.mkdir()
        shutil.copy(tmp_path / "server.crt", own / "ca.crt")
        reach(host, own)


def test_a_registry_that_asks_for_a_certificate_gets_the_nodes(tmp_path: Path) -> None:
    certificate(tmp_path, "server")
    certificate(tmp_path, "user")
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(tmp_path / "server.crt", own / "ca.crt")
    with server(tmp_path, asks=True) as host:
        with pytest.raises(RegistryUnreachable):
            reach(host, own)
        shutil.copy(tmp_path / "user.crt", own / "client.cert")
        shutil.copy(tmp_path / "user.key", own / "client.key")
        reach(host, own)


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing")
    with pytest.raises(RegistryUnreachable, match=r"could not use .*ca\.crt"):
        reach("127.0.0.1:1", tmp_path)


def test_folders_are_found_by_the_registrys_name_with_its_port() -> None:
    (one,) = endpoints("registry.example:5000", Registries(certificates="/certs.d"))
    assert one.certificates == "/certs.d/registry.example:5000"
