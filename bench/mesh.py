"""The mesh: requests through a published port against the leanest rules written by hand, how soon a change of one task is in every node's balancer, and
what it costs among 1,000 endpoints; requests that fail while a task of ten is taken away.

Two worlds of three namespaces each (those of the tests) with the same links; in one the rules are the fabric's, in the other they are replaced by nft
scripts. wrk asks through a node that has no task. Needs wrk (Debian's package).
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import trio

from bench.engine import Engine
from bench.peers import FESTOON, LAB, SUBNET, members, run
from bench.report import Report
from netfabric.parts import PartedSet
from netfabric.view import Backend, Balancer, PublishedPort, Remote, View
from tests.node import netfabric_world as w

SECONDS = 1
TURNS = 5  # of each peer in a run: many short ones, because what else the machine does comes and goes
CONNECTIONS = 16
TASKS = (w.Task("aaaaaaaaaaaa", 1, 1), w.Task("bbbbbbbbbbbb", 2, 2))
NODE = 3
MANNERS = {"kept alive": (), "new connection each": ("-H", "Connection: close")}
SERVER = """
import selectors, socket
listener = socket.create_server(("0.0.0.0", 80), backlog=1024); listener.setblocking(False)
ready = selectors.DefaultSelector(); ready.register(listener, selectors.EVENT_READ)
answer = b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello"
while True:
    for key, _ in ready.select():
        one = key.fileobj
        if one is listener:
            try: one, _ = listener.accept()
            except BlockingIOError: continue
            one.setblocking(False); ready.register(one, selectors.EVENT_READ)
            continue
        try: asked = one.recv(4096)
        except BlockingIOError: continue
        except OSError: asked = b""
        if asked: one.send(answer)
        if not asked or b"close" in asked: ready.unregister(one); one.close()
