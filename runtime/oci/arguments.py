"""The command line, read as runc's: global options, the command, its options, its arguments. Pure. Owns the table of options.

No argparse: it costs more than the rest of a command's work. Source: runc(8), and what containerd's go-runc and conmon pass.
"""

from __future__ import annotations

from typing import NamedTuple

from runtime.child.faults import Refused

GLOBAL_VALUES = ("root", "log", "log-format", "criu", "rootless")
GLOBAL_FLAGS = ("debug", "systemd-cgroup", "version", "help")
SHORT = {"b": "bundle", "d": "detach", "t": "tty", "u": "user", "e": "env", "p": "process", "c": "cap", "g": "additional-gids", "f": "format",
         "a": "all", "q": "quiet", "h": "help", "v": "version", "r": "resources"}  # fmt: skip

_MAKING = ("bundle", "console-socket", "pid-file", "preserve-fds")
_MAKING_FLAGS = ("no-pivot", "no-new-keyring")
_LIMITS = ("blkio-weight", "cpu-period", "cpu-quota", "cpu-burst", "cpu-share", "cpu-rt-period", "cpu-rt-runtime", "cpuset-cpus", "cpuset-mems", "cpu-idle",
           "kernel-memory", "kernel-memory-tcp", "memory", "memory-reservation", "memory-swap", "pids-limit")  # fmt: skip
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "create": (_MAKING, _MAKING_FLAGS),
    "run": (_MAKING, (*_MAKING_FLAGS, "detach", "no-subreaper", "keep")),
    "start": ((), ()),
    "state": ((), ()),
    "kill": ((), ("all",)),
    "delete": ((), ("force",)),
    "exec": (
        ("process", "pid-file", "console-socket", "cwd", "env", "user", "additional-gids", "cap", "preserve-fds", "apparmor", "process-label", "cgroup"),
        ("detach", "tty", "no-new-privs", "no-subreaper", "ignore-paused"),
    ),
    "ps": (("format",), ()),
    "list": (("format",), ("quiet",)),
    "pause": ((), ()),
    "resume": ((), ()),
    "update": (("resources", *_LIMITS), ()),
    "events": (("interval",), ("stats",)),
    "features": ((), ()),
}  # fmt: skip
"""Options with a value, and flags, of each command."""
FLAGS_WITH_OWN_F = ("delete",)


class Line(NamedTuple):
    """One command line. `options`: the last value of each; `lists`: all values of each."""

    settings: dict[str, str]
    command: str
    options: dict[str, str]
    lists: dict[str, list[str]]
    arguments: list[str]

    def flag(self, name: str) -> bool:
        return self.options.get(name, "") == "true"

    def text(self, name: str, default: str = "") -> str:
        return self.options.get(name, default)


def parse(argv: list[str]) -> Line:
    """Raises Refused with the sentence for the user."""
    settings, rest, _ = _take(argv, GLOBAL_VALUES, GLOBAL_FLAGS, "")
    if not rest:
        return Line(settings, "", {}, {}, [])
    command = rest[0]
    if command not in COMMANDS:
        raise Refused(f"No help topic for '{command}'")
    values, flags = COMMANDS[command]
    options, arguments, lists = _take(rest[1:], values, (*flags, "help"), command)
    return Line(settings, command, options, lists, arguments)


def _take(
    argv: list[str], values: tuple[str, ...], flags: tuple[str, ...], command: str
) -> tuple[dict[str, str], list[str], dict[str, list[str]]]:
    """Options up to the first argument; after it everything is an argument, but `kill ID -9` has none that begin with a dash of their own."""
    found: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    index = 0
    while index < len(argv):
        word = argv[index]
        if word == "--":
            index += 1
            break
        if not word.startswith("-") or word == "-":
            break
        name, equals, value = word.lstrip("-").partition("=")
        if len(name) == 1:
            name = "force" if name == "f" and command in FLAGS_WITH_OWN_F else SHORT.get(name, name)
        index += 1
        if name in flags:
            found[name] = value.lower() if equals else "true"
        elif name in values:
            if not equals:
                if index >= len(argv):
                    raise Refused(f"flag needs an argument: -{name}")
                value = argv[index]
                index += 1
            found[name] = value
            lists.setdefault(name, []).append(value)
        else:
            raise Refused(f"flag provided but not defined: -{name}")
    return found, argv[index:], lists


def number(line: Line, name: str, default: int = 0) -> int:
    """Raises Refused."""
    text = line.text(name)
    if not text:
        return default
    try:
        return int(text)
    except ValueError as error:
        raise Refused(f"invalid value {text!r} for flag -{name}") from error
