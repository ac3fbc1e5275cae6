"""The `until` filter of prunes: a moment, or how long ago. Pure. Source: moby's api/types/time (GetTimestamp)."""

from __future__ import annotations

import re
from typing import Final

from agent.engine.call import Filters
from agent.engine.convert import SECOND_NS, time_parameter_ns
from cluster.model.errors import InvalidArgument

MAX_DURATION_CHARACTERS: Final = 64
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS: Final = {"ns": 1, "us": 1000, "µs": 1000, "ms": 1_000_000, "s": SECOND_NS, "m": 60 * SECOND_NS, "h": 3600 * SECOND_NS}


def until_ns(filters: Filters, now_ns: int) -> int | None:
    """What is older than this is meant, Unix nanoseconds; None without the filter. Raises InvalidArgument in Docker's words."""
    values = filters.get("until", ())
    if not values:
        return None
    if len(values) > 1:
        raise InvalidArgument("more than one until filter specified")
    text = values[0]
    parts = _PART.findall(text) if len(text) <= MAX_DURATION_CHARACTERS else []
    if parts and "".join(number + unit for number, unit in parts) == text:
        return now_ns - sum(int(float(number) * _NANOSECONDS[unit]) for number, unit in parts)
    try:
        return time_parameter_ns(text)
    except InvalidArgument as error:
        raise InvalidArgument(f'failed to parse value as time or duration: "{text}"') from error
