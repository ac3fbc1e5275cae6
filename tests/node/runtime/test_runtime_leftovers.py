"""Groups that supervisors left which were killed and never started again: the next supervisor of the machine takes them away."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from runtime.cgroups.groups import ABANDONED_AFTER_S, Groups, Parents, read_layout, remove
from runtime.spec import Limits


@pytest.fixture
def left() -> Iterator[Groups]:
    """A container's groups with one made in each."""
    if os.geteuid() != 0:
        pytest.skip("needs root: cgroups")
    groups = Parents(read_layout()).make("", f"{secrets.token_hex(4)}-left", Limits(), privileged=False)
    for folder in groups.folders:
        os.makedirs(os.path.join(folder, "nested"), exist_ok=True)
    yield groups
    remove(groups)


def _age(groups: Groups) -> None:
    for folder in groups.folders:
        os.utime(folder, (0, os.stat(folder).st_mtime - ABANDONED_AFTER_S - 1))


def _there(groups: Groups) -> list[str]:
    return [folder for folder in groups.folders if os.path.exists(folder)]


def test_empty_groups_of_yore_are_removed_with_what_is_in_them(left: Groups) -> None:
    _age(left)
    Parents(read_layout()).sweep("nobody-")
    assert _there(left) == []


def test_groups_made_just_now_stay(left: Groups) -> None:
    Parents(read_layout()).sweep("nobody-")
    assert _there(left) == list(left.folders)


def test_groups_with_a_process_below_stay(left: Groups) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            for folder in left.folders:
                with open(os.path.join(folder, "nested", "cgroup.procs" if folder == left.unified else "tasks"), "w") as file:
                    file.write("0")
            os.kill(os.getpid(), 19)  # SIGSTOP: it is there, and does nothing
        finally:
            os._exit(1)
    try:
        os.waitpid(pid, os.WUNTRACED)
        _age(left)
        Parents(read_layout()).sweep("nobody-")
        assert _there(left) == list(left.folders)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
