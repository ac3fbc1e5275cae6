"""What a shell may complete: commands, flags, their values and names of objects. `complete` is called by the scripts of `festoon completion` and prints one
candidate a line.

Owns which noun a command's operands and a flag's values are of; never fails aloud: a shell that waits for candidates has no use for an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from cli import object_names
from cli.api import Api
from cli.failures import CliFailure
from cli.flags import Flag
from cli.usage import Command, Group

_OF_CONTAINERS: Final = frozenset(
    {
        "attach", "commit", "cp", "diff", "exec", "export", "inspect", "kill", "logs", "pause", "port", "rename", "restart", "rm", "start", "stats", "stop",
        "top", "unpause", "update", "wait",
    }
)  # fmt: skip
_OF_IMAGES: Final = frozenset({"create", "history", "push", "rmi", "run", "save", "tag"})
_MAKING: Final = frozenset({"create", "ls", "prune", "build", "import", "load"})
_NAMED_BY: Final = {
    "network": "network", "network-add": "network", "network-rm": "network", "config-from": "network", "volumes-from": "container", "link": "container",
    "context": "context", "from": "context",
}  # fmt: skip
"""Flags whose values are names, of which nouns."""
_NAMED_BY_SERVICES: Final = {f"{noun}{verb}": noun for noun in ("secret", "config") for verb in ("", "-add", "-rm")}
_SIGNALS: Final = ("SIGHUP", "SIGINT", "SIGKILL", "SIGQUIT", "SIGSTOP", "SIGTERM", "SIGUSR1", "SIGUSR2")
_FIXED: Final = {"signal": _SIGNALS, "stop-signal": _SIGNALS, "restart": ("always", "no", "on-failure", "unless-stopped"), "format": ("json", "table")}
_CHOICES: Final = re.compile(r'\(("[^"|]+"(?:, "[^"|]+")+)\)')
"""What a flag's help says of the words that it takes."""

Daemon = Callable[[str, str], Api]
"""The daemon at an address, or of a context; both may be empty."""


class _Reached(NamedTuple):
    """Where the words have come to: the command and its path, its operands so far, the flag that waits for its value, and what was said of the daemon."""

    at: Group | Command
    path: tuple[str, ...]
    operands: int
    waiting: Flag | None
    host: str
    context: str


def complete(root: Group, words: Sequence[str], daemon: Daemon) -> int:
    """Print what the last of the words may become."""
    *done, last = words or [""]
    reached = _reached(root, done)
    name, equals, _ = last.partition("=")
    found: Iterator[str]
    if reached.waiting is not None:
        found = _values(reached, reached.waiting, daemon)
    elif equals and (flag := _flag(reached.at, name)) is not None:
        found = (f"{name}={value}" for value in _values(reached, flag, daemon))
    elif last.startswith("-"):
        found = (name for flag in reached.at.flags for name in flag.names if name.startswith("--"))
    elif isinstance(reached.at, Group):
        found = iter(reached.at.names)
    elif reached.operands >= (1 if not reached.at.interspersed else reached.at.most or reached.operands + 1):
        found = iter(())
    else:
        found = _objects(reached, daemon)
    try:
        print("\n".join(sorted({text for text in found if text.startswith(last)})))
    except CliFailure:
        return 0
    return 0


def _reached(root: Group, words: Sequence[str]) -> _Reached:
    at: Group | Command = root
    path: tuple[str, ...] = ()
    operands, waiting = 0, None
    said = {"host": "", "context": ""}
    for word in words:
        if waiting is not None:
            if at is root and waiting.key in said:
                said[waiting.key] = word
            waiting = None
        elif word.startswith("-") and not (operands and isinstance(at, Command) and not at.interspersed):
            flag = _flag(at, word)
            waiting = flag if flag is not None and flag.type is not None else None
        elif isinstance(at, Group):
            if (below := at.find(word)) is not None:
                at, path = below, (*path, word)
        else:
            operands += 1
    return _Reached(at, path, operands, waiting, said["host"], said["context"])


def _flag(at: Group | Command, word: str) -> Flag | None:
    return next((flag for flag in at.flags if word in flag.names), None)


def _values(reached: _Reached, flag: Flag, daemon: Daemon) -> Iterator[str]:
    name = flag.long.removeprefix("--")
    noun = _NAMED_BY.get(name) or (_NAMED_BY_SERVICES.get(name) if reached.path[:1] == ("service",) else None)
    if noun:
        yield from _names(reached, noun, daemon)
    elif name in _FIXED:
        yield from _FIXED[name]
    elif (said := _CHOICES.search(flag.help)) is not None:
        yield from (word.strip('" ') for word in said[1].split(","))


def _objects(reached: _Reached, daemon: Daemon) -> Iterator[str]:
    """Names of what the command's operands may be."""
    path = reached.path
    if not path or (len(path) > 1 and path[-1] in _MAKING and path != ("container", "create")):
        return
    noun = path[0] if len(path) > 1 else "container" if path[0] in _OF_CONTAINERS else "image" if path[0] in _OF_IMAGES else ""
    yield from _names(reached, "image" if path in (("container", "run"), ("container", "create")) else noun, daemon)


def _names(reached: _Reached, noun: str, daemon: Daemon) -> Iterator[str]:
    if noun == "context":
        from cli import contexts

        yield from (str(one["Name"]) for one in contexts.every())
        yield contexts.DEFAULT
    if noun in object_names.KINDS:
        yield from object_names.names(daemon(reached.host, reached.context), noun)
