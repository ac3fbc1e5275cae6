"""`festoon volume …`: create, ls, inspect, prune, rm."""

from __future__ import annotations

from typing import Any, Final

from cli.api import Api, filters_of, reference
from cli.commands.system import FORMAT_HELP, LIST_FORMAT_HELP, inspect_all
from cli.configuration import format_of, prune_filters
from cli.failures import CliFailure, each
from cli.flags import BYTES, FILTER, MAP, option, options, switch
from cli.listing import Listing, label_of
from cli.output import natural
from cli.service_flags import LABEL, flagged
from cli.units import human_size
from cli.usage import Group, command

volume = Group(
    "volume",
    summary="Manage volumes",
    operands="COMMAND",
    lazy={
        "create": ("cli.commands.volume:create", "Create a volume"),
        "inspect": ("cli.commands.volume:inspect", "Display detailed information on one or more volumes"),
        "ls": ("cli.commands.volume:ls", "List volumes"),
        "prune": ("cli.commands.volume:prune", "Remove unused local volumes"),
        "rm": ("cli.commands.volume:rm", "Remove one or more volumes"),
        "update": ("cli.commands.volume:update", "Update a volume (cluster volumes only)"),
    },
    aliases={"list": "ls", "remove": "rm"},
)
LISTING: Final = Listing(
    {
        "Driver": "DRIVER", "Name": "VOLUME NAME", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS", "Links": "LINKS", "Size": "SIZE",
        "Availability": "AVAILABILITY", "Group": "GROUP", "Status": "STATUS",
    },
    ("Driver", "Name"),
    "Name",
    kind="*formatter.volumeContext",
    raw="name: {{.Name}}\ndriver: {{.Driver}}\n",
)  # fmt: skip
PRUNE_WARNING: Final = "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure you want to continue? [y/N] "
PRUNE_ALL_WARNING: Final = "WARNING! This will remove all local volumes not used by at least one container.\nAre you sure you want to continue? [y/N] "


def pairs(given: tuple[str, ...]) -> dict[str, str]:
    """`key=value` words; a bare key has an empty value."""
    return dict(text.partition("=")[::2] for text in given)


def confirmed(question: str) -> bool:
    try:
        return input(question).strip().lower() == "y"
    except EOFError:
        return False


NO_CLUSTER_VOLUMES: Final = "cluster volumes need a CSI plugin, and Festoon runs no plugins"
_CLUSTER: Final = (
    option("--availability", help='Cluster Volume availability ("active", "pause", "drain") (default "active")'),
    option("--group", help="Cluster Volume group (cluster volumes)"),
    option("--limit-bytes", help="Minimum size of the Cluster Volume in bytes", type=BYTES),
    option("--required-bytes", help="Maximum size of the Cluster Volume in bytes", type=BYTES),
    option("--scope", help='Cluster Volume access scope ("single", "multi") (default "single")'),
    options("--secret", help="Cluster Volume secrets", type=MAP),
    option("--sharing", help='Cluster Volume access sharing ("none", "readonly", "onewriter", "all") (default "none")'),
    options("--topology-preferred", help="A topology that the Cluster Volume would be preferred in"),
    options("--topology-required", help="A topology that the Cluster Volume must be accessible from"),
    option("--type", help='Cluster Volume access type ("mount", "block") (default "block")'),
)


