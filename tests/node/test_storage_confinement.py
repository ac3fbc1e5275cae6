"""The process that handles what users gave (runtime/storage/worker.py): its ways out, tried as it stands and with the one defence left out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call
from runtime.storage import tree
from runtime.storage.requests import Tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: chroot, capabilities")

GOT_OUT, KEPT_IN, FAILED = 0, 1, 2
DEEPER_THAN_ANY_FOLDER = 64
PR_GET_DUMPABLE = 3


def confined(folder: Path, attempt: Callable[[], bool], *, without: tuple[str, ...] = ()) -> int:
    """GOT_OUT or KEPT_IN: what became of the attempt in a process that is confined to the folder. `without`: names of system calls left out."""
    pid = os.fork()
    if pid == 0:
        status = FAILED
        try:
            by_itself()
            tree.call = lambda number, *operands: 0 if number.name in without else call(number, *operands)  # type: ignore[attr-defined]
            if "CHROOT" in without:
                os.chroot = lambda _path: None
            tree.confine(*tree.open_tree(Tree(folder=str(folder))))
            status = GOT_OUT if attempt() else KEPT_IN
        except PermissionError:
            status = KEPT_IN
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def by_itself() -> None:
    """What this process mounts goes with it."""
    call(Call.UNSHARE, k.CLONE_NEWNS)
    call(Call.MOUNT, 0, b"/", 0, k.MS_PRIVATE | k.MS_REC, 0)


def test_a_second_root_folder_is_no_way_out(tmp_path: Path) -> None:
    """chroot(2) tells how: it takes the right to change the root again."""
    inside, secret = tmp_path / "inside", tmp_path / "secret"
    inside.mkdir()
    secret.write_text("not for users\n")

    def climb() -> bool:
        os.makedirs("/way", exist_ok=True)
        os.chroot("/way")
        for _ in range(DEEPER_THAN_ANY_FOLDER):
            os.chdir("..")
        os.chroot(".")
        return os.path.exists(secret)

    assert confined(inside, climb) == KEPT_IN
    assert confined(inside, climb, without=("CAPSET",)) == GOT_OUT


def test_a_path_of_the_host_leads_nowhere(tmp_path: Path) -> None:
    inside, secret = tmp_path / "inside", tmp_path / "secret"
    inside.mkdir()
    (inside / "way").symlink_to(secret)
    secret.write_text("not for users\n")

    def follow() -> bool:
        return os.path.exists(secret) or os.path.exists("way")

    assert confined(inside, follow) == KEPT_IN
    assert confined(inside, follow, without=("CHROOT",)) == GOT_OUT


@pytest.mark.parametrize("number", [Call.MOUNT, Call.UNSHARE])
def test_no_mount_and_no_namespace_can_be_made(tmp_path: Path, number: Call) -> None:
    def make() -> bool:
        operands = (b"none", b"/", b"tmpfs", 0, 0) if number is Call.MOUNT else (k.CLONE_NEWNS,)
        return call(number, *operands) == 0

    assert confined(tmp_path, make) == KEPT_IN
    assert confined(tmp_path, make, without=("CAPSET",)) == GOT_OUT


def test_it_can_not_be_looked_into_when_it_enters_a_container_s_namespace(tmp_path: Path) -> None:
    """A running container's root is cloned inside its mount namespace: by then whoever has only the container's rights is kept from this process."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        by_itself()

        def noted(number: Call, *operands: int | bytes | bytearray) -> int:
            if number is Call.SETNS:
                os.write(writer, b"%d" % call(Call.PRCTL, PR_GET_DUMPABLE))
            return call(number, *operands)

        tree.call = noted  # type: ignore[attr-defined]
        root, _ = tree.open_tree(Tree(pid=os.getpid(), container_id="proc", mount_point=str(tmp_path)))
        os.write(writer, b" %d" % ("usr" in os.listdir(f"/proc/self/fd/{root}")))
        os._exit(0)
    os.close(writer)
    assert os.waitpid(pid, 0)[1] == 0
    assert os.read(reader, 100) == b"00 1", "in and back out, and the root is there"
    os.close(reader)
