"""The fork of a container's first process and of those that join it. Owns the moment between fork and exec, and the child's side of the pauses.

The child is the command's own: when the command has ended it becomes the child of the nearest subreaper above, which is the caller that waits for it.
"""

from __future__ import annotations

import gc
import os
import signal
import stat
from typing import NamedTuple, NoReturn

from runtime.child.execution import candidates, explain
from runtime.errors import StartFailed
from runtime.kernel.processes import children_in, children_in_new_pid_namespace
from runtime.kernel.program import Program
from runtime.oci import hooks
from runtime.oci.compile import Staged
from runtime.oci.values import Hook, Process

FAILED_STATUS = 127
REPORT_MAX_BYTES = 4096
NEW_PIDS, SAME_PIDS = -1, -2


class Pauses(NamedTuple):
    """Descriptors of the child's conversation; -1 where there is no such pause. `report`: to the parent, a byte for each pause reached, or a failure;
    `proceed`: a byte when the parent's hooks have run; `gate`: `start` writes a byte; `late`: where a failure after the gate is told;
    `parents`: ends that only the parent may hold, so that its death is heard."""

    report: int
    proceed: int = -1
    gate: int = -1
    late: int = -1
    parents: tuple[int, ...] = ()


class Later(NamedTuple):
    """Hooks that the child runs itself, and what they read."""

    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    creating: tuple[bytes, bytes] = (b"", b"")
    created: tuple[bytes, bytes] = (b"", b"")


SEPARATED, READY = b"s", b"r"
FAILURE = b"E"


def fork(staged: Staged, process: Process, pauses: Pauses, later: Later, pids: int) -> int:
    """The child's pid. `pids`: NEW_PIDS, SAME_PIDS, or a descriptor of the pid namespace to be born in. Raises OSError. The command makes no other
    child afterwards unless it is in the right namespace again, which is seen to here."""
    program = Program(staged.operations)
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        if pids == NEW_PIDS:
            children_in_new_pid_namespace()
        elif pids >= 0:
            children_in(pids)
        pid = os.fork()
        if pid == 0:
            _become(program, staged, process, pauses, later)
    finally:
        if pids != SAME_PIDS:
            children_in(home)
        os.close(home)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _become(program: Program, staged: Staged, process: Process, pauses: Pauses, later: Later) -> NoReturn:
    speak = pauses.report
    try:
        gc.disable()
        for descriptor in pauses.parents:
            os.close(descriptor)
        registers = program.new_registers()
        _run(program, staged, process, 0, staged.separated, registers)
        if pauses.proceed >= 0:
            os.write(speak, SEPARATED)
            if os.read(pauses.proceed, 1) != b"\1":
                _leave()
        _run(program, staged, process, staged.separated, staged.built, registers)
        if later.create_container:
            hooks.run_all("createContainer", later.create_container, _with_pid(later.creating))
        _run(program, staged, process, staged.built, staged.ready, registers)
        _look_up(process)
        os.write(speak, READY)
        if pauses.gate >= 0:
            if os.read(pauses.gate, 1) != b"\1":
                _leave()
            speak = pauses.late
        if later.start_container:
            hooks.run_all("startContainer", later.start_container, _with_pid(later.created))
        _run(program, staged, process, staged.ready, len(staged.operations), registers)
        raise StartFailed(f'exec: "{process.argv[0]}": executable file not found in $PATH', FAILED_STATUS)
    except StartFailed as fault:
        os.write(speak, FAILURE + b"%03d" % fault.exit_status + str(fault).encode()[:REPORT_MAX_BYTES])
    except OSError as error:
        os.write(speak, FAILURE + b"128" + str(error).encode()[:REPORT_MAX_BYTES])
    finally:
        os._exit(FAILED_STATUS)


def _leave() -> NoReturn:
    os._exit(FAILED_STATUS)


def _with_pid(halves: tuple[bytes, bytes]) -> bytes:
    """The state as the container's own processes see it: they are told the pid that they would see."""
    return halves[0] + b"%d" % os.getpid() + halves[1]


def _run(program: Program, staged: Staged, process: Process, start: int, stop: int, registers: list[int]) -> None:
    failed = program.run(start, stop, registers)
    if failed is not None:
        index, error = failed
        raise explain(staged.operations, index, error, os.strerror(error), process.argv[0], process.cwd)


def _look_up(process: Process) -> None:
    """Says at create what the exec would only say at start. Raises StartFailed."""
    name = process.argv[0]
    for path in candidates(name, process.env):
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            if "/" in name:
                raise StartFailed(f'exec: "{name}": stat {name}: {_words(error)}', FAILED_STATUS if isinstance(error, FileNotFoundError) else 126) from error
            continue
        if not stat.S_ISDIR(mode) and os.access(path, os.X_OK):
            return
        if "/" in name:
            raise StartFailed(f'exec: "{name}": permission denied', 126)
    raise StartFailed(f'exec: "{name}": executable file not found in $PATH', FAILED_STATUS)


def _words(error: OSError) -> str:
    words = error.strerror or "error"
    return words[:1].lower() + words[1:]


def hear(report: int) -> bytes:
    """The child's next word; empty when its end is closed (executed, or gone). Raises StartFailed for a failure it tells."""
    said = os.read(report, 1)
    if said != FAILURE:
        return said
    data = b""
    while piece := os.read(report, REPORT_MAX_BYTES):
        data += piece
    raise StartFailed(data[3:].decode("utf-8", "replace"), int(data[:3]))
