"""A client of the Engine API for measuring: the same few requests to Festoon's socket and to dockerd's. Standard library only, one kept-alive connection."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any
from urllib.parse import quote

API = "/v1.41"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(120)
        self.sock.connect(self._path)


class Engine:
    """One daemon. Raises RuntimeError with its message when it refuses."""

    def __init__(self, path: str) -> None:
        self._connection = UnixConnection(path)

    def request(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, kind: str = "application/json") -> Any:
        data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": kind} if data is not None else {}
        try:
            self._connection.request(method, API + path, body=data, headers=headers)
        except (BrokenPipeError, ConnectionResetError):  # the daemon ended a connection that had been idle
            self._connection.close()
            self._connection.request(method, API + path, body=data, headers=headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode(errors='replace')[:300]}")
        lines = path.startswith(("/images/load", "/images/create"))
        return json.loads(text) if text and answer.headers.get_content_type() == "application/json" and not lines else text

    def create_service(self, name: str, replicas: int, networks: tuple[str, ...] = ()) -> str:
        spec = {
            "Name": name,
            "TaskTemplate": {
                "ContainerSpec": {"Image": "busybox:latest", "Args": ["sleep", "100000"], "StopSignal": "SIGKILL"},
                "Networks": [{"Target": n} for n in networks],
            },
            "Mode": {"Replicated": {"Replicas": replicas}},
        }
        return str(self.request("POST", "/services/create", spec)["ID"])

    def running(self, name: str) -> int:
        """Running tasks of the service, as `docker service ls` counts them."""
        filters = json.dumps({"name": [name]})
        services = self.request("GET", f"/services?status=true&filters={quote(filters)}")
        return int(services[0]["ServiceStatus"]["RunningTasks"]) if services else 0

    def wait_running(self, name: str, replicas: int, seconds: float = 120, every_s: float = 0.002) -> None:
        """Poll until so many run: measuring has to poll, dockerd tells nobody."""
        end = time.monotonic() + seconds
        while self.running(name) != replicas:
            if time.monotonic() > end:
                states = (task["Status"] for task in self.request("GET", f"/tasks?filters={quote(json.dumps({'service': [name]}))}"))
                told = sorted({f"{state['State']}: {state.get('Err', state.get('Message', ''))}" for state in states})
                raise RuntimeError(f"{name} did not reach {replicas} in {seconds} s: {'; '.join(told)}")
            time.sleep(every_s)

    def scale(self, name: str, replicas: int) -> None:
        service = self.request("GET", f"/services/{name}")
        spec = service["Spec"]
        spec["Mode"] = {"Replicated": {"Replicas": replicas}}
        self.request("POST", f"/services/{service['ID']}/update?version={service['Version']['Index']}", spec)

    def remove_and_wait(self, name: str, seconds: float = 120) -> None:
        """Remove the service and wait until no container of it is left."""
        self.request("DELETE", f"/services/{name}")
        end = time.monotonic() + seconds
        query = "/containers/json?all=1&filters=" + quote(json.dumps({"label": [f"com.docker.swarm.service.name={name}"]}))
        while self.request("GET", query):
            if time.monotonic() > end:
                raise RuntimeError(f"containers of {name} are still there after {seconds} s")
            time.sleep(0.002)
