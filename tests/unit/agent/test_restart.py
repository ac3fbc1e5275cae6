"""Restart policies and the pauses between runs."""

import pytest

from agent import restart
from agent.records import Config, HostConfig, Record, State


@pytest.mark.parametrize(
    ("policy", "limit", "code", "restarts", "stopped", "again"),
    [
        ("no", 0, 1, 0, False, False),
        ("", 0, 1, 0, False, False),
        ("always", 0, 0, 9, True, True),
        ("unless-stopped", 0, 0, 9, False, True),
        ("unless-stopped", 0, 1, 0, True, False),
        ("on-failure", 0, 0, 0, False, False),
        ("on-failure", 0, 1, 99, False, True),
        ("on-failure", 2, 1, 1, False, True),
        ("on-failure", 2, 1, 2, False, False),
    ],
)
def test_a_policy_asks_for_another_run(policy: str, limit: int, code: int, restarts: int, *, stopped: bool, again: bool) -> None:
    assert restart.wanted(HostConfig(restart=policy, restart_max=limit), code, restarts, stopped=stopped) is again


def test_pauses_double_up_to_a_minute_and_begin_anew_after_a_steady_run() -> None:
    pauses = [0.0]
    for _ in range(12):
        pauses.append(restart.pause_s(pauses[-1], 1.0))
    assert pauses[1:4] == [0.1, 0.2, 0.4]
    assert pauses[-1] == restart.MAX_PAUSE_S
    assert restart.pause_s(pauses[-1], 10.0) == restart.FIRST_PAUSE_S


@pytest.mark.parametrize(
    ("policy", "status", "task", "stopped", "again"),
    [
        ("always", "exited", "", True, True),
        ("unless-stopped", "exited", "", True, False),
        ("always", "running", "", False, False),
        ("always", "exited", "t1", False, False),
        ("on-failure", "exited", "", False, True),
    ],
)
def test_a_node_that_starts_brings_up_what_its_policy_wants(policy: str, status: str, task: str, *, stopped: bool, again: bool) -> None:
    record = Record(
        id="a" * 64, name="x", created_at_ns=1, image_id="i", path="x", args=(), config=Config(image="i"), host=HostConfig(restart=policy),
        state=State(status=status, exit_code=1, started_at_ns=5), task_id=task, stopped_by_user=stopped,
    )  # fmt: skip
    assert restart.wanted_at_boot(record) is again
