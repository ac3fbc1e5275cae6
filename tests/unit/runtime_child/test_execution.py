"""Docker's words and statuses for programs that do not start."""

from __future__ import annotations

import pytest

from runtime.child.execution import candidates, explain
from runtime.kernel.operations import Operation, Register
from runtime.kernel.syscalls import Call

OPERATIONS = (
    Operation(Call.FSMOUNT, (3, 1), "mount of /proc"),
    Operation(Call.FCHDIR, (4,), "cwd"),
    Operation(Call.EXECVE, (b"/x",), "exec"),
    Operation(Call.MKDIRAT, (-100, b"/w/x"), "cwd, made where it is missing"),
    Operation(Call.OPENAT2, (3, b"/bin", b"", 24), "bind of /a on /bin"),
    Operation(Call.MKDIRAT, (Register(46), b"x", 0o755), "bind of /a on /sys/x"),
)


@pytest.mark.parametrize(
    ("index", "error", "words", "message", "status"),
    [
        (6, 2, "No such file or directory", 'exec: "x": executable file not found in $PATH', 127),
        (2, 2, "No such file or directory", 'exec: "x": stat x: no such file or directory', 127),
        (2, 13, "Permission denied", 'exec: "x": permission denied', 126),
        (2, 8, "Exec format error", "exec x: exec format error", 126),
        (3, 20, "Not a directory", "Cannot mkdir: /w is not a directory", 127),
        (
            1, 20, "Not a directory", 'chdir to cwd ("/w") set in config.json failed: not a directory: Are you trying to mount a directory onto a file'
            " (or vice-versa)? Check if the specified host path exists and is the expected type", 127,
        ),
        (
            4, 21, "Is a directory", "error during container init: error mounting: bind of /a on /bin: not a directory: Are you trying to mount a"
            " directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type", 128,
        ),
        (5, 30, "Read-only file system", "error during container init: bind of /a on /sys/x: mkdir x: read-only file system", 128),
        (0, 1, "Operation not permitted", "mount of /proc: fsmount(3, 1): operation not permitted", 128),
    ],
)
def test_explanations(index: int, error: int, words: str, message: str, status: int) -> None:
    fault = explain(OPERATIONS, index, error, words, "x", "/w")
    assert (str(fault), fault.exit_status) == (message, status)


def test_candidates() -> None:
    assert candidates("ls", ["PATH=/a:/b/::rel:/c"]) == ("/a/ls", "/b/ls", "/c/ls")
    assert candidates("./ls", ["PATH=/a"]) == ("./ls",)
    assert candidates("ls", [])[0] == "/usr/local/sbin/ls"
