"""A node with something of each kind, for requests that come in thousands: what they made is taken away again, and what they are about is made anew."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import machines, records
from tests.driver import MANAGER, OCTET, OWN_SUBNET, Lab, until
from tests.labs import standing
from tests.node.engine_fuzzing import Heard, Sent, ask, head

ROUND = 200
"""Requests after which everything is made anew."""

IN_THE_LOG = "by a bug"


@dataclass
class World:
    """A node in a swarm of its own. State: what it has to talk about, and how many requests it has had since that was made."""

    lab: Lab
    socket: Path
    ids: dict[str, str] = field(default_factory=dict)
    asked: int = 0

    def json(self, method: str, path: str, body: object = None) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        heard = ask(self.socket, head(method, path, {"Content-Type": "application/json"}, len(data)) + data)
        assert 200 <= heard.status < 300, (method, path, heard)
        return json.loads(heard.body) if heard.body.strip() else None

    def send(self, sent: Sent) -> Heard:
        self.asked += 1
        if self.asked % ROUND == 0:
            self.renew()
        raw = sent.raw
        for name, identifier in self.ids.items():
            raw = raw.replace(f"@{name}@".encode(), identifier.encode())
        return ask(self.socket, raw, last=sent.operation == "bytes")

    def renew(self) -> None:
        """Take away whatever there is, and make what the names of the next requests mean."""
        self.clear()
        for name in ("one", "two"):
            self.json("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": ["sleep", "100000"], "StopSignal": "SIGKILL"})
            self.json("POST", "/networks/create", {"Name": f"net-{name}"})
            self.json("POST", "/volumes/create", {"Name": f"vol-{name}"})
        self.json("POST", "/containers/one/start")
        execs = [self.json("POST", "/containers/one/exec", {"Cmd": ["true"], "AttachStdout": True})["Id"] for _ in range(2)]
        self.json("POST", "/networks/create", {"Name": "far", "Driver": "overlay", "Attachable": True})
        data = {"Name": "kept", "Data": "YQ=="}
        made = {kind: self.json("POST", f"/{kind}s/create", data)["ID"] for kind in ("secret", "config")}
        spec = {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "busybox", "Args": ["sleep", "1000"]}}, "Mode": {"Replicated": {"Replicas": 1}}}
        service = self.json("POST", "/services/create", spec)["ID"]
        tasks = until(lambda: self.json("GET", "/tasks"))
        self.ids = made | {"exec1": execs[0], "exec2": execs[1], "service": service, "task": tasks[0]["ID"], "node": self.json("GET", "/nodes")[0]["ID"]}

    def clear(self) -> None:
        for service in self.json("GET", "/services"):
            self.json("DELETE", f"/services/{service['ID']}")
        node = self.json("GET", "/nodes")[0]
        if node["Spec"]["Availability"] != "active":
            self.json("POST", f"/nodes/{node['ID']}/update?version={node['Version']['Index']}", node["Spec"] | {"Availability": "active"})
        for container in self.json("GET", "/containers/json?all=1"):
            ask(self.socket, head("DELETE", f"/containers/{container['Id']}?force=1&v=1", {}, 0))  # a task's goes by itself
        assert until(lambda: self.json("GET", "/containers/json?all=1") == [])
        for kind in ("secrets", "configs"):
            for one in self.json("GET", f"/{kind}"):
                self.json("DELETE", f"/{kind}/{one['ID']}")
        for network in self.json("GET", "/networks"):
            ask(self.socket, head("DELETE", f"/networks/{network['Id']}", {}, 0))  # those that are predefined are refused
        for volume in self.json("GET", "/volumes")["Volumes"] or ():
            self.json("DELETE", f"/volumes/{volume['Name']}?force=1")
        for image in self.json("GET", "/images/json"):
            for name in image["RepoTags"] or [image["Id"]]:
                if name != "busybox:latest":
                    ask(self.socket, head("DELETE", f"/images/{name}?force=1", {}, 0))
        if not any("busybox:latest" in (image["RepoTags"] or ()) for image in self.json("GET", "/images/json")):
            self.lab.ok(MANAGER, "festoon", "load", "-q", "-i", str(self.archive))

    @property
    def archive(self) -> Path:
        return Path(f"/tmp/festoon-fuzz-{self.lab.name}.tar")

    def size(self) -> tuple[int, int]:
        """Of the node's process: open descriptors, resident bytes. When nothing of the requests is left."""
        self.renew()
        process = records.read_process(records.machine_folder(self.lab.name, MANAGER), "festoond")
        assert process is not None
        status = Path(f"/proc/{process.pid}/status").read_text()
        return len(os.listdir(f"/proc/{process.pid}/fd")), int(status.split("VmRSS:")[1].split()[0]) * 1024

    def bugs(self) -> list[str]:
        """What the node has said of requests that failed by a mistake of ours."""
        return [line for line in machines.log_of(self.lab.name, MANAGER).read_text().splitlines() if IN_THE_LOG in line]


@contextmanager
def standing_world(name: str) -> Iterator[World]:
    """For as long as a module's tests take."""
    with standing(f"{name}{OCTET}", "--nodes", "1", "--swarm", "--subnet", f"{OWN_SUBNET}.0/24") as lab:
        made = World(lab, Path(machines.socket_of(lab.name, MANAGER)))
        lab.ok(MANAGER, "festoon", "save", "-o", str(made.archive), "busybox:latest")
        try:
            yield made
        finally:
            made.archive.unlink()
