"""What a shell may complete: commands, flags and names of objects. `complete` is called by the scripts of `festoon completion` and prints one candidate a line.

Owns which noun a command's operands are of; never fails aloud: a shell that waits for candidates has no use for an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from cli import object_names
from cli.api import Api
from cli.failures import CliFailure
from cli.usage import Command, Group

_OF_CONTAINERS: Final = frozenset(
    {
        "attach", "commit", "cp", "diff", "exec", "export", "inspect", "kill", "logs", "pause", "port", "rename", "restart", "rm", "start", "stats", "stop",
        "top", "unpause", "update", "wait",
    }
)  # fmt: skip
_OF_IMAGES: Final = frozenset({"create", "history", "push", "rmi", "run", "save", "tag"})
_MAKING: Final = frozenset({"create", "ls", "prune", "build", "import", "load"})


def complete(root: Group, words: Sequence[str], daemon: Callable[[], Api]) -> int:
    """Print what the last of the words may become."""
    done, last = list(words[:-1]), words[-1] if words else ""
    at, path = _command(root, done)
    found: Iterator[str]
    if last.startswith("-"):
        found = (name for flag in at.flags for name in flag.names if name.startswith("--"))
    elif isinstance(at, Group):
        found = iter(at.names)
    else:
        found = _objects(path, daemon)
    try:
        print("\n".join(sorted({text for text in found if text.startswith(last)})))
    except CliFailure:
        return 0
    return 0


def _command(root: Group, words: Sequence[str]) -> tuple[Group | Command, tuple[str, ...]]:
    """The command that the words have come to, and its path."""
    at: Group | Command = root
    path: tuple[str, ...] = ()
    for word in words:
        if not isinstance(at, Group):
            break
        if (below := at.find(word)) is not None:
            at, path = below, (*path, word)
    return at, path


def _objects(path: tuple[str, ...], daemon: Callable[[], Api]) -> Iterator[str]:
    """Names of what the command's operands may be."""
    if not path or (len(path) > 1 and path[-1] in _MAKING and path != ("container", "create")):
        return
    noun = path[0] if len(path) > 1 else "container" if path[0] in _OF_CONTAINERS else "image" if path[0] in _OF_IMAGES else ""
    if path in (("container", "run"), ("container", "create")):
        noun = "image"
    if noun == "context":
        from cli import contexts

        yield from (str(one["Name"]) for one in contexts.every())
        yield contexts.DEFAULT
    if noun in object_names.KINDS:
        yield from object_names.names(daemon(), noun)