"""
CHANGES = 10
SERVICES, PER_SERVICE = 100, 10


def measure(report: Report, runs: int) -> None:
    trio.run(_requests, report, runs)
    trio.run(_thousand, report, runs)
    _propagation(report, runs * CHANGES)


# -- requests -----------------------------------------------------------------------------------------------------------


async def _requests(report: Report, runs: int) -> None:
    worlds = {"festoon": w.build(), "by hand": w.build()}
    try:
        async with contextlib.AsyncExitStack() as stack:
            for name, world in worlds.items():
                if name == "by hand":
                    async with world.open():
                        await world.reconcile(TASKS)
                    _write_by_hand(world)  # when no fabric is there to repair them
                else:
                    await stack.enter_async_context(world.open())
                    await world.reconcile(TASKS)
                for task in TASKS:
                    stack.enter_context(_serving(world, task))
            await trio.sleep(1)
            for number in range(runs * TURNS + 1):  # the first is a warm-up
                for manner, flags in MANNERS.items():
                    rates, slow = {}, {}
                    for name, world in list(worlds.items())[:: 1 if number % 2 else -1]:  # nobody is always the first
                        rates[name], slow[name] = await _wrk(world, flags)
                        if number:
                            report.add(f"requests/s, {manner}", name, rates[name])
                            report.add(f"p99, {manner} (ms)", name, slow[name])
                    if number:
                        report.add(f"requests/s, {manner}, in proportion to the same turn's by hand", "festoon", rates["festoon"] / rates["by hand"])
                        report.add(f"p99, {manner}, in proportion to the same turn's by hand", "festoon", slow["festoon"] / slow["by hand"])
    finally:
        for world in worlds.values():
            world.close()


@contextlib.contextmanager
def _serving(world: w.World, task: w.Task) -> Iterator[None]:
    with world.sandbox(task.node, task.id) as sandbox:
        server = subprocess.Popen(["nsenter", f"--net=/proc/self/fd/{sandbox}", sys.executable, "-I", "-c", SERVER], pass_fds=(sandbox,))
        try:
            yield
        finally:
            server.kill()
            server.wait()


async def _wrk(world: w.World, flags: tuple[str, ...]) -> tuple[float, float]:
    out = await w.output(
        world.client, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", *flags, f"http://{w.vtep(NODE)}:8080/"
    )
    return rate_and_p99(out)


def rate_and_p99(out: str) -> tuple[float, float]:
    """What wrk has printed: (requests a second, 99th percentile in ms)."""
    rate, slow = re.search(r"Requests/sec:\s+([\d.]+)", out), re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
    assert rate, out
    assert slow, out
    assert "Non-2xx" not in out, out
    return float(rate[1]), float(slow[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[slow[2]]


def _write_by_hand(world: w.World) -> None:
    """Our tables give way to the least that does the same: keep the source, balance by one map, go back by the sandbox."""
    servers = ", ".join(f"{number} : {task.on_ingress} . 80" for number, task in enumerate(TASKS))
    node = (
        "table ip hand { chain pre { type nat hook prerouting priority dstnat; fib daddr type local tcp dport 8080 dnat to 172.18.0.2:8080; }; }"
    )
    picked = f"tcp dport 8080 dnat ip to numgen inc mod {len(TASKS)} map {{ {servers} }}"
    sandbox = f"table ip hand {{ chain pre {{ type nat hook prerouting priority dstnat; {picked}; }}; }}"
    task = (
        'table ip hand { chain pre { type filter hook prerouting priority mangle; iifname "eth0" ct direction original ct mark set @ll,64,32;\n }; '
        "chain out { type route hook output priority mangle; ct direction reply ct mark != 0 meta mark set ct mark; }; }"
    )
    for number, descriptor in world.nodes.items():
        _replace_rules(descriptor, node)
        with world.sandbox(number, "ingress_sbox") as inner:
            _replace_rules(inner, sandbox)
    for one in TASKS:
        with world.sandbox(one.node, one.id) as inner:
            _replace_rules(inner, task)


def _replace_rules(namespace: int, rules: str) -> None:
    script = f"flush ruleset\n{rules}\n"
    subprocess.run(["nsenter", f"--net=/proc/self/fd/{namespace}", "nft", "-f", "-"], input=script, text=True, check=True, pass_fds=(namespace,))


# -- a change -----------------------------------------------------------------------------------------------------------


async def _thousand(report: Report, runs: int) -> None:
    """One task of one service goes and comes back, on another node, alone and among a thousand endpoints, in turn: view, plan, diff and kernel."""
    worlds = {1: w.build(), SERVICES: w.build()}
    try:
        async with contextlib.AsyncExitStack() as stack:
            for services, world in worlds.items():
                await stack.enter_async_context(world.open(1))
                await world.fabrics[1].reconcile(_view(services, gone=0))
            for number in range(runs * CHANGES):
                taken = {}
                for services, world in worlds.items():
                    view = _view(services, gone=1 - number % 2)
                    began = time.perf_counter()
                    await world.fabrics[1].reconcile(view)
                    taken[services] = (time.perf_counter() - began) * 1000
                    report.add(f"a change of one of {services * PER_SERVICE:,} endpoints on its node (ms)", "festoon", taken[services])
                report.add("a change among 1,000 endpoints, in proportion to the same turn's among 10", "festoon", taken[SERVICES] / taken[1])
    finally:
        for world in worlds.values():
            world.close()


def _view(services: int, *, gone: int) -> View:
    """The last service lacks so many of its tasks; the other services are the same objects each time, as a node's tables have them (agent/view.py)."""
    some = w.view(1, ())
    *others, last = _balancers(services)
    balancers = (*others, dataclasses.replace(last, backends=last.backends[: PER_SERVICE - gone]))
    remotes = _remotes(services).changed([_remote(backend) for backend in last.backends[PER_SERVICE - gone :]], ())
    wide = dataclasses.replace(some.overlays[0], subnet="10.0.0.0/16", lb_address="10.0.0.2/16", balancers=balancers, remotes=remotes)
    return dataclasses.replace(some, overlays=(wide,))


@cache
def _remotes(services: int) -> PartedSet[Remote]:
    return PartedSet(_remote(backend) for balancer in _balancers(services) for backend in balancer.backends)


def _remote(backend: Backend) -> Remote:
    return Remote(backend.address, w.vtep(2))


@cache
def _balancers(services: int) -> tuple[Balancer, ...]:
    first = ipaddress.IPv4Address("10.0.1.0")
    found = []
    for number in range(services):
        backends = tuple(Backend(str(first + number * PER_SERVICE + task)) for task in range(PER_SERVICE))
        ports = (PublishedPort("tcp", 10_000 + number, 80),)
        found.append(Balancer(f"s{number}", str(ipaddress.IPv4Address("10.0.8.0") + number), 256 + number, backends, ports))
    return tuple(found)


