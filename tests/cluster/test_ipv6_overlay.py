"""Overlays with IPv6: addresses, names, virtual addresses and the way between nodes, by real packets."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator

import pytest

from tests.driver import MANAGER, WORKER1, WORKER2, Lab, until

NODES = (MANAGER, WORKER1, WORKER2)
WEB = "echo $(hostname) > /tmp/index.html; exec httpd -f -p 80 -h /tmp"


def ask(lab: Lab, node: str, address: str) -> str:
    """What a task's page says (busybox's own wget dies of addresses in brackets)."""
    words = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 2 nc {address} 80"
    lines = lab.on(node, "docker", "exec", "six-one", "sh", "-c", words).stdout.splitlines()
    return lines[-1] if lines else ""


@pytest.fixture
def network(lab: Lab) -> Iterator[str]:
    lab.ok(MANAGER, "docker", "network", "create", "-d", "overlay", "--attachable", "--ipv6", "--subnet", "10.66.0.0/24", "six")
    yield "six"
    lab.on(MANAGER, "docker", "service", "rm", "six-web")
    for node in NODES:
        lab.on(node, "docker", "rm", "-f", "six-one", "six-two")
    assert until(lambda: lab.on(MANAGER, "docker", "network", "rm", "six").returncode == 0)


def test_a_default_subnet_is_the_cluster_s_own_and_every_endpoint_has_both_families(lab: Lab, network: str) -> None:
    shown = json.loads(lab.ok(MANAGER, "docker", "network", "inspect", network))[0]
    assert shown["EnableIPv6"] is True
    four, six = shown["IPAM"]["Config"]
    assert (four["Subnet"], four["Gateway"]) == ("10.66.0.0/24", "10.66.0.1")
    subnet = ipaddress.IPv6Network(six["Subnet"])
    assert subnet.prefixlen == 64
    assert subnet.subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert six["Gateway"] == str(subnet[1])
    lab.ok(MANAGER, "docker", "run", "-d", "--name", "six-one", "--network", network, "busybox", "sleep", "1000")
    lab.ok(WORKER1, "docker", "run", "-d", "--name", "six-two", "--network", network, "--ip6", str(subnet[77]), "busybox", "sleep", "1000")
    settings = json.loads(lab.ok(WORKER1, "docker", "inspect", "six-two"))[0]["NetworkSettings"]["Networks"][network]
    assert (settings["IPAddress"], settings["GlobalIPv6Address"], settings["GlobalIPv6PrefixLen"]) == ("10.66.0.77", str(subnet[77]), 64)
    assert until(lambda: lab.on(MANAGER, "docker", "exec", "six-one", "ping", "-6", "-c", "1", "-W", "1", "six-two").returncode == 0)
    assert str(subnet[77]) in lab.ok(MANAGER, "docker", "exec", "six-one", "nslookup", "-type=aaaa", "six-two", "127.0.0.11")
    assert "six-two.six" in lab.ok(MANAGER, "docker", "exec", "six-one", "nslookup", str(subnet[77]), "127.0.0.11")
    taken = lab.on(WORKER2, "docker", "run", "--rm", "--network", network, "--ip6", str(subnet[77]), "busybox", "true")
    assert taken.returncode == 125
    foreign = lab.on(WORKER2, "docker", "run", "--rm", "--network", network, "--ip6", "2001:db8::1", "busybox", "true")
    assert "Invalid address 2001:db8::1: It does not belong to any of this network's subnets" in foreign.stderr


def test_a_service_is_balanced_by_its_ipv6_address_from_every_node(lab: Lab, network: str) -> None:
    lab.ok(MANAGER, "docker", "service", "create", "--name", "six-web", "--replicas", "3", "--network", network, "busybox", "sh", "-c", WEB)
    for node in (MANAGER, WORKER2):
        lab.ok(node, "docker", "run", "-d", "--name", "six-one", "--network", network, "busybox", "sleep", "1000")

        found = lab.ok(node, "docker", "exec", "six-one", "nslookup", "-type=aaaa", "six-web", "127.0.0.11")
        virtual = next(line.split()[1] for line in found.splitlines() if line.startswith("Address: fd"))
        assert f'"{virtual}/64"' in lab.ok(MANAGER, "docker", "service", "inspect", "-f", "{{json .Endpoint.VirtualIPs}}", "six-web")
        assert until(lambda node=node, virtual=virtual: len({ask(lab, node, virtual) for _ in range(9)} - {""}) == 3), node
    tasks = lab.ok(MANAGER, "docker", "exec", "six-one", "nslookup", "-type=aaaa", "tasks.six-web", "127.0.0.11")
    assert tasks.count("Address: fd") == 3
    lab.ok(MANAGER, "docker", "service", "scale", "six-web=1")
    assert until(lambda: lab.ok(MANAGER, "docker", "exec", "six-one", "nslookup", "-type=aaaa", "tasks.six-web", "127.0.0.11").count("Address: fd") == 1)
    assert len({ask(lab, MANAGER, virtual) for _ in range(4)}) == 1


def test_what_an_ipv6_subnet_can_t_be_is_said(lab: Lab, network: str) -> None:
    shown = json.loads(lab.ok(MANAGER, "docker", "network", "inspect", network))[0]
    taken = shown["IPAM"]["Config"][1]["Subnet"]
    refused = lab.on(MANAGER, "docker", "network", "create", "-d", "overlay", "--ipv6", "--subnet", taken, "six-two")
    assert "Pool overlaps with other one on this address space" in refused.stderr
    lab.on(MANAGER, "docker", "network", "rm", "six-two")
