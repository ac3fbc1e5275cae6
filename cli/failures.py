"""What the command line says when it can't do what was asked: one sentence on standard error and an exit status."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

FAILED: Final = 1
MISUSED: Final = 125
"""Exit status for flags that don't exist or don't parse, as Docker's."""

INTERRUPTED: Final = 130


class CliFailure(Exception):
    """Ends the command: `message` goes to standard error (nothing when empty), `status` is the exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class ApiFailure(CliFailure):
    """The daemon refused. `reason` is its own sentence, `http_status` what it answered."""

    def __init__(self, reason: str, http_status: int) -> None:
        super().__init__(f"Error response from daemon: {reason}")
        self.reason = reason
        self.http_status = http_status


def each(names: Iterable[str], act: Callable[[str], object]) -> int:
    """Do it to every name, also after one that failed; what went wrong is said at the end, all of it, in order. Raises CliFailure."""
    failures = []
    for name in names:
        try:
            act(name)
        except CliFailure as e:
            failures.append(e.message)
    if failures:
        raise CliFailure("\n".join(failures))
    return 0
