"""The query of a `…/logs` request, read once for containers, services and tasks."""

from __future__ import annotations

from dataclasses import dataclass

from agent.engine.call import Call
from agent.engine.convert import time_parameter_ns
from cluster.model.decimals import is_natural
from cluster.model.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`tail`: lines, -1 for all. Times 0: no bound."""

    follow: bool
    tail: int
    since_ns: int
    until_ns: int
    stdout: bool
    stderr: bool
    timestamps: bool
    details: bool


def log_options_of(call: Call) -> LogOptions:
    """Raises InvalidArgument for no stream at all and for times that can't be read."""
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if not (stdout or stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    tail = call.text("tail")
    return LogOptions(
        follow=call.flag("follow"),
        tail=int(tail) if is_natural(tail) else -1,
        since_ns=max(0, time_parameter_ns(call.text("since"))),
        until_ns=max(0, time_parameter_ns(call.text("until"))),
        stdout=stdout,
        stderr=stderr,
        timestamps=call.flag("timestamps"),
        details=call.flag("details"),
    )
