"""The seed's walk-through, step by step, for whichever program plays docker. tests/cluster runs it by festoon, tests/client by the real client."""

from __future__ import annotations

import re
from typing import Any

from tests.driver import ADDRESS, MANAGER, WORKER1, WORKER2, Lab, until

FETCH = "import sys,urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=5).read().decode())"


def fetch(lab: Lab, node: str, url: str) -> str:
    return lab.on(node, "python3", "-I", "-c", FETCH, url).stdout


def nodes_are_listed(lab: Lab, program: str) -> None:
    rows = lab.rows(MANAGER, program, "node", "ls")
    assert {r["Hostname"] for r in rows} == set(ADDRESS)
    assert {(r["Status"], r["Availability"]) for r in rows} == {("Ready", "Active")}
    assert [r["Hostname"] for r in rows if r["ManagerStatus"] == "Leader"] == [MANAGER]
    refused = lab.on(WORKER1, program, "node", "ls")
    assert refused.returncode == 1
    assert "This node is not a swarm manager" in refused.stderr


def overlay_service(lab: Lab, program: str, service: str, network: str) -> None:
    """Two tasks on an overlay: addresses, MTU, MAC, ping across, the outside, exec's status, healing, scaling."""
    created = lab.ok(MANAGER, program, "network", "create", "-d", "overlay", network)
    assert re.fullmatch(r"[a-z0-9]{25}\n", created)
    out = lab.ok(MANAGER, program, "service", "create", "--name", service, "--network", network, "--replicas", "2", "busybox", "ping", "8.8.8.8")
    assert "verify: Service" in out
    assert "converged" in out
    boxes = _boxes(lab, program, service)
    addresses = {node: _overlay_address(lab, program, node, box["ID"]) for node, box in boxes.items()}
    (one, one_box), (two, _) = boxes.items()
    assert " 0% packet loss" in lab.ok(one, program, "exec", one_box["ID"], "ping", "-c", "1", "-W", "3", addresses[two])
    assert " 0% packet loss" in lab.ok(one, program, "exec", one_box["ID"], "ping", "-c", "1", "-W", "3", "8.8.8.8")
    assert lab.on(one, program, "exec", one_box["ID"], "sh", "-c", "exit 7").returncode == 7
    lab.ok(one, program, "rm", "-f", one_box["ID"])
    before = {b["ID"] for b in boxes.values()}
    assert until(lambda: len(n := {t["ID"] for t in lab.running(program, service)}) == 2 and n), "the removed container was not replaced"
    assert {b["ID"] for b in _boxes(lab, program, service).values()} != before
    lab.ok(MANAGER, program, "service", "scale", "-d", f"{service}=3")
    assert until(lambda: len(lab.running(program, service)) == 3)
    lab.ok(MANAGER, program, "service", "update", "-d", "--replicas", "1", service)
    assert until(lambda: len(lab.running(program, service)) == 1)


def mesh(lab: Lab, program: str, service: str, network: str, port: int) -> None:
    """A published port answers on every node, from both containers in turn; the path explains itself; a taken port is refused."""
    lab.ok(MANAGER, program, "service", "create", "-d", "--name", service, "--network", network, "-p", f"{port}:80", "--replicas", "2", "containous/whoami")
    assert until(lambda: len(lab.running(program, service)) == 2)
    for node, address in ADDRESS.items():
        url = f"http://{address}:{port}/"
        assert until(lambda u=url: len(_hostnames(lab, u)) == 2), f"port {port} of {node} does not answer from both containers"  # type: ignore[misc]
    path = lab.ok(WORKER2, "festoon", "network", "path", str(port))
    assert all(word in path for word in ("DOCKER-INGRESS", "172.18.0.2", "ingress_sbox", "0x1"))
    taken = lab.on(MANAGER, program, "service", "create", "-d", "--name", f"{service}2", "-p", f"{port}:80", "busybox", "sleep", "1")
    assert taken.returncode == 1
    assert f"port '{port}' is already in use by service '{service}'" in taken.stderr


def _hostnames(lab: Lab, url: str) -> set[str]:
    """Who answers four requests in a row."""
    return {name for _ in range(4) for name in re.findall(r"Hostname: (\S+)", fetch(lab, WORKER2, url))}


def logs(lab: Lab, program: str, service: str) -> None:
    script = "echo said by $(hostname); echo aside >&2; sleep 1000"
    lab.ok(MANAGER, program, "service", "create", "-d", "--name", service, "--replicas", "2", "busybox", "sh", "-c", script)
    assert until(lambda: len(lab.running(program, service)) == 2)
    seen = until(lambda: (out := lab.ok(MANAGER, program, "service", "logs", service)).count("said by") == 2 and out)
    assert re.search(rf"{service}\.1\.\w+@swarm-\S+ +\| said by", str(seen))


def why(lab: Lab, program: str, service: str) -> None:
    """A task that fits nowhere says so, node by node."""
    lab.ok(MANAGER, program, "service", "create", "-d", "--name", service, "--constraint", "node.labels.disk==ssd", "busybox", "sleep", "1000")
    answer = until(lambda: (w := lab.on(MANAGER, "festoon", "why", service).stdout) and "constraint" in w and w)
    assert answer
    assert all(node in str(answer) for node in ADDRESS)
    rows = lab.rows(MANAGER, program, "service", "ps", "--no-trunc", service)
    assert any("no suitable node (scheduling constraints not satisfied on 3 nodes)" in r["Error"] for r in rows)


def removal(lab: Lab, program: str, services: tuple[str, ...], network: str) -> None:
    for service in services:
        assert lab.ok(MANAGER, program, "service", "rm", service) == f"{service}\n"
    assert until(lambda: not any(_named(lab, n, program, services) for n in ADDRESS))
    assert until(lambda: lab.on(MANAGER, program, "network", "rm", network).returncode == 0)


def _named(lab: Lab, node: str, program: str, services: tuple[str, ...]) -> list[str]:
    names = [r["Names"] for r in lab.rows(node, program, "container", "ls", "-a")]
    return [n for n in names if n.startswith(tuple(f"{s}." for s in services))]


def _boxes(lab: Lab, program: str, service: str) -> dict[str, dict[str, Any]]:
    """node -> the row of its container, for each running task; the name is test.SLOT.TASKID."""
    found = {}
    for task in lab.running(program, service):
        rows = lab.rows(task["Node"], program, "container", "ls", "--no-trunc")
        found[task["Node"]] = next(r for r in rows if r["Names"] == f"{task['Name']}.{task['ID']}")
    return found


def _overlay_address(lab: Lab, program: str, node: str, container: str) -> str:
    links = lab.ok(node, program, "exec", container, "ip", "addr")
    eth0 = re.search(r"eth0.*?mtu (\d+).*?link/ether (\S+).*?inet (10\.0\.\d+\.\d+)/24", links, re.DOTALL)
    assert eth0, links
    assert eth0[1] == "1450"
    assert eth0[2] == "02:42:" + ":".join(f"{int(x):02x}" for x in eth0[3].split("."))
    assert re.search(r"eth1.*?mtu 1500.*?inet 172\.18\.\d+\.\d+/16", links, re.DOTALL), links
    return eth0[3]
