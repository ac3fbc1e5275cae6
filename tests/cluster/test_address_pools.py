"""`swarm init --default-addr-pool`: overlays are cut out of it, and when it is used up the next one waits and says why."""

from __future__ import annotations

from collections.abc import Callable

from tests.driver import MANAGER, Lab, until

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
