"""`festoon network …`: create, connect, disconnect, ls, inspect, prune, rm, and path: each hop that a packet to a published port takes on this
node."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from cli import service_fields as fields
from cli.api import Api, filters_of, reference
from cli.commands.system import FORMAT_HELP, LIST_FORMAT_HELP, inspect_all
from cli.configuration import format_of, prune_filters
from cli.failures import ApiFailure, CliFailure
from cli.flags import FILTER, INT, MAP, STRINGS, FlagType, option, options, switch
from cli.listing import Listing, label_of
from cli.output import natural, short_id
from cli.run_fields import parse_link
from cli.service_flags import LABEL
from cli.units import go_time
from cli.usage import Group, command

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

network = Group(
    "network",
    summary="Manage networks",
    lazy={
        "capture": ("cli.commands.network_look:capture", "Write the packets of a task, container or network as a pcap file"),
        "connect": ("cli.commands.network:connect", "Connect a container to a network"),
        "create": ("cli.commands.network:create", "Create a network"),
        "diff": ("cli.commands.network_look:diff", "Show what of this node's networks is not as it should be"),
        "disconnect": ("cli.commands.network:disconnect", "Disconnect a container from a network"),
        "inspect": ("cli.commands.network:inspect", "Display detailed information on one or more networks"),
        "ls": ("cli.commands.network:ls", "List networks"),
        "path": ("cli.commands.network:path", "Follow a packet to a published port of this node, or between containers, tasks and services"),
        "prune": ("cli.commands.network:prune", "Remove all unused networks"),
        "rm": ("cli.commands.network:rm", "Remove one or more networks"),
    },
    aliases={"list": "ls", "remove": "rm"},
)

LISTING: Final = Listing(
    {
        "ID": "NETWORK ID",
        "Name": "NAME",
        "Driver": "DRIVER",
        "Scope": "SCOPE",
        "IPv6": "IPV6",
        "IPv4": "IPV4",
        "Internal": "INTERNAL",
        "Labels": "LABELS",
        "CreatedAt": "CREATED AT",
    },
    ("ID", "Name", "Driver", "Scope"),
    kind="*network.networkContext",
    raw="network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
)
_PRUNE_WARNING: Final = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue? [y/N] "
_INGRESS_WARNING: Final = (
    "WARNING! Before removing the routing-mesh network, make sure all the nodes in your swarm run the same docker "
    "engine version. Otherwise, removal may not be effective and functionality of newly create ingress networks will "
    "be impaired.\nAre you sure you want to continue? [y/N] "
)


@command("ls", summary="List networks", aliases=["network ls", "network list"])
@options("--filter", "-f", help='Provide filter values (e.g. "driver=bridge")', type=FILTER)
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--no-trunc", help="Do not truncate the output")
@switch("--quiet", "-q", help="Only display network IDs")
def ls(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    found = api.get("/networks", filters=filters_of(flags["filter"])) or []
    found.sort(key=lambda n: natural(n["Name"]))
    rows = [_row(n, trunc=not flags["no_trunc"]) for n in found]
    form = format_of(api.settings, "networksFormat", flags["format"], quiet=flags["quiet"])
    print(LISTING.render(rows, form, quiet=bool(flags["quiet"])), end="")
    return 0


def _row(n: Mapping[str, Any], *, trunc: bool) -> dict[str, Any]:
    return {
        "ID": short_id(n["Id"]) if trunc else n["Id"],
        "Name": n["Name"],
        "Driver": n.get("Driver", ""),
        "Scope": n.get("Scope", ""),
        "IPv4": str(bool(n.get("EnableIPv4"))).lower(),
        "IPv6": str(bool(n.get("EnableIPv6"))).lower(),
        "Internal": str(bool(n.get("Internal"))).lower(),
        "Labels": ",".join(f"{k}={v}" for k, v in sorted((n.get("Labels") or {}).items())),
        "CreatedAt": go_time(n.get("Created", "")),
        "Label": label_of(n.get("Labels")),
    }


@command("create", "NETWORK", summary="Create a network", least=1, most=1)
@switch("--attachable", help="Enable manual container attachment")
@options("--aux-address", help="Auxiliary IPv4 or IPv6 addresses used by Network driver", type=MAP)
@option("--config-from", help="The network from which to copy the configuration", default="")
@switch("--config-only", help="Create a configuration only network")
@option("--driver", "-d", help="Driver to manage the Network", default="bridge")
@options("--gateway", help="IPv4 or IPv6 Gateway for the master subnet", type=STRINGS)
@switch("--ingress", help="Create swarm routing-mesh network")
@switch("--internal", help="Restrict external access to the network")
@options("--ip-range", help="Allocate container ip from a sub-range", type=STRINGS)
@option("--ipam-driver", help="IP Address Management Driver", default="default")
@options("--ipam-opt", help="Set IPAM driver specific options", type=MAP)
@switch("--ipv4", help="Enable or disable IPv4 address assignment (default true)")
@switch("--ipv6", help="Enable or disable IPv6 address assignment")
@options("--label", help="Set metadata on a network", type=LABEL)
@options("--opt", "-o", help="Set driver specific options", type=MAP)
@option("--scope", help="Control the network's scope", default="")
@options("--subnet", help="Subnet in CIDR format that represents a network segment", type=STRINGS)
def create(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    body = {
        "Name": arguments[0],
        "Driver": flags["driver"],
        "Scope": flags["scope"],
        "IPAM": {
            "Driver": flags["ipam_driver"],
            "Options": fields.pairs(flags["ipam_opt"]),
            "Config": pools(flags["subnet"], flags["ip_range"], flags["gateway"], flags["aux_address"]),
        },
        "Internal": bool(flags["internal"]),
        "Attachable": bool(flags["attachable"]),
        "Ingress": bool(flags["ingress"]),
        "ConfigOnly": bool(flags["config_only"]),
        "ConfigFrom": {"Network": flags["config_from"]} if flags["config_from"] else None,
        "Options": fields.pairs(flags["opt"]),
        "Labels": fields.pairs(flags["label"]),
    }
    if flags["ipv4"] is not None:
        body["EnableIPv4"] = flags["ipv4"]
    if flags["ipv6"] is not None:
        body["EnableIPv6"] = flags["ipv6"]
    made = api.post("/networks/create", body)
    if made.get("Warning"):
        print(f"WARNING: {made['Warning']}", file=sys.stderr)
    print(made["Id"])
    return 0


def pools(
    subnets: Sequence[str], ranges: Sequence[str], gateways: Sequence[str], auxiliary: Sequence[str]
) -> list[dict[str, Any]]:
    """The address pools that the flags describe: each range, gateway and auxiliary address belongs to the subnet
    that holds it. Raises CliFailure in Docker's words."""
    from ipaddress import ip_network

    if len(subnets) < 2 and not ranges and not gateways and not auxiliary:
        return [{"Subnet": subnet} for subnet in subnets]  # the daemon says what is wrong with it
    if len(subnets) < max(len(ranges), len(gateways)):
        raise CliFailure("every ip-range or gateway must have a corresponding subnet")
    try:
        known = [(ip_network(subnet, strict=False), {"Subnet": subnet}) for subnet in subnets]
        for i, (one, _) in enumerate(known):
            if any(one.network_address in other or other.network_address in one for other, _ in known[:i]):
                raise CliFailure("multiple overlapping subnet configuration is not supported")
        wanted: list[tuple[str, str, IPv4Address | IPv6Address | None, str]] = [("IPRange", text, _range_start(text), "range") for text in ranges]
        wanted += [("Gateway", text, _address(text), "gateway") for text in gateways]
        for name, text, address, flag in wanted:
            pool = next((pool for subnet, pool in known if address is not None and address in subnet), None)
            if pool is None:
                raise CliFailure(f"no matching subnet for {flag} {text}")
            if name in pool:
                raise CliFailure(f"cannot configure multiple {flag}s ({text}, {pool[name]}) on the same subnet")
            pool[name] = text
        made: list[dict[str, Any]] = [dict(pool) for _, pool in known]
        for key, text in fields.pairs(tuple(auxiliary)).items():
            kept = _address(text)
            index = next((i for i, (subnet, _) in enumerate(known) if kept is not None and kept in subnet), None)
            if index is None:
                raise CliFailure(f"no matching subnet for aux-address {text}")
            made[index].setdefault("AuxiliaryAddresses", {})[key] = text
    except ValueError as e:
        raise CliFailure(f"invalid address: {e}") from e
    return made


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """None for what is no address: it is in no subnet then, which is what Docker says of it."""
    from ipaddress import ip_address

    try:
        return ip_address(text)
    except ValueError:
        return None


