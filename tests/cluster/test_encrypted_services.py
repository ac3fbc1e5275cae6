"""Services on an encrypted network: between nodes where the kernel has ESP, else together on one node or waiting with the reason."""

from __future__ import annotations

from tests.driver import MANAGER, WORKER1, WORKER2, Lab, until


def test_a_task_that_could_not_be_reached_encrypted_waits_and_says_why(lab: Lab) -> None:
    lab.ok(MANAGER, "docker", "network", "create", "-d", "overlay", "--opt", "encrypted", "sealed")
    try:
        for name, node in (("seal-one", WORKER1), ("seal-two", WORKER2)):
            where = ("--constraint", f"node.hostname=={node}")
            lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", name, "--network", "sealed", *where, "busybox", "sleep", "1000")
            if name == "seal-one":
                assert until(lambda: lab.running("docker", "seal-one"))
        if "does not leave this node" in lab.on(WORKER1, "docker", "info").stderr:
            assert until(lambda: "encrypted network cut off on 1 node" in lab.ok(MANAGER, "docker", "service", "ps", "--no-trunc", "seal-two"))
            assert "its kernel has no ESP" in lab.ok(MANAGER, "festoon", "why", "seal-two")
            lab.ok(MANAGER, "docker", "service", "rm", "seal-one")
        assert until(lambda: lab.running("docker", "seal-two"))
    finally:
        lab.on(MANAGER, "docker", "service", "rm", "seal-one", "seal-two")
        assert until(lambda: lab.on(MANAGER, "docker", "network", "rm", "sealed").returncode == 0)
