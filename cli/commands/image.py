"""`festoon image …` and its short forms: ls, load, import, inspect, rm, tag; pull and push are in registry.py."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from cli.api import Api, filters_of, reference
from cli.commands.system import FORMAT_HELP, LIST_FORMAT_HELP, inspect_all
from cli.configuration import format_of
from cli.failures import ApiFailure, CliFailure, each
from cli.flags import FILTER, STRINGS, option, options, switch
from cli.listing import Listing
from cli.output import short_id
from cli.platforms import INVALID, asked, platform_query, require
from cli.transfer import Transfer
from cli.units import human_duration, human_size
from cli.usage import Group, command
from cluster.model.reference import InvalidReference, Reference, is_id, parse
from cluster.wire.http_client import Answer

PIECE_BYTES: Final = 1024 * 1024
_TAR: Final = (("Content-Type", "application/x-tar"),)
_NONE: Final = "<none>"
NO_TIME_S: Final = -62_135_596_800
"""The Unix time by which an image says that it has none: Go's zero time."""
GOES_ON: Final = "Operation continuing in background: the daemon has the whole archive.\nUse `festoon images` to see what came of it."
INSPECT_PLATFORM_HELP: Final = (
    "Inspect a specific platform of the multi-platform image.\n"
    "If the image or the server is not multi-platform capable, the command will error out if the platform does not match.\n"
    "'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)"
)

