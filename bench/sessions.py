"""Many agents on one manager process: real joins, real TLS sessions with their heartbeats, and what they cost the manager in processor time and memory.

The agents are connections of this process by the product's own client; none of them runs containers. BENCH_SESSIONS says how many (5,000).
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import trio

from bench.managers import End, address_of_loopback, memory_bytes, spent_s, started
from bench.report import Report
from cluster.identity import certificates, keys, tls
from cluster.model.changes import Kind
from cluster.model.errors import Unavailable
from cluster.model.objects import NodeDescription
from cluster.model.specs import Platform, Resources
from cluster.wire.calls import IssueCertificate, OpenSession, Query
from cluster.wire.peer import Peer, connect

SESSIONS = int(os.environ.get("BENCH_SESSIONS", "5000"))
WATCHED_S = 20.0
AT_ONCE = 32
KEEPALIVE_S = 1.0  # as agent/session.py


def measure(report: Report, runs: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    for _ in range(runs):
        folder = Path(tempfile.mkdtemp(prefix="bench-sessions-", dir=Path.home()))
        address = address_of_loopback()
        try:
            with End(started(folder, address, bootstrap=True)) as manager:
                trio.run(_sessions, report, folder, manager.pid, address)
        finally:
            shutil.rmtree(folder)


async def _sessions(report: Report, folder: Path, pid: int, address: str) -> None:
    node = folder / "node"
    root_pem = (node / "root.crt").read_text()
    own = ((node / "node.crt").read_text(), (node / "node.key").read_text(), root_pem)
    async with connect(address, tls.client_context(*own)) as peer:
        token = await _worker_token(peer)
    credentials: list[tuple[str, str, str]] = []
    began = time.perf_counter()
    await _crowd(lambda: _joined(address, token, root_pem, credentials))
    report.add("joins per second", "festoon", SESSIONS / (time.perf_counter() - began))
    empty = memory_bytes(pid)
    opened = _Opened()
    async with trio.open_nursery() as nursery:
        began = time.perf_counter()
        limit = trio.Semaphore(AT_ONCE)
        for each in credentials:
            nursery.start_soon(_agent, address, each, opened, limit)
        await opened.all.wait()
        report.add("sessions opened per second", "festoon", SESSIONS / (time.perf_counter() - began))
        await trio.sleep(5)
        spent, began = spent_s(pid), time.perf_counter()
        await trio.sleep(WATCHED_S)
        report.add("processor time with heartbeats (% of a core)", "festoon", (spent_s(pid) - spent) / (time.perf_counter() - began) * 100)
        report.add("manager's memory (MB)", "festoon", memory_bytes(pid) / 1e6)
        report.add("memory per session (KiB)", "festoon", (memory_bytes(pid) - empty) / SESSIONS / 1024)
        report.add("sessions lost meanwhile", "festoon", opened.lost)
        nursery.cancel_scope.cancel()


async def _worker_token(peer: Peer) -> str:
    answer = await peer.call("control.query", Query(Kind.CLUSTER))
    return str(answer.clusters[0].join_tokens.worker)


async def _crowd(one: Callable[[], Awaitable[None]]) -> None:
    limit = trio.Semaphore(AT_ONCE)

    async def turn() -> None:
        async with limit:
            await one()

    async with trio.open_nursery() as nursery:
        for _ in range(SESSIONS):
            nursery.start_soon(turn)


async def _joined(address: str, token: str, root_pem: str, credentials: list[tuple[str, str, str]]) -> None:
    joined = False
    while not joined:
        with suppress(Unavailable):
            await _join(address, token, root_pem, credentials)
            joined = True


async def _join(address: str, token: str, root_pem: str, credentials: list[tuple[str, str, str]]) -> None:
    key = keys.new_key()
    async with connect(address, tls.client_context("", "", root_pem), dial_timeout_s=60) as peer:
        issued = await peer.call("ca.issue", IssueCertificate(certificates.make_csr(key), token, hostname=f"agent{len(credentials)}"))
    credentials.append((issued.certificate_pem, key, issued.root_ca_pem))


class _Opened:
    def __init__(self) -> None:
        self.number = self.lost = 0
        self.all = trio.Event()


async def _agent(address: str, credentials: tuple[str, str, str], opened: _Opened, limit: trio.Semaphore) -> None:
    """A session for ever: opened again when it is lost, as an agent does."""
    while True:
        with suppress(Unavailable):
            await _session(address, credentials, opened, limit)
        opened.lost += opened.all.is_set()


async def _session(address: str, credentials: tuple[str, str, str], opened: _Opened, limit: trio.Semaphore) -> None:
    description = NodeDescription("agent", Platform("x86_64", "linux"), Resources(4_000_000_000, 8 << 30))
    async with AsyncExitStack() as stack:
        async with limit:
            peer = await stack.enter_async_context(connect(address, tls.client_context(*credentials), keepalive_s=KEEPALIVE_S, dial_timeout_s=60))
            messages = await stack.enter_async_context(peer.stream("agent.session", OpenSession(description, "127.0.0.1")))
            await anext(messages)
        opened.number += 1
        if opened.number == SESSIONS:
            opened.all.set()
        try:
            async for _ in messages:
                pass
        finally:
            opened.number -= 1
