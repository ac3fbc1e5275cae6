"""`festoon info`, `version`, `inspect`, `events`: the daemon and its objects at large."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cli.api import API_VERSION, Api, filters_of, reference
from cli.failures import FAILED, ApiFailure, CliFailure
from cli.flags import FILTER, option, options, switch
from cli.listing import UNREADABLE, check_template, inspected
from cli.output import aligned
from cli.units import binary_size, human_duration, parse_since
from cli.usage import command
from cluster.version import VERSION

FORMAT_HELP: Final = (
    "Format output using a custom template:\n'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template.\n"
    "Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"
)
LIST_FORMAT_HELP: Final = (
    "Format output using a custom template:\n'table':            Print output in table format with column headers "
    "(default)\n'table TEMPLATE':   Print output in table format using the given Go template\n"
    + FORMAT_HELP.partition("\n")[2]
)
_KINDS: Final = {
    "container": ("/containers/{}/json", "container.InspectResponse"),
    "image": ("/images/{}/json", "image.InspectResponse"),
    "network": ("/networks/{}", "network.Inspect"),
    "volume": ("/volumes/{}", "volume.Volume"),
    "service": ("/services/{}?insertDefaults=true", "swarm.Service"),
    "task": ("/tasks/{}", "swarm.Task"),
    "node": ("/nodes/{}", "swarm.Node"),
    "plugin": ("/plugins/{}/json", "interface {}"),
    "secret": ("/secrets/{}", "swarm.Secret"),
    "config": ("/configs/{}", "swarm.Config"),
}
_NO_BUILD: Final = ("0001-01-01T00:00:00Z", "Mon Jan  1 00:00:00 0001")
"""When the daemon was built, as it says it and as Docker's client shows it."""
_SWARM_KINDS: Final = frozenset({"service", "task", "node", "secret", "config"})


_DEBUG_LINES: Final = (("File Descriptors", "NFd"), ("Goroutines", "NGoroutines"), ("System Time", "SystemTime"), ("EventsListeners", "NEventsListener"))


def _debugging() -> bool:
    return bool(os.environ.get("DEBUG"))


@command("info", summary="Display system-wide information", aliases=["system info", "info"])
@option("--format", "-f", help=FORMAT_HELP, default="")
def info(api: Api, arguments: tuple[str, ...], format: str) -> int:
    from cli import contexts  # late, because `ps` and others import this module

    context = contexts.current(api.context)
    client = {"Version": VERSION, "ApiVersion": API_VERSION, "Context": context, "Debug": _debugging()}
    if format:
        found = api.get("/info")
        found["ClientInfo"] = client
        _print_formatted(found, format, "system.dockerInfo")
        return 0
    print(f"Client: Festoon\n Version:    {VERSION}\n Context:    {context}\n Debug Mode: {str(_debugging()).lower()}\n\nServer:")
    found = api.get("/info")
    print("".join(f" {line}\n" for line in _server_lines(found)))
    for warning in found.get("Warnings") or ():
        print(warning, file=sys.stderr)
    return 0


def _print_formatted(found: Mapping[str, Any], form: str, kind: str, name: str = "") -> None:
    """`kind`: the type in Go. `name`: of the template, which its failures tell."""
    check_template(form, name=name)
    from cli.answers import typed
    from cluster.model.templates import Template, TemplateError

    try:
        print(Template("{{json .}}" if form == "json" else form, name=name).render(typed(found, kind)))
    except TemplateError as e:
        print(e.written)
        raise CliFailure(str(e)) from e


