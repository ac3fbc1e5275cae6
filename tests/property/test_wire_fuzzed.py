"""Every decoder of bytes from others, fuzzed by coverage for a while: tests/fuzz/wire.py in a process for each."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = 100_000
SEED = 20261129  # libFuzzer's; the same bytes are tried wherever the same code runs
SECONDS = 120
PROJECT = Path(__file__).parents[2]
TARGETS = ("connection", "call", "changes", "messages", "snapshot", "saved", "segment", "record", "hello", "answer")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris: pip install -e .[fuzz]"),
]


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_lead_anywhere_but_to_a_value_or_its_own_error(target: str, tmp_path: Path) -> None:
    options = [f"-atheris_runs={RUNS}", f"-seed={SEED}", f"-max_total_time={SECONDS}", "-max_len=1024", "-rss_limit_mb=1024", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.wire", target, *options], cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS * 3, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Done " in done.stdout + done.stderr, "it was fuzzed"
