"""Commands and groups in Docker's manner: which command is meant, its help page, how misuse is reported, late loading.

Owns nothing that a command does; the words themselves are read in cli/flags.py. Source: spf13/cobra and docker/cli's wording.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from cli.failures import MISUSED, CliFailure
from cli.flags import Flag, Function, Misuse, Words, deprecations, flags_of, read, too_new

HELP_WIDTH: Final = 79
SLOP: Final = 5
"""Columns that pflag leaves free, lest a short word stands alone on the last line."""
DEPRECATED_LETTER: Final = "Flag shorthand -h has been deprecated, use --help"


NOT_BEGUN: Final = "Failed to initialize: "
"""How a sentence begins that docker's client says before it looks at the command."""


class Refused(CliFailure):
    """What docker's client says with its own name before it and the way to help after it."""

    def __init__(self, message: str, status: int = MISUSED) -> None:
        super().__init__(message, status)


class HelpWanted(Exception):
    """The command was given nothing to do: its help page is the answer."""


class BadOperand(CliFailure):
    """An operand of the wrong form: the command's usage follows."""


class Command:
    """A command whose operands are counted as Docker counts them. `run` gets the daemon (the Api) and then `arguments`, a
    tuple, and the flags by key."""

    def __init__(
        self,
        name: str,
        run: Function,
        operands: str,
        *,
        summary: str,
        details: str,
        least: int,
        most: int | None,
        aliases: Sequence[str],
        interspersed: bool,
        examples: Sequence[tuple[str, str]],
    ) -> None:
        self.name = name
        self.run = run
        self.flags = flags_of(run)
        self.optional = bool(self.flags)  # whether the usage line says [OPTIONS]
        self._operands = operands
        self._summary = summary
        self._details = details
        self._least = least
        self.most = most
        self._aliases = aliases
        self.interspersed = interspersed
        self._examples = examples

    def invoke(self, path: str, words: Sequence[str], api: Any) -> Any:
        """Runs it, or shows its help. Raises CliFailure."""
        try:
            found = read(self.flags, words, interspersed=self.interspersed)
        except Misuse as e:
            raise _with_usage(self, path, e) from e
        if _help_wanted(found):
            print(self.help_of(path), end="")
            return 0
        complaint = self._complaint(len(found.operands))
        if complaint:
            verb = "See" if "at least" in complaint and "at most" not in complaint else "Run"
            raise CliFailure(f"{_top(path)}: '{path}' {complaint}\n\n{self.usage_of(path)}\n\n{verb} '{path} --help' for more information")
        if any(flag.since for flag in self.flags) and (refused := too_new(self.flags, found.values, _api_version())):
            raise CliFailure(refused)
        for sentence in deprecations(self.flags, found.values):
            print(sentence)
        try:
            return self.run(api, arguments=found.operands, **found.values)
        except HelpWanted:
            print(self.help_of(path), end="")
            return 0
        except Refused as e:
            if e.message.startswith(NOT_BEGUN):
                raise CliFailure(e.message) from e
            raise CliFailure(f"{_top(path)}: {_with_proposals(e.message, api)}\n\nRun '{path} --help' for more information", e.status) from e
        except BadOperand as e:
            raise CliFailure(f"{e.message}.\nSee '{path} --help'.\n\n{self.usage_of(path)}\n\n{self._summary}") from e
        except CliFailure as e:
            raise CliFailure(_with_proposals(e.message, api), e.status) from e

    def _complaint(self, count: int) -> str:
        least, most = self._least, self.most
        if least <= count and (most is None or count <= most):
            return ""
        if most == 0:
            return "accepts no arguments"
        if least == most:
            return f"requires {_arguments(least)}"
        if most is None:
            return f"requires at least {_arguments(least)}"
        if least == 0:
            return f"requires at most {_arguments(most)}"
        return f"requires at least {least} and at most {_arguments(most)}"

    def usage_of(self, path: str) -> str:
        parts = (path, "[OPTIONS]" if self.optional else "", self._operands)
        return "Usage:  " + " ".join(part for part in parts if part).replace("{top}", _top(path))

    def help_of(self, path: str) -> str:
        text, top = f"{self.usage_of(path)}\n\n{self._summary}\n", _top(path)
        if self._details:
            text += f"\n{self._details}\n".replace("{top}", top)
        if self._aliases:
            text += "\nAliases:\n  " + ", ".join(f"{top} {alias}" for alias in self._aliases) + "\n"
        if self._examples:
            text += "\n" + _example_lines(path, self._examples)
        return text + ("\nOptions:\n" + _flag_lines(self.flags) if self.flags else "")


