"""A supervisor of its own for each test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node.runtime.machine import Machine, kill_and_wait, machine_in


@pytest.fixture
def killed() -> Callable[[int], None]:
    return kill_and_wait


@pytest.fixture(scope="session")
def _busybox() -> str:
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces, mounts, cgroups")
    if not os.path.exists("/bin/busybox"):
        pytest.skip("needs /bin/busybox (Debian: busybox-static)")
    return "/bin/busybox"


@pytest.fixture
def machine(_busybox: str) -> Iterator[Machine]:
    with machine_in(Path(tempfile.mkdtemp(prefix="festoon-runtime-")), _busybox) as made:
        yield made
