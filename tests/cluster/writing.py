"""A client that writes all the while, and what was acknowledged to it."""

from __future__ import annotations

import json
import threading
import time
from types import TracebackType
from typing import Self

from cluster.wire.http_client import ConnectionFailed, HttpClient
from lab.layout import LabError
from lab.machines import socket_of
from tests.driver import Lab

PAUSE_S = 0.02
CREATED = 201


def create(lab: Lab, node: str, name: str) -> bool:
    """Whether this manager acknowledged a service without replicas."""
    spec = {"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}, "Mode": {"Replicated": {"Replicas": 0}}}
    try:
        client = HttpClient(socket_of(lab.name, node))
        answer = client.request("POST", "/services/create", body=json.dumps(spec).encode(), headers=(("Content-Type", "application/json"),))
    except (ConnectionFailed, LabError, OSError):
        return False
    return answer.status == CREATED


class Writer(threading.Thread):
    """`with Writer(lab, nodes) as writer`: one write after the other, by each of the nodes in turn. A write that failed is
    not tried again: whether it was made nobody knows."""

    def __init__(self, lab: Lab, nodes: tuple[str, ...], prefix: str) -> None:
        super().__init__(daemon=True)
        self._lab, self._nodes, self._prefix = lab, nodes, prefix
        self._end = threading.Event()
        self.acknowledged: list[str] = []

    def run(self) -> None:
        number = 0
        while not self._end.is_set():
            name = f"{self._prefix}{number}"
            if create(self._lab, self._nodes[number % len(self._nodes)], name):
                self.acknowledged.append(name)
            number += 1
            time.sleep(PAUSE_S)

    def goes_on(self) -> bool:
        """Whether a write is acknowledged that began after this call."""
        before = len(self.acknowledged)
        end = time.monotonic() + 30
        while len(self.acknowledged) < before + 2 and time.monotonic() < end:
            time.sleep(PAUSE_S)
        return len(self.acknowledged) >= before + 2

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end.set()
        self.join()
