"""Joined to a container: its streams are ours from before its start until it has said all, signals are passed on, its exit status is read.

Owns what INT and TERM mean meanwhile; never starts anything. Source: docker/cli's container run, start and attach, and its main, which ends at the third
signal in any case.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from cli import configuration
from cli.api import Api
from cli.failures import FAILED, MISUSED, CliFailure
from cluster.wire.http_client import Answer, ConnectionFailed

DETACHED: Final = "read escape sequence"
"""Docker's word of a user who has typed the detach keys."""

FORWARDED: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
ENDING: Final = (signal.SIGINT, signal.SIGTERM)
ENOUGH: Final = 3
"""So many of them end us, whatever the container makes of them."""


def join(api: Api, container_id: str, names: Mapping[str, bool], *, tty: bool, detach_keys: str, proxy: bool, begin: Callable[[], object] | None) -> bool:
    """Our streams and its own, from before `begin` until it has said all (False) or the user detaches (True). Without `begin` what runs already is made to
    draw its screen again. `proxy`: whether signals are passed on."""
    from cli.terminal import attached

    keys = detach_keys or configuration.text(api.settings, "detachKeys")

    def resize(rows: int, columns: int) -> None:
        api.post(f"/containers/{container_id}/resize", h=rows, w=columns)

    with ExitStack() as stack:
        joined = None
        if any(names.values()):
            query = {"stream": True, "detachKeys": keys, **names}
            joined = stack.enter_context(api.hijack(f"/containers/{container_id}/attach", **query))
        stack.enter_context(_signals(api, container_id, forwarded=proxy))
        if begin is not None:
            begin()
        if joined is None:
            return False
        return attached(*joined, tty=tty, interactive=names["stdin"], resize=resize, keys=keys, redraw=begin is None)


class Waiting:
    """The daemon's answer to `wait`, asked for before the start and read after the end."""

    def __init__(self, api: Api, container_id: str, condition: str) -> None:
        self._api, self._id, self._condition = api, container_id, condition
        self._answer: Answer | None = None
        self._open = ExitStack()

    def __enter__(self) -> Waiting:
        """Its head comes when the daemon waits."""
        with suppress(CliFailure):
            self._answer = self._open.enter_context(self._api.stream("POST", f"/containers/{self._id}/wait", condition=self._condition))
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def status(self) -> int:
        """Its exit status."""
        if self._answer is None:
            return MISUSED
        try:
            lines = self._answer.wait_lines(None)
            return int(json.loads(lines[0])["StatusCode"]) if lines else MISUSED
        except (ConnectionFailed, ValueError, KeyError):
            return MISUSED


@contextmanager
def _signals(api: Api, container_id: str, *, forwarded: bool) -> Iterator[None]:
    """Passed on, or nothing at all; the third that asks for an end raises SystemExit, so that a terminal is put back."""
    asked = 0

    def take(number: int, _frame: object) -> None:
        nonlocal asked
        asked += number in ENDING
        if asked == ENOUGH:
            print(f"\ngot {ENOUGH} SIGTERM/SIGINTs, forcefully exiting", file=sys.stderr)
            raise SystemExit(FAILED)
        if forwarded:
            with suppress(CliFailure):  # it has ended
                api.post(f"/containers/{container_id}/kill", signal=str(number))

    before = {number: signal.signal(number, take) for number in (FORWARDED if forwarded else ENDING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