def _server_lines(i: Mapping[str, Any]) -> Iterator[str]:
    yield f"Containers: {i.get('Containers', 0)}"
    yield f" Running: {i.get('ContainersRunning', 0)}"
    yield f" Paused: {i.get('ContainersPaused', 0)}"
    yield f" Stopped: {i.get('ContainersStopped', 0)}"
    yield f"Images: {i.get('Images', 0)}"
    yield from _said(i, ("Server Version", "ServerVersion"), ("Storage Driver", "Driver"))
    yield from (f" {name}: {value}" for name, value in i.get("DriverStatus") or ())
    yield from (f"{name}: {value}" for name, value in i.get("SystemStatus") or ())
    yield from _said(i, ("Logging Driver", "LoggingDriver"), ("Cgroup Driver", "CgroupDriver"), ("Cgroup Version", "CgroupVersion"))
    plugins = i.get("Plugins") or {}
    yield "Plugins:"
    for name in ("Volume", "Network", "Authorization", "Log"):
        if name != "Authorization" or plugins.get(name):
            yield f" {name}: {' '.join(plugins.get(name) or ())}"
    if i.get("CDISpecDirs"):
        yield "CDI spec directories:"
        yield from (f" {folder}" for folder in i["CDISpecDirs"])
    if i.get("DiscoveredDevices"):
        yield "Discovered Devices:"
        yield from (f" {device.get('Source', '')}: {device.get('ID', '')}" for device in i["DiscoveredDevices"])
    yield from _swarm_lines(i.get("Swarm") or {})
    runtimes = sorted(i.get("Runtimes") or {})
    if runtimes:
        yield f"Runtimes: {' '.join(runtimes)}"
        yield f"Default Runtime: {i.get('DefaultRuntime', '')}"
    if i.get("OSType") == "linux":
        yield f"Init Binary: {i.get('InitBinary', '')}"
        yield from (f"{name} version: {(i.get(f'{name.capitalize()}Commit') or {}).get('ID', '')}" for name in ("containerd", "runc", "init"))
    if i.get("SecurityOptions"):
        yield "Security Options:"
        for text in i["SecurityOptions"]:
            name, *settings = (pair.partition("=")[::2] for pair in text.split(","))
            yield f" {name[1] or name[0]}"
            yield from (f"  {key.capitalize()}: {value}" for key, value in settings)
    yield from _said(
        i, ("Kernel Version", "KernelVersion"), ("Operating System", "OperatingSystem"), ("OSType", "OSType"), ("Architecture", "Architecture")
    )
    yield f"CPUs: {i.get('NCPU', 0)}"
    yield f"Total Memory: {binary_size(i.get('MemTotal', 0))}"
    yield from _said(i, ("Name", "Name"), ("ID", "ID"))
    yield f"Docker Root Dir: {i.get('DockerRootDir', '')}"
    yield f"Debug Mode: {str(bool(i.get('Debug'))).lower()}"
    if i.get("Debug") or _debugging():
        yield from (f" {label}: {i.get(name)}" for label, name in _DEBUG_LINES)
    yield from _said(i, ("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy"))
    if i.get("Labels"):
        yield "Labels:"
        yield from (f" {label}" for label in i["Labels"])
    yield f"Experimental: {str(bool(i.get('ExperimentalBuild'))).lower()}"
    yield from _registry_lines(i.get("RegistryConfig") or {})
    yield f"Live Restore Enabled: {str(bool(i.get('LiveRestoreEnabled'))).lower()}"
    yield from _said(i, ("Product License", "ProductLicense"))
    if i.get("DefaultAddressPools"):
        yield "Default Address Pools:"
        yield from (f"  Base: {pool.get('Base', '')}, Size: {pool.get('Size', 0)}" for pool in i["DefaultAddressPools"])


def _registry_lines(registries: Mapping[str, Any]) -> Iterator[str]:
    insecure = [name for name, known in (registries.get("IndexConfigs") or {}).items() if not known.get("Secure")]
    if insecure := [*insecure, *(registries.get("InsecureRegistryCIDRs") or ())]:
        yield "Insecure Registries:"
        yield from (f" {one}" for one in insecure)
    if registries.get("Mirrors"):
        yield "Registry Mirrors:"
        yield from (f" {url}" for url in registries["Mirrors"])


def _said(found: Mapping[str, Any], *lines: tuple[str, str]) -> Iterator[str]:
    """Those of these that have something to say."""
    return (f"{label}: {found[name]}" for label, name in lines if found.get(name))


def _swarm_lines(s: Mapping[str, Any]) -> Iterator[str]:
    state = s.get("LocalNodeState", "inactive")
    yield f"Swarm: {state}"
    if state in {"inactive", "locked"}:
        return
    yield f" NodeID: {s.get('NodeID', '')}"
    if s.get("Error"):
        yield f" Error: {s['Error']}"
    manager = bool(s.get("ControlAvailable"))
    yield f" Is Manager: {str(manager).lower()}"
    cluster = s.get("Cluster")
    if manager and cluster and s.get("Error", "") == "" and state != "error":
        yield from _cluster_lines(s, cluster)
    yield f" Node Address: {s.get('NodeAddr', '')}"
    managers = sorted(m.get("Addr", "") for m in s.get("RemoteManagers") or ())
    if managers:
        yield " Manager Addresses:"
        yield from (f"  {address}" for address in managers)


