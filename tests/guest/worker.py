"""pytest inside of a guest: imports and collects once, then runs one test at a time as the host asks.

`python -m tests.guest.worker FILE...`. Requests come as lines of JSON on standard input (`{"run": id, "next": id or null}`), and
answers leave as lines on what was standard output; pytest's own words go to standard error. The protocol is pytest's own for
reports that cross processes (pytest_report_to_serializable).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest


class Worker:
    def __init__(self, requests: int, answers: int) -> None:
        self.requests = os.fdopen(requests, encoding="utf-8")
        self.answers = os.fdopen(answers, "w", encoding="utf-8", buffering=1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        self.answer(collected=len(items))
        for line in self.requests:
            asked = json.loads(line)
            item = items.get(asked["run"])
            if item is None:
                self.answer(unknown=asked["run"])
                continue
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=items.get(asked["next"]))
            self.answer(done=item.nodeid)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.answer(report=self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_configure(self, config: pytest.Config) -> None:
        self.config = config

    def answer(self, **fields: Any) -> None:
        self.answers.write(json.dumps(fields) + "\n")


def main(files: list[str]) -> int:
    requests, answers = os.dup(0), os.dup(1)  # pytest takes the others
    os.dup2(2, 1)
    return int(pytest.main(["-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib", *files], plugins=[Worker(requests, answers)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
