"""Certificates of a whole cluster: renewed while it runs, and after everybody slept past their expiry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from cluster.identity import certificates, folder
from tests.cluster.test_survival import kill, pids
from tests.driver import MANAGER, WORKER1, Lab, until
from tests.node.aged import age

LAB_STATE = Path("/var/lib/festoon-lab")


def state(lab: Lab, node: str) -> Path:
    return LAB_STATE / lab.name / node / "state"


def asleep(lab: Lab, issued_days_ago: float) -> dict[str, float]:
    """Kill what runs on both nodes and give them the certificates of so many days ago: when those expire, by node."""
    for node in (MANAGER, WORKER1):
        kill(pids(lab, node))
        assert until(lambda n=node: not pids(lab, n)), "not all of them died"  # type: ignore[misc]
    names = {json.loads((state(lab, node) / "node" / "identity.json").read_text())["node_id"]: state(lab, node) / "node" for node in (MANAGER, WORKER1)}
    age(state(lab, MANAGER) / "raft", names, issued_days_ago)
    return {node: expiry(lab, node) for node in (MANAGER, WORKER1)}


def expiry(lab: Lab, node: str) -> float:
    return certificates.validity(folder.load(state(lab, node) / "node").certificate_pem)[1].timestamp()


def statuses(lab: Lab) -> list[str]:
    done = lab.on(MANAGER, "festoon", "node", "ls", "--format", "{{.Status}}")
    return done.stdout.split() if done.returncode == 0 else []


def test_certificates_are_renewed_while_running_and_after_all_have_slept_past_their_expiry(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("old", "--nodes", "2", "--swarm")
    for days in (85, 100):  # past eight tenths of its life; past its end
        before = asleep(lab, days)
        assert (before[WORKER1] < time.time()) is (days > 90)
        keys_before = {node: folder.load(state(lab, node) / "node").key_pem for node in before}
        assert lab.festoon("up").returncode == 0
        assert until(lambda: statuses(lab) == ["Ready", "Ready"]), lab.on(MANAGER, "festoon", "node", "ls").stderr
        for node, old in keys_before.items():
            assert until(lambda n=node, k=old: folder.load(state(lab, n) / "node").key_pem != k), f"{node} did not renew"  # type: ignore[misc]
            assert expiry(lab, node) > time.time() + 80 * 86400
    lab.ok(MANAGER, "festoon", "service", "create", "--detach", "--name", "after", "--mode", "global", "busybox", "sleep", "1000")
    assert until(lambda: len(lab.running("festoon", "after")) == 2)
