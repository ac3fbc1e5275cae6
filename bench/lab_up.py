"""`festoon lab up` of three nodes, and `lab down`: whole commands, seconds."""

from __future__ import annotations

import time

from bench.peers import FESTOON, run
from bench.report import Report


def measure(report: Report, runs: int) -> None:
    for _ in range(runs):
        for figure, arguments in (("lab up, 3 nodes (s)", ("up",)), ("lab down (s)", ("down",))):
            began = time.perf_counter()
            run(FESTOON, "lab", *arguments, "--name", "bench")
            report.add(figure, "festoon", time.perf_counter() - began)
