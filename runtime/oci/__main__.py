"""festoon-oci: the command-line runtime that containerd, Docker and podman drive in runc's place. Owns the exit status and where errors are told.

Imports little, and only what the command needs: every command is a process, and its start is most of its time.
"""

from __future__ import annotations

import os
import sys
import time

from runtime.child.faults import Refused
from runtime.errors import RuntimeFault
from runtime.kernel.processes import heed_signals
from runtime.oci.arguments import Line, parse

VERSION = "0.1.0"
SPEC_VERSION = "1.2.0"
SEALED = ("create", "run", "exec")
"""The commands whose process becomes part of a container."""
USAGE = """festoon-oci [--root DIR] [--log FILE] [--log-format text|json] COMMAND
  create|run [-b BUNDLE] [--console-socket S] [--pid-file F] [--preserve-fds N] [--no-pivot] [--no-new-keyring] [-d] ID
  start ID | state ID | kill [--all] ID [SIGNAL] | delete [--force] ID
  exec [-p PROCESS.json | ARGS] [-d] [-t] [--cwd DIR] [-u UID[:GID]] [-e VAR=V] [--console-socket S] [--pid-file F] ID [COMMAND...]
  ps [-f table|json] ID | list [-q] [-f table|json] | pause ID | resume ID | update [--resources FILE|-] ID | events [--stats | --interval D] ID | features
"""


def main(*, sealed: bool = False) -> int:
    """The exit status: the command's own, 1 for what went wrong (told on standard error and in --log)."""
    settings: dict[str, str] = {}
    try:
        line = parse(sys.argv[1:])
        settings = line.settings
        return _perform(line, sealed)
    except (Refused, RuntimeFault, OSError) as error:
        _tell(settings, _sentence(error))
        return 1


def _perform(line: Line, sealed: bool) -> int:
    if line.flag("help") or line.settings.get("help") or (not line.command and not line.settings.get("version")):
        sys.stdout.write(USAGE)
        return 0
    if line.settings.get("version"):
        sys.stdout.write(f"festoon-oci version {VERSION}\nspec: {SPEC_VERSION}\n")
        return 0
    if line.settings.get("systemd-cgroup") == "true":
        raise Refused("--systemd-cgroup is not supported: use the cgroupfs driver (native.cgroupdriver=cgroupfs, cgroup_manager=cgroupfs)")
    if line.command in SEALED and not sealed:
        from runtime.oci import sealing

        sealing.execute_again(sys.argv[1:])
    return _run(line)


def _run(line: Line) -> int:
    heed_signals()
    from runtime.oci import commands

    first = {
        "create": commands.create, "start": commands.start, "state": commands.show, "kill": commands.kill, "delete": commands.delete,
        "run": commands.run, "exec": commands.join,
    }.get(line.command)  # fmt: skip
    if first is not None:
        return first(line)
    from runtime.oci import inspection

    return {
        "ps": inspection.ps, "list": inspection.list_, "pause": inspection.pause, "resume": inspection.resume, "update": inspection.update,
        "events": inspection.events, "features": inspection.features,
    }[line.command](line)  # fmt: skip


def _sentence(error: Exception) -> str:
    from runtime.errors import StartFailed

    if isinstance(error, StartFailed):
        return f"unable to start container process: {error}"
    return str(error)


def _tell(settings: dict[str, str], sentence: str) -> None:
    """In the form that the caller reads its runtime's errors in."""
    sys.stderr.write(f"festoon-oci: {sentence}\n")
    path = settings.get("log")
    if not path:
        return
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if settings.get("log-format") == "json":
        import json

        record = json.dumps({"level": "error", "msg": sentence, "time": now})
    else:
        escaped = sentence.replace("\\", "\\\\").replace('"', '\\"')
        record = f'time="{now}" level=error msg="{escaped}"'
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, record.encode() + b"\n")
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
