"""For the tests of pull and push: Debian's docker-registry on a free port of loopback, and registries that misbehave."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import re
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REGISTRY = shutil.which("docker-registry")
NEEDS_REGISTRY = pytest.mark.skipif(REGISTRY is None, reason="Debian's docker-registry is not installed")
USER, PASSWORD = "alice", "secret"
HTPASSWD = "alice:$2y$05$IWgiXGBvYIgTwebn.QRKwuMvGAmabfQFCaB12q0L5/64GuhAtx6ti\n"
START_TIMEOUT_S = 20.0


@contextlib.contextmanager
def registry(folder: Path, *, authenticated: bool = False) -> Iterator[str]:
    """Run one; its `127.0.0.1:PORT`."""
    assert REGISTRY is not None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(HTPASSWD)
    auth = f"auth:\n  htpasswd:\n    realm: tests\n    path: {folder}/htpasswd\n" if authenticated else ""
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\n  delete:\n    enabled: true\n"
        f"http:\n  addr: 127.0.0.1:0\n{auth}"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
    with open(folder / "log", "wb") as log, subprocess.Popen([REGISTRY, "serve", str(config)], stdout=log, stderr=log) as process:
        try:
            _wait(port)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "docker-registry does not listen"
            time.sleep(0.02)


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Proxy:
    """A small HTTP proxy in front of a registry. `cut` says after how many bytes of a blob's body the connection is
    dropped (None: never); `break_upload` likewise whether a PATCH is swallowed."""

    host: str
    asked: list[Asked] = field(default_factory=list)
    cut: Callable[[Asked], int | None] = lambda _: None
    break_upload: Callable[[Asked], bool] = lambda _: False
    address: str = ""

    def of(self, method: str, pattern: str) -> list[Asked]:
        return [a for a in self.asked if a.method == method and re.search(pattern, a.path)]


@contextlib.contextmanager
def proxy(host: str) -> Iterator[Proxy]:
    world = Proxy(host)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def relay(self) -> None:
            asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
            world.asked.append(asked)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if world.break_upload(asked):
                self.close_connection = True
                return
            upstream = http.client.HTTPConnection(world.host, timeout=20)
            try:
                headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
                upstream.request(self.command, self.path, body or None, headers)
                answer = upstream.getresponse()
                data = answer.read()
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in ("transfer-encoding", "connection", "date", "content-length"):
                        self.send_header(key, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                allowed = world.cut(asked)
                if allowed is not None and len(data) > allowed:
                    self.wfile.write(data[:allowed])
                    self.close_connection = True
                elif self.command != "HEAD":
                    self.wfile.write(data)
            finally:
                upstream.close()

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = relay  # noqa: N815

    with _serving(Handler) as address:
        world.address = address
        yield world


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False


@contextlib.contextmanager
def hostile(answers: Callable[[Asked], Answer]) -> Iterator[str]:
    """A registry that says whatever the test wants; its `127.0.0.1:PORT`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def speak(self) -> None:
            asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
            answer = answers(asked)
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(1 << 40 if answer.endless else len(answer.body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                if self.command != "HEAD":
                    self.wfile.write(answer.body)
                while answer.endless:
                    self.wfile.write(b"{" * 65536)
            self.close_connection = answer.endless

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = speak  # noqa: N815

    with _serving(Handler) as address:
        yield address


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what is tested."""


@contextlib.contextmanager
def _serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
