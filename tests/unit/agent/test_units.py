"""The units of systemd: what must stand in them so that containers live on, and that systemd takes them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.install.units import NODE_UNIT, STEM_UNIT, Installed, units

HERE = Installed(Path(sys.executable), Path(sys.executable).parent)


def lines(name: str) -> list[str]:
    return units(HERE)[name].splitlines()


def test_the_stem_has_a_delegated_unit_that_nothing_restarts() -> None:
    assert {"Delegate=yes", "Type=forking", "GuessMainPID=no"} <= set(lines(STEM_UNIT))
    assert not [line for line in lines(STEM_UNIT) if line.startswith(("Restart=", "PartOf=", "BindsTo=", "PIDFile="))]


def test_the_node_comes_after_the_stem_and_takes_nothing_with_it() -> None:
    assert f"Wants=network-online.target {STEM_UNIT}" in lines(NODE_UNIT)
    assert "KillMode=process" in lines(NODE_UNIT)
    assert any(line.startswith("After=") and STEM_UNIT in line for line in lines(NODE_UNIT))
    assert not [line for line in lines(NODE_UNIT) if line.startswith(("Requires=", "BindsTo="))]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_them(tmp_path: Path) -> None:
    for name, text in units(HERE).items():
        (tmp_path / name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in units(HERE))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "festoon" in line]
    assert (done.returncode, complaints) == (0, []), done.stderr
