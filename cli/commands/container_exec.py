"""`festoon container exec`: a command in a running container, with a working terminal; its exit status is ours."""

from __future__ import annotations

import os
import sys
from typing import Any

from cli.api import Api, reference
from cli.configuration import text
from cli.env_files import env_lines
from cli.failures import CliFailure
from cli.flags import option, options, switch
from cli.joining import DETACHED
from cli.run_flags import ENVIRONMENT
from cli.service_fields import environment
from cli.usage import command


@command(
    "exec",
    "CONTAINER COMMAND [ARG...]",
    summary="Execute a command in a running container",
    least=2,
    most=None,
    interspersed=False,
    aliases=["container exec", "exec"],
)
@switch("--detach", "-d", help="Detached mode: run command in the background")
@option("--detach-keys", help="Override the key sequence for detaching a container", default="")
@options("--env", "-e", help="Set environment variables", type=ENVIRONMENT)
@options("--env-file", help="Read in a file of environment variables")
@switch("--interactive", "-i", help="Keep STDIN open even if not attached")
@switch("--privileged", help="Give extended privileges to the command")
@switch("--tty", "-t", help="Allocate a pseudo-TTY")
@option("--user", "-u", help='Username or UID (format: "<name|uid>[:<group|gid>]")', default="")
@option("--workdir", "-w", help="Working directory inside the container", default="")
def exec_(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    from cli.terminal import attached, window_size

    detach, interactive, tty = bool(flags["detach"]), bool(flags["interactive"]), bool(flags["tty"])
    if tty and interactive and not detach and not sys.stdin.isatty():
        raise CliFailure("the input device is not a TTY")
    keys = flags["detach_keys"] or text(api.settings, "detachKeys")
    size = window_size() if tty else None
    body: dict[str, Any] = {
        "User": flags["user"],
        "Privileged": bool(flags["privileged"]),
        "Tty": tty,
        "AttachStdin": interactive and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "DetachKeys": keys,
        "Env": environment((*env_lines(flags["env_file"], os.environ), *flags["env"]), os.environ),
        "WorkingDir": flags["workdir"],
        "Cmd": list(arguments[1:]),
    }
    if size is not None:
        body["ConsoleSize"] = list(size)
    exec_id = api.post(f"/containers/{reference(arguments[0], 'container')}/exec", body)["Id"]
    if detach:
        api.post(f"/exec/{exec_id}/start", {"Detach": True, "Tty": tty})
        return 0

    def resize(rows: int, columns: int) -> None:
        api.post(f"/exec/{exec_id}/resize", h=rows, w=columns)

    start: dict[str, Any] = {"Detach": False, "Tty": tty}
    if size is not None:
        start["ConsoleSize"] = list(size)
    with api.hijack(f"/exec/{exec_id}/start", start) as (connected, early):
        if attached(connected, early, tty=tty, interactive=interactive, resize=resize, keys=keys):
            raise CliFailure(DETACHED)
    return int(api.get(f"/exec/{exec_id}/json").get("ExitCode") or 0)