def _cluster_lines(s: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[str]:
    spec = cluster.get("Spec") or {}
    raft, ca = spec.get("Raft") or {}, spec.get("CAConfig") or {}
    orchestration, dispatcher = spec.get("Orchestration") or {}, spec.get("Dispatcher") or {}
    yield f" ClusterID: {cluster.get('ID', '')}"
    yield f" Managers: {s.get('Managers', 0)}"
    yield f" Nodes: {s.get('Nodes', 0)}"
    if cluster.get("DefaultAddrPool"):
        yield f" Default Address Pool: {'  '.join(cluster['DefaultAddrPool'])}  "
        yield f" SubnetSize: {cluster.get('SubnetSize', 0)}"
    if cluster.get("DataPathPort"):
        yield f" Data Path Port: {cluster['DataPathPort']}"
    yield " Orchestration:"
    yield f"  Task History Retention Limit: {orchestration.get('TaskHistoryRetentionLimit', 0)}"
    yield " Raft:"
    yield f"  Snapshot Interval: {raft.get('SnapshotInterval', 0)}"
    yield f"  Number of Old Snapshots to Retain: {raft.get('KeepOldSnapshots') or 0}"
    yield f"  Heartbeat Tick: {raft.get('HeartbeatTick', 0)}"
    yield f"  Election Tick: {raft.get('ElectionTick', 0)}"
    yield " Dispatcher:"
    yield f"  Heartbeat Period: {_words(dispatcher.get('HeartbeatPeriod', 0))}"
    yield " CA Configuration:"
    yield f"  Expiry Duration: {_words(ca.get('NodeCertExpiry', 0))}"
    yield f"  Force Rotate: {ca.get('ForceRotate', 0)}"
    if ca.get("ExternalCAs"):
        yield "  External CAs:"
        yield from (f"    {one.get('Protocol', '')}: {one.get('URL', '')}" for one in ca["ExternalCAs"])
    encryption = spec.get("EncryptionConfig") or {}
    yield f" Autolock Managers: {str(bool(encryption.get('AutoLockManagers'))).lower()}"
    yield " Root Rotation In Progress: " + str(bool(cluster.get("RootRotationInProgress"))).lower()


def _words(nanoseconds: int) -> str:
    return human_duration(nanoseconds / 1e9)


@command("version", summary="Show the Festoon version information")
@option("--format", "-f", help=FORMAT_HELP, default="")
def version(api: Api, arguments: tuple[str, ...], format: str) -> int:
    import platform  # late, because `ps` and others import this module

    from cli import contexts

    client: dict[str, Any] = {
        "Version": VERSION,
        "ApiVersion": API_VERSION,
        "DefaultAPIVersion": API_VERSION,
        "PythonVersion": platform.python_version(),
        "Os": "linux",
        "Arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "Context": contexts.current(api.context),
    }
    failure: CliFailure | None = None
    server = None
    try:
        server = api.get("/version")
    except CliFailure as e:
        failure = e
    if format:
        both = {"Client": {**client, "GoVersion": f"Python {client['PythonVersion']}"}, "Server": server}
        for component in (server or {}).get("Components") or ():
            if component.get("Details", {}).get("BuildTime") == _NO_BUILD[0]:
                component["Details"]["BuildTime"] = _NO_BUILD[1]
        _print_formatted(both, format, "system.versionInfo", "version")
    else:
        lines = ["Client: Festoon", *_facts(client, " ")]
        if server:
            lines += ["", "Server: " + server.get("Platform", {}).get("Name", "Festoon"), " Engine:", *_facts(server, "  ")]
        print(aligned(lines, width=20, padding=1), end="")
    if failure is not None:
        raise failure
    return 0


def _facts(found: Mapping[str, Any], indent: str) -> Iterator[str]:
    api_version = str(found.get("ApiVersion", ""))
    if found.get("MinAPIVersion"):
        api_version += f" (minimum version {found['MinAPIVersion']})"
    yield f"{indent}Version:\t{found.get('Version', '')}"
    yield f"{indent}API version:\t{api_version}"
    for label, name in (("Python version", "PythonVersion"), ("Go version", "GoVersion"), ("Built", "BuildTime")):
        if found.get(name):
            yield f"{indent}{label}:\t{found[name]}"
    yield f"{indent}OS/Arch:\t{found.get('Os', '')}/{found.get('Arch', '')}"
    if "Context" in found:
        yield f"{indent}Context:\t{found['Context']}"
    else:
        yield f"{indent}Kernel version:\t{found.get('KernelVersion', '')}"


@command(
    "inspect", "NAME|ID [NAME|ID...]", summary="Return low-level information on Festoon objects", least=1, most=None
)
@option("--format", "-f", help=FORMAT_HELP, default="")
@switch("--size", "-s", help="Display total file sizes if the type is container")
@option("--type", help="Only inspect objects of the given type")
def inspect(api: Api, arguments: tuple[str, ...], format: str, size: bool | None, type: str | None) -> int:
    if type is not None and type not in _KINDS:
        known = ", ".join(f'"{kind}"' for kind in sorted(_KINDS))
        raise CliFailure(f'unknown type: "{type}": must be one of {known}' if type else f"type is empty: must be one of {known}")
    if type:
        return inspect_all(arguments, lambda name: _of_kind(api, name, type, size=bool(size)), format)
    return inspect_all(arguments, lambda name: _any(api, name, size=bool(size)), format)


def _if_named(kind: str) -> str:
    """Docker's client asks for an image without a name, too."""
    return "" if kind == "image" else kind


def _of_kind(api: Api, name: str, kind: str, *, size: bool) -> tuple[Any, str]:
    path, go_type = _KINDS[kind]
    found = api.get(path.format(reference(name, _if_named(kind))), size=size if kind == "container" else None)
    if size and kind != "container":
        print(f"WARNING: --size ignored for {kind}", file=sys.stderr)
    return found, go_type


def _any(api: Api, name: str, *, size: bool) -> tuple[Any, str]:
    for kind in _KINDS:
        try:
            return _of_kind(api, name, kind, size=size)
        except ApiFailure as e:
            missing = e.http_status in {404, 501} or (e.http_status == 503 and kind in _SWARM_KINDS) or "invalid reference format" in e.reason
            if not missing:
                raise
    raise CliFailure(f"Error: No such object: {name}")


def inspect_all(names: tuple[str, ...], get: Callable[[str], tuple[Any, str]], form: str, *, unreadable: int = UNREADABLE,
                or_raw: bool = True) -> int:  # fmt: skip
    """Print what was found, then what was not. `get`: an answer and its type in Go. `unreadable`: the exit status for a template that can't be read.
    `or_raw`: see inspected."""
    check_template(form, unreadable)
    whole, found, lines, failures = form in ("", "json"), [], [], []
    for name in names:
        try:
            one = get(name)
            found.append(one)
            if not whole:
                lines.append(inspected([one], form, or_raw=or_raw))
        except CliFailure as e:
            failures.append(e.message)
    if whole:
        print(inspected(found, form) if found else "[]\n", end="")
    else:
        print("".join(lines) or "\n", end="")  # a line also when a template fits nothing of what was found
    if failures:
        raise CliFailure("\n".join(failures), FAILED)
    return 0


@command("events", summary="Get real time events from the server", aliases=["system events", "events"])
@options("--filter", "-f", help="Filter output based on conditions provided", type=FILTER)
@option("--format", help=FORMAT_HELP, default="")
@option("--since", help="Show all events created since timestamp", default="")
@option("--until", help="Stream events until this timestamp", default="")
def events(api: Api, arguments: tuple[str, ...], filter: tuple[str, ...], format: str, since: str, until: str) -> int:
    import json
    import time

    try:
        now = time.time()
        begin, end = (parse_since(text, now) if text else "" for text in (since, until))
    except ValueError as e:
        raise CliFailure(str(e)) from e
    form = "{{json .}}" if format == "json" else format
    if form:  # tried on an empty one before anything is asked for
        _event_text({}, form)
    with api.stream("GET", "/events", filters=filters_of(filter), since=begin, until=end) as answer:
        for line in answer.lines():
            print(_event_text(json.loads(line), form) if form else _event_line(json.loads(line)), flush=True)
    return 0


def _event_text(event: Mapping[str, Any], form: str) -> str:
    shown = inspected([(event, "*events.Message")], form, preface="Error parsing format: ", status=UNREADABLE, or_raw=False)
    return shown.removesuffix("\n")


def _event_line(event: Mapping[str, Any]) -> str:
    from datetime import UTC, datetime

    nanoseconds = int(event.get("timeNano", 0))
    moment = datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    actor = event.get("Actor") or {}
    attributes = ", ".join(f"{k}={v}" for k, v in sorted((actor.get("Attributes") or {}).items()))
    text = f"{moment}.{nanoseconds % 10**9:09d}Z {event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    return f"{text} ({attributes})" if attributes else text
