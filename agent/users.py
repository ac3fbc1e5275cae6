"""Who a container's process is: `user[:group]` looked up in the image's own /etc/passwd and /etc/group. Pure but for reading those two files.

The files are opened below the layers without following links, so that an image can't make the node read the host's. Source: passwd(5), group(5), and
Docker's rules: a number that is not listed is taken as it is, a name that is not listed is an error.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cluster.model.decimals import is_integer, is_natural
from cluster.model.errors import InvalidArgument
from runtime.spec import User

PASSWD_BYTES: Final = 1 << 20
MAX_ID: Final = (1 << 31) - 1


def read_from_layers(layers: tuple[str, ...], name: str) -> str:
    """The file /etc/`name` of an overlay, topmost first; empty when there is none, or a folder."""
    for layer in layers:
        path = Path(layer) / "etc" / name
        if path.parent.is_symlink():
            return ""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return ""
        with os.fdopen(descriptor, "rb") as file:
            return file.read(PASSWD_BYTES).decode("utf-8", "replace")
    return ""


def resolve(text: str, passwd: str, group: str, extra_groups: tuple[str, ...] = ()) -> tuple[User, str]:
    """`user[:group]` -> numbers, and the home folder. Raises InvalidArgument `unable to find user X: no matching entries in passwd file`."""
    user_text, _, group_text = text.partition(":")
    for number in (user_text, group_text, *extra_groups):
        if is_integer(number) and not _is_id(number):
            raise InvalidArgument(f"uids and gids must be in range 0-{MAX_ID}")
    entries = [line.split(":") for line in passwd.splitlines() if line.count(":") >= 6]
    entry = next((e for e in entries if user_text in {e[0], e[2]}), None) if user_text else next((e for e in entries if e[2] == "0"), None)
    if entry is not None and is_natural(entry[2]) and is_natural(entry[3]):
        name, uid, gid, home = entry[0], int(entry[2]), int(entry[3]), entry[5]
    elif not user_text or _is_id(user_text):
        name, uid, gid, home = "", int(user_text or "0"), 0, "/"
    else:
        raise InvalidArgument(f"unable to find user {user_text}: no matching entries in passwd file")
    lines = [line.split(":") for line in group.splitlines() if line.count(":") >= 3]
    if group_text:
        gid = _group(group_text, lines)
        groups: tuple[int, ...] = ()
    else:
        groups = tuple(int(g[2]) for g in lines if is_natural(g[2]) and name and name in g[3].split(","))
    try:
        groups += tuple(_group(g, lines) for g in extra_groups)
    except InvalidArgument as error:
        raise InvalidArgument(error.message.replace("unable", "Unable", 1)) from None
    return User(uid, gid, tuple(dict.fromkeys((gid, *groups)))), home


def _is_id(text: str) -> bool:
    return is_natural(text) and int(text) <= MAX_ID


def _group(text: str, lines: list[list[str]]) -> int:
    for line in lines:
        if is_natural(line[2]) and text in {line[0], line[2]}:
            return int(line[2])
    if _is_id(text):
        return int(text)
    raise InvalidArgument(f"unable to find group {text}: no matching entries in group file")
