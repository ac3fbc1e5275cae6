"""Waiting until a service has converged, and drawing how it goes. Waits on the daemon's stream of commits; never
polls.

Owns the waiting and the drawing; what converged means is in cli/progress.py.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

from cli.api import Api
from cli.failures import FAILED, CliFailure
from cli.patience import ROLLED_BACK, TIMED_OUT, Patience, hopeless, is_under_way, turned_round
from cli.progress import Line, Picture, verdict
from cluster.wire.http_client import Answer

_FAILURE: Final = b'{"message"'
NARROWEST_FOR_BARS: Final = 80
"""Columns that a terminal must have to get the bars."""


class Screen:
    """Lines that are drawn over on a terminal, and printed when they change elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._bars = shutil.get_terminal_size().columns >= NARROWEST_FOR_BARS
        self._shown: dict[str, str] = {}

    def draw(self, lines: Sequence[Line]) -> None:
        if not self._terminal:
            self._print([line for line in lines if line.bar is None])
            return
        height = len(self._shown)
        for line in lines:
            self._shown[line.key] = line.show(bars=self._bars)
        text = f"\x1b[{height}A" if height else ""
        self._out.write(text + "".join(f"\r\x1b[2K{shown}\n" for shown in self._shown.values()))
        self._out.flush()

    def _print(self, lines: Sequence[Line]) -> None:
        for line in lines:
            shown = line.show(bars=False)
            if self._shown.get(line.key) != shown:
                self._shown[line.key] = shown
                self._out.write(shown + "\n")
        self._out.flush()


def wait_converged(api: Api, service_id: str, verify_s: float, *, quiet: bool, patience: Patience | None = None, name: str = "") -> None:
    """Return when the service has had all that it asks for during `verify_s` without a break. `name`: what it is called in what is said, if not by its id.
    Raises CliFailure when its update has been paused, when it is gone, or when the daemon is; with `patience`, which also waits for the end of the
    update, when that was rolled back, when there is no hope, and when the time is over. Ctrl-C says how to go on looking and goes up as
    KeyboardInterrupt's own quiet end."""
    screen = None if quiet else Screen(sys.stdout)
    try:
        with api.stream("GET", "/festoon/watch", kinds="task,service,node") as changes:
            _wait(api, service_id, changes, verify_s, screen, patience, name or service_id)
    except KeyboardInterrupt:
        if screen is not None:
            print(
                f"Operation continuing in background.\nUse `festoon service ps {name or service_id}` to check progress.",
                file=sys.stderr,
            )


def _wait(api: Api, service_id: str, changes: Answer, verify_s: float, screen: Screen | None, patience: Patience | None, name: str) -> None:
    picture = Picture()
    since: float | None = None  # when it converged
    watch = Watch(patience, verify_s) if patience is not None else None
    next_change(changes, None)  # the stream's first line: nothing is missed from here on
    if screen is not None:
        screen.draw(picture.blank(api.get(f"/services/{service_id}", insertDefaults="false")))
    while True:
        service = api.get(f"/services/{service_id}", insertDefaults="false")
        failed = verdict(service)
        if failed:
            raise CliFailure(failed, FAILED if patience is None else ROLLED_BACK)
        now = time.monotonic()
        lines, converged = picture.look(service, _tasks(api, service_id), _active_nodes(api))
        if screen is not None:
            screen.draw(lines)
        if watch is not None:
            converged = converged and not is_under_way(service)
            watch.look(service, () if converged else api.get("/tasks", filters={"service": [service_id]}) or (), now)
        job = _is_job(service)
        if not converged:
            if since is not None and screen is not None:
                screen.draw([Line("verify", "Detected task failure")])
            since = None
        elif since is None:
            since = now
        left = None if since is None else 0.0 if job else max(since + verify_s - now, 0.0)
        if left == 0.0:
            if screen is not None:
                screen.draw([Line("verify" if not job else "job complete", f"Service {name} converged" if not job else "")])
            if watch is not None and watch.turned:
                raise CliFailure(watch.turned, ROLLED_BACK)
            return
        if left is not None and screen is not None:
            seconds = max(round(verify_s), 1)
            screen.draw([Line("verify", f"Waiting {seconds} seconds to verify that tasks are stable...")])
        next_change(changes, left if watch is None else watch.wait_s(left, now))


class Watch:
    """What `--wait` remembers between two looks."""

    def __init__(self, patience: Patience, verify_s: float) -> None:
        self._patience, self._verify_s = patience, verify_s
        self._ends = time.monotonic() + patience.timeout_ns / 1e9 if patience.timeout_ns else None
        self._hopeless_since: float | None = None
        self.turned = ""  # the sentence of an update that was rolled back by itself

    def look(self, service: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], now: float) -> None:
        """Raises CliFailure when there is no hope (for as long as tasks have to be up), or no time left."""
        self.turned = self.turned or turned_round(service, self._patience)
        failure = hopeless(service, tasks)
        if failure is None:
            self._hopeless_since = None
        elif self._hopeless_since is None:
            self._hopeless_since = now
        elif now - self._hopeless_since >= self._verify_s:
            raise failure
        if self._ends is not None and now >= self._ends:
            raise CliFailure(f"timed out after {self._patience.timeout_ns / 1e9:g}s", TIMED_OUT)

    def wait_s(self, left: float | None, now: float) -> float | None:
        """How long to wait for the next change at most."""
        hope = None if self._hopeless_since is None else self._hopeless_since + self._verify_s - now
        times = [at for at in (left, hope, None if self._ends is None else self._ends - now) if at is not None]
        return max(min(times), 0.0) if times else None


def next_change(changes: Answer, timeout_s: float | None) -> None:
    """Wait for a commit, at most so long. Raises CliFailure when the stream ends or says why it can't go on."""
    lines = changes.wait_lines(timeout_s)
    if lines is None:
        raise CliFailure("the daemon has ended the stream of changes")
    for line in lines:
        if line.startswith(_FAILURE):
            raise CliFailure(f"Error response from daemon: {json.loads(line)['message']}")


def _tasks(api: Api, service_id: str) -> list[Any]:
    return api.get("/tasks", filters={"service": [service_id], "_up-to-date": ["true"]}) or []


def _active_nodes(api: Api) -> set[str]:
    nodes = api.get("/nodes") or []
    return {n["ID"] for n in nodes if (n.get("Status") or {}).get("State") != "down"}


def _is_job(service: dict[str, Any]) -> bool:
    mode = (service.get("Spec") or {}).get("Mode") or {}
    return mode.get("ReplicatedJob") is not None or mode.get("GlobalJob") is not None
