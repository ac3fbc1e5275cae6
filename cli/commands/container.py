"""`festoon container …` and its short forms: ls, inspect, logs, rm, stop, kill, start, restart, pause, unpause,
rename, wait, top."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from cli.api import Api, filters_of, reference
from cli.commands.system import FORMAT_HELP, LIST_FORMAT_HELP, inspect_all
from cli.configuration import format_of
from cli.failures import ApiFailure, CliFailure, each
from cli.flags import FILTER, INT, option, options, switch
from cli.listing import RAW, Listing, label_of
from cli.log_output import copy
from cli.output import aligned, ellipsis, short_id
from cli.units import human_duration, human_size, parse_since
from cli.usage import Group, command
from cluster.model.go_values import Pointer

MAX_COMMAND_LENGTH: Final = 20

container = Group(
    "container",
    summary="Manage containers",
    lazy={
        "attach": ("cli.commands.container_run:attach", "Attach local standard input, output, and error streams to a running container"),
        "create": ("cli.commands.container_run:create", "Create a new container"),
        "run": ("cli.commands.container_run:run", "Create and run a new container from an image"),
        "stats": ("cli.commands.container_stats:stats", "Display a live stream of container(s) resource usage statistics"),
        "update": ("cli.commands.container_use:update", "Update configuration of one or more containers"),
        "port": ("cli.commands.container_use:port", "List port mappings or a specific mapping for the container"),
        "commit": ("cli.commands.container_files:commit", "Create a new image from a container's changes"),
        "cp": ("cli.commands.container_files:cp", "Copy files/folders between a container and the local filesystem"),
        "diff": ("cli.commands.container_files:diff", "Inspect changes to files or directories on a container's filesystem"),
        "export": ("cli.commands.container_files:export", "Export a container's filesystem as a tar archive"),
        "exec": ("cli.commands.container_exec:exec_", "Execute a command in a running container"),
        "inspect": ("cli.commands.container:inspect", "Display detailed information on one or more containers"),
        "kill": ("cli.commands.container:kill", "Kill one or more running containers"),
        "logs": ("cli.commands.container:logs", "Fetch the logs of a container"),
        "ls": ("cli.commands.container:ls", "List containers"),
        "pause": ("cli.commands.container:pause", "Pause all processes within one or more containers"),
        "prune": ("cli.commands.system_use:container_prune", "Remove all stopped containers"),
        "rename": ("cli.commands.container:rename", "Rename a container"),
        "restart": ("cli.commands.container:restart", "Restart one or more containers"),
        "rm": ("cli.commands.container:rm", "Remove one or more containers"),
        "start": ("cli.commands.container:start", "Start one or more stopped containers"),
        "stop": ("cli.commands.container:stop", "Stop one or more running containers"),
        "top": ("cli.commands.container:top", "Display the running processes of a container"),
        "unpause": ("cli.commands.container:unpause", "Unpause all processes within one or more containers"),
        "wait": ("cli.commands.container:wait", "Block until one or more containers stop, then print their exit codes"),
    },
    aliases={"list": "ls", "ps": "ls", "remove": "rm"},
)

LISTING: Final = Listing(
    {
        "ID": "CONTAINER ID",
        "Image": "IMAGE",
        "Command": "COMMAND",
        "CreatedAt": "CREATED AT",
        "RunningFor": "CREATED",
        "Status": "STATUS",
        "State": "STATE",
        "Ports": "PORTS",
        "Names": "NAMES",
        "Labels": "LABELS",
        "Mounts": "MOUNTS",
        "Networks": "NETWORKS",
        "LocalVolumes": "LOCAL VOLUMES",
        "Size": "SIZE",
        "Platform": "PLATFORM",
    },
    ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"),
    kind="*formatter.ContainerContext",
    tried_first=True,
    raw="container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\n"
    "status: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n",
)


@command("ls", summary="List containers", aliases=["container ls", "container list", "container ps", "ps"])
@switch("--all", "-a", help="Show all containers (default shows just running)")
@options("--filter", "-f", help="Filter output based on conditions provided", type=FILTER)
@option("--format", help=LIST_FORMAT_HELP, default="")
@option("--last", "-n", help="Show n last created containers (includes all states)", type=INT, default=-1)
@switch("--latest", "-l", help="Show the latest created container (includes all states)")
@switch("--no-trunc", help="Don't truncate output")
@switch("--quiet", "-q", help="Only display container IDs")
@switch("--size", "-s", help="Display total file sizes")
def ls(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    last = 1 if flags["latest"] and flags["last"] == -1 else flags["last"]
    quiet, form = bool(flags["quiet"]), flags["format"]
    if quiet and form:
        print("WARNING: Ignoring custom format, because both --format and --quiet are set.", file=sys.stderr)
        form = form if form == RAW else ""
    form = format_of(api.settings, "psFormat", form, quiet=quiet)
    whole = form == "{{json .}}"  # which has the sizes too; `json` has not
    found = api.get(
        "/containers/json",
        all=bool(flags["all"]),
        limit=last if last > 0 else None,
        size=bool(flags["size"]) or whole or ".Size" in form,
        filters=filters_of(flags["filter"]),
    )
    rows = [container_row(c, trunc=not flags["no_trunc"], now=time.time()) for c in found or ()]
    listing = LISTING
    if flags["size"]:
        listing = LISTING._replace(columns=(*LISTING.columns, "Size"), raw=LISTING.raw + "size: {{.Size}}\n")
    print(listing.render(rows, form, quiet=quiet), end="")
    return 0


def container_row(c: Mapping[str, Any], *, trunc: bool, now: float) -> dict[str, Any]:
    names = [name.removeprefix("/") for name in c.get("Names") or () if not trunc or "/" not in name.removeprefix("/")]
    shown = c.get("Command", "")
    mounts = [m.get("Name") or m.get("Source", "") for m in c.get("Mounts") or ()]
    size = f"{human_size(c.get('SizeRw') or 0)}"
    if c.get("SizeRootFs"):
        size += f" (virtual {human_size(c['SizeRootFs'])})"
    return {
        "ID": short_id(c["Id"]) if trunc else c["Id"],
        "Image": _image(c, trunc=trunc),
        "Command": f'"{ellipsis(shown, MAX_COMMAND_LENGTH) if trunc else shown}"',
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(c.get("Created", 0))),
        "RunningFor": f"{human_duration(now - c.get('Created', 0))} ago",
        "Status": c.get("Status", ""),
        "State": c.get("State", ""),
        "Ports": ports_text(c.get("Ports") or ()),
        "Names": ",".join(names),
        "Labels": ",".join(f"{k}={v}" for k, v in sorted((c.get("Labels") or {}).items())),
        "Label": label_of(c.get("Labels")),
        "Mounts": ",".join(ellipsis(m, 15) if trunc else m for m in mounts),
        "Networks": ",".join(sorted((c.get("NetworkSettings") or {}).get("Networks") or {})),
        "LocalVolumes": str(sum(m.get("Driver") == "local" for m in c.get("Mounts") or ())),
        "Size": size,
        "Platform": Pointer(None, "*v1.Platform"),  # of no multi-platform image
    }


def _image(c: Mapping[str, Any], *, trunc: bool) -> str:
    """Short: without a digest and in its familiar form, or the beginning of its id."""
    image = str(c.get("Image") or "<no image>")
    if not trunc:
        return image
    if image.startswith("sha256:") or short_id(image) == short_id(c.get("ImageID") or ""):
        return short_id(image)
    if "@" not in image and not image.startswith(("docker.io/", "index.docker.io/", "library/")):
        return image
    from cluster.model.reference import InvalidReference, parse  # late: most images are named as they are shown

    try:
        return parse(image)._replace(digest="").familiar
    except InvalidReference:
        return image


def ports_text(ports: Iterable[Mapping[str, Any]]) -> str:
    """As docker's DisplayablePorts: consecutive ones as ranges where host and container agree, mappings last."""
    groups: dict[tuple[str, str], tuple[int, int]] = {}
    done, mapped = [], []
    for port in sorted(ports, key=lambda p: (p.get("PrivatePort", 0), p.get("IP", ""), p.get("PublicPort", 0), p.get("Type", ""))):
        number, address, protocol = port.get("PrivatePort", 0), port.get("IP", ""), port.get("Type", "tcp")
        if address and port.get("PublicPort") != number:
            mapped.append(f"{_joined(address, str(port.get('PublicPort', 0)))}->{number}/{protocol}")
            continue
        first, last = groups.get((address, protocol), (number, number - 1))
        if number != last + 1:
            done.append(_group(address, protocol, first, last))
            first = number
        groups[address, protocol] = first, number
    return ", ".join((*done, *(_group(*key, *group) for key, group in groups.items()), *mapped))


