"""`festoon node …`: ls, inspect, ps, update, promote, demote, rm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cli import tasks as task_list
from cli.api import Api, filters_of, reference
from cli.commands.system import FORMAT_HELP, LIST_FORMAT_HELP, inspect_all
from cli.configuration import format_of
from cli.failures import FAILED, CliFailure, each
from cli.flags import FILTER, option, options, switch
from cli.listing import Listing
from cli.output import natural
from cli.units import binary_size, go_time
from cli.usage import Group, command

node = Group(
    "node",
    summary="Manage Swarm nodes",
    lazy={
        "ls": ("cli.commands.node:ls", "List nodes in the swarm"),
        "inspect": ("cli.commands.node:inspect", "Display detailed information on one or more nodes"),
        "ps": ("cli.commands.node:ps", "List tasks running on one or more nodes, defaults to current node"),
        "update": ("cli.commands.node:update", "Update a node"),
        "promote": ("cli.commands.node:promote", "Promote one or more nodes to manager in the swarm"),
        "demote": ("cli.commands.node:demote", "Demote one or more nodes from manager in the swarm"),
        "rm": ("cli.commands.node:rm", "Remove one or more nodes from the swarm"),
    },
    aliases={"list": "ls", "remove": "rm"},
)

LISTING: Final = Listing(
    {
        "ID": "ID",
        "Self": "",
        "Hostname": "HOSTNAME",
        "Status": "STATUS",
        "Availability": "AVAILABILITY",
        "ManagerStatus": "MANAGER STATUS",
        "EngineVersion": "ENGINE VERSION",
        "TLSStatus": "TLS STATUS",
    },
    ("ID", "Hostname", "Status", "Availability", "ManagerStatus", "EngineVersion"),
    kind="*node.nodeContext",
    raw="node_id: {{.ID}}\nhostname: {{.Hostname}}\nstatus: {{.Status}}\navailability: {{.Availability}}\nmanager_status: {{.ManagerStatus}}\n",
    cells={"ID": "starred"},
)


@command("ls", summary="List nodes in the swarm", aliases=["node ls", "node list"])
@options("--filter", "-f", help="Filter output based on conditions provided", type=FILTER)
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--quiet", "-q", help="Only display IDs")
def ls(api: Api, arguments: tuple[str, ...], filter: tuple[str, ...], format: str, quiet: bool | None) -> int:
    found = api.get("/nodes", filters=filters_of(filter)) or []
    info = api.get("/info") if found and not quiet else {}
    swarm = info.get("Swarm") or {}
    found.sort(key=lambda n: natural((n.get("Description") or {}).get("Hostname", "")))
    print(LISTING.render([_row(n, swarm) for n in found], format_of(api.settings, "nodesFormat", format, quiet=quiet), quiet=bool(quiet)), end="")
    return 0


def _row(n: Mapping[str, Any], swarm: Mapping[str, Any]) -> dict[str, Any]:
    mine = n["ID"] == swarm.get("NodeID")
    manager = n.get("ManagerStatus") or {}
    description = n.get("Description") or {}
    root = ((swarm.get("Cluster") or {}).get("TLSInfo") or {}).get("TrustRoot")
    trusted = root is not None and (description.get("TLSInfo") or {}).get("TrustRoot") == root
    return {
        "ID": n["ID"],
        "starred": f"{n['ID']} {'*' if mine else ' '}",
        "Self": mine,
        "Hostname": description.get("Hostname", ""),
        "Status": str((n.get("Status") or {}).get("State", "")).capitalize(),
        "Availability": str((n.get("Spec") or {}).get("Availability", "")).capitalize(),
        "ManagerStatus": "Leader" if manager.get("Leader") else str(manager.get("Reachability", "")).capitalize(),
        "EngineVersion": (description.get("Engine") or {}).get("EngineVersion", ""),
        "TLSStatus": "Ready" if trusted else "Unknown" if root is None else "Needs Rotation",
    }


def _reference(api: Api, name: str) -> str:
    """The node's id; `self` is the node that answers."""
    if name != "self":
        return name
    node_id = (api.get("/info").get("Swarm") or {}).get("NodeID", "")
    if not node_id:
        api.get("/nodes")  # says why not, in the daemon's words
        raise CliFailure("node ID not found in /info")
    return str(node_id)