def _propagation(report: Report, changes: int) -> None:
    """From the request that scales a service of ten tasks by one to the last node's changed balancing rules."""
    run(FESTOON, "lab", "up", "--swarm", "--name", LAB, "--subnet", SUBNET)
    try:
        agents = [pid for pid in members(LAB) if b"-m\0agent" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        engine = next(found for pid in agents if (found := _manager(pid)) is not None)
        engine.create_service("moved", 10)
        service = engine.request("GET", "/services/moved")
        spec = service["Spec"] | {"EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080}]}}
        engine.request("POST", f"/services/{service['ID']}/update?version={service['Version']['Index']}", spec)
        _settled(engine, 10)
        for number in range(changes):
            wanted = 10 if number % 2 else 9
            with contextlib.ExitStack() as stack:
                monitors = [stack.enter_context(_monitor(pid)) for pid in agents]
                time.sleep(0.3)  # until they listen
                began = time.perf_counter()
                engine.scale("moved", wanted)
                for monitor in monitors:
                    _first_line(monitor)
                taken = (time.perf_counter() - began) * 1000
            if wanted == 9:  # the other way the start of a container is in it
                report.add("scale request to the last node's balancer (ms)", "festoon", taken)
            _settled(engine, wanted)
        for _ in range(max(1, changes // CHANGES)):
            report.add("failed requests while one task of ten goes", "festoon", _drained(engine, agents))
    finally:
        run(FESTOON, "lab", "down", "--name", LAB)


def _drained(engine: Engine, agents: list[int]) -> int:
    """wrk from one node through another, a new connection for each request, while a task is taken away; how many failed."""
    serve = "echo served >/tmp/index.html; trap 'exit 0' TERM; httpd -f -p 80 -h /tmp & wait"
    spec = {
        "Name": "drained",
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox:latest", "Args": ["sh", "-c", serve]}},
        "Mode": {"Replicated": {"Replicas": 10}},
        "EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8081}]},
    }
    engine.request("POST", "/services/create", spec)
    engine.wait_running("drained", 10)
    time.sleep(1)  # until the servers listen
    node = engine.request("GET", "/info")["Swarm"]["NodeAddr"]
    away = next(pid for pid in agents if _manager(pid) is None)
    argv = ["nsenter", f"--net=/proc/{away}/ns/net", "wrk", "-t1", "-c4", "-d4s", "-H", "Connection: close", f"http://{node}:8081/"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as wrk:
        time.sleep(1)
        engine.scale("drained", 9)
        out = wrk.communicate()[0]
    engine.remove_and_wait("drained")
    assert "requests in" in out, out
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return sum(map(int, errors.groups() if errors else ())) + int(wrong[1] if wrong else 0)


def _manager(pid: int) -> Engine | None:
    engine = Engine(f"/proc/{pid}/root/run/festoon/festoon.sock")
    return engine if engine.request("GET", "/info")["Swarm"]["ControlAvailable"] else None


def _settled(engine: Engine, replicas: int) -> None:
    """Until so many run, of the newest spec only."""
    while True:
        tasks = engine.request("GET", "/tasks?filters=%7B%22service%22%3A%5B%22moved%22%5D%7D")
        if sum(task["Status"]["State"] == "running" for task in tasks) == replicas and not any(
            task["Status"]["State"] == "running" and task["DesiredState"] != "running" for task in tasks
        ):
            time.sleep(0.2)
            return
        time.sleep(0.02)


@contextlib.contextmanager
def _monitor(pid: int) -> Iterator[subprocess.Popen[bytes]]:
    """What changes among the rules of a node's ingress sandbox, as it happens."""
    argv = ["nsenter", f"--net=/proc/{pid}/root/run/festoon/netns/ingress_sbox", "nft", "monitor"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as monitor:
        try:
            yield monitor
        finally:
            monitor.terminate()


def _first_line(monitor: subprocess.Popen[bytes]) -> None:
    assert monitor.stdout is not None
    os.read(monitor.stdout.fileno(), 1)