image = Group(
    "image",
    summary="Manage images",
    lazy={
        "history": ("cli.commands.image_archive:history", "Show the history of an image"),
        "prune": ("cli.commands.image_archive:prune", "Remove unused images"),
        "save": ("cli.commands.image_archive:save", "Save one or more images to a tar archive (streamed to STDOUT by default)"),
        "import": ("cli.commands.image:import_", "Import the contents from a tarball to create a filesystem image"),
        "inspect": ("cli.commands.image:inspect", "Display detailed information on one or more images"),
        "load": ("cli.commands.image:load", "Load an image from a tar archive or STDIN"),
        "ls": ("cli.commands.image:ls", "List images"),
        "pull": ("cli.commands.registry:pull", "Download an image from a registry"),
        "push": ("cli.commands.registry:push", "Upload an image to a registry"),
        "rm": ("cli.commands.image:rm", "Remove one or more images"),
        "tag": ("cli.commands.image:tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    },
    aliases={"list": "ls", "remove": "rm"},
    left_out={"build": "Festoon builds no images: build with buildah, kaniko or docker buildx, and bring the result in with `load`, `import` or `pull`"},
)

_HEADERS: Final = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE",
}
_COLUMNS: Final = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_RAW: Final = (
    "repository: {{{{.Repository}}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\ncreated_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
)
_WITH_DIGESTS: Final = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")


@command("ls", "[REPOSITORY[:TAG]]", summary="List images", most=1, aliases=["image ls", "image list", "images"])
@switch("--all", "-a", help="Show all images (default hides intermediate images)")
@switch("--digests", help="Show digests")
@options("--filter", "-f", help="Filter output based on conditions provided", type=FILTER)
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--no-trunc", help="Don't truncate output")
@switch("--quiet", "-q", help="Only show image IDs")
@switch("--tree", help="List multi-platform images as a tree (EXPERIMENTAL)", since="1.47")
def ls(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    if flags["tree"]:
        raise CliFailure("--tree is not supported: an image has one platform here")
    wanted = filters_of(flags["filter"]) or {}
    if arguments:
        wanted.setdefault("reference", []).append(arguments[0])
    found = api.get("/images/json", all=bool(flags["all"]), filters=wanted or None) or []
    digests, quiet = bool(flags["digests"]), bool(flags["quiet"])
    form = format_of(api.settings, "imagesFormat", flags["format"], quiet=quiet)
    needed = digests or "{{.Digest}}" in form
    rows = [row for i in found for row in image_rows(i, digests=needed, trunc=not flags["no_trunc"], now=time.time(), alone=digests)]
    if digests and form.startswith("table ") and "{{.Digest}}" not in form:
        form += "\t{{.Digest}}"  # as Docker does
    raw = _RAW.format(digest="digest: {{.Digest}}\n" if digests else "")
    listing = Listing(_HEADERS, _WITH_DIGESTS if digests else _COLUMNS, kind="*formatter.imageContext", raw=raw)
    print(listing.render(rows, form, quiet=quiet), end="")
    return 0


def image_rows(i: Mapping[str, Any], *, digests: bool, trunc: bool, now: float, alone: bool = False) -> Iterator[dict[str, str]]:
    """A row for each tag of an image, with its digest if there are to be `digests`; one of `<none>` for an image without. `alone`: a digest is
    shown of an image without a tag, too."""
    known = {d.partition("@")[0]: d.partition("@")[2] for d in i.get("RepoDigests") or ()}
    names = []
    for reference_ in i.get("RepoTags") or ():
        repository, _, label = reference_.rpartition(":")
        names.append((repository, label, known.get(repository, _NONE) if digests else _NONE))
    if not names:
        names = [(repository, _NONE, digest if alone else "") for repository, digest in known.items()] or [(_NONE, _NONE, _NONE)]
    shared = i.get("SharedSize", -1)
    size, virtual = human_size(i.get("Size", 0)), human_size(i.get("Size", 0), 4)
    for repository, label, digest in names:
        yield {
            "Repository": repository,
            "Tag": label,
            "Digest": digest,
            "ID": short_id(i["Id"]) if trunc else i["Id"],
            "CreatedSince": f"{human_duration(now - created)} ago" if (created := i.get("Created", 0)) != NO_TIME_S else "N/A",
            "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(created)),
            "Size": size,
            "VirtualSize": virtual,
            "Containers": "N/A" if i.get("Containers", -1) < 0 else str(i["Containers"]),
            "SharedSize": "N/A" if shared < 0 else human_size(shared),
            "UniqueSize": "N/A" if shared < 0 else human_size(i.get("Size", 0) - shared, 4),
        }


@command(
    "inspect", "IMAGE [IMAGE...]", summary="Display detailed information on one or more images", least=1, most=None
)
@option("--format", "-f", help=FORMAT_HELP, default="")
@option("--platform", help=INSPECT_PLATFORM_HELP, since="1.49")
def inspect(api: Api, arguments: tuple[str, ...], format: str, platform: str | None) -> int:
    wanted = asked(platform)

    def get(name: str) -> tuple[Any, str]:
        if not name:
            raise CliFailure("Error: No such image: ")
        require(api, [name], wanted)
        return api.get(f"/images/{reference(name)}/json"), "image.InspectResponse"

    return inspect_all(arguments, get, format)


@command("load", summary="Load an image from a tar archive or STDIN", aliases=["image load", "load"])
@option("--input", "-i", help="Read from tar archive file, instead of STDIN", default="")
@option("--platform", help='Load only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")', since="1.48")
@switch("--quiet", "-q", help="Suppress the load output")
def load(api: Api, arguments: tuple[str, ...], input: str, platform: str | None, quiet: bool | None) -> int:
    wanted = asked(platform, INVALID)
    if not input and sys.stdin.isatty():
        raise CliFailure("requested load from stdin, but stdin is empty")
    with _uploading(input) as upload, api.stream("POST", "/images/load", upload, _TAR, quiet=bool(quiet), platform=platform_query(wanted)) as answer:
        Transfer(sys.stdout, quiet=bool(quiet)).show(answer.lines())
    return 0


@command(
    "import",
    "file|URL|- [REPOSITORY[:TAG]]",
    summary="Import the contents from a tarball to create a filesystem image",
    least=1,
    most=None,
    aliases=["image import", "import"],
)
@options("--change", "-c", help="Apply Dockerfile instruction to the created image")
@option("--message", "-m", help="Set commit message for imported image", default="")
@option("--platform", help="Set platform if server is multi-platform capable", default="")
def import_(
    api: Api, arguments: tuple[str, ...], change: tuple[str, ...], message: str, platform: str
) -> int:
    source = arguments[0]
    remote = source.startswith(("http://", "https://"))
    query: dict[str, Any] = {"fromSrc": source if remote else "-", "message": message, "platform": platform or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")}
    try:
        if len(arguments) > 1:
            parse(arguments[1])
            query["repo"] = arguments[1]
    except InvalidReference as e:
        raise CliFailure(str(e)) from e
    if change:
        query["changes"] = list(change)
    if remote:
        with api.stream("POST", "/images/create", b"", (), **query) as answer:
            _show_messages(answer)
        return 0
    with _uploading("" if source == "-" else source) as upload, api.stream("POST", "/images/create", upload, _TAR, **query) as answer:
        _show_messages(answer)
    return 0


@command("rm", "IMAGE [IMAGE...]", summary="Remove one or more images", least=1, most=None, aliases=["image rm", "image remove", "rmi"])
@switch("--force", "-f", help="Force removal of the image")
@switch("--no-prune", help="Do not delete untagged parents")
@options("--platform", help='Remove only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")', type=STRINGS, since="1.50")
def rm(api: Api, arguments: tuple[str, ...], force: bool | None, no_prune: bool | None, platform: tuple[str, ...]) -> int:
    wanted = [asked(text) for text in platform]

    def remove(name: str) -> None:
        require(api, [name], *wanted)
        try:
            gone = api.delete(f"/images/{reference(name)}", force=bool(force), noprune=bool(no_prune))
        except ApiFailure as e:
            if not force or e.http_status != 404:
                raise
            print(e.message, file=sys.stderr)  # what was to be gone is gone
            return
        for done in gone or ():
            print(f"Deleted: {done['Deleted']}" if done.get("Deleted") else f"Untagged: {done.get('Untagged', '')}")

    return each(arguments, remove)


@command(
    "tag",
    "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    summary="Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    least=2,
    most=2,
    aliases=["image tag", "tag"],
    interspersed=False,
)
def tag(api: Api, arguments: tuple[str, ...]) -> int:
    wrong = arguments[0]
    try:
        if not is_id(wrong):
            parse(wrong)
        wrong = arguments[1]
        name = target(wrong)
    except InvalidReference as e:
        raise CliFailure(f'Error parsing reference: "{wrong}" is not a valid repository/tag: {e}') from e
    api.post(f"/images/{reference(arguments[0])}/tag", repo=name.familiar_repository, tag=name.tag)
    return 0


def target(text: str) -> Reference:
    """The name that an image is to get. Raises InvalidReference, CliFailure for one with a digest."""
    name = parse(text)
    if name.digest:
        raise CliFailure("refusing to create a tag with a digest reference")
    return name.with_default_tag()


def _opened(path: str) -> BinaryIO:
    if not path:
        return sys.stdin.buffer
    try:
        return open(path, "rb")
    except OSError as e:
        raise CliFailure(f"open {path}: {(e.strerror or str(e)).lower()}") from e


class _Upload:
    """The pieces of a file. `whole`: the last one has been taken."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.whole = False

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._file.read(PIECE_BYTES):
            yield piece
        self.whole = True


@contextmanager
def _uploading(path: str) -> Iterator[_Upload]:
    """Who interrupts it is told when that is too late to have nothing happen."""
    with _opened(path) as file:
        upload = _Upload(file)
        try:
            yield upload
        except KeyboardInterrupt:
            if upload.whole:
                print(GOES_ON, file=sys.stderr)
            raise


def _show_messages(answer: Answer) -> None:
    """Print a stream of progress messages: their texts, not their bars. Raises CliFailure with the error that ends
    one."""
    for line in answer.lines():
        if not line.strip():
            continue
        message = json.loads(line)
        if message.get("error"):
            raise CliFailure(message["error"])
        if message.get("stream"):
            print(message["stream"], end="", flush=True)
        elif message.get("status") and not message.get("progressDetail"):
            head = f"{message['id']}: " if message.get("id") else ""
            print(f"{head}{message['status']}", flush=True)