@command("inspect", "self|NODE [NODE...]", summary="Display detailed information on one or more nodes", least=1, most=None)
@option("--format", "-f", help=FORMAT_HELP, default="")
@switch("--pretty", help="Print the information in a human friendly format")
def inspect(api: Api, arguments: tuple[str, ...], format: str, pretty: bool | None) -> int:
    pretty = pretty or format == "pretty"
    if not pretty and format.startswith("pretty"):
        raise CliFailure("--format is incompatible with human friendly format")

    def get(name: str) -> Any:
        return api.get(f"/nodes/{reference(_reference(api, name), 'node')}")

    if not pretty:
        return inspect_all(arguments, lambda name: (get(name), "swarm.Node"), format, unreadable=FAILED, or_raw=False)
    print("".join(f"{line}\n" for name in arguments for line in _pretty(get(name))), end="")
    return 0


def _pretty(n: Mapping[str, Any]) -> Iterator[str]:
    spec, description, status = n.get("Spec") or {}, n.get("Description") or {}, n.get("Status") or {}
    yield f"ID:\t\t\t{n['ID']}"
    if spec.get("Name"):
        yield f"Name:\t\t\t{spec['Name']}"
    if spec.get("Labels"):
        yield "Labels:"
        yield from (f" - {key}={value}" if value else f" - {key}" for key, value in sorted(spec["Labels"].items()))
    yield f"Hostname:              \t{description.get('Hostname', '')}"
    yield f"Joined at:             \t{go_time(n.get('CreatedAt', '')).lower()}"
    yield "Status:"
    yield f" State:\t\t\t{str(status.get('State', '')).capitalize()}"
    if status.get("Message"):
        yield f" Message:              \t{status['Message'][:1].upper()}{status['Message'][1:]}"
    yield f" Availability:         \t{str(spec.get('Availability', '')).capitalize()}"
    if status.get("Addr"):
        yield f" Address:\t\t{status['Addr']}"
    manager = n.get("ManagerStatus")
    if manager:
        yield "Manager Status:"
        yield f" Address:\t\t{manager.get('Addr', '')}"
        yield f" Raft Status:\t\t{str(manager.get('Reachability', '')).capitalize()}"
        yield f" Leader:\t\t{'Yes' if manager.get('Leader') else 'No'}"
    where, resources = description.get("Platform") or {}, description.get("Resources") or {}
    yield "Platform:"
    yield f" Operating System:\t{where.get('OS', '')}"
    yield f" Architecture:\t\t{where.get('Architecture', '')}"
    yield "Resources:"
    yield f" CPUs:\t\t\t{resources.get('NanoCPUs', 0) // 10**9}"
    yield f" Memory:\t\t{binary_size(resources['MemoryBytes']) if resources.get('MemoryBytes') else ''}"
    engine = description.get("Engine") or {}
    by_type: dict[str, list[str]] = {}
    for plugin in engine.get("Plugins") or ():
        by_type.setdefault(plugin["Type"], []).append(plugin["Name"])
    if by_type:
        yield "Plugins:"
        yield from (f" {kind}:\t\t{', '.join(names)}" for kind, names in sorted(by_type.items()))
    yield f"Engine Version:\t\t{engine.get('EngineVersion', '')}"
    if engine.get("Labels"):
        yield "Engine Labels:"
        yield from (f" - {key}={value}" if value else f" - {key}" for key, value in sorted(engine["Labels"].items()))
    trust = description.get("TLSInfo") or {}
    if trust.get("TrustRoot"):
        yield f"TLS Info:\n TrustRoot:\n{trust['TrustRoot']}"
        yield f" Issuer Subject:\t{trust.get('CertIssuerSubject', '')}"
        yield f" Issuer Public Key:\t{trust.get('CertIssuerPublicKey', '')}"


