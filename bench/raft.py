"""Three managers' log against Debian's etcd 3.4: proposals per second and their latency at 1, 16 and 256 callers, in turn in one run.

Every member is a process with its log on this machine's disk, over loopback and TLS (etcd without TLS, unless BENCH_ETCD_TLS is set). One client process
asks the leader: ours by a unix socket, etcd by its own protocol (grpc_calls.py); both clients take about as little of the processors that the members share
with them. A caller sends its next request of 300 bytes when the last is answered.

Two more, for comparing with figures that were measured so: our log alone (members that take any bytes and have no store), and the same etcd asked by
grpcio, where that is installed (`pip install grpcio`).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from bench import grpc_calls
from bench.report import Report
from cluster.identity import certificates, keys
from cluster.model.specs import Role

CALLERS = (1, 16, 256)
SECONDS = 4.0
PAYLOAD_BYTES = 300
ETCD_TLS = bool(os.environ.get("BENCH_ETCD_TLS"))
LENGTH = struct.Struct("!I")
Put = Callable[[int], Awaitable[None]]


def measure(report: Report, runs: int) -> None:
    asyncio.run(_measure(report, runs))


async def _measure(report: Report, runs: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-raft-", dir=Path.home()))
    try:
        async with contextlib.AsyncExitStack() as stack:
            peers = {"festoon": await stack.enter_async_context(_festoon(folder))}
            if shutil.which("etcd"):
                port = await stack.enter_async_context(_etcd(folder))
                peers["etcd"] = await stack.enter_async_context(_light_client(port))
                if importlib.util.find_spec("grpc") is not None:
                    peers["etcd by grpcio"] = await stack.enter_async_context(_grpcio_client(port))
            peers["festoon's log alone"] = await stack.enter_async_context(_festoon(folder / "alone", "log"))
            for run in range(runs + 1):  # the first is a warm-up
                for callers in CALLERS:
                    for peer, put in peers.items():
                        await _load(report if run else Report("warm-up"), peer, put, callers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _load(report: Report, peer: str, put: Put, callers: int) -> None:
    took: list[float] = []
    end = time.perf_counter() + SECONDS

    async def call(number: int) -> None:
        while (began := time.perf_counter()) < end:
            await put(number)
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(call(number) for number in range(callers)))
    took.sort()
    report.add(f"{callers} callers: proposals/s", peer, len(took) / (time.perf_counter() - began))
    report.add(f"{callers} callers: p50 (ms)", peer, took[len(took) // 2] * 1000)
    report.add(f"{callers} callers: p99 (ms)", peer, took[len(took) * 99 // 100] * 1000)


def _ports(number: int) -> list[int]:
    held = [socket.socket() for _ in range(number)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


# -- ours


@contextlib.asynccontextmanager
async def _festoon(folder: Path, what: str = "store") -> AsyncIterator[Put]:
    folder.mkdir(exist_ok=True)
    root_pem, root_key_pem = certificates.new_root(dt.datetime.now(dt.UTC))
    (folder / "root.crt").write_text(root_pem)
    ports = _ports(3)
    members: list[subprocess.Popen[bytes]] = []
    try:
        for number, port in enumerate(ports, 1):
            key_pem = keys.new_key()
            now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
            issued = certificates.issue(root_pem, root_key_pem, certificates.make_csr(key_pem), str(number), Role.MANAGER, "bench", now, day)
            (folder / f"{number}.crt").write_text(issued)
            (folder / f"{number}.key").write_text(key_pem)
            path = folder / f"{number}.sock"
            words = [str(folder), str(number), str(port), str(path), str(ports[0]), what]
            members.append(subprocess.Popen([sys.executable, "-m", "bench.raft_member", *words]))
            await _until(path.exists)
        await asyncio.sleep(1)  # both learners get their votes
        yield await _unix_client(folder / "1.sock")
    finally:
        _end(members)


async def _unix_client(path: Path) -> Put:
    """One connection: the answers are all alike, but one request is in flight for each caller, so any of them may be taken for whose turn it is.
    What is asked for in one turn of the loop leaves in one call, as gRPC's own client has it."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    loop = asyncio.get_running_loop()
    waiting: deque[asyncio.Future[None]] = deque()
    unsent: list[bytes] = []
    request = LENGTH.pack(PAYLOAD_BYTES) + b"x" * PAYLOAD_BYTES

    async def read() -> None:
        while answers := await reader.read(65536):
            for _ in answers:
                waiting.popleft().set_result(None)

    def send() -> None:
        writer.write(b"".join(unsent))
        unsent.clear()

    task = asyncio.create_task(read())

    async def put(number: int) -> None:
        assert not task.done(), "the member has gone"
        answered: asyncio.Future[None] = loop.create_future()
        waiting.append(answered)
        if not unsent:
            loop.call_soon(send)
        unsent.append(request)
        await answered

    return put


