"""Swarm-scoped networks that each node makes for itself: bridges, and those that take over a configuration of the node's; as Docker answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.test_survival import kill, pids
from tests.cluster.walkthrough import fetch
from tests.driver import ADDRESS, MANAGER, WORKER1, WORKER2, Lab, until

NODES = (MANAGER, WORKER1, WORKER2)


@pytest.fixture
def clean(lab: Lab) -> Iterator[Lab]:
    yield lab
    lab.on(MANAGER, "docker", "service", "rm", "own-one", "own-two")
    for node in NODES:
        lab.on(node, "docker", "rm", "-f", "own-box")
    for name in ("own", "taken"):
        assert until(lambda name=name: "not found" in (lab.on(MANAGER, "docker", "network", "rm", name).stderr)), name
    for node in NODES:
        assert until(lambda node=node: "not found" in lab.on(node, "docker", "network", "rm", "cfg").stderr), node


def inspect(lab: Lab, node: str, name: str) -> dict[str, Any]:
    (one,) = json.loads(lab.ok(node, "docker", "network", "inspect", name))
    return dict(one)


def bridges(lab: Lab, node: str) -> list[str]:
    return [link["ifname"] for link in json.loads(lab.ok(node, "ip", "-j", "link", "show", "type", "bridge"))]


def serve(lab: Lab, name: str, network: str, *more: str) -> None:
    lab.ok(MANAGER, "docker", "service", "create", "-q", "--name", name, "--mode", "global", "--network", network, *more, "busybox", "sleep", "1000")


def test_every_node_makes_its_own_bridge_and_takes_it_away_with_the_last_task(clean: Lab) -> None:
    lab = clean
    before = {node: bridges(lab, node) for node in NODES}
    lab.ok(MANAGER, "docker", "network", "create", "--scope", "swarm", "-d", "bridge", "own")
    fresh = inspect(lab, MANAGER, "own")
    assert (fresh["Scope"], fresh["Driver"], fresh["IPAM"]["Config"], fresh["Containers"]) == ("swarm", "bridge", [], None)
    serve(lab, "own-one", "own")
    for node in NODES:
        made = inspect(lab, node, "own")
        (container,) = made["Containers"].values()
        assert (made["Id"], made["Scope"]) == (fresh["Id"], "swarm")
        task = lab.ok(node, "docker", "ps", "-q", "--filter", "name=own-one").strip()
        assert container["IPv4Address"] in lab.ok(node, "docker", "exec", task, "ip", "-o", "addr")
        gateway = made["IPAM"]["Config"][0]["Gateway"]
        assert f"default via {gateway}" in lab.ok(node, "docker", "exec", task, "ip", "route")
        assert "0% packet loss" in lab.ok(node, "docker", "exec", task, "ping", "-c", "1", "-W", "5", gateway)
        listed = lab.ok(node, "docker", "network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}").splitlines()
        assert listed.count("own bridge swarm") == 1
    refused = lab.on(MANAGER, "docker", "network", "rm", "own")
    assert f"network {fresh['Id']} is in use by service" in refused.stderr
    lab.ok(MANAGER, "docker", "service", "rm", "own-one")
    for node in NODES:
        assert until(lambda node=node: sorted(bridges(lab, node)) == sorted(before[node])), bridges(lab, node)


def test_each_node_takes_over_its_own_configuration_or_says_that_it_has_none(clean: Lab) -> None:
    lab = clean
    for number, node in enumerate((MANAGER, WORKER1), 1):
        lab.ok(node, "docker", "network", "create", "--config-only", "--subnet", f"10.77.{number}.0/24", "-o", "com.docker.network.bridge.name=cfgbr", "cfg")
    refused = lab.on(MANAGER, "docker", "network", "create", "--scope", "swarm", "-d", "bridge", "--config-from", "cfg", "--subnet", "10.78.0.0/24", "taken")
    assert "user specified configurations are not supported if the network depends on a configuration network" in refused.stderr
    lab.ok(MANAGER, "docker", "network", "create", "--scope", "swarm", "-d", "bridge", "--config-from", "cfg", "taken")
    lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", "own-one", "--mode", "global", "--network", "taken", "busybox", "sleep", "1000")
    for number, node in enumerate((MANAGER, WORKER1), 1):
        assert until(lambda node=node, number=number: f"10.77.{number}.1/24" in lab.on(node, "ip", "-o", "addr", "show", "dev", "cfgbr").stdout), node
        assert until(lambda node=node: lab.ok(node, "docker", "ps", "-q", "--filter", "name=own-one").strip()), node
        made = inspect(lab, node, "taken")
        assert (made["ConfigFrom"]["Network"], made["IPAM"]["Config"]) == ("cfg", [{"Subnet": f"10.77.{number}.0/24"}])
    rejected = until(lambda: [r for r in lab.rows(MANAGER, "docker", "service", "ps", "--no-trunc", "own-one") if r["CurrentState"].startswith("Rejected")])
    assert 'configuration network "cfg" does not exist' in rejected[0]["Error"]
    assert 'configuration network "cfg" is in use' in lab.on(WORKER1, "docker", "network", "rm", "cfg").stderr


def test_containers_of_ones_own_are_put_on_attachable_ones_only(clean: Lab) -> None:
    lab = clean
    lab.ok(MANAGER, "docker", "network", "create", "--scope", "swarm", "-d", "bridge", "own")
    lab.ok(MANAGER, "docker", "network", "create", "--scope", "swarm", "-d", "bridge", "--attachable", "taken")
    closed = lab.on(WORKER1, "docker", "run", "--rm", "--network", "own", "busybox", "true")
    assert "Could not attach to network own: network own not manually attachable" in closed.stderr
    lab.ok(WORKER1, "docker", "run", "-d", "--name", "own-box", "--network", "taken", "busybox", "sleep", "1000")
    address = lab.ok(WORKER1, "docker", "inspect", "-f", "{{.NetworkSettings.Networks.taken.IPAddress}}", "own-box").strip()
    assert f"{address}/" in lab.ok(WORKER1, "docker", "exec", "own-box", "ip", "-o", "addr")
    assert "is in use by task" in lab.on(MANAGER, "docker", "network", "rm", "taken").stderr
    lab.ok(WORKER1, "docker", "restart", "-t", "0", "own-box")
    assert "eth0" in lab.ok(WORKER1, "docker", "exec", "own-box", "ip", "-o", "addr")


def test_published_ports_and_a_restarted_node(clean: Lab) -> None:
    lab = clean
    lab.ok(MANAGER, "docker", "network", "create", "--scope", "swarm", "-d", "bridge", "own")
    serve(lab, "own-one", "own", "-p", "8085:80", "--publish", "mode=host,target=81,published=8086")
    (service,) = json.loads(lab.ok(MANAGER, "docker", "service", "inspect", "own-one"))
    vips = service["Endpoint"]["VirtualIPs"]
    assert sorted("Addr" in vip for vip in vips) == [False, True]
    task = lab.ok(WORKER1, "docker", "ps", "-q", "--filter", "name=own-one").strip()
    networks = json.loads(lab.ok(WORKER1, "docker", "inspect", "-f", "{{json .NetworkSettings.Networks}}", task))
    assert sorted(networks) == ["ingress", "own"]
    lab.ok(WORKER1, "docker", "exec", "-d", task, "sh", "-c", "echo here > /tmp/index.html; httpd -p 81 -h /tmp")
    address = networks["own"]["IPAddress"]
    kill(pids(lab, WORKER1, "node"))
    assert lab.festoon("up").returncode == 0
    assert until(lambda: inspect(lab, WORKER1, "own")["Containers"])
    assert [c["IPv4Address"].partition("/")[0] for c in inspect(lab, WORKER1, "own")["Containers"].values()] == [address]
    assert until(lambda: "here" in fetch(lab, MANAGER, f"http://{ADDRESS[WORKER1]}:8086/"))


def test_one_of_the_hosts_own_is_refused_by_the_node_in_dockers_words(clean: Lab) -> None:
    lab = clean
    lab.ok(MANAGER, "docker", "network", "create", "--scope", "swarm", "-d", "host", "own")
    lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", "own-one", "--network", "own", "busybox", "sleep", "1000")
    rejected = until(lambda: [r for r in lab.rows(MANAGER, "docker", "service", "ps", "--no-trunc", "own-one") if r["CurrentState"].startswith("Rejected")])
    assert 'only one instance of "host" network is allowed' in rejected[0]["Error"]
