"""Tasks whose containers are probed: RUNNING only once well, failed and replaced when unhealthy, also when the node's process dies in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.cluster.test_survival import kill, pids
from tests.driver import MANAGER, Lab, until

PROBED = ("--health-cmd", "test -f /tmp/well", "--health-interval", "200ms", "--health-retries", "2", "--restart-delay", "0s")


def tasks(lab: Lab, service: str) -> list[dict[str, Any]]:
    return lab.rows(MANAGER, "festoon", "service", "ps", "--no-trunc", service)


def box_of(lab: Lab, service: str) -> str:
    """The id of its container; empty when there is none."""
    return lab.ok(MANAGER, "festoon", "ps", "-q", "--filter", f"label=com.docker.swarm.service.name={service}").strip()


def test_a_task_runs_when_its_probes_say_so_and_is_replaced_when_they_no_longer_do(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("probe", "--nodes", "1", "--swarm")
    words = (*PROBED, "--health-start-period", "60s", "--restart-condition", "on-failure", "busybox", "sleep", "100000")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "probed", *words)
    assert until(lambda: box_of(lab, "probed"))
    assert tasks(lab, "probed")[0]["CurrentState"].startswith("Starting")

    kill(pids(lab, MANAGER, "node"))  # while the probes have not decided yet
    assert lab.festoon("up").returncode == 0
    assert until(lambda: lab.on(MANAGER, "festoon", "service", "ps", "probed").returncode == 0)
    assert tasks(lab, "probed")[0]["CurrentState"].startswith("Starting")
    first = box_of(lab, "probed")
    lab.ok(MANAGER, "festoon", "exec", first, "touch", "/tmp/well")
    assert until(lambda: lab.running("festoon", "probed"))

    lab.ok(MANAGER, "festoon", "exec", first, "rm", "/tmp/well")
    assert until(lambda: box_of(lab, "probed") not in ("", first))
    failed = next(t for t in tasks(lab, "probed") if t["CurrentState"].startswith("Failed"))
    assert failed["Error"].strip('"') == "task: non-zero exit (137): dockerexec: unhealthy container"


def test_a_task_that_is_never_well_fails_and_stops_an_update(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("unwell", "--nodes", "1", "--swarm")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "good", *PROBED, "busybox", "sh", "-c", "touch /tmp/well; exec sleep 100000")
    assert until(lambda: lab.running("festoon", "good"))
    lab.ok(MANAGER, "festoon", "service", "update", "-d", "--args", "sleep 100000", "--stop-grace-period", "1s", "good")

    def state() -> str:
        return lab.ok(MANAGER, "festoon", "service", "inspect", "--format", "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}", "good").strip()

    assert until(lambda: state() == "paused")
    assert any("unhealthy container" in t["Error"] for t in tasks(lab, "good"))
