"""`GET /images/search`: what an index of images has of a term. runtime/images/search.py asks it; this reads the request and filters.

Source: moby's daemon/pkg/registry/search.go."""

from __future__ import annotations

from typing import Final

from agent.engine.answers import json_answer
from agent.engine.call import Call
from cluster.model.decimals import is_integer
from cluster.model.errors import InvalidArgument
from cluster.wire.http import Response
from runtime.images import auth

FILTERS: Final = frozenset({"is-automated", "is-official", "stars"})
DEFAULT_LIMIT: Final = 25
MAX_LIMIT: Final = 100


async def search(call: Call) -> Response:
    """`is-automated` is a word of the past: nothing is."""
    limit = _limit(call)
    filters = call.filters(FILTERS)
    automated, official = call.truth(filters, "is-automated"), call.truth(filters, "is-official")
    stars = max((_stars(call, text) for text in filters.get("stars", ())), default=0)
    if automated:
        return json_answer([])
    found = await call.node.pulls.search(call.text("term"), limit, auth.from_header(call.request.headers.get("x-registry-auth", "")))
    return json_answer(
        [
            {
                "star_count": one.star_count or 0,
                "is_official": bool(one.is_official),
                "name": one.name or "",
                "is_automated": False,
                "description": one.description or "",
            }
            for one in found
            if (official is None or bool(one.is_official) is official) and (one.star_count or 0) >= stars
        ]
    )


def _limit(call: Call) -> int:
    try:
        limit = call.integer("limit", 0)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid limit specified: {error.message}") from error
    if not 0 <= limit <= MAX_LIMIT:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, {MAX_LIMIT}]")
    return limit or DEFAULT_LIMIT


def _stars(call: Call, text: str) -> int:
    if not is_integer(text):
        raise InvalidArgument(f'{call.bad_filter("stars", text).message}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)
