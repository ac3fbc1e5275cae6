"""festoon-oci's own executable is out of the containers' reach: every command whose process becomes part of one runs from a read-only mount of its own
(CVE-2019-5736)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node import oci_bundles

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not Path(oci_bundles.BUSYBOX).exists(), reason="needs root and busybox")


@pytest.fixture
def oci() -> Iterator[Any]:
    with oci_bundles.oci() as made:
        yield made


def is_sealed(pid: int) -> bool:
    """Its executable stands on a read-only mount, and can't be opened for writing by the host's root either."""
    with pytest.raises(OSError, match=r"Read-only file system|Text file busy"):
        os.close(os.open(f"/proc/{pid}/exe", os.O_WRONLY))
    return bool(os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY)


def test_the_first_process_that_waits_for_its_start(oci: Any) -> None:
    oci.write("sleep", "1000")
    assert oci("create", "one").returncode == 0
    pid = json.loads(oci("state", "one").stdout)["pid"]
    assert os.path.samefile(f"/proc/{pid}/exe", sys.executable)
    assert is_sealed(pid)
    oci("delete", "--force", "one")


@pytest.mark.parametrize("command", ["run", "exec"])
def test_who_forks_what_runs_inside(oci: Any, command: str) -> None:
    oci.write("sh", "-c", "echo up; exec sleep 1000")
    with subprocess.Popen([oci_bundles.PROGRAM, "--root", str(oci.root), "run", "one"], cwd=oci.bundle, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        if command == "run":
            assert is_sealed(running.pid)
        else:
            joining = [oci_bundles.PROGRAM, "--root", str(oci.root), "exec", "one", "sh", "-c", "echo in; exec sleep 1000"]
            with subprocess.Popen(joining, stdout=subprocess.PIPE) as joined:
                assert joined.stdout is not None
                assert joined.stdout.readline() == b"in\n"
                assert is_sealed(joined.pid)
                oci("kill", "--all", "one", "KILL")
        oci("kill", "one", "KILL")
