"""`festoon image save`, `history` and `prune`."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Final

from cli.api import Api, filters_of, reference
from cli.commands.system import LIST_FORMAT_HELP
from cli.commands.volume import confirmed
from cli.configuration import prune_filters
from cli.failures import CliFailure
from cli.flags import FILTER, option, options, switch
from cli.listing import Listing
from cli.output import ellipsis, short_id
from cli.platforms import INVALID, asked, require
from cli.units import human_duration, human_size
from cli.usage import command
from cli.whole_file import whole_file
from cluster.wire.http_client import Answer

MAX_STEP_LENGTH: Final = 45
HISTORY: Final = Listing(
    {"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT"},
    ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
    kind="*image.historyContext",
)
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PLAIN_COLUMNS: Final = ("ID", "CreatedAt", "CreatedBy", "Size", "Comment")
_PRUNE: Final = "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] "
_PRUNE_ALL: Final = "WARNING! This will remove all images without at least one container associated to them.\nAre you sure you want to continue? [y/N] "


def write_out(answer: Answer, output: str) -> None:
    """An archive to a file, or to standard output. A file that could not be finished is removed."""
    if not output:
        for piece in answer.pieces():
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    with whole_file(output) as partial, open(os.open(partial, _NEW_FILE, 0o600), "wb") as file:  # what is in it may be nobody else's business
        file.writelines(answer.pieces())


def check_output(output: str, preface: str) -> None:
    """Before anything is asked for. Raises CliFailure for a path where no file can be."""
    folder = os.path.dirname(output)
    if folder and not os.path.isdir(folder):
        raise CliFailure(f"{preface}invalid output path: stat {folder}: no such file or directory")
    if os.path.isdir(output):
        raise CliFailure(f"{preface}cannot write to a directory")


def refuse_terminal(output: str) -> None:
    if not output and sys.stdout.isatty():
        raise CliFailure("cowardly refusing to save to a terminal. Use the -o flag or redirect")


@command("save", "IMAGE [IMAGE...]", summary="Save one or more images to a tar archive (streamed to STDOUT by default)", least=1, most=None,
         aliases=["image save", "save"])  # fmt: skip
@option("--output", "-o", help="Write to a file, instead of STDOUT", default="")
@option("--platform", help='Save only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")', since="1.48")
def save(api: Api, arguments: tuple[str, ...], output: str, platform: str | None) -> int:
    refuse_terminal(output)
    check_output(output, "failed to save image: ")
    wanted = asked(platform, INVALID)
    require(api, arguments, wanted)
    with api.stream("GET", "/images/get", names=list(arguments)) as answer:
        write_out(answer, output)
    return 0


@command("history", "IMAGE", summary="Show the history of an image", least=1, most=1, aliases=["image history", "history"])
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--human", "-H", help="Print sizes and dates in human readable format (default true)")
@switch("--no-trunc", help="Don't truncate output")
@option("--platform", help='Show history for the given platform. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")', since="1.48")
@switch("--quiet", "-q", help="Only show image IDs")
def history(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    require(api, arguments, asked(flags["platform"], INVALID))
    found = api.get(f"/images/{reference(arguments[0])}/history") or []
    trunc, human = not flags["no_trunc"], flags["human"] is not False
    rows = [_step(step, trunc=trunc, human=human, now=time.time()) for step in found]
    listing = HISTORY if human else HISTORY._replace(columns=_PLAIN_COLUMNS)
    print(listing.render(rows, flags["format"], quiet=bool(flags["quiet"])), end="")
    return 0


def _step(step: dict[str, Any], *, trunc: bool, human: bool, now: float) -> dict[str, str]:
    created_by = step.get("CreatedBy", "").replace("\t", " ")
    created = step.get("Created", 0)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created))
    return {
        "ID": short_id(step["Id"]) if trunc else step["Id"],
        "CreatedAt": at,
        "CreatedSince": (f"{human_duration(now - created)} ago" if created > 0 else "N/A") if human else at,
        "CreatedBy": ellipsis(created_by, MAX_STEP_LENGTH) if trunc else created_by,
        "Size": human_size(step.get("Size", 0)) if human else str(step.get("Size", 0)),
        "Comment": step.get("Comment", ""),
    }


@command("prune", summary="Remove unused images")
@switch("--all", "-a", help="Remove all unused images, not just dangling ones")
@options("--filter", help='Provide filter values (e.g. "until=<timestamp>")', type=FILTER)
@switch("--force", "-f", help="Do not prompt for confirmation")
def prune(api: Api, arguments: tuple[str, ...], all: bool | None, filter: tuple[str, ...], force: bool | None) -> int:
    wanted = (filters_of(prune_filters(api.settings, filter)) or {}) | {"dangling": ["false" if all else "true"]}
    if not force and not confirmed(_PRUNE_ALL if all else _PRUNE):
        return 0
    done = api.post("/images/prune", filters=wanted)
    if gone := done.get("ImagesDeleted"):
        print("Deleted Images:")
        for item in gone:
            print(f"untagged: {item['Untagged']}" if item.get("Untagged") else f"deleted: {item.get('Deleted', '')}")
        print()
    print(f"Total reclaimed space: {human_size(done.get('SpaceReclaimed', 0), 4)}")
    return 0