# -- etcd's


@contextlib.asynccontextmanager
async def _etcd(folder: Path) -> AsyncIterator[int]:
    """The client port of its leader."""
    ports = _ports(6)
    scheme = "https" if ETCD_TLS else "http"
    cluster = ",".join(f"e{n}={scheme}://127.0.0.1:{ports[n]}" for n in range(3))
    members = []
    secured = ["--peer-auto-tls"] if ETCD_TLS else []
    try:
        for n in range(3):
            client, peer = f"http://127.0.0.1:{ports[3 + n]}", f"{scheme}://127.0.0.1:{ports[n]}"
            argv = ["etcd", "--name", f"e{n}", "--data-dir", str(folder / f"etcd{n}"), "--initial-cluster", cluster, "--initial-cluster-state", "new",
                    "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--listen-client-urls", client,
                    "--advertise-client-urls", client, "--log-level", "error", *secured]  # fmt: skip
            members.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL))
        yield await _etcd_leader(ports[3:])
    finally:
        _end(members)


PUT = "/etcdserverpb.KV/Put"


def _puts() -> Iterator[bytes]:
    """PutRequests, each of another key."""
    value = _field(2, b"x" * PAYLOAD_BYTES)
    return (_field(1, b"n%d" % number) + value for number in count())


@contextlib.asynccontextmanager
async def _light_client(port: int) -> AsyncIterator[Put]:
    channel, requests = await grpc_calls.connect("127.0.0.1", port), _puts()

    async def put(number: int) -> None:
        await channel.call(PUT, next(requests))

    try:
        yield put
    finally:
        channel.close()


@contextlib.asynccontextmanager
async def _grpcio_client(port: int) -> AsyncIterator[Put]:
    from grpc import aio

    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call, requests = channel.unary_unary(PUT), _puts()

        async def put(number: int) -> None:
            await call(next(requests))

        yield put


async def _etcd_leader(ports: list[int]) -> int:
    """The client port of the member that says it leads (StatusResponse: its own id in the header, the leader's in field 4)."""
    for _ in range(100):
        for port in ports:
            with contextlib.suppress(OSError, TimeoutError):
                channel = await grpc_calls.connect("127.0.0.1", port)
                try:
                    answer = _fields(await asyncio.wait_for(channel.call("/etcdserverpb.Maintenance/Status", b""), 1))
                finally:
                    channel.close()
                if answer.get(4) and answer[4] == _fields(answer[1]).get(2):
                    return port
        await asyncio.sleep(0.1)
    raise RuntimeError("etcd has no leader")


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field of protobuf's encoding."""
    size, length = len(data), b""
    while size > 127:
        length += bytes((size & 127 | 128,))
        size >>= 7
    return bytes((number << 3 | 2,)) + length + bytes((size,)) + data


def _fields(data: bytes) -> dict[int, Any]:
    """Varints and length-delimited fields of a message, by number."""
    found: dict[int, Any] = {}
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(data):
        tag = varint()
        value: Any = varint()
        if tag & 7 == 2:
            value, place = data[place : place + value], place + value
        found[tag >> 3] = value
    return found


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise RuntimeError("a member did not start")


def _end(members: list[subprocess.Popen[bytes]]) -> None:
    for member in members:
        member.kill()
    for member in members:
        member.wait()
