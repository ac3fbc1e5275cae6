"""Descriptors that the node asks to be kept while it is away: the sockets of its resolvers. What they are is not known here.

Owns the table of them; the stem holds duplicates, so that they also outlive a crash of this process. Nothing is read or written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from runtime.errors import RuntimeFault
from runtime.stem import KEPT_AT_ONCE
from runtime.supervisor.context import Context

NAMES_MAX: Final = 4096
NAME_MAX_BYTES: Final = 128
_PREFIX: Final = "node:"


def keep(context: Context, name: str, descriptors: Sequence[int]) -> None:
    """Takes the descriptors over, in place of those that the name had. Raises RuntimeFault; they are closed then."""
    room = name in context.kept or len(context.kept) < NAMES_MAX
    if not room or len(name.encode()) > NAME_MAX_BYTES or not name.isprintable() or len(descriptors) > KEPT_AT_ONCE:
        for descriptor in descriptors:
            os.close(descriptor)
        raise RuntimeFault(f"no room to keep descriptors for {name[:NAME_MAX_BYTES]}")
    drop(context, name)
    context.kept[name] = tuple(descriptors)
    context.keeper.keep({f"{_PREFIX}{number}:{name}": descriptor for number, descriptor in enumerate(descriptors)})


def drop(context: Context, name: str) -> None:
    """A name that is not known is no error."""
    descriptors = context.kept.pop(name, ())
    if not descriptors:
        return
    context.keeper.drop(tuple(f"{_PREFIX}{number}:{name}" for number in range(len(descriptors))))
    for descriptor in descriptors:
        os.close(descriptor)


def recover(context: Context) -> None:
    """Takes over what the stem holds from an earlier supervisor."""
    found: dict[str, dict[int, int]] = {}
    for whole in context.keeper.names():
        if whole.startswith(_PREFIX):
            number, _, name = whole.removeprefix(_PREFIX).partition(":")
            found.setdefault(name, {})[int(number)] = context.keeper.claim(whole)
    context.kept.update((name, tuple(held[number] for number in sorted(held))) for name, held in found.items())
