"""A container's health from its probes' answers."""

import pytest

from agent import health
from agent.records import Health, HealthResult
from cluster.model.specs import HealthCheck

S = 1_000_000_000


def result(code: int, start_s: int = 0) -> HealthResult:
    return HealthResult(start_ns=start_s * S, end_ns=start_s * S, exit_code=code, output="")


@pytest.mark.parametrize(
    ("test", "command"),
    [(("CMD-SHELL", "a b"), ("/bin/sh", "-c", "a b")), (("CMD", "a", "b"), ("a", "b")), (("NONE",), ()), ((), ())],
)
def test_what_is_run(test: tuple[str, ...], command: tuple[str, ...]) -> None:
    assert health.command_of(HealthCheck(test)) == command


def test_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() -> None:
    check, now = HealthCheck(("CMD", "x"), retries=2), Health()
    now = health.after(now, result(1), check, 0)
    assert (now.status, now.failing_streak) == ("starting", 1)
    now = health.after(now, result(1), check, 0)
    assert (now.status, now.failing_streak) == ("unhealthy", 2)
    now = health.after(now, result(0), check, 0)
    assert (now.status, now.failing_streak) == ("healthy", 0)


def test_failures_in_the_start_period_do_not_count() -> None:
    check = HealthCheck(("CMD", "x"), start_period_ns=10 * S, retries=1)
    early = health.after(Health(), result(1, 5), check, 0)
    assert (early.status, early.failing_streak, len(early.log)) == ("starting", 0, 1)
    assert health.after(early, result(1, 11), check, 0).status == "unhealthy"
    assert health.interval_ns(check, early, 5 * S) == health.DEFAULT_START_INTERVAL_NS
    assert health.interval_ns(check, early, 11 * S) == health.DEFAULT_INTERVAL_NS
    often = HealthCheck(("CMD", "x"), interval_ns=S, start_period_ns=10 * S)
    assert health.interval_ns(often, early, 5 * S) == S


def test_only_the_last_results_and_the_beginning_of_their_output_are_kept() -> None:
    now = Health()
    for _ in range(9):
        now = health.after(now, result(0), HealthCheck(("CMD", "x")), 0)
    assert len(now.log) == health.LOG_RESULTS
    assert health.output_text(b"x" * 5000) == "x" * 4096 + "..."