@command("create", "[VOLUME]", summary="Create a volume", most=1)
@option("--driver", "-d", help="Specify volume driver name", default="local")
@options("--label", help="Set metadata for a volume", type=LABEL)
@option("--name", help="Specify volume name", default="")
@options("--opt", "-o", help="Set driver specific options", type=MAP)
@flagged(_CLUSTER)
def create(api: Api, arguments: tuple[str, ...], driver: str, label: tuple[str, ...], name: str, opt: tuple[str, ...], **cluster: Any) -> int:
    if any(cluster.values()):
        raise CliFailure(NO_CLUSTER_VOLUMES)
    if arguments and name:
        raise CliFailure("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
    body = {"Name": arguments[0] if arguments else name, "Driver": driver, "DriverOpts": pairs(opt), "Labels": pairs(label)}
    print(api.post("/volumes/create", body)["Name"])
    return 0


@command("inspect", "VOLUME [VOLUME...]", summary="Display detailed information on one or more volumes", least=1, most=None)
@option("--format", "-f", help=FORMAT_HELP, default="")
def inspect(api: Api, arguments: tuple[str, ...], format: str) -> int:
    return inspect_all(arguments, lambda name: (api.get(f"/volumes/{reference(name, 'volume')}"), "volume.Volume"), format, or_raw=False)


@command("ls", summary="List volumes", aliases=["volume ls", "volume list"])
@options("--filter", "-f", help='Provide filter values (e.g. "dangling=true")', type=FILTER)
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--cluster", help="Display only cluster volumes, and use cluster volume list formatting")
@switch("--quiet", "-q", help="Only display volume names")
def ls(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    every = api.get("/volumes", filters=filters_of(flags["filter"]))["Volumes"] or []
    found = [] if flags["cluster"] else every  # there are no cluster volumes
    found.sort(key=lambda v: natural(v["Name"]))
    rows = [volume_row(v) for v in found]
    form = format_of(api.settings, "volumesFormat", flags["format"], quiet=flags["quiet"])
    listing = LISTING._replace(columns=("Name", "Group", "Driver", "Availability", "Status")) if flags["cluster"] else LISTING
    print(listing.render(rows, form, quiet=bool(flags["quiet"])), end="")
    return 0


def volume_row(v: dict[str, Any]) -> dict[str, Any]:
    return {
        "Driver": v.get("Driver", ""), "Name": v["Name"], "Scope": v.get("Scope", ""), "Mountpoint": v.get("Mountpoint", ""),
        "Labels": ",".join(f"{k}={value}" for k, value in sorted((v.get("Labels") or {}).items())),
        "Links": "N/A", "Size": "N/A", "Availability": "N/A", "Group": "N/A", "Status": "N/A", "Label": label_of(v.get("Labels")),
    }  # fmt: skip


@command("prune", summary="Remove unused local volumes")
@switch("--all", "-a", help="Remove all unused volumes, not just anonymous ones", since="1.42")
@options("--filter", help='Provide filter values (e.g. "label=<label>")', type=FILTER)
@switch("--force", "-f", help="Do not prompt for confirmation")
def prune(api: Api, arguments: tuple[str, ...], all: bool | None, filter: tuple[str, ...], force: bool | None) -> int:
    wanted = filters_of(prune_filters(api.settings, filter)) or {}
    if all and "all" in wanted:
        raise CliFailure("conflicting options: cannot specify both --all and --filter all=1")
    if all:
        wanted["all"] = ["true"]
    if not force and not confirmed(PRUNE_ALL_WARNING if all else PRUNE_WARNING):
        return 0
    done = api.post("/volumes/prune", filters=wanted or None)
    if names := done.get("VolumesDeleted"):
        print("Deleted Volumes:", *names, "", sep="\n")
    print(f"Total reclaimed space: {human_size(done.get('SpaceReclaimed', 0), 4)}")
    return 0


@command(
    "rm",
    "VOLUME [VOLUME...]",
    summary="Remove one or more volumes. You cannot remove a volume that is in use by a container.",
    least=1,
    most=None,
    aliases=["volume rm", "volume remove"],
)
@switch("--force", "-f", help="Force the removal of one or more volumes")
def rm(api: Api, arguments: tuple[str, ...], force: bool | None) -> int:
    def remove(name: str) -> None:
        api.delete(f"/volumes/{reference(name, 'volume')}", force=bool(force))
        print(name)

    return each(arguments, remove)


@command("update", "[VOLUME]", summary="Update a volume (cluster volumes only)", least=1, most=1)
@option("--availability", help='Cluster Volume availability ("active", "pause", "drain")', default="active")
def update(api: Api, arguments: tuple[str, ...], availability: str) -> int:
    api.get(f"/volumes/{reference(arguments[0], 'volume')}")
    raise CliFailure("can only update cluster volumes")
