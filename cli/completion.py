"""What a shell may complete: commands, flags, their values and names of objects. `complete` is called by the scripts of `festoon completion` and prints one
candidate a line, behind a tab what it is for, where that is known, and at last `:` and what the shell may add. (That is the protocol of Cobra, so the
scripts of Docker's client work, too.)

Owns how far the words have come; what may stand where is completion_table.py's. Never fails aloud: a shell that waits for candidates has no use for an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from cli import object_names
from cli.api import Api
from cli.completion_table import FILE, FIXED, NAMED_BY, NAMED_BY_SERVICES, OF_FILES, OF_FLAGS, nouns_of
from cli.failures import CliFailure
from cli.flags import Flag
from cli.usage import Command, Group

_CHOICES: Final = re.compile(r'\(("[^"|]+"(?:, "[^"|]+")+)\)')
"""What a flag's help says of the words that it takes."""

FILES: Final = 0
NO_FILES: Final = 4
"""What the shell may add where nothing is proposed."""

Daemon = Callable[[str, str], Api]
"""The daemon at an address, or of a context; both may be empty."""


class _Reached(NamedTuple):
    """Where the words have come to: the command and its path, its operands so far, the flag that waits for its value, and what was said by those before."""

    at: Group | Command
    path: tuple[str, ...]
    operands: int
    waiting: Flag | None
    said: dict[str, str]


def complete(root: Group, words: Sequence[str], daemon: Daemon, *, described: bool) -> int:
    """Print what the last of the words may become. `described`: with what it is for."""
    *done, last = words or [""]
    reached = _reached(root, done)
    name, equals, _ = last.partition("=")
    found: Iterator[str]
    if reached.waiting is not None:
        found = _values(reached, reached.waiting, daemon)
    elif equals and (flag := _flag(reached.at, name)) is not None:
        found = (f"{name}={value}" for value in _values(reached, flag, daemon))
    elif last.startswith("-"):
        found = (f"{flag.long}\t{flag.help.partition(chr(10))[0]}" for flag in reached.at.flags if flag.long and flag.instead is None)
    elif isinstance(reached.at, Group):
        found = (f"{name}\t{what}" for name, what in reached.at.summaries.items())
    elif reached.operands >= (1 if not reached.at.interspersed else reached.at.most or reached.operands + 1):
        found = iter(())
    else:
        found = _objects(reached, daemon)
    try:
        proposed = sorted({text if described else text.partition("\t")[0] for text in found if text.startswith(last)})
    except CliFailure:
        proposed = []
    print("\n".join([*proposed, f":{FILES if _takes_files(reached, last) else NO_FILES}"]))
    return 0


def _takes_files(reached: _Reached, last: str) -> bool:
    """Whether a file's name may stand there."""
    name, equals, _ = last.partition("=")
    flag = reached.waiting or (_flag(reached.at, name) if equals else None)
    if flag is not None:
        return flag.long.removeprefix("--") in OF_FILES
    nouns = nouns_of(reached.path)
    return bool(nouns) and FILE in nouns[min(reached.operands, len(nouns) - 1)].split()


def _reached(root: Group, words: Sequence[str]) -> _Reached:
    at: Group | Command = root
    path: tuple[str, ...] = ()
    operands, waiting = 0, None
    said: dict[str, str] = {}
    for word in words:
        if waiting is not None:
            said[waiting.key] = word
            waiting = None
        elif word.startswith("-") and not (operands and isinstance(at, Command) and not at.interspersed):
            name, equals, value = word.partition("=")
            flag = _flag(at, name)
            if flag is not None and equals:
                said[flag.key] = value
            waiting = flag if flag is not None and flag.type is not None and not equals else None
        elif isinstance(at, Group):
            if (below := at.find(word)) is not None:
                at, path = below, (*path, word)
        else:
            operands += 1
    return _Reached(at, path, operands, waiting, said)


def _flag(at: Group | Command, word: str) -> Flag | None:
    return next((flag for flag in at.flags if word in flag.names), None)


def _values(reached: _Reached, flag: Flag, daemon: Daemon) -> Iterator[str]:
    name = flag.long.removeprefix("--")
    noun = OF_FLAGS.get((reached.path[0] if reached.path else "", name)) or NAMED_BY.get(name)
    noun = noun or (NAMED_BY_SERVICES.get(name) if reached.path[:1] == ("service",) else None)
    if noun:
        yield from _names(reached, noun, daemon)
    elif name == "env":
        import os

        yield from os.environ
    elif name in FIXED:
        yield from FIXED[name]
    elif (said := _CHOICES.search(flag.help)) is not None:
        yield from (word.strip('" ') for word in said[1].split(","))


def _objects(reached: _Reached, daemon: Daemon) -> Iterator[str]:
    """Names of what the command's next operand may be."""
    nouns = nouns_of(reached.path)
    if nouns:
        for noun in nouns[min(reached.operands, len(nouns) - 1)].split():
            yield from _names(reached, noun, daemon)


def _names(reached: _Reached, noun: str, daemon: Daemon) -> Iterator[str]:
    if noun == "context":
        from cli import contexts

        yield from (str(one["Name"]) for one in contexts.every())
        yield contexts.DEFAULT
    elif noun in ("lab", "machine"):
        yield from _of_labs(noun, reached.said.get("name", ""))
    elif noun in object_names.KINDS or noun in object_names.STATES:
        api = daemon(reached.said.get("host", ""), reached.said.get("context", ""))
        try:
            yield from object_names.names(api, noun)
        except CliFailure:
            return  # of this kind: a node that is in no swarm has others


def _of_labs(noun: str, name: str) -> Iterator[str]:
    """Labs, or a lab's machines."""
    from lab import layout, records

    if noun == "lab":
        yield from records.names()
        return
    try:
        yield from (machine.name for machine in records.read(name or layout.DEFAULT_NAME).layout.machines)
    except layout.LabError:
        return
