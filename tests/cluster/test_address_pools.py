"""`swarm init --default-addr-pool`: overlays are cut out of it, and when it is used up the next one waits and says why."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.driver import MANAGER, WORKER1, WORKER2, Lab, until

SUBNET = "{{range .IPAM.Config}}{{.Subnet}} {{end}}"


def test_overlays_come_from_the_pool_that_the_swarm_was_made_with(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("pool", "--nodes", "1")
    lab.ok(MANAGER, "docker", "swarm", "init", "--default-addr-pool", "10.20.0.0/24", "--default-addr-pool-mask-length", "26")
    subnets = [lab.ok(MANAGER, "docker", "network", "inspect", "-f", SUBNET, "ingress").strip()]
    for name in ("one", "two", "three"):
        lab.ok(MANAGER, "docker", "network", "create", "-d", "overlay", name)
        assert until(lambda name=name: lab.ok(MANAGER, "docker", "network", "inspect", "-f", SUBNET, name).strip())
        subnets.append(lab.ok(MANAGER, "docker", "network", "inspect", "-f", SUBNET, name).strip())
    assert sorted(subnets) == ["10.20.0.0/26", "10.20.0.128/26", "10.20.0.192/26", "10.20.0.64/26"]
    lab.on(MANAGER, "docker", "network", "create", "-d", "overlay", "four")
    lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", "waits", "--network", "four", "busybox", "sleep", "1000")
    assert until(lambda: "could not find an available" in lab.ok(MANAGER, "docker", "service", "ps", "--no-trunc", "--format", "{{.Error}}", "waits"))


def test_tasks_wait_for_addresses_and_say_so_instead_of_failing(lab: Lab) -> None:
    """A task comes to a node only where that node's load balancer has an address, too."""
    lab.ok(MANAGER, "docker", "network", "create", "-d", "overlay", "--subnet", "10.50.0.0/29", "tiny")
    try:
        lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", "full", "--replicas", "8", "--network", "tiny", "busybox", "sleep", "1000")
        assert until(lambda: len(lab.running("docker", "full")) == 2)
        rows = lab.rows(MANAGER, "docker", "service", "ps", "--no-trunc", "full")
        assert {row["CurrentState"].split()[0] for row in rows} == {"Running", "Pending"}
        said = [row["Error"] for row in rows if row["CurrentState"].startswith("Pending")]
        assert all("no available IPv4 addresses on this network's address pools: tiny" in words for words in said)
        lab.ok(MANAGER, "docker", "service", "scale", "-d", "full=1")
        assert until(lambda: len(lab.running("docker", "full")) == 1)
    finally:
        lab.on(MANAGER, "docker", "service", "rm", "full")
        assert until(lambda: "not found" in lab.on(MANAGER, "docker", "network", "rm", "tiny").stderr)


def test_an_overlay_of_several_subnets_is_one_network(lab: Lab) -> None:
    """Of the first five addresses a service and its tasks take most: what comes then is in the second subnet, and both reach each other on all nodes."""
    subnets = ("--subnet", "10.53.0.0/29", "--subnet", "10.54.0.0/24")  # Docker's client tells them in any order
    lab.ok(MANAGER, "festoon", "network", "create", "-d", "overlay", "--attachable", *subnets, "both")
    try:
        assert until(lambda: lab.ok(MANAGER, "docker", "network", "inspect", "-f", SUBNET, "both").split() == ["10.53.0.0/29", "10.54.0.0/24"])
        constrained = ("--constraint", f"node.hostname=={WORKER1}")
        serve = ("sh", "-c", "mkdir -p /w; hostname > /w/index.html; exec httpd -f -h /w")
        lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", "both-web", "--replicas", "5", "--network", "both", *constrained, "busybox", *serve)
        assert until(lambda: len(lab.running("docker", "both-web")) == 5)
        lab.ok(WORKER2, "docker", "run", "-d", "--name", "both-one", "--network", "both", "busybox", "sleep", "1000")
        lab.ok(WORKER2, "docker", "run", "-d", "--name", "both-own", "--network", "both", "--ip", "10.54.0.77", "busybox", "sleep", "1000")
        address = "{{.NetworkSettings.Networks.both.IPAddress}}/{{.NetworkSettings.Networks.both.IPPrefixLen}}"
        assert lab.ok(WORKER2, "docker", "inspect", "-f", address, "both-own").strip() == "10.54.0.77/24"
        assert lab.ok(WORKER2, "docker", "inspect", "-f", address, "both-one").startswith("10.54.0.")
        found = lab.ok(WORKER2, "docker", "exec", "both-one", "nslookup", "tasks.both-web")
        tasks = set(re.findall(r"10\.5[34]\.0\.\d+", found))
        assert {one.rpartition(".")[0] for one in tasks} == {"10.53.0", "10.54.0"}
        for one in (*sorted(tasks), "10.54.0.77"):
            assert until(lambda one=one: lab.on(WORKER2, "docker", "exec", "both-one", "ping", "-c1", "-W1", one).returncode == 0), one
        answered: set[str] = set()

        def all_have_answered() -> bool:
            said = lab.on(WORKER2, "docker", "exec", "both-own", "sh", "-c", "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 2 nc both-web 80").stdout
            answered.update(said.split()[-1:])
            return len(answered) == len(tasks)

        assert until(all_have_answered)  # by the virtual address, those of either subnet
    finally:
        lab.on(WORKER2, "docker", "rm", "-f", "both-one", "both-own")
        lab.on(MANAGER, "docker", "service", "rm", "both-web")
        assert until(lambda: "not found" in lab.on(MANAGER, "docker", "network", "rm", "both").stderr)


def test_subnets_of_one_overlay_that_can_t_be_together_are_refused(lab: Lab) -> None:
    two = ("--subnet", "10.55.0.0/24", "--subnet")
    refused = lab.on(MANAGER, "docker", "network", "create", "-d", "overlay", *two, "10.55.0.128/25", "bad")
    assert "multiple overlapping subnet configuration is not supported" in refused.stderr
    refused = lab.on(MANAGER, "docker", "network", "create", "-d", "overlay", "--ipv6", *two, "10.56.0.0/24", "bad")
    assert "an overlay with IPv6 has one IPv4 subnet" in refused.stderr
