"""A run of the tests that is killed leaves machines and labs, and the next run takes them away; those of a run under way are left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.enter import ROOT
from tests import leftovers
from tests.driver import until

RUN = """
import os, sys, tempfile, time
from pathlib import Path
from tests import driver, leftovers
from tests.node.runtime.machine import machine_in
with machine_in(Path(tempfile.mkdtemp(prefix="festoon-killed-")), "/bin/busybox") as machine:
    lab = ""
    if "lab" in sys.argv:
        lab = f"killed{driver.OCTET}"
        leftovers.note_lab(lab)
        assert driver.Lab(lab).festoon("up", "--nodes", "1", "--subnet", f"{driver.OWN_SUBNET}.0/24").returncode == 0
    async def body(supervisor):
        pid = await machine.started(supervisor, machine.spec("sleep", "1000"))
        print(pid, machine.base, lab, flush=True)
    machine.run(body)
    sys.stdin.read()
"""


def a_run(*words: str) -> tuple[subprocess.Popen[str], list[str]]:
    """Another run of the tests, in the middle of one: the container's process, the machine's folder and the lab."""
    run = subprocess.Popen([sys.executable, "-c", RUN, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert run.stdout is not None
    return run, run.stdout.readline().split(" ")


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/bin/busybox"), reason="needs root and busybox")
def test_a_killed_run_is_swept_and_one_under_way_is_not(tmp_path: Path) -> None:
    killed, (container, folder, lab) = a_run("lab")
    alive, (other, kept, _) = a_run()
    try:
        lab = lab.strip()
        killed.kill()
        killed.communicate()
        assert os.path.exists(f"/proc/{container}")
        assert Path(ROOT, lab).exists()
        leftovers.sweep()
        assert until(lambda: not os.path.exists(f"/proc/{container}"))
        assert not os.path.exists(folder)
        assert not Path(ROOT, lab).exists()
        assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if os.fsencode(folder) in _read(path)]
        assert os.path.exists(f"/proc/{other}")
        assert os.path.exists(kept)
        assert tmp_path.exists(), "this run is under way too"
    finally:
        out, _ = alive.communicate("")
    assert alive.returncode == 0, out
    assert not os.path.exists(kept)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
