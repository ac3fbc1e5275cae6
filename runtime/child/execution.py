"""From a command to execve: the search along PATH, the working folder, and Docker's words for what can go wrong. Pure.

Source: exec(3), Go's os/exec LookPath (the behaviour that Docker's users see), runc's init.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from runtime.child.faults import Refused
from runtime.errors import StartFailed
from runtime.kernel import constants as k
from runtime.kernel.operations import Operation, Pointers, Script, describe_operation
from runtime.kernel.running import UNEXPECTED
from runtime.kernel.syscalls import Call

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EXEC_STEP = "exec"
CWD_STEP = "cwd"
BIND_STEP = "bind of "
MADE_CWD_STEP = "cwd, made where it is missing"
NO_FOLDER_HINT = (
    ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
)
NOT_FOUND = 127
NOT_EXECUTABLE = 126
ENOEXEC = 8
FOLDER_IN_ROOT = struct.pack("=3Q", k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC, 0, k.IN_ROOT)
IN_THE_WAY = (k.EEXIST, k.ENOTDIR, k.ENOENT, k.ELOOP)


def candidates(name: str, env: Sequence[str]) -> tuple[str, ...]:
    """The paths to try, in order. A name with a slash is its own only candidate."""
    if "/" in name:
        return (name,)
    path = next((entry[5:] for entry in env if entry.startswith("PATH=")), DEFAULT_PATH)
    return tuple(f"{folder.rstrip('/')}/{name}" for folder in path.split(":") if folder.startswith("/"))


def execute(script: Script, argv: Sequence[str], env: Sequence[str]) -> None:
    """Tries every candidate; the list ends after them when the name was found nowhere."""
    check_strings(argv, env)
    script.step = EXEC_STEP
    arguments = Pointers(tuple(argument.encode() for argument in argv))
    environment = Pointers(tuple(entry.encode() for entry in env))
    searched = "/" not in argv[0]
    for path in candidates(argv[0], env):
        tolerate = (k.ENOENT, k.ENOTDIR, k.EACCES, k.ELOOP, k.ENAMETOOLONG) if searched else ()
        script.call(Call.EXECVE, path.encode(), arguments, environment, tolerate=tolerate)


def check_strings(argv: Sequence[str], env: Sequence[str]) -> None:
    """Raises Refused for what no exec can carry."""
    if not argv:
        raise Refused("No command specified")
    if any("\0" in text for text in (*argv, *env)):
        raise Refused("a command or environment contains a NUL byte")


def go_to(script: Script, cwd: str, create: bool) -> None:
    """The working folder, resolved inside the root and never through a magic link (CVE-2024-21626); made when it is
    missing."""
    if not cwd.startswith("/"):
        raise Refused("Cwd must be an absolute path")
    script.step = MADE_CWD_STEP if create else CWD_STEP
    if create:
        make_folders(script, cwd)
    root = script.keep(Call.OPENAT, k.AT_FDCWD, b"/", k.O_PATH | k.O_CLOEXEC)
    folder = script.keep(Call.OPENAT2, root, cwd.encode(), FOLDER_IN_ROOT, len(FOLDER_IN_ROOT))
    script.call(Call.FCHDIR, folder)


def make_folders(script: Script, path: str) -> None:
    """mkdir -p, after the root has become the container's; what is in the way shows itself in the next operation. Each
    parent is resolved inside the root and never through a magic link: a link of the image to /proc/self/fd/N or, in the
    host's pid namespace, /proc/1/root would make folders outside."""
    parts = [part.encode() for part in path.split("/") if part]
    if parts:
        script.call(Call.MKDIRAT, k.AT_FDCWD, b"/" + parts[0], 0o755, tolerate=IN_THE_WAY)
    if len(parts) < 2:
        return
    root = script.keep(Call.OPENAT, k.AT_FDCWD, b"/", k.O_PATH | k.O_CLOEXEC)
    for count in range(1, len(parts)):
        parent = script.keep(Call.OPENAT2, root, b"/".join(parts[:count]), FOLDER_IN_ROOT, len(FOLDER_IN_ROOT), tolerate=IN_THE_WAY, skip=2)
        script.call(Call.MKDIRAT, parent, parts[count], 0o755, tolerate=IN_THE_WAY)
        script.call(Call.CLOSE, parent)
    script.call(Call.CLOSE, root)


def explain(operations: Sequence[Operation], index: int, error: int, words: str, argv0: str, cwd: str) -> StartFailed:
    """The user's sentence for a child that failed at `index` (== length: nothing of PATH could be executed).
    `words`: strerror of `error`."""
    reason = words[:1].lower() + words[1:]
    quoted = argv0.replace("\\", "\\\\").replace('"', '\\"')
    if index >= len(operations):
        return StartFailed(f'exec: "{quoted}": executable file not found in $PATH', NOT_FOUND)
    failed = operations[index]
    if failed.step == EXEC_STEP:
        if error == k.ENOENT:
            return StartFailed(f'exec: "{quoted}": stat {argv0}: {reason}', NOT_FOUND)
        if error == ENOEXEC:
            return StartFailed(f"exec {argv0}: {reason}", NOT_EXECUTABLE)
        return StartFailed(f'exec: "{quoted}": {reason}', NOT_EXECUTABLE)
    if failed.step == MADE_CWD_STEP and error == k.ENOTDIR:
        return StartFailed(f"Cannot mkdir: {cwd} is not a directory", NOT_FOUND)
    if failed.step in (CWD_STEP, MADE_CWD_STEP):
        hint = NO_FOLDER_HINT if error == k.ENOTDIR else ""
        return StartFailed(f'chdir to cwd ("{cwd}") set in config.json failed: {reason}{hint}', NOT_FOUND)
    if failed.call is Call.CAPSET:
        return StartFailed(f"unable to apply caps: {reason}")
    if failed.call is Call.PRLIMIT64:
        what = f"error setting rlimit type {failed.arguments[1]!r}: {reason}"
        return StartFailed(f"error during container init: error setting rlimits for ready process: {what}")
    if failed.step.startswith(BIND_STEP) and error in (k.ENOTDIR, k.EISDIR):
        return StartFailed(f"error during container init: error mounting: {failed.step}: not a directory{NO_FOLDER_HINT}")
    if failed.call is Call.MKDIRAT and isinstance(name := failed.arguments[1], bytes):
        return StartFailed(f"error during container init: {failed.step}: mkdir {name.decode(errors='replace')}: {reason}")
    what = "an unexpected result" if error == UNEXPECTED else reason
    return StartFailed(f"{failed.step}: {describe_operation(failed)}: {what}")