def _group(address: str, protocol: str, first: int, last: int) -> str:
    numbers = f"{first}-{last}" if first != last else str(first)
    return f"{_joined(address, numbers)}->{numbers}/{protocol}" if address else f"{numbers}/{protocol}"


def _joined(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@command(
    "inspect",
    "CONTAINER [CONTAINER...]",
    summary="Display detailed information on one or more containers",
    least=1,
    most=None,
)
@option("--format", "-f", help=FORMAT_HELP, default="")
@switch("--size", "-s", help="Display total file sizes")
def inspect(api: Api, arguments: tuple[str, ...], format: str, size: bool | None) -> int:
    def get(name: str) -> tuple[Any, str]:
        return api.get(f"/containers/{reference(name, 'container')}/json", size=bool(size)), "container.InspectResponse"

    return inspect_all(arguments, get, format)


@command("logs", "CONTAINER", summary="Fetch the logs of a container", least=1, most=1, aliases=["container logs", "logs"])
@switch("--details", help="Show extra details provided to logs")
@switch("--follow", "-f", help="Follow log output")
@option("--since", help='Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)', default="")
@option("--tail", "-n", help="Number of lines to show from the end of the logs", default="all")
@switch("--timestamps", "-t", help="Show timestamps")
@option("--until", help='Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)', default="")
def logs(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    found = api.get(f"/containers/{reference(arguments[0], 'container')}/json")
    bounds = {name: _bound(name, flags[name]) for name in ("since", "until")}
    switches = {name: bool(flags[name]) for name in ("follow", "timestamps", "details")}
    query: dict[str, Any] = {"stdout": True, "stderr": True, **switches, **bounds, "tail": flags["tail"]}
    with api.stream("GET", f"/containers/{found['Id']}/logs", **query) as answer:
        copy(answer, raw=bool((found.get("Config") or {}).get("Tty")))
    return 0


def _bound(name: str, text: str) -> str:
    try:
        return parse_since(text, time.time()) if text else ""
    except ValueError as e:
        raise CliFailure(f'invalid value for "{name}": {e}') from e


class _Gone(CliFailure):
    """What was to be gone is gone already: said, and no failure."""


def named(names: tuple[str, ...], act: Callable[[str], Any]) -> int:
    """Do it to every container, print the names of those that it worked for, and then what went wrong."""

    def one(name: str) -> None:
        try:
            act(name)
            print(name)
        except _Gone as e:
            print(e.message, file=sys.stderr)

    return each(names, one)


@command("rm", "CONTAINER [CONTAINER...]", summary="Remove one or more containers", least=1, most=None, aliases=["container rm", "container remove", "rm"])
@switch("--force", "-f", help="Force the removal of a running container (uses SIGKILL)")
@switch("--link", "-l", help="Remove the specified link")
@switch("--volumes", "-v", help="Remove anonymous volumes associated with the container")
def rm(api: Api, arguments: tuple[str, ...], force: bool | None, link: bool | None, volumes: bool | None) -> int:
    def act(name: str) -> None:
        if not name.strip("/"):
            raise CliFailure("container name cannot be empty")
        try:
            api.delete(f"/containers/{reference(name.strip('/'))}", force=bool(force), v=bool(volumes), link=bool(link))
        except ApiFailure as e:
            if not (force and e.http_status == 404):
                raise
            raise _Gone(e.message) from e

    return named(arguments, act)


@command("stop", "CONTAINER [CONTAINER...]", summary="Stop one or more running containers", least=1, most=None, aliases=["container stop", "stop"])
@option("--signal", "-s", help="Signal to send to the container", default="")
@option("--timeout", "-t", help="Seconds to wait before killing the container", type=INT)
@option("--time", type=INT, instead="use --timeout instead")
def stop(api: Api, arguments: tuple[str, ...], signal: str, timeout: int | None, time: int | None) -> int:
    return _halted(api, "stop", arguments, signal, timeout, time)


@command("restart", "CONTAINER [CONTAINER...]", summary="Restart one or more containers", least=1, most=None, aliases=["container restart", "restart"])
@option("--signal", "-s", help="Signal to send to the container", default="")
@option("--timeout", "-t", help="Seconds to wait before killing the container", type=INT)
@option("--time", type=INT, instead="use --timeout instead")
def restart(api: Api, arguments: tuple[str, ...], signal: str, timeout: int | None, time: int | None) -> int:
    return _halted(api, "restart", arguments, signal, timeout, time)


def _halted(api: Api, verb: str, names: tuple[str, ...], signal: str, timeout: int | None, older: int | None) -> int:
    if timeout is not None and older is not None:
        raise CliFailure("conflicting options: cannot specify both --timeout and --time")
    given = older if timeout is None else timeout
    return named(names, lambda name: api.post(f"/containers/{reference(name, 'container')}/{verb}", t="" if given is None else str(given), signal=signal))


@command("kill", "CONTAINER [CONTAINER...]", summary="Kill one or more running containers", least=1, most=None, aliases=["container kill", "kill"])
@option("--signal", "-s", help="Signal to send to the container", default="")
def kill(api: Api, arguments: tuple[str, ...], signal: str) -> int:
    return named(arguments, lambda name: api.post(f"/containers/{reference(name, 'container')}/kill", signal=signal))


@command("start", "CONTAINER [CONTAINER...]", summary="Start one or more stopped containers", least=1, most=None, aliases=["container start", "start"])
@switch("--attach", "-a", help="Attach STDOUT/STDERR and forward signals")
@option("--checkpoint", help="Restore from this checkpoint", default="")
@option("--checkpoint-dir", help="Use a custom checkpoint storage directory", default="")
@option("--detach-keys", help="Override the key sequence for detaching a container", default="")
@switch("--interactive", "-i", help="Attach container's STDIN")
def start(api: Api, arguments: tuple[str, ...], attach: bool | None, interactive: bool | None, detach_keys: str, **checkpoints: str) -> int:
    if any(checkpoints.values()):
        raise CliFailure("Festoon makes no checkpoints of containers, so there is none to start from")
    if not attach and not interactive:
        failed: list[str] = []

        def begin(name: str) -> None:
            failed.append(name)
            api.post(f"/containers/{reference(name, 'container')}/start")
            failed.pop()

        try:
            return named(arguments, begin)
        except CliFailure as e:
            raise CliFailure(f"{e.message}\nError: failed to start containers: {', '.join(failed)}") from e
    if len(arguments) > 1:
        raise CliFailure("you cannot start and attach multiple containers at once")
    from cli.joining import Waiting, join

    found = api.get(f"/containers/{reference(arguments[0], 'container')}/json")
    config, removed = found.get("Config") or {}, (found.get("HostConfig") or {}).get("AutoRemove")
    tty, names = bool(config.get("Tty")), {"stdin": bool(interactive and config.get("OpenStdin")), "stdout": True, "stderr": True}
    with Waiting(api, found["Id"], "removed" if removed else "next-exit") as waiting:
        start_it = partial(api.post, f"/containers/{found['Id']}/start")
        return 0 if join(api, found["Id"], names, tty=tty, detach_keys=detach_keys, proxy=not tty, begin=start_it) else waiting.status()


@command(
    "pause",
    "CONTAINER [CONTAINER...]",
    summary="Pause all processes within one or more containers",
    least=1,
    most=None,
    aliases=["container pause", "pause"],
)
def pause(api: Api, arguments: tuple[str, ...]) -> int:
    return named(arguments, lambda name: api.post(f"/containers/{reference(name, 'container')}/pause"))


@command(
    "unpause",
    "CONTAINER [CONTAINER...]",
    summary="Unpause all processes within one or more containers",
    least=1,
    most=None,
    aliases=["container unpause", "unpause"],
)
def unpause(api: Api, arguments: tuple[str, ...]) -> int:
    return named(arguments, lambda name: api.post(f"/containers/{reference(name, 'container')}/unpause"))


@command("rename", "CONTAINER NEW_NAME", summary="Rename a container", least=2, most=2, aliases=["container rename", "rename"])
def rename(api: Api, arguments: tuple[str, ...]) -> int:
    if not all(arguments):
        raise CliFailure("Error: Neither old nor new names may be empty")
    try:
        api.post(f"/containers/{reference(arguments[0], 'container')}/rename", name=arguments[1])
    except ApiFailure as e:
        raise CliFailure(f"{e.message}\nError: failed to rename container named {arguments[0]}") from e
    return 0


@command(
    "wait",
    "CONTAINER [CONTAINER...]",
    summary="Block until one or more containers stop, then print their exit codes",
    least=1,
    most=None,
    aliases=["container wait", "wait"],
)
def wait(api: Api, arguments: tuple[str, ...]) -> int:
    def wait_for(name: str) -> None:
        with api.stream("POST", f"/containers/{reference(name, 'container')}/wait") as answer:
            print(json.loads(answer.read())["StatusCode"])

    return each(arguments, wait_for)


@command(
    "top",
    "CONTAINER [ps OPTIONS]",
    summary="Display the running processes of a container",
    least=1,
    most=None,
    aliases=["container top", "top"],
    interspersed=False,
)
def top(api: Api, arguments: tuple[str, ...]) -> int:
    found = api.get(f"/containers/{reference(arguments[0], 'container')}/top", ps_args=" ".join(arguments[1:]))
    lines = ["\t".join(row) for row in (found["Titles"], *found["Processes"])]
    print(aligned(lines, width=20, padding=1), end="")
    return 0
