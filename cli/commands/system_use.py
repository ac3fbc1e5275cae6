"""`festoon system df` and `system prune`, `container prune`: what takes up room on the node, and getting it back. Source: docker/cli's disk_usage.go."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from cli.api import Api, filters_of
from cli.commands.container import container_row
from cli.commands.image import image_rows
from cli.commands.system import LIST_FORMAT_HELP
from cli.commands.volume import confirmed, volume_row
from cli.configuration import prune_filters
from cli.failures import CliFailure
from cli.flags import FILTER, option, options, switch
from cli.listing import Listing, rows_json
from cli.units import human_size
from cli.usage import command

USAGE: Final = Listing({"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"},
                       ("Type", "TotalCount", "Active", "Size", "Reclaimable"), kind="*formatter.diskUsageImagesContext")  # fmt: skip
IMAGES: Final = Listing(
    {"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE", "SharedSize": "SHARED SIZE",
     "UniqueSize": "UNIQUE SIZE", "Containers": "CONTAINERS"},
    ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"),
)  # fmt: skip
CONTAINERS: Final = Listing(
    {"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE", "RunningFor": "CREATED",
     "Status": "STATUS", "Names": "NAMES"},
    ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"),
)  # fmt: skip
VOLUMES: Final = Listing({"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}, ("Name", "Links", "Size"))
_KINDS: Final = {"Images": "*formatter.imageContext", "Containers": "*formatter.ContainerContext", "Volumes": "*formatter.volumeContext", "BuildCache": ""}
"""What Docker calls the rows of each."""
LIVE: Final = ("running", "paused", "restarting")
NO_CACHE: Final = "CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED"
CONTAINER_WARNING: Final = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] "


@command("df", summary="Show festoon disk usage")
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--verbose", "-v", help="Show detailed information on space usage")
def df(api: Api, arguments: tuple[str, ...], format: str, verbose: bool | None) -> int:
    found = api.get("/system/df")
    if verbose:
        print(_templated(found, format) if format not in ("", "table") else _tables(found), end="")
        return 0
    print(USAGE.render([_images(found), _containers(found), _volumes(found), _line("Build Cache", 0, 0, 0, 0)], format), end="")
    return 0


def _line(kind: str, count: int, active: int, size: int, reclaimable: int) -> dict[str, Any]:
    share = f" ({reclaimable * 100 // size}%)" if size > 0 else ""
    return {"Type": kind, "TotalCount": str(count), "Active": str(active), "Size": human_size(size, 4), "Reclaimable": human_size(reclaimable, 4) + share}


def _images(found: Mapping[str, Any]) -> dict[str, Any]:
    images, size = found.get("Images") or (), found.get("LayersSize") or 0
    used = [i for i in images if i.get("Containers", 0) > 0]
    unique = sum(i["Size"] - i["SharedSize"] for i in used if i.get("SharedSize", -1) >= 0)
    return _line("Images", len(images), len(used), size, size - unique)


def _containers(found: Mapping[str, Any]) -> dict[str, Any]:
    containers = found.get("Containers") or ()
    sizes = [(c.get("SizeRw") or 0, c.get("State") in LIVE) for c in containers]
    return _line("Containers", len(sizes), sum(live for _, live in sizes), sum(s for s, _ in sizes), sum(s for s, live in sizes if not live))


def _volumes(found: Mapping[str, Any]) -> dict[str, Any]:
    usages = [v.get("UsageData") or {"Size": 0, "RefCount": 0} for v in found.get("Volumes") or ()]
    known = [u for u in usages if u["Size"] >= 0]
    size, idle = sum(u["Size"] for u in known), sum(u["Size"] for u in known if not u["RefCount"])
    return _line("Local Volumes", len(usages), sum(u["RefCount"] > 0 for u in usages), size, idle)


def _tables(found: Mapping[str, Any]) -> str:
    rows = _rows(found, trunc=True)
    return (
        f"Images space usage:\n\n{IMAGES.render(rows['Images'], '')}\nContainers space usage:\n\n{CONTAINERS.render(rows['Containers'], '')}\n"
        f"Local Volumes space usage:\n\n{VOLUMES.render(rows['Volumes'], '')}\nBuild cache usage: 0B\n\n{NO_CACHE}\n"
    )


def _templated(found: Mapping[str, Any], form: str) -> str:
    """A template sees all four lists at once, and no line is ended for it. Raises CliFailure."""
    from cluster.model.go_values import Struct
    from cluster.model.template_functions import as_json
    from cluster.model.templates import Template, TemplateError, TemplateSyntaxError

    text = "{{json .}}" if form == "json" else form.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    try:
        rows = {name: [Struct(row, _KINDS[name]) for row in rows] for name, rows in _rows(found, trunc=False).items()}
        json = {"json": lambda value: as_json(value) if isinstance(value, str) else rows_json(value)}
        return Template(text).render(Struct(rows, "*formatter.diskUsageContext"), functions=json)
    except TemplateError as e:
        print(e.written, end="")
        raise CliFailure(f"template parsing error: {e}" if isinstance(e, TemplateSyntaxError) else str(e)) from e


def _rows(found: Mapping[str, Any], *, trunc: bool) -> dict[str, list[dict[str, Any]]]:
    now = time.time()
    volumes = [(v, usage) for v in found.get("Volumes") or () if (usage := v["UsageData"])]
    return {
        "Images": [_image_row(i, now, trunc=trunc) for i in found.get("Images") or ()],
        "Containers": [_plain(container_row(c | {"SizeRootFs": 0}, trunc=trunc, now=now)) for c in found.get("Containers") or ()],
        "Volumes": [_plain(volume_row(v)) | {"Links": str(u["RefCount"]), "Size": human_size(u["Size"], 4)} for v, u in volumes],
        "BuildCache": [],
    }


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sorted(row.items()) if not callable(value)}


def _image_row(image: Mapping[str, Any], now: float, *, trunc: bool) -> dict[str, Any]:
    """By its first name."""
    row = next(image_rows(image, digests=False, trunc=trunc, now=now))
    shared = image.get("SharedSize", -1)
    sizes = {"SharedSize": human_size(shared, 4), "UniqueSize": human_size(image["Size"] - shared, 4)} if shared >= 0 else {}
    nameless = {} if image.get("RepoTags") else {"Repository": "<none>"}
    return _plain(row | sizes | nameless | {"Digest": ""})


@command("prune", summary="Remove unused data")
@switch("--all", "-a", help="Remove all unused images not just dangling ones")
@options("--filter", help='Provide filter values (e.g. "label=<key>=<value>")', type=FILTER)
@switch("--force", "-f", help="Do not prompt for confirmation")
@switch("--volumes", help="Prune anonymous volumes")
def prune(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    flags["filter"] = prune_filters(api.settings, flags["filter"])
    wanted = filters_of(flags["filter"])
    if flags["volumes"] and "until" in (wanted or {}):
        raise CliFailure('ERROR: The "until" filter is not supported with "--volumes"')
    if not flags["force"] and not confirmed(_warning(flags)):
        return 0
    images = (wanted or {}) | {"dangling": ["false" if flags["all"] else "true"]}
    steps = [("/containers/prune", wanted, "ContainersDeleted", "Deleted Containers:"), ("/networks/prune", wanted, "NetworksDeleted", "Deleted Networks:")]
    if flags["volumes"]:
        steps.append(("/volumes/prune", wanted, "VolumesDeleted", "Deleted Volumes:"))
    reclaimed = 0
    for path, filters, name, title in (*steps, ("/images/prune", images, "ImagesDeleted", "Deleted Images:")):
        done = api.post(path, filters=filters) or {}
        reclaimed += done.get("SpaceReclaimed") or 0
        if gone := done.get(name):
            print(title, *(_gone(item) for item in gone), "", sep="\n")
    print(f"Total reclaimed space: {human_size(reclaimed, 4)}")
    return 0


def _gone(item: str | Mapping[str, str]) -> str:
    if isinstance(item, str):
        return item
    return f"untagged: {item['Untagged']}" if item.get("Untagged") else f"deleted: {item.get('Deleted', '')}"


def _warning(flags: Mapping[str, Any]) -> str:
    what = ["all stopped containers", "all networks not used by at least one container"]
    what += ["all anonymous volumes not used by at least one container"] if flags["volumes"] else []
    what += ["all images without at least one container associated to them" if flags["all"] else "all dangling images"]
    what += ["all build cache" if flags["all"] else "unused build cache"]
    listed = "".join(f"  - {one}\n" for one in what)
    filters = "".join(f"  - {text}\n" for text in flags["filter"])
    asked = f"\n  Items to be pruned will be filtered with:\n{filters}" if filters else ""
    return f"WARNING! This will remove:\n{listed}{asked}\nAre you sure you want to continue? [y/N] "


@command("prune", summary="Remove all stopped containers")
@options("--filter", help='Provide filter values (e.g. "until=<timestamp>")', type=FILTER)
@switch("--force", "-f", help="Do not prompt for confirmation")
def container_prune(api: Api, arguments: tuple[str, ...], filter: tuple[str, ...], force: bool | None) -> int:
    if not force and not confirmed(CONTAINER_WARNING):
        return 0
    done = api.post("/containers/prune", filters=filters_of(prune_filters(api.settings, filter))) or {}
    if gone := done.get("ContainersDeleted"):
        print("Deleted Containers:", *gone, "", sep="\n")
    print(f"Total reclaimed space: {human_size(done.get('SpaceReclaimed') or 0, 4)}")
    return 0
