"""`--wait`: what is hopeless, what may still come, and which flags contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from cli.failures import CliFailure
from cli.patience import UNPLACEABLE, Patience, hopeless, patience, turned_round
from cluster.model import room_reasons

BLOCKED = {"DesiredState": "running", "Status": {"State": "pending", "Err": "no suitable node (x)"}}
RUNNING = {"DesiredState": "running", "Status": {"State": "running"}}
STOPPING = {"DesiredState": "shutdown", "Status": {"State": "running"}}
STARTING = {"DesiredState": "running", "Status": {"State": "starting"}}
FAILED = {"DesiredState": "shutdown", "Status": {"State": "failed"}}
COMPLETE = {"DesiredState": "complete", "Status": {"State": "complete"}}
JOB = {"JobStatus": {"JobIteration": {}}}


@pytest.mark.parametrize("other", [RUNNING, FAILED])
def test_a_task_that_no_node_takes_is_hopeless_when_nothing_else_moves(other: dict[str, Any]) -> None:
    failure = hopeless({}, [other, BLOCKED])
    assert failure is not None
    assert (failure.status, failure.message) == (UNPLACEABLE, "service can't be placed: no suitable node (x)")


@pytest.mark.parametrize("other", [STOPPING, STARTING])
def test_there_is_hope_while_something_of_the_service_moves(other: dict[str, Any]) -> None:
    assert hopeless({}, [other, BLOCKED]) is None


@pytest.mark.parametrize("reason", [room_reasons.waits("low.1", "n1"), room_reasons.evicts("low.1", "n1", 1, 5)])
def test_there_is_hope_while_others_make_way(reason: str) -> None:
    blocked = {"DesiredState": "running", "Status": {"State": "pending", "Err": f"no suitable node (x); {reason}"}}
    assert hopeless({}, [blocked]) is None
    assert hopeless({}, [{**blocked, "Status": {"State": "pending", "Err": "waits for service db to start (0 of 1 tasks)"}}]) is not None


def test_a_service_that_restarts_for_ever_is_not_hopeless() -> None:
    assert hopeless({}, [FAILED, {"DesiredState": "ready", "Status": {"State": "pending"}}]) is None


@pytest.mark.parametrize(("tasks", "is_over"), [([FAILED, COMPLETE], True), ([FAILED, RUNNING], False), ([COMPLETE, BLOCKED], True), ([], False)])
def test_a_job_whose_tasks_may_not_be_restarted_has_failed(tasks: list[dict[str, Any]], is_over: bool) -> None:
    assert (hopeless(JOB, tasks) is not None) is is_over


def test_a_rollback_that_was_asked_for_is_no_failure() -> None:
    service = {"UpdateStatus": {"State": "rollback_started", "Message": "update rolled back due to x"}}
    assert turned_round(service, Patience()) == "service update rolled back due to x"
    assert turned_round(service, Patience(rollback=True)) == ""


def test_flags_that_contradict_each_other() -> None:
    with pytest.raises(CliFailure, match="--timeout can only be used with --wait"):
        patience(None, 5, detach=None)
    with pytest.raises(CliFailure, match="--wait and --detach"):
        patience(True, None, detach=True)
    assert patience(None, None, detach=True) is None
