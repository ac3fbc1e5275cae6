"""A real manager process on loopback for tests, and an agent written for them: it takes every assignment and reports it
as running. Uses the product's own wire client only."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns
from typing import Any

import trio

from cluster.identity import certificates, keys, tls
from cluster.model.assignments import Assignments, Item, SessionState, TaskItem
from cluster.model.objects import NodeDescription, Task, TaskStatus
from cluster.model.specs import ContainerSpec, Platform, Resources, ServiceMode, ServiceModeKind, ServiceSpec, TaskSpec
from cluster.model.task_state import TaskState, is_final
from cluster.wire.calls import Applied, IssueCertificate, IssuedCertificate, LogLine, LogsOf, Nothing, OpenSession, UpdateStatuses
from cluster.wire.peer import Caller, Peer, connect

PATIENCE_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class ManagerLab:
    """One manager's folders and port; `start` and `kill` its process."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def argv(self, ready_fd: int, *more: str) -> list[str]:
        paths = ["--state", str(self.folder / "raft"), "--identity", str(self.folder / "node")]
        where = ["--listen", self.address, "--advertise", self.address, "--ready-fd", str(ready_fd)]
        return [sys.executable, "-I", "-m", "manager", *paths, *where, *more]

    def start(self, *, bootstrap: dict[str, object] | None = None) -> dict[str, str]:
        """Start the process and wait until it serves. Raises AssertionError with its words when it does not."""
        read, write = os.pipe()
        more = [] if bootstrap is None else ["--bootstrap"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.argv(write, *more), stdin=subprocess.PIPE, stderr=log, pass_fds=(write,), start_new_session=True, cwd="/")
        os.close(write)
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(json.dumps(bootstrap or {}).encode())
        with os.fdopen(read) as ready:
            line = ready.readline()
        if not line:
            self.process.wait()
            raise AssertionError((self.folder / "log").read_text())
        answer: dict[str, str] = json.loads(line)
        return answer

    def refused(self, *more: str, stdin: bytes = b"{}") -> tuple[int, str]:
        """Exit status and last words of a start that must fail."""
        read, write = os.pipe()
        try:
            done = subprocess.run(self.argv(write, *more), input=stdin, capture_output=True, pass_fds=(write,), cwd="/", timeout=30, check=False)
        finally:
            os.close(read)
            os.close(write)
        return done.returncode, (done.stderr.decode().strip().splitlines() or [""])[-1]

    def end(self, number: signal.Signals) -> int:
        """Send the signal and wait for the end."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)

    def credentials(self) -> tuple[str, str, str]:
        """(certificate, key, root) of the manager's own node."""
        node = self.folder / "node"
        return (node / "node.crt").read_text(), (node / "node.key").read_text(), (node / "root.crt").read_text()

    @asynccontextmanager
    async def control(self) -> AsyncIterator[Peer]:
        """A connection with the manager's own certificate, as its node's agent has."""
        async with connect(self.address, tls.client_context(*self.credentials())) as peer:
            yield peer

    async def join(self, token: str, hostname: str = "worker") -> tuple[IssuedCertificate, tuple[str, str, str]]:
        """A new node's first talk. Raises what the manager refused it with."""
        root = self.credentials()[2]
        key = keys.new_key()
        async with connect(self.address, tls.client_context("", "", root)) as peer:
            request = IssueCertificate(certificates.make_csr(key), token, hostname=hostname)
            issued: IssuedCertificate = await peer.call("ca.issue", request)
        return issued, (issued.certificate_pem, key, issued.root_ca_pem)


class FakeAgent:
    """An agent that runs nothing: every task that it is told of is RUNNING at once, and ends when it has to."""

    def __init__(self, lab: ManagerLab, credentials: tuple[str, str, str], hostname: str) -> None:
        self._lab = lab
        self._context = tls.client_context(*credentials)
        self._hostname = hostname
        self._reported: dict[str, TaskState] = {}
        self.items: dict[str, Item] = {}
        self.states: list[SessionState] = []
        self.arrived: dict[str, int] = {}  # task id -> perf_counter_ns of its first assignment
        self.changed = trio.Event()
        self.peer: Peer | None = None

    @property
    def tasks(self) -> dict[str, Task]:
        return {i.task.id: i.task for i in self.items.values() if isinstance(i, TaskItem)}

    async def until(self, holds: Any) -> None:
        """Wait until `holds()` is true of what has been told."""
        with trio.fail_after(PATIENCE_S):
            while not holds():
                await self.changed.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        description = NodeDescription(self._hostname, Platform("x86_64", "linux"), Resources(4_000_000_000, 8 << 30))
        async with connect(self._lab.address, self._context, {"node.logs": self._logs}) as peer:
            self.peer = peer
            async with peer.stream("agent.session", OpenSession(description, "127.0.0.1")) as messages:
                version = 0
                async for message in messages:
                    if isinstance(message, SessionState):
                        self.states.append(message)
                    else:
                        assert message.complete or message.applies_to == version
                        version = message.results_in
                        self._take(message)
                        await self._report(peer)
                        await peer.call("agent.applied", Applied(version))
                        if message.complete:
                            task_status.started()
                    self.changed.set()
                    self.changed = trio.Event()

    def _take(self, message: Assignments) -> None:
        if message.complete:
            self.items = {}
        for key in message.removals:
            self.items.pop(key, None)
        for item in message.upserts:
            self.items[item.key] = item
            if isinstance(item, TaskItem):
                self.arrived.setdefault(item.task.id, time_ns())

    async def _report(self, peer: Peer) -> None:
        updates = []
        for task in self.tasks.values():
            state = self._reported.get(task.id, task.status.state)
            if is_final(state):
                continue
            wanted = TaskState.SHUTDOWN if task.desired_state > TaskState.COMPLETE else min(task.desired_state, TaskState.RUNNING)
            if wanted != state:
                self._reported[task.id] = wanted
                updates.append((task.id, TaskStatus(wanted, time_ns(), container_id="c" + task.id)))
        if updates:
            await peer.call("agent.statuses", UpdateStatuses(tuple(updates)))

    async def _logs(self, caller: Caller, request: LogsOf) -> Any:
        for task_id in request.tasks:
            task = self.tasks[task_id]
            yield LogLine(task_id, task.service_id, self.states[-1].node_id, 1, 1, f"said by {self._hostname}\n".encode())

    async def leave(self) -> None:
        assert self.peer is not None
        await self.peer.call("agent.leave", Nothing())


def service_spec(name: str, replicas: int = 1, **more: Any) -> ServiceSpec:
    task = TaskSpec(ContainerSpec("busybox"), **{k: more.pop(k) for k in ("placement", "networks") if k in more})
    return ServiceSpec(name, task, mode=ServiceMode(ServiceModeKind.REPLICATED, replicas), **more)
