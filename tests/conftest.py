"""Fixtures of whole nodes: one lab per session, labs of a test's own, the two programs that play docker. Examples of
Hypothesis have no deadline: a loaded machine is no failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests import leftovers
from tests.driver import OCTET, OWN_SUBNET, SUBNET, Lab
from tests.labs import standing

settings.register_profile("festoon", deadline=None)
settings.load_profile("festoon")


class _ByFile(LoadScopeScheduling):
    """Two processes share the files of tests (`./check`): fixtures of a file are made once, there is one guest at a time, and one
    container of a name in the group that the tests run in (festoon-oci has no supervisor that would tell them apart)."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(("tests/guest/", "tests/vm/")):
            return "guests"
        return "oci" if nodeid.startswith("tests/node/test_oci_") else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)  # in a guest pytest has no plugins
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByFile(config, log)


def _need(*programs: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces, cgroups and mounts are made")
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: ./check installs it")


@pytest.fixture(scope="session", autouse=True)
def _leave_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A run that is killed is cleaned up after by the next (tests/leftovers.py)."""
    if os.geteuid() == 0:
        leftovers.begin()
        leftovers.note_folder(tmp_path_factory.getbasetemp())
    yield
    leftovers.forget()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three nodes in a swarm of their own subnet; taken down at the end, whatever happened."""
    _need("busybox", "nft", "ip")
    with standing(f"test{OCTET}", "--swarm", "--subnet", f"{SUBNET}.0/24") as machine:
        yield machine


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """Labs of a test's own: make_lab("name", "--nodes", "1"); taken down at the end."""
    _need("busybox", "nft", "ip")
    made: list[Lab] = []

    def make(name: str, *argv: str) -> Lab:
        machine = Lab(f"{name}{OCTET}")
        leftovers.note_lab(machine.name)
        machine.festoon("down")  # an earlier test's that failed
        made.append(machine)
        done = machine.festoon("up", "--subnet", f"{OWN_SUBNET}.0/24", *argv)
        assert done.returncode == 0, done.stdout + done.stderr
        return machine

    try:
        yield make
    finally:
        for machine in made:
            machine.festoon("down")


@pytest.fixture(params=["festoon", "docker"])
def program(request: pytest.FixtureRequest) -> str:
    """Each walk is made twice: by festoon and by the real docker client."""
    if request.param == "docker" and shutil.which("docker") is None:
        pytest.skip("needs the docker client on the PATH")
    return str(request.param)
