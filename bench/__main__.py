"""`python -m bench NAME [--runs N] [--json FILE]`: medians of repeated runs, a table on the screen, JSON on request.

Where Debian's docker.io is installed it is measured side by side, in turn, in the same run.
Needs root and an installed Festoon (`./check` or `./demo` installs it).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from bench.report import Report, table

NAMES = (
    "services", "memory", "lab_up", "runtime", "run", "mesh", "names", "network", "swarm", "unpack", "pull", "raft", "restart", "sessions", "failover",
    "simulation", "scheduler", "planner", "engine_api", "tables",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each figure (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    report = Report(options.name)
    try:
        importlib.import_module(f"bench.{options.name}").measure(report, options.runs)
    finally:
        print(table(report), flush=True)  # also what had been measured before a failure
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
