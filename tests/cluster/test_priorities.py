"""Priorities, packing and rebalancing as a user asks for them on the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.driver import MANAGER, WORKER1, Lab, until


def tasks(lab: Lab, service: str) -> list[dict[str, Any]]:
    return lab.rows(MANAGER, "festoon", "service", "ps", "--no-trunc", service)


def test_a_high_priority_takes_the_room_of_a_low_one_which_waits_and_comes_back(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("prio", "--nodes", "1", "--swarm")
    total = int(lab.ok(MANAGER, "festoon", "info", "--format", "{{.MemTotal}}"))
    most = str(total * 6 // 10)
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "low", "--stop-grace-period", "1s", "--reserve-memory", most, "busybox", "sleep", "100000")
    assert until(lambda: len(lab.running("festoon", "low")) == 1)
    refused = lab.on(MANAGER, "festoon", "service", "create", "-d", "-l", "festoon.priority=much", "busybox")
    assert "invalid label festoon.priority=much: must be a number" in refused.stderr
    create = ("festoon", "service", "create", "-d", "--name")
    lab.ok(MANAGER, *create, "high", "--priority", "10", "--stop-grace-period", "1s", "--reserve-memory", most, "busybox",
           "sleep", "100000")  # fmt: skip
    assert until(lambda: len(lab.running("festoon", "high")) == 1)
    waiting = next(t for t in tasks(lab, "low") if t["DesiredState"] in ("Running", "Ready"))
    assert "insufficient resources on 1 node" in waiting["Error"]
    assert "preempted by high.1 (priority 10)" in lab.ok(MANAGER, "festoon", "why", "low")
    assert "evicted low.1 to get there" in lab.ok(MANAGER, "festoon", "why", "high")
    lab.ok(MANAGER, "festoon", "service", "rm", "high")
    assert until(lambda: len(lab.running("festoon", "low")) == 1)


def test_packing_fills_a_node_and_rebalancing_spreads_what_runs(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("pack", "--nodes", "2", "--swarm")
    create = ("festoon", "service", "create", "-d", "--replicas", "4", "--stop-grace-period", "1s")
    lab.ok(MANAGER, *create, "--name", "packed", "--placement-strategy", "pack", "busybox", "sleep", "100000")
    assert until(lambda: len(lab.running("festoon", "packed")) == 4)
    assert len({t["Node"] for t in lab.running("festoon", "packed")}) == 1
    lab.ok(MANAGER, "festoon", "node", "update", "--availability", "pause", WORKER1)
    lab.ok(MANAGER, *create, "--name", "lopsided", "busybox", "sleep", "100000")
    assert until(lambda: len(lab.running("festoon", "lopsided")) == 4)
    lab.ok(MANAGER, "festoon", "node", "update", "--availability", "active", WORKER1)
    lab.ok(MANAGER, "festoon", "service", "rebalance", "lopsided")
    assert until(lambda: sorted(Counter(t["Node"] for t in lab.running("festoon", "lopsided")).values()) == [2, 2])
    assert until(lambda: "rebalance" not in lab.ok(MANAGER, "festoon", "service", "inspect", "lopsided"))
    lab.ok(MANAGER, "festoon", "node", "update", "--availability", "drain", WORKER1)
    lab.ok(MANAGER, *create, "--name", "even", "--rebalance", "auto", "busybox", "sleep", "100000")
    assert until(lambda: len(lab.running("festoon", "even")) == 4)
    lab.ok(MANAGER, "festoon", "node", "update", "--availability", "active", WORKER1)
    assert until(lambda: sorted(Counter(t["Node"] for t in lab.running("festoon", "even")).values()) == [2, 2]), "by itself, when a node comes"
    assert Counter(t["Node"] for t in lab.running("festoon", "lopsided"))[WORKER1] == 0, "what did not ask for it stays"
