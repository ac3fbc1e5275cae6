"""When a container is started again: pure. Source: moby's restartmanager and daemon/monitor.go.

The pause before a restart doubles from FIRST_PAUSE_S to MAX_PAUSE_S and begins anew after a run of STEADY_S.
"""

from __future__ import annotations

from typing import Final

from agent.records import HostConfig, Record

FIRST_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 60.0
STEADY_S: Final = 10.0
NS_PER_S: Final = 1_000_000_000


def wanted(host: HostConfig, exit_code: int, restarts: int, *, stopped: bool) -> bool:
    """Whether the policy asks for another run. `restarts`: so far; `stopped`: somebody stopped it on purpose."""
    match host.restart:
        case "always":
            return True
        case "unless-stopped":
            return not stopped
        case "on-failure":
            return exit_code != 0 and (host.restart_max == 0 or restarts < host.restart_max)
        case _:
            return False


def wanted_at_boot(record: Record) -> bool:
    """Whether a node that starts brings this container up again; tasks are the cluster's."""
    if record.task_id or not record.state.started_at_ns or record.state.status in {"running", "paused"}:
        return False
    return wanted(record.host, record.state.exit_code, record.restart_count, stopped=record.stopped_by_user)


def pause_s(before_s: float, ran_s: float) -> float:
    """The pause after a run of `ran_s` seconds; `before_s` is the one before that run, 0 for none."""
    if before_s <= 0 or ran_s >= STEADY_S:
        return FIRST_PAUSE_S
    return min(before_s * 2, MAX_PAUSE_S)
