"""`festoon run`, `create` and `attach`: a container made, its streams joined to ours, its exit status ours.

The order of the requests is Docker's: create (pull when the image is missing), attach, wait, start, resize. Source: docker/cli's container commands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

from cli import run_flags, run_spec, security_fields
from cli.api import Api, reference
from cli.configuration import proxies
from cli.env_files import env_lines, label_lines
from cli.failures import MISUSED, ApiFailure, CliFailure
from cli.flags import option, switch
from cli.joining import DETACHED, Waiting, join
from cli.service_fields import environment
from cli.usage import Refused, command
from cluster.model.reference import InvalidReference, Reference, is_id, parse

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
_PULLED_FOR: Final = ("No such image", "does not match the specified platform")
_WINDOWS: Final = '"--{}" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux'
_WINDOWS_ONLY: Final = ("cpu_count", "cpu_percent", "io_maxbandwidth", "io_maxiops")
DEFAULT_PLATFORM: Final = "DOCKER_DEFAULT_PLATFORM"
PULLS: Final = ("always", "missing", "never", "")


@command(
    "run", "IMAGE [COMMAND] [ARG...]", summary="Create and run a new container from an image", least=1, most=None, interspersed=False,
    aliases=["container run", "run"],
)  # fmt: skip
@run_flags.flags(run_flags.SHARED, run_flags.RUN)
def run(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    if flags["tty"] and flags["interactive"] and not flags["detach"] and not sys.stdin.isatty():
        raise CliFailure("the input device is not a TTY")
    body = _body(api, arguments, flags)
    if flags["tty"]:
        from cli.terminal import window_size

        body["HostConfig"]["ConsoleSize"] = list(window_size() or (0, 0))
    try:
        container_id = _created(api, body, flags)
    except CliFailure as e:
        raise Refused(e.message, _status(e.message)) from e
    if flags["detach"]:
        try:
            _start(api, container_id)
        finally:
            print(container_id)  # it is there, started or not
        return 0
    return _attached_run(api, container_id, body, flags)


@command(
    "create", "IMAGE [COMMAND] [ARG...]", summary="Create a new container", least=1, most=None, interspersed=False,
    aliases=["container create", "create"],
)  # fmt: skip
@run_flags.flags(run_flags.SHARED, run_flags.CREATE)
def create(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    body = _body(api, arguments, {**flags, "detach": False})
    print(_created(api, body, flags))
    return 0


@command("attach", "CONTAINER", summary="Attach local standard input, output, and error streams to a running container", least=1, most=1,
         aliases=["container attach", "attach"])  # fmt: skip
@option("--detach-keys", help="Override the key sequence for detaching a container", default="")
@switch("--no-stdin", help="Do not attach STDIN")
@switch("--sig-proxy", help="Proxy all received signals to the process (default true)")
def attach(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    found = api.get(f"/containers/{reference(arguments[0], 'container')}/json")
    state, config = found.get("State") or {}, found.get("Config") or {}
    if not state.get("Running"):
        raise CliFailure("You cannot attach to a stopped container, start it first")
    if state.get("Paused"):
        raise CliFailure("You cannot attach to a paused container, unpause it first")
    if state.get("Restarting"):
        raise CliFailure("You cannot attach to a restarting container, wait until it is running")
    tty, stdin = bool(config.get("Tty")), bool(config.get("OpenStdin")) and not flags["no_stdin"]
    if tty and stdin and not sys.stdin.isatty():
        raise CliFailure("the input device is not a TTY")
    names = {"stdin": stdin, "stdout": True, "stderr": True}
    with Waiting(api, found["Id"], "") as waiting:
        if join(api, found["Id"], names, tty=tty, detach_keys=flags["detach_keys"], proxy=flags["sig_proxy"] is not False and not tty, begin=None):
            raise CliFailure(DETACHED)
        return waiting.status()


def _attached_run(api: Api, container_id: str, body: Mapping[str, Any], flags: Mapping[str, Any]) -> int:
    names = {name: bool(body[f"Attach{name.capitalize()}"]) for name in ("stdin", "stdout", "stderr")}
    with Waiting(api, container_id, "removed" if flags["rm"] else "next-exit") as waiting:

        def begin() -> None:
            try:
                _start(api, container_id)
            except CliFailure:
                if flags["rm"]:
                    waiting.status()
                raise

        keys_are_its_own = bool(flags["tty"]) and names["stdin"]  # a terminal's Ctrl-C is a byte then, and what else ends us puts the terminal back
        proxy = flags["sig_proxy"] is not False and not keys_are_its_own
        detached = join(api, container_id, names, tty=bool(flags["tty"]), detach_keys=flags["detach_keys"], proxy=proxy, begin=begin)
        return 0 if detached else waiting.status()


def _start(api: Api, container_id: str) -> None:
    try:
        api.post(f"/containers/{container_id}/start")
    except ApiFailure as e:
        raise Refused(e.message, _status(e.reason)) from e


def _status(reason: str) -> int:
    if any(text in reason for text in ("executable file not found", "no such file or directory")):
        return NOT_FOUND
    return NOT_EXECUTABLE if any(text in reason for text in ("permission denied", "is a directory")) else MISUSED


def _created(api: Api, body: dict[str, Any], flags: Mapping[str, Any]) -> str:
    """The new container's id; a missing image is pulled unless --pull says never. Raises CliFailure."""
    try:
        name = None if is_id(body["Image"]) else parse(body["Image"]).with_default_tag()
    except InvalidReference as e:
        raise CliFailure(str(e)) from e
    for warning in run_spec.warnings(body["HostConfig"]):
        print(f"WARNING: {warning}", file=sys.stderr)
    path = flags["cidfile"]
    if not path:
        return _made(api, body, flags, name)
    with _new_file(path) as file:
        try:
            file.write(made := _made(api, body, flags, name))
        except BaseException:
            os.unlink(path)
            raise
    return made


