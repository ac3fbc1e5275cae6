"""`festoon search`: images of a public index, where the daemon can ask one."""

from __future__ import annotations

import sys
from typing import Any, Final

from cli.api import Api, filters_of
from cli.flags import FILTER, INT, option, options, switch
from cli.listing import Listing
from cli.output import ellipsis
from cli.usage import command

_NOT_AUTOMATED: Final = (
    'WARNING: the "is-automated" filter is deprecated, and searching for "is-automated=true" will not yield any results in future.'
)
MAX_DESCRIPTION_LENGTH: Final = 45
_LISTING: Final = Listing(
    {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"},
    ("Name", "Description", "StarCount", "IsOfficial"),
    "Name",
    {"IsOfficial": "_official"},
    kind="*registry.searchContext",
)


@command("search", "TERM", summary="Search Docker Hub for images", least=1, most=1)
@options("--filter", "-f", help="Filter output based on conditions provided", type=FILTER)
@option("--format", help="Pretty-print search using a Go template", default="")
@option("--limit", help="Max number of search results", type=INT)
@switch("--no-trunc", help="Don't truncate output")
def search(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    filters, limit = filters_of(flags["filter"]), flags["limit"]
    if filters and "is-automated" in filters:
        print(_NOT_AUTOMATED, file=sys.stderr)
    found = api.get("/images/search", term=arguments[0], limit=limit if limit and limit > 0 else None, filters=filters) or []
    found.sort(key=lambda one: -int(one.get("star_count", 0)))
    print(_LISTING.render([_row(one, trunc=not flags["no_trunc"]) for one in found], flags["format"]), end="")
    return 0


def _row(one: dict[str, Any], *, trunc: bool) -> dict[str, Any]:
    description = " ".join(str(one.get("description", "")).split("\n"))
    official = bool(one.get("is_official"))
    return {
        "Name": one.get("name", ""), "Description": ellipsis(description, MAX_DESCRIPTION_LENGTH) if trunc else description,
        "StarCount": str(one.get("star_count", 0)), "IsOfficial": str(official).lower(), "_official": "[OK]" if official else "",
    }  # fmt: skip