def _range_start(text: str) -> IPv4Address | IPv6Address:
    """Raises CliFailure in Docker's words for what is no range."""
    from ipaddress import ip_network

    try:
        if "/" not in text:
            raise ValueError
        return ip_network(text, strict=False).network_address
    except ValueError:
        raise CliFailure(f"invalid CIDR address: {text}") from None


@command(
    "inspect", "NETWORK [NETWORK...]", summary="Display detailed information on one or more networks", least=1, most=None
)
@option("--format", "-f", help=FORMAT_HELP, default="")
@switch("--verbose", "-v", help="Verbose output for diagnostics")
def inspect(api: Api, arguments: tuple[str, ...], format: str, verbose: bool | None) -> int:
    return inspect_all(arguments, lambda name: (api.get(f"/networks/{reference(name, 'network')}", verbose=bool(verbose)), "network.Inspect"), format)


@command("connect", "NETWORK CONTAINER", summary="Connect a container to a network", least=2, most=2)
@options("--alias", help="Add network-scoped alias for the container", type=STRINGS)
@options("--driver-opt", help="driver options for the network", type=STRINGS)
@option("--gw-priority", help="Highest gw-priority provides the default gateway. Accepts positive and negative values.", default=0, type=INT)
@option("--ip", help='IPv4 address (e.g., "172.30.100.104")', default="")
@option("--ip6", help='IPv6 address (e.g., "2001:db8::33")', default="")
@options("--link", help="Add link to another container", type=FlagType("list", parse_link))
@options("--link-local-ip", help="Add a link-local address for the container", type=STRINGS)
def connect(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    if any(not key or not equals for key, equals, _ in (text.partition("=") for text in flags["driver_opt"])):
        raise CliFailure("invalid key/value pair format in driver options")
    endpoint = {
        "IPAMConfig": {"IPv4Address": flags["ip"], "IPv6Address": flags["ip6"], "LinkLocalIPs": list(flags["link_local_ip"])},
        "Links": list(flags["link"]),
        "Aliases": list(flags["alias"]),
        "DriverOpts": fields.pairs(flags["driver_opt"]),
        "GwPriority": flags["gw_priority"],
    }
    path = f"/networks/{reference(arguments[0], 'network')}/connect"
    reference(arguments[1], "container")
    api.post(path, {"Container": arguments[1], "EndpointConfig": endpoint})
    return 0


@command("disconnect", "NETWORK CONTAINER", summary="Disconnect a container from a network", least=2, most=2)
@switch("--force", "-f", help="Force the container to disconnect from a network")
def disconnect(api: Api, arguments: tuple[str, ...], force: bool | None) -> int:
    path = f"/networks/{reference(arguments[0], 'network')}/disconnect"
    reference(arguments[1], "container")
    api.post(path, {"Container": arguments[1], "Force": bool(force)})
    return 0


@command("prune", summary="Remove all unused networks")
@options("--filter", help='Provide filter values (e.g. "until=<timestamp>")', type=FILTER)
@switch("--force", "-f", help="Do not prompt for confirmation")
def prune(api: Api, arguments: tuple[str, ...], filter: tuple[str, ...], force: bool | None) -> int:
    from cli.commands.volume import confirmed

    if not force and not confirmed(_PRUNE_WARNING):
        return 0
    done = api.post("/networks/prune", filters=filters_of(prune_filters(api.settings, filter)))
    if names := done.get("NetworksDeleted"):
        print("Deleted Networks:", *names, "", sep="\n")
    return 0


@command("rm", "NETWORK [NETWORK...]", summary="Remove one or more networks", least=1, most=None, aliases=["network rm", "network remove"])
@switch("--force", "-f", help="Do not error if the network does not exist")
def rm(api: Api, arguments: tuple[str, ...], force: bool | None) -> int:
    failures = []
    for name in arguments:
        try:
            found = api.find(f"/networks/{reference(name, 'network')}")
            if found and found.get("Ingress") and not _agreed():
                continue
            api.delete(f"/networks/{reference(name, 'network')}")
            print(name)
        except CliFailure as e:
            if not (force and isinstance(e, ApiFailure) and e.http_status == 404):
                failures.append(e.message)
    if failures:
        raise CliFailure("\n".join([*failures, "exit status 1"]))
    return 0


rm.optional = False  # Docker's usage line says no [OPTIONS] here


def _agreed() -> bool:
    print(_INGRESS_WARNING, end="", flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


@command(
    "path",
    "PORT | SOURCE TARGET",
    summary="Follow a packet to a published port of this node, or between containers, tasks and services",
    least=1,
    most=2,
    examples=(
        ("8080", "every hop of a connection to published port 8080, on all nodes when asked on a manager"),
        ("web.1 db", "from the first task of web to the virtual address of service db"),
        ("web.1 10.0.1.9 --svg path.svg", "from a task to an address, drawn"),
    ),
)
@option("--format", help="'json' prints the hops as JSON", default="")
@option("--svg", help="Draw them into a file instead", default="")
def path(api: Api, arguments: tuple[str, ...], format: str, svg: str) -> int:
    """Exit status 1 when the packet was not answered."""
    if len(arguments) == 2:
        found = packet = api.get("/festoon/network/path", source=arguments[0], target=arguments[1])
        title, parts = f"A packet from {found['title']}", []
    else:
        port = arguments[0]
        if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
            raise CliFailure(f"invalid port: {port}")
        found = api.get(f"/festoon/network/path/{port}")
        packet = found.get("packet") or {}
        title = f"A packet to port {port} of this node"
        parts = [(f"{title}, hop by hop, as the kernel has it:", hops)] if (hops := found.get("hops")) else []
    if packet:
        parts.append(("One connection, as it went:" if parts else f"{title}, as it went:", packet.get("hops") or ()))
    if svg:
        from cli.path_picture import svg as picture

        try:
            with open(svg, "w", encoding="utf-8") as file:
                file.write(picture(title, packet.get("hops") or found.get("hops") or ()))
        except OSError as error:
            raise CliFailure(f"{svg}: {error.strerror}") from error
    elif format == "json":
        from cluster.model.template_functions import as_json

        print(as_json(found))
    else:
        lines = [line for head, hops in parts for line in ("", *_path_lines(head, hops))][1:]
        lines += [f"\n{packet['outcome']}", *(f"not asked: {why}" for why in packet.get("missing") or ())] if packet else []
        lines += [f"\nwarning: {sentence}" for sentence in (*(packet.get("obstacles") or ()), *(found.get("warnings") or ()))]
        print("\n".join(lines))
    return 0 if not packet or str(packet["outcome"]).startswith("answered") else 1


def _path_lines(head: str, hops: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield head
    where = None
    for number, hop in enumerate(hops, 1):
        if hop.get("where") != where:
            where = hop.get("where")
            yield f"\n{where}"
        packets = hop.get("packets")
        counted = "" if packets in (None, -1) else f"   [{packets} packet{'' if packets == 1 else 's'}]"
        yield f"  {number}. {hop.get('what', '')}{counted}"
        yield from (f"       {line}" for line in str(hop.get("detail", "")).splitlines())
