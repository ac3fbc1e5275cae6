"""A mistyped name of an object: which existing one is near. Loaded for mistakes alone.

Owns how the daemon's and the client's sentences name what is missing; never changes such a line, but says its own after it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from cli.api import Api
from cli.failures import CliFailure
from cli.object_names import KINDS, names

_LATEST: Final = ":latest"
_KIND: Final = "|".join(KINDS)
_ALSO: Final = {"object": KINDS, "task": ("service", "task", "container"), "task, container or network": ("service", "task", "container", "network")}
"""Words of the daemon's sentences that stand for several kinds."""
_MISSING: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bno such (?P<kind>{_KIND}|object): (?P<name>[^\s:,]+(?::[^\s:,]+)?)",
        rf"\b(?P<kind>{_KIND}|task) (?P<name>\S+) not found",
        rf"\b(?P<kind>{_KIND}) not found: (?P<name>\S+)",
        r"\bget (?P<name>\S+): no such (?P<kind>volume)",
        r"\bno such task or (?P<kind>service): (?P<name>\S+)",
        r"\bno such (?P<kind>task, container or network): (?P<name>[^\s:]+)",
        r"\bnothing found in (?P<kind>stack): (?P<name>\S+)",
        r"\bAn (?P<kind>image) does not exist locally with the tag: (?P<name>\S+)",
        r'\b(?P<kind>context) "(?P<name>[^"]+)"(?:: context not found| does not exist)',
    )
)


def with_proposals(message: str, api: Api) -> str:
    """After each line that says what is not there, what may have been meant."""
    return "\n".join(shown for line in message.split("\n") for shown in (line, *_proposals(line, api)))


def _proposals(line: str, api: Api) -> Iterator[str]:
    missing = next(filter(None, (pattern.search(line) for pattern in _MISSING)), None)
    if missing is None:
        return
    yield from proposals(missing["name"], missing["kind"].lower(), api)


def proposals(name: str, kind: str, api: Api) -> Iterator[str]:
    """What may have been meant by the name of one that is not there."""
    found = {known for each in _ALSO.get(kind, (kind,)) for known in _known(api, each)}
    nearest = get_close_matches(name.removesuffix(_LATEST), found - {name.removesuffix(_LATEST)}, n=1)
    yield from (f"Did you mean '{one}'?" for one in nearest)


def _known(api: Api, kind: str) -> list[str]:
    """Nothing where the daemon can't say: the mistake has been named already."""
    if kind == "context":
        from cli import contexts

        return [contexts.DEFAULT, *(str(one["Name"]) for one in contexts.every())]
    try:
        return [name.removesuffix(_LATEST) for name in names(api, kind)]
    except CliFailure:
        return []
