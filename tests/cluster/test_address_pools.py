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