@command("ps", "[NODE...]", summary="List tasks running on one or more nodes, defaults to current node", most=None)
@options("--filter", "-f", help="Filter output based on conditions provided", type=FILTER)
@option("--format", help="Pretty-print tasks using a Go template", default="")
@switch("--no-resolve", help="Do not map IDs to Names")
@switch("--no-trunc", help="Do not truncate output")
@switch("--quiet", "-q", help="Only display task IDs")
def ps(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    found: list[Any] = []
    failures: list[str] = []
    for name in arguments or ("self",):
        try:
            node_id = api.get(f"/nodes/{reference(_reference(api, name), 'node')}")["ID"]
            wanted = {**(filters_of(flags["filter"]) or {}), "node": [node_id]}
            found += api.get("/tasks", filters=wanted) or []
        except CliFailure as e:
            failures.append(e.message)
    names = task_list.Names(api, resolve=not flags["no_resolve"])
    trunc, quiet = not flags["no_trunc"], bool(flags["quiet"])
    if found or not failures:
        print(task_list.render(found, names, flags["format"], quiet=quiet, trunc=trunc, now=time.time()), end="")
    if failures:
        raise CliFailure("\n".join(failures))
    return 0


def _update(api: Api, name: str, change: Callable[[dict[str, Any]], bool]) -> str:
    """Change the node's spec; the node's id when there was nothing to change, else empty."""
    found = api.get(f"/nodes/{reference(name, 'node')}")
    spec = found.get("Spec") or {}
    if not change(spec):
        return str(found["ID"])
    api.post(f"/nodes/{found['ID']}/update", spec, version=found["Version"]["Index"])
    return ""


@command("update", "NODE", summary="Update a node", least=1, most=1)
@option("--availability", help='Availability of the node ("active", "pause", "drain")')
@options("--label-add", help='Add or update a node label ("key=value")')
@options("--label-rm", help="Remove a node label if exists")
@option("--role", help='Role of the node ("worker", "manager")')
def update(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    def change(spec: dict[str, Any]) -> bool:
        labels = dict(spec.get("Labels") or {})
        for text in flags["label_add"]:
            key, _, value = text.partition("=")
            labels[key] = value
        for key in flags["label_rm"]:
            if key not in labels:
                raise CliFailure(f"key {key} doesn't exist in node's labels")
            del labels[key]
        spec["Labels"] = labels
        if flags["role"] is not None:
            spec["Role"] = flags["role"]
        if flags["availability"] is not None:
            spec["Availability"] = flags["availability"]
        return True

    _update(api, arguments[0], change)
    print(arguments[0])
    return 0


def _set_role(api: Api, names: tuple[str, ...], role: str, done: str) -> int:
    def change(spec: dict[str, Any]) -> bool:
        before, spec["Role"] = spec.get("Role"), role
        return before != role

    for name in names:
        unchanged = _update(api, name, change)
        print(f"Node {unchanged} is already a {role}." if unchanged else f"Node {name} {done}")
    return 0


@command("promote", "NODE [NODE...]", summary="Promote one or more nodes to manager in the swarm", least=1, most=None)
def promote(api: Api, arguments: tuple[str, ...]) -> int:
    return _set_role(api, arguments, "manager", "promoted to a manager in the swarm.")


@command("demote", "NODE [NODE...]", summary="Demote one or more nodes from manager in the swarm", least=1, most=None)
def demote(api: Api, arguments: tuple[str, ...]) -> int:
    return _set_role(api, arguments, "worker", "demoted in the swarm.")


@command("rm", "NODE [NODE...]", summary="Remove one or more nodes from the swarm", least=1, most=None, aliases=["node rm", "node remove"])
@switch("--force", "-f", help="Force remove a node from the swarm")
def rm(api: Api, arguments: tuple[str, ...], force: bool | None) -> int:
    def remove(name: str) -> None:
        api.delete(f"/nodes/{reference(name, 'node')}", force=bool(force))
        print(name)

    return each(arguments, remove)
