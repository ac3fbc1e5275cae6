"""Flags in pflag's manner: what a flag is, the types of their values, and how the words of a command line are read. Pure.

Owns the reading and its complaints; never what a command does with a value. Source: spf13/pflag (flag.go: parseLongArg,
parseSingleShortArg) for syntax and wording.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from cli import units
from cli.failures import MISUSED, CliFailure
from cli.records import fields_of

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]


class FlagType(NamedTuple):
    """A flag's type: `name` as help shows it, `parse` raises ValueError with the sentence after `invalid argument …
    for … flag`. `several`: one word gives a tuple of values. `shown_default`: what help says of every flag of the type."""

    name: str
    parse: Callable[[str], Any]
    several: bool = False
    shown_default: str = ""


class Flag(NamedTuple):
    """`key`: what the command's function calls it. `many`: may be given many times, a tuple. `type` None: a switch."""

    key: str
    names: tuple[str, ...]
    help: str
    type: FlagType | None
    many: bool = False
    default: Any = None
    since: str = ""  # the first version of the API that has it, where that is above the lowest that people use (1.41)
    instead: str | None = None  # of one that help does not name any more: what whoever gives it is told; empty for nothing

    @property
    def long(self) -> str:
        return next((name for name in self.names if name.startswith("--")), "")

    @property
    def short(self) -> str:
        return next((name for name in self.names if not name.startswith("--")), "")


class Words(NamedTuple):
    """A command line as read: the flags' values by key, and the operands."""

    values: dict[str, Any]
    operands: tuple[str, ...]
    help: bool
    help_by_letter: bool


class Misuse(CliFailure):
    """Words that are no flags, or flags whose values are none. The command adds its usage."""

    def __init__(self, message: str, meant: str = "") -> None:
        """`meant`: what may have been, which is said last."""
        super().__init__(message, MISUSED)
        self.meant = meant


def _unsigned(text: str, bits: int = 64) -> int:
    value = _based("ParseUint", text, text)
    if value >> bits:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return value


def _integer(text: str, bits: int = 64) -> int:
    sign = -1 if text.startswith("-") else 1
    value = sign * _based("ParseInt", text, text[1:] if text.startswith(("-", "+")) else text)
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def _based(function: str, text: str, digits: str) -> int:
    """Without its sign, in the base that its beginning says: Go reads 0x10, 0b10, 0o10 and 010, and digits in groups (1_000)."""
    octal = digits[:1] == "0" and digits[1:].replace("_", "").isdigit()
    try:
        if not digits.isascii() or not digits[:1].isdigit() or digits.strip() != digits:
            raise ValueError
        return int(f"0o{digits[1:]}" if octal else digits, 0)
    except ValueError as e:
        raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax') from e


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as e:
        raise ValueError(f'strconv.ParseFloat: parsing "{text}": invalid syntax') from e


def _filter(text: str) -> str:
    """An empty one says nothing."""
    if text and "=" not in text:
        raise ValueError("bad format of filter (expected name=value)")
    return text


def _boolean(text: str) -> bool:
    meant = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}.get(text.lower())
    if meant is None:
        raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return meant


def _not_negative(text: str) -> int:
    duration = units.parse_duration(text)
    if duration < 0:
        raise ValueError("duration cannot be negative")
    return duration


def _external_ca(text: str) -> str:
    keys = set()
    for field in fields_of(text):
        key, equals, value = field.partition("=")
        if not equals:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        keys.add(key.lower())
        if key.lower() == "protocol" and value.lower() != "cfssl":
            raise ValueError(f"unrecognized external CA protocol {value}")
    for needed in ("protocol", "url"):
        if needed not in keys:
            raise ValueError(f"the external-ca option needs a {needed}= parameter")
    return text


def _separated(text: str) -> tuple[str, ...]:
    """None where there is nothing."""
    return tuple(fields_of(text)) if text else ()


STRING: Final = FlagType("string", str)
LIST: Final = FlagType("list", str)
STRINGS: Final = FlagType("strings", _separated, several=True)
MAP: Final = FlagType("map", str, shown_default="map[]")
FILTER: Final = FlagType("filter", _filter)
UINT: Final = FlagType("uint", _unsigned)
UINT16: Final = FlagType("uint16", lambda text: _unsigned(text, 16))
UINT32: Final = FlagType("uint32", lambda text: _unsigned(text, 32))
INT: Final = FlagType("int", _integer)
FLOAT: Final = FlagType("float", _number)
DURATION: Final = FlagType("duration", units.parse_duration)
POSITIVE_DURATION: Final = FlagType("duration", _not_negative)
EXTERNAL_CA: Final = FlagType("external-ca", _external_ca)
BYTES: Final = FlagType("bytes", units.parse_size)
DECIMAL: Final = FlagType("decimal", units.parse_cpus)


def option(*names: str, help: str = "", type: FlagType = STRING, default: Any = None, since: str = "", instead: str | None = None) -> Decorator:
    """A flag with a value; given twice, the last one counts. None when it isn't given, unless there is a default."""
    return _flag(names, help, type, many=False, default=default, since=since, instead=instead)


def options(*names: str, help: str, type: FlagType = LIST, since: str = "") -> Decorator:
    """A flag that may be given many times: a tuple."""
    return _flag(names, help, type, many=True, default=(), since=since)


def switch(*names: str, help: str, since: str = "") -> Decorator:
    """A boolean flag (`--x`, `--x=false`): None when it isn't given."""
    return _flag(names, help, None, many=False, default=None, since=since)


def too_new(flags: Sequence[Flag], values: Mapping[str, Any], version: str) -> str:
    """What is wrong with the flags that were given, for this version of the API; empty where it knows them all."""
    for flag in flags:
        if flag.since and values[flag.key] != flag.default and _parts(version) < _parts(flag.since):
            return f'"{flag.long}" requires API version {flag.since}, but the Docker daemon API version is {version}'
    return ""


def deprecations(flags: Sequence[Flag], values: Mapping[str, Any]) -> tuple[str, ...]:
    """What is to be said of the flags that were given."""
    return tuple(f"Flag {flag.long} has been deprecated, {flag.instead}" for flag in flags if flag.instead and values[flag.key] != flag.default)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _flag(names: tuple[str, ...], help: str, type: FlagType | None, *, many: bool, default: Any, since: str, instead: str | None = None) -> Decorator:
    """`names`: with their dashes; one without is the key, which is else the first long name's."""
    shown = tuple(name for name in names if name.startswith("-"))
    first = next((name for name in shown if name.startswith("--")), shown[0])
    key = next((name for name in names if not name.startswith("-")), first.lstrip("-").replace("-", "_"))
    flag = Flag(key, shown, help, type, many, default, since, instead)

    def decorate(function: Function) -> Function:
        function.__dict__.setdefault("flags", []).append(flag)
        return function

    return decorate


def flags_of(function: Function) -> tuple[Flag, ...]:
    """In the order in which they stand above the function."""
    return tuple(reversed(function.__dict__.get("flags", ())))


def read(flags: Sequence[Flag], words: Sequence[str], *, interspersed: bool) -> Words:
    """Raises Misuse at the first word that is wrong. Without `interspersed` flags end at the first operand."""
    reading = _Reading(flags)
    operands: list[str] = []
    waiting = list(reversed(words))
    while waiting:
        word = waiting.pop()
        if word == "--":
            break
        if word.startswith("--"):
            reading.long(word, waiting)
        elif word.startswith("-") and len(word) > 1:
            reading.letters(word[1:], waiting)
        else:
            operands.append(word)
            if not interspersed:
                break
    return Words(reading.values, (*operands, *reversed(waiting)), reading.help, reading.help_by_letter)


class _Reading:
    """The values read so far, on top of the defaults."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self._by_name = {name: flag for flag in flags for name in flag.names}
        self.values = {flag.key: flag.default for flag in flags}
        self.help = False
        self.help_by_letter = False

    def long(self, word: str, waiting: list[str]) -> None:
        """`--name`, `--name=value`, `--name value`."""
        name, equals, value = word.partition("=")
        if len(name) < 3 or name[2] == "-":
            raise Misuse(f"bad flag syntax: {word}")
        flag = self._by_name.get(name)
        if flag is None and name == "--help":
            self.help = True
        elif flag is None:
            from difflib import get_close_matches  # for mistakes alone

            shown = [known[2:] for known, flag in self._by_name.items() if known.startswith("--") and flag.instead is None]
            nearest = get_close_matches(name[2:], [*shown, "help"], n=1)  # without the dashes, which every two have in common
            raise Misuse(f"unknown flag: {name}", f"--{nearest[0]}" if nearest else "")
        elif equals:
            self._take(flag, value, name)
        elif flag.type is None:
            self.values[flag.key] = True
        elif waiting:
            self._take(flag, waiting.pop(), name)
        else:
            raise Misuse(f"flag needs an argument: {name}")

    def letters(self, letters: str, waiting: list[str]) -> None:
        """`-it`, `-e value`, `-evalue`, `-e=value`."""
        while letters:
            letter, rest = letters[0], letters[1:]
            flag = self._by_name.get(f"-{letter}")
            if flag is None and letter == "h":
                self.help = self.help_by_letter = True
                return
            if flag is None:
                raise Misuse(f"unknown shorthand flag: '{letter}' in -{letters}")
            if len(rest) > 1 and rest[0] == "=":
                self._take(flag, rest[1:])
                return
            if flag.type is None:
                self.values[flag.key] = True
                letters = rest
                continue
            if not rest and not waiting:
                raise Misuse(f"flag needs an argument: '{letter}' in -{letters}")
            self._take(flag, rest or waiting.pop())
            return

    def _take(self, flag: Flag, text: str, given: str = "") -> None:
        """`given`: the long name by which it was given."""
        try:
            value: Any = _boolean(text) if flag.type is None else flag.type.parse(text)
        except ValueError as e:
            names = ", ".join((*(name for name in flag.names if not name.startswith("--")), given or flag.long))
            raise Misuse(f'invalid argument {_quoted(text)} for "{names}" flag: {e}') from e
        if flag.many:
            assert flag.type is not None
            value = (*self.values[flag.key], *(value if flag.type.several else (value,)))
        self.values[flag.key] = value


def _quoted(text: str) -> str:
    """As Go's %q, for what a command line holds."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'
