"""The small change of the conversions: times, maps, versions, and leaving out what is empty. Pure; the nouns have files of their own (convert_*.py).

Source: the Engine API's description, version 1.51, and Go's `omitempty` where real daemons leave a field out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from cluster.model.decimals import is_integer, is_natural, number_fault
from cluster.model.errors import InvalidArgument
from cluster.model.objects import Meta
from cluster.model.specs import Pairs

Json = dict[str, Any]
"""A JSON object on its way out."""

NEVER: Final = "0001-01-01T00:00:00Z"
SECOND_NS: Final = 1_000_000_000
FAR_NS: Final = 2**63 - 1
"""The year 2262: as far as a time in nanoseconds goes in eight bytes."""
SECONDS_END: Final = len("2001-02-03T04:05:06")
SECONDS_KEPT: Final = 256
"""Texts of moments: the tasks of a service are made in the same few seconds."""


def time_text(time_ns: int) -> str:
    """RFC 3339 with nanoseconds, UTC, without trailing zeros; NEVER for 0."""
    if time_ns <= 0:
        return NEVER
    seconds, nanoseconds = divmod(time_ns, SECOND_NS)
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return f"{_second_text(seconds)}{fraction}Z"


@lru_cache(maxsize=SECONDS_KEPT)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:SECONDS_END]  # strftime takes three times as long


def log_time_text(time_ns: int) -> str:
    """RFC 3339 with all nine digits: the prefix of a log line."""
    seconds, nanoseconds = divmod(time_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def time_parameter_ns(text: str) -> int:
    """A `since` or `until`: Unix seconds with an optional fraction, or RFC 3339; at most FAR_NS from 1970. Empty is 0. Raises InvalidArgument."""
    if not text:
        return 0
    whole, _, fraction = text.partition(".")
    if is_integer(whole) and (not fraction or is_natural(fraction)):
        sign = -1 if whole.startswith("-") else 1
        return _bounded(int(whole) * SECOND_NS + sign * int((fraction + "000000000")[:9]))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        word = fraction if is_integer(whole) else whole
        raise InvalidArgument(f'strconv.ParseInt: parsing "{word}": {number_fault(word)}') from error
    return _bounded(int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * SECOND_NS + moment.microsecond * 1000)


def _bounded(time_ns: int) -> int:
    return max(-FAR_NS, min(time_ns, FAR_NS))


def mapping(pairs: Pairs) -> dict[str, str]:
    """In the order of names, as Go writes every map."""
    return dict(sorted(pairs))


def filled(fields: Mapping[str, Any]) -> Json:
    """Without the fields that are empty: None, False, 0, "", and lists and maps without items (Go's omitempty)."""
    return {name: value for name, value in fields.items() if value or isinstance(value, Present)}


class Present(dict[str, Any]):
    """A JSON object that `filled` keeps although it has no fields."""


def ordered(fields: Json, names: Sequence[str]) -> Json:
    """The fields that are there, in the order in which Docker's types have them."""
    return {name: fields[name] for name in names if name in fields}


def meta_json(meta: Meta) -> Json:
    created = time_text(meta.created_at_ns)
    updated = created if meta.updated_at_ns == meta.created_at_ns else time_text(meta.updated_at_ns)
    return {"Version": {"Index": meta.version}, "CreatedAt": created, "UpdatedAt": updated}

