"""Whether a container is well, from what its probes answered: pure. agent/health_monitor.py runs the probes.

Source: moby's daemon/health.go: defaults, the start period in which failures do not count, the log's length.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agent.records import Health, HealthResult
from cluster.model.specs import HealthCheck

HEALTHY: Final = "healthy"
UNHEALTHY: Final = "unhealthy"
STARTING: Final = "starting"
DEFAULT_INTERVAL_NS: Final = 30_000_000_000
DEFAULT_TIMEOUT_NS: Final = 30_000_000_000
DEFAULT_START_INTERVAL_NS: Final = 5_000_000_000
DEFAULT_RETRIES: Final = 3
LOG_RESULTS: Final = 5
OUTPUT_BYTES: Final = 4096
SHELL: Final = ("/bin/sh", "-c")


def command_of(check: HealthCheck | None) -> tuple[str, ...]:
    """What is run as the probe; empty when there is none."""
    if check is None or not check.test or check.test[0] == "NONE":
        return ()
    kind, *words = check.test
    return (*SHELL, *words) if kind == "CMD-SHELL" else tuple(words)


def timeout_ns(check: HealthCheck) -> int:
    return check.timeout_ns or DEFAULT_TIMEOUT_NS


def interval_ns(check: HealthCheck, health: Health, since_start_ns: int) -> int:
    """The pause before the next probe; shorter ones (never longer) while it is starting within a start period."""
    usual_ns = check.interval_ns or DEFAULT_INTERVAL_NS
    if health.status == STARTING and since_start_ns < check.start_period_ns:
        return check.start_interval_ns or min(DEFAULT_START_INTERVAL_NS, usual_ns)
    return usual_ns


def unwatched(health: Health | None) -> Health | None:
    """Of a container that has ended: nobody looks any more, which Docker calls unhealthy."""
    return None if health is None else msgspec.structs.replace(health, status=UNHEALTHY)


def after(health: Health, result: HealthResult, check: HealthCheck, started_at_ns: int) -> Health:
    """Its health with one more probe."""
    log = (*health.log, result)[-LOG_RESULTS:]
    if result.exit_code == 0:
        return Health(status=HEALTHY, failing_streak=0, log=log)
    if health.status == STARTING and result.start_ns - started_at_ns < check.start_period_ns:
        return msgspec.structs.replace(health, log=log)
    streak = health.failing_streak + 1
    status = UNHEALTHY if streak >= (check.retries or DEFAULT_RETRIES) else health.status
    return Health(status=status, failing_streak=streak, log=log)


def output_text(data: bytes) -> str:
    """A probe's output as it is kept: at most OUTPUT_BYTES and dots for what is missing."""
    text = data[:OUTPUT_BYTES].decode("utf-8", "replace")
    return text + "..." if len(data) > OUTPUT_BYTES else text