def _new_file(path: str) -> TextIO:
    try:
        return open(path, "x")
    except FileExistsError:
        raise CliFailure(f"container ID file found, make sure the other container isn't running or delete {path}") from None
    except OSError as e:
        raise CliFailure(f"failed to create the container ID file: open {path}: {(e.strerror or '').lower()}") from e


def _made(api: Api, body: dict[str, Any], flags: Mapping[str, Any], name: Reference | None) -> str:
    """An image's id, which has no name, is asked of no registry."""
    wanted = _platform(flags)
    if flags["pull"] == "always" and name is not None:
        _pull(api, name, wanted, flags)
    try:
        made = api.post("/containers/create", body, name=flags["name"], platform=wanted)
    except ApiFailure as e:
        if name is None or flags["pull"] == "never" or not any(words in e.reason for words in _PULLED_FOR):
            raise
        print(f"Unable to find image '{name.familiar}' locally", file=sys.stderr)
        try:
            _pull(api, name, wanted, flags)
        except CliFailure as failure:
            from cli.nearest import proposals  # for mistakes alone

            raise CliFailure("\n".join((failure.message, *proposals(body["Image"], "image", api))), failure.status) from failure
        made = api.post("/containers/create", body, name=flags["name"], platform=wanted)
    for warning in made.get("Warnings") or ():
        print(f"WARNING: {warning}", file=sys.stderr)
    return str(made["Id"])


def _platform(flags: Mapping[str, Any]) -> str:
    text = str(flags["platform"] or os.environ.get(DEFAULT_PLATFORM, ""))
    if not text:
        return ""
    from cli.platforms import platform  # for who asks for one

    try:
        return str(platform(text))
    except ValueError as e:
        raise CliFailure(f"error parsing specified platform: {e}") from e


def _pull(api: Api, name: Reference, wanted: str, flags: Mapping[str, Any]) -> None:
    from cli import credentials
    from cli.transfer import Transfer

    query = {"fromImage": name.familiar_repository, "tag": name.digest or name.tag, "platform": wanted}
    with api.stream("POST", "/images/create", b"", credentials.header_for(name.domain), **query) as answer:
        Transfer(sys.stderr, quiet=bool(flags["quiet"])).show(answer.lines())


def _body(api: Api, arguments: tuple[str, ...], flags: Mapping[str, Any]) -> dict[str, Any]:
    if only := [_WINDOWS.format(name.replace("_", "-")) for name in _WINDOWS_ONLY if flags[name] is not None]:
        raise CliFailure("\n".join(only))
    if flags["pull"] not in PULLS:
        raise Refused(f"invalid pull option: '{flags['pull']}': must be one of \"always\", \"missing\" or \"never\"")
    try:
        files, labels = env_lines(flags["env_file"], os.environ), label_lines(flags["label_file"])
    except CliFailure as e:
        raise Refused(e.message) from e
    found = {name: value for name, _, value in (text.partition("=") for text in (*labels, *flags["label"]))}
    try:
        options = [security_fields.container_option(text) for text in flags["security_opt"]]
        given = list(dict.fromkeys((*files, *environment(flags["env"], os.environ))))
        return run_spec.build(arguments[0], arguments[1:], flags, [*given, *proxies(api.settings, api.host, given)], found, options)
    except CliFailure as e:
        raise Refused(e.message) if e.status == MISUSED else e from None
