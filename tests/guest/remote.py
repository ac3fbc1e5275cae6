"""The host's side of tests that run in a guest: one guest for the whole session, and pytest in it (worker.py).

Owns the guest; a test that takes it down or exceeds its time costs the guest, and the next test gets a new one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from vm import channel, machine
from vm.channel import Channel
from vm.errors import VmError
from vm.guest import agent
from vm.machine import Machine, Settings

MARK = "FESTOON_GUEST"
"""Set in the environment of what runs in the guest."""

COLLECTED_TIMEOUT_S = 180.0
TEST_TIMEOUT_S = 300.0
SETTINGS = Settings(name="guest", memory_mib=2048, cpus=2)
_SESSION = 1


class Guest:
    """A guest with a worker that has collected `files`. Raises VmError when there can be none."""

    def __init__(self, files: list[str], root: str) -> None:
        self.machine: Machine = machine.start(SETTINGS)
        self._text = b""
        self._errors = b""
        try:
            self.channel: Channel = channel.wait_ready(self.machine)
            environment = channel.environment() | {MARK: "1", "TMPDIR": "/var/tmp", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
            channel.start(self.channel, [sys.executable, "-m", "tests.guest.worker", *files], cwd=root, env=environment)
            answer = self._answer(time.monotonic() + COLLECTED_TIMEOUT_S)
            assert "collected" in answer, answer
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        self.machine.end()

    def run(self, test: str, following: str | None) -> Iterator[dict[str, Any]]:
        """A test's reports, as data. `following`: the next test in the guest, whose fixtures stay. Raises VmError when it does not end
        or takes the guest with it.
        """
        self.channel.send(agent.INPUT, _SESSION, json.dumps({"run": test, "next": following}).encode() + b"\n")
        deadline = time.monotonic() + TEST_TIMEOUT_S
        while True:
            answer = self._answer(deadline)
            if "report" in answer:
                yield answer["report"]
            elif answer.get("done") == test:
                return
            elif "unknown" in answer:
                raise VmError(f"the guest has not collected {test}")

    def _answer(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._text:
            try:
                kind, _, payload = self.channel.receive(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise VmError(f"no end in time in the guest\n{self._words()}") from None
            if kind == agent.OUTPUT:
                self._text += payload
            elif kind == agent.ERROR:
                self._errors = (self._errors + payload)[-machine.CONSOLE_BYTES_KEPT :]
            elif kind == agent.EXIT:
                raise VmError(f"the guest's worker ended with {payload[0]}\n{self._words()}")
        line, _, self._text = self._text.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _words(self) -> str:
        return self._errors.decode(errors="replace") + self.machine.console()


def inside() -> bool:
    """Whether this process runs in the guest."""
    return MARK in os.environ
