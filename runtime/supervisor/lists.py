"""The packed lists of containers that are alike: those that differ in nothing but their own names have the same list with
other names in it, which is compiled once. Owns what was compiled last.

A name is replaced by one of the same length that is nobody's before the list is compiled, and put back in what was packed: the strings of a list
are bytes of its memory, and none of its numbers depends on their content.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict

import msgspec

from runtime.child.compile import compile_container
from runtime.child.faults import Refused
from runtime.child.host import Host, Opened
from runtime.spec import ContainerSpec
from runtime.supervisor.births import pack_list

KEPT_MAX = 16
"""Lists, of some 30 KB each."""
_ID_LENGTH = 64
_SHORT = 12
"""How much of its id is a container's host name, unless it has another (child.compile)."""
_SPEC = msgspec.msgpack.Decoder(ContainerSpec)

_Kind = tuple[bytes, Opened, int]


class Lists:
    """`find` for what a child of the reserve is given."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._id = secrets.token_hex(_ID_LENGTH // 2)
        self._group = secrets.token_hex(_ID_LENGTH // 2)
        self._kept: OrderedDict[_Kind, bytes] = OrderedDict()

    def find(self, spec: ContainerSpec, opened: Opened, group: str, room: int) -> bytes:
        """`group`: the name of the cgroups. `room`: see births. Raises Refused, TooLarge."""
        if len(spec.id) != _ID_LENGTH or len(group) > _ID_LENGTH:  # too short to be told from other text, or too long
            return self._pack(spec, opened, room)
        nobodys = self._group[: len(group)]
        alike = _rename(msgspec.msgpack.encode(spec), spec.id, self._id)
        views = tuple(view._replace(path=view.path.replace(group, nobodys)) for view in opened.views)
        folders = frozenset(_rename(folder.encode(), spec.id, self._id).decode() for folder in opened.folders)
        kind = alike, opened._replace(views=views, folders=folders), room
        packed = self._kept.get(kind)
        if packed is None:
            try:
                packed = self._kept[kind] = self._pack(_SPEC.decode(alike), kind[1], room)
            except Refused:
                return self._pack(spec, opened, room)  # refused too, with the container's own names in the sentence
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        self._kept.move_to_end(kind)
        return _rename(packed, self._id, spec.id).replace(nobodys.encode(), group.encode())

    def _pack(self, spec: ContainerSpec, opened: Opened, room: int) -> bytes:
        compiled = compile_container(spec, self._host, opened)
        return pack_list(compiled.operations, room, fork_at=compiled.fork_at, title=compiled.title)


def _rename(text: bytes, old: str, new: str) -> bytes:
    """The whole name first, then what is short for it."""
    return text.replace(old.encode(), new.encode()).replace(old[:_SHORT].encode(), new[:_SHORT].encode())
