"""An index of images on a node's loopback: a small server that answers as Docker Hub's does, and not so well for some terms."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.driver import FESTOON, MANAGER, Lab

INDEX = r"""
import http.server, json, sys
from urllib.parse import parse_qs, urlsplit

IMAGES = [
    {"name": "box", "description": "a box\nof tools", "star_count": 7, "is_official": True, "is_automated": True},
    {"name": "team/box", "description": "d" * 60, "star_count": 3, "is_official": False},
    {"name": "team/empty", "description": None, "star_count": None, "is_official": None},
]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        term = query.get("q", [""])[0]
        status, body = 404, b"{}"
        if url.path == "/v1/search":
            found = [one for one in IMAGES if term in one["name"]][: int(query["n"][0])]
            status = 503 if term == "broken" else 200
            body = b"{" * 2_000_000 if term == "endless" else b"[]" if term == "wrong" else json.dumps({"results": found}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def standing(lab: Lab) -> Iterator[str]:
    """HOST:PORT of it, as the first node sees it."""
    argv = [FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", sys.executable, "-I", "-c", INDEX]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        try:
            yield f"127.0.0.1:{serving.stdout.readline().strip()}"
        finally:
            serving.terminate()