def _api_version() -> str:
    from cli.api import API_VERSION  # which whoever has a daemon has loaded

    return API_VERSION


def command(
    name: str,
    operands: str = "",
    *,
    summary: str,
    details: str = "",
    least: int = 0,
    most: int | None = 0,
    aliases: Sequence[str] = (),
    interspersed: bool = True,
    examples: Sequence[tuple[str, str]] = (),
) -> Callable[[Function], Command]:
    """A command of `least` to `most` operands (None: any number). Without `interspersed` flags end at the first operand. For its help: `details`, below the
    summary (`{top}` is the program's name), and `examples`, the words after its own and what they do."""

    def decorate(function: Function) -> Command:
        return Command(
            name, function, operands, summary=summary, details=details, least=least, most=most, aliases=aliases, interspersed=interspersed, examples=examples
        )  # fmt: skip

    return decorate


class Group:
    """Commands that are imported only when they are asked for: `lazy` maps a name to ("module:attribute", summary). Help shows those of `sections` (title
    to names) under their titles and those of `hidden` not at all; `operands` end its usage line; `examples`: (words, what for). `begin` gets the path and
    the group's own flags by key, and gives the daemon to talk to; None: that was all."""

    def __init__(
        self,
        name: str,
        *,
        summary: str,
        lazy: Mapping[str, tuple[str, str]],
        aliases: Mapping[str, str] | None = None,
        begin: Function | None = None,
        left_out: Mapping[str, str] | None = None,
        sections: Mapping[str, Sequence[str]] | None = None,
        hidden: Sequence[str] = (),
        operands: str = "",
        examples: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.name = name
        self._summary = summary
        self._examples = examples
        self._lazy = lazy
        self._aliases = aliases or {}
        self._begin = begin
        self._left_out = left_out or {}
        self._sections = sections or {}
        self._hidden = frozenset(hidden)
        self._operands = f" {operands}" if operands else ""
        self.flags = () if begin is None else flags_of(begin)

    def invoke(self, path: str, words: Sequence[str], api: Any) -> Any:
        """Runs the command that the words name. Raises CliFailure."""
        try:
            found = read(self.flags, words, interspersed=False)
        except Misuse as e:
            raise _with_usage(self, path, e) from e
        if _help_wanted(found):
            print(self.help_of(path))
            return 0
        if self._begin is not None:
            api = self._begin(path, **found.values)
            if api is None:
                return 0
        if not found.operands:
            print(self.help_of(path), file=sys.stdout if self._begin is not None else sys.stderr)
            return 0
        name, *rest = found.operands
        if name == "help" and self._begin is not None:
            return self._explain(path, rest)
        return self._find(path, name).invoke(f"{path} {self._aliases.get(name, name)}", rest, api)

    def _explain(self, path: str, words: Sequence[str]) -> int:
        """`help COMMAND...`. Raises CliFailure."""
        topic: Command | Group = self
        for word in words:
            found = topic.find(word) if isinstance(topic, Group) else None
            if found is None:
                raise CliFailure(f"unknown help topic: {' '.join(words)}")
            topic, path = found, f"{path} {word}"
        print(topic.help_of(path), end="" if isinstance(topic, Command) else "\n")
        return 0

    def _find(self, path: str, name: str) -> Command | Group:
        found = self._lazy.get(self._aliases.get(name, name))
        if found is None:
            if name in self._left_out:
                raise CliFailure(f"{path} {name}: {self._left_out[name]}.")
            usage = f"{self.usage_of(path)}\n\n" if self._begin is None else ""
            nearest = self._nearest(name)
            proposed = f"\n\nDid you mean '{path} {nearest}'?" if nearest else ""
            raise CliFailure(f"{_top(path)}: unknown command: {path} {name}\n\n{usage}Run '{path} --help' for more information{proposed}")
        return self._load(found)

    @staticmethod
    def _load(found: tuple[str, str]) -> Command | Group:
        module, _, attribute = found[0].partition(":")
        loaded = getattr(import_module(module), attribute)
        assert isinstance(loaded, (Command, Group))
        return loaded

    def _nearest(self, name: str) -> str:
        from difflib import get_close_matches  # for mistakes alone

        return next(iter(get_close_matches(name, [*self._lazy, *self._aliases], n=1)), "")

    @property
    def summaries(self) -> dict[str, str]:
        """By the names, what each is for."""
        return {name: self._lazy[name][1] for name in self.names}

    @property
    def names(self) -> tuple[str, ...]:
        """What may be said after the group's own name, without aliases."""
        return tuple(sorted(self._lazy))

    def find(self, name: str) -> Command | Group | None:
        """The command of this name or alias; None when there is none."""
        return self._load(self._lazy[self._aliases.get(name, name)]) if self._aliases.get(name, name) in self._lazy else None

    def usage_of(self, path: str) -> str:
        return f"Usage:  {path}" + (" [OPTIONS] COMMAND [ARG...]" if self._begin is not None else self._operands)

    def help_of(self, path: str) -> str:
        named = {name for names in self._sections.values() for name in names} | self._hidden
        sections = {**self._sections, "Commands": [name for name in self.names if name not in named]}
        listed = "".join(f"{title}:\n" + "".join(f"  {name:<11} {self._lazy[name][1]}\n" for name in names) + "\n" for title, names in sections.items())
        tail = f"{'Global ' * bool(self._sections)}Options:\n{_flag_lines(self.flags)}\n" if self.flags else ""
        usage = f"Usage:  {path} {'[OPTIONS] ' if self.flags else ''}COMMAND"
        shown = _example_lines(path, self._examples) + "\n" if self._examples else ""
        return f"{usage}\n\n{self._summary}\n\n{shown}{listed}{tail}Run '{path} COMMAND --help' for more information on a command."


def _example_lines(path: str, examples: Sequence[tuple[str, str]]) -> str:
    return "Examples:\n" + "".join(f"  # {what}\n  {f'{path} {words}'.rstrip()}\n" for words, what in examples)


def _help_wanted(found: Words) -> bool:
    if found.help_by_letter:
        print(DEPRECATED_LETTER)
    return found.help


def _with_proposals(message: str, api: Any) -> str:
    from cli.nearest import with_proposals  # for mistakes alone

    return with_proposals(message, api)


def _top(path: str) -> str:
    return path.partition(" ")[0]


def _arguments(count: int) -> str:
    return f"{count} argument" + ("" if count == 1 else "s")


def _with_usage(asked: Command | Group, path: str, misuse: Misuse) -> CliFailure:
    proposed = f"\n\nDid you mean '{misuse.meant}'?" if misuse.meant else ""
    return CliFailure(f"{misuse.message}\n\n{asked.usage_of(path)}\n\nRun '{path} --help' for more information{proposed}", MISUSED)


def _flag_lines(flags: Sequence[Flag]) -> str:
    """As pflag's FlagUsagesWrapped."""
    flags, heads = [flag for flag in flags if flag.instead is None], []
    if any(flag.short == "-h" for flag in flags):  # where the letter means something else, the word is shown
        flags.append(Flag("help", ("--help",), "Print usage", None))
    for flag in flags:
        kind = "" if flag.type is None else f" {flag.type.name}"
        heads.append(f"  {flag.short}, {flag.long}{kind}" if flag.short else f"      {flag.long}{kind}")
    column = max(map(len, heads)) + 3
    lines = []
    for head, flag in sorted(zip(heads, flags, strict=True), key=lambda pair: pair[1].long or pair[1].short):
        lines.append(head.ljust(column) + f"\n{' ' * column}".join(_wrapped(_described(flag), HELP_WIDTH - column)))
    return "\n".join(lines) + "\n"


def _described(flag: Flag) -> str:
    """The help and the default, where it says something and the help does not."""
    if flag.type is not None and flag.type.shown_default:
        return f"{flag.help} (default {flag.type.shown_default})"
    if flag.type is None or flag.many or not flag.default or "(default" in flag.help:
        return flag.help
    if flag.type.name == "duration":
        from cluster.model.go_clock import duration_text  # for help alone

        return f"{flag.help} (default {duration_text(flag.default)})"
    shown = f'"{flag.default}"' if isinstance(flag.default, str) else f"{flag.default:g}" if isinstance(flag.default, float) else str(flag.default)
    return f"{flag.help} (default {shown})"


def _wrapped(text: str, room: int) -> list[str]:
    """Lines that end early enough for a short last word to go over by SLOP."""
    lines = []
    while text:
        width = max(room, 24) - SLOP
        if width + SLOP > len(text.encode()):
            cut = len(text)
        else:
            space, newline = max(text.rfind(c, 0, width) for c in " \t\n"), text.rfind("\n", 0, width)
            cut = len(text) if space <= 0 else newline if 0 < newline < space else space
        lines += text[:cut].split("\n")
        text = text[cut + 1 :]
    return lines or [""]
