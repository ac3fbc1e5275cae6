"""One API request as the handlers see it: the node, the path's names, the query with its types, the body, the version.

Owns Docker's rules for reading them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from agent.engine.fields import Fields
from cluster.model.decimals import is_integer, number_fault
from cluster.model.errors import InvalidArgument
from cluster.wire.http import Request

if TYPE_CHECKING:
    from agent.node import Node

ApiVersion = tuple[int, int]
Filters = Mapping[str, tuple[str, ...]]

_FALSE: Final = frozenset({"", "0", "no", "false", "none"})
_TRUE_OR_FALSE: Final = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(("", "0", "f", "F", "FALSE", "false", "False"), False)
CAPITAL_UNTIL: Final = (1, 42)  # older daemons say "Invalid filter"
_MAX_FILTER_BYTES: Final = 64 * 1024
JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """`names`: what the route's pattern took out of the path; `background`: where work goes on that outlives its request.

    Every reader raises InvalidArgument for what can't be read."""

    node: Node
    request: Request
    names: Mapping[str, str]
    version: ApiVersion
    background: trio.Nursery

    def text(self, name: str, default: str = "") -> str:
        return self.request.argument(name, default)

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of a repeated parameter."""
        return tuple(self.request.query.get(name, ()))

    def flag(self, name: str, default: bool = False) -> bool:
        """Docker's BoolValue: anything but empty, 0, no, false, none is true."""
        if name not in self.request.query:
            return default
        return self.text(name).strip().lower() not in _FALSE

    def integer(self, name: str, default: int) -> int:
        text = self.text(name)
        if not text:
            return default
        if not is_integer(text):
            raise InvalidArgument(f'strconv.Atoi: parsing "{text}": {number_fault(text)}')
        return int(text)

    def needed_integer(self, name: str) -> int:
        """One that has to be there."""
        if not self.text(name):
            raise InvalidArgument('strconv.Atoi: parsing "": invalid syntax')
        return self.integer(name, 0)

    def strict_flag(self, name: str) -> bool:
        """As Go's ParseBool: for the few parameters that Docker reads so."""
        text = self.text(name)
        if text not in _TRUE_OR_FALSE:
            raise InvalidArgument(f'invalid value for {name}: {text}: strconv.ParseBool: parsing "{text}": invalid syntax')
        return _TRUE_OR_FALSE[text]

    def filters(self, accepted: frozenset[str]) -> Filters:
        """`filters` as a map of name to values, from either of its two forms. Raises InvalidArgument for a name that is not in `accepted`."""
        try:
            return parse_filters(self.text("filters"), accepted)
        except InvalidArgument as error:
            if self.version < CAPITAL_UNTIL:
                raise InvalidArgument(error.message[0].upper() + error.message[1:]) from error
            raise

    def any_filters(self) -> Filters:
        """As `filters`; a name that nobody knows is no error."""
        return parse_filters(self.text("filters"), None)

    def truth(self, filters: Filters, name: str) -> bool | None:
        """A boolean filter; None where it is not given. Raises InvalidArgument."""
        try:
            return truth(filters, name)
        except ValueError:
            raise self.bad_filter(name, f"[{' '.join(filters[name])}]") from None

    def bad_filter(self, name: str, value: str) -> InvalidArgument:
        """In the words of that version."""
        return InvalidArgument(f"{'Invalid' if self.version < CAPITAL_UNTIL else 'invalid'} filter '{name}={value}'")

    async def fields(self, *, strict_type: bool = True) -> Fields:
        """The body's JSON object; one without fields when there is no body, or none but null. A body says that it is JSON: what a web page may send to
        another's address without asking does not."""
        body = await self.request.body()
        if not body:
            return Fields({})
        if strict_type:
            _check_type(self.request.headers.get("content-type", ""))
        try:
            decoded = msgspec.json.decode(body)
            return Fields({} if decoded is None else decoded)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"invalid JSON: {error}") from error
        except RecursionError as error:
            raise InvalidArgument("invalid JSON: exceeded max depth") from error


def _check_type(header: str) -> None:
    """As Docker reads the Content-Type of a body."""
    mimetype = header.partition(";")[0].strip().lower()
    if not mimetype:
        raise InvalidArgument(f"malformed Content-Type header ({header}): mime: no media type")
    if mimetype != JSON_TYPE:
        raise InvalidArgument(f"unsupported Content-Type header ({header}): must be '{JSON_TYPE}'")


def parse_filters(text: str, accepted: frozenset[str] | None) -> Filters:
    if not text:
        return {}
    if len(text) > _MAX_FILTER_BYTES:
        raise InvalidArgument(f"invalid filter: longer than {_MAX_FILTER_BYTES} bytes")
    try:
        decoded = msgspec.json.decode(text, type=dict[str, list[str] | dict[str, bool]] | None) or {}
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidArgument(f"invalid filter: {error}") from error
    for name in decoded:
        if accepted is not None and name not in accepted:
            raise InvalidArgument(f"invalid filter '{name}'")
    return {name: tuple(values) for name, values in decoded.items() if values}


def matches_labels(labels: Mapping[str, str], wanted: tuple[str, ...]) -> bool:
    """Every wanted `key` or `key=value` is there."""
    for want in wanted:
        key, equals, value = want.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def matches_pattern(value: str, wanted: str) -> bool:
    """A part of the value or, as in Docker, a regular expression that is found in it."""
    try:
        return wanted in value or re.search(wanted, value) is not None
    except re.error:
        return False


def matches_prefix(value: str, wanted: tuple[str, ...]) -> bool:
    """The value begins with one of the wanted texts; always true when nothing is wanted."""
    return not wanted or any(value.startswith(want) for want in wanted)


def truth(filters: Filters, name: str) -> bool | None:
    """A boolean filter; None where it is not given. Raises ValueError."""
    values = {value.lower() for value in filters.get(name) or ()}
    if not values:
        return None
    if values <= {"1", "true"}:
        return True
    if values <= {"0", "false"}:
        return False
    raise ValueError(name)
