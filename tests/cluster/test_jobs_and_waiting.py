"""Jobs and `--wait` from the command line: lists, runs, schedules, and the exit statuses that a script goes by."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.driver import MANAGER, Lab, until

CREATE = ("festoon", "service", "create", "--verify", "200ms", "--name")


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab("jobs", "--nodes", "1", "--swarm")


def replicas(lab: Lab, program: str, service: str) -> str:
    return lab.ok(MANAGER, program, "service", "ls", "--filter", f"name={service}", "--format", "{{.Replicas}}").strip()


def test_jobs_run_to_their_end_and_again(lab: Lab) -> None:
    done = lab.ok(MANAGER, *CREATE, "job", "--mode", "replicated-job", "--replicas", "3", "--max-concurrent", "2", "busybox", "true")
    assert done.splitlines()[-1] == "job complete"
    assert lab.ok(MANAGER, *CREATE, "each", "--mode", "global-job", "busybox", "true").splitlines()[-1] == "job complete"
    for program in ("festoon", "docker"):
        assert (replicas(lab, program, "job"), replicas(lab, program, "each")) == ("0/2 (3/3 completed)", "0/0 (1/1 completed)")
    assert lab.ok(MANAGER, "docker", "service", "update", "--force", "job").splitlines()[-1] == "job complete"
    words = ("service", "ps", "--format", "{{.DesiredState}} {{.CurrentState}}", "job")
    assert [line.split()[:2] for line in lab.ok(MANAGER, "festoon", *words).splitlines()] == [["Complete", "Complete"]] * 6
    bad = lab.on(MANAGER, *CREATE, "bad", "--mode", "global-job", "--schedule", "* * * * 8", "busybox")
    assert bad.stderr.endswith("'8' is no day of the week (0-7)\n")
    lab.ok(MANAGER, *CREATE, "timed", "-d", "--mode", "replicated-job", "--schedule", "* * * * *", "busybox", "true")
    assert replicas(lab, "festoon", "timed") == "0/1 (0/1 completed)"
    assert until(lambda: replicas(lab, "festoon", "timed") == "0/1 (1/1 completed)", 90)


def test_the_exit_status_of_a_wait_says_what_came_of_it(lab: Lab) -> None:
    assert lab.on(MANAGER, *CREATE, "web", "--wait", "busybox", "sleep", "100000").returncode == 0
    nowhere = lab.on(MANAGER, *CREATE, "nowhere", "--wait", "--constraint", "node.labels.x==y", "busybox", "sleep", "100000")
    assert (nowhere.returncode, nowhere.stderr) == (5, "service can't be placed: no suitable node (scheduling constraints not satisfied on 1 node)\n")
    unwell = ("--health-cmd", "false", "--health-interval", "1h", "busybox", "sleep", "100000")
    assert lab.on(MANAGER, *CREATE, "never", "--wait", "--timeout", "1s", *unwell).returncode == 4
    update = ("festoon", "service", "update", "--wait", "--update-monitor", "1s", "--args", "false")
    rolled = lab.on(MANAGER, *update, "--update-failure-action", "rollback", "web")
    assert rolled.returncode == 3
    assert rolled.stderr.startswith("service update rolled back due to failure or early termination of task ")
    assert lab.on(MANAGER, *update, "--update-failure-action", "pause", "web").returncode == 3
    assert lab.on(MANAGER, "festoon", "service", "rollback", "--wait", "web").returncode == 0
    assert lab.on(MANAGER, "festoon", "service", "scale", "--wait", "--timeout", "30s", "web=2").returncode == 0
    failed = lab.on(MANAGER, *CREATE, "job", "--wait", "--mode", "replicated-job", "--restart-condition", "none", "busybox", "false")
    assert (failed.returncode, failed.stderr) == (1, "job failed: 0 tasks have completed, the others may not be restarted\n")


def test_events_of_tasks_tell_who_moved_them_and_why(lab: Lab) -> None:
    lab.ok(MANAGER, *CREATE, "told", "--wait", "--stop-grace-period", "100ms", "busybox", "sleep", "100000")
    lab.ok(MANAGER, "festoon", "service", "update", "--wait", "--update-monitor", "100ms", "--env-add", "A=b", "told")
    form = "{{.Action}} {{index .Actor.Attributes \"by\"}} {{index .Actor.Attributes \"cause\"}}"
    words = ("events", "--filter", "type=task", "--filter", "service=told", "--since", "5m", "--until", "0s", "--format", form)
    for program in ("festoon", "docker"):
        told = lab.ok(MANAGER, program, *words).splitlines()
        assert told[:2] == ["create manager service created", "assigned manager scheduler assigned task to node"]
        assert {"running agent started", "stop manager replaced by an update", "create manager service updated"} <= set(told)
        assert told.index("stop manager replaced by an update") < told.index("shutdown agent shutdown")
    assert "task" not in lab.ok(MANAGER, "docker", "events", "--since", "5m", "--until", "0s", "--format", "{{.Type}}").split()
    both = lab.on(MANAGER, "festoon", "events", "--filter", "type=task", "--filter", "type=container")
    assert both.stderr == "Error response from daemon: events of tasks come by themselves: the filter type=task can't be combined with another type\n"
