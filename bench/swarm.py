"""Our swarm's network beside Docker's own (Debian's docker.io), two nodes of each on one kernel, in turn: requests through the mesh, an overlay's throughput.

Docker's swarm needs IPVS: run it where the kernel has that, for instance in a guest, `python -m vm run --memory 3072 --counted -- .venv/bin/python -m
bench swarm`. Needs wrk and iperf3. What serves and what asks is the same for both, and so is the way: the client is beside the nodes, asks the second, and
either task may answer.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import mesh
from bench.engine import Engine
from bench.peers import FESTOON, LAB, SUBNET, answering, members, root_archive, run
from bench.report import Report

TURNS = 3
SECONDS = 2
PATIENCE_S = 900.0  # in a guest Docker takes minutes to start a task on an overlay with a published port
DOCKER = "198.51.100."
BRIDGE = f"{LAB}dock"[:15]


@dataclass(frozen=True)
class Swarm:
    """`asked`: the second node's address. `ends`: of the two tasks, the init's pid and the address on the overlay."""

    asked: str
    ends: tuple[tuple[int, str], tuple[int, str]]


def measure(report: Report, runs: int) -> None:
    with contextlib.ExitStack() as stack:
        swarms = {"festoon": stack.enter_context(_festoon())}
        if shutil.which("dockerd"):
            swarms["docker"] = stack.enter_context(_docker())
        for one in swarms.values():
            for pid, _ in one.ends:
                stack.enter_context(_inside(pid, sys.executable, "-I", "-c", mesh.SERVER))
            stack.enter_context(_inside(one.ends[1][0], "iperf3", "-s"))
        for one in swarms.values():
            _wait_serving(one)
        for number in range(runs * TURNS + 1):  # the first is a warm-up
            for name, one in list(swarms.items())[:: 1 if number % 2 else -1]:  # nobody is always the first
                _turn(Report("warm-up") if not number else report, name, one)


def _wait_serving(one: Swarm) -> None:
    """Until both servers listen, and the one for throughput: in a guest an interpreter needs many seconds to start."""
    for pid, port in ((one.ends[0][0], 80), (one.ends[1][0], 80), (one.ends[1][0], 5201)):
        end = time.monotonic() + PATIENCE_S
        while f":{port:04X} " not in "".join(Path(f"/proc/{pid}/net/{table}").read_text() for table in ("tcp", "tcp6")):
            if time.monotonic() > end:
                raise RuntimeError(f"nothing listens on port {port} of {one.ends}")
            time.sleep(0.5)


def _turn(report: Report, name: str, one: Swarm) -> None:
    for manner, flags in mesh.MANNERS.items():
        said = run("wrk", "-t1", f"-c{mesh.CONNECTIONS}", f"-d{SECONDS}s", "--latency", *flags, f"http://{one.asked}:8080/")
        rate, slow = mesh.rate_and_p99(said)
        report.add(f"requests/s, {manner}", name, rate)
        report.add(f"p99, {manner} (ms)", name, slow)
    (client, _), (_, address) = one.ends
    said = run("nsenter", "-t", str(client), "-n", "iperf3", "-J", "-t", str(SECONDS), "-c", address)
    report.add("overlay, Gbit/s", name, json.loads(said)["end"]["sum_received"]["bits_per_second"] / 1e9)


@contextlib.contextmanager
def _inside(pid: int, *argv: str) -> Iterator[None]:
    with subprocess.Popen(["nsenter", "-t", str(pid), "-n", *argv], stdout=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.kill()


def _serving(engines: list[Engine], asked: str) -> Swarm:
    engines[0].request("POST", "/networks/create", {"Name": "mynet", "Driver": "overlay"})
    spec: dict[str, Any] = {
        "Name": "web",
        "TaskTemplate": {
            "ContainerSpec": {"Image": "busybox:latest", "Args": ["sleep", "100000"], "StopSignal": "SIGKILL"},
            "Networks": [{"Target": "mynet"}],
        },
        "Mode": {"Replicated": {"Replicas": 2}},
        "EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080}]},
    }
    engines[0].request("POST", "/services/create", spec)
    engines[0].wait_running("web", 2, PATIENCE_S, every_s=3.0)  # in a guest frequent questions take most of the processors
    ends = []
    for engine in engines:
        (found,) = engine.request("GET", "/containers/json")
        told = engine.request("GET", f"/containers/{found['Id']}/json")
        ends.append((int(told["State"]["Pid"]), str(told["NetworkSettings"]["Networks"]["mynet"]["IPAddress"])))
    return Swarm(asked, (ends[0], ends[1]))


@contextlib.contextmanager
def _festoon() -> Iterator[Swarm]:
    run(FESTOON, "lab", "up", "--nodes", "2", "--swarm", "--name", LAB, "--subnet", SUBNET)
    try:
        agents = [pid for pid in members(LAB) if b"-m\0agent" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        engines = [Engine(f"/proc/{pid}/root/run/festoon/festoon.sock") for pid in agents]
        engines.sort(key=lambda engine: not engine.request("GET", "/info")["Swarm"]["ControlAvailable"])
        yield _serving(engines, str(engines[1].request("GET", "/info")["Swarm"]["NodeAddr"]))
    finally:
        run(FESTOON, "lab", "down", "--name", LAB)


@contextlib.contextmanager
def _docker() -> Iterator[Swarm]:
    """Two daemons in network namespaces on a bridge in another, which this one has a link to: as in a lab, so that no packet has a shorter way."""
    root = Path(tempfile.mkdtemp(prefix="bench-docker-", dir="/var/tmp"))  # noqa: S108  in a guest /tmp may be the host's
    # What a daemon switches on where it runs its balancers inherit from the first namespace, where these two daemons are not: without it no answer comes back.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    try:
        with contextlib.ExitStack() as stack:
            run("ip", "netns", "add", BRIDGE)
            stack.callback(run, "ip", "netns", "del", BRIDGE)
            run("ip", "-n", BRIDGE, "link", "add", "br0", "type", "bridge")
            run("ip", "-n", BRIDGE, "link", "set", "br0", "up")
            run("ip", "link", "add", BRIDGE, "type", "veth", "peer", "name", "host", "netns", BRIDGE)
            run("ip", "-n", BRIDGE, "link", "set", "host", "master", "br0", "up")
            run("ip", "addr", "add", f"{DOCKER}254/24", "dev", BRIDGE)
            run("ip", "link", "set", BRIDGE, "up")
            engines = [stack.enter_context(_daemon(root / str(number), number)) for number in (1, 2)]
            engines[0].request("POST", "/swarm/init", {"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": f"{DOCKER}1"})
            token = engines[0].request("GET", "/swarm")["JoinTokens"]["Worker"]
            engines[1].request(
                "POST", "/swarm/join", {"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": f"{DOCKER}2", "RemoteAddrs": [f"{DOCKER}1:2377"], "JoinToken": token}
            )
            yield _serving(engines, f"{DOCKER}2")
    finally:
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if line.split()[1].startswith(str(root)):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=False)


@contextlib.contextmanager
def _daemon(root: Path, number: int) -> Iterator[Engine]:
    root.mkdir()
    name = f"{BRIDGE}{number}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", BRIDGE, "link", "add", f"node{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "-n", BRIDGE, "link", "set", f"node{number}", "master", "br0", "up")
        # No default route: a daemon asks the registry for each task's image before it takes its own, and waits out the resolver where there seems to be a way.
        for words in ("link set lo up", f"addr add {DOCKER}{number}/24 dev eth0", "link set eth0 up"):
            run("ip", "-n", name, *words.split())
        (root / "daemon.json").write_text("{}")
        command = (
            f"hostname docker{number}; exec nsenter --net=/run/netns/{name} dockerd --config-file {root}/daemon.json --data-root {root}/data"
            f" --exec-root {root}/exec -H unix://{root}/docker.sock -p {root}/pid >{root}/log 2>&1"
        )
        with subprocess.Popen(["unshare", "--uts", "sh", "-c", command], start_new_session=True) as daemon:
            try:
                engine = answering(str(root / "docker.sock"), root / "log", 180)
                engine.request("POST", "/images/create?fromSrc=-&repo=busybox&tag=latest", raw=root_archive(Path("/bin/busybox")), kind="application/x-tar")
                yield engine
                with contextlib.suppress(RuntimeError):  # in a guest it can take longer than the daemon itself allows, which ends in a moment anyway
                    engine.request("POST", "/swarm/leave?force=true")
            finally:
                daemon.terminate()
    finally:
        run("ip", "netns", "del", name)
